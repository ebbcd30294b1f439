/// The client routes of a sign-in at a bank: begin, answer its questions, see the accounts, choose.
///
/// The bank is asked between transactions, never in one. What came back is written only where the sign-in still stands
/// as it did, so that of two answers at once one counts.

internal import Connections
internal import Database
internal import Institutions
internal import Vault
internal import Wire

enum SignIns {
    static func begin(_ call: Call) async throws -> Answer {
        let service = call.service
        let id = try call.lenient.requiredString("institution")
        guard let (institution, connector) = service.directory.find(id, livemode: call.scope.livemode) else {
            throw StripeError.noSuch("institution", id, at: .parameter("institution"), livemode: call.scope.livemode)
        }
        let attempt = try await service.database.read { db in
            let session = try call.consentedSession(db)
            if let refusal = session.refusal(ofCountries: institution.countries) {
                throw StripeError(param: "institution", message: "\(institution.name) can't be linked: \(refusal)")
            }
            return try Attempt(institution, session, db, service)
        }
        let step = try await reaching(institution) { () async throws(ConnectorError) in
            try await connector.begin(attempt)
        }
        return try await call.write { db, json in
            let session = try call.consentedSession(db)
            let signIn = try SignIn.begin(
                at: institution.id,
                try step.progress(),
                for: session,
                db,
                service.world,
                service.ring
            )
            signIn.write(to: &json, institution)
        }
    }

    static func respond(_ call: Call) async throws -> Answer {
        let service = call.service
        var answers: [String: String] = [:]
        for (name, value) in try call.lenient.pairs("response") ?? [] { answers[name] = value }
        let (signIn, institution, connector, attempt) = try await standing(call)
        // The answer to an earlier try may have been lost on its way.
        if signIn.status == .authorized || signIn.status == .selected {
            return Call.answer { signIn.write(to: &$0, institution) }
        }
        guard signIn.status == .prompting, let note = try signIn.note(service.ring) else { throw ended }
        let step: Step
        do {
            step = try await reaching(institution) { [answers] () async throws(ConnectorError) in
                try await connector.resume(attempt, from: note, .answers(answers))
            }
        } catch {
            _ = try await service.database.write { db in
                var current = try SignIn.find(signIn.id, of: call.consentedSession(db), db)
                if current.isAtSameStep(as: signIn) { try current.end(as: .failed, db) }
            }
            throw error
        }
        return try await call.write { db, json in
            var current = try SignIn.find(signIn.id, of: call.consentedSession(db), db)
            if current.isAtSameStep(as: signIn) { try current.advance(try step.progress(), db, service.ring) }
            current.write(to: &json, institution)
        }
    }

    private static let ended = StripeError(param: "id", message: "This sign-in has ended. Begin a new one.")

    static func retrieve(_ call: Call) async throws -> Answer {
        let (signIn, institution, _, _) = try await standing(call)
        return Call.answer { signIn.write(to: &$0, institution) }
    }

    static func cancel(_ call: Call) async throws -> Answer {
        let id = try call.lenient.requiredString("id")
        return try await call.write { db, json in
            var signIn = try SignIn.find(id, of: call.consentedSession(db), db)
            if signIn.status != .selected { try signIn.end(as: .cancelled, db) }
            guard
                let institution = call.service.directory.find(signIn.institution, livemode: call.scope.livemode)?
                    .institution
            else {
                throw StripeError.internalFault
            }
            signIn.write(to: &json, institution)
        }
    }

    /// The mobile SDKs report here what a person does; nothing of it is kept.
    static func events(_ call: Call) async throws -> Answer {
        try await call.read { db, json in
            _ = try call.session(db)
            json.object { _ in }
        }
    }

    // MARK: Accounts

    static func accounts(_ call: Call) async throws -> Answer {
        let (offered, session) = try await offered(call)
        let refusals = offered.accounts.map { session.refusal(of: $0) }
        if !refusals.isEmpty, refusals.allSatisfy({ $0 != nil }) {
            throw StripeError(message: "No account at \(offered.institution.name) can be linked in this session.").with(
                [
                    ("reason", .text("no_supported_payment_method_type_accounts_found")),
                    ("total_accounts_count", .int(Int64(refusals.count))),
                ])
        }
        return Call.answer { json in
            json.object { json in
                json.field("object", "list")
                let linked = offered.linked
                writeAccounts(
                    zip(offered.accounts, refusals).map { ($0, $1, linked[$0.institutionAccount]) },
                    offered,
                    to: &json
                )
                json.field("has_more", false)
                json.field("next_pane", "account_picker")
                json.field("skip_account_selection", false)
                json.field("url", "/v1/connections/auth_sessions/accounts")
            }
        }
    }

