/// `linkspan trigger`: makes an event happen by what really causes it, through the API and its test helpers.

internal import ArgumentParser
internal import Foundation

struct Trigger: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make an event happen.",
        discussion: """
            Nothing is made up: a customer links an account at a test institution, and what the event tells of is done.

            Events:
            \(Causes.names.map { "  \($0)" }.joined(separator: "\n"))

            Example: linkspan trigger financial_connections.account.refreshed_transactions
            """
    )

    @OptionGroup var remote: RemoteOptions

    @Argument(help: "The event's type.")
    var event: String

    @Flag(help: "Print the event as JSON.")
    var json = false

    func run() async throws {
        let remote = try remote.remote()
        guard let cause = Causes.all[event] else {
            throw Failure("There is no event '\(event)'. There are:\n  \(Causes.names.joined(separator: "\n  "))")
        }
        let before = try await latest(remote)
        try await cause(Causes(remote: remote))
        // Some are brought about by the worker.
        for _ in 0..<300 {
            if let made = try await latest(remote), made["id"]?.string != before?["id"]?.string {
                let event = try await remote.get("/v1/events/\(made.required("id"))")
                if json { return print(event.text, terminator: "") }
                return print("\(self.event) happened: \(try made.required("id"))")
            }
            try await Task.sleep(for: .milliseconds(100))
        }
        throw Failure("The cause was made, and no event '\(event)' came of it within 30 seconds.")
    }

    private func latest(_ remote: Remote) async throws -> Remote.Answer? {
        try await remote.get("/v1/events", [("type", event), ("limit", "1")])["data"]?.elements.first
    }
}

/// What makes each event happen.
struct Causes {
    let remote: Remote

    private static let accounts = "/v1/financial_connections/accounts"
    private static let atInstitution = "/v1/test_helpers/financial_connections/accounts"
    private static let day = 24 * 3600

    static let names = all.keys.sorted()

    static let all: [String: @Sendable (Causes) async throws -> Void] = [
        "customer.created": { _ = try await $0.customer() },
        "customer.updated": { causes in
            let customer = try await causes.customer()
            _ = try await causes.remote.post("/v1/customers/\(customer)", [("name", "Updated by linkspan trigger")])
        },
        "customer.deleted": { causes in
            _ = try await causes.remote.delete("/v1/customers/\(try await causes.customer())")
        },
        "financial_connections.account.created": { _ = try await $0.link() },
        "financial_connections.account.deactivated": { _ = try await $0.deactivated() },
        "financial_connections.account.reactivated": { causes in
            let account = try await causes.deactivated()
            _ = try await causes.remote.post("\(atInstitution)/\(account)/reactivate")
        },
        "financial_connections.account.disconnected": { causes in
            _ = try await causes.remote.post("\(accounts)/\(try await causes.link())/disconnect")
        },
        "financial_connections.account.refreshed_balance": { try await $0.refresh("balance") },
        "financial_connections.account.refreshed_ownership": { try await $0.refresh("ownership") },
        "financial_connections.account.refreshed_transactions": { try await $0.refresh("transactions") },
        "financial_connections.account.account_numbers_updated": { _ = try await $0.link(.immediatelyExpiring) },
        "financial_connections.account.supported_payment_method_types_updated": {
            _ = try await $0.link(.immediatelyExpiring)
        },
        "financial_connections.account.upcoming_account_number_expiry": { _ = try await $0.link(.eventuallyExpiring) },
        "financial_connections.account.expected_deactivation_date_updated": { try await $0.end(in: 60 * day) },
        "financial_connections.authorization.expected_deactivation_date_updated": { try await $0.end(in: 60 * day) },
        "financial_connections.account.upcoming_deactivation": { try await $0.end(in: day) },
        "financial_connections.authorization.upcoming_deactivation": { try await $0.end(in: day) },
    ]

    /// What a person chooses.
    private enum Choice {
        case success, immediatelyExpiring, eventuallyExpiring

        var fields: [(String, String)] {
            switch self {
            case .success: [("institution", "Test (Non-OAuth)"), ("accounts[]", "Success")]
            case .immediatelyExpiring:
                [("institution", "Tokenized Account Number"), ("accounts[]", "Immediately Expiring")]
            case .eventuallyExpiring:
                [("institution", "Tokenized Account Number"), ("accounts[]", "Eventually Expiring")]
            }
        }
    }

    private func customer() async throws -> String {
        try await remote.post("/v1/customers", [("description", "Made by linkspan trigger")]).required("id")
    }

    /// A customer of its own links an account.
    /// - Returns: `fca_…`
    private func link(_ choice: Choice = .success) async throws -> String {
        let permissions = ["balances", "ownership", "payment_method", "transactions"].map { ("permissions[]", $0) }
        let holder = [
            ("account_holder[type]", "customer"), ("account_holder[customer]", try await customer()),
        ]
        let session = try await remote.post("/v1/financial_connections/sessions", holder + permissions).required("id")
        let completed = try await remote.post(
            "/v1/test_helpers/financial_connections/sessions/\(session)/complete",
            choice.fields
        )
        guard let account = completed["accounts"]?["data"]?.elements.first else {
            throw Failure("No account was linked.")
        }
        return try account.required("id")
    }

    private func deactivated() async throws -> String {
        let account = try await link()
        _ = try await remote.post("\(Self.atInstitution)/\(account)/deactivate")
        return account
    }

    private func refresh(_ feature: String) async throws {
        _ = try await remote.post("\(Self.accounts)/\(try await link())/refresh", [("features[]", feature)])
    }

    /// The institution says when it will end the link.
    private func end(in seconds: Int) async throws {
        let moment = Int(Date().timeIntervalSince1970) + seconds
        _ = try await remote.post("\(Self.atInstitution)/\(try await link())/deactivate", [("at", "\(moment)")])
    }
}
