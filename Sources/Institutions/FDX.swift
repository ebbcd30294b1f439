/// The connector for banks that speak FDX, the open standard of North America, in versions 4.6 to 6: one value for one
/// bank, as the operator configured it.
///
/// It promises exact amounts, refresh tokens that are stored before what came with them is used, and one attempt more
/// where a bank says that an access token has ended. Debts are negative, whatever sign the bank gave them. It refuses
/// what the bank was not configured for, and names no fact that the bank did not: unknown is nil. Signing in is in
/// `OAuth.swift`, the shapes of FDX's objects in `FDXShapes.swift`.

internal import FoundationEssentials
public import Outbound
internal import Vault
internal import Wire

public struct FDX: Connector {
    /// What an operator says of one bank.
    public struct Configuration: Sendable {
        /// What the bearer of a request for data is. Some hubs want the id token there.
        public enum Bearer: String, Sendable, CaseIterable {
            case accessToken = "access_token"
            case idToken = "id_token"
        }

        /// Where things are below the base address. `{account}` and `{consent}` stand for ids.
        public struct Paths: Sendable {
            public var accounts = "/accounts"
            public var account = "/accounts/{account}"
            public var transactions = "/accounts/{account}/transactions"
            public var contact = "/accounts/{account}/contact"
            public var paymentNetworks = "/accounts/{account}/payment-networks"
            public var consent = "/consents/{consent}"
            public var revocation = "/consents/{consent}/revocation"

            public init() {}
        }

        /// To the letter as the provider says it: some end in a slash.
        public var issuer: String
        /// Nil for the issuer's own place for it.
        public var discovery: String?
        /// `https://api.bank.example/fdx/v6`, without a slash at the end.
        public var base: String
        public var clientID: String
        public var proof: ClientProof
        public var scopes: [String]
        public var authorizeParameters: [(name: String, value: String)] = []
        public var headers: [(name: String, value: String)] = []
        public var bearer = Bearer.accessToken
        public var paths = Paths()
        /// How transactions are asked for by date: `startTime` and `endTime`, or `startDate` and `endDate`.
        public var rangeParameters = (start: "startTime", end: "endTime")
        public var identity: Outbound.ClientIdentity?
        public var trustRoots: String?
        /// Tells the bank who signs in (`login_hint`), as a name that means nothing elsewhere.
        public var sendsHint = false

        public init(issuer: String, base: String, clientID: String, proof: ClientProof, scopes: [String]) {
            self.issuer = issuer
            self.base = base
            self.clientID = clientID
            self.proof = proof
            self.scopes = scopes
        }

        /// What a bank that follows version 6 is asked for.
        public static let standardScopes = [
            "openid", "offline_access", "fdx:accountbasic:read", "fdx:accountdetailed:read", "fdx:balances:read",
            "fdx:transactions:read", "fdx:customercontact:read", "fdx:accountpayments:read",
        ]
    }

    public let isTest: Bool
    public let institutions: [Institution]
    public let policy: RefreshPolicy
    /// Read at each use: where a test bank is reached is known once the server listens.
    private let configured: @Sendable () -> Configuration
    private let line: Line
    private let now: @Sendable () -> Int64
    private let secret: @Sendable (_ length: Int) -> String

    /// - Parameters:
    ///   - now: seconds since the Unix epoch, as the bank's clock has them.
    ///   - secret: so many letters that nobody can guess.
    public init(
        _ institution: Institution,
        isTest: Bool,
        policy: RefreshPolicy,
        line: Line,
        now: @escaping @Sendable () -> Int64,
        secret: @escaping @Sendable (_ length: Int) -> String,
        configuration: @escaping @Sendable () -> Configuration
    ) {
        self.isTest = isTest
        institutions = [institution]
        self.policy = policy
        self.line = line
        self.now = now
        self.secret = secret
        configured = configuration
    }

    private func oauth(_ configuration: Configuration) -> OAuth {
        OAuth(
            issuer: configuration.issuer,
            discovery: configuration.discovery ?? Self.discovery(of: configuration.issuer),
            clientID: configuration.clientID,
            proof: configuration.proof,
            scopes: configuration.scopes,
            parameters: configuration.authorizeParameters,
            identity: configuration.identity,
            trustRoots: configuration.trustRoots,
            line: line,
            now: now,
            secret: secret
        )
    }