    /// Links the accounts that were chosen. A repeated request is answered with what it linked.
    static func selectAccounts(_ call: Call) async throws -> Answer {
        let service = call.service
        let chosen = try call.lenient.strings("selected_accounts") ?? []
        guard !chosen.isEmpty else { throw StripeError.missing("selected_accounts") }
        let (offered, _) = try await offered(call)
        var picked: [Account.Details] = []
        for (path, id) in chosen where !picked.contains(where: { $0.institutionAccount == id }) {
            guard let account = offered.accounts.first(where: { $0.institutionAccount == id }) else {
                throw StripeError.noSuch("account", id, at: .parameter(path), livemode: call.scope.livemode)
            }
            picked.append(account)
        }
        return try await call.write { [picked] db, json in
            let session = try call.consentedSession(db)
            var signIn = try SignIn.find(offered.signIn, of: session, db)
            guard let credential = try signIn.credential(service.ring) else { throw ended }
            let linked: [String: String]
            if signIn.status == .selected {
                linked = try Account.linked(in: session, at: offered.institution.id, db)
                guard picked.allSatisfy({ linked[$0.institutionAccount] != nil }) else {
                    throw StripeError(
                        param: "selected_accounts",
                        message: "Other accounts were chosen in this sign-in already."
                    )
                }
            } else {
                linked = try Account.link(
                    picked,
                    at: (offered.institution.id, offered.institution.name),
                    credential: credential,
                    to: session,
                    by: call.cause,
                    db,
                    service.world,
                    service.ring
                )
                try signIn.select(db)
            }
            json.object { json in
                json.field("object", "list")
                writeAccounts(picked.map { ($0, nil, linked[$0.institutionAccount]) }, offered, to: &json)
                json.field("has_more", false)
                json.field("next_pane", "success")
                json.field("url", "/v1/connections/auth_sessions/selected_accounts")
            }
        }
    }

    private struct Offered: Sendable {
        let signIn: String
        let institution: Institution
        let accounts: [Account.Details]
        /// What this Session has linked there before, `fca_…` by the institution's own names.
        let linked: [String: String]
    }

    /// The accounts that a finished sign-in opens, fresh from the institution.
    private static func offered(_ call: Call) async throws -> (Offered, Session) {
        let (signIn, institution, connector, attempt) = try await standing(call)
        guard let credential = try signIn.credential(call.service.ring) else {
            throw StripeError(param: "id", message: "The account holder has not signed in at \(institution.name).")
        }
        let accounts = try await reaching(institution) { () async throws(ConnectorError) in
            try await connector.accounts(Access(attempt, credential))
        }
        return try await call.service.database.read { db in
            let session = try call.consentedSession(db)
            let linked = try Account.linked(in: session, at: institution.id, db)
            let offered = Offered(
                signIn: signIn.id,
                institution: institution,
                accounts: accounts.map(\.details),
                linked: linked
            )
            return (offered, session)
        }
    }

    private static func writeAccounts(
        _ accounts: [(details: Account.Details, refusal: String?, linked: String?)],
        _ offered: Offered,
        to json: inout JSONWriter
    ) {
        json.array("data") { json in
            for (details, refusal, linked) in accounts {
                json.element()
                json.object { json in
                    json.field("id", details.institutionAccount)
                    json.field("allow_selection", refusal == nil)
                    json.field("allow_selection_message", refusal)
                    json.field("authorization", offered.signIn)
                    json.field("category", details.category)
                    json.field("displayable_account_numbers", details.last4)
                    json.key("institution")
                    offered.institution.write(to: &json)
                    json.field("institution_name", offered.institution.name)
                    json.field("linked_account_id", linked)
                    json.field("name", details.displayName ?? offered.institution.name)
                    json.field("subcategory", details.subcategory)
                    json.field(
                        "supported_payment_method_types",
                        details.supportsPayments ? ["us_bank_account"] : []
                    )
                }
            }
        }
    }

    // MARK: The sign-in as it stands

    private static func standing(
        _ call: Call
    ) async throws -> (signIn: SignIn, institution: Institution, connector: any Connector, attempt: Attempt) {
        let id = try call.lenient.requiredString("id")
        let service = call.service
        let (signIn, session, isRelink, now) = try await service.database.read { db in
            let session = try call.consentedSession(db)
            let signIn = try SignIn.find(id, of: session, db)
            let isRelink = try Account.isKnown(
                institution: signIn.institution,
                to: session.holder.id,
                in: session.scope,
                db
            )
            return (signIn, session, isRelink, try session.time(db, service.world))
        }
        guard let (institution, connector) = service.directory.find(signIn.institution, livemode: call.scope.livemode)
        else {
            throw StripeError(param: "id", message: "The institution of this sign-in is no longer served.")
        }
        let attempt = Attempt(institution, session, isRelink: isRelink, now: now, service)
        return (signIn, institution, connector, attempt)
    }
}

