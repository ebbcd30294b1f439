/// The pages: the hosted flow, the library that opens it, and the merchant's demo. They are embedded in the binary and
/// served under a strict Content-Security-Policy. The one cookie is that of ``BrowserMark``.

internal import Connections
internal import Database
internal import FoundationEssentials
internal import HTTPTypes
internal import Hummingbird
internal import Mustache
internal import NIOCore
internal import Vault
internal import Wire

struct Pages: Sendable {
    private let service: Service

    init(_ service: Service) {
        self.service = service
    }

    func register(on router: Router<BasicRequestContext>) {
        let flow = Asset(PackageResources.flow_html, "text/html; charset=utf-8", flowPolicy)
        let done = Asset(PackageResources.done_html, "text/html; charset=utf-8", pagePolicy)
        let library = Asset(
            PackageResources.v3_js,
            "text/javascript; charset=utf-8",
            [.accessControlAllowOrigin: "*", .name("Cross-Origin-Resource-Policy"): "cross-origin"]
        )
        let script = "text/javascript; charset=utf-8"
        let style = "text/css; charset=utf-8"
        let bankReturn = BankReturn(service, headers: pagePolicy)
        router.get("flow/return") { request, _ in await bankReturn.respond(to: request) }
        router.post("flow/return") { request, _ in await bankReturn.goOn(request) }
        serve(Asset(PackageResources.return_js, script), at: "flow/return.js", on: router)
        serve(flow, at: "flow", on: router)
        serve(done, at: "flow/done", on: router)
        serve(Asset(PackageResources.flow_js, script), at: "flow/flow.js", on: router)
        serve(Asset(PackageResources.flow_css, style), at: "flow/flow.css", on: router)
        serve(library, at: "v3", on: router)
        guard let demo = service.settings.demo else { return }
        serve(Asset(PackageResources.demo_js, script), at: "demo/demo.js", on: router)
        serve(Asset(PackageResources.demo_css, style), at: "demo/demo.css", on: router)
        let page = demoPage(demo)
        serve(page, at: "demo", on: router)
        router.post("demo/sessions") { request, _ in await createDemoSession(request, demo) }
        router.get("demo/sessions/:id") { request, context in
            await showDemoSession(context.parameters.get("id") ?? "", request, demo)
        }
    }

    private func serve(_ asset: Asset, at path: String, on router: Router<BasicRequestContext>) {
        router.get(RouterPath(path)) { request, _ in asset.response(to: request) }
    }

    // MARK: Policies

