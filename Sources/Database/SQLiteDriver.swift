/// SQLite: many readers, one writer with group commit.
///
/// Writes that arrive while another is being committed are put into one transaction and share one `fsync`; each caller
/// is answered after the commit, so durability costs a loaded server little and a lone request no wait. `synchronous`
/// is FULL, and the driver does not start without it: under NORMAL a power cut can undo commits that were acknowledged.
/// Reads run where they are asked for, on a connection of the pool: most take a few microseconds, less than going to
/// another thread would.

internal import CSQLite
internal import Dispatch
internal import Foundation
internal import Logging
internal import Synchronization

final class SQLiteDriver: Sendable {
    /// The most writes that wait; the next one is refused.
    private static let queueCapacity = 8192
    /// The most writes of one commit, so that the first of them does not wait long for the last.
    private static let batchCapacity = 256

    /// What the writing connection's `synchronous` is: 2, FULL, or nil in memory.
    let synchronous: Int?
    let listeners = Listeners()
    /// Nil in memory, where the writer is the only connection.
    private let path: String?
    private let checkpointer: SQLiteCheckpointer?
    private let logger: Logger
    private let thread = DispatchQueue(label: "linkspan.database.writer")
    private let queue = Mutex(WriteQueue())
    private let readers = Mutex(Readers())
    /// Guards `writer`, which in memory readers use too.
    private let lock = NSLock()
    nonisolated(unsafe) private var writer: SQLiteSession?

    private struct WriteQueue {
        var waiting: [any PendingWrite] = []
        /// Whether a drain is under way; it looks at `waiting` again before it ends.
        var isDraining = false
        var isClosed = false

        mutating func take(_ limit: Int) -> ArraySlice<any PendingWrite> {
            let taken = waiting.prefix(limit)
            waiting.removeFirst(taken.count)
            return taken
        }
    }

    private struct Readers {
        var idle: [SQLiteSession] = []
        var isClosed = false
    }

    /// - Parameter path: the file, or nil for a database in memory.
    init(path: String?, migrations: [Migration], logger: Logger) throws {
        self.logger = logger
        self.path = path
        checkpointer = path.map { SQLiteCheckpointer(path: $0, logger: logger) }
        synchronous = path == nil ? nil : 2
        writer = try Self.translating {
            let session = try SQLiteSession(path: path ?? ":memory:")
            if path != nil { try Self.requireDurability(session) }
            return session
        }
        try migrate(migrations)
    }

    private static func requireDurability(_ session: SQLiteSession) throws {
        let journal = try session.value("PRAGMA journal_mode = WAL")
        try session.execute("PRAGMA synchronous = FULL")
        try session.query("PRAGMA journal_size_limit = 67108864") { _ in true }
        session.leaveCheckpoints()
        let synchronous = try session.value("PRAGMA synchronous")
        guard synchronous == "2", journal == "wal" else {
            throw DatabaseError.unsafeSetting(
                "SQLite runs with synchronous=\(synchronous ?? "?"), journal_mode=\(journal ?? "?")"
            )
        }
    }

    /// The engine's name with its version.
    var engine: String { "SQLite \(String(cString: sqlite3_libversion()))" }

    // MARK: Reading

    func read<T>(_ body: (Connection) throws -> T) throws -> T {
        try withReader { session in
            try session.execute("BEGIN")
            defer { if session.isInTransaction { _ = try? session.execute("COMMIT") } }
            return try body(Connection(session))
        }
    }

    func lookup<T>(_ body: (Connection) throws -> T) throws -> T {
        try withReader { session in try body(Connection(session)) }
    }

    private func withReader<T>(_ body: (SQLiteSession) throws -> T) throws -> T {
        guard let path else {
            return try withWriter { session in
                try Self.translating {
                    try session.setReadOnly(true)
                    defer { try? session.setReadOnly(false) }
                    return try body(session)
                }
            }
        }
        let idle = try readers.withLock { readers -> SQLiteSession? in
            guard !readers.isClosed else { throw DatabaseError.closed }
            return readers.idle.popLast()
        }
        return try Self.translating {
            let session = try idle ?? openReader(path)
            defer { readers.withLock { if !$0.isClosed { $0.idle.append(session) } } }
            return try body(session)
        }
    }

    private func openReader(_ path: String) throws -> SQLiteSession {
        let session = try SQLiteSession(path: path)
        try session.setReadOnly(true)
        return session
    }

    private func withWriter<T>(_ body: (SQLiteSession) throws -> T) throws -> T {
        try lock.withLock {
            guard let writer else { throw DatabaseError.closed }
            return try body(writer)
        }
    }

    // MARK: Writing

    func write<T: Sendable>(_ body: @escaping @Sendable (Connection) throws -> T) async throws -> T {
        // Each write that is enqueued is finished once, whatever becomes of it.
        try await withUnsafeThrowingContinuation { continuation in
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
        case .start: thread.async { self.drain() }
        }
    }

