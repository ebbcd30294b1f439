/// OFX Direct Connect: a bank's own server, asked with the person's user name and password, or with a token of theirs.
///
/// It promises to ask the bank's profile first and to do what that wants: a client id, a token, questions to the person
/// before or after the password. It keeps the password in the credential alone, for the protocol has nothing better,
/// and the access key that a bank gives for it beside it. It refuses to go on where the bank locks the person out, and
/// never tries a password twice: requests with a stored one take turns, and one that was refused is not sent again.

internal import FoundationEssentials
internal import Outbound
internal import Synchronization

public struct OFXDirect: BalanceProviding, OwnershipProviding, TransactionProviding {
    public let isTest = false
    public let institutions: [Institution]
    public let policy: RefreshPolicy

    private let configuration: Configuration
    private let line: Line
    private let mark: @Sendable (String) -> String
    private let secret: @Sendable (_ length: Int) -> String
    private let turns = OFXTurns()

    /// What the operator knows of the bank.
    public struct Configuration: Sendable {
        public var url: String
        public var organization: String
        public var institutionID: String
        /// 102, 103, 151 or 160 for SGML, 200 to 230 for XML.
        public var version = 103
        public var application = "QWIN"
        public var applicationVersion = "2700"
        /// The bank writes what is owed on a card or a line of credit without a minus.
        public var owesPositive = false

        public init(url: String, organization: String, institutionID: String) {
            self.url = url
            self.organization = organization
            self.institutionID = institutionID
        }
    }

    public static let standardPolicy = RefreshPolicy(interval: 3600, concurrency: 2, dailyBudget: nil)

    /// - Parameters:
    ///   - mark: a stable, irreversible mark of a text, for the ids of accounts.
    ///   - secret: so many random letters and digits.
    public init(
        _ institution: Institution,
        policy: RefreshPolicy = standardPolicy,
        _ configuration: Configuration,
        line: Line,
        mark: @escaping @Sendable (String) -> String,
        secret: @escaping @Sendable (_ length: Int) -> String
    ) {
        institutions = [institution]
        self.policy = policy
        self.configuration = configuration
        self.line = line
        self.mark = mark
        self.secret = secret
    }

    /// What opens the accounts.
    private struct Credential: Codable, Sendable {
        var user = ""
        var password = ""
        /// In place of both.
        var token: String?
        var accessKey: String?
        var clientID: String
        /// Whether the bank wants the client id whatever the version.
        var needsClientID: Bool?
        /// Where each message set is asked, where it is not the address that the operator gave.
        var addresses: [String: String] = [:]
        var accounts: [OFXIndex.Account] = []

        /// What the bank lets in or not.
        var proof: String { "ofx sign-on|\(user)|\(password)|\(token ?? "")" }
    }

    /// What is known while the person signs in.
    private struct Note: Codable {
        enum Form: String, Codable { case signOn, challenge }

        var form: Form
        var credential: Credential
        var needsToken = false
        var asksAuthenticationToken = false
        var asksChallengeFirst = false
        var tokenLabel: String?
        var questions: [Question] = []

        struct Question: Codable {
            let id: String
            let label: String
        }
    }

    // MARK: Sign-in

    public func begin(_ attempt: Attempt) async throws(ConnectorError) -> Step {
        var note = Note(form: .signOn, credential: Credential(clientID: clientID(attempt)))
        // A bank that does not tell its profile is asked as banks mostly are.
        if let profile = try await profile(clientID: note.credential.clientID, now: attempt.now) {
            note.needsToken = profile.needsAccessToken
            note.asksAuthenticationToken = profile.asksTokenFirst
            note.asksChallengeFirst = profile.asksChallengeFirst
            note.tokenLabel = profile.tokenLabel
            note.credential.needsClientID = profile.needsClientID
            note.credential.addresses = profile.addresses.filter { $0.value.lowercased().hasPrefix("http") }
        }
        return try ask(note, attempt)
    }

