/// The front of the server: what stands around every handler.
///
/// It gives each request its id, turns credentials and bytes into a ``Call``, and whatever comes back into an answer of
/// the API: an error that was thrown for the caller as it is, any other as a 500 that says nothing and a line in the
/// log that says all. What it logs has the route, never the address that was asked for: that may carry a client secret.

internal import Connections
internal import Database
internal import FoundationEssentials
internal import HTTPTypes
public import Hummingbird
internal import Logging
internal import NIOCore
internal import ReferenceBank
internal import Vault
internal import Wire

public struct Front: HTTPResponder {
    public typealias Context = BasicRequestContext

    static let maximumBody = 64 * 1024
    /// What the router calls an address that it does not know.
    private static let unrouted = "NotFound"

    private let service: Service
    private let router: RouterResponder<BasicRequestContext>

    /// - Parameter answersRequests: false where it says how it is and serves the test bank, and nothing else.
    public init(_ service: Service, answersRequests: Bool = true) {
        self.service = service
        let router = Router(context: BasicRequestContext.self, options: .autoGenerateHeadEndpoints)
        if answersRequests { Self.register(service, on: router) }
        // Also where nobody else is answered: the work without a request reaches the test bank by its own address.
        service.bank?.register(on: router)
        Operations(service).register(on: router)
        self.router = router.buildResponder()
    }

    private static func register(_ service: Service, on router: Router<BasicRequestContext>) {
        for route in API.routes {
            let endpoint = Endpoint(service: service, route: route)
            router.on(RouterPath(route.path), method: route.method) { request, context in
                await endpoint.respond(to: request, context)
            }
        }
        for path in Set(API.routes.filter(\.isForClients).map(\.path)) {
            router.on(RouterPath(path), method: .options) { _, _ in Endpoint.preflight }
        }
        Pages(service).register(on: router)
    }

    public func respond(to request: Request, context: BasicRequestContext) async throws -> Response {
        let start = ContinuousClock.now
        let path = request.uri.path
        var response: Response
        // Slashes are not folded: an address with one too many is unknown.
        if Self.hasStraySlash(path) {
            response = unknown(request)
        } else {
            response = try await router.respond(to: request, context: context)
            if context.coreContext.endpointPath.value == Self.unrouted { response = unknown(request) }
        }
        let route = context.coreContext.endpointPath.value ?? Self.unrouted
        service.metrics.record(
            route: route,
            method: request.method.rawValue,
            status: response.status.code,
            duration: ContinuousClock.now - start
        )
        service.logger.debug(
            "request",
            metadata: [
                "method": "\(request.method.rawValue)", "route": "\(route)", "status": "\(response.status.code)",
                "request_id": "\(response.headers[.requestID] ?? "")",
            ]
        )
        return response
    }

    private static func hasStraySlash(_ path: String) -> Bool {
        var last: UInt8 = 0
        for byte in path.utf8 {
            if byte == UInt8(ascii: "/") && last == byte { return true }
            last = byte
        }
        return last == UInt8(ascii: "/") && path != "/v3/"
    }

    private func unknown(_ request: Request) -> Response {
        let error = StripeError.unknownRoute(method: request.method.rawValue, path: request.uri.path)
        return Endpoint.response(to: error, requestID: service.world.id(.request), head: request.headers)
    }
}

extension Service {
    /// - Returns: the error itself where it is for the caller, and otherwise one that tells the caller nothing.
    func explain(_ error: any Error, _ requestID: String, _ route: String) -> StripeError {
        switch error {
        case let error as StripeError:
            return error
        case DatabaseError.busy:
            return .unavailable("The server is busy. Please try again.")
        case DatabaseError.unreachable:
            // The database itself logs that, once.
            return .unavailable("The server cannot reach its database at the moment. Please try again later.")
        case DatabaseError.storage(let reason):
            logger.error("storage failed", metadata: ["request_id": "\(requestID)", "reason": "\(reason)"])
            return .unavailable("The server cannot store anything at the moment. Please try again later.")
        case DatabaseError.closed, is CancellationError:
            return .unavailable("The server is shutting down. Please try again.")
        default:
            logger.error(
                "unknown fault",
                metadata: [
                    "request_id": "\(requestID)", "route": "\(route)",
                    "error": "\(error)",
                ]
            )
            return .internalFault
        }
    }
}

