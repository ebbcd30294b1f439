/// The merchant's keys as the command line lists, makes and revokes them: run in the database itself, or sent to the
/// server that has it open.

public import Database
internal import Wire

/// What `linkspan keys` does to the merchant's keys.
public enum KeyCommand: Codable, Sendable {
    case list
    /// - Parameter permissions: of a restricted key, such as `customer_read`.
    case create(kind: String, live: Bool, name: String, permissions: [String])
    case revoke(id: String)

    /// A key as it is shown; `text` is the key itself and is there only when it was just made.
    public struct Shown: Codable, Sendable {
        public let id: String
        public let kind: String
        public let livemode: Bool
        public let name: String
        public let masked: String
        public let created: Int64
        public let revoked: Int64?
        public let permissions: [String]
        public let text: String?

        init(_ key: APIKey, text: String? = nil) {
            id = key.id
            kind = key.kind.rawValue
            livemode = key.scope.livemode
            name = key.name
            masked = key.masked
            created = key.created
            revoked = key.revoked
            permissions = key.permissions
            self.text = text
        }
    }

    /// - Throws: a ``StripeError`` with a sentence for whoever typed the command.
    /// - Parameter allowsLive: whether keys of live mode may be made: not without a ring that the operator chose.
    public func run(allowsLive: Bool, in db: Connection, _ world: World) throws -> [Shown] {
        let merchant = try Merchant.platform(in: db, world)
        switch self {
        case .list:
            return try APIKey.all(of: merchant.id, in: db).map { Shown($0) }
        case .create(let kind, let live, let name, let permissions):
            guard let kind = APIKey.Kind(rawValue: kind) else {
                throw StripeError.badEnum("kind", allowed: APIKey.Kind.allCases.map(\.rawValue))
            }
            guard allowsLive || !live else {
                throw StripeError(
                    message: "Live mode needs a key ring of its own: start the server with --key-file "
                        + "(LINKSPAN_KEY_FILE) first."
                )
            }
            let known = APIKey.Permission.all
            let granted = try permissions.map { name in
                guard let permission = known.first(where: { $0.name == name }) else {
                    throw StripeError.badEnum("permission", allowed: known.map(\.name))
                }
                return permission
            }
            let scope = Scope(merchant: merchant.id, livemode: live)
            let (text, key) = try APIKey.create(
                kind,
                named: name,
                permissions: granted,
                for: scope,
                in: db,
                world
            )
            return [Shown(key, text: text)]
        case .revoke(let id):
            guard try APIKey.revoke(id, of: merchant.id, in: db, world) else {
                throw StripeError(message: "No key '\(id)' that could be revoked.")
            }
            return try APIKey.all(of: merchant.id, in: db).filter { $0.id == id }.map { Shown($0) }
        }
    }
}
