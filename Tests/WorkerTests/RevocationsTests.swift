/// Consents that are given up.

import Connections
import Database
import Institutions
import Logging
import Testing
import Worker

@Suite("Revocations")
struct RevocationsTests {
    @Test("end where the credential cannot be opened, and not at once", arguments: Store.allCases)
    func unreadable(store: Store) async throws {
        let works = try await Works(store)
        try await works.database.write { [scope = works.scope] db in
            _ = try db.execute(
                """
                INSERT INTO revocation (merchant, livemode, id, holder, institution, credential, run_at, attempts)
                VALUES (\(scope.merchant), \(scope.livemode), 'fcauth_1', \(scope.merchant), \(Bank.institution.id),
                    \([UInt8](repeating: 1, count: 60)), 0, 0)
                """
            )
        }
        let revocations = Revocations(
            database: works.database,
            ring: works.ring,
            world: works.world,
            directory: Directory([Bank()]),
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        )
        var steps = 0
        while try await revocations.step() {
            steps += 1
            works.advance(seconds: 86_400)
            try #require(steps < 100)
        }
        #expect(steps == 10)
    }
}
