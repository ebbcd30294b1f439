/// A consent that the merchant no longer needs, as long as the institution was not told: what is left of an
/// authorization whose last account was disconnected, with its credential still sealed for it.
///
/// It is made in the write that disconnects, told to the institution later and deleted then, or when telling it has
/// failed for half a day. A relink makes none: some banks keep one consent for a client and a person, and would end the
/// new one.

public import Database
public import Vault
internal import Wire

public struct Revocation: Sendable {
    /// Seconds in which an institution is told, before another worker tries.
    private static let lease: Int64 = 120
    private static let maximumAttempts: Int64 = 10

    public let scope: Scope
    /// That of the authorization.
    public let id: String
    public let institution: String
    /// Whom the institution knows the holder as.
    public let holder: String
    private let sealedCredential: [UInt8]
    private let attempts: Int64

    /// Whether this is the last time that the institution is told.
    public var isLast: Bool { attempts >= Self.maximumAttempts }

    public func credential(_ ring: KeyRing) throws -> [UInt8] {
        try ring.open(sealedCredential, for: .bankCredential, owner: id)
    }

    // MARK: Transitions

    /// Notes the consent of an authorization that no account hangs on any longer. As long as its credential is being
    /// renewed the institution is not told: the old one may be spent.
    static func begin(of id: String, in scope: Scope, _ db: Connection) throws {
        let mine: SQL = "merchant = \(scope.merchant) AND livemode = \(scope.livemode)"
        try db.execute(
            """
            INSERT INTO revocation (merchant, livemode, id, holder, institution, credential, run_at, attempts)
            SELECT merchant, livemode, id, holder, institution, credential, renewal, 0 FROM authorization_at_institution
            WHERE \(mine) AND id = \(id) AND NOT EXISTS (
                SELECT 1 FROM account WHERE \(mine) AND authorization_id = \(id) AND status <> 'disconnected')
            """
        )
    }

    /// A holder has given an institution a new consent: what was to be told of older ones might end it.
    static func takeBack(holder: String, at institution: String, in scope: Scope, _ db: Connection) throws {
        try db.execute(
            """
            DELETE FROM revocation WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode)
            AND holder = \(holder) AND institution = \(institution)
            """
        )
    }

    /// The renewal has ended that was under way when the consent was given up.
    /// - Parameter renewed: the new credential, sealed for the authorization; nil where none came of it.
    static func endRenewal(
        of id: String,
        fence: Int64,
        renewed: [UInt8]?,
        in scope: Scope,
        _ db: Connection
    ) throws {
        let credential: SQL = renewed.map { ", credential = \($0)" } ?? ""
        try db.execute(
            """
            UPDATE revocation SET run_at = 0\(credential) WHERE merchant = \(scope.merchant)
            AND livemode = \(scope.livemode) AND id = \(id) AND run_at = \(fence) AND attempts = 0
            """
        )
    }

    public static func isDue(_ db: Connection, _ world: World) throws -> Bool {
        try db.first("SELECT 1 FROM revocation WHERE run_at <= \(world.wall()) LIMIT 1") { try $0.int(0) } != nil
    }

    /// Takes the next one that is due, for a time; later ones wait longer each time.
    public static func claim(_ db: Connection, _ world: World) throws -> Revocation? {
        let now = world.wall()
        let found = try db.first(
            """
            SELECT merchant, livemode, id, holder, institution, credential, attempts FROM revocation
            WHERE run_at <= \(now) ORDER BY run_at LIMIT 1 {skipLocked}
            """
        ) { row in
            let scope = Scope(merchant: try row.text(0), livemode: try row.bool(1))
            return Revocation(
                scope: scope,
                id: try row.text(2),
                institution: try row.text(4),
                holder: AccountHolder.nameAtInstitutions(of: try row.text(3), in: scope),
                sealedCredential: try row.bytes(5),
                attempts: try row.int(6) + 1
            )
        }
        guard let found else { return nil }
        let next = now + max(lease, min(60 << found.attempts, 4 * 3600))
        try db.execute(
            "UPDATE revocation SET run_at = \(next), attempts = \(found.attempts) WHERE \(found.row)"
        )
        return found
    }

    /// Keeps what came of a renewal, for when the institution is told again.
    public func renew(_ credential: [UInt8], _ db: Connection, _ ring: KeyRing) throws {
        let sealed = try ring.seal(credential, for: .bankCredential, owner: id)
        try db.execute("UPDATE revocation SET credential = \(sealed) WHERE \(row)")
    }

    public func end(_ db: Connection) throws {
        try db.execute("DELETE FROM revocation WHERE \(row)")
    }

    private var row: SQL { "merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND id = \(id)" }
}
