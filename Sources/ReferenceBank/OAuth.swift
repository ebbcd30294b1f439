/// The bank's front door: OAuth 2.0 (RFC 6749) by code with PKCE (7636), pushed requests (9126), the issuer in the
/// answer (9207), revocation (7009), introspection (7662) and OpenID Connect's discovery and id tokens.

internal import Database
internal import FoundationEssentials
internal import HTTPTypes
internal import Hummingbird
internal import NIOCore
internal import Vault
internal import Wire

/// A refusal in OAuth's words.
struct OAuthError: Error {
    let name: String
    let description: String

    static func invalidRequest(_ description: String) -> OAuthError {
        OAuthError(name: "invalid_request", description: description)
    }

    static let invalidClient = OAuthError(name: "invalid_client", description: "The client did not prove itself.")
    static let invalidGrant = OAuthError(name: "invalid_grant", description: "The grant is over, spent or not yours.")
}

/// What a client asks of a customer.
struct AccessRequest: Codable, Sendable {
    let client: String
    let redirect: String
    let scope: String
    let state: String?
    let nonce: String?
    /// PKCE, by S256.
    let challenge: String
    let hint: String?
    let expires: Int64
}

/// What a code or a token stands for.
private struct Grant: Codable, Sendable {
    let consent: String
    let client: String
    let expires: Int64
    var generation: Int64?
    var scope: String?
    var redirect: String?
    var challenge: String?
    var nonce: String?
    var epoch: Int64?
}

extension Bank {
    private static let requestPrefix = "urn:ietf:params:oauth:request_uri:"
    private static let scopes = [
        "openid", "offline_access", "fdx:accountbasic:read", "fdx:accountdetailed:read", "fdx:accountpayments:read",
        "fdx:balances:read", "fdx:customercontact:read", "fdx:transactions:read",
    ]
    private static let requestLifetime: Int64 = 600
    private static let codeLifetime: Int64 = 60
    private static let accessLifetime: Int64 = 900
    private static let refreshLifetime: Int64 = 400 * 86_400

    func registerOAuth(on router: Router<BasicRequestContext>) {
        router.get("bank/.well-known/openid-configuration") { _, _ in discovery }
        router.get("bank/jwks") { _, _ in Self.json { $0.rendered(Array(key.publicKeys.utf8)) } }
        router.post("bank/par") { request, _ in await answering { try await push(request) } }
        router.get("bank/authorize") { request, _ in await showConsent(request) }
        router.post("bank/authorize") { request, _ in await decide(request) }
        router.post("bank/token") { request, _ in await answering { try await token(request) } }
        router.post("bank/revoke") { request, _ in await answering { try await revoke(request) } }
        router.post("bank/introspect") { request, _ in await answering { try await introspect(request) } }
    }

    private func answering(_ body: () async throws -> Response) async -> Response {
        do {
            return try await body()
        } catch {
            return oauthFailure(error)
        }
    }

    func oauthFailure(_ error: any Error) -> Response {
        let known = error as? OAuthError
        let status: HTTPResponse.Status =
            switch known?.name {
            case "invalid_client": .unauthorized
            case nil: error is StripeError ? .badRequest : .internalServerError
            default: .badRequest
            }
        return Self.json(status: status) { json in
            json.object { json in
                json.field("error", known?.name ?? (status == .badRequest ? "invalid_request" : "server_error"))
                json.field("error_description", known?.description ?? "The bank could not answer.")
            }
        }
    }

    private var discovery: Response {
        let (front, back) = (settings.front(), settings.back())
        return Self.json { json in
            json.object { json in
                json.field("issuer", front)
                json.field("authorization_endpoint", "\(front)/authorize")
                json.field("authorization_response_iss_parameter_supported", true)
                json.field("code_challenge_methods_supported", ["S256"])
                json.field("grant_types_supported", ["authorization_code", "refresh_token"])
                json.field("id_token_signing_alg_values_supported", ["ES256"])
                json.field("introspection_endpoint", "\(back)/introspect")
                json.field("jwks_uri", "\(back)/jwks")
                json.field("pushed_authorization_request_endpoint", "\(back)/par")
                json.field("response_types_supported", ["code"])
                json.field("revocation_endpoint", "\(back)/revoke")
                json.field("scopes_supported", Self.scopes)
                json.field("subject_types_supported", ["public"])
                json.field("token_endpoint", "\(back)/token")
                json.field(
                    "token_endpoint_auth_methods_supported",
                    ["client_secret_basic", "client_secret_post", "private_key_jwt"]
                )
                json.field("token_endpoint_auth_signing_alg_values_supported", ["ES256", "PS256", "RS256"])
            }
        }
    }