    public func resume(
        _ attempt: Attempt,
        from resume: [UInt8],
        _ response: Response
    ) async throws(ConnectorError) -> Step {
        guard case .answers(let answers) = response,
            var note = try? JSONDecoder().decode(Note.self, from: Data(resume))
        else { throw .invalidResponse }
        switch note.form {
        case .signOn:
            if note.needsToken {
                note.credential.token = answers["token"]?.filter { !$0.isWhitespace }
                guard note.credential.token?.isEmpty == false else {
                    return try ask(note, attempt, error: "Fill in the access token.")
                }
            } else {
                (note.credential.user, note.credential.password) = (answers["user"] ?? "", answers["password"] ?? "")
                guard !note.credential.user.isEmpty, !note.credential.password.isEmpty else {
                    return try ask(note, attempt, error: "Fill in your user name and your password.")
                }
            }
            let code = answers["code"].flatMap { $0.isEmpty ? nil : $0 }
            if note.asksChallengeFirst { return try await challenge(note, attempt) }
            return try await signOn(note, attempt, authenticationToken: code)
        case .challenge:
            let given = note.questions.map { ($0.id, answers[$0.id] ?? "") }
            guard given.allSatisfy({ !$0.1.isEmpty }) else {
                return try questions(note, error: "Answer all questions.")
            }
            return try await signOn(note, attempt, answers: given)
        }
    }

    /// Signs the person on by asking for the accounts.
    private func signOn(
        _ note: Note,
        _ attempt: Attempt,
        authenticationToken: String? = nil,
        answers: [(id: String, answer: String)] = []
    ) async throws(ConnectorError) -> Step {
        var note = note
        var signOn = signOn(note.credential)
        signOn.authenticationToken = authenticationToken
        signOn.challengeAnswers = answers
        let answer = try await send(signOn, to: note.credential.addresses["SIGNUPMSGSETV1"], attempt.now) { request in
            request.askAccounts(secret(32))
        }
        if let refusal = answer.refusal {
            switch refusal.code {
            case 3000 where answers.isEmpty: return try await challenge(note, attempt)
            case 3000, 3001: return try ask(note, attempt, error: "The answers were not right. Sign in again.")
            case 15_500: return try ask(note, attempt, error: "The user name or the password is not right.")
            case 15_502: return try ask(note, attempt, error: "The bank has locked this user name. Call the bank.")
            case 15_501: return try ask(note, attempt, error: "Somebody is signed in with this user name. Try later.")
            case 15_000:
                return try ask(note, attempt, error: "The bank wants a new password. Set one at the bank first.")
            case 15_512 where authenticationToken == nil:
                note.asksAuthenticationToken = true
                return try ask(note, attempt)
            case 15_512, 15_513: return try ask(note, attempt, error: "The code was not right.")
            case 15_510, 15_511: throw .authorizationFailed
            default: throw error(refusal)
            }
        }
        turns.forget(mark(note.credential.proof))
        note.credential.accessKey = answer.signOn.accessKey
        note.credential.accounts = answer.offers.compactMap { offer in
            offer.account.flatMap {
                $0.number.isEmpty ? nil : OFXIndex.Account(account: $0, description: offer.description)
            }
        }
        return .authorized(credential: bytes(note.credential))
    }

    private func ask(_ note: Note, _ attempt: Attempt, error: String? = nil) throws(ConnectorError) -> Step {
        var note = note
        // What was typed is typed anew.
        (note.form, note.credential.user, note.credential.password, note.credential.token) = (.signOn, "", "", nil)
        var fields: [Prompt.Field] =
            note.needsToken
            ? [.init(name: "token", label: "Access token", kind: .password)]
            : [
                .init(name: "user", label: "User name", kind: .text),
                .init(name: "password", label: "Password", kind: .password),
            ]
        if note.asksAuthenticationToken {
            fields.append(.init(name: "code", label: note.tokenLabel ?? "Code from your bank", kind: .text))
        }
        let prompt = Prompt(
            title: "Sign in to \(attempt.institution.name)",
            message: nil,
            fields: fields,
            error: error,
            submitLabel: "Sign in"
        )
        return .prompt(prompt, resume: bytes(note))
    }

