/// One connection, confined to its own thread, inside a transaction: what the closures of ``Database/read(_:)`` and
/// ``Database/write(_:)`` are handed. It is synchronous, so that nothing can wait for the network while a transaction
/// is open. Every statement is prepared once per connection and kept.

#if PostgreSQL
    internal import CPostgres
#endif

public struct Connection {
    private enum Engine {
        case sqlite(SQLiteSession)
        #if PostgreSQL
            case postgres(PostgresSession)
        #endif
    }

    private let engine: Engine

    init(_ session: SQLiteSession) {
        engine = .sqlite(session)
    }

    #if PostgreSQL
        init(_ session: PostgresSession) {
            engine = .postgres(session)
        }
    #endif

    /// The first row of a query, or nil where there is none.
    public func first<T>(_ sql: SQL, _ read: (Row) throws -> T) throws -> T? {
        switch engine {
        case .sqlite(let session):
            var first: T?
            try session.query(sql) { statement in
                first = try read(Row(source: .sqlite(statement)))
                return false
            }
            return first
        #if PostgreSQL
            case .postgres(let session):
                return try session.query(sql) { result in
                    PQntuples(result) == 0 ? nil : try read(Row(source: .postgres(result, 0)))
                }
        #endif
        }
    }

    /// Every row of a query, in its order. Bound the number in the statement, and run no other in `read`.
    public func all<T>(_ sql: SQL, _ read: (Row) throws -> T) throws -> [T] {
        switch engine {
        case .sqlite(let session):
            var rows: [T] = []
            try session.query(sql) { statement in
                rows.append(try read(Row(source: .sqlite(statement))))
                return true
            }
            return rows
        #if PostgreSQL
            case .postgres(let session):
                return try session.query(sql) { result in
                    try (0..<PQntuples(result)).map { try read(Row(source: .postgres(result, $0))) }
                }
        #endif
        }
    }

    /// Runs a statement for its effect.
    /// - Returns: the number of rows that it inserted, updated or deleted.
    @discardableResult
    public func execute(_ sql: SQL) throws -> Int {
        switch engine {
        case .sqlite(let session):
            return try session.execute(sql)
        #if PostgreSQL
            case .postgres(let session):
                return try session.query(sql) { Int(String(cString: PQcmdTuples($0))) ?? 0 }
        #endif
        }
    }

    /// Runs `body` so that what it wrote is undone where it throws, while the transaction around it goes on.
    public func savepoint<T>(_ body: () throws -> T) throws -> T {
        try execute("SAVEPOINT part")
        do {
            let value = try body()
            try execute("RELEASE SAVEPOINT part")
            return value
        } catch {
            // After a fault such as a full disk or a broken session the engine has ended the transaction itself.
            if isInTransaction {
                try execute("ROLLBACK TO SAVEPOINT part")
                try execute("RELEASE SAVEPOINT part")
            }
            throw error
        }
    }

    private var isInTransaction: Bool {
        switch engine {
        case .sqlite(let session): session.isInTransaction
        #if PostgreSQL
            case .postgres(let session): session.isAlive
        #endif
        }
    }
}
