/// A row of a result, read by column position while the statement is at it; it must not outlive the closure it is
/// handed to.

internal import CSQLite

#if Postgres
    internal import CPostgres
#endif

public struct Row {
    private let source: Source

    private enum Source {
        /// A statement that stands at the row.
        case sqlite(OpaquePointer)
        #if Postgres
            /// A result, and the row's number in it.
            case postgres(OpaquePointer, Int32)
        #endif
    }

    init(statement: OpaquePointer) {
        source = .sqlite(statement)
    }

    #if Postgres
        init(result: OpaquePointer, row: Int32) {
            source = .postgres(result, row)
        }
    #endif

    /// - Throws: ``DatabaseError/unexpectedValue(column:)`` where the column is null or of another type.
    public func text(_ column: Int) throws(DatabaseError) -> String {
        guard let value = optionalText(column) else { throw .unexpectedValue(column: column) }
        return value
    }

    public func optionalText(_ column: Int) -> String? {
        switch source {
        case .sqlite(let statement):
            return sqlite3_column_text(statement, Int32(column)).map { start in
                let count = Int(sqlite3_column_bytes(statement, Int32(column)))
                return String(decoding: UnsafeBufferPointer(start: start, count: count), as: UTF8.self)
            }
        #if Postgres
            case .postgres(let result, let row):
                let bytes = Self.value(result, row, column, of: [19, 25, 1043])
                return bytes.map { String(decoding: $0, as: UTF8.self) }
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
        #if Postgres
            case .postgres(let result, let row):
                // Two's complement, the highest byte first, as wide as the type: bool, bigint, smallint, integer.
                let bytes = Self.value(result, row, column, of: [16, 20, 21, 23])
                return bytes.map { $0.dropFirst().reduce(Int64(Int8(bitPattern: $0[0]))) { $0 << 8 | Int64($1) } }
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
        #if Postgres
            case .postgres(let result, let row): return Self.value(result, row, column, of: [17]).map { [UInt8]($0) }
        #endif
        }
    }

    #if Postgres
        /// A value as it lies in the result, nil where it is null or of no such type.
        /// - Parameter types: their numbers in `pg_type`.
        private static func value(
            _ result: OpaquePointer,
            _ row: Int32,
            _ column: Int,
            of types: [Oid]
        ) -> UnsafeRawBufferPointer? {
            guard PQgetisnull(result, row, Int32(column)) == 0, types.contains(PQftype(result, Int32(column))) else {
                return nil
            }
            let count = Int(PQgetlength(result, row, Int32(column)))
            return UnsafeRawBufferPointer(start: PQgetvalue(result, row, Int32(column)), count: count)
        }
    #endif
}