    /// The issuer's own place for its document, which has no second slash where the issuer ends in one.
    static func discovery(of issuer: String) -> String {
        (issuer.hasSuffix("/") ? String(issuer.dropLast()) : issuer) + "/.well-known/openid-configuration"
    }

    // MARK: Signing in

    /// Always a redirect to the bank's own page.
    public func begin(_ attempt: Attempt) async throws(ConnectorError) -> Step {
        let configuration = configured()
        let hint = configuration.sendsHint ? Self.hint(attempt.holder) : nil
        return try await oauth(configuration).begin(attempt, hint: hint)
    }

    /// The holder under a name that tells the bank nothing and is the same each time.
    static func hint(_ holder: String) -> String {
        "user-" + String(Secret.base64URL(Secret.digest("login hint\n\(holder)")).prefix(16))
    }

    public func resume(
        _ attempt: Attempt,
        from resume: [UInt8],
        _ response: Response
    ) async throws(ConnectorError) -> Step {
        guard case .returned(let answer) = response else { throw .invalidResponse }
        return try await oauth(configured()).resume(attempt, from: resume, answer)
    }

    /// Reads what the bank publishes of itself, and shows it our name, for whoever configures it.
    public func check() async throws(ConnectorError) {
        let configuration = configured()
        try await oauth(configuration).check()
        // Whoever has no token is told so where the accounts are, and nowhere else.
        let reply = try await line.send(
            Outbound.Request(
                method: "GET",
                url: configuration.base + configuration.paths.accounts,
                headers: [("Accept", "application/json")] + configuration.headers,
                identity: configuration.identity,
                trustRoots: configuration.trustRoots
            )
        )
        guard reply.status != 404, reply.status != 405 else { throw .misconfigured("base_url") }
    }

    // MARK: Accounts

    /// Most pages in which accounts come.
    private static let maximumPages = 100

    public func accounts(_ access: Access) async throws(ConnectorError) -> [BankAccount] {
        var call = try await call(access)
        var found: [FDXWrapped<FDXAccount>] = []
        var page: (name: String, value: String)?
        for _ in 0..<Self.maximumPages {
            let query = [("resultType", "lightweight")] + (page.map { [$0] } ?? [])
            let answer = try await call.get(call.configuration.paths.accounts, query, FDXAccounts.self)
            found += answer.accounts.compactMap(\.value)
            // A bank that gives the same place again has no more.
            guard let next = answer.page?.next, next.value != page?.value, found.count < FDXAccounts.maximum else {
                break
            }
            page = next
        }
        let expiry = try await consentExpiryIfTold(&call)
        var ids: Set<String> = []
        let named = found.compactMap { account -> (account: FDXWrapped<FDXAccount>, id: String)? in
            guard account.value.status != "CLOSED", let id = account.value.accountId else { return nil }
            return ids.insert(id).inserted ? (account, id) : nil
        }
        let numbers = try await numbers(of: named, call)
        return named.indices.map { place in
            named[place].account.described(
                named[place].id,
                numbers: numbers[place],
                expectedDeactivation: expiry,
                in: access.institution
            )
        }
    }

    /// Requests at a time, for a person waits.
    private static let concurrency = 8

    /// What is told of each account's numbers, nil where that is not known.
    private func numbers(
        of accounts: [(account: FDXWrapped<FDXAccount>, id: String)],
        _ call: FDXCall
    ) async throws(ConnectorError) -> [[BankAccount.Numbers]?] {
        typealias Told = Result<(place: Int, numbers: [BankAccount.Numbers]?), ConnectorError>
        let told = await withTaskGroup(of: Told.self) { group in
            var (next, all): (Int, [Told]) = (0, [])
            while all.count < accounts.count {
                while next < accounts.count, next - all.count < Self.concurrency {
                    let (place, account) = (next, accounts[next])
                    next += 1
                    group.addTask {
                        do throws(ConnectorError) {
                            return .success((place, try await numbers(of: account.account, account.id, call)))
                        } catch {
                            return .failure(error)
                        }
                    }
                }
                guard let one = await group.next() else { break }
                all.append(one)
                if case .failure = one { break }
            }
            group.cancelAll()
            return all
        }
        var known = [[BankAccount.Numbers]?](repeating: nil, count: accounts.count)
        for one in told {
            let (place, numbers) = try one.get()
            known[place] = numbers
        }
        return known
    }

