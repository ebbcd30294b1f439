/// Scenario files: what they describe is what the connector answers, and what is wrong in them is refused where it
/// stands, with the reason.

import Foundation
import Institutions
import Synchronization
import Testing

private let now: Int64 = 1_790_000_000
private let day: Int64 = 86_400

/// A person at the first bank of a scenario file, or at the one named.
private final class Person: Sendable {
    let scenario: Scenario
    let institution: Institution
    let holder: String
    private let naps: Naps
    private let credential = Mutex<[UInt8]>([])

    /// The milliseconds that the connector waited.
    private final class Naps: Sendable {
        let taken = Mutex<[Int64]>([])
    }

    init(_ yaml: String, at name: String? = nil, holder: String = "cus_A") throws {
        let naps = Naps()
        scenario = try Scenario(yaml: yaml) { milliseconds in naps.taken.withLock { $0.append(milliseconds) } }
        institution = try #require(scenario.institutions.first { name == nil || $0.name == name })
        self.holder = holder
        self.naps = naps
    }

    var slept: [Int64] { naps.taken.withLock { $0 } }

    func attempt(at now: Int64 = now) -> Attempt {
        Attempt(
            institution: institution,
            holder: holder,
            now: now,
            isRelink: false,
            callback: .init(url: "https://link.example/flow/return", state: "state")
        )
    }

    /// Signs in, giving one set of answers for each form that must come.
    @discardableResult
    func signIn(at now: Int64 = now, _ answers: [String: String]...) async throws -> Self {
        var step = try await scenario.begin(attempt(at: now))
        for answers in answers {
            guard case .prompt(_, let resume) = step else { throw ConnectorError.invalidResponse }
            step = try await scenario.resume(attempt(at: now), from: resume, .answers(answers))
        }
        guard case .authorized(let bytes) = step else { throw ConnectorError.authorizationFailed }
        credential.withLock { $0 = bytes }
        return self
    }

    func access(at now: Int64 = now, _ fabrication: Fabrication? = nil, refresh: Int64? = nil) -> Access {
        Access(
            institution: institution,
            holder: holder,
            now: now,
            credential: credential.withLock { $0 },
            fabrication: fabrication,
            refreshNumber: refresh
        ) { _ throws(ConnectorError) in throw .unsupported }
    }

    func accounts(at now: Int64 = now) async throws -> [BankAccount] { try await scenario.accounts(access(at: now)) }

    func reference(_ name: String? = nil) async throws -> BankAccount.Reference {
        let account = try #require(try await accounts().first { name == nil || $0.displayName == name })
        return .init(id: account.id, category: account.category, subcategory: account.subcategory)
    }

    func balance(_ name: String? = nil, at now: Int64 = now) async throws -> Balance {
        try await scenario.balance(of: reference(name), access(at: now))
    }

    func owners(_ name: String? = nil) async throws -> [Owner] {
        try await scenario.owners(of: reference(name), access())
    }

    /// All pages of a refresh.
    func transactions(
        _ name: String? = nil,
        after cursor: [UInt8]? = nil,
        at now: Int64 = now
    ) async throws -> (transactions: [BankTransaction], cursor: [UInt8], pages: Int) {
        let account = try await reference(name)
        var page = try await scenario.transactions(of: account, after: cursor, access(at: now))
        var (transactions, pages) = (page.transactions, 1)
        while page.hasMore {
            page = try await scenario.transactions(of: account, after: page.cursor, access(at: now))
            transactions += page.transactions
            pages += 1
        }
        return (transactions, page.cursor, pages)
    }
}

/// A file with one account, whose further keys are given, each line as it stands beneath `name`.
private func file(_ account: String = "", institution: String = "") -> String {
    func indented(_ text: String, _ width: Int) -> String {
        text.split(separator: "\n").map { String(repeating: " ", count: width) + $0 + "\n" }.joined()
    }
    return "institutions:\n  - name: A Bank\n\(indented(institution, 4))    accounts:\n      - name: One\n"
        + indented(account, 8)
}

