/// Another merchant, and the other mode of the same one, never see anything, whichever way they ask.

import Connections
import Database
import Testing
import Wire

@Suite("Isolation")
struct IsolationTests {
    private static func strangers(of scope: Scope) -> [Scope] {
        [
            Scope(merchant: scope.merchant, livemode: true), Scope(merchant: "acct_other", livemode: false),
            Scope(merchant: "acct_other", livemode: true), Scope(merchant: "", livemode: false),
        ]
    }

    /// A merchant with one of everything.
    private struct Furnished {
        let stage: Stage
        let customer: String
        let session: Session
        let account: String
        let event: String

        init(_ store: Store) async throws {
            stage = try await Stage(store)
            customer = try await stage.createCustomer("email=ada@example.com")
            session = try await stage.createSession(customer).session
            account = try await stage.link([Stage.details("1")], to: session)[0]
            event = try #require(try await stage.events().ids?.first)
        }
    }

    private func isMissing(_ body: () async throws -> some Sendable) async {
        let error = await #expect(throws: StripeError.self) { _ = try await body() }
        #expect(error?.code == "resource_missing")
    }

    @Test("holds for everything that is found by its id", arguments: Store.allCases)
    func finds(store: Store) async throws {
        let own = try await Furnished(store)
        let stage = own.stage
        for scope in Self.strangers(of: stage.scope) {
            await isMissing { try await stage.customer(own.customer, in: scope) }
            await isMissing { try await stage.account(own.account, in: scope) }
            await isMissing { try await stage.event(own.event, in: scope) }
            await isMissing {
                try await stage.database.read { db in
                    try Session.find(own.session.id, at: .path(param: "session"), in: scope, db).id
                }
            }
            try await stage.database.read { (db) throws in
                #expect(try Customer.find(email: "ada@example.com", in: scope, db) == nil)
                #expect(try !Account.isKnown(institution: "fcinst_1", to: own.customer, in: scope, db))
                #expect(try Account.count(of: own.session.id, in: scope, db) == 0)
            }
        }
        try await stage.database.read { [scope = stage.scope] (db) throws in
            #expect(try Customer.find(email: "ada@example.com", in: scope, db) != nil)
            #expect(try Account.isKnown(institution: "fcinst_1", to: own.customer, in: scope, db))
        }
    }

    @Test("holds for every list and its cursors and filters", arguments: Store.allCases)
    func lists(store: Store) async throws {
        let own = try await Furnished(store)
        let stage = own.stage
        for scope in Self.strangers(of: stage.scope) {
            #expect(try await stage.customers(in: scope).ids == [])
            #expect(try await stage.customers("email=ada@example.com", in: scope).ids == [])
            #expect(try await stage.accounts(in: scope).ids == [])
            #expect(try await stage.events(in: scope).ids == [])
            #expect(try await stage.events("type=customer.*", in: scope).ids == [])
            #expect(try await stage.events("types[]=customer.created", in: scope).ids == [])
            await isMissing { try await stage.customers("starting_after=\(own.customer)", in: scope) }
            await isMissing { try await stage.accounts("ending_before=\(own.account)", in: scope) }
            await isMissing { try await stage.events("starting_after=\(own.event)", in: scope) }
            await isMissing { try await stage.accounts("session=\(own.session.id)", in: scope) }
            await isMissing { try await stage.accounts("account_holder[customer]=\(own.customer)", in: scope) }
        }
        #expect(try await stage.customers().ids == [own.customer])
        #expect(try await stage.accounts().ids == [own.account])
        #expect(try await stage.events().ids?.count == 2)
    }

    @Test("holds for every change", arguments: Store.allCases)
    func changes(store: Store) async throws {
        let own = try await Furnished(store)
        let stage = own.stage
        for scope in Self.strangers(of: stage.scope) {
            await isMissing { try await stage.updateCustomer(own.customer, "name=x", in: scope) }
            await isMissing { try await stage.deleteCustomer(own.customer, in: scope) }
            await isMissing { try await stage.disconnect(own.account, in: scope) }
            await isMissing { try await stage.createSession(own.customer, in: scope).secret }
        }
        #expect(try await stage.customer(own.customer)["name"] == .null)
        #expect(try await stage.account(own.account)["status"] == "active")
    }

    @Test("says so where an id is of the other mode, and only of the same merchant")
    func otherMode() async throws {
        let own = try await Furnished(.memory)
        let live = Scope(merchant: own.stage.scope.merchant, livemode: true)
        let error = await #expect(throws: StripeError.self) { try await own.stage.customer(own.customer, in: live) }
        #expect(
            error?.message == "No such customer: '\(own.customer)'; a similar object exists in test mode, but a live "
                + "mode key was used to make this request."
        )
        let other = Scope(merchant: "acct_other", livemode: true)
        let stranger = await #expect(throws: StripeError.self) {
            try await own.stage.customer(own.customer, in: other)
        }
        #expect(stranger?.message == "No such customer: '\(own.customer)'")
    }
}
