/// Seals everything anew under the newest key of the ring, so that older keys can be dropped.
///
/// It goes through the tables that hold sealed values in bounded writes, taking only what another key sealed: one that
/// was stopped goes on where it was, and one that is run again does nothing. It may run beside servers of the same
/// ring: a value that changed in the meantime is left to whoever changed it, who has the newest key too.

public import Database
public import Vault

public struct Resealing: Sendable {
    /// Rows of one write.
    private static let batch = 200

    /// A column of sealed values.
    private struct Column: Sendable {
        let table: SQL
        let column: SQL
        /// The last column of the table's key, which is whom values are sealed for.
        let owner: SQL
        let purpose: KeyRing.Purpose
        let name: String

        init(_ table: SQL, _ column: SQL, owner: SQL = "id", _ purpose: KeyRing.Purpose) {
            self.table = table
            self.column = column
            self.owner = owner
            self.purpose = purpose
            name = "\(table.text).\(column.text)"
        }
    }

    private static let columns = [
        Column("session", "client_secret", .clientSecret),
        Column("authorization_at_institution", "credential", .bankCredential),
        Column("revocation", "credential", .bankCredential),
        Column("auth_session", "note", .signInNote),
        Column("auth_session", "credential", .bankCredential),
        Column("auth_session", "address", .signInAddress),
        Column("upload_piece", "sealed", .upload),
        Column("webhook_endpoint", "secret", .webhookSecret),
        Column("webhook_endpoint", "former_secret", .webhookSecret),
        Column("idempotency", "body", owner: "key", .idempotentAnswer),
    ]

    private let database: Database
    private let ring: KeyRing

    public init(_ database: Database, _ ring: KeyRing) {
        self.database = database
        self.ring = ring
    }

    /// What was sealed anew in a column.
    public struct Resealed: Sendable {
        public let column: String
        public let values: Int
    }

    /// A value that no key of the ring opens.
    public struct Unopened: Error {
        public let column: String
        public let row: String
    }

    /// - Throws: ``Unopened``; what was sealed anew before stays so.
    public func run() async throws -> [Resealed] {
        var done: [Resealed] = []
        for column in Self.columns {
            var (count, place) = (0, Place())
            while let step = try await step(column, after: place) { (count, place) = (count + step.count, step.last) }
            done.append(Resealed(column: column.name, values: count))
        }
        try await database.write { [ring] db in
            try MarkKey.renew(ring, in: db)
            try RingCheck.renew(ring, in: db)
        }
        return done
    }

    /// A row, by its key.
    private struct Place: Sendable {
        var merchant = ""
        var livemode: Int64 = 0
        var owner = ""
    }

    /// Seals some values of a column anew.
    /// - Returns: nil where there is none left behind `place`.
    private func step(_ column: Column, after place: Place) async throws -> (count: Int, last: Place)? {
        try await database.write { [ring] db in
            let found = try db.all(
                """
                SELECT merchant, livemode, \(column.owner), \(column.column) FROM \(column.table)
                WHERE (merchant, livemode, \(column.owner)) > (\(place.merchant), \(place.livemode), \(place.owner))
                AND length(\(column.column)) > 0 AND substr(\(column.column), 1, 5) <> \(ring.newestMark)
                ORDER BY merchant, livemode, \(column.owner) LIMIT \(Self.batch)
                """
            ) { row in
                let place = Place(merchant: try row.text(0), livemode: try row.int(1), owner: try row.text(2))
                return (place: place, sealed: try row.bytes(3))
            }
            guard let last = found.last?.place else { return nil }
            for (place, sealed) in found {
                guard let secret = try? ring.open(sealed, for: column.purpose, owner: place.owner) else {
                    throw Unopened(column: column.name, row: place.owner)
                }
                try db.execute(
                    """
                    UPDATE \(column.table) SET \(column.column) =
                        \(try ring.seal(secret, for: column.purpose, owner: place.owner))
                    WHERE merchant = \(place.merchant) AND livemode = \(place.livemode)
                    AND \(column.owner) = \(place.owner) AND \(column.column) = \(sealed)
                    """
                )
            }
            return (found.count, last)
        }
    }
}
