/// A row of a result, read by column position while the statement is at it; it must not outlive the closure it is
/// handed to.

internal import CSQLite

public struct Row {
    /// A statement that stands at the row.
    let statement: OpaquePointer

    /// - Throws: ``DatabaseError/unexpectedValue(column:)`` where the column is null or of another type.
    public func text(_ column: Int) throws(DatabaseError) -> String {
        guard let value = optionalText(column) else { throw .unexpectedValue(column: column) }
        return value
    }

    public func optionalText(_ column: Int) -> String? {
        sqlite3_column_text(statement, Int32(column)).map { start in
            let count = Int(sqlite3_column_bytes(statement, Int32(column)))
            return String(decoding: UnsafeBufferPointer(start: start, count: count), as: UTF8.self)
        }
    }

    /// - Throws: ``DatabaseError/unexpectedValue(column:)`` where the column is null or of another type.
    public func int(_ column: Int) throws(DatabaseError) -> Int64 {
        guard let value = optionalInt(column) else { throw .unexpectedValue(column: column) }
        return value
    }

    public func optionalInt(_ column: Int) -> Int64? {
        guard sqlite3_column_type(statement, Int32(column)) == SQLITE_INTEGER else { return nil }
        return sqlite3_column_int64(statement, Int32(column))
    }

    /// A text out of a fixed set.
    /// - Throws: ``DatabaseError/unexpectedValue(column:)`` where the column holds none of it.
    public func choice<T: RawRepresentable<String>>(_ column: Int, of type: T.Type) throws(DatabaseError) -> T {
        guard let value = T(rawValue: try text(column)) else { throw .unexpectedValue(column: column) }
        return value
    }

    /// A boolean, stored as 0 or 1.
    public func bool(_ column: Int) throws(DatabaseError) -> Bool {
        try int(column) != 0
    }

    /// - Throws: ``DatabaseError/unexpectedValue(column:)`` where the column is null or of another type.
    public func bytes(_ column: Int) throws(DatabaseError) -> [UInt8] {
        guard let value = optionalBytes(column) else { throw .unexpectedValue(column: column) }
        return value
    }

    public func optionalBytes(_ column: Int) -> [UInt8]? {
        guard sqlite3_column_type(statement, Int32(column)) == SQLITE_BLOB else { return nil }
        let count = Int(sqlite3_column_bytes(statement, Int32(column)))
        return [UInt8](UnsafeRawBufferPointer(start: sqlite3_column_blob(statement, Int32(column)), count: count))
    }

}
