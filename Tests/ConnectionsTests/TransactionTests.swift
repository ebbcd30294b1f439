/// Transactions keep their ids whatever becomes of them, are written once however often they are told, and are listed
/// so that nothing is seen twice and nothing is missed.

import Connections
import Database
import Testing
import Wire

@Suite("Transactions")
struct TransactionTests {
    /// Refreshes once, with what the bank tells.
    private func refresh(
        _ stage: Stage,
        _ id: String,
        _ entries: [Transaction.Entry],
        removed: [String] = [],
        retracting names: [String] = [],
        window: Range<Int64>? = nil
    ) async throws -> String {
        stage.advance(seconds: 1)
        let mark = try await stage.refresh(id, "transactions")["transaction_refresh"]?["id"]?.text
        let retraction = Transaction.Retraction(institutionID: "never \(names)", retracts: names, at: Stage.start)
        let retractions = names.isEmpty ? [] : [retraction]
        #expect(try await stage.serve(entries, removed: removed, retractions: retractions, window: window) == 1)
        return try #require(mark)
    }

    private func one(_ stage: Stage, _ id: String) async throws -> Node {
        let all = try #require(try await stage.transactions(id)["data"]?.elements)
        #expect(all.count == 1)
        return try #require(all.first)
    }

    @Test("are refused before a refresh of them has succeeded, and without the permission")
    func before() async throws {
        let stage = try await Stage(.memory)
        let id = try await stage.linkedAccount()
        for _ in 0..<2 {
            let error = await #expect(throws: StripeError.self) { try await stage.transactions(id) }
            #expect(error?.code == "financial_connections_no_successful_transaction_refresh")
            #expect(error?.status == 400 && error?.param == "account")
            if try await stage.claim().isEmpty { try await stage.refresh(id, "transactions") }
        }
        stage.advance(seconds: Refresh.lease)
        try await stage.serve()
        #expect(try await stage.transactions(id)["data"] == [])
        let other = try await stage.linkedAccount(nil, "permissions[]=balances")
        let denied = await #expect(throws: StripeError.self) { try await stage.transactions(other) }
        #expect(denied?.status == 400 && denied?.message.contains("`transactions`") == true)
        let missing = await #expect(throws: StripeError.self) { try await stage.transactions("fca_x") }
        #expect(missing?.code == "resource_missing" && missing?.status == 400)
    }

    @Test("go from pending to posted to void under one id", arguments: Store.allCases)
    func life(store: Store) async throws {
        let stage = try await Stage(store)
        let id = try await stage.linkedAccount()
        let first = try await refresh(stage, id, [Stage.entry("a", -500, .pending)])
        let pending = try await one(stage, id)
        #expect(pending["status"] == "pending" && pending["amount"] == -500 && pending["account"] == .text(id))
        #expect(pending["status_transitions"] == ["posted_at": .null, "void_at": .null])
        #expect(pending["transaction_refresh"] == .text(first) && pending["updated"] == .int(Stage.start + 1))
        // The same again changes nothing.
        _ = try await refresh(stage, id, [Stage.entry("a", -500, .pending)])
        #expect(try await one(stage, id) == pending)
        let third = try await refresh(stage, id, [Stage.entry("a", -550, .posted)])
        let posted = try await one(stage, id)
        #expect(posted["id"] == pending["id"] && posted["status"] == "posted" && posted["amount"] == -550)
        #expect(posted["status_transitions"] == ["posted_at": .int(Stage.start), "void_at": .null])
        #expect(posted["transaction_refresh"] == .text(third) && posted["updated"] == .int(Stage.start + 3))
        _ = try await refresh(stage, id, [], removed: ["a", "unknown"])
        let void = try await one(stage, id)
        #expect(void["id"] == pending["id"] && void["status"] == "void")
        #expect(void["status_transitions"] == ["posted_at": .int(Stage.start), "void_at": .int(Stage.start + 4)])
        let key = try #require(pending["id"]?.text)
        let found = try await stage.read { [scope = stage.scope] db, json in
            try Transaction.find(key, in: scope, db).write(to: &json)
        }
        #expect(found == void)
    }

