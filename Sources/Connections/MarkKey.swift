/// What accounts are marked with whose numbers must not stand anywhere: a secret of the database's own, made once and
/// kept as long as the database. It is sealed like any other and outlives every key of the ring, so that an account
/// that is linked again is known after the ring has changed.

public import Database
public import Vault

public enum MarkKey {
    private static let owner = "mark"

    /// - Throws: ``VaultError/cannotOpen`` where the ring is another database's.
    public static func marker(in db: Connection, _ world: World, _ ring: KeyRing) throws -> Marker {
        if let sealed = try stored(db) { return Marker(secret: try ring.open(sealed, for: .markKey, owner: owner)) }
        let secret = Array(world.secret("", length: 43).utf8)
        let sealed = try ring.seal(secret, for: .markKey, owner: owner)
        try db.execute("INSERT INTO mark_key (id, sealed) VALUES (1, \(sealed))")
        return Marker(secret: secret)
    }

    private static func stored(_ db: Connection) throws -> [UInt8]? {
        try db.first("SELECT sealed FROM mark_key WHERE id = 1") { try $0.bytes(0) }
    }

    /// Seals it under the newest key.
    static func renew(_ ring: KeyRing, in db: Connection) throws {
        guard let sealed = try stored(db) else { return }
        let renewed = try ring.seal(ring.open(sealed, for: .markKey, owner: owner), for: .markKey, owner: owner)
        try db.execute("UPDATE mark_key SET sealed = \(renewed) WHERE id = 1")
    }
}