@Suite("Scenario files: institutions")
struct ScenarioInstitutionTests {
    @Test("the example is what the documentation says of it")
    func example() async throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let yaml = try String(contentsOf: root.appending(path: "examples/bank.yaml"), encoding: .utf8)
        let person = try Person(yaml)
        #expect(
            person.scenario.institutions.map { "\($0.name) \($0.domain) \($0.featured) \($0.countries.joined())" } == [
                "Riverside Credit Union riverside.bank.example true USCA",
                "Tokyo Test Bank tokyo-test-bank.bank.example false JP",
                "Sleepy Bank sleepy-bank.bank.example true US",
                "Tokens First Bank tokens-first-bank.bank.example true US",
            ]
        )
        try await person.signIn(["username": "ada", "password": "x"], ["mfa": "123456"])
        #expect(
            try await person.accounts().map { "\($0.displayName) \($0.subcategory) \($0.supportsPayments)" } == [
                "Everyday Checking checking true", "Travel Savings savings true", "Travel Card creditCard false",
            ]
        )
        #expect(try await person.accounts().allSatisfy { $0.expectedDeactivation == now + 90 * day })
        #expect(
            try await person.balance("Everyday Checking")
                == Balance(asOf: now, current: ["usd": 120_450], kind: .cash(available: ["usd": 118_000]))
        )
        #expect(try await person.owners("Everyday Checking").map(\.name) == ["Ada Okafor", "Ben Okafor"])
        let described = Set(try await person.transactions("Everyday Checking").transactions.map(\.description))
        #expect(described.isSuperset(of: ["Payroll Acme", "Rent", "Groceries", "Hotel hold"]))
        let tokyo = try await Person(yaml, at: "Tokyo Test Bank").signIn()
        #expect(try await tokyo.balance().current == ["jpy": 125_000])
        #expect(try await tokyo.transactions().transactions.allSatisfy { $0.currency == "jpy" })
    }

    @Test("ids follow from the names, and are not those of other names")
    func ids() throws {
        let first = try Person(file()).institution
        #expect(first.id.wholeMatch(of: #/fcinst_[0-9A-Za-z]{14}/#) != nil)
        #expect(first.id == (try Person(file("last4: 1234", institution: "featured: false")).institution.id))
        let other = try Person(file().replacing("A Bank", with: "B Bank")).institution
        #expect(first.id != other.id)
        let given = try Person(file(institution: "id: fcinst_0123456789abcd\ndomain: a.example")).institution
        #expect(given.id == "fcinst_0123456789abcd" && given.domain == "a.example")
    }

    @Test("a sign-in that asks for nothing, for a password, and for more")
    func signIn() async throws {
        try await Person(file()).signIn()
        try await Person(file(institution: "sign_in: none")).signIn()
        try await Person(file(institution: "sign_in: password")).signIn(["username": "a", "password": "b"])
        let all = file(
            institution: """
                sign_in:
                  password: s3cret
                  mfa: any
                  security_question: {question: First pet?, answer: Rex}
                """
        )
        let (password, mfa, question) = (["username": "a", "password": "s3cret"], ["mfa": "0"], ["question": "Rex"])
        try await Person(all).signIn(password, mfa, question)
        try await Person(all).signIn(
            ["username": "a", "password": "S3cret"],
            password,
            mfa,
            ["question": "Tom"],
            question
        )
        try await Person(all).signIn(["username": "", "password": "s3cret"], password, [:], mfa, question)
    }

    @Test("what the forms are, and that a note of another hand is refused")
    func forms() async throws {
        let question = "sign_in: {security_question: {question: First pet?, answer: any}}"
        let person = try Person(file(institution: question))
        guard case .prompt(let prompt, let resume) = try await person.scenario.begin(person.attempt()) else {
            throw ConnectorError.invalidResponse
        }
        #expect(prompt.title == "Sign in to A Bank")
        #expect(prompt.fields.map(\.kind) == [.text, .password])
        let answers = Response.answers(["username": "a", "password": "hunter2"])
        let next = try await person.scenario.resume(person.attempt(), from: resume, answers)
        guard case .prompt(let second, let note) = next else { throw ConnectorError.invalidResponse }
        #expect(second.fields.map(\.label) == ["First pet?"])
        #expect(!String(decoding: note, as: UTF8.self).contains("hunter2"))
        for note in ["", "mfa", "nonsense"] {
            await #expect(throws: ConnectorError.invalidResponse) {
                try await person.scenario.resume(person.attempt(), from: Array(note.utf8), answers)
            }
        }
    }

    @Test("what is down, and what comes up again")
    func outages() async throws {
        let unscheduled = try Person(file(institution: "outage: unscheduled"))
        await #expect(throws: ConnectorError.institutionUnavailable(until: nil)) { try await unscheduled.signIn() }
        let error = try Person(file(institution: "outage: error"))
        await #expect(throws: ConnectorError.invalidResponse) { try await error.signIn() }
        let scheduled = try Person(file(institution: "outage: {until: 2026-09-21T14:13:20Z}"))
        await #expect(throws: ConnectorError.institutionUnavailable(until: now)) {
            try await scheduled.signIn(at: now - 1)
        }
        try await scheduled.signIn(at: now)
    }

    @Test("each call takes its time, which passes outside")
    func latency() async throws {
        let person = try await Person(file("balance: \"1\"", institution: "latency_ms: 250")).signIn()
        #expect(person.slept == [250])
        _ = try await person.balance()
        #expect(person.slept == [250, 250, 250])
        #expect(try await Person(file()).signIn().slept.isEmpty)
    }

    @Test("a consent ends on its day")
    func consent() async throws {
        let person = try await Person(file(institution: "consent_days: 10")).signIn()
        #expect(try await person.scenario.consentExpiry(person.access()) == now + 10 * day)
        let account = try await person.reference()
        _ = try await person.scenario.balance(of: account, person.access(at: now + 10 * day - 1))
        await #expect(throws: ConnectorError.relinkRequired) {
            try await person.scenario.balance(of: account, person.access(at: now + 10 * day))
        }
        try await person.scenario.revoke(person.access())
        let endless = try await Person(file()).signIn()
        #expect(try await endless.scenario.consentExpiry(endless.access()) == nil)
    }

    @Test("a credential of another holder is refused")
    func credentials() async throws {
        let person = try await Person(file()).signIn()
        let other = Access(
            institution: person.institution,
            holder: "cus_B",
            now: now,
            credential: person.access().credential
        ) { _ throws(ConnectorError) in throw .unsupported }
        await #expect(throws: ConnectorError.invalidResponse) { try await person.scenario.accounts(other) }
    }
}