    /// Fetches the bank's questions to the person.
    private func challenge(_ note: Note, _ attempt: Attempt) async throws(ConnectorError) -> Step {
        var note = note
        let answer = try await send(signOn(note.credential), to: nil, attempt.now) { request in
            request.askChallenge(secret(32), now: attempt.now)
        }
        if answer.signOn.status.code == 15_500 {
            return try ask(note, attempt, error: "The user name or the password is not right.")
        }
        note.form = .challenge
        note.questions = answer.challenges.map { .init(id: $0.id, label: $0.label.isEmpty ? $0.id : $0.label) }
        guard !note.questions.isEmpty else { throw .authorizationFailed }
        return try questions(note, error: nil)
    }

    private func questions(_ note: Note, error: String?) throws(ConnectorError) -> Step {
        let prompt = Prompt(
            title: "Your bank asks",
            message: nil,
            fields: note.questions.map { .init(name: $0.id, label: $0.label, kind: .password) },
            error: error,
            submitLabel: "Continue"
        )
        return .prompt(prompt, resume: bytes(note))
    }

    // MARK: Data

    public func accounts(_ access: Access) async throws(ConnectorError) -> [BankAccount] {
        try credential(access).accounts.map {
            $0.account.bankAccount(described: $0.description, institutionName: nil, mark: mark)
        }
    }

    private static let firstWithOwners = 203
    private static let firstWithClientID = 103

    public func owners(
        of account: BankAccount.Reference,
        _ access: Access
    ) async throws(ConnectorError) -> [Owner] {
        let credential = try credential(access)
        let answer = try await ask(credential, access, at: "SIGNUPMSGSETV1") { request in
            request.askAccounts(secret(32))
        }
        let offers = answer.offers.filter { $0.account.map { mark($0.key) } == account.id }
        guard !offers.isEmpty else { throw .accountClosed }
        var owners: [Owner] = []
        for owner in offers.flatMap(\.owners) where !owners.contains(owner) { owners.append(owner) }
        // Older versions have no place for them: that there are none does not mean that nobody owns the account.
        guard !owners.isEmpty || configuration.version >= Self.firstWithOwners else { throw .unsupported }
        return owners
    }

    public func balance(
        of account: BankAccount.Reference,
        _ access: Access
    ) async throws(ConnectorError) -> Balance {
        let answer = try await statement(of: account, from: nil, access)
        let balances = answer.statements.map {
            $0.statement.balance(
                as: account.category,
                currency: nil,
                latest: answer.signOn.serverTime?.seconds ?? access.now,
                owesPositive: configuration.owesPositive
            )
        }
        guard let balance = Balance(newestOf: balances.compactMap { $0 }) else { throw .unsupported }
        return balance
    }

    /// How far the refreshes of one account are.
    private struct Place: Codable {
        let until: Int64
        /// ``OFXPendingLists/made``
        let pending: [String: Int64]
    }

    private static let day: Int64 = 86_400
    private static let firstDays: Int64 = 180
    /// What may still change.
    private static let overlap: Int64 = 30

    public func transactions(
        of account: BankAccount.Reference,
        after cursor: [UInt8]?,
        _ access: Access
    ) async throws(ConnectorError) -> TransactionPage {
        var begin = access.now - Self.firstDays * Self.day
        var pending: [String: Int64] = [:]
        if let cursor {
            guard let place = try? JSONDecoder().decode(Place.self, from: Data(cursor)) else { throw .invalidResponse }
            begin = max(begin, place.until - Self.overlap * Self.day)
            pending = place.pending
        }
        let answer = try await statement(of: account, from: begin, access)
        var (page, unreadable) = (OFXPage(), 0)
        for (statement, transactions) in answer.statements {
            try await page.take(transactions, of: statement, access.known)
            unreadable += transactions.count { !$0.isDeletion && $0.readable(in: statement.usableCurrency) == nil }
        }
        let lists = OFXPendingLists(answer.statements.map(\.statement), currency: nil, after: pending)
        return TransactionPage(
            transactions: page.transactions,
            retractions: page.retractions,
            unreadable: unreadable,
            cursor: bytes(Place(until: access.now, pending: lists.made)),
            hasMore: false,
            completeWindow: lists.window
        )
    }

