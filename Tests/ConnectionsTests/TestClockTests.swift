/// Time that tests move: what hangs on a clock happens at its moment, in order, the same in each run; and what is due
/// by the clock outside.

import Connections
import Database
import Testing
import Wire

extension Stage {
    static let day: Int64 = 24 * 3600

    func createClock(at time: Int64 = Stage.start) async throws -> String {
        try await database.write { [world, scope] db in
            try TestClock.create(at: time, name: "Clock", by: Self.cause, in: scope, db, world).id
        }
    }

    func clock(_ id: String) async throws -> Node {
        try await read { [scope] db, json in
            try TestClock.find(id, at: .path(param: "test_clock"), in: scope, db).write(to: &json)
        }
    }

    /// Advances a clock and does all that it brings about.
    func advance(_ id: String, to target: Int64) async throws {
        try await database.write { [world, scope] db in
            _ = try TestClock.advance(id, to: target, by: Self.cause, in: scope, db, world)
        }
        let world = world
        let drive = try #require(try await database.write { db in try TestClock.claim(db, world) })
        while true {
            let step = try await database.write { db in
                try TestClock.step(drive, { _, _ in .init(free: 1, dailyBudget: nil) }, db, world)
            }
            switch step {
            case .done: return
            case .more: continue
            case .wait: Issue.record("nobody else is there to wait for")
            case .refresh(let claim):
                try await finish(claim) { claim, db, world in
                    try claim.ingest([Stage.entry("\(claim.now)", at: claim.now)], removed: [], cursor: [1], db, world)
                    try claim.succeed(next: claim.lastAttempted + 1, db, world)
                }
            }
        }
    }
}

@Suite("A test clock")
struct TestClockTests {
    @Test("gives its time to its customers, their accounts and their events", arguments: Store.allCases)
    func time(store: Store) async throws {
        let stage = try await Stage(store)
        let clock = try await stage.createClock(at: 1000)
        let customer = try await stage.createCustomer("test_clock=\(clock)")
        #expect(try await stage.customer(customer)["created"] == 1000)
        #expect(try await stage.customer(customer)["test_clock"] == .text(clock))
        let id = try await stage.linkedAccount(customer)
        #expect(try await stage.account(id)["created"] == 1000)
        try await stage.advance(clock, to: 5000)
        #expect(try await stage.refresh(id, "balance")["balance_refresh"]?["last_attempted_at"] == 5000)
        try await stage.serve()
        let events = try await stage.events("type=financial_connections.*")["data"]?.elements ?? []
        #expect(events.compactMap { $0["created"] } == [5000, 1000])
        // As in the API: on no clock, or on the one that is asked for.
        let other = try await stage.createCustomer()
        #expect(try await stage.customers().ids == [other])
        #expect(try await stage.customers("test_clock=\(clock)").ids == [customer])
        let unknown = await #expect(throws: StripeError.self) { try await stage.createCustomer("test_clock=clock_x") }
        #expect(unknown?.code == "resource_missing" && unknown?.param == "test_clock" && unknown?.status == 400)
    }

