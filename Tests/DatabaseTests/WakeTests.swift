/// A hint comes after the commit of the write that gave it, to each who listens on its channel and to no other.

import Database
import Logging
import Testing

extension Wake {
    fileprivate static let first = Wake(rawValue: "first")
    fileprivate static let second = Wake(rawValue: "second")
}

@Suite("Wake-ups", .timeLimit(.minutes(5)))
struct WakeTests {
    private let folder: Folder

    init() throws { folder = try Folder() }

    private func open(_ store: Store) async throws -> Database {
        let location: Database.Location =
            switch store {
            case .memory: .memory
            case .file: .file(folder.path)
            case .postgres: .postgres(try await PostgresSchema.make())
            }
        return try open(location)
    }

    private func open(_ location: Database.Location) throws -> Database {
        let schema = Migration(["CREATE TABLE item (number {int} PRIMARY KEY) {strict}"])
        let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        return try Database(location, migrations: [schema], logger: quiet)
    }

    @Test("Each who listens is woken after the commit, and finds what was written", arguments: Store.allCases)
    func wakes(store: Store) async throws {
        let database = try await open(store)
        let streams = (0..<3).map { _ in database.wakes(.first) }
        try await database.write { db in
            try db.execute("INSERT INTO item (number) VALUES (1)")
            db.wake(.first)
        }
        for stream in streams {
            var hints = stream.makeAsyncIterator()
            #expect(await hints.next() != nil)
            #expect(try await database.lookup { try $0.first("SELECT number FROM item") { try $0.int(0) } } == 1)
        }
    }

    @Test("A hint reaches whoever listens in another process", .enabled(if: PostgresSchema.isAvailable))
    func acrossServers() async throws {
        let postgres = try await PostgresSchema.make()
        let (here, there) = (try open(.postgres(postgres)), try open(.postgres(postgres)))
        var hints = there.wakes(.first).makeAsyncIterator()
        // One comes when the connection that listens is there; what is told before may be lost.
        #expect(await hints.next() != nil)
        for number in 0..<3 {
            try await here.write { db in
                try db.execute("INSERT INTO item (number) VALUES (\(number))")
                db.wake(.first)
            }
            #expect(await hints.next() != nil)
            #expect(
                try await there.lookup { try $0.first("SELECT COUNT(*) FROM item") { try $0.int(0) } } ?? 0 > number
            )
        }
    }

    @Test("Hints that come while one waits are one, and another channel gets none")
    func one() async throws {
        let database = try open(Database.Location.memory)
        let (first, second) = (database.wakes(.first), database.wakes(.second))
        for _ in 0..<3 { try await database.write { $0.wake(.first) } }
        try database.close()
        // The end of the database ends the streams, so that what they held can be counted.
        var counts = [0, 0]
        for await _ in first { counts[0] += 1 }
        for await _ in second { counts[1] += 1 }
        #expect(counts == [1, 0])
        for await _ in database.wakes(.first) { Issue.record("a hint of a closed database") }
    }
}
