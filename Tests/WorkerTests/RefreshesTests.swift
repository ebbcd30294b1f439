/// Refreshes, from being asked for to their end: what each answer of an institution becomes, and that a worker that
/// dies or comes late neither doubles nor loses anything.

import Connections
import Database
import Institutions
import Synchronization
import Testing
import Vault
import Worker

@Suite("A worker", .timeLimit(.minutes(2)))
struct RefreshesTests {
    /// A page of transactions named by numbers.
    private static func page(
        _ numbers: Range<Int>,
        status: BankTransaction.Status = .posted,
        cursor: UInt8,
        hasMore: Bool,
        window: Range<Int64>? = nil
    ) -> TransactionPage {
        TransactionPage(
            transactions: numbers.map { number in
                BankTransaction(
                    id: "t\(number)",
                    amount: -Int64(number),
                    currency: "usd",
                    description: "Coffee",
                    status: status,
                    transactedAt: 1_790_000_000 - Int64(number),
                    settledAt: nil
                )
            },
            cursor: [cursor],
            hasMore: hasMore,
            completeWindow: window
        )
    }

    @Test("fetches what is asked for, each feature once, as soon as it is asked", arguments: Store.allCases)
    func all(store: Store) async throws {
        let works = try await Works(store)
        let id = try await works.link(["a"])[0]
        let bank = Bank()
        let isAsked = Atomic(false)
        try await works.working(bank) {
            if !isAsked.exchange(true, ordering: .relaxed) {
                try await works.refresh(id, "balance", "ownership", "transactions")
            }
            for feature in Refresh.Feature.allCases {
                guard try await works.status(id, feature.rawValue) == "succeeded" else { return false }
            }
            return true
        }
        #expect(bank.calls == 3)
        let account = try await works.account(id)
        #expect(account.contains("\"usd\": 100") && account.contains("fcaowns_") && account.contains("fctxnref_"))
        #expect(account.contains("\"next_refresh_available_at\": 1790000060"))
    }

    @Test(
        "takes a refusal for what it is",
        arguments: [
            (ConnectorError.relinkRequired, "failed", "inactive", "inactive"),
            (.accountClosed, "failed", "inactive", "active"), (.invalidResponse, "failed", "active", "active"),
            (.unsupported, "failed", "active", "active"),
            (.rateLimited(until: 1_790_000_000 + 7200), "failed", "active", "active"),
        ]
    )
    func refusals(error: ConnectorError, refresh: String, status: String, other: String) async throws {
        let works = try await Works(.file)
        let ids = try await works.link(["a", "b"])
        try await works.refresh(ids[0], "balance")
        let bank = Bank(balances: { _ throws(ConnectorError) in throw error })
        try await works.working(bank) { try await works.status(ids[0], "balance") != "pending" }
        #expect(try await works.status(ids[0], "balance") == refresh)
        #expect(try await works.status(ids[0], "status") == status)
        #expect(try await works.status(ids[1], "status") == other)
        #expect(try await works.events().filter { $0.hasSuffix("refreshed_balance") }.count == 1)
        let ended = [status, other].filter { $0 == "inactive" }.count
        #expect(try await works.events().filter { $0.hasSuffix("account.deactivated") }.count == ended)
        // One odd answer does not forbid to ask again.
        let isOver = try await works.account(ids[0]).contains("\"next_refresh_available_at\": null")
        #expect(isOver == (status == "inactive"))
        #expect(bank.calls == 1)
    }

