/// A linked bank account.
///
/// It is `active` while its data can be had, `inactive` when the institution has ended the link, and `disconnected` for
/// good by the merchant's word. Linking the same bank account for the same holder again, in any Session, brings the
/// same `fca_` back to `active` with the new Session's permissions.

public import Database
public import Vault
public import Wire

public struct Account: Sendable {
    public enum Status: String, Sendable {
        case active, inactive, disconnected
    }

    public let id: String
    let scope: Scope
    let created: Int64
    let holder: AccountHolder
    private(set) var authorization: String
    let institutionID: String
    let institutionName: String
    private(set) var details: Details
    private(set) var permissions: [String]
    public private(set) var status: Status

    /// What the institution says of the account when it is linked.
    public struct Details: Sendable {
        /// The institution's own name for it.
        public let institutionAccount: String
        public let displayName: String?
        /// Four digits or nil.
        public let last4: String?
        public let category: String
        public let subcategory: String
        public let supportsPayments: Bool
        /// What is told of the account's numbers, as JSON; nil where there are none.
        let numbers: String?
        /// When the institution will end the link, seconds since the Unix epoch.
        public let expectedDeactivation: Int64?
        /// The institution ends the link as soon as the Session is done.
        public let closesAfterLinking: Bool

        /// - Parameter numbers: what ``Number/json(_:)`` makes of them.
        public init(
            institutionAccount: String,
            displayName: String?,
            last4: String?,
            category: String,
            subcategory: String,
            supportsPayments: Bool,
            numbers: String?,
            expectedDeactivation: Int64?,
            closesAfterLinking: Bool
        ) {
            self.institutionAccount = institutionAccount
            self.displayName = displayName
            self.last4 = last4
            self.category = category
            self.subcategory = subcategory
            self.supportsPayments = supportsPayments
            self.numbers = numbers
            self.expectedDeactivation = expectedDeactivation
            self.closesAfterLinking = closesAfterLinking
        }
    }

    /// An account number, without its digits.
    public struct Number: Sendable {
        let identifierType: String
        let status: String
        let expectedExpiry: Int64?

        public init(identifierType: String, status: String, expectedExpiry: Int64?) {
            self.identifierType = identifierType
            self.status = status
            self.expectedExpiry = expectedExpiry
        }

        /// Account numbers as they are stored and shown; nil where there are none.
        public static func json(_ numbers: [Number]) -> String? {
            guard !numbers.isEmpty else { return nil }
            var json = JSONWriter()
            json.array { json in
                for number in numbers {
                    json.element()
                    json.object { json in
                        json.field("expected_expiry_date", number.expectedExpiry)
                        json.field("identifier_type", number.identifierType)
                        json.field("status", number.status)
                        json.field("supported_networks", ["ach"])
                    }
                }
            }
            return String(decoding: json.bytes, as: UTF8.self)
        }
    }

    // MARK: Transitions

    /// Links accounts of one sign-in to a Session, all or none.
    /// - Parameter credential: what opens the accounts at the institution; it is sealed here.
    /// - Returns: the ids, by the institution's own names. One that was linked before comes back under its own id.
    public static func link(
        _ picked: [Details],
        at institution: (id: String, name: String),
        credential: [UInt8],
        to session: Session,
        by cause: Cause,
        _ db: Connection,
        _ world: World,
        _ ring: KeyRing
    ) throws -> [String: String] {
        try checkLimits(picked, at: institution.id, session, db)
        let authorization = try Authorization.create(
            holder: session.holder.id,
            institution: institution.id,
            credential: credential,
            in: session.scope,
            db,
            world,
            ring
        )
        for details in picked {
            if let refusal = session.refusal(of: details) {
                throw StripeError(param: "selected_accounts", message: refusal)
            }
            let known = try find(
                details.institutionAccount,
                at: institution.id,
                of: session.holder.id,
                session.scope,
                db
            )
            let account: Account
            if var known {
                try known.relink(details, authorization, session.configuration.permissions, by: cause, db, world)
                account = known
            } else {
                account = Account(
                    id: world.id(.account),
                    scope: session.scope,
                    created: world.now(),
                    holder: session.holder,
                    authorization: authorization.id,
                    institutionID: institution.id,
                    institutionName: institution.name,
                    details: details,
                    permissions: session.configuration.permissions,
                    status: .active
                )
                try account.insert(db)
                try account.record(.accountCreated, by: cause, db, world)
            }
            try account.attach(to: session.id, db)
        }
        return try linked(in: session, at: institution.id, db)
    }

