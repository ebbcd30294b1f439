/// SQLite, through GRDB: many readers, one writer with group commit.
///
/// Writes that arrive while another is being committed are put into one transaction, each under a savepoint of its
/// own, and share one `fsync`; each caller is answered after the commit, so durability costs a loaded server little and
/// a lone request no wait. `synchronous` is FULL: GRDB's pool sets NORMAL when it opens, under which a power cut can
/// undo commits that were acknowledged, so it is set again afterwards and asserted.

internal import Dispatch
internal import GRDB
internal import Logging
internal import Synchronization

final class SQLiteDriver: Sendable {
    static let tokens: [(token: String, meaning: String)] = [
        ("{int}", "INTEGER"), ("{bytes}", "BLOB"), ("{key}", "TEXT"), ("{strict}", "STRICT"), ("{skipLocked}", ""),
    ]
    /// The most writes that wait; the next one is refused.
    private static let queueCapacity = 8192
    /// The most writes of one commit, so that the first of them does not wait long for the last.
    private static let batchCapacity = 256

    private let engine: any DatabaseWriter
    private let logger: Logger
    private let queue = Mutex(WriteQueue())

    private struct WriteQueue {
        var waiting: [any PendingWrite] = []
        /// Whether a drain is under way; it looks at `waiting` again before it ends.
        var isDraining = false
        var isClosed = false
    }

    init(_ location: Database.Location, logger: Logger) throws {
        self.logger = logger
        var configuration = Configuration()
        configuration.maximumReaderCount = 8
        configuration.busyMode = .timeout(5)
        configuration.foreignKeysEnabled = true
        configuration.prepareDatabase { db in
            try db.execute(sql: "PRAGMA temp_store = MEMORY")
        }
        switch location {
        case .memory:
            engine = try DatabaseQueue(configuration: configuration)
        case .file(let path):
            engine = try DatabasePool(path: path, configuration: configuration)
            try requireDurability()
        }
    }

    private func requireDurability() throws {
        try engine.writeWithoutTransaction { db in
            try db.execute(sql: "PRAGMA synchronous = FULL")
            try db.execute(sql: "PRAGMA journal_size_limit = 67108864")
            let synchronous = try Int.fetchOne(db, sql: "PRAGMA synchronous")
            let journal = try String.fetchOne(db, sql: "PRAGMA journal_mode")
            guard synchronous == 2, journal == "wal" else {
                throw DatabaseError.unsafeSetting(
                    "SQLite runs with synchronous=\(synchronous ?? -1), journal_mode=\(journal ?? "?")"
                )
            }
        }
    }

    // MARK: Reading

    func read<T>(_ body: (Connection) throws -> T) throws -> T {
        try translated { try engine.read { db in try body(Connection(raw: db)) } }
    }

    func lookup<T>(_ body: (Connection) throws -> T) throws -> T {
        try translated { try engine.unsafeRead { db in try body(Connection(raw: db)) } }
    }

    func status() throws -> Database.Status {
        let schemaVersion = try lookup { try $0.first("SELECT COUNT(*) FROM migration") { try $0.int(0) } ?? 0 }
        let version = try lookup { try $0.first("SELECT sqlite_version()") { try $0.text(0) } ?? "?" }
        let synchronous = try translated {
            try engine.writeWithoutTransaction { try Int.fetchOne($0, sql: "PRAGMA synchronous") ?? -1 }
        }
        return Database.Status(
            engine: "SQLite \(version)",
            schemaVersion: Int(schemaVersion),
            synchronous: synchronous
        )
    }

    // MARK: Writing

    func write<T: Sendable>(_ body: @escaping @Sendable (Connection) throws -> T) async throws -> T {
        try await withCheckedThrowingContinuation { continuation in
            enqueue(Write(body: body, continuation: continuation))
        }
    }

    private func enqueue(_ write: any PendingWrite) {
        enum Outcome { case refused(DatabaseError), start, joined }
        let outcome = queue.withLock { queue -> Outcome in
            guard !queue.isClosed else { return .refused(.closed) }
            guard queue.waiting.count < Self.queueCapacity else { return .refused(.busy) }
            queue.waiting.append(write)
            guard !queue.isDraining else { return .joined }
            queue.isDraining = true
            return .start
        }
        switch outcome {
        case .refused(let error): write.finish(failure: error)
        case .joined: break
        case .start: engine.asyncWriteWithoutTransaction { db in self.drain(db) }
        }
    }

