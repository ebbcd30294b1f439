/// What a bank connector must do.
///
/// A connector turns one protocol (or, for ``Sandbox``, one fiction) into institutions, a sign-in and accounts. It
/// never sees the database, the session or the merchant: it is handed an ``Attempt``, answers with a ``Step`` and in
/// the end gives a credential, which the caller seals, stores and hands back. It keeps no state between calls, so any
/// server of several can carry on what another began.

/// A bank as a person finds it in the search field.
public struct Institution: Sendable, Hashable {
    /// Stable, unique over all connectors: `fcinst_` and 14 letters or digits.
    public let id: String
    public let name: String
    /// The address people know the bank by, without a scheme: `test.bank.example`.
    public let domain: String
    /// Shown before anything is typed; the others are found by search.
    public let featured: Bool
    /// ISO 3166-1 alpha-2 codes, upper case, of the countries whose people bank there.
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

    public init(institution: Institution, holder: String, now: Int64, isRelink: Bool) {
        self.institution = institution
        self.holder = holder
        self.now = now
        self.isRelink = isRelink
    }
}

/// What the person is asked next, or what came of it.
public enum Step: Sendable, Equatable {
    /// A form to fill in. `resume` is the connector's own note, opaque to all others, handed back with the answers.
    case prompt(Prompt, resume: [UInt8])
    /// The person is signed in. The credential is secret: it is sealed before it is stored.
    case authorized(credential: [UInt8])
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
            case text, password, choice
        }

        public let name: String
        public let label: String
        public let kind: Kind
        /// The choices of a `choice`, as value and label; empty for the other kinds.
        public let options: [Option]

        public init(name: String, label: String, kind: Kind, options: [Option] = []) {
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
    public enum Category: String, Sendable {
        case cash, credit, investment, other
    }

    public enum Subcategory: String, Sendable {
        case checking, savings, mortgage, lineOfCredit = "line_of_credit", creditCard = "credit_card", other
    }

    /// The institution's own name for the account, unique there and stable over sign-ins.
    public let id: String
    public let displayName: String
    /// Four digits, or nil where the institution gives none.
    public let last4: String?
    public let category: Category
    public let subcategory: Subcategory
    /// Whether account numbers for ACH can be had: only then can a `us_bank_account` be made from it.
    public let supportsPayments: Bool
    public let numbers: [Numbers]
    /// When the institution has said that it will end the consent, seconds since the Unix epoch.
    public let expectedDeactivation: Int64?
    /// The institution closes the link right after it was made.
    public let closesAfterLinking: Bool

    public init(
        id: String,
        displayName: String,
        last4: String?,
        category: Category,
        subcategory: Subcategory,
        supportsPayments: Bool,
        numbers: [Numbers] = [],
        expectedDeactivation: Int64? = nil,
        closesAfterLinking: Bool = false
    ) {
        self.id = id
        self.displayName = displayName
        self.last4 = last4
        self.category = category
        self.subcategory = subcategory
        self.supportsPayments = supportsPayments
        self.numbers = numbers
        self.expectedDeactivation = expectedDeactivation
        self.closesAfterLinking = closesAfterLinking
    }

    /// What is told of an account number; the digits themselves never are.
    public struct Numbers: Sendable, Equatable {
        public enum Identifier: String, Sendable {
            case accountNumber = "account_number"
            case tokenizedAccountNumber = "tokenized_account_number"
        }

        public enum Status: String, Sendable {
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

/// Why an institution did not do what was asked.
public enum ConnectorError: Error, Equatable {
    /// Down. `until` is when it expects to be back (seconds since the Unix epoch), nil where it did not say.
    case institutionUnavailable(until: Int64?)
    /// The institution refused the sign-in and will hear no second answer.
    case authorizationFailed
    /// An answer that breaks the protocol, or a failure without a name.
    case invalidResponse
}

/// The seam between Linkspan and the banks. Conformers: ``Sandbox``; each protocol that banks speak gets one.
public protocol Connector: Sendable {
    /// Whether its institutions are fictions: they are offered in test mode alone.
    var isTest: Bool { get }

    /// Every institution that this connector reaches.
    var institutions: [Institution] { get }

    /// Starts a sign-in.
    func begin(_ attempt: Attempt) async throws(ConnectorError) -> Step

    /// Carries a sign-in on with what the person filled in, by field name.
    func resume(
        _ attempt: Attempt,
        from resume: [UInt8],
        answers: [String: String]
    ) async throws(ConnectorError) -> Step

    /// The accounts that the credential opens, in the order in which the institution shows them.
    func accounts(_ attempt: Attempt, credential: [UInt8]) async throws(ConnectorError) -> [BankAccount]
}
