/// The client's side of OAuth 2.0 and OpenID Connect, as banks want it: discovery, code with PKCE, pushed requests
/// where they are offered, id tokens that are checked, refresh tokens that rotate.
///
/// It promises that no code is spent and no token believed unless the answer came from the issuer that was asked
/// (`iss`, RFC 9207), for the request that was made (`nonce`, PKCE; `state` is checked before), to the address that was
/// registered. It refuses discovery documents that name another issuer, and id tokens that are not signed by its keys.

internal import FoundationEssentials
internal import Outbound
public import Vault
internal import Wire

/// How a client of a bank proves itself.
public enum ClientProof: Sendable {
    /// Its secret in a header (`client_secret_basic`).
    case secretBasic(String)
    /// Its secret in the form (`client_secret_post`).
    case secretPost(String)
    /// A statement that it signed (`private_key_jwt`).
    case privateKey(SigningKey)
    /// Nothing but the certificate of the connection (`tls_client_auth`).
    case certificate
}

/// What opens the bank's data: the connector's credential, which is sealed wherever it is stored.
struct OAuthCredential: Codable, Sendable {
    var access: String
    /// Seconds since the Unix epoch.
    var expires: Int64
    var refresh: String?
    var idToken: String?
    var consent: String?

    init(access: String, expires: Int64, refresh: String?, idToken: String?, consent: String?) {
        self.access = access
        self.expires = expires
        self.refresh = refresh
        self.idToken = idToken
        self.consent = consent
    }

    /// - Throws: `invalidResponse` for a credential of another connector.
    init(_ bytes: [UInt8]) throws(ConnectorError) {
        guard let credential = try? JSONDecoder().decode(OAuthCredential.self, from: Data(bytes)) else {
            throw .invalidResponse
        }
        self = credential
    }

    func bytes() throws(ConnectorError) -> [UInt8] {
        guard let text = try? JSONEncoder().encode(self) else { throw .invalidResponse }
        return [UInt8](text)
    }
}

struct OAuth: Sendable {
    let issuer: String
    /// The address of the discovery document.
    let discovery: String
    let clientID: String
    let proof: ClientProof
    let scopes: [String]
    /// What the bank wants to be told beside the standard's parameters.
    let parameters: [(name: String, value: String)]
    let identity: Outbound.ClientIdentity?
    let trustRoots: String?
    let line: Line
    /// The time as clocks on walls have it, also where a customer's clock is another: the bank's is that one too.
    let now: @Sendable () -> Int64
    /// So many letters that nobody can guess.
    let secret: @Sendable (_ length: Int) -> String

    private struct Metadata: Decodable {
        struct Aliases: Decodable {
            var token_endpoint: String?
            var pushed_authorization_request_endpoint: String?
            var revocation_endpoint: String?
            var introspection_endpoint: String?
        }

        var issuer: String
        var authorization_endpoint: String
        var token_endpoint: String
        var jwks_uri: String?
        var pushed_authorization_request_endpoint: String?
        var revocation_endpoint: String?
        var introspection_endpoint: String?
        var authorization_response_iss_parameter_supported: Bool?
        var token_endpoint_auth_signing_alg_values_supported: [String]?
        var mtls_endpoint_aliases: Aliases?
    }

    /// What must be remembered between the way out and the way back.
    private struct Note: Codable {
        let verifier: String
        let nonce: String
        let redirect: String
    }

    private struct Tokens: Decodable {
        var access_token: String
        var token_type: String?
        var expires_in: Int64?
        var refresh_token: String?
        var id_token: String?
        var fdxConsentId: String?

        private enum CodingKeys: String, CodingKey {
            case access_token, token_type, expires_in, refresh_token, id_token, fdxConsentId
        }

        init(from decoder: any Decoder) throws {
            let values = try decoder.container(keyedBy: CodingKeys.self)
            access_token = try values.decode(String.self, forKey: .access_token)
            token_type = try? values.decode(String.self, forKey: .token_type)
            // Some servers say "900".
            let text = try? values.decode(String.self, forKey: .expires_in)
            expires_in = (try? values.decode(Int64.self, forKey: .expires_in)) ?? text.flatMap { Int64($0) }
            refresh_token = try? values.decode(String.self, forKey: .refresh_token)
            id_token = try? values.decode(String.self, forKey: .id_token)
            fdxConsentId = try? values.decode(String.self, forKey: .fdxConsentId)
        }
    }

    private struct Claims: Decodable {
        enum Audience: Decodable {
            case one(String), many([String])

            init(from decoder: any Decoder) throws {
                let container = try decoder.singleValueContainer()
                if let many = try? container.decode([String].self) { self = .many(many); return }
                self = .one(try container.decode(String.self))
            }
        }

