/// A refresh is pending, then succeeds or fails, whoever works on it; what may be asked for when; what the life of an
/// account means for its data.

import Connections
import Database
import Testing
import Wire

@Suite("A refresh")
struct RefreshTests {
    @Test("is pending, then over, and tells when the next may be", arguments: Store.allCases)
    func life(store: Store) async throws {
        let stage = try await Stage(store)
        let id = try await stage.linkedAccount()
        #expect(try await stage.account(id)["balance_refresh"] == .null)
        let asked = try await stage.refresh(id, "balance", "ownership")
        #expect(
            asked["balance_refresh"] == [
                "last_attempted_at": .int(Stage.start), "next_refresh_available_at": .null, "status": "pending",
            ]
        )
        #expect(asked["ownership_refresh"] == asked["balance_refresh"] && asked["transaction_refresh"] == .null)
        stage.advance(seconds: 5)
        let claims = try await stage.claim()
        #expect(claims.map(\.feature) == [.balance, .ownership])
        #expect(try await stage.claim().isEmpty)
        let balance = Account.Balance(
            asOf: 7,
            current: ["usd": -5, "eur": 3],
            isCredit: true,
            amounts: ["usd": 5]
        )
        try await stage.finish(claims[0]) { claim, db, world in
            try claim.succeed(balance, next: claim.lastAttempted + 60, db, world)
        }
        try await stage.finish(claims[1]) { claim, db, world in try claim.fail(next: nil, db, world) }
        let over = try await stage.account(id)
        #expect(
            over["balance"] == [
                "as_of": 7, "cash": .null, "credit": ["used": ["usd": 5]], "current": ["eur": 3, "usd": -5],
                "type": "credit",
            ]
        )
        #expect(
            over["balance_refresh"] == [
                "last_attempted_at": .int(Stage.start), "next_refresh_available_at": .int(Stage.start + 60),
                "status": "succeeded",
            ]
        )
        #expect(over["ownership_refresh"]?["status"] == "failed" && over["ownership"] == .null)
        #expect(over["ownership_refresh"]?["next_refresh_available_at"] == .null)
        #expect(
            try await stage.eventTypes().suffix(2) == [
                "financial_connections.account.refreshed_balance",
                "financial_connections.account.refreshed_ownership",
            ]
        )
        // What the list answers is what the account answers.
        #expect(try await stage.accounts()["data"]?.elements == [over])
    }

    @Test("that comes too early is refused with nothing started, or changes nothing, as is set")
    func early() async throws {
        let stage = try await Stage(.memory)
        let id = try await stage.linkedAccount()
        try await stage.refresh(id, "balance")
        for _ in 0..<2 {
            let error = await #expect(throws: StripeError.self) { try await stage.refresh(id, "ownership", "balance") }
            #expect(error?.status == 400 && error?.param == "features[1]" && error?.code == nil)
            #expect(try await stage.account(id)["ownership_refresh"] == .null)
            try await stage.serve()
        }
        let ignored = try await stage.refresh(id, "ownership", "balance", early: .ignore)
        #expect(ignored["ownership_refresh"]?["status"] == "pending")
        #expect(ignored["balance_refresh"]?["status"] == "succeeded")
        stage.advance(seconds: 1)
        #expect(try await stage.refresh(id, "balance")["balance_refresh"]?["status"] == "pending")
    }

    @Test("is refused without its permission, and on an account that is not active")
    func refusals() async throws {
        let stage = try await Stage(.memory)
        let customer = try await stage.createCustomer()
        let id = try await stage.linkedAccount(customer, "permissions[]=balances")
        let denied = await #expect(throws: StripeError.self) { try await stage.refresh(id, "balance", "ownership") }
        #expect(denied?.param == "features[1]" && denied?.message.contains("`ownership`") == true)
        await #expect(throws: StripeError.missing("features")) { try await stage.refresh(id) }
        let strange = await #expect(throws: StripeError.self) { try await stage.refresh(id, "balances") }
        #expect(strange?.message == "Invalid features[0]: must be one of balance, ownership, or transactions")
        #expect(try await stage.account(id)["balance_refresh"] == .null)
        let closing = Stage.details("2", closesAfterLinking: true)
        let (session, _) = try await stage.createSession(customer, Stage.everything)
        let inactive = try await stage.link([closing], to: session)[0]
        try await stage.finish(session)
        for ask in [
            { try await stage.refresh(inactive, "balance") }, { try await stage.subscribe(inactive) },
        ] {
            let error = await #expect(throws: StripeError.self) { _ = try await ask() }
            #expect(error?.code == "financial_connections_account_inactive" && error?.status == 400)
        }
        try await stage.disconnect(id)
        let gone = await #expect(throws: StripeError.self) { try await stage.refresh(id, "balance") }
        #expect(gone?.status == 400 && gone?.param == "account" && gone?.code == nil)
    }

    @Test("is made of the balance where the account turns out to be of another kind", arguments: Store.allCases)
    func otherKind(store: Store) async throws {
        let stage = try await Stage(store)
        let customer = try await stage.createCustomer()
        let id = try await stage.linkedAccount(customer)
        try await stage.refresh(id, "balance")
        try await stage.serve()
        #expect(try await stage.account(id)["balance"] != .null)
        let card = Stage.details("1", subcategory: "credit_card")
        #expect(try await stage.linkedAccount(customer, details: card) == id)
        let shown = try await stage.account(id)
        #expect(shown["balance"] == .null && shown["balance_refresh"]?["status"] == "pending")
    }

    @Test("waits for its own institution alone, however many wait for another", arguments: Store.allCases)
    func fairness(store: Store) async throws {
        let stage = try await Stage(store)
        let (session, _) = try await stage.createSession(stage.createCustomer(), Stage.everything)
        let many = try await stage.link((0..<120).map { Stage.details("\($0)") }, to: session)
        let other = try await stage.link([Stage.details("other")], to: session, at: "fcinst_2")[0]
        for id in many { try await stage.refresh(id, "balance") }
        stage.advance(seconds: 5)
        try await stage.refresh(other, "balance")
        let claims = try await stage.database.write { [world = stage.world] db in
            try Refresh.claim(
                limit: 4,
                { institution, _ in .init(free: institution == "fcinst_2" ? 2 : 3, dailyBudget: nil) },
                db,
                world
            )
        }
        #expect(claims.map(\.institution).sorted() == ["fcinst_1", "fcinst_1", "fcinst_1", "fcinst_2"])
        // The others come when it takes more.
        stage.advance(seconds: 1)
        #expect(try await stage.claim().count == 100)
    }

    @Test("begins anew where the account is linked anew meanwhile", arguments: Store.allCases)
    func relinked(store: Store) async throws {
        let stage = try await Stage(store)
        let customer = try await stage.createCustomer()
        let id = try await stage.linkedAccount(customer)
        try await stage.refresh(id, "transactions")
        let first = try #require(try await stage.claim().first)
        #expect(try await stage.claim().isEmpty)
        #expect(try await stage.linkedAccount(customer) == id)
        let isHeld = try await stage.finish(first) { claim, db, world in try claim.succeed(next: 1, db, world) }
        #expect(!isHeld)
        let second = try #require(try await stage.claim().first)
        #expect(second.authorization != first.authorization && second.number == first.number)
    }

    @Test(
        "belongs to the worker that claimed it last, and what a late one writes is refused",
        arguments: Store.allCases
    )
    func fence(store: Store) async throws {
        let stage = try await Stage(store)
        let id = try await stage.linkedAccount()
        try await stage.refresh(id, "transactions")
        let first = try #require(try await stage.claim().first)
        try await stage.finish(first) { claim, db, world in
            try claim.ingest([Stage.entry("a")], removed: [], cursor: [1], db, world)
        }
        stage.advance(seconds: Refresh.lease)
        let second = try #require(try await stage.claim().first)
        #expect(second.cursor == [1])
        let late = try await stage.finish(first) { claim, db, world in
            try claim.ingest([Stage.entry("late")], removed: [], cursor: [9], db, world)
            try claim.fail(next: nil, db, world)
        }
        #expect(!late)
        let won = try await stage.finish(second) { claim, db, world in
            try claim.ingest([Stage.entry("a"), Stage.entry("b")], removed: [], cursor: [2], db, world)
            try claim.succeed(next: claim.lastAttempted + 1, db, world)
        }
        #expect(won)
        #expect(try await !stage.finish(second) { claim, db, world in try claim.fail(next: nil, db, world) })
        let listed = try #require(try await stage.transactions(id)["data"]?.elements)
        #expect(Set(listed.compactMap { $0["description"]?.text }) == ["Transaction a", "Transaction b"])
        #expect(try await stage.account(id)["transaction_refresh"]?["status"] == "succeeded")
        let refreshed = try await stage.events("type=financial_connections.account.refreshed_transactions")
        #expect(refreshed.ids?.count == 1)
    }

    @Test("of a server that is gone is freed for the next, whatever its lease", arguments: Store.allCases)
    func release(store: Store) async throws {
        let stage = try await Stage(store)
        let id = try await stage.linkedAccount()
        try await stage.refresh(id, "balance")
        _ = try await stage.claim()
        #expect(try await stage.claim().isEmpty)
        try await stage.database.write { [world = stage.world] db in try Refresh.releaseAll(db, world) }
        #expect(try await stage.claim().count == 1)
    }

    @Test("waits where its institution is busy, and where the budget of its credential is spent")
    func limits() async throws {
        let stage = try await Stage(.memory)
        let customer = try await stage.createCustomer()
        let (session, _) = try await stage.createSession(customer, Stage.everything)
        let made = try await stage.link(["1", "2", "3"].map { Stage.details($0) }, to: session)
        for id in made { try await stage.refresh(id, "balance") }
        let two = try await stage.claim(free: 2)
        #expect(two.count == 2)
        #expect(try await stage.claim(free: 2).isEmpty)
        stage.advance(seconds: 1)
        #expect(try await stage.claim(free: 0).isEmpty)
        stage.advance(seconds: 1)
        // The three accounts hang on one credential, and its budget of a day is two.
        for claim in two { try await stage.finish(claim) { claim, db, world in try claim.countCall(db, world) } }
        #expect(try await stage.claim(budget: 2).isEmpty)
        stage.advance(seconds: 23 * 3600)
        #expect(try await stage.claim(budget: 2).filter { $0.account == made[2] }.isEmpty)
        stage.advance(seconds: 2 * 3600)
        #expect(try await stage.claim(budget: 2).count == 2)
    }

    @Test("ends with the link, and the account keeps what it had until it is disconnected", arguments: Store.allCases)
    func end(store: Store) async throws {
        let stage = try await Stage(store)
        let customer = try await stage.createCustomer()
        let id = try await stage.linkedAccount(customer)
        try await stage.subscribe(id)
        try await stage.refresh(id, "balance", "ownership")
        try await stage.serve([Stage.entry("a")])
        stage.advance(seconds: 1)
        try await stage.refresh(id, "balance", "transactions")
        let claims = try await stage.claim()
        let broken = try #require(claims.first { $0.feature == .balance })
        try await stage.finish(broken) { claim, db, world in
            try claim.endLink(.accessExpired, ofAll: true, db, world)
        }
        let inactive = try await stage.account(id)
        #expect(inactive["status"] == "inactive" && inactive["balance"]?["current"] == ["usd": 1])
        #expect(inactive["status_details"] == ["inactive": ["action": "relink_required", "cause": "access_expired"]])
        for member in ["balance_refresh", "transaction_refresh"] {
            #expect(inactive[member]?["status"] == "failed" && inactive[member]?["next_refresh_available_at"] == .null)
        }
        #expect(try await stage.transactions(id).ids?.count == 1)
        #expect(
            try await stage.eventTypes().suffix(3) == [
                "financial_connections.account.refreshed_balance",
                "financial_connections.account.refreshed_transactions",
                "financial_connections.account.deactivated",
            ]
        )
        let other = try #require(claims.first { $0.feature == .transactions })
        #expect(try await !stage.finish(other) { claim, db, world in try claim.succeed(next: 0, db, world) })
        #expect(try await stage.claim().isEmpty)
        // Linked anew, it is refreshed again, and its subscription goes on.
        #expect(try await stage.linkedAccount(customer) == id)
        let back = try await stage.account(id)
        #expect(back["status"] == "active" && back["subscriptions"] == ["transactions"])
        #expect(try await stage.refresh(id, "balance")["balance_refresh"]?["status"] == "pending")
        try await stage.disconnect(id)
        let gone = try await stage.account(id)
        #expect(gone["balance"] == .null && gone["subscriptions"] == [])
        #expect(gone["balance_refresh"]?["status"] == "failed")
        let refused = await #expect(throws: StripeError.self) { try await stage.transactions(id) }
        #expect(refused?.status == 400 && refused?.param == "account")
    }

    @Test("ends with the permission for it, and what it brought is shown no longer", arguments: Store.allCases)
    func permission(store: Store) async throws {
        let stage = try await Stage(store)
        let customer = try await stage.createCustomer()
        let id = try await stage.linkedAccount(customer)
        try await stage.refresh(id, "balance", "ownership")
        try await stage.serve()
        stage.advance(seconds: 1)
        try await stage.refresh(id, "balance", "transactions")
        let claims = try await stage.claim()
        #expect(try await stage.linkedAccount(customer, "permissions[]=transactions") == id)
        let expansion = try Expansion(Form.decode(Array("expand[]=ownership".utf8)), of: Account.shape)
        for expansion in [Expansion.none, expansion] {
            let shown = try await stage.read { [scope = stage.scope] db, json in
                try Account.write(id, at: .path(param: "account"), expanding: expansion, in: scope, db, to: &json)
            }
            #expect(shown["balance"] == .null && shown["ownership"] == .null)
            #expect(shown["balance_refresh"]?["status"] == "failed")
            #expect(shown["transaction_refresh"]?["status"] == "pending")
        }
        #expect(try await stage.eventTypes().last == "financial_connections.account.refreshed_balance")
        for claim in claims {
            let isHeld = try await stage.finish(claim) { _, _, _ in }
            #expect(!isHeld)
        }
        #expect(try await stage.claim().map(\.feature) == [.transactions], "with the new consent")
        // Whoever agrees again shows it again.
        #expect(try await stage.linkedAccount(customer) == id)
        let back = try await stage.account(id)
        #expect(back["balance"]?["current"] == ["usd": 1] && back["ownership"] != .null)
        #expect(back["balance_refresh"]?["next_refresh_available_at"] != .null)
    }

    @Test(
        "that was begun with a consent that another has replaced ends no link, and is begun anew",
        arguments: [true, false]
    )
    func replaced(ofAll isWhole: Bool) async throws {
        let stage = try await Stage(.memory)
        let customer = try await stage.createCustomer()
        let id = try await stage.linkedAccount(customer)
        try await stage.refresh(id, "balance")
        let claim = try #require(try await stage.claim().first)
        #expect(try await stage.linkedAccount(customer) == id)
        try await stage.finish(claim) { claim, db, world in
            try claim.endLink(.accessExpired, ofAll: isWhole, db, world)
        }
        #expect(try await stage.account(id)["status"] == "active")
        #expect(try await stage.serve() == 1)
        #expect(try await stage.account(id)["balance_refresh"]?["status"] == "succeeded")
    }
}

