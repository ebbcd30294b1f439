/// SimpleFIN against a server that was written from the protocol: claims, both versions and their mixtures, windows,
/// budgets, errors of one bank behind the server.

import Foundation
import Synchronization
import Testing

@testable import Institutions
@testable import Outbound

private let now: Int64 = 1_790_000_000
private let today = now / 86_400 * 86_400
private let canary = "canary-simplefin-9c1e"

/// A SimpleFIN server with one token.
private final class SimpleFINServer: Sendable {
    struct State {
        var isClaimed = false
        var accounts = SimpleFINServer.first
        var status = 200
        var retryAfter: String?
        /// The longest window that it takes, in days.
        var longest: Int64?
        /// What it tells of its only account, by the moments that are asked for.
        var book: [Row]?
    }

    struct Row {
        let id: String
        let moment: Int64
        var isPending = false
    }

    let state = Mutex(State())
    private let server = Mutex<LocalServer?>(nil)

    init() async throws {
        let server = try await LocalServer { [self] asked in answer(asked) }
        self.server.withLock { $0 = server }
    }

    var url: String { server.withLock { $0?.url } ?? "" }
    var asked: [LocalServer.Asked] { server.withLock { $0?.asked } ?? [] }
    var claimURL: String { "\(url)/simplefin/claim/one" }
    var accessURL: String { url.replacing("http://", with: "http://us%40er:\(canary)@") + "/simplefin" }
    var token: String { Data(claimURL.utf8).base64EncodedString() }

    private func answer(_ asked: LocalServer.Asked) -> LocalServer.Answer {
        let (isFirst, state) = state.withLock { state in
            let isFirst = !state.isClaimed
            if asked.path.contains("claim") { state.isClaimed = true }
            return (isFirst, state)
        }
        if asked.method == "POST", asked.path == "/simplefin/claim/one" {
            return isFirst ? .init(body: accessURL + "\n") : .init(status: 403, body: "Forbidden")
        }
        let basic = "Basic " + Data("us@er:\(canary)".utf8).base64EncodedString()
        guard asked.path == "/simplefin/accounts", asked.headers["authorization"] == basic else {
            return .init(status: 403)
        }
        if let longest = state.longest, let start = asked.query["start-date"].flatMap({ Int64($0) }) {
            let end = asked.query["end-date"].flatMap { Int64($0) } ?? today + 86_400
            if end - start > longest * 86_400 { return .init(status: 400) }
        }
        if let book = state.book { return .init(body: Self.body(of: book, asked)) }
        // Whatever happened, happened in the last window.
        let isEarlier = asked.query["end-date"] != nil
        let body = isEarlier ? state.accounts.replacing("\"transactions\"", with: "\"none\"") : state.accounts
        return .init(status: state.status, body: body, retryAfter: state.retryAfter)
    }

    private static func body(of book: [Row], _ asked: LocalServer.Asked) -> String {
        let moment = { (name: String) in asked.query[name].flatMap { Int64($0) } }
        let window = (moment("start-date") ?? 0)..<(moment("end-date") ?? Int64.max)
        let rows = book.filter { window.contains($0.moment) && (!$0.isPending || asked.query["pending"] == "1") }.map {
            #"{"id": "\#($0.id)", "posted": \#($0.isPending ? 0 : $0.moment), "transacted_at": \#($0.moment), "#
                + #""amount": "-1.00", "description": "x", "pending": \#($0.isPending)}"#
        }
        return #"{"errlist": [], "accounts": [{"id": "A", "name": "Checking", "currency": "USD", "balance": "1", "#
            + #""balance-date": 1789990000, "transactions": [\#(rows.joined(separator: ","))]}]}"#
    }

    /// Version 2, with numbers and strings as they come, and what no server should send beside what it should.
    static let first = """
        {"errlist": [], "connections": [
          {"conn_id": "C1", "name": "My Bank - Jill", "org_id": "O1", "org_name": "My Bank", "sfin_url": "https://x"},
          {"conn_id": "C2", "name": "Other Bank", "org_id": "O2", "sfin_url": "https://x"}],
         "accounts": [
          {"id": "A1", "name": "Everyday Checking (1234)", "conn_id": "C1", "currency": "USD", "balance": "100.23",
           "available-balance": 75.23, "balance-date": 1789990000, "transactions": [
             {"id": "t1", "posted": 1789900000, "amount": "-33293.43", "description": "Uncle Frank's Bait Shop"},
             {"id": "t2", "posted": 0, "amount": -1.10, "description": "Kiosk", "pending": true,
              "transacted_at": 1789950000},
             {"id": "t3", "posted": "1789900001", "amount": "9007199254740.93", "payee": "Employer", "mcc": "5411"},
             {"id": "broken", "amount": null}, null, "text"]},
          {"id": 77, "name": "Visa ...9876", "conn_id": "C2", "currency": "eur", "balance": "-250.00",
           "balance-date": 1789990000, "holdings": []},
          {"id": "A3", "name": "Miles", "conn_id": "C2", "currency": "https://example.com/miles", "balance": "1",
           "balance-date": 1},
          {"name": "no id"}]}
        """

