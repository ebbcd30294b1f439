/// Who is calling: a key from the `Authorization` header, by Bearer or as the user of Basic, looked up by its digest.

internal import Connections
internal import Database
internal import FoundationEssentials
internal import HTTPTypes
internal import Synchronization
internal import Vault
internal import Wire

struct Authenticator: Sendable {
    private let database: Database
    private let world: World
    private let cache = KeyCache()

    init(database: Database, world: World) {
        self.database = database
        self.world = world
    }

    /// The credential of a request as it was sent, unchecked.
    /// - Throws: 401 where there is none.
    static func credential(_ headers: HTTPFields) throws(StripeError) -> String {
        guard let header = headers.value(.authorization), !header.isEmpty else { throw missing }
        // What every SDK sends, without the work that the other spellings need.
        if header.utf8.count > 7, header.hasPrefix("Bearer "), header.utf8.dropFirst(7).first != UInt8(ascii: " ") {
            return String(Substring(header.utf8.dropFirst(7)))
        }
        let parts = header.split(separator: " ", maxSplits: 1)
        guard parts.count == 2 else { throw missing }
        let value = parts[1].trimmingPrefix { $0 == " " }
        switch parts[0].lowercased() {
        case "bearer":
            guard !value.isEmpty else { throw missing }
            return String(value)
        case "basic":
            guard let decoded = Data(base64Encoded: String(value)), let text = String(data: decoded, encoding: .utf8),
                let user = text.split(separator: ":", omittingEmptySubsequences: false).first, !user.isEmpty
            else { throw missing }
            return String(user)
        default:
            throw missing
        }
    }

    /// - Throws: 401 for a key that is unknown, revoked or expired, 403 for one that the route is not for.
    func authenticate(_ credential: String, for access: Route.Access) async throws -> APIKey {
        let key = try await find(credential)
        switch access {
        case .client:
            // A restricted key is for servers, and says which of their routes.
            guard key.kind != .restricted else {
                throw StripeError(status: 403, message: "This API call cannot be made with a restricted API key.")
            }
        case .server(let permission):
            guard key.kind != .publishable else { throw Self.publishableKey }
            guard key.allows(permission) else { throw Self.notAllowed(key, permission) }
        case .testHelper:
            guard key.kind != .publishable else { throw Self.publishableKey }
            let permission = APIKey.Permission(.financialConnectionsSession, write: true)
            guard key.allows(permission) else { throw Self.notAllowed(key, permission) }
        }
        return key
    }

    private func find(_ credential: String) async throws -> APIKey {
        let digest = Secret.digest(credential)
        let now = world.now()
        let key: APIKey
        let (known, generation) = cache.find(digest, at: now)
        if let known {
            key = known
        } else {
            guard APIKey.parse(credential) != nil,
                let stored = try await database.lookup({ try APIKey.find(digest: digest, in: $0) })
            else {
                throw Self.unknown(credential)
            }
            cache.store(stored, digest, at: now, generation: generation)
            key = stored
        }
        guard key.revoked == nil else { throw Self.unknown(credential) }
        if let expires = key.expires, expires <= now { throw Self.expired(credential) }
        return key
    }

    /// Forgets what is known of keys, after one was made or revoked here.
    func forget() {
        cache.clear()
    }

    // MARK: Errors

    private static let missing = StripeError(
        status: 401,
        message: "You did not provide an API key. You need to provide your API key in the Authorization header, using "
            + "Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY'). See "
            + "https://stripe.com/docs/api#authentication for details, or we can help at https://support.stripe.com/."
    )

    private static func unknown(_ credential: String) -> StripeError {
        StripeError(status: 401, message: "Invalid API Key provided: \(APIKey.mask(credential))")
    }

    private static func expired(_ credential: String) -> StripeError {
        StripeError(
            status: 401,
            code: "api_key_expired",
            message: "Expired API Key provided: \(APIKey.mask(credential))"
        )
    }

    private static let publishableKey = StripeError(
        status: 403,
        code: "secret_key_required",
        message: "This API call cannot be made with a publishable API key. Please use a secret API key. You can find a "
            + "list of your API keys at https://dashboard.stripe.com/account/apikeys."
    )

    static func notAllowed(_ key: APIKey, _ permission: APIKey.Permission) -> StripeError {
        let words = permission.resource.rawValue.split(separator: "_").map { $0.capitalized }.joined(separator: " ")
        return StripeError(
            status: 403,
            message: "The provided key '\(key.masked)' does not have the required permissions for this endpoint on "
                + "account '\(key.scope.merchant)'. Enabling \"\(words) \(permission.isWrite ? "Write" : "Read")\" "
                + "('\(permission.name)') permissions on this key would allow this request to continue."
        )
    }
}

/// Keys that were looked up a moment ago. What it holds is as old as its lifetime at most.
private final class KeyCache: Sendable {
    private static let lifetime: Int64 = 30
    private static let capacity = 10_000

    private struct State {
        var entries: [[UInt8]: (key: APIKey, at: Int64)] = [:]
        /// Counts how often all was forgotten.
        var generation = 0
    }

    private let state = Mutex(State())

    /// - Returns: the key, or nil, and the generation that a look-up then belongs to.
    func find(_ digest: [UInt8], at now: Int64) -> (key: APIKey?, generation: Int) {
        state.withLock { state in
            guard let entry = state.entries[digest], now - entry.at < Self.lifetime else {
                return (nil, state.generation)
            }
            return (entry.key, state.generation)
        }
    }

    /// Keeps a key, unless all was forgotten since it was looked up.
    func store(_ key: APIKey, _ digest: [UInt8], at now: Int64, generation: Int) {
        state.withLock { state in
            guard state.generation == generation else { return }
            if state.entries.count >= Self.capacity { state.entries.removeAll() }
            state.entries[digest] = (key, now)
        }
    }

    func clear() {
        state.withLock { state in
            state.entries.removeAll()
            state.generation += 1
        }
    }
}

extension Substring {
    fileprivate var capitalized: String { prefix(1).uppercased() + dropFirst() }
}
