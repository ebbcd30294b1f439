/// What the test institutions promise, seen from outside: who can be found, what the sign-in asks and what it takes,
/// which accounts come of it, and that all of it repeats. Nothing here looks inside a resume note or a credential.

import Institutions
import Testing

private let now: Int64 = 1_790_000_000
private let day: Int64 = 86_400
private let sandbox = Sandbox()

private func attempt(
    _ institution: Institution,
    holder: String = "cus_A",
    now: Int64 = now,
    isRelink: Bool = false
) -> Attempt {
    Attempt(
        institution: institution,
        holder: holder,
        now: now,
        isRelink: isRelink,
        callback: .init(url: "https://link.example/flow/return", state: "state")
    )
}

private func access(_ attempt: Attempt, _ credential: [UInt8]) -> Access {
    Access(institution: attempt.institution, holder: attempt.holder, now: attempt.now, credential: credential) {
        _ throws(ConnectorError) in throw .unsupported
    }
}

private func prompted(_ step: Step) throws -> (prompt: Prompt, resume: [UInt8]) {
    guard case .prompt(let prompt, let resume) = step else {
        Issue.record("signed in where a form was expected")
        throw ConnectorError.invalidResponse
    }
    return (prompt, resume)
}

private func credential(_ step: Step) throws -> [UInt8] {
    guard case .authorized(let credential) = step else {
        Issue.record("a form where the sign-in was expected to end")
        throw ConnectorError.invalidResponse
    }
    return credential
}

/// The sign-in at the bank, with `password` typed.
private func signIn(_ password: String) async throws -> Step {
    let attempt = attempt(Sandbox.bankNonOAuth)
    let (_, resume) = try prompted(try await sandbox.begin(attempt))
    return try await sandbox.resume(attempt, from: resume, .answers(["username": "ada", "password": password]))
}

/// The form `step`, its only field answered with `answer`.
private func answering(_ step: Step, with answer: String) async throws -> Step {
    let (prompt, resume) = try prompted(step)
    let field = try #require(prompt.fields.first)
    #expect(prompt.fields.count == 1)
    return try await sandbox.resume(attempt(Sandbox.bankNonOAuth), from: resume, .answers([field.name: answer]))
}

private func accounts(_ attempt: Attempt) async throws -> [BankAccount] {
    var step = try await sandbox.begin(attempt)
    if case .prompt(_, let resume) = step {
        step = try await sandbox.resume(attempt, from: resume, .answers(["username": "ada", "password": "any"]))
    }
    return try await sandbox.accounts(access(attempt, try credential(step)))
}

private let open = [
    Sandbox.testNonOAuth, Sandbox.bankNonOAuth, Sandbox.ownershipAccounts, Sandbox.invalidPaymentAccounts,
    Sandbox.tokenizedAccountNumber, Sandbox.inactiveAccounts, Sandbox.immediatelyRequiresReauthentication,
    Sandbox.eventuallyRequiresReauthentication,
]

