/// A database of every earlier schema is brought to the newest one, on every store.

import Connections
import Database
import Foundation
import Logging
import Testing

@Suite("Migrations")
struct MigrationsTests {
    private let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    @Test("reach the newest schema from each earlier one, and keep what is there", arguments: 1...Migrations.all.count)
    func earlier(count: Int) async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "linkspan-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        var locations = [Database.Location.file(folder.appending(path: "test.db").path)]
        if PostgresSchema.isAvailable { locations.append(.postgres(try await PostgresSchema.make(connections: 1))) }
        for location in locations {
            let world = World(milliseconds: { Stage.start * 1000 })
            let earlier = try Database(location, migrations: Array(Migrations.all.prefix(count)), logger: quiet)
            let before = try await earlier.write { db in try Merchant.platform(named: "Shop", in: db, world).id }
            try earlier.close()
            let newest = try Database(location, migrations: Migrations.all, logger: quiet)
            #expect(try await newest.status().schemaVersion == Migrations.all.count)
            #expect(try await newest.write { db in try Merchant.platform(in: db, world).id } == before)
            try newest.close()
        }
    }
}
