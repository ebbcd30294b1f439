/// Whether a key ring is the one that this database was sealed with: a known word is sealed in it once and opened at
/// every start, so that a wrong ring is found before anything is answered, and not by a person whose Session cannot be
/// opened.

public import Database
public import Vault

public enum RingCheck {
    private static let word = Array("linkspan".utf8)
    private static let owner = "ring"

    /// Whether the database was sealed with a ring before.
    public static func isThere(in db: Connection) throws -> Bool {
        try db.first("SELECT 1 FROM ring_check WHERE id = 1") { try $0.int(0) } != nil
    }

    /// - Returns: false where the ring cannot open what the database holds.
    public static func pass(_ ring: KeyRing, in db: Connection) throws -> Bool {
        if let sealed = try db.first("SELECT sealed FROM ring_check WHERE id = 1", { try $0.bytes(0) }) {
            return (try? ring.open(sealed, for: .ringCheck, owner: owner)) == word
        }
        let sealed = try ring.seal(word, for: .ringCheck, owner: owner)
        try db.execute("INSERT INTO ring_check (id, sealed) VALUES (1, \(sealed))")
        return true
    }

    /// Seals the word under the newest key, so that a ring without the older ones passes.
    static func renew(_ ring: KeyRing, in db: Connection) throws {
        let sealed = try ring.seal(word, for: .ringCheck, owner: owner)
        try db.execute("UPDATE ring_check SET sealed = \(sealed) WHERE id = 1")
    }
}