    /// A statement, from as far back as the bank remembers.
    private func statement(
        of account: BankAccount.Reference,
        from begin: Int64?,
        _ access: Access
    ) async throws(ConnectorError) -> OFXAnswer {
        let credential = try credential(access)
        guard let found = credential.accounts.first(where: { mark($0.account.key) == account.id })?.account else {
            throw .accountClosed
        }
        var begins = [begin]
        if let begin {
            begins += [90, 60, 30].map { access.now - $0 * Self.day }.filter { $0 > begin }
        }
        for begin in begins {
            var answer = try await ask(credential, access, at: found.messageSet, accepting: [2020, 2027]) { request in
                request.askStatement(secret(32), of: found, from: begin)
            }
            guard answer.refusal == nil else { continue }
            try answer.keepStatements(of: found, among: credential.accounts.map(\.account))
            return answer
        }
        throw .unsupported
    }

    // MARK: Requests

    private func signOn(_ credential: Credential) -> OFXRequest.SignOn {
        OFXRequest.SignOn(
            proof: credential.token.map { .token($0) }
                ?? .password(user: credential.user, password: credential.password),
            organization: configuration.organization,
            institutionID: configuration.institutionID,
            application: configuration.application,
            applicationVersion: configuration.applicationVersion,
            clientID: sentClientID(credential.clientID, isNeeded: credential.needsClientID ?? false),
            accessKey: credential.accessKey
        )
    }

    /// Older versions know of no client id, and some of their servers refuse it.
    private func sentClientID(_ id: String?, isNeeded: Bool = false) -> String? {
        isNeeded || configuration.version >= Self.firstWithClientID ? id : nil
    }

    /// Nil where the bank does not tell it.
    func profile(clientID: String?, now: Int64) async throws(ConnectorError) -> OFXProfile? {
        let signOn = OFXRequest.SignOn(
            proof: .anonymous,
            organization: configuration.organization,
            institutionID: configuration.institutionID,
            application: configuration.application,
            applicationVersion: configuration.applicationVersion,
            clientID: sentClientID(clientID)
        )
        do {
            let answer = try await send(signOn, to: nil, now) { request in request.askProfile(secret(32)) }
            return answer.profile
        } catch .invalidResponse {
            return nil
        }
    }

    /// Asks with what is stored; a new access key is stored in its place.
    /// - Parameter codes: refusals that the caller makes sense of.
    private func ask(
        _ credential: Credential,
        _ access: Access,
        at set: String,
        accepting codes: [Int] = [],
        _ body: (inout OFXRequest) -> Void
    ) async throws(ConnectorError) -> OFXAnswer {
        let request = request(signOn(credential), access.now, body)
        let answer = try await turns.take(mark(credential.proof), now: access.now) {
            () async throws(ConnectorError) -> OFXAnswer in
            let answer = try await send(request, to: credential.addresses[set], access.now)
            if let refusal = answer.refusal, !codes.contains(refusal.code) { throw error(refusal) }
            return answer
        }
        if let key = answer.signOn.accessKey, key != credential.accessKey {
            var renewed = credential
            renewed.accessKey = key
            let stored = bytes(renewed)
            _ = try await access.renew { _ throws(ConnectorError) in stored }
        }
        return answer
    }

    private func send(
        _ signOn: OFXRequest.SignOn,
        to address: String?,
        _ now: Int64,
        _ body: (inout OFXRequest) -> Void
    ) async throws(ConnectorError) -> OFXAnswer {
        try await send(request(signOn, now, body), to: address, now)
    }

    private func request(
        _ signOn: OFXRequest.SignOn,
        _ now: Int64,
        _ body: (inout OFXRequest) -> Void
    ) -> OFXRequest {
        var request = OFXRequest(
            version: configuration.version,
            identifier: secret(32),
            signOn: signOn,
            now: now
        )
        body(&request)
        return request
    }

    private func send(
        _ request: OFXRequest,
        to address: String?,
        _ now: Int64
    ) async throws(ConnectorError) -> OFXAnswer {
        let reply = try await line.send(
            .init(
                method: "POST",
                url: address ?? configuration.url,
                headers: [
                    ("Content-Type", "application/x-ofx"), ("Accept", "*/*, application/x-ofx"),
                    ("User-Agent", "InetClntApp/3.0"),
                ],
                body: request.bytes
            )
        )
        switch reply.status {
        case 200..<300: break
        case 401, 403: throw .relinkRequired
        case 429: throw .rateLimited(until: reply.retryAfter(now))
        case 500...: throw .institutionUnavailable(until: reply.retryAfter(now))
        default: throw .invalidResponse
        }
        do {
            return try OFXAnswer(reply.body)
        } catch {
            throw .invalidResponse
        }
    }

