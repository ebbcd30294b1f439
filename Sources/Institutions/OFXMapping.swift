/// What OFX says in the words of the other connectors.
///
/// It promises that the same account and the same transaction get the same id from every file and answer, that an id
/// tells nothing of an account's number, and that what a bank did not say is nil and not made up. A transaction is
/// known by its FITID together with its day, its amount and its currency, for there are banks that begin to count anew
/// in every file; where a statement has several such with different words, also by how many were before it.
/// It refuses transactions without a day, an amount or a currency that can be read.

internal import FoundationEssentials
internal import Vault

extension OFXAccount {
    /// What tells this account from others of its bank, as a text that the caller turns into an id. A branch counts
    /// where there is one; dashes and spaces in a number do not.
    var key: String { key(of: type) }

    private func key(of type: String) -> String {
        let digits = number.filter { $0 != "-" && !$0.isWhitespace }
        let parts = ["ofx", kind.rawValue, bank, digits.isEmpty ? number : digits, type]
        return Words.key(branch.isEmpty ? parts : parts + [branch])
    }

    private static let types = ["CHECKING", "SAVINGS", "MONEYMRKT", "CREDITLINE", "CD"]

    /// The keys that it may have in a file that says less, and more: not every file says the type.
    var formerKeys: [String] { kind != .bank || type.isEmpty ? [] : [key(of: "")] }
    var otherKeys: [String] { kind != .bank || !type.isEmpty ? [] : Self.types.map(key(of:)) }

    /// Whether a statement of this account answers the question for another's: a bank may leave out what it was told,
    /// write zeros before a number, or hide all of it but the end.
    /// - Parameter others: all accounts that the person has there. Only where the number fits another of them do the
    ///   bank's number, the branch and the type count, which banks do not always write alike.
    func answers(for asked: OFXAccount, among others: [OFXAccount]) -> Bool {
        guard let isWhole = fits(asked) else { return false }
        let rivals = others.filter { $0 != asked && fits($0) != nil }
        guard !rivals.isEmpty else { return true }
        // Where the number is hidden, none other may fit as well.
        return agrees(with: asked) && (isWhole || !rivals.contains(where: agrees))
    }

    /// Whether the number is another's, and told as a whole; nil where it is not.
    private func fits(_ other: OFXAccount) -> Bool? {
        guard kind == other.kind else { return nil }
        let (told, wanted) = (Self.letters(number), Self.letters(other.number))
        guard told != wanted else { return true }
        let end = told.drop { "*X#".contains($0) }
        return end.count >= 4 && end.count < told.count && wanted.hasSuffix(end) ? false : nil
    }

    /// What is not told is no difference.
    private func agrees(with other: OFXAccount) -> Bool {
        [(type, other.type), (bank, other.bank), (branch, other.branch)].allSatisfy { told, wanted in
            told.isEmpty || wanted.isEmpty || told == wanted
        }
    }

    private static func letters(_ number: String) -> Substring {
        number.uppercased().filter { $0.isLetter || $0.isNumber || "*#".contains($0) }.drop { $0 == "0" }
    }

    /// - Parameters:
    ///   - description: what the bank calls the account, where it says so.
    ///   - mark: a stable, irreversible mark of a text.
    func bankAccount(
        described description: String?,
        institutionName: String?,
        mark: (String) -> String
    ) -> BankAccount {
        let (category, subcategory, isGuess, word) = meaning
        let digits = number.filter { $0.isASCII && $0.isNumber }
        let last4 = digits.count >= 4 ? String(digits.suffix(4)) : nil
        return BankAccount(
            id: mark(key),
            formerIDs: formerKeys.map(mark),
            otherIDs: otherKeys.map(mark),
            displayName: description ?? [word, last4].compactMap { $0 }.joined(separator: " "),
            last4: last4,
            category: category,
            subcategory: subcategory,
            supportsPayments: false,
            institutionName: institutionName,
            isCategoryGuessed: isGuess
        )
    }