    // MARK: Clients

    private struct Assertion: Decodable {
        let iss: String
        let sub: String
        let aud: Audience
        let exp: Int64

        enum Audience: Decodable {
            case one(String), many([String])

            init(from decoder: any Decoder) throws {
                let container = try decoder.singleValueContainer()
                if let many = try? container.decode([String].self) { self = .many(many); return }
                self = .one(try container.decode(String.self))
            }

            var all: [String] {
                switch self {
                case .one(let name): [name]
                case .many(let names): names
                }
            }
        }
    }

    /// The client of a request, proven by Basic, by a form field or by a signed assertion.
    private func client(_ request: Request, _ fields: Fields) throws -> Client {
        if let assertion = fields["client_assertion"] { return try client(assertion: assertion) }
        let basic = request.headers[.authorization].flatMap(Self.basic)
        guard let id = basic?.id ?? fields["client_id"], let secret = basic?.secret ?? fields["client_secret"],
            let client = settings.clients.first(where: { $0.id == id }), case .secret(let own) = client.proof,
            Secret.digest(own) == Secret.digest(secret)
        else { throw OAuthError.invalidClient }
        return client
    }

    private func client(assertion: String) throws -> Client {
        for client in settings.clients {
            guard case .keys(let keys) = client.proof,
                let claims = try? JSONWebToken.claims(of: assertion, signedBy: keys),
                let read = try? JSONDecoder().decode(Assertion.self, from: Data(claims))
            else { continue }
            let own = [settings.front(), "\(settings.back())/token", "\(settings.back())/par"]
            guard read.iss == client.id, read.sub == client.id, read.exp > now(),
                read.aud.all.contains(where: own.contains)
            else { throw OAuthError.invalidClient }
            return client
        }
        throw OAuthError.invalidClient
    }

    private static func basic(_ header: String) -> (id: String, secret: String)? {
        guard header.lowercased().hasPrefix("basic "), let bytes = Data(base64Encoded: String(header.dropFirst(6)))
        else { return nil }
        let parts = String(decoding: bytes, as: UTF8.self).split(separator: ":", maxSplits: 1)
        guard parts.count == 2, let id = Form.percentDecoded(String(parts[0])),
            let secret = Form.percentDecoded(String(parts[1]))
        else { return nil }
        return (id, secret)
    }

    // MARK: Requests for access

    private func push(_ request: Request) async throws -> Response {
        let fields = try await Fields(request)
        let client = try client(request, fields)
        guard fields["request_uri"] == nil else { throw OAuthError.invalidRequest("A pushed request holds no other.") }
        let asked = try read(fields, of: client)
        let name = Self.requestPrefix + (try seal(asked, as: .request))
        return Self.json(status: .created) { json in
            json.object { json in
                json.field("request_uri", name)
                json.field("expires_in", Self.requestLifetime)
            }
        }
    }

    private func read(_ fields: Fields, of client: Client) throws -> AccessRequest {
        guard let redirect = fields["redirect_uri"], client.allows(redirect) else {
            throw OAuthError.invalidRequest("redirect_uri is not registered for this client.")
        }
        guard fields["response_type"] == "code" else {
            throw OAuthError(name: "unsupported_response_type", description: "response_type must be code.")
        }
        guard fields["code_challenge_method"] == "S256", let challenge = fields["code_challenge"],
            challenge.utf8.count == 43
        else { throw OAuthError.invalidRequest("PKCE by S256 is required.") }
        let scope = fields["scope"] ?? ""
        let names = scope.split(separator: " ").map(String.init)
        guard names.contains("openid"), names.allSatisfy(Self.scopes.contains) else {
            throw OAuthError(name: "invalid_scope", description: "Scopes are openid and those of discovery.")
        }
        return AccessRequest(
            client: client.id,
            redirect: redirect,
            scope: scope,
            state: fields["state"],
            nonce: fields["nonce"],
            challenge: challenge,
            hint: fields["login_hint"],
            expires: now() + Self.requestLifetime
        )
    }

    /// The request that an address of the consent page stands for, and its client.
    /// - Throws: an ``OAuthError`` that must be shown, not sent on: who asked is not certain.
    private func request(_ fields: Fields) throws -> (AccessRequest, Client) {
        guard let id = fields["client_id"], let client = settings.clients.first(where: { $0.id == id }) else {
            throw OAuthError.invalidRequest("This client is not known here.")
        }
        guard let name = fields["request_uri"] else { return (try read(fields, of: client), client) }
        guard name.hasPrefix(Self.requestPrefix),
            let asked = open(name.dropFirst(Self.requestPrefix.count), as: .request, AccessRequest.self),
            asked.client == client.id, asked.expires > now()
        else { throw OAuthError.invalidRequest("This request has expired. Go back and begin again.") }
        return (asked, client)
    }

