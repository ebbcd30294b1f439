/// A bank account at a test institution, as far as tests have made it: what the institution is to say of it from now
/// on. It is kept for each linked account, and never in live mode.

public import Database
internal import FoundationEssentials
public import Wire

public struct TestBankAccount: Sendable {
    public private(set) var balance: Account.Balance?
    public private(set) var owners: [Owner]?
    /// When the institution ends the link, or ended it; nil where no test said so.
    private var deactivatesAt: Int64?
    private var failing: [String]
    /// The number of the last change of a transaction.
    private var changes: Int64

    public func isDeactivated(at now: Int64) -> Bool {
        deactivatesAt.map { $0 <= now } ?? false
    }

    /// Whether a test has said when the link ends, whatever the institution would have said.
    public var endsLink: Bool { deactivatesAt != nil }

    /// Whether the next refresh of a feature is to fail.
    public func fails(_ feature: Refresh.Feature) -> Bool {
        failing.contains(feature.rawValue)
    }

    public var hasTransactions: Bool { changes > 0 }

    // MARK: Parameters

    public static let balanceNames: [String: Parameters.Names] = [
        "available": .leaf, "currency": .leaf, "current": .leaf, "used": .leaf,
    ]
    public static let ownersNames: [String: Parameters.Names] = ["owners": .any]
    public static let transactionNames: [String: Parameters.Names] = [
        "amount": .leaf, "currency": .leaf, "description": .leaf, "status": .leaf, "transacted_at": .leaf,
    ]
    public static let deactivationNames: [String: Parameters.Names] = ["announced": .leaf, "at": .leaf]
    public static let failureNames: [String: Parameters.Names] = ["feature": .leaf]

    static let moments: ClosedRange<Int64> = 1...253_402_300_799
    private static let amounts: ClosedRange<Int64> = -99_999_999_999_999...99_999_999_999_999

    private static func currency(_ parameters: Parameters) throws(StripeError) -> String {
        let currency = (try parameters.string("currency") ?? "usd").lowercased()
        guard currency.utf8.count == 3, currency.utf8.allSatisfy({ $0 >= 97 && $0 <= 122 }) else {
            throw StripeError(param: "currency", message: "Invalid currency: \(currency.prefix(20))")
        }
        return currency
    }

    /// A balance in one currency.
    public struct BalanceRequest: Sendable {
        fileprivate let currency: String
        fileprivate let current: Int64
        fileprivate let available: Int64?
        fileprivate let used: Int64?

        public init(_ parameters: Parameters) throws(StripeError) {
            currency = try TestBankAccount.currency(parameters)
            guard let current = try parameters.integer("current", in: amounts) else { throw .missing("current") }
            self.current = current
            available = try parameters.integer("available", in: amounts)
            used = try parameters.integer("used", in: amounts)
        }
    }

    /// Owners, none included: `owners=` takes them all away.
    public struct OwnersRequest: Sendable {
        fileprivate var owners: [Owner] = []

        public init(_ parameters: Parameters) throws(StripeError) {
            guard let groups = try parameters.groups("owners") else { throw .missing("owners") }
            for group in groups {
                for name in group.names where !["address", "email", "name", "phone"].contains(name) {
                    throw .unknown(group.path(name))
                }
                owners.append(
                    Owner(
                        name: try group.requiredString("name"),
                        email: try group.string("email"),
                        phone: try group.string("phone"),
                        address: try group.string("address")
                    )
                )
            }
        }
    }

    public struct TransactionRequest: Sendable {
        fileprivate let amount: Int64
        fileprivate let currency: String
        fileprivate let description: String
        fileprivate let status: Transaction.Status
        fileprivate let transactedAt: Int64?

        public init(_ parameters: Parameters) throws(StripeError) {
            guard let amount = try parameters.integer("amount", in: amounts) else { throw .missing("amount") }
            self.amount = amount
            currency = try TestBankAccount.currency(parameters)
            description = try parameters.string("description", maximum: 500) ?? "Test transaction"
            status =
                try parameters.choice("status", of: ["pending", "posted"]).flatMap(Transaction.Status.init) ?? .posted
            transactedAt = try parameters.integer("transacted_at", in: moments)
        }
    }

    /// When the institution ends the link, and whether it says so beforehand.
    public struct DeactivationRequest: Sendable {
        let at: Int64?
        let isAnnounced: Bool

        public init(_ parameters: Parameters) throws(StripeError) {
            at = try parameters.integer("at", in: moments)
            isAnnounced = try parameters.boolean("announced") ?? true
        }
    }

    // MARK: Transitions