        /// Whole seconds; RFC 7519 allows parts of them.
        struct Moment: Decodable {
            let seconds: Int64

            init(from decoder: any Decoder) throws {
                let container = try decoder.singleValueContainer()
                let whole = "\(try container.decode(Decimal.self))".prefix { $0 != "." }
                guard let seconds = Int64(whole) else {
                    throw DecodingError.dataCorruptedError(in: container, debugDescription: "no moment")
                }
                self.seconds = seconds
            }
        }

        var iss: String
        var aud: Audience
        var exp: Moment
        var iat: Moment?
        var azp: String?
        var nonce: String?
        var fdxConsentId: String?

        func isFor(_ client: String) -> Bool {
            switch aud {
            case .one(let name): name == client && (azp ?? client) == client
            // With several readers it must be said for whom it was made.
            case .many(let names): names.contains(client) && (names.count == 1 ? azp ?? client : azp) == client
            }
        }
    }

    private struct Refusal: Decodable {
        var error: String?
    }

    // MARK: The sign-in

    /// Sends the person to the bank.
    func begin(_ attempt: Attempt, hint: String?) async throws(ConnectorError) -> Step {
        let metadata = try await metadata()
        let note = Note(verifier: secret(64), nonce: secret(32), redirect: attempt.callback.url)
        var asked: [(name: String, value: String)] = [
            ("response_type", "code"), ("client_id", clientID), ("redirect_uri", attempt.callback.url),
            ("scope", scopes.joined(separator: " ")), ("state", attempt.callback.state), ("nonce", note.nonce),
            ("code_challenge", Secret.base64URL(Secret.digest(note.verifier))), ("code_challenge_method", "S256"),
        ]
        if let hint { asked.append(("login_hint", hint)) }
        asked += parameters
        if let endpoint = endpoint(
            metadata,
            \.pushed_authorization_request_endpoint,
            \.pushed_authorization_request_endpoint
        ) {
            asked = try await pushed(asked, to: endpoint, metadata)
        }
        let separator = metadata.authorization_endpoint.contains("?") ? "&" : "?"
        guard let resume = try? JSONEncoder().encode(note) else { throw .invalidResponse }
        return .redirect(
            url: metadata.authorization_endpoint + separator + Form.encode(asked),
            resume: [UInt8](resume)
        )
    }

    private func pushed(
        _ asked: [(name: String, value: String)],
        to endpoint: String,
        _ metadata: Metadata
    ) async throws(ConnectorError) -> [(name: String, value: String)] {
        struct Answer: Decodable { var request_uri: String }
        let reply = try await post(asked, to: endpoint, metadata)
        guard reply.status == 201 || reply.status == 200 else {
            switch Self.refusal(reply) {
            // Our requests are whole: what a bank refuses in one is the address to which it is to send people back.
            case "invalid_request", "invalid_redirect_uri": throw .misconfigured("redirect_uri")
            case "invalid_scope": throw .misconfigured("scopes")
            default: throw failure(reply)
            }
        }
        return [("client_id", clientID), ("request_uri", try reply.json(Answer.self).request_uri)]
    }

    /// Takes what the person brought back and spends the code.
    func resume(
        _ attempt: Attempt,
        from resume: [UInt8],
        _ answer: [String: String]
    ) async throws(ConnectorError) -> Step {
        guard let note = try? JSONDecoder().decode(Note.self, from: Data(resume)) else { throw .invalidResponse }
        let metadata = try await metadata()
        // Before all else: an answer of another issuer, even a refusal, is not this bank's.
        if answer["iss"] != nil || metadata.authorization_response_iss_parameter_supported == true {
            guard answer["iss"] == issuer else { throw .authorizationFailed }
        }
        switch answer["error"] {
        case nil: break
        case "access_denied", "interaction_required", "login_required", "consent_required": throw .cancelled
        case "temporarily_unavailable": throw .institutionUnavailable(until: nil)
        default: throw .authorizationFailed
        }
        guard let code = answer["code"] else { throw .authorizationFailed }
        let reply = try await post(
            [
                ("grant_type", "authorization_code"), ("code", code), ("redirect_uri", note.redirect),
                ("code_verifier", note.verifier),
            ],
            to: tokenEndpoint(metadata),
            metadata
        )
        guard reply.status == 200 else {
            guard reply.status < 500, reply.status != 429, !Self.refusesClient(reply) else { throw failure(reply) }
            throw .authorizationFailed
        }
        let tokens = try reply.json(Tokens.self)
        guard (tokens.token_type ?? "Bearer").lowercased() == "bearer" else { throw .invalidResponse }
        let claims = try await claims(tokens, note, metadata)
        let consent: String? =
            if let consent = tokens.fdxConsentId ?? claims?.fdxConsentId { consent } else {
                await introspected(tokens.access_token, metadata)
            }
        let credential = OAuthCredential(
            access: tokens.access_token,
            expires: expiry(of: tokens),
            refresh: tokens.refresh_token,
            idToken: tokens.id_token,
            consent: consent
        )
        return .authorized(credential: try credential.bytes())
    }

