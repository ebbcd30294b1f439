/// Where a PostgreSQL database is, and how it is spoken to.

public struct Postgres: Sendable {
    let url: String
    let password: String?
    /// How many transactions run at once.
    let connections: Int
    /// The host, port and database, for whoever reads an error: never a user or a password.
    public let place: String

    /// - Parameters:
    ///   - url: as libpq takes it: `postgres://user@host:5432/database?sslmode=verify-full`.
    ///   - password: instead of one in the address.
    /// - Throws: ``DatabaseError/badAddress`` for what is no such address.
    public init(url: String, password: String? = nil, connections: Int = 8) throws(DatabaseError) {
        let schemes = ["postgres://", "postgresql://"]
        guard let scheme = schemes.first(where: { url.hasPrefix($0) }) else { throw .badAddress }
        let parts = url.dropFirst(scheme.count).split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        // A user or a password with a bare @ would be read as a part of the host, and told to whoever reads an error.
        let address = parts[0].split(separator: "@", omittingEmptySubsequences: false)
        guard address.count <= 2, let place = address.last, url.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7F }) else {
            throw .badAddress
        }
        self.url = url
        self.password = password
        self.connections = max(1, connections)
        self.place = place.isEmpty ? "localhost" : String(place)
    }
}
