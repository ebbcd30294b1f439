/// The client routes of a sign-in at a bank: begin, answer its questions, see the accounts, choose.
///
/// The bank is asked between transactions, never in one. What came back is written only where the sign-in still stands
/// as it did, so that of two answers at once one counts.

internal import Connections
internal import Database
internal import Institutions
internal import Logging
internal import Vault
internal import Wire

enum SignIns {
    static func begin(_ call: Call) async throws -> Answer {
        let service = call.service
        let id = try call.lenient.requiredString("institution")
        guard let (institution, connector) = service.directory.find(id, livemode: call.scope.livemode) else {
            throw StripeError.noSuch("institution", id, at: .parameter("institution"), livemode: call.scope.livemode)
        }
        let returnURL = try call.lenient.string("return_url", maximum: 300)
        let (attempt, returnTo) = try await service.database.read { db in
            let session = try call.consentedSession(db)
            if let refusal = session.refusal(ofCountries: institution.countries) {
                throw StripeError(param: "institution", message: "\(institution.name) can't be linked: \(refusal)")
            }
            let returnTo = ReturnAddress(returnURL, call.flow?.end ?? .page, session)?.text
            return (try Attempt(institution, session, db, service), returnTo)
        }
        let step = try await reaching(institution, for: call) { () async throws(ConnectorError) in
            try await connector.begin(attempt)
        }
        let answer = try await call.write { db, json in
            let session = try call.consentedSession(db)
            let signIn = try SignIn.begin(
                at: institution.id,
                step.progress(attempt),
                for: session,
                returningTo: returnTo,
                db,
                service.world,
                service.ring
            )
            try signIn.write(to: &json, institution, service)
        }
        return marked(answer, step, attempt, call)
    }

    /// Marks the browser that leaves for the bank.
    private static func marked(_ answer: Answer, _ step: Step, _ attempt: Attempt, _ call: Call) -> Answer {
        guard case .redirect = step, call.isFromOwnPage else { return answer }
        var answer = answer
        answer.cookie = BrowserMark(state: attempt.callback.state, call.service).cookie
        return answer
    }

    static func respond(_ call: Call) async throws -> Answer {
        let service = call.service
        var answers: [String: String] = [:]
        for (name, value) in try call.lenient.pairs("response") ?? [] { answers[name] = value }
        let (signIn, institution, connector, attempt) = try await standing(call)
        // The answer to an earlier try may have been lost on its way.
        if signIn.status == .authorized || signIn.status == .selected {
            return try Call.answer { try signIn.write(to: &$0, institution, service) }
        }
        // Who is at the bank's own pages comes back by them.
        guard signIn.status == .prompting, !signIn.isAway, let note = try signIn.note(service.ring) else { throw ended }
        let (response, file) = try await Uploads.response(answers, at: signIn, service)
        let step: Step
        do {
            step = try await reaching(institution, for: call, within: response.patience) {
                () async throws(ConnectorError) in
                try await connector.resume(attempt, from: note, response)
            }
        } catch {
            _ = try await service.database.write { db in
                var current = try SignIn.find(signIn.id, of: call.consentedSession(db), db)
                if current.isAtSameStep(as: signIn) { try current.end(as: .failed, db) }
            }
            throw error
        }
        let answer = try await call.write { db, json in
            var current = try SignIn.find(signIn.id, of: call.consentedSession(db), db)
            if current.isAtSameStep(as: signIn) || current.isOvertaken(by: step) {
                try current.advance(step.progress(attempt), from: file, db, service.world, service.ring)
            }
            try current.write(to: &json, institution, service)
        }
        return marked(answer, step, attempt, call)
    }

    private static let ended = StripeError(param: "id", message: "This sign-in has ended. Begin a new one.")

    static func retrieve(_ call: Call) async throws -> Answer {
        let (signIn, institution, _, _) = try await standing(call)
        return try Call.answer { try signIn.write(to: &$0, institution, call.service) }
    }

    /// What came of a sign-in at the institution's own pages: 202 with an error for as long as nothing has.
    static func oauthResults(_ call: Call) async throws -> Answer {
        let (signIn, _, _, _) = try await standing(call)
        switch signIn.status {
        case .prompting where !signIn.isOverdue(call.service.world):
            throw StripeError(status: 202, message: "The account holder has not come back from the institution yet.")
        case .authorized, .selected:
            return Call.answer { json in
                json.object { json in
                    json.field("state", signIn.id)
                    json.field("status", "success")
                }
            }
        case .cancelled, .failed, .prompting:
            throw StripeError(message: "The sign-in at the institution did not succeed.").with([
                ("reason", .text(signIn.failure ?? "authorization_failed"))
            ])
        }
    }

