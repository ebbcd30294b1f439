/// The client's side of OAuth against a provider that lies: what it says of itself and of whom it let in is not
/// believed before it is checked.

import CryptoExtras
import Foundation
import Hummingbird
import NIOCore
import Outbound
import Synchronization
import Testing
import Vault

@testable import Institutions

private let exhibit = Exhibit(connector: Sandbox(), institution: TestBank.institution, answer: answerForm)

/// A provider that says what a test wants. It lets everybody in by any code.
private final class Provider: Sendable {
    struct Manner: Sendable {
        var claims: @Sendable (inout [String: any Sendable]) -> Void = { _ in }
        /// What signs the id token; nil for the key that is published.
        var key: SigningKey?
        var idToken: @Sendable (String) -> String? = { $0 }
        var metadata: @Sendable (inout [String: any Sendable]) -> Void = { _ in }
        var token: @Sendable (inout [String: any Sendable]) -> Void = { _ in }
        var tokenStatus = HTTPResponse.Status.ok
    }

    let manner: Manner
    private let key = SigningKey()
    private let place = Mutex("")
    private let nonces = Mutex<[String: String]>([:])
    private let forms = Mutex<[(path: String, fields: [String: String], authorization: String?)]>([])

    var url: String { place.withLock { $0 } }
    var requests: [(path: String, fields: [String: String], authorization: String?)] { forms.withLock { $0 } }

    init(_ manner: Manner = Manner()) async throws {
        self.manner = manner
        let router = Router(context: BasicRequestContext.self)
        router.get(".well-known/openid-configuration") { [self] _, _ in json(metadata()) }
        router.get("jwks") { [self] _, _ in
            Response(status: .ok, body: .init(byteBuffer: ByteBuffer(string: key.publicKeys)))
        }
        for path in ["token", "mtls/token", "revoke"] {
            router.post(RouterPath(path)) { [self] request, _ in
                let body = try await request.body.collect(upTo: 100_000)
                var fields: [String: String] = [:]
                for item in URLComponents(string: "?\(String(buffer: body))")?.queryItems ?? [] {
                    fields[item.name] = item.value
                }
                forms.withLock { $0.append((path, fields, request.headers[.authorization])) }
                return try json(tokens(fields), manner.tokenStatus)
            }
        }
        let url = try await serve(router)
        place.withLock { $0 = url }
    }

    private func metadata() -> [String: any Sendable] {
        var metadata: [String: any Sendable] = [
            "issuer": url, "authorization_endpoint": "\(url)/authorize?tenant=1", "token_endpoint": "\(url)/token",
            "jwks_uri": "\(url)/jwks", "revocation_endpoint": "\(url)/revoke",
        ]
        manner.metadata(&metadata)
        return metadata
    }

    private func tokens(_ fields: [String: String]) throws -> [String: any Sendable] {
        let nonce = nonces.withLock { $0[fields["code"] ?? ""] }
        var claims: [String: any Sendable] = [
            "iss": url, "aud": "me", "sub": "zoe", "exp": Exhibit.now + 300, "iat": Exhibit.now,
            "nonce": nonce ?? "", "fdxConsentId": "consent-1",
        ]
        manner.claims(&claims)
        let signed = try JSONWebToken.sign(
            [UInt8](JSONSerialization.data(withJSONObject: claims)),
            with: manner.key ?? key
        )
        var tokens: [String: any Sendable] = [
            "access_token": "canary-access", "token_type": "bearer", "expires_in": "900",
            "refresh_token": "canary-refresh-2",
        ]
        if let idToken = manner.idToken(signed) { tokens["id_token"] = idToken }
        manner.token(&tokens)
        return tokens
    }

    private func json(_ object: [String: any Sendable], _ status: HTTPResponse.Status = .ok) -> Response {
        let data = (try? JSONSerialization.data(withJSONObject: object)) ?? Data()
        return Response(status: status, body: .init(byteBuffer: ByteBuffer(bytes: [UInt8](data))))
    }

