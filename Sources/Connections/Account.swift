/// A linked bank account.
///
/// It is `active` while its data can be had, `inactive` when the institution has ended the link, and `disconnected` for
/// good by the merchant's word. Linking the same bank account for the same holder again, in any Session, brings the
/// same `fca_` back to `active` with the new Session's permissions. What was fetched stays readable while it is
/// inactive, and is closed once it is disconnected. Whatever happens to an account happens at its holder's time.

public import Database
internal import FoundationEssentials
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
    /// The clock that the holder is on.
    let testClock: String?
    private(set) var authorization: String
    let institutionID: String
    let institutionName: String
    private(set) var details: Details
    private(set) var permissions: [String]
    public private(set) var status: Status
    private var inactiveCause: InactiveCause?
    /// As JSON.
    private var balance: String?
    /// `fcaowns_…` of the latest snapshot.
    private var ownership: String?
    private var subscriptions: [String] = []

    /// Why an account is inactive, as far as its institution says.
    public enum InactiveCause: String, Sendable {
        case accessDenied = "access_denied"
        case accessExpired = "access_expired"
        case accountClosed = "account_closed"
        case unspecified
    }

    /// What the institution says of the account when it is linked.
    public struct Details: Sendable {
        /// The institution's own name for it.
        public fileprivate(set) var institutionAccount: String
        /// Names that the institution may have had for it before, and give way.
        let formerNames: [String]
        /// Names that it may have had before as well and say no less: an account that has one keeps it.
        let otherNames: [String]
        public let displayName: String?
        /// Four digits or nil.
        public let last4: String?
        public private(set) var category: String
        public private(set) var subcategory: String
        public fileprivate(set) var supportsPayments: Bool
        /// What is told of the account's numbers, as JSON; nil where there are none.
        fileprivate(set) var numbers: String?
        /// The institution did not say which there are: ``Account/remembered(_:at:of:_:)`` puts in what is known.
        let areNumbersUnknown: Bool
        /// When the institution will end the link, seconds since the Unix epoch.
        public fileprivate(set) var expectedDeactivation: Int64?
        /// The institution ends the link as soon as the Session is done.
        public let closesAfterLinking: Bool
        /// The bank that keeps the account, where that is not the institution itself.
        public let institutionName: String?
        /// The institution does not say what kind of account it is: the person may.
        public let isCategoryGuessed: Bool
        /// Why it cannot be linked at all, as the person reads it.
        public let refusal: String?

        /// - Parameter numbers: what ``Number/json(_:)`` makes of them.
        public init(
            institutionAccount: String,
            formerNames: [String] = [],
            otherNames: [String] = [],
            displayName: String?,
            last4: String?,
            category: String,
            subcategory: String,
            supportsPayments: Bool,
            numbers: String?,
            areNumbersUnknown: Bool = false,
            expectedDeactivation: Int64?,
            closesAfterLinking: Bool,
            institutionName: String? = nil,
            isCategoryGuessed: Bool = false,
            refusal: String? = nil
        ) {
            self.institutionAccount = institutionAccount
            self.formerNames = formerNames
            self.otherNames = otherNames
            self.displayName = displayName
            self.last4 = last4
            self.category = category
            self.subcategory = subcategory
            self.supportsPayments = supportsPayments
            self.numbers = numbers
            self.areNumbersUnknown = areNumbersUnknown
            self.expectedDeactivation = expectedDeactivation
            self.closesAfterLinking = closesAfterLinking
            self.institutionName = institutionName
            self.isCategoryGuessed = isCategoryGuessed
            self.refusal = refusal
        }

        /// Whether its balance is what is owed.
        var isCredit: Bool { category == "credit" }

        /// What a person may say that an account is.
        private static let kinds: [String: (category: String, subcategory: String)] = [
            "checking": ("cash", "checking"), "savings": ("cash", "savings"), "cash": ("cash", "other"),
            "credit_card": ("credit", "credit_card"), "line_of_credit": ("credit", "line_of_credit"),
            "mortgage": ("credit", "mortgage"), "loan": ("credit", "other"), "investment": ("investment", "other"),
            "other": ("other", "other"),
        ]

        /// What the account is taken for.
        public var kind: String {
            Self.kinds.first { $0.value == (category, subcategory) }?.key ?? "other"
        }

        fileprivate func taken(as other: Details) -> Details {
            var details = self
            (details.category, details.subcategory) = (other.category, other.subcategory)
            return details
        }

        /// The person says what kind of account it is.
        /// - Parameter param: where that stands in the request.
        public mutating func correct(to kind: String, param: String) throws(StripeError) {
            guard isCategoryGuessed else {
                throw StripeError(param: param, message: "The institution says what kind of account this is.")
            }
            guard let meaning = Self.kinds[kind] else {
                throw StripeError(
                    param: param,
                    message: "Invalid \(param): must be one of \(Self.kinds.keys.sorted().joined(separator: ", ")) "
                        + "and the account's id, with a colon between them."
                )
            }
            (category, subcategory) = meaning
        }
    }

    /// An account number, without its digits.
    public struct Number: Sendable, Codable {
        let identifierType: String
        fileprivate(set) var status: String
        let expectedExpiry: Int64?

        private enum CodingKeys: String, CodingKey {
            case identifierType = "identifier_type"
            case status
            case expectedExpiry = "expected_expiry_date"
        }

        /// Whether it works, and is known to end.
        fileprivate var isExpiring: Bool { status == "transactable" && expectedExpiry != nil }

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

        fileprivate static func all(_ json: String?) throws -> [Number] {
            try json.map { try JSONDecoder().decode([Number].self, from: Data($0.utf8)) } ?? []
        }
    }

    /// A balance as an institution tells of it; amounts in minor units by lower-case currency.
    public struct Balance: Sendable, Codable {
        public let asOf: Int64
        public let current: [String: Int64]
        public let isCredit: Bool
        /// The credit in use, or otherwise what the holder may dispose of; nil where the institution does not say.
        public let amounts: [String: Int64]?

        public init(asOf: Int64, current: [String: Int64], isCredit: Bool, amounts: [String: Int64]?) {
            self.asOf = asOf
            self.current = current
            self.isCredit = isCredit
            self.amounts = amounts
        }

        fileprivate var json: String {
            var json = JSONWriter()
            json.object { json in
                json.field("as_of", asOf)
                write("cash", "available", isCredit ? nil : .some(amounts), to: &json)
                write("credit", "used", isCredit ? .some(amounts) : nil, to: &json)
                json.object("current") { json in Self.write(current, to: &json) }
                json.field("type", isCredit ? "credit" : "cash")
            }
            return String(decoding: json.bytes, as: UTF8.self)
        }

        /// - Parameter amounts: nil for the kind that this balance is not of.
        private func write(_ kind: String, _ name: String, _ amounts: [String: Int64]??, to json: inout JSONWriter) {
            guard let amounts else { return json.nullField(kind) }
            json.object(kind) { json in
                guard let amounts else { return json.nullField(name) }
                json.object(name) { json in Self.write(amounts, to: &json) }
            }
        }

        private static func write(_ amounts: [String: Int64], to json: inout JSONWriter) {
            for (currency, amount) in amounts.sorted(by: { $0.key < $1.key }) { json.field(currency, amount) }
        }
    }

    // MARK: Transitions

    /// Links accounts of one sign-in to a Session, all or none.
    /// - Parameters:
    ///   - credential: what opens the accounts at the institution; it is sealed here.
    ///   - signIn: the sign-in that it came from; a file that was given there stays with the accounts.
    /// - Returns: the ids, by the institution's own names. One that was linked before comes back under its own id.
    public static func link(
        _ picked: [Details],
        at institution: (id: String, name: String),
        credential: [UInt8],
        from signIn: SignIn? = nil,
        to session: Session,
        by cause: Cause,
        _ db: Connection,
        _ world: World,
        _ ring: KeyRing
    ) throws -> [String: String] {
        try session.holder.check(in: session.scope, db)
        try checkLimits(picked, at: institution.id, session, db)
        let clock = try session.holder.testClock(in: session.scope, db)
        let world = try TestClock.world(of: clock, in: session.scope, db, world)
        let authorization = try Authorization.create(
            holder: session.holder,
            institution: institution,
            credential: credential,
            clock: clock,
            in: session.scope,
            db,
            world,
            ring
        )
        let hasFile = try signIn.map {
            try UploadedFile.keep(of: $0, for: authorization.id, db, world)
        }
        try signIn?.note(authorization: authorization.id, db)
        try Revocation.takeBack(holder: session.holder.id, at: institution.id, in: session.scope, db)
        var former: [Authorization] = []
        for details in picked {
            if let refusal = session.refusal(of: details) {
                throw StripeError(param: "selected_accounts", message: refusal)
            }
            let known = try find(details, at: institution.id, of: session.holder.id, session.scope, db)
            var account: Account
            if let known {
                if let old = try Authorization.find(known.authorization, in: session.scope, db) { former.append(old) }
                account = known
                if hasFile == true { try account.checkIsRead(db) }
                try account.relink(details, authorization, session.configuration, by: cause, db, world)
                if hasFile == true { try account.refreshAgain(db, world) }
            } else {
                account = Account(
                    id: world.id(.account),
                    scope: session.scope,
                    created: world.now(),
                    holder: session.holder,
                    testClock: clock,
                    authorization: authorization.id,
                    institutionID: institution.id,
                    institutionName: details.institutionName ?? institution.name,
                    details: details,
                    permissions: session.configuration.permissions,
                    status: .active
                )
                try account.prefetch(session.configuration, db, world)
                try account.insert(db)
                try account.record(.accountCreated, by: cause, db, world)
            }
            try account.attach(to: session.id, db)
            try account.schedule(db, world)
        }
        try Authorization.update(authorization.id, replacing: former, by: cause, in: session.scope, db, world)
        for old in former { try Authorization.update(old.id, by: cause, in: session.scope, db, world) }
        return try linked(in: session, at: institution.id, db)
    }

    /// Starts the refreshes that the Session asked for, as far as none is under way.
    private func prefetch(_ configuration: Session.Configuration, _ db: Connection, _ world: World) throws {
        let states = try Refresh.states(of: id, in: scope, db)
        for feature in Refresh.Feature.allCases
        where configuration.prefetch?.contains(feature.permission) == true && states[feature]?.isPending != true {
            try Refresh.start(feature, of: id, clock: testClock, in: scope, db, world)
        }
    }

    /// A newer file takes the place of the one before: what that one tells must be there by then.
    private func checkIsRead(_ db: Connection) throws {
        guard try Refresh.states(of: id, in: scope, db)[.transactions]?.isPending == true else { return }
        throw StripeError(
            param: "selected_accounts",
            message: "The file before this one is still being read. Try again in a moment."
        )
    }

    /// A newer file has news of an account: what was ever refreshed is refreshed again, as far as it still may be.
    private func refreshAgain(_ db: Connection, _ world: World) throws {
        for (feature, state) in try Refresh.states(of: id, in: scope, db)
        where permissions.contains(feature.permission) && !state.isPending && feature != .ownership {
            try Refresh.start(feature, of: id, clock: testClock, in: scope, db, world)
        }
        try save(db)
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
        _ configuration: Session.Configuration,
        by cause: Cause,
        _ db: Connection,
        _ world: World
    ) throws {
        let before = self
        self.details = details
        self.authorization = authorization.id
        permissions = configuration.permissions
        if !permissions.contains(Refresh.Feature.transactions.permission) { subscriptions = [] }
        status = .active
        inactiveCause = nil
        try TestBankAccount.forgetDeactivation(id, in: scope, db)
        let refused = Refresh.Feature.allCases.filter { !permits($0) }
        let cancelled = try Refresh.cancel(refused, of: id, in: scope, db)
        try Refresh.reopen(of: id, in: scope, db)
        try Refresh.restart(of: id, in: scope, db, world)
        if balance != nil, before.details.isCredit != details.isCredit {
            // It was told of another kind of account.
            balance = nil
            if permits(.balance), try Refresh.states(of: id, in: scope, db)[.balance]?.isPending != true {
                try Refresh.start(.balance, of: id, clock: testClock, in: scope, db, world)
            }
        }
        try prefetch(configuration, db, world)
        try save(db)
        try Authorization.forget(before.authorization, in: scope, db)
        if before.status != .active { try record(.accountReactivated, by: cause, db, world) }
        if before.details.expectedDeactivation != details.expectedDeactivation {
            try record(.accountDateUpdated, by: cause, db, world)
        }
        try recordPaymentChanges(since: before, by: cause, db, world)
        for feature in cancelled { try record(feature.refreshed, by: .none, db, world) }
    }

    private func recordPaymentChanges(
        since before: Account,
        by cause: Cause,
        _ db: Connection,
        _ world: World
    ) throws {
        if before.shownNumbers != shownNumbers { try record(.accountNumbersUpdated, by: cause, db, world) }
        if before.details.supportsPayments != details.supportsPayments {
            try record(.accountPaymentsUpdated, by: cause, db, world)
        }
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
        account.inactiveCause = nil
        account.balance = nil
        account.subscriptions = []
        try account.end(with: .accountDisconnected, by: cause, db, world)
        try Revocation.begin(of: account.authorization, in: scope, db)
        try Authorization.forget(account.authorization, in: scope, db)
        return account
    }

    /// Disconnects the accounts on a test clock, those among them whose holder was deleted before.
    static func disconnectAll(
        on clock: String,
        by cause: Cause,
        in scope: Scope,
        _ db: Connection,
        _ world: World
    ) throws {
        let ids = try db.all(
            """
            SELECT id FROM account WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode)
            AND test_clock = \(clock) AND test_clock IS NOT NULL AND status <> 'disconnected' ORDER BY created, id
            """
        ) { try $0.text(0) }
        for id in ids { _ = try disconnect(id, by: cause, in: scope, db, world) }
    }

    /// The institution has ended the link. What was fetched stays.
    mutating func deactivate(
        _ inactiveCause: InactiveCause,
        by cause: Cause,
        _ db: Connection,
        _ world: World
    ) throws {
        guard status == .active else { return }
        status = .inactive
        self.inactiveCause = inactiveCause
        try end(with: .accountDeactivated, by: cause, db, world)
    }

    /// Every account of a consent is inactive.
    static func deactivateAll(
        of authorization: String,
        _ inactiveCause: InactiveCause,
        in scope: Scope,
        _ db: Connection,
        _ world: World
    ) throws {
        for id in try activeIDs(of: authorization, in: scope, db) {
            var account = try find(id, at: .path(param: "account"), in: scope, db)
            try account.deactivate(inactiveCause, by: .none, db, world)
        }
    }

    /// The link is over, for now or for good: nothing is fetched any longer.
    private func end(with kind: Event.Kind, by cause: Cause, _ db: Connection, _ world: World) throws {
        let cancelled = try Refresh.cancel(of: id, in: scope, db)
        try Schedule.clear(of: id, in: scope, db)
        try save(db)
        for feature in cancelled { try record(feature.refreshed, by: .none, db, world) }
        try record(kind, by: cause, db, world)
        try Authorization.update(authorization, by: cause, in: scope, db, world)
    }

    /// The institution takes an ended link up again.
    mutating func reactivate(by cause: Cause, _ db: Connection, _ world: World) throws {
        guard status == .inactive else { return }
        status = .active
        inactiveCause = nil
        let former = details.expectedDeactivation
        let now = try self.world(db, world).now()
        if let former, former <= now { details.expectedDeactivation = nil }
        try Refresh.reopen(of: id, in: scope, db)
        try save(db)
        try record(.accountReactivated, by: cause, db, world)
        if details.expectedDeactivation != former { try record(.accountDateUpdated, by: cause, db, world) }
        try schedule(db, world)
        try Authorization.update(authorization, by: cause, in: scope, db, world)
    }

    /// A Session is done: institutions that end the link right away do so now.
    static func closeAfterLinking(
        _ session: Session,
        by cause: Cause,
        _ db: Connection,
        _ world: World
    ) throws {
        for var account in try of(session, and: "closes_after_linking = 1 AND status = 'active'", db) {
            try account.deactivate(.unspecified, by: cause, db, world)
        }
    }

    // MARK: Data

    /// What a merchant asks to be refreshed.
    public struct RefreshRequest: Sendable {
        public static let names: [String: Parameters.Names] = ["features": .leaf]

        private let features: [(path: String, feature: Refresh.Feature)]

        /// - Parameter allowed: the features that the route takes.
        public init(_ parameters: Parameters, of allowed: [Refresh.Feature]) throws(StripeError) {
            var features: [(path: String, feature: Refresh.Feature)] = []
            for (path, name) in try parameters.strings("features") ?? [] {
                guard let feature = Refresh.Feature(rawValue: name), allowed.contains(feature) else {
                    throw .badEnum(path, allowed: allowed.map(\.rawValue))
                }
                if !features.contains(where: { $0.feature == feature }) { features.append((path, feature)) }
            }
            guard !features.isEmpty else { throw .missing("features") }
            self.features = features
        }

        fileprivate func check(_ account: Account) throws(StripeError) -> [Refresh.Feature] {
            try account.requireActive()
            for (path, feature) in features { try account.requirePermission(for: feature, at: path) }
            return features.map(\.feature)
        }

        fileprivate func path(of feature: Refresh.Feature) -> String {
            features.first { $0.feature == feature }?.path ?? "features"
        }
    }

    /// What becomes of a refresh that is asked for before its time.
    public enum EarlyRefresh: String, Sendable, CaseIterable {
        /// The request is an error, and nothing is refreshed.
        case refuse
        /// The request succeeds and changes nothing of that feature.
        case ignore
    }

    /// Starts refreshes, all or none.
    public static func refresh(
        _ id: String,
        _ request: RefreshRequest,
        early: EarlyRefresh,
        in scope: Scope,
        _ db: Connection,
        _ world: World
    ) throws -> Account {
        let account = try find(id, at: .path(param: "account"), in: scope, db)
        let world = try account.world(db, world)
        let states = try Refresh.states(of: id, in: scope, db)
        for feature in try request.check(account) {
            if let state = states[feature], !state.isOver(at: world.now()) {
                if early == .ignore { continue }
                throw account.isEarly(state, at: request.path(of: feature))
            }
            try Refresh.start(feature, of: id, clock: account.testClock, in: scope, db, world)
        }
        try account.save(db)
        return account
    }

    /// Has transactions refreshed now and once a day from now on. Again it is no error and changes nothing.
    public static func subscribe(
        _ id: String,
        _ request: RefreshRequest,
        in scope: Scope,
        _ db: Connection,
        _ world: World
    ) throws -> Account {
        var account = try find(id, at: .path(param: "account"), in: scope, db)
        let world = try account.world(db, world)
        let features = try request.check(account)
        let wasSubscribed = account.subscriptions == features.map(\.rawValue)
        account.subscriptions = features.map(\.rawValue)
        let state = try Refresh.states(of: id, in: scope, db)[.transactions]
        if !wasSubscribed, state?.isOver(at: world.now()) ?? true {
            try Refresh.start(.transactions, of: id, clock: account.testClock, in: scope, db, world)
        }
        if !wasSubscribed { try account.scheduleDaily(db, world) }
        try account.save(db)
        return account
    }

    /// Ends the daily refreshes. Again it is no error.
    public static func unsubscribe(
        _ id: String,
        in scope: Scope,
        _ db: Connection
    ) throws -> Account {
        var account = try find(id, at: .path(param: "account"), in: scope, db)
        guard account.status != .disconnected else { throw account.isDisconnected }
        account.subscriptions = []
        try Schedule.clear(.daily, of: id, in: scope, db)
        try account.save(db)
        return account
    }

    /// A day has passed since the last one of its kind.
    mutating func refreshDaily(isDriven: Bool, _ db: Connection, _ world: World) throws {
        guard status == .active, !subscriptions.isEmpty else { return }
        let world = try self.world(db, world)
        try scheduleDaily(db, world)
        let state = try Refresh.states(of: id, in: scope, db)[.transactions]
        if let state, !state.isOver(at: world.now()) {
            // Another is under way, or was a moment ago: the day is served, or is once the institution allows.
            guard let next = state.nextAvailable, !state.isPending else { return }
            return try Schedule.set(.daily, of: id, at: next, clock: testClock, in: scope, db)
        }
        try Refresh.start(.transactions, of: id, clock: testClock, isDriven: isDriven, in: scope, db, world)
        try save(db)
    }

    /// The next moment of the day that is this account's. Authorizations are spread over the day by their ids, and the
    /// accounts of one come together: some institutions tell all of them in one answer.
    private func scheduleDaily(_ db: Connection, _ world: World) throws {
        let day: Int64 = 24 * 3600
        let hash = authorization.utf8.reduce(UInt64(0xcbf2_9ce4_8422_2325)) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
        let own = Int64((hash ^ (hash >> 32)) % UInt64(day))
        let now = world.now()
        try Schedule.set(.daily, of: id, at: now - (now - own) % day + day, clock: testClock, in: scope, db)
    }

    /// When the balance was that is known.
    func balanceDate() throws -> Int64? {
        struct Told: Decodable { let as_of: Int64 }
        return try balance.map { try JSONDecoder().decode(Told.self, from: Data($0.utf8)).as_of }
    }

    mutating func take(_ balance: Balance) {
        self.balance = balance.json
    }

    mutating func take(_ ownership: Ownership) {
        self.ownership = ownership.id
    }

    // MARK: Dates

    /// Puts on the schedule what is known to come, and does at once what is due already.
    private mutating func schedule(_ db: Connection, _ world: World) throws {
        guard status == .active else { return }
        try scheduleEnd(db, world)
        guard status == .active else { return }
        if !subscriptions.isEmpty { try scheduleDaily(db, world) }
        try scheduleNumberExpiry(db, world)
    }

    private mutating func scheduleEnd(_ db: Connection, _ world: World) throws {
        try Schedule.clear(.announcement, of: id, in: scope, db)
        try Schedule.clear(.deactivation, of: id, in: scope, db)
        guard let expected = details.expectedDeactivation else { return }
        let now = try self.world(db, world).now()
        let announcement = expected - Schedule.notice
        if announcement <= now {
            try announceEnd(db, world)
        } else {
            try Schedule.set(.announcement, of: id, at: announcement, clock: testClock, in: scope, db)
        }
        if expected <= now {
            try deactivate(.accessExpired, by: .none, db, world)
        } else {
            try Schedule.set(.deactivation, of: id, at: expected, clock: testClock, in: scope, db)
        }
    }

    private mutating func scheduleNumberExpiry(_ db: Connection, _ world: World) throws {
        try Schedule.clear(.numberAnnouncement, of: id, in: scope, db)
        try Schedule.clear(.numberExpiry, of: id, in: scope, db)
        let now = try self.world(db, world).now()
        let expiring = try Number.all(details.numbers).filter(\.isExpiring).compactMap(\.expectedExpiry)
        guard let expiry = expiring.min() else { return }
        if expiry <= now { return try expireNumbers(db, world) }
        let announcement = expiry - Schedule.notice
        if announcement <= now {
            try announceNumberExpiry(db, world)
        } else {
            try Schedule.set(.numberAnnouncement, of: id, at: announcement, clock: testClock, in: scope, db)
        }
        try Schedule.set(.numberExpiry, of: id, at: expiry, clock: testClock, in: scope, db)
    }

    func announceEnd(_ db: Connection, _ world: World) throws {
        guard status == .active else { return }
        try record(.accountUpcomingDeactivation, by: .none, db, world)
    }

    /// The institution has said when it will end the link, nil for never.
    mutating func expectEnd(at moment: Int64?, by cause: Cause, _ db: Connection, _ world: World) throws {
        details.expectedDeactivation = moment
        try save(db)
        try record(.accountDateUpdated, by: cause, db, world)
        try scheduleEnd(db, world)
    }

    func announceNumberExpiry(_ db: Connection, _ world: World) throws {
        guard status == .active, shownNumbers != nil else { return }
        try record(.accountUpcomingNumberExpiry, by: .none, db, world)
    }

    /// Numbers whose time is over work no longer; without one that works, no payment can be made.
    mutating func expireNumbers(_ db: Connection, _ world: World) throws {
        let now = try self.world(db, world).now()
        let before = self
        var numbers = try Number.all(details.numbers)
        for index in numbers.indices where numbers[index].isExpiring && numbers[index].expectedExpiry ?? now <= now {
            numbers[index].status = "deactivated"
        }
        details.numbers = Number.json(numbers)
        if !numbers.contains(where: { $0.status == "transactable" }) { details.supportsPayments = false }
        try save(db)
        if status == .active { try recordPaymentChanges(since: before, by: .none, db, world) }
        try scheduleNumberExpiry(db, world)
    }

    // MARK: What may be done

    /// The world at the account's time.
    func world(_ db: Connection, _ world: World) throws -> World {
        try TestClock.world(of: testClock, in: scope, db, world)
    }

    /// What is shown of the account's numbers, as JSON.
    private var shownNumbers: String? {
        permissions.contains("payment_method") ? details.numbers : nil
    }

    var isDisconnected: StripeError {
        StripeError(param: "account", message: "The account '\(id)' is disconnected: its data can no longer be had.")
    }

    func requireActive() throws(StripeError) {
        switch status {
        case .active: return
        case .disconnected: throw isDisconnected
        case .inactive:
            throw StripeError(
                code: "financial_connections_account_inactive",
                param: "account",
                message: "The account '\(id)' is inactive: its institution no longer gives access. The account holder "
                    + "has to link it again."
            )
        }
    }

    /// Whether the last consent lets what is fetched of a feature be had.
    private func permits(_ feature: Refresh.Feature) -> Bool { permissions.contains(feature.permission) }

    private func requirePermission(for feature: Refresh.Feature, at path: String) throws(StripeError) {
        guard !permits(feature) else { return }
        throw StripeError(
            param: path,
            message: "The account '\(id)' was linked without the `\(feature.permission)` permission, which "
                + "`\(feature.rawValue)` needs."
        )
    }

    /// - Throws: where what was fetched may not be read.
    func requireReadable(_ feature: Refresh.Feature) throws(StripeError) {
        if status == .disconnected { throw isDisconnected }
        try requirePermission(for: feature, at: "account")
    }

    private func isEarly(_ state: Refresh, at path: String) -> StripeError {
        let reason =
            if state.isPending {
                "one is pending"
            } else if let next = state.nextAvailable {
                "the next one can be started at \(next)"
            } else {
                "its institution does not give it"
            }
        return StripeError(
            param: path,
            message:
                "A refresh of `\(state.feature.rawValue)` cannot be started for the account '\(id)' now: \(reason)."
        )
    }

    func record(_ kind: Event.Kind, by cause: Cause, _ db: Connection, _ world: World) throws {
        let own = try self.world(db, world)
        try Event.record(kind, object: rendering(depth: 0, db), by: cause, in: scope, db, own)
    }

    // MARK: Statements

    private static let selected: SQL = """
        SELECT id, created, holder_type, holder, authorization_id, institution, institution_name, institution_account,
            category, subcategory, display_name, last4, supports_payments, numbers, permissions, status,
            expected_deactivation, closes_after_linking, test_clock, balance, ownership, subscriptions, inactive_cause
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

    /// The account of a holder by the institution's own name for it, or by the one name of those before that is known;
    /// nil where it was never linked.
    private static func find(
        _ details: Details,
        at institution: String,
        of holder: String,
        _ scope: Scope,
        _ db: Connection
    ) throws -> Account? {
        if let account = try find(details.institutionAccount, at: institution, of: holder, scope, db) { return account }
        let former = try Set(details.formerNames).compactMap { name in
            try find(name, at: institution, of: holder, scope, db)
        }
        return former.count == 1 ? former[0] : nil
    }

    private static func find(
        _ name: String,
        at institution: String,
        of holder: String,
        _ scope: Scope,
        _ db: Connection
    ) throws -> Account? {
        try db.first(
            """
            \(columns) WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND holder = \(holder)
            AND institution = \(institution) AND institution_account = \(name)
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

    /// The consent by which a Session has linked accounts of an institution, the latest where there were several.
    public static func authorization(
        in session: Session,
        at institution: String,
        _ db: Connection
    ) throws -> String? {
        try of(session, and: "institution = \(institution) AND status <> 'disconnected'", db).map(\.authorization).max()
    }

    /// Accounts as they are known where they were linked before: by the name that says most, and of what kind they were
    /// and whether they can pay where the institution does not tell it.
    public static func remembered(
        _ accounts: [Details],
        at institution: String,
        of session: Session,
        _ db: Connection
    ) throws -> [Details] {
        let holder = session.holder.id
        return try accounts.map { details in
            var details = details
            if !details.otherNames.isEmpty,
                try find(details.institutionAccount, at: institution, of: holder, session.scope, db) == nil
            {
                let known = try details.otherNames.filter { name in
                    try find(name, at: institution, of: holder, session.scope, db) != nil
                }
                if known.count == 1 { details.institutionAccount = known[0] }
            }
            guard details.isCategoryGuessed || details.areNumbersUnknown,
                let known = try find(details, at: institution, of: holder, session.scope, db)
            else { return details }
            if details.areNumbersUnknown {
                (details.numbers, details.supportsPayments) = (known.details.numbers, known.details.supportsPayments)
            }
            return details.isCategoryGuessed ? details.taken(as: known.details) : details
        }
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

    /// The active accounts of an authorization.
    static func activeIDs(of authorization: String, in scope: Scope, _ db: Connection) throws -> [String] {
        try db.all(
            """
            SELECT id FROM account WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode)
            AND authorization_id = \(authorization) AND status = 'active' ORDER BY created, id
            """
        ) { try $0.text(0) }
    }

    /// When the first of the active accounts of an authorization is expected to end.
    static func earliestDeactivation(of authorization: String, in scope: Scope, _ db: Connection) throws -> Int64? {
        try db.first(
            """
            SELECT MIN(expected_deactivation) FROM account WHERE merchant = \(scope.merchant)
            AND livemode = \(scope.livemode) AND authorization_id = \(authorization) AND status = 'active'
            """
        ) { $0.optionalInt(0) } ?? nil
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
            testClock: row.optionalText(18),
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
        balance = row.optionalText(19)
        ownership = row.optionalText(20)
        subscriptions = Joined.values(try row.text(21))
        inactiveCause = row.optionalText(22).flatMap(InactiveCause.init)
    }

    private init(
        id: String,
        scope: Scope,
        created: Int64,
        holder: AccountHolder,
        testClock: String?,
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
        self.testClock = testClock
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
                numbers, permissions, status, expected_deactivation, closes_after_linking, test_clock, rendering)
            VALUES (\(scope.merchant), \(scope.livemode), \(id), \(created), \(holder.kind.rawValue), \(holder.id),
                \(authorization), \(institutionID), \(institutionName), \(details.institutionAccount),
                \(details.category), \(details.subcategory), \(details.displayName), \(details.last4),
                \(details.supportsPayments), \(details.numbers), \(Joined.text(permissions)), \(status.rawValue),
                \(details.expectedDeactivation), \(details.closesAfterLinking), \(testClock), \(try rendering(db)))
            """
        )
    }

    /// Writes what may change, and the rendering with what the account's refreshes are by then.
    func save(_ db: Connection) throws {
        try db.execute(
            """
            UPDATE account SET authorization_id = \(authorization), category = \(details.category),
                subcategory = \(details.subcategory), display_name = \(details.displayName), last4 = \(details.last4),
                institution_account = \(details.institutionAccount),
                supports_payments = \(details.supportsPayments), numbers = \(details.numbers),
                permissions = \(Joined.text(permissions)), status = \(status.rawValue),
                expected_deactivation = \(details.expectedDeactivation),
                closes_after_linking = \(details.closesAfterLinking), balance = \(balance),
                ownership = \(ownership), subscriptions = \(Joined.text(subscriptions)),
                inactive_cause = \(inactiveCause?.rawValue), rendering = \(try rendering(db))
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

        /// Whether the page is read by one statement, as long as nothing is expanded.
        public var isSimple: Bool {
            if case .all = filter { return page.cursor == nil }
            return false
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
            json.list(page.elements, hasMore: page.hasMore, url: query.url) { account, json in
                json.rendered(account, depth: Self.listDepth)
            }
        }
    }

    // MARK: JSON

    /// How deep an account stands in a list. Renderings are stored as they stand there, so that a page is copied whole.
    static let listDepth = 2

    public static let shape = Expansion.Shape.object([
        "id": .leaf, "object": .leaf, "account_holder": AccountHolder.shape, "account_numbers": .leaf, "balance": .leaf,
        "balance_refresh": .leaf, "category": .leaf, "created": .leaf, "display_name": .leaf, "institution_name": .leaf,
        "last4": .leaf, "livemode": .leaf,
        "ownership": .reference(resource: "financial_connections_account") { Ownership.shape },
        "ownership_refresh": .leaf,
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
            if let stored { return json.rendered(stored, depth: listDepth) }
        }
        try find(id, at: place, in: scope, db).write(to: &json, expanding: expansion, db)
    }

    private func rendering(
        expanding expansion: Expansion = .none,
        depth: Int = listDepth,
        _ db: Connection
    ) throws -> [UInt8] {
        var json = JSONWriter(depth: depth)
        try write(to: &json, expanding: expansion, db)
        return json.bytes
    }

    public func write(to json: inout JSONWriter, expanding expansion: Expansion = .none, _ db: Connection) throws {
        let refreshes = try Refresh.states(of: id, in: scope, db)
        try json.object { json in
            json.field("id", id)
            json.field("object", "financial_connections.account")
            try holder.write("account_holder", to: &json, expanding: expansion["account_holder"], in: scope, db)
            write("account_numbers", shownNumbers, to: &json)
            write("balance", permits(.balance) ? balance : nil, to: &json)
            Refresh.write(refreshes[.balance], of: .balance, to: &json)
            json.field("category", details.category)
            json.field("created", created)
            json.field("display_name", details.displayName)
            json.field("institution_name", institutionName)
            json.field("last4", details.last4)
            json.field("livemode", scope.livemode)
            try writeOwnership(to: &json, expanding: expansion, db)
            Refresh.write(refreshes[.ownership], of: .ownership, to: &json)
            json.field("permissions", permissions)
            json.field("status", status.rawValue)
            writeStatusDetails(to: &json)
            json.field("subcategory", details.subcategory)
            json.field("subscriptions", subscriptions)
            json.field("supported_payment_method_types", details.supportsPayments ? ["us_bank_account"] : [])
            Refresh.write(refreshes[.transactions], of: .transactions, to: &json)
        }
    }

    private func write(_ key: String, _ rendered: String?, to json: inout JSONWriter) {
        if let rendered { json.field(key, rendered: Array(rendered.utf8)) } else { json.nullField(key) }
    }

    private func writeOwnership(to json: inout JSONWriter, expanding expansion: Expansion, _ db: Connection) throws {
        guard let ownership, permits(.ownership) else { return json.nullField("ownership") }
        guard expansion["ownership"] != nil, status != .disconnected else {
            return json.field("ownership", ownership)
        }
        json.key("ownership")
        try Ownership.find(ownership, of: id, at: .path(param: "ownership"), in: scope, db).write(to: &json, db)
    }

    private func writeStatusDetails(to json: inout JSONWriter) {
        switch (status, details.expectedDeactivation) {
        case (.active, let expected?):
            json.object("status_details") { json in
                json.object("active") { json in
                    json.field("action", "relink_required")
                    json.field("cause", "access_expired")
                    json.field("expected_deactivation_date", expected)
                }
            }
        case (.inactive, _):
            json.object("status_details") { json in
                json.object("inactive") { json in
                    json.field("action", inactiveCause == .accountClosed ? "none" : "relink_required")
                    json.field("cause", (inactiveCause ?? .unspecified).rawValue)
                }
            }
        default: json.nullField("status_details")
        }
    }
}
