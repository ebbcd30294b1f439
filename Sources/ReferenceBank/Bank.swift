/// A small bank that speaks FDX 6 and 5, with OAuth 2.0 and OpenID Connect in front: for trying the FDX connector, or
/// any client of FDX, without a bank. No customer is real, and any name signs in.
///
/// It promises what a good bank does: pushed requests, PKCE, codes and refresh tokens that are good once, consents that
/// end and can be taken back, pages, errors in FDX's shape. What it gives out carries its own meaning, sealed, so that
/// any server of several answers for it; only consents are rows. It refuses clients that it does not know, redirects
/// that were not registered, and everything outside of `/bank`. Its routes: `OAuth.swift`, `Resources.swift`.

public import Database
internal import FoundationEssentials
internal import HTTPTypes
public import Hummingbird
internal import Mustache
internal import NIOCore
public import Vault
internal import Wire

public struct Bank: Sendable {
    /// Who may ask customers of the bank for access.
    public struct Client: Sendable {
        public enum Proof: Sendable {
            case secret(String)
            /// Signs with one of these keys (`private_key_jwt`).
            case keys(JSONWebKeys)
        }

        let id: String
        /// What customers are told that it is called.
        let name: String
        let proof: Proof
        let allows: @Sendable (_ redirect: String) -> Bool
        /// Whether the customer names themself and picks accounts at the bank; otherwise one button shares all.
        let isThorough: Bool

        public init(
            id: String,
            name: String,
            proof: Proof,
            isThorough: Bool,
            allows: @escaping @Sendable (_ redirect: String) -> Bool
        ) {
            self.id = id
            self.name = name
            self.proof = proof
            self.isThorough = isThorough
            self.allows = allows
        }

        /// The consents of a thorough client end after a year, the others when somebody ends them.
        var consentLifetime: Int64? { isThorough ? 365 * 86_400 : nil }
    }

    public struct Settings: Sendable {
        /// Where people's browsers reach the bank; it is the issuer's name too. Ends in `/bank`.
        let front: @Sendable () -> String
        /// Where clients reach it, which may be a shorter way to the same. Ends in `/bank`.
        let back: @Sendable () -> String
        let clients: [Client]

        public init(
            front: @escaping @Sendable () -> String,
            back: @escaping @Sendable () -> String,
            clients: [Client]
        ) {
            self.front = front
            self.back = back
            self.clients = clients
        }
    }

    let database: Database
    let ring: KeyRing
    let settings: Settings
    let now: @Sendable () -> Int64
    /// So many letters that nobody can guess.
    let secret: @Sendable (_ length: Int) -> String
    /// What this process signs its statements on customers with. They are read at once and live from its own key set.
    let key = SigningKey()
    let page: MustacheTemplate

    /// - Parameter database: with the tables `bank_consent` and `bank_user`.
    public init(
        database: Database,
        ring: KeyRing,
        settings: Settings,
        now: @escaping @Sendable () -> Int64,
        secret: @escaping @Sendable (_ length: Int) -> String
    ) throws {
        self.database = database
        self.ring = ring
        self.settings = settings
        self.now = now
        self.secret = secret
        page = try MustacheTemplate(string: String(decoding: PackageResources.consent_html, as: UTF8.self))
    }

    public func register(on router: Router<BasicRequestContext>) {
        registerOAuth(on: router)
        registerResources(on: router)
        router.get("bank/bank.css") { _, _ in
            Response(
                status: .ok,
                headers: [.contentType: "text/css; charset=utf-8", .cacheControl: "no-cache"],
                body: .init(byteBuffer: ByteBuffer(bytes: PackageResources.bank_css))
            )
        }
        router.get("bank/users/:user") { _, context in await customer(context) }
        router.post("bank/users/:user") { request, context in
            do {
                try await change(Self.user(context), Fields(request))
                return await customer(context)
            } catch {
                return oauthFailure(error)
            }
        }
    }

    // MARK: Customers, as tests see and change them

    private static func user(_ context: BasicRequestContext) -> String {
        let segment = context.parameters.get("user") ?? ""
        return Form.percentDecoded(segment) ?? segment
    }

