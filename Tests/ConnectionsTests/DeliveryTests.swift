/// Deliveries: planned with their event, claimed by one worker at a time, tried again until their time is over.

import Connections
import Database
import Testing
import Vault
import Wire

extension Stage {
    /// Makes an endpoint.
    /// - Returns: its id and its secret.
    @discardableResult
    func createEndpoint(
        _ form: String = "enabled_events[]=*&url=http://127.0.0.1:9/",
        in scope: Scope? = nil
    ) async throws -> (id: String, secret: String) {
        let parameters = try Self.parameters(form, WebhookEndpoint.namesOfCreate)
        let draft = try WebhookEndpoint.Draft(parameters, in: scope ?? self.scope, world, ring)
        return (try await database.write { db in try WebhookEndpoint.create(draft, db).id }, draft.secret)
    }

    func endpoint(_ id: String) async throws -> WebhookEndpoint {
        try await database.read { [scope] db in try WebhookEndpoint.find(id, in: scope, db) }
    }

    @discardableResult
    func updateEndpoint(_ id: String, _ form: String) async throws -> Node {
        let changes = try WebhookEndpoint.Changes(Self.parameters(form, WebhookEndpoint.namesOfUpdate))
        return try await write { [scope] db, json in
            try WebhookEndpoint.update(id, changes, in: scope, db).write(to: &json)
        }
    }

    /// What is due is claimed, for a lease of 20 seconds.
    func claimDeliveries(_ count: Int = 100) async throws -> [Delivery.Claim] {
        let now = world.wallMilliseconds()
        return try await database.write { [world] db in
            try WebhookEndpoint.due(at: now, db).flatMap { endpoint in
                try Delivery.claim(count, for: endpoint, lease: 20_000, db, world)
            }
        }
    }

    /// - Returns: the endpoints that were disabled.
    @discardableResult
    func report(
        _ claims: [Delivery.Claim],
        _ result: Delivery.Outcome.Result,
        patience: Int64 = 432_000,
        schedule: Delivery.Schedule = Delivery.Schedule(first: 10, longest: 1000, period: 3600)
    ) async throws -> [String] {
        let outcomes = claims.map { Delivery.Outcome($0, at: world.wall(), milliseconds: 12, result) }
        return try await database.write { [world] db in
            try Delivery.finish(outcomes, schedule: { _ in schedule }, patience: patience, db, world).map(\.endpoint)
        }
    }

    func history(_ event: String) async throws -> [Node] {
        let list = try await read { [scope] db, json in
            try Delivery.writeHistory(of: event, in: scope, db, to: &json)
        }
        return try #require(list["data"]?.elements)
    }

    func pending(_ event: String) async throws -> Node? {
        try await self.event(event)["pending_webhooks"]
    }
}

extension Delivery.Outcome.Result {
    static let ok = Self.answered(status: 204, reply: Array("thanks".utf8), retryAfter: nil)
    static let refused = Self.answered(status: 500, reply: [], retryAfter: nil)
}

@Suite("A delivery")
struct DeliveryTests {
    @Test("is forgotten with its event, and how it went", arguments: Store.allCases)
    func forgotten(store: Store) async throws {
        let stage = try await Stage(store)
        try await stage.createEndpoint()
        try await stage.createCustomer()
        try await stage.report(stage.claimDeliveries(), .refused)
        stage.advance(seconds: Event.retention - 1)
        try await stage.createCustomer()
        let world = stage.world
        let counts: @Sendable (Connection) throws -> [Int64] = { db in
            [
                try db.first("SELECT COUNT(*) FROM delivery") { try $0.int(0) } ?? 0,
                try db.first("SELECT COUNT(*) FROM delivery_attempt") { try $0.int(0) } ?? 0,
            ]
        }
        #expect(try await stage.database.write { try Event.prune(in: $0, world) } == 0)
        #expect(try await stage.database.read(counts) == [2, 1])
        stage.advance(seconds: 1)
        #expect(try await stage.database.write { try Event.prune(in: $0, world) } == 1)
        #expect(try await stage.database.read(counts) == [1, 0])
    }

    @Test("leaves nothing when an attempt is reported after it was forgotten", arguments: Store.allCases)
    func reportedLate(store: Store) async throws {
        let stage = try await Stage(store)
        let first = try await stage.createEndpoint().id
        try await stage.createCustomer()
        let claims = try await stage.claimDeliveries()
        try await stage.database.write { [scope = stage.scope] db in
            try WebhookEndpoint.delete(first, in: scope, db)
        }
        try await stage.report(claims, .ok)
        try await stage.createEndpoint()
        try await stage.createCustomer()
        let later = try await stage.claimDeliveries()
        stage.advance(seconds: Event.retention)
        let pruned = try await stage.database.write { [world = stage.world] in try Event.prune(in: $0, world) }
        try await stage.report(later, .refused)
        let left = try await stage.database.read { db in
            try db.first("SELECT COUNT(*) FROM delivery_attempt") { try $0.int(0) }
        }
        #expect(claims.count == 1 && later.count == 1 && pruned == 2 && left == 0)
    }