    /// The limit on accounts, and the demand that one of them can pay, over all that the Session has linked.
    private static func checkLimits(
        _ picked: [Details],
        at institution: String,
        _ session: Session,
        _ db: Connection
    ) throws {
        guard !picked.isEmpty else { throw StripeError.missing("selected_accounts") }
        let known = try linked(in: session, at: institution, db)
        let added = Set(picked.map(\.institutionAccount)).count { known[$0] == nil }
        let total = try count(of: session.id, in: session.scope, db) + Int64(added)
        if let limit = session.configuration.accountLimit, total > limit {
            throw StripeError(
                param: "selected_accounts",
                message: "At most \(limit) account\(limit == 1 ? "" : "s") can be linked in this session."
            )
        }
        if session.configuration.paymentSupport == "at_least_one", !picked.contains(where: \.supportsPayments),
            try of(session, and: "supports_payments = 1", db).isEmpty
        {
            throw StripeError(
                param: "selected_accounts",
                message: "At least one account that payments can be made from is needed."
            )
        }
    }

    private mutating func relink(
        _ details: Details,
        _ authorization: Authorization,
        _ permissions: [String],
        by cause: Cause,
        _ db: Connection,
        _ world: World
    ) throws {
        let wasActive = status == .active
        let former = self.authorization
        self.details = details
        self.authorization = authorization.id
        self.permissions = permissions
        status = .active
        try save(db)
        try Authorization.forget(former, in: scope, db)
        if !wasActive { try record(.accountReactivated, by: cause, db, world) }
    }

    /// Ends access for good. A second time is an error and changes nothing.
    public static func disconnect(
        _ id: String,
        by cause: Cause,
        in scope: Scope,
        _ db: Connection,
        _ world: World
    ) throws -> Account {
        var account = try find(id, at: .path(param: "account"), in: scope, db)
        guard account.status != .disconnected else {
            throw StripeError(
                param: "account",
                message: "The account '\(id)' has already been disconnected."
            )
        }
        account.status = .disconnected
        try account.save(db)
        try Authorization.forget(account.authorization, in: scope, db)
        try account.record(.accountDisconnected, by: cause, db, world)
        return account
    }

    /// A Session is done: institutions that end the link right away do so now.
    static func closeAfterLinking(
        _ session: Session,
        by cause: Cause,
        _ db: Connection,
        _ world: World
    ) throws {
        for var account in try of(session, and: "closes_after_linking = 1 AND status = 'active'", db) {
            account.status = .inactive
            try account.save(db)
            try account.record(.accountDeactivated, by: cause, db, world)
        }
    }

    private func record(_ kind: Event.Kind, by cause: Cause, _ db: Connection, _ world: World) throws {
        try Event.record(kind, object: rendering(db), by: cause, in: scope, db, world)
    }

    // MARK: Statements

    private static let selected: SQL = """
        SELECT id, created, holder_type, holder, authorization_id, institution, institution_name, institution_account,
            category, subcategory, display_name, last4, supports_payments, numbers, permissions, status,
            expected_deactivation, closes_after_linking
        """
    private static let columns: SQL = "\(selected) FROM account"

    public static func find(
        _ id: String,
        at place: StripeError.Place,
        in scope: Scope,
        _ db: Connection
    ) throws -> Account {
        let account = try db.first(
            "\(columns) WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND id = \(id)"
        ) { try Account($0, scope) }
        if let account { return account }
        let other = scope.otherMode
        let exists =
            try db.first(
                """
                SELECT 1 FROM account WHERE merchant = \(other.merchant) AND livemode = \(other.livemode) AND id = \(id)
                """
            ) { try $0.int(0) } != nil
        throw StripeError.noSuch(
            "financial_connections.account",
            id,
            at: place,
            livemode: scope.livemode,
            otherMode: exists
        )
    }

