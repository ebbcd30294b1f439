/// A row of a result, read by column position while the statement is at it; it must not outlive the closure it is
/// handed to.

internal import CSQLite

#if PostgreSQL
    internal import CPostgres
#endif

public struct Row {
    enum Source {
        /// A statement of SQLite that stands at the row.
        case sqlite(OpaquePointer)
        #if PostgreSQL
            /// A result of libpq in binary, and the row's number in it.
            case postgres(OpaquePointer, Int32)
        #endif
    }

    let source: Source

    /// - Throws: ``DatabaseError/unexpectedValue(column:)`` where the column is null or of another type.
    public func text(_ column: Int) throws(DatabaseError) -> String {
        guard let value = optionalText(column) else { throw .unexpectedValue(column: column) }
        return value
    }

    public func optionalText(_ column: Int) -> String? {
        switch source {
        case .sqlite(let statement):
            sqlite3_column_text(statement, Int32(column)).map { start in
                let count = Int(sqlite3_column_bytes(statement, Int32(column)))
                return String(decoding: UnsafeBufferPointer(start: start, count: count), as: UTF8.self)
            }
        #if PostgreSQL
            case .postgres: value(column).map { String(decoding: $0, as: UTF8.self) }
        #endif
        }
    }

    /// - Throws: ``DatabaseError/unexpectedValue(column:)`` where the column is null or of another type.
    public func int(_ column: Int) throws(DatabaseError) -> Int64 {
        guard let value = optionalInt(column) else { throw .unexpectedValue(column: column) }
        return value
    }

    public func optionalInt(_ column: Int) -> Int64? {
        switch source {
        case .sqlite(let statement):
            guard sqlite3_column_type(statement, Int32(column)) == SQLITE_INTEGER else { return nil }
            return sqlite3_column_int64(statement, Int32(column))
        #if PostgreSQL
            case .postgres:
                // Two, four or eight bytes, the highest first; the first one carries the sign.
                guard let bytes = value(column), let first = bytes.first, [2, 4, 8].contains(bytes.count) else {
                    return nil
                }
                return bytes.dropFirst().reduce(Int64(Int8(bitPattern: first))) { $0 << 8 | Int64($1) }
        #endif
        }
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
        switch source {
        case .sqlite(let statement):
            guard sqlite3_column_type(statement, Int32(column)) == SQLITE_BLOB else { return nil }
            let count = Int(sqlite3_column_bytes(statement, Int32(column)))
            return [UInt8](UnsafeRawBufferPointer(start: sqlite3_column_blob(statement, Int32(column)), count: count))
        #if PostgreSQL
            case .postgres: return value(column).map { [UInt8]($0) }
        #endif
        }
    }

    #if PostgreSQL
        private func value(_ column: Int) -> UnsafeBufferPointer<UInt8>? {
            guard case .postgres(let result, let row) = source, PQgetisnull(result, row, Int32(column)) == 0,
                let start = PQgetvalue(result, row, Int32(column))
            else { return nil }
            let count = Int(PQgetlength(result, row, Int32(column)))
            return start.withMemoryRebound(to: UInt8.self, capacity: count) {
                UnsafeBufferPointer(start: $0, count: count)
            }
        }
    #endif
}