@Suite("Test institutions: who can be found")
struct SandboxInstitutionsTests {
    @Test("the names are Stripe's, the featured ones first")
    func names() {
        #expect(
            sandbox.institutions.filter(\.featured).map(\.name) == [
                "Test (Non-OAuth)", "Bank (Non-OAuth)", "Ownership Accounts", "Invalid Payment Accounts",
                "Down (Scheduled)", "Down (Unscheduled)", "Down (Error)",
            ]
        )
        #expect(
            sandbox.institutions.filter { !$0.featured }.map(\.name) == [
                "Tokenized Account Number", "Inactive Accounts", "Immediately Requires Reauthentication",
                "Eventually Requires Reauthentication",
            ]
        )
        #expect(sandbox.institutions.prefix(7).allSatisfy { $0.featured })
    }

    @Test("known ids are Stripe's")
    func knownIds() {
        #expect(Sandbox.testNonOAuth.id == "fcinst_Qn1a7A4KhL42se")
        #expect(Sandbox.bankNonOAuth.id == "fcinst_Qn1aVTBBJ4ubmQ")
        #expect(Sandbox.ownershipAccounts.id == "fcinst_Qn1aly9zRRkWP1")
        #expect(Sandbox.invalidPaymentAccounts.id == "fcinst_Qn1aporTsLJQH4")
        #expect(Sandbox.downUnscheduled.id == "fcinst_Qn1a8Ynz2Il9zF")
        #expect(Sandbox.downError.id == "fcinst_Qn1aOU8Z6Qsvpn")
    }

    @Test("ids and domains are unique and well formed, all bank in the US")
    func wellFormed() {
        #expect(Set(sandbox.institutions.map(\.id)).count == 11)
        #expect(Set(sandbox.institutions.map(\.domain)).count == 11)
        for institution in sandbox.institutions {
            #expect(institution.id.hasPrefix("fcinst_"))
            let rest = institution.id.dropFirst("fcinst_".count)
            #expect(rest.count == 14 && rest.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber) })
            #expect(institution.domain.hasSuffix(".bank.example"))
            #expect(institution.countries == ["US"])
        }
    }

    @Test("only the bank asks for anything", arguments: open)
    func straightThrough(institution: Institution) async throws {
        let step = try await sandbox.begin(attempt(institution))
        if institution == Sandbox.bankNonOAuth {
            _ = try prompted(step)
        } else {
            #expect(try !credential(step).isEmpty)
        }
    }

    @Test("an institution of another connector is refused")
    func stranger() async {
        let other = Institution(
            id: "fcinst_00000000000000",
            name: "Other",
            domain: "other.example",
            featured: true,
            countries: ["US"]
        )
        await #expect(throws: ConnectorError.invalidResponse) { try await sandbox.begin(attempt(other)) }
        await #expect(throws: ConnectorError.invalidResponse) {
            try await sandbox.accounts(access(attempt(other), Array("sandbox:\(other.id):cus_A".utf8)))
        }
    }
}

@Suite("Test institutions: being down")
struct SandboxDownTests {
    @Test(
        "a scheduled maintenance ends three hours after the next full hour",
        arguments: [
            (Int64(1_789_999_200), Int64(1_790_010_000)),
            (Int64(1_789_999_201), Int64(1_790_013_600)),
            (Int64(1_790_002_799), Int64(1_790_013_600)),
        ]
    )
    func scheduled(now: Int64, until: Int64) async {
        await #expect(throws: ConnectorError.institutionUnavailable(until: until)) {
            try await sandbox.begin(attempt(Sandbox.downScheduled, now: now))
        }
    }

    @Test("unscheduled: no time is given")
    func unscheduled() async {
        await #expect(throws: ConnectorError.institutionUnavailable(until: nil)) {
            try await sandbox.begin(attempt(Sandbox.downUnscheduled))
        }
    }

    @Test("error: a failure without a name")
    func error() async {
        await #expect(throws: ConnectorError.invalidResponse) {
            try await sandbox.begin(attempt(Sandbox.downError))
        }
    }

    @Test("what is down gives no accounts either")
    func accountsDown() async {
        await #expect(throws: ConnectorError.institutionUnavailable(until: nil)) {
            try await sandbox.accounts(access(attempt(Sandbox.downUnscheduled), []))
        }
    }
}

@Suite("Test institutions: the sign-in at the bank")
struct SandboxSignInTests {
    @Test("asks for a user name and a password, and names every special input")
    func form() async throws {
        let (prompt, _) = try prompted(try await sandbox.begin(attempt(Sandbox.bankNonOAuth)))
        #expect(prompt.fields.map(\.name) == ["username", "password"])
        #expect(prompt.fields.map(\.kind) == [.text, .password])
        #expect(prompt.error == nil)
        let message = try #require(prompt.message)
        for word in ["options", "mfa", "confirm_mfa", "security_question", "error", "incorrect"] {
            #expect(message.contains(" \(word)"))
        }
    }

    @Test("takes any values", arguments: ["hunter2", "options please", "μία", " x"])
    func anyPassword(password: String) async throws {
        _ = try credential(try await signIn(password))
    }

    @Test("a special input in the user name is a user name")
    func specialUser() async throws {
        let attempt = attempt(Sandbox.bankNonOAuth)
        let (_, resume) = try prompted(try await sandbox.begin(attempt))
        let answers = ["username": "error", "password": "x"]
        _ = try credential(try await sandbox.resume(attempt, from: resume, .answers(answers)))
    }

