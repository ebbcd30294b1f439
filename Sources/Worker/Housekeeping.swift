/// Forgets what its time has passed for, a little at a time, so that no request ever waits for it: idempotency keys
/// after a day, events and their deliveries after thirty, sign-ins that nobody can carry on, test clocks after thirty
/// days.

public import Connections
public import Database
public import Logging

public struct Housekeeping: Sendable {
    private let database: Database
    private let world: World
    private let sessionLifetime: Int64
    private let logger: Logger

    public init(database: Database, world: World, sessionLifetime: Int64, logger: Logger) {
        self.database = database
        self.world = world
        self.sessionLifetime = sessionLifetime
        self.logger = logger
    }

    /// Works until the task is cancelled.
    public func run() async {
        while !Task.isCancelled {
            do {
                while try await step() > 0 && !Task.isCancelled {}
            } catch {
                logger.error("housekeeping failed", metadata: ["error": "\(error)"])
            }
            try? await Task.sleep(for: .seconds(60))
        }
    }

    /// One bounded step.
    /// - Returns: how many rows it forgot; zero when there is nothing left to do.
    public func step() async throws -> Int {
        try await database.write { [world, sessionLifetime] db in
            try Idempotency.prune(in: db, world) + Event.prune(in: db, world)
                + SignIn.prune(lifetime: sessionLifetime, in: db, world) + TestClock.prune(db, world)
                + Authorization.pruneCalls(db, world) + UploadedFile.prune(in: db, world)
        }
    }
}
