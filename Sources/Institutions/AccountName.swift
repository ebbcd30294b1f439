/// What an account's name tells where the protocol does not say what kind of account it is.
///
/// It promises to guess and not to know: whoever uses it marks the category as guessed, so that the person may correct
/// it. It reads English names and those of the largest banks' products.

struct AccountName: Sendable {
    let name: String

    /// The four digits at the end of a name that masks a number: `Checking (1234)`, `Visa ...1234`, `x1234`. A year or
    /// another number without a mask is not taken for one.
    var last4: String? {
        let letters = Array(name)
        var end = letters.count
        while end > 0, ")] ".contains(letters[end - 1]) { end -= 1 }
        guard end >= 5, letters[(end - 4)..<end].allSatisfy({ $0.isASCII && $0.isNumber }) else { return nil }
        let before = letters[..<(end - 4)]
        let isMasked = before.last.map { "([.*xX#•…-".contains($0) } ?? false
        let words = String(before).lowercased()
        guard isMasked || words.hasSuffix("ending in ") || words.hasSuffix("ending ") else { return nil }
        return String(letters[(end - 4)..<end])
    }

    /// - Parameters:
    ///   - isOwed: the balance is negative.
    ///   - hasHoldings: there are securities in the account.
    func category(isOwed: Bool, hasHoldings: Bool) -> (BankAccount.Category, BankAccount.Subcategory) {
        let text =
            " "
            + name.lowercased().map { $0.isLetter || $0.isNumber ? $0 : " " }.split(separator: " ").map {
                String($0)
            }.joined(separator: " ") + " "
        for (words, category, subcategory) in Self.meanings where words.contains(where: { text.contains(" \($0) ") }) {
            return (category, subcategory)
        }
        if hasHoldings { return (.investment, .other) }
        return isOwed ? (.credit, .other) : (.other, .other)
    }

    /// The first that fits counts. Words are looked for whole.
    private static let meanings: [([String], BankAccount.Category, BankAccount.Subcategory)] = [
        (["mortgage", "home loan"], .credit, .mortgage),
        (["line of credit", "credit line", "heloc", "overdraft line", "loc"], .credit, .lineOfCredit),
        (["debit card", "prepaid card", "gift card"], .cash, .other),
        (
            [
                "credit card", "creditcard", "card", "visa", "mastercard", "amex", "american express", "discover it",
                "cash rewards", "sapphire", "freedom", "quicksilver", "venture", "double cash", "platinum", "slate",
            ], .credit, .creditCard
        ),
        (["loan", "auto loan", "student loan", "lease", "financing"], .credit, .other),
        (["hsa", "health savings"], .cash, .savings),
        (
            [
                "401k", "401 k", "403b", "403 b", "457b", "529", "ira", "roth", "sep", "rrsp", "tfsa", "resp", "isa",
                "sipp", "brokerage", "investment", "investments", "investing", "invest", "pension", "retirement",
                "stock", "stocks", "portfolio", "annuity", "trading", "trust", "espp", "rsu", "crypto", "bitcoin",
                "superannuation", "kiwisaver", "mutual fund", "funds",
            ], .investment, .other
        ),
        (["certificate", "certificate of deposit", "cd", "term deposit"], .cash, .other),
        (
            [
                "savings", "saving", "saver", "money market", "mma", "emergency fund", "holiday club", "isaver",
                "rainy day",
            ], .cash, .savings
        ),
        (
            [
                "checking", "chequing", "cheque", "chequing account", "current", "current account", "everyday",
                "spending", "share draft", "cash management", "transaction account", "giro", "girokonto", "debit",
            ], .cash, .checking
        ),
        (["cash", "wallet", "prepaid"], .cash, .other),
    ]
}
