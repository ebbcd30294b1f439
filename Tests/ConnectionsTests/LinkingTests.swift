/// Linking: limits and filters over all that a session has linked, what happens to an account that was linked before,
/// and the ways in which a link ends.

import Connections
import Database
import Testing
import Vault
import Wire

@Suite("Linking")
struct LinkingTests {
    private func refused(_ message: String) -> StripeError {
        StripeError(param: "selected_accounts", message: message)
    }

    @Test("makes accounts of the session, with the session's permissions and an event each", arguments: Store.allCases)
    func link(store: Store) async throws {
        let stage = try await Stage(store)
        let customer = try await stage.createCustomer()
        let (session, _) = try await stage.createSession(customer)
        let made = try await stage.link([Stage.details("1"), Stage.details("2", payments: false)], to: session)
        let account = try await stage.account(made[0])
        #expect(account["object"] == "financial_connections.account")
        #expect(account["account_holder"] == ["customer": .text(customer), "type": "customer"])
        #expect(account["status"] == "active" && account["institution_name"] == "Bank" && account["last4"] == "6789")
        #expect(account["permissions"] == ["payment_method"])
        #expect(account["supported_payment_method_types"] == ["us_bank_account"])
        #expect(try await stage.account(made[1])["supported_payment_method_types"] == [])
        let linked = try #require(try await stage.json(session)["accounts"])
        #expect(linked.ids == [made[1], made[0]] && linked["total_count"] == 2)
        #expect(try await stage.accounts("session=\(session.id)").ids == [made[1], made[0]])
        #expect(try await stage.accounts("account_holder[customer]=\(customer)").ids?.count == 2)
        #expect(try await stage.eventTypes().filter { $0 == "financial_connections.account.created" }.count == 2)
    }