    func connector(
        _ proof: ClientProof = .secretBasic("s3:cr et"),
        scopes: [String] = ["openid"],
        lateBy seconds: Int64 = 0,
        _ change: @escaping @Sendable (inout FDX.Configuration) -> Void = { _ in }
    ) -> FDX {
        FDX(
            TestBank.institution,
            isTest: true,
            policy: RefreshPolicy(interval: 1, concurrency: 1, dailyBudget: nil),
            line: Line(Outbound(policy: .withLoopback), patience: .seconds(120)),
            now: { Exhibit.now + seconds },
            secret: TestBank.secret
        ) { [self] in
            var configuration = FDX.Configuration(issuer: url, base: url, clientID: "me", proof: proof, scopes: scopes)
            change(&configuration)
            return configuration
        }
    }

    /// Goes to the provider and comes back with a code.
    func signIn(_ connector: FDX) async throws -> Step {
        let attempt = exhibit.attempt()
        guard case .redirect(let address, let note) = try await connector.begin(attempt) else {
            throw ConnectorError.unsupported
        }
        let items = URLComponents(string: address)?.queryItems ?? []
        #expect(items.first { $0.name == "tenant" }?.value == "1")
        #expect(items.first { $0.name == "state" }?.value == attempt.callback.state)
        #expect(items.first { $0.name == "code_challenge_method" }?.value == "S256")
        let code = UUID().uuidString
        nonces.withLock { $0[code] = items.first { $0.name == "nonce" }?.value }
        return try await connector.resume(attempt, from: note, .returned(["code": code]))
    }
}

@Suite("OAuth: a provider that is what it should be")
struct OAuthTests {
    @Test("lets people in, in all the ways to spell a token")
    func plain() async throws {
        let provider = try await Provider()
        guard case .authorized(let credential) = try await provider.signIn(provider.connector()) else {
            Issue.record("not let in")
            return
        }
        let read = try OAuthCredential(credential)
        #expect(read.access == "canary-access" && read.refresh == "canary-refresh-2" && read.consent == "consent-1")
        #expect((Exhibit.now + 890...Exhibit.now + 900).contains(read.expires))
    }

    @Test(
        "may say what it likes of how long a token is good",
        arguments: [
            (Int64.max, 366 * 86_400), (Int64.min, 0), (-5, 0), (60, 60),
        ] as [(Int64, Int64)]
    )
    func lifetimes(_ said: Int64, _ believed: Int64) async throws {
        let provider = try await Provider(.init(token: { $0["expires_in"] = said }))
        let start = Exhibit.now
        let connector = provider.connector()
        guard case .authorized(let credential) = try await provider.signIn(connector) else {
            Issue.record("not let in")
            return
        }
        #expect((start + believed...Exhibit.now + believed).contains(try OAuthCredential(credential).expires))
        let access = Keeper(credential).access(exhibit.attempt())
        let renewed = try await provider.connector(lateBy: 400 * 86_400).call(access)
        #expect(renewed.credential.expires >= start)
    }

    @Test("may have a name that ends in a slash, which is compared to the letter")
    func slash() async throws {
        let provider = try await Provider(
            .init(claims: { $0["iss"] = "\($0["iss"] ?? "")/" }, metadata: { $0["issuer"] = "\($0["issuer"] ?? "")/" })
        )
        let connector = provider.connector { $0.issuer += "/" }
        // It is what it should be; accounts it has none.
        await #expect(throws: ConnectorError.misconfigured("base_url")) { try await connector.check() }
        guard case .authorized = try await provider.signIn(connector) else {
            Issue.record("not let in")
            return
        }
        await #expect(throws: ConnectorError.misconfigured("issuer")) { try await provider.connector().check() }
    }

