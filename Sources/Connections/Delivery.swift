/// A delivery: one event on its way to one webhook endpoint.
///
/// It is written in the transaction of the event, so that nothing can be lost between the two. It is `pending` until an
/// attempt is answered with success, or until its time is over and it has `failed`. A worker claims it by taking the
/// next attempt's number; a claim ends by itself, and what a worker reports is only taken under the number that it
/// claimed. A worker that dies between sending and reporting leaves an attempt whose end is unknown, and the event is
/// sent again: at least once, never lost.

public import Database
public import Wire

public struct Delivery: Sendable {
    public enum Status: String, Sendable {
        case pending, succeeded, failed
    }

    /// How attempts follow each other: each wait is four times the one before, give or take a fifth, up to a longest.
    public struct Schedule: Sendable {
        let firstMilliseconds: Int64
        let longestMilliseconds: Int64
        /// Seconds after which no attempt follows.
        let period: Int64

        /// - Parameters:
        ///   - first: seconds until the second attempt.
        ///   - longest: seconds.
        public init(first: Int64, longest: Int64, period: Int64) {
            firstMilliseconds = first * 1000
            longestMilliseconds = longest * 1000
            self.period = period
        }

        /// When the next attempt is due, in milliseconds since the Unix epoch; nil where the time is over.
        /// - Parameters:
        ///   - tries: how many attempts there were.
        ///   - since: when the first one was due, in seconds.
        ///   - retryAfter: seconds that the receiver asked for.
        func next(after tries: Int64, since: Int64, retryAfter: Int64?, _ world: World) -> Int64? {
            var wait = firstMilliseconds
            for _ in 1..<max(1, min(tries, 20)) { wait = min(wait * 4, longestMilliseconds) }
            wait = wait * world.number(in: 80...120) / 100
            // A receiver may ask for more time, and not for all of it.
            if let retryAfter { wait = max(wait, min(retryAfter, longestMilliseconds / 1000) * 1000) }
            let due = world.wallMilliseconds() + wait
            return due < (since + period) * 1000 ? due : nil
        }
    }

    /// What a worker holds of a delivery until its claim ends.
    public struct Claim: Sendable {
        public let scope: Scope
        public let event: String
        public let endpoint: String
        let attempt: Int64
        let tries: Int64
        let since: Int64
        /// When the claim ends, in milliseconds since the Unix epoch.
        let end: Int64
    }

    /// How an attempt ended.
    public struct Outcome: Sendable {
        public enum Result: Sendable {
            /// - Parameter retryAfter: seconds.
            case answered(status: Int, reply: [UInt8], retryAfter: Int64?)
            /// - Parameter problem: a few words that hold no secret.
            case failed(problem: String)
            /// Nothing can ever be sent.
            case pointless(problem: String)
            /// It was given up before its end, and is free for others at once.
            case released
        }

        let claim: Claim
        let at: Int64
        let milliseconds: Int64
        let result: Result

        public init(_ claim: Claim, at: Int64, milliseconds: Int64, _ result: Result) {
            self.claim = claim
            self.at = at
            self.milliseconds = milliseconds
            self.result = result
        }

        var isSuccess: Bool {
            if case .answered(let status, _, _) = result { return (200...299).contains(status) }
            return false
        }

        /// Whether the receiver said anything, whatever it was.
        public var wasAnswered: Bool {
            if case .answered = result { return true }
            return false
        }

        var isFailure: Bool {
            switch result {
            case .answered: !isSuccess
            case .failed: true
            case .pointless, .released: false
            }
        }
    }

    // MARK: Transitions

    /// Plans the deliveries of an event that is being recorded.
    static func plan(_ event: String, _ kind: Event.Kind, in scope: Scope, _ db: Connection, _ world: World) throws {
        let endpoints = try WebhookEndpoint.receivers(of: kind.rawValue, in: scope, db)
        for endpoint in endpoints { try insert(event, endpoint, in: scope, db, world) }
    }

    /// Sends an event once more, from the beginning: to one endpoint, or to all that ask for its kind.
    public static func resend(
        _ event: Event,
        to endpoint: String?,
        in scope: Scope,
        _ db: Connection,
        _ world: World
    ) throws {
        guard let endpoint else {
            for endpoint in try WebhookEndpoint.receivers(of: event.type, in: scope, db) {
                try insert(event.id, endpoint, in: scope, db, world)
            }
            return
        }
        let found = try WebhookEndpoint.find(endpoint, at: .parameter("webhook_endpoint"), in: scope, db)
        guard found.status == .enabled else {
            throw StripeError(
                param: "webhook_endpoint",
                message: "The webhook endpoint '\(endpoint)' is disabled. Enable it first."
            )
        }
        try insert(event.id, endpoint, in: scope, db, world)
    }