    /// The same with what can be read alone.
    static let readable = first.replacing(/,\s*\{"id": "broken".*"text"/, with: "")

    /// Version 1.
    static let old = """
        {"errors": ["Please sign in to <b>Old Bank</b>"], "accounts": [
          {"org": {"domain": "old.example", "sfin-url": "https://x"}, "id": "V1", "name": "Retirement 401k",
           "currency": "USD", "balance": "10", "balance-date": 1789990000,
           "transactions": [{"id": "t", "posted": 1789900000, "amount": "10.5", "description": "In"}]}]}
        """
}

private func attempt() -> Attempt {
    Attempt(
        institution: SimpleFIN.standard,
        holder: "cus_A",
        now: now,
        isRelink: false,
        callback: .init(url: "https://link.example/flow/return", state: "state")
    )
}

private func access(
    _ credential: [UInt8],
    now: Int64 = now,
    refresh: Int64? = nil,
    spend: @escaping @Sendable () async throws(ConnectorError) -> Void = { () async throws(ConnectorError) in }
) -> Access {
    Access(
        institution: SimpleFIN.standard,
        holder: "cus_A",
        now: now,
        credential: credential,
        refreshNumber: refresh,
        spend: spend
    ) { _ throws(ConnectorError) in throw .unsupported }
}

private func connector() -> SimpleFIN {
    SimpleFIN(line: Line(Outbound(policy: .withLoopback), patience: .seconds(120)))
}

private func paste(_ token: String, _ connector: SimpleFIN = connector()) async throws -> Step {
    guard case .prompt(_, let note) = try await connector.begin(attempt()) else { throw ConnectorError.unsupported }
    return try await connector.resume(attempt(), from: note, .answers(["token": token]))
}

private func credential(_ step: Step) throws -> [UInt8] {
    guard case .authorized(let credential) = step else { throw ConnectorError.unsupported }
    return credential
}

private func complaint(_ step: Step) -> String? {
    if case .prompt(let prompt, _) = step { return prompt.error }
    return nil
}

func simpleFINExhibit() async throws -> Exhibit {
    let server = try await SimpleFINServer()
    let plain = SimpleFINServer.first.replacing("\"https://example.com/miles\"", with: "\"USD\"")
    server.state.withLock { $0.accounts = plain }
    return Exhibit(
        connector: connector(),
        institution: SimpleFIN.standard,
        answer: { _, _ in .answers(["token": server.accessURL]) },
        secrets: [canary]
    )
}

@Suite("SimpleFIN")
struct SimpleFINTests {
    @Test("claims a token in every spelling in which people paste it")
    func spellings() async throws {
        let spell: [(String, @Sendable (SimpleFINServer) -> String)] = [
            ("plain", { $0.token }), ("without padding", { $0.token.replacing("=", with: "") }),
            ("for URLs", { $0.token.replacing("+", with: "-").replacing("/", with: "_") }),
            ("over lines", { "  " + $0.token.prefix(20) + "\n" + $0.token.dropFirst(20) + " \r\n" }),
            ("in quotes", { "\"\($0.token)\"" }), ("in a sentence", { "Your token: \($0.token)" }),
            ("the claim URL", { $0.claimURL }), ("the Access URL", { $0.accessURL }),
            ("the Access URL in base64", { Data($0.accessURL.utf8).base64EncodedString() }),
            ("the Access URL's accounts", { $0.accessURL + "/accounts?version=2" }),
        ]
        for (name, spelling) in spell {
            let server = try await SimpleFINServer()
            let connector = connector()
            let step = try await paste(spelling(server), connector)
            let accounts = try await connector.accounts(access(try credential(step)))
            #expect(accounts.count == 3, "\(name)")
        }
    }

    @Test("claims once, and warns of a token that was used")
    func claims() async throws {
        let server = try await SimpleFINServer()
        _ = try credential(try await paste(server.token))
        let claim = try #require(server.asked.first)
        #expect(claim.method == "POST" && claim.body.isEmpty && claim.headers["content-length"] == "0")
        let again = try #require(complaint(try await paste(server.token)))
        #expect(again.contains("used before") && again.contains("somebody else"))
        let wrong = try #require(complaint(try await paste(server.accessURL.replacing(canary, with: "no"))))
        #expect(wrong.contains("does not accept"))
        for text in ["", "hello", "aGVsbG8=", "ftp://x", "https://user@host", "https://"] {
            let complaint = complaint(try await paste(text))
            #expect(complaint != nil && complaint?.contains(canary) == false, "\(text)")
        }
    }

    @Test("refuses addresses that it must not reach, and unencrypted ones on the internet")
    func addresses() async throws {
        let strict = SimpleFIN(line: Line(Outbound(policy: .publicOnly)))
        for url in ["http://127.0.0.1:1/claim/x", "https://169.254.169.254/claim", "http://198.51.100.7/claim"] {
            #expect(complaint(try await paste(url, strict))?.contains("cannot be used") == true, "\(url)")
        }
    }

    @Test("reaches what the operator allowed only where the institution says that tokens may lead there")
    func reach() async throws {
        let server = try await SimpleFINServer()
        for isAllowed in [false, true] {
            let file = """
                institutions:
                  - id: fcinst_SimpleFINTest1
                    name: Bridge
                    domain: bridge.example
                    connector: simplefin
                    settings: {\(isAllowed ? "reaches_allowed_networks: true" : "requests_per_day: 9")}
                """
            let connector = try #require(try exampleFile(file).first as? SimpleFIN)
            #expect((complaint(try await paste(server.token, connector)) == nil) == isAllowed)
        }
        let request = try #require(server.asked.first)
        #expect(request.headers["user-agent"] == "Linkspan")
    }

