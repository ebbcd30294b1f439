/// The test institutions with OAuth: the reference bank, and the FDX connectors that reach it over HTTP as they would
/// reach any bank. Both banks are one, which receives the customers of one client with a single button and those of the
/// other with a page on which they name themselves and choose accounts.

internal import Connections
internal import Database
internal import Institutions
internal import Outbound
internal import ReferenceBank
internal import Vault

struct TestBanks {
    let bank: Bank
    let connectors: [any Connector]

    static let institutions = [testOAuth, bankOAuth]

    private static let testOAuth = Institution(
        id: "fcinst_Qn1a6jqpI0Gb84",
        name: "Test (OAuth)",
        domain: "oauth.bank.example",
        featured: true,
        countries: ["US"]
    )
    private static let bankOAuth = Institution(
        id: "fcinst_Qn1aNn8l07746s",
        name: "Bank (OAuth)",
        domain: "accounts.bank.example",
        featured: true,
        countries: ["US"]
    )

    /// - Parameters:
    ///   - host: the address that this server listens at.
    ///   - front: where browsers reach this server.
    ///   - back: where it reaches itself.
    init(
        _ database: Database,
        _ ring: KeyRing,
        _ world: World,
        host: String,
        front: @escaping @Sendable () -> String,
        back: @escaping @Sendable () -> String
    ) throws {
        // Made anew in each process: who is served here is served by nobody else.
        let (key, secret) = (SigningKey(), world.secret("", length: 43))
        let isCallback: @Sendable (String) -> Bool = { $0 == "\(front())/flow/return" }
        let name = "Linkspan"
        bank = try Bank(
            database: database,
            ring: ring,
            settings: Bank.Settings(
                front: { "\(front())/bank" },
                back: { "\(back())/bank" },
                clients: [
                    .init(
                        id: "linkspan-test",
                        name: name,
                        proof: .keys(try JSONWebKeys(json: Array(key.publicKeys.utf8))),
                        isThorough: false,
                        allows: isCallback
                    ),
                    .init(
                        id: "linkspan-bank",
                        name: name,
                        proof: .secret(secret),
                        isThorough: true,
                        allows: isCallback
                    ),
                ]
            ),
            now: { world.wall() },
            secret: { world.secret("", length: $0) }
        )
        // Itself, wherever it listens: what it is asked for there is its own, and never leaves this machine.
        let own = Outbound.Policy.withLoopback.allowed + [Outbound.Network(host)].compactMap { $0 }
        let line = Line(Outbound(policy: Outbound.Policy(allowing: own, requiresTLS: false)))
        func connector(_ institution: Institution, _ client: String, _ proof: ClientProof, version: String) -> FDX {
            FDX(
                institution,
                isTest: true,
                policy: RefreshPolicy(interval: 1, concurrency: 16, dailyBudget: nil),
                line: line,
                now: { world.wall() },
                secret: { world.secret("", length: $0) },
                configuration: {
                    var configuration = FDX.Configuration(
                        issuer: "\(front())/bank",
                        base: "\(back())/bank/fdx/\(version)",
                        clientID: client,
                        proof: proof,
                        scopes: FDX.Configuration.standardScopes
                    )
                    configuration.discovery = "\(back())/bank/.well-known/openid-configuration"
                    configuration.sendsHint = true
                    return configuration
                }
            )
        }
        connectors = [
            connector(Self.testOAuth, "linkspan-test", .privateKey(key), version: "v6"),
            connector(Self.bankOAuth, "linkspan-bank", .secretBasic(secret), version: "v5"),
        ]
    }
}