    @Test("only goes forward, and by two years at most")
    func refusals() async throws {
        let stage = try await Stage(.memory)
        let clock = try await stage.createClock()
        for target in [Stage.start, Stage.start - 1, Stage.start + 3 * 366 * Stage.day] {
            let error = await #expect(throws: StripeError.self) { try await stage.advance(clock, to: target) }
            #expect(error?.param == "frozen_time" && error?.status == 400)
        }
        #expect(try await stage.clock(clock)["status"] == "ready")
        try await stage.database.write { [world = stage.world, scope = stage.scope] db in
            _ = try TestClock.advance(clock, to: Stage.start + 1, by: Stage.cause, in: scope, db, world)
        }
        #expect(try await stage.clock(clock)["status"] == "advancing")
        #expect(
            try await stage.clock(clock)["status_details"]
                == ["advancing": ["target_frozen_time": .int(Stage.start + 1)]]
        )
        await #expect(throws: StripeError.self) { try await stage.advance(clock, to: Stage.start + 2) }
    }

    @Test("refreshes a subscribed account once a day, and not after unsubscribing", arguments: Store.allCases)
    func daily(store: Store) async throws {
        let stage = try await Stage(store)
        let clock = try await stage.createClock()
        let customer = try await stage.createCustomer("test_clock=\(clock)")
        let id = try await stage.linkedAccount(customer)
        #expect(try await stage.subscribe(id)["subscriptions"] == ["transactions"])
        #expect(try await stage.subscribe(id)["transaction_refresh"]?["status"] == "pending")
        try await stage.advance(clock, to: Stage.start + 10 * Stage.day)
        let moments = try await stage.transactions(id, "limit=100")["data"]?.elements?.compactMap { node in
            if case .int(let moment)? = node["transacted_at"] { moment } else { nil }
        }
        let sorted = try #require(moments).sorted()
        #expect(sorted.count == 11 && sorted[0] == Stage.start)
        #expect(zip(sorted.dropFirst(), sorted.dropFirst(2)).allSatisfy { $1 - $0 == Stage.day })
        #expect(try await stage.unsubscribe(id)["subscriptions"] == [])
        #expect(try await stage.unsubscribe(id)["subscriptions"] == [])
        try await stage.advance(clock, to: Stage.start + 20 * Stage.day)
        #expect(try await stage.transactions(id, "limit=100").ids?.count == 11)
        #expect(try await stage.clock(clock)["frozen_time"] == .int(Stage.start + 20 * Stage.day))
    }

    @Test("refreshes the accounts of one authorization at one moment of the day, and those of another at another")
    func together() async throws {
        let stage = try await Stage(.memory)
        let clock = try await stage.createClock()
        let customer = try await stage.createCustomer("test_clock=\(clock)")
        let (first, _) = try await stage.createSession(customer, Stage.everything)
        let (second, _) = try await stage.createSession(customer, Stage.everything)
        let ids =
            try await stage.link([Stage.details("1"), Stage.details("2")], to: first)
            + stage.link([Stage.details("3")], to: second, at: "fcinst_2")
        for id in ids { try await stage.subscribe(id) }
        try await stage.advance(clock, to: Stage.start + Stage.day)
        var moments: [[Node]] = []
        for id in ids {
            let listed = try await stage.transactions(id)["data"]?.elements ?? []
            moments.append(listed.compactMap { $0["transacted_at"] })
        }
        #expect(moments.allSatisfy { $0.count == 2 } && moments[0] == moments[1] && moments[0] != moments[2])
    }

    @Test("announces the end of a link 30 days before, and ends it on the day", arguments: Store.allCases)
    func end(store: Store) async throws {
        let stage = try await Stage(store)
        let clock = try await stage.createClock()
        let customer = try await stage.createCustomer("test_clock=\(clock)")
        let expected = Stage.start + 100 * Stage.day
        let id = try await stage.linkedAccount(customer, details: Stage.details("1", until: expected))
        #expect(
            try await stage.account(id)["status_details"] == [
                "active": [
                    "action": "relink_required", "cause": "access_expired",
                    "expected_deactivation_date": .int(expected),
                ]
            ]
        )
        try await stage.advance(clock, to: Stage.start + 200 * Stage.day)
        let events = try await stage.events("type=financial_connections.*&limit=100")["data"]?.elements ?? []
        #expect(
            events.reversed().map { [$0["type"] ?? .null, $0["created"] ?? .null] } == [
                ["financial_connections.account.created", .int(Stage.start)],
                ["financial_connections.account.upcoming_deactivation", .int(expected - 30 * Stage.day)],
                ["financial_connections.authorization.upcoming_deactivation", .int(expected - 30 * Stage.day)],
                ["financial_connections.account.deactivated", .int(expected)],
            ]
        )
        #expect(try await stage.account(id)["status"] == "inactive")
    }

    @Test("takes its customers with it when it is deleted, and disconnects their accounts")
    func delete() async throws {
        let stage = try await Stage(.memory)
        let clock = try await stage.createClock()
        let customer = try await stage.createCustomer("test_clock=\(clock)")
        let id = try await stage.linkedAccount(customer)
        stage.advance(seconds: 30 * Stage.day)
        let world = stage.world
        #expect(try await stage.database.write { try TestClock.prune($0, world) } == 1)
        #expect(try await stage.customer(customer)["deleted"] == true)
        #expect(try await stage.account(id)["status"] == "disconnected")
        await #expect(throws: StripeError.self) { try await stage.clock(clock) }
        #expect(try await stage.eventTypes().last == "test_helpers.test_clock.deleted")
    }

    @Test("takes the accounts of customers with it that were deleted before", arguments: Store.allCases)
    func deleteOrphans(store: Store) async throws {
        let stage = try await Stage(store)
        let clock = try await stage.createClock()
        let customer = try await stage.createCustomer("test_clock=\(clock)")
        let id = try await stage.linkedAccount(customer)
        let other = try await stage.linkedAccount()
        try await stage.deleteCustomer(customer)
        #expect(try await stage.account(id)["status"] == "active")
        try await stage.database.write { [world = stage.world, scope = stage.scope] db in
            _ = try TestClock.delete(clock, by: Stage.cause, in: scope, db, world)
        }
        #expect(try await stage.account(id)["status"] == "disconnected")
        #expect(try await stage.account(other)["status"] == "active")
    }

    @Test("that stands still lets a refresh go on that was broken off")
    func brokenOff() async throws {
        let stage = try await Stage(.memory)
        let clock = try await stage.createClock()
        let id = try await stage.linkedAccount(stage.createCustomer("test_clock=\(clock)"))
        try await stage.refresh(id, "balance")
        let claim = try #require(try await stage.claim().first)
        try await stage.finish(claim) { claim, db, world in try claim.handOn(db, world) }
        #expect(try await stage.serve() == 1)
        #expect(try await stage.account(id)["balance_refresh"]?["status"] == "succeeded")
    }
}

