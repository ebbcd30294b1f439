/// One connection, confined to its own thread, inside a transaction: what the closures of ``Database/read(_:)`` and
/// ``Database/write(_:)`` are handed. It is synchronous, so that nothing can wait for the network while a transaction
/// is open. Every statement is prepared once per connection and kept.

public struct Connection {
    private let session: Session

    private enum Session {
        case sqlite(SQLiteSession)
        #if Postgres
            case postgres(PostgresSession)
        #endif
    }

    init(_ session: SQLiteSession) {
        self.session = .sqlite(session)
    }

    #if Postgres
        init(_ session: PostgresSession) {
            self.session = .postgres(session)
        }
    #endif

    /// The first row of a query, or nil where there is none.
    public func first<T>(_ sql: SQL, _ read: (Row) throws -> T) throws -> T? {
        var first: T?
        try query(sql) { row in
            first = try read(row)
            return false
        }
        return first
    }

    /// Every row of a query, in its order. Bound the number in the statement, and run no other in `read`.
    public func all<T>(_ sql: SQL, _ read: (Row) throws -> T) throws -> [T] {
        var rows: [T] = []
        try query(sql) { row in
            rows.append(try read(row))
            return true
        }
        return rows
    }

    /// Runs a statement for its effect.
    /// - Returns: the number of rows that it inserted, updated or deleted.
    @discardableResult
    public func execute(_ sql: SQL) throws -> Int {
        switch session {
        case .sqlite(let session): try session.execute(sql)
        #if Postgres
            case .postgres(let session): try session.execute(sql)
        #endif
        }
    }

    /// Hints, once the write around it is committed, that there is work: see ``Database/wakes(_:)``.
    public func wake(_ channel: Wake) {
        switch session {
        case .sqlite(let session): session.wakes.insert(channel)
        #if Postgres
            case .postgres(let session): session.wakes.insert(channel)
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
            // After a fault such as a full disk the engine has ended the transaction itself.
            if isInTransaction {
                try execute("ROLLBACK TO SAVEPOINT part")
                try execute("RELEASE SAVEPOINT part")
            }
            throw error
        }
    }

    @inline(__always)
    private func query(_ sql: SQL, _ each: (Row) throws -> Bool) throws {
        switch session {
        case .sqlite(let session): try session.query(sql) { try each(Row(statement: $0)) }
        #if Postgres
            case .postgres(let session): try session.query(sql) { try each(Row(result: $0, row: $1)) }
        #endif
        }
    }

    private var isInTransaction: Bool {
        switch session {
        case .sqlite(let session): session.isInTransaction
        #if Postgres
            case .postgres(let session): session.isInTransaction
        #endif
        }
    }
}
