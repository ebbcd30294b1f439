/// A test clock: the time of the customers that were created on it, and of all that hangs on them.
///
/// It stands still until it is advanced, which is done by a worker, step by step: each thing that comes due happens at
/// its moment, in order, and a refresh is over before time goes on. Advancing is therefore the same in each run. It
/// never goes back. Sessions and sign-ins are a person's visit and go by the time outside.

public import Database
public import Wire

public struct TestClock: Sendable {
    enum Status: String, Sendable {
        case ready, advancing
        case internalFailure = "internal_failure"
    }

    public let id: String
    let scope: Scope
    private let created: Int64
    private let name: String?
    private(set) var frozenTime: Int64
    private var target: Int64?
    private var status: Status
    private let deletesAfter: Int64

    private static let day: Int64 = 24 * 3600
    private static let lifetime = 30 * day
    /// The most that a clock is advanced by at once.
    private static let maximumStep = 2 * 366 * day
    private static let maximumCustomers: Int64 = 100

    // MARK: Parameters

    public static let names: [String: Parameters.Names] = ["frozen_time": .leaf, "name": .leaf]
    public static let advanceNames: [String: Parameters.Names] = ["frozen_time": .leaf]

    /// - Throws: `parameter_missing` and the like for a moment that no clock can show.
    public static func frozenTime(_ parameters: Parameters) throws(StripeError) -> Int64 {
        let seconds: ClosedRange<Int64> = 1...253_402_300_799
        guard let time = try parameters.integer("frozen_time", in: seconds) else { throw .missing("frozen_time") }
        return time
    }

    // MARK: Transitions

    public static func create(
        at frozenTime: Int64,
        name: String?,
        by cause: Cause,
        in scope: Scope,
        _ db: Connection,
        _ world: World
    ) throws -> TestClock {
        let now = world.wall()
        let clock = TestClock(
            id: world.id(.testClock),
            scope: scope,
            created: now,
            name: name,
            frozenTime: frozenTime,
            target: nil,
            status: .ready,
            deletesAfter: now + lifetime
        )
        try db.execute(
            """
            INSERT INTO test_clock (merchant, livemode, id, created, name, frozen_time, status, deletes_after, attempt,
                claim_at)
            VALUES (\(scope.merchant), \(scope.livemode), \(clock.id), \(now), \(name), \(frozenTime),
                \(clock.status.rawValue), \(clock.deletesAfter), 0, 0)
            """
        )
        try clock.record(.testClockCreated, by: cause, db, world)
        return clock
    }

    /// Begins to advance; a worker does the rest.
    public static func advance(
        _ id: String,
        to target: Int64,
        by cause: Cause,
        in scope: Scope,
        _ db: Connection,
        _ world: World
    ) throws -> TestClock {
        var clock = try find(id, at: .path(param: "test_clock"), in: scope, db)
        guard clock.status == .ready else {
            let reason = clock.status == .advancing ? "is being advanced" : "has failed and cannot be advanced"
            throw StripeError(message: "The test clock '\(id)' \(reason).")
        }
        guard target > clock.frozenTime else {
            throw StripeError(
                param: "frozen_time",
                message: "A test clock only goes forward: `frozen_time` must be later than \(clock.frozenTime)."
            )
        }
        guard target - clock.frozenTime <= maximumStep else {
            throw StripeError(
                param: "frozen_time",
                message: "A test clock is advanced by at most two years at once: `frozen_time` can be up to "
                    + "\(clock.frozenTime + maximumStep)."
            )
        }
        clock.target = target
        clock.status = .advancing
        try db.execute(
            "UPDATE test_clock SET status = 'advancing', target = \(target), claim_at = 0 WHERE \(clock.row)"
        )
        try clock.record(.testClockAdvancing, by: cause, db, world)
        db.wake(.refreshes)
        return clock
    }

