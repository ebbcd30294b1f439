/// Sends events to webhook endpoints.
///
/// What is due is claimed for each endpoint by itself, as much as the endpoint may have at a time: one that hangs holds
/// up its own deliveries and no other's. Nothing is open in the database while something is sent. Attempts report to
/// one writer, which takes all that came in the meantime into one transaction.

public import Connections
public import Database
public import Logging
public import Outbound
internal import Synchronization
public import Vault

public final class Deliveries: Sendable {
    public struct Settings: Sendable {
        let timeout: Duration
        let patience: Int64
        let schedule: @Sendable (Bool) -> Delivery.Schedule
        let policy: @Sendable (Bool) -> Outbound.Policy

        /// - Parameters:
        ///   - timeout: seconds for a whole attempt.
        ///   - patience: seconds of nothing but failures after which an endpoint is disabled.
        ///   - schedule: how attempts follow each other, in live mode and not.
        ///   - policy: what may be reached, in live mode and not.
        public init(
            timeout: Int64,
            patience: Int64,
            schedule: @escaping @Sendable (_ livemode: Bool) -> Delivery.Schedule,
            policy: @escaping @Sendable (_ livemode: Bool) -> Outbound.Policy
        ) {
            self.timeout = .seconds(timeout)
            self.patience = patience
            self.schedule = schedule
            self.policy = policy
        }

        /// A claim outlives its attempt by as much again, so that a slow report still counts.
        fileprivate var lease: Int64 { timeout.components.seconds * 2000 }
    }

    /// How many attempts at an endpoint are under way at a time; of one that fails, few.
    private static let concurrency = 16
    private static let concurrencyWhenFailing = 2
    private static let maximumReply = 64 * 1024
    /// How many reports go into one write.
    private static let batch = 500

    private let database: Database
    private let ring: KeyRing
    private let world: World
    private let outbound: (test: Outbound, live: Outbound)
    private let settings: Settings
    private let logger: Logger

    private struct State {
        /// Attempts under way, by endpoint.
        var underWay: [String: Int] = [:]
        var reports: [Delivery.Outcome] = []
        /// What was begun and is not noted yet.
        var count = 0
    }

    private let state = Mutex(State())
    private let isStopping = Mutex(false)
    /// There may be something to claim.
    private let look = Bell()
    /// There is something to note.
    private let news = Bell()

    public init(
        database: Database,
        ring: KeyRing,
        world: World,
        outbound: Outbound,
        settings: Settings,
        logger: Logger
    ) {
        self.database = database
        self.ring = ring
        self.world = world
        self.outbound = (outbound.under(settings.policy(false)), outbound.under(settings.policy(true)))
        self.settings = settings
        self.logger = logger
    }

    /// Works until the task is cancelled, then waits for the attempts that are under way.
    public func run() async {
        // Of their own: they outlive the cancellation.
        let reporting = Task { await report() }
        await withTaskGroup { group in
            group.addTask { [self] in
                for await _ in database.wakes(.deliveries) { look.ring() }
            }
            group.addTask { [self] in
                // A wake-up can be lost, and none comes for an attempt that has become due.
                while !Task.isCancelled {
                    look.ring()
                    try? await Task.sleep(for: .milliseconds(500))
                }
            }
            group.addTask { [self] in
                for await _ in look.rings { await dispatch() }
            }
            await group.waitForAll()
        }
        isStopping.withLock { $0 = true }
        news.ring()
        await reporting.value
    }

    // MARK: Claiming

    /// Claims what is due and starts to send it.
    private func dispatch() async {
        do {
            let now = world.wallMilliseconds()
            let due = try await database.read { db in try WebhookEndpoint.due(at: now, db) }
            let wanted = state.withLock { state in
                due.compactMap { endpoint -> (endpoint: WebhookEndpoint, count: Int)? in
                    let limit = endpoint.isFailing ? Self.concurrencyWhenFailing : Self.concurrency
                    let count = limit - (state.underWay[endpoint.id] ?? 0)
                    return count > 0 ? (endpoint, count) : nil
                }
            }
            guard !wanted.isEmpty, !Task.isCancelled else { return }
            let claims = try await database.write { [world, settings] db in
                try wanted.flatMap { endpoint, count in
                    try Delivery.claim(count, for: endpoint, lease: settings.lease, db, world).map { (endpoint, $0) }
                }
            }
            try await start(claims)
        } catch {
            logger.error("deliveries could not be claimed", metadata: ["error": "\(error)"])
        }
    }

