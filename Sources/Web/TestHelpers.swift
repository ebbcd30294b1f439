/// What tests do instead of a person: routes of test mode that need no browser.

internal import Connections
internal import Database
internal import Institutions
internal import ReferenceBank
internal import Vault
internal import Wire

enum TestHelpers {
    /// The most questions of an institution that are answered before it is called hopeless.
    private static let maximumSteps = 8

    /// Completes a Session as a person would who chooses `accounts` at `institution`, or who leaves.
    static func complete(_ call: Call) async throws -> Answer {
        let service = call.service
        let version = call.version
        let parameters = try call.parameters(["accounts": .leaf, "cancel": .leaf, "institution": .leaf])
        let expansion = try call.expansion(Session.shape)
        let chosen = try parameters.strings("accounts")
        let isCancelled = try parameters.boolean("cancel") ?? false
        let name = try parameters.string("institution") ?? Sandbox.testNonOAuth.name
        guard let institution = service.directory.find(named: name) else {
            throw StripeError.noSuch("institution", name, at: .parameter("institution"), livemode: false)
        }
        let picked: (details: [Account.Details], credential: [UInt8])? =
            if isCancelled { nil } else { try await pick(chosen, at: institution, call) }
        return try await call.write { db, json in
            var session = try find(call, db)
            if let picked {
                try session.giveConsent(db, service.world)
                _ = try Account.link(
                    picked.details,
                    at: (institution.id, institution.name),
                    credential: picked.credential,
                    to: session,
                    by: call.cause,
                    db,
                    service.world,
                    service.ring
                )
            }
            try session.finish(by: call.cause, db, service.world)
            try session.write(to: &json, for: .server(version), expanding: expansion, db, service.ring)
        }
    }

    private static func find(_ call: Call, _ db: Connection) throws -> Session {
        let session = try Session.find(call.id, at: .path(param: "session"), in: call.scope, db)
        try session.requireOpen(call.service.world)
        return session
    }

    /// Signs in with made-up answers and chooses.
    private static func pick(
        _ chosen: [(path: String, value: String)]?,
        at institution: Institution,
        _ call: Call
    ) async throws -> (details: [Account.Details], credential: [UInt8]) {
        let service = call.service
        guard let (_, connector) = service.directory.find(institution.id, livemode: false) else {
            throw StripeError.internalFault
        }
        // A completed Session may be answered by its idempotency key; whether it is open is decided in the write.
        let (session, attempt) = try await service.database.read { db in
            let session = try Session.find(call.id, at: .path(param: "session"), in: call.scope, db)
            if let refusal = session.refusal(ofCountries: institution.countries) {
                throw StripeError(param: "institution", message: "\(institution.name) can't be linked: \(refusal)")
            }
            return (session, try Attempt(institution, session, db, service))
        }
        let (credential, accounts) = try await reaching(institution, for: call) {
            () async throws(ConnectorError) -> ([UInt8], [BankAccount]) in
            let credential = try await signIn(attempt, connector, service)
            return (credential, try await connector.namedAccounts(Access(attempt, credential)))
        }
        let details = try choose(chosen, of: accounts.map(\.details), in: session)
        return (details, credential)
    }

    private static func signIn(
        _ attempt: Attempt,
        _ connector: any Connector,
        _ service: Service
    ) async throws(ConnectorError) -> [UInt8] {
        var step = try await connector.begin(attempt)
        for _ in 0..<maximumSteps {
            switch step {
            case .authorized(let credential):
                return credential
            case .prompt(let prompt, let resume):
                var answers: [String: String] = [:]
                for field in prompt.fields { answers[field.name] = field.options.first?.value ?? "test" }
                step = try await connector.resume(attempt, from: resume, .answers(answers))
            case .redirect(let address, let resume):
                let answer = try await returned(from: address, attempt, service)
                step = try await connector.resume(attempt, from: resume, .returned(answer))
            case .wait:
                throw .unsupported
            }
        }
        throw .invalidResponse
    }

    /// What a person who shares all would bring back from the test bank's page.
    /// - Throws: `unsupported` for a page that is not the test bank's.
    private static func returned(
        from address: String,
        _ attempt: Attempt,
        _ service: Service
    ) async throws(ConnectorError) -> [String: String] {
        guard let back = try? await service.bank?.approve(address),
            let query = back.split(separator: "?", maxSplits: 1).last,
            let form = try? Form.decode(Array(query.utf8))
        else { throw .unsupported }
        var answer: [String: String] = [:]
        for member in form.members { if case .value(let value) = member.node { answer[member.key] = value } }
        guard answer.removeValue(forKey: "state") == attempt.callback.state else { throw .authorizationFailed }
        return answer
    }

    private static func choose(
        _ chosen: [(path: String, value: String)]?,
        of accounts: [Account.Details],
        in session: Session
    ) throws(StripeError) -> [Account.Details] {
        guard let chosen, !chosen.isEmpty else {
            let eligible = accounts.filter { session.refusal(of: $0) == nil }
            guard !eligible.isEmpty else {
                throw StripeError(message: "No account at this institution can be linked in this session.")
            }
            return session.configuration.accountLimit.map { Array(eligible.prefix(Int($0))) } ?? eligible
        }
        var picked: [Account.Details] = []
        for (path, name) in chosen {
            guard let account = accounts.first(where: { $0.displayName == name }) else {
                let names = accounts.compactMap(\.displayName).joined(separator: ", ")
                throw StripeError(param: path, message: "No account '\(name.prefix(100))' here. There are: \(names)")
            }
            if let refusal = session.refusal(of: account) { throw StripeError(param: path, message: refusal) }
            if !picked.contains(where: { $0.institutionAccount == account.institutionAccount }) {
                picked.append(account)
            }
        }
        return picked
    }
}
