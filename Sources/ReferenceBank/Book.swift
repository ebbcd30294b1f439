/// What the bank's books say: accounts, balances, holders, numbers and transactions of a customer.
///
/// It promises that all of it follows from the customer's name and the time: two servers, or two runs, answer the same,
/// and what was said of a day is said of it again. Amounts are whole cents and are written with a point and two digits.

internal import FoundationEssentials
internal import Vault

/// One account of one customer.
struct BookAccount: Sendable {
    enum Kind: String, Sendable {
        case checking = "CHECKING"
        case savings = "SAVINGS"
        case creditCard = "CREDITCARD"
        case lineOfCredit = "LINEOFCREDIT"
        case mortgage = "MORTGAGE"
        case brokerage = "TAXABLE"
    }

    let id: String
    let name: String
    let kind: Kind
    let last4: String
    let user: String
    /// Cents: what is in it, or owed on it.
    let current: Int64
    fileprivate let seed: UInt64

    /// A customer of this name has these accounts, in this order. The checking accounts end in the digits of the test
    /// numbers for ACH and are named after what a debit of that number does.
    static func all(of user: String) -> [BookAccount] {
        let kinds: [(name: String, kind: Kind, last4: String?, cents: Int64)] = [
            ("Success", .checking, "6789", 1_000_000), ("Insufficient Funds", .checking, "2227", 312),
            ("Account Closed", .checking, "1113", 48_000), ("No Account", .checking, "1116", 152_075),
            ("Debit Not Authorized", .checking, "3335", 98_742), ("Dispute", .checking, "5559", 240_016),
            ("Highest Risk", .checking, "4954", 1_550), ("Processing", .checking, "0009", 77_700),
            ("High Balance", .savings, nil, 98_765_432_10), ("Credit Card", .creditCard, nil, 84_213),
            ("Line of Credit", .lineOfCredit, nil, 1_250_000), ("Mortgage", .mortgage, nil, 24_310_988),
            ("Brokerage", .brokerage, nil, 5_120_347),
        ]
        return kinds.map { name, kind, last4, cents in
            let digest = Secret.digest("reference bank\n\(user)\n\(name)")
            let seed = digest.prefix(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            return BookAccount(
                id: "rb-" + Secret.base64URL(Array(digest.prefix(12))),
                name: name,
                kind: kind,
                last4: last4 ?? Cents.padded(Int64(seed % 10_000), to: 4),
                user: user,
                current: cents + Int64(seed % 90),
                seed: seed
            )
        }
    }

    /// `DEPOSIT_ACCOUNT`, as version 6 names it.
    var category: String {
        switch kind {
        case .checking, .savings: "DEPOSIT_ACCOUNT"
        case .creditCard, .lineOfCredit: "LOC_ACCOUNT"
        case .mortgage: "LOAN_ACCOUNT"
        case .brokerage: "INVESTMENT_ACCOUNT"
        }
    }

    /// What wraps the account, or its transactions, up to version 5: `depositAccount`, `depositTransaction`.
    func wrapper(_ thing: String) -> String {
        switch kind {
        case .checking, .savings: "deposit\(thing)"
        case .creditCard, .lineOfCredit: "loc\(thing)"
        case .mortgage: "loan\(thing)"
        case .brokerage: "investment\(thing)"
        }
    }

    /// What may be spent on credit, in cents.
    var creditLine: Int64 { kind == .lineOfCredit ? 5_000_000 : 1_000_000 }

    /// Savings have a number of their own for each client; the number itself is made up.
    var isTokenized: Bool { kind == .savings }
    var takesPayments: Bool { kind == .checking || kind == .savings }
    var number: String { Cents.padded(Int64(seed % 100_000_000), to: 8) + last4 }

    /// The customer, and on some accounts somebody else.
    var holders: [(first: String, last: String, relationship: String)] {
        let customer = ("Jenny", "Rosen", "PRIMARY")
        return name == "Success" || name == "High Balance"
            ? [("Jenny", "Rosen", "PRIMARY_JOINT"), ("Avery", "Rosen", "SECONDARY")] : [customer]
    }
}

/// A movement on an account.
struct BookTransaction: Sendable {
    let id: String
    /// On cards a posting has an id of its own and names that of its authorization.
    let reference: String?
    let description: String
    let isDebit: Bool
    let cents: Int64
    let time: Int64
    /// Nil while it is pending.
    let posted: Int64?
}

extension BookAccount {
    private static let day: Int64 = 86_400
    /// As far back as the bank remembers.
    static let memory: Int64 = 730 * day

