/// What a bank connector must do.
///
/// A connector turns one protocol (or, for ``Sandbox``, one fiction) into institutions, a sign-in, accounts and their
/// data. It never sees the database, the session or the merchant. While a person signs in it is handed an ``Attempt``
/// and answers with a ``Step``; in the end it gives a credential, which the caller seals, stores and hands back in an
/// ``Access`` whenever data is fetched. It keeps no state between calls, so any server of several can carry on what
/// another began. What it can fetch it says by the small protocols that it conforms to.

/// A bank as a person finds it in the search field.
public struct Institution: Sendable, Hashable {
    /// Stable, unique over all connectors: `fcinst_` and 14 letters or digits.
    public let id: String
    public let name: String
    /// The address people know the bank by, without a scheme: `test.bank.example`.
    public let domain: String
    /// Shown before anything is typed; the others are found by search.
    public let featured: Bool
    /// ISO 3166-1 alpha-2 codes, upper case, of the countries whose people bank there; none where all do.
    public let countries: [String]

    public init(id: String, name: String, domain: String, featured: Bool, countries: [String]) {
        self.id = id
        self.name = name
        self.domain = domain
        self.featured = featured
        self.countries = countries
    }
}

/// One person's try at one institution.
public struct Attempt: Sendable {
    public let institution: Institution
    /// Who links, as an opaque and stable text: the same holder at the same institution sees the same accounts.
    public let holder: String
    /// Seconds since the Unix epoch.
    public let now: Int64
    /// Whether this holder linked accounts of this institution before.
    public let isRelink: Bool
    /// Where a sign-in that leaves for the institution's own pages comes back to.
    public let callback: Callback

    /// The way back from an institution's own pages.
    public struct Callback: Sendable, Hashable {
        /// The address to register as redirect URI, exact to the letter.
        public let url: String
        /// Unguessable and good for one return: the institution must hand it back as `state`.
        public let state: String

        public init(url: String, state: String) {
            self.url = url
            self.state = state
        }
    }

    public init(institution: Institution, holder: String, now: Int64, isRelink: Bool, callback: Callback) {
        self.institution = institution
        self.holder = holder
        self.now = now
        self.isRelink = isRelink
        self.callback = callback
    }
}

/// What the person is asked next, or what came of it.
public enum Step: Sendable, Equatable {
    /// A form to fill in. `resume` is the connector's own note, opaque to all others, handed back with the answers.
    case prompt(Prompt, resume: [UInt8])
    /// The person goes to a page of the institution and comes back by the attempt's ``Attempt/Callback``.
    case redirect(url: String, resume: [UInt8])
    /// The person does something elsewhere, such as in the bank's app; ask again after so many seconds.
    case wait(seconds: Int64, resume: [UInt8])
    /// The person is signed in. The credential is secret: it is sealed before it is stored.
    case authorized(credential: [UInt8])
}

/// How a step was answered.
public enum Response: Sendable {
    /// What was filled in, by field name.
    case answers([String: String])
    /// A file was given for the field of kind `file`, beside what was filled in. It stays where it is, and
    /// ``Access/upload`` gives it again for as long as the accounts are linked.
    case file(Upload, answers: [String: String])
    /// The person came back from the institution's page, with these parameters in the address; `state` was checked.
    case returned([String: String])
    /// Time passed.
    case poll
}

/// A file that a person gave, read piece by piece: it may be larger than what should be held in memory.
public struct Upload: Sendable {
    /// In bytes.
    public let size: Int
    private let fetch: @Sendable (_ offset: Int) async throws(ConnectorError) -> [UInt8]

    /// - Parameter fetch: answers some of the bytes from an offset on, and none only where the file ends.
    public init(size: Int, fetch: @escaping @Sendable (_ offset: Int) async throws(ConnectorError) -> [UInt8]) {
        self.size = size
        self.fetch = fetch
    }

    /// Some of the bytes from an offset on: none where the file ends.
    public func bytes(from offset: Int) async throws(ConnectorError) -> [UInt8] {
        offset < size ? try await fetch(offset) : []
    }
}

/// A form of the institution, drawn by the hosted flow.
public struct Prompt: Sendable, Equatable {
    public let title: String
    public let message: String?
    public let fields: [Field]
    /// Why the last answer was not taken, or nil.
    public let error: String?
    public let submitLabel: String

