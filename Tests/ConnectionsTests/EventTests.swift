/// Events: the object as it was, lists by type and time, and their retention.

import Connections
import Database
import Testing
import Wire

@Suite("An event")
struct EventTests {
    @Test("shows the object as it was at the moment, and what caused it", arguments: Store.allCases)
    func snapshot(store: Store) async throws {
        let stage = try await Stage(store)
        let customer = try await stage.createCustomer("name=Ada")
        let before = try await stage.customer(customer)
        stage.advance(seconds: 5)
        try await stage.updateCustomer(customer, "name=Eva")
        try await stage.deleteCustomer(customer)
        let events = try #require(try await stage.events()["data"]?.elements)
        #expect(events.compactMap { $0["type"]?.text } == ["customer.deleted", "customer.updated", "customer.created"])
        let created = events[2]
        #expect(created["object"] == "event" && created["created"] == .int(Stage.start))
        #expect(created["data"] == ["object": before])
        #expect(created["request"] == ["id": "req_1", "idempotency_key": "key_1"])
        #expect(created["api_version"] == "2026-08-26.dahlia" && created["livemode"] == false)
        #expect(events[1]["data"]?["object"]?["name"] == "Eva")
        #expect(events[1]["data"]?["previous_attributes"] == ["name": "Ada"])
        #expect(events[0]["data"]?["object"]?["name"] == "Eva")
        let id = try #require(created["id"]?.text)
        #expect(try await stage.event(id) == created)
    }

    @Test("is found by its type, by a wildcard, and by one of several types", arguments: Store.allCases)
    func types(store: Store) async throws {
        let stage = try await Stage(store)
        let customer = try await stage.createCustomer()
        let (session, _) = try await stage.createSession(customer)
        let account = try await stage.link([Stage.details("1")], to: session)[0]
        try await stage.disconnect(account)
        try await stage.deleteCustomer(customer)
        let all = try #require(try await stage.events().ids)
        #expect(all.count == 4)
        let cases = [
            ("type=*", [0, 1, 2, 3]), ("type=customer.created", [3]), ("type=customer.*", [0, 3]),
            ("type=financial_connections.*", [1, 2]), ("type=financial_connections.account.created", [2]),
            ("type=customer", []), ("type=customer.deleted.x", []), ("type=nothing.*", []),
            ("types[]=customer.deleted&types[]=financial_connections.account.created", [0, 2]),
            ("types[]=customer.created", [3]), ("types[]=none", []), ("delivery_success=true", [0, 1, 2, 3]),
            ("delivery_success=false", []),
        ]
        for (form, positions) in cases {
            #expect(try await stage.events(form).ids == positions.map { all[$0] }, "\(form)")
        }
        let twenty = (0..<19).map { "types[]=t\($0)&" }.joined() + "types[]=customer.created"
        #expect(try await stage.events(twenty).ids == [all[3]])
        await #expect(throws: StripeError.tooMany("types", maximum: 20)) {
            try await stage.events("\(twenty)&types[]=x")
        }
        await #expect(
            throws: StripeError(message: "You may only specify one of these parameters: type, types.")
        ) { try await stage.events("type=customer.*&types[]=customer.created") }
    }

    @Test("is found by its time, and its list is paged", arguments: Store.allCases)
    func created(store: Store) async throws {
        let stage = try await Stage(store)
        for _ in 0..<3 {
            try await stage.createCustomer()
            stage.advance(seconds: 10)
        }
        let all = try #require(try await stage.events().ids)
        let start = Stage.start
        #expect(try await stage.events("created=\(start + 10)").ids == [all[1]])
        #expect(try await stage.events("created[gt]=\(start)").ids == [all[0], all[1]])
        #expect(try await stage.events("created[gte]=\(start + 10)&created[lt]=\(start + 20)").ids == [all[1]])
        #expect(try await stage.events("created[lte]=\(start)").ids == [all[2]])
        #expect(try await stage.events("limit=1&starting_after=\(all[0])").ids == [all[1]])
        #expect(try await stage.events("ending_before=\(all[2])&limit=1").ids == [all[1]])
        await #expect(
            throws: StripeError(
                code: "resource_missing",
                param: "starting_after",
                message: "No such notification: 'evt_x'"
            )
        ) { try await stage.events("starting_after=evt_x") }
    }

    @Test("is kept for thirty days, whether it was pruned yet or not", arguments: Store.allCases)
    func retention(store: Store) async throws {
        let stage = try await Stage(store)
        try await stage.createCustomer()
        let id = try #require(try await stage.events().ids?.first)
        stage.advance(seconds: 30 * 24 * 3600 - 1)
        let world = stage.world
        #expect(try await stage.database.write { try Event.prune(in: $0, world) } == 0)
        #expect(try await stage.event(id)["id"] == .text(id))
        stage.advance(seconds: 1)
        #expect(try await stage.events().ids == [])
        let error = await #expect(throws: StripeError.self) { try await stage.event(id) }
        #expect(error?.status == 404 && error?.message == "No such notification: '\(id)'")
        #expect(try await stage.database.write { try Event.prune(in: $0, world) } == 1)
        #expect(try await stage.database.write { try Event.prune(in: $0, world) } == 0)
    }
}
