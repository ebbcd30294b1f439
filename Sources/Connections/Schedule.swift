/// What happens by itself at a moment: the daily refresh of a subscribed account, the notice that a link or an account
/// number will end, and its end. A thing is due once for an account or an authorization; setting it anew moves it. What
/// hangs on a test clock is due by that clock alone.

public import Database
internal import Wire

public enum Schedule {
    /// In the order in which things of one moment happen. **Stored; never rename one.**
    enum Kind: String, Sendable, CaseIterable {
        case announcement
        case daily
        case deactivation
        case numberAnnouncement = "number_announcement"
        case numberExpiry = "number_expiry"
    }

    /// How long before the end of something it is announced, in seconds.
    static let notice: Int64 = 30 * 24 * 3600

    struct Item: Sendable {
        let scope: Scope
        /// `fca_…` or `fcauth_…`
        let subject: String
        let kind: Kind
        let runAt: Int64
    }

    // MARK: Statements

    static func set(
        _ kind: Kind,
        of subject: String,
        at moment: Int64,
        clock: String?,
        in scope: Scope,
        _ db: Connection
    ) throws {
        try db.execute(
            """
            INSERT INTO schedule (merchant, livemode, subject, kind, run_at, test_clock)
            VALUES (\(scope.merchant), \(scope.livemode), \(subject), \(kind.rawValue), \(moment), \(clock))
            ON CONFLICT (merchant, livemode, subject, kind) DO UPDATE SET run_at = excluded.run_at,
                test_clock = excluded.test_clock
            """
        )
    }

    static func clear(_ kind: Kind, of subject: String, in scope: Scope, _ db: Connection) throws {
        try db.execute(
            """
            DELETE FROM schedule WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode)
            AND subject = \(subject) AND kind = \(kind.rawValue)
            """
        )
    }

    static func clear(of subject: String, in scope: Scope, _ db: Connection) throws {
        try db.execute(
            """
            DELETE FROM schedule WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode)
            AND subject = \(subject)
            """
        )
    }

    /// The first thing that a test clock brings about by a moment.
    static func first(on clock: String, by moment: Int64, in scope: Scope, _ db: Connection) throws -> Item? {
        try db.first(
            """
            SELECT merchant, livemode, subject, kind, run_at FROM schedule
            WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND test_clock = \(clock)
            AND run_at <= \(moment) ORDER BY run_at, subject, kind LIMIT 1
            """,
            Item.init
        )
    }

    /// When the next thing is due that hangs on no test clock; nil where nothing is.
    public static func next(_ db: Connection) throws -> Int64? {
        try db.first("SELECT run_at FROM schedule WHERE test_clock IS NULL ORDER BY run_at LIMIT 1") { try $0.int(0) }
    }

    /// Does a bounded number of things that are due and hang on no test clock.
    /// - Returns: how many.
    public static func runDue(_ db: Connection, _ world: World) throws -> Int {
        let due = try db.all(
            """
            SELECT merchant, livemode, subject, kind, run_at FROM schedule
            WHERE test_clock IS NULL AND run_at <= \(world.wall())
            ORDER BY run_at, merchant, livemode, subject, kind LIMIT 50 {skipLocked}
            """,
            Item.init
        )
        for item in due { try item.run(isDriven: false, db, world) }
        return due.count
    }
}

extension Schedule.Item {
    fileprivate init(_ row: Row) throws {
        self.init(
            scope: Scope(merchant: try row.text(0), livemode: try row.bool(1)),
            subject: try row.text(2),
            kind: try row.choice(3, of: Schedule.Kind.self),
            runAt: try row.int(4)
        )
    }

    /// - Parameters:
    ///   - isDriven: whether a test clock brings it about that is being advanced.
    ///   - world: by the clock outside or by the subject's, which is looked up.
    func run(isDriven: Bool, _ db: Connection, _ world: World) throws {
        try Schedule.clear(kind, of: subject, in: scope, db)
        if subject.hasPrefix(Authorization.prefix) {
            return try Authorization.announceEnd(of: subject, in: scope, db, world)
        }
        var account = try Account.find(subject, at: .path(param: "account"), in: scope, db)
        switch kind {
        case .announcement: try account.announceEnd(db, world)
        case .daily: try account.refreshDaily(isDriven: isDriven, db, world)
        case .deactivation: try account.deactivate(.accessExpired, by: .none, db, world)
        case .numberAnnouncement: try account.announceNumberExpiry(db, world)
        case .numberExpiry: try account.expireNumbers(db, world)
        }
    }
}