    public init(title: String, message: String?, fields: [Field], error: String? = nil, submitLabel: String) {
        self.title = title
        self.message = message
        self.fields = fields
        self.error = error
        self.submitLabel = submitLabel
    }

    public struct Field: Sendable, Equatable {
        public enum Kind: String, Sendable {
            case text, password, choice, file
        }

        public let name: String
        public let label: String
        public let kind: Kind
        /// The choices of a `choice`, as value and label; empty for the other kinds.
        public let options: [Option]
        /// Whether it may not be left empty.
        public let isRequired: Bool

        public init(name: String, label: String, kind: Kind, options: [Option] = [], isRequired: Bool = true) {
            self.isRequired = isRequired
            self.name = name
            self.label = label
            self.kind = kind
            self.options = options
        }
    }

    public struct Option: Sendable, Equatable {
        public let value: String
        public let label: String

        public init(value: String, label: String) {
            self.value = value
            self.label = label
        }
    }
}

/// An account as the institution describes it at the moment of linking. Balances, owners and transactions are not here:
/// they are fetched by a refresh.
public struct BankAccount: Sendable, Equatable {
    public enum Category: String, Sendable, CaseIterable {
        case cash, credit, investment, other
    }

    public enum Subcategory: String, Sendable, CaseIterable {
        case checking, savings, mortgage, lineOfCredit = "line_of_credit", creditCard = "credit_card", other
    }

    /// The institution's own name for the account, unique there and stable over sign-ins.
    public let id: String
    /// Ids by which it may have been told at an earlier sign-in that say less: the account of one of them comes back
    /// under this id, where it is the only one and none has the id.
    public internal(set) var formerIDs: [String]
    /// Ids by which it may have been told as well, which say no less: an account that has one of them keeps it, where
    /// it is the only one. The connector finds the account by each.
    public internal(set) var otherIDs: [String]
    public let displayName: String
    /// Four digits, or nil where the institution gives none.
    public let last4: String?
    public let category: Category
    public let subcategory: Subcategory
    /// Whether account numbers for ACH can be had: only then can a `us_bank_account` be made from it.
    public let supportsPayments: Bool
    public let numbers: [Numbers]
    /// The institution did not say just now which numbers there are: where the account was linked before, what was told
    /// then counts.
    public let areNumbersUnknown: Bool
    /// When the institution has said that it will end the consent, seconds since the Unix epoch.
    public let expectedDeactivation: Int64?
    /// The institution closes the link right after it was made.
    public let closesAfterLinking: Bool
    /// The bank that keeps the account, where the institution that was signed in at is a way to several; nil where it
    /// is the institution itself.
    public let institutionName: String?
    /// The category was concluded from a name or the like: the person may correct it.
    public let isCategoryGuessed: Bool
    /// Why the account cannot be linked at all, as a sentence for the person; nil where it can.
    public let refusal: String?

    public init(
        id: String,
        formerIDs: [String] = [],
        otherIDs: [String] = [],
        displayName: String,
        last4: String?,
        category: Category,
        subcategory: Subcategory,
        supportsPayments: Bool,
        numbers: [Numbers] = [],
        areNumbersUnknown: Bool = false,
        expectedDeactivation: Int64? = nil,
        closesAfterLinking: Bool = false,
        institutionName: String? = nil,
        isCategoryGuessed: Bool = false,
        refusal: String? = nil
    ) {
        self.id = id
        self.formerIDs = formerIDs
        self.otherIDs = otherIDs
        self.displayName = Words.tidy(displayName)
        self.last4 = last4
        self.category = category
        self.subcategory = subcategory
        self.supportsPayments = supportsPayments
        self.numbers = numbers
        self.areNumbersUnknown = areNumbersUnknown
        self.expectedDeactivation = expectedDeactivation
        self.closesAfterLinking = closesAfterLinking
        self.institutionName = institutionName.map(Words.tidy)
        self.isCategoryGuessed = isCategoryGuessed
        self.refusal = refusal.map(Words.tidy)
    }

    /// What is told of an account number; the digits themselves never are.
    public struct Numbers: Sendable, Equatable {
        public enum Identifier: String, Sendable, CaseIterable {
            case accountNumber = "account_number"
            case tokenizedAccountNumber = "tokenized_account_number"
        }

