/// A refresh: one try at fetching an account's balance, owners or transactions from its institution.
///
/// An account has at most one of each feature, the latest. It is `pending` from the moment it is asked for, then
/// `succeeded` or `failed`, and nothing is ever left `pending`: a worker holds it by a lease that ends, and each claim
/// counts `attempt` up. What a worker writes is refused once another holds the refresh, so that one that comes late
/// changes nothing. The institution is asked between writes, never in one.

public import Database
internal import Wire

public struct Refresh: Sendable {
    public enum Feature: String, Sendable, CaseIterable {
        case balance, ownership, transactions

        /// The permission that it needs, which is also its name in `prefetch`.
        var permission: String { self == .balance ? "balances" : rawValue }

        var refreshed: Event.Kind {
            switch self {
            case .balance: .accountRefreshedBalance
            case .ownership: .accountRefreshedOwnership
            case .transactions: .accountRefreshedTransactions
            }
        }

        /// The member of an account that tells its state.
        var member: String { self == .transactions ? "transaction_refresh" : "\(rawValue)_refresh" }
    }

    enum Status: String, Sendable {
        case pending, succeeded, failed
    }

    let feature: Feature
    /// `fctxnref_…`, for transactions alone.
    let id: String?
    /// Counts the refreshes of this feature on the account.
    let number: Int64
    /// The number of the last one that succeeded, 0 before there is one.
    let succeeded: Int64
    let status: Status
    let lastAttempted: Int64
    /// Nil while it is pending, and where another would be in vain.
    let nextAvailable: Int64?

    var isPending: Bool { status == .pending }

    /// Whether another may be started.
    func isOver(at now: Int64) -> Bool {
        guard let nextAvailable else { return false }
        return !isPending && now >= nextAvailable
    }

    // MARK: Transitions

    /// Starts a refresh. Nothing of this feature may be pending on the account.
    /// - Parameters:
    ///   - isDriven: whether a test clock that is being advanced started it, and so will see to it in its turn.
    ///   - world: the account's.
    static func start(
        _ feature: Feature,
        of account: String,
        clock: String?,
        isDriven: Bool = false,
        in scope: Scope,
        _ db: Connection,
        _ world: World
    ) throws {
        let id = feature == .transactions ? world.id(.transactionRefresh) : nil
        let claimAt: Int64? = isDriven ? nil : world.wall()
        let counts = try db.first(
            """
            INSERT INTO refresh (merchant, livemode, account, feature, id, number, succeeded, status, last_attempted,
                attempt, retries, run_at, claim_at, test_clock)
            VALUES (\(scope.merchant), \(scope.livemode), \(account), \(feature.rawValue), \(id), 1, 0, 'pending',
                \(world.now()), 0, 0, \(world.now()), \(claimAt), \(clock))
            ON CONFLICT (merchant, livemode, account, feature) DO UPDATE SET id = excluded.id,
                number = refresh.number + 1, status = 'pending', last_attempted = excluded.last_attempted,
                next_available = NULL, retries = 0, run_at = excluded.run_at, claim_at = excluded.claim_at,
                test_clock = excluded.test_clock
            RETURNING number, succeeded
            """
        ) { (try $0.int(0), try $0.int(1)) }
        if let id, let (number, succeeded) = counts {
            try db.execute(
                """
                INSERT INTO transaction_refresh (merchant, livemode, account, number, id, complete)
                VALUES (\(scope.merchant), \(scope.livemode), \(account), \(number), \(id), \(succeeded))
                """
            )
        }
        if !isDriven { db.wake(.refreshes) }
    }

    /// Ends what is pending and may no longer be asked for.
    /// - Returns: the features of which a refresh was ended.
    static func cancel(
        _ features: [Feature] = Feature.allCases,
        of account: String,
        in scope: Scope,
        _ db: Connection
    ) throws -> [Feature] {
        let states = try states(of: account, in: scope, db)
        let pending = features.filter { states[$0]?.isPending == true }
        for feature in pending {
            try db.execute(
                """
                UPDATE refresh SET status = 'failed', next_available = NULL, claim_at = NULL, attempt = attempt + 1
                WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND account = \(account)
                AND feature = \(feature.rawValue)
                """
            )
        }
        return pending
    }

