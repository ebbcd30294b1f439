/// A Session: one person's visit to the hosted flow, with what the merchant allows and asks for in it.
///
/// It is `pending` until the person is done; then it `succeeded`, with what was linked, or was `cancelled`, and a
/// cancelled one may be opened again with the same secret until it expires. None of this shows in the API's object,
/// where an unused, an abandoned and a cancelled Session look the same.

public import Database
public import Vault
public import Wire

public struct Session: Sendable {
    public enum Status: String, Sendable {
        case pending, succeeded, cancelled
    }

    public let id: String
    public let scope: Scope
    public let created: Int64
    public let expires: Int64
    public let holder: AccountHolder
    public let configuration: Configuration
    /// Sealed for ``KeyRing/Purpose/clientSecret`` and this id.
    let sealedSecret: [UInt8]
    public private(set) var status: Status
    /// `custom_manual_entry` or `other`, where the Session was cancelled.
    public private(set) var cancelReason: String?
    /// When the person agreed to share data, nil before.
    public private(set) var consentAt: Int64?

    /// What the merchant asked for.
    public struct Configuration: Sendable, Equatable {
        public internal(set) var permissions: [String] = []
        public internal(set) var prefetch: [String]?
        var subcategories: [String]?
        public internal(set) var country: String?
        public internal(set) var paymentSupport: String?
        /// The most accounts that may be linked, nil for no limit.
        public internal(set) var accountLimit: Int64?
        public internal(set) var manualEntry = "disabled"
        public internal(set) var returnURL: String?
    }

    // MARK: Parameters

    private static let allPermissions = ["balances", "ownership", "payment_method", "transactions"]
    private static let prefetchable = ["balances", "ownership", "transactions"]
    private static let allSubcategories = ["checking", "credit_card", "line_of_credit", "mortgage", "savings"]

    /// The names that a create takes in a version.
    public static func names(_ version: APIVersion) -> [String: Parameters.Names] {
        version.takesCountries ? namesWithCountries : namesWithCountry
    }

    private static let namesWithCountries = names(country: "countries")
    private static let namesWithCountry = names(country: "country")

    private static func names(country: String) -> [String: Parameters.Names] {
        [
            "account_holder": AccountHolder.names,
            "filters": .group([
                "account_subcategories": .leaf, country: .leaf, "require_payment_method_support": .leaf,
            ]),
            "limits": ["accounts": .leaf], "manual_entry": ["mode": .leaf], "permissions": .leaf, "prefetch": .leaf,
            "return_url": .leaf,
        ]
    }

    /// A new Session as it is asked for, checked as far as its parameters alone allow.
    public struct Request: Sendable {
        let holder: AccountHolder
        let configuration: Configuration

        public init(_ parameters: Parameters, _ version: APIVersion) throws(StripeError) {
            holder = try AccountHolder(parameters)
            var asked = Configuration()
            guard let permissions = try parameters.choices("permissions", of: allPermissions), !permissions.isEmpty
            else { throw .missing("permissions") }
            asked.permissions = permissions.sorted()
            try Self.readFilters(parameters, version, into: &asked)
            if let limits = try parameters.group("limits") {
                if !limits.has("accounts") { throw .missing("limits[accounts]") }
                if !limits.isEmptyString("accounts") {
                    asked.accountLimit = try limits.integer("accounts", in: 1...Int64(Int32.max))
                }
            }
            if let group = try parameters.group("manual_entry") {
                asked.manualEntry = try group.requiredChoice("mode", of: ["automatic", "disabled"])
            }
            asked.prefetch = try Self.readPrefetch(parameters, permissions: permissions)
            asked.returnURL = try parameters.url("return_url")
            configuration = asked
        }

        private static func readPrefetch(
            _ parameters: Parameters,
            permissions: [String]
        ) throws(StripeError) -> [String]? {
            guard let prefetch = try parameters.choices("prefetch", of: prefetchable), !prefetch.isEmpty else {
                return nil
            }
            for (index, feature) in prefetch.enumerated() where !permissions.contains(feature) {
                throw StripeError(
                    param: "prefetch[\(index)]",
                    message: "You must request the `\(feature)` permission to prefetch `\(feature)`. Add it to "
                        + "`permissions`."
                )
            }
            return prefetch.sorted()
        }