    @Test("keep their id where the bank gives them another name", arguments: Store.allCases)
    func replaced(store: Store) async throws {
        let stage = try await Stage(store)
        let id = try await stage.linkedAccount()
        _ = try await refresh(stage, id, [Stage.entry("p", -5, .pending)])
        let pending = try await one(stage, id)
        for _ in 0..<2 {
            _ = try await refresh(stage, id, [Stage.entry("q", -5, .posted, replaces: "p")])
            let posted = try await one(stage, id)
            #expect(posted["id"] == pending["id"] && posted["status"] == "posted")
        }
        // One that names a forerunner that was never seen is just new.
        _ = try await refresh(stage, id, [Stage.entry("z", -5, .posted, replaces: "never")])
        #expect(try await stage.transactions(id).ids?.count == 2)
        // Money that goes the other way is no posting of it.
        _ = try await refresh(stage, id, [Stage.entry("held", -8, .pending)])
        _ = try await refresh(stage, id, [Stage.entry("reversal", 8, replaces: "held"), Stage.entry("held", -8)])
        #expect(try await standing(stage, id)["Transaction held"] == -8)
        _ = try await refresh(stage, id, [], removed: ["held", "reversal"])
        // Where both were told of, the forerunner gives way.
        _ = try await refresh(stage, id, [Stage.entry("x", -7, .pending), Stage.entry("y", -7)])
        _ = try await refresh(stage, id, [Stage.entry("y", -7, .posted, replaces: "x")])
        let states = try await stage.transactions(id)["data"]?.elements?.compactMap { $0["status"]?.text }
        #expect(states?.sorted() == ["posted", "posted", "posted", "void", "void", "void"])
    }