    @Test("options: a choice, then in", arguments: ["options", "Options"])
    func options(password: String) async throws {
        let step = try await signIn(password)
        let field = try #require(try prompted(step).prompt.fields.first)
        #expect(field.kind == .choice)
        #expect(field.options.count >= 2)
        for option in field.options {
            _ = try credential(try await answering(step, with: option.value))
        }
    }

    @Test("mfa: a code, then in")
    func mfa() async throws {
        let step = try await signIn("mfa")
        let field = try #require(try prompted(step).prompt.fields.first)
        #expect(field.name == "code")
        #expect(field.kind == .text)
        _ = try credential(try await answering(step, with: "123456"))
    }

    @Test("confirm_mfa: where the code goes, the code, then in")
    func confirmMFA() async throws {
        let choice = try await signIn("confirm_mfa")
        let field = try #require(try prompted(choice).prompt.fields.first)
        #expect(field.kind == .choice)
        #expect(field.options.count >= 2)
        for option in field.options {
            let code = try await answering(choice, with: option.value)
            #expect(code == (try await signIn("mfa")))
            _ = try credential(try await answering(code, with: "123456"))
        }
    }

    @Test("security_question: a question, then in")
    func securityQuestion() async throws {
        let step = try await signIn("security_question")
        let field = try #require(try prompted(step).prompt.fields.first)
        #expect(field.kind == .text)
        #expect(field.label.hasSuffix("?"))
        _ = try credential(try await answering(step, with: "Rex"))
    }

    @Test("error: refused for good")
    func error() async {
        await #expect(throws: ConnectorError.authorizationFailed) { try await signIn("error") }
    }

    @Test("incorrect: the same form with an error, and another try gets in")
    func incorrect() async throws {
        let attempt = attempt(Sandbox.bankNonOAuth)
        let first = try prompted(try await sandbox.begin(attempt))
        let again = try prompted(try await signIn("incorrect"))
        #expect(again.prompt.fields == first.prompt.fields)
        #expect(again.prompt.title == first.prompt.title)
        #expect(again.prompt.error != nil)
        let answers = ["username": "ada", "password": "right"]
        _ = try credential(try await sandbox.resume(attempt, from: again.resume, .answers(answers)))
    }

    @Test("special inputs count in later text fields too", arguments: ["mfa", "security_question"])
    func later(password: String) async throws {
        let step = try await signIn(password)
        for word in ["options", "mfa", "confirm_mfa", "security_question"] {
            #expect(try await answering(step, with: word) == (try await signIn(word)))
        }
        await #expect(throws: ConnectorError.authorizationFailed) { try await answering(step, with: "error") }
        let again = try prompted(try await answering(step, with: "incorrect"))
        #expect(again.prompt.fields == (try prompted(step).prompt.fields))
        #expect(again.prompt.error != nil)
    }

    @Test("a missing or blank answer brings the form back and names the field")
    func missing() async throws {
        let attempt = attempt(Sandbox.bankNonOAuth)
        let first = try prompted(try await sandbox.begin(attempt))
        let incomplete = [
            ([:], "User name"), (["password": "x"], "User name"), (["username": "ada"], "Password"),
            (["username": "ada", "password": "  "], "Password"),
        ]
        for (answers, label) in incomplete {
            let again = try prompted(try await sandbox.resume(attempt, from: first.resume, .answers(answers)))
            #expect(again.prompt.fields == first.prompt.fields)
            #expect(again.resume == first.resume)
            #expect(try #require(again.prompt.error).contains(label))
        }
    }

    @Test("so does a later form", arguments: ["options", "mfa", "confirm_mfa", "security_question"])
    func missingLater(password: String) async throws {
        let first = try prompted(try await signIn(password))
        let label = try #require(first.prompt.fields.first).label
        let again = try prompted(
            try await sandbox.resume(attempt(Sandbox.bankNonOAuth), from: first.resume, .answers([:]))
        )
        #expect(again.prompt.fields == first.prompt.fields)
        #expect(try #require(again.prompt.error).contains(label))
    }