    @Test("reads version 2, and finds the bank, the digits and the kind of an account")
    func second() async throws {
        let server = try await SimpleFINServer()
        let connector = connector()
        let opened = try credential(try await paste(server.token, connector))
        let first = access(opened)
        let accounts = try await connector.accounts(first)
        let host = server.url.dropFirst("http://".count)
        #expect(accounts.map(\.id) == ["A1|C1|\(host)", "77|C2|\(host)", "A3|C2|\(host)"])
        let areGuesses = accounts.allSatisfy(\.isCategoryGuessed)
        #expect(areGuesses)
        #expect(accounts.map(\.institutionName) == ["My Bank", "Other Bank", "Other Bank"])
        #expect(accounts.map(\.last4) == ["1234", "9876", nil])
        #expect(accounts.map(\.subcategory) == [.checking, .creditCard, .other])
        #expect(accounts.map { $0.refusal != nil } == [false, false, true], "miles are no currency")
        let cash = try await connector.balance(of: accounts[0].reference, first)
        #expect(cash.current == ["usd": 10_023] && cash.kind == .cash(available: ["usd": 7523]))
        #expect(cash.asOf == 1_789_990_000)
        let card = try await connector.balance(of: accounts[1].reference, first)
        #expect(card.current == ["eur": -25_000] && card.kind == .credit(used: ["eur": -25_000]))
        await #expect(throws: ConnectorError.unsupported) {
            try await connector.balance(of: accounts[2].reference, first)
        }
        var (cursor, all): ([UInt8]?, [BankTransaction]) = (nil, [])
        var window: Range<Int64>?
        for _ in 0..<10 {
            let page = try await connector.transactions(of: accounts[0].reference, after: cursor, first)
            all = page.transactions
            (cursor, window) = (page.cursor, page.completeWindow)
            if !page.hasMore { break }
        }
        #expect(all.map(\.amount) == [-3_329_343, -110, 900_719_925_474_093])
        #expect(all.map(\.status) == [.posted, .pending, .posted])
        #expect(all.map(\.transactedAt) == [1_789_900_000, 1_789_950_000, 1_789_900_001])
        #expect(all.map(\.description) == ["Uncle Frank's Bait Shop", "Kiosk", "Employer"])
        #expect(window == nil, "one that cannot be read may be one that was pending")
        server.state.withLock { $0.accounts = SimpleFINServer.readable }
        let later = access(opened, now: now + 700)
        let page = try await connector.transactions(of: accounts[0].reference, after: cursor, later)
        #expect(page.completeWindow?.contains(1_789_950_000) == true, "a pending one that is gone would be void")
        #expect(!server.asked.contains { $0.path.contains(canary) || $0.query.values.contains { $0.contains(canary) } })
    }

    @Test("reads version 1")
    func first() async throws {
        let server = try await SimpleFINServer()
        server.state.withLock { $0.accounts = SimpleFINServer.old }
        let connector = connector()
        let access = access(try credential(try await paste(server.token, connector)))
        let account = try #require(try await connector.accounts(access).first)
        #expect(account.institutionName == "old.example" && account.category == .investment)
        #expect(try await connector.balance(of: account.reference, access).current == ["usd": 1000])
        var page = try await connector.transactions(of: account.reference, after: nil, access)
        while page.hasMore {
            page = try await connector.transactions(of: account.reference, after: page.cursor, access)
        }
        #expect(page.transactions.map(\.amount) == [1050])
        #expect(page.completeWindow == nil, "words to the person may say anything")
    }

    @Test("asks for 180 days in windows of 44, and then for the last 44 again")
    func windows() async throws {
        let server = try await SimpleFINServer()
        server.state.withLock { $0.accounts = SimpleFINServer.readable }
        let connector = connector()
        let access = access(try credential(try await paste(server.token, connector)))
        let account = try #require(try await connector.accounts(access).first).reference
        var cursor: [UInt8]?
        repeat {
            let page = try await connector.transactions(of: account, after: cursor, access)
            cursor = page.hasMore ? page.cursor : nil
            #expect((page.completeWindow == nil) == page.hasMore)
        } while cursor != nil
        let asked = server.asked.filter { $0.query["start-date"] != nil }
        let tomorrow = today + 86_400
        let starts = asked.compactMap { $0.query["start-date"].flatMap { Int64($0) } }
        #expect(starts == [180, 176, 132, 88, 44].map { tomorrow - $0 * 86_400 })
        let ends = asked.map { $0.query["end-date"].flatMap { Int64($0) } }
        #expect(ends == [176, 132, 88, 44].map { tomorrow - $0 * 86_400 } + [nil], "each begins where one ended")
        #expect(asked.allSatisfy { $0.query["pending"] == "1" })
        #expect(asked.allSatisfy { $0.query["version"] == "2" })
    }

    /// One refresh.
    private func refresh(
        _ number: Int64,
        on day: Int64,
        after cursor: inout [UInt8]?,
        _ connector: SimpleFIN,
        _ opened: [UInt8]
    ) async throws -> (all: [BankTransaction], ids: Set<String>, window: Range<Int64>?) {
        let access = access(opened, now: now + day * 86_400, refresh: number)
        let account = try #require(try await connector.accounts(access).first).reference
        var all: [BankTransaction] = []
        while true {
            let page = try await connector.transactions(of: account, after: cursor, access)
            cursor = page.cursor
            all += page.transactions
            if !page.hasMore { return (all, Set(all.map(\.id)), page.completeWindow) }
        }
    }