    private func start(_ claims: [(endpoint: WebhookEndpoint, claim: Delivery.Claim)]) async throws {
        guard !claims.isEmpty else { return }
        let events = try await database.read { db in
            var events: [String: Event] = [:]
            for (_, claim) in claims where events[claim.event] == nil {
                events[claim.event] = try Event.known(claim.event, in: claim.scope, db)
            }
            return events
        }
        state.withLock { state in
            for (endpoint, _) in claims { state.underWay[endpoint.id, default: 0] += 1 }
            state.count += claims.count
        }
        for (endpoint, claim) in claims {
            // Not a child: what was begun is finished when the server stops.
            Task { [self] in await attempt(claim, events[claim.event], endpoint) }
        }
    }

    // MARK: Sending

    private func attempt(_ claim: Delivery.Claim, _ event: Event?, _ endpoint: WebhookEndpoint) async {
        let at = world.wall()
        let start = ContinuousClock.now
        let result = await send(claim, event, endpoint, at)
        let (seconds, attoseconds) = (ContinuousClock.now - start).components
        let outcome = Delivery.Outcome(
            claim,
            at: at,
            milliseconds: seconds * 1000 + attoseconds / 1_000_000_000_000_000,
            result
        )
        let wasFull = state.withLock { state in
            let count = state.underWay[endpoint.id] ?? 1
            state.underWay[endpoint.id] = count > 1 ? count - 1 : nil
            state.reports.append(outcome)
            return count >= Self.concurrencyWhenFailing
        }
        news.ring()
        if wasFull { look.ring() }
    }

    private func send(
        _ claim: Delivery.Claim,
        _ event: Event?,
        _ endpoint: WebhookEndpoint,
        _ now: Int64
    ) async -> Delivery.Outcome.Result {
        guard let event else { return .pointless(problem: "the event is no longer kept") }
        guard let secrets = try? endpoint.secrets(at: now, ring) else {
            logger.error("a signing secret cannot be opened", metadata: ["endpoint": "\(endpoint.id)"])
            return .failed(problem: "the signing secret cannot be opened")
        }
        let body = event.rendering(in: endpoint.apiVersion)
        let request = Outbound.Request(
            method: "POST",
            url: endpoint.url,
            headers: [
                ("Accept", "*/*"),
                ("Content-Type", "application/json; charset=utf-8"),
                ("Stripe-Signature", Signature.header(of: body, at: now, secrets: secrets)),
                ("User-Agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)"),
            ],
            body: body,
            timeout: settings.timeout,
            maximumReply: Self.maximumReply,
            whenLonger: .cut,
            // Deliveries may come twice, and say so by the event's id.
            isRepeatable: true
        )
        do {
            let reply = try await (claim.scope.livemode ? outbound.live : outbound.test).send(request)
            return .answered(
                status: reply.status,
                reply: reply.body,
                retryAfter: reply.retryAfter(now).map { $0 - now }
            )
        } catch OutboundError.cancelled {
            return .released
        } catch {
            return .failed(problem: error.description)
        }
    }

    // MARK: Reporting

    /// Takes the reports into the database until the server stops and nothing is under way.
    private func report() async {
        for await _ in news.rings {
            while await reportOnce() {}
            if isStopping.withLock({ $0 }), state.withLock({ $0.count }) == 0 { return }
        }
    }

    /// - Returns: whether more wait.
    private func reportOnce() async -> Bool {
        let reports = state.withLock { state in
            let reports = Array(state.reports.prefix(Self.batch))
            state.reports.removeFirst(reports.count)
            return reports
        }
        guard !reports.isEmpty else { return false }
        do {
            let disabled = try await database.write { [world, settings] db in
                try Delivery.finish(reports, schedule: settings.schedule, patience: settings.patience, db, world)
            }
            for (endpoint, since) in disabled {
                logger.warning(
                    "a webhook endpoint was disabled: nothing could be delivered to it for too long",
                    metadata: ["endpoint": "\(endpoint)", "failing_since": "\(since)"]
                )
            }
        } catch {
            // Their claims end and they are sent again.
            logger.error("deliveries could not be noted", metadata: ["error": "\(error)", "count": "\(reports.count)"])
        }
        return state.withLock { state in
            state.count -= reports.count
            return !state.reports.isEmpty
        }
    }
}
