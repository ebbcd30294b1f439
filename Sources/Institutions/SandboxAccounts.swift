/// The accounts of the test institutions, and who owns them.
///
/// It promises the same accounts in the same order for the same institution and holder, under ids that no other
/// institution or holder has, and that what supports payments is a checking or savings account. It refuses an
/// institution that has no accounts here (`invalidResponse`). The ids are for telling accounts apart, not for keeping
/// secrets.

/// What one holder finds at one institution.
struct SandboxAccounts {
    let access: Access
    let credential: TestCredential

    /// When the consent was given.
    private var linked: Int64 { credential.linked ?? access.now }

    private var inThirtyDays: Int64 { linked + 30 * CivilDay.seconds }

    /// When the institution ends the consent, seconds since the Unix epoch; nil where it has no end.
    var consentExpiry: Int64? {
        switch access.institution.id {
        case Sandbox.immediatelyRequiresReauthentication.id: credential.isRelink ? linked + CivilDay.seconds : nil
        case Sandbox.eventuallyRequiresReauthentication.id: inThirtyDays
        default: nil
        }
    }

    func all() throws(ConnectorError) -> [BankAccount] {
        switch access.institution.id {
        case Sandbox.testNonOAuth.id, Sandbox.bankNonOAuth.id: scenarios
        case Sandbox.ownershipAccounts.id: owned
        case Sandbox.invalidPaymentAccounts.id: withoutNumbers
        case Sandbox.tokenizedAccountNumber.id: tokenized
        case Sandbox.inactiveAccounts.id: pair(closesAfterLinking: true)
        case Sandbox.immediatelyRequiresReauthentication.id, Sandbox.eventuallyRequiresReauthentication.id:
            pair(expectedDeactivation: consentExpiry)
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
            account("Immediately Expiring", .checking, numbers: number(.transactable, until: linked)),
        ]
    }

    /// Who owns an account of the holder. All that the holder has at one institution is owned by one household.
    func owners(of account: BankAccount) -> [Owner] {
        let household = "\(access.institution.id) \(access.holder)"
        let person = TypicalAccount.person(household)
        guard access.institution.id == Sandbox.ownershipAccounts.id else { return [person] }
        switch account.displayName {
        case "Joint Owners": return [person, TypicalAccount.person(household, 1)]
        case "Owner Without Address":
            return [Owner(name: person.name, email: person.email, phone: person.phone, address: nil)]
        case "Owner With Name Only": return [Owner(name: person.name, email: nil, phone: nil, address: nil)]
        case "No Owners": return []
        case "Business Owner":
            return [
                Owner(
                    name: "Harbor Light Bakery LLC",
                    email: "accounts@harborlight.example",
                    phone: person.phone,
                    address: person.address
                )
            ]
        default: return [person]
        }
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
        let seed = Chance.hash([access.institution.id, access.holder, name])
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

    private static func padded(_ digits: String, to width: Int) -> String {
        String(repeating: "0", count: width - digits.count) + digits
    }
}