    @Test("comes again later where the institution says so, and gives up in the end", arguments: Store.allCases)
    func later(store: Store) async throws {
        let works = try await Works(store)
        let ids = try await works.link(["a", "b"])
        let tries = Mutex(0)
        let bank = Bank(balances: { access throws(ConnectorError) in
            let number = tries.withLock {
                $0 += 1
                return $0
            }
            if number == 1 { throw .rateLimited(until: access.now + 100) }
            return Balance(asOf: access.now, current: [:], kind: .cash(available: nil))
        })
        try await works.refresh(ids[0], "balance")
        try await works.working(bank) { try await works.runsAt(ids[0]) == 1_790_000_100 }
        #expect(try await works.status(ids[0], "balance") == "pending" && bank.calls == 1)
        works.advance(seconds: 99)
        try await works.refresh(ids[1], "transactions")
        try await works.working(bank) { try await works.status(ids[1], "transactions") == "succeeded" }
        #expect(bank.calls == 2)
        works.advance(seconds: 1)
        try await works.working(bank) { try await works.status(ids[0], "balance") == "succeeded" }
        works.advance(seconds: 60)
        let down = Bank(balances: { _ throws(ConnectorError) in throw .institutionUnavailable(until: nil) })
        try await works.refresh(ids[0], "balance")
        try await works.working(down) {
            works.advance(seconds: 60)
            return try await works.status(ids[0], "balance") == "failed"
        }
        #expect(down.calls == Int(Refresh.maximumRetries))
    }

    @Test("does not ask for what a connector cannot give", arguments: Store.allCases)
    func unsupported(store: Store) async throws {
        let works = try await Works(store)
        let id = try await works.link(["a"])[0]
        try await works.refresh(id, "balance")
        try await works.working(SilentBank()) { try await works.status(id, "balance") == "failed" }
        #expect(try await works.account(id).contains("\"next_refresh_available_at\": null"))
    }

    @Test("never shows a live account to a test institution", arguments: Store.allCases)
    func live(store: Store) async throws {
        let works = try await Works(store, livemode: true)
        let id = try await works.link(["a"])[0]
        try await works.refresh(id, "balance")
        let bank = Bank(isTest: true)
        try await works.working(bank) { try await works.status(id, "balance") == "failed" }
        #expect(bank.calls == 0)
    }

    @Test("goes on after the last page where another one died", arguments: Store.allCases)
    func pages(store: Store) async throws {
        let works = try await Works(store)
        let id = try await works.link(["a"])[0]
        try await works.refresh(id, "transactions")
        let seen = Mutex<[UInt8?]>([])
        let answer: @Sendable ([UInt8]?) -> TransactionPage = { cursor in
            seen.withLock { $0.append(cursor?.first) }
            let number = Int(cursor?.first ?? 0)
            return Self.page(
                number * 1200..<number * 1200 + 1200,
                cursor: UInt8(number + 1),
                hasMore: number < 3
            )
        }
        // The first worker is stopped while the bank is asked for the third page.
        let dying = Bank(pages: { cursor, _ throws(ConnectorError) in
            if cursor == [2] {
                try? await Task.sleep(for: .seconds(60))
                throw .invalidResponse
            }
            return answer(cursor)
        })
        try await works.working(dying) { dying.calls == 3 }
        #expect(try await works.transactions(id).all == 2400)
        #expect(try await works.status(id, "transactions") == "pending")
        try await works.working(Bank(pages: { cursor, _ throws(ConnectorError) in answer(cursor) })) {
            try await works.status(id, "transactions") == "succeeded"
        }
        #expect(seen.withLock { $0 } == [nil, 1, 2, 3])
        #expect(try await works.transactions(id).all == 4800)
        #expect(try await works.events().filter { $0.hasSuffix("refreshed_transactions") }.count == 1)
    }

