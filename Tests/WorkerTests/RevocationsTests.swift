/// Telling institutions that a consent is over: what a renewal brings on the way is there when they are told again, and
/// it ends where they cannot be told.

import Connections
import Database
import Institutions
import Logging
import Synchronization
import Testing
import Vault
import Worker

/// A bank that is told of the end of consents, and whose tokens are spent by being renewed.
private final class ForgetfulBank: ConsentKeeping {
    let isTest = true
    let policy = RefreshPolicy(interval: 1, concurrency: 1, dailyBudget: nil)
    var institutions: [Institution] { [Bank.institution] }
    private let shown = Mutex<[String]>([])

    /// The credentials with which it was told.
    var credentials: [String] { shown.withLock { $0 } }

    func begin(_ attempt: Attempt) async throws(ConnectorError) -> Step { throw .unsupported }

    func resume(
        _ attempt: Attempt,
        from resume: [UInt8],
        _ response: Institutions.Response
    ) async throws(ConnectorError) -> Step { throw .unsupported }

    func accounts(_ access: Access) async throws(ConnectorError) -> [BankAccount] { [] }

    func consentExpiry(_ access: Access) async throws(ConnectorError) -> Int64? { nil }

    /// Is down each time after it has renewed, until the third.
    func revoke(_ access: Access) async throws(ConnectorError) {
        let count = shown.withLock { shown in
            shown.append(String(decoding: access.credential, as: UTF8.self))
            return shown.count
        }
        guard count < 3 else { return }
        _ = try await access.renew { stored throws(ConnectorError) in stored + Array("'".utf8) }
        throw .institutionUnavailable(until: nil)
    }
}

@Suite("Revocations")
struct RevocationsTests {
    private func revocations(_ works: Works, _ directory: Directory) -> Revocations {
        Revocations(
            database: works.database,
            ring: works.ring,
            world: works.world,
            directory: directory,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        )
    }

    @Test("go on with what a renewal brought", arguments: Store.allCases)
    func renewal(store: Store) async throws {
        let works = try await Works(store)
        let id = try await works.link(["a"])[0]
        try await works.disconnect(id)
        let bank = ForgetfulBank()
        let revocations = self.revocations(works, Directory([bank]))
        for _ in 0..<3 {
            #expect(try await revocations.step())
            works.advance(seconds: 4 * 3600)
        }
        #expect(try await revocations.step() == false)
        #expect(bank.credentials == ["credential", "credential'", "credential''"])
    }

    @Test("are taken back where the holder has linked anew", arguments: Store.allCases)
    func takenBack(store: Store) async throws {
        let works = try await Works(store)
        try await works.disconnect(try await works.link(["a"])[0])
        _ = try await works.link(["b"])
        let revocations = self.revocations(works, Directory([ForgetfulBank()]))
        #expect(try await !revocations.step())
    }

    @Test("wait where a server does not know the bank", arguments: Store.allCases)
    func unknown(store: Store) async throws {
        let works = try await Works(store)
        try await works.disconnect(try await works.link(["a"])[0])
        let bank = ForgetfulBank()
        for directory in [Directory([]), Directory([bank])] {
            let revocations = self.revocations(works, directory)
            #expect(try await revocations.step())
            works.advance(seconds: 4 * 3600)
        }
        #expect(bank.credentials == ["credential"])
    }

    @Test("wait for a renewal that is under way, and go with what it brings", arguments: Store.allCases)
    func underWay(store: Store) async throws {
        let works = try await Works(store)
        let id = try await works.link(["a"])[0]
        let (scope, world, ring) = (works.scope, works.world, works.ring)
        let (authorization, fence) = try await works.database.write { db in
            let found = try db.first("SELECT id FROM authorization_at_institution") { try $0.text(0) }
            let authorization = try #require(found)
            let known = Array("credential".utf8)
            let turn = try Authorization.beginRenewal(of: authorization, known: known, in: scope, db, world, ring)
            guard case .granted(_, let fence) = turn else { throw VaultError.badKey }
            return (authorization, fence)
        }
        try await works.disconnect(id)
        let bank = ForgetfulBank()
        let revocations = self.revocations(works, Directory([bank]))
        #expect(try await !revocations.step() && bank.credentials == [])
        let isStored = try await works.database.write { db in
            try Authorization.endRenewal(
                of: authorization,
                fence: fence,
                renewed: Array("renewed".utf8),
                in: scope,
                db,
                ring
            )
        }
        #expect(!isStored, "nothing is asked with it any more")
        #expect(try await revocations.step() && bank.credentials == ["renewed"])
    }

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
        let revocations = self.revocations(works, Directory([Bank()]))
        var steps = 0
        while try await revocations.step() {
            steps += 1
            works.advance(seconds: 86_400)
            try #require(steps < 100)
        }
        #expect(steps == 10)
    }
}
