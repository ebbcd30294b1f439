/// Runs statements on a database, knowing no word of what they are about.
///
/// One closure is one transaction. `read` sees one consistent state; `write` is all or nothing, and when it returns
/// the change is on disk. A closure cannot `await`, so no transaction is ever held across a network call; it may be run
/// more than once, so it must do nothing but database work.

public import Logging

public final class Database: Sendable {
    private let driver: Driver

    private enum Driver {
        case sqlite(SQLiteDriver)
        #if Postgres
            case postgres(PostgresDriver)
        #endif
    }

    /// Opens a database and brings its schema up to date. A file is made where there is none.
    /// - Throws: ``DatabaseError/newerSchema(found:known:)`` where a newer version of the program wrote it.
    public init(_ location: Location, migrations: [Migration], logger: Logger) throws {
        switch location {
        case .file(let path): driver = .sqlite(try SQLiteDriver(path: path, migrations: migrations, logger: logger))
        case .memory: driver = .sqlite(try SQLiteDriver(path: nil, migrations: migrations, logger: logger))
        case .postgres(let postgres):
            #if Postgres
                driver = .postgres(try PostgresDriver(postgres, migrations: migrations, logger: logger))
            #else
                throw DatabaseError.notBuilt("PostgreSQL")
            #endif
        }
    }

    deinit {
        #if Postgres
            if case .postgres(let driver) = driver { driver.abandon() }
        #endif
    }

    public enum Location: Sendable {
        /// A file of SQLite, with its `-wal` and `-shm` beside it.
        case file(String)
        /// SQLite in memory: gone when the last reference is.
        case memory
        /// A database of a PostgreSQL server, which may be shared by several processes.
        case postgres(Postgres)
    }

    /// Runs `body` in a read transaction.
    public func read<T: Sendable>(_ body: @escaping @Sendable (Connection) throws -> T) async throws -> T {
        switch driver {
        case .sqlite(let driver): try driver.read(body)
        #if Postgres
            case .postgres(let driver): try await driver.read(body)
        #endif
        }
    }

    /// Runs a single query, outside of any transaction: cheaper than ``read(_:)``, and just as consistent as long as
    /// `body` runs one statement alone.
    public func lookup<T: Sendable>(_ body: @escaping @Sendable (Connection) throws -> T) async throws -> T {
        switch driver {
        case .sqlite(let driver): try driver.lookup(body)
        #if Postgres
            case .postgres(let driver): try await driver.lookup(body)
        #endif
        }
    }

    /// Runs `body` in a write transaction, as if it were alone, and returns once it is on disk. Where `body` throws,
    /// nothing of it stays. It may be run more than once.
    /// - Throws: what `body` threw; ``DatabaseError/busy`` where too many writes are waiting.
    public func write<T: Sendable>(_ body: @escaping @Sendable (Connection) throws -> T) async throws -> T {
        switch driver {
        case .sqlite(let driver): try await driver.write(body)
        #if Postgres
            case .postgres(let driver): try await driver.write(body)
        #endif
        }
    }

    /// Hints that there may be work on a channel, given by ``Connection/wake(_:)`` in a write that was committed. Those
    /// that come while one waits are one. A hint can be lost: whoever listens asks the database too, from time to time.
    /// The stream ends when the database is closed.
    public func wakes(_ channel: Wake) -> AsyncStream<Void> {
        switch driver {
        case .sqlite(let driver): driver.listeners.stream(channel)
        #if Postgres
            case .postgres(let driver): driver.wakes(channel)
        #endif
        }
    }

    /// What a health check and `doctor` say of the database.
    public func status() async throws -> Status {
        let schema = try await lookup { try $0.first("SELECT COUNT(*) FROM migration") { try $0.int(0) } ?? 0 }
        let (engine, synchronous) =
            switch driver {
            case .sqlite(let driver): (driver.engine, driver.synchronous)
            #if Postgres
                case .postgres(let driver): (driver.engine, nil)
            #endif
            }
        return Status(engine: engine, schemaVersion: Int(schema), synchronous: synchronous)
    }

    /// Ends all work: what was accepted is finished, and the write-ahead log is folded into the file.
    public func close() throws {
        switch driver {
        case .sqlite(let driver): try driver.close()
        #if Postgres
            case .postgres(let driver): driver.close()
        #endif
        }
    }

    public struct Status: Sendable {
        /// The engine with its version, such as `SQLite 3.40.1`.
        public let engine: String
        public let schemaVersion: Int
        /// SQLite's `synchronous` of the writing connection, 2 being FULL; nil in memory and on PostgreSQL.
        public let synchronous: Int?
    }
}

/// One step of the schema. The list is append-only: a step that was released never changes.
public struct Migration: Sendable {
    public let statements: [SQL]

    public init(_ statements: [SQL]) {
        self.statements = statements
    }

    /// Runs, inside a transaction, the steps that the database has not seen.
    static func apply(_ migrations: [Migration], _ connection: Connection) throws {
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
}

public enum DatabaseError: Error, Equatable {
    /// A column held null or a type that the reader did not ask for.
    case unexpectedValue(column: Int)
    /// More writes are waiting than the queue takes; the caller may come again.
    case busy
    /// The schema was written by a newer version of the program.
    case newerSchema(found: Int, known: Int)
    /// The engine does not promise what was asked of it.
    case unsafeSetting(String)
    /// The disk is full, cannot be written, or failed; or nobody knows what came of a commit.
    case storage(String)
    /// The server of the database is out of reach.
    case unreachable(String)
    /// What was given is no address of a PostgreSQL database.
    case badAddress
    /// The server of the database is older than the oldest version that will do.
    case tooOld(found: String, floor: String)
    /// The role has no right to what must be done.
    case forbidden(String)
    /// The program was built without that engine.
    case notBuilt(String)
    case closed
}