    @Test("makes void what vanished from a window that is complete, however much it is", arguments: Store.allCases)
    func window(store: Store) async throws {
        let works = try await Works(store)
        let id = try await works.link(["a"])[0]
        let first = Bank(pages: { _, _ throws(ConnectorError) in
            Self.page(0..<3000, status: .pending, cursor: 1, hasMore: false)
        })
        try await works.refresh(id, "transactions")
        try await works.working(first) { try await works.status(id, "transactions") == "succeeded" }
        works.advance(seconds: 60)
        let second = Bank(pages: { _, _ throws(ConnectorError) in
            let all = 1_789_000_000..<Int64(1_790_000_001)
            return Self.page(0..<700, status: .pending, cursor: 1, hasMore: false, window: all)
        })
        try await works.refresh(id, "transactions")
        try await works.working(second) { try await works.status(id, "transactions") == "succeeded" }
        #expect(try await works.transactions(id) == (3000, 2300))
        works.advance(seconds: 60)
        let third = Bank(pages: { _, _ throws(ConnectorError) in
            Self.page(0..<0, cursor: 1, hasMore: false, window: 1_789_000_000..<1_790_000_001)
        })
        try await works.refresh(id, "transactions")
        try await works.working(third) { try await works.status(id, "transactions") == "succeeded" }
        #expect(try await works.transactions(id) == (3000, 3000))
    }

    @Test("asks an institution no more often at once than it takes", arguments: Store.allCases)
    func concurrency(store: Store) async throws {
        let works = try await Works(store)
        let ids = try await works.link((0..<12).map { "a\($0)" })
        for id in ids { try await works.refresh(id, "balance") }
        let bank = Bank(
            policy: .init(interval: 60, concurrency: 3, dailyBudget: nil),
            balances: { access throws(ConnectorError) in
                try? await Task.sleep(for: .milliseconds(20))
                return Balance(asOf: access.now, current: [:], kind: .cash(available: nil))
            }
        )
        try await works.working(bank) {
            works.advance(seconds: 1)
            for id in ids where try await works.status(id, "balance") != "succeeded" { return false }
            return true
        }
        #expect(bank.mostAtOnce <= 3 && bank.mostAtOnce > 0 && bank.calls == 12)
    }

    @Test("spends no more calls with a credential than its budget of a day", arguments: Store.allCases)
    func budget(store: Store) async throws {
        let works = try await Works(store)
        let ids = try await works.link(["a", "b"])
        let bank = Bank(
            policy: .init(interval: 1, concurrency: 3, dailyBudget: 3),
            pages: { cursor, _ throws(ConnectorError) in
                Self.page(0..<1, cursor: 1, hasMore: cursor == nil)
            }
        )
        try await works.refresh(ids[0], "transactions")
        try await works.working(bank) { try await works.status(ids[0], "transactions") == "succeeded" }
        try await works.refresh(ids[1], "balance")
        try await works.working(bank) { try await works.status(ids[1], "balance") == "succeeded" }
        works.advance(seconds: 1)
        try await works.refresh(ids[1], "ownership")
        try await works.working(bank) {
            works.advance(seconds: 1800)
            return try await works.status(ids[1], "ownership") == "succeeded"
        }
        // A lease may have run out while the clock was advanced; what is asked again is within the budget too.
        let spans = zip(bank.moments, bank.moments.dropFirst(3)).map { first, fourth in fourth - first }
        #expect(!spans.isEmpty && spans.min() ?? 0 >= 86_400)
    }

    @Test("leaves it to a metered connector to count what it asks", arguments: Store.allCases)
    func metered(store: Store) async throws {
        let works = try await Works(store)
        let id = try await works.link(["a"])[0]
        let bank = Bank(
            policy: .init(interval: 1, concurrency: 3, dailyBudget: 1, isMetered: true),
            pages: { cursor, access throws(ConnectorError) in
                // One answer has all pages.
                if cursor == nil { try await access.spend() }
                let number = Int(cursor?.first ?? 0)
                return Self.page(number..<number + 1, cursor: UInt8(number + 1), hasMore: number < 8)
            }
        )
        try await works.refresh(id, "transactions")
        try await works.working(bank) { try await works.status(id, "transactions") == "succeeded" }
        #expect(try await works.transactions(id) == (9, 0))
    }

