/// What PostgreSQL adds: several processes write one database as if each were alone, a connection that is lost is made
/// again, and a server that will not do is refused with the reason.

import Database
import Dispatch
import Logging
import Testing

private let schema = Migration([
    "CREATE TABLE item (number {int} PRIMARY KEY, name {key}) {strict}", "CREATE INDEX item_by_name ON item (name)",
])
private let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

@Suite("PostgreSQL", .enabled(if: PostgresSchema.isAvailable), .timeLimit(.minutes(5)))
struct PostgresTests {
    private func open(_ postgres: Postgres, _ migrations: [Migration] = [schema]) throws -> Database {
        try Database(.postgres(postgres), migrations: migrations, logger: quiet)
    }

    // MARK: Writing together

    @Test("What two read and then write is as if one had come after the other")
    func serializable() async throws {
        let postgres = try await PostgresSchema.make(connections: 4)
        let databases = [try open(postgres), try open(postgres)]
        _ = try await databases[0].write { try $0.execute("INSERT INTO item (number, name) VALUES (0, \("0"))") }
        let runs = Count()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<100 {
                group.addTask {
                    try await databases[number % 2].write { db in
                        _ = runs.next()
                        let before = try db.first("SELECT name FROM item WHERE number = 0") { try $0.text(0) } ?? ""
                        let after = "\((Int(before) ?? 0) + 1)"
                        try db.execute("UPDATE item SET name = \(after) WHERE number = 0")
                    }
                }
            }
            try await group.waitForAll()
        }
        let name = try await databases[0].read { try $0.first("SELECT name FROM item") { try $0.text(0) } }
        #expect(name == "100")
        #expect(runs.next() > 101)
    }

    @Test("A rule over several rows holds, whoever writes: at most one of two is there")
    func writeSkew() async throws {
        let postgres = try await PostgresSchema.make(connections: 4)
        let databases = [try open(postgres), try open(postgres)]
        for round in 0..<20 {
            try await withThrowingTaskGroup(of: Void.self) { group in
                for side in 0..<2 {
                    group.addTask {
                        try await databases[side].write { db in
                            let (own, other) = (round * 2 + side, round * 2 + 1 - side)
                            let isTaken = try db.first("SELECT 1 FROM item WHERE number = \(other)") { try $0.int(0) }
                            if isTaken == nil { try db.execute("INSERT INTO item (number) VALUES (\(own))") }
                        }
                    }
                }
                try await group.waitForAll()
            }
        }
        #expect(try await databases[0].read { try $0.first("SELECT COUNT(*) FROM item") { try $0.int(0) } } == 20)
    }

    @Test("A look for a row and its insert, by many at once, make one row and no error")
    func findOrMake() async throws {
        let postgres = try await PostgresSchema.make(connections: 4)
        let databases = [try open(postgres), try open(postgres)]
        let made = try await withThrowingTaskGroup(of: Bool.self) { group in
            for number in 0..<60 {
                group.addTask {
                    try await databases[number % 2].write { db in
                        let known = try db.first("SELECT 1 FROM item WHERE number = 7") { try $0.int(0) }
                        if known != nil { return false }
                        try db.execute("INSERT INTO item (number) VALUES (7)")
                        return true
                    }
                }
            }
            return try await group.reduce(0) { $0 + ($1 ? 1 : 0) }
        }
        #expect(made == 1)
    }

    @Test("A read of several statements sees one state")
    func snapshot() async throws {
        let postgres = try await PostgresSchema.make(connections: 2)
        let (reader, writer) = (try open(postgres), try open(postgres))
        let (begun, written) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
        async let counts = reader.read { db in
            let before = try db.first("SELECT COUNT(*) FROM item") { try $0.int(0) }
            begun.signal()
            #expect(written.wait(timeout: .now() + 30) == .success)
            return (before, try db.first("SELECT COUNT(*) FROM item") { try $0.int(0) })
        }
        await withCheckedContinuation { continuation in
            DispatchQueue.global().async {
                #expect(begun.wait(timeout: .now() + 30) == .success)
                continuation.resume()
            }
        }
        _ = try await writer.write { try $0.execute("INSERT INTO item (number) VALUES (1)") }
        written.signal()
        let (before, after) = try await counts
        #expect(before == 0 && after == 0)
        #expect(try await reader.lookup { try $0.first("SELECT COUNT(*) FROM item") { try $0.int(0) } } == 1)
    }

    @Test("A look-up cannot write")
    func readOnly() async throws {
        let database = try await open(PostgresSchema.make())
        await #expect(throws: (any Error).self) {
            try await database.lookup { try $0.execute("INSERT INTO item (number) VALUES (1)") }
        }
    }

    @Test("A write whose failed statement was swallowed is not committed by halves")
    func swallowed() async throws {
        let database = try await open(PostgresSchema.make())
        await #expect(throws: (any Error).self) {
            try await database.write { db in
                try db.execute("INSERT INTO item (number) VALUES (1)")
                _ = try? db.execute("INSERT INTO nowhere VALUES (1)")
            }
        }
        #expect(try await database.read { try $0.first("SELECT COUNT(*) FROM item") { try $0.int(0) } } == 0)
    }

    @Test("Keys sort by their bytes, and a question mark in a text is no bind")
    func bytes() async throws {
        let database = try await open(PostgresSchema.make())
        try await database.write { db in
            for (number, name) in ["b", "B", "a", "_", "Z"].enumerated() {
                try db.execute("INSERT INTO item (number, name) VALUES (\(number), \(name))")
            }
        }
        let names = try await database.read { db in
            try db.all("SELECT name FROM item WHERE name <> '?' AND number < \(10) ORDER BY name") { try $0.text(0) }
        }
        #expect(names == ["B", "Z", "_", "a", "b"])
    }

    // MARK: Faults

    @Test("Connections that the server ends are made again, and nothing of it is seen")
    func reconnect() async throws {
        let postgres = try await PostgresSchema.make(connections: 2)
        let (database, other) = (try open(postgres), try open(postgres))
        for number in 0..<5 {
            let own = try await database.lookup { db in
                try db.all("SELECT pg_backend_pid()") { try $0.int(0) }
            }
            try await other.write { db in
                for process in own { try db.first("SELECT pg_terminate_backend(\(process)::INTEGER)") { _ in } }
            }
            _ = try await database.write { try $0.execute("INSERT INTO item (number) VALUES (\(number))") }
            let count = try await database.read { try $0.first("SELECT COUNT(*) FROM item") { Int(try $0.int(0)) } }
            #expect(count == number + 1)
        }
    }

    @Test("What runs when the database is closed is finished, and what comes later is refused")
    func close() async throws {
        let database = try await open(PostgresSchema.make())
        let started = DispatchSemaphore(value: 0)
        async let slow = database.write { db in
            started.signal()
            try db.first("SELECT pg_sleep(0.3)") { _ in }
            return try db.execute("INSERT INTO item (number) VALUES (1)")
        }
        await withCheckedContinuation { continuation in
            DispatchQueue.global().async {
                started.wait()
                continuation.resume()
            }
        }
        try database.close()
        #expect(try await slow == 1)
        await #expect(throws: DatabaseError.closed) { try await database.read { _ in } }
    }

    // MARK: Schema

    @Test("Many that start at once bring the schema up to date once")
    func migrateTogether() async throws {
        let postgres = try await PostgresSchema.make(connections: 1)
        let steps = [schema] + (0..<5).map { Migration(["INSERT INTO item (number) VALUES (\($0))"]) }
        let versions = try await withThrowingTaskGroup(of: Int.self) { group in
            for _ in 0..<8 { group.addTask { try await open(postgres, steps).status().schemaVersion } }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(versions == Array(repeating: 6, count: 8))
        let count = try await open(postgres, steps).read { try $0.first("SELECT COUNT(*) FROM item") { try $0.int(0) } }
        #expect(count == 5)
    }

    @Test("A step that fails leaves the schema as it was, and a newer one is refused")
    func migrations() async throws {
        let postgres = try await PostgresSchema.make(connections: 1)
        let bad = Migration(["INSERT INTO item (number) VALUES (1)", "INSERT INTO nowhere VALUES (1)"])
        #expect(throws: (any Error).self) { try open(postgres, [schema, bad]) }
        let database = try open(postgres)
        #expect(try await database.status().schemaVersion == 1)
        #expect(try await database.status().engine.hasPrefix("PostgreSQL "))
        try open(postgres, [schema, Migration([])]).close()
        #expect(throws: DatabaseError.newerSchema(found: 2, known: 1)) { try open(postgres) }
    }

    @Test(
        "An address that is none is refused before anything is asked",
        arguments: [
            "", "localhost/name", "mysql://localhost/name", "postgres://user:pa@ss@localhost/name", "postgres://a b/c",
        ]
    )
    func addresses(url: String) {
        #expect(throws: DatabaseError.badAddress) { try Postgres(url: url) }
    }

    @Test("The place of an address has no user and no password")
    func place() throws {
        #expect(try Postgres(url: "postgres://me:secret@db:5433/name?sslmode=require").place == "db:5433/name")
        #expect(try Postgres(url: "postgresql://").place == "localhost")
        #expect(throws: DatabaseError.badAddress) {
            try open(Postgres(url: "postgres://me:secret%zz@127.0.0.1:1/name"))
        }
        #expect(throws: DatabaseError.badAddress) { try open(Postgres(url: "postgres://127.0.0.1:1/name?colour=red")) }
    }

    @Test("A server that is not there is said to be out of reach")
    func unreachable() throws {
        do {
            _ = try open(Postgres(url: "postgres://me:secret@127.0.0.1:1/name"))
            Issue.record("there is a server at port 1")
        } catch DatabaseError.unreachable(let reason) {
            #expect(reason.contains("127.0.0.1"))
            #expect(!reason.contains("secret"))
        }
    }
}