extension Route {
    fileprivate var isForClients: Bool {
        if case .client = access { return true }
        return false
    }
}

/// Answers requests of one route.
struct Endpoint: Sendable {
    let service: Service
    let route: Route

    func respond(to request: Request, _ context: BasicRequestContext) async -> Response {
        let requestID = service.world.id(.request)
        var response: Response
        do {
            let call = try await call(request, context, requestID)
            let answer = try await route.handle(call)
            response = Self.response(answer, requestID: requestID, call)
        } catch {
            var known = service.explain(error, requestID, "\(route.method.rawValue) \(route.path)")
            // What only the flow draws is not for a merchant's server.
            if !route.isForClients { known.extra = [] }
            response = Self.response(to: known, requestID: requestID, head: request.headers)
        }
        if case .client = route.access { response.headers[.accessControlAllowOrigin] = "*" }
        return response
    }

    // MARK: The call

    private func call(
        _ request: Request,
        _ context: BasicRequestContext,
        _ requestID: String
    ) async throws -> Call {
        let credential = try Authenticator.credential(request.headers)
        let caller = try await authenticate(credential, request.headers)
        let version = try version(request.headers)
        let isPost = request.method == .post
        let isForm = isPost && route.content == .form
        let text = isForm ? try await Self.body(of: request) : Array((request.uri.query ?? "").utf8)
        let form = try Form.decode(text)
        return Call(
            request,
            to: route,
            context.parameters,
            requestID: requestID,
            by: caller,
            version,
            // Clients are idempotent by the Session's state; a person must not get at the merchant's keys.
            idempotencyKey: isPost && !route.isForClients ? try Self.idempotencyKey(request.headers) : nil,
            form,
            service
        )
    }

    private func authenticate(
        _ credential: String,
        _ headers: HTTPFields
    ) async throws -> Call.Caller {
        if case .client = route.access, credential.hasPrefix(FlowToken.prefix) {
            let token = try FlowToken(credential, service.ring)
            return Call.Caller(scope: token.scope, key: nil, flow: token)
        }
        let key = try await service.authenticator.authenticate(credential, for: route.access)
        if case .testHelper = route.access, key.scope.livemode { throw unknownRoute }
        if let account = headers.value(.stripeAccount), account != key.scope.merchant {
            throw StripeError(
                status: 403,
                code: "account_invalid",
                message:
                    "The provided key '\(key.masked)' does not have access to account '\(account.prefix(255))' (or "
                    + "that account does not exist). Application access may have been revoked."
            )
        }
        return Call.Caller(scope: key.scope, key: key, flow: nil)
    }

    private var unknownRoute: StripeError {
        .unknownRoute(method: route.method.rawValue, path: route.path)
    }

    /// The clients of the flow send old versions with flags; they are answered alike, whatever the version.
    private func version(_ headers: HTTPFields) throws(StripeError) -> APIVersion {
        guard let header = headers.value(.stripeVersion), !header.isEmpty else { return .standard }
        if case .client = route.access { return .standard }
        return try APIVersion(header: header)
    }

