/// Reads a scenario file into banks. `docs/scenarios.md` describes the format.

internal import Yams

enum ScenarioFile {
    static func banks(_ yaml: String) throws(FileError) -> [ScenarioBank] {
        let root: Node?
        do { root = try Yams.compose(yaml: yaml) } catch { throw FileError(error, in: yaml) }
        guard let root else { throw FileError(nil, "the file is empty.") }
        let file = try FileNode("the file", root).mapping("a scenario file", ["institutions"])
        var banks: [ScenarioBank] = []
        var taken = Set(Sandbox().institutions.flatMap { [$0.name, $0.id] })
        for node in try file.need("institutions").list() {
            let (bank, keys) = try bank(node)
            try take(bank.institution.name, keys["name"] ?? node, &taken, "institution has the name")
            try take(bank.institution.id, keys["id"] ?? node, &taken, "institution has the id")
            banks.append(bank)
        }
        return banks
    }

    private static func take(
        _ name: String,
        _ node: FileNode,
        _ taken: inout Set<String>,
        _ what: String
    ) throws(FileError) {
        guard taken.insert(name).inserted else { throw node.refusal("another \(what) '\(name)'.") }
    }

    // MARK: Institutions

    private static func bank(_ node: FileNode) throws(FileError) -> (ScenarioBank, FileMapping) {
        let keys = try node.mapping(
            "an institution",
            [
                "name", "id", "domain", "featured", "countries", "sign_in", "outage", "latency_ms", "consent_days",
                "accounts",
            ]
        )
        let name = try keys.need("name").text()
        let institution = Institution(
            id: try keys["id"].map(institutionID) ?? derivedID(name),
            name: name,
            domain: try keys["domain"]?.text() ?? derivedDomain(name),
            featured: try keys["featured"]?.flag() ?? true,
            countries: try keys["countries"].map(countries) ?? ["US"]
        )
        var accounts: [ScenarioAccount] = []
        var taken: Set<String> = []
        for node in try keys.need("accounts").list() {
            let (account, nameNode) = try ScenarioAccountReader(institution: institution.id).account(node)
            try take(account.name, nameNode, &taken, "account has the name")
            accounts.append(account)
        }
        let bank = ScenarioBank(
            institution: institution,
            signIn: try keys["sign_in"].flatMap(signIn),
            outage: try keys["outage"].map(outage),
            latency: try keys["latency_ms"]?.integer(0...60_000) ?? 0,
            consentDays: try keys["consent_days"]?.integer(1...3650),
            accounts: accounts
        )
        return (bank, keys)
    }

    private static func institutionID(_ node: FileNode) throws(FileError) -> String {
        let form = #/fcinst_[0-9A-Za-z]{14}/#
        return String(try node.matches(form, "fcinst_ and 14 letters or digits"))
    }