    /// Deletes the clock and its customers, and disconnects all accounts on it.
    public static func delete(
        _ id: String,
        by cause: Cause,
        in scope: Scope,
        _ db: Connection,
        _ world: World
    ) throws -> TestClock {
        let clock = try find(id, at: .path(param: "test_clock"), in: scope, db)
        try Account.disconnectAll(on: id, by: cause, in: scope, db, world)
        for customer in try customers(of: id, in: scope, db) {
            _ = try Customer.delete(customer, by: cause, in: scope, db, world)
        }
        try db.execute("DELETE FROM test_clock WHERE \(clock.row)")
        try clock.record(.testClockDeleted, by: cause, db, world)
        return clock
    }

    /// Deletes a clock whose time is over.
    /// - Returns: how many.
    public static func prune(_ db: Connection, _ world: World) throws -> Int {
        let old = try db.first(
            """
            SELECT merchant, livemode, id FROM test_clock
            WHERE deletes_after <= \(world.wall()) AND status <> 'advancing' ORDER BY deletes_after LIMIT 1
            """
        ) { row in (Scope(merchant: try row.text(0), livemode: try row.bool(1)), try row.text(2)) }
        guard let (scope, id) = old else { return 0 }
        _ = try delete(id, by: .none, in: scope, db, world)
        return 1
    }

    /// - Throws: for a clock that a customer cannot be put on now.
    static func requireRoom(_ id: String, at place: StripeError.Place, in scope: Scope, _ db: Connection) throws {
        let clock = try find(id, at: place, in: scope, db)
        guard clock.status == .ready else {
            throw StripeError(param: "test_clock", message: "The test clock '\(id)' is not ready.")
        }
        guard try Int64(customers(of: id, in: scope, db).count) < maximumCustomers else {
            throw StripeError(
                param: "test_clock",
                message: "A test clock has at most \(maximumCustomers) customers."
            )
        }
    }

    private func record(_ kind: Event.Kind, by cause: Cause, _ db: Connection, _ world: World) throws {
        var json = JSONWriter()
        write(to: &json)
        try Event.record(kind, object: json.bytes, by: cause, in: scope, db, world)
    }

    // MARK: Statements

    private static let columns: SQL = """
        SELECT id, created, name, frozen_time, target, status, deletes_after FROM test_clock
        """

    private var row: SQL { "merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND id = \(id)" }

    public static func find(
        _ id: String,
        at place: StripeError.Place,
        in scope: Scope,
        _ db: Connection
    ) throws -> TestClock {
        let found = try db.first(
            "\(columns) WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND id = \(id)"
        ) { try TestClock($0, scope) }
        if let found { return found }
        throw StripeError.noSuch("test_helpers.test_clock", id, at: place, livemode: scope.livemode)
    }

    /// The world at the time of a clock, or as it is where there is none, or none any longer.
    static func world(of id: String?, in scope: Scope, _ db: Connection, _ world: World) throws -> World {
        guard let id else { return world }
        let time = try db.first(
            """
            SELECT frozen_time FROM test_clock
            WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND id = \(id)
            """
        ) { try $0.int(0) }
        return time.map { world.frozen(at: $0) } ?? world
    }

    private static func customers(of id: String, in scope: Scope, _ db: Connection) throws -> [String] {
        try db.all(
            """
            SELECT id FROM customer WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode)
            AND test_clock = \(id) AND test_clock IS NOT NULL AND deleted = 0 ORDER BY created, id
            LIMIT \(maximumCustomers)
            """
        ) { try $0.text(0) }
    }

    private init(_ row: Row, _ scope: Scope) throws {
        self.init(
            id: try row.text(0),
            scope: scope,
            created: try row.int(1),
            name: row.optionalText(2),
            frozenTime: try row.int(3),
            target: row.optionalInt(4),
            status: try row.choice(5, of: Status.self),
            deletesAfter: try row.int(6)
        )
    }