    @Test("a choice that was not offered is asked for again", arguments: ["options", "confirm_mfa"])
    func notOffered(password: String) async throws {
        let step = try await signIn(password)
        let first = try prompted(step)
        for answer in ["elsewhere", "error", "mfa"] {
            let again = try prompted(try await answering(step, with: answer))
            #expect(again.prompt.fields == first.prompt.fields)
            #expect(try #require(again.prompt.error).contains(try #require(first.prompt.fields.first).label))
        }
    }

    @Test("no form echoes what was typed")
    func noEcho() async throws {
        let attempt = attempt(Sandbox.bankNonOAuth)
        let (_, resume) = try prompted(try await sandbox.begin(attempt))
        let step = try await sandbox.resume(attempt, from: resume, .answers(["password": "correct horse"]))
        #expect(!String(describing: try prompted(step).prompt).contains("correct horse"))
        #expect(!String(decoding: try prompted(step).resume, as: UTF8.self).contains("correct horse"))
    }

    @Test("a note that is not ours is refused", arguments: [[], Array("nonsense".utf8), [0xff, 0x00]])
    func unknownNote(note: [UInt8]) async {
        await #expect(throws: ConnectorError.invalidResponse) {
            let answers = ["username": "ada", "password": "x"]
            return try await sandbox.resume(attempt(Sandbox.bankNonOAuth), from: note, .answers(answers))
        }
    }

    @Test("a note of the bank is refused elsewhere")
    func noteElsewhere() async throws {
        let (_, resume) = try prompted(try await sandbox.begin(attempt(Sandbox.bankNonOAuth)))
        await #expect(throws: ConnectorError.invalidResponse) {
            let answers = ["username": "ada", "password": "x"]
            return try await sandbox.resume(attempt(Sandbox.testNonOAuth), from: resume, .answers(answers))
        }
    }
}

