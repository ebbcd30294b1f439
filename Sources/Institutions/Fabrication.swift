/// What tests made of one account at a test institution.
///
/// A test says what the bank is to say: a balance, owners, transactions, the end of the link. Whoever fetches data
/// hands it to the connector with each call, and a test connector promises to answer it instead of, or for transactions
/// beside, what it would have made up. A connector of real banks is never handed one.

public struct Fabrication: Sendable {
    /// Takes the place of the balance that is made up; nil where no test set one.
    public let balance: Balance?
    /// Take the place of the owners that are made up, none included; nil where no test set them.
    public let owners: [Owner]?
    /// The institution has ended the link: whatever is asked of the account throws `accountClosed`.
    public let isDeactivated: Bool
    /// The call at hand is to fail: it throws `invalidResponse`.
    public let fails: Bool
    private let fetch: @Sendable (_ after: Int64, _ limit: Int) async throws(ConnectorError) -> [Change]

    /// A transaction that a test made, as its last change left it.
    public struct Change: Sendable, Equatable {
        /// Counts the changes that tests made on the account, from 1. A transaction that is posted or made void gets a
        /// new number and loses its old one.
        public let number: Int64
        public let transaction: BankTransaction

        public init(number: Int64, transaction: BankTransaction) {
            self.number = number
            self.transaction = transaction
        }
    }

    /// - Parameter changes: at most `limit` changes with a number above `after`, in the order of their numbers.
    public init(
        balance: Balance?,
        owners: [Owner]?,
        isDeactivated: Bool,
        fails: Bool,
        changes: @escaping @Sendable (_ after: Int64, _ limit: Int) async throws(ConnectorError) -> [Change]
    ) {
        self.balance = balance
        self.owners = owners
        self.isDeactivated = isDeactivated
        self.fails = fails
        fetch = changes
    }

    /// The changes that came after one, fewer than `limit` at the end. A connector keeps the last number that it has
    /// answered in its cursor, 0 before the first.
    public func changes(after number: Int64, limit: Int) async throws(ConnectorError) -> [Change] {
        try await fetch(number, limit)
    }
}