    private var meaning: (BankAccount.Category, BankAccount.Subcategory, isGuess: Bool, word: String) {
        switch (kind, type) {
        case (.card, _): (.credit, .creditCard, false, "Credit card")
        case (.investment, _): (.investment, .other, false, "Investment")
        case (.loan, "MORTGAGE"): (.credit, .mortgage, false, "Mortgage")
        case (.loan, _): (.credit, .other, false, "Loan")
        case (.bank, "CHECKING"): (.cash, .checking, false, "Checking")
        case (.bank, "SAVINGS"): (.cash, .savings, false, "Savings")
        case (.bank, "MONEYMRKT"): (.cash, .savings, false, "Money market")
        case (.bank, "CD"): (.cash, .other, false, "Certificate of deposit")
        case (.bank, "CREDITLINE"): (.credit, .lineOfCredit, false, "Line of credit")
        case (.bank, _): (.cash, .checking, true, "Account")
        }
    }
}

extension OFXStatement {
    /// The currency of what names none, lower case.
    var usableCurrency: String? {
        guard let currency, Money.exponent(of: currency) != nil else { return nil }
        return currency.lowercased()
    }

    /// - Parameters:
    ///   - currency: where the statement names none that can be used.
    ///   - latest: when the document was made, for a bank that does not date its balance.
    ///   - owesPositive: the bank writes what is owed on a card or a line of credit without a minus.
    func balance(
        as category: BankAccount.Category,
        currency: String?,
        latest: Int64?,
        owesPositive: Bool
    ) -> Balance? {
        guard let currency = usableCurrency ?? currency, var current = current(in: currency),
            let asOf = [ledger?.asOf, self.asOf, ends].lazy.compactMap({ $0.flatMap(OFXDate.init)?.seconds }).first
                ?? latest
        else { return nil }
        // The principal of a loan is owed, whatever its sign.
        if account.kind == .loan { current = current.mapValues { -abs(max($0, -Int64.max)) } }
        if owesPositive, account.kind == .card || account.type == "CREDITLINE" {
            current = current.mapValues { -max($0, -Int64.max) }
        }
        // What is left of a card's limit is not the holder's money.
        let left = account.kind == .bank || account.kind == .investment ? available?.amount : nil
        let kind: Balance.Kind =
            category == .credit
            ? .credit(used: current)
            : .cash(available: left.flatMap { WrittenAmount.minorUnits($0, currency) }.map { [currency: $0] })
        return Balance(asOf: asOf, current: current, kind: kind)
    }

    /// What is in the account, by currency.
    /// - Parameter currency: of what names none.
    private func current(in currency: String) -> [String: Int64]? {
        guard account.kind == .investment else {
            let amount = ledger?.amount.flatMap { WrittenAmount.minorUnits($0, currency) }
            return amount.map { [currency: $0] }
        }
        // Some banks write nothing but zeros here beside positions that are worth something.
        if let total, let sum = WrittenAmount.decimal(total), sum != 0 || positions.isEmpty {
            return WrittenAmount.minorUnits(total, currency).map { [currency: $0] }
        }
        var sums = positions
        if let cash = available?.amount {
            guard let cash = WrittenAmount.decimal(cash) else { return nil }
            sums["", default: 0] += cash
        }
        guard !hasUnreadablePosition, !sums.isEmpty else { return nil }
        var current: [String: Int64] = [:]
        for (name, sum) in sums {
            let currency = name.isEmpty ? currency : name.lowercased()
            guard let amount = Money("\(sum)", currency)?.minorUnits else { return nil }
            let (total, overflows) = current[currency, default: 0].addingReportingOverflow(amount)
            guard !overflows else { return nil }
            current[currency] = total
        }
        return current
    }

    /// The last day that it can tell of.
    var lastDay: String? { ends.flatMap { OFXDate($0)?.day } }