        private static func readFilters(
            _ parameters: Parameters,
            _ version: APIVersion,
            into asked: inout Configuration
        ) throws(StripeError) {
            guard let filters = try parameters.group("filters") else { return }
            asked.subcategories = try filters.choices("account_subcategories", of: allSubcategories)?.sorted()
            if asked.subcategories?.isEmpty == true { asked.subcategories = nil }
            if version.takesCountries {
                // Only the first was ever used.
                if let (path, value) = try filters.strings("countries")?.first {
                    asked.country = try country(value, path)
                }
            } else if let value = try filters.string("country") {
                asked.country = try country(value, filters.path("country"))
            }
            asked.paymentSupport = try filters.choice(
                "require_payment_method_support",
                of: ["all", "at_least_one", "none"]
            )
        }

        private static func country(_ value: String, _ path: String) throws(StripeError) -> String {
            guard value.utf8.count == 2, value.utf8.allSatisfy({ $0 >= 65 && $0 <= 90 || $0 >= 97 && $0 <= 122 }) else {
                throw StripeError(
                    code: "country_code_invalid",
                    param: path,
                    message: "Country '\(value.prefix(20))' is unknown. Try using a 2-character alphanumeric country "
                        + "code instead, such as 'US', 'EG', or 'GB'. A full list of country codes is available at "
                        + "https://stripe.com/global"
                )
            }
            return value.uppercased()
        }
    }

    // MARK: Transitions

    // A client secret says when its Session was made, by which it is found, and then what nobody can guess: 160 bits.
    // An index over the digests of secrets would cost each new Session a page of its own.
    private static let secretPrefix = "fcsess_client_secret_"
    private static let secretLetters = 27
    private static let idBeginning = Identifier.beginning(.session)

    /// A Session that is about to be made, with all that needs no database: the writer's thread, for which everybody
    /// waits, neither seals nor puts a statement together.
    public final class Draft: Sendable {
        public let session: Session
        public let secret: String
        fileprivate let insertion: SQL

        /// - Parameter lifetime: seconds until the hosted flow may no longer be opened.
        public init(_ request: Request, lifetime: Int64, in scope: Scope, _ world: World, _ ring: KeyRing) throws {
            let id = world.id(.session)
            let now = world.now()
            let moment = id.utf8.dropFirst(idBeginning.utf8.count).prefix(Identifier.momentLetters)
            secret = world.secret(secretPrefix + String(Substring(moment)), length: secretLetters)
            session = Session(
                id: id,
                scope: scope,
                created: now,
                expires: now + lifetime,
                holder: request.holder,
                configuration: request.configuration,
                sealedSecret: try ring.seal(Array(secret.utf8), for: .clientSecret, owner: id),
                status: .pending
            )
            insertion = session.insertion(digest: Secret.digest(secret))
        }

        /// The JSON of the new Session, which has linked nothing yet, with nothing expanded.
        public func write(to json: inout JSONWriter, _ version: APIVersion) {
            session.writeNew(to: &json, version, secret)
        }

        /// What ``Session/writeNew(_:to:in:_:_:)`` writes the same JSON from, once the Session is made.
        public func recipe(_ version: APIVersion) -> String {
            "\(session.id) \(version.description)"
        }
    }

    /// Makes ``Draft/session``.
    /// - Throws: `resource_missing` where there is no such account holder.
    public static func create(_ draft: Draft, _ db: Connection) throws {
        try draft.session.holder.check(in: draft.session.scope, db)
        try db.execute(draft.insertion)
    }

    /// - Throws: `session_expired` where the flow may no longer be used: its time is over, or it is done.
    public func requireOpen(_ world: World) throws(StripeError) {
        guard world.now() < expires else {
            throw Self.over("This session has expired. Create a new one to link accounts.")
        }
        guard status != .succeeded else {
            throw Self.over("This session was already completed. Create a new one to link more accounts.")
        }
    }