    @Test(
        "goes back after a long time to what came late before it, and to what was pending",
        arguments: [(nil, 60, 1), (12, 5, 2), (6, 5, 3), (nil, 165, 1)] as [(Int64?, Int64, Int)]
    )
    func gap(_ longest: Int64?, _ days: Int64, _ windows: Int) async throws {
        let server = try await SimpleFINServer()
        let ago = { (days: Int64) in now - days * 86_400 }
        server.state.withLock { state in
            state.longest = longest
            state.book = [.init(id: "old", moment: ago(4)), .init(id: "hold", moment: ago(20), isPending: true)]
        }
        let connector = connector()
        let opened = try credential(try await paste(server.token, connector))
        var cursor: [UInt8]?
        #expect(try await refresh(1, on: 0, after: &cursor, connector, opened).ids == ["old", "hold"])
        server.state.withLock { state in
            state.book = [
                .init(id: "old", moment: ago(4)), .init(id: "late", moment: ago(13)), .init(id: "new", moment: ago(-2)),
            ]
        }
        let (_, ids, window) = try await refresh(2, on: days, after: &cursor, connector, opened)
        #expect(ids.isSuperset(of: ["late", "new"]))
        #expect(window?.contains(ago(20)) == true, "it is pending no more")
        let count = server.asked.count
        let last = try await refresh(3, on: days + 1, after: &cursor, connector, opened)
        #expect(last.window?.upperBound == (now / 86_400 + days + 3) * 86_400)
        #expect(server.asked.count == count + 1 + windows, "the accounts, and 14 days before")
        // What a server refuses once it may take another time.
        server.state.withLock { $0.longest = nil }
        let later = server.asked.count
        _ = try await refresh(4, on: days + 9, after: &cursor, connector, opened)
        #expect(server.asked.count == later + 2)
    }

    @Test("says nothing of what an earlier refresh read that was broken off, and goes on there")
    func resumed() async throws {
        let server = try await SimpleFINServer()
        let hold = now - 50 * 86_400
        server.state.withLock { $0.book = [.init(id: "hold", moment: hold, isPending: true)] }
        let connector = connector()
        let opened = try credential(try await paste(server.token, connector))
        let first = access(opened, refresh: 1)
        let account = try #require(try await connector.accounts(first).first).reference
        var cursor: [UInt8]?
        for _ in 0..<4 { cursor = try await connector.transactions(of: account, after: cursor, first).cursor }
        let (_, ids, window) = try await refresh(2, on: 1, after: &cursor, connector, opened)
        #expect(ids.isEmpty && window?.contains(hold) == false)
        server.state.withLock { $0.book = [] }
        let later = try await refresh(3, on: 2, after: &cursor, connector, opened)
        #expect(later.window?.contains(hold) == true, "it was pending, and is looked for again")
    }