    @Test(
        "gets what an RSA key signs by the algorithm that it takes",
        arguments: [
            (["RS256"], "RS256"), (["RS256", "PS256"], "PS256"), (["ES256"], "PS256"), (nil, "PS256"),
        ] as [([String]?, String)]
    )
    func algorithms(_ taken: [String]?, _ algorithm: String) async throws {
        let pem = try _RSA.Signing.PrivateKey(keySize: .bits2048).pemRepresentation
        let key = try SigningKey(pem: pem, id: nil)
        let provider = try await Provider(
            .init(metadata: { $0["token_endpoint_auth_signing_alg_values_supported"] = taken })
        )
        _ = try await provider.signIn(provider.connector(.privateKey(key)))
        let assertion = try #require(provider.requests.first?.fields["client_assertion"])
        let head = try #require(Secret.bytes(base64URL: assertion.prefix { $0 != "." }))
        #expect(String(decoding: head, as: UTF8.self).contains(algorithm))
        _ = try JSONWebToken.claims(of: assertion, signedBy: JSONWebKeys(json: Array(key.publicKeys.utf8)))
    }

    @Test("need not tell of a token: who has signed in is let in all the same", arguments: [404, 503])
    func introspection(_ status: Int) async throws {
        let asked = try await LocalServer { _ in .init(status: status) }
        let provider = try await Provider(
            .init(
                claims: { $0["fdxConsentId"] = nil },
                metadata: { $0["introspection_endpoint"] = "\(asked.url)/introspect" }
            )
        )
        guard case .authorized(let credential) = try await provider.signIn(provider.connector()) else {
            Issue.record("not let in")
            return
        }
        #expect(try OAuthCredential(credential).consent == nil && asked.asked.count == 1)
    }

    @Test("may tell moments with parts of a second")
    func fractions() async throws {
        let provider = try await Provider(
            .init(claims: {
                $0["exp"] = Double(Exhibit.now) + 300.5; $0["iat"] = Double(Exhibit.now) - 0.25
            })
        )
        guard case .authorized = try await provider.signIn(provider.connector()) else {
            Issue.record("not let in")
            return
        }
    }

    @Test("takes several readers if it says for whom the token was made")
    func audiences() async throws {
        let provider = try await Provider(
            .init(claims: {
                $0["aud"] = ["me", "other"]; $0["azp"] = "me"
            })
        )
        guard case .authorized = try await provider.signIn(provider.connector()) else {
            Issue.record("not let in")
            return
        }
    }

    @Test("needs no id token where OpenID was not asked for")
    func withoutOpenID() async throws {
        let provider = try await Provider(.init(idToken: { _ in nil }))
        guard case .authorized = try await provider.signIn(provider.connector(scopes: ["accounts"])) else {
            Issue.record("not let in")
            return
        }
    }

    @Test("is shown the proof that was configured, and no other")
    func proofs() async throws {
        let provider = try await Provider(
            .init(metadata: { metadata in
                let token = metadata["token_endpoint"] as? String ?? ""
                metadata["mtls_endpoint_aliases"] = [
                    "token_endpoint": token.replacingOccurrences(of: "/token", with: "/mtls/token")
                ]
            })
        )
        let key = SigningKey()
        for proof in [ClientProof.secretBasic("s3:cr et"), .secretPost("s3cret"), .privateKey(key), .certificate] {
            _ = try await provider.signIn(
                provider.connector(proof) { configuration in
                    guard case .certificate = proof else { return }
                    configuration.identity = .init(certificateChain: "chain", privateKey: "key")
                }
            )
        }
        let (basic, post, signed, certificate) = (
            provider.requests[0], provider.requests[1], provider.requests[2], provider.requests[3]
        )
        #expect(basic.authorization == "Basic \(Data("me:s3%3Acr%20et".utf8).base64EncodedString())")
        #expect(basic.fields["client_secret"] == nil && basic.fields["code_verifier"]?.count == 64)
        #expect(
            post.fields["client_secret"] == "s3cret" && post.fields["client_id"] == "me" && post.authorization == nil
        )
        let assertion = try #require(signed.fields["client_assertion"])
        let claims = try JSONWebToken.claims(of: assertion, signedBy: JSONWebKeys(json: Array(key.publicKeys.utf8)))
        let read = try #require(try JSONSerialization.jsonObject(with: Data(claims)) as? [String: Any])
        #expect(read["aud"] as? String == "\(provider.url)/token" && read["sub"] as? String == "me")
        #expect(signed.fields["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
        #expect(certificate.path == "mtls/token" && certificate.fields["client_id"] == "me")
        #expect(certificate.fields["client_secret"] == nil && certificate.authorization == nil)
    }
}

