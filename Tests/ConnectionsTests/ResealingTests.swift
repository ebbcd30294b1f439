/// Changing keys: everything is sealed anew, in steps that can be stopped, and the old key opens nothing afterwards.

import Connections
import Database
import Testing
import Vault
import Wire

@Suite("Sealing anew")
struct ResealingTests {
    /// The ring of the stage with a new key in front, and the new key alone.
    private static let newKey = "8:QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI="
    private static let oldKey = "7:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="

    /// Every sealed value that is stored.
    private func sealed(_ stage: Stage) async throws -> [[UInt8]] {
        try await stage.database.read { db in
            let columns: [SQL] = [
                "SELECT client_secret FROM session", "SELECT credential FROM authorization_at_institution",
                "SELECT credential FROM revocation", "SELECT note FROM auth_session WHERE note IS NOT NULL",
                "SELECT address FROM auth_session WHERE address IS NOT NULL",
                "SELECT credential FROM auth_session WHERE credential IS NOT NULL", "SELECT sealed FROM ring_check",
                "SELECT sealed FROM upload_piece",
            ]
            return try columns.flatMap { column in try db.all(column) { try $0.bytes(0) } }
        }
    }

    @Test("leaves nothing under the old key, and does nothing the second time", arguments: Store.allCases)
    func all(store: Store) async throws {
        let stage = try await Stage(store)
        let (world, ring) = (stage.world, stage.ring)
        let (session, secret) = try await stage.createSession(stage.createCustomer())
        #expect(try await stage.database.write { try RingCheck.pass(ring, in: $0) })
        let linked = try await stage.link([Stage.details("1")], to: session, credential: "one")
        _ = try await stage.disconnect(linked[0])
        try await stage.link([Stage.details("2")], to: session, credential: "two")
        // More than one write takes, and no more than a Session holds.
        for _ in 0..<3 {
            let (session, _) = try await stage.createSession(session.holder.id)
            try await stage.database.write { db in
                for number in 0..<90 {
                    let progress: SignIn.Progress =
                        number % 2 == 0
                        ? .authorized(credential: [1])
                        : .redirect(address: "https://b.example", state: "\(session.id) \(number)", note: [2])
                    _ = try SignIn.begin(at: "b", progress, for: session, returningTo: nil, db, world, ring)
                }
            }
        }
        try await stage.database.write { db in
            let signIn = try SignIn.begin(at: "b", .wait(note: [3]), for: session, returningTo: nil, db, world, ring)
            let file = try UploadedFile.begin(for: signIn, of: session, db, world)
            try file.append((0..<45).map { try file.piece($0, [4, 5], ring) }, db, world)
        }
        let before = try await sealed(stage)
        let both = try KeyRing(text: "\(Self.newKey)\n\(Self.oldKey)")
        let resealed = try await Resealing(stage.database, both).run()
        #expect(resealed.map(\.values).reduce(0, +) == before.count - 1)
        let after = try await sealed(stage)
        #expect(after.count == before.count && after.allSatisfy { $0.prefix(5) == both.newestMark[...] })
        #expect(try await Resealing(stage.database, both).run().allSatisfy { $0.values == 0 })
        let new = try KeyRing(text: Self.newKey)
        #expect(try await stage.database.write { try RingCheck.pass(new, in: $0) })
        #expect(try await stage.database.write { try RingCheck.pass(ring, in: $0) } == false)
        let scope = stage.scope
        let reopened = try await stage.database.read { db in
            try Session.find(clientSecret: secret, in: scope, db).id
        }
        #expect(reopened == session.id)
    }

    @Test("says which value no key opens, and keeps what it did before")
    func unopened() async throws {
        let stage = try await Stage(.memory)
        let (session, _) = try await stage.createSession(stage.createCustomer())
        let stranger = try KeyRing(text: Self.newKey)
        let error = await #expect(throws: Resealing.Unopened.self) {
            try await Resealing(stage.database, stranger).run()
        }
        #expect(error?.column == "session.client_secret" && error?.row == session.id)
    }
}

@Suite("Consents to give back")
struct RevocationTests {
    @Test("are noted with the last account of a consent, and told once", arguments: Store.allCases)
    func life(store: Store) async throws {
        let stage = try await Stage(store)
        let (world, ring) = (stage.world, stage.ring)
        let (session, _) = try await stage.createSession(stage.createCustomer())
        let linked = try await stage.link([Stage.details("1"), Stage.details("2")], to: session, credential: "secret")
        func due() async throws -> Bool {
            try await stage.database.read { try Revocation.isDue($0, world) }
        }
        _ = try await stage.disconnect(linked[0])
        #expect(try await due() == false, "another account hangs on it")
        _ = try await stage.disconnect(linked[1])
        #expect(try await due())
        let claimed = try #require(try await stage.database.write { try Revocation.claim($0, world) })
        #expect(try claimed.credential(ring) == Array("secret".utf8) && claimed.scope == stage.scope)
        #expect(claimed.holder.hasSuffix(session.holder.id))
        #expect(try await stage.database.write { try Revocation.claim($0, world) } == nil, "one worker at a time")
        stage.advance(seconds: 121)
        var again = try #require(try await stage.database.write { try Revocation.claim($0, world) })
        #expect(!again.isLast)
        for _ in 0..<8 {
            stage.advance(seconds: 4 * 3600)
            again = try #require(try await stage.database.write { try Revocation.claim($0, world) })
        }
        #expect(again.isLast)
        try await stage.database.write { [again] db in try again.end(db) }
        #expect(try await due() == false)
    }

    @Test("do not come of a relink")
    func relink() async throws {
        let stage = try await Stage(.memory)
        let world = stage.world
        let (session, _) = try await stage.createSession(stage.createCustomer())
        for credential in ["old", "new"] {
            try await stage.link([Stage.details("1")], to: session, credential: credential)
        }
        #expect(try await stage.database.read { try Revocation.isDue($0, world) } == false)
    }
}
