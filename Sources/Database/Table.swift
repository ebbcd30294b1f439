/// The tables of a database, row by row, whatever is in them: what it takes to move everything to another engine.

/// A table with its columns; every table has a primary key.
public struct Table: Sendable {
    public let name: String
    fileprivate let columns: [(name: String, type: String)]
    /// Where the columns of the primary key stand among all, in the key's order.
    fileprivate let key: [Int]

    /// How many rows are inserted by one statement.
    fileprivate static let chunk = 32

    fileprivate func names(_ positions: [Int]? = nil) -> String {
        (positions.map { $0.map { columns[$0].name } } ?? columns.map(\.name)).joined(separator: ", ")
    }

    fileprivate func read(_ row: Row) -> [SQL.Value] {
        columns.enumerated().map { position, column in
            switch column.type {
            case "INTEGER": row.optionalInt(position).map(SQL.Value.integer) ?? .null
            case "BLOB": row.optionalBytes(position).map(SQL.Value.bytes) ?? .null
            default: row.optionalText(position).map(SQL.Value.text) ?? .null
            }
        }
    }
}

extension Connection {
    /// Every table but the one that counts the steps of the schema. An SQLite database is asked; one of another engine
    /// with the same schema has the same.
    public func tables() throws -> [Table] {
        let names = try all(
            """
            SELECT name FROM sqlite_master
            WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name <> 'migration' ORDER BY name
            """
        ) { try $0.text(0) }
        return try names.map { name in
            let columns = try all("SELECT name, type, pk FROM pragma_table_info(\(name)) ORDER BY cid") {
                (name: try $0.text(0), type: try $0.text(1), key: try $0.int(2))
            }
            let key = columns.indices.filter { columns[$0].key > 0 }.sorted { columns[$0].key < columns[$1].key }
            return Table(name: name, columns: columns.map { ($0.name, $0.type) }, key: key)
        }
    }

    public func count(_ table: Table) throws -> Int {
        try first(SQL(text: "SELECT COUNT(*) FROM \(table.name)")) { Int(try $0.int(0)) } ?? 0
    }

    /// Rows in the order of their keys, which is each engine's own.
    /// - Parameters:
    ///   - last: the row before them; nil for the first ones.
    ///   - skipping: how many of them are left out.
    public func rows(
        _ table: Table,
        after last: [SQL.Value]?,
        skipping: Int = 0,
        limit: Int
    ) throws -> [[SQL.Value]] {
        let key = table.names(table.key)
        var text = "SELECT \(table.names()) FROM \(table.name)"
        var binds: [SQL.Value] = []
        if let last {
            text += " WHERE (\(key)) > (\(table.key.map { _ in "?" }.joined(separator: ", ")))"
            binds = table.key.map { last[$0] }
        }
        text += " ORDER BY \(key) LIMIT ? OFFSET ?"
        binds += [.integer(Int64(limit)), .integer(Int64(skipping))]
        return try all(SQL(text: text, binds: binds)) { table.read($0) }
    }

    public func insert(_ rows: [[SQL.Value]], into table: Table) throws {
        let place = "(\(table.columns.map { _ in "?" }.joined(separator: ", ")))"
        var rest = rows[...]
        while !rest.isEmpty {
            let count = rest.count < Table.chunk ? 1 : Table.chunk
            let places = Array(repeating: place, count: count).joined(separator: ", ")
            let text = "INSERT INTO \(table.name) (\(table.names())) VALUES \(places)"
            try execute(SQL(text: text, binds: Array(rest.prefix(count).joined())))
            rest = rest.dropFirst(count)
        }
    }
}