    /// Begins what is under way anew, with what opens the account now: what a call brings that had an older credential,
    /// or an older file, is not taken. What a test clock does goes on.
    static func restart(of account: String, in scope: Scope, _ db: Connection, _ world: World) throws {
        let count = try db.execute(
            """
            UPDATE refresh SET attempt = attempt + 1, retries = 0, claim_at = \(world.wall())
            WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND account = \(account)
            AND status = 'pending' AND claim_at IS NOT NULL
            """
        )
        if count > 0 { db.wake(.refreshes) }
    }

    /// Lets a refresh be asked for again on an account that has come back, whatever came of the last one.
    static func reopen(of account: String, in scope: Scope, _ db: Connection) throws {
        try db.execute(
            """
            UPDATE refresh SET next_available = last_attempted
            WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND account = \(account)
            AND status <> 'pending' AND next_available IS NULL
            """
        )
    }

    // MARK: Statements

    private static let columns: SQL = """
        SELECT feature, id, number, succeeded, status, last_attempted, next_available FROM refresh
        """

    /// The refreshes of an account, the latest of each feature.
    static func states(of account: String, in scope: Scope, _ db: Connection) throws -> [Feature: Refresh] {
        let all = try db.all(
            """
            \(columns) WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND account = \(account)
            """
        ) { row in
            Refresh(
                feature: try row.choice(0, of: Feature.self),
                id: row.optionalText(1),
                number: try row.int(2),
                succeeded: try row.int(3),
                status: try row.choice(4, of: Status.self),
                lastAttempted: try row.int(5),
                nextAvailable: row.optionalInt(6)
            )
        }
        return Dictionary(all.map { ($0.feature, $0) }, uniquingKeysWith: { first, _ in first })
    }

    // MARK: JSON

    /// Writes the member of an account, null where there was no refresh.
    static func write(_ refresh: Refresh?, of feature: Feature, to json: inout JSONWriter) {
        guard let refresh else { return json.nullField(feature.member) }
        json.object(feature.member) { json in
            if let id = refresh.id { json.field("id", id) }
            json.field("last_attempted_at", refresh.lastAttempted)
            json.field("next_refresh_available_at", refresh.nextAvailable)
            json.field("status", refresh.status.rawValue)
        }
    }
}

extension Wake {
    /// A refresh is due, or a test clock is to advance.
    public static let refreshes = Wake(rawValue: "refreshes")
}

// MARK: Claims

extension Refresh {
    /// A pending refresh in the hands of one worker, with all that asking the institution takes.
    public struct Claim: Sendable {
        public let feature: Feature
        public let scope: Scope
        public let account: String
        /// The fence: it counts the claims of this refresh, and what is written with an old one is refused.
        let attempt: Int64
        /// Counts the refreshes of this feature on the account.
        public let number: Int64
        /// How often it was claimed since it was started or last came on.
        public let retries: Int64
        public let lastAttempted: Int64
        public let institution: String
        /// The institution's own name for the account.
        public let institutionAccount: String
        public let category: String
        public let subcategory: String
        /// Whom the institution knows the account's holder as.
        public let holder: String
        public let authorization: String
        /// Sealed for the authorization.
        public let credential: [UInt8]
        /// The account's time, by its test clock where there is one.
        public let now: Int64
        /// How far the connector has come, nil at the beginning.
        public let cursor: [UInt8]?
        /// What tests made of the account, in test mode.
        public let made: TestBankAccount?
        let clock: String?
    }

    /// How many claims without any progress are made before a refresh is given up.
    public static let maximumRetries: Int64 = 5

    /// How long a worker that has gone silent keeps a refresh, in seconds.
    public static let lease: Int64 = 60

    /// What an institution takes at the moment.
    public struct Limits: Sendable {
        /// How many more calls may be under way.
        public let free: Int
        /// The most calls with one credential within a day, nil for no limit.
        public let dailyBudget: Int?