    /// Over which moments a list of pending transactions is proof that there are no others.
    var completeWindow: Range<Int64>? {
        guard let pendingAsOf else { return nil }
        guard let end = [pendingAsOf, ends, ledger?.asOf].lazy.compactMap({ $0.flatMap(OFXDate.init) }).first else {
            return nil
        }
        return Int64(0)..<max(1, end.seconds + 1)
    }
}

/// The lists of what is pending in the statements of one account.
struct OFXPendingLists: Sendable {
    /// The places of the statements whose lists count: of each currency the newest, where none was read before that is
    /// newer.
    private(set) var places: Set<Int> = []
    /// When these were made, by currency, and of other currencies those before.
    private(set) var made: [String: Int64]
    /// Over which moments what is missing from them is gone; nil where a currency that the account has is without one.
    private(set) var window: Range<Int64>?

    /// - Parameters:
    ///   - currency: of statements that name none.
    ///   - known: what ``made`` was before.
    init(_ statements: [OFXStatement], currency: String?, after known: [String: Int64]) {
        let names = statements.map { $0.usableCurrency ?? currency ?? "" }
        let moments = statements.map { $0.completeWindow?.upperBound ?? 0 }
        var newest: [String: Int64] = [:]
        for place in statements.indices where statements[place].pendingAsOf != nil {
            newest[names[place]] = max(newest[names[place]] ?? 0, moments[place])
        }
        newest = newest.filter { $0.value >= known[$0.key] ?? 0 }
        places = Set(
            statements.indices.filter {
                statements[$0].pendingAsOf != nil && newest[names[$0]] == moments[$0]
            }
        )
        made = known.merging(newest) { _, new in new }
        let isWhole = Set(names).union(known.keys).allSatisfy { newest[$0] ?? 0 > 0 }
        window = isWhole ? newest.values.min().map { 0..<$0 } : nil
    }
}

extension Balance {
    /// What several statements say of one account: of each currency the newest. Nil where there is none.
    init?(newestOf balances: [Balance]) {
        var newest: [String: Balance] = [:]
        for balance in balances {
            for currency in balance.current.keys where newest[currency].map({ $0.asOf < balance.asOf }) ?? true {
                newest[currency] = balance
            }
        }
        guard let first = balances.first, let asOf = newest.values.map(\.asOf).max() else { return nil }
        var (current, amounts): ([String: Int64], [String: Int64]) = ([:], [:])
        for (currency, balance) in newest {
            current[currency] = balance.current[currency]
            amounts[currency] = balance.kind.amounts?[currency]
        }
        let told = amounts.isEmpty ? nil : amounts
        if case .credit = first.kind {
            self.init(asOf: asOf, current: current, kind: .credit(used: told))
        } else {
            self.init(asOf: asOf, current: current, kind: .cash(available: told))
        }
    }
}

extension Balance.Kind {
    fileprivate var amounts: [String: Int64]? {
        switch self {
        case .cash(let amounts), .credit(let amounts): amounts
        }
    }
}

extension OFXTransaction {
    /// What can be read of it: nil without a day, an amount and a currency.
    struct Readable: Sendable {
        let day: OFXDate
        let happened: OFXDate
        let amount: Int64
        let currency: String

        /// Of one that was posted and has a FITID. A correction is another than what was told as it is now.
        func id(_ fitid: String, isCorrection: Bool = false) -> String {
            "\(fitid)|\(day.day)|\(amount)|\(currency)" + (isCorrection ? "|c" : "")
        }
    }

    /// - Parameter currency: of an amount that names none.
    func readable(in currency: String?) -> Readable? {
        guard let currency = usableCurrency ?? currency, let amount,
            let minorUnits = WrittenAmount.minorUnits(amount, currency),
            let day
        else { return nil }
        return Readable(
            day: day,
            happened: user.flatMap(OFXDate.init) ?? day,
            amount: minorUnits,
            currency: currency
        )
    }

    /// When it was posted, or is to be.
    var day: OFXDate? { [posted, user, available].lazy.compactMap { $0.flatMap(OFXDate.init) }.first }

