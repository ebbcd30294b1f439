/// One connection to an SQLite file, used by one thread at a time.
///
/// Statements are prepared once and kept; their texts come from a fixed set. A result is read where the engine has it,
/// so that a row costs no more than the columns that are looked at.

internal import CSQLite

final class SQLiteSession: @unchecked Sendable {
    static let tokens: [(token: String, meaning: String)] = [
        ("{int}", "INTEGER"), ("{bytes}", "BLOB"), ("{key}", "TEXT"), ("{strict}", "STRICT"),
        ("{clustered}", "STRICT, WITHOUT ROWID"), ("{skipLocked}", ""),
    ]

    private let handle: OpaquePointer
    private var prepared: [SQL.Source: Statement] = [:]
    /// The length of the write-ahead log after the last commit, in pages; see ``leaveCheckpoints()``.
    private(set) var logLength = 0
    /// The hints of the transaction that is open.
    var wakes: Set<Wake> = []

    /// The engine keeps no sums of its memory: they would cost a lock for each allocation. Once, before it is used.
    private static let configuration: Void = { _ = linkspan_configure() }()

    /// Opens a file, made where there is none.
    /// - Parameter path: a path, or `:memory:`.
    init(path: String) throws {
        Self.configuration
        var handle: OpaquePointer?
        let flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX
        let code = sqlite3_open_v2(path, &handle, flags, nil)
        guard code == SQLITE_OK, let handle else {
            defer { sqlite3_close_v2(handle) }
            throw SQLiteError(
                code: code,
                message: handle.map { String(cString: sqlite3_errmsg($0)) } ?? "out of memory"
            )
        }
        self.handle = handle
        sqlite3_extended_result_codes(handle, 1)
        sqlite3_busy_timeout(handle, 5000)
        try execute("PRAGMA foreign_keys = ON")
        try execute("PRAGMA temp_store = MEMORY")
    }

    deinit {
        for statement in prepared.values { sqlite3_finalize(statement.handle) }
        sqlite3_close_v2(handle)
    }

    /// Whether writing is refused.
    func setReadOnly(_ isReadOnly: Bool) throws {
        try execute(isReadOnly ? "PRAGMA query_only = ON" : "PRAGMA query_only = OFF")
    }

    var isInTransaction: Bool { sqlite3_get_autocommit(handle) == 0 }

    /// Runs a query and hands each row to `each`, until it answers false.
    func query(_ sql: SQL, _ each: (OpaquePointer) throws -> Bool) throws {
        let statement = try statement(sql.source)
        defer {
            sqlite3_reset(statement.handle)
            sqlite3_clear_bindings(statement.handle)
        }
        guard statement.bind(sql.binds) else { throw failure(sqlite3_errcode(handle)) }
        while true {
            switch sqlite3_step(statement.handle) {
            case SQLITE_ROW: guard try each(statement.handle) else { return }
            case SQLITE_DONE: return
            case let code: throw failure(code)
            }
        }
    }

    /// Runs a statement for its effect.
    /// - Returns: the number of rows that it changed.
    @discardableResult
    func execute(_ sql: SQL) throws -> Int {
        try query(sql) { _ in true }
        return Int(sqlite3_changes(handle))
    }

    /// The first column of the first row, for a pragma's answer.
    func value(_ sql: SQL) throws -> String? {
        var value: String?
        try query(sql) { statement in
            value = sqlite3_column_text(statement, 0).map { String(cString: $0) }
            return false
        }
        return value
    }

    enum Checkpoint {
        /// As much as readers allow at the moment.
        case passive
        /// All of it, after which the log is empty.
        case truncate
    }

    /// Folds the write-ahead log into the file. Where another connection is at it, that is enough.
    func checkpoint(_ mode: Checkpoint) throws {
        let mode = mode == .passive ? SQLITE_CHECKPOINT_PASSIVE : SQLITE_CHECKPOINT_TRUNCATE
        let code = sqlite3_wal_checkpoint_v2(handle, nil, mode, nil, nil)
        guard code == SQLITE_OK || code & 0xFF == SQLITE_BUSY else { throw failure(code) }
    }