    private static func idempotencyKey(_ headers: HTTPFields) throws(StripeError) -> String? {
        guard let key = headers.value(.idempotencyKey), !key.isEmpty else { return nil }
        guard key.utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7F }) else {
            throw StripeError(type: .idempotencyError, message: "Idempotency keys can have ASCII characters only.")
        }
        guard key.utf8.count <= 255 else {
            throw StripeError(
                type: .idempotencyError,
                message: "Idempotency keys can be up to 255 characters long."
            )
        }
        return key
    }

    static func body(of request: Request) async throws -> [UInt8] {
        if let length = request.headers.value(.contentLength).flatMap({ Int($0) }), length > Front.maximumBody {
            throw StripeError.tooLargeBody(maximum: Front.maximumBody)
        }
        do {
            let buffer = try await request.body.collect(upTo: Front.maximumBody)
            let type = request.headers.value(.contentType) ?? ""
            if buffer.readableBytes > 0, type != Self.formType, !Self.isForm(type) {
                throw StripeError(
                    message:
                        "Invalid request (check that your POST content type is application/x-www-form-urlencoded). "
                        + "If you have any questions, we can help at https://support.stripe.com/."
                )
            }
            return Array(buffer.readableBytesView)
        } catch is NIOTooManyBytesError {
            throw StripeError.tooLargeBody(maximum: Front.maximumBody)
        } catch let error as StripeError {
            throw error
        } catch {
            // The client hung up, or sent something that is not HTTP.
            throw StripeError(message: "The request's body could not be read.")
        }
    }

    private static let formType = "application/x-www-form-urlencoded"

    /// Whether a content type is that of a form, however it is written, or says nothing.
    private static func isForm(_ type: String) -> Bool {
        let name = type.prefix { $0 != ";" && $0 != " " }.lowercased()
        return name.isEmpty || name == formType
    }

    // MARK: The answer

    private static func response(_ answer: Answer, requestID: String, _ call: Call) -> Response {
        var headers = common(requestID)
        headers.append(HTTPField(name: .stripeVersion, value: call.version.description))
        if let key = call.idempotencyKey { headers.append(HTTPField(name: .idempotencyKey, value: key)) }
        if let cookie = answer.cookie { headers.append(HTTPField(name: .setCookie, value: cookie)) }
        if let original = answer.original {
            headers.append(HTTPField(name: .idempotentReplayed, value: "true"))
            headers.append(HTTPField(name: .originalRequest, value: original))
        }
        return Response(
            status: .init(code: answer.status),
            headers: headers,
            body: .init(byteBuffer: ByteBuffer(bytes: answer.body))
        )
    }

    static func response(to error: StripeError, requestID: String, head: HTTPFields) -> Response {
        var headers = common(requestID)
        if let key = head[.idempotencyKey], key.utf8.count <= 255 { headers[.idempotencyKey] = key }
        if error.status == 401 { headers[.wwwAuthenticate] = "Basic realm=\"Stripe\"" }
        if let retryAfter = error.retryAfter {
            headers[.retryAfter] = String(retryAfter)
            headers[.stripeShouldRetry] = "true"
        }
        return Response(
            status: .init(code: error.status),
            headers: headers,
            body: .init(byteBuffer: ByteBuffer(bytes: error.body()))
        )
    }

    private static func common(_ requestID: String) -> HTTPFields {
        var headers = HTTPFields()
        headers.reserveCapacity(8)
        headers.append(HTTPField(name: .contentType, value: "application/json"))
        headers.append(HTTPField(name: .cacheControl, value: "no-cache, no-store"))
        headers.append(HTTPField(name: .requestID, value: requestID))
        return headers
    }

    /// Browsers ask before they call the client routes from a merchant's page, and send and take no cookie there.
    static let preflight = Response(
        status: .noContent,
        headers: [
            .accessControlAllowOrigin: "*",
            .accessControlAllowMethods: "GET, POST",
            .accessControlAllowHeaders:
                "authorization, content-type, idempotency-key, stripe-version, stripe-account, x-stripe-user-agent",
            .accessControlMaxAge: "7200",
        ]
    )
}

extension HTTPFields {
    /// The same as the subscript, but without the work of joining what nearly always came once.
    func value(_ name: HTTPField.Name) -> String? {
        guard let first = firstIndex(where: { $0.name == name }) else { return nil }
        return self[(first + 1)...].contains { $0.name == name } ? self[name] : self[first].value
    }
}

extension HTTPField.Name {
    // Names that are valid by their letters; `init` fails for others alone.
    static let idempotencyKey = name("Idempotency-Key")
    static let idempotentReplayed = name("Idempotent-Replayed")
    static let originalRequest = name("Original-Request")
    static let requestID = name("Request-Id")
    static let stripeAccount = name("Stripe-Account")
    static let stripeShouldRetry = name("Stripe-Should-Retry")
    static let stripeVersion = name("Stripe-Version")

    static func name(_ text: String) -> HTTPField.Name { HTTPField.Name(text) ?? .server }
}