    /// What a balance is in other currencies stays as it was made.
    public static func set(
        _ request: BalanceRequest,
        of account: String,
        in scope: Scope,
        _ db: Connection,
        _ world: World
    ) throws -> Account {
        let account = try open(account, in: scope, db)
        let isCredit = account.details.category == "credit"
        if let stranger = isCredit ? request.available.map({ _ in "available" }) : request.used.map({ _ in "used" }) {
            throw StripeError(
                param: stranger,
                message: "An account of the category \(account.details.category) has no `\(stranger)` balance."
            )
        }
        var made = try find(account.id, in: scope, db) ?? TestBankAccount()
        let amount = isCredit ? request.used : request.available
        var (current, other) = (made.balance?.current ?? [:], made.balance?.amounts ?? [:])
        current[request.currency] = request.current
        other[request.currency] = amount
        made.balance = Account.Balance(
            asOf: try account.world(db, world).now(),
            current: current,
            isCredit: isCredit,
            amounts: other.isEmpty ? nil : other
        )
        try made.save(account.id, in: scope, db)
        return account
    }

    public static func set(
        _ request: OwnersRequest,
        of account: String,
        in scope: Scope,
        _ db: Connection
    ) throws -> Account {
        let account = try open(account, in: scope, db)
        var made = try find(account.id, in: scope, db) ?? TestBankAccount()
        made.owners = request.owners
        try made.save(account.id, in: scope, db)
        return account
    }

    public static func failNext(
        _ feature: Refresh.Feature,
        of account: String,
        in scope: Scope,
        _ db: Connection
    ) throws -> Account {
        let account = try open(account, in: scope, db)
        var made = try find(account.id, in: scope, db) ?? TestBankAccount()
        if !made.fails(feature) { made.failing.append(feature.rawValue) }
        try made.save(account.id, in: scope, db)
        return account
    }

    static func clearFailure(
        of feature: Refresh.Feature,
        _ account: String,
        in scope: Scope,
        _ db: Connection
    ) throws {
        guard var made = try find(account, in: scope, db) else { return }
        made.failing.removeAll { $0 == feature.rawValue }
        try made.save(account, in: scope, db)
    }

    /// The institution ends the link. Announced, it tells at once: of an end that is to come as the date that is
    /// expected, of one that is now by the account becoming inactive. Otherwise the next refresh finds out.
    public static func deactivate(
        _ account: String,
        _ request: DeactivationRequest,
        by cause: Cause,
        in scope: Scope,
        _ db: Connection,
        _ world: World
    ) throws -> Account {
        var account = try open(account, in: scope, db)
        let now = try account.world(db, world).now()
        let moment = request.at ?? now
        if moment <= now { try account.requireActive() }
        var made = try find(account.id, in: scope, db) ?? TestBankAccount()
        made.deactivatesAt = moment
        try made.save(account.id, in: scope, db)
        guard request.isAnnounced else { return account }
        if moment > now {
            try Authorization.expectEnd(of: [account.id], at: moment, by: cause, in: scope, db, world)
        } else {
            try account.deactivate(.accessDenied, by: cause, db, world)
        }
        return try Account.find(account.id, at: .path(param: "account"), in: scope, db)
    }

    /// The institution takes the link up again, as it does when a person links the account anew. An end that it has
    /// announced and that is still to come is taken back.
    public static func reactivate(
        _ account: String,
        by cause: Cause,
        in scope: Scope,
        _ db: Connection,
        _ world: World
    ) throws -> Account {
        var account = try open(account, in: scope, db)
        let announced = try find(account.id, in: scope, db)?.deactivatesAt
        try forgetDeactivation(account.id, in: scope, db)
        if let announced, account.details.expectedDeactivation == announced {
            try Authorization.expectEnd(of: [account.id], at: nil, by: cause, in: scope, db, world)
        }
        try account.reactivate(by: cause, db, world)
        return try Account.find(account.id, at: .path(param: "account"), in: scope, db)
    }

    /// A person who links the account anew ends what a test said of its end.
    static func forgetDeactivation(_ account: String, in scope: Scope, _ db: Connection) throws {
        guard var made = try find(account, in: scope, db), made.deactivatesAt != nil else { return }
        made.deactivatesAt = nil
        try made.save(account, in: scope, db)
    }

    /// - Returns: the institution's name for the new transaction.
    public static func add(
        _ request: TransactionRequest,
        to account: String,
        in scope: Scope,
        _ db: Connection,
        _ world: World
    ) throws -> String {
        let account = try open(account, in: scope, db)
        var made = try find(account.id, in: scope, db) ?? TestBankAccount()
        made.changes += 1
        try made.save(account.id, in: scope, db)
        let now = try account.world(db, world).now()
        let transactedAt = request.transactedAt ?? now
        let id = world.id(.bankTransaction)
        let settledAt = request.status == .pending ? nil : transactedAt
        try db.execute(
            """
            INSERT INTO test_bank_transaction (merchant, livemode, account, id, number, amount, currency, description,
                status, transacted_at, settled_at)
            VALUES (\(scope.merchant), \(scope.livemode), \(account.id), \(id), \(made.changes), \(request.amount),
                \(request.currency), \(request.description), \(request.status.rawValue), \(transactedAt),
                \(settledAt))
            """
        )
        return id
    }