@Suite("Scenario files: accounts")
struct ScenarioAccountTests {
    @Test(
        "categories and subcategories complete each other",
        arguments: [
            ("", "cash checking true"), ("category: cash", "cash checking true"),
            ("subcategory: savings", "cash savings true"), ("category: credit", "credit creditCard false"),
            ("subcategory: mortgage", "credit mortgage false"), ("category: investment", "investment other false"),
            ("subcategory: other", "other other false"), ("category: cash\nsubcategory: other", "cash other false"),
            ("subcategory: line_of_credit", "credit lineOfCredit false"), ("payments: false", "cash checking false"),
        ]
    )
    func kinds(keys: String, expected: String) async throws {
        let account = try #require(try await Person(file(keys)).signIn().accounts().first)
        #expect("\(account.category) \(account.subcategory) \(account.supportsPayments)" == expected)
        #expect(account.numbers.count == (account.supportsPayments ? 1 : 0))
    }

    @Test("numbers count from the sign-in")
    func numbers() async throws {
        let keys = "numbers:\n  - {type: tokenized_account_number, status: pending, expires_in_days: 45}\n  - {}"
        let account = try #require(try await Person(file(keys + "\nlast4: 0042")).signIn().accounts().first)
        #expect(
            account.numbers == [
                .init(identifier: .tokenizedAccountNumber, status: .pending, expectedExpiry: now + 45 * day),
                .init(identifier: .accountNumber, status: .transactable, expectedExpiry: nil),
            ]
        )
        #expect(account.last4 == "0042")
        #expect(
            try #require(await Person(file("closes_after_linking: true")).signIn().accounts().first).closesAfterLinking
        )
    }

    @Test(
        "balances are exact",
        arguments: [
            ("balance: \"90071992547409.93\"", ["usd": 9_007_199_254_740_993], ["usd": 9_007_199_254_740_993]),
            ("balance: 0.10", ["usd": 10], ["usd": 10]),
            ("currency: JPY\nbalance: \"125000\"", ["jpy": 125_000], ["jpy": 125_000]),
            ("balance: {current: \"1.5\"}", ["usd": 150], nil),
            (
                "balance: {current: {usd: \"1\", KWD: \"1.234\"}, available: \"0\"}", ["usd": 100, "kwd": 1234],
                ["usd": 0]
            ),
        ] as [(String, [String: Int64], [String: Int64]?)]
    )
    func balances(keys: String, current: [String: Int64], available: [String: Int64]?) async throws {
        let balance = try await Person(file(keys)).signIn().balance()
        #expect(balance == Balance(asOf: now, current: current, kind: .cash(available: available)))
    }

    @Test("credit is used, and what is not written is made up")
    func credit() async throws {
        let card = try await Person(file("category: credit\nbalance: {current: \"-5\", used: \"-7.01\"}")).signIn()
        #expect(
            try await card.balance() == Balance(asOf: now, current: ["usd": -500], kind: .credit(used: ["usd": -701]))
        )
        let made = try await Person(file("currency: eur\nactivity: typical")).signIn()
        #expect(try #require(await made.balance().current["eur"]) > 0)
        #expect(try await made.balance() == made.balance())
        #expect(try await made.owners().count == 1)
        #expect(try await made.transactions().transactions.count > 100)
    }

    @Test("owners are those written")
    func owners() async throws {
        #expect(try await Person(file("owners: []")).signIn().owners().isEmpty)
        #expect(
            try await Person(file("owners:\n  - Ada\n  - {name: Ben, email: b@example.com, phone: \"1\", address: x}"))
                .signIn().owners() == [
                    Owner(name: "Ada", email: nil, phone: nil, address: nil),
                    Owner(name: "Ben", email: "b@example.com", phone: "1", address: "x"),
                ]
        )
    }

    @Test("holders have accounts of their own, the same each time")
    func holders() async throws {
        let (mine, yours) = (try await Person(file()).signIn(), try await Person(file(), holder: "cus_B").signIn())
        #expect(try await mine.reference() == Person(file()).signIn(at: now + 5).reference())
        #expect(try await mine.reference() != yours.reference())
        let stranger = try await yours.reference()
        await #expect(throws: ConnectorError.accountClosed) {
            try await mine.scenario.balance(of: stranger, mine.access())
        }
    }
}