    /// What is told of an account's numbers; none for what is no deposit account, and where the bank has none.
    private func numbers(
        of account: FDXWrapped<FDXAccount>,
        _ id: String,
        _ call: FDXCall
    ) async throws(ConnectorError) -> [BankAccount.Numbers]? {
        guard account.kind.category == .cash else { return [] }
        var call = call
        let networks: [FDXNetworks.Network]
        do {
            networks = try await self.networks(of: id, &call)
        } catch {
            // Nobody waits any more.
            if Task.isCancelled { throw error }
            // An account without numbers is better than none: but a bank that wants a pause is left alone.
            switch error {
            case .rateLimited, .superseded: throw error
            case .unsupported, .accountClosed: return []
            default: return nil
            }
        }
        return networks.compactMap { network in
            guard network.type == "US_ACH", network.transferIn == true, network.transferOut == true else { return nil }
            let isToken = network.identifierType == "TOKENIZED_ACCOUNT_NUMBER"
            return BankAccount.Numbers(
                identifier: isToken ? .tokenizedAccountNumber : .accountNumber,
                status: .transactable,
                expectedExpiry: nil
            )
        }
    }

    /// Most pages in which the networks of an account come.
    private static let maximumNetworkPages = 10

    private func networks(
        of id: String,
        _ call: inout FDXCall
    ) async throws(ConnectorError) -> [FDXNetworks.Network] {
        let path = call.path(call.configuration.paths.paymentNetworks, id)
        var networks: [FDXNetworks.Network] = []
        var page: (name: String, value: String)?
        for _ in 0..<Self.maximumNetworkPages {
            let reply = try await call.send("GET", FDXCall.address(path, page.map { [$0] } ?? []))
            guard reply.status == 200 else { throw await call.refusal(reply) }
            // An account that has none just now.
            if reply.body.isEmpty { break }
            let answer = try reply.json(FDXNetworks.self)
            networks += answer.paymentNetworks.compactMap(\.value)
            guard let next = answer.page?.next, next.value != page?.value else { break }
            page = next
        }
        return networks
    }

    // MARK: Requests for data

    func call(_ access: Access) async throws(ConnectorError) -> FDXCall {
        let configuration = configured()
        let oauth = oauth(configuration)
        var credential = try OAuthCredential(access.credential)
        // A little early: the request takes time too.
        if credential.expires <= now() + 30, credential.refresh != nil { credential = try await oauth.renewed(access) }
        return FDXCall(
            configuration: configuration,
            oauth: oauth,
            access: access,
            line: line,
            secret: secret,
            credential: credential
        )
    }

    private func account(
        _ account: BankAccount.Reference,
        _ access: Access
    ) async throws(ConnectorError) -> FDXWrapped<FDXAccount> {
        var call = try await call(access)
        return try await call.account(account.id)
    }

    /// The same where a person waits, who is not sent away because the bank does not tell just now.
    private func consentExpiryIfTold(_ call: inout FDXCall) async throws(ConnectorError) -> Int64? {
        do {
            return try await consentExpiry(&call)
        } catch {
            switch error {
            case .institutionUnavailable, .untrusted, .unsupported, .invalidResponse: return nil
            default: throw error
            }
        }
    }

    /// - Throws: `unsupported` where the bank does not tell it, which is not to say that there is no end.
    private func consentExpiry(_ call: inout FDXCall) async throws(ConnectorError) -> Int64? {
        guard let id = call.credential.consent else { return nil }
        let consent: FDXConsent
        do {
            consent = try await call.get(call.path(call.configuration.paths.consent, id), [], FDXConsent.self)
        } catch {
            switch error {
            // A bank without a place for consents keeps none that we could ask about.
            case .accountClosed, .unsupported, .invalidResponse: throw .unsupported
            default: throw error
            }
        }
        guard !consent.isOver else { throw .relinkRequired }
        guard let time = consent.expirationTime else { return nil }
        guard let expiry = Moment.iso(time) else { throw .unsupported }
        return expiry
    }
}