    @Test("stops at the limit, counted over several rounds, and links none of too many", arguments: Store.allCases)
    func limit(store: Store) async throws {
        let stage = try await Stage(store)
        let (session, _) = try await stage.createSession(stage.createCustomer(), "limits[accounts]=2")
        let three = ["1", "2", "3"].map { Stage.details($0) }
        let error = refused("At most 2 accounts can be linked in this session.")
        await #expect(throws: error) { try await stage.link(three, to: session) }
        #expect(try await stage.accounts().ids == [])
        try await stage.link([three[0]], to: session)
        await #expect(throws: error) { try await stage.link([three[1], three[2]], to: session) }
        await #expect(throws: error) {
            try await stage.link([three[0], three[1]], to: session, at: "fcinst_2")
        }
        // The one that is linked already does not count twice.
        try await stage.link([three[0], three[1]], to: session)
        #expect(try await stage.accounts("session=\(session.id)").ids?.count == 2)
        let (single, _) = try await stage.createSession(stage.createCustomer(), "limits[accounts]=1")
        await #expect(throws: refused("At most 1 account can be linked in this session.")) {
            try await stage.link([three[0], three[1]], to: single)
        }
    }

    @Test("asks for one account that can pay where the session does, earlier ones counted", arguments: Store.allCases)
    func atLeastOne(store: Store) async throws {
        let stage = try await Stage(store)
        let demand = "filters[require_payment_method_support]=at_least_one"
        let (session, _) = try await stage.createSession(stage.createCustomer(), demand)
        await #expect(throws: refused("At least one account that payments can be made from is needed.")) {
            try await stage.link([Stage.details("1", payments: false)], to: session)
        }
        try await stage.link([Stage.details("1", payments: false), Stage.details("2")], to: session)
        try await stage.link([Stage.details("3", payments: false)], to: session)
        #expect(try await stage.accounts("session=\(session.id)").ids?.count == 3)
    }

    @Test("refuses accounts outside of the filters, with all that were picked beside them", arguments: Store.allCases)
    func filters(store: Store) async throws {
        let stage = try await Stage(store)
        let (all, _) = try await stage.createSession(
            stage.createCustomer(),
            "filters[require_payment_method_support]=all"
        )
        await #expect(throws: refused("Payments can't be made from this account.")) {
            try await stage.link([Stage.details("1"), Stage.details("2", payments: false)], to: all)
        }
        let (savings, _) = try await stage.createSession(
            stage.createCustomer(),
            "filters[account_subcategories][]=savings"
        )
        await #expect(throws: refused("This type of account can't be linked here.")) {
            try await stage.link([Stage.details("1", subcategory: "savings"), Stage.details("2")], to: savings)
        }
        await #expect(throws: StripeError.missing("selected_accounts")) { try await stage.link([], to: all) }
        #expect(try await stage.accounts().ids == [])
        #expect(try await stage.eventTypes().allSatisfy { $0 == "customer.created" })
    }

    @Test("again keeps the id, and brings a disconnected account back with an event", arguments: Store.allCases)
    func relink(store: Store) async throws {
        let stage = try await Stage(store)
        let customer = try await stage.createCustomer()
        let (first, _) = try await stage.createSession(customer)
        let id = try await stage.link([Stage.details("1")], to: first)[0]
        let (second, _) = try await stage.createSession(customer, "permissions[]=balances")
        #expect(try await stage.link([Stage.details("1")], to: second) == [id])
        #expect(try await stage.account(id)["permissions"] == ["balances", "payment_method"])
        try await stage.disconnect(id)
        #expect(try await stage.link([Stage.details("1")], to: second) == [id])
        #expect(try await stage.account(id)["status"] == "active")
        #expect(
            try await stage.eventTypes() == [
                "customer.created", "financial_connections.account.created",
                "financial_connections.account.disconnected", "financial_connections.account.reactivated",
            ]
        )
        // Another holder, another bank, another account: other ids.
        let (other, _) = try await stage.createSession(stage.createCustomer())
        #expect(try await stage.link([Stage.details("1")], to: other)[0] != id)
        #expect(try await stage.link([Stage.details("1")], to: second, at: "fcinst_2")[0] != id)
        #expect(try await stage.link([Stage.details("2")], to: second)[0] != id)
    }

    @Test("ends for good by disconnecting, once", arguments: Store.allCases)
    func disconnect(store: Store) async throws {
        let stage = try await Stage(store)
        let (session, _) = try await stage.createSession(stage.createCustomer())
        let id = try await stage.link([Stage.details("1")], to: session)[0]
        #expect(try await stage.disconnect(id)["status"] == "disconnected")
        await #expect(
            throws: StripeError(param: "account", message: "The account '\(id)' has already been disconnected.")
        ) { try await stage.disconnect(id) }
        #expect(try await stage.account(id)["status"] == "disconnected")
        #expect(try await stage.accounts().ids == [id])
        let ended = try await stage.events("type=financial_connections.account.disconnected")
        #expect(ended.ids?.count == 1)
    }

    @Test("ends by itself after the session, where the bank ends it so", arguments: Store.allCases)
    func inactive(store: Store) async throws {
        let stage = try await Stage(store)
        let customer = try await stage.createCustomer()
        let (session, _) = try await stage.createSession(customer)
        let closing = Stage.details("1", closesAfterLinking: true)
        let made = try await stage.link([closing, Stage.details("2")], to: session)
        #expect(try await stage.account(made[0])["status"] == "active")
        try await stage.finish(session)
        try await stage.finish(session)
        #expect(try await stage.account(made[0])["status"] == "inactive")
        #expect(try await stage.account(made[1])["status"] == "active")
        let ended = try await stage.events("type=financial_connections.account.deactivated")
        #expect(ended["data"]?.elements?.compactMap { $0["data"]?["object"]?["id"]?.text } == [made[0]])
        let (again, _) = try await stage.createSession(customer)
        try await stage.link([closing], to: again)
        #expect(try await stage.eventTypes().last == "financial_connections.account.reactivated")
    }

    @Test(
        "keeps the numbers that are known where the bank does not say just now which there are",
        arguments: Store.allCases
    )
    func unknownNumbers(store: Store) async throws {
        let stage = try await Stage(store)
        let customer = try await stage.createCustomer()
        let number = Account.Number(identifierType: "account_number", status: "transactable", expectedExpiry: nil)
        let more = "permissions[]=payment_method"
        let id = try await stage.linkedAccount(customer, more, details: Stage.details("1", numbers: [number]))
        let before = try await stage.account(id)
        #expect(before["account_numbers"] != .null)
        let unknown = Account.Details(
            institutionAccount: "1",
            displayName: "Account 1",
            last4: "6789",
            category: "cash",
            subcategory: "checking",
            supportsPayments: false,
            numbers: nil,
            areNumbersUnknown: true,
            expectedDeactivation: nil,
            closesAfterLinking: false
        )
        let (session, _) = try await stage.createSession(customer, more)
        let shown = try await stage.database.read { db in
            try Account.remembered([unknown], at: "fcinst_1", of: session, db)
        }
        #expect(shown.map(\.supportsPayments) == [true], "so that a Session that wants payments takes it")
        #expect(try await stage.link(shown, to: session) == [id])
        let after = try await stage.account(id)
        #expect(after["account_numbers"] == before["account_numbers"])
        #expect(after["supported_payment_method_types"] == before["supported_payment_method_types"])
    }

    @Test("keeps the accounts of a deleted customer in the lists", arguments: Store.allCases)
    func deletedHolder(store: Store) async throws {
        let stage = try await Stage(store)
        let customer = try await stage.createCustomer()
        let (session, _) = try await stage.createSession(customer)
        let id = try await stage.link([Stage.details("1")], to: session)[0]
        try await stage.deleteCustomer(customer)
        #expect(try await stage.accounts("account_holder[customer]=\(customer)").ids == [id])
        let gone = await #expect(throws: StripeError.self) {
            try await stage.link([Stage.details("2")], to: session)
        }
        #expect(gone?.code == "resource_missing", "a Session that is open links no more")
    }

    @Test("lists accounts by one filter alone, and only by one that names something", arguments: Store.allCases)
    func lists(store: Store) async throws {
        let stage = try await Stage(store)
        let (session, _) = try await stage.createSession(stage.createCustomer())
        let error = await #expect(throws: StripeError.self) {
            try await stage.accounts("session=\(session.id)&account_holder[customer]=cus_1")
        }
        #expect(error?.message.hasPrefix("You may only specify one of these parameters: ") == true)
        for (form, param) in [
            ("session=fcsess_x", "session"), ("account_holder[customer]=cus_x", "account_holder[customer]"),
            ("account_holder[account]=acct_x", "account_holder[account]"), ("starting_after=fca_x", "starting_after"),
        ] {
            let error = await #expect(throws: StripeError.self) { try await stage.accounts(form) }
            #expect(error?.code == "resource_missing" && error?.param == param && error?.status == 400)
        }
    }
}