        public enum Status: String, Sendable, CaseIterable {
            case deactivated, expired, pending, transactable
        }

        public let identifier: Identifier
        public let status: Status
        /// Seconds since the Unix epoch, nil where the number does not expire.
        public let expectedExpiry: Int64?

        public init(identifier: Identifier, status: Status, expectedExpiry: Int64?) {
            self.identifier = identifier
            self.status = status
            self.expectedExpiry = expectedExpiry
        }
    }
}

/// What opens an institution's data, for one call of a connector.
public struct Access: Sendable {
    public let institution: Institution
    /// Who linked, as in ``Attempt/holder``.
    public let holder: String
    /// Seconds since the Unix epoch.
    public let now: Int64
    public let credential: [UInt8]
    /// Whether the person is there and waits for the answer. Some institutions want to be told.
    public let isPersonPresent: Bool
    /// What tests made of the account that is asked about; nil where they made nothing, and for every real bank.
    public let fabrication: Fabrication?
    /// Which refresh of this kind of data it is for the account, from 1; one that is tried again keeps its number. Nil
    /// where nothing is refreshed.
    public let refreshNumber: Int64?
    /// The newest file that the person gave for these accounts; nil where none was asked for.
    public let upload: Upload?
    /// Counts one request of the credential's daily budget, before it is sent; throws `rateLimited` where the budget is
    /// spent. A connector whose policy is metered calls it for each request.
    public let spend: @Sendable () async throws(ConnectorError) -> Void
    /// The names of transactions that were told of the account before, those that begin as is asked, in the order of
    /// names from the last to the first: at most ten that stand and ten that are over. For protocols that come back to
    /// a transaction by a part of its name.
    public let known: Known
    /// Renews the credential, one call at a time for all that hangs on it, over all servers.
    ///
    /// It is given a question for the institution and asks it with the credential that is stored by then; what the
    /// question answers is stored before this returns it. Where another call renewed the credential in the meantime,
    /// the question is not asked and that credential returned. A connector whose secrets change while they are used,
    /// such as refresh tokens that rotate, must get the new one in no other way. Throws what the question throws, or
    /// `superseded` where another call is at it for too long; then all is begun anew.
    public let renew: Renewal

    /// - Parameter last: where there is one, names that begin so are the last that are told.
    public typealias Known =
        @Sendable (_ beginning: String, _ last: String?) async throws(ConnectorError) -> [String]
    public typealias Renewal =
        @Sendable (
            _ ask: @escaping @Sendable (_ stored: [UInt8]) async throws(ConnectorError) -> [UInt8]
        ) async throws(ConnectorError) -> [UInt8]

    public init(
        institution: Institution,
        holder: String,
        now: Int64,
        credential: [UInt8],
        isPersonPresent: Bool = false,
        fabrication: Fabrication? = nil,
        refreshNumber: Int64? = nil,
        upload: Upload? = nil,
        spend: @escaping @Sendable () async throws(ConnectorError) -> Void = { () async throws(ConnectorError) in },
        known: @escaping Known = { _, _ async throws(ConnectorError) in [] },
        renew: @escaping Renewal
    ) {
        self.institution = institution
        self.holder = holder
        self.now = now
        self.credential = credential
        self.isPersonPresent = isPersonPresent
        self.fabrication = fabrication
        self.refreshNumber = refreshNumber
        self.upload = upload
        self.spend = spend
        self.known = known
        self.renew = renew
    }
}

/// Why an institution did not do what was asked.
public enum ConnectorError: Error, Equatable {
    /// Down. `until` is when it expects to be back (seconds since the Unix epoch), nil where it did not say.
    case institutionUnavailable(until: Int64?)
    /// No encrypted connection could be made: one side does not take the other's certificate.
    case untrusted
    /// Asked too often; `until` as above.
    case rateLimited(until: Int64?)
    /// The institution refused the sign-in and will hear no second answer.
    case authorizationFailed
    /// The person declined or turned back at the institution.
    case cancelled
    /// The link is over: the credential was refused, the consent ran out or was taken back. The person must link anew.
    case relinkRequired
    /// The same for the one account that was asked about: others that the credential opens are as good as before.
    case accountRelinkRequired
    /// The account was closed, or is no longer part of the consent.
    case accountClosed
    /// The institution did not give this kind of data for this account; it may another time. What it never gives, its
    /// connector has no protocol for.
    case unsupported
    /// The credential is being renewed, or was renewed, by another call.
    case superseded
    /// The other side answers as it does to one who is set up wrongly.
    /// - Parameter setting: the name of a setting of the connector's, to look at first.
    case misconfigured(_ setting: String)
    /// An answer that breaks the protocol, or a failure without a name.
    case invalidResponse
}

