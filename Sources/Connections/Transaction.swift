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
        /// The name of the pending one whose place it takes; nil where there is none. One that is not pending keeps its
        /// place.
        public let replaces: String?
        /// The names of those whose place it takes whatever they are, as they were wrong: unless a correction that was
        /// settled later has taken it.
        public let corrects: [String]
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
            corrects: [String] = [],
            amount: Int64,
            currency: String,
            description: String,
            status: Status,
            transactedAt: Int64,
            settledAt: Int64?
        ) {
            self.institutionID = institutionID
            self.replaces = replaces
            self.corrects = corrects
            self.amount = amount
            self.currency = currency
            self.description = description
            self.status = status
            self.transactedAt = transactedAt
            self.settledAt = settledAt
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

    /// What the institution calls those of an account whose names begin so: the last ten that are not void, and then
    /// the last ten names that are over.
    /// - Parameter last: where there is one, names that begin so are the last.
    public static func names(
        beginning: String,
        upTo last: String?,
        ofAccount account: String,
        in scope: Scope,
        _ db: Connection
    ) throws -> [String] {
        // No name goes on with the last of all letters.
        let these: SQL = """
            merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND account = \(account)
            AND institution_id >= \(beginning) AND institution_id < \((last ?? beginning) + "\u{10FFFF}")
            """
        let current = try db.all(
            """
            SELECT institution_id FROM bank_transaction WHERE \(these) AND status <> 'void'
            ORDER BY institution_id DESC LIMIT 10
            """
        ) { try $0.text(0) }
        let former = try db.all(
            "SELECT institution_id FROM former_transaction_name WHERE \(these) ORDER BY institution_id DESC LIMIT 10"
        ) { try $0.text(0) }
        return current + former.filter { !current.contains($0) }
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