@Suite("Scenario files: what happens")
struct ScenarioActivityTests {
    private func moments(_ keys: String, at now: Int64 = now) async throws -> [Int64] {
        try await Person(file(keys)).signIn(at: now).transactions(at: now).transactions.map(\.transactedAt)
    }

    @Test(
        "a pattern comes in its rhythm from its start",
        arguments: [
            ("3 days", 3 * day, 60), ("day", day, 180), ("week", 7 * day, 25), ("2 weeks", 14 * day, 12),
            ("12 hours", day / 2, 360),
        ] as [(String, Int64, Int)]
    )
    func rhythm(every: String, period: Int64, count: Int) async throws {
        let endless = try await moments("patterns: [{every: \(every), amount: \"-1\", description: x}]")
        #expect((count...count + 1).contains(endless.count))
        #expect(zip(endless, endless.dropFirst()).allSatisfy { $1 - $0 == period })
        let start: Int64 = 1_785_542_400  // 2026-08-01
        let bounded = try await moments(
            "patterns: [{every: \(every), amount: \"-1\", description: x, start: 2026-08-01, end: 2026-08-15}]"
        )
        #expect(bounded == Array(stride(from: start, through: start + 14 * day, by: Int(period))))
    }

    @Test("months have their own lengths")
    func months() async throws {
        let pattern = "patterns: [{every: month, amount: \"-1\", description: x, start: 2025-10-31T08:00:00Z}]"
        let days = try await moments(pattern).map { Date(timeIntervalSince1970: Double($0)).formatted(.iso8601) }
        #expect(
            days == [
                "2026-03-31T08:00:00Z", "2026-04-30T08:00:00Z", "2026-05-31T08:00:00Z", "2026-06-30T08:00:00Z",
                "2026-07-31T08:00:00Z", "2026-08-31T08:00:00Z",
            ]
        )
        let quarterly = try await moments(pattern.replacing("every: month", with: "every: 3 months"))
        #expect(quarterly.count == 2)
    }

    @Test("amounts stay in their range, and are the same again")
    func amounts() async throws {
        let keys = "patterns: [{every: day, amount: {from: \"-0.05\", to: \"-0.01\"}, description: x}]"
        let person = try await Person(file(keys)).signIn()
        let amounts = try await person.transactions().transactions.map(\.amount)
        #expect(Set(amounts) == [-5, -4, -3, -2, -1])
        #expect(
            try await Person(file(keys), holder: "cus_B").signIn().transactions().transactions.map(\.amount) == amounts
        )
    }

    @Test("patterns of the same words stay apart")
    func twins() async throws {
        let pattern = "{every: week, amount: \"-1\", description: x}"
        let single = "{day: -1, amount: \"-1\", description: x}"
        let keys = "activity: typical\npatterns: [\(pattern), \(pattern)]\ntransactions: [\(single), \(single)]"
        let ids = try await Person(file(keys)).signIn().transactions().transactions.map(\.id)
        #expect(Set(ids).count == ids.count)
    }

    @Test("single transactions have their day, are pending, and end as they are to")
    func singles() async throws {
        let keys = """
            transactions:
              - {day: -2, amount: "-1", description: old}
              - {date: 2026-09-21, amount: "2.50", description: new, pending_days: 3}
              - {day: 1, amount: "-3", description: gone, pending_days: 2, void: true}
              - {date: 2020-01-01, amount: "-3", description: forgotten}
            """
        let person = try await Person(file(keys)).signIn()
        var known: [String: String] = [:]
        var cursor: [UInt8]?
        func told(at moment: Int64) async throws -> [String] {
            let refresh = try await person.transactions(after: cursor, at: moment)
            cursor = refresh.cursor
            for told in refresh.transactions {
                #expect(known[told.description] == nil || known[told.description] == told.id)
                known[told.description] = told.id
            }
            return refresh.transactions.map { "\($0.description) \($0.status) \($0.amount)" }
        }
        #expect(try await told(at: now) == ["old posted -100", "new pending 250"])
        #expect(try await told(at: now + day - 1).isEmpty)
        #expect(try await told(at: now + day) == ["gone pending -300"])
        #expect(try await told(at: now + 3 * day) == ["new posted 250", "gone void -300"])
        #expect(try await told(at: now + 300 * day).isEmpty)
    }

    @Test("much is told in pages of which none is large, from a cursor that does not grow")
    func volume() async throws {
        let keys = "patterns: [{every: 30 minutes, amount: \"-1\", description: x, pending_days: 1}]"
        let refresh = try await Person(file(keys)).signIn().transactions()
        #expect((8640...8641).contains(refresh.transactions.count))
        #expect((18...87).contains(refresh.pages))
        #expect(Set(refresh.transactions.map(\.id)).count == refresh.transactions.count)
        #expect(refresh.cursor.count < 100)
    }
}

