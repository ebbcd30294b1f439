/// The settings of a server: a flag, else the environment, else the default. `docs/configuration.md` lists them all.

internal import ArgumentParser
internal import Connections
internal import Foundation
internal import Institutions
internal import Logging
internal import Outbound

/// Where the data of an installation is.
struct DataOptions: ParsableArguments {
    @Option(help: "The folder of the database and keys. LINKSPAN_DATA; default ./data.")
    var data: String?

    @Option(help: "A database of PostgreSQL, postgres://user@host:5432/name. LINKSPAN_DATABASE_URL; default: SQLite.")
    var databaseUrl: String?

    @Option(help: "A file with the password of the database's user. LINKSPAN_DATABASE_PASSWORD_FILE.")
    var databasePasswordFile: String?

    @Option(help: "Connections to PostgreSQL. LINKSPAN_DATABASE_CONNECTIONS; default 8.")
    var databaseConnections: String?

    var folder: DataFolder { DataFolder(path: data ?? Environment["LINKSPAN_DATA"] ?? "./data") }
}

/// The environment, an empty value counting as none.
enum Environment {
    static subscript(name: String) -> String? {
        let value = ProcessInfo.processInfo.environment[name]
        return value?.isEmpty == true ? nil : value
    }
}

struct ServeOptions: ParsableArguments {
    @Option(help: "The address to listen at. LINKSPAN_HOST; default 127.0.0.1.")
    var host: String?

    @Option(help: "The port to listen at; 0 takes a free one. LINKSPAN_PORT; default 12111.")
    var port: String?

    @Option(help: "Where people and clients reach the server. LINKSPAN_PUBLIC_URL; default: host and port.")
    var publicUrl: String?

    @Option(help: "A secret key of test mode, sk_test_…, instead of a made one. LINKSPAN_TEST_SECRET_KEY.")
    var testSecretKey: String?

    @Option(help: "A publishable key of test mode, pk_test_…. LINKSPAN_TEST_PUBLISHABLE_KEY.")
    var testPublishableKey: String?

    @Option(help: "Seconds for which a session can be opened. LINKSPAN_SESSION_LIFETIME; default 86400.")
    var sessionLifetime: String?

    @Option(help: "MB of the largest OFX file that people may give; 0 for none. LINKSPAN_UPLOAD_LIMIT; default 100.")
    var uploadLimit: String?

    @Option(help: "refuse or ignore: a refresh before its time. LINKSPAN_EARLY_REFRESH; default refuse.")
    var earlyRefresh: String?

    @Option(help: "A whole number: ids and chance of test mode follow from it. LINKSPAN_SEED; default: none.")
    var seed: String?

    @Option(help: "Origins that may frame the flow, with commas. LINKSPAN_EMBED_ORIGINS; default: loopback.")
    var embedOrigins: String?

    @Option(help: "on or off: the merchant page at /demo. LINKSPAN_DEMO; default on, and off with --key-file.")
    var demo: String?

    @Option(help: "The name that people see in the flow. LINKSPAN_MERCHANT_NAME; default Demo Merchant.")
    var merchantName: String?

    @Option(help: "A scenario file: test institutions of your own. LINKSPAN_SANDBOX; default: none.")
    var sandbox: String?

    @Option(help: "A file of institutions: banks to reach, and how. LINKSPAN_CONNECTORS; default: none.")
    var connectors: String?

    @Option(help: "The file of the key ring. LINKSPAN_KEY_FILE; default: made in the data folder, for test mode.")
    var keyFile: String?

    @Option(help: "What this server does: api, worker or all. LINKSPAN_ROLE; default all.")
    var role: String?

    @OptionGroup var webhooks: WebhookOptions

    @Option(help: "trace, debug, info, notice, warning, error or critical. LINKSPAN_LOG_LEVEL; default info.")
    var logLevel: String?
}

/// How events leave the server.
struct WebhookOptions: ParsableArguments {
    @Option(
        help:
            "Networks beyond the internet that webhooks and connectors may reach, with commas. LINKSPAN_ALLOW_NETWORKS."
    )
    var allowNetworks: String?

    @Option(help: "Seconds for one attempt to deliver an event. LINKSPAN_WEBHOOK_TIMEOUT; default 10.")
    var webhookTimeout: String?

    @Option(help: "Seconds in which an event is tried again. LINKSPAN_WEBHOOK_RETRY_PERIOD; default 259200.")
    var webhookRetryPeriod: String?

    @Option(help: "The same in test mode. LINKSPAN_TEST_WEBHOOK_RETRY_PERIOD; default 3600.")
    var testWebhookRetryPeriod: String?

    @Option(help: "Seconds of failures that disable an endpoint. LINKSPAN_WEBHOOK_PATIENCE; default 432000.")
    var webhookPatience: String?

    @Option(help: "The port of `listen`; 0 takes a free one. LINKSPAN_LISTEN_PORT; default 0.")
    var listenPort: String?
}

