/// The FDX connector against banks that refuse, that tell only a part, and that are set up by paths of their own.

import Foundation
import Outbound
import Synchronization
import Testing

@testable import Institutions

private let exhibit = Exhibit(connector: Sandbox(), institution: TestBank.institution, answer: answerForm)
private let account = BankAccount.Reference(id: "a", category: .cash, subcategory: .checking)

/// A bank that answers by path, and `200 {}` where a test says nothing.
private func bank(
    _ answers: [String: LocalServer.Answer],
    _ change: @escaping @Sendable (inout FDX.Configuration) -> Void = { _ in }
) async throws -> (connector: FDX, server: LocalServer) {
    let server = try await LocalServer { asked in answers[asked.path] ?? .init(body: "{}") }
    let connector = FDX(
        TestBank.institution,
        isTest: true,
        policy: RefreshPolicy(interval: 1, concurrency: 1, dailyBudget: nil),
        line: Line(Outbound(policy: .withLoopback), patience: .seconds(120)),
        now: { Exhibit.now },
        secret: TestBank.secret
    ) {
        var configuration = FDX.Configuration(
            issuer: server.url,
            base: server.url,
            clientID: "me",
            proof: .secretBasic("secret"),
            scopes: ["openid"]
        )
        change(&configuration)
        return configuration
    }
    return (connector, server)
}

private func access(consent: String? = nil, now: Int64 = Exhibit.now, refresh: Int64? = nil) throws -> Access {
    let credential = OAuthCredential(
        access: "token",
        expires: Exhibit.now + 3600,
        refresh: nil,
        idToken: nil,
        consent: consent
    )
    let read = Keeper(try credential.bytes()).access(exhibit.attempt(), now: now)
    return Access(
        institution: read.institution,
        holder: read.holder,
        now: now,
        credential: read.credential,
        refreshNumber: refresh,
        renew: read.renew
    )
}

@Suite("FDX: a bank that refuses")
struct FDXRefusalTests {
    @Test(
        "ends an account only by FDX's codes, or where the account itself is not found",
        arguments: [
            ("/accounts/a", 404, nil, .accountClosed), ("/accounts/a", 410, nil, .accountClosed),
            ("/accounts/a", 409, nil, .invalidResponse), ("/accounts/a", 409, 705, .accountClosed),
            ("/accounts/a/contact", 404, nil, .unsupported), ("/accounts/a/contact", 410, nil, .unsupported),
            ("/accounts/a/contact", 409, nil, .invalidResponse), ("/accounts/a/contact", 404, 701, .accountClosed),
            ("/accounts/a/contact", 403, 706, .unsupported), ("/accounts/a/contact", 403, nil, .unsupported),
            ("/accounts/a/contact", 403, 602, .relinkRequired),
            ("/accounts/a/transactions", 404, nil, .unsupported),
            ("/accounts/a/transactions", 409, 705, .accountClosed),
            ("/accounts/a/transactions", 501, nil, .unsupported),
        ] as [(String, Int, Int?, ConnectorError)]
    )
    func refusals(_ path: String, _ status: Int, _ code: Int?, _ error: ConnectorError) async throws {
        let body = code.map { "{\"code\": \($0)}" } ?? "<h1>No</h1>"
        let (connector, _) = try await bank([path: .init(status: status, body: body)])
        await #expect(throws: error) {
            switch path.split(separator: "/").last {
            case "contact": _ = try await connector.owners(of: account, access())
            case "transactions": _ = try await connector.transactions(of: account, after: nil, access())
            default: _ = try await connector.balance(of: account, access())
            }
        }
    }

    @Test(
        "is asked about the consent, where it forbids",
        arguments: [
            ("EXPIRED", .relinkRequired), ("revoked", .relinkRequired), ("ACTIVE", .unsupported), (nil, .unsupported),
        ] as [(String?, ConnectorError)]
    )
    func forbidden(_ status: String?, _ error: ConnectorError) async throws {
        let (connector, server) = try await bank([
            "/accounts/a/contact": .init(status: 403), "/accounts/a": .init(status: 403),
            "/consents/c": status.map { .init(body: "{\"status\": \"\($0)\"}") } ?? .init(status: 403),
        ])
        await #expect(throws: error) { try await connector.owners(of: account, access(consent: "c")) }
        await #expect(throws: error) { try await connector.balance(of: account, access(consent: "c")) }
        await #expect(throws: ConnectorError.unsupported) { try await connector.owners(of: account, access()) }
        #expect(server.asked.filter { $0.path == "/consents/c" }.count == 2)
    }
}

