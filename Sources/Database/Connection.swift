/// One connection, confined to its own thread, inside a transaction: what the closures of ``Database/read(_:)`` and
/// ``Database/write(_:)`` are handed. It is synchronous, so that nothing can wait for the network while a transaction
/// is open. Every statement is prepared once per connection and kept.

internal import GRDB

private import struct Foundation.Data

public struct Connection {
    let raw: GRDB.Database

    /// The first row of a query, or nil where there is none.
    public func first<T>(_ sql: SQL, _ read: (Row) throws -> T) throws -> T? {
        let cursor = try GRDB.Row.fetchCursor(prepare(sql), arguments: arguments(sql))
        guard let row = try cursor.next() else { return nil }
        return try read(Row(row: row))
    }

    /// Every row of a query, in its order. Bound the number in the statement.
    public func all<T>(_ sql: SQL, _ read: (Row) throws -> T) throws -> [T] {
        let cursor = try GRDB.Row.fetchCursor(prepare(sql), arguments: arguments(sql))
        var rows: [T] = []
        while let row = try cursor.next() {
            rows.append(try read(Row(row: row)))
        }
        return rows
    }

    /// Runs a statement for its effect.
    /// - Returns: the number of rows that it inserted, updated or deleted.
    @discardableResult
    public func execute(_ sql: SQL) throws -> Int {
        try prepare(sql).execute(arguments: arguments(sql))
        return raw.changesCount
    }

    /// Runs `body` so that what it wrote is undone where it throws, while the transaction around it goes on.
    public func savepoint<T>(_ body: () throws -> T) throws -> T {
        try execute("SAVEPOINT part")
        do {
            let value = try body()
            try execute("RELEASE part")
            return value
        } catch {
            // After a fault such as a full disk the engine has ended the transaction itself.
            if raw.isInsideTransaction {
                try execute("ROLLBACK TO part")
                try execute("RELEASE part")
            }
            throw error
        }
    }

    private func prepare(_ sql: SQL) throws -> Statement {
        try raw.cachedStatement(sql: SQL.render(sql.text, tokens: SQLiteDriver.tokens))
    }

    private func arguments(_ sql: SQL) -> StatementArguments {
        StatementArguments(
            sql.binds.map { value -> (any DatabaseValueConvertible)? in
                switch value {
                case .null: nil
                case .integer(let integer): integer
                case .text(let text): text
                case .bytes(let bytes): Data(bytes)
                }
            }
        )
    }
}