        public init(free: Int, dailyBudget: Int?) {
            self.free = free
            self.dailyBudget = dailyBudget
        }
    }

    /// Whether there is something to claim.
    public static func isDue(_ db: Connection, _ world: World) throws -> Bool {
        try db.first("SELECT 1 FROM refresh WHERE status = 'pending' AND claim_at <= \(world.wall()) LIMIT 1") {
            try $0.int(0)
        } != nil
    }

    /// How many refreshes one call looks at: it holds up the other writes.
    private static let claimLimit = 1000
    /// How many of an institution that takes no more at the moment are put off to the same second.
    private static let perSecond: Int64 = 500

    /// Claims what is due. A refresh whose institution takes no more at the moment is put off by a second or, behind
    /// many others, by more, so that it does not stand in the way of the others; one whose budget is spent, until there
    /// is budget again. Where less was claimed than asked for there may still be more that is due.
    /// - Parameter limits: of an institution, in a mode.
    public static func claim(
        limit: Int,
        _ limits: @Sendable (_ institution: String, _ livemode: Bool) -> Limits,
        _ db: Connection,
        _ world: World
    ) throws -> [Claim] {
        var (taken, putOff): ([String: Int], [String: Int64]) = ([:], [:])
        var claims: [Claim] = []
        var seen = 0
        while claims.count < limit, seen < claimLimit {
            let batch = min(100, max(limit - claims.count, 10))
            let due = try due(atMost: batch, db, world)
            seen += due.count
            for (scope, id, feature) in due where claims.count < limit {
                let account = try Account.find(id, at: .path(param: "account"), in: scope, db)
                let institution = account.institutionID
                let limits = limits(institution, scope.livemode)
                guard taken[institution, default: 0] < limits.free else {
                    let count = putOff[institution, default: 0]
                    putOff[institution] = count + 1
                    try postpone(feature, of: account, claimAt: world.wall() + 1 + count / perSecond, db)
                    continue
                }
                if let claim = try claim(feature, of: account, budget: limits.dailyBudget, db, world) {
                    taken[institution, default: 0] += 1
                    claims.append(claim)
                }
            }
            guard due.count == batch else { break }
        }
        return claims
    }

    /// What is due, the longest first.
    private static func due(
        atMost limit: Int,
        _ db: Connection,
        _ world: World
    ) throws -> [(Scope, account: String, Feature)] {
        try db.all(
            """
            SELECT merchant, livemode, account, feature FROM refresh
            WHERE status = 'pending' AND claim_at <= \(world.wall())
            ORDER BY claim_at, merchant, livemode, account, feature LIMIT \(limit) {skipLocked}
            """
        ) { row in
            (
                Scope(merchant: try row.text(0), livemode: try row.bool(1)), try row.text(2),
                try row.choice(3, of: Feature.self)
            )
        }
    }

    /// - Returns: nil where the budget of the credential is spent; then the refresh waits for it.
    static func claim(
        _ feature: Feature,
        of account: Account,
        budget: Int?,
        _ db: Connection,
        _ world: World
    ) throws -> Claim? {
        let scope = account.scope
        let own = try account.world(db, world)
        if let budget,
            let wait = try Authorization.waitForBudget(budget, of: account.authorization, in: scope, db, world)
        {
            try postpone(feature, of: account, claimAt: world.wall() + wait, db)
            return nil
        }
        guard let credential = try Authorization.credential(of: account.authorization, in: scope, db) else {
            var orphan = account
            try orphan.deactivate(.unspecified, by: .none, db, world)
            return nil
        }
        let row = try db.first(
            """
            UPDATE refresh SET attempt = attempt + 1, retries = retries + 1, claim_at = \(world.wall() + lease)
            WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND account = \(account.id)
            AND feature = \(feature.rawValue) RETURNING attempt, number, retries, last_attempted, cursor
            """
        ) { row in
            (try row.int(0), try row.int(1), try row.int(2), try row.int(3), row.optionalBytes(4))
        }
        guard let (attempt, number, retries, lastAttempted, cursor) = row else { return nil }
        return Claim(
            feature: feature,
            scope: scope,
            account: account.id,
            attempt: attempt,
            number: number,
            retries: retries,
            lastAttempted: lastAttempted,
            institution: account.institutionID,
            institutionAccount: account.details.institutionAccount,
            category: account.details.category,
            subcategory: account.details.subcategory,
            holder: account.holder.nameAtInstitutions(in: scope),
            authorization: account.authorization,
            credential: credential,
            now: own.now(),
            cursor: cursor,
            made: scope.livemode ? nil : try TestBankAccount.find(account.id, in: scope, db),
            clock: account.testClock
        )
    }

