/// A route of the API and the call that a handler of one is given.
///
/// A handler reads top to bottom: parse, one read or write of the database, answer. All else, from the key to the
/// headers of the answer, is done around it in ``Front``.

internal import Connections
internal import Database
internal import HTTPTypes
internal import HummingbirdCore
internal import Vault
internal import Wire

struct Route: Sendable {
    enum Access: Sendable {
        /// A secret key, or a restricted one with this permission.
        case server(APIKey.Permission)
        /// A publishable key with a client secret, or a flow token.
        case client
        /// A secret key of test mode.
        case testHelper
    }

    enum Content: Sendable {
        /// Parameters, in a form.
        case form
        /// A file, read as it comes by whoever handles it; parameters are in the address.
        case file
    }

    let method: HTTPRequest.Method
    /// `/v1/customers/:id`
    let path: String
    let access: Access
    let content: Content
    let handle: @Sendable (Call) async throws -> Answer

    init(
        _ method: HTTPRequest.Method,
        _ path: String,
        _ access: Access,
        content: Content = .form,
        _ handle: @escaping @Sendable (Call) async throws -> Answer
    ) {
        self.method = method
        self.path = path
        self.access = access
        self.content = content
        self.handle = handle
    }
}

/// One request, authenticated and decoded.
struct Call: Sendable {
    let service: Service
    let scope: Scope
    /// The key that was used; nil for a flow token.
    let key: APIKey?
    let version: APIVersion
    let requestID: String
    /// The request's `Host`, unchecked.
    let host: String?
    let idempotencyKey: String?
    let form: FormMap
    /// A digest of the method, the path and the parameters.
    let fingerprint: @Sendable () -> [UInt8]
    /// The id in the path, empty where there is none.
    let id: String
    /// The id of a part of that, empty where there is none.
    let inner: String
    /// What a client's flow token proved, nil for every other credential.
    let flow: FlowToken?
    /// Whether a page of ours asks.
    let isFromOwnPage: Bool
    /// The file of a route that takes one, and how long the client says that it is.
    let file: (body: RequestBody, length: Int?)?

    var cause: Cause { Cause(requestID: requestID, idempotencyKey: idempotencyKey) }

    func parameters(_ names: [String: Parameters.Names] = [:]) throws(StripeError) -> Parameters {
        try Parameters(form, allowing: names)
    }

    func expansion(_ shape: Expansion.Shape) throws(StripeError) -> Expansion {
        let expansion = try Expansion(form, of: shape)
        for resource in expansion.resources {
            guard let key, let resource = APIKey.Permission.Resource(rawValue: resource) else { continue }
            let permission = APIKey.Permission(resource, write: false)
            guard key.allows(permission) else { throw Authenticator.notAllowed(key, permission) }
        }
        return expansion
    }

    /// Answers out of one consistent state of the database.
    func read(_ body: @escaping @Sendable (Connection, inout JSONWriter) throws -> Void) async throws -> Answer {
        try await service.database.read { db in try Self.answer(db, body) }
    }

    /// Answers out of a single statement.
    func lookup(_ body: @escaping @Sendable (Connection, inout JSONWriter) throws -> Void) async throws -> Answer {
        try await service.database.lookup { db in try Self.answer(db, body) }
    }

    /// Makes one change, at most once for an idempotency key, and answers when it is on disk.
    func write(_ body: @escaping @Sendable (Connection, inout JSONWriter) throws -> Void) async throws -> Answer {
        try await once { db in try Self.answer(db, body) }
    }

    /// The same where the answer is known before the change is made.
    func write(
        answering answer: Answer,
        _ body: @escaping @Sendable (Connection) throws -> Void
    ) async throws -> Answer {
        try await once(answering: answer) { db in
            try body(db)
            return answer
        }
    }

    private func once(
        answering known: Answer? = nil,
        _ work: @escaping @Sendable (Connection) throws -> Answer
    ) async throws -> Answer {
        guard let idempotencyKey else { return try await service.database.write(work) }
        return try await Idempotency.once(
            key: idempotencyKey,
            fingerprint: fingerprint(),
            request: requestID,
            in: scope,
            service.database,
            service.world,
            service.ring,
            render: { error in Answer(status: error.status, body: error.body()) },
            answering: known,
            work
        )
    }

    private static func answer(
        _ db: Connection,
        _ body: (Connection, inout JSONWriter) throws -> Void
    ) throws -> Answer {
        var json = JSONWriter()
        try body(db, &json)
        return Answer(body: json.finish())
    }

    /// An answer that needs no database.
    static func answer(status: Int = 200, _ body: (inout JSONWriter) throws -> Void) rethrows -> Answer {
        var json = JSONWriter(capacity: 2048)
        try body(&json)
        return Answer(status: status, body: json.finish())
    }
}

extension StripeError {
    func body() -> [UInt8] {
        var json = JSONWriter(capacity: 512)
        write(to: &json)
        return json.finish()
    }
}