    private init(
        id: String,
        scope: Scope,
        created: Int64,
        name: String?,
        frozenTime: Int64,
        target: Int64?,
        status: Status,
        deletesAfter: Int64
    ) {
        self.id = id
        self.scope = scope
        self.created = created
        self.name = name
        self.frozenTime = frozenTime
        self.target = target
        self.status = status
        self.deletesAfter = deletesAfter
    }

    // MARK: Lists

    public static func writeList(
        _ request: PageRequest,
        in scope: Scope,
        _ db: Connection,
        to json: inout JSONWriter
    ) throws {
        let mine: SQL = "WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode)"
        let page = try Page(
            request,
            of: "test_helpers.test_clock",
            in: scope,
            db,
            select: "\(columns) \(mine)",
            moment: { id in
                try db.first("SELECT created FROM test_clock \(mine) AND id = \(id)") { try $0.int(0) }
            },
            read: { try TestClock($0, scope) }
        )
        json.object { json in
            json.list(page.elements, hasMore: page.hasMore, url: "/v1/test_helpers/test_clocks") { clock, json in
                clock.write(to: &json)
            }
        }
    }

    // MARK: JSON

    public static let shape = Expansion.Shape.object([
        "id": .leaf, "object": .leaf, "created": .leaf, "deletes_after": .leaf, "frozen_time": .leaf,
        "livemode": .leaf, "name": .leaf, "status": .leaf, "status_details": .leaf,
    ])

    public func write(to json: inout JSONWriter) {
        json.object { json in
            json.field("id", id)
            json.field("object", "test_helpers.test_clock")
            json.field("created", created)
            json.field("deletes_after", deletesAfter)
            json.field("frozen_time", frozenTime)
            json.field("livemode", scope.livemode)
            json.field("name", name)
            json.field("status", status.rawValue)
            json.object("status_details") { json in
                if status == .advancing, let target {
                    json.object("advancing") { json in json.field("target_frozen_time", target) }
                }
            }
        }
    }

    /// What is left of a deleted clock.
    public func writeStub(to json: inout JSONWriter) {
        json.object { json in
            json.field("id", id)
            json.field("object", "test_helpers.test_clock")
            json.field("deleted", true)
        }
    }
}

// MARK: Advancing

extension TestClock {
    /// A clock that is advancing, in the hands of one worker.
    public struct Drive: Sendable {
        public let id: String
        public let scope: Scope
        fileprivate let attempt: Int64
    }

    /// What advancing comes to next.
    public enum Step: Sendable {
        /// A refresh is to be done before time goes on.
        case refresh(Refresh.Claim)
        /// Things happened and more may; come again.
        case more
        /// A refresh is in another's hands or waits for its budget; come again soon.
        case wait
        /// The clock has arrived, or is no longer this worker's.
        case done
    }

    /// Whether there is a clock to claim.
    public static func isDue(_ db: Connection, _ world: World) throws -> Bool {
        try db.first("SELECT 1 FROM test_clock WHERE status = 'advancing' AND claim_at <= \(world.wall()) LIMIT 1") {
            try $0.int(0)
        } != nil
    }

    /// Claims a clock that is to advance and that nobody drives.
    public static func claim(_ db: Connection, _ world: World) throws -> Drive? {
        let found = try db.first(
            """
            SELECT merchant, livemode, id FROM test_clock WHERE status = 'advancing' AND claim_at <= \(world.wall())
            ORDER BY claim_at LIMIT 1 {skipLocked}
            """
        ) { row in (Scope(merchant: try row.text(0), livemode: try row.bool(1)), try row.text(2)) }
        guard let (scope, id) = found else { return nil }
        return try db.first(
            """
            UPDATE test_clock SET attempt = attempt + 1, claim_at = \(world.wall() + Refresh.lease)
            WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND id = \(id) RETURNING attempt
            """
        ) { Drive(id: id, scope: scope, attempt: try $0.int(0)) }
    }