    @Test("asks for less where a server takes no long window")
    func shorter() async throws {
        let server = try await SimpleFINServer()
        server.state.withLock { $0.longest = 30 }
        let connector = connector()
        let access = access(try credential(try await paste(server.token, connector)))
        let account = try #require(try await connector.accounts(access).first).reference
        var (cursor, pages): ([UInt8]?, Int) = (nil, 0)
        while true {
            let page = try await connector.transactions(of: account, after: cursor, access)
            (cursor, pages) = (page.cursor, pages + 1)
            if !page.hasMore { break }
            #expect(pages < 20)
        }
        let longest = server.asked.compactMap { asked -> Int64? in
            guard let start = asked.query["start-date"].flatMap({ Int64($0) }) else { return nil }
            return (asked.query["end-date"].flatMap { Int64($0) } ?? today + 86_400) - start
        }
        #expect(longest.filter { $0 > 30 * 86_400 }.count == 1 && longest.contains(22 * 86_400))
        await #expect(throws: ConnectorError.invalidResponse) {
            try await connector.transactions(of: account, after: Array("{}".utf8), access)
        }
    }

    @Test("serves all accounts with one request, spends the budget by requests, and stops when it is spent")
    func budget() async throws {
        let server = try await SimpleFINServer()
        let connector = connector()
        let opened = try credential(try await paste(server.token, connector))
        let spent = Mutex(0)
        let access = access(opened) { () async throws(ConnectorError) in spent.withLock { $0 += 1 } }
        let accounts = try await connector.accounts(access).prefix(2).map(\.reference)
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<10 {
                for account in accounts { group.addTask { _ = try? await connector.balance(of: account, access) } }
            }
        }
        #expect(spent.withLock { $0 } == 1 && server.asked.count { $0.path.hasSuffix("/accounts") } == 1)
        _ = try await connector.balance(of: accounts[0], InstitutionsTests.access(opened, now: now + 3600))
        #expect(server.asked.count { $0.path.hasSuffix("/accounts") } == 2, "later, it is asked anew")
        let broke = InstitutionsTests.access(opened, now: now + 7200) { () async throws(ConnectorError) in
            throw .rateLimited(until: now + 9000)
        }
        await #expect(throws: ConnectorError.rateLimited(until: now + 9000)) {
            try await connector.balance(of: accounts[0], broke)
        }
        #expect(server.asked.count { $0.path.hasSuffix("/accounts") } == 2, "without a budget nothing is asked")
        #expect(connector.policy.dailyBudget == 24)
    }

    @Test("lets what is wrong at one bank touch its accounts alone")
    func faults() async throws {
        let table: [(String, ConnectorError?, ConnectorError?)] = [
            (#"{"code": "con.auth", "msg": "x", "conn_id": "C1"}"#, .accountRelinkRequired, nil),
            (#"{"code": "con.whatever", "message": "x", "conn_id": "C1"}"#, nil, nil),
            (#"{"code": "act.failed", "account_id": "A1"}"#, .institutionUnavailable(until: nil), nil),
            (#"{"code": "act.missingdata", "account_id": "A1"}"#, nil, nil),
            (#"{"code": "gen.auth", "msg": "x"}"#, .relinkRequired, .relinkRequired),
            (#"{"code": "gen.", "msg": "x"}"#, nil, nil),
        ]
        for (fault, first, second) in table {
            let server = try await SimpleFINServer()
            let connector = connector()
            let opened = try credential(try await paste(server.token, connector))
            let accounts = try await connector.accounts(access(opened)).prefix(2).map(\.reference)
            server.state.withLock {
                $0.accounts = SimpleFINServer.first.replacing("\"errlist\": []", with: "\"errlist\": [\(fault)]")
            }
            let later = access(opened, now: now + 3600)
            for (account, expected) in zip(accounts, [first, second]) {
                do {
                    _ = try await connector.balance(of: account, later)
                    #expect(expected == nil, "\(fault)")
                } catch {
                    #expect(error == expected, "\(fault)")
                }
            }
            guard first == nil else { continue }
            var (cursor, window): ([UInt8]?, Range<Int64>?) = (nil, nil)
            for _ in 0..<6 {
                let page = try await connector.transactions(of: accounts[0], after: cursor, later)
                (cursor, window) = (page.cursor, page.completeWindow)
            }
            #expect(window == nil, "an answer with a fault proves no absence: \(fault)")
        }
    }

    @Test(
        "says of each refusal of a server what is to be done, and when",
        arguments: [401, 402, 403, 404, 429, 500, 503],
        [nil, ("120", 120), ("999999999999", 86_400), ("soon", nil)] as [(String, Int64?)?]
    )
    func statuses(_ status: Int, _ wait: (header: String, seconds: Int64?)?) async throws {
        let server = try await SimpleFINServer()
        let connector = connector()
        let opened = try credential(try await paste(server.token, connector))
        server.state.withLock { ($0.status, $0.retryAfter) = (status, wait?.header) }
        let until = wait?.seconds.map { now + $0 }
        let expected: [Int: ConnectorError] = [
            401: .relinkRequired, 402: .institutionUnavailable(until: nil), 403: .relinkRequired, 404: .invalidResponse,
            429: .rateLimited(until: until),
        ]
        await #expect(throws: expected[status] ?? .institutionUnavailable(until: until)) {
            try await connector.accounts(access(opened))
        }
    }

    @Test("leaves a server alone that is down, for as long as it says or for a moment", arguments: [nil, "120"])
    func pause(_ retryAfter: String?) async throws {
        let server = try await SimpleFINServer()
        let connector = connector()
        let opened = try credential(try await paste(server.token, connector))
        let accounts = try await connector.accounts(access(opened)).prefix(2).map(\.reference)
        server.state.withLock { ($0.status, $0.retryAfter) = (503, retryAfter) }
        let later = now + 3600
        let before = server.asked.count
        for account in accounts {
            await #expect(throws: ConnectorError.institutionUnavailable(until: retryAfter.map { _ in later + 120 })) {
                try await connector.balance(of: account, access(opened, now: later))
            }
        }
        #expect(server.asked.count == before + 1)
        server.state.withLock { $0.status = 200 }
        if retryAfter != nil {
            await #expect(throws: ConnectorError.institutionUnavailable(until: later + 120)) {
                try await connector.balance(of: accounts[0], access(opened, now: later + 119))
            }
        }
        // A minute, should the machine have been slow.
        _ = try await connector.balance(of: accounts[0], access(opened, now: later + 180))
        #expect(server.asked.count == before + 2)
    }

    @Test("takes no harm from numbers at the ends of what there is")
    func extremes() async throws {
        let numbers = [
            "9223372036854775807", "-9223372036854775808", "1e999", "-1e-999", "99999999999999999999", "1e18", "0.1e1",
        ]
        for number in numbers {
            let server = try await SimpleFINServer()
            server.state.withLock {
                $0.accounts = """
                    {"accounts": [{"id": "A", "name": "Card", "currency": "USD", "balance": \(number),
                      "available-balance": "\(number)", "balance-date": \(number), "transactions": [
                        {"id": 1, "posted": \(number), "transacted_at": \(number), "amount": "\(number)"},
                        {"id": 2, "posted": 1789900000, "amount": \(number)}]}]}
                    """
            }
            let line = Line(Outbound(policy: .withLoopback), patience: .seconds(120))
            let connector = SimpleFIN(owesPositive: true, line: line)
            guard let step = try? await paste(server.token, connector) else { continue }
            let access = access(try credential(step))
            guard let account = try? await connector.accounts(access).first?.reference else { continue }
            _ = try? await connector.balance(of: account, access)
            var page = try await connector.transactions(of: account, after: nil, access)
            while page.hasMore { page = try await connector.transactions(of: account, after: page.cursor, access) }
            #expect(page.transactions.allSatisfy { (0...253_402_300_799).contains($0.transactedAt) })
        }
    }

    @Test("refuses an account whose bank does not let the server in, in the server's own words")
    func refusals() async throws {
        let long = String(repeating: "x", count: 5000)
        let table = [
            (#"{"code": "con.auth", "msg": "Sign\n in\u202e again", "conn_id": "C1"}"#, "Sign in again"),
            (#"{"code": "con.other", "message": "\#(long)", "conn_id": "C1"}"#, String(repeating: "x", count: 500)),
            (#"{"code": "con.auth", "conn_id": "C1"}"#, "Sign in to the bank there"),
        ]
        for (fault, words) in table {
            let server = try await SimpleFINServer()
            server.state.withLock {
                $0.accounts = SimpleFINServer.first.replacing("\"errlist\": []", with: "\"errlist\": [\(fault)]")
            }
            let connector = connector()
            let opened = try credential(try await paste(server.token, connector))
            let refusals = try await connector.accounts(access(opened)).map(\.refusal)
            #expect(refusals[0]?.contains(words) == true && refusals[1] == nil, "\(refusals)")
            #expect(refusals[0].map { $0.count < 600 } == true)
        }
    }

    @Test("takes a bank that is missing for closed only where nothing is wrong")
    func missing() async throws {
        let table: [(String, ConnectorError)] = [
            (#""errors": []"#, .accountClosed), (#""errors": ["A bank is down"]"#, .institutionUnavailable(until: nil)),
            (#""errlist": ["A bank is down"]"#, .institutionUnavailable(until: nil)),
            (#""errors": [{"code": "con.", "message": "x"}]"#, .institutionUnavailable(until: nil)),
        ]
        for (errors, expected) in table {
            let server = try await SimpleFINServer()
            let connector = connector()
            let opened = try credential(try await paste(server.token, connector))
            let account = try await connector.accounts(access(opened))[0].reference
            server.state.withLock { $0.accounts = "{\(errors), \"accounts\": []}" }
            await #expect(throws: expected, "\(errors)") {
                try await connector.balance(of: account, access(opened, now: now + 3600))
            }
        }
    }

    @Test(
        "reads the shapes that servers mix",
        arguments: [
            (
                #"{"id": "A", "org": {"name": "B", "domain": "b.example"}, "currency": "USD", "balance": 12.5}"#, "B",
                1250
            ),
            (#"{"id": 1, "org": {"domain": "b.example"}, "currency": "usd", "balance": "12.50"}"#, "b.example", 1250),
            (#"{"id": "A", "org": "B", "currency": "USD", "balance": "+12.5", "transactions": null}"#, "B", 1250),
            (#"{"id": "A", "org": null, "conn_id": 7, "currency": "USD", "balance": -12, "name": null}"#, "C", -1200),
            (#"{"id": "A", "org": {"id": 9, "sfin-url": "x"}, "currency": "USD", "balance": 0, "extra": {}}"#, "9", 0),
        ]
    )
    func shapes(_ account: String, _ bank: String, _ balance: Int64) async throws {
        let server = try await SimpleFINServer()
        server.state.withLock {
            $0.accounts = #"{"connections": [{"conn_id": 7, "name": "C"}], "accounts": [\#(account)]}"#
        }
        let connector = connector()
        let access = access(try credential(try await paste(server.token, connector)))
        let read = try #require(try await connector.accounts(access).first)
        #expect(read.institutionName == bank && read.refusal == nil)
        #expect(try await connector.balance(of: read.reference, access).current == ["usd": balance])
    }

    @Test("reads many accounts in time, and refuses more than people have")
    func many() throws {
        func answer(_ accounts: Int, _ transactions: Int = 0) throws -> SimpleFINAnswer {
            let entries = [String](repeating: #"{"id":1,"amount":1}"#, count: transactions).joined(separator: ",")
            // All under one id, so that each is told from the others by its connection.
            let list = (0..<accounts).map { #"{"id":"A","conn_id":"C\#($0)","transactions":[\#(entries)]}"# }
            let text = #"{"accounts":[\#(list.joined(separator: ","))]}"#
            return try JSONDecoder().decode(SimpleFINAnswer.self, from: Data(text.utf8))
        }
        let whole = try answer(SimpleFINAnswer.maximumAccounts)
        let keys = whole.accounts.map { whole.key(of: $0) }
        #expect(Set(keys).count == keys.count && whole.account("A|C999")?.connection == "C999")
        #expect(throws: (any Error).self) { try answer(SimpleFINAnswer.maximumAccounts + 1) }
        #expect(try answer(500, 100).size > 50_000 * MemoryLayout<SimpleFINAnswer.Transaction>.stride)
        #expect(throws: (any Error).self) { try answer(501, 100) }
        #expect(throws: (any Error).self) { try answer(1, SimpleFINAnswer.maximumTransactions + 1) }
    }

    @Test("keeps answers up to a number of bytes, the newest, and asks for what was dropped again")
    func kept() async throws {
        let answers = SimpleFINAnswers(lifetime: 600)
        let asked = Mutex(0)
        func ask(_ name: Int, anew: Bool = false) async throws {
            let access = try #require(SimpleFINAccess("https://u:p@host/\(name)"))
            _ = try await answers.answer(.balances, access, now: now, anew: anew) { () async throws(ConnectorError) in
                asked.withLock { $0 += 1 }
                guard var answer = try? JSONDecoder().decode(SimpleFINAnswer.self, from: Data(#"{"accounts":[]}"#.utf8))
                else { throw .invalidResponse }
                answer.size = SimpleFINAnswers.maximumSize / 4
                return answer
            }
        }
        for name in 0..<6 { try await ask(name) }
        #expect(answers.size == SimpleFINAnswers.maximumSize && asked.withLock { $0 } == 6)
        for name in 2..<6 { try await ask(name) }
        #expect(asked.withLock { $0 } == 6)
        try await ask(0)
        try await ask(5, anew: true)
        #expect(answers.size == SimpleFINAnswers.maximumSize && asked.withLock { $0 } == 8)
    }

    @Test("never breaks down over what a server answers", .timeLimit(.minutes(2)))
    func fuzz() async throws {
        let seeds = [SimpleFINServer.first, SimpleFINServer.old].map { Array($0.utf8) }
        var chance = Seeded(77)
        for round in 0..<3000 {
            if round % 50 == 0 { await Task.yield() }
            var bytes = seeds[round % 2]
            for _ in 0..<Int.random(in: 1...4, using: &chance) {
                let at = Int.random(in: 0..<bytes.count, using: &chance)
                bytes[at] = Array("\"{}[],:0-nt\\\u{7f}".utf8).randomElement(using: &chance) ?? 0
            }
            guard let answer = try? JSONDecoder().decode(SimpleFINAnswer.self, from: Data(bytes)) else { continue }
            for account in answer.accounts { _ = answer.faults(of: account).map(\.code) + [answer.key(of: account)] }
        }
    }

    @Test(
        "guesses from a name",
        arguments: [
            ("Savings 2024", nil, "savings"), ("CHASE COLLEGE (1234)", "1234", "other"),
            ("Platinum Card ending in 4321", "4321", "credit_card"), ("Home Mortgage x0099", "0099", "mortgage"),
            ("HELOC", nil, "line_of_credit"), ("Primary Share Draft", nil, "checking"), ("Girokonto", nil, "checking"),
            ("Roth IRA - 5555", nil, "other"), ("Checking *7777", "7777", "checking"), ("12345", nil, "other"),
        ]
    )
    func names(_ name: String, _ last4: String?, _ subcategory: String) {
        let guess = AccountName(name: name)
        #expect(guess.last4 == last4)
        #expect(guess.category(isOwed: false, hasHoldings: false).1.rawValue == subcategory)
    }

    @Test("says nothing secret in a description")
    func secrets() async throws {
        let server = try await SimpleFINServer()
        let opened = try #require(SimpleFINAccess(server.accessURL))
        #expect(!"\(opened)".contains(canary) && !opened.root.contains(canary) && !opened.root.contains("@"))
        server.state.withLock { $0.accounts = "{\"secret\": \"\(canary)\"}" }
        do {
            _ = try await connector().accounts(access(Array(server.accessURL.utf8)))
            Issue.record("an answer without accounts was taken")
        } catch {
            #expect(!"\(error)".contains(canary))
        }
    }
}

extension SimpleFINTests {
    private func answer(_ text: String) throws -> SimpleFINAnswer {
        try JSONDecoder().decode(SimpleFINAnswer.self, from: Data(text.utf8))
    }

    @Test("knows an account by its id and its bank, whatever else comes and goes")
    func namesakes() throws {
        let (one, two) = (#"{"id":"A","conn_id":"C1","name":"One"}"#, #"{"id":"A","conn_id":"C2","name":"Two"}"#)
        let alone = try answer(#"{"accounts":[\#(one)]}"#)
        let key = alone.key(of: alone.accounts[0])
        #expect(try answer(#"{"accounts":[\#(two),\#(one)]}"#).account(key)?.name == "One")
        #expect(try answer(#"{"accounts":[\#(two)]}"#).account(key) == nil)
        let old = #"{"accounts":[{"org":{"domain":"b.example","sfin-url":"https://x"},"id":"A","name":"Old"}]}"#
        let before = try answer(old)
        let oldKey = before.key(of: before.accounts[0])
        #expect(oldKey == "A|b.example")
        let connections = #""connections":[{"conn_id":"C1","org_url":"https://b.example/"},{"conn_id":"C2"}]"#
        #expect(try answer(#"{\#(connections),"accounts":[\#(two),\#(one)]}"#).account(oldKey)?.name == "One")
        #expect(try answer(#"{"accounts":[\#(two),\#(one)]}"#).account("A") == nil, "it may be either")
        #expect(try answer(#"{"accounts":[\#(two)]}"#).account("A")?.name == "Two", "linked when nothing told its bank")
        let (odd, pair) = (#"{"id":"A|B","conn_id":"C"}"#, #"{"id":"A","conn_id":"B|C"}"#)
        let joined = try answer(#"{"accounts":[\#(odd),\#(pair)]}"#)
        #expect(joined.key(of: joined.accounts[0]) != joined.key(of: joined.accounts[1]))
    }

    @Test("calls an account closed only where it is not there under any name")
    func ambiguous() throws {
        let key = try answer(#"{"accounts":[{"org":{"domain":"b.example"},"id":"A"}]}"#)
        let old = key.key(of: key.accounts[0])
        let connection = { (id: String) in #"{"conn_id":"\#(id)","org_url":"https://b.example/"}"# }
        let account = { (id: String) in #"{"id":"A","conn_id":"\#(id)"}"# }
        let two = try answer(
            #"{"connections":[\#(connection("C1")),\#(connection("C2"))],"#
                + #""accounts":[\#(account("C1")),\#(account("C2"))]}"#
        )
        #expect(two.account(old) == nil && two.mayHave(old))
        #expect(try !answer(#"{"accounts":[{"id":"B","org":{"domain":"b.example"}}]}"#).mayHave(old))
    }

    @Test("tells accounts of two servers apart that count alike, and knows those with long ids wherever they are")
    func servers() throws {
        func key(_ id: String, at server: String) throws -> String {
            var answer = try answer(#"{"accounts":[{"id":"\#(id)","conn_id":"1","name":"One"}]}"#)
            answer.server = server
            return answer.key(of: answer.accounts[0])
        }
        #expect(try key("1", at: "a.example") != key("1", at: "b.example"))
        let long = "ACT-7f0c2f0e-5f1a-4c58"
        #expect(try key(long, at: "a.example") == key(long, at: "b.example"))
    }

    @Test("knows an account again when its bank is called by more names, or another")
    func renamed() throws {
        let old = try answer(#"{"accounts":[{"org":{"domain":"b.example"},"id":"A"}]}"#)
        let more = try answer(#"{"accounts":[{"org":{"id":"7","domain":"b.example"},"id":"A"}]}"#)
        let new = try answer(
            #"{"connections":[{"conn_id":"C1","org_url":"https://b.example/"}],"accounts":[{"id":"A","conn_id":"C1"}]}"#
        )
        for later in [more, new] {
            #expect(later.key(of: later.accounts[0]) != old.key(of: old.accounts[0]))
            #expect(later.otherKeys(of: later.accounts[0]).contains(old.key(of: old.accounts[0])))
        }
    }

    @Test("takes what is wrong with one account for no other's of the same id, in a list or alone")
    func faultOfOne() throws {
        let accounts = #""accounts":[{"id":"1","conn_id":"C1"},{"id":"1","conn_id":"C2"}]"#
        let fault = #"{"code":"act.failed","account_id":"1","conn_id":"C2"}"#
        for list in ["[\(fault)]", fault] {
            let found = try answer(#"{\#(accounts),"errlist":\#(list)}"#)
            #expect(found.accounts.map { found.faults(of: $0).count } == [0, 1])
        }
        #expect(try answer(#"{\#(accounts),"errlist":"Sign in to your bank"}"#).warnings.count == 1)
        #expect(throws: (any Error).self) { try answer(#"{"errlist":[],"errors":null}"#) }
    }

    @Test("takes what is pending for as old as it was seen first, where nobody says when it happened")
    func vague() async throws {
        let entry = Mutex(#"{"id": "p", "posted": 0, "amount": "-3", "pending": true}"#)
        let server = try await SimpleFINServer()
        let connector = connector()
        let opened = try credential(try await paste(server.token, connector))
        func tell() {
            let list = entry.withLock { $0 }
            server.state.withLock {
                $0.accounts =
                    #"{"accounts": [{"id": "A", "currency": "USD", "balance": "1", "#
                    + #""balance-date": 0, "transactions": [\#(list)]}]}"#
            }
        }
        tell()
        var cursor: [UInt8]?
        for (number, day) in [(1, 0), (2, 20), (3, 40)] as [(Int64, Int64)] {
            let all = try await refresh(number, on: day, after: &cursor, connector, opened).all
            #expect(all.map(\.transactedAt) == [now], "as it was first seen")
        }
        entry.withLock { $0 = "" }
        tell()
        let last = try await refresh(4, on: 55, after: &cursor, connector, opened)
        #expect(last.window?.contains(now) == true, "it is looked for from where it was first seen")
        // What takes its place is not looked for when it is gone.
        for number in 5..<15 as Range<Int64> {
            entry.withLock { $0 = #"{"id": "p\#(number)", "posted": 0, "amount": "-3", "pending": true}"# }
            tell()
            let count = server.asked.count
            _ = try await refresh(number, on: number * 12, after: &cursor, connector, opened)
            #expect(server.asked.count == count + 2, "the accounts, and one window")
        }
    }

    @Test("takes no amount, balance or id from what is neither a number nor a text")
    func booleans() throws {
        let entries = #"{"id":"t1","posted":1,"amount":true},{"id":true,"posted":1,"amount":"1"},{"id":2,"amount":1}"#
        let account = try answer(
            #"{"accounts":[{"id":"A","balance":true,"available-balance":false,"transactions":[\#(entries)]}]}"#
        ).accounts[0]
        #expect(account.balance == nil && account.available == nil && account.transactions.map(\.id) == ["2"])
    }

    @Test("refuses an Access URL that is longer than any, or no address")
    func longAddress() async throws {
        let long = String(repeating: "p", count: 5000)
        for url in ["https://u:\(long)@host/x", "https://u:p\u{E9}@host/x"] {
            let server = try await LocalServer { _ in .init(body: url) }
            let token = Data("\(server.url)/claim".utf8).base64EncodedString()
            #expect(complaint(try await paste(token))?.contains("did not answer as SimpleFIN servers do") == true)
            #expect(complaint(try await paste(url)) != nil)
        }
        #expect(complaint(try await paste("https://host/\(long)")) != nil)
    }
}