@Suite("Test institutions: accounts")
struct SandboxAccountsTests {
    @Test("Test and Bank: Success first, ACH scenarios, then the other kinds", arguments: [0, 1])
    func scenarios(index: Int) async throws {
        let accounts = try await accounts(attempt(sandbox.institutions[index]))
        #expect(
            accounts.prefix(8).map { "\($0.displayName) \($0.last4 ?? "none")" } == [
                "Success 6789", "Insufficient Funds 2227", "Account Closed 1113", "No Account 1116",
                "Debit Not Authorized 3335", "Dispute 5559", "Highest Risk 4954", "Processing 0009",
            ]
        )
        #expect(accounts.prefix(8).allSatisfy { $0.category == .cash && $0.subcategory == .checking })
        #expect(
            accounts.dropFirst(8).map { "\($0.displayName): \($0.category.rawValue)/\($0.subcategory.rawValue)" } == [
                "High Balance: cash/savings", "Credit Card: credit/credit_card",
                "Line of Credit: credit/line_of_credit", "Mortgage: credit/mortgage", "Brokerage: investment/other",
            ]
        )
        #expect(accounts.prefix(9).allSatisfy { $0.supportsPayments })
        #expect(!accounts.dropFirst(9).contains { $0.supportsPayments })
    }

    @Test("payments are for cash accounts, which have one working number", arguments: open)
    func payments(institution: Institution) async throws {
        for account in try await accounts(attempt(institution)) {
            #expect(!account.supportsPayments || account.category == .cash)
            #expect(account.numbers.count == (account.supportsPayments ? 1 : 0))
            if institution != Sandbox.tokenizedAccountNumber, account.supportsPayments {
                #expect(
                    account.numbers == [.init(identifier: .accountNumber, status: .transactable, expectedExpiry: nil)]
                )
            }
        }
    }

    @Test("Ownership Accounts: the names tell the owners")
    func ownership() async throws {
        let accounts = try await accounts(attempt(Sandbox.ownershipAccounts))
        #expect(
            accounts.map(\.displayName) == [
                "Single Owner", "Joint Owners", "Owner Without Address", "Owner With Name Only", "No Owners",
                "Business Owner",
            ]
        )
        #expect(accounts.allSatisfy { $0.supportsPayments })
    }

    @Test("Invalid Payment Accounts: none supports payments, a checking account among them")
    func invalidPayments() async throws {
        let accounts = try await accounts(attempt(Sandbox.invalidPaymentAccounts))
        #expect(accounts.map(\.subcategory) == [.checking, .savings, .creditCard])
        #expect(!accounts.contains { $0.supportsPayments })
    }

    @Test("Tokenized Account Number: each number ends in its own way")
    func tokenized() async throws {
        let accounts = try await accounts(attempt(Sandbox.tokenizedAccountNumber))
        #expect(accounts.map(\.displayName) == ["Expired", "Eventually Expiring", "Immediately Expiring"])
        #expect(
            accounts.flatMap(\.numbers) == [
                .init(identifier: .tokenizedAccountNumber, status: .deactivated, expectedExpiry: nil),
                .init(identifier: .tokenizedAccountNumber, status: .transactable, expectedExpiry: now + 30 * day),
                .init(identifier: .tokenizedAccountNumber, status: .transactable, expectedExpiry: now),
            ]
        )
        #expect(accounts.allSatisfy { $0.supportsPayments })
    }

    @Test("only Inactive Accounts closes after linking", arguments: open)
    func inactive(institution: Institution) async throws {
        let accounts = try await accounts(attempt(institution))
        #expect(!accounts.isEmpty)
        #expect(accounts.allSatisfy { $0.closesAfterLinking == (institution == Sandbox.inactiveAccounts) })
    }

    @Test("only the two that require reauthentication announce an end", arguments: open, [false, true])
    func reauthentication(institution: Institution, isRelink: Bool) async throws {
        let expected: Int64? =
            switch institution {
            case Sandbox.immediatelyRequiresReauthentication: isRelink ? now + day : nil
            case Sandbox.eventuallyRequiresReauthentication: now + 30 * day
            default: nil
            }
        for account in try await accounts(attempt(institution, isRelink: isRelink)) {
            #expect(account.expectedDeactivation == expected)
        }
    }

    @Test("a credential of another holder or institution is refused")
    func credentials() async throws {
        let other = try credential(try await sandbox.begin(attempt(Sandbox.testNonOAuth, holder: "cus_B")))
        let elsewhere = try credential(try await sandbox.begin(attempt(Sandbox.ownershipAccounts)))
        for wrong in [other, elsewhere, []] {
            await #expect(throws: ConnectorError.invalidResponse) {
                try await sandbox.accounts(access(attempt(Sandbox.testNonOAuth), wrong))
            }
        }
    }
}

@Suite("Test institutions: the same again")
struct SandboxDeterminismTests {
    @Test("the same holder sees the same accounts, also later and on relink", arguments: open)
    func sameHolder(institution: Institution) async throws {
        let first = try await accounts(attempt(institution))
        #expect(first == (try await accounts(attempt(institution))))
        let later = try await accounts(attempt(institution, now: now + day, isRelink: true))
        #expect(first.map(\.id) == later.map(\.id))
        #expect(first.map(\.last4) == later.map(\.last4))
    }

    @Test("no two accounts share an id over institutions and holders")
    func distinct() async throws {
        var ids: [String] = []
        for institution in open {
            for holder in ["cus_A", "cus_B", ""] {
                ids += try await accounts(attempt(institution, holder: holder)).map(\.id)
            }
        }
        #expect(Set(ids).count == ids.count)
    }

    @Test("ids are 16 hexadecimal digits, last4 four decimal ones", arguments: open)
    func shapes(institution: Institution) async throws {
        for number in 0..<200 {
            for account in try await accounts(attempt(institution, holder: "cus_\(number)")) {
                #expect(account.id.count == 16 && account.id.allSatisfy { "0123456789abcdef".contains($0) })
                let last4 = try #require(account.last4)
                #expect(last4.count == 4 && last4.allSatisfy { "0123456789".contains($0) })
            }
        }
    }

    @Test("ids outlive the process: links made by an earlier run still match")
    func pinned() async throws {
        let success = try #require(try await accounts(attempt(Sandbox.testNonOAuth)).first)
        #expect(success.id == "bb36fcdd6525e0c5")
        let single = try #require(try await accounts(attempt(Sandbox.ownershipAccounts)).first)
        #expect(single.last4 == "7059")
    }
}