    /// Every consent of a customer.
    private func customer(_ context: BasicRequestContext) async -> Response {
        let user = Self.user(context)
        do {
            let consents = try await database.read { db in try Consent.all(of: user, db) }
            let now = now()
            return Self.json { json in
                json.object { json in
                    json.field("user", user)
                    json.array("consents") { json in
                        for consent in consents {
                            json.element()
                            json.object { json in
                                json.field("id", consent.id)
                                json.field("client", consent.client)
                                json.field("status", consent.status(at: now).rawValue)
                            }
                        }
                    }
                }
            }
        } catch {
            return oauthFailure(error)
        }
    }

    /// `consents` ends them (`expired`, `revoked`), `access_tokens=expired` ends the tokens given so far, `throttle`
    /// and `unavailable` refuse so many of the next requests for data.
    private func change(_ user: String, _ fields: Fields) async throws {
        func read<T>(_ name: String, _ what: String, _ read: (String) -> T?) throws -> T? {
            guard let text = fields[name] else { return nil }
            guard let value = read(text) else { throw OAuthError.invalidRequest("\(name) takes \(what).") }
            return value
        }
        let throttle = try read("throttle", "a number") { Int64($0) }
        let unavailable = try read("unavailable", "a number") { Int64($0) }
        let end = try read("consents", "expired or revoked") { text -> Consent.Status? in
            ["expired": .expired, "revoked": .revoked][text]
        }
        let endsTokens = try read("access_tokens", "expired") { $0 == "expired" ? true : nil } ?? false
        guard throttle != nil || unavailable != nil || end != nil || endsTokens || fields.isEmpty else {
            throw OAuthError.invalidRequest("Give consents, access_tokens, throttle or unavailable.")
        }
        let now = now()
        try await database.write { db in
            if let end { try Consent.end(end, of: user, at: now, db) }
            guard throttle != nil || unavailable != nil || endsTokens else { return }
            try Mood.set(
                throttled: throttle,
                unavailable: unavailable,
                endsAccessTokens: endsTokens,
                of: user,
                db
            )
        }
    }

    // MARK: What is sealed

    /// What a sealed text is; one kind never opens as another.
    enum Kind: String {
        case request, code, access, refresh
    }

    func seal(_ value: some Encodable, as kind: Kind) throws -> String {
        let text = try JSONEncoder().encode(value)
        return Secret.base64URL(try ring.seal([UInt8](text), for: .referenceBank, owner: kind.rawValue))
    }

    func open<Value: Decodable>(_ text: some StringProtocol, as kind: Kind, _ type: Value.Type) -> Value? {
        guard let sealed = Secret.bytes(base64URL: text),
            let note = try? ring.open(sealed, for: .referenceBank, owner: kind.rawValue)
        else { return nil }
        return try? JSONDecoder().decode(type, from: Data(note))
    }

    // MARK: Answers

    static func json(
        status: HTTPResponse.Status = .ok,
        headers: HTTPFields = [:],
        _ body: (inout JSONWriter) throws -> Void
    ) rethrows -> Response {
        var json = JSONWriter()
        try body(&json)
        var headers = headers
        headers[.contentType] = "application/json"
        headers[.cacheControl] = "no-store"
        return Response(status: status, headers: headers, body: .init(byteBuffer: ByteBuffer(bytes: json.finish())))
    }
}

/// The fields of a form, or of an address.
struct Fields: Sendable {
    private let form: FormMap

    init(_ request: Request) async throws {
        let buffer = try await request.body.collect(upTo: 64 * 1024)
        form = try Form.decode(Array(buffer.readableBytesView))
    }

    init(query: String) throws {
        form = try Form.decode(Array(query.utf8))
    }

    var isEmpty: Bool { form.members.isEmpty }

    subscript(name: String) -> String? {
        guard case .value(let value)? = form[name], !value.isEmpty else { return nil }
        return value
    }

    /// Every value of a field that may be given more than once, as `name[]`.
    func all(_ name: String) -> [String] {
        guard case .map(let list)? = form[name] else { return self[name].map { [$0] } ?? [] }
        return list.elements.compactMap { if case .value(let value) = $0 { value } else { nil } }
    }
}
