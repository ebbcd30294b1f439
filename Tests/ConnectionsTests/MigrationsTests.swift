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

    @Test("make indexes that SQLite takes, rather than walking over a merchant's accounts or an account's transactions")
    func searches() async throws {
        let database = try Database(.memory, migrations: Migrations.all, logger: quiet)
        let searches: [(index: String, search: SQL)] = [
            (
                "account_by_authorization",
                """
                SELECT id FROM account WHERE merchant = '' AND livemode = 0 AND authorization_id = ''
                AND status = 'active' ORDER BY created, id
                """
            ),
            (
                "account_by_authorization",
                """
                SELECT MIN(expected_deactivation) FROM account WHERE merchant = '' AND livemode = 0
                AND authorization_id = '' AND status = 'active'
                """
            ),
            (
                "account_by_clock",
                """
                SELECT id FROM account WHERE merchant = '' AND livemode = 0 AND test_clock = ''
                AND test_clock IS NOT NULL AND status <> 'disconnected' ORDER BY created, id
                """
            ),
            (
                "bank_transaction_pending",
                """
                SELECT institution_id FROM bank_transaction WHERE merchant = '' AND livemode = 0 AND account = ''
                AND status = 'pending' AND transacted_at >= 1 AND transacted_at < 2 AND seen < 1 LIMIT 500
                """
            ),
            (
                "delivery_due",
                """
                SELECT COUNT(*) FROM delivery WHERE merchant = '' AND livemode = 0 AND endpoint = ''
                AND status = 'pending'
                """
            ),
            (
                "delivery_due",
                "DELETE FROM delivery WHERE merchant = '' AND livemode = 0 AND endpoint = '' AND status = 'pending'"
            ),
            (
                "delivery_failed",
                "DELETE FROM delivery WHERE merchant = '' AND livemode = 0 AND endpoint = '' AND status = 'failed'"
            ),
            (
                "auth_session_by_session",
                "SELECT id FROM auth_session WHERE merchant = '' AND livemode = 0 AND session = ''"
            ),
        ]
        for (index, search) in searches {
            let plan = try await database.read { db in try db.all("EXPLAIN QUERY PLAN \(search)") { try $0.text(3) } }
            #expect(plan.count == 1 && plan[0].contains("INDEX \(index) "))
        }
    }
}