    private static func postpone(
        _ feature: Feature,
        of account: Account,
        claimAt: Int64,
        _ db: Connection
    ) throws {
        let scope = account.scope
        try db.execute(
            """
            UPDATE refresh SET claim_at = \(claimAt) WHERE merchant = \(scope.merchant)
            AND livemode = \(scope.livemode) AND account = \(account.id) AND feature = \(feature.rawValue)
            """
        )
    }

    /// Frees what a server held that is gone. Only for a server that shares its database with no other.
    public static func releaseAll(_ db: Connection, _ world: World) throws {
        try db.execute(
            """
            UPDATE refresh SET claim_at = run_at
            WHERE status = 'pending' AND test_clock IS NULL AND claim_at IS NOT NULL
            """
        )
        try db.execute(
            """
            UPDATE refresh SET claim_at = \(world.wall())
            WHERE status = 'pending' AND test_clock IS NOT NULL AND claim_at IS NOT NULL
            """
        )
    }
}

extension Refresh.Claim {
    private var row: SQL {
        """
        merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND account = \(account)
        AND feature = \(feature.rawValue) AND attempt = \(attempt) AND status = 'pending'
        """
    }

    /// Whether the refresh is still this worker's; asked at the beginning of each write. Holding on renews the lease.
    public func holds(_ db: Connection, _ world: World) throws -> Bool {
        try db.execute("UPDATE refresh SET claim_at = \(world.wall() + Refresh.lease) WHERE \(row)") == 1
    }

    /// Takes a request out of the budget of a day.
    /// - Returns: nil where there was one left; otherwise the seconds until there is.
    public func spend(ofBudget budget: Int, _ db: Connection, _ world: World) throws -> Int64? {
        try Authorization.waitForBudget(budget, of: authorization, in: scope, db, world)
    }

    /// The institution is asked once more in the course of this refresh.
    public func countCall(_ db: Connection, _ world: World) throws {
        try Authorization.countCall(with: authorization, in: scope, db, world)
    }

    // MARK: What came of it

    /// - Parameter isOfFile: what a file says that is older than another takes nothing back.
    public func succeed(
        _ balance: Account.Balance,
        isOfFile: Bool = false,
        next: Int64,
        _ db: Connection,
        _ world: World
    ) throws {
        try finish(.succeeded, next: next, db, world) { account in
            if isOfFile, let known = try account.balanceDate(), known > balance.asOf { return }
            account.take(balance)
        }
    }

    public func succeed(_ owners: [Owner], next: Int64, _ db: Connection, _ world: World) throws {
        try finish(.succeeded, next: next, db, world) { account in
            let world = try account.world(db, world)
            account.take(try Ownership.create(of: account.id, owners, in: scope, db, world))
        }
    }

    /// Takes a part of what the institution told of transactions.
    /// - Parameter cursor: how far the connector has come with it, nil where more of the same page follows.
    public func ingest(
        _ entries: [Transaction.Entry],
        removed: [String] = [],
        retractions: [Transaction.Retraction] = [],
        cursor: [UInt8]?,
        _ db: Connection,
        _ world: World
    ) throws {
        let world = try TestClock.world(of: clock, in: scope, db, world)
        let batch = Transaction.Batch(account: account, scope: scope, refresh: number, now: world.now())
        try batch.ingest(entries, db, world)
        try batch.remove(removed, db)
        try batch.retract(retractions, db)
        guard let cursor else { return }
        try db.execute("UPDATE refresh SET cursor = \(cursor), retries = 0 WHERE \(row)")
    }