    private var pagePolicy: HTTPFields {
        Self.policy(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
                + "frame-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )
    }

    private var flowPolicy: HTTPFields {
        Self.policy(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
                + "font-src 'self'; form-action 'self'; base-uri 'none'; require-trusted-types-for 'script'; "
                + "frame-ancestors \(service.settings.embedOrigins.joined(separator: " "))"
        )
    }

    private static func policy(_ policy: String) -> HTTPFields {
        [
            .contentSecurityPolicy: policy,
            .name("Permissions-Policy"): "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
        ]
    }

    // MARK: The demo

    private func demoPage(_ demo: Service.Settings.Demo) -> Asset {
        let text = String(decoding: PackageResources.demo_html, as: UTF8.self)
        let page = (try? MustacheTemplate(string: text))?.render(["publishableKey": demo.publishableKey]) ?? text
        return Asset(Array(page.utf8), "text/html; charset=utf-8", pagePolicy)
    }

    /// Makes a Session for the demo's customer, with the parameters of the API but for the holder.
    private func createDemoSession(_ request: Request, _ demo: Service.Settings.Demo) async -> Response {
        let requestID = service.world.id(.request)
        do {
            try Self.requireSameOrigin(request)
            let body = try await Endpoint.body(of: request)
            let (service, scope) = (service, demo.scope)
            let answer = try await service.database.write { db in
                let customer = try demoCustomer(scope, requestID, db)
                let holder = Array("&account_holder[type]=customer&account_holder[customer]=\(customer)".utf8)
                let form = try Form.decode(body + holder)
                let parameters = try Parameters(form, allowing: Session.names(.standard))
                let draft = try Session.Draft(
                    Session.Request(parameters, .standard),
                    lifetime: service.settings.sessionLifetime,
                    in: scope,
                    service.world,
                    service.ring
                )
                try Session.create(draft, db)
                let session = draft.session
                let token = try FlowToken(session, end: .page, service.world).text(service.ring)
                return Call.answer { json in
                    json.object { json in
                        json.field("id", session.id)
                        json.field("client_secret", draft.secret)
                        json.field("hosted_auth_url", "\(service.settings.publicURL())/flow?t=\(token)")
                        json.field("publishable_key", demo.publishableKey)
                    }
                }
            }
            return Self.json(answer, requestID)
        } catch {
            return failure(error, requestID, request)
        }
    }

    private func showDemoSession(_ id: String, _ request: Request, _ demo: Service.Settings.Demo) async -> Response {
        let requestID = service.world.id(.request)
        do {
            try Self.requireSameOrigin(request)
            let (ring, scope) = (service.ring, demo.scope)
            let answer = try await service.database.read { db in
                let session = try Session.find(id, at: .path(param: "session"), in: scope, db)
                // Of the sessions that the demo made itself, no other.
                let customer = try Customer.find(email: Self.demoEmail, in: scope, db)
                guard session.holder.id == customer?.id else {
                    throw StripeError.noSuch(
                        "financial_connections.session",
                        id,
                        at: .path(param: "session"),
                        livemode: false
                    )
                }
                return try Call.answer { json in
                    try session.write(to: &json, for: .server(.standard), db, ring)
                }
            }
            return Self.json(answer, requestID)
        } catch {
            return failure(error, requestID, request)
        }
    }

    /// An address that no customer of the merchant's can have.
    private static let demoEmail = "demo@linkspan.invalid"

    private func demoCustomer(_ scope: Scope, _ requestID: String, _ db: Connection) throws -> String {
        if let known = try Customer.find(email: Self.demoEmail, in: scope, db) { return known.id }
        let form = try Form.decode(Array("email=\(Self.demoEmail)&name=Jenny+Rosen&description=Linkspan+demo".utf8))
        let changes = try Customer.Changes(Parameters(form, allowing: Customer.names))
        let cause = Cause(requestID: requestID, idempotencyKey: nil)
        return try Customer.create(changes, by: cause, in: scope, db, service.world).id
    }

    /// Browsers say where a request comes from; no other site's page may use the demo.
    private static func requireSameOrigin(_ request: Request) throws(StripeError) {
        guard !request.headers.isFromOtherPage else {
            throw StripeError(status: 403, message: "The demo answers its own page alone.")
        }
    }

    private func failure(_ error: any Error, _ requestID: String, _ request: Request) -> Response {
        let known = service.explain(error, requestID, "demo")
        return Endpoint.response(to: known, requestID: requestID, head: request.headers)
    }

    private static func json(_ answer: Answer, _ requestID: String) -> Response {
        Response(
            status: .init(code: answer.status),
            headers: [.contentType: "application/json", .cacheControl: "no-store", .requestID: requestID],
            body: .init(byteBuffer: ByteBuffer(bytes: answer.body))
        )
    }
}

/// A file of the binary with its headers. Browsers ask again each time and are told when nothing changed.
private struct Asset: Sendable {
    private let buffer: ByteBuffer
    private let headers: HTTPFields
    private let tag: String

    init(_ bytes: [UInt8], _ type: String, _ extra: HTTPFields = [:]) {
        buffer = ByteBuffer(bytes: bytes)
        tag = "\"\(Secret.base64URL(Array(Secret.digest(bytes).prefix(12))))\""
        var headers: HTTPFields = [
            .contentType: type,
            .cacheControl: "no-cache",
            .eTag: tag,
            .xContentTypeOptions: "nosniff",
            .name("Referrer-Policy"): "strict-origin",
        ]
        for field in extra { headers.append(field) }
        self.headers = headers
    }

    func response(to request: Request) -> Response {
        if request.headers[.ifNoneMatch] == tag {
            return Response(status: .notModified, headers: headers)
        }
        return Response(status: .ok, headers: headers, body: .init(byteBuffer: buffer))
    }
}
