/// Runs statements on a database, knowing no word of what they are about.
///
/// One closure is one transaction. `read` sees one consistent state; `write` is all or nothing, and when it returns
/// the change is on disk. A closure cannot `await`, so no transaction is ever held across a network call; it may be run
/// more than once, so it must do nothing but database work.

public import Logging

public final class Database: Sendable {
    private let driver: SQLiteDriver

    /// Opens a database, made where there is none, and brings its schema up to date.
    /// - Throws: ``DatabaseError/newerSchema(found:known:)`` where a newer version of the program wrote it.
    public init(_ location: Location, migrations: [Migration], logger: Logger) throws {
        driver = try SQLiteDriver(location, logger: logger)
        try driver.migrate(migrations)
    }

    public enum Location: Sendable {
        /// A file of SQLite, with its `-wal` and `-shm` beside it.
        case file(String)
        /// SQLite in memory: gone when the last reference is.
        case memory
    }

    /// Runs `body` in a read transaction.
    public func read<T: Sendable>(_ body: @Sendable (Connection) throws -> T) async throws -> T {
        try driver.read(body)
    }

    /// Runs a single query, outside of any transaction: cheaper than ``read(_:)``, and just as consistent as long as
    /// `body` runs one statement alone.
    public func lookup<T: Sendable>(_ body: @Sendable (Connection) throws -> T) async throws -> T {
        try driver.lookup(body)
    }

    /// Runs `body` in a write transaction, one at a time with all others, and returns once it is on disk. Where `body`
    /// throws, nothing of it stays.
    /// - Throws: what `body` threw; ``DatabaseError/busy`` where too many writes are waiting.
    public func write<T: Sendable>(_ body: @escaping @Sendable (Connection) throws -> T) async throws -> T {
        try await driver.write(body)
    }

    /// What a health check and `doctor` say of the database.
    public func status() async throws -> Status {
        try driver.status()
    }

    /// Ends all work: writes that were accepted are finished, the write-ahead log is folded into the file.
    public func close() throws {
        try driver.close()
    }

    public struct Status: Sendable {
        /// The engine with its version, such as `SQLite 3.40.1`.
        public let engine: String
        public let schemaVersion: Int
        /// SQLite's `synchronous` of the writing connection; 2 is FULL.
        public let synchronous: Int
    }
}

/// One step of the schema. The list is append-only: a step that was released never changes.
public struct Migration: Sendable {
    public let statements: [SQL]

    public init(_ statements: [SQL]) {
        self.statements = statements
    }
}

public enum DatabaseError: Error, Equatable {
    /// A column held null or a type that the reader did not ask for.
    case unexpectedValue(column: Int)
    /// More writes are waiting than the queue takes; the caller may come again.
    case busy
    /// The file was written by a newer version of the program.
    case newerSchema(found: Int, known: Int)
    /// The engine does not promise what was asked of it.
    case unsafeSetting(String)
    /// The disk is full, cannot be written, or failed.
    case storage(String)
    case closed
}
