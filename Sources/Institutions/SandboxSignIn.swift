/// The sign-in of the test bank: which forms there are, and which answer leads where.
///
/// It promises that each step stands alone: its note is its name, so a form can be answered at any server, late or
/// twice, to the same effect. It refuses nothing that was typed except `error`; what is missing or was not offered is
/// asked for again.

/// A step of the sign-in; the raw value is its resume note.
enum SandboxSignIn: String {
    case userAndPassword = "user_and_password"
    case options
    case destination
    case code
    case securityQuestion = "security_question"

    /// What a person may type to leave the plain way through.
    private enum SpecialInput: String, CaseIterable {
        case options, mfa
        case confirmMFA = "confirm_mfa"
        case securityQuestion = "security_question"
        case error, incorrect
    }

    /// Nil for a note that no step has given.
    init?(note: [UInt8]) {
        self.init(rawValue: String(decoding: note, as: UTF8.self))
    }

    /// The form of this step; `error` says why the last answer was not taken.
    func ask(error: String? = nil) -> Step {
        let prompt = Prompt(
            title: title,
            message: message,
            fields: fields,
            error: error,
            submitLabel: self == .userAndPassword ? "Sign in" : "Continue"
        )
        return .prompt(prompt, resume: Array(rawValue.utf8))
    }

    /// The form that follows, or nil where the person is signed in. Throws `authorizationFailed` for a typed `error`.
    func answered(_ answers: [String: String]) throws(ConnectorError) -> Step? {
        if let complaint = complaint(about: answers) { return ask(error: complaint) }
        let special = fields.last.flatMap { answers[$0.name] }.flatMap { SpecialInput(rawValue: $0.lowercased()) }
        switch special {
        case .options: return Self.options.ask()
        case .mfa: return Self.code.ask()
        case .confirmMFA: return Self.destination.ask()
        case .securityQuestion: return Self.securityQuestion.ask()
        case .incorrect: return ask(error: "That was incorrect. Try again.")
        case .error: throw .authorizationFailed
        case nil: return self == .destination ? Self.code.ask() : nil
        }
    }

    private func complaint(about answers: [String: String]) -> String? {
        for field in fields {
            let answer = answers[field.name] ?? ""
            if answer.allSatisfy(\.isWhitespace) { return "Fill in “\(field.label)”." }
            if field.kind == .choice, !field.options.contains(where: { $0.value == answer }) {
                return "Choose one of the answers offered for “\(field.label)”."
            }
        }
        return nil
    }

    private var title: String {
        switch self {
        case .userAndPassword: "Sign in to Bank (Non-OAuth)"
        case .options: "Choose a profile"
        case .destination: "Confirm that it is you"
        case .code: "Type your code"
        case .securityQuestion: "Answer your security question"
        }
    }

    private var message: String {
        switch self {
        case .userAndPassword:
            "This is a test bank: any user name and password will do, so type no real ones. These passwords lead to "
                + "other steps: " + SpecialInput.allCases.map(\.rawValue).joined(separator: ", ") + "."
        case .options: "This is a test bank: every profile has the same accounts."
        case .destination: "Where should the one-time code be sent? This is a test bank: nothing is sent."
        case .code: "This is a test bank: no code was sent, and any code will do."
        case .securityQuestion: "This is a test bank: any answer will do."
        }
    }

    /// The last field is the one in which a special input counts.
    private var fields: [Prompt.Field] {
        switch self {
        case .userAndPassword:
            [
                .init(name: "username", label: "User name", kind: .text),
                .init(name: "password", label: "Password", kind: .password),
            ]
        case .options:
            [
                .init(
                    name: "option",
                    label: "Profile",
                    kind: .choice,
                    options: [
                        .init(value: "personal", label: "Personal"), .init(value: "business", label: "Business"),
                    ]
                )
            ]
        case .destination:
            [
                .init(
                    name: "destination",
                    label: "Send the code to",
                    kind: .choice,
                    options: [
                        .init(value: "phone", label: "Phone ending in 55"),
                        .init(value: "email", label: "E-mail at example.com"),
                    ]
                )
            ]
        case .code: [.init(name: "code", label: "One-time code", kind: .text)]
        case .securityQuestion: [.init(name: "answer", label: "What was the name of your first pet?", kind: .text)]
        }
    }
}
