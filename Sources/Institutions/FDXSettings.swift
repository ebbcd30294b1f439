/// What an operator says of a bank that speaks FDX.

internal import Outbound
internal import Vault

extension FDX: ConfigurableConnector {
    public static let kind = "fdx"

    private static let standardPolicy = RefreshPolicy(interval: 6 * 3600, concurrency: 8, dailyBudget: nil)

    public static let fields: [ConnectorField] = [
        .init(
            "issuer",
            .url,
            isRequired: true,
            "The name of the bank's OpenID provider, to the letter as its discovery document has it."
        ),
        .init("discovery_url", .url, "The discovery document, where it is not at the issuer's own place."),
        .init("base_url", .url, isRequired: true, "Where FDX begins: https://api.bank.example/fdx/v6"),
        .init("client_id", .text, isRequired: true, "The name under which the bank knows this server."),
        .init(
            "client_authentication",
            .choice(["client_secret_basic", "client_secret_post", "private_key_jwt", "tls_client_auth"]),
            isRequired: true,
            "How this server proves itself."
        ),
        .init("client_secret", .secret, "For client_secret_basic and client_secret_post."),
        .init("signing_key", .secret, "For private_key_jwt: a key as PEM, on P-256 or RSA of 2048 bits or more."),
        .init("signing_key_id", .text, "The key's name in the key set that the bank was given."),
        .init("client_certificate", .secret, "For mutual TLS: our certificates as PEM, our own first."),
        .init("client_certificate_key", .secret, "The key of the certificate, as PEM without a passphrase."),
        .init("trusted_certificates", .secret, "Certificates as PEM to trust for this bank, instead of the system's."),
        .init("scopes", .list, "What is asked for. Default: FDX 6's names for all that Linkspan reads."),
        .init(
            "authorize_parameters",
            .table,
            "What the bank wants in the address of its sign-in page beside the standard."
        ),
        .init("headers", .table, "What the bank wants in the headers of each request for data."),
        .init("bearer", .choice(["access_token", "id_token"]), "Which token opens the data. Default: access_token."),
        .init(
            "paths",
            .table,
            "Paths that differ: accounts, account, transactions, contact, payment_networks, consent, "
                + "revocation, with {account} and {consent}."
        ),
        .init(
            "transaction_range",
            .choice(["time", "date"]),
            "Whether dates are asked for as startTime or as startDate. "
                + "Default: time."
        ), .refreshInterval(6 * 3600),
    ]

    public init(
        _ institution: Institution,
        _ settings: ConnectorSettings,
        _ tools: ConnectorTools
    ) throws(SettingsRefusal) {
        let configuration = try Configuration(settings)
        self.init(
            institution,
            isTest: false,
            policy: try settings.policy(Self.standardPolicy, budget: nil),
            line: tools.line,
            now: tools.now,
            secret: tools.secret
        ) { configuration }
    }
}

extension FDX.Configuration {
    init(_ settings: ConnectorSettings) throws(SettingsRefusal) {
        self.init(
            issuer: settings.text("issuer") ?? "",
            base: Self.withoutSlash(settings.text("base_url") ?? ""),
            clientID: settings.text("client_id") ?? "",
            proof: try Self.proof(settings),
            scopes: settings.list("scopes") ?? Self.standardScopes
        )
        discovery = settings.text("discovery_url")
        authorizeParameters = settings.table("authorize_parameters")
        headers = settings.table("headers")
        bearer = settings.text("bearer").flatMap(Bearer.init) ?? .accessToken
        if settings.text("transaction_range") == "date" { rangeParameters = ("startDate", "endDate") }
        if let chain = settings.text("client_certificate") {
            guard let key = settings.text("client_certificate_key") else {
                throw SettingsRefusal("client_certificate_key", "is needed with client_certificate")
            }
            let identity = Outbound.ClientIdentity(certificateChain: chain, privateKey: key)
            guard identity.isUsable else {
                throw SettingsRefusal("client_certificate", "and client_certificate_key are no pair, as PEM")
            }
            self.identity = identity
        }
        if case .certificate = proof, identity == nil {
            throw SettingsRefusal("client_certificate", "is needed with tls_client_auth")
        }
        trustRoots = settings.text("trusted_certificates")
        try readPaths(settings.table("paths"))
    }

    /// Paths begin with one.
    private static func withoutSlash(_ url: String) -> String {
        url.hasSuffix("/") ? String(url.dropLast()) : url
    }

    private static func proof(_ settings: ConnectorSettings) throws(SettingsRefusal) -> ClientProof {
        let name = settings.text("client_authentication") ?? ""
        switch name {
        case "client_secret_basic", "client_secret_post":
            guard let secret = settings.text("client_secret") else {
                throw SettingsRefusal("client_secret", "is needed with \(name)")
            }
            return name == "client_secret_basic" ? .secretBasic(secret) : .secretPost(secret)
        case "private_key_jwt":
            guard let pem = settings.text("signing_key") else {
                throw SettingsRefusal("signing_key", "is needed with private_key_jwt")
            }
            do {
                return .privateKey(try SigningKey(pem: pem, id: settings.text("signing_key_id")))
            } catch {
                throw SettingsRefusal("signing_key", "is no key on P-256 or of RSA with 2048 bits or more, as PEM")
            }
        default: return .certificate
        }
    }

    private mutating func readPaths(_ table: [(name: String, value: String)]) throws(SettingsRefusal) {
        for (name, path) in table {
            guard path.hasPrefix("/") else { throw SettingsRefusal("paths", "has a path that begins with no slash") }
            switch name {
            case "accounts": paths.accounts = path
            case "account": paths.account = path
            case "transactions": paths.transactions = path
            case "contact": paths.contact = path
            case "payment_networks": paths.paymentNetworks = path
            case "consent": paths.consent = path
            case "revocation": paths.revocation = path
            default: throw SettingsRefusal("paths", "has no '\(name)'")
            }
        }
    }
}