    /// Commits batch after batch until nothing waits.
    private func drain() {
        while true {
            var batch = queue.withLock { queue in
                if queue.waiting.isEmpty { queue.isDraining = false }
                return queue.take(Self.batchCapacity)
            }
            if batch.isEmpty { return }
            var failure: (any Error)?
            do {
                try withWriter { session in
                    do {
                        try Self.translating { try commit(&batch, session) }
                    } catch {
                        if session.isInTransaction { _ = try? session.execute("ROLLBACK") }
                        throw error
                    }
                }
            } catch {
                failure = error
                logger.error("a commit failed", metadata: ["error": "\(error)", "writes": "\(batch.count)"])
            }
            for write in batch { write.finish(failure: failure) }
            if failure == nil { try? withWriter { session in checkpointer?.committed(session) } }
        }
    }

    /// Runs the batch in one transaction. Only where one of its writes fails is it run again with a savepoint around
    /// each: savepoints cost a copy of every page that is changed, and most batches need none.
    /// - Throws: where the transaction as a whole failed; then none of the batch is on disk.
    /// - Parameter batch: what came while it ran goes along and is appended.
    private func commit(_ batch: inout ArraySlice<any PendingWrite>, _ session: SQLiteSession) throws {
        let connection = Connection(session)
        session.wakes = []
        try session.execute("BEGIN IMMEDIATE")
        var next = batch
        var isGood = true
        while isGood && !next.isEmpty {
            isGood = next.allSatisfy { $0.run(connection) }
            next = queue.withLock { $0.take(isGood ? Self.batchCapacity - batch.count : 0) }
            batch += next
        }
        if !isGood {
            if session.isInTransaction { try session.execute("ROLLBACK") }
            try session.execute("BEGIN IMMEDIATE")
            for write in batch {
                write.runAlone(connection)
                // A fault such as a full disk makes SQLite roll back the whole transaction, earlier writes with it.
                guard session.isInTransaction else { throw write.failure ?? DatabaseError.storage("transaction ended") }
            }
        }
        try session.execute("COMMIT")
        listeners.wake(session.wakes)
    }

    // MARK: Schema and end

    private func migrate(_ migrations: [Migration]) throws {
        try withWriter { session in
            try Self.translating {
                try session.execute("BEGIN IMMEDIATE")
                do {
                    try Migration.apply(migrations, Connection(session))
                    try session.execute("COMMIT")
                } catch {
                    if session.isInTransaction { try session.execute("ROLLBACK") }
                    throw error
                }
            }
        }
    }

    /// Finishes the writes that were accepted and closes every connection. A second time it does nothing.
    func close() throws {
        queue.withLock { $0.isClosed = true }
        thread.sync { drain() }
        listeners.close()
        readers.withLock { readers in
            readers.isClosed = true
            readers.idle = []
        }
        try lock.withLock {
            defer { writer = nil }
            checkpointer?.close()
            if path != nil { try Self.translating { try writer?.checkpoint(.truncate) } }
        }
    }

    /// Says in our own words what the engine could not do.
    static func translating<T>(_ body: () throws -> T) throws -> T {
        do {
            return try body()
        } catch let error as SQLiteError {
            throw error.translated
        }
    }
}

/// A write on its way through a batch: run inside the transaction, answered after the commit.
private protocol PendingWrite: AnyObject, Sendable {
    /// - Returns: whether it succeeded; where it did not, what it wrote is still there.
    func run(_ connection: Connection) -> Bool
    /// Runs it so that what it wrote is undone where it fails.
    func runAlone(_ connection: Connection)
    var failure: (any Error)? { get }
    /// - Parameter failure: why the batch was not committed, or nil where it was.
    func finish(failure: (any Error)?)
}

private final class Write<T: Sendable>: PendingWrite, @unchecked Sendable {
    private let body: @Sendable (Connection) throws -> T
    private let continuation: UnsafeContinuation<T, any Error>
    // Touched by the writer's thread alone: set by a run, read in `finish`.
    private var result: Result<T, any Error>?

    init(body: @escaping @Sendable (Connection) throws -> T, continuation: UnsafeContinuation<T, any Error>) {
        self.body = body
        self.continuation = continuation
    }

    var failure: (any Error)? {
        if case .failure(let error) = result { return error }
        return nil
    }

    func run(_ connection: Connection) -> Bool {
        result = Result { try SQLiteDriver.translating { try body(connection) } }
        return failure == nil
    }

    func runAlone(_ connection: Connection) {
        result = Result { try SQLiteDriver.translating { try connection.savepoint { try body(connection) } } }
    }

    func finish(failure: (any Error)?) {
        if let failure {
            continuation.resume(throwing: failure)
        } else {
            continuation.resume(with: result ?? .failure(DatabaseError.closed))
        }
    }
}