    @Test("renews a credential once, for all that hang on it", arguments: Store.allCases)
    func renewal(store: Store) async throws {
        let works = try await Works(store)
        let ids = try await works.link(["a", "b", "c", "d"])
        let spent = Mutex<[String]>([])
        let bank = Bank(balances: { access throws(ConnectorError) in
            var credential = access.credential
            if credential == Array("credential".utf8) {
                credential = try await access.renew { stored throws(ConnectorError) in
                    spent.withLock { $0.append(String(decoding: stored, as: UTF8.self)) }
                    try? await Task.sleep(for: .milliseconds(50))
                    return Array("new".utf8)
                }
            }
            guard credential == Array("new".utf8) else { throw .invalidResponse }
            return Balance(asOf: access.now, current: [:], kind: .cash(available: nil))
        })
        for id in ids { try await works.refresh(id, "balance") }
        try await works.working(bank) {
            for id in ids where try await works.status(id, "balance") != "succeeded" { return false }
            return true
        }
        #expect(spent.withLock { $0 } == ["credential"])
    }

    @Test("keeps what a token that is spent brought, whoever stops meanwhile", arguments: Store.allCases)
    func stoppedRenewal(store: Store) async throws {
        let works = try await Works(store)
        let id = try await works.link(["a"])[0]
        let isAsked = Atomic(false)
        let (stops, stop) = AsyncStream.makeStream(of: Void.self)
        let bank = Bank(balances: { access throws(ConnectorError) in
            let answer = await withTaskCancellationHandler { () async -> Result<[UInt8], ConnectorError> in
                do throws(ConnectorError) {
                    return .success(
                        try await access.renew { _ throws(ConnectorError) in
                            isAsked.store(true, ordering: .relaxed)
                            for await _ in stops {}
                            // What a request would do that is broken off.
                            guard !Task.isCancelled else { throw .institutionUnavailable(until: nil) }
                            return Array("new".utf8)
                        }
                    )
                } catch {
                    return .failure(error)
                }
            } onCancel: {
                stop.finish()
            }
            _ = try answer.get()
            throw .institutionUnavailable(until: nil)
        })
        try await works.refresh(id, "balance")
        try await works.working(bank) { isAsked.load(ordering: .relaxed) }
        let next = Bank(balances: { access throws(ConnectorError) in
            guard access.credential == Array("new".utf8) else { throw .relinkRequired }
            return Balance(asOf: access.now, current: [:], kind: .cash(available: nil))
        })
        try await works.working(next) { try await works.status(id, "balance") != "pending" }
        #expect(try await works.status(id, "balance") == "succeeded")
    }

    @Test("renews a credential that was sealed anew meanwhile", arguments: Store.allCases)
    func resealed(store: Store) async throws {
        let works = try await Works(store)
        let id = try await works.link(["a"])[0]
        let bank = Bank(balances: { access throws(ConnectorError) in
            await works.resealCredentials()
            let credential = try await access.renew { _ throws(ConnectorError) in Array("new".utf8) }
            guard credential == Array("new".utf8) else { throw .relinkRequired }
            return Balance(asOf: access.now, current: [:], kind: .cash(available: nil))
        })
        try await works.refresh(id, "balance")
        try await works.working(bank) { try await works.status(id, "balance") != "pending" }
        #expect(try await works.status(id, "balance") == "succeeded")
    }

    @Test("gives the turn to renew a credential back where it came to nothing", arguments: Store.allCases)
    func failedRenewal(store: Store) async throws {
        let works = try await Works(store)
        let id = try await works.link(["a"])[0]
        let tries = Mutex(0)
        let bank = Bank(balances: { access throws(ConnectorError) in
            let number = tries.withLock {
                $0 += 1
                return $0
            }
            _ = try await access.renew { _ throws(ConnectorError) in
                if number == 1 { throw .institutionUnavailable(until: nil) }
                return Array("new".utf8)
            }
            return Balance(asOf: access.now, current: [:], kind: .cash(available: nil))
        })
        try await works.refresh(id, "balance")
        try await works.working(bank) {
            works.advance(seconds: 5)
            return try await works.status(id, "balance") == "succeeded"
        }
        #expect(bank.calls == 2)
    }
}
