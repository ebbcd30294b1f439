/// A transaction on a linked account.
///
/// It is `pending`, `posted` or `void`, keeps its `fctxn_` whatever becomes of it, and names the refresh that made or
/// last changed it. A refresh that brings nothing new of it leaves it alone, so that what came after a refresh is just
/// what is new or other. Lists are in the order of the bank, newest first; what came after a refresh is listed by
/// refreshes, the latest first. Both cost the same at any depth.

public import Database
public import Wire

public struct Transaction: Sendable {
    public enum Status: String, Sendable {
        case pending, posted, void
    }

    let id: String
    let scope: Scope
    let account: String
    let amount: Int64
    let currency: String
    let description: String
    let status: Status
    /// 0 for never, as is `voidAt`.
    let postedAt: Int64
    let voidAt: Int64
    let transactedAt: Int64
    let updated: Int64
    /// `fctxnref_…`
    let refresh: String?

    /// A transaction as an institution tells of it.
    public struct Entry: Sendable {
        /// The institution's own name for it, unique on the account.
        public let institutionID: String
        /// The name of the one whose place it takes; nil where there is none. One that is not pending keeps its place,
        /// unless this is a correction.
        public let replaces: String?
        public let isCorrection: Bool
        /// Minor units, negative for money that left the account.
        public let amount: Int64
        public let currency: String
        public let description: String
        public let status: Status
        public let transactedAt: Int64
        /// When it was posted or became void; nil where it is pending or the institution does not say.
        public let settledAt: Int64?

        public init(
            institutionID: String,
            replaces: String?,
            isCorrection: Bool = false,
            amount: Int64,
            currency: String,
            description: String,
            status: Status,
            transactedAt: Int64,
            settledAt: Int64?
        ) {
            self.institutionID = institutionID
            self.replaces = replaces
            self.isCorrection = isCorrection
            self.amount = amount
            self.currency = currency
            self.description = description
            self.status = status
            self.transactedAt = transactedAt
            self.settledAt = settledAt
        }
    }

    // MARK: Transitions

    /// What one refresh writes of an account's transactions. Writing the same again changes nothing.
    struct Batch {
        let account: String
        let scope: Scope
        /// The refresh's number on the account.
        let refresh: Int64
        let now: Int64

        private var mine: SQL {
            "merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND account = \(account)"
        }

        func ingest(_ entries: [Entry], _ db: Connection, _ world: World) throws {
            for entry in entries {
                if let replaced = entry.replaces, replaced != entry.institutionID {
                    try rename(replaced, to: entry, db)
                }
                try upsert(entry, db, world)
            }
        }

        /// The row is inserted, or changed where it is another; a transaction that was posted keeps that moment when
        /// it becomes void. That it was seen is noted of those alone that may vanish.
        private func upsert(_ entry: Entry, _ db: Connection, _ world: World) throws {
            let settled = entry.settledAt ?? (entry.status == .posted ? entry.transactedAt : now)
            let postedAt = entry.status == .posted ? settled : 0
            let voidAt = entry.status == .void ? settled : 0
            try db.execute(
                """
                INSERT INTO bank_transaction (merchant, livemode, account, transacted_at, id, institution_id, amount,
                    currency, description, status, posted_at, void_at, updated, refresh, seen)
                VALUES (\(scope.merchant), \(scope.livemode), \(account), \(entry.transactedAt),
                    \(world.id(.transaction)), \(entry.institutionID), \(entry.amount), \(entry.currency),
                    \(entry.description), \(entry.status.rawValue), \(postedAt), \(voidAt), \(now), \(refresh),
                    \(refresh))
                ON CONFLICT (merchant, livemode, account, institution_id) DO UPDATE SET
                    transacted_at = excluded.transacted_at, amount = excluded.amount, currency = excluded.currency,
                    description = excluded.description, status = excluded.status,
                    posted_at = CASE WHEN excluded.status = 'void' THEN bank_transaction.posted_at
                        ELSE excluded.posted_at END,
                    void_at = excluded.void_at, updated = excluded.updated, refresh = excluded.refresh,
                    seen = excluded.seen
                WHERE (bank_transaction.transacted_at, bank_transaction.amount, bank_transaction.currency,
                        bank_transaction.description, bank_transaction.status)
                    <> (excluded.transacted_at, excluded.amount, excluded.currency, excluded.description,
                        excluded.status)
                """
            )
            if entry.status == .pending {
                try db.execute(
                    """
                    UPDATE bank_transaction SET seen = \(refresh) WHERE \(mine)
                    AND institution_id = \(entry.institutionID) AND seen < \(refresh)
                    """
                )
            }
        }