    @Test(
        "that are posted stay beside the refund that names them, and give way to a correction alone",
        arguments: Store.allCases
    )
    func refunded(store: Store) async throws {
        let stage = try await Stage(store)
        let id = try await stage.linkedAccount()
        _ = try await refresh(stage, id, [Stage.entry("purchase", -500)])
        let purchase = try await one(stage, id)
        for _ in 0..<2 {
            _ = try await refresh(stage, id, [Stage.entry("refund", 500, replaces: "purchase")])
            let all = try #require(try await stage.transactions(id)["data"]?.elements)
            #expect(all.count == 2 && all.contains(purchase))
            #expect(all.allSatisfy { $0["status"] == "posted" })
        }
        _ = try await refresh(stage, id, [Stage.entry("right", -450, corrects: ["purchase"])])
        let right = try #require(
            try await stage.transactions(id)["data"]?.elements?.first { $0["id"] == purchase["id"] }
        )
        #expect(right["amount"] == -450 && right["status"] == "posted")
        #expect(try await stage.transactions(id).ids?.count == 2)
    }

    /// What stands: amounts by name.
    private func standing(_ stage: Stage, _ id: String) async throws -> [String: Node] {
        let all = try await stage.transactions(id)["data"]?.elements ?? []
        return Dictionary(
            uniqueKeysWithValues: all.filter { $0["status"] != "void" }.map {
                ($0["description"]?.text ?? "", $0["amount"] ?? .null)
            }
        )
    }

    @Test("that were corrected do not come back under a name that they had", arguments: Store.allCases)
    func corrected(store: Store) async throws {
        let stage = try await Stage(store)
        let id = try await stage.linkedAccount()
        _ = try await refresh(stage, id, [Stage.entry("a", -1), Stage.entry("kept", -9)])
        let first = try await stage.transactions(id).ids
        _ = try await refresh(stage, id, [Stage.entry("b", -2, corrects: ["a"])])
        _ = try await refresh(stage, id, [Stage.entry("a", -1), Stage.entry("kept", -9)])
        #expect(try await standing(stage, id) == ["Transaction b": -2, "Transaction kept": -9])
        // By the name that it had first, and by two at once.
        _ = try await refresh(stage, id, [Stage.entry("c", -3, corrects: ["a"])])
        _ = try await refresh(stage, id, [Stage.entry("d", -4, corrects: ["never told", "c", "a"])])
        _ = try await refresh(stage, id, ["a", "b", "c", "never told"].map { Stage.entry($0) })
        #expect(try await standing(stage, id) == ["Transaction d": -4, "Transaction kept": -9])
        #expect(try await Set(stage.transactions(id).ids ?? []) == Set(first ?? []), "each keeps its id")
        // One that was told before stays, and what it corrects gives way.
        _ = try await refresh(stage, id, [Stage.entry("kept", -9, corrects: ["d"])])
        _ = try await refresh(stage, id, [Stage.entry("d", -4), Stage.entry("e", -5, corrects: ["a"])])
        #expect(try await standing(stage, id) == ["Transaction e": -5])
    }

    @Test("that were taken back for good stay away, whatever is told later", arguments: Store.allCases)
    func retracted(store: Store) async throws {
        let stage = try await Stage(store)
        let id = try await stage.linkedAccount()
        _ = try await refresh(stage, id, [Stage.entry("a", -1), Stage.entry("b", -2)])
        _ = try await refresh(stage, id, [Stage.entry("c", -3, corrects: ["b"])], retracting: ["a", "unknown"])
        _ = try await refresh(stage, id, [Stage.entry("a", -1), Stage.entry("unknown", -1)])
        #expect(try await standing(stage, id) == ["Transaction c": -3])
        _ = try await refresh(stage, id, [], retracting: ["b"])
        #expect(try await standing(stage, id) == [:], "it has the name of what it corrected")
        // It is corrected after all, and the same taken back once more is nothing new.
        _ = try await refresh(stage, id, [Stage.entry("d", -4, corrects: ["a"])], retracting: ["a", "unknown"])
        #expect(try await standing(stage, id) == ["Transaction d": -4])
    }

    @Test("that are pending do not come back beside what they became", arguments: Store.allCases)
    func settled(store: Store) async throws {
        let stage = try await Stage(store)
        let id = try await stage.linkedAccount()
        let moment = Stage.start
        _ = try await refresh(stage, id, [Stage.entry("hold", -1, .pending, at: moment)])
        _ = try await refresh(stage, id, [Stage.entry("purchase", -2, at: moment + 5, replaces: "hold")])
        _ = try await refresh(stage, id, [Stage.entry("hold", -1, .pending, at: moment)])
        #expect(try await standing(stage, id) == ["Transaction purchase": -2])
        _ = try await refresh(stage, id, [Stage.entry("hold", -3, .pending, at: moment + 6)])
        #expect(try await standing(stage, id) == ["Transaction purchase": -2, "Transaction hold": -3], "another")
    }

    @Test("that are pending become void where they vanish from a window that is complete", arguments: Store.allCases)
    func vanished(store: Store) async throws {
        let stage = try await Stage(store)
        let id = try await stage.linkedAccount()
        let moment = Stage.start
        let all = [
            Stage.entry("old", -1, .pending, at: moment - 100), Stage.entry("kept", -2, .pending, at: moment),
            Stage.entry("gone", -3, .pending, at: moment + 1), Stage.entry("posted", -4, .posted, at: moment + 1),
        ]
        _ = try await refresh(stage, id, all)
        func states() async throws -> [String: String] {
            let listed = try await stage.transactions(id)["data"]?.elements ?? []
            return Dictionary(
                listed.map { ($0["description"]?.text ?? "", $0["status"]?.text ?? "") },
                uniquingKeysWith: { first, _ in first }
            )
        }
        // Without a window, absence proves nothing.
        _ = try await refresh(stage, id, [Stage.entry("kept", -2, .pending, at: moment)])
        #expect(try await states()["Transaction gone"] == "pending")
        _ = try await refresh(stage, id, [Stage.entry("kept", -2, .pending, at: moment)], window: moment..<moment + 50)
        #expect(
            try await states() == [
                "Transaction old": "pending", "Transaction kept": "pending", "Transaction gone": "void",
                "Transaction posted": "posted",
            ]
        )
    }

    @Test("are listed at an address that tells a moment as it was asked for")
    func address() async throws {
        let stage = try await Stage(.memory)
        let id = try await stage.linkedAccount()
        _ = try await refresh(stage, id, [Stage.entry("1")])
        let list = "/v1/financial_connections/transactions?account=\(id)"
        #expect(try await stage.transactions(id, "transacted_at=5")["url"]?.text == "\(list)&transacted_at=5")
        let range = try await stage.transactions(id, "transacted_at[gte]=5&transacted_at[lte]=5")
        #expect(range["url"]?.text == "\(list)&transacted_at[gte]=5&transacted_at[lte]=5")
    }

    @Test("that came after a refresh are just those that are new or other", arguments: Store.allCases)
    func after(store: Store) async throws {
        let stage = try await Stage(store)
        let id = try await stage.linkedAccount()
        let first = try await refresh(stage, id, (1...5).map { Stage.entry("\($0)", at: Stage.start - $0) })
        #expect(try await stage.transactions(id, "transaction_refresh[after]=\(first)").ids == [])
        let second = try await refresh(stage, id, [Stage.entry("2", -9, at: Stage.start - 2), Stage.entry("6")])
        let third = try await refresh(stage, id, [Stage.entry("7", at: Stage.start - 7), Stage.entry("6", -1)])
        func names(after mark: String, _ more: String = "") async throws -> [String] {
            let page = try await stage.transactions(id, "transaction_refresh[after]=\(mark)&\(more)")
            return page["data"]?.elements?.compactMap {
                $0["description"]?.text?.split(separator: " ").last.map(String.init)
            } ?? []
        }
        #expect(try await names(after: first) == ["6", "7", "2"])
        #expect(try await names(after: second) == ["6", "7"])
        #expect(try await names(after: third) == [])
        #expect(try await names(after: first, "transacted_at[lt]=\(Stage.start)") == ["7", "2"])
        let page = try await stage.transactions(id, "transaction_refresh[after]=\(first)&limit=1")
        #expect(page["has_more"] == true)
        let last = try #require(page.ids?.first)
        #expect(try await names(after: first, "starting_after=\(last)") == ["7", "2"])
        let error = await #expect(throws: StripeError.self) { try await names(after: "fctxnref_x") }
        #expect(error?.code == "resource_missing" && error?.param == "transaction_refresh[after]")
    }

    @Test("that a refresh brought before it failed come after the one that succeeded before")
    func failed() async throws {
        let stage = try await Stage(.memory)
        let id = try await stage.linkedAccount()
        let first = try await refresh(stage, id, [Stage.entry("1")])
        stage.advance(seconds: 1)
        let failed = try await stage.refresh(id, "transactions")["transaction_refresh"]?["id"]?.text
        let claim = try #require(try await stage.claim().first)
        try await stage.finish(claim) { claim, db, world in
            try claim.ingest([Stage.entry("2")], removed: [], cursor: [1], db, world)
            try claim.fail(next: claim.lastAttempted + 1, db, world)
        }
        _ = try await refresh(stage, id, [Stage.entry("3")])
        for mark in [first, try #require(failed)] {
            #expect(try await stage.transactions(id, "transaction_refresh[after]=\(mark)").ids?.count == 2)
        }
    }

    @Test("are paged newest first, both ways, however many lie at one moment", arguments: Store.allCases)
    func pages(store: Store) async throws {
        let stage = try await Stage(store)
        let id = try await stage.linkedAccount()
        _ = try await refresh(stage, id, (0..<25).map { Stage.entry("\($0)", at: Stage.start - Int64($0) / 7) })
        let all = try #require(try await stage.transactions(id, "limit=100").ids)
        #expect(all.count == 25)
        var seen: [String] = []
        var page = try await stage.transactions(id, "limit=4")
        while let ids = page.ids, let last = ids.last {
            seen += ids
            page = try await stage.transactions(id, "limit=4&starting_after=\(last)")
        }
        #expect(seen == all)
        let back = try await stage.transactions(id, "limit=5&ending_before=\(all[20])")
        #expect(back.ids == Array(all[15..<20]))
        let moments = try await stage.transactions(id, "limit=100")["data"]?.elements?.compactMap {
            $0["transacted_at"]
        }
        #expect(moments?.first == .int(Stage.start) && moments?.last == .int(Stage.start - 3))
        #expect(try await stage.transactions(id, "transacted_at=\(Stage.start - 1)").ids?.count == 7)
        let error = await #expect(throws: StripeError.self) {
            try await stage.transactions(id, "starting_after=fctxn_x")
        }
        #expect(error?.code == "resource_missing" && error?.param == "starting_after" && error?.status == 400)
    }
}