    private func showConsent(_ request: Request) async -> Response {
        do {
            let (asked, client) = try self.request(Fields(query: request.uri.query ?? ""))
            return try consentPage(asked, client, problem: nil, chosen: nil, user: asked.hint ?? "jenny")
        } catch let error as OAuthError {
            return errorPage(error.description)
        } catch {
            return errorPage("The address could not be read.")
        }
    }

    private func decide(_ request: Request) async -> Response {
        do {
            let fields = try await Fields(request)
            guard let asked = open(fields["request"] ?? "", as: .request, AccessRequest.self), asked.expires > now(),
                let client = settings.clients.first(where: { $0.id == asked.client })
            else { return errorPage("This request has expired. Go back and begin again.") }
            let user = client.isThorough ? fields["user"] ?? "" : asked.hint ?? "jenny"
            let chosen = client.isThorough ? fields.all("accounts") : BookAccount.all(of: user).map(\.name)
            switch fields["decision"] {
            case "allow":
                let name = user.trimmingPrefix(while: \.isWhitespace)
                guard !name.isEmpty, name.utf8.count <= 100 else {
                    return try consentPage(asked, client, problem: "Type a user name.", chosen: chosen, user: user)
                }
                guard !chosen.isEmpty else {
                    return try consentPage(
                        asked,
                        client,
                        problem: "Choose at least one account.",
                        chosen: chosen,
                        user: user
                    )
                }
                return Self.seeOther(try await allow(asked, client, user: String(name), accounts: chosen))
            case "deny":
                return Self.seeOther(back(to: asked, [("error", "access_denied"), ("error_description", "Denied.")]))
            default:
                return Self.seeOther(
                    back(to: asked, [("error", "access_denied"), ("error_description", "The customer turned back.")])
                )
            }
        } catch {
            return errorPage("The bank could not go on. Go back and begin again.")
        }
    }

    /// Consents to the request of an address as a customer would who shares all: for tests that have no browser.
    /// - Returns: where the customer's browser would be sent; nil for an address that asks for nothing here.
    public func approve(_ address: String) async throws -> String? {
        let parts = address.split(separator: "?", maxSplits: 1).map(String.init)
        guard parts.count == 2, parts[0] == "\(settings.front())/authorize" else { return nil }
        let (asked, client) = try request(Fields(query: parts[1]))
        let user = asked.hint ?? "jenny"
        return try await allow(asked, client, user: user, accounts: BookAccount.all(of: user).map(\.name))
    }

    /// Writes the consent down and makes its code. Two names fail, for tests of what comes then.
    private func allow(
        _ asked: AccessRequest,
        _ client: Client,
        user: String,
        accounts names: [String]
    ) async throws -> String {
        if user == "error" { return back(to: asked, [("error", "server_error")]) }
        if user == "unavailable" { return back(to: asked, [("error", "temporarily_unavailable")]) }
        let accounts = BookAccount.all(of: user).filter { names.contains($0.name) }.map(\.id)
        let now = now()
        let consent = Consent(
            id: secret(24),
            client: client.id,
            user: user,
            accounts: accounts,
            at: now,
            lifetime: client.consentLifetime
        )
        try await database.write { db in try consent.insert(db) }
        let code = Grant(
            consent: consent.id,
            client: client.id,
            expires: now + Self.codeLifetime,
            scope: asked.scope,
            redirect: asked.redirect,
            challenge: asked.challenge,
            nonce: asked.nonce
        )
        return back(to: asked, [("code", try seal(code, as: .code))])
    }

    private func back(to asked: AccessRequest, _ answer: [(String, String)]) -> String {
        var answer = answer
        if let state = asked.state { answer.append(("state", state)) }
        answer.append(("iss", settings.front()))
        let separator = asked.redirect.contains("?") ? "&" : "?"
        return asked.redirect + separator + Form.encode(answer)
    }

    static func seeOther(_ address: String) -> Response {
        Response(status: .seeOther, headers: [.location: address, .cacheControl: "no-store"])
    }

    // MARK: Tokens