@Suite("Scenario files: what fails")
struct ScenarioFailureTests {
    private func outcome(_ call: () async throws -> some Any) async -> ConnectorError? {
        do {
            _ = try await call()
            return nil
        } catch {
            return error as? ConnectorError
        }
    }

    /// What comes of the first four refreshes.
    private func outcomes(_ call: (_ refresh: Int64) async throws -> some Any) async -> [ConnectorError?] {
        var outcomes: [ConnectorError?] = []
        for refresh in Int64(1)...4 { outcomes.append(await outcome { try await call(refresh) }) }
        return outcomes
    }

    @Test("always, or at certain refreshes of one kind of data")
    func counted() async throws {
        let keys = "failures: {balance: 2, ownership: always, transactions: {on: [1, 3], with: rate_limited}}"
        let person = try await Person(file(keys)).signIn()
        let (scenario, account) = (person.scenario, try await person.reference())
        let error = ConnectorError.invalidResponse
        #expect(
            await outcomes { try await scenario.balance(of: account, person.access(refresh: $0)) }
                == [nil, error, nil, nil]
        )
        #expect(
            await outcomes { try await scenario.owners(of: account, person.access(refresh: $0)) }
                == [error, error, error, error]
        )
        #expect(
            await outcomes { try await scenario.transactions(of: account, after: nil, person.access(refresh: $0)) }
                == [.rateLimited(until: nil), nil, .rateLimited(until: nil), nil]
        )
    }

    @Test(
        "in the way that is written",
        arguments: [
            ("unavailable", .institutionUnavailable(until: nil)), ("error", .invalidResponse),
            ("rate_limited", .rateLimited(until: nil)), ("relink_required", .relinkRequired),
            ("account_closed", .accountClosed),
        ] as [(String, ConnectorError)]
    )
    func ways(word: String, error: ConnectorError) async throws {
        let person = try await Person(file("failures: {balance: {on: always, with: \(word)}}")).signIn()
        #expect(await outcome { try await person.balance() } == error)
    }

    @Test("what tests made comes first")
    func fabrication() async throws {
        let person = try await Person(file("failures: {balance: {on: always, with: unavailable}}")).signIn()
        let account = try await person.reference()
        let cases: [(Bool, Bool, ConnectorError)] = [(true, true, .accountClosed), (false, true, .invalidResponse)]
        for (isDeactivated, fails, error) in cases {
            let made = Fabrication(balance: nil, owners: nil, isDeactivated: isDeactivated, fails: fails) {
                _,
                _ throws(ConnectorError) in []
            }
            #expect(await outcome { try await person.scenario.balance(of: account, person.access(made)) } == error)
        }
    }
}