    private func error(_ refusal: OFXStatus) -> ConnectorError {
        switch refusal.code {
        case 2003, 2004: .accountClosed
        case 2005: .accountRelinkRequired
        case 3000, 3001, 15_000, 15_500, 15_502, 15_510...15_513: .relinkRequired
        case 2000, 2001, 15_501: .institutionUnavailable(until: nil)
        case 2020, 2027, 2002: .unsupported
        default: .invalidResponse
        }
    }

    /// The bank knows the person's program by it: the same for each sign-in of the holder.
    private func clientID(_ attempt: Attempt) -> String {
        let mark = mark("ofx client|\(attempt.institution.id)|\(attempt.holder)")
        var digits = mark.utf8.map { byte in
            let hex = String(byte, radix: 16)
            return hex.count == 1 ? "0" + hex : hex
        }.joined().prefix(32).uppercased()
        digits += String(repeating: "0", count: 32 - digits.count)
        var parts: [Substring] = []
        var rest = digits[...]
        for length in [8, 4, 4, 4, 12] {
            parts.append(rest.prefix(length))
            rest = rest.dropFirst(length)
        }
        return parts.joined(separator: "-")
    }

    private func credential(_ access: Access) throws(ConnectorError) -> Credential {
        guard let credential = try? JSONDecoder().decode(Credential.self, from: Data(access.credential)) else {
            throw .invalidResponse
        }
        return credential
    }

    private func bytes(_ value: some Encodable) -> [UInt8] {
        // Nothing in it can fail to be encoded.
        (try? JSONEncoder().encode(value)).map { [UInt8]($0) } ?? []
    }
}

/// Requests with a stored password: one at a time for each, and none for a while once the bank has refused it. Banks
/// lock people out who send a wrong one several times, and refreshes come together.
private final class OFXTurns: Sendable {
    private struct State {
        /// The last request of each, by its number.
        var last: [String: (number: Int, end: Task<Void, Never>)] = [:]
        var refused: [String: Int64] = [:]
        var count = 0
    }

    /// Seconds: until then all that was begun has heard that the link is over.
    private static let memory: Int64 = 600
    private static let capacity = 10_000

    private let state = Mutex(State())

    /// - Parameter key: tells passwords apart, and nothing of them.
    func take<T: Sendable>(
        _ key: String,
        now: Int64,
        _ ask: @escaping @Sendable () async throws(ConnectorError) -> T
    ) async throws(ConnectorError) -> T {
        let asking = state.withLock { state in
            let before = state.last[key]?.end
            state.count += 1
            let number = state.count
            let asking = Task { () async -> Result<T, ConnectorError> in
                await before?.value
                let result = await answer(key, now, ask)
                self.state.withLock { if $0.last[key]?.number == number { $0.last[key] = nil } }
                return result
            }
            state.last[key] = (number, Task { _ = await asking.value })
            return asking
        }
        return try await asking.value.get()
    }

    private func answer<T: Sendable>(
        _ key: String,
        _ now: Int64,
        _ ask: @Sendable () async throws(ConnectorError) -> T
    ) async -> Result<T, ConnectorError> {
        let isRefused = state.withLock { state in
            state.refused[key].map { (0..<Self.memory).contains(now - $0) } ?? false
        }
        if isRefused { return .failure(.relinkRequired) }
        do throws(ConnectorError) {
            return .success(try await ask())
        } catch {
            if error == .relinkRequired {
                state.withLock { state in
                    if state.refused.count >= Self.capacity { state.refused.removeAll() }
                    state.refused[key] = now
                }
            }
            return .failure(error)
        }
    }

    /// The bank has let the password in.
    func forget(_ key: String) {
        state.withLock { $0.refused[key] = nil }
    }
}

extension OFXAccount {
    /// Where statements of its kind are asked for.
    fileprivate var messageSet: String {
        switch kind {
        case .bank: "BANKMSGSETV1"
        case .card: "CREDITCARDMSGSETV1"
        case .loan: "LOANMSGSETV1"
        case .investment: "INVSTMTMSGSETV1"
        }
    }
}
