/// Moves everything from one database to another, such as from SQLite to PostgreSQL.
///
/// The target must be empty. A mark in it says that a move is under way, so that one that was cut off goes on where it
/// was, no server begins to work on a half, and no other source is mixed in. At the end every row of both is read: the
/// counts and the digests of each table must be equal before the mark goes.

public import Database
internal import Vault

public struct Moving: Sendable {
    /// How many rows are in memory, and in one transaction.
    private static let batch = 1024

    private let source: Database
    private let target: Database

    public init(from source: Database, to target: Database) {
        self.source = source
        self.target = target
    }

    /// What was moved of a table, and whether it was found equal on both sides.
    public struct Moved: Sendable {
        public let table: String
        public let rows: Int
        /// The first letters of what both sides were found to be.
        public let digest: String
    }

    public enum Refusal: Error, Equatable {
        case sourceIsEmpty
        /// The target holds rows, and not of a move that was begun.
        case targetIsNotEmpty(table: String)
        /// A move from another source is under way.
        case otherSource
        /// The source was itself never wholly made.
        case sourceIsUnfinished
        case differs(table: String)
    }

    /// Whether a move into a database was begun and not ended.
    public static func isUnderWay(in db: Connection) throws -> Bool {
        try mark(db) != nil
    }

    private static func mark(_ db: Connection) throws -> String? {
        try db.first("SELECT source FROM moving WHERE id = 1") { try $0.text(0) }
    }

    /// - Parameter progress: is told of each batch: the table, and how many of its rows are moved.
    public func run(progress: @Sendable (String, Int) -> Void) async throws -> [Moved] {
        let (name, isUnfinished) = try await source.read { db in
            (
                try db.first("SELECT id FROM merchant WHERE platform = 1") { try $0.text(0) },
                try Self.isUnderWay(in: db)
            )
        }
        guard let name else { throw Refusal.sourceIsEmpty }
        guard !isUnfinished else { throw Refusal.sourceIsUnfinished }
        let tables = try await source.read { try $0.tables() }.filter { $0.name != "moving" }
        try await target.write { db in try Self.begin(from: name, tables, db) }
        for table in tables { try await move(table, progress) }
        var moved: [Moved] = []
        for table in tables {
            async let there = digest(table, source)
            async let here = digest(table, target)
            let (before, after) = try await (there, here)
            guard before == after else { throw Refusal.differs(table: table.name) }
            moved.append(Moved(table: table.name, rows: after.rows, digest: after.text))
        }
        _ = try await target.write { db in try db.execute("DELETE FROM moving WHERE id = 1") }
        return moved
    }

    private static func begin(from name: String, _ tables: [Table], _ db: Connection) throws {
        if let begun = try mark(db) {
            guard begun == name else { throw Refusal.otherSource }
            return
        }
        for table in tables {
            guard try db.rows(table, after: nil, limit: 1).isEmpty else {
                throw Refusal.targetIsNotEmpty(table: table.name)
            }
        }
        try db.execute("INSERT INTO moving (id, source) VALUES (1, \(name))")
    }

    /// Rows are moved in the source's order, so that what is there already is as many of the first ones.
    private func move(_ table: Table, _ progress: @Sendable (String, Int) -> Void) async throws {
        var done = try await target.read { db in try db.count(table) }
        var last: [SQL.Value]?
        while true {
            let rows = try await source.read { [last, done] db in
                try db.rows(table, after: last, skipping: last == nil ? done : 0, limit: Self.batch)
            }
            guard !rows.isEmpty else { return }
            try await target.write { db in try db.insert(rows, into: table) }
            last = rows.last
            done += rows.count
            progress(table.name, done)
        }
    }

    // MARK: Digests

    /// The sum of the digests of all rows, in whatever order they are read.
    private struct Digest: Equatable {
        var rows = 0
        private var words: [UInt64] = [0, 0, 0, 0]

        mutating func add(_ row: [SQL.Value]) {
            var bytes: [UInt8] = []
            for value in row {
                let (kind, content): (UInt8, [UInt8]) =
                    switch value {
                    case .null: (0, [])
                    case .integer(let integer): (1, Array(String(integer).utf8))
                    case .text(let text): (2, Array(text.utf8))
                    case .bytes(let content): (3, content)
                    }
                bytes.append(kind)
                withUnsafeBytes(of: UInt64(content.count).bigEndian) { bytes.append(contentsOf: $0) }
                bytes += content
            }
            for (position, byte) in Secret.digest(bytes).enumerated() where position < 32 {
                words[position / 8] &+= UInt64(byte) << UInt64(position % 8 * 8)
            }
            rows += 1
        }

        var text: String { String(words[0], radix: 16) }
    }

    private func digest(_ table: Table, _ database: Database) async throws -> Digest {
        var digest = Digest()
        var last: [SQL.Value]?
        while true {
            let rows = try await database.read { [last] db in try db.rows(table, after: last, limit: Self.batch) }
            guard !rows.isEmpty else { return digest }
            for row in rows { digest.add(row) }
            last = rows.last
        }
    }
}