    /// The most seconds for which an access token is believed to be good.
    private static let maximumLifetime: Int64 = 366 * 86_400

    private func expiry(of tokens: Tokens) -> Int64 {
        now() + min(max(tokens.expires_in ?? 300, 0), Self.maximumLifetime)
    }

    /// What the id token says, checked; nil where OpenID was not asked for.
    private func claims(
        _ tokens: Tokens,
        _ note: Note,
        _ metadata: Metadata
    ) async throws(ConnectorError) -> Claims? {
        guard scopes.contains("openid") || tokens.id_token != nil else { return nil }
        guard let idToken = tokens.id_token, let address = metadata.jwks_uri else { throw .authorizationFailed }
        let reply = try await line.send(request("GET", address))
        guard reply.status == 200, let keys = try? JSONWebKeys(json: reply.body) else { throw .invalidResponse }
        guard let text = try? JSONWebToken.claims(of: idToken, signedBy: keys),
            let claims = try? JSONDecoder().decode(Claims.self, from: Data(text)),
            claims.iss == issuer, claims.isFor(clientID), claims.nonce == note.nonce,
            // Clocks differ by a little.
            claims.exp.seconds > now() - 60, (claims.iat?.seconds ?? now()) < now() + 300
        else { throw .authorizationFailed }
        return claims
    }

    /// The consent's id, where the bank says it when it is asked about a token. The code is spent by then: nobody is
    /// turned away because the bank does not tell.
    private func introspected(_ token: String, _ metadata: Metadata) async -> String? {
        struct Answer: Decodable { var fdxConsentId: String? }
        guard let endpoint = endpoint(metadata, \.introspection_endpoint, \.introspection_endpoint),
            let reply = try? await post([("token", token)], to: endpoint, metadata), reply.status == 200
        else { return nil }
        return (try? reply.json(Answer.self))?.fdxConsentId
    }

    // MARK: Afterwards

    /// A fresh access token. It is asked for by one call at a time, and what came is stored before it is used.
    func renewed(_ access: Access) async throws(ConnectorError) -> OAuthCredential {
        let bytes = try await access.renew { [self] stored throws(ConnectorError) in
            let old = try OAuthCredential(stored)
            guard let refresh = old.refresh else { throw .relinkRequired }
            let metadata = try await metadata()
            let reply = try await post(
                [("grant_type", "refresh_token"), ("refresh_token", refresh)],
                to: tokenEndpoint(metadata),
                metadata
            )
            guard reply.status == 200 else {
                if Self.refusal(reply) == "invalid_grant" { throw .relinkRequired }
                throw failure(reply)
            }
            let tokens = try reply.json(Tokens.self)
            let new = OAuthCredential(
                access: tokens.access_token,
                expires: expiry(of: tokens),
                refresh: tokens.refresh_token ?? refresh,
                idToken: tokens.id_token ?? old.idToken,
                consent: tokens.fdxConsentId ?? old.consent
            )
            return try new.bytes()
        }
        return try OAuthCredential(bytes)
    }

    /// Tells the bank that the tokens are no longer needed. A bank without a place for it is told nothing.
    func revoke(_ credential: OAuthCredential) async throws(ConnectorError) {
        let metadata = try await metadata()
        guard let endpoint = endpoint(metadata, \.revocation_endpoint, \.revocation_endpoint) else { return }
        let (token, kind) = credential.refresh.map { ($0, "refresh_token") } ?? (credential.access, "access_token")
        let reply = try await post([("token", token), ("token_type_hint", kind)], to: endpoint, metadata)
        guard reply.status == 200 else { throw failure(reply) }
    }

    /// Tells whether the bank is what the settings say and knows this client, for whoever configures it.
    func check() async throws(ConnectorError) {
        let metadata = try await metadata()
        if let keys = metadata.jwks_uri {
            let reply = try await line.send(request("GET", keys))
            guard reply.status == 200, (try? JSONWebKeys(json: reply.body)) != nil else { throw .invalidResponse }
        }
        // No such token was ever given: whoever refuses that, and not the client, knows the client.
        let reply = try await post(
            [("grant_type", "refresh_token"), ("refresh_token", secret(43))],
            to: tokenEndpoint(metadata),
            metadata
        )
        if reply.status == 404 || reply.status >= 500 || Self.refusesClient(reply) { throw failure(reply) }
    }