/// Requests for data under one credential, which is renewed once where the bank says that it has ended.
struct FDXCall: Sendable {
    let configuration: FDX.Configuration
    let oauth: OAuth
    let access: Access
    let line: Line
    let secret: @Sendable (_ length: Int) -> String
    var credential: OAuthCredential
    private var isRenewed = false

    init(
        configuration: FDX.Configuration,
        oauth: OAuth,
        access: Access,
        line: Line,
        secret: @escaping @Sendable (_ length: Int) -> String,
        credential: OAuthCredential
    ) {
        self.configuration = configuration
        self.oauth = oauth
        self.access = access
        self.line = line
        self.secret = secret
        self.credential = credential
    }

    func path(_ template: String, _ id: String) -> String {
        let escaped = Form.escape(id)
        return template.replacing("{account}", with: escaped).replacing("{consent}", with: escaped)
    }

    mutating func get<T: Decodable>(
        _ path: String,
        _ query: [(name: String, value: String)],
        _ type: T.Type
    ) async throws(ConnectorError) -> T {
        let reply = try await send("GET", Self.address(path, query))
        guard reply.status == 200 else { throw await refusal(reply) }
        return try reply.json(type)
    }

    /// The details of one account: where the bank does not find it, it is gone.
    mutating func account(_ id: String) async throws(ConnectorError) -> FDXWrapped<FDXAccount> {
        let reply = try await send("GET", path(configuration.paths.account, id))
        if reply.status == 404 || reply.status == 410 { throw .accountClosed }
        guard reply.status == 200 else { throw await refusal(reply) }
        return try reply.json(FDXWrapped<FDXAccount>.self)
    }

    /// A path with a query, which a path of the operator's may have begun.
    static func address(_ path: String, _ query: [(name: String, value: String)]) -> String {
        query.isEmpty ? path : path + (path.contains("?") ? "&" : "?") + Form.encode(query)
    }

    mutating func send(_ method: String, _ path: String, body: [UInt8]? = nil) async throws(ConnectorError)
        -> Outbound.Reply
    {
        var reply = try await line.send(request(method, path, body))
        if reply.status == 401, !isRenewed, credential.refresh != nil {
            credential = try await oauth.renewed(access)
            isRenewed = true
            reply = try await line.send(request(method, path, body))
        }
        return reply
    }

    private func request(_ method: String, _ path: String, _ body: [UInt8]?) -> Outbound.Request {
        let bearer = configuration.bearer == .idToken ? credential.idToken ?? credential.access : credential.access
        var headers = [
            ("Accept", "application/json"), ("Authorization", "Bearer \(bearer)"),
            ("x-fapi-interaction-id", interactionID),
            ("FDX-API-Actor-Type", access.isPersonPresent ? "USER" : "BATCH"),
        ]
        if body != nil { headers.append(("Content-Type", "application/json")) }
        headers += configuration.headers.map { ($0.name, $0.value) }
        return Outbound.Request(
            method: method,
            url: configuration.base + path,
            headers: headers.map { (name: $0.0, value: $0.1) },
            body: body,
            identity: configuration.identity,
            trustRoots: configuration.trustRoots
        )
    }

    /// A UUID of version 4, by which the bank's log is asked.
    private var interactionID: String {
        var bytes = Array(Secret.digest(secret(32)).prefix(16))
        bytes[6] = bytes[6] & 0x0F | 0x40
        bytes[8] = bytes[8] & 0x3F | 0x80
        return UUID(
            uuid: (
                bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7], bytes[8], bytes[9],
                bytes[10], bytes[11], bytes[12], bytes[13], bytes[14], bytes[15]
            )
        ).uuidString.lowercased()
    }

    /// By FDX's code where there is one, else by HTTP's status. What is forbidden may be so as the consent is over,
    /// which some banks say of the consent alone.
    mutating func refusal(_ reply: Outbound.Reply) async -> ConnectorError {
        if reply.status == 403, let id = credential.consent {
            let about = try? await send("GET", path(configuration.paths.consent, id))
            if let about, about.status == 200, (try? about.json(FDXConsent.self))?.isOver == true {
                return .relinkRequired
            }
        }
        let code = (try? reply.json(FDXRefusal.self))?.code
        switch (reply.status, code) {
        case (401, _), (_, 602): return .relinkRequired
        case (429, _): return .rateLimited(until: reply.retryAfter(access.now))
        case (_, 701), (_, 705): return .accountClosed
        case (403, _), (404, _), (405, _), (410, _), (501, _): return .unsupported
        case (500..., _): return .institutionUnavailable(until: reply.retryAfter(access.now))
        default: return .invalidResponse
        }
    }
}

