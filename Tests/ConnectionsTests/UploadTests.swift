/// Files that people give: in sealed pieces, of one sign-in, kept as long as what was linked with them and no longer.

import Connections
import Database
import Testing
import Vault
import Wire

@Suite("A file that was given")
struct UploadTests {
    private static let contents = (0..<200_000).map { UInt8(truncatingIfNeeded: $0 * 31) }

    private func begin(_ stage: Stage, _ session: Session) async throws -> SignIn {
        try await stage.database.write { [world = stage.world, ring = stage.ring] db in
            try SignIn.begin(
                at: "fcinst_1",
                .prompt(json: "{}", note: [1]),
                for: session,
                returningTo: nil,
                db,
                world,
                ring
            )
        }
    }

    private func give(
        _ contents: [UInt8],
        at signIn: SignIn,
        of session: Session,
        _ stage: Stage
    ) async throws -> UploadedFile {
        let ring = stage.ring
        return try await stage.database.write { [world = stage.world] db in
            var file = try UploadedFile.begin(for: signIn, of: session, db, world)
            for (number, begin) in stride(from: 0, to: contents.count, by: UploadedFile.pieceSize).enumerated() {
                let end = min(contents.count, begin + UploadedFile.pieceSize)
                try file.append([file.piece(number, contents[begin..<end], ring)], db, world)
            }
            try file.complete(size: contents.count, db, world)
            return file
        }
    }

    /// The sign-in, let in by the file.
    private func answer(_ signIn: SignIn, with file: UploadedFile, _ stage: Stage) async throws -> SignIn {
        try await stage.database.write { [world = stage.world, ring = stage.ring] db in
            var signIn = signIn
            try signIn.advance(.authorized(credential: [1]), from: file, db, world, ring)
            return signIn
        }
    }

    private func read(_ file: UploadedFile, _ stage: Stage) async throws -> [UInt8] {
        var all: [UInt8] = []
        while true {
            let bytes = try await file.bytes(from: all.count, stage.database, stage.ring)
            if bytes.isEmpty { return all }
            all += bytes
        }
    }

    private func pieces(_ stage: Stage) async throws -> Int64 {
        try await stage.database.read { db in
            try db.first("SELECT COUNT(*) FROM upload_piece") { try $0.int(0) } ?? 0
        }
    }

    /// Forgets what its time has passed for.
    private func prune(_ stage: Stage) async throws {
        while try await stage.database.write({ [world = stage.world] db in
            try UploadedFile.prune(in: db, world)
        }) > 0 {}
    }

    @Test("is read as it came, from any place, and not out of the database", arguments: Store.allCases)
    func reading(store: Store) async throws {
        let stage = try await Stage(store)
        let (session, _) = try await stage.createSession(stage.createCustomer())
        let file = try await give(Self.contents, at: begin(stage, session), of: session, stage)
        #expect(try await read(file, stage) == Self.contents)
        let middle = try await file.bytes(from: 70_000, stage.database, stage.ring)
        #expect(middle == Array(Self.contents[70_000..<2 * UploadedFile.pieceSize]))
        #expect(try await file.bytes(from: Self.contents.count, stage.database, stage.ring).isEmpty)
        let stored = try await stage.database.read { db in
            try db.all("SELECT sealed FROM upload_piece ORDER BY id") { try $0.bytes(0) }
        }
        #expect(stored.count == 4)
        #expect(stored.allSatisfy { Array($0.suffix(64)) != Array(Self.contents.suffix(64)) })
        let other = try KeyRing(text: KeyRing.generate())
        await #expect(throws: VaultError.self) { try await file.bytes(from: 0, stage.database, other) }
    }

    @Test("is found from its own sign-in alone, and takes the place of the one before", arguments: Store.allCases)
    func belonging(store: Store) async throws {
        let stage = try await Stage(store)
        let (session, _) = try await stage.createSession(stage.createCustomer())
        let (first, second) = (try await begin(stage, session), try await begin(stage, session))
        let file = try await give([1, 2, 3], at: first, of: session, stage)
        let world = stage.world
        func size(_ file: UploadedFile, _ signIn: SignIn) async throws -> Int? {
            try await stage.database.read { db in try UploadedFile.find(file.id, of: signIn, db, world)?.size }
        }
        #expect(try await size(file, first) == 3)
        #expect(try await size(file, second) == nil)
        let newer = try await give([4], at: first, of: session, stage)
        #expect(try await size(file, first) == nil)
        #expect(try await size(newer, first) == 1)
        try await prune(stage)
        #expect(try await pieces(stage) == 1)
        #expect(try await stage.database.read { try UploadedFile.given(at: first, $0, world) == nil })
        let answered = try await answer(first, with: newer, stage)
        #expect(try await stage.database.read { try UploadedFile.given(at: answered, $0, world)?.id } == newer.id)
    }