@Suite("FDX: a bank that tells a part")
struct FDXPartTests {
    private static let list = """
        {"accounts": [{"accountCategory": "DEPOSIT_ACCOUNT", "accountId": "a", "accountType": "CHECKING"},
          {"accountCategory": "DEPOSIT_ACCOUNT", "accountId": "b", "accountType": "SAVINGS"}]}
        """
    private static let both = """
        {"paymentNetworks": [{"type": "US_ACH", "transferIn": true, "transferOut": true}]}
        """

    @Test("gives its accounts, whatever becomes of the numbers of one and of the consent", arguments: [401, 403, 500])
    func numbers(_ status: Int) async throws {
        let (connector, _) = try await bank([
            "/accounts": .init(body: Self.list), "/accounts/a/payment-networks": .init(status: status),
            "/accounts/b/payment-networks": .init(body: Self.both), "/consents/c": .init(status: 503),
        ])
        let found = try await connector.accounts(access(consent: "c"))
        #expect(found.map(\.id) == ["a", "b"] && found.map(\.supportsPayments) == [false, true])
        #expect(found.allSatisfy { $0.expectedDeactivation == nil })
    }

    @Test("is left alone where it asks for a pause")
    func throttled() async throws {
        let (connector, _) = try await bank([
            "/accounts": .init(body: Self.list), "/accounts/a/payment-networks": .init(status: 429),
        ])
        await #expect(throws: ConnectorError.rateLimited(until: nil)) { try await connector.accounts(access()) }
    }

