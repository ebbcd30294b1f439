/// Transactions by FDX, which has no list of changes: a window of days is read again and again, and what is missing
/// from it is gone.
///
/// A refresh reads from some days before the last one, as postings come late and are put right, and from the earliest
/// transaction that was pending then, so that it becomes void where it never posts. It says which window it has read in
/// full, without its first day, of which a bank in another zone tells a part, and never says so where an item could not
/// be read or the pages did not end.

internal import FoundationEssentials
internal import Outbound
internal import Wire

extension FDX: TransactionProviding {
    private static let day: Int64 = 86_400
    /// Days that the first refresh goes back, and shorter ways for banks that remember less.
    private static let lookbacks: [Int64] = [180, 90, 30, 7]
    /// Days that a refresh reads again.
    private static let overlap: Int64 = 14
    private static let maximumPages: Int64 = 1000
    /// FDX's code where there is nothing of what is asked for.
    private static let nothingFound = 1107

    public func transactions(
        of account: BankAccount.Reference,
        after cursor: [UInt8]?,
        _ access: Access
    ) async throws(ConnectorError) -> TransactionPage {
        try access.checkFabrication()
        var cursor = try FDXCursor(cursor)
        cursor.resume(access)
        if cursor.isAtBank == false { return try await fabricated(cursor, [], nil, access) }
        var call = try await call(access)
        if cursor.currency == nil {
            let details = try await call.account(account.id).value
            // What was told under a wrong guess is told again.
            if let guess = cursor.guess, guess != details.currencyCode { cursor.through = nil }
            cursor.currency = details.currencyCode
            cursor.guess = details.currency == nil ? details.currencyCode : nil
        }
        let answer = try await Self.read(account, &cursor, &call)
        guard var window = cursor.window else { throw .invalidResponse }
        let items = answer.transactions.map { item in
            item.value.map { $0.value.read(in: cursor.currency ?? "usd", account.category) } ?? .unreadable
        }
        let unreadable = items.count { $0 == .unreadable }
        let next = answer.page?.next
        window.count += 1
        let isEndless = next != nil && next?.value == window.page || window.count >= Self.maximumPages
        if isEndless || unreadable > 0 { window.isComplete = false }
        let found = Self.settled(items.compactMap(\.transaction))
        for item in found where item.status == .pending {
            window.pending = min(window.pending ?? item.transactedAt, item.transactedAt)
        }
        if let next, !isEndless {
            (window.pageName, window.page) = (next.name, next.value)
            cursor.window = window
            return TransactionPage(
                transactions: found,
                unreadable: unreadable,
                cursor: try cursor.bytes(),
                hasMore: true
            )
        }
        cursor.through = access.now / Self.day * Self.day
        // What is older than all that the bank tells is pending no more.
        let begin = window.isLongest == true ? 0 : window.start + Self.day
        // What was pending before an incomplete window may still be, and so may what it did not reach.
        let before = cursor.pending.flatMap { window.isComplete && begin <= $0 ? nil : $0 }
        cursor.pending = [window.pending, before].compactMap { $0 }.min()
        cursor.window = nil
        let isWhole = window.isComplete && begin < window.end
        return try await fabricated(cursor, found, isWhole ? begin..<window.end : nil, access, unreadable: unreadable)
    }

    /// Those that stand. Some banks go on listing what is pending beside the posting that takes its place.
    private static func settled(_ transactions: [BankTransaction]) -> [BankTransaction] {
        let amounts = Dictionary(
            transactions.compactMap { one in one.replaces.map { ($0, one.amount) } },
            uniquingKeysWith: { first, _ in first }
        )
        return transactions.filter { one in
            guard one.status == .pending, let amount = amounts[one.id] else { return true }
            // What goes the other way reverses it.
            return amount.signum() * one.amount.signum() < 0
        }
    }

    /// One page from the bank. The first of a window finds out how far back the bank goes, and whether it takes the day
    /// that is not over yet.
    private static func read(
        _ account: BankAccount.Reference,
        _ cursor: inout FDXCursor,
        _ call: inout FDXCall
    ) async throws(ConnectorError) -> FDXTransactions {
        let today = call.access.now / day * day
        var windows: [FDXCursor.Window] = []
        if let window = cursor.window {
            windows = [window]
        } else {
            let earliest = cursor.through.map { through in
                let from = min(through - overlap * day, (cursor.pending ?? through) / day * day - day)
                return max(from, today - lookbacks[0] * day)
            }
            for lookback in lookbacks {
                let start = max(today - lookback * day, earliest ?? 0)
                guard windows.last?.start != start else { continue }
                // A range may end before its last day or with it: up to tomorrow is all of today in either case.
                let isLongest = lookback != lookbacks[0] || start <= today - lookback * day
                windows += [1, 0].map { days in
                    FDXCursor.Window(start: start, end: today + days * day, isLongest: isLongest ? true : nil)
                }
            }
        }
        for (index, window) in windows.enumerated() {
            let names = call.configuration.rangeParameters
            var query = [
                (name: names.start, value: Moment.date(of: window.start)),
                (name: names.end, value: Moment.date(of: window.end)),
            ]
            if let name = window.pageName, let page = window.page { query.append((name, page)) }
            let path = call.path(call.configuration.paths.transactions, account.id)
            let reply = try await call.send("GET", FDXCall.address(path, query))
            if reply.status == 200 {
                cursor.window = window
                return try reply.json(FDXTransactions.self)
            }
            if reply.status == 404, (try? reply.json(FDXRefusal.self))?.code == nothingFound {
                cursor.window = window
                return FDXTransactions()
            }
            guard reply.status == 400, index + 1 < windows.count else { throw await call.refusal(reply) }
        }
        throw .invalidResponse
    }