@Suite("Owners")
struct OwnershipTests {
    private func owners(_ stage: Stage, _ account: String, _ form: String) async throws -> Node {
        let query = try Ownership.Query(Stage.parameters(form, Ownership.Query.names))
        return try await stage.read { [scope = stage.scope] db, json in
            try Ownership.writeOwners(of: account, query, in: scope, db, to: &json)
        }
    }

    @Test(
        "are a snapshot of each refresh, listed in the bank's order at the list's own address",
        arguments: Store.allCases
    )
    func snapshots(store: Store) async throws {
        let stage = try await Stage(store)
        let id = try await stage.linkedAccount()
        var snapshots: [String] = []
        for names in [["Ada", "Bo", "Cy"], ["Dee"]] {
            try await stage.refresh(id, "ownership")
            let claim = try #require(try await stage.claim().first)
            try await stage.finish(claim) { claim, db, world in
                let owners = names.map { Owner(name: $0, email: nil, phone: "1", address: "Street 1") }
                try claim.succeed(owners, next: claim.lastAttempted + 1, db, world)
            }
            snapshots.append(try #require(try await stage.account(id)["ownership"]?.text))
            stage.advance(seconds: 1)
        }
        #expect(Set(snapshots).count == 2)
        func names(_ form: String) async throws -> [String]? {
            try await owners(stage, id, form)["data"]?.elements?.compactMap { $0["name"]?.text }
        }
        #expect(try await names("ownership=\(snapshots[0])") == ["Ada", "Bo", "Cy"])
        #expect(try await names("ownership=\(snapshots[1])") == ["Dee"])
        let first = try await owners(stage, id, "ownership=\(snapshots[0])&limit=1")
        #expect(first["has_more"] == true)
        #expect(first["url"]?.text == "/v1/financial_connections/accounts/\(id)/owners?ownership=\(snapshots[0])")
        let last = try #require(first.ids?.first)
        #expect(try await names("ownership=\(snapshots[0])&starting_after=\(last)") == ["Bo", "Cy"])
        let expansion = try Expansion(Form.decode(Array("expand[]=ownership".utf8)), of: Account.shape)
        let expanded = try await stage.read { [scope = stage.scope] db, json in
            try Account.write(id, at: .path(param: "account"), expanding: expansion, in: scope, db, to: &json)
        }
        #expect(expanded["ownership"]?["object"] == "financial_connections.account_ownership")
        #expect(expanded["ownership"]?["owners"]?["data"]?.elements?.count == 1)
    }

    @Test("of another account are not found, and of one without the permission not shown")
    func strangers() async throws {
        let stage = try await Stage(.memory)
        let id = try await stage.linkedAccount()
        let other = try await stage.linkedAccount(nil, "permissions[]=balances")
        try await stage.refresh(id, "ownership")
        try await stage.serve()
        let snapshot = try #require(try await stage.account(id)["ownership"]?.text)
        let third = try await stage.linkedAccount()
        let missing = await #expect(throws: StripeError.self) {
            try await owners(stage, third, "ownership=\(snapshot)")
        }
        #expect(missing?.code == "resource_missing" && missing?.param == "ownership" && missing?.status == 400)
        let denied = await #expect(throws: StripeError.self) { try await owners(stage, other, "ownership=\(snapshot)") }
        #expect(denied?.status == 400 && denied?.param == "account")
        await #expect(throws: StripeError.missing("ownership")) { try await owners(stage, id, "") }
    }
}
