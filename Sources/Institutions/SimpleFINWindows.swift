/// Which transactions a SimpleFIN server is asked for next: the first time those of 180 days, then from some days
/// before the last refresh and from what was pending then. Windows end where those of other accounts do, and the last
/// one ends today and is read again by each refresh: in it is what is pending or was posted late.

internal import FoundationEssentials

struct SimpleFINWindows: Sendable {
    private struct Note: Codable {
        /// Everything before is read.
        var until: Int64
        /// Days of a window, and since when it is no longer, where the server takes no longer one.
        var days: Int64
        var shortened: Int64?
        /// When the earliest transaction happened that was pending when the last refresh ended.
        var pending: Int64?
        /// Of a refresh that is under way: where it began, its number, and the earliest that is pending so far.
        var begin: Int64?
        var refresh: Int64?
        var found: Int64?
        /// Whether something in it could not be read.
        var isBroken: Bool?
        /// What is pending of which nobody says when it happened, by id: when it was first seen. Of the last refresh,
        /// and of the one under way.
        var vague: [String: Int64]?
        var vagueNow: [String: Int64]?
    }

    private static let day: Int64 = 86_400
    private static let firstDays: Int64 = 180
    private static let longest: Int64 = 44
    private static let shortest: Int64 = 5
    /// Days before the last refresh that are read again, after however long.
    private static let overlap: Int64 = 14
    /// Days that are gone back for what was pending: more of them would spend the requests of a day.
    private static let patience: Int64 = 60
    /// Days after which a longer window is tried again.
    private static let memory: Int64 = 7

    private var note: Note
    private let tomorrow: Int64

    /// - Parameter refresh: ``Access/refreshNumber``. What one refresh has seen, the next has not: it begins anew, but
    ///   for what was read to its end.
    init(_ cursor: [UInt8]?, now: Int64, refresh: Int64?) throws(ConnectorError) {
        tomorrow = (now / Self.day + 1) * Self.day
        let earliest = tomorrow - Self.firstDays * Self.day
        guard let cursor else {
            note = Note(until: earliest, days: Self.longest, begin: earliest, refresh: refresh)
            return
        }
        guard let last = try? JSONDecoder().decode(Note.self, from: Data(cursor)),
            (Self.shortest...Self.longest).contains(last.days)
        else { throw .invalidResponse }
        note = last
        if note.begin == nil {
            if let shortened = note.shortened, now - shortened >= Self.memory * Self.day {
                (note.days, note.shortened) = (Self.longest, nil)
            }
            // A day more, for servers whose days begin elsewhere.
            let farthest = tomorrow - Self.patience * Self.day
            let pending = note.pending.map { max($0 - Self.day, farthest) } ?? self.last
            let first = min(note.until - Self.overlap * Self.day, pending, self.last)
            note.until = max(earliest, begin(ofWindowWith: first))
        } else if note.refresh == refresh {
            return
        }
        (note.begin, note.refresh, note.isBroken) = (note.until, refresh, nil)
        if let seen = note.vagueNow { note.vague = (note.vague ?? [:]).merging(seen) { first, _ in first } }
        note.vagueNow = nil
        if let found = note.found { note.pending = min(note.pending ?? found, found) }
        note.found = nil
    }

    private var last: Int64 { tomorrow - note.days * Self.day }

    /// Windows lie one before the other, and the last one ends today.
    private func begin(ofWindowWith moment: Int64) -> Int64 {
        let length = note.days * Self.day
        return tomorrow - (tomorrow - moment + length - 1) / length * length
    }

    var isLast: Bool { note.until >= last }

    var next: Range<Int64> {
        guard !isLast else { return last..<tomorrow }
        return note.until..<begin(ofWindowWith: note.until) + note.days * Self.day
    }

    /// How many are remembered of which nobody says when they happened.
    private static let maximumVague = 200

    /// When a transaction was first seen that has no moment of its own, which is not that of each refresh.
    mutating func sighting(
        of raw: SimpleFINAnswer.Transaction,
        in account: SimpleFINAnswer.Account,
        _ now: Int64
    ) -> Int64 {
        let seen = note.vague?[raw.id] ?? account.balanceDate.flatMap { $0 > 0 ? $0 : nil } ?? now
        if raw.transactedAt == nil, raw.posted <= 0, note.vagueNow?.count ?? 0 < Self.maximumVague {
            note.vagueNow = (note.vagueNow ?? [:]).merging([raw.id: seen]) { first, _ in first }
        }
        return seen
    }

    /// - Returns: false where it is as short as can be.
    mutating func shorten() -> Bool {
        guard note.days > Self.shortest else { return false }
        // What was to be read in one is read from where that began.
        note.until = next.lowerBound
        note.days = max(Self.shortest, note.days / 2)
        note.shortened = tomorrow
        return true
    }

    /// Servers of version 1 say in words that a window is too long, and cut what they answer.
    mutating func isShortenedBy(_ warnings: [String]) -> Bool {
        let isTooLong = warnings.contains { warning in
            let words = warning.lowercased()
            return words.contains("range") && (words.contains("days") || words.contains("exceed"))
        }
        return isTooLong && shorten()
    }

    /// The same once more, in shorter windows.
    var again: TransactionPage {
        TransactionPage(transactions: [], cursor: cursor(note), hasMore: true)
    }

    func page(_ transactions: [BankTransaction], isComplete: Bool, unreadable: Int) -> TransactionPage {
        var note = note
        note.isBroken = note.isBroken == true || !isComplete ? true : nil
        let pending = transactions.filter { $0.status == .pending }
        note.found = (pending.map(\.transactedAt) + [note.found].compactMap { $0 }).min()
        note.until = next.upperBound
        guard isLast else {
            return TransactionPage(
                transactions: transactions,
                unreadable: unreadable,
                cursor: cursor(note),
                hasMore: true
            )
        }
        // A day is left out at the beginning, for servers whose days begin elsewhere, and one put on at the end.
        // What is older than all that is asked for is pending no more.
        let first = min(note.begin ?? last, last)
        let begin = first > tomorrow - Self.firstDays * Self.day ? first + Self.day : 0
        let isWhole = note.isBroken != true
        // What was pending before what could not be read may still be, and so may what this refresh did not go back to.
        let before = isWhole ? note.pending.flatMap { $0 < begin ? $0 : nil } : note.pending
        let pendingNow = [note.found, before].compactMap { $0 }.min()
        return TransactionPage(
            transactions: transactions,
            unreadable: unreadable,
            cursor: cursor(
                Note(
                    until: tomorrow,
                    days: note.days,
                    shortened: note.shortened,
                    pending: pendingNow,
                    vague: isWhole ? note.vagueNow : (note.vague ?? [:]).merging(note.vagueNow ?? [:]) { $1 }
                )
            ),
            hasMore: false,
            completeWindow: isWhole ? begin..<tomorrow + Self.day : nil
        )
    }

    private func cursor(_ note: Note) -> [UInt8] {
        // Nothing in it can fail to be encoded.
        (try? JSONEncoder().encode(note)).map { [UInt8]($0) } ?? []
    }
}
