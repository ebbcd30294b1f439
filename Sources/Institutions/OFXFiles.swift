/// OFX files as an institution: the sign-in is a file that the person gives, and a refresh answers from the newest one.
///
/// It promises that giving a newer file brings the same accounts with what is new in them, that a file of any size is
/// read with the same little memory, and that a file that cannot be read is refused with the line and the reason. It
/// never guesses a transaction: one without a readable day, amount or currency is left out, and the person is asked
/// first whether to go on without it. It tells neither owners nor account numbers.

public struct OFXFiles: BalanceProviding, TransactionProviding {
    public let isTest = false
    public let institutions: [Institution]
    public let policy = RefreshPolicy(interval: 60, concurrency: 4, dailyBudget: nil)

    private let currency: String?
    private let owesPositive: Bool
    private let mark: @Sendable (String) -> String

    public static let standard = Institution(
        id: "fcinst_OFXfileUpload1",
        name: "OFX file",
        domain: "OFX, QFX or QBO",
        featured: false,
        countries: []
    )

    /// Whether the files may be of any bank; where not, the institution's own name is the bank's.
    private var isOfAnyBank: Bool { institutions == [Self.standard] }

    /// - Parameters:
    ///   - currency: ISO 4217, of files that name none.
    ///   - owesPositive: the bank writes what is owed on a card or a line of credit without a minus.
    ///   - mark: a stable, irreversible mark of a text, for the ids of accounts.
    public init(
        _ institution: Institution = standard,
        currency: String? = nil,
        owesPositive: Bool = false,
        mark: @escaping @Sendable (String) -> String
    ) {
        institutions = [institution]
        self.currency = currency?.lowercased()
        self.owesPositive = owesPositive
        self.mark = mark
    }

    // MARK: Sign-in

    /// The note of the form that asks for the file; any other is that of a file that was given.
    private static let asking = Array("file".utf8)

    public func begin(_ attempt: Attempt) async throws(ConnectorError) -> Step {
        ask(nil, isRelink: attempt.isRelink)
    }

    public func resume(
        _ attempt: Attempt,
        from resume: [UInt8],
        _ response: Response
    ) async throws(ConnectorError) -> Step {
        switch response {
        case .file(let upload, let answers):
            guard resume == Self.asking else { throw .invalidResponse }
            switch try await OFXIndex.make(upload, currency: currency) {
            case .failure(let fault): return ask(fault.message, isRelink: attempt.isRelink)
            case .success(var index):
                let name = (answers["bank"] ?? "").split { $0.isWhitespace }.joined(separator: " ")
                index.bankName = name.isEmpty ? nil : String(name.prefix(100))
                return index.unreadable == 0 ? .authorized(credential: index.bytes) : confirm(index)
            }
        case .answers:
            if resume == Self.asking { return ask("Choose a file.", isRelink: attempt.isRelink) }
            guard OFXIndex(bytes: resume) != nil else { throw .invalidResponse }
            return .authorized(credential: resume)
        case .returned, .poll:
            throw .invalidResponse
        }
    }

    private func ask(_ error: String?, isRelink: Bool) -> Step {
        var fields = [Prompt.Field(name: "file", label: "OFX, QFX or QBO file", kind: .file)]
        if isOfAnyBank {
            fields.append(.init(name: "bank", label: "Name of your bank (optional)", kind: .text, isRequired: false))
        }
        let prompt = Prompt(
            title: isRelink ? "Give a newer file" : "Give a file from your bank",
            message:
                "In your bank's online banking, download the transactions of your account for Quicken or QuickBooks: "
                + "a file that ends in .ofx, .qfx or .qbo.",
            fields: fields,
            error: error,
            submitLabel: "Read the file"
        )
        return .prompt(prompt, resume: Self.asking)
    }

    /// Nothing is left out behind the person's back.
    private func confirm(_ index: OFXIndex) -> Step {
        let count = index.unreadable
        let lines = index.unreadableLines.map(String.init).joined(separator: ", ")
        let more = count > index.unreadableLines.count ? " and more" : ""
        let have = (index.transactions == 1 ? "transaction" : "transactions") + (count == 1 ? " has" : " have")
        let prompt = Prompt(
            title: "Some transactions cannot be read",
            message: "\(count) of \(index.transactions) \(have) no day, amount or currency that can be read "
                + "(line \(lines)\(more)). You can go on without \(count == 1 ? "it" : "them").",
            fields: [],
            submitLabel: "Go on without \(count == 1 ? "it" : "them")"
        )
        return .prompt(prompt, resume: index.bytes)
    }

    // MARK: Data

    public func accounts(_ access: Access) async throws(ConnectorError) -> [BankAccount] {
        let index = try index(access)
        let name = isOfAnyBank ? index.bankName ?? index.organization : nil
        return index.accounts.map {
            $0.account.bankAccount(described: $0.description, institutionName: name, mark: mark)
        }
    }

    public func balance(
        of account: BankAccount.Reference,
        _ access: Access
    ) async throws(ConnectorError) -> Balance {
        let index = try index(access)
        let balances = try statements(of: account, index).map {
            $0.balance(
                as: account.category,
                currency: currency,
                latest: index.serverTime,
                owesPositive: owesPositive
            )
        }
        guard let balance = Balance(newestOf: balances.compactMap { $0 }) else { throw .unsupported }
        return balance
    }

    public func transactions(
        of account: BankAccount.Reference,
        after cursor: [UInt8]?,
        _ access: Access
    ) async throws(ConnectorError) -> TransactionPage {
        let index = try index(access)
        let statements = try statements(of: account, index)
        guard let upload = access.upload else { throw .invalidResponse }
        var pages = OFXPages(statements, index, upload, currency: currency, known: access.known)
        return try await pages.page(after: cursor, of: access.refreshNumber)
    }

    private func index(_ access: Access) throws(ConnectorError) -> OFXIndex {
        guard let index = OFXIndex(bytes: access.credential) else { throw .invalidResponse }
        return index
    }

    private func statements(
        of account: BankAccount.Reference,
        _ index: OFXIndex
    ) throws(ConnectorError) -> [OFXStatement] {
        let accounts = index.accounts.map(\.account)
        // A file that says less may be of an account that was told by more.
        let vague = accounts.filter { $0.otherKeys.contains { mark($0) == account.id } }
        guard let found = accounts.first(where: { mark($0.key) == account.id }) ?? (vague.count == 1 ? vague[0] : nil)
        else { throw .accountClosed }
        return index.statements.filter { $0.account.key == found.key }
    }
}