    /// Commits batch after batch until nothing waits. Runs on the writer's own thread.
    private func drain(_ db: GRDB.Database) {
        while true {
            let batch = queue.withLock { queue -> [any PendingWrite] in
                let batch = Array(queue.waiting.prefix(Self.batchCapacity))
                queue.waiting.removeFirst(batch.count)
                if batch.isEmpty { queue.isDraining = false }
                return batch
            }
            if batch.isEmpty { return }
            do {
                try translated { try commit(batch, db) }
                for write in batch { write.finish(failure: nil) }
            } catch {
                logger.error("a commit failed", metadata: ["error": "\(error)", "writes": "\(batch.count)"])
                if db.isInsideTransaction { try? db.execute(sql: "ROLLBACK") }
                for write in batch { write.finish(failure: error) }
            }
        }
    }

    /// - Throws: where the transaction as a whole failed; then none of the batch is on disk.
    private func commit(_ batch: [any PendingWrite], _ db: GRDB.Database) throws {
        let connection = Connection(raw: db)
        try connection.execute("BEGIN IMMEDIATE")
        for write in batch {
            write.run(connection)
            // A fault such as a full disk makes SQLite roll back the whole transaction, earlier writes with it.
            guard db.isInsideTransaction else { throw write.failure ?? DatabaseError.storage("transaction ended") }
        }
        try connection.execute("COMMIT")
    }

    // MARK: Schema

    func migrate(_ migrations: [Migration]) throws {
        try translated {
            try engine.writeWithoutTransaction { db in
                let connection = Connection(raw: db)
                try connection.execute("BEGIN IMMEDIATE")
                do {
                    try apply(migrations, connection)
                    try connection.execute("COMMIT")
                } catch {
                    if db.isInsideTransaction { try connection.execute("ROLLBACK") }
                    throw error
                }
            }
        }
    }

    private func apply(_ migrations: [Migration], _ connection: Connection) throws {
        try connection.execute("CREATE TABLE IF NOT EXISTS migration (number {int} PRIMARY KEY) {strict}")
        let applied = Int(try connection.first("SELECT COUNT(*) FROM migration") { try $0.int(0) } ?? 0)
        guard applied <= migrations.count else {
            throw DatabaseError.newerSchema(found: applied, known: migrations.count)
        }
        for (number, migration) in migrations.enumerated().dropFirst(applied) {
            for statement in migration.statements { try connection.execute(statement) }
            try connection.execute("INSERT INTO migration (number) VALUES (\(number + 1))")
        }
    }

    // MARK: Ending

    func close() throws {
        queue.withLock { $0.isClosed = true }
        // Waits for the drain that may be under way: both run on the writer's thread.
        try engine.writeWithoutTransaction { db in
            if engine is DatabasePool { _ = try db.checkpoint(.truncate) }
        }
        try engine.close()
    }

    /// Says in our own words what the engine could not do; statements and binds stay out of the message.
    private func translated<T>(_ body: () throws -> T) throws -> T {
        do {
            return try body()
        } catch let error as GRDB.DatabaseError {
            switch error.resultCode {
            case .SQLITE_FULL, .SQLITE_IOERR, .SQLITE_READONLY, .SQLITE_CANTOPEN, .SQLITE_CORRUPT, .SQLITE_NOTADB:
                throw DatabaseError.storage("\(error.resultCode): \(error.message ?? "")")
            case .SQLITE_BUSY, .SQLITE_LOCKED:
                throw DatabaseError.busy
            default:
                throw error
            }
        }
    }
}

/// A write on its way through a batch: run inside the transaction, answered after the commit.
private protocol PendingWrite: AnyObject, Sendable {
    func run(_ connection: Connection)
    var failure: (any Error)? { get }
    /// - Parameter failure: why the batch was not committed, or nil where it was.
    func finish(failure: (any Error)?)
}

private final class Write<T: Sendable>: PendingWrite, @unchecked Sendable {
    private let body: @Sendable (Connection) throws -> T
    private let continuation: CheckedContinuation<T, any Error>
    // Touched by the writer's thread alone: set in `run`, read in `finish`.
    private var result: Result<T, any Error>?

    init(body: @escaping @Sendable (Connection) throws -> T, continuation: CheckedContinuation<T, any Error>) {
        self.body = body
        self.continuation = continuation
    }

    var failure: (any Error)? {
        if case .failure(let error) = result { return error }
        return nil
    }

    func run(_ connection: Connection) {
        result = Result { try connection.savepoint { try body(connection) } }
    }

    func finish(failure: (any Error)?) {
        if let failure {
            continuation.resume(throwing: failure)
        } else {
            continuation.resume(with: result ?? .failure(DatabaseError.closed))
        }
    }
}