@Suite("OAuth: a provider that lies")
struct OAuthLieTests {
    private func refusal(_ manner: Provider.Manner) async throws -> ConnectorError? {
        let provider = try await Provider(manner)
        return await #expect(throws: ConnectorError.self) { _ = try await provider.signIn(provider.connector()) }
    }

    @Test("about who signed in, is not believed")
    func claims() async throws {
        let lies: [@Sendable (inout [String: any Sendable]) -> Void] = [
            { $0["iss"] = "https://other.example" }, { $0["aud"] = "other" }, { $0["aud"] = ["me", "other"] },
            {
                $0["aud"] = ["me", "other"]; $0["azp"] = "other"
            }, { $0["azp"] = "other" }, { $0["nonce"] = "replayed" },
            { $0["nonce"] = nil }, { $0["exp"] = Exhibit.now - 120 }, { $0["iat"] = Exhibit.now + 3600 },
            { $0["exp"] = "soon" },
        ]
        for (index, lie) in lies.enumerated() {
            #expect(try await refusal(.init(claims: lie)) == .authorizationFailed, "lie \(index)")
        }
    }

    @Test("by another key, without a signature, or without an id token, is not believed")
    func signatures() async throws {
        #expect(try await refusal(.init(key: SigningKey())) == .authorizationFailed)
        #expect(try await refusal(.init(idToken: { _ in nil })) == .authorizationFailed)
        #expect(
            try await refusal(
                .init(idToken: { token in
                    let none = Secret.base64URL(Array(#"{"alg":"none"}"#.utf8))
                    return "\(none).\(token.split(separator: ".")[1])."
                })
            ) == .authorizationFailed
        )
    }

    @Test("about itself, is not gone to")
    func metadata() async throws {
        let wrong = ConnectorError.misconfigured("issuer")
        #expect(try await refusal(.init(metadata: { $0["issuer"] = "https://other.example" })) == wrong)
        #expect(try await refusal(.init(metadata: { $0["token_endpoint"] = nil })) == wrong)
        let pages = [
            "javascript:alert(1)", "data:text/html,x", "https://a.example/\r\nX: y", "https://a.example/ b", "https://",
            "https://user@a.example/", "//a.example/", "https:a.example", "https://a.example/#f", "",
            "https://a.example/" + String(repeating: "x", count: 3000),
        ]
        for page in pages {
            #expect(try await refusal(.init(metadata: { $0["authorization_endpoint"] = page })) == wrong, "\(page)")
        }
        #expect(
            try await refusal(.init(metadata: { $0["token_endpoint"] = "http://10.0.0.1/token" })) == .invalidResponse,
            "an address that is not allowed is not dialled"
        )
        #expect(
            try await refusal(.init(metadata: { $0["authorization_response_iss_parameter_supported"] = true }))
                == .authorizationFailed,
            "what was promised must come"
        )
        #expect(try await refusal(.init(token: { $0["token_type"] = "mac" })) == .invalidResponse)
    }

    @Test("or that refuses, is told apart by what it said")
    func refusals() async throws {
        #expect(try await refusal(.init(tokenStatus: .badRequest)) == .authorizationFailed)
        #expect(try await refusal(.init(tokenStatus: .tooManyRequests)) == .rateLimited(until: nil))
        #expect(try await refusal(.init(tokenStatus: .badGateway)) == .institutionUnavailable(until: nil))
        #expect(try await refusal(.init(tokenStatus: .found)) == .authorizationFailed, "no redirect is followed")
    }
}