    /// The account of a holder by the institution's own name for it; nil where it was never linked.
    private static func find(
        _ institutionAccount: String,
        at institution: String,
        of holder: String,
        _ scope: Scope,
        _ db: Connection
    ) throws -> Account? {
        try db.first(
            """
            \(columns) WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND holder = \(holder)
            AND institution = \(institution) AND institution_account = \(institutionAccount)
            """
        ) { try Account($0, scope) }
    }

    /// Whether a holder has linked accounts of an institution.
    public static func isKnown(
        institution: String,
        to holder: String,
        in scope: Scope,
        _ db: Connection
    ) throws -> Bool {
        try db.first(
            """
            SELECT 1 FROM account WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode)
            AND holder = \(holder) AND institution = \(institution) LIMIT 1
            """
        ) { try $0.int(0) } != nil
    }

    /// What a Session has linked at an institution: ids by the institution's own names.
    public static func linked(
        in session: Session,
        at institution: String,
        _ db: Connection
    ) throws -> [String: String] {
        var ids: [String: String] = [:]
        for account in try of(session, and: "institution = \(institution)", db) {
            ids[account.details.institutionAccount] = account.id
        }
        return ids
    }

    /// Whether a Session has linked the account.
    public static func isLinked(_ id: String, in session: Session, _ db: Connection) throws -> Bool {
        try !of(session, and: "id = \(id)", db).isEmpty
    }

    /// The accounts of a Session that meet a condition.
    private static func of(_ session: Session, and condition: SQL, _ db: Connection) throws -> [Account] {
        try db.all("\(selected) \(of(session.id, session.scope)) AND \(condition)") { try Account($0, session.scope) }
    }

    /// Where the accounts of a Session are selected from, beginning from what it linked: SQLite takes a CROSS JOIN in
    /// the order written, where it would otherwise walk over all accounts of the merchant.
    private static func of(_ session: String, _ scope: Scope) -> SQL {
        """
        FROM (
            SELECT merchant AS m, livemode AS l, account AS a FROM session_account
            WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND session = \(session)
        ) AS linked CROSS JOIN account WHERE merchant = m AND livemode = l AND id = a
        """
    }

    /// How many accounts a Session has linked.
    public static func count(of session: String, in scope: Scope, _ db: Connection) throws -> Int64 {
        try db.first(
            """
            SELECT COUNT(*) FROM session_account
            WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND session = \(session)
            """
        ) { try $0.int(0) } ?? 0
    }

    private init(_ row: Row, _ scope: Scope) throws {
        self.init(
            id: try row.text(0),
            scope: scope,
            created: try row.int(1),
            holder: AccountHolder(
                kind: try row.choice(2, of: AccountHolder.Kind.self),
                id: try row.text(3)
            ),
            authorization: try row.text(4),
            institutionID: try row.text(5),
            institutionName: try row.text(6),
            details: Details(
                institutionAccount: try row.text(7),
                displayName: row.optionalText(10),
                last4: row.optionalText(11),
                category: try row.text(8),
                subcategory: try row.text(9),
                supportsPayments: try row.bool(12),
                numbers: row.optionalText(13),
                expectedDeactivation: row.optionalInt(16),
                closesAfterLinking: try row.bool(17)
            ),
            permissions: Joined.values(try row.text(14)),
            status: try row.choice(15, of: Status.self)
        )
    }

    private init(
        id: String,
        scope: Scope,
        created: Int64,
        holder: AccountHolder,
        authorization: String,
        institutionID: String,
        institutionName: String,
        details: Details,
        permissions: [String],
        status: Status
    ) {
        self.id = id
        self.scope = scope
        self.created = created
        self.holder = holder
        self.authorization = authorization
        self.institutionID = institutionID
        self.institutionName = institutionName
        self.details = details
        self.permissions = permissions
        self.status = status
    }

    private func insert(_ db: Connection) throws {
        try db.execute(
            """
            INSERT INTO account (merchant, livemode, id, created, holder_type, holder, authorization_id, institution,
                institution_name, institution_account, category, subcategory, display_name, last4, supports_payments,
                numbers, permissions, status, expected_deactivation, closes_after_linking, rendering)
            VALUES (\(scope.merchant), \(scope.livemode), \(id), \(created), \(holder.kind.rawValue), \(holder.id),
                \(authorization), \(institutionID), \(institutionName), \(details.institutionAccount),
                \(details.category), \(details.subcategory), \(details.displayName), \(details.last4),
                \(details.supportsPayments), \(details.numbers), \(Joined.text(permissions)), \(status.rawValue),
                \(details.expectedDeactivation), \(details.closesAfterLinking), \(try rendering(db)))
            """
        )
    }

