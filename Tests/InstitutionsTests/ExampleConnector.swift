/// A whole connector, as docs/connectors.md explains it, for banks that open everything to a key that people copy from
/// the bank's website. `GET /accounts` and `GET /accounts/{id}/movements` answer JSON.

import Foundation
import Outbound

@testable import Institutions

struct ExampleConnector: ConfigurableConnector {
    static let kind = "example"
    static let fields = [ConnectorField("base_url", .url, isRequired: true, "Where the bank's API begins.")]

    let isTest = false
    let institutions: [Institution]
    /// Every hour at most, four calls at once, a thousand a day for one person.
    let policy = RefreshPolicy(interval: 3600, concurrency: 4, dailyBudget: 1000)
    private let base: String
    private let line: Line

    init(_ institution: Institution, _ settings: ConnectorSettings, _ tools: ConnectorTools) throws(SettingsRefusal) {
        institutions = [institution]
        base = settings.text("base_url") ?? ""
        line = tools.line
    }

    /// Nothing can be tried without a key, but the bank must be there: it refuses, as it does not know us.
    func check() async throws(ConnectorError) {
        let reply = try await line.send(Outbound.Request(url: "\(base)/accounts"))
        guard reply.status == 401 else { throw .invalidResponse }
    }

    // MARK: Signing in: one form, and the key that it brings is the credential

    func begin(_ attempt: Attempt) async throws(ConnectorError) -> Step { ask(attempt.institution) }

    func resume(
        _ attempt: Attempt,
        from resume: [UInt8],
        _ response: Response
    ) async throws(ConnectorError) -> Step {
        guard resume == Array("key".utf8), case .answers(let answers) = response else { throw .invalidResponse }
        let key = answers["key"] ?? ""
        do {
            _ = try await get("/accounts", key, [Account].self)
        } catch {
            guard error == .relinkRequired else { throw error }
            return ask(attempt.institution, error: "The bank does not know this key.")
        }
        return .authorized(credential: Array(key.utf8))
    }

    private func ask(_ institution: Institution, error: String? = nil) -> Step {
        let prompt = Prompt(
            title: "Connect \(institution.name)",
            message: "Copy the key from the settings page of the bank.",
            fields: [.init(name: "key", label: "Key", kind: .password)],
            error: error,
            submitLabel: "Connect"
        )
        return .prompt(prompt, resume: Array("key".utf8))
    }

    // MARK: Data

    private struct Account: Decodable {
        let id: String
        let name: String
        let balance: String
    }

    func accounts(_ access: Access) async throws(ConnectorError) -> [BankAccount] {
        try await get("/accounts", access, [Account].self).map { account in
            BankAccount(
                id: account.id,
                displayName: account.name,
                last4: nil,
                category: .cash,
                subcategory: .checking,
                supportsPayments: false
            )
        }
    }

    private func get<T: Decodable>(_ path: String, _ access: Access, _ type: T.Type) async throws(ConnectorError) -> T {
        try await get(path, String(decoding: access.credential, as: UTF8.self), type)
    }

    private func get<T: Decodable>(_ path: String, _ key: String, _ type: T.Type) async throws(ConnectorError) -> T {
        let reply = try await line.send(Outbound.Request(url: base + path, headers: [("Authorization", "Key \(key)")]))
        switch reply.status {
        case 200: return try reply.json(type)
        case 401: throw .relinkRequired
        case 404: throw .accountClosed
        case 429: throw .rateLimited(until: nil)
        case 500...: throw .institutionUnavailable(until: nil)
        default: throw .invalidResponse
        }
    }
}

extension ExampleConnector: BalanceProviding {
    func balance(of account: BankAccount.Reference, _ access: Access) async throws(ConnectorError) -> Balance {
        let accounts = try await get("/accounts", access, [Account].self)
        guard let found = accounts.first(where: { $0.id == account.id }) else { throw .accountClosed }
        guard let money = Money(found.balance, "usd") else { throw .invalidResponse }
        return Balance(asOf: access.now, current: ["usd": money.minorUnits], kind: .cash(available: nil))
    }
}

extension ExampleConnector: TransactionProviding {
    private struct Movement: Decodable {
        let number: Int
        let amount: String
        let text: String
        let date: String
    }

    /// The bank numbers its movements, so the cursor is the last number, and each page is what came after it.
    func transactions(
        of account: BankAccount.Reference,
        after cursor: [UInt8]?,
        _ access: Access
    ) async throws(ConnectorError) -> TransactionPage {
        guard let last = Int(cursor.map { String(decoding: $0, as: UTF8.self) } ?? "0") else { throw .invalidResponse }
        let movements = try await get("/accounts/\(account.id)/movements?after=\(last)", access, [Movement].self)
        var transactions: [BankTransaction] = []
        for movement in movements {
            guard let money = Money(movement.amount, "usd"), let time = Moment.iso(movement.date) else {
                throw .invalidResponse
            }
            transactions.append(
                BankTransaction(
                    id: "\(movement.number)",
                    amount: money.minorUnits,
                    currency: "usd",
                    description: movement.text,
                    status: .posted,
                    transactedAt: time,
                    settledAt: time
                )
            )
        }
        let next = movements.last?.number ?? last
        return TransactionPage(
            transactions: transactions,
            cursor: Array("\(next)".utf8),
            hasMore: !movements.isEmpty
        )
    }
}