@Suite("A sign-in")
struct SignInTests {
    @Test(
        "keeps its note and its credential sealed, belongs to one session, and forgets both",
        arguments: Store.allCases
    )
    func life(store: Store) async throws {
        let stage = try await Stage(store)
        let customer = try await stage.createCustomer()
        let (session, _) = try await stage.createSession(customer)
        let (other, _) = try await stage.createSession(customer)
        let (world, ring) = (stage.world, stage.ring)
        let id = try await stage.database.write { db in
            try SignIn.begin(
                at: "fcinst_1",
                .prompt(json: "{}", note: [1, 2]),
                for: session,
                returningTo: nil,
                db,
                world,
                ring
            ).id
        }
        let begun = try await stage.database.read { try SignIn.find(id, of: session, $0) }
        #expect(begun.status == .prompting && begun.prompt == "{}" && begun.institution == "fcinst_1")
        #expect(try begun.note(ring) == [1, 2] && begun.credential(ring) == nil)
        let error = await #expect(throws: StripeError.self) {
            try await stage.database.read { _ = try SignIn.find(id, of: other, $0) }
        }
        #expect(error?.code == "resource_missing")
        try await stage.database.write { db in
            var signIn = try SignIn.find(id, of: session, db)
            try signIn.advance(.authorized(credential: [3]), db, world, ring)
        }
        let authorized = try await stage.database.read { try SignIn.find(id, of: session, $0) }
        #expect(authorized.status == .authorized && authorized.prompt == nil)
        #expect(try authorized.credential(ring) == [3] && authorized.note(ring) == nil)
        try await stage.database.write { db in
            var signIn = try SignIn.find(id, of: session, db)
            try signIn.end(as: .cancelled, db)
        }
        let ended = try await stage.database.read { try SignIn.find(id, of: session, $0) }
        #expect(ended.status == .cancelled)
        #expect(try ended.credential(ring) == nil && ended.note(ring) == nil)
    }

    @Test("has its credential renewed by one call at a time, sealed anew or not", arguments: Store.allCases)
    func renewal(store: Store) async throws {
        let stage = try await Stage(store)
        let (session, _) = try await stage.createSession(stage.createCustomer())
        let (world, ring) = (stage.world, stage.ring)
        let signIn = try await stage.database.write { db in
            try SignIn.begin(
                at: "fcinst_1",
                .authorized(credential: [1]),
                for: session,
                returningTo: nil,
                db,
                world,
                ring
            )
        }
        func begin(_ known: [UInt8]) async throws -> Authorization.Turn {
            try await stage.database.write { try signIn.beginRenewal(known: known, $0, world, ring) }
        }
        func end(_ fence: Int64, _ renewed: [UInt8]?) async throws -> Bool {
            try await stage.database.write { db in
                try signIn.endRenewal(fence: fence, renewed: renewed, of: session, db, ring)
            }
        }
        guard case .granted([1], let fence) = try await begin([1]), case .busy = try await begin([1]) else {
            Issue.record("two turns at once, or none")
            return
        }
        #expect(try await end(fence + 1, [9]) == false)
        #expect(try await end(fence, [2]))
        guard case .renewed([2]) = try await begin([1]), case .granted([2], let second) = try await begin([2]) else {
            Issue.record("what was renewed is not told")
            return
        }
        // Accounts are linked while the bank is asked: what comes of it is theirs too.
        let picked = try await stage.link([Stage.details("1")], to: session, credential: "\u{2}", from: signIn)
        try await stage.database.write { db in
            var current = try SignIn.find(signIn.id, of: session, db)
            try current.select(db)
        }
        #expect(try await end(second, [3]))
        let scope = stage.scope
        let stored = try await stage.database.read { db in
            let id = try #require(try Account.authorization(in: session, at: "fcinst_1", db))
            let sealed = try #require(try Authorization.credential(of: id, in: scope, db))
            return try ring.open(sealed, for: .bankCredential, owner: id)
        }
        #expect(stored == [3] && picked.count == 1)
        guard case .gone = try await begin([3]) else {
            Issue.record("the authorization's token has a second copy that is renewed")
            return
        }
    }

    private func away(_ stage: Stage, state: String) async throws -> (id: String, session: Session) {
        let (session, _) = try await stage.createSession(stage.createCustomer())
        let (world, ring) = (stage.world, stage.ring)
        let id = try await stage.database.write { db in
            try SignIn.begin(
                at: "fcinst_1",
                .redirect(address: "https://bank.example/?state=\(state)", state: state, note: [7]),
                for: session,
                returningTo: "com.example.app://linked",
                db,
                world,
                ring
            ).id
        }
        return (id, session)
    }

    private func back(_ stage: Stage, _ state: String) async throws -> SignIn? {
        let world = stage.world
        return try await stage.database.write { db in try SignIn.takeBack(state: state, db, world) }
    }

    @Test("takes a person back once, by the state alone", arguments: Store.allCases)
    func takeBack(store: Store) async throws {
        let stage = try await Stage(store)
        let (id, session) = try await away(stage, state: "canary-state-1")
        let begun = try await stage.database.read { try SignIn.find(id, of: session, $0) }
        #expect(begun.isAway && begun.prompt == nil && begun.returnTo == "com.example.app://linked")
        #expect(try begun.address(stage.ring) == "https://bank.example/?state=canary-state-1")
        #expect(try await back(stage, "canary-state-2") == nil)
        let taken = try #require(try await back(stage, "canary-state-1"))
        #expect(taken.id == id && taken.session == session.id && taken.scope == session.scope)
        #expect(try taken.note(stage.ring) == [7])
        #expect(try await back(stage, "canary-state-1") == nil, "a state is good once")
        let columns = try await stage.database.read { db in
            try db.all("SELECT address, state FROM auth_session WHERE id = \(id)") { row in
                [row.optionalBytes(0), row.optionalBytes(1)].compactMap { $0 }
            }
        }
        for bytes in columns.joined() { #expect(!String(decoding: bytes, as: UTF8.self).contains("canary")) }
    }

    @Test("takes nobody back after ten minutes, or when the session or the sign-in is over")
    func tooLate() async throws {
        let stage = try await Stage(.memory)
        _ = try await away(stage, state: "late")
        stage.advance(seconds: 599)
        let (id, session) = try await away(stage, state: "left")
        stage.advance(seconds: 1)
        #expect(try await back(stage, "late") == nil)
        try await stage.database.write { db in
            var signIn = try SignIn.find(id, of: session, db)
            try signIn.end(as: .cancelled, db)
        }
        #expect(try await back(stage, "left") == nil)
        let (other, open) = try await away(stage, state: "waits")
        let world = stage.world
        #expect(try await stage.database.read { try SignIn.find(other, of: open, $0).isOverdue(world) } == false)
        stage.advance(seconds: 661)
        #expect(try await stage.database.read { try SignIn.find(other, of: open, $0).isOverdue(world) })
    }

    @Test("is forgotten when its session can no longer be open", arguments: Store.allCases)
    func prune(store: Store) async throws {
        let stage = try await Stage(store)
        let (session, _) = try await stage.createSession(stage.createCustomer())
        let (world, ring) = (stage.world, stage.ring)
        try await stage.database.write { db in
            _ = try SignIn.begin(
                at: "fcinst_1",
                .authorized(credential: [1]),
                for: session,
                returningTo: nil,
                db,
                world,
                ring
            )
        }
        stage.advance(seconds: Stage.lifetime)
        #expect(try await stage.database.write { try SignIn.prune(lifetime: Stage.lifetime, in: $0, world) } == 0)
        stage.advance(seconds: 1)
        #expect(try await stage.database.write { try SignIn.prune(lifetime: Stage.lifetime, in: $0, world) } == 1)
    }
}
