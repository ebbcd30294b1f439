/// The test institutions: banks that exist only here, for trying an integration without a bank, a network or chance.
///
/// It promises that all that it answers follows from the institution, the holder, the time and what was typed: two
/// servers, or two runs, answer the same bytes. It refuses institutions, resume notes and credentials that are not its
/// own (`invalidResponse`). It never keeps or echoes what a person typed. What tests made of an account takes the place
/// of what would be made up, or stands beside it. What the sign-in asks is in `SandboxSignIn.swift`, which accounts
/// there are and whose in `SandboxAccounts.swift`, what happens on them in `TypicalAccount.swift`.

/// The connector of the test institutions, which carry the names that Stripe's test mode uses.
public struct Sandbox: Connector {
    public var isTest: Bool { true }

    /// No form: straight to the accounts.
    public static let testNonOAuth = institution(
        "fcinst_Qn1a7A4KhL42se",
        "Test (Non-OAuth)",
        "test.bank.example"
    )

    /// Asks for a user name and a password and takes any. Typed as the password, or into a text field that follows,
    /// these lead elsewhere (upper and lower case are alike): `options` to a choice, `mfa` to a one-time code,
    /// `confirm_mfa` to a choice of where the code goes and then to the code, `security_question` to a question;
    /// `error` ends the sign-in (`authorizationFailed`), `incorrect` asks the same again.
    public static let bankNonOAuth = institution(
        "fcinst_Qn1aVTBBJ4ubmQ",
        "Bank (Non-OAuth)",
        "sign-in.bank.example"
    )

    /// Accounts that differ in what is known of their owners, and say so in their names.
    public static let ownershipAccounts = institution(
        "fcinst_Qn1aly9zRRkWP1",
        "Ownership Accounts",
        "ownership.bank.example"
    )

    /// Accounts of which none supports payments, not even the checking account.
    public static let invalidPaymentAccounts = institution(
        "fcinst_Qn1aporTsLJQH4",
        "Invalid Payment Accounts",
        "invalid-payments.bank.example"
    )

    /// Down, and back three hours after the next full hour.
    public static let downScheduled = institution(
        "fcinst_Qn1aDs4Wk7Tb2m",
        "Down (Scheduled)",
        "scheduled.down.bank.example"
    )

    /// Down, with no word of when it will be back.
    public static let downUnscheduled = institution(
        "fcinst_Qn1a8Ynz2Il9zF",
        "Down (Unscheduled)",
        "unscheduled.down.bank.example"
    )

    /// Fails without saying why: `invalidResponse`.
    public static let downError = institution(
        "fcinst_Qn1aOU8Z6Qsvpn",
        "Down (Error)",
        "error.down.bank.example"
    )

    /// Gives tokenized account numbers: of `Expired` the number is deactivated, that of `Eventually Expiring` lapses 30
    /// days after linking, that of `Immediately Expiring` at once. All three support payments, as the account does and
    /// only its number ends; the status of the number tells whether it works.
    public static let tokenizedAccountNumber = institution(
        "fcinst_Qn1aTk9Rz3Lw6x",
        "Tokenized Account Number",
        "tokenized.bank.example",
        featured: false
    )

    /// Every account closes its link right after it was made.
    public static let inactiveAccounts = institution(
        "fcinst_Qn1aNa5Vc8Hd1p",
        "Inactive Accounts",
        "inactive.bank.example",
        featured: false
    )

    /// Announces the end of a relinked consent one day ahead. The first link has no announced end: Stripe documents the
    /// date for the relink alone, and so a holder can be taken through both.
    public static let immediatelyRequiresReauthentication = institution(
        "fcinst_Qn1aMr6Gf2Jy4q",
        "Immediately Requires Reauthentication",
        "immediate.reauthentication.bank.example",
        featured: false
    )

    /// Announces the end of every consent, first or relinked, 30 days ahead.
    public static let eventuallyRequiresReauthentication = institution(
        "fcinst_Qn1aEv7Bn5Xs8t",
        "Eventually Requires Reauthentication",
        "eventual.reauthentication.bank.example",
        featured: false
    )

    /// The featured ones first, in the order in which they are shown.
    public let institutions = [
        testNonOAuth, bankNonOAuth, ownershipAccounts, invalidPaymentAccounts,
        downScheduled, downUnscheduled, downError,
        tokenizedAccountNumber, inactiveAccounts,
        immediatelyRequiresReauthentication, eventuallyRequiresReauthentication,
    ]

    public let policy = RefreshPolicy(interval: 1, concurrency: 64, dailyBudget: nil)

    public init() {}

