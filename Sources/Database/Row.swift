/// A row of a result, read by column position while the statement is at it; it must not outlive the closure it is
/// handed to.

internal import GRDB

private import struct Foundation.Data

public struct Row {
    let row: GRDB.Row

    /// - Throws: ``DatabaseError/unexpectedValue(column:)`` where the column is null or of another type.
    public func text(_ column: Int) throws(DatabaseError) -> String {
        guard let value = optionalText(column) else { throw .unexpectedValue(column: column) }
        return value
    }

    public func optionalText(_ column: Int) -> String? {
        row[column] as String?
    }

    /// - Throws: ``DatabaseError/unexpectedValue(column:)`` where the column is null or of another type.
    public func int(_ column: Int) throws(DatabaseError) -> Int64 {
        guard let value = optionalInt(column) else { throw .unexpectedValue(column: column) }
        return value
    }

    public func optionalInt(_ column: Int) -> Int64? {
        row[column] as Int64?
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
        // Data is a collection of bytes; the conversion copies once.
        guard let value = row[column] as Data? else { return nil }
        return [UInt8](value)
    }
}