/// How often an institution may be asked for data.
public struct RefreshPolicy: Sendable, Equatable {
    /// Seconds from the start of a refresh to the next that may be asked for.
    public let interval: Int64
    /// Calls to one institution at the same time.
    public let concurrency: Int
    /// Calls for one credential within 24 hours, nil for no limit.
    public let dailyBudget: Int?
    /// Whether the connector counts what it spends of the budget itself, by ``Access/spend``, as one request may serve
    /// several calls. Otherwise each call counts as one.
    public let isMetered: Bool

    public init(interval: Int64, concurrency: Int, dailyBudget: Int?, isMetered: Bool = false) {
        self.isMetered = isMetered
        self.interval = interval
        self.concurrency = concurrency
        self.dailyBudget = dailyBudget
    }
}

/// The seam between Linkspan and the banks.
public protocol Connector: Sendable {
    /// Whether its institutions are fictions: they are offered in test mode alone.
    var isTest: Bool { get }

    /// Every institution that this connector reaches.
    var institutions: [Institution] { get }

    var policy: RefreshPolicy { get }

    /// Starts a sign-in.
    func begin(_ attempt: Attempt) async throws(ConnectorError) -> Step

    /// Carries a sign-in on.
    /// - Parameter resume: the note of the step that is answered.
    func resume(
        _ attempt: Attempt,
        from resume: [UInt8],
        _ response: Response
    ) async throws(ConnectorError) -> Step

    /// The accounts that the credential opens, in the order in which the institution shows them.
    func accounts(_ access: Access) async throws(ConnectorError) -> [BankAccount]
}

extension Connector {
    /// The accounts that can be told from others by their ids; those that cannot are left out. A former or exacter id
    /// that may be several accounts', or is another's now, is none.
    public func namedAccounts(_ access: Access) async throws(ConnectorError) -> [BankAccount] {
        var accounts = try await accounts(access).filter { Words.isID($0.id) }
        var counts: [String: Int] = [:]
        for id in accounts.flatMap({ Set($0.formerIDs + $0.otherIDs + [$0.id]) }) { counts[id, default: 0] += 1 }
        for index in accounts.indices {
            accounts[index].formerIDs.removeAll { counts[$0] != 1 }
            accounts[index].otherIDs.removeAll { counts[$0] != 1 }
        }
        return accounts
    }
}

/// A connector whose institutions tell balances.
public protocol BalanceProviding: Connector {
    /// - Parameter account: ``BankAccount/id``.
    func balance(of account: BankAccount.Reference, _ access: Access) async throws(ConnectorError) -> Balance
}

/// A connector whose institutions tell who owns an account.
public protocol OwnershipProviding: Connector {
    func owners(of account: BankAccount.Reference, _ access: Access) async throws(ConnectorError) -> [Owner]
}

/// A connector whose institutions tell what happened on an account.
public protocol TransactionProviding: Connector {
    /// One page of what changed since the refresh that ended with `cursor`.
    /// - Parameter cursor: the last page's ``TransactionPage/cursor``; nil for the first page ever, which begins 180
    ///   days back or where the institution's memory ends.
    func transactions(
        of account: BankAccount.Reference,
        after cursor: [UInt8]?,
        _ access: Access
    ) async throws(ConnectorError) -> TransactionPage
}

/// A connector whose institutions keep a consent that ends, or that can be taken back.
public protocol ConsentKeeping: Connector {
    /// When the institution will end the consent, seconds since the Unix epoch; nil where it has no end.
    func consentExpiry(_ access: Access) async throws(ConnectorError) -> Int64?

    /// Tells the institution that the consent is no longer needed.
    func revoke(_ access: Access) async throws(ConnectorError)
}
