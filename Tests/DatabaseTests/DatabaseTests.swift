/// One closure is one transaction: all of it stays or nothing, whatever is written beside it, and what was
/// acknowledged is there after the file is opened again.

import Database
import Dispatch
import Foundation
import Logging
import Synchronization
import Testing

private struct Refusal: Error, Equatable {
    var number = 0
}

private let schema = Migration(["CREATE TABLE item (number {int} PRIMARY KEY, name TEXT, data {bytes}) {strict}"])
private let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

/// The number of the refusal that `body` throws.
private func refusal(_ body: () throws -> Void) -> Int? {
    do { try body() } catch { return (error as? Refusal)?.number }
    return nil
}

extension Connection {
    fileprivate func insert(_ number: Int, _ name: String? = nil) throws {
        try execute("INSERT INTO item (number, name) VALUES (\(number), \(name))")
    }

    fileprivate func numbers() throws -> [Int64] {
        try all("SELECT number FROM item ORDER BY number") { try $0.int(0) }
    }
}

enum Store: Sendable, CaseIterable {
    case memory, file, postgres

    static var allCases: [Store] { PostgresSchema.isAvailable ? [.memory, .file, .postgres] : [.memory, .file] }
}

/// Counts from 1.
final class Count: Sendable {
    private let count = Atomic<Int>(0)

    func next() -> Int { count.add(1, ordering: .relaxed).newValue }
}

/// Each test has a folder of its own.
@Suite("Database")
struct DatabaseTests {
    private let folder: Folder

    init() throws { folder = try Folder() }

    private func open(_ migrations: [Migration] = [schema]) throws -> Database {
        try Database(.file(folder.path), migrations: migrations, logger: quiet)
    }

    private func open(_ store: Store) async throws -> Database {
        switch store {
        case .memory: return try Database(.memory, migrations: [schema], logger: quiet)
        case .file: return try open()
        case .postgres:
            return try await Database(.postgres(PostgresSchema.make()), migrations: [schema], logger: quiet)
        }
    }

    // MARK: Rows

    @Test("A database keeps every type, and says where a column is not what was asked for", arguments: Store.allCases)
    func types(store: Store) async throws {
        let database = try await open(store)
        let evil = "'; DROP TABLE item; -- \u{1F3E6}"
        let bytes: [UInt8] = [0, 255, 39]
        try await database.write { db in
            let changed = try db.execute(
                "INSERT INTO item VALUES (\(Int64.max), \(evil), \(bytes)), (\(1), NULL, NULL)"
            )
            #expect(changed == 2)
        }
        try await database.read { db in
            let row = try db.first("SELECT name, data FROM item WHERE number = \(Int64.max) AND name = \(evil)") {
                (try $0.text(0), try $0.bytes(1))
            }
            #expect(row?.0 == evil)
            #expect(row?.1 == bytes)
            try db.first("SELECT name, data, number FROM item WHERE number = 1") { row in
                #expect(row.optionalText(0) == nil && row.optionalBytes(1) == nil && row.optionalInt(2) == 1)
                let isOne = try row.bool(2)
                #expect(isOne)
                #expect(throws: DatabaseError.unexpectedValue(column: 0)) { try row.text(0) }
                #expect(throws: DatabaseError.unexpectedValue(column: 1)) { try row.bytes(1) }
            }
            #expect(try db.first("SELECT number FROM item WHERE number = 5") { try $0.int(0) } == nil)
        }
    }

    // MARK: Transactions

