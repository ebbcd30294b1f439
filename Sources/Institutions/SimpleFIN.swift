/// SimpleFIN: a person pastes a token, and one request brings all accounts behind it.
///
/// It promises to claim a token once, to keep the Access URL nowhere but in the credential, to ask for windows of 44
/// days and shorter ones where a server wants that, and to spend its day's requests sparingly: an answer serves every
/// account and every refresh for some minutes. What is wrong at one bank behind the server touches the accounts of that
/// bank alone. It tells neither owners nor account numbers, and refuses accounts whose currency is not one of ISO 4217
/// and accounts of a bank that the server is not let in at. The address in a token is a stranger's: what comes from
/// there is bounded in size, in number and in what is kept of it.

internal import FoundationEssentials
internal import Outbound
internal import Synchronization

public struct SimpleFIN: BalanceProviding, TransactionProviding {
    public let isTest = false
    public let institutions: [Institution]
    public let policy: RefreshPolicy

    private let line: Line
    private let answers: SimpleFINAnswers
    private let owesPositive: Bool

    public static let standard = Institution(
        id: "fcinst_SimpleFINBrdg1",
        name: "SimpleFIN",
        domain: "bridge.simplefin.org",
        featured: false,
        countries: []
    )

    /// Servers ask the banks while they are asked.
    private static let patience = Duration.seconds(60)

    /// The servers are as many as people like, and one that hangs must not keep the others waiting.
    public static let standardPolicy = RefreshPolicy(interval: 3600, concurrency: 16, dailyBudget: 24, isMetered: true)

    /// - Parameter owesPositive: the server writes what is owed without a minus.
    public init(
        _ institution: Institution = standard,
        policy: RefreshPolicy = standardPolicy,
        owesPositive: Bool = false,
        line: Line
    ) {
        institutions = [institution]
        self.policy = policy
        self.owesPositive = owesPositive
        self.line = line
        answers = SimpleFINAnswers(lifetime: min(600, policy.interval))
    }

    // MARK: Sign-in

    private static let asking = Array("token".utf8)

    public func begin(_ attempt: Attempt) async throws(ConnectorError) -> Step {
        ask(nil)
    }

    public func resume(
        _ attempt: Attempt,
        from resume: [UInt8],
        _ response: Response
    ) async throws(ConnectorError) -> Step {
        guard resume == Self.asking, case .answers(let answers) = response else { throw .invalidResponse }
        switch SimpleFINToken(answers["token"] ?? "") {
        case .claim(let url): return try await claim(url, now: attempt.now)
        case .access(let access): return try await check(access, attempt)
        case nil:
            return ask(
                "This is not a SimpleFIN token. That is a long text of letters and digits, which your SimpleFIN server "
                    + "shows when you connect an app."
            )
        }
    }

    private func ask(_ error: String?) -> Step {
        let prompt = Prompt(
            title: "Connect with SimpleFIN",
            message: "Make a token at your SimpleFIN server, for example at bridge.simplefin.org, and paste it here.",
            fields: [.init(name: "token", label: "SimpleFIN token", kind: .text)],
            error: error,
            submitLabel: "Connect"
        )
        return .prompt(prompt, resume: Self.asking)
    }

    /// Gets the Access URL. That is given out once: from here on nothing but it counts.
    private func claim(_ url: String, now: Int64) async throws(ConnectorError) -> Step {
        let reply: Outbound.Reply
        do {
            reply = try await line.send(.init(method: "POST", url: url, body: []), within: .seconds(15))
        } catch .invalidResponse {
            return ask("The address in this token cannot be used: it must be reached over https.")
        }
        switch reply.status {
        case 200..<300: break
        case 401, 403, 404, 410:
            return ask(
                "This token was used before, or its server does not know it. If you did not use it yourself, somebody "
                    + "else may have: disable it at your SimpleFIN server, and make a new one."
            )
        case 429: throw .rateLimited(until: reply.retryAfter(now))
        case 500...: throw .institutionUnavailable(until: reply.retryAfter(now))
        default: return ask("The server in this token did not accept it (status \(reply.status)). Make a new one.")
        }
        let text = String(decoding: reply.body, as: UTF8.self).filter { !$0.isWhitespace && $0 != "\"" }
        guard let access = SimpleFINAccess(text) else {
            return ask("The server in this token did not answer as SimpleFIN servers do. Make a new token.")
        }
        return .authorized(credential: Array(access.url.utf8))
    }