@Suite("Scenario files: what is refused")
struct FileErrorTests {
    private func refusal(_ yaml: String) -> String? {
        do {
            _ = try Scenario(yaml: yaml) { _ in }
            return nil
        } catch {
            return error.description
        }
    }

    @Test(
        "a wrong file, where it is wrong",
        arguments: [
            ("", "1:1: the file is empty."),
            ("institutions", "1:1: 'the file' takes the keys of a scenario file, not 'institutions'."),
            ("institutions: 5", "1:15: 'institutions' takes a list, not '5'."),
            ("institution: []", "1:1: 'institution' is not a key of a scenario file; did you mean 'institutions'?"),
            ("institutions: [{accounts: []}]", "1:16: an institution needs the key 'name'."),
            ("institutions: [{name: x}]", "1:16: an institution needs the key 'accounts'."),
            (
                "institutions:\n  - {name: x, accounts: []}\n  - {name: x, accounts: []}",
                "3:12: another institution has the name 'x'."
            ),
            (
                "institutions:\n  - {name: Down (Error), accounts: []}",
                "2:12: another institution has the name 'Down (Error)'."
            ),
            (
                "institutions:\n  - {name: x, id: fcinst_Qn1a7A4KhL42se, accounts: []}",
                "2:19: another institution has the id 'fcinst_Qn1a7A4KhL42se'."
            ),
            (
                "institutions:\n  - {name: x, accounts: [{name: a}, {name: a}]}",
                "2:44: another account has the name 'a'."
            ),
        ]
    )
    func files(yaml: String, expected: String) {
        #expect(refusal(yaml) == expected)
    }

    @Test("a text that is not YAML", arguments: ["institutions: [", "a: b: c", "\t- x", "a: *none", "a: 1\na: 2"])
    func notYAML(yaml: String) throws {
        let refusal = try #require(self.refusal(yaml))
        #expect(refusal.wholeMatch(of: #/[1-9][0-9]*:[1-9][0-9]*: .+\./#) != nil, "\(refusal)")
    }

    @Test(
        "a wrong key or value of an institution",
        arguments: [
            ("featured: maybe", "3:15: 'featured' takes true or false, not 'maybe'."),
            ("latency: 5", "3:5: 'latency' is not a key of an institution; did you mean 'latency_ms'?"),
            ("zzzzzzzz: 5", "3:5: 'zzzzzzzz' is not a key of an institution."),
            ("latency_ms: 1.5", "3:17: 'latency_ms' takes a whole number from 0 to 60000, not '1.5'."),
            ("latency_ms: -1", "3:17: 'latency_ms' takes a whole number from 0 to 60000, not '-1'."),
            ("consent_days: ~", "3:19: 'consent_days' takes a whole number from 1 to 3650, not nothing."),
            ("countries: usa", "3:16: 'countries' takes codes of countries in capitals, such as US, not 'usa'."),
            ("countries: []", "3:16: 'countries' needs at least one country."),
            ("id: x", "3:9: 'id' takes fcinst_ and 14 letters or digits, not 'x'."),
            ("sign_in: pasword", "3:14: 'sign_in' takes none or password, not 'pasword'."),
            ("sign_in: {mfaa: any}", "3:15: 'mfaa' is not a key of a sign-in; did you mean 'mfa'?"),
            ("sign_in: {security_question: {question: x}}", "3:34: a security question needs the key 'answer'."),
            ("outage: sometimes", "3:13: 'outage' takes unscheduled or error, not 'sometimes'."),
            (
                "outage: {until: tomorrow}",
                "3:21: 'until' takes a day such as 2026-01-31 or a moment such as 2026-01-31T09:30:00Z, "
                    + "not 'tomorrow'."
            ),
            ("domain: [a]", "3:13: 'domain' takes a text, not a list."),
        ]
    )
    func institutions(line: String, expected: String) {
        #expect(refusal(file(institution: line)) == expected)
    }