@Suite("FDX: whatever comes")
struct FDXFuzzTests {
    private static let samples = [
        #"{"page": {"nextPageKey": "k"}, "accounts": [{"accountCategory": "LOC_ACCOUNT", "accountId": "c"}]}"#,
        #"{"accounts": [{"depositAccount": {"accountId": "d", "currency": {"currencyCode": "USD"}}}]}"#,
        #"{"transactions": [{"locTransaction": {"transactionId": "t", "amount": 1.5, "status": "POSTED"}}]}"#,
        #"{"holders": [{"name": {"first": "Z", "last": "O"}}], "emails": ["z@example.com"], "addresses": [{}]}"#,
        #"{"paymentNetworks": [{"type": "US_ACH", "transferIn": true}], "code": 602, "status": "ACTIVE"}"#,
        #"{"accounts": [{"locAccount": {"accountId": "c", "creditLine": 92233720368547758.07, "#
            + #""availableCredit": -92233720368547758.08}}]}"#,
        #"{"accounts": [{"loanAccount": {"accountId": "l", "principalBalance": -92233720368547758.08}}]}"#,
        #"{"transactions": [{"transactionId": "t", "amount": -92233720368547758.08, "debitCreditMemo": "DEBIT"}], "#
            + #""code": 9223372036854775807, "page": {"nextOffset": 9223372036854775807}}"#,
    ]

    @Test("the numbers at the ends of what an integer holds do no harm")
    func extremes() {
        for sample in Self.samples { read(Array(sample.utf8)) }
    }

    @Test("no text stops the readers, and none takes long")
    func fuzz() async throws {
        var random = SystemRandomNumberGenerator()
        let seed = random.next()
        var chance = SeededChance(state: seed)
        let letters = Array(#"{}[]",:.0123456789eE-+ntf\u"#.utf8) + [0, 0xFF, 0xC3]
        let start = ContinuousClock.now
        for round in 0..<4000 {
            if round % 50 == 0 { await Task.yield() }
            var text = Array(Self.samples[Int(chance.next() % UInt64(Self.samples.count))].utf8)
            for _ in 0...chance.next() % 6 {
                let place = Int(chance.next() % UInt64(text.count))
                switch chance.next() % 3 {
                case 0: text[place] = letters[Int(chance.next() % UInt64(letters.count))]
                case 1: text.remove(at: place)
                default: text.insert(letters[Int(chance.next() % UInt64(letters.count))], at: place)
                }
                if text.isEmpty { text = [123] }
            }
            read(text)
        }
        read([UInt8](repeating: 91, count: 200_000))
        read(Array(String(repeating: #"{"accounts":["#, count: 20_000).utf8))
        read(
            Array(
                #"{"transactions": [{"transactionId": "t", "amount": 1\#(String(repeating: "0", count: 100_000))}]}"#
                    .utf8
            )
        )
        #expect(ContinuousClock.now - start < .seconds(240), "seed \(seed)")
    }

    private func read(_ text: [UInt8]) {
        let data = Data(text)
        let decoder = JSONDecoder()
        if let accounts = try? decoder.decode(FDXAccounts.self, from: data) {
            for account in accounts.accounts.compactMap(\.value) {
                _ = account.balance(at: 0)
                _ = account.described("x", numbers: [], expectedDeactivation: nil, in: TestBank.institution)
            }
        }
        if let list = try? decoder.decode(FDXTransactions.self, from: data) {
            for item in list.transactions.compactMap(\.value) { _ = item.value.read(in: "usd", .credit) }
        }
        _ = (try? decoder.decode(FDXContact.self, from: data))?.owners
        _ = try? decoder.decode(FDXNetworks.self, from: data)
        _ = try? decoder.decode(FDXConsent.self, from: data)
        _ = try? decoder.decode(FDXRefusal.self, from: data)
    }
}

/// Steele, Lea and Flood's SplitMix64.
private struct SeededChance {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