// MARK: - Balances and owners

extension FDX: BalanceProviding {
    public func balance(of account: BankAccount.Reference, _ access: Access) async throws(ConnectorError) -> Balance {
        try access.checkFabrication()
        if let made = access.fabrication?.balance { return made }
        let details = try await self.account(account, access)
        guard details.value.status != "CLOSED" else { throw .accountClosed }
        guard let balance = details.balance(at: access.now, as: account.category) else { throw .unsupported }
        return balance
    }
}

extension FDX: OwnershipProviding {
    public func owners(of account: BankAccount.Reference, _ access: Access) async throws(ConnectorError) -> [Owner] {
        try access.checkFabrication()
        if let made = access.fabrication?.owners { return made }
        var call = try await call(access)
        return try await call.get(
            call.path(call.configuration.paths.contact, account.id),
            [],
            FDXContact.self
        ).owners
    }
}

extension FDXContact {
    /// Each holder is an owner, but for those who only act for one. Addresses, telephones and e-mail addresses are
    /// lists beside the holders: one apiece is each holder's in turn, whether it says something or not; of any other
    /// number the first is the first holder's, or the one that the bank calls the primary one. What stands with a
    /// holder is that holder's.
    var owners: [Owner] {
        let holders = self.holders ?? []
        func shared<T: FDXContactPart>(_ list: [FDXReadable<T>]?, _ index: Int) -> String? {
            guard let list, list.count == holders.count else { return index == 0 ? Self.first(list) : nil }
            return Self.first([list[index]])
        }
        return holders.enumerated().compactMap { index, holder in
            guard let holder = holder.value, let name = holder.fullName, holder.isOwner else { return nil }
            return Owner(
                name: name,
                email: Self.first(holder.email) ?? shared(emails, index),
                phone: Self.first(holder.telephones) ?? shared(telephones, index),
                address: Self.first(holder.addresses) ?? shared(addresses, index)
            )
        }
    }

    /// The primary one, else the first that says something.
    private static func first<T: FDXContactPart>(_ list: [FDXReadable<T>]?) -> String? {
        let told = (list ?? []).compactMap(\.value).filter { $0.text?.isEmpty == false }
        return (told.first { $0.primary == true } ?? told.first)?.text
    }
}

// MARK: - Consent

extension FDX: ConsentKeeping {
    public func consentExpiry(_ access: Access) async throws(ConnectorError) -> Int64? {
        var call = try await call(access)
        return try await consentExpiry(&call)
    }

    /// Ends the consent where the bank has a place for that, and then the tokens.
    public func revoke(_ access: Access) async throws(ConnectorError) {
        var call = try await call(access)
        if let id = call.credential.consent {
            let body = Array(#"{"initiator":"DATA_RECIPIENT","reason":"USER_ACTION"}"#.utf8)
            _ = try? await call.send("PUT", call.path(call.configuration.paths.revocation, id), body: body)
        }
        try await oauth(configured()).revoke(call.credential)
    }
}

// MARK: - What an account is

extension FDXWrapped<FDXAccount> {
    var kind: (category: BankAccount.Category, subcategory: BankAccount.Subcategory) {
        let type = value.accountType ?? ""
        return switch category ?? categoryOfType ?? categoryOfAmounts ?? .other {
        case .deposit:
            switch type {
            case "CHECKING": (.cash, .checking)
            case "SAVINGS", "MONEYMARKET": (.cash, .savings)
            default: (.cash, .other)
            }
        case .credit:
            switch type {
            case "CREDITCARD", "CHARGE": (.credit, .creditCard)
            case "LINEOFCREDIT", "HOMELINEOFCREDIT": (.credit, .lineOfCredit)
            default: (.credit, .other)
            }
        case .loan: (.credit, type == "MORTGAGE" ? .mortgage : .other)
        case .investment: (.investment, .other)
        case .commercial where type == "COMMERCIALLOAN": (.credit, .other)
        case .commercial where type == "COMMERCIALLINEOFCREDIT": (.credit, .lineOfCredit)
        case .annuity, .commercial, .wallet, .insurance, .other: (.other, .other)
        }
    }