    private static func insert(
        _ event: String,
        _ endpoint: String,
        in scope: Scope,
        _ db: Connection,
        _ world: World
    ) throws {
        // The attempts of one that is sent again go on counting, so that no number comes twice. An attempt that is
        // under way no longer counts: by its due time the delivery is not the one that was claimed.
        try db.execute(
            """
            INSERT INTO delivery (merchant, livemode, event, endpoint, since, due_milliseconds, status, attempt, tries)
            VALUES (\(scope.merchant), \(scope.livemode), \(event), \(endpoint), \(world.wall()),
                \(world.wallMilliseconds()), 'pending', 0, 0)
            ON CONFLICT (merchant, livemode, event, endpoint) DO UPDATE SET since = excluded.since,
                due_milliseconds = excluded.due_milliseconds, status = 'pending', tries = 0
            """
        )
        db.wake(.deliveries)
    }

    /// Takes what is due for an endpoint, the oldest first.
    /// - Parameter lease: milliseconds for which nobody else takes it.
    public static func claim(
        _ count: Int,
        for endpoint: WebhookEndpoint,
        lease: Int64,
        _ db: Connection,
        _ world: World
    ) throws -> [Claim] {
        let scope = endpoint.scope
        let now = world.wallMilliseconds()
        return try db.all(
            """
            UPDATE delivery SET attempt = attempt + 1, due_milliseconds = \(now + lease)
            WHERE (merchant, livemode, event, endpoint) IN (
                SELECT merchant, livemode, event, endpoint FROM delivery
                WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND endpoint = \(endpoint.id)
                AND status = 'pending' AND due_milliseconds <= \(now)
                ORDER BY due_milliseconds LIMIT \(count) {skipLocked})
            RETURNING event, attempt, tries, since
            """
        ) { row in
            Claim(
                scope: scope,
                event: try row.text(0),
                endpoint: endpoint.id,
                attempt: try row.int(1),
                tries: try row.int(2),
                since: try row.int(3),
                end: now + lease
            )
        }
    }

    /// Takes what attempts came to; one whose claim has passed to another worker, or whose event was sent again by hand
    /// meanwhile, is noted and changes nothing.
    /// - Parameters:
    ///   - schedule: by the mode.
    ///   - patience: seconds of nothing but failures after which an endpoint is disabled.
    /// - Returns: the endpoints that were disabled, with the time since when they failed.
    public static func finish(
        _ outcomes: [Outcome],
        schedule: (Bool) -> Schedule,
        patience: Int64,
        _ db: Connection,
        _ world: World
    ) throws -> [(endpoint: String, since: Int64)] {
        var tallies: [String: (scope: Scope, failures: Int, didSucceed: Bool)] = [:]
        for outcome in outcomes {
            let claim = outcome.claim
            try finish(outcome, schedule(claim.scope.livemode), db, world)
            var tally = tallies[claim.endpoint] ?? (claim.scope, 0, false)
            if outcome.isFailure { tally.failures += 1 }
            if outcome.isSuccess { tally.didSucceed = true }
            tallies[claim.endpoint] = tally
        }
        var disabled: [(endpoint: String, since: Int64)] = []
        for (endpoint, tally) in tallies where tally.failures > 0 || tally.didSucceed {
            let since = try WebhookEndpoint.note(
                endpoint,
                failures: tally.failures,
                didSucceed: tally.didSucceed,
                patience: patience,
                in: tally.scope,
                db,
                world
            )
            if let since { disabled.append((endpoint, since)) }
        }
        return disabled
    }

    private static func finish(
        _ outcome: Outcome,
        _ schedule: Schedule,
        _ db: Connection,
        _ world: World
    ) throws {
        let claim = outcome.claim
        var retryAfter: Int64?
        if case .answered(_, _, let asked) = outcome.result { retryAfter = asked }
        let status: Status
        var due = world.wallMilliseconds()
        var tries = claim.tries + 1
        switch outcome.result {
        case .released:
            (status, tries) = (.pending, claim.tries)
        case .pointless:
            status = .failed
        case .answered where outcome.isSuccess:
            status = .succeeded
        case .answered, .failed:
            let next = schedule.next(after: tries, since: claim.since, retryAfter: retryAfter, world)
            status = next == nil ? .failed : .pending
            due = next ?? due
        }
        let its: SQL = """
            WHERE merchant = \(claim.scope.merchant) AND livemode = \(claim.scope.livemode) AND event = \(claim.event)
            AND endpoint = \(claim.endpoint)
            """
        let changed = try db.execute(
            """
            UPDATE delivery SET status = \(status.rawValue), due_milliseconds = \(due), tries = \(tries)
            \(its) AND attempt = \(claim.attempt) AND due_milliseconds = \(claim.end) AND status = 'pending'
            """
        )
        // Nobody would find the attempt of a delivery that is forgotten, nor ever forget it.
        let isThere = try changed > 0 || db.first("SELECT 1 FROM delivery \(its)") { _ in true } == true
        if isThere { try record(outcome, db) }
    }

    /// How much of a reply is kept, of the 64 KiB that are read of it.
    private static let maximumReply = 4096