    /// An Access URL that was claimed elsewhere is tried before it is believed.
    private func check(_ access: SimpleFINAccess, _ attempt: Attempt) async throws(ConnectorError) -> Step {
        do {
            // What is known of it may be from before the person set something right.
            _ = try await answers.answer(.balances, access, now: attempt.now, anew: true) {
                () async throws(ConnectorError) in try await fetch(.balances, access, now: attempt.now)
            }
        } catch .relinkRequired {
            return ask("The server does not accept this Access URL any more. Make a new token.")
        } catch .invalidResponse {
            return ask("There is no SimpleFIN server at this Access URL that can be reached over https.")
        }
        return .authorized(credential: Array(access.url.utf8))
    }

    // MARK: Data

    public func accounts(_ access: Access) async throws(ConnectorError) -> [BankAccount] {
        let answer = try await answer(.balances, access)
        // Without an account there is nothing that the person could choose; the reason is one of the faults.
        if answer.accounts.isEmpty, !answer.faults.isEmpty { throw .institutionUnavailable(until: nil) }
        return answer.accounts.map { account in
            let name = AccountName(name: account.name)
            let isOwed = account.balance?.hasPrefix("-") ?? false
            let (category, subcategory) = name.category(isOwed: isOwed, hasHoldings: account.hasHoldings)
            return BankAccount(
                id: answer.key(of: account),
                otherIDs: answer.otherKeys(of: account),
                displayName: account.name,
                last4: name.last4,
                category: category,
                subcategory: subcategory,
                supportsPayments: false,
                institutionName: answer.bank(of: account),
                isCategoryGuessed: true,
                refusal: Self.refusal(of: account, in: answer)
            )
        }
    }

    /// Why an account cannot be linked as things stand, in the server's own words where it has some.
    private static func refusal(of account: SimpleFINAnswer.Account, in answer: SimpleFINAnswer) -> String? {
        guard Money.exponent(of: account.currency) != nil else {
            return "Its balance is not in a currency of ISO 4217, so it cannot be shown."
        }
        guard let fault = answer.faults(of: account).first(where: { $0.code.hasPrefix("con.") }) else { return nil }
        return fault.message.map { "Your SimpleFIN server says: \($0)" }
            ?? "Your SimpleFIN server cannot get at this bank. Sign in to the bank there again."
    }

    public func balance(
        of account: BankAccount.Reference,
        _ access: Access
    ) async throws(ConnectorError) -> Balance {
        let answer = try await answer(.balances, access)
        let found = try find(account, in: answer)
        let currency = found.currency.lowercased()
        guard let text = found.balance, var current = WrittenAmount.minorUnits(text, currency) else {
            throw .invalidResponse
        }
        let asOf = found.balanceDate.flatMap { $0 > 0 ? $0 : nil } ?? access.now
        if account.category == .credit {
            if owesPositive { current = -max(current, -Int64.max) }
            return Balance(asOf: asOf, current: [currency: current], kind: .credit(used: [currency: current]))
        }
        let available = found.available.flatMap { WrittenAmount.minorUnits($0, currency) }
        return Balance(
            asOf: asOf,
            current: [currency: current],
            kind: .cash(available: available.map { [currency: $0] })
        )
    }

    public func transactions(
        of account: BankAccount.Reference,
        after cursor: [UInt8]?,
        _ access: Access
    ) async throws(ConnectorError) -> TransactionPage {
        var windows = try SimpleFINWindows(cursor, now: access.now, refresh: access.refreshNumber)
        let window = windows.next
        let answer: SimpleFINAnswer
        do {
            answer = try await self.answer(.transactions(window, isLast: windows.isLast), access)
            if windows.isShortenedBy(answer.warnings) { return windows.again }
        } catch .unsupported {
            // The server takes no window of this length; a shorter one follows.
            guard windows.shorten() else { throw .invalidResponse }
            return windows.again
        }
        let found = try find(account, in: answer)
        let transactions = found.transactions.compactMap { raw in
            Self.transaction(raw, found, since: windows.sighting(of: raw, in: found, access.now))
        }
        // What cannot be read may be one that was pending before.
        let isComplete = answer.isSound && answer.faults(of: found).isEmpty && transactions.count == found.entries
        let unreadable = found.entries - transactions.count
        return windows.page(Self.unique(transactions), isComplete: isComplete, unreadable: unreadable)
    }