    /// For a bank that says neither category nor wrapper.
    private var categoryOfType: FDXCategory? {
        switch value.accountType {
        case "CHECKING", "SAVINGS", "MONEYMARKET", "CD", "ESCROW": .deposit
        case "CREDITCARD", "CHARGE", "LINEOFCREDIT", "HOMELINEOFCREDIT": .credit
        case "MORTGAGE", "LOAN", "AUTOLOAN", "STUDENTLOAN", "PERSONALLOAN", "HOMEEQUITYLOAN": .loan
        default: nil
        }
    }

    /// For one that does not even say the type: amounts that only one category has.
    private var categoryOfAmounts: FDXCategory? {
        if value.currentValue != nil || value.availableCashBalance != nil { return .investment }
        if value.creditLine != nil || value.availableCredit != nil { return .credit }
        if value.principalBalance != nil { return .loan }
        return value.availableBalance != nil ? .deposit : nil
    }

    func described(
        _ id: String,
        numbers: [BankAccount.Numbers]?,
        expectedDeactivation: Int64?,
        in institution: Institution
    ) -> BankAccount {
        let names = [value.nickname, value.productName].compactMap { $0 }
        let digits = (value.accountNumberDisplay ?? "").filter(\.isASCIIDigit)
        return BankAccount(
            id: id,
            displayName: names.first { !$0.allSatisfy(\.isWhitespace) } ?? institution.name,
            last4: digits.count >= 4 ? String(digits.suffix(4)) : nil,
            category: kind.category,
            subcategory: kind.subcategory,
            supportsPayments: numbers?.isEmpty == false,
            numbers: numbers ?? [],
            areNumbersUnknown: numbers == nil,
            expectedDeactivation: expectedDeactivation
        )
    }

    /// Nil where the bank tells no amount that could be one. Debts come positive and are negative here; one that comes
    /// negative is what the bank owes the holder.
    /// - Parameter linked: what the account was linked as; the details may not say it again. Nil or `other` where only
    ///   they can tell.
    func balance(at now: Int64, as linked: BankAccount.Category? = nil) -> Balance? {
        let currency = value.currencyCode
        func units(_ amount: FDXAmount?) -> Int64? { amount?.minorUnits(of: currency) }
        let asOf = value.balanceAsOf.flatMap(Moment.iso) ?? now
        switch linked == .other ? kind.category : linked ?? kind.category {
        case .cash, .other:
            guard let current = units(value.currentBalance) ?? units(value.currentValue) else { return nil }
            let available = units(value.availableBalance)
            return Balance(
                asOf: asOf,
                current: [currency: current],
                kind: .cash(available: available.map { [currency: $0] })
            )
        case .investment:
            guard let current = units(value.currentValue) ?? units(value.currentBalance) else { return nil }
            let available = units(value.availableCashBalance) ?? units(value.availableBalance)
            return Balance(
                asOf: asOf,
                current: [currency: current],
                kind: .cash(available: available.map { [currency: $0] })
            )
        case .credit:
            let owed = units(value.currentBalance) ?? units(value.principalBalance)
            guard let debt = owed ?? drawn(units), debt != Int64.min else { return nil }
            return Balance(asOf: asOf, current: [currency: -debt], kind: .credit(used: [currency: -debt]))
        }
    }

    /// What is gone of a line of credit; nil where not both ends are told, or no integer holds it.
    private func drawn(_ units: (FDXAmount?) -> Int64?) -> Int64? {
        guard let line = units(value.creditLine), let left = units(value.availableCredit) else { return nil }
        let (drawn, overflows) = line.subtractingReportingOverflow(left)
        return overflows ? nil : drawn
    }
}

extension Character {
    fileprivate var isASCIIDigit: Bool { isASCII && isNumber }
}
