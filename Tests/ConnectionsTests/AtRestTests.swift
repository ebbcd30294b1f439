/// What must not be readable at rest is not in the database's files, and the same chance and time make the same bytes.

import Connections
import Database
import Synchronization
import Testing
import Vault
import Wire

@Suite("At rest")
struct AtRestTests {
    @Test("no secret is in the files: client secrets, credentials, notes, account numbers")
    func canaries() async throws {
        let stage = try await Stage(.file)
        let customer = try await stage.createCustomer("name=visible canary")
        let (session, secret) = try await stage.createSession(customer)
        let (world, ring) = (stage.world, stage.ring)
        let form = try Form.decode(Array("b[routing_number]=110000000&b[account_number]=900123456789".utf8))
        let typed = try BankAccountToken.Request(try #require(try Parameters(lenient: form).group("b")))
        try await stage.link([Stage.details("1")], to: session, credential: "linked credential canary")
        try await stage.database.write { db in
            let note = Array("note canary".utf8)
            var signIn = try SignIn.begin(
                at: "fcinst_1",
                .prompt(json: "{}", note: note),
                for: session,
                returningTo: nil,
                db,
                world,
                ring
            )
            try signIn.advance(.authorized(credential: Array("sign-in credential canary".utf8)), db, world, ring)
            _ = try SignIn.begin(
                at: "fcinst_1",
                .redirect(address: "https://bank.example/address-canary", state: "state-canary", note: note),
                for: session,
                returningTo: nil,
                db,
                world,
                ring
            )
            _ = try BankAccountToken.attach(typed, to: session, db, world, ring)
        }
        try await stage.finish(session)
        let hidden = [
            secret, String(secret.suffix(27)), "linked credential canary", "note canary", "sign-in credential canary",
            "900123456789", "address-canary", "state-canary",
        ]
        for isClosed in [false, true] {
            // First with the write-ahead log, then with all of it folded into one file.
            if isClosed { try stage.database.close() }
            let files = try stage.files()
            #expect(files.firstRange(of: Array("visible canary".utf8)) != nil)
            #expect(files.firstRange(of: Secret.digest(secret)) != nil)
            for canary in hidden { #expect(files.firstRange(of: Array(canary.utf8)) == nil, "\(canary)") }
        }
    }
}

@Suite("Time and chance")
struct DeterminismTests {
    /// The bytes of a day in a merchant's life.
    private func play(_ store: Store, seed: UInt64) async throws -> [UInt8] {
        let stage = try await Stage(store, seed: seed)
        let customer = try await stage.createCustomer("name=Ada&metadata[b]=2&metadata[a]=1&metadata[c]=3")
        stage.advance(seconds: 7)
        let (session, _) = try await stage.createSession(customer, "permissions[]=balances")
        let accounts = try await stage.link(["1", "2"].map { Stage.details($0) }, to: session)
        try await stage.finish(session)
        try await stage.disconnect(accounts[0])
        try await stage.updateCustomer(customer, "metadata[b]=&name=Eva")
        let (world, ring, scope) = (stage.world, stage.ring, stage.scope)
        let customers = try Customer.Query(Stage.parameters("", Customer.Query.names))
        let events = try Event.Query(Stage.parameters("", Event.Query.names))
        return try await stage.database.read { db in
            var json = JSONWriter()
            try Session.find(session.id, at: .path(param: "session"), in: scope, db)
                .write(to: &json, for: .server(.standard), db, ring)
            try Customer.writeList(customers, in: scope, db, to: &json)
            try Event.writeList(events, in: scope, db, world, to: &json)
            return json.finish()
        }
    }

    @Test("of the same seed and clock make the same bytes, in memory and in a file")
    func same() async throws {
        let first = try await play(.memory, seed: 5)
        #expect(first.count > 5000)
        #expect(try await play(.memory, seed: 5) == first)
        #expect(try await play(.file, seed: 5) == first)
        #expect(try await play(.memory, seed: 6) != first)
    }

    @Test("make ids that sort as they were made, more than a millisecond holds, even if the clock runs back")
    func ids() async throws {
        let clock = Moments()
        let world = World(milliseconds: { clock.next() }, random: Seeded(1))
        let ids = (0..<10_000).map { _ in world.id(.customer) }
        #expect(ids.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) } == ids)
        #expect(Set(ids).count == ids.count)
    }

    @Test("make secrets that are never the same")
    func secrets() {
        let world = World(milliseconds: { 0 }, random: Seeded(1))
        let secrets = (0..<1000).map { _ in world.secret("x_", length: 24) }
        #expect(Set(secrets).count == 1000)
        #expect(secrets.allSatisfy { $0.hasPrefix("x_") && $0.utf8.count == 26 })
    }
}

/// A clock that mostly stands still and now and then runs back.
private final class Moments: Sendable {
    private let count = Atomic<Int64>(0)

    func next() -> Int64 {
        let asked = count.add(1, ordering: .relaxed).oldValue
        return 1_790_000_000_000 + (asked < 5000 ? 0 : asked < 7000 ? -60_000 : asked - 7000)
    }
}
