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
final class Call: Sendable {
    let service: Service
    let version: APIVersion
    let requestID: String
    let idempotencyKey: String?
    /// A digest of the method, the path and the parameters; empty where there is no idempotency key.
    private let fingerprint: [UInt8]
    let form: FormMap
    /// The request's `Host`, unchecked.
    let host: String?
    private let caller: Caller
    private let headers: HTTPFields
    private let segments: FlatDictionary<Substring, Substring>
    /// What was sent to a route that takes a file.
    let file: RequestBody?

    /// What a credential proved.
    struct Caller {
        let scope: Scope
        /// The key that was used; nil for a flow token.
        let key: APIKey?
        /// What a client's flow token says, nil for every other credential.
        let flow: FlowToken?
    }

    /// - Parameter segments: those of the path that its route has names for.
    init(
        _ request: Request,
        to route: Route,
        _ segments: FlatDictionary<Substring, Substring>,
        requestID: String,
        by caller: Caller,
        _ version: APIVersion,
        idempotencyKey: String?,
        _ form: FormMap,
        _ service: Service
    ) {
        self.requestID = requestID
        self.caller = caller
        self.version = version
        self.idempotencyKey = idempotencyKey
        self.form = form
        self.segments = segments
        self.service = service
        fingerprint = idempotencyKey == nil ? [] : Self.fingerprint(request, form)
        host = request.head.authority
        headers = request.headers
        file = route.content == .file ? request.body : nil
    }

    var scope: Scope { caller.scope }
    var key: APIKey? { caller.key }
    var flow: FlowToken? { caller.flow }
    /// The id in the path, empty where there is none.
    var id: String { segment("id") }
    /// The id of a part of that, empty where there is none.
    var inner: String { segment("inner") }
    /// Whether a page of ours asks.
    var isFromOwnPage: Bool { headers.isFromOwnPage }
    /// How long the client says that its body is.
    var length: Int? { headers[.contentLength].flatMap { Int($0) } }

    private func segment(_ name: String) -> String {
        guard let segment = segments[name[...]].map(String.init) else { return "" }
        return segment.utf8.contains(UInt8(ascii: "%")) ? Form.percentDecoded(segment) ?? segment : segment
    }

    private static func fingerprint(_ request: Request, _ form: FormMap) -> [UInt8] {
        var canonical: [UInt8] = []
        canonical.reserveCapacity(512)
        for part in [request.method.rawValue, " ", request.uri.path, "\n"] { canonical.append(contentsOf: part.utf8) }
        form.appendCanonical(to: &canonical)
        return Secret.digest(canonical)
    }

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
    /// - Parameters:
    ///   - recipe: what `again` renders the same answer from, after the change.
    func write(
        answering answer: Answer,
        from recipe: String,
        again: @escaping @Sendable (_ recipe: String, Connection, inout JSONWriter) throws -> Void,
        _ body: @escaping @Sendable (Connection) throws -> Void
    ) async throws -> Answer {
        try await once(
            answering: KnownAnswer(answer, recipe: recipe),
            again: { recipe, db in try Self.answer(db) { db, json in try again(recipe, db, &json) }.body },
            { db in
                try body(db)
                return answer
            }
        )
    }

    private func once(
        answering known: KnownAnswer? = nil,
        again: (@Sendable (_ recipe: String, Connection) throws -> [UInt8])? = nil,
        _ work: @escaping @Sendable (Connection) throws -> Answer
    ) async throws -> Answer {
        guard let idempotencyKey else { return try await service.database.write(work) }
        let use = Idempotency(
            key: idempotencyKey,
            fingerprint: fingerprint,
            request: requestID,
            in: scope,
            service.database,
            service.world,
            service.ring,
            again: again
        )
        return try await use.once(
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
        // What most need, and less than the 1 KiB up to which memory is had without a lock.
        var json = JSONWriter(capacity: 960)
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
