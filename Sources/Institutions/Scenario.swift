/// Banks that a user described in a scenario file (`docs/scenarios.md`).
///
/// It promises that all that it answers follows from the file, the holder, the time and what was typed, as the test
/// institutions do, and that a latency waits without holding a thread. It refuses a file that is not right in every
/// detail (``FileError``).

/// The connector of the banks of one scenario file.
public struct Scenario: Connector {
    public var isTest: Bool { true }

    public let institutions: [Institution]

    public let policy = RefreshPolicy(interval: 1, concurrency: 64, dailyBudget: nil)

    private let banks: [String: ScenarioBank]
    private let sleep: @Sendable (_ milliseconds: Int64) async -> Void

    /// The word that begins the credentials.
    private static let kind = "scenario"

    /// - Parameters:
    ///   - yaml: the contents of the file.
    ///   - sleep: waits.
    public init(
        yaml: String,
        sleep: @escaping @Sendable (_ milliseconds: Int64) async -> Void
    ) throws(FileError) {
        let banks = try ScenarioFile.banks(yaml)
        institutions = banks.map(\.institution)
        self.banks = Dictionary(uniqueKeysWithValues: banks.map { ($0.institution.id, $0) })
        self.sleep = sleep
    }

    public func begin(_ attempt: Attempt) async throws(ConnectorError) -> Step {
        let bank = try await reach(attempt.institution, at: attempt.now)
        return bank.signIn?.begin(at: attempt.institution) ?? authorized(attempt)
    }

    /// Throws `invalidResponse` for a note that this bank did not give.
    public func resume(
        _ attempt: Attempt,
        from resume: [UInt8],
        _ response: Response
    ) async throws(ConnectorError) -> Step {
        let bank = try await reach(attempt.institution, at: attempt.now)
        guard case .answers(let answers) = response, let signIn = bank.signIn else { throw .invalidResponse }
        return try signIn.answered(resume, answers, at: attempt.institution) ?? authorized(attempt)
    }

    /// Throws `relinkRequired` once the consent has run out, and `invalidResponse` for a credential that was not given
    /// to this holder here.
    public func accounts(_ access: Access) async throws(ConnectorError) -> [BankAccount] {
        try await open(access).accounts.map(\.seen)
    }

    private func authorized(_ attempt: Attempt) -> Step {
        .authorized(credential: TestCredential(attempt, kind: Self.kind).bytes)
    }

    private func reach(_ institution: Institution, at now: Int64) async throws(ConnectorError) -> ScenarioBank {
        guard let bank = banks[institution.id] else { throw .invalidResponse }
        if bank.latency > 0 { await sleep(bank.latency) }
        try bank.checkOutage(at: now)
        return bank
    }

    /// What a credential opens.
    private struct Opened {
        let linked: Int64
        let expiry: Int64?
        let accounts: [(described: ScenarioAccount, seen: BankAccount)]
    }

    private func open(_ access: Access) async throws(ConnectorError) -> Opened {
        let bank = try await reach(access.institution, at: access.now)
        guard let credential = TestCredential(access.credential, access, kind: Self.kind),
            let linked = credential.linked
        else { throw .invalidResponse }
        let expiry = bank.consentExpiry(credential)
        if let expiry, access.now >= expiry { throw .relinkRequired }
        let accounts = bank.accounts.map {
            ($0, $0.seen(by: access.holder, at: bank.institution, linked: linked, until: expiry))
        }
        return Opened(linked: linked, expiry: expiry, accounts: accounts)
    }
}

/// What is fetched of a linked account. Each throws as ``Scenario/accounts(_:)`` does, `accountClosed` for an account
/// that the file does not describe, and what the file wants to fail.
extension Scenario: BalanceProviding, OwnershipProviding, TransactionProviding, ConsentKeeping {
    public func balance(of account: BankAccount.Reference, _ access: Access) async throws(ConnectorError) -> Balance {
        let (_, described, seen) = try await open(account, .balance, access)
        return access.fabrication?.balance ?? described.balance(of: seen, at: access.now)
    }

    public func owners(of account: BankAccount.Reference, _ access: Access) async throws(ConnectorError) -> [Owner] {
        let (_, described, _) = try await open(account, .ownership, access)
        return access.fabrication?.owners ?? described.owners
            ?? [TypicalAccount.person("\(access.institution.id) \(access.holder)")]
    }

    public func transactions(
        of account: BankAccount.Reference,
        after cursor: [UInt8]?,
        _ access: Access
    ) async throws(ConnectorError) -> TransactionPage {
        let (opened, described, seen) = try await open(account, .transactions, access)
        return try await described.activity(of: seen, linked: opened.linked).page(after: cursor, access)
    }

    public func consentExpiry(_ access: Access) async throws(ConnectorError) -> Int64? {
        try await open(access).expiry
    }

    /// Has no effect: nobody is there to forget.
    public func revoke(_ access: Access) async throws(ConnectorError) {
        _ = try await open(access)
    }

    private func open(
        _ account: BankAccount.Reference,
        _ feature: ScenarioAccount.Feature,
        _ access: Access
    ) async throws(ConnectorError) -> (Opened, ScenarioAccount, BankAccount) {
        try access.checkFabrication()
        let opened = try await open(access)
        guard let (described, seen) = opened.accounts.first(where: { $0.seen.id == account.id })
        else { throw .accountClosed }
        if let error = described.failures[feature]?.error(at: access.refreshNumber) { throw error }
        return (opened, described, seen)
    }
}