    private func save(_ db: Connection) throws {
        try db.execute(
            """
            UPDATE account SET authorization_id = \(authorization), category = \(details.category),
                subcategory = \(details.subcategory), display_name = \(details.displayName), last4 = \(details.last4),
                supports_payments = \(details.supportsPayments), numbers = \(details.numbers),
                permissions = \(Joined.text(permissions)), status = \(status.rawValue),
                expected_deactivation = \(details.expectedDeactivation),
                closes_after_linking = \(details.closesAfterLinking), rendering = \(try rendering(db))
            WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND id = \(id)
            """
        )
    }

    private func attach(to session: String, _ db: Connection) throws {
        try db.execute(
            """
            INSERT INTO session_account (merchant, livemode, session, account)
            VALUES (\(scope.merchant), \(scope.livemode), \(session), \(id)) ON CONFLICT DO NOTHING
            """
        )
    }

    // MARK: Lists

    /// Which accounts; the filters of the API exclude each other.
    public enum Filter: Sendable {
        case all
        case holder(AccountHolder)
        case session(String)
    }

    public struct Query: Sendable {
        public static let names: [String: Parameters.Names] = PageRequest.names.merging(
            ["account_holder": ["account": .leaf, "customer": .leaf], "session": .leaf],
            uniquingKeysWith: { first, _ in first }
        )

        fileprivate let page: PageRequest
        fileprivate let filter: Filter

        public init(_ parameters: Parameters) throws(StripeError) {
            let holder = try parameters.group("account_holder")
            let account = try holder?.string("account")
            let customer = try holder?.string("customer")
            let session = try parameters.string("session")
            let given = [account, customer, session].compactMap { $0 }
            guard given.count <= 1 else {
                throw StripeError(
                    message: "You may only specify one of these parameters: account_holder[account], "
                        + "account_holder[customer], session."
                )
            }
            if let account {
                filter = .holder(AccountHolder(kind: .account, id: account))
            } else if let customer {
                filter = .holder(AccountHolder(kind: .customer, id: customer))
            } else {
                filter = session.map(Filter.session) ?? .all
            }
            page = try PageRequest(parameters)
        }

        /// - Parameter page: a page of a Session's accounts.
        public init(session: String, _ parameters: Parameters) throws(StripeError) {
            filter = .session(session)
            page = try PageRequest(parameters)
        }

        /// Where the list continues, with its filter.
        fileprivate var url: String {
            let path = "/v1/financial_connections/accounts"
            return switch filter {
            case .all: path
            case .holder(let holder): "\(path)?account_holder[\(holder.kind.rawValue)]=\(holder.id)"
            case .session(let id): "\(path)?session=\(id)"
            }
        }
    }

    /// A page of accounts, each as its JSON.
    static func page(
        _ request: PageRequest,
        _ filter: Filter,
        expanding expansion: Expansion,
        in scope: Scope,
        _ db: Connection
    ) throws -> Page<[UInt8]> {
        let mine: SQL = "merchant = \(scope.merchant) AND livemode = \(scope.livemode)"
        let columns: SQL = expansion.isEmpty ? "SELECT rendering" : selected
        let select: SQL =
            switch filter {
            case .all: "\(columns) FROM account WHERE \(mine)"
            case .holder(let holder): "\(columns) FROM account WHERE \(mine) AND holder = \(holder.id)"
            case .session(let session): "\(columns) \(of(session, scope))"
            }
        func page<Element>(_ read: (Row) throws -> Element) throws -> Page<Element> {
            try Page(
                request,
                of: "financial_connections.account",
                in: scope,
                db,
                select: select,
                moment: { id in
                    try db.first("SELECT created FROM account WHERE \(mine) AND id = \(id)") { try $0.int(0) }
                },
                read: read
            )
        }
        if expansion.isEmpty { return try page { try $0.bytes(0) } }
        let accounts = try page { try Account($0, scope) }
        return Page(
            elements: try accounts.elements.map { try $0.rendering(expanding: expansion, db) },
            hasMore: accounts.hasMore
        )
    }