    /// Makes void what is pending in a window and was not seen by this refresh.
    /// - Returns: whether there may be more.
    public func voidUnseen(in window: Range<Int64>, _ db: Connection, _ world: World) throws -> Bool {
        let world = try TestClock.world(of: clock, in: scope, db, world)
        let batch = Transaction.Batch(account: account, scope: scope, refresh: number, now: world.now())
        return try batch.voidUnseen(in: window, db)
    }

    /// All transactions are in.
    public func succeed(next: Int64, _ db: Connection, _ world: World) throws {
        try finish(.succeeded, next: next, db, world) { _ in }
    }

    /// - Parameter next: when another may be asked for, nil where it would be in vain.
    public func fail(next: Int64?, _ db: Connection, _ world: World) throws {
        try finish(.failed, next: next, db, world) { _ in }
    }

    /// Stays pending and is tried again.
    /// - Parameter seconds: after how many, by the account's time: on a test clock, when that is advanced.
    public func putOff(seconds: Int64, _ db: Connection, _ world: World) throws {
        let claimAt: Int64? = clock == nil ? world.wall() + seconds : nil
        try db.execute("UPDATE refresh SET claim_at = \(claimAt), run_at = \(now + seconds) WHERE \(row)")
    }

    /// Stays pending, for whoever comes next.
    public func handOn(_ db: Connection, _ world: World) throws {
        try db.execute("UPDATE refresh SET claim_at = \(world.wall()) WHERE \(row)")
    }

    /// The institution has ended the link to the account, or with it to every account of the consent. Where the account
    /// was linked anew meanwhile, that link goes on, and the refresh is done by it.
    public func endLink(
        _ cause: Account.InactiveCause,
        ofAll isWhole: Bool,
        _ db: Connection,
        _ world: World
    ) throws {
        try consumeFailure(db)
        if isWhole {
            try Account.deactivateAll(of: authorization, cause, in: scope, db, world)
        }
        var found = try Account.find(account, at: .path(param: "account"), in: scope, db)
        guard found.authorization == authorization else { return try handOn(db, world) }
        try found.deactivate(cause, by: .none, db, world)
    }

    /// The institution has said when it will end the consent, nil for never.
    public func note(consentExpiry: Int64?, _ db: Connection, _ world: World) throws {
        let accounts = try Account.activeIDs(of: authorization, in: scope, db)
        try Authorization.expectEnd(of: accounts, at: consentExpiry, by: .none, in: scope, db, world)
    }

    private func finish(
        _ status: Refresh.Status,
        next: Int64?,
        _ db: Connection,
        _ world: World,
        _ take: (inout Account) throws -> Void
    ) throws {
        let isSuccess = status == .succeeded
        let counted: SQL = isSuccess ? ", succeeded = number" : ""
        try db.execute(
            """
            UPDATE refresh SET status = \(status.rawValue), next_available = \(next), claim_at = NULL,
                retries = 0\(counted) WHERE \(row)
            """
        )
        if isSuccess && feature == .transactions {
            try db.execute(
                """
                UPDATE transaction_refresh SET complete = number WHERE merchant = \(scope.merchant)
                AND livemode = \(scope.livemode) AND account = \(account) AND number = \(number)
                """
            )
        }
        try consumeFailure(db)
        var found = try Account.find(account, at: .path(param: "account"), in: scope, db)
        try take(&found)
        try found.save(db)
        try found.record(feature.refreshed, by: .none, db, world)
        // A test clock that waits for this goes on.
        if clock != nil { db.wake(.refreshes) }
    }

    /// A failure that a test ordered has happened.
    private func consumeFailure(_ db: Connection) throws {
        guard let made, made.fails(feature) else { return }
        try TestBankAccount.clearFailure(of: feature, account, in: scope, db)
    }
}