/// Asks an institution, and says its refusal in the words of the API.
func reaching<T: Sendable>(
    _ institution: Institution,
    _ ask: () async throws(ConnectorError) -> T
) async throws(StripeError) -> T {
    do {
        return try await ask()
    } catch {
        throw refusal(error, of: institution)
    }
}

private func refusal(_ error: ConnectorError, of institution: Institution) -> StripeError {
    switch error {
    case .institutionUnavailable(let until):
        var extra: [(name: String, value: StripeError.Extra)] = [("institution_unavailable", .bool(true))]
        if let until { extra.insert(("expected_to_be_available_at", .int(until)), at: 0) }
        return StripeError(message: "\(institution.name) is currently unavailable.").with(extra)
    case .rateLimited:
        return StripeError(message: "\(institution.name) was asked too often. Try again later.")
    case .authorizationFailed, .cancelled, .relinkRequired:
        return StripeError(message: "\(institution.name) refused the sign-in.").with([
            ("reason", .text("authorization_failed"))
        ])
    case .accountClosed, .invalidResponse, .superseded, .unsupported:
        return StripeError(message: "\(institution.name) gave an answer that could not be understood.")
    }
}

extension Attempt {
    init(_ institution: Institution, _ session: Session, _ db: Connection, _ service: Service) throws {
        let isRelink = try Account.isKnown(
            institution: institution.id,
            to: session.holder.id,
            in: session.scope,
            db
        )
        let now = try session.time(db, service.world)
        self.init(institution, session, isRelink: isRelink, now: now, service)
    }

    init(_ institution: Institution, _ session: Session, isRelink: Bool, now: Int64, _ service: Service) {
        self.init(
            institution: institution,
            holder: session.holder.nameAtInstitutions(in: session.scope),
            now: now,
            isRelink: isRelink,
            callback: .init(url: "\(service.settings.publicURL())/flow/return", state: "")
        )
    }
}

extension Session {
    /// The account holder's time, by the test clock that they are on.
    fileprivate func time(_ db: Connection, _ world: World) throws -> Int64 {
        try holder.world(in: scope, db, world).now()
    }
}

extension Access {
    /// The access of a sign-in whose credential is not stored yet, and so cannot be replaced.
    init(_ attempt: Attempt, _ credential: [UInt8]) {
        self.init(
            institution: attempt.institution,
            holder: attempt.holder,
            now: attempt.now,
            credential: credential,
            isPersonPresent: true
        ) { _ throws(ConnectorError) in throw .superseded }
    }
}

extension Step {
    /// - Throws: where the sign-in leaves for the institution's own pages, which the flow does not do yet.
    func progress() throws(StripeError) -> SignIn.Progress {
        switch self {
        case .prompt(let prompt, let resume): return .prompt(json: prompt.json, note: resume)
        case .authorized(let credential): return .authorized(credential: credential)
        case .redirect, .wait: throw .internalFault
        }
    }
}

extension Prompt {
    fileprivate var json: String {
        var json = JSONWriter()
        json.object { json in
            json.field("error", error)
            json.array("fields") { json in
                for field in fields {
                    json.element()
                    json.object { json in
                        json.field("kind", field.kind.rawValue)
                        json.field("label", field.label)
                        json.field("name", field.name)
                        json.array("options") { json in
                            for option in field.options {
                                json.element()
                                json.object { json in
                                    json.field("label", option.label)
                                    json.field("value", option.value)
                                }
                            }
                        }
                    }
                }
            }
            json.field("message", message)
            json.field("submit_label", submitLabel)
            json.field("title", title)
        }
        return String(decoding: json.bytes, as: UTF8.self)
    }
}

extension SignIn {
    fileprivate func write(to json: inout JSONWriter, _ institution: Institution) {
        let nextPane =
            switch status {
            case .prompting: "partner_auth"
            case .authorized: "account_picker"
            case .selected: "success"
            case .cancelled, .failed: "institution_picker"
            }
        json.object { json in
            json.field("id", id)
            json.field("object", "auth_session")
            json.field("flow", "testmode")
            json.key("institution")
            institution.write(to: &json)
            json.field("is_oauth", false)
            json.field("next_pane", nextPane)
            if let prompt { json.field("prompt", rendered: Array(prompt.utf8)) } else { json.nullField("prompt") }
            json.field("skip_account_selection", false)
            json.nullField("url")
        }
    }
}

extension BankAccount {
    var details: Account.Details {
        let numbers = numbers.map {
            Account.Number(
                identifierType: $0.identifier.rawValue,
                status: $0.status.rawValue,
                expectedExpiry: $0.expectedExpiry
            )
        }
        return Account.Details(
            institutionAccount: id,
            displayName: displayName,
            last4: last4,
            category: category.rawValue,
            subcategory: subcategory.rawValue,
            supportsPayments: supportsPayments,
            numbers: Account.Number.json(numbers),
            expectedDeactivation: expectedDeactivation,
            closesAfterLinking: closesAfterLinking
        )
    }
}
