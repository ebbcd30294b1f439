/// API keys: who is calling, in which mode, and what they may do.
///
/// A key is stored as its digest; the key itself is shown once, when it is made. A masked form is kept so that a person
/// can tell keys apart.

public import Database
internal import Vault
internal import Wire

public struct APIKey: Sendable {
    public enum Kind: String, Sendable, CaseIterable {
        case publishable, secret, restricted

        var prefix: String {
            switch self {
            case .publishable: "pk_"
            case .secret: "sk_"
            case .restricted: "rk_"
            }
        }
    }

    /// What a restricted key must be allowed to for a route: a resource, read or written.
    public struct Permission: Sendable, Hashable {
        public enum Resource: String, Sendable, CaseIterable {
            case account, customer, event
            case financialConnectionsAccount = "financial_connections_account"
            case financialConnectionsSession = "financial_connections_session"
            case financialConnectionsTransaction = "financial_connections_transaction"
            case webhookEndpoint = "webhook_endpoint"
        }

        public let resource: Resource
        public let isWrite: Bool

        public init(_ resource: Resource, write isWrite: Bool) {
            self.resource = resource
            self.isWrite = isWrite
        }

        /// `customer_read`; writing includes reading.
        public var name: String { "\(resource.rawValue)_\(isWrite ? "write" : "read")" }

        public static let all = Resource.allCases.flatMap {
            [Permission($0, write: false), Permission($0, write: true)]
        }
    }

    public let id: String
    public let scope: Scope
    public let kind: Kind
    public let created: Int64
    public let name: String
    /// `sk_test_****…abcd`
    public let masked: String
    public let permissions: [String]
    public let expires: Int64?
    public let revoked: Int64?

    public func allows(_ permission: Permission) -> Bool {
        guard kind == .restricted else { return kind == .secret }
        return permissions.contains(permission.name)
            || !permission.isWrite && permissions.contains(Permission(permission.resource, write: true).name)
    }

    // MARK: Text

    /// The prefix kept, one star a letter in the middle, the last four shown.
    public static func mask(_ key: String) -> String {
        let letters = Array(key.prefix(255))
        let parts = key.prefix(255).split(separator: "_", omittingEmptySubsequences: false)
        let kept = parts.count >= 3 ? parts[0].count + parts[1].count + 2 : 0
        guard letters.count > kept + 4 else { return String(repeating: "*", count: letters.count) }
        return String(letters[..<kept]) + String(repeating: "*", count: letters.count - kept - 4)
            + String(letters.suffix(4))
    }

    /// The kind and mode that a key's text says, or nil where it is no key.
    public static func parse(_ key: String) -> (kind: Kind, livemode: Bool)? {
        guard let kind = Kind.allCases.first(where: { key.hasPrefix($0.prefix) }) else { return nil }
        let rest = key.dropFirst(3)
        let isPlain = key.utf8.count <= 255 && rest.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F }
        guard isPlain, rest.count >= 9 else { return nil }
        if rest.hasPrefix("test_") { return (kind, false) }
        if rest.hasPrefix("live_") { return (kind, true) }
        return nil
    }

    // MARK: Statements

    private static let columns: SQL = """
        SELECT id, merchant, livemode, kind, created, name, masked, permissions, expires, revoked FROM api_key
        """

    /// Makes a key.
    /// - Returns: the key itself, which is not stored, and what is.
    public static func create(
        _ kind: Kind,
        named name: String,
        permissions: [Permission] = [],
        for scope: Scope,
        in db: Connection,
        _ world: World
    ) throws -> (text: String, key: APIKey) {
        let text = world.secret("\(kind.prefix)\(scope.livemode ? "live" : "test")_", length: 32)
        return (text, try register(text, kind, named: name, permissions: permissions, for: scope, in: db, world))
    }

    /// Stores a key that someone chose, such as the one of a test configuration; a known one stays as it is.
    /// - Returns: the key as it is stored; it may be revoked.
    @discardableResult
    public static func register(
        _ text: String,
        _ kind: Kind,
        named name: String,
        permissions: [Permission] = [],
        for scope: Scope,
        in db: Connection,
        _ world: World
    ) throws -> APIKey {
        let key = APIKey(
            id: world.id(.apiKey),
            scope: scope,
            kind: kind,
            created: world.now(),
            name: name,
            masked: mask(text),
            permissions: permissions.map(\.name),
            expires: nil,
            revoked: nil
        )
        try db.execute(
            """
            INSERT INTO api_key
                (digest, id, merchant, livemode, created, kind, name, masked, permissions, expires, revoked)
            VALUES (\(Secret.digest(text)), \(key.id), \(scope.merchant), \(scope.livemode), \(key.created),
                \(kind.rawValue), \(name), \(key.masked), \(Joined.text(key.permissions)), \(nil as Int64?),
                \(nil as Int64?))
            ON CONFLICT (digest) DO NOTHING
            """
        )
        return try find(digest: Secret.digest(text), in: db) ?? key
    }

    /// Looks a key up by the digest of its text.
    public static func find(digest: [UInt8], in db: Connection) throws -> APIKey? {
        try db.first("\(columns) WHERE digest = \(digest)", read)
    }

    /// Whether the key of this id may be used: it is neither revoked nor expired.
    public static func isGood(_ id: String, at now: Int64, in db: Connection) throws -> Bool {
        guard let key = try db.first("\(columns) WHERE id = \(id)", read) else { return false }
        return key.revoked == nil && key.expires ?? .max > now
    }

    /// Every key of the merchant, both modes, oldest first.
    public static func all(of merchant: String, in db: Connection) throws -> [APIKey] {
        try db.all("\(columns) WHERE merchant = \(merchant) ORDER BY created, id LIMIT 1000", read)
    }

    /// - Returns: false where there is no such key, or it was revoked before.
    public static func revoke(_ id: String, of merchant: String, in db: Connection, _ world: World) throws -> Bool {
        try db.execute(
            """
            UPDATE api_key SET revoked = \(world.now())
            WHERE id = \(id) AND merchant = \(merchant) AND revoked IS NULL
            """
        ) == 1
    }

    private static func read(_ row: Row) throws -> APIKey {
        APIKey(
            id: try row.text(0),
            scope: Scope(merchant: try row.text(1), livemode: try row.bool(2)),
            kind: try row.choice(3, of: Kind.self),
            created: try row.int(4),
            name: try row.text(5),
            masked: try row.text(6),
            permissions: Joined.values(try row.text(7)),
            expires: row.optionalInt(8),
            revoked: row.optionalInt(9)
        )
    }
}