    var usableCurrency: String? {
        guard let currency, Money.exponent(of: currency) != nil else { return nil }
        return currency.lowercased()
    }

    /// The day and the currency in an id that ``Readable/id(_:isCorrection:)`` made of a FITID; nil for any other id.
    static func parts(of id: String, fitid: String) -> (day: String, currency: String)? {
        guard id.hasPrefix("\(fitid)|") else { return nil }
        let rest = id.dropFirst(fitid.count + 1).split(separator: "|", omittingEmptySubsequences: false)
        guard (3...4).contains(rest.count), rest[0].utf8.count == 8, rest[..<2].allSatisfy({ Int64($0) != nil }) else {
            return nil
        }
        return (String(rest[0]), String(rest[2]))
    }

    var description: String {
        let words = [name, payee, extendedName, memo, type].lazy.compactMap { $0 }.first
        return words ?? checkNumber.map { "Check \($0)" } ?? "Transaction"
    }

    /// What tells it from others where the bank has no name for it. Of long words there is a digest.
    fileprivate var words: String {
        let words = [checkNumber, reference, description].compactMap { $0 }.joined(separator: "|")
        return words.utf8.count <= 400 ? words : "#" + Secret.base64URL(Secret.digest(words))
    }

    /// What it is called as long as it is pending; the transaction that it becomes has the same reference.
    fileprivate var pendingID: String? { reference.map { "pending|\($0)" } }

    /// What a deletion is called, which is no transaction itself.
    var deletionID: String {
        "deletion|"
            + Secret.base64URL(Secret.digest(Words.key([fitid, correctedFITID, posted, amount].map { $0 ?? "" })))
    }
}

/// Names the transactions of one account in the order in which they stand, and so tells apart those that are alike.
struct OFXNaming: Sendable {
    /// How many there were that are alike in all, by what they are called.
    private var counts: [String: Int] = [:]
    /// The words of those that have one name of the bank.
    private var words: [String: [String]] = [:]

    /// - Parameters:
    ///   - id: what ``identify(_:_:)`` says.
    ///   - corrected: what it corrects.
    static func transaction(
        _ raw: OFXTransaction,
        _ readable: OFXTransaction.Readable,
        id: String,
        correcting corrected: OFXCorrections.Chain
    ) -> BankTransaction {
        // The bank may tell it without saying that it corrects something.
        let plain = raw.correctedFITID == nil ? nil : raw.fitid.map { readable.id($0) }
        return BankTransaction(
            id: id,
            replaces: raw.isPending ? nil : raw.pendingID,
            corrects: corrected.ids + [plain].compactMap { $0 },
            amount: readable.amount,
            currency: readable.currency,
            description: raw.description,
            status: raw.isPending ? .pending : .posted,
            transactedAt: readable.happened.seconds,
            settledAt: raw.isPending ? nil : readable.day.seconds
        )
    }

    mutating func identify(_ raw: OFXTransaction, _ readable: OFXTransaction.Readable) -> String {
        if raw.isPending, let id = raw.pendingID { return numbered(id) }
        if !raw.isPending, let fitid = raw.fitid {
            guard raw.correctedFITID == nil else { return readable.id(fitid, isCorrection: true) }
            return told(readable.id(fitid), raw)
        }
        let kind = raw.isPending ? "pending" : "posted"
        return numbered("\(kind)|\(readable.day.day)|\(readable.amount)|\(readable.currency)|\(raw.words)")
    }

    private mutating func numbered(_ id: String) -> String {
        let count = counts[id, default: 0] + 1
        counts[id] = count
        return count == 1 ? id : "\(id)|\(count)"
    }

    /// The same once more says the same, unless its words are others: there are banks that give many one FITID.
    private mutating func told(_ id: String, _ raw: OFXTransaction) -> String {
        let (known, own) = (words[id] ?? [], raw.words)
        let place = known.firstIndex(of: own) ?? known.count
        if place == known.count { words[id] = known + [own] }
        return place == 0 ? id : "\(id)|\(place + 1)"
    }
}