    @Test("is planned in the transaction of its event, for each endpoint that asks for it", arguments: Store.allCases)
    func planned(store: Store) async throws {
        let stage = try await Stage(store)
        let all = try await stage.createEndpoint().id
        let some = try await stage.createEndpoint("enabled_events[]=customer.created&url=http://127.0.0.1:9/").id
        try await stage.createEndpoint("enabled_events[]=customer.deleted&url=http://127.0.0.1:9/")
        try await stage.createEndpoint("enabled_events[]=*&connect=true&url=http://127.0.0.1:9/")
        let off = try await stage.createEndpoint().id
        try await stage.updateEndpoint(off, "disabled=true")
        try await stage.createEndpoint(in: Scope(merchant: stage.merchant.id, livemode: true))
        try await stage.createCustomer()
        let event = try #require(try await stage.events().ids?.first)
        #expect(try await stage.history(event).map { $0["webhook_endpoint"]?.text } == [all, some].sorted())
        #expect(try await stage.pending(event) == 2)
        // What fails leaves neither the event nor a delivery.
        await #expect(throws: StripeError.self) {
            try await stage.database.write { db in
                let changes = try Customer.Changes(Stage.parameters("", Customer.names))
                _ = try Customer.create(changes, by: Stage.cause, in: stage.scope, db, stage.world)
                throw StripeError.internalFault
            }
        }
        #expect(try await stage.claimDeliveries().count == 2)
    }

    @Test("is claimed by one worker, and again when the claim has ended", arguments: Store.allCases)
    func claims(store: Store) async throws {
        let stage = try await Stage(store)
        try await stage.createEndpoint()
        for _ in 0..<3 { try await stage.createCustomer() }
        let two = try await stage.claimDeliveries(2)
        let one = try await stage.claimDeliveries()
        #expect(two.count == 2 && one.count == 1 && Set((two + one).map(\.event)).count == 3)
        #expect(try await stage.claimDeliveries().isEmpty)
        stage.advance(seconds: 20)
        let again = try await stage.claimDeliveries()
        #expect(Set(again.map(\.event)) == Set((two + one).map(\.event)))
        // Whoever comes back late changes nothing, and what it did is still told.
        try await stage.report(two, .ok)
        #expect(try await stage.pending(two[0].event) == 1)
        try await stage.report(again, .refused)
        #expect(try await stage.pending(two[0].event) == 1)
        let attempts = try #require(try await stage.history(two[0].event)[0]["attempts"]?.elements)
        #expect(attempts.map { $0["http_status"] } == [204, 500])
        #expect(attempts.map { $0["number"] } == [1, 2])
        #expect(attempts[0]["reply"] == "thanks" && attempts[0]["milliseconds"] == 12)
    }

    @Test("shows an attempt whose end nobody reported", arguments: Store.allCases)
    func unknownEnd(store: Store) async throws {
        let stage = try await Stage(store)
        try await stage.createEndpoint()
        try await stage.createCustomer()
        let event = try #require(try await stage.claimDeliveries().first?.event)
        stage.advance(seconds: 20)
        try await stage.report(stage.claimDeliveries(), .ok)
        let delivery = try await stage.history(event)[0]
        #expect(delivery["status"] == "succeeded" && delivery["next_attempt"] == .null)
        let attempts = try #require(delivery["attempts"]?.elements)
        #expect(attempts.count == 2 && attempts[0]["at"] == .null && attempts[0]["problem"] != .null)
        #expect(try await stage.pending(event) == 0)
    }

    @Test("shows its last attempts, however many there were")
    func longHistory() async throws {
        let stage = try await Stage(.memory)
        for _ in 0..<2 { try await stage.createEndpoint() }
        try await stage.createCustomer()
        let event = try #require(try await stage.events().ids?.first)
        let schedule = Delivery.Schedule(first: 1, longest: 1, period: 1_000_000)
        for _ in 0..<130 {
            try await stage.report(stage.claimDeliveries(), .refused, schedule: schedule)
            stage.advance(seconds: 2)
        }
        for delivery in try await stage.history(event) {
            let attempts = try #require(delivery["attempts"]?.elements)
            #expect(attempts.count == 100 && attempts.allSatisfy { $0["http_status"] == 500 })
            #expect(attempts.first?["number"] == 31 && attempts.last?["number"] == 130)
        }
    }

    @Test("is tried again after growing waits until its time is over", arguments: Store.allCases)
    func waits(store: Store) async throws {
        let stage = try await Stage(store)
        try await stage.createEndpoint()
        try await stage.createCustomer()
        let event = try #require(try await stage.events().ids?.first)
        for (earliest, latest) in [(8, 12), (32, 48), (128, 192), (512, 768), (800, 1200)] as [(Int64, Int64)] {
            try await stage.report(stage.claimDeliveries(), .failed(problem: "no connection could be made"))
            stage.advance(seconds: earliest - 1)
            #expect(try await stage.claimDeliveries().isEmpty)
            stage.advance(seconds: latest - earliest + 2)
            #expect(try await stage.history(event)[0]["status"] == "pending")
        }
        stage.advance(seconds: 2000)
        try await stage.report(stage.claimDeliveries(), .refused)
        let delivery = try await stage.history(event)[0]
        #expect(delivery["status"] == "failed" && delivery["next_attempt"] == .null)
        #expect(try await stage.pending(event) == 1)
        stage.advance(seconds: 100_000)
        #expect(try await stage.claimDeliveries().isEmpty)
    }

    @Test(
        "waits as long as the receiver asks, within reason",
        arguments: [(60, 60), (5, 8), (1_000_000, 1000), (.max, 1000)]
    )
    func retryAfter(asked: Int64, waited: Int64) async throws {
        let stage = try await Stage(.memory)
        try await stage.createEndpoint()
        try await stage.createCustomer()
        try await stage.report(stage.claimDeliveries(), .answered(status: 503, reply: [], retryAfter: asked))
        stage.advance(seconds: waited - 1)
        #expect(try await stage.claimDeliveries().isEmpty)
        stage.advance(seconds: 5)
        #expect(try await stage.claimDeliveries().count == 1)
    }

    @Test("can be sent again by hand, from the beginning", arguments: Store.allCases)
    func resent(store: Store) async throws {
        let stage = try await Stage(store)
        let endpoint = try await stage.createEndpoint().id
        try await stage.createCustomer()
        let id = try #require(try await stage.events().ids?.first)
        try await stage.report(stage.claimDeliveries(), .ok)
        stage.advance(seconds: 50_000)
        func resend(_ endpoint: String?) async throws {
            try await stage.database.write { [world = stage.world, scope = stage.scope] db in
                try Delivery.resend(Event.find(id, in: scope, db, world), to: endpoint, in: scope, db, world)
            }
        }
        try await resend(endpoint)
        #expect(try await stage.pending(id) == 1)
        try await stage.report(stage.claimDeliveries(), .refused)
        stage.advance(seconds: 13)
        try await stage.report(stage.claimDeliveries(), .ok)
        let attempts = try #require(try await stage.history(id)[0]["attempts"]?.elements)
        #expect(attempts.map { $0["http_status"] } == [204, 500, 204])
        try await resend(nil)
        #expect(try await stage.claimDeliveries().count == 1)
        try await stage.updateEndpoint(endpoint, "disabled=true")
        await #expect(throws: StripeError.self) { try await resend(endpoint) }
        let unknown = await #expect(throws: StripeError.self) { try await resend("we_none") }
        #expect(unknown?.status == 400 && unknown?.param == "webhook_endpoint")
    }

    @Test("is sent again by hand while an attempt is under way", arguments: Store.allCases)
    func resentMeanwhile(store: Store) async throws {
        let stage = try await Stage(store)
        let endpoint = try await stage.createEndpoint().id
        try await stage.createCustomer()
        let claims = try await stage.claimDeliveries()
        let id = try #require(claims.first?.event)
        try await stage.database.write { [world = stage.world, scope = stage.scope] db in
            try Delivery.resend(Event.find(id, in: scope, db, world), to: endpoint, in: scope, db, world)
        }
        // What the attempt came to is told, and it does not stand for the one that was asked for.
        try await stage.report(claims, .ok)
        #expect(try await stage.pending(id) == 1)
        try await stage.report(stage.claimDeliveries(), .ok)
        #expect(try await stage.pending(id) == 0)
        let attempts = try #require(try await stage.history(id)[0]["attempts"]?.elements)
        #expect(attempts.map { $0["http_status"] } == [204, 204])
    }

    @Test(
        "that failed for good is forgotten with its endpoint, and one that succeeded is not",
        arguments: Store.allCases
    )
    func endpointGone(store: Store) async throws {
        let stage = try await Stage(store)
        let id = try await stage.createEndpoint().id
        try await stage.createCustomer()
        try await stage.report(stage.claimDeliveries(), .ok)
        try await stage.createCustomer()
        try await stage.report(stage.claimDeliveries(), .pointless(problem: "none"))
        let ids = try #require(try await stage.events("delivery_success=false").ids)
        #expect(ids.count == 1)
        try await stage.database.write { [scope = stage.scope] db in
            try WebhookEndpoint.delete(id, in: scope, db)
        }
        #expect(try await stage.pending(ids[0]) == 0)
        #expect(try await stage.events("delivery_success=false").ids == [])
        let kept = try #require(try await stage.events().ids?.first { $0 != ids[0] })
        #expect(try await stage.history(kept).count == 1)
    }

    @Test("stops when its endpoint is disabled or gone, and goes on when it is enabled", arguments: Store.allCases)
    func stops(store: Store) async throws {
        let stage = try await Stage(store)
        let id = try await stage.createEndpoint().id
        try await stage.createCustomer()
        let event = try #require(try await stage.events().ids?.first)
        try await stage.updateEndpoint(id, "disabled=true")
        #expect(try await stage.claimDeliveries().isEmpty)
        try await stage.updateEndpoint(id, "disabled=false")
        try await stage.report(stage.claimDeliveries(), .refused)
        try await stage.database.write { [scope = stage.scope] db in
            try WebhookEndpoint.delete(id, in: scope, db)
        }
        stage.advance(seconds: 100)
        #expect(try await stage.claimDeliveries().isEmpty)
        #expect(try await stage.pending(event) == 0)
    }

    @Test("tells of what is not delivered in lists of events", arguments: Store.allCases)
    func lists(store: Store) async throws {
        let stage = try await Stage(store)
        try await stage.createCustomer()
        stage.advance(seconds: 1)
        try await stage.createEndpoint()
        for _ in 0..<2 {
            try await stage.createCustomer()
            stage.advance(seconds: 1)
        }
        let ids = try #require(try await stage.events().ids)
        try await stage.report(stage.claimDeliveries(1), .ok)
        #expect(try await stage.events("delivery_success=false").ids == [ids[0]])
        #expect(try await stage.events("delivery_success=true").ids == [ids[1], ids[2]])
    }
}