/// The settings, checked.
struct ServeSettings {
    let host: String
    let port: Int
    let publicURL: String?
    let testSecretKey: String?
    let testPublishableKey: String?
    let sessionLifetime: Int64
    /// In bytes; 0 where no files are taken.
    let uploadLimit: Int
    let earlyRefresh: Account.EarlyRefresh
    /// What ids and chance follow from; nil for chance itself.
    let seed: UInt64?
    let embedOrigins: [String]
    /// The demo lets anyone who reaches the server make Sessions of test mode.
    let showsDemo: Bool
    let merchantName: String?
    let keyFile: String?
    let role: Role
    /// Test institutions that the user described.
    let scenario: Scenario?
    /// The path of the operator's file of institutions.
    let connectors: String?
    let webhooks: WebhookSettings
    let logLevel: Logger.Level

    /// Which part of the work a server of several does.
    enum Role: String {
        /// What happens in a request, without one, or both.
        case api, worker, all
    }

    /// Whether the server listens at every address of the machine.
    var isAnyHost: Bool { host == "0.0.0.0" || host == "::" }

    /// The host as an address on this machine spells it.
    var urlHost: String {
        if isAnyHost { return "127.0.0.1" }
        return host.contains(":") ? "[\(host)]" : host
    }

    /// Who may frame the flow where nothing is set: pages on the same machine.
    private static let loopbackOrigins = [
        "'self'", "http://localhost:*", "http://127.0.0.1:*", "https://localhost:*", "https://127.0.0.1:*",
    ]

    init(_ options: ServeOptions) throws {
        host = options.host ?? Environment["LINKSPAN_HOST"] ?? "127.0.0.1"
        port = Int(
            try Self.number(
                options.port ?? Environment["LINKSPAN_PORT"] ?? "12111",
                "--port (LINKSPAN_PORT)",
                in: 0...65535
            )
        )
        publicURL = try Self.url(options.publicUrl ?? Environment["LINKSPAN_PUBLIC_URL"])
        testSecretKey = try Self.key(
            options.testSecretKey ?? Environment["LINKSPAN_TEST_SECRET_KEY"],
            "sk_test_",
            "--test-secret-key (LINKSPAN_TEST_SECRET_KEY)"
        )
        testPublishableKey = try Self.key(
            options.testPublishableKey ?? Environment["LINKSPAN_TEST_PUBLISHABLE_KEY"],
            "pk_test_",
            "--test-publishable-key (LINKSPAN_TEST_PUBLISHABLE_KEY)"
        )
        uploadLimit = try Self.bytesOfUploads(options)
        sessionLifetime = try Self.number(
            options.sessionLifetime ?? Environment["LINKSPAN_SESSION_LIFETIME"] ?? "86400",
            "--session-lifetime (LINKSPAN_SESSION_LIFETIME)",
            in: 0...31_536_000
        )
        let early = options.earlyRefresh ?? Environment["LINKSPAN_EARLY_REFRESH"] ?? "refuse"
        guard let earlyRefresh = Account.EarlyRefresh(rawValue: early) else {
            throw Failure("--early-refresh (LINKSPAN_EARLY_REFRESH) is '\(early)'; it takes refuse or ignore.")
        }
        self.earlyRefresh = earlyRefresh
        seed = try (options.seed ?? Environment["LINKSPAN_SEED"]).map { text in
            UInt64(try Self.number(text, "--seed (LINKSPAN_SEED)", in: 0...Int64.max))
        }
        embedOrigins = try Self.origins(options.embedOrigins ?? Environment["LINKSPAN_EMBED_ORIGINS"])
        merchantName = options.merchantName ?? Environment["LINKSPAN_MERCHANT_NAME"]
        keyFile = options.keyFile ?? Environment["LINKSPAN_KEY_FILE"]
        guard seed == nil || keyFile == nil else {
            throw Failure(
                "--seed (LINKSPAN_SEED) makes secrets that can be guessed: it is not for a server with --key-file."
            )
        }
        connectors = options.connectors ?? Environment["LINKSPAN_CONNECTORS"]
        scenario = try (options.sandbox ?? Environment["LINKSPAN_SANDBOX"]).map(Self.scenario)
        let demo = options.demo ?? Environment["LINKSPAN_DEMO"] ?? (keyFile == nil ? "on" : "off")
        guard ["on", "off"].contains(demo) else {
            throw Failure("--demo (LINKSPAN_DEMO) is '\(demo)'; it takes on or off.")
        }
        showsDemo = demo == "on"
        let part = options.role ?? Environment["LINKSPAN_ROLE"] ?? "all"
        guard let role = Role(rawValue: part) else {
            throw Failure("--role (LINKSPAN_ROLE) is '\(part)'; it takes api, worker or all.")
        }
        self.role = role
        webhooks = try WebhookSettings(options.webhooks)
        let level = options.logLevel ?? Environment["LINKSPAN_LOG_LEVEL"] ?? "info"
        guard let logLevel = Logger.Level(rawValue: level) else {
            throw Failure(
                "--log-level (LINKSPAN_LOG_LEVEL) is '\(level)'; it takes trace, debug, info, notice, warning, "
                    + "error or critical."
            )
        }
        self.logLevel = logLevel
    }

