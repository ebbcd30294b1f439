/// How often a server was started with a seed on this database, so that each start makes other ids than those before.

public import Database

public enum SeededStart {
    /// - Returns: the number of this start, from 1.
    public static func count(in db: Connection) throws -> Int64 {
        try db.first(
            """
            INSERT INTO seeded_start (id, count) VALUES (1, 1)
            ON CONFLICT (id) DO UPDATE SET count = seeded_start.count + 1 RETURNING count
            """
        ) { try $0.int(0) } ?? 1
    }
}