    /// The sign-in, once the person is back and was let in.
    static func authorized(_ call: Call) async throws -> Answer {
        let (signIn, institution, _, _) = try await standing(call)
        guard signIn.status == .authorized || signIn.status == .selected else {
            throw StripeError(param: "id", message: "The account holder has not signed in at \(institution.name).")
                .with([
                    ("reason", .text(signIn.failure ?? "authorization_failed"))
                ])
        }
        return try Call.answer { try signIn.write(to: &$0, institution, call.service) }
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
            try signIn.write(to: &json, institution, call.service)
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
        let refusals = offered.accounts.map { session.refusal(of: $0, isChosen: false) }
        if !refusals.isEmpty, refusals.allSatisfy({ $0 != nil }) {
            // What the institution gave as the reason for all of them.
            let reason = Set(offered.accounts.map(\.refusal)).count == 1 ? offered.accounts[0].refusal : nil
            let message = "No account at \(offered.institution.name) can be linked in this session."
            throw StripeError(message: message + (reason.map { " \($0)" } ?? "")).with(
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
        try correct(&picked, call)
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
                    from: signIn,
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

    /// What the person says of accounts whose kind the institution does not tell: `corrections[]=savings:<id>`.
    private static func correct(_ picked: inout [Account.Details], _ call: Call) throws(StripeError) {
        for (path, text) in try call.lenient.strings("corrections") ?? [] {
            let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, let index = picked.firstIndex(where: { $0.institutionAccount == parts[1] }) else {
                throw StripeError(param: path, message: "Invalid \(path): this account was not chosen.")
            }
            try picked[index].correct(to: String(parts[0]), param: path)
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
        guard let (credential, renewer) = try await credential(signIn, call) else {
            throw StripeError(param: "id", message: "The account holder has not signed in at \(institution.name).")
        }
        let file = try await call.service.database.read { db in
            try UploadedFile.given(at: signIn, db, call.service.world)
        }
        let upload = file.map { Upload($0, call.service) }
        let accounts = try await reaching(institution, for: call) { () async throws(ConnectorError) in
            try await connector.namedAccounts(Access(attempt, credential, upload: upload, renewer))
        }
        return try await call.service.database.read { db in
            let session = try call.consentedSession(db)
            let linked = try Account.linked(in: session, at: institution.id, db)
            let offered = Offered(
                signIn: signIn.id,
                institution: institution,
                accounts: try Account.remembered(accounts.map(\.details), at: institution.id, of: session, db),
                linked: linked
            )
            return (offered, session)
        }
    }

    /// What opens the accounts of a sign-in, and how it is renewed where it is kept: once accounts are linked, that is
    /// with their authorization, whose tokens no other copy may spend.
    private static func credential(_ signIn: SignIn, _ call: Call) async throws -> ([UInt8], Renewer)? {
        let (service, scope) = (call.service, call.scope)
        let (session, linked, sealed) = try await service.database.read { db in
            let session = try call.consentedSession(db)
            guard signIn.status == .selected else { return (session, nil as String?, nil as [UInt8]?) }
            // Its own, or where the accounts were linked anew in the Session the one that took its place.
            if let own = signIn.authorization, let sealed = try Authorization.credential(of: own, in: scope, db) {
                return (session, own, sealed)
            }
            guard let linked = try Account.authorization(in: session, at: signIn.institution, db) else {
                return (session, nil, nil)
            }
            return (session, linked, try Authorization.credential(of: linked, in: scope, db))
        }
        if let linked, let sealed {
            let credential = try service.ring.open(sealed, for: .bankCredential, owner: linked)
            return (credential, Renewer(of: credential, keptFor: linked, in: scope, service))
        }
        guard let credential = try signIn.credential(service.ring) else { return nil }
        return (credential, Renewer(of: credential, keptIn: signIn, of: session, service))
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
                    json.field("category_kind", details.isCategoryGuessed ? details.kind : nil)
                    json.field("displayable_account_numbers", details.last4)
                    json.key("institution")
                    offered.institution.write(to: &json)
                    json.field("institution_name", details.institutionName ?? offered.institution.name)
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

/// Asks an institution, within a time that a person waits, and says its refusal in the words of the API.
/// - Parameter patience: clients of the flow give up after 20 seconds, and wait longer for a file to be read.
func reaching<T: Sendable>(
    _ institution: Institution,
    for call: Call,
    within patience: Duration = .seconds(17),
    _ ask: @escaping @Sendable () async throws(ConnectorError) -> T
) async throws(StripeError) -> T {
    let asking = Task { () async -> Result<T, ConnectorError> in
        do throws(ConnectorError) { return .success(try await ask()) } catch { return .failure(error) }
    }
    let timer = Task {
        try await Task.sleep(for: patience)
        asking.cancel()
    }
    let result = await withTaskCancellationHandler {
        await asking.value
    } onCancel: {
        asking.cancel()
    }
    timer.cancel()
    switch result {
    case .success(let answer): return answer
    case .failure(let error):
        error.log(institution, call.service.logger, requestID: call.requestID, isLate: asking.isCancelled)
        if asking.isCancelled {
            throw StripeError(message: "\(institution.name) took too long to answer.").with([
                ("reason", .text("institution_timeout"))
            ])
        }
        throw error.refusal(of: institution)
    }
}

extension ConnectorError {
    /// Says in the log why nobody was let in. The error is a word, and holds nothing of what was sent or answered.
    /// - Parameter isLate: whether nobody waited any longer.
    func log(_ institution: Institution, _ logger: Logger, requestID: String? = nil, isLate: Bool = false) {
        let level: Logger.Level =
            switch self {
            // The operator's to mend.
            case .misconfigured, .untrusted, .invalidResponse: .warning
            default: .info
            }
        var metadata: Logger.Metadata = [
            "institution": "\(institution.id)", "reason": "\(isLate ? "no answer in time" : "\(self)")",
        ]
        if let requestID { metadata["request_id"] = "\(requestID)" }
        logger.log(level: level, "sign-in at an institution failed", metadata: metadata)
    }

    fileprivate func refusal(of institution: Institution) -> StripeError {
        switch self {
        case .institutionUnavailable(let until):
            var extra: [(name: String, value: StripeError.Extra)] = [("institution_unavailable", .bool(true))]
            if let until { extra.insert(("expected_to_be_available_at", .int(until)), at: 0) }
            return StripeError(message: "\(institution.name) is currently unavailable.").with(extra)
        case .untrusted: return ConnectorError.institutionUnavailable(until: nil).refusal(of: institution)
        case .rateLimited:
            return StripeError(message: "\(institution.name) was asked too often. Try again later.")
        case .authorizationFailed, .cancelled, .relinkRequired, .accountRelinkRequired:
            return StripeError(message: "\(institution.name) refused the sign-in.").with([
                ("reason", .text("authorization_failed"))
            ])
        case .unsupported:
            return StripeError(
                message: "\(institution.name) does not offer this, or not without a person at its pages."
            )
        case .misconfigured(let setting):
            return StripeError(
                message: "This server is not set up for \(institution.name) as that expects: see '\(setting)'."
            )
        case .accountClosed, .invalidResponse, .superseded:
            return StripeError(message: "\(institution.name) gave an answer that could not be understood.")
        }
    }

    /// What clients of the flow call it.
    var failure: String {
        switch self {
        case .institutionUnavailable, .untrusted: "institution_unavailable_unplanned"
        case .cancelled: "cancelled"
        case .authorizationFailed, .relinkRequired, .accountRelinkRequired: "authorization_failed"
        case .rateLimited, .accountClosed, .invalidResponse, .misconfigured, .superseded, .unsupported:
            "unexpected_error"
        }
    }
}

/// Where the last page of a sign-in at an institution leads, other than back to the flow: into the app that opened it.
struct ReturnAddress {
    let text: String

    /// - Parameter name: what a mobile SDK calls the place that it waits at, behind `stripe://`.
    init?(_ name: String?, _ end: FlowToken.End, _ session: Session) {
        if let name, !name.isEmpty, name.utf8.allSatisfy(Self.isPlain) {
            text = "stripe://\(name)"
            return
        }
        switch end {
        case .app(let id):
            text = id.isEmpty ? "stripe://financial-connections-lite/auth_redirect" : "stripe://auth-redirect/\(id)"
        case .page:
            guard let address = session.configuration.returnURL else { return nil }
            text = address
        }
    }

    private static func isPlain(_ byte: UInt8) -> Bool {
        switch byte {
        case 48...57, 65...90, 97...122: true
        default: "-._/".utf8.contains(byte)
        }
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
            callback: .init(
                url: "\(service.settings.publicURL())/flow/return",
                state: service.world.secret("", length: 43)
            )
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
    init(_ attempt: Attempt, _ credential: [UInt8], upload: Upload?, _ renewer: Renewer) {
        self.init(
            institution: attempt.institution,
            holder: attempt.holder,
            now: attempt.now,
            credential: credential,
            isPersonPresent: true,
            upload: upload,
            renew: renewer.callAsFunction
        )
    }

    /// The access of a sign-in that is kept nowhere: it is as good as its credential.
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

extension Renewer {
    /// Of the credential that a sign-in keeps until accounts are linked.
    fileprivate init(of credential: [UInt8], keptIn signIn: SignIn, of session: Session, _ service: Service) {
        self.init {
            try await service.database.write { db in
                Turn(try signIn.beginRenewal(known: credential, db, service.world, service.ring))
            }
        } end: { fence, renewed in
            try await service.database.write { db in
                try signIn.endRenewal(fence: fence, renewed: renewed, of: session, db, service.ring)
            }
        }
    }

    /// Of the credential of an authorization.
    fileprivate init(of credential: [UInt8], keptFor authorization: String, in scope: Scope, _ service: Service) {
        self.init {
            try await service.database.write { db in
                let (world, ring) = (service.world, service.ring)
                return Turn(
                    try Authorization.beginRenewal(of: authorization, known: credential, in: scope, db, world, ring)
                )
            }
        } end: { fence, renewed in
            try await service.database.write { db in
                try Authorization.endRenewal(
                    of: authorization,
                    fence: fence,
                    renewed: renewed,
                    in: scope,
                    db,
                    service.ring
                )
            }
        }
    }
}

extension Renewer.Turn {
    fileprivate init(_ turn: Authorization.Turn) {
        self =
            switch turn {
            case .renewed(let credential): .renewed(credential)
            case .busy: .busy
            case .granted(let stored, let fence): .granted(stored, fence: fence)
            case .gone: .gone
            }
    }
}

extension Step {
    func progress(_ attempt: Attempt) -> SignIn.Progress {
        switch self {
        case .prompt(let prompt, let resume): .prompt(json: prompt.json, note: resume)
        case .redirect(let url, let resume): .redirect(address: url, state: attempt.callback.state, note: resume)
        case .wait(_, let resume): .wait(note: resume)
        case .authorized(let credential): .authorized(credential: credential)
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
                        json.field("required", field.isRequired)
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
    /// Whether the institution let the person in while another answer to the same question was refused: what is given
    /// out once, for one of two answers at once, must not be lost for the other.
    fileprivate func isOvertaken(by step: Step) -> Bool {
        guard case .authorized = step else { return false }
        return status == .prompting && !isAway || status == .failed
    }

    func write(to json: inout JSONWriter, _ institution: Institution, _ service: Service) throws {
        let isOverdue = isOverdue(service.world)
        let nextPane =
            switch status {
            case .prompting: isOverdue ? "institution_picker" : "partner_auth"
            case .authorized: "account_picker"
            case .selected: "success"
            case .cancelled, .failed: "institution_picker"
            }
        let address = isOverdue ? nil : try address(service.ring)
        json.object { json in
            json.field("id", id)
            json.field("object", "auth_session")
            json.field("failure", isOverdue ? "institution_timeout" : failure)
            json.field("flow", "testmode")
            json.key("institution")
            institution.write(to: &json)
            json.field("is_oauth", address != nil)
            json.field("next_pane", nextPane)
            if let prompt { json.field("prompt", rendered: Array(prompt.utf8)) } else { json.nullField("prompt") }
            json.field("skip_account_selection", false)
            json.field("url", address)
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
            formerNames: formerIDs,
            otherNames: otherIDs,
            displayName: displayName,
            last4: last4,
            category: category.rawValue,
            subcategory: subcategory.rawValue,
            supportsPayments: supportsPayments,
            numbers: Account.Number.json(numbers),
            areNumbersUnknown: areNumbersUnknown,
            expectedDeactivation: expectedDeactivation,
            closesAfterLinking: closesAfterLinking,
            institutionName: institutionName,
            isCategoryGuessed: isCategoryGuessed,
            refusal: refusal
        )
    }
}