    @Test("A write is all or nothing", arguments: Store.allCases)
    func atomic(store: Store) async throws {
        let database = try await open(store)
        try await database.write { try $0.insert(1) }
        await #expect(throws: Refusal()) {
            try await database.write { db in
                try db.insert(2)
                try db.execute("DELETE FROM item WHERE number = 1")
                throw Refusal()
            }
        }
        // The statement itself fails, after another took effect.
        await #expect(throws: (any Error).self) {
            try await database.write { db in
                try db.insert(3)
                try db.insert(3)
            }
        }
        #expect(try await database.read { try $0.numbers() } == [1])
    }

    @Test("A write is read as soon as it returned", arguments: Store.allCases)
    func readYourWrite(store: Store) async throws {
        let database = try await open(store)
        for number in 0..<200 {
            let counted = try await database.write { db in
                try db.insert(number)
                return try db.numbers().count
            }
            #expect(counted == number + 1)
            #expect(try await database.read { try $0.numbers().count } == number + 1)
            #expect(try await database.lookup { try $0.numbers().count } == number + 1)
        }
    }

    @Test("A read cannot write", arguments: Store.allCases)
    func readOnly(store: Store) async throws {
        let database = try await open(store)
        await #expect(throws: (any Error).self) { try await database.read { try $0.insert(1) } }
        #expect(try await database.read { try $0.numbers() } == [])
    }

    @Test("Writes that fail undo none of those committed with them", arguments: Store.allCases)
    func failuresAmongOthers(store: Store) async throws {
        let database = try await open(store)
        let refused = await withTaskGroup(of: Int?.self) { group in
            for number in 0..<600 {
                group.addTask {
                    do {
                        try await database.write { db in
                            try db.insert(number)
                            if number % 3 == 0 { throw Refusal(number: number) }
                            if number % 7 == 0 { try db.insert(number) }
                        }
                        return nil
                    } catch let error as Refusal {
                        #expect(error.number == number)
                        return number
                    } catch {
                        return number
                    }
                }
            }
            return await group.reduce(into: Set<Int>()) { failed, number in
                if let number { failed.insert(number) }
            }
        }
        let expected = Set((0..<600).filter { $0 % 3 == 0 || $0 % 7 == 0 })
        #expect(refused == expected)
        let kept = try await database.read { try $0.numbers() }
        #expect(kept == (0..<600).filter { !expected.contains($0) }.map(Int64.init))
    }

    @Test("A savepoint undoes its part alone, and what it returns comes back", arguments: Store.allCases)
    func savepoint(store: Store) async throws {
        let database = try await open(store)
        let said = try await database.write { db in
            try db.insert(1)
            var said = [
                refusal {
                    try db.savepoint {
                        try db.insert(2)
                        let inner = try db.savepoint {
                            try db.insert(3)
                            return 3
                        }
                        throw Refusal(number: inner)
                    }
                }
            ]
            try db.savepoint {
                try db.insert(4)
                said.append(
                    refusal {
                        try db.savepoint {
                            try db.insert(5)
                            throw Refusal(number: 5)
                        }
                    }
                )
            }
            return said
        }
        #expect(said == [3, 5])
        #expect(try await database.read { try $0.numbers() } == [1, 4])
    }

    // MARK: Durability

    @Test("A file is written with synchronous FULL")
    func synchronous() async throws {
        let status = try await open().status()
        #expect(status.synchronous == 2)
        #expect(status.schemaVersion == 1)
        #expect(status.engine.hasPrefix("SQLite 3."))
    }

    @Test("A thousand writes at once are all there after the file is opened again")
    func manyWrites() async throws {
        let database = try open()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<1000 { group.addTask { try await database.write { try $0.insert(number) } } }
            try await group.waitForAll()
        }
        try database.close()
        let again = try open()
        #expect(try await again.read { try $0.numbers() } == (0..<1000).map(Int64.init))
    }

    @Test("Writes that wait for another share their commits")
    func groupCommit() async throws {
        let database = try open()
        let before = try folder.commits()
        let gate = DispatchSemaphore(value: 0)
        let asked = Count()
        let writes = 200
        try await withThrowingTaskGroup(of: Void.self) { group in
            // Holds the writer until the others were asked for; the last of them opens the gate.
            group.addTask {
                try await database.write { db in
                    #expect(gate.wait(timeout: .now() + 60) == .success)
                    try db.insert(writes)
                }
            }
            for number in 0..<writes {
                group.addTask {
                    if asked.next() == writes { gate.signal() }
                    try await database.write { try $0.insert(number) }
                }
            }
            try await group.waitForAll()
        }
        #expect(try await database.read { try $0.numbers().count } == writes + 1)
        let commits = try folder.commits() - before
        #expect(commits >= 1)
        #expect(commits < writes / 2)
    }

    @Test("Writes that come while another runs go along with it, and one that fails undoes none of the others")
    func joined() async throws {
        let database = try open()
        let before = try folder.commits()
        let asked = Count()
        let others = Mutex<[Task<Void, any Error>]>([])
        try await database.write { db in
            try db.insert(0)
            // It is run a second time, because one of the others fails.
            guard asked.next() == 1 else { return }
            for number in 1...5 {
                // Begins at once, and so waits for the writer before this write goes on.
                let other = Task.immediate {
                    try await database.write { db in
                        try db.insert(number)
                        if number == 3 { throw Refusal(number: number) }
                    }
                }
                others.withLock { $0.append(other) }
            }
        }
        let ends = others.withLock { $0 }
        for (index, other) in ends.enumerated() {
            let result = await other.result
            #expect(refusal { try result.get() } == (index == 2 ? 3 : nil))
        }
        #expect(try await database.read { try $0.numbers() } == [0, 1, 2, 4, 5])
        #expect(try folder.commits() - before == 1)
    }

    @Test("The log is folded into the file while writes go on, and stays within its bound")
    func checkpoints() async throws {
        let database = try open()
        let count = 160
        for number in 0..<count {
            try await database.write { db in
                let data = [UInt8](repeating: UInt8(number), count: 1 << 20)
                try db.execute("INSERT INTO item (number, data) VALUES (\(number), \(data))")
            }
        }
        let log = try FileManager.default.attributesOfItem(atPath: folder.path + "-wal")[.size] as? Int
        #expect(try #require(log) < 80 << 20)
        try database.close()
        let sizes = try await open().read { db in
            try db.all("SELECT length(data) FROM item") { try $0.int(0) }
        }
        #expect(sizes == Array(repeating: 1 << 20, count: count))
    }

    @Test("A closed database takes no write, and left no log behind")
    func closed() async throws {
        let database = try open()
        try await database.write { try $0.insert(1) }
        try database.close()
        await #expect(throws: DatabaseError.closed) { try await database.write { try $0.insert(2) } }
        #expect(try folder.commits() == 0)
        #expect(try await open().read { try $0.numbers() } == [1])
    }

    // MARK: Schema

    @Test("A step of the schema is applied once, and a later one is added")
    func migrations() async throws {
        let seeded = Migration(["INSERT INTO item (number) VALUES (1)"])
        let first = try open([schema, seeded])
        #expect(try await first.status().schemaVersion == 2)
        try first.close()
        let second = try open([schema, seeded])
        #expect(try await second.read { try $0.numbers() } == [1])
        try second.close()
        let third = try open([schema, seeded, Migration(["INSERT INTO item (number) VALUES (2)"])])
        #expect(try await third.read { try $0.numbers() } == [1, 2])
        #expect(try await third.status().schemaVersion == 3)
    }

    @Test("A step that fails leaves the schema as it was")
    func failingMigration() async throws {
        try open().close()
        let bad = Migration(["INSERT INTO item (number) VALUES (1)", "INSERT INTO nowhere VALUES (1)"])
        #expect(throws: (any Error).self) { try open([schema, bad]) }
        let again = try open()
        #expect(try await again.status().schemaVersion == 1)
        #expect(try await again.read { try $0.numbers() } == [])
    }

    @Test("A file of a newer version is refused")
    func newerSchema() throws {
        try open([schema, Migration([])]).close()
        #expect(throws: DatabaseError.newerSchema(found: 2, known: 1)) { try open() }
    }

    @Test("A file that is no database is refused")
    func noDatabase() throws {
        try folder.write("This is no database, and long enough to tell. " + String(repeating: "x", count: 5000))
        #expect(throws: (any Error).self) { try open() }
    }
}