    @Test("goes with what was made of it, and never another in its place", arguments: Store.allCases)
    func replaced(store: Store) async throws {
        let stage = try await Stage(store)
        let (session, _) = try await stage.createSession(stage.createCustomer())
        let (first, second) = (try await begin(stage, session), try await begin(stage, session))
        let file = try await give([1], at: first, of: session, stage)
        let answered = try await answer(first, with: file, stage)
        _ = try await give([2], at: second, of: session, stage)
        await #expect(throws: StripeError.self) {
            try await stage.link([Stage.details("1")], to: session, from: answered)
        }
        await #expect(throws: StripeError.self) { try await answer(first, with: file, stage) }
        await #expect(throws: StripeError.self) {
            try await stage.database.write { [world = stage.world] db in
                var late = try UploadedFile.begin(for: first, of: session, db, world)
                _ = try UploadedFile.begin(for: second, of: session, db, world)
                try late.complete(size: 1, db, world)
            }
        }
    }

    @Test("stays with what was linked, through a newer one, and goes with it", arguments: Store.allCases)
    func life(store: Store) async throws {
        let stage = try await Stage(store)
        let customer = try await stage.createCustomer()
        var accounts: [String] = []
        for byte in [UInt8(1), 2] {
            let (session, _) = try await stage.createSession(customer)
            var signIn = try await begin(stage, session)
            signIn = try await answer(signIn, with: give([byte], at: signIn, of: session, stage), stage)
            accounts += try await stage.link([Stage.details("1")], to: session, from: signIn)
            try await stage.finish(session)
            try await prune(stage)
            #expect(try await pieces(stage) == 1, "only the newest is left")
        }
        #expect(Set(accounts).count == 1, "the same account")
        stage.advance(seconds: 100 * 86_400)
        try await prune(stage)
        #expect(try await pieces(stage) == 1)
        _ = try await stage.disconnect(accounts[0])
        try await prune(stage)
        #expect(try await pieces(stage) == 0)
    }

    @Test("takes no other's place that is still being read", arguments: Store.allCases)
    func underWay(store: Store) async throws {
        let stage = try await Stage(store)
        let customer = try await stage.createCustomer()
        func link(_ byte: UInt8) async throws -> String? {
            let (session, _) = try await stage.createSession(customer, Stage.everything)
            var signIn = try await begin(stage, session)
            signIn = try await answer(signIn, with: give([byte], at: signIn, of: session, stage), stage)
            return try await stage.link([Stage.details("1")], to: session, from: signIn).first
        }
        let id = try #require(try await link(1))
        try await stage.refresh(id, "transactions")
        let error = await #expect(throws: StripeError.self) { try await link(2) }
        #expect(error?.message.contains("still being read") == true)
        try await stage.serve()
        #expect(try await link(2) == id)
    }

    @Test("is forgotten after a day, or when the Session is done, where nothing was linked", arguments: Store.allCases)
    func abandoned(store: Store) async throws {
        let stage = try await Stage(store)
        let (session, _) = try await stage.createSession(stage.createCustomer())
        _ = try await give([1], at: begin(stage, session), of: session, stage)
        try await prune(stage)
        #expect(try await pieces(stage) == 1)
        try await stage.finish(session)
        try await prune(stage)
        #expect(try await pieces(stage) == 0)
        let (other, _) = try await stage.createSession(stage.createCustomer())
        _ = try await give([1], at: begin(stage, other), of: other, stage)
        stage.advance(seconds: 86_401)
        try await prune(stage)
        #expect(try await pieces(stage) == 0)
    }

    @Test("takes no piece any more when its time is over, or when it is gone", arguments: Store.allCases)
    func late(store: Store) async throws {
        let stage = try await Stage(store)
        let (session, _) = try await stage.createSession(stage.createCustomer())
        let signIn = try await begin(stage, session)
        let (world, ring) = (stage.world, stage.ring)
        let file = try await stage.database.write { db in
            let file = try UploadedFile.begin(for: signIn, of: session, db, world)
            try file.append([file.piece(0, [1], ring)], db, world)
            return file
        }
        _ = try await give([2], at: signIn, of: session, stage)
        for number in 1...2 {
            await #expect(throws: StripeError.self) {
                try await stage.database.write { db in try file.append([file.piece(number, [3], ring)], db, world) }
            }
            try await prune(stage)
            #expect(try await pieces(stage) == 1, "of the newer file")
        }
    }

    @Test("and accounts keep their marks when the ring changes", arguments: Store.allCases)
    func rotation(store: Store) async throws {
        let stage = try await Stage(store)
        let (session, _) = try await stage.createSession(stage.createCustomer())
        let file = try await give(Self.contents, at: begin(stage, session), of: session, stage)
        let (world, ring) = (stage.world, stage.ring)
        let before = try await stage.database.write { try MarkKey.marker(in: $0, world, ring).mark("12345678") }
        #expect(before.count == 16 && !before.contains("12345678"))
        let new = KeyRing.generate()
        let both = try KeyRing(text: new + "7:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=")
        _ = try await Resealing(stage.database, both).run()
        let alone = try KeyRing(text: new)
        let after = try await stage.database.write { try MarkKey.marker(in: $0, world, alone).mark("12345678") }
        #expect(after == before)
        #expect(try await file.bytes(from: 0, stage.database, alone) == Array(Self.contents[..<UploadedFile.pieceSize]))
        await #expect(throws: VaultError.self) { try await file.bytes(from: 0, stage.database, ring) }
    }
}