    /// The error of a flow that may no longer be used.
    public static func over(_ message: String) -> StripeError {
        StripeError(code: "session_expired", message: message).with([
            ("events_to_emit", .text(#"[{"type":"error","error":{"error_code":"session_expired"}}]"#))
        ])
    }

    public mutating func giveConsent(_ db: Connection, _ world: World) throws {
        guard consentAt == nil else { return }
        consentAt = world.now()
        try save(db)
    }

    /// The person is done. Saying so again changes nothing.
    /// - Parameter reason: why the person left without an account, where the client knows.
    public mutating func finish(
        reason: String? = nil,
        by cause: Cause,
        _ db: Connection,
        _ world: World
    ) throws {
        guard status != .succeeded else { return }
        let hasAccounts = try Account.count(of: id, in: scope, db) > 0
        let hasResult = try hasAccounts || BankAccountToken.find(of: id, in: scope, db) != nil
        status = hasResult ? .succeeded : .cancelled
        cancelReason = hasResult ? nil : reason ?? "other"
        try save(db)
        try SignIn.endAll(of: self, db)
        if hasAccounts { try Account.closeAfterLinking(self, by: cause, db, world) }
    }

    // MARK: Which accounts

    /// Why an institution of these countries may not be linked in this Session; nil where it may.
    public func refusal(ofCountries countries: [String]) -> String? {
        guard let country = configuration.country, !countries.isEmpty, !countries.contains(country) else {
            return nil
        }
        return "this session is for institutions in \(country)."
    }

    /// Why an account may not be linked in this Session, as the person reads it; nil where it may.
    /// - Parameter isChosen: whether the person has said what kind of account it is, where that is for them to say.
    public func refusal(of account: Account.Details, isChosen: Bool = true) -> String? {
        if let refusal = account.refusal { return refusal }
        if !isChosen && account.isCategoryGuessed {
            // The person may say otherwise.
        } else if let subcategories = configuration.subcategories, !subcategories.contains(account.subcategory) {
            return "This type of account can't be linked here."
        }
        if configuration.paymentSupport == "all" && !account.supportsPayments {
            return "Payments can't be made from this account."
        }
        return nil
    }

    // MARK: Statements

    private static let columns: SQL = """
        SELECT id, created, expires, holder_type, holder, permissions, prefetch, subcategories, country,
            payment_support, account_limit, manual_entry, return_url, client_secret, status, cancel_reason, consent_at,
            merchant, livemode
        FROM session
        """

    public static func find(
        _ id: String,
        at place: StripeError.Place,
        in scope: Scope,
        _ db: Connection
    ) throws -> Session {
        let session = try db.first(
            "\(columns) WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND id = \(id)",
            Session.init
        )
        if let session { return session }
        let other = scope.otherMode
        let exists =
            try db.first(
                """
                SELECT 1 FROM session WHERE merchant = \(other.merchant) AND livemode = \(other.livemode) AND id = \(id)
                """
            ) { try $0.int(0) } != nil
        throw StripeError.noSuch(
            "financial_connections.session",
            id,
            at: place,
            livemode: scope.livemode,
            otherMode: exists
        )
    }

    /// The Session that a client secret opens, in a merchant's mode.
    /// - Throws: one and the same `resource_missing`, whatever was wrong with the secret.
    public static func find(clientSecret: String, in scope: Scope, _ db: Connection) throws -> Session {
        let moment = clientSecret.utf8.dropFirst(secretPrefix.utf8.count).dropLast(secretLetters)
        let from = idBeginning + String(decoding: moment, as: UTF8.self)
        guard moment.count == Identifier.momentLetters,
            let session = try db.first(
                """
                \(columns) WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode)
                AND id > \(from) AND id < \(from + "~") AND client_secret_digest = \(Secret.digest(clientSecret))
                """,
                Session.init
            )
        else {
            throw StripeError(
                status: 404,
                code: "resource_missing",
                param: "client_secret",
                message: "No such financial_connections.session for the client secret provided."
            )
        }
        return session
    }

    private init(_ row: Row) throws {
        id = try row.text(0)
        created = try row.int(1)
        expires = try row.int(2)
        holder = AccountHolder(kind: try row.choice(3, of: AccountHolder.Kind.self), id: try row.text(4))
        var configuration = Configuration()
        configuration.permissions = Joined.values(try row.text(5))
        configuration.prefetch = row.optionalText(6).map(Joined.values)
        configuration.subcategories = row.optionalText(7).map(Joined.values)
        configuration.country = row.optionalText(8)
        configuration.paymentSupport = row.optionalText(9)
        configuration.accountLimit = row.optionalInt(10)
        configuration.manualEntry = try row.text(11)
        configuration.returnURL = row.optionalText(12)
        self.configuration = configuration
        sealedSecret = try row.bytes(13)
        status = try row.choice(14, of: Status.self)
        cancelReason = row.optionalText(15)
        consentAt = row.optionalInt(16)
        scope = Scope(merchant: try row.text(17), livemode: try row.bool(18))
    }

    private init(
        id: String,
        scope: Scope,
        created: Int64,
        expires: Int64,
        holder: AccountHolder,
        configuration: Configuration,
        sealedSecret: [UInt8],
        status: Status
    ) {
        self.id = id
        self.scope = scope
        self.created = created
        self.expires = expires
        self.holder = holder
        self.configuration = configuration
        self.sealedSecret = sealedSecret
        self.status = status
    }

    private func insertion(digest: [UInt8]) -> SQL {
        let asked = configuration
        return """
            INSERT INTO session (merchant, livemode, id, created, expires, holder_type, holder, permissions, prefetch,
                subcategories, country, payment_support, account_limit, manual_entry, return_url, client_secret,
                client_secret_digest, status)
            VALUES (\(scope.merchant), \(scope.livemode), \(id), \(created), \(expires), \(holder.kind.rawValue),
                \(holder.id), \(Joined.text(asked.permissions)), \(asked.prefetch.map(Joined.text)),
                \(asked.subcategories.map(Joined.text)), \(asked.country), \(asked.paymentSupport),
                \(asked.accountLimit), \(asked.manualEntry), \(asked.returnURL), \(sealedSecret), \(digest),
                \(status.rawValue))
            """
    }

    private func save(_ db: Connection) throws {
        try db.execute(
            """
            UPDATE session SET status = \(status.rawValue), cancel_reason = \(cancelReason), consent_at = \(consentAt)
            WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND id = \(id)
            """
        )
    }

    // MARK: JSON

    public static let shape = Expansion.Shape.object([
        "id": .leaf, "object": .leaf, "account_holder": AccountHolder.shape,
        "accounts": .object([
            "object": .leaf, "data": Account.shape, "has_more": .leaf, "total_count": .leaf, "url": .leaf,
        ]),
        "bank_account_token": .leaf, "client_secret": .leaf, "filters": .leaf, "limits": .leaf, "livemode": .leaf,
        "manual_entry": .leaf, "permissions": .leaf, "prefetch": .leaf, "return_url": .leaf,
    ])

    /// How many accounts the Session's own list shows; its `url` gives the rest.
    private static let embeddedAccounts = 100

    /// Who reads the object.
    public enum Audience: Sendable {
        /// The merchant's server, in a version of the API.
        case server(APIVersion)
        /// A client in the hosted flow, which is also told how it ended and which account payments are made from. It is
        /// told the client secret only where it has it.
        case client(knowsSecret: Bool)

        fileprivate var knowsSecret: Bool {
            if case .client(false) = self { return false }
            return true
        }
    }

    /// What a Session has linked, as far as its JSON shows it.
    private struct Linked {
        let accounts: Page<[UInt8]>
        let count: Int64
        let token: BankAccountToken?
    }

    public func write(
        to json: inout JSONWriter,
        for audience: Audience,
        expanding expansion: Expansion = .none,
        _ db: Connection,
        _ ring: KeyRing
    ) throws {
        let secret = try secret(ring)
        let accounts = try Account.page(
            PageRequest(limit: Self.embeddedAccounts),
            .session(id),
            expanding: expansion["accounts"]?["data"] ?? .none,
            in: scope,
            db
        )
        let linked = Linked(
            accounts: accounts,
            count: accounts.hasMore ? try Account.count(of: id, in: scope, db) : Int64(accounts.elements.count),
            token: try BankAccountToken.find(of: id, in: scope, db)
        )
        try write(to: &json, for: audience, secret, linked) { json in
            try holder.write("account_holder", to: &json, expanding: expansion["account_holder"], in: scope, db)
        }
    }

    /// Writes a Session as it was when it was new, whatever became of it: all of that is in what never changes of it.
    /// Replays are made of it, so within a version of the API it must stay the same bytes (decision 14).
    /// - Parameter recipe: what ``Draft/recipe(_:)`` gave.
    public static func writeNew(
        _ recipe: String,
        to json: inout JSONWriter,
        in scope: Scope,
        _ db: Connection,
        _ ring: KeyRing
    ) throws {
        let (id, version) = (recipe.prefix { $0 != " " }, recipe.drop { $0 != " " }.dropFirst())
        let session = try find(String(id), at: .path(param: "session"), in: scope, db)
        session.writeNew(to: &json, try APIVersion(header: String(version)), try session.secret(ring))
    }

    private func writeNew(to json: inout JSONWriter, _ version: APIVersion, _ secret: String) {
        let none = Linked(accounts: Page(elements: [], hasMore: false), count: 0, token: nil)
        write(to: &json, for: .server(version), secret, none) { json in holder.write("account_holder", to: &json) }
    }

    private func secret(_ ring: KeyRing) throws -> String {
        String(decoding: try ring.open(sealedSecret, for: .clientSecret, owner: id), as: UTF8.self)
    }

    private func write(
        to json: inout JSONWriter,
        for audience: Audience,
        _ secret: String,
        _ linked: Linked,
        writeHolder: (inout JSONWriter) throws -> Void
    ) rethrows {
        let version: APIVersion =
            switch audience {
            case .server(let version): version
            case .client: .standard
            }
        try json.object { json in
            json.field("id", id)
            json.field("object", "financial_connections.session")
            try writeHolder(&json)
            json.object("accounts") { json in
                json.list(
                    linked.accounts.elements,
                    hasMore: linked.accounts.hasMore,
                    totalCount: linked.count,
                    url: "/v1/financial_connections/accounts?session=\(id)"
                ) { account, json in json.rendered(account, depth: Account.listDepth) }
            }
            if version.hasSessionConfiguration {
                json.key("bank_account_token")
                if let token = linked.token { token.write(to: &json) } else { json.null() }
            }
            json.field("client_secret", audience.knowsSecret ? secret : nil)
            writeConfiguration(to: &json, version)
            if case .client = audience {
                if let first = linked.accounts.elements.last {
                    json.field("payment_account", rendered: first, depth: Account.listDepth)
                } else {
                    linked.token?.writePaymentAccount(to: &json)
                }
            }
            json.field("permissions", configuration.permissions)
            json.field("prefetch", configuration.prefetch)
            json.field("return_url", configuration.returnURL)
            if case .client = audience { writeStatus(to: &json) }
        }
    }

    private func writeConfiguration(to json: inout JSONWriter, _ version: APIVersion) {
        writeFilters(to: &json, version)
        if version.hasSessionConfiguration {
            json.object("limits") { json in json.field("accounts", configuration.accountLimit) }
        }
        json.field("livemode", scope.livemode)
        if version.hasSessionConfiguration {
            json.object("manual_entry") { json in json.field("mode", configuration.manualEntry) }
        }
    }

    private func writeFilters(to json: inout JSONWriter, _ version: APIVersion) {
        let asked = configuration
        let isFiltered = asked.subcategories != nil || asked.country != nil || asked.paymentSupport != nil
        guard isFiltered || version.showsDefaultFilters else { return json.nullField("filters") }
        let defaults = version.showsDefaultFilters
        json.object("filters") { json in
            json.field("account_subcategories", asked.subcategories ?? (defaults ? Self.allSubcategories : nil))
            if version.showsCountries { json.field("countries", asked.country.map { [$0] }) }
            if version.showsCountry { json.field("country", asked.country ?? (defaults ? "US" : nil)) }
            if version.hasSessionConfiguration {
                json.field("require_payment_method_support", asked.paymentSupport ?? (defaults ? "none" : nil))
            }
        }
    }

    private func writeStatus(to json: inout JSONWriter) {
        json.field("status", status.rawValue)
        json.object("status_details") { json in
            if status == .cancelled {
                json.object("cancelled") { json in json.field("reason", cancelReason) }
            }
        }
    }
}
