/// A schema of a test's own in the PostgreSQL server that `LINKSPAN_TEST_DATABASE` names. Without it, what is tested
/// is SQLite alone.

import Database
import Foundation
import Logging

enum PostgresSchema {
    private static let server = ProcessInfo.processInfo.environment["LINKSPAN_TEST_DATABASE"]

    static var isAvailable: Bool { server != nil }

    /// Makes a schema; it goes with the server.
    static func make(connections: Int = 3) async throws -> Postgres {
        let name = "test_\(UUID().uuidString.lowercased().filter { $0 != "-" })"
        let server = server ?? ""
        let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let database = try Database(
            .postgres(Postgres(url: server, connections: 1)),
            migrations: [],
            logger: quiet
        )
        _ = try await database.write { db in try db.execute(SQL(stringLiteral: "CREATE SCHEMA \(name)")) }
        try database.close()
        let separator = server.contains("?") ? "&" : "?"
        return try Postgres(
            url: "\(server)\(separator)options=-c%20search_path%3D\(name)",
            connections: connections
        )
    }
}