        /// A pending transaction that goes on under another name of the institution keeps its id. Where both names are
        /// known already, the old one has nothing left to stand for. One that is posted is what a refund refers to: it
        /// stays, unless it is corrected.
        private func rename(_ old: String, to entry: Entry, _ db: Connection) throws {
            let new = entry.institutionID
            let known = try db.all(
                """
                SELECT institution_id, status FROM bank_transaction
                WHERE \(mine) AND institution_id IN (\(old), \(new))
                """
            ) { (name: try $0.text(0), status: try $0.choice(1, of: Status.self)) }
            guard let former = known.first(where: { $0.name == old }), former.status == .pending || entry.isCorrection
            else { return }
            if known.contains(where: { $0.name == new }) {
                try remove([old], db)
            } else {
                try db.execute(
                    "UPDATE bank_transaction SET institution_id = \(new) WHERE \(mine) AND institution_id = \(old)"
                )
            }
        }

        /// What the institution took back becomes void.
        func remove(_ institutionIDs: [String], _ db: Connection) throws {
            for id in institutionIDs {
                try db.execute(
                    """
                    UPDATE bank_transaction SET status = 'void', void_at = \(now), updated = \(now),
                        refresh = \(refresh), seen = \(refresh)
                    WHERE \(mine) AND institution_id = \(id) AND status <> 'void'
                    """
                )
            }
        }

        /// - Returns: whether there may be more: a bounded number becomes void at a time.
        func voidUnseen(in window: Range<Int64>, _ db: Connection) throws -> Bool {
            let limit = 500
            let vanished = try db.all(
                """
                SELECT institution_id FROM bank_transaction WHERE \(mine) AND status = 'pending'
                AND transacted_at >= \(window.lowerBound) AND transacted_at < \(window.upperBound)
                AND seen < \(refresh) LIMIT \(limit)
                """
            ) { try $0.text(0) }
            try remove(vanished, db)
            return vanished.count == limit
        }
    }

    // MARK: Statements

    private static let columns: SQL = """
        SELECT id, account, amount, currency, description, status, posted_at, void_at, transacted_at, updated, (
            SELECT r.id FROM transaction_refresh r WHERE r.merchant = t.merchant AND r.livemode = t.livemode
            AND r.account = t.account AND r.number = t.refresh) AS refresh_id
        FROM bank_transaction t
        """

    public static func find(_ id: String, in scope: Scope, _ db: Connection) throws -> Transaction {
        let found = try db.first(
            "\(columns) WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND id = \(id)"
        ) { try Transaction($0, scope) }
        guard let found else {
            let other = scope.otherMode
            let exists =
                try db.first(
                    """
                    SELECT 1 FROM bank_transaction
                    WHERE merchant = \(other.merchant) AND livemode = \(other.livemode) AND id = \(id)
                    """
                ) { try $0.int(0) } != nil
            throw StripeError.noSuch(
                kind,
                id,
                at: .path(param: "transaction"),
                livemode: scope.livemode,
                otherMode: exists
            )
        }
        try Account.find(found.account, at: .path(param: "account"), in: scope, db).requireReadable(.transactions)
        return found
    }

    /// What the institution calls those of an account whose names begin so and that are not void: the newest first, at
    /// most ten.
    public static func names(
        beginning: String,
        ofAccount account: String,
        in scope: Scope,
        _ db: Connection
    ) throws -> [String] {
        // No name goes on with the last of all letters.
        try db.all(
            """
            SELECT institution_id FROM bank_transaction WHERE merchant = \(scope.merchant)
            AND livemode = \(scope.livemode) AND account = \(account) AND institution_id >= \(beginning)
            AND institution_id < \(beginning + "\u{10FFFF}") AND status <> 'void'
            ORDER BY transacted_at DESC, id DESC LIMIT 10
            """
        ) { try $0.text(0) }
    }

    private static let kind = "financial_connections.transaction"

    private init(_ row: Row, _ scope: Scope) throws {
        id = try row.text(0)
        self.scope = scope
        account = try row.text(1)
        amount = try row.int(2)
        currency = try row.text(3)
        description = try row.text(4)
        status = try row.choice(5, of: Status.self)
        postedAt = try row.int(6)
        voidAt = try row.int(7)
        transactedAt = try row.int(8)
        updated = try row.int(9)
        refresh = row.optionalText(10)
    }

    // MARK: Lists

    public struct Query: Sendable {
        public static let names: [String: Parameters.Names] = PageRequest.names.merging(
            [
                "account": .leaf, "transacted_at": ["gt": .leaf, "gte": .leaf, "lt": .leaf, "lte": .leaf],
                "transaction_refresh": ["after": .leaf],
            ],
            uniquingKeysWith: { first, _ in first }
        )

