/// What OFX says in the words of the other connectors.
///
/// It promises that the same account and the same transaction get the same id from every file and answer, that an id
/// tells nothing of an account's number, and that what a bank did not say is nil and not made up. A transaction is
/// known by its FITID together with its day and its amount, for there are banks that begin to count anew in every file.
/// It refuses transactions without a day, an amount or a currency that can be read.

internal import FoundationEssentials

extension OFXAccount {
    /// What tells this account from others of its bank, as a text that the caller turns into an id.
    var key: String { Words.key(["ofx", kind.rawValue, bank, number, type]) }

    /// Whether a statement of this account answers the question for another's: a bank may leave out what it was told,
    /// write zeros before a number, or hide all of it but the end.
    /// - Parameter others: all accounts that the person has there. Only where another has the same number do the bank's
    ///   number and the type count, which banks do not always write alike.
    func answers(for asked: OFXAccount, among others: [OFXAccount]) -> Bool {
        func agree(_ told: String, _ wanted: String) -> Bool { told.isEmpty || wanted.isEmpty || told == wanted }
        let isAlone = others.count { $0.kind == asked.kind && $0.number == asked.number } <= 1
        guard kind == asked.kind, isAlone || agree(type, asked.type) && agree(bank, asked.bank) else { return false }
        let (told, wanted) = (Self.letters(number), Self.letters(asked.number))
        guard told != wanted else { return true }
        let end = told.drop { "*X#".contains($0) }
        return end.count >= 4 && end.count < told.count && wanted.hasSuffix(end)
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

        /// Of one that was posted and has a FITID.
        func id(_ fitid: String) -> String { "\(fitid)|\(day.day)|\(amount)" }
    }

    /// - Parameter currency: of an amount that names none.
    func readable(in currency: String?) -> Readable? {
        guard let currency = usableCurrency ?? currency, let amount,
            let minorUnits = WrittenAmount.minorUnits(amount, currency),
            let day = [posted, user, available].lazy.compactMap({ $0.flatMap(OFXDate.init) }).first
        else { return nil }
        return Readable(
            day: day,
            happened: user.flatMap(OFXDate.init) ?? day,
            amount: minorUnits,
            currency: currency
        )
    }

    var usableCurrency: String? {
        guard let currency, Money.exponent(of: currency) != nil else { return nil }
        return currency.lowercased()
    }

    /// The day in an id that ``Readable/id(_:)`` made of a FITID; nil for any other id.
    static func day(of id: String, fitid: String) -> String? {
        guard id.hasPrefix("\(fitid)|") else { return nil }
        let rest = id.dropFirst(fitid.count + 1).split(separator: "|", omittingEmptySubsequences: false)
        guard rest.count == 2, rest[0].utf8.count == 8, rest.allSatisfy({ Int64($0) != nil }) else { return nil }
        return String(rest[0])
    }

    /// Whether another transaction can correct it. One that names itself means the one that had its name before.
    var mayBeCorrected: Bool { !isPending && !isDeletion && (fitid == nil || fitid != correctedFITID) }

    fileprivate var description: String {
        let words = [name, payee, extendedName, memo, type].lazy.compactMap { $0 }.first
        return words ?? checkNumber.map { "Check \($0)" } ?? "Transaction"
    }
}

/// Names the transactions of one account in the order in which they stand, and so tells apart those that are alike.
struct OFXNaming: Sendable {
    private var counts: [String: Int] = [:]

    /// - Parameter former: the transaction that this one corrects.
    mutating func name(_ raw: OFXTransaction, _ readable: OFXTransaction.Readable, former: String?) -> BankTransaction {
        let (id, replaces) = identify(raw, readable)
        return BankTransaction(
            id: id,
            replaces: former ?? replaces,
            isCorrection: former != nil,
            amount: readable.amount,
            currency: readable.currency,
            description: raw.description,
            status: raw.isPending ? .pending : .posted,
            transactedAt: readable.happened.seconds,
            settledAt: raw.isPending ? nil : readable.day.seconds
        )
    }

    /// What is pending has no FITID; where it has a reference, the transaction that is posted has it too.
    private mutating func identify(
        _ raw: OFXTransaction,
        _ readable: OFXTransaction.Readable
    ) -> (id: String, replaces: String?) {
        if !raw.isPending, let fitid = raw.fitid {
            return (readable.id(fitid), raw.reference.map { "pending|\($0)" })
        }
        if raw.isPending, let reference = raw.reference { return (numbered("pending|\(reference)"), nil) }
        let words = [raw.checkNumber, raw.reference, raw.description].compactMap { $0 }.joined(separator: "|")
        let kind = raw.isPending ? "pending" : "posted"
        let name = "\(kind)|\(readable.day.day)|\(readable.amount)|\(readable.currency)|\(words)"
        return (numbered(name), nil)
    }

    private mutating func numbered(_ id: String) -> String {
        let count = counts[id, default: 0] + 1
        counts[id] = count
        return count == 1 ? id : "\(id)|\(count)"
    }
}
