/// The accounts of the test institutions.
///
/// It promises the same accounts in the same order for the same institution and holder, under ids that no other
/// institution or holder has, and that what supports payments is a checking or savings account. It refuses an
/// institution that has no accounts here (`invalidResponse`). The ids are for telling accounts apart, not for keeping
/// secrets: the hash behind them can be run backwards.

/// What one holder finds at one institution.
struct SandboxAccounts {
    let access: Access
    /// Whether the holder linked accounts there before.
    let isRelink: Bool

    private static let day: Int64 = 86_400

    private var inThirtyDays: Int64 { access.now + 30 * Self.day }

    func all() throws(ConnectorError) -> [BankAccount] {
        switch access.institution.id {
        case Sandbox.testNonOAuth.id, Sandbox.bankNonOAuth.id: scenarios
        case Sandbox.ownershipAccounts.id: owned
        case Sandbox.invalidPaymentAccounts.id: withoutNumbers
        case Sandbox.tokenizedAccountNumber.id: tokenized
        case Sandbox.inactiveAccounts.id: pair(closesAfterLinking: true)
        case Sandbox.immediatelyRequiresReauthentication.id:
            pair(expectedDeactivation: isRelink ? access.now + Self.day : nil)
        case Sandbox.eventuallyRequiresReauthentication.id:
            pair(expectedDeactivation: inThirtyDays)
        default: throw .invalidResponse
        }
    }

    /// The checking accounts end in the digits of Stripe's ACH test numbers and are named after what a debit of that
    /// number does.
    private var scenarios: [BankAccount] {
        [
            account("Success", .checking, last4: "6789"),
            account("Insufficient Funds", .checking, last4: "2227"),
            account("Account Closed", .checking, last4: "1113"),
            account("No Account", .checking, last4: "1116"),
            account("Debit Not Authorized", .checking, last4: "3335"),
            account("Dispute", .checking, last4: "5559"),
            account("Highest Risk", .checking, last4: "4954"),
            account("Processing", .checking, last4: "0009"),
            account("High Balance", .savings),
            account("Credit Card", .creditCard),
            account("Line of Credit", .lineOfCredit),
            account("Mortgage", .mortgage),
            account("Brokerage", .brokerage),
        ]
    }

    private var owned: [BankAccount] {
        [
            account("Single Owner", .checking),
            account("Joint Owners", .checking),
            account("Owner Without Address", .checking),
            account("Owner With Name Only", .checking),
            account("No Owners", .savings),
            account("Business Owner", .checking),
        ]
    }

    private var withoutNumbers: [BankAccount] {
        [
            account("Checking Without Account Number", .checking, numbers: []),
            account("Savings Without Account Number", .savings, numbers: []),
            account("Credit Card", .creditCard),
        ]
    }

    private var tokenized: [BankAccount] {
        func number(_ status: BankAccount.Numbers.Status, until expiry: Int64?) -> [BankAccount.Numbers] {
            [.init(identifier: .tokenizedAccountNumber, status: status, expectedExpiry: expiry)]
        }
        return [
            account("Expired", .checking, numbers: number(.deactivated, until: nil)),
            account("Eventually Expiring", .checking, numbers: number(.transactable, until: inThirtyDays)),
            account("Immediately Expiring", .checking, numbers: number(.transactable, until: access.now)),
        ]
    }

    private func pair(expectedDeactivation: Int64? = nil, closesAfterLinking: Bool = false) -> [BankAccount] {
        [("Checking", Kind.checking), ("Savings", Kind.savings)].map { name, kind in
            account(
                name,
                kind,
                expectedDeactivation: expectedDeactivation,
                closesAfterLinking: closesAfterLinking
            )
        }
    }

    private enum Kind {
        case checking, savings, creditCard, lineOfCredit, mortgage, brokerage

        var category: BankAccount.Category {
            switch self {
            case .checking, .savings: .cash
            case .creditCard, .lineOfCredit, .mortgage: .credit
            case .brokerage: .investment
            }
        }

        var subcategory: BankAccount.Subcategory {
            switch self {
            case .checking: .checking
            case .savings: .savings
            case .creditCard: .creditCard
            case .lineOfCredit: .lineOfCredit
            case .mortgage: .mortgage
            case .brokerage: .other
            }
        }

        var numbers: [BankAccount.Numbers] {
            category == .cash
                ? [.init(identifier: .accountNumber, status: .transactable, expectedExpiry: nil)] : []
        }
    }

    private func account(
        _ name: String,
        _ kind: Kind,
        last4: String? = nil,
        numbers: [BankAccount.Numbers]? = nil,
        expectedDeactivation: Int64? = nil,
        closesAfterLinking: Bool = false
    ) -> BankAccount {
        let seed = Self.seed(access.institution.id, access.holder, name)
        let numbers = numbers ?? kind.numbers
        return BankAccount(
            id: Self.padded(String(seed, radix: 16), to: 16),
            displayName: name,
            last4: last4 ?? Self.padded(String(seed % 10_000), to: 4),
            category: kind.category,
            subcategory: kind.subcategory,
            supportsPayments: !numbers.isEmpty,
            numbers: numbers,
            expectedDeactivation: expectedDeactivation,
            closesAfterLinking: closesAfterLinking
        )
    }

    /// FNV-1a, 64 bits, over the UTF-8 of the parts, each closed by a zero byte so that `ab`, `c` is not `a`, `bc`. The
    /// standard library's `Hasher` is seeded anew in every process and would give other accounts after a restart.
    private static func seed(_ parts: String...) -> UInt64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for part in parts {
            for byte in Array(part.utf8) + [0] {
                hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3
            }
        }
        return hash
    }

    private static func padded(_ digits: String, to width: Int) -> String {
        String(repeating: "0", count: width - digits.count) + digits
    }
}