    /// A transaction that is pending is posted, or vanishes; one that is posted can be taken back.
    public static func settle(
        _ id: String,
        as status: Transaction.Status,
        on account: String,
        in scope: Scope,
        _ db: Connection,
        _ world: World
    ) throws {
        let account = try open(account, in: scope, db)
        let mine: SQL = """
            merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND account = \(account.id) AND id = \(id)
            """
        let before = try db.first("SELECT status FROM test_bank_transaction WHERE \(mine)") {
            try $0.choice(0, of: Transaction.Status.self)
        }
        guard let before, var made = try find(account.id, in: scope, db) else {
            throw StripeError.noSuch(
                "transaction at the institution",
                id,
                at: .path(param: "transaction"),
                livemode: scope.livemode
            )
        }
        guard before == .pending || before == .posted && status == .void else {
            throw StripeError(
                param: "transaction",
                message: "The transaction '\(id)' is \(before.rawValue) and cannot become \(status.rawValue)."
            )
        }
        made.changes += 1
        try made.save(account.id, in: scope, db)
        let now = try account.world(db, world).now()
        try db.execute(
            """
            UPDATE test_bank_transaction SET status = \(status.rawValue), settled_at = \(now),
                number = \(made.changes) WHERE \(mine)
            """
        )
    }

    /// The account, where a test may still make something of it.
    private static func open(_ id: String, in scope: Scope, _ db: Connection) throws -> Account {
        let account = try Account.find(id, at: .path(param: "account"), in: scope, db)
        guard account.status != .disconnected else { throw account.isDisconnected }
        return account
    }

    // MARK: Statements

    static func find(_ account: String, in scope: Scope, _ db: Connection) throws -> TestBankAccount? {
        try db.first(
            """
            SELECT balance, owners, deactivates_at, failing, changes FROM test_bank_account
            WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND account = \(account)
            """
        ) { row in
            TestBankAccount(
                balance: try row.optionalText(0).map { try decode($0) },
                owners: try row.optionalText(1).map { try decode($0) },
                deactivatesAt: row.optionalInt(2),
                failing: Joined.values(try row.text(3)),
                changes: try row.int(4)
            )
        }
    }

    private init(
        balance: Account.Balance? = nil,
        owners: [Owner]? = nil,
        deactivatesAt: Int64? = nil,
        failing: [String] = [],
        changes: Int64 = 0
    ) {
        self.balance = balance
        self.owners = owners
        self.deactivatesAt = deactivatesAt
        self.failing = failing
        self.changes = changes
    }

    private func save(_ account: String, in scope: Scope, _ db: Connection) throws {
        try db.execute(
            """
            INSERT INTO test_bank_account (merchant, livemode, account, balance, owners, deactivates_at, failing,
                changes)
            VALUES (\(scope.merchant), \(scope.livemode), \(account), \(try balance.map(Self.encode)),
                \(try owners.map(Self.encode)), \(deactivatesAt), \(Joined.text(failing)), \(changes))
            ON CONFLICT (merchant, livemode, account) DO UPDATE SET balance = excluded.balance,
                owners = excluded.owners, deactivates_at = excluded.deactivates_at, failing = excluded.failing,
                changes = excluded.changes
            """
        )
    }

    private static func decode<T: Decodable>(_ text: String) throws -> T {
        try JSONDecoder().decode(T.self, from: Data(text.utf8))
    }

    private static func encode(_ value: some Encodable) throws -> String {
        String(decoding: try JSONEncoder().encode(value), as: UTF8.self)
    }

    /// Transactions that tests made, each as its last change left it.
    /// - Parameter number: of the last change that is known.
    /// - Returns: at most `limit`, in the order of their changes.
    public static func transactions(
        of account: String,
        after number: Int64,
        limit: Int,
        in scope: Scope,
        _ db: Connection
    ) throws -> [(number: Int64, entry: Transaction.Entry)] {
        try db.all(
            """
            SELECT number, id, amount, currency, description, status, transacted_at, settled_at
            FROM test_bank_transaction
            WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND account = \(account)
            AND number > \(number) ORDER BY number LIMIT \(limit)
            """
        ) { row in
            let entry = Transaction.Entry(
                institutionID: try row.text(1),
                replaces: nil,
                amount: try row.int(2),
                currency: try row.text(3),
                description: try row.text(4),
                status: try row.choice(5, of: Transaction.Status.self),
                transactedAt: try row.int(6),
                settledAt: row.optionalInt(7)
            )
            return (try row.int(0), entry)
        }
    }
}
