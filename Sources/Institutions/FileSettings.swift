/// What an operator says of institutions that are reached by SimpleFIN, by OFX Direct Connect or by files.

internal import Outbound

extension ConnectorField {
    fileprivate static let owesPositive = ConnectorField(
        "debts_are_positive",
        .flag,
        "Whether debts on cards and lines of credit come without a minus. Default: false."
    )

    /// - Parameter standard: seconds.
    static func refreshInterval(_ standard: Int) -> ConnectorField {
        ConnectorField(
            "refresh_seconds",
            .text,
            "Seconds from one refresh of an account's data to the next. Default: \(standard)."
        )
    }
}

extension ConnectorSettings {
    /// A whole number in a range.
    fileprivate func number(_ name: String, in range: ClosedRange<Int>) throws(SettingsRefusal) -> Int? {
        guard let text = text(name) else { return nil }
        guard let number = Int(text), range.contains(number) else {
            throw SettingsRefusal(name, "takes a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    func policy(_ standard: RefreshPolicy, budget: Int?) throws(SettingsRefusal) -> RefreshPolicy {
        RefreshPolicy(
            interval: try number("refresh_seconds", in: 1...31_536_000).map { Int64($0) } ?? standard.interval,
            concurrency: standard.concurrency,
            dailyBudget: budget ?? standard.dailyBudget,
            isMetered: standard.isMetered
        )
    }
}

extension SimpleFIN: ConfigurableConnector {
    public static let kind = "simplefin"

    public static let fields: [ConnectorField] = [
        .init("requests_per_day", .text, "The most requests for one person's token within 24 hours. Default: 24."),
        .init(
            "reaches_allowed_networks",
            .flag,
            "Whether tokens may lead into the networks of --allow-networks: whoever opens the flow can then make this "
                + "server ask there. Default: false."
        ), .refreshInterval(3600), .owesPositive,
    ]

    public init(
        _ institution: Institution,
        _ settings: ConnectorSettings,
        _ tools: ConnectorTools
    ) throws(SettingsRefusal) {
        let budget = try settings.number("requests_per_day", in: 1...100_000)
        self.init(
            institution,
            policy: try settings.policy(Self.standardPolicy, budget: budget),
            owesPositive: settings.flag("debts_are_positive") ?? false,
            line: settings.flag("reaches_allowed_networks") ?? false ? tools.line : tools.peoplesLine
        )
    }

    /// Where the servers are is in the tokens of the people.
    public func check() async throws(ConnectorError) {}
}

extension OFXFiles: ConfigurableConnector {
    public static let kind = "ofx_file"

    public static let fields: [ConnectorField] = [
        .init("currency", .text, "ISO 4217, of statements that name none."), .owesPositive,
    ]

    public init(
        _ institution: Institution,
        _ settings: ConnectorSettings,
        _ tools: ConnectorTools
    ) throws(SettingsRefusal) {
        let currency = settings.text("currency")
        guard currency.map({ Money.exponent(of: $0) != nil }) ?? true else {
            throw SettingsRefusal("currency", "takes a code of ISO 4217, such as USD")
        }
        self.init(
            institution,
            currency: currency,
            owesPositive: settings.flag("debts_are_positive") ?? false,
            mark: tools.mark
        )
    }

    /// Files come from people.
    public func check() async throws(ConnectorError) {}
}

extension OFXDirect: ConfigurableConnector {
    public static let kind = "ofx_direct"

    public static let fields: [ConnectorField] = [
        .init("url", .url, isRequired: true, "Where the bank takes OFX: https://ofx.bank.example/process"),
        .init("org", .text, isRequired: true, "ORG, as the bank says it."),
        .init("fid", .text, isRequired: true, "FID, as the bank says it."),
        .init("version", .text, "The version of OFX that the bank takes: 102 to 160, or 200 to 230. Default: 103."),
        .init("app_id", .text, "APPID, for banks that know their programs. Default: QWIN."),
        .init("app_version", .text, "APPVER. Default: 2700."), .refreshInterval(3600), .owesPositive,
    ]

    public init(
        _ institution: Institution,
        _ settings: ConnectorSettings,
        _ tools: ConnectorTools
    ) throws(SettingsRefusal) {
        var configuration = Configuration(
            url: settings.text("url") ?? "",
            organization: settings.text("org") ?? "",
            institutionID: settings.text("fid") ?? ""
        )
        configuration.version = try settings.number("version", in: 102...230) ?? configuration.version
        configuration.application = settings.text("app_id") ?? configuration.application
        configuration.applicationVersion = settings.text("app_version") ?? configuration.applicationVersion
        configuration.owesPositive = settings.flag("debts_are_positive") ?? false
        self.init(
            institution,
            policy: try settings.policy(Self.standardPolicy, budget: nil),
            configuration,
            line: tools.line,
            mark: tools.mark,
            secret: tools.secret
        )
    }

    /// Asks for the profile, which banks tell anybody.
    public func check() async throws(ConnectorError) {
        guard try await profile(clientID: nil, now: 0) != nil else { throw .invalidResponse }
    }
}