    /// A form at ``bankNonOAuth``, signed in at once at the others.
    ///
    /// Throws `institutionUnavailable` at the two institutions that are down, `invalidResponse` at ``downError`` and at
    /// an institution that is not among ``institutions``.
    public func begin(_ attempt: Attempt) async throws(ConnectorError) -> Step {
        try reach(attempt.institution, at: attempt.now)
        guard institutions.contains(where: { $0.id == attempt.institution.id }) else { throw .invalidResponse }
        return attempt.institution.id == Self.bankNonOAuth.id
            ? SandboxSignIn.userAndPassword.ask() : authorized(attempt)
    }

    /// The next form, the same form with its `error` set, or signed in.
    ///
    /// A missing or blank answer, and a choice that was not offered, bring the same form back with an error that names
    /// the field. Throws `authorizationFailed` when `error` was typed, `invalidResponse` for a note that this
    /// institution did not give.
    public func resume(
        _ attempt: Attempt,
        from resume: [UInt8],
        _ response: Response
    ) async throws(ConnectorError) -> Step {
        guard attempt.institution.id == Self.bankNonOAuth.id, let step = SandboxSignIn(note: resume),
            case .answers(let answers) = response
        else { throw .invalidResponse }
        return try step.answered(answers) ?? authorized(attempt)
    }

    /// The accounts of this holder at this institution; times in them count from the sign-in.
    ///
    /// Throws as ``begin(_:)`` does, `invalidResponse` for a credential that was not given to this holder here, and
    /// `relinkRequired` once the consent has run out.
    public func accounts(_ access: Access) async throws(ConnectorError) -> [BankAccount] {
        try open(access).all()
    }

    /// The word that begins the credentials.
    private static let kind = "sandbox"

    private func authorized(_ attempt: Attempt) -> Step {
        .authorized(credential: TestCredential(attempt, kind: Self.kind).bytes)
    }

    private func open(_ access: Access) throws(ConnectorError) -> SandboxAccounts {
        try reach(access.institution, at: access.now)
        guard let credential = TestCredential(access.credential, access, kind: Self.kind)
        else { throw .invalidResponse }
        let accounts = SandboxAccounts(access: access, credential: credential)
        if let expiry = accounts.consentExpiry, access.now >= expiry { throw .relinkRequired }
        return accounts
    }

    private func reach(_ institution: Institution, at now: Int64) throws(ConnectorError) {
        let hour: Int64 = 3600
        switch institution.id {
        case Self.downScheduled.id:
            let nextFullHour = (now + hour - 1) / hour * hour
            throw .institutionUnavailable(until: nextFullHour + 3 * hour)
        case Self.downUnscheduled.id: throw .institutionUnavailable(until: nil)
        case Self.downError.id: throw .invalidResponse
        default: return
        }
    }

    private static func institution(
        _ id: String,
        _ name: String,
        _ domain: String,
        featured: Bool = true
    ) -> Institution {
        Institution(id: id, name: name, domain: domain, featured: featured, countries: ["US"])
    }
}

/// What is fetched of a linked account. Each throws as ``Sandbox/accounts(_:)`` does, and `accountClosed` for an
/// account that the holder does not have there.
extension Sandbox: BalanceProviding, OwnershipProviding, TransactionProviding, ConsentKeeping {
    public func balance(of account: BankAccount.Reference, _ access: Access) async throws(ConnectorError) -> Balance {
        let (_, found) = try open(account, access)
        return access.fabrication?.balance ?? TypicalAccount(found).balance(at: access.now)
    }

    public func owners(of account: BankAccount.Reference, _ access: Access) async throws(ConnectorError) -> [Owner] {
        let (accounts, found) = try open(account, access)
        return access.fabrication?.owners ?? accounts.owners(of: found)
    }

    public func transactions(
        of account: BankAccount.Reference,
        after cursor: [UInt8]?,
        _ access: Access
    ) async throws(ConnectorError) -> TransactionPage {
        let (_, found) = try open(account, access)
        return try await TypicalAccount(found).activity.page(after: cursor, access)
    }

    /// A day after a relink at ``immediatelyRequiresReauthentication``, thirty days after the sign-in at
    /// ``eventuallyRequiresReauthentication``.
    public func consentExpiry(_ access: Access) async throws(ConnectorError) -> Int64? {
        try open(access).consentExpiry
    }

    /// Has no effect: nobody is there to forget.
    public func revoke(_ access: Access) async throws(ConnectorError) {
        _ = try open(access)
    }

    private func open(
        _ account: BankAccount.Reference,
        _ access: Access
    ) throws(ConnectorError) -> (SandboxAccounts, BankAccount) {
        try access.checkFabrication()
        let accounts = try open(access)
        guard let found = try accounts.all().first(where: { $0.id == account.id }) else { throw .accountClosed }
        return (accounts, found)
    }
}