    private static func bytesOfUploads(_ options: ServeOptions) throws -> Int {
        let megabytes = options.uploadLimit ?? Environment["LINKSPAN_UPLOAD_LIMIT"] ?? "100"
        return Int(try number(megabytes, "--upload-limit (LINKSPAN_UPLOAD_LIMIT)", in: 0...2000)) * 1_000_000
    }

    static func number(_ text: String, _ name: String, in range: ClosedRange<Int64>) throws -> Int64 {
        guard let number = Int64(text), range.contains(number) else {
            throw Failure(
                "\(name) is '\(text)'; it takes a whole number from \(range.lowerBound) to \(range.upperBound)."
            )
        }
        return number
    }

    private static func url(_ text: String?) throws -> String? {
        guard let text else { return nil }
        guard let url = URL(string: text), ["http", "https"].contains(url.scheme), url.host != nil, url.query == nil
        else {
            throw Failure(
                "--public-url (LINKSPAN_PUBLIC_URL) is '\(text)'; it takes an address such as "
                    + "https://link.example.com."
            )
        }
        return text.hasSuffix("/") ? String(text.dropLast()) : text
    }

    private static func key(_ text: String?, _ prefix: String, _ name: String) throws -> String? {
        guard let text else { return nil }
        let isPlain = text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: ":") }
        guard text.hasPrefix(prefix), isPlain, (prefix.count + 4...255).contains(text.count) else {
            throw Failure("\(name) takes \(prefix) and at least four more letters or digits.")
        }
        return text
    }

    private static func scenario(_ path: String) throws -> Scenario {
        guard let yaml = try? String(contentsOfFile: path, encoding: .utf8) else {
            throw Failure("--sandbox (LINKSPAN_SANDBOX): there is no text file '\(path)' that can be read.")
        }
        do {
            return try Scenario(yaml: yaml) { try? await Task.sleep(for: .milliseconds($0)) }
        } catch {
            throw Failure("\(path):\(error)")
        }
    }

    private static func origins(_ text: String?) throws -> [String] {
        guard let text else { return loopbackOrigins }
        let origins = text.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
        let form = #/https?:\/\/(?:(?:\*\.)?[0-9A-Za-z._\-]+|\[[0-9A-Fa-f:]+\])(?::(?:[0-9]{1,5}|\*))?/#
        guard !origins.isEmpty, origins.allSatisfy({ $0.wholeMatch(of: form) != nil }) else {
            throw Failure(
                "--embed-origins (LINKSPAN_EMBED_ORIGINS) takes origins such as https://shop.example.com, with "
                    + "commas between them."
            )
        }
        return ["'self'"] + origins
    }
}

/// How events leave the server, checked.
struct WebhookSettings {
    let networks: [Outbound.Network]
    let timeout: Int64
    let retryPeriod: Int64
    let testRetryPeriod: Int64
    let patience: Int64
    let listenPort: Int

    init(_ options: WebhookOptions) throws {
        func number(_ flag: String?, _ name: String, _ standard: String, _ range: ClosedRange<Int64>) throws -> Int64 {
            try ServeSettings.number(flag ?? Environment[name] ?? standard, name, in: range)
        }
        timeout = try number(options.webhookTimeout, "LINKSPAN_WEBHOOK_TIMEOUT", "10", 1...60)
        let year: Int64 = 31_536_000
        retryPeriod = try number(options.webhookRetryPeriod, "LINKSPAN_WEBHOOK_RETRY_PERIOD", "259200", 0...year)
        testRetryPeriod = try number(
            options.testWebhookRetryPeriod,
            "LINKSPAN_TEST_WEBHOOK_RETRY_PERIOD",
            "3600",
            0...year
        )
        patience = try number(options.webhookPatience, "LINKSPAN_WEBHOOK_PATIENCE", "432000", 1...year)
        listenPort = Int(try number(options.listenPort, "LINKSPAN_LISTEN_PORT", "0", 0...65535))
        let names = (options.allowNetworks ?? Environment["LINKSPAN_ALLOW_NETWORKS"] ?? "").split(separator: ",")
        networks = try names.map { name in
            guard let network = Outbound.Network(name.trimmingCharacters(in: .whitespaces)) else {
                throw Failure(
                    "--allow-networks (LINKSPAN_ALLOW_NETWORKS) takes networks such as 10.1.0.0/16 or fd00::/8, with "
                        + "commas between them; '\(name)' is none."
                )
            }
            return network
        }
    }

    /// What webhooks may reach. In test mode that is this machine too, and without TLS.
    func policy(livemode: Bool) -> Outbound.Policy {
        livemode
            ? Outbound.Policy(allowing: networks, requiresTLS: true)
            : Outbound.Policy(allowing: Outbound.Policy.withLoopback.allowed + networks, requiresTLS: false)
    }

    /// How attempts follow each other: in test mode soon, so that whoever waits for one sees it.
    func schedule(livemode: Bool) -> Delivery.Schedule {
        livemode
            ? Delivery.Schedule(first: 5, longest: 8 * 3600, period: retryPeriod)
            : Delivery.Schedule(first: 1, longest: 300, period: testRetryPeriod)
    }
}
