/// PostgreSQL: a few connections, each with a thread of its own, that run one transaction after another.
///
/// Writes are SERIALIZABLE and run again where another transaction was in the way; reads of several statements see one
/// state. When the server goes away, what is asked fails at once instead of waiting, one connection at a time tries to
/// come back, and what had not begun its COMMIT is run again on the new one.

#if Postgres
    internal import Foundation
    internal import Logging
    internal import Synchronization

    final class PostgresDriver: Sendable {
        /// How often a write is run before its caller is told to come again.
        private static let maximumRuns = 40
        /// How often a write is run that finds a row where it looked for none: most often that is no conflict.
        private static let maximumRunsOfDuplicates = 4

        let listeners = Listeners()
        let engine: String
        private let postgres: Postgres
        private let logger: Logger
        private let queue = PostgresQueue()
        private let outage = Mutex(Outage())
        private let sessions: Mutex<[PostgresSession?]>
        private let messenger: PostgresMessenger

        /// What is known of a server that cannot be reached.
        private struct Outage {
            var failures = 0
            var reason = ""
            var isTrying = false
            var next = ContinuousClock.now
        }

        /// Connects, brings the schema up to date, and begins to work.
        init(_ postgres: Postgres, migrations: [Migration], logger: Logger) throws {
            self.postgres = postgres
            self.logger = logger
            let first = try Self.translating { try PostgresSession(postgres) }
            engine = "PostgreSQL \(first.version)"
            try Self.translating { try Self.migrate(first, migrations) }
            sessions = Mutex([first] + Array(repeating: nil, count: postgres.connections - 1))
            messenger = PostgresMessenger(postgres, listeners, logger)
            for slot in 0..<postgres.connections {
                let thread = Thread { [self] in work(slot) }
                thread.name = "postgres-\(slot)"
                queue.began()
                thread.start()
            }
        }

        // MARK: What is asked

        func read<T: Sendable>(_ body: @escaping @Sendable (Connection) throws -> T) async throws -> T {
            try await submit { session in
                session.begin("ISOLATION LEVEL REPEATABLE READ READ ONLY")
                let value = try body(Connection(session))
                try session.commit()
                return value
            }
        }

        func lookup<T: Sendable>(_ body: @escaping @Sendable (Connection) throws -> T) async throws -> T {
            try await submit { session in
                session.begin(nil)
                return try body(Connection(session))
            }
        }

        func write<T: Sendable>(_ body: @escaping @Sendable (Connection) throws -> T) async throws -> T {
            try await submit { [messenger] session in
                session.begin("ISOLATION LEVEL SERIALIZABLE READ WRITE")
                let value = try body(Connection(session))
                try session.commit()
                messenger.wake(session.wakes)
                return value
            }
        }

        func wakes(_ channel: Wake) -> AsyncStream<Void> {
            messenger.start()
            return listeners.stream(channel)
        }

        private func submit<T: Sendable>(_ body: @escaping @Sendable (PostgresSession) throws -> T) async throws -> T {
            try await withCheckedThrowingContinuation { continuation in
                let job = PostgresQueue.Job(
                    run: { slot in continuation.resume(with: Result { try self.run(slot, body) }) },
                    refuse: { continuation.resume(throwing: $0) }
                )
                queue.add(job)
            }
        }

        // MARK: On the threads

        private func work(_ slot: Int) {
            while let job = queue.next() { job.run(slot) }
            sessions.withLock { $0[slot] = nil }
            queue.ended()
        }

        /// Runs it on the slot's connection, again and again while that is of use.
        private func run<T>(_ slot: Int, _ body: (PostgresSession) throws -> T) throws -> T {
            var runs = 0
            while true {
                let (session, isNew) = try session(slot)
                runs += 1
                do {
                    return try body(session)
                } catch {
                    session.rollBack()
                    let fault = session.fault
                    if case .lost = fault { sessions.withLock { $0[slot] = nil } }
                    switch fault {
                    case .lost where session.isInDoubt:
                        throw DatabaseError.storage("the connection was lost while a transaction was committed")
                    case .lost where !isNew && !queue.isClosed: continue
                    case .conflict where runs < Self.maximumRuns: pause(runs)
                    case .duplicate where runs < Self.maximumRunsOfDuplicates: pause(runs)
                    default: throw (error as? PostgresError)?.translated ?? error
                    }
                }
            }
        }

        /// Lets the other one finish: up to a quarter of a second, longer each time, by chance.
        private func pause(_ runs: Int) {
            Thread.sleep(forTimeInterval: .random(in: 0...0.001) * Double(1 << min(runs, 8)))
        }

        /// The slot's connection, made where there is none.
        /// - Throws: at once, where another is finding out whether the server is back.
        private func session(_ slot: Int) throws -> (PostgresSession, isNew: Bool) {
            if let session = sessions.withLock({ $0[slot] }) { return (session, false) }
            let reason = outage.withLock { outage -> String? in
                guard outage.failures > 0 else { return nil }
                guard !outage.isTrying, ContinuousClock.now >= outage.next else { return outage.reason }
                outage.isTrying = true
                return nil
            }
            if let reason { throw DatabaseError.unreachable(reason) }
            do {
                let session = try Self.translating { try PostgresSession(postgres) }
                let wasOut = outage.withLock { outage in
                    defer { outage = Outage() }
                    return outage.failures > 0
                }
                if wasOut { logger.notice("the database is back") }
                sessions.withLock { $0[slot] = session }
                return (session, true)
            } catch {
                let failures = outage.withLock { outage in
                    outage.failures += 1
                    outage.isTrying = false
                    outage.reason = "\(error)"
                    // From a twentieth of a second to two.
                    let wait = min(2, 0.05 * Double(1 << min(outage.failures, 6)))
                    outage.next = .now + .seconds(wait * .random(in: 0.5...1))
                    return outage.failures
                }
                if failures == 1 { logger.error("the database is out of reach", metadata: ["error": "\(error)"]) }
                throw error
            }
        }

        // MARK: Schema and end

        /// Brings the schema up to date, one server at a time. Where nothing is to be done, no right to it is needed.
        private static func migrate(_ session: PostgresSession, _ migrations: [Migration]) throws {
            let connection = Connection(session)
            let isThere = try connection.first("SELECT to_regclass('migration') IS NOT NULL") { try $0.bool(0) }
            if isThere == true {
                let applied = try connection.first("SELECT COUNT(*) FROM migration") { try $0.int(0) }
                if applied == Int64(migrations.count) { return }
            }
            session.begin("ISOLATION LEVEL READ COMMITTED READ WRITE")
            let patience = session.patience
            session.patience = -1
            defer { session.patience = patience }
            do {
                try connection.execute("SET LOCAL statement_timeout = 0")
                try connection.execute("SET LOCAL lock_timeout = 0")
                // Any number, as long as it is always the same, with one of the schema's.
                try connection.first("SELECT pg_advisory_xact_lock(1818850910, hashtext(current_schema()))") { _ in }
                try Migration.apply(migrations, connection)
                try session.commit()
            } catch {
                session.rollBack()
                throw error
            }
        }

        /// Finishes what was accepted, asks the server to end what takes too long, and closes every connection.
        func close() {
            messenger.close()
            if !queue.close(within: 10) {
                for session in sessions.withLock({ $0 }) { session?.cancel() }
                _ = queue.close(within: 5)
            }
            listeners.close()
        }

        /// Closes every connection as soon as nothing is done on it, without waiting for that.
        func abandon() {
            messenger.close()
            _ = queue.close(within: 0)
            listeners.close()
        }

        /// Says in our own words what the engine could not do.
        static func translating<T>(_ body: () throws -> T) throws -> T {
            do {
                return try body()
            } catch let error as PostgresError {
                throw error.translated
            }
        }
    }

    /// What waits for a connection, first come, first served.
    final class PostgresQueue: @unchecked Sendable {
        /// The most that waits; the next one is refused.
        private static let capacity = 8192
        /// Who waited longer has given up, or will.
        private static let patience = Duration.seconds(20)

        struct Job {
            let run: (_ slot: Int) -> Void
            let refuse: (DatabaseError) -> Void
            let asked = ContinuousClock.now
        }

        /// Guards all that follows.
        private let condition = NSCondition()
        private var arriving: [Job] = []
        /// The oldest last.
        private var leaving: [Job] = []
        private var threads = 0
        private var closed = false

        var isClosed: Bool { condition.withLock { closed } }

        func began() { condition.withLock { threads += 1 } }

        func ended() {
            condition.withLock {
                threads -= 1
                condition.broadcast()
            }
        }

        func add(_ job: Job) {
            let refusal = condition.withLock { () -> DatabaseError? in
                guard !closed else { return .closed }
                guard arriving.count + leaving.count < Self.capacity else { return .busy }
                arriving.append(job)
                condition.signal()
                return nil
            }
            if let refusal { job.refuse(refusal) }
        }

        /// Waits for something to do; nil when there will be nothing more.
        func next() -> Job? {
            while let job = take() {
                if ContinuousClock.now - job.asked < Self.patience { return job }
                job.refuse(.busy)
            }
            return nil
        }

        private func take() -> Job? {
            condition.withLock {
                while arriving.isEmpty && leaving.isEmpty && !closed { condition.wait() }
                if leaving.isEmpty {
                    leaving = arriving.reversed()
                    arriving = []
                }
                return leaving.popLast()
            }
        }

        /// Takes nothing more.
        /// - Returns: whether all that was taken is done within the time.
        func close(within seconds: TimeInterval) -> Bool {
            condition.withLock {
                closed = true
                condition.broadcast()
                let end = Date(timeIntervalSinceNow: seconds)
                while threads > 0 { guard condition.wait(until: end) else { break } }
                return threads == 0
            }
        }
    }
#endif