    private static func derivedID(_ name: String) -> String {
        var chance = Chance("scenario", name)
        let letters = Array("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
        return "fcinst_" + String((0..<14).map { _ in chance.pick(letters) })
    }

    private static func derivedDomain(_ name: String) -> String {
        let words = name.lowercased().split { !($0.isASCII && ($0.isLetter || $0.isNumber)) }
        return words.isEmpty ? "bank.example" : "\(words.joined(separator: "-")).bank.example"
    }

    private static func countries(_ node: FileNode) throws(FileError) -> [String] {
        let list = try node.oneOrMore()
        guard !list.isEmpty else { throw node.refusal("'countries' needs at least one country.") }
        return try list.map { item throws(FileError) in
            String(try item.matches(#/[A-Z]{2}/#, "codes of countries in capitals, such as US"))
        }
    }

    private enum PlainSignIn: String, CaseIterable {
        case none, password
    }

    private static func signIn(_ node: FileNode) throws(FileError) -> ScenarioSignIn? {
        if node.isScalar {
            guard try node.word(PlainSignIn.self) == .password else { return nil }
            return ScenarioSignIn(password: nil, mfa: nil, question: nil)
        }
        let keys = try node.mapping("a sign-in", ["password", "mfa", "security_question"])
        var question: (String, ScenarioSignIn.Answer)?
        if let node = keys["security_question"] {
            let keys = try node.mapping("a security question", ["question", "answer"])
            question = (try keys.need("question").text(), try answer(keys.need("answer")))
        }
        return ScenarioSignIn(
            password: try keys["password"].map(answer)?.only,
            mfa: try keys["mfa"].map(answer),
            question: question
        )
    }

    private static func answer(_ node: FileNode) throws(FileError) -> ScenarioSignIn.Answer {
        let text = try node.text("the right answer, or any")
        return text == "any" ? .any : .only(text)
    }

    private enum PlainOutage: String, CaseIterable {
        case unscheduled, error
    }

    private static func outage(_ node: FileNode) throws(FileError) -> ScenarioBank.Outage {
        if node.isScalar { return try node.word(PlainOutage.self) == .error ? .error : .unscheduled }
        return .until(try node.mapping("an outage", ["until"]).need("until").moment())
    }
}

extension ScenarioSignIn.Answer {
    /// Nil where any will do.
    fileprivate var only: String? { if case .only(let text) = self { text } else { nil } }
}

/// Reads the accounts of one institution.
private struct ScenarioAccountReader {
    let institution: String

    private static let keys = [
        "name", "category", "subcategory", "last4", "currency", "balance", "owners", "payments", "numbers", "activity",
        "patterns", "transactions", "failures", "closes_after_linking",
    ]

    /// The account, and where its name stands.
    func account(_ node: FileNode) throws(FileError) -> (ScenarioAccount, FileNode) {
        let keys = try node.mapping("an account", Self.keys)
        let name = try keys.need("name").text()
        let (category, subcategory) = try kind(keys)
        let currency = try keys["currency"]?.currency() ?? "usd"
        let canPay = category == .cash && subcategory != .other
        let payments = try keys["payments"]?.flag() ?? canPay
        if payments, !canPay, let node = keys["payments"] {
            throw node.refusal("only checking and savings accounts support payments.")
        }
        let number = ScenarioAccount.Number(
            identifier: .accountNumber,
            status: .transactable,
            expiresInDays: nil
        )
        let account = ScenarioAccount(
            name: name,
            category: category,
            subcategory: subcategory,
            last4: try keys["last4"].map { node throws(FileError) in
                String(try node.matches(#/[0-9]{4}/#, "four digits"))
            },
            currency: currency,
            supportsPayments: payments,
            numbers: try keys["numbers"].map(numbers) ?? (payments ? [number] : []),
            closesAfterLinking: try keys["closes_after_linking"]?.flag() ?? false,
            balance: try keys["balance"].map { node throws(FileError) in
                try balance(node, isCredit: category == .credit, currency)
            },
            owners: try keys["owners"].map(owners),
            isTypical: try keys["activity"]?.word(PlainActivity.self) == .typical,
            patterns: try keys["patterns"].map { node throws(FileError) in
                try patterns(node, of: name, currency)
            } ?? [],
            singles: try keys["transactions"].map { node throws(FileError) in try singles(node, currency) } ?? [],
            failures: try keys["failures"].map(failures) ?? [:]
        )
        return (account, try keys.need("name"))
    }

    private enum PlainActivity: String, CaseIterable {
        case none, typical
    }

    private func kind(
        _ keys: FileMapping
    ) throws(FileError) -> (BankAccount.Category, BankAccount.Subcategory) {
        let category = try keys["category"]?.word(BankAccount.Category.self)
        let subcategory = try keys["subcategory"]?.word(BankAccount.Subcategory.self)
        switch (category, subcategory) {
        case (nil, nil), (.cash, nil): return (.cash, .checking)
        case (.credit, nil): return (.credit, .creditCard)
        case (let category?, nil), (let category?, .other): return (category, .other)
        case (nil, .other): return (.other, .other)
        case (nil, let subcategory?): return (Self.category(of: subcategory), subcategory)
        case (let category?, let subcategory?):
            guard category == Self.category(of: subcategory) else {
                throw try keys.need("subcategory").refusal(
                    "an account of the category \(category.rawValue) is not of the subcategory \(subcategory.rawValue)."
                )
            }
            return (category, subcategory)
        }
    }

    private static func category(of subcategory: BankAccount.Subcategory) -> BankAccount.Category {
        switch subcategory {
        case .checking, .savings: .cash
        case .mortgage, .lineOfCredit, .creditCard: .credit
        case .other: .other
        }
    }

    // MARK: Data

    /// An amount alone is the current balance, and what is available or used too.
    private func balance(
        _ node: FileNode,
        isCredit: Bool,
        _ currency: String
    ) throws(FileError) -> (current: [String: Int64], kind: Balance.Kind) {
        func kind(_ amounts: [String: Int64]?) -> Balance.Kind {
            isCredit ? .credit(used: amounts) : .cash(available: amounts)
        }
        if node.isScalar {
            let current = [currency: try node.amount(currency)]
            return (current, kind(current))
        }
        let other = isCredit ? "used" : "available"
        let what = isCredit ? "the balance of a credit account" : "the balance of this account"
        let keys = try node.mapping(what, ["current", other])
        let current = try amounts(keys.need("current"), currency)
        return (current, kind(try keys[other].map { node throws(FileError) in try amounts(node, currency) }))
    }

    /// An amount, or amounts by their currencies.
    private func amounts(_ node: FileNode, _ currency: String) throws(FileError) -> [String: Int64] {
        if node.isScalar { return [currency: try node.amount(currency)] }
        var amounts: [String: Int64] = [:]
        for (key, value) in try node.entries() {
            guard Money.exponent(of: key) != nil else {
                throw value.refusal("'\(key)' is not a currency of ISO 4217.")
            }
            amounts[key.lowercased()] = try value.amount(key.lowercased())
        }
        guard !amounts.isEmpty else { throw node.refusal("'\(node.name)' needs at least one currency.") }
        return amounts
    }

    private func owners(_ node: FileNode) throws(FileError) -> [Owner] {
        try node.list().map { node throws(FileError) in
            if node.isScalar { return Owner(name: try node.text(), email: nil, phone: nil, address: nil) }
            let keys = try node.mapping("an owner", ["name", "email", "phone", "address"])
            return Owner(
                name: try keys.need("name").text(),
                email: try keys["email"]?.text(),
                phone: try keys["phone"]?.text(),
                address: try keys["address"]?.text()
            )
        }
    }

    private func numbers(_ node: FileNode) throws(FileError) -> [ScenarioAccount.Number] {
        try node.list().map { node throws(FileError) in
            let keys = try node.mapping("an account number", ["type", "status", "expires_in_days"])
            return ScenarioAccount.Number(
                identifier: try keys["type"]?.word(BankAccount.Numbers.Identifier.self) ?? .accountNumber,
                status: try keys["status"]?.word(BankAccount.Numbers.Status.self) ?? .transactable,
                expiresInDays: try keys["expires_in_days"]?.integer(0...3650)
            )
        }
    }

    // MARK: What happens

    /// The longest that something stays pending.
    private static let pendingDays: ClosedRange<Int64> = 0...60

    private func patterns(
        _ node: FileNode,
        of account: String,
        _ currency: String
    ) throws(FileError) -> [Pattern] {
        var patterns: [Pattern] = []
        var seen: [String: Int] = [:]
        for node in try node.list() {
            let keys = try node.mapping(
                "a pattern",
                ["every", "amount", "description", "pending_days", "start", "end"]
            )
            let description = try keys.need("description").text()
            let start = try keys["start"]?.moment()
            let end = try keys["end"]?.moment()
            if let start, let end, end < start, let node = keys["end"] {
                throw node.refusal("'end' is before 'start'.")
            }
            let pending = try (keys["pending_days"]?.integer(Self.pendingDays) ?? 0) * CivilDay.seconds
            patterns.append(
                Pattern(
                    Self.key("pattern", description, &seen),
                    of: "\(institution) \(account)",
                    try rhythm(keys.need("every"), from: start),
                    [description],
                    try range(keys.need("amount"), currency),
                    span: (start ?? .min)...(end ?? .max),
                    pending: pending...pending
                )
            )
        }
        return patterns
    }

    /// Tells apart what has the same words, by its order, so that a file can grow elsewhere and keys stay.
    private static func key(_ kind: String, _ words: String, _ seen: inout [String: Int]) -> String {
        let count = (seen[words] ?? 0) + 1
        seen[words] = count
        return "\(kind) \(count) \(words)"
    }

    private static let units: [Substring: Int64] = [
        "second": 1, "minute": 60, "hour": 3600, "day": CivilDay.seconds, "week": 7 * CivilDay.seconds,
    ]

    /// Without a start, days begin at midnight, weeks on Monday and months on the first.
    private func rhythm(_ node: FileNode, from start: Int64?) throws(FileError) -> Pattern.Rhythm {
        let monday = 4 * CivilDay.seconds
        let what = "a rhythm such as \"day\", \"2 weeks\" or \"month\""
        let form = #/(?:([1-9][0-9]{0,5}) )?(second|minute|hour|day|week|month)s?/#
        let (_, digits, unit) = try node.matches(form, what)
        let count = digits.flatMap { Int64($0) } ?? 1
        if let seconds = Self.units[unit] { return .every(seconds: count * seconds, from: start ?? monday) }
        let first = CivilDay(start ?? 0)
        return .months(count, from: first.months, day: first.day, second: start.map { $0 - first.begin } ?? 0)
    }

    /// One amount, or one of those between two.
    private func range(_ node: FileNode, _ currency: String) throws(FileError) -> ClosedRange<Int64> {
        if node.isScalar {
            let amount = try node.amount(currency)
            return amount...amount
        }
        let keys = try node.mapping("a range of amounts", ["from", "to"])
        let (from, to) = (try keys.need("from").amount(currency), try keys.need("to").amount(currency))
        return min(from, to)...max(from, to)
    }

    private func singles(_ node: FileNode, _ currency: String) throws(FileError) -> [ScenarioAccount.Single] {
        var singles: [ScenarioAccount.Single] = []
        var seen: [String: Int] = [:]
        for node in try node.list() {
            let keys = try node.mapping(
                "a transaction",
                ["date", "day", "amount", "description", "pending_days", "void"]
            )
            let when = try keys.either("date", "day")
            let time: ScenarioAccount.Single.Time =
                when.name == "date" ? .at(try when.moment()) : .days(try when.integer(-3650...3650))
            let description = try keys.need("description").text()
            let becomesVoid = try keys["void"]?.flag() ?? false
            let pendingDays = try keys["pending_days"]?.integer(Self.pendingDays) ?? 0
            if becomesVoid, pendingDays == 0, let node = keys["void"] {
                throw node.refusal("a transaction that becomes void needs 'pending_days' of at least 1.")
            }
            singles.append(
                .init(
                    id: Self.key("single", description, &seen),
                    time: time,
                    amount: try keys.need("amount").amount(currency),
                    description: description,
                    pendingDays: pendingDays,
                    becomesVoid: becomesVoid
                )
            )
        }
        return singles
    }

    // MARK: Failures

    private enum Kind: String, CaseIterable {
        case error, unavailable
        case rateLimited = "rate_limited"
        case relinkRequired = "relink_required"
        case accountClosed = "account_closed"

        var way: ConnectorError {
            switch self {
            case .unavailable: .institutionUnavailable(until: nil)
            case .error: .invalidResponse
            case .rateLimited: .rateLimited(until: nil)
            case .relinkRequired: .relinkRequired
            case .accountClosed: .accountClosed
            }
        }
    }

    private func failures(
        _ node: FileNode
    ) throws(FileError) -> [ScenarioAccount.Feature: ScenarioAccount.Failure] {
        let keys = try node.mapping("failures", ScenarioAccount.Feature.allCases.map(\.rawValue))
        var failures: [ScenarioAccount.Feature: ScenarioAccount.Failure] = [:]
        for feature in ScenarioAccount.Feature.allCases {
            guard let node = keys[feature.rawValue] else { continue }
            if node.isMapping {
                let keys = try node.mapping("a failure", ["on", "with"])
                let kind = try keys["with"]?.word(Kind.self) ?? .error
                failures[feature] = .init(refreshes: try refreshes(keys.need("on")), way: kind.way)
            } else {
                failures[feature] = .init(refreshes: try refreshes(node), way: Kind.error.way)
            }
        }
        return failures
    }

    /// Nil for all of them.
    private func refreshes(_ node: FileNode) throws(FileError) -> Set<Int64>? {
        if node.isWord("always") { return nil }
        return Set(
            try node.oneOrMore().map { item throws(FileError) in try item.integer(1...1_000_000, or: ", or always")
            }
        )
    }
}
