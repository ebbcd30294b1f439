/// A bank that a user described in a scenario file, checked.

struct ScenarioBank: Sendable {
    let institution: Institution
    /// Nil where nothing is asked.
    let signIn: ScenarioSignIn?
    let outage: Outage?
    /// Milliseconds that each call takes.
    let latency: Int64
    /// For how long a consent holds; nil where it has no end.
    let consentDays: Int64?
    let accounts: [ScenarioAccount]

    enum Outage: Sendable {
        case until(Int64)
        case unscheduled
        case error
    }

    /// Throws where it is down.
    func checkOutage(at now: Int64) throws(ConnectorError) {
        switch outage {
        case .until(let end) where now < end: throw .institutionUnavailable(until: end)
        case .unscheduled: throw .institutionUnavailable(until: nil)
        case .error: throw .invalidResponse
        case .until, nil: return
        }
    }

    func consentExpiry(_ credential: TestCredential) -> Int64? {
        guard let consentDays, let linked = credential.linked else { return nil }
        return linked + consentDays * CivilDay.seconds
    }
}

struct ScenarioAccount: Sendable {
    let name: String
    let category: BankAccount.Category
    let subcategory: BankAccount.Subcategory
    let last4: String?
    let currency: String
    let supportsPayments: Bool
    let numbers: [Number]
    let closesAfterLinking: Bool
    /// Nil where it is made up.
    let balance: (current: [String: Int64], kind: Balance.Kind)?
    /// Nil where one is made up.
    let owners: [Owner]?
    /// Whether what happens on accounts of its kind happens on it too.
    let isTypical: Bool
    let patterns: [Pattern]
    let singles: [Single]
    let failures: [Feature: Failure]

    enum Feature: String, CaseIterable, Sendable {
        case balance, ownership, transactions
    }

    struct Number: Sendable {
        let identifier: BankAccount.Numbers.Identifier
        let status: BankAccount.Numbers.Status
        /// Days from the sign-in on; nil where it does not expire.
        let expiresInDays: Int64?
    }

    /// A transaction that happens once.
    struct Single: Sendable {
        enum Time: Sendable {
            case at(Int64)
            /// From the sign-in on; negative for what happened before.
            case days(Int64)
        }

        let id: String
        let time: Time
        let amount: Int64
        let description: String
        let pendingDays: Int64
        let becomesVoid: Bool
    }

    struct Failure: Sendable {
        /// Counted from 1; nil for all of them.
        let refreshes: Set<Int64>?
        let way: ConnectorError

        /// Nil where the refresh does not fail.
        func error(at number: Int64?) -> ConnectorError? {
            guard let refreshes else { return way }
            return number.map(refreshes.contains) == true ? way : nil
        }
    }

    /// The account as a holder sees it who signed in at that time.
    func seen(by holder: String, at institution: Institution, linked: Int64, until expiry: Int64?) -> BankAccount {
        let id = String(Chance.hash([institution.id, holder, name]), radix: 16)
        return BankAccount(
            id: String(repeating: "0", count: 16 - id.count) + id,
            displayName: name,
            last4: last4,
            category: category,
            subcategory: subcategory,
            supportsPayments: supportsPayments,
            numbers: numbers.map { number in
                .init(
                    identifier: number.identifier,
                    status: number.status,
                    expectedExpiry: number.expiresInDays.map { linked + $0 * CivilDay.seconds }
                )
            },
            expectedDeactivation: expiry,
            closesAfterLinking: closesAfterLinking
        )
    }

    func balance(of account: BankAccount, at now: Int64) -> Balance {
        guard let balance else { return TypicalAccount(account, currency: currency).balance(at: now) }
        return Balance(asOf: now, current: balance.current, kind: balance.kind)
    }

    func activity(of account: BankAccount, linked: Int64) -> Activity {
        let typical = isTypical ? TypicalAccount(account, currency: currency).patterns : []
        let singles = singles.map { single in
            let moment =
                switch single.time {
                case .at(let moment): moment
                case .days(let days): linked + days * CivilDay.seconds
                }
            return Occurrence(
                id: single.id,
                amount: single.amount,
                description: single.description,
                transactedAt: moment,
                settledAt: moment + single.pendingDays * CivilDay.seconds,
                becomesVoid: single.becomesVoid
            )
        }
        return Activity(currency: currency, patterns: typical + patterns, singles: singles)
    }
}

/// The sign-in of such a bank: a user name and a password, then a code, then a question, where they are asked.
///
/// It promises that each step stands alone, its note being its name, and that nothing that was typed is kept or echoed.
struct ScenarioSignIn: Sendable {
    /// Nil where any will do.
    let password: String?
    let mfa: Answer?
    let question: (text: String, answer: Answer)?

    enum Answer: Sendable {
        case any
        case only(String)
    }

    private enum Form: String {
        case password, mfa, question
    }

    func begin(at institution: Institution) -> Step { ask(.password, institution) }

    /// The form that follows, the same one with an error, or nil where the person is signed in.
    func answered(
        _ note: [UInt8],
        _ answers: [String: String],
        at institution: Institution
    ) throws(ConnectorError) -> Step? {
        guard let form = Form(rawValue: String(decoding: note, as: UTF8.self)), isAsked(form)
        else { throw .invalidResponse }
        for field in fields(form) where (answers[field.name] ?? "").allSatisfy(\.isWhitespace) {
            return ask(form, institution, error: "Fill in “\(field.label)”.")
        }
        guard takes(answers[form.rawValue] ?? "", form) else {
            return ask(form, institution, error: "That was incorrect. Try again.")
        }
        let forms: [Form] = [.password, .mfa, .question]
        let next = forms.drop { $0 != form }.dropFirst().first(where: isAsked)
        return next.map { ask($0, institution) }
    }

    private func isAsked(_ form: Form) -> Bool {
        switch form {
        case .password: true
        case .mfa: mfa != nil
        case .question: question != nil
        }
    }

    private func takes(_ text: String, _ form: Form) -> Bool {
        let answer: Answer? =
            switch form {
            case .password: password.map { .only($0) }
            case .mfa: mfa
            case .question: question?.answer
            }
        guard case .only(let right) = answer else { return true }
        return text == right
    }

    private func ask(_ form: Form, _ institution: Institution, error: String? = nil) -> Step {
        let prompt = Prompt(
            title: form == .password ? "Sign in to \(institution.name)" : "Confirm that it is you",
            message: "This is a test bank: type nothing that is secret.",
            fields: fields(form),
            error: error,
            submitLabel: form == .password ? "Sign in" : "Continue"
        )
        return .prompt(prompt, resume: Array(form.rawValue.utf8))
    }

    /// The last field has the name of its form.
    private func fields(_ form: Form) -> [Prompt.Field] {
        switch form {
        case .password:
            [
                .init(name: "username", label: "User name", kind: .text),
                .init(name: "password", label: "Password", kind: .password),
            ]
        case .mfa: [.init(name: "mfa", label: "One-time code", kind: .text)]
        case .question: [.init(name: "question", label: question?.text ?? "", kind: .text)]
        }
    }
}
