/// Deliveries as a worker makes them: how many at a time, what becomes of them when it is stopped, and that what they
/// came to is not lost.

import Connections
import Database
import Logging
import Outbound
import Synchronization
import Testing
import Vault
import Wire
import Worker

extension Works {
    /// Makes an endpoint for new customers.
    @discardableResult
    func endpoint(_ url: String) async throws -> String {
        let form = "enabled_events[]=customer.created&url=\(url)"
        let parameters = try Parameters(Form.decode(Array(form.utf8)), allowing: WebhookEndpoint.namesOfCreate)
        let draft = try WebhookEndpoint.Draft(parameters, in: scope, world, ring)
        return try await database.write { db in try WebhookEndpoint.create(draft, db).id }
    }

    func customers(_ count: Int) async throws {
        let changes = try Customer.Changes(Parameters(Form.decode([]), allowing: Customer.namesOfNew))
        try await database.write { [scope, world] db in
            for _ in 0..<count { _ = try Customer.create(changes, by: .none, in: scope, db, world) }
        }
    }

    func deliveries(_ log: Log = Log()) -> Deliveries {
        Deliveries(
            database: database,
            ring: ring,
            world: world,
            outbound: Outbound(policy: .withLoopback),
            settings: .init(
                timeout: 60,
                patience: 1000,
                schedule: { _ in Delivery.Schedule(first: 1, longest: 1000, period: 3600) },
                policy: { _ in .init(allowing: Outbound.Policy.withLoopback.allowed, requiresTLS: false) },
                grace: .zero
            ),
            logger: Logger(label: "test") { _ in log }
        )
    }

    /// How many deliveries have a status, to one endpoint or to all.
    func count(_ status: Delivery.Status, of endpoint: String? = nil) async throws -> Int64 {
        try await database.read { db in
            let mine: SQL = endpoint.map { "AND endpoint = \($0)" } ?? ""
            return try db.first("SELECT COUNT(*) FROM delivery WHERE status = \(status.rawValue) \(mine)") {
                try $0.int(0)
            } ?? 0
        }
    }

    /// When the first delivery is due, in milliseconds from now.
    func due() async throws -> Int64? {
        try await database.read { [world] db in
            try db.first("SELECT MIN(due_milliseconds) FROM delivery") { try $0.int(0) - world.wallMilliseconds() }
        }
    }

    /// Lets a worker deliver until a condition is met, then stops it and waits for its end.
    func delivering(_ log: Log = Log(), until isDone: @escaping @Sendable () async throws -> Bool) async throws {
        let worker = deliveries(log)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await worker.run() }
            defer { group.cancelAll() }
            try await Works.wait(until: isDone)
        }
    }

    static func wait(until isDone: @Sendable () async throws -> Bool) async throws {
        let deadline = ContinuousClock.now + .seconds(20)
        while try await !isDone() {
            try #require(ContinuousClock.now < deadline, "it did not happen")
            try await Task.sleep(for: .milliseconds(5))
        }
    }
}

/// What a worker logged.
struct Log: LogHandler {
    private final class Lines: Sendable {
        let all = Mutex<[String]>([])
    }

    private let lines = Lines()
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.info

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        lines.all.withLock { $0.append("\(event.message)") }
    }

    func has(_ words: String) -> Bool { lines.all.withLock { $0.contains { $0.contains(words) } } }
}

@Suite("Deliveries", .timeLimit(.minutes(2)))
struct DeliveriesTests {
    @Test("are two at a time at an endpoint that has not answered, and hold up no other", arguments: Store.allCases)
    func hanging(store: Store) async throws {
        let works = try await Works(store)
        let (silent, good) = (try await Receiver(nil), try await Receiver(Receiver.ok))
        try await works.endpoint("\(silent.url)/")
        let answering = try await works.endpoint("\(good.url)/")
        try await works.customers(40)
        try await works.delivering {
            try await works.count(.succeeded, of: answering) == 40 && silent.count("/") >= 2
        }
        #expect(silent.count("/") == 2 && good.count("/") == 40)
    }

    @Test("are given up when the worker is stopped, and free for others at once", arguments: Store.allCases)
    func stopped(store: Store) async throws {
        let works = try await Works(store)
        let silent = try await Receiver(nil)
        try await works.endpoint("\(silent.url)/")
        try await works.customers(1)
        try await works.delivering { silent.count("/") == 1 }
        #expect(try await works.count(.pending) == 1)
        #expect(try await works.due() == 0)
        silent.open(Receiver.ok)
        try await works.delivering { try await works.count(.succeeded) == 1 }
    }

    @Test("are noted although the database fails for a moment", arguments: Store.allCases)
    func noted(store: Store) async throws {
        let works = try await Works(store)
        let (receiver, log) = (try await Receiver(nil), Log())
        try await works.endpoint("\(receiver.url)/")
        try await works.customers(1)
        @Sendable func rename(_ from: String, _ to: String) async throws {
            _ = try await works.database.write { db in
                try db.execute(SQL(stringLiteral: "ALTER TABLE \(from) RENAME TO \(to)"))
            }
        }
        let step = Atomic(0)
        try await works.delivering(log) {
            if receiver.count("/") == 1, step.compareExchange(expected: 0, desired: 1, ordering: .relaxed).exchanged {
                try await rename("delivery_attempt", "elsewhere")
                receiver.open(Receiver.ok)
            }
            if log.has("could not be noted"),
                step.compareExchange(expected: 1, desired: 2, ordering: .relaxed).exchanged
            {
                try await rename("elsewhere", "delivery_attempt")
            }
            return try await works.count(.succeeded) == 1
        }
        #expect(receiver.count("/") == 1)
    }

    @Test(
        "wait as long as the receiver asks, within bounds",
        arguments: [
            ("Mon, 21 Sep 2026 14:15:00 GMT", 100_000), ("500", 500_000), ("99999999999999999", 1_000_000),
            ("Mon, 99999999999999999 Sep 2026 14:15:00 GMT", 800),
        ] as [(String, Int64)]
    )
    func retryAfter(text: String, milliseconds: Int64) async throws {
        let works = try await Works(.file)
        let receiver = try await Receiver(
            "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nRetry-After: \(text)\r\n\r\n"
        )
        try await works.endpoint("\(receiver.url)/")
        try await works.customers(1)
        try await works.delivering {
            try await works.database.read { db in
                try db.first("SELECT COUNT(*) FROM delivery_attempt") { try $0.int(0) } == 1
            }
        }
        let due = try #require(try await works.due())
        #expect((milliseconds...max(milliseconds, 1200)).contains(due))
    }
}