    private static let merchants = [
        "Corner Coffee", "River Books", "Hardware & Sons", "City Transit", "Green Grocer", "Lantern Cinema",
        "Northside Pharmacy", "Parkside Dental", "Union Electric", "Weaver Street Market",
    ]

    /// What happened from one moment up to, not including, another, newest first.
    func transactions(from start: Int64, to end: Int64, asOf now: Int64) -> [BookTransaction] {
        let (start, end) = (max(start, now - Self.memory), min(end, now + 1))
        guard start < end else { return [] }
        return (start / Self.day...(end - 1) / Self.day).reversed().flatMap { day in
            transactions(on: day, asOf: now).filter { $0.time >= start && $0.time < end }
        }
    }

    /// Cents that are on their way and not in ``current`` yet, negative for what will leave.
    func pending(asOf now: Int64) -> Int64 {
        transactions(from: now - 2 * Self.day, to: now + 1, asOf: now).reduce(0) { sum, transaction in
            guard transaction.posted == nil else { return sum }
            return sum + (transaction.isDebit ? -transaction.cents : transaction.cents)
        }
    }

    private func transactions(on day: Int64, asOf now: Int64) -> [BookTransaction] {
        var chance = Chance(state: seed ^ UInt64(bitPattern: day &* 0x9E37))
        let count = kind == .mortgage || kind == .brokerage ? (chance.below(30) == 0 ? 1 : 0) : chance.below(3)
        return (0..<count).map { number in
            let second = Int64(chance.below(UInt64(Self.day)))
            let isDebit = kind != .mortgage && chance.below(8) != 0
            let cents = Int64(chance.below(isDebit ? 15_000 : 180_000)) + 1
            let merchant = Self.merchants[Int(chance.below(UInt64(Self.merchants.count)))]
            let time = day * Self.day + second
            // Postings are made at six in the morning, a day after.
            let posting = (day + 1) * Self.day + 6 * 3600
            let isPosted = posting <= now
            let name = "\(day)-\(number)"
            return BookTransaction(
                id: isPosted && kind == .creditCard ? "posting-\(name)" : "movement-\(name)",
                reference: isPosted && kind == .creditCard ? "movement-\(name)" : nil,
                description: isDebit ? merchant : "Payment received",
                isDebit: isDebit,
                cents: cents,
                time: time,
                posted: isPosted ? posting : nil
            )
        }
        .filter { $0.time <= now }
        .sorted { $0.time > $1.time }
    }
}

/// Steele, Lea and Flood's SplitMix64: chance that a seed replays.
private struct Chance {
    var state: UInt64

    mutating func below(_ bound: UInt64) -> Int {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return Int((mixed ^ (mixed >> 31)) % bound)
    }
}

enum Cents {
    /// `1234.05`: JSON numbers are decimal, and this one is exact.
    static func text(_ cents: Int64) -> String {
        let digits = padded(abs(cents), to: 3)
        return (cents < 0 ? "-" : "") + digits.dropLast(2) + "." + digits.suffix(2)
    }

    static func padded(_ number: Int64, to width: Int) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }
}

/// Moments as FDX writes them, in UTC: `2026-07-15T14:46:41.000Z`.
enum Moment {
    static func text(_ seconds: Int64) -> String {
        Date(timeIntervalSince1970: TimeInterval(seconds))
            .formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
    }

    /// The first second of a date, or of the date of a date and time.
    static func day(_ text: String) -> Int64? {
        let style = Date.ISO8601FormatStyle().year().month().day()
        return (try? style.parse(String(text.prefix(10)))).map { Int64($0.timeIntervalSince1970) }
    }
}