    /// What tests made at a test bank comes after what the bank told, in the same refresh.
    private func fabricated(
        _ cursor: FDXCursor,
        _ found: [BankTransaction],
        _ window: Range<Int64>?,
        _ access: Access,
        unreadable: Int = 0
    ) async throws(ConnectorError) -> TransactionPage {
        var cursor = cursor
        let limit = 500
        let changes = try await access.fabrication?.changes(after: cursor.made, limit: limit) ?? []
        cursor.made = changes.last?.number ?? cursor.made
        let hasMore = changes.count == limit
        cursor.isAtBank = hasMore ? false : nil
        if let window { cursor.complete = [window.lowerBound, window.upperBound] }
        let complete = cursor.complete.flatMap { $0.count == 2 ? $0[0]..<$0[1] : nil }
        if !hasMore { cursor.complete = nil }
        return TransactionPage(
            transactions: found + changes.map(\.transaction),
            unreadable: unreadable,
            cursor: try cursor.bytes(),
            hasMore: hasMore,
            completeWindow: hasMore ? nil : complete
        )
    }
}

/// How far the refreshes of one account are.
struct FDXCursor: Codable {
    struct Window: Codable {
        let start: Int64
        /// The first second after it.
        let end: Int64
        var pageName: String?
        var page: String?
        var count: Int64 = 0
        /// Whether all of it could be read so far.
        var isComplete = true
        /// When the earliest transaction in it happened that is pending.
        var pending: Int64?
        /// It goes back as far as the bank does, or as we ever ask.
        let isLongest: Bool?

        init(start: Int64, end: Int64, isLongest: Bool?) {
            self.start = start
            self.end = end
            self.isLongest = isLongest
        }
    }

    /// The account's, which FDX does not repeat with each transaction.
    var currency: String?
    /// The currency where nobody told it, so that the next refresh asks again.
    var guess: String?
    /// The day of the last refresh that ended; nil before the first.
    var through: Int64?
    /// When the earliest transaction happened that was pending then.
    var pending: Int64?
    /// The window that is being read.
    var window: Window?
    /// Set to false while only what tests made is left to tell.
    var isAtBank: Bool?
    /// The window that was read in full, until it is told.
    var complete: [Int64]?
    /// The last change of a test that was told.
    var made: Int64 = 0
    /// The refresh at hand.
    var refresh: Int64?

    /// What one refresh has read of a window, the next has not seen: it begins the window anew.
    mutating func resume(_ access: Access) {
        guard refresh != access.refreshNumber else { return }
        (refresh, window, isAtBank, complete) = (access.refreshNumber, nil, nil, nil)
        if guess != nil { currency = nil }
    }

    /// - Throws: `invalidResponse` for a cursor of another connector.
    init(_ bytes: [UInt8]?) throws(ConnectorError) {
        guard let bytes else { return }
        guard let cursor = try? JSONDecoder().decode(FDXCursor.self, from: Data(bytes)) else { throw .invalidResponse }
        self = cursor
    }

    func bytes() throws(ConnectorError) -> [UInt8] {
        guard let text = try? JSONEncoder().encode(self) else { throw .invalidResponse }
        return [UInt8](text)
    }
}

extension FDXTransaction {
    enum Reading: Equatable {
        case transaction(BankTransaction)
        /// It moves no money.
        case memo
        case unreadable

        var transaction: BankTransaction? {
            if case .transaction(let transaction) = self { transaction } else { nil }
        }
    }

    /// The amount is written without a sign, and a word beside it says which way the money went; where none does, the
    /// sign counts.
    func read(in currency: String, _ category: BankAccount.Category) -> Reading {
        if debitCreditMemo == "MEMO" { return .memo }
        guard let units = amount.minorUnits(of: currency), units != Int64.min else { return .unreadable }
        let posted = postedTimestamp.flatMap(Moment.iso)
        guard let time = transactionTimestamp.flatMap(Moment.iso) ?? posted else { return .unreadable }
        let isPosted: Bool
        switch status {
        case "POSTED": isPosted = true
        case "PENDING", "AUTHORIZATION", "MEMO": isPosted = false
        // Without a word that is known, the moment tells.
        default: isPosted = posted != nil
        }
        let signed: Int64
        switch debitCreditMemo {
        case "DEBIT": signed = -abs(units)
        case "CREDIT": signed = abs(units)
        case nil: signed = units
        default: return .unreadable
        }
        return .transaction(
            BankTransaction(
                id: transactionId,
                // On other accounts the reference is to what a reversal reverses.
                replaces: isPosted && category == .credit ? referenceTransactionId : nil,
                amount: signed,
                currency: currency,
                description: description ?? payee ?? memo ?? "",
                status: isPosted ? .posted : .pending,
                transactedAt: time,
                settledAt: isPosted ? posted ?? time : nil
            )
        )
    }
}