        fileprivate let account: String
        fileprivate let transactedAt: MomentRange?
        fileprivate let after: String?
        fileprivate let page: PageRequest

        public init(_ parameters: Parameters) throws(StripeError) {
            account = try parameters.requiredString("account")
            transactedAt = try parameters.moments("transacted_at")
            after = try parameters.group("transaction_refresh")?.requiredString("after")
            page = try PageRequest(parameters)
        }
    }

    /// - Throws: where the account's transactions may not be read, or none were ever fetched.
    public static func writeList(
        _ query: Query,
        in scope: Scope,
        _ db: Connection,
        to json: inout JSONWriter
    ) throws {
        let account = try Account.find(query.account, at: .parameter("account"), in: scope, db)
        try account.requireReadable(.transactions)
        guard let refresh = try Refresh.states(of: account.id, in: scope, db)[.transactions], refresh.succeeded > 0
        else { throw neverRefreshed(account.id) }
        let mine: SQL = """
            WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND account = \(account.id)
            """
        var select: SQL = "\(columns) \(mine)"
        if let range = query.transactedAt {
            select = "\(select) AND transacted_at BETWEEN \(range.from) AND \(range.through)"
        }
        var keys: [SQL] = ["transacted_at"]
        if let after = query.after {
            select = "\(select) AND refresh > \(try complete(by: after, of: account.id, in: scope, db))"
            keys = ["refresh", "transacted_at"]
        }
        let page = try Page(
            query.page,
            by: keys,
            of: kind,
            in: scope,
            db,
            select: select,
            start: { id in
                try db.first("SELECT refresh, transacted_at FROM bank_transaction \(mine) AND id = \(id)") { row in
                    Array([try row.int(0), try row.int(1)].suffix(keys.count))
                }
            },
            read: { try Transaction($0, scope) }
        )
        json.object { json in
            json.list(page.elements, hasMore: page.hasMore, url: query.url) { transaction, json in
                transaction.write(to: &json)
            }
        }
    }

    /// The number of the last refresh whose transactions were all in when the one that is named was over. One that
    /// failed or is under way is no mark of its own: what it brought in part is not left out.
    private static func complete(
        by id: String,
        of account: String,
        in scope: Scope,
        _ db: Connection
    ) throws -> Int64 {
        let number = try db.first(
            """
            SELECT complete FROM transaction_refresh WHERE merchant = \(scope.merchant)
            AND livemode = \(scope.livemode) AND account = \(account) AND id = \(id)
            """
        ) { try $0.int(0) }
        if let number { return number }
        throw StripeError.noSuch(
            "financial_connections.transaction_refresh",
            id,
            at: .parameter("transaction_refresh[after]"),
            livemode: scope.livemode
        )
    }

    private static func neverRefreshed(_ account: String) -> StripeError {
        StripeError(
            code: "financial_connections_no_successful_transaction_refresh",
            param: "account",
            message: "The account '\(account)' has no transactions yet: no refresh of them has succeeded. Refresh or "
                + "subscribe to `transactions`, and wait for `transaction_refresh` to succeed."
        )
    }

    // MARK: JSON

    public static let shape = Expansion.Shape.object([
        "id": .leaf, "object": .leaf, "account": .leaf, "amount": .leaf, "currency": .leaf, "description": .leaf,
        "livemode": .leaf, "status": .leaf, "status_transitions": .leaf, "transacted_at": .leaf,
        "transaction_refresh": .leaf, "updated": .leaf,
    ])

    public func write(to json: inout JSONWriter) {
        json.object { json in
            json.field("id", id)
            json.field("object", Self.kind)
            json.field("account", account)
            json.field("amount", amount)
            json.field("currency", currency)
            json.field("description", description)
            json.field("livemode", scope.livemode)
            json.field("status", status.rawValue)
            json.object("status_transitions") { json in
                json.field("posted_at", postedAt == 0 ? nil : postedAt)
                json.field("void_at", voidAt == 0 ? nil : voidAt)
            }
            json.field("transacted_at", transactedAt)
            json.field("transaction_refresh", refresh)
            json.field("updated", updated)
        }
    }
}

extension Transaction.Query {
    /// Where the list continues, with its filters.
    fileprivate var url: String {
        var url = "/v1/financial_connections/transactions?account=\(account)"
        if let range = transactedAt, range.isMoment {
            url += "&transacted_at=\(range.from)"
        } else if let range = transactedAt {
            if range.from > 0 { url += "&transacted_at[gte]=\(range.from)" }
            if range.through < Int64.max { url += "&transacted_at[lte]=\(range.through)" }
        }
        if let after { url += "&transaction_refresh[after]=\(after)" }
        return url
    }
}