@Suite("A webhook endpoint")
struct WebhookEndpointTests {
    @Test("can ask for every kind of event that there is")
    func names() async throws {
        let stage = try await Stage(.memory)
        for kind in Event.Kind.allCases {
            try await stage.createEndpoint("enabled_events[]=\(kind.rawValue)&url=http://127.0.0.1:9/")
        }
    }

    @Test(
        "names the nearest event to one that there is not",
        arguments: [
            ("financial_connections.account.create", "financial_connections.account.created"),
            (
                "financial_connections.account.refreshed_transaction",
                "financial_connections.account.refreshed_transactions"
            ),
            ("customer.*", "customer.created"), ("Customer.Deleted", "customer.deleted"), ("", "customer.created"),
        ]
    )
    func nearest(name: String, known: String) async throws {
        guard !name.isEmpty else { return }
        let error = await #expect(throws: StripeError.self) {
            let stage = try await Stage(.memory)
            try await stage.createEndpoint("enabled_events[]=\(name)&url=http://127.0.0.1:9/")
        }
        #expect(error?.param == "enabled_events[0]" && error?.message.contains("'\(known)'") == true)
    }

    @Test("is claimed for as it is now", arguments: Store.allCases)
    func current(store: Store) async throws {
        let stage = try await Stage(store)
        let id = try await stage.createEndpoint().id
        let found = try await stage.endpoint(id)
        func current() async throws -> WebhookEndpoint? { try await stage.database.read { try found.current($0) } }
        try await stage.updateEndpoint(id, "url=http://127.0.0.1:10/")
        #expect(try await current()?.url == "http://127.0.0.1:10/")
        try await stage.updateEndpoint(id, "disabled=true")
        #expect(try await current() == nil)
        try await stage.database.write { [scope = stage.scope] db in
            try WebhookEndpoint.delete(id, in: scope, db)
        }
        #expect(try await current() == nil)
    }

    @Test("has a version without flags")
    func flags() async throws {
        let stage = try await Stage(.memory)
        let error = await #expect(throws: StripeError.self) {
            try await stage.createEndpoint(
                "enabled_events[]=*&url=http://127.0.0.1:9/&api_version=2024-06-20%3Bx%3Dy"
            )
        }
        #expect(error?.param == "api_version")
    }

    @Test("signs with both secrets for a day after one was rolled", arguments: Store.allCases)
    func rolled(store: Store) async throws {
        let stage = try await Stage(store)
        let (id, first) = try await stage.createEndpoint()
        func roll(_ form: String) async throws -> String {
            let parameters = try Stage.parameters(form, ["expires_after": .leaf])
            let roll = try WebhookEndpoint.Roll(id, parameters, stage.world, stage.ring)
            return try await stage.database.write { [world = stage.world, scope = stage.scope] db in
                _ = try WebhookEndpoint.roll(roll, in: scope, db, world)
                return roll.secret
            }
        }
        func secrets() async throws -> [String] {
            try await stage.endpoint(id).secrets(at: stage.world.wall(), stage.ring)
        }
        #expect(try await secrets() == [first])
        let second = try await roll("")
        #expect(try await secrets() == [second, first])
        stage.advance(seconds: 86_399)
        #expect(try await secrets() == [second, first])
        stage.advance(seconds: 1)
        #expect(try await secrets() == [second])
        let third = try await roll("expires_after=0")
        #expect(try await secrets() == [third])
    }

    @Test("is disabled after nothing but failures for long, and not before", arguments: Store.allCases)
    func disabled(store: Store) async throws {
        let stage = try await Stage(store)
        let id = try await stage.createEndpoint().id
        let schedule = Delivery.Schedule(first: 1, longest: 1, period: 1_000_000)
        func attempt(_ result: Delivery.Outcome.Result) async throws -> [String] {
            stage.advance(seconds: 10)
            return try await stage.report(stage.claimDeliveries(), result, patience: 100, schedule: schedule)
        }
        func status() async throws -> Node? {
            try await stage.read { [scope = stage.scope] db, json in
                try WebhookEndpoint.find(id, in: scope, db).writeHealth(db, to: &json)
            }["status"]
        }
        try await stage.createCustomer()
        for _ in 0..<8 { #expect(try await attempt(.refused).isEmpty) }
        #expect(try await attempt(.ok).isEmpty)
        #expect(try await stage.endpoint(id).isFailing == false)
        try await stage.createCustomer()
        for _ in 0..<10 { #expect(try await attempt(.refused).isEmpty) }
        #expect(try await status() == "enabled")
        #expect(try await attempt(.refused) == [id])
        #expect(try await status() == "disabled")
        try await stage.updateEndpoint(id, "disabled=false")
        #expect(try await stage.endpoint(id).isFailing == false)
        #expect(try await attempt(.ok).isEmpty)
    }

    @Test("hides its secrets in the files of the database")
    func atRest() async throws {
        let stage = try await Stage(.file)
        let (_, secret) = try await stage.createEndpoint()
        let files = try stage.files()
        #expect(!files.isEmpty && files.firstRange(of: Array(secret.utf8)) == nil)
        #expect(files.firstRange(of: Array("http://127.0.0.1:9/".utf8)) != nil)
    }

    @Test("keeps its secrets when everything is sealed anew", arguments: Store.allCases)
    func resealed(store: Store) async throws {
        let stage = try await Stage(store)
        let (id, secret) = try await stage.createEndpoint()
        let roll = try WebhookEndpoint.Roll(id, Stage.parameters("", [:]), stage.world, stage.ring)
        _ = try await stage.database.write { [world = stage.world, scope = stage.scope] db in
            try WebhookEndpoint.roll(roll, in: scope, db, world).id
        }
        let new = "8:QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI="
        let both = try KeyRing(text: "\(new)\n7:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=")
        let columns = try await Resealing(stage.database, both).run().filter { $0.column.hasPrefix("webhook_endpoint") }
        #expect(columns.map(\.values) == [1, 1])
        let secrets = try await stage.endpoint(id).secrets(at: stage.world.wall(), KeyRing(text: new))
        #expect(secrets == [roll.secret, secret])
    }

    @Test("cannot be read or changed by another merchant or in the other mode", arguments: Store.allCases)
    func isolation(store: Store) async throws {
        let stage = try await Stage(store)
        let id = try await stage.createEndpoint().id
        for scope in [
            Scope(merchant: stage.merchant.id, livemode: true), Scope(merchant: "acct_other", livemode: false),
        ] {
            await #expect(throws: StripeError.self) {
                try await stage.database.write { db in try WebhookEndpoint.delete(id, in: scope, db) }
            }
            await #expect(throws: StripeError.self) {
                _ = try await stage.database.read { db in try WebhookEndpoint.find(id, in: scope, db) }
            }
        }
        #expect(try await stage.endpoint(id).id == id)
    }
}
