/// What an institution tells of an account when its data is fetched: balances, owners and transactions.
///
/// Amounts are whole minor units of their currency: `-1250` of `usd` is 12 dollars 50 owed or paid by the holder.
/// Currencies are ISO 4217 codes in lower case. Times are seconds since the Unix epoch.

extension BankAccount {
    /// An account that was linked, as its data is asked for.
    public struct Reference: Sendable, Hashable {
        /// ``BankAccount/id``.
        public let id: String
        public let category: Category
        public let subcategory: Subcategory

        public init(id: String, category: Category, subcategory: Subcategory) {
            self.id = id
            self.category = category
            self.subcategory = subcategory
        }
    }
}

/// Positive amounts are owed to the holder, negative ones by the holder: the debt of a card is negative.
public struct Balance: Sendable, Equatable {
    public enum Kind: Sendable, Equatable {
        /// What the holder may dispose of, where the institution tells.
        case cash(available: [String: Int64]?)
        /// The credit in use, where the institution tells.
        case credit(used: [String: Int64]?)
    }

    /// When the institution reckoned it.
    public let asOf: Int64
    public let current: [String: Int64]
    public let kind: Kind

    public init(asOf: Int64, current: [String: Int64], kind: Kind) {
        self.asOf = asOf
        self.current = current
        self.kind = kind
    }
}

public struct Owner: Sendable, Equatable {
    public let name: String
    public let email: String?
    public let phone: String?
    /// One line, its parts joined by commas.
    public let address: String?

    public init(name: String, email: String?, phone: String?, address: String?) {
        self.name = Words.tidy(name)
        self.email = email.map(Words.tidy)
        self.phone = phone.map(Words.tidy)
        self.address = address.map(Words.tidy)
    }
}

public struct BankTransaction: Sendable, Equatable {
    public enum Status: String, Sendable {
        case pending, posted, void
    }

    /// The institution's own name for it, unique on the account.
    public let id: String
    /// The pending transaction, by its `id`, that this one takes the place of; nil where it has no forerunner or keeps
    /// the forerunner's id. One that is posted by then stays as it is.
    public let replaces: String?
    /// Ids of transactions that the institution says were wrong: whatever they are, this takes their place, and what is
    /// told under these ids later does not count. Ids of corrections that were corrected themselves may be among them.
    /// Of several corrections of one the last counts, by when they were settled.
    public let corrects: [String]
    /// Negative for money that left the account.
    public let amount: Int64
    public let currency: String
    public let description: String
    public let status: Status
    public let transactedAt: Int64
    /// When it was posted or became void; nil while it is pending.
    public let settledAt: Int64?

    public init(
        id: String,
        replaces: String? = nil,
        corrects: [String] = [],
        amount: Int64,
        currency: String,
        description: String,
        status: Status,
        transactedAt: Int64,
        settledAt: Int64?
    ) {
        self.id = id
        self.replaces = replaces
        self.corrects = corrects
        self.amount = amount
        self.currency = currency
        self.description = Words.tidy(description)
        self.status = status
        self.transactedAt = transactedAt
        self.settledAt = settledAt
    }

    /// Whether it can be told from others; what cannot is left out.
    public var isNamed: Bool { Words.isID(id) }
}

public struct TransactionPage: Sendable, Equatable {
    /// A correction that takes transactions back for good: they become void, and what is told under their ids later, by
    /// an older file or a narrower answer, does not count.
    public struct Retraction: Sendable, Equatable {
        /// The institution's own name for it, unique on the account: it is carried out once.
        public let id: String
        public let retracts: [String]
        /// When the institution said so. A correction that it made later counts more.
        public let at: Int64

        public init(id: String, retracts: [String], at: Int64) {
            self.id = id
            self.retracts = retracts
            self.at = at
        }

        /// Whether it can be told from others; what cannot is left out.
        public var isNamed: Bool { Words.isID(id) }
    }

    /// New ones and known ones; those that did not change do no harm.
    public let transactions: [BankTransaction]
    /// Ids of transactions that the institution took back: they become void. One that is told again is there again.
    public let removed: [String]
    /// What the institution says should never have been told.
    public let retractions: [Retraction]
    /// How many more there were that could not be read, for the log.
    public let unreadable: Int
    /// The connector's own note of how far it is, opaque to all others; handed back for the next page or refresh.
    public let cursor: [UInt8]
    public let hasMore: Bool
    /// Set on the last page by a connector that reads date windows: between these moments of `transactedAt`, what this
    /// refresh did not bring no longer exists. A pending transaction in it that was not seen again becomes void.
    public let completeWindow: Range<Int64>?

    public init(
        transactions: [BankTransaction],
        removed: [String] = [],
        retractions: [Retraction] = [],
        unreadable: Int = 0,
        cursor: [UInt8],
        hasMore: Bool,
        completeWindow: Range<Int64>? = nil
    ) {
        self.transactions = transactions
        self.removed = removed
        self.retractions = retractions
        self.unreadable = unreadable
        self.cursor = cursor
        self.hasMore = hasMore
        self.completeWindow = completeWindow
    }
}