    private func token(_ request: Request) async throws -> Response {
        let fields = try await Fields(request)
        let client = try client(request, fields)
        switch fields["grant_type"] {
        case "authorization_code":
            guard let code = fields["code"], let grant = open(code, as: .code, Grant.self), grant.client == client.id,
                grant.redirect == fields["redirect_uri"], grant.expires > now(), let verifier = fields["code_verifier"],
                Secret.base64URL(Secret.digest(verifier)) == grant.challenge
            else { throw OAuthError.invalidGrant }
            return try await tokens(grant, generation: 0, client, isFirst: true)
        case "refresh_token":
            guard let token = fields["refresh_token"], let grant = open(token, as: .refresh, Grant.self),
                grant.client == client.id, grant.expires > now(), let generation = grant.generation
            else { throw OAuthError.invalidGrant }
            return try await tokens(grant, generation: generation, client, isFirst: false)
        default:
            throw OAuthError(name: "unsupported_grant_type", description: "Use a code or a refresh token.")
        }
    }

    private func tokens(_ grant: Grant, generation: Int64, _ client: Client, isFirst: Bool) async throws -> Response {
        let now = now()
        let (consent, epoch) = try await database.write { db in
            let consent = try Consent.spend(generation, of: grant.consent, by: client.id, at: now, db)
            return (consent, try consent.map { try Mood.of($0.user, db).epoch } ?? 0)
        }
        guard let consent else { throw OAuthError.invalidGrant }
        let access = Grant(consent: consent.id, client: client.id, expires: now + Self.accessLifetime, epoch: epoch)
        let refresh = Grant(
            consent: consent.id,
            client: client.id,
            expires: now + Self.refreshLifetime,
            generation: consent.generation,
            scope: grant.scope
        )
        let (accessToken, refreshToken) = (try seal(access, as: .access), try seal(refresh, as: .refresh))
        let idToken = isFirst ? try self.idToken(consent, grant, now) : nil
        return Self.json { json in
            json.object { json in
                json.field("access_token", accessToken)
                json.field("expires_in", Self.accessLifetime)
                json.field("fdxConsentId", consent.id)
                if let idToken { json.field("id_token", idToken) }
                json.field("refresh_token", refreshToken)
                json.field("scope", grant.scope)
                json.field("token_type", "Bearer")
            }
        }
    }

    private func idToken(_ consent: Consent, _ grant: Grant, _ now: Int64) throws -> String {
        var json = JSONWriter()
        json.object { json in
            json.field("aud", consent.client)
            json.field("exp", now + Self.accessLifetime)
            json.field("fdxConsentId", consent.id)
            json.field("iat", now)
            json.field("iss", settings.front())
            if let nonce = grant.nonce { json.field("nonce", nonce) }
            json.field("sub", consent.user)
        }
        return try JSONWebToken.sign(json.bytes, with: key)
    }

    /// Ends the consent that a token hangs on. A token that is none is no error, says the standard.
    private func revoke(_ request: Request) async throws -> Response {
        let fields = try await Fields(request)
        let client = try client(request, fields)
        let token = fields["token"] ?? ""
        let grant = open(token, as: .refresh, Grant.self) ?? open(token, as: .access, Grant.self)
        if let grant, grant.client == client.id {
            try await database.write { db in try Consent.revoke(grant.consent, db) }
        }
        return Response(status: .ok, headers: [.cacheControl: "no-store"])
    }

    private func introspect(_ request: Request) async throws -> Response {
        let fields = try await Fields(request)
        let client = try client(request, fields)
        let token = fields["token"] ?? ""
        let grant = open(token, as: .access, Grant.self) ?? open(token, as: .refresh, Grant.self)
        let known = grant?.client == client.id && (grant?.expires ?? 0) > now() ? grant : nil
        let consent = try await database.read { db in try known.flatMap { try Consent.find($0.consent, db) } }
        let isActive = consent?.status(at: now()) == .active
        return Self.json { json in
            json.object { json in
                json.field("active", isActive)
                guard isActive, let consent else { return }
                json.field("client_id", consent.client)
                json.field("exp", known?.expires)
                json.field("fdxConsentId", consent.id)
                json.field("sub", consent.user)
            }
        }
    }

    /// The consent, active and of its customer, that the token of a request for data opens.
    func consent(bearer token: String) async throws -> (consent: Consent, mood: Mood)? {
        guard let grant = open(token, as: .access, Grant.self), grant.expires > now() else { return nil }
        let found = try await database.read { db -> (Consent, Mood)? in
            guard let consent = try Consent.find(grant.consent, db) else { return nil }
            return (consent, try Mood.of(consent.user, db))
        }
        guard let (consent, mood) = found, mood.epoch == grant.epoch ?? 0 else { return nil }
        return (consent, mood)
    }
}