    /// - Parameter sighting: when it was first seen, for what has no moment of its own.
    private static func transaction(
        _ raw: SimpleFINAnswer.Transaction,
        _ account: SimpleFINAnswer.Account,
        since sighting: Int64
    ) -> BankTransaction? {
        let currency = account.currency.lowercased()
        guard let amount = WrittenAmount.minorUnits(raw.amount, currency) else { return nil }
        let posted = raw.posted > 0 ? raw.posted : nil
        return BankTransaction(
            id: raw.id,
            amount: amount,
            currency: currency,
            description: raw.description,
            status: raw.isPending ? .pending : .posted,
            transactedAt: raw.transactedAt ?? posted ?? sighting,
            settledAt: raw.isPending ? nil : posted
        )
    }

    /// The last of those that have the same id.
    private static func unique(_ transactions: [BankTransaction]) -> [BankTransaction] {
        var positions: [String: Int] = [:]
        var unique: [BankTransaction] = []
        for transaction in transactions {
            if let known = positions[transaction.id] {
                unique[known] = transaction
            } else {
                positions[transaction.id] = unique.count
                unique.append(transaction)
            }
        }
        return unique
    }

    /// The account in an answer, if its bank let the server in.
    private func find(
        _ account: BankAccount.Reference,
        in answer: SimpleFINAnswer
    ) throws(ConnectorError) -> SimpleFINAnswer.Account {
        guard let found = answer.account(account.id) else {
            if answer.hidesAccounts { throw .accountRelinkRequired }
            // Version 1 says in words alone that a bank is down. One that may be several is none of them for now.
            let isWhole = answer.faults.isEmpty && answer.warnings.isEmpty && !answer.mayHave(account.id)
            throw isWhole ? .accountClosed : .institutionUnavailable(until: nil)
        }
        guard Money.exponent(of: found.currency) != nil else { throw .unsupported }
        let faults = answer.faults(of: found).map(\.code)
        if faults.contains("con.auth") { throw .accountRelinkRequired }
        if faults.contains("act.failed") { throw .institutionUnavailable(until: nil) }
        return found
    }

    // MARK: Requests

    enum Question: Hashable, Sendable {
        case balances
        case transactions(Range<Int64>, isLast: Bool)

        var query: String {
            switch self {
            case .balances: "version=2&balances-only=1"
            case .transactions(let window, isLast: true): "version=2&start-date=\(window.lowerBound)&pending=1"
            case .transactions(let window, isLast: false):
                "version=2&start-date=\(window.lowerBound)&end-date=\(window.upperBound)&pending=1"
            }
        }
    }

    private func answer(_ question: Question, _ access: Access) async throws(ConnectorError) -> SimpleFINAnswer {
        guard let opened = SimpleFINAccess(String(decoding: access.credential, as: UTF8.self)) else {
            throw .invalidResponse
        }
        return try await answers.answer(question, opened, now: access.now) { () async throws(ConnectorError) in
            try await access.spend()
            return try await fetch(question, opened, now: access.now)
        }
    }

    /// - Throws: `unsupported` where the server understands the question and does not answer it.
    private func fetch(
        _ question: Question,
        _ access: SimpleFINAccess,
        now: Int64
    ) async throws(ConnectorError) -> SimpleFINAnswer {
        let request = Outbound.Request(
            url: "\(access.root)/accounts?\(question.query)",
            headers: [("Authorization", access.authorization), ("Accept", "application/json")]
        )
        let reply = try await line.send(request, within: Self.patience)
        switch reply.status {
        case 200..<300: break
        case 401, 403: throw .relinkRequired
        case 402: throw .institutionUnavailable(until: nil)
        case 429: throw .rateLimited(until: reply.retryAfter(now))
        case 500...: throw .institutionUnavailable(until: reply.retryAfter(now))
        case 400, 413, 416, 422: throw .unsupported
        default: throw .invalidResponse
        }
        var answer = try reply.json(SimpleFINAnswer.self)
        answer.size += reply.body.count
        answer.server = access.server
        if answer.isRefused { throw .relinkRequired }
        return answer
    }
}

