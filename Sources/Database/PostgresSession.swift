/// One connection to a PostgreSQL server, used by one thread at a time.
///
/// Statements are prepared once and kept. What opens a transaction travels with its first statement, and what prepares
/// a statement with its first use, so that each statement is one exchange with the server.

#if Postgres
    internal import CPostgres
    internal import Foundation

    final class PostgresSession: @unchecked Sendable {
        static let tokens: [(token: String, meaning: String)] = [
            ("{int}", "BIGINT"), ("{bytes}", "BYTEA"), ("{key}", "TEXT COLLATE \"C\""), ("{strict}", ""),
            ("{clustered}", ""), ("{skipLocked}", "FOR UPDATE SKIP LOCKED"),
        ]
        /// The oldest version that will do.
        private static let floor: Int32 = 14

        /// Why what failed may be tried again.
        enum Fault {
            /// Another transaction was in the way.
            case conflict
            /// A row was there that a look before did not find; it may be a conflict that was found late.
            case duplicate
            /// Nothing can be asked on this connection any longer.
            case lost
        }

        private let handle: OpaquePointer
        private let canceller: OpaquePointer?
        private var prepared: [SQL.Source: String] = [:]
        /// What opens the transaction, until its first statement takes it along.
        private var opening: String?
        /// The hints of the transaction that is open.
        var wakes: Set<Wake> = []
        /// What was met last in the transaction that is open, or on the way into it.
        private(set) var fault: Fault?
        private var hasConflict = false
        /// Milliseconds for which an answer is waited for. The server ends what takes too long itself, and sooner; this
        /// is for one that says nothing at all.
        var patience: Int32 = 45_000
        /// Whether a COMMIT was sent and not answered: nobody knows what came of it.
        private(set) var isInDoubt = false

        init(_ postgres: Postgres) throws {
            handle = try Self.connect(postgres)
            canceller = PQgetCancel(handle)
            linkspan_ignore_notices(handle)
            let version = PQserverVersion(handle)
            guard version >= Self.floor * 10_000 else {
                throw DatabaseError.tooOld(found: self.version, floor: "\(Self.floor)")
            }
            try prepareSession()
            guard PQenterPipelineMode(handle) == 1 else { throw PostgresError(handle) }
        }

        deinit {
            PQfreeCancel(canceller)
            PQfinish(handle)
        }

        /// What stands before the address may be overruled by it.
        static func connect(_ postgres: Postgres) throws -> OpaquePointer {
            // What libpq says of an address that it cannot read repeats a part of it, which may be the password.
            guard let known = PQconninfoParse(postgres.url, nil) else { throw DatabaseError.badAddress }
            PQconninfoFree(known)
            var settings = [
                ("connect_timeout", "10"), ("target_session_attrs", "read-write"),
                ("fallback_application_name", "linkspan"), ("keepalives_idle", "10"), ("keepalives_interval", "5"),
                ("keepalives_count", "3"), ("tcp_user_timeout", "20000"), ("dbname", postgres.url),
                ("client_encoding", "UTF8"),
            ]
            if let password = postgres.password { settings.append(("password", password)) }
            let names = settings.map { strdup($0.0) }
            let values = settings.map { strdup($0.1) }
            defer { for text in names + values { free(text) } }
            let end: [UnsafePointer<CChar>?] = [nil]
            guard
                let handle = PQconnectdbParams(
                    names.map { UnsafePointer($0) } + end,
                    values.map { UnsafePointer($0) } + end,
                    1
                )
            else {
                throw PostgresError(state: PostgresError.lost, message: "out of memory")
            }
            guard PQstatus(handle) == CONNECTION_OK else {
                defer { PQfinish(handle) }
                throw PostgresError(handle)
            }
            return handle
        }

        /// What holds for every statement of the connection: nothing is written but in a transaction that says so, no
        /// statement and no lock lasts for ever, and rows are found by their keys. A table that is read from end to end
        /// would be in conflict with every write to it.
        private func prepareSession() throws {
            for setting in [
                "default_transaction_read_only = on", "statement_timeout = 30000", "lock_timeout = 10000",
                "idle_in_transaction_session_timeout = 60000", "enable_seqscan = off", "client_min_messages = error",
            ] { try simple("SET \(setting)") }
            // Off, a crash of the server undoes commits that were acknowledged.
            if try simple("SHOW synchronous_commit") == "off" { try simple("SET synchronous_commit = on") }
            guard try simple("SHOW fsync") == "on" else {
                throw DatabaseError.unsafeSetting("PostgreSQL runs with fsync=off")
            }
            guard try simple("SELECT current_schema()") != nil else {
                throw DatabaseError.forbidden("the role has no schema to work in")
            }
        }

        /// - Returns: the first column of the first row as text, nil where it is null or there is none.
        @discardableResult
        private func simple(_ text: String) throws -> String? {
            guard let result = PQexec(handle, text) else { throw PostgresError(handle) }
            defer { PQclear(result) }
            let status = PQresultStatus(result)
            guard status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK else {
                throw PostgresError(result, handle)
            }
            guard PQntuples(result) > 0, PQgetisnull(result, 0, 0) == 0 else { return nil }
            return PQgetvalue(result, 0, 0).map { String(cString: $0) }
        }

        /// The server's version, such as `15.4`.
        var version: String {
            PQparameterStatus(handle, "server_version").map { String(cString: $0).prefix { $0 != " " } }.map(
                String.init
            )
                ?? "?"
        }

        /// Asks the server to end the statement that runs; from any thread.
        func cancel() {
            var message = [CChar](repeating: 0, count: 256)
            _ = PQcancel(canceller, &message, Int32(message.count))
        }

        // MARK: Transactions

        var isInTransaction: Bool {
            let status = PQtransactionStatus(handle)
            return status == PQTRANS_INTRANS || status == PQTRANS_INERROR
        }

        /// Begins a transaction with the next statement.
        /// - Parameter modes: such as `ISOLATION LEVEL SERIALIZABLE READ WRITE`; nil where each statement is one.
        func begin(_ modes: String?) {
            opening = modes.map { "BEGIN \($0)" }
            wakes = []
            fault = nil
            hasConflict = false
        }

        /// Commits all or nothing.
        func commit() throws {
            guard opening == nil else { return opening = nil }
            guard !hasConflict else { throw PostgresError(state: PostgresError.conflict, message: "a conflict") }
            guard PQtransactionStatus(handle) != PQTRANS_INERROR else {
                throw PostgresError(state: "25P02", message: "a statement failed, and was not undone by a savepoint")
            }
            isInDoubt = true
            let result = try run("COMMIT")
            isInDoubt = false
            defer { PQclear(result) }
            guard String(cString: PQcmdStatus(result)) == "COMMIT" else {
                throw PostgresError(state: "25P02", message: "the transaction was rolled back")
            }
        }

        /// Leaves the transaction, where there is one, with nothing done.
        func rollBack() {
            opening = nil
            if isInTransaction && (try? execute("ROLLBACK")) == nil { fault = .lost }
        }

        // MARK: Statements

        /// Runs a query and hands each row to `each`, until it answers false.
        func query(_ sql: SQL, _ each: (OpaquePointer, Int32) throws -> Bool) throws {
            let result = try run(sql)
            defer { PQclear(result) }
            for row in 0..<PQntuples(result) { guard try each(result, row) else { return } }
        }

        /// Runs a statement for its effect.
        /// - Returns: the number of rows that it changed.
        @discardableResult
        func execute(_ sql: SQL) throws -> Int {
            let result = try run(sql)
            defer { PQclear(result) }
            return Int(String(cString: PQcmdTuples(result))) ?? 0
        }

        /// - Returns: the result, to be cleared.
        private func run(_ sql: SQL) throws -> OpaquePointer {
            do {
                return try exchange(sql)
            } catch let error as PostgresError {
                fault = error.fault ?? (PQstatus(handle) == CONNECTION_OK ? fault : .lost)
                if case .conflict = error.fault { hasConflict = true }
                // The server may end a connection after it committed and before it said so.
                if fault != .lost { isInDoubt = false }
                throw error
            }
        }

        /// Sends what opens the transaction and what prepares the statement, where that is to be done, with the
        /// statement itself, and waits for the answers.
        private func exchange(_ sql: SQL) throws -> OpaquePointer {
            var sent = 1
            if let opening {
                guard PQsendQueryParams(handle, opening, 0, nil, nil, nil, nil, 0) == 1 else { throw lost() }
                sent += 1
            }
            let name = prepared[sql.source] ?? "s\(prepared.count)"
            let isNew = prepared[sql.source] == nil
            if isNew {
                let types = sql.binds.map(\.postgresType)
                let text = Self.numbered(SQL.render(sql.text, tokens: Self.tokens))
                guard PQsendPrepare(handle, name, text, Int32(types.count), types) == 1 else { throw lost() }
                sent += 1
            }
            guard send(name, sql.binds), PQpipelineSync(handle) == 1 else { throw lost() }
            var last: OpaquePointer?
            var failure: PostgresError?
            for index in 0..<sent {
                PQclear(last)
                last = try next()
                while let extra = try next() { PQclear(extra) }
                let status = PQresultStatus(last)
                let isGood = status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK
                if !isGood && failure == nil { failure = PostgresError(last, handle) }
                if isGood && isNew && index == sent - 2 { prepared[sql.source] = name }
            }
            while let end = try next() {
                defer { PQclear(end) }
                if PQresultStatus(end) == PGRES_PIPELINE_SYNC { break }
            }
            // Also where it failed: a transaction that is aborted was begun.
            opening = nil
            guard failure == nil, let last else {
                PQclear(last)
                throw failure ?? lost()
            }
            return last
        }

        /// Binds travel in one piece of memory: integers as digits, whatever width the server wants; texts and bytes as
        /// they are.
        private func send(_ name: String, _ binds: [SQL.Value]) -> Bool {
            var memory: [UInt8] = []
            var offsets: [Int?] = []
            var lengths: [Int32] = []
            for bind in binds {
                let start = memory.count
                switch bind {
                case .null: break
                case .integer(let integer): memory += Array(String(integer).utf8)
                case .text(let text): memory += Array(text.utf8)
                case .bytes(let bytes): memory += bytes
                }
                lengths.append(Int32(memory.count - start))
                memory.append(0)
                offsets.append(bind == .null ? nil : start)
            }
            let formats = binds.map { bind -> Int32 in if case .integer = bind { 0 } else { 1 } }
            return memory.withUnsafeBytes { memory in
                let values = offsets.map { offset in
                    offset.flatMap { memory.baseAddress?.advanced(by: $0).assumingMemoryBound(to: CChar.self) }
                }
                return PQsendQueryPrepared(handle, name, Int32(binds.count), values, lengths, formats, 1) == 1
            }
        }

        /// The next result, nil at the end of those of a statement.
        private func next() throws -> OpaquePointer? {
            while PQisBusy(handle) == 1 {
                var socket = pollfd(fd: PQsocket(handle), events: Int16(POLLIN), revents: 0)
                let ready = poll(&socket, 1, patience)
                if ready < 0 && errno == EINTR { continue }
                guard ready > 0, PQconsumeInput(handle) == 1 else { throw lost() }
            }
            let result = PQgetResult(handle)
            if result == nil && PQstatus(handle) != CONNECTION_OK { throw lost() }
            return result
        }

        private func lost() -> PostgresError {
            let error = PostgresError(handle)
            return PostgresError(state: PostgresError.lost, message: error.message)
        }

        /// `$1`, `$2` and so on for each `?` outside of a text.
        static func numbered(_ text: String) -> String {
            var numbered = ""
            var number = 0
            var isInText = false
            for character in text {
                if character == "'" { isInText.toggle() }
                if character == "?" && !isInText {
                    number += 1
                    numbered += "$\(number)"
                } else {
                    numbered.append(character)
                }
            }
            return numbered
        }
    }

    extension SQL.Value {
        /// The type that a bind is declared as; what is null at first takes the type of its place.
        fileprivate var postgresType: Oid {
            switch self {
            case .null: 0
            case .integer: 20
            case .text: 25
            case .bytes: 17
            }
        }
    }

    /// What the server, or the way to it, refused. Its message names tables and columns, never a bind.
    struct PostgresError: Error {
        static let lost = "08006"
        static let conflict = "40001"

        /// The code of the SQL standard.
        let state: String
        let message: String

        init(state: String, message: String) {
            self.state = state
            self.message = message
        }

        /// What is wrong with a connection.
        init(_ handle: OpaquePointer) {
            let text = String(cString: PQerrorMessage(handle))
            let lines = text.split(whereSeparator: \.isNewline).map { $0.trimmingPrefix { $0 == "\t" || $0 == " " } }
            self.init(
                state: Self.lost,
                message: lines.isEmpty ? "the connection was lost" : lines.joined(separator: "; ")
            )
        }

        init(_ result: OpaquePointer?, _ handle: OpaquePointer) {
            guard let result, let state = PQresultErrorField(result, Int32(UInt8(ascii: "C"))) else {
                self.init(handle)
                return
            }
            let message = PQresultErrorField(result, Int32(UInt8(ascii: "M"))).map { String(cString: $0) }
            self.init(state: String(cString: state), message: message ?? "")
        }

        var fault: PostgresSession.Fault? {
            switch state {
            case "40001", "40P01": .conflict
            case "23505": .duplicate
            // A statement that is no longer known, or whose columns another version of the schema has changed.
            case "26000", "0A000": .lost
            // It was made read-only under us: another server is the one to write to.
            case "25006" where message.contains("recovery"): .lost
            case "57P01", "57P02", "57P03", "57P05": .lost
            default: state.hasPrefix("08") ? .lost : nil
            }
        }

        /// The same in the words of ``DatabaseError``, where it has one.
        var translated: any Error {
            switch state {
            case "40001", "40P01", "55P03", "57014": DatabaseError.busy
            case "42501": DatabaseError.forbidden(message)
            case "25006": DatabaseError.storage("PostgreSQL \(state): \(message)")
            case _ where fault == .lost: DatabaseError.unreachable(message)
            case _ where state.hasPrefix("53") || state.hasPrefix("58") || state.hasPrefix("XX"):
                DatabaseError.storage("PostgreSQL \(state): \(message)")
            default: self
            }
        }
    }
#endif