    /// Frees what a server held that is gone. Only for a server that shares its database with no other.
    public static func releaseAll(_ db: Connection) throws {
        try db.execute("UPDATE test_clock SET claim_at = 0 WHERE status = 'advancing'")
    }

    /// The clock cannot go on.
    public static func fail(_ drive: Drive, _ db: Connection, _ world: World) throws {
        guard try drive.holds(db, world) else { return }
        try db.execute("UPDATE test_clock SET status = 'internal_failure', target = NULL WHERE \(drive.row)")
        let clock = try find(drive.id, at: .path(param: "test_clock"), in: drive.scope, db)
        try clock.record(.testClockInternalFailure, by: .none, db, world)
    }

    /// Lets a bounded number of things happen, up to the next refresh.
    /// - Parameter limits: of an institution, in a mode.
    public static func step(
        _ drive: Drive,
        _ limits: @Sendable (_ institution: String, _ livemode: Bool) -> Refresh.Limits,
        _ db: Connection,
        _ world: World
    ) throws -> Step {
        guard try drive.holds(db, world) else { return .done }
        var clock = try find(drive.id, at: .path(param: "test_clock"), in: drive.scope, db)
        guard let target = clock.target else { return .done }
        for _ in 0..<50 {
            let refresh = try drive.pendingRefresh(by: target, db)
            let item = try Schedule.first(on: drive.id, by: target, in: drive.scope, db)
            if let refresh, refresh.runAt <= max(item?.runAt ?? Int64.max, clock.frozenTime) {
                try clock.move(to: refresh.runAt, db)
                guard refresh.claimAt <= world.wall() else { return .wait }
                let account = try Account.find(refresh.account, at: .path(param: "account"), in: drive.scope, db)
                let limits = limits(account.institutionID, drive.scope.livemode)
                guard limits.free > 0 else { return .wait }
                let claim = try Refresh.claim(refresh.feature, of: account, budget: limits.dailyBudget, db, world)
                return claim.map(Step.refresh) ?? .wait
            }
            guard let item else {
                try clock.move(to: target, db)
                clock.status = .ready
                clock.target = nil
                try db.execute("UPDATE test_clock SET status = 'ready', target = NULL WHERE \(drive.row)")
                try clock.record(.testClockReady, by: .none, db, world)
                return .done
            }
            try clock.move(to: item.runAt, db)
            try item.run(isDriven: true, db, world)
        }
        return .more
    }

    private mutating func move(to moment: Int64, _ db: Connection) throws {
        guard moment > frozenTime else { return }
        frozenTime = moment
        try db.execute("UPDATE test_clock SET frozen_time = \(moment) WHERE \(row)")
    }
}

extension TestClock.Drive {
    fileprivate var row: SQL {
        "merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND id = \(id) AND attempt = \(attempt)"
    }

    /// Whether the clock is still this worker's. Holding on renews the lease.
    fileprivate func holds(_ db: Connection, _ world: World) throws -> Bool {
        try db.execute(
            "UPDATE test_clock SET claim_at = \(world.wall() + Refresh.lease) WHERE \(row) AND status = 'advancing'"
        ) == 1
    }

    /// The first refresh on this clock that is due by a moment; it may be claimed from `claimAt` on, 0 where nobody
    /// ever did.
    fileprivate func pendingRefresh(
        by moment: Int64,
        _ db: Connection
    ) throws -> (account: String, feature: Refresh.Feature, runAt: Int64, claimAt: Int64)? {
        try db.first(
            """
            SELECT account, feature, run_at, claim_at FROM refresh
            WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND test_clock = \(id)
            AND test_clock IS NOT NULL AND status = 'pending' AND run_at <= \(moment)
            ORDER BY run_at, account, feature LIMIT 1
            """
        ) { row in
            (try row.text(0), try row.choice(1, of: Refresh.Feature.self), try row.int(2), row.optionalInt(3) ?? 0)
        }
    }
}
