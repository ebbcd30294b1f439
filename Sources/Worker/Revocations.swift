/// Tells institutions that a consent is no longer needed.
///
/// Nobody waits for it: it looks every few seconds, tells one institution after the other, and gives up on one that
/// will not hear for half a day.

public import Connections
public import Database
internal import Foundation
public import Institutions
public import Logging
public import Vault

public struct Revocations: Sendable {
    private let database: Database
    private let ring: KeyRing
    private let world: World
    private let directory: Directory
    private let logger: Logger

    public init(database: Database, ring: KeyRing, world: World, directory: Directory, logger: Logger) {
        self.database = database
        self.ring = ring
        self.world = world
        self.directory = directory
        self.logger = logger
    }

    /// Works until the task is cancelled.
    public func run() async {
        while !Task.isCancelled {
            do {
                while try await step() && !Task.isCancelled {}
            } catch DatabaseError.closed {
                return
            } catch {
                logger.error("consents cannot be revoked", metadata: ["error": "\(error)"])
            }
            try? await Task.sleep(for: .seconds(3))
        }
    }

    /// Tells one institution.
    /// - Returns: false where there was none to tell.
    public func step() async throws -> Bool {
        let world = world
        guard try await database.read({ db in try Revocation.isDue(db, world) }),
            let revocation = try await database.write({ db in try Revocation.claim(db, world) })
        else { return false }
        let credential: [UInt8]
        do {
            credential = try revocation.credential(ring)
        } catch {
            // Nobody can be told with it; a ring that is put right in the meantime helps the next time.
            logger.error("a consent's credential cannot be opened", metadata: ["authorization": "\(revocation.id)"])
            if revocation.isLast { try await database.write { db in try revocation.end(db) } }
            return true
        }
        let refusal = await tell(revocation, credential)
        if let refusal {
            logger.info(
                "a consent could not be revoked",
                metadata: ["institution": "\(revocation.institution)", "reason": "\(refusal)"]
            )
        }
        if refusal == nil || revocation.isLast { try await database.write { db in try revocation.end(db) } }
        return true
    }

    /// - Returns: why the institution is to be told again, nil where it knows.
    private func tell(_ revocation: Revocation, _ credential: [UInt8]) async -> ConnectorError? {
        let found = directory.find(revocation.institution, livemode: revocation.scope.livemode)
        // A server that is set up otherwise, or will be again, may know it.
        guard let (institution, connector) = found else { return .institutionUnavailable(until: nil) }
        guard let connector = connector as? any ConsentKeeping else { return nil }
        // It is this worker's alone until the time that the claim takes is over.
        let access = Access(
            institution: institution,
            holder: revocation.holder,
            now: world.wall(),
            credential: credential,
            renew: { [database, ring, credential] ask throws(ConnectorError) in
                try await unbroken { () async throws(ConnectorError) in
                    let renewed = try await ask(credential)
                    do {
                        try await database.write { db in try revocation.renew(renewed, db, ring) }
                    } catch {
                        throw .superseded
                    }
                    return renewed
                }
            }
        )
        do throws(ConnectorError) {
            try await connector.revoke(access)
            return nil
        } catch {
            switch error {
            // It is over already.
            case .relinkRequired, .accountClosed, .unsupported: return nil
            default: return error
            }
        }
    }
}
