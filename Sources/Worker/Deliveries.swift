/// Sends events to webhook endpoints.
///
/// What is due is claimed for each endpoint by itself, as much as the endpoint may have at a time (``Slots``): one that
/// hangs holds up its own deliveries and no other's. Nothing is open in the database while something is sent. Attempts
/// report to one writer, which takes all that came in the meantime into one transaction.

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
        let grace: Duration

        /// - Parameters:
        ///   - timeout: seconds for a whole attempt.
        ///   - patience: seconds of nothing but failures after which an endpoint is disabled.
        ///   - schedule: how attempts follow each other, in live mode and not.
        ///   - policy: what may be reached, in live mode and not.
        ///   - grace: for how long attempts that are under way go on when the worker is stopped.
        public init(
            timeout: Int64,
            patience: Int64,
            schedule: @escaping @Sendable (_ livemode: Bool) -> Delivery.Schedule,
            policy: @escaping @Sendable (_ livemode: Bool) -> Outbound.Policy,
            grace: Duration = .seconds(10)
        ) {
            self.timeout = .seconds(timeout)
            self.patience = patience
            self.schedule = schedule
            self.policy = policy
            self.grace = grace
        }

        /// A claim outlives its attempt by as much again, so that a slow report still counts.
        fileprivate var lease: Int64 { timeout.components.seconds * 2000 }
    }

    private static let maximumReply = 64 * 1024
    /// The longest that claiming waits for more to claim.
    private static let longestPause = Duration.milliseconds(20)
    /// How many reports go into one write.
    private static let batch = 500
    /// How often reports are tried to be noted.
    private static let maximumWrites = 5

    private let database: Database
    private let ring: KeyRing
    private let world: World
    private let outbound: (test: Outbound, live: Outbound)
    private let settings: Settings
    private let logger: Logger

    private struct State {
        var slots = Slots()
        /// Attempts under way, by numbers of ours.
        var attempts: [Int: Task<Void, Never>] = [:]
        var lastAttempt = 0
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

    /// Works until the task is cancelled, then waits a while for what is under way and gives up the rest.
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
                for await _ in look.rings {
                    let elapsed = await ContinuousClock().measure { await dispatch() }
                    // Claims cost less together: what comes meanwhile waits, the longer the more there is to do.
                    try? await Task.sleep(for: min(elapsed * 2, Self.longestPause))
                }
            }
            await group.waitForAll()
        }
        isStopping.withLock { $0 = true }
        news.ring()
        let ending = Task {
            try? await Task.sleep(for: settings.grace)
            for attempt in state.withLock({ $0.attempts.values.map { $0 } }) { attempt.cancel() }
        }
        await reporting.value
        ending.cancel()
    }

    // MARK: Claiming

    /// Claims what is due and starts to send it.
    private func dispatch() async {
        do {
            let now = world.wallMilliseconds()
            let due = try await database.read { db in try WebhookEndpoint.due(at: now, db) }
            let shares = state.withLock { state in
                // Where reports cannot be noted, nothing more is begun.
                state.reports.count >= 2 * Self.batch
                    ? [:] : state.slots.share(due.map { (endpoint: $0.id, isFailing: $0.isFailing) })
            }
            guard !shares.isEmpty, !Task.isCancelled else { return }
            let claims = try await database.write { [world, settings] db in
                try due.flatMap { found -> [(endpoint: WebhookEndpoint, claim: Delivery.Claim)] in
                    // As it is now: it may have been changed, disabled or deleted since it was found.
                    guard let count = shares[found.id], let endpoint = try found.current(db) else { return [] }
                    return try Delivery.claim(count, for: endpoint, lease: settings.lease, db, world).map {
                        (endpoint, $0)
                    }
                }
            }
            try await start(claims)
        } catch {
            logger.error("deliveries could not be claimed", metadata: ["error": "\(error)"])
        }
    }

    /// What is sent to whom. Nil is what could not be had.
    private struct Errand: Sendable {
        let claim: Delivery.Claim
        let endpoint: WebhookEndpoint
        let body: [UInt8]?
        let secrets: [String]?
    }

    /// The text of an event is made once for all endpoints of a version, and an endpoint's secrets are opened once.
    private func errands(
        _ claims: [(endpoint: WebhookEndpoint, claim: Delivery.Claim)],
        _ events: [String: Event]
    ) -> [Errand] {
        let now = world.wall()
        // By the event and the version.
        var bodies: [[String?]: [UInt8]] = [:]
        var secrets: [String: [String]] = [:]
        return claims.map { endpoint, claim in
            let text = [claim.event, endpoint.apiVersion]
            bodies[text] = bodies[text] ?? events[claim.event]?.rendering(in: endpoint.apiVersion)
            secrets[endpoint.id] = secrets[endpoint.id] ?? (try? endpoint.secrets(at: now, ring))
            return Errand(claim: claim, endpoint: endpoint, body: bodies[text], secrets: secrets[endpoint.id])
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
        let errands = errands(claims, events)
        state.withLock { state in
            for errand in errands {
                state.slots.begin(at: errand.endpoint.id)
                state.count += 1
                state.lastAttempt += 1
                // Not a child: what was begun goes on for a while when the server stops.
                state.attempts[state.lastAttempt] = Task { [self, number = state.lastAttempt] in
                    await attempt(errand, number)
                }
            }
        }
    }

    // MARK: Sending

    private func attempt(_ errand: Errand, _ number: Int) async {
        let at = world.wall()
        let start = ContinuousClock.now
        let result = await send(errand, at)
        let (seconds, attoseconds) = (ContinuousClock.now - start).components
        let outcome = Delivery.Outcome(
            errand.claim,
            at: at,
            milliseconds: seconds * 1000 + attoseconds / 1_000_000_000_000_000,
            result
        )
        let isAwaited = state.withLock { state in
            state.attempts[number] = nil
            state.reports.append(outcome)
            return state.slots.end(at: errand.endpoint.id, wasAnswered: outcome.wasAnswered)
        }
        news.ring()
        if isAwaited { look.ring() }
    }

    private func send(_ errand: Errand, _ now: Int64) async -> Delivery.Outcome.Result {
        guard let body = errand.body else { return .pointless(problem: "the event is no longer kept") }
        guard let secrets = errand.secrets else {
            logger.error("a signing secret cannot be opened", metadata: ["endpoint": "\(errand.endpoint.id)"])
            return .failed(problem: "the signing secret cannot be opened")
        }
        let request = Outbound.Request(
            method: "POST",
            url: errand.endpoint.url,
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
            let reply = try await (errand.claim.scope.livemode ? outbound.live : outbound.test).send(request)
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
        await note(reports)
        return state.withLock { state in
            state.count -= reports.count
            return !state.reports.isEmpty
        }
    }

    /// Takes reports into the database, also where it fails for a moment.
    private func note(_ reports: [Delivery.Outcome]) async {
        for write in 1...Self.maximumWrites {
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
                return
            } catch {
                // After the last time their claims end, and they are sent again.
                logger.error(
                    "deliveries could not be noted",
                    metadata: ["error": "\(error)", "count": "\(reports.count)", "try": "\(write)"]
                )
                if case DatabaseError.closed = error { return }
                guard write < Self.maximumWrites else { return }
                try? await Task.sleep(for: .milliseconds(100 << write))
            }
        }
    }
}