    public static func writeList(
        _ query: Query,
        expanding expansion: Expansion,
        in scope: Scope,
        _ db: Connection,
        to json: inout JSONWriter
    ) throws {
        switch query.filter {
        case .all: break
        case .holder(let holder) where holder.kind == .account: try holder.check(in: scope, db)
        case .holder(let holder):
            _ = try Customer.find(holder.id, at: .parameter("account_holder[customer]"), in: scope, db)
        case .session(let id): _ = try Session.find(id, at: .parameter("session"), in: scope, db)
        }
        let page = try page(query.page, query.filter, expanding: expansion["data"] ?? .none, in: scope, db)
        json.object { json in
            json.list(page.elements, hasMore: page.hasMore, url: query.url) { account, json in json.rendered(account) }
        }
    }

    // MARK: JSON

    public static let shape = Expansion.Shape.object([
        "id": .leaf, "object": .leaf, "account_holder": AccountHolder.shape, "account_numbers": .leaf, "balance": .leaf,
        "balance_refresh": .leaf, "category": .leaf, "created": .leaf, "display_name": .leaf, "institution_name": .leaf,
        "last4": .leaf, "livemode": .leaf,
        "ownership": .reference(resource: "financial_connections_account") { .object([:]) }, "ownership_refresh": .leaf,
        "permissions": .leaf, "status": .leaf, "status_details": .leaf, "subcategory": .leaf, "subscriptions": .leaf,
        "supported_payment_method_types": .leaf, "transaction_refresh": .leaf,
    ])

    /// A list of accounts, as `expand` sees it.
    public static let listShape = Expansion.Shape.object([
        "object": .leaf, "data": shape, "has_more": .leaf, "url": .leaf,
    ])

    /// Writes the account of an id: the rendering that is stored with it, as long as nothing is expanded.
    /// - Throws: `resource_missing`.
    public static func write(
        _ id: String,
        at place: StripeError.Place,
        expanding expansion: Expansion,
        in scope: Scope,
        _ db: Connection,
        to json: inout JSONWriter
    ) throws {
        if expansion.isEmpty {
            let stored = try db.first(
                """
                SELECT rendering FROM account
                WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND id = \(id)
                """
            ) { try $0.bytes(0) }
            if let stored { return json.rendered(stored) }
        }
        try find(id, at: place, in: scope, db).write(to: &json, expanding: expansion, db)
    }

    private func rendering(expanding expansion: Expansion = .none, _ db: Connection) throws -> [UInt8] {
        var json = JSONWriter()
        try write(to: &json, expanding: expansion, db)
        return json.bytes
    }

    public func write(to json: inout JSONWriter, expanding expansion: Expansion = .none, _ db: Connection) throws {
        try json.object { json in
            json.field("id", id)
            json.field("object", "financial_connections.account")
            try holder.write("account_holder", to: &json, expanding: expansion["account_holder"], in: scope, db)
            if let numbers = details.numbers, permissions.contains("payment_method") {
                json.field("account_numbers", rendered: Array(numbers.utf8))
            } else {
                json.nullField("account_numbers")
            }
            json.nullField("balance")
            json.nullField("balance_refresh")
            json.field("category", details.category)
            json.field("created", created)
            json.field("display_name", details.displayName)
            json.field("institution_name", institutionName)
            json.field("last4", details.last4)
            json.field("livemode", scope.livemode)
            json.nullField("ownership")
            json.nullField("ownership_refresh")
            json.field("permissions", permissions)
            json.field("status", status.rawValue)
            writeStatusDetails(to: &json)
            json.field("subcategory", details.subcategory)
            json.field("subscriptions", [])
            json.field("supported_payment_method_types", details.supportsPayments ? ["us_bank_account"] : [])
            json.nullField("transaction_refresh")
        }
    }

    private func writeStatusDetails(to json: inout JSONWriter) {
        guard status == .active, let expected = details.expectedDeactivation else {
            return json.nullField("status_details")
        }
        json.object("status_details") { json in
            json.object("active") { json in
                json.field("action", "relink_required")
                json.field("cause", "access_expired")
                json.field("expected_deactivation_date", expected)
            }
        }
    }
}