    @Test(
        "a wrong key or value of an account",
        arguments: [
            ("balace: \"1\"", "5:9: 'balace' is not a key of an account; did you mean 'balance'?"),
            ("balance: \"1,5\"", "5:18: 'balance' takes an amount of usd such as \"-1234.56\", not '1,5'."),
            ("balance: 1e3", "5:18: 'balance' takes an amount of usd such as \"-1234.56\", not '1e3'."),
            ("balance: \"1.005\"", "5:18: '1.005' has more decimals than usd, which has 2."),
            ("balance: {current: {jpy: \"1.5\"}}", "5:34: '1.5' has more decimals than jpy, which has 0."),
            ("balance: {current: {xyz: \"1\"}}", "5:34: 'xyz' is not a currency of ISO 4217."),
            ("balance: {available: \"1\"}", "5:18: the balance of this account needs the key 'current'."),
            ("currency: dollars", "5:19: 'currency' takes a currency of ISO 4217 such as usd, not 'dollars'."),
            ("last4: 12345", "5:16: 'last4' takes four digits, not '12345'."),
            (
                "subcategory: cheking",
                "5:22: 'subcategory' takes checking, savings, mortgage, line_of_credit, credit_card or "
                    + "other, not 'cheking'."
            ),
            (
                "category: credit\nsubcategory: savings",
                "6:22: an account of the category credit is not of the subcategory savings."
            ),
            ("category: credit\npayments: true", "6:19: only checking and savings accounts support payments."),
            ("owners: [{email: a}]", "5:18: an owner needs the key 'name'."),
            ("owners: Ada", "5:17: 'owners' takes a list, not 'Ada'."),
            ("activity: wild", "5:19: 'activity' takes none or typical, not 'wild'."),
            (
                "failures: {balance: sometimes}",
                "5:29: 'balance' takes a whole number from 1 to 1000000, or always, not 'sometimes'."
            ),
            ("failures: {owners: 1}", "5:20: 'owners' is not a key of failures; did you mean 'ownership'?"),
            (
                "failures: {balance: {on: 1, with: luck}}",
                "5:43: 'with' takes error, unavailable, rate_limited, "
                    + "relink_required or account_closed, not 'luck'."
            ),
        ]
    )
    func accounts(lines: String, expected: String) {
        #expect(refusal(file(lines)) == expected)
    }

    @Test(
        "a wrong pattern or transaction",
        arguments: [
            ("patterns: [{every: 0 days}]", "needs the key 'description'."),
            (
                "patterns: [{every: 0 days, amount: \"1\", description: x}]",
                "'every' takes a rhythm such as \"day\", \"2 weeks\" or \"month\", not '0 days'."
            ),
            (
                "patterns: [{every: day, amount: {from: \"1\"}, description: x}]",
                "a range of amounts needs the key 'to'."
            ),
            (
                "patterns: [{every: day, amount: \"1\", description: x, start: 2026-02-30}]",
                "'start' takes a day such as 2026-01-31 or a moment such as 2026-01-31T09:30:00Z, not '2026-02-30'."
            ),
            (
                "patterns: [{every: day, amount: \"1\", description: x, start: 2026-02-02, end: 2026-02-01}]",
                "'end' is before 'start'."
            ),
            (
                "patterns: [{every: day, amount: \"1\", description: x, pending_days: 61}]",
                "'pending_days' takes a whole number from 0 to 60, not '61'."
            ),
            ("transactions: [{amount: \"1\", description: x}]", "a transaction needs the key 'date' or 'day'."),
            (
                "transactions: [{date: 2026-01-01, day: 1, amount: \"1\", description: x}]",
                "a transaction has 'date' or 'day', not both."
            ),
            ("transactions: [{day: 1, amount: \"1\", description: \"  \"}]", "'description' takes a text, not '  '."),
            (
                "transactions: [{day: 1, amount: \"1\", description: x, void: true}]",
                "a transaction that becomes void needs 'pending_days' of at least 1."
            ),
        ]
    )
    func activity(line: String, expected: String) throws {
        let refusal = try #require(self.refusal(file(line)))
        #expect(refusal.hasPrefix("5:") && refusal.hasSuffix(expected), "\(refusal)")
    }
}