    // MARK: Requests

    private func metadata() async throws(ConnectorError) -> Metadata {
        do throws(ConnectorError) {
            let reply = try await line.send(request("GET", discovery))
            guard reply.status == 200 else {
                throw reply.status >= 500 ? .institutionUnavailable(until: nil) : .invalidResponse
            }
            let metadata = try reply.json(Metadata.self)
            guard metadata.issuer == issuer, isPage(metadata.authorization_endpoint) else { throw .invalidResponse }
            return metadata
        } catch {
            // No address, one that may not be reached, no document there, or that of another.
            throw error == .invalidResponse ? .misconfigured("issuer") : error
        }
    }

    /// Whether a browser may be sent to an address: over https, or over http where the issuer is reached so too.
    private func isPage(_ address: String) -> Bool {
        let lowercase = address.prefix(8).lowercased()
        let isPlain = lowercase.hasPrefix("http://") && issuer.lowercased().hasPrefix("http://")
        guard lowercase == "https://" || isPlain, address.utf8.count <= 2048,
            address.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && !"\"<>\\^`{|}#".utf8.contains($0) })
        else { return false }
        let host = address.dropFirst(isPlain ? 7 : 8).prefix { $0 != "/" && $0 != "?" }
        return !host.isEmpty && !host.contains("@")
    }

    /// Where clients with a certificate are to go instead, they go.
    private func endpoint(
        _ metadata: Metadata,
        _ name: KeyPath<Metadata, String?>,
        _ alias: KeyPath<Metadata.Aliases, String?>
    ) -> String? {
        let alias = identity == nil ? nil : metadata.mtls_endpoint_aliases?[keyPath: alias]
        return alias ?? metadata[keyPath: name]
    }

    private func tokenEndpoint(_ metadata: Metadata) -> String {
        let alias = identity == nil ? nil : metadata.mtls_endpoint_aliases?.token_endpoint
        return alias ?? metadata.token_endpoint
    }

    private func request(_ method: String, _ url: String) -> Outbound.Request {
        Outbound.Request(
            method: method,
            url: url,
            headers: [("Accept", "application/json")],
            identity: identity,
            trustRoots: trustRoots
        )
    }

    /// Posts a form as this client.
    private func post(
        _ fields: [(name: String, value: String)],
        to endpoint: String,
        _ metadata: Metadata
    ) async throws(ConnectorError) -> Outbound.Reply {
        var fields = fields
        var request = request("POST", endpoint)
        request.headers.append(("Content-Type", "application/x-www-form-urlencoded"))
        let isNamed = fields.contains { $0.name == "client_id" }
        switch proof {
        case .secretBasic(let secret):
            let pair = "\(Form.escape(clientID)):\(Form.escape(secret))"
            request.headers.append(("Authorization", "Basic \(Data(pair.utf8).base64EncodedString())"))
        case .secretPost(let secret):
            if !isNamed { fields.append(("client_id", clientID)) }
            fields.append(("client_secret", secret))
        case .privateKey(let key):
            if !isNamed { fields.append(("client_id", clientID)) }
            fields.append(("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"))
            fields.append(("client_assertion", try assertion(key, metadata)))
        case .certificate:
            if !isNamed { fields.append(("client_id", clientID)) }
        }
        request.body = Array(Form.encode(fields).utf8)
        return try await line.send(request)
    }

    private func assertion(_ key: SigningKey, _ metadata: Metadata) throws(ConnectorError) -> String {
        let now = now()
        var json = JSONWriter()
        json.object { json in
            json.field("aud", metadata.token_endpoint)
            json.field("exp", now + 120)
            json.field("iat", now)
            json.field("iss", clientID)
            json.field("jti", secret(24))
            json.field("sub", clientID)
        }
        do {
            return try JSONWebToken.sign(
                json.bytes,
                with: key,
                taken: metadata.token_endpoint_auth_signing_alg_values_supported
            )
        } catch {
            throw .invalidResponse
        }
    }

    private func failure(_ reply: Outbound.Reply) -> ConnectorError {
        switch reply.status {
        case 429: .rateLimited(until: reply.retryAfter(now()))
        case 500...: .institutionUnavailable(until: reply.retryAfter(now()))
        default: Self.refusesClient(reply) ? .misconfigured("client_id") : .invalidResponse
        }
    }

    /// The standard's word for why a request was refused.
    private static func refusal(_ reply: Outbound.Reply) -> String? {
        (try? reply.json(Refusal.self))?.error
    }

    private static func refusesClient(_ reply: Outbound.Reply) -> Bool {
        ["invalid_client", "unauthorized_client"].contains(refusal(reply))
    }
}