    /// Has each commit tell how long the log is, rather than fold it into the file.
    func leaveCheckpoints() {
        // The handle ends with the session, and calls this in a commit of its own alone.
        _ = sqlite3_wal_hook(
            handle,
            { session, _, _, pages in
                guard let session else { return SQLITE_OK }
                Unmanaged<SQLiteSession>.fromOpaque(session).takeUnretainedValue().logLength = Int(pages)
                return SQLITE_OK
            },
            Unmanaged.passUnretained(self).toOpaque()
        )
    }

    private func statement(_ source: SQL.Source) throws -> Statement {
        if let statement = prepared[source] {
            precondition(sqlite3_stmt_busy(statement.handle) == 0, "a statement is run while its own rows are read")
            return statement
        }
        var pointer: OpaquePointer?
        let rendered = SQL.render(source.text, tokens: Self.tokens)
        let code = sqlite3_prepare_v3(handle, rendered, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &pointer, nil)
        guard code == SQLITE_OK, let pointer else { throw failure(code) }
        let statement = Statement(pointer)
        prepared[source] = statement
        return statement
    }

    private func failure(_ code: Int32) -> SQLiteError {
        SQLiteError(code: code, message: String(cString: sqlite3_errmsg(handle)))
    }
}

/// A prepared statement, with the bytes that are bound to it: the engine reads them where they lie and copies nothing.
private final class Statement {
    let handle: OpaquePointer
    private var bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: 512, alignment: 1)

    init(_ handle: OpaquePointer) {
        self.handle = handle
    }

    deinit {
        bytes.deallocate()
    }

    /// - Returns: false where the engine refuses a bind.
    func bind(_ binds: [SQL.Value]) -> Bool {
        let needed = binds.reduce(0) { $0 + $1.size }
        if needed > bytes.count {
            bytes.deallocate()
            bytes = .allocate(byteCount: 2 * needed, alignment: 1)
        }
        guard var free = bytes.baseAddress else { return false }
        func keep(_ source: UnsafeRawBufferPointer) -> (start: UnsafeMutableRawPointer, count: Int32) {
            let start = free
            if let first = source.baseAddress { start.copyMemory(from: first, byteCount: source.count) }
            free += source.count
            return (start, Int32(source.count))
        }
        for (index, value) in zip(Int32(1)..., binds) {
            let code: Int32
            switch value {
            case .null:
                code = sqlite3_bind_null(handle, index)
            case .integer(let integer):
                code = sqlite3_bind_int64(handle, index, integer)
            case .text(var text):
                let kept = text.withUTF8 { keep(UnsafeRawBufferPointer($0)) }
                code = sqlite3_bind_text(handle, index, kept.start, kept.count, nil)
            case .bytes(let source):
                let kept = source.withUnsafeBytes(keep)
                code = sqlite3_bind_blob(handle, index, kept.start, kept.count, nil)
            }
            guard code == SQLITE_OK else { return false }
        }
        return true
    }
}

extension SQL.Value {
    /// How many bytes it is, beside a number.
    fileprivate var size: Int {
        switch self {
        case .null, .integer: 0
        case .text(let text): text.utf8.count
        case .bytes(let bytes): bytes.count
        }
    }
}

/// What the engine refused. Its message names tables and columns, never a bind.
struct SQLiteError: Error {
    let code: Int32
    let message: String

    /// The same in the words of ``DatabaseError``, where it has one.
    var translated: any Error {
        switch code & 0xFF {
        case SQLITE_FULL, SQLITE_IOERR, SQLITE_READONLY, SQLITE_CANTOPEN, SQLITE_CORRUPT, SQLITE_NOTADB, SQLITE_PERM:
            DatabaseError.storage("SQLite \(code): \(message)")
        case SQLITE_BUSY, SQLITE_LOCKED:
            DatabaseError.busy
        default:
            self
        }
    }
}