/// Answers of the last minutes: one request brings what all accounts of a credential are asked for, and servers count
/// requests. What is asked by several at once is asked once, and goes on to its end when nobody waits any more: whoever
/// asks again then has the answer. A server that is down or was asked too often is left alone for as long as it said,
/// or for a moment: refreshes come together, and each would ask anew. What else went wrong is not kept.
final class SimpleFINAnswers: Sendable {
    private struct Key: Hashable {
        let url: String
        let question: SimpleFIN.Question
    }

    private typealias Result = Swift.Result<SimpleFINAnswer, ConnectorError>

    private struct Known {
        let number: Int
        let begin: Int64
        /// Until when it counts.
        var end: Int64
        let asking: Task<Result, Never>
        var isWaiting = true
        /// Bytes of the answer.
        var size = 0
    }

    private struct State {
        var known: [Key: Known] = [:]
        var count = 0

        /// Drops the oldest until the rest is within the bounds.
        mutating func shrink() {
            var size = known.values.reduce(0) { $0 + $1.size }
            while known.count > maximumAnswers || size > maximumSize,
                let oldest = known.min(by: { $0.value.number < $1.value.number })
            {
                size -= oldest.value.size
                known[oldest.key] = nil
            }
        }
    }

    static let maximumAnswers = 500
    static let maximumSize = 64 * 1024 * 1024
    /// Seconds; less than what a refresh waits before it tries again.
    private static let pause: Int64 = 3

    private let lifetime: Int64
    private let state = Mutex(State())

    init(lifetime: Int64) {
        self.lifetime = lifetime
    }

    /// Bytes of all answers that are kept.
    var size: Int { state.withLock { state in state.known.values.reduce(0) { $0 + $1.size } } }

    /// - Parameter anew: what was answered before does not count.
    func answer(
        _ question: SimpleFIN.Question,
        _ access: SimpleFINAccess,
        now: Int64,
        anew: Bool = false,
        _ ask: @escaping @Sendable () async throws(ConnectorError) -> SimpleFINAnswer
    ) async throws(ConnectorError) -> SimpleFINAnswer {
        let key = Key(url: access.url, question: question)
        let asking = state.withLock { state in
            state.known = state.known.filter { $0.value.begin <= now && now < $0.value.end }
            if let found = state.known[key], !anew || found.isWaiting { return found.asking }
            state.count += 1
            let number = state.count
            let asking = Task { () async -> Result in
                let start = ContinuousClock.now
                let result: Result
                do throws(ConnectorError) { result = .success(try await ask()) } catch { result = .failure(error) }
                keep(result, key, number, at: now + (ContinuousClock.now - start).components.seconds)
                return result
            }
            state.known[key] = Known(number: number, begin: now, end: now + lifetime, asking: asking)
            state.shrink()
            return asking
        }
        // A wait that can be given up, unlike that for the value of a task.
        let (results, arrival) = AsyncStream.makeStream(of: Result.self)
        Task { arrival.yield(await asking.value) }
        for await result in results { return try result.get() }
        throw .institutionUnavailable(until: nil)
    }

    private func keep(_ result: Result, _ key: Key, _ number: Int, at now: Int64) {
        state.withLock { state in
            guard var known = state.known[key], known.number == number else { return }
            known.isWaiting = false
            switch result {
            case .success(let answer): known.size = answer.size
            case .failure(.institutionUnavailable(let until)), .failure(.rateLimited(let until)):
                known.end = min(until ?? now + Self.pause, now + lifetime)
            case .failure: known.end = known.begin
            }
            state.known[key] = known
            state.shrink()
        }
    }
}