@Suite("What happens by itself")
struct ScheduleTests {
    @Test("happens by the clock outside where there is no test clock", arguments: Store.allCases)
    func wall(store: Store) async throws {
        let stage = try await Stage(store)
        let details = Stage.details("1", until: Stage.start + 40 * Stage.day)
        let id = try await stage.linkedAccount(nil, details: details)
        try await stage.subscribe(id)
        try await stage.serve()
        try await stage.runSchedule()
        #expect(try await stage.account(id)["transaction_refresh"]?["status"] == "succeeded")
        stage.advance(seconds: Stage.day)
        try await stage.runSchedule()
        #expect(try await stage.account(id)["transaction_refresh"]?["status"] == "pending")
        try await stage.serve()
        stage.advance(seconds: 9 * Stage.day)
        try await stage.runSchedule()
        let announced = [
            "financial_connections.account.upcoming_deactivation",
            "financial_connections.authorization.upcoming_deactivation",
        ]
        #expect(try await stage.eventTypes().filter(announced.contains) == announced)
        stage.advance(seconds: 30 * Stage.day)
        try await stage.runSchedule()
        #expect(try await stage.account(id)["status"] == "inactive")
    }

    @Test("tells of account numbers that end, and that payments end with the last of them", arguments: Store.allCases)
    func numbers(store: Store) async throws {
        let stage = try await Stage(store)
        let customer = try await stage.createCustomer()
        let number = Account.Number(
            identifierType: "tokenized_account_number",
            status: "transactable",
            expectedExpiry: Stage.start + 50 * Stage.day
        )
        let details = Stage.details("1", numbers: [number])
        let id = try await stage.linkedAccount(customer, details: details)
        // Events are kept for 30 days.
        let created = "financial_connections.account.created"
        let announced = "financial_connections.account.upcoming_account_number_expiry"
        let ended = [
            "financial_connections.account.account_numbers_updated",
            "financial_connections.account.supported_payment_method_types_updated",
        ]
        for (days, events) in [(Int64(19), [created]), (1, [created, announced]), (29, [announced]), (1, ended)] {
            stage.advance(seconds: days * Stage.day)
            try await stage.runSchedule()
            #expect(try await stage.eventTypes().filter { $0.hasPrefix("financial_connections") } == events)
        }
        let account = try await stage.account(id)
        #expect(account["account_numbers"]?.elements?.first?["status"] == "deactivated")
        #expect(account["supported_payment_method_types"] == [] && account["status"] == "active")
        // A new number comes with a new consent.
        _ = try await stage.linkedAccount(customer, details: Stage.details("1"))
        #expect(try await stage.eventTypes() == ended + ended)
    }

    @Test("moves with the date that the institution gives, and says so once")
    func dates() async throws {
        let stage = try await Stage(.memory)
        let customer = try await stage.createCustomer()
        let id = try await stage.linkedAccount(customer)
        for until in [Stage.start + 100 * Stage.day, Stage.start + 200 * Stage.day] {
            for _ in 0..<2 {
                stage.advance(seconds: 1)
                try await stage.refresh(id, "balance")
                let claim = try #require(try await stage.claim().first)
                try await stage.finish(claim) { claim, db, world in
                    let balance = Account.Balance(asOf: 1, current: [:], isCredit: false, amounts: nil)
                    try claim.succeed(balance, next: claim.lastAttempted + 1, db, world)
                    try claim.note(consentExpiry: until, db, world)
                }
            }
        }
        let updated = [
            "financial_connections.account.expected_deactivation_date_updated",
            "financial_connections.authorization.expected_deactivation_date_updated",
        ]
        #expect(try await stage.eventTypes().filter(updated.contains) == updated + updated)
        stage.advance(seconds: 150 * Stage.day)
        try await stage.runSchedule()
        #expect(try await stage.account(id)["status"] == "active")
    }
}

@Suite("A world with a seed")
struct SeededWorldTests {
    private static func world(seed: UInt64, start: Int64, at milliseconds: Int64) -> World {
        World(milliseconds: { milliseconds }, seed: seed, start: start)
    }

    @Test("makes the same ids of a kind at any time, whatever else it makes, and others after another start")
    func ids() {
        let first = Self.world(seed: 1, start: 1, at: 5)
        let second = Self.world(seed: 1, start: 1, at: 9_000_000_000_000)
        let accounts = (0..<5000).map { _ in first.id(.account) }
        for _ in 0..<7 { _ = second.id(.request) }
        #expect((0..<5000).map { _ in second.id(.account) } == accounts)
        #expect(accounts == accounts.sorted() && Set(accounts).count == accounts.count)
        #expect(first.secret("x", length: 24) == second.secret("x", length: 24))
        let later = Self.world(seed: 1, start: 2, at: 5)
        #expect(later.id(.account) > accounts[4999])
        #expect(Self.world(seed: 2, start: 1, at: 5).id(.account) != accounts[0])
        #expect(later.secret("", length: 24) != Self.world(seed: 1, start: 1, at: 5).secret("", length: 24))
    }
}