    private static func record(_ outcome: Outcome, _ db: Connection) throws {
        let claim = outcome.claim
        var (status, problem, reply): (Int64?, String?, [UInt8]?)
        switch outcome.result {
        case .answered(let code, let bytes, _): (status, reply) = (Int64(code), Array(bytes.prefix(maximumReply)))
        case .failed(let words), .pointless(let words): problem = words
        case .released: problem = "the server was stopped"
        }
        try db.execute(
            """
            INSERT INTO delivery_attempt
                (merchant, livemode, event, endpoint, number, at, milliseconds, http_status, problem, reply)
            VALUES (\(claim.scope.merchant), \(claim.scope.livemode), \(claim.event), \(claim.endpoint),
                \(claim.attempt), \(outcome.at), \(outcome.milliseconds), \(status), \(problem), \(reply))
            ON CONFLICT DO NOTHING
            """
        )
    }

    /// Forgets what was to be delivered to an endpoint and was not, or not yet.
    static func cancelAll(to endpoint: String, in scope: Scope, _ db: Connection) throws {
        // Each by the index of its own, whose condition has to stand in the statement.
        let its: SQL = "merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND endpoint = \(endpoint)"
        try db.execute("DELETE FROM delivery WHERE \(its) AND status = 'pending'")
        try db.execute("DELETE FROM delivery WHERE \(its) AND status = 'failed'")
    }

    // MARK: Statements

    static func pending(to endpoint: String, in scope: Scope, _ db: Connection) throws -> Int64 {
        try db.first(
            """
            SELECT COUNT(*) FROM delivery WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode)
            AND endpoint = \(endpoint) AND status = 'pending'
            """
        ) { try $0.int(0) } ?? 0
    }

    /// Forgets the deliveries of an event that is forgotten, and how they went.
    static func forget(_ event: String, in scope: Scope, _ db: Connection) throws {
        let its: SQL = "WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND event = \(event)"
        // In this order: an attempt that is being recorded holds its delivery, and is there once it lets go of it.
        try db.execute("DELETE FROM delivery \(its)")
        try db.execute("DELETE FROM delivery_attempt \(its)")
    }

    // MARK: JSON

    private struct Attempt {
        let at: Int64
        let milliseconds: Int64
        let status: Int64?
        let problem: String?
        let reply: [UInt8]?
    }

    /// How many attempts of a delivery are told, the last ones.
    private static let maximumHistory: Int64 = 100

    /// The deliveries of an event with their attempts: a list of ours beside the API's objects.
    public static func writeHistory(
        of event: String,
        in scope: Scope,
        _ db: Connection,
        to json: inout JSONWriter
    ) throws {
        let mine: SQL = "merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND event = \(event)"
        let deliveries = try db.all(
            "SELECT endpoint, status, due_milliseconds, attempt FROM delivery WHERE \(mine) ORDER BY endpoint"
        ) { row in
            (
                endpoint: try row.text(0), status: try row.choice(1, of: Status.self), due: try row.int(2),
                attempts: try row.int(3)
            )
        }
        let histories = try deliveries.map { delivery in
            let first = max(1, delivery.attempts - maximumHistory + 1)
            let known = try db.all(
                """
                SELECT number, at, milliseconds, http_status, problem, reply FROM delivery_attempt
                WHERE \(mine) AND endpoint = \(delivery.endpoint) AND number >= \(first)
                """
            ) { row in
                let attempt = Attempt(
                    at: try row.int(1),
                    milliseconds: try row.int(2),
                    status: row.optionalInt(3),
                    problem: row.optionalText(4),
                    reply: row.optionalBytes(5)
                )
                return (try row.int(0), attempt)
            }
            return (delivery: delivery, first: first, attempts: Dictionary(uniqueKeysWithValues: known))
        }
        let url = "/v1/linkspan/events/\(event)/deliveries"
        json.object { json in
            json.list(histories, hasMore: false, url: url) { history, json in
                let delivery = history.delivery
                json.object { json in
                    json.field("object", "linkspan.delivery")
                    json.array("attempts") { json in
                        for number in stride(from: history.first, through: delivery.attempts, by: 1) {
                            json.element()
                            write(history.attempts[number], number, to: &json)
                        }
                    }
                    json.field("event", event)
                    json.field("next_attempt", delivery.status == .pending ? delivery.due / 1000 : nil)
                    json.field("status", delivery.status.rawValue)
                    json.field("webhook_endpoint", delivery.endpoint)
                }
            }
        }
    }

    /// An attempt; one that was begun and never reported is under way, or its worker died.
    private static func write(_ attempt: Attempt?, _ number: Int64, to json: inout JSONWriter) {
        json.object { json in
            json.field("at", attempt?.at)
            json.field("http_status", attempt?.status)
            json.field("milliseconds", attempt?.milliseconds)
            json.field("number", number)
            json.field("problem", attempt == nil ? "under way, or its end was not recorded" : attempt?.problem)
            json.field("reply", attempt?.reply.map { String(decoding: $0, as: UTF8.self) })
        }
    }
}

extension Wake {
    /// There is something to deliver.
    public static let deliveries = Wake(rawValue: "deliveries")
}