    @Test(
        "has a number for ACH where money may go both ways",
        arguments: [
            (#""transferIn": true, "transferOut": true"#, true), (#""transferIn": true, "transferOut": false"#, false),
            (#""transferIn": false, "transferOut": true"#, false), (#""transferIn": true"#, false),
        ]
    )
    func directions(_ members: String, _ isUsable: Bool) async throws {
        let (connector, _) = try await bank([
            "/accounts": .init(body: Self.list),
            "/accounts/a/payment-networks": .init(body: #"{"paymentNetworks": [{"type": "US_ACH", \#(members)}]}"#),
        ])
        #expect(try await connector.accounts(access()).first?.supportsPayments == isUsable)
    }

    @Test("has paths that may begin a query")
    func paths() async throws {
        let (connector, server) = try await bank([
            "/list": .init(body: Self.list), "/history": .init(body: #"{"transactions": []}"#),
        ]) {
            $0.paths.accounts = "/list?bank=7"
            $0.paths.transactions = "/history?id={account}"
        }
        _ = try await connector.accounts(access())
        _ = try await connector.transactions(of: account, after: nil, access())
        #expect(server.asked[0].query == ["bank": "7", "resultType": "lightweight"])
        let query = try #require(server.asked.last?.query)
        #expect(query["id"] == "a" && query["startTime"] != nil && query["endTime"] != nil)
    }

    @Test("is asked again from the earliest transaction that was pending, however old")
    func pending() async throws {
        let day: Int64 = 86_400
        let start = Exhibit.now / day * day
        let held = start - 40 * day
        let item = #"{"transactionId": "p", "amount": 5, "status": "PENDING", "transactionTimestamp": "\#(iso(held))"}"#
        let isHeld = Mutex(true)
        let server = try await LocalServer { asked in
            let list = isHeld.withLock { $0 } ? item : ""
            return .init(body: asked.path.hasSuffix("transactions") ? "{\"transactions\": [\(list)]}" : "{}")
        }
        let (connector, _) = try await bank([:]) { $0.base = server.url }
        func refresh(_ cursor: [UInt8]?, number: Int64, after days: Int64) async throws -> TransactionPage {
            return try await connector.transactions(
                of: account,
                after: cursor,
                access(now: start + days * day, refresh: number)
            )
        }
        let first = try await refresh(nil, number: 1, after: 0)
        #expect(first.transactions.map(\.status) == [.pending])
        isHeld.withLock { $0 = false }
        let second = try await refresh(first.cursor, number: 2, after: 1)
        #expect(second.completeWindow?.contains(held) == true, "that it has vanished is noticed")
        let third = try await refresh(second.cursor, number: 3, after: 2)
        #expect(third.completeWindow?.lowerBound == start - 12 * day, "14 days again, but for the first")
    }

    @Test("has nothing pending any more that is older than what it tells")
    func remembersLess() async throws {
        let day: Int64 = 86_400
        let start = Exhibit.now / day * day
        let clock = Mutex(start)
        let item =
            #"{"transactionId": "p", "amount": 5, "status": "PENDING", "transactionTimestamp": "\#(iso(start))"}"#
        let isHeld = Mutex(true)
        let server = try await LocalServer { asked in
            guard asked.path.hasSuffix("transactions") else { return .init(body: "{}") }
            let from = asked.query["startTime"].flatMap(Moment.iso) ?? 0
            guard from >= clock.withLock({ $0 }) - 90 * day else { return .init(status: 400) }
            return .init(body: "{\"transactions\": [\(isHeld.withLock { $0 } ? item : "")]}")
        }
        let (connector, _) = try await bank([:]) { $0.base = server.url }
        var cursor: [UInt8]?
        for (number, days) in [(1, 0), (2, 100)] as [(Int64, Int64)] {
            clock.withLock { $0 = start + days * day }
            let page = try await connector.transactions(
                of: account,
                after: cursor,
                access(now: start + days * day, refresh: number)
            )
            cursor = page.cursor
            isHeld.withLock { $0 = false }
            #expect(page.completeWindow?.contains(start) == true)
        }
    }

    @Test("is not believed of the first day, of which a bank in another zone tells a part")
    func zones() async throws {
        // It is the evening before at the bank when the day begins at Greenwich: what happened then is of a day that is
        // not asked for.
        let day: Int64 = 86_400
        let start = Exhibit.now / day * day
        let server = try await LocalServer { asked in
            .init(body: asked.path.hasSuffix("transactions") ? #"{"transactions": []}"# : "{}")
        }
        let (connector, _) = try await bank([:]) { $0.base = server.url }
        var cursor: [UInt8]?
        for number in 0...2 as ClosedRange<Int64> {
            let page = try await connector.transactions(
                of: account,
                after: cursor,
                access(now: start + number * day, refresh: number)
            )
            cursor = page.cursor
            let asked = try #require(server.asked.last?.query["startTime"].flatMap(Moment.iso))
            #expect(page.completeWindow?.lowerBound == (number == 0 ? 0 : asked + day), "all, the first time")
        }
    }

    @Test("is told once of a purchase whose hold the bank still lists")
    func holdBesidePosting() async throws {
        let moment = iso(Exhibit.now - 86_400)
        let items = [
            #"{"transactionId": "t1", "amount": 5, "status": "POSTED", "transactionTimestamp": "\#(moment)", "#
                + #""referenceTransactionId": "p1"}"#,
            #"{"transactionId": "p1", "amount": 5, "status": "PENDING", "transactionTimestamp": "\#(moment)"}"#,
            #"{"transactionId": "p2", "amount": 6, "status": "PENDING", "transactionTimestamp": "\#(moment)"}"#,
        ]
        for order in [items, items.reversed()] {
            let list = order.joined(separator: ",")
            let (connector, _) = try await bank([
                "/accounts/a": .init(body: "{}"),
                "/accounts/a/transactions": .init(body: "{\"transactions\": [\(list)]}"),
            ])
            let card = BankAccount.Reference(id: "a", category: .credit, subcategory: .creditCard)
            let page = try await connector.transactions(of: card, after: nil, access())
            #expect(Set(page.transactions.map(\.id)) == ["t1", "p2"])
        }
    }

    @Test("has told all where the next page is the first", arguments: ["0", "\"0\""])
    func firstAgain(_ offset: String) async throws {
        let (connector, server) = try await bank([
            "/accounts/a": .init(body: "{}"),
            "/accounts/a/transactions": .init(body: "{\"transactions\": [], \"page\": {\"nextOffset\": \(offset)}}"),
        ])
        let page = try await connector.transactions(of: account, after: nil, access())
        #expect(!page.hasMore && page.completeWindow != nil)
        #expect(server.asked.count { $0.path.hasSuffix("transactions") } == 1)
    }

    @Test("is read where it writes numbers and moments otherwise, and what cannot be read is counted")
    func oddItems() async throws {
        let moment = iso(Exhibit.now)
        let items = [
            #"{"transactionId": 7, "amount": 5, "transactionTimestamp": "\#(moment)T10:00Z", "status": "POSTED"}"#,
            #"{"transactionId": "g", "amount": "1,234.00", "postedTimestamp": "\#(moment)", "status": "POSTED"}"#,
            #"{"transactionId": "x", "amount": "1,234", "postedTimestamp": "\#(moment)", "status": "POSTED"}"#,
            #"{"transactionId": "y", "amount": 1, "postedTimestamp": "soon", "status": "POSTED"}"#, "7",
        ]
        let (connector, _) = try await bank([
            "/accounts/a": .init(body: "{}"),
            "/accounts/a/transactions": .init(body: "{\"transactions\": [\(items.joined(separator: ","))]}"),
        ])
        let page = try await connector.transactions(of: account, after: nil, access())
        #expect(page.transactions.map(\.id) == ["7", "g"] && page.transactions.map(\.amount) == [500, 123_400])
        #expect(page.unreadable == 3 && page.completeWindow == nil)
    }

    @Test("has no transactions where it finds nothing of what is asked for")
    func nothingFound() async throws {
        let (connector, _) = try await bank([
            "/accounts/a": .init(body: "{}"),
            "/accounts/a/transactions": .init(status: 404, body: #"{"code": "1107", "message": "Data not found"}"#),
        ])
        let page = try await connector.transactions(of: account, after: nil, access())
        #expect(page.transactions.isEmpty && !page.hasMore && page.completeWindow != nil)
    }

    @Test("closes an account by its details")
    func closed() async throws {
        let (connector, _) = try await bank([
            "/accounts/a": .init(body: #"{"status": "CLOSED", "currentBalance": 0, "accountType": "CHECKING"}"#)
        ])
        await #expect(throws: ConnectorError.accountClosed) { try await connector.balance(of: account, access()) }
    }

    @Test("tells the networks of an account in pages, or says with nothing that there are none")
    func networks() async throws {
        let ach = #"{"type": "US_ACH", "transferIn": true, "transferOut": true}"#
        let rest = Mutex(#"{"page": {"nextOffset": 1}, "paymentNetworks": [{"type": "US_RTP"}]}"#)
        let server = try await LocalServer { asked in
            guard asked.path.hasSuffix("payment-networks") else { return .init(body: Self.list) }
            let isSecond = asked.query["offset"] == "1"
            return .init(body: isSecond ? "{\"paymentNetworks\": [\(ach)]}" : rest.withLock { $0 })
        }
        let (connector, _) = try await bank([:]) { $0.base = server.url }
        #expect(try await connector.accounts(access()).map(\.supportsPayments) == [true, true])
        rest.withLock { $0 = "" }
        let none = try await connector.accounts(access())
        #expect(none.map(\.supportsPayments) == [false, false] && none.map(\.areNumbersUnknown) == [false, false])
        rest.withLock { $0 = "<h1>Later</h1>" }
        #expect(try await connector.accounts(access()).map(\.areNumbersUnknown) == [true, true])
    }

    @Test("is asked for the currency again where it told none")
    func guessedCurrency() async throws {
        let isTold = Mutex(false)
        let moment = iso(Exhibit.now)
        let item = #"{"transactionId": "t", "amount": 1500, "status": "POSTED", "postedTimestamp": "\#(moment)"}"#
        let server = try await LocalServer { asked in
            if asked.path.hasSuffix("transactions") { return .init(body: "{\"transactions\": [\(item)]}") }
            return .init(body: isTold.withLock { $0 } ? #"{"currency": {"currencyCode": "JPY"}}"# : "{}")
        }
        let (connector, _) = try await bank([:]) { $0.base = server.url }
        func refresh(_ cursor: [UInt8]?, _ number: Int64) async throws -> TransactionPage {
            return try await connector.transactions(of: account, after: cursor, access(refresh: number))
        }
        let first = try await refresh(nil, 1)
        #expect(first.transactions.map(\.currency) == ["usd"])
        isTold.withLock { $0 = true }
        let second = try await refresh(first.cursor, 2)
        #expect(second.transactions.map { "\($0.amount) \($0.currency)" } == ["1500 jpy"])
        let starts = server.asked.compactMap { $0.query["startTime"] }
        #expect(starts.count == 2 && Set(starts).count == 1, "all is read again that was told under the wrong one")
        let third = try await refresh(second.cursor, 3)
        #expect(third.transactions.map(\.currency) == ["jpy"] && server.asked.last?.query["startTime"] != starts[0])
    }

    private func iso(_ moment: Int64) -> String { Moment.date(of: moment) }
}

@Suite("FDX: a bank that tells more than there is")
struct FDXExcessTests {
    private func list(_ name: String, _ item: (Int) -> String, count: Int) -> LocalServer.Answer {
        .init(body: #"{"\#(name)":[\#((0..<count).map(item).joined(separator: ","))]}"#)
    }

    @Test("is refused before its items are read")
    func lists() async throws {
        let (connector, _) = try await bank([
            "/accounts": list("accounts", { _ in "{}" }, count: 2_000_000),
            "/accounts/a": .init(body: #"{"accountId":"a","accountCategory":"DEPOSIT_ACCOUNT"}"#),
            "/accounts/a/transactions": list("transactions", { _ in "{}" }, count: 2_000_000),
            "/accounts/a/contact": list("holders", { _ in "{}" }, count: 2_000_000),
        ])
        await #expect(throws: ConnectorError.invalidResponse) { try await connector.accounts(access()) }
        await #expect(throws: ConnectorError.invalidResponse) { try await connector.owners(of: account, access()) }
        await #expect(throws: ConnectorError.invalidResponse) {
            try await connector.transactions(of: account, after: nil, access())
        }
    }

    @Test("is read to its end where it is a lot, and each account once")
    func many() async throws {
        let most = FDXAccounts.maximum
        let (connector, _) = try await bank([
            "/accounts": list(
                "accounts",
                { #"{"accountId":"\#($0 % 900)","accountCategory":"LOC_ACCOUNT"}"# },
                count: most
            )
        ])
        #expect(try await connector.accounts(access()).count == 900)
    }
}
