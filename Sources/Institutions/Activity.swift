/// What happens on an account that exists only here.
///
/// It promises that what happened follows from the account and the time alone: whoever asks at a moment is told what is
/// known by then, the newest transactions still pending, and hears later, under the same ids, that they were posted or
/// became void. What is told in steps adds up to what is told at once. However much happens, a page costs the same and
/// nothing but the page is held. It refuses a cursor that it did not give (`invalidResponse`).

struct Activity: Sendable {
    let currency: String
    private let patterns: [Pattern]
    /// What happens once, in the order of time.
    private let singles: [Occurrence]
    /// How long what happens may stay pending.
    private let longestPending: Int64

    private static let pageSize = 100
    /// How far back the first refresh reaches.
    private static let memory = 180 * CivilDay.seconds

    init(currency: String, patterns: [Pattern], singles: [Occurrence] = []) {
        self.currency = currency
        self.patterns = patterns
        self.singles = singles.sorted { $0.transactedAt < $1.transactedAt }
        let pending = patterns.map(\.pending.upperBound) + singles.map { $0.settledAt - $0.transactedAt }
        longestPending = pending.max() ?? 0
    }

    /// The sums of what was posted and of what is pending at a moment, over the thirty days before it.
    func sums(at now: Int64) -> (posted: Int64, pending: Int64) {
        var sums: (posted: Int64, pending: Int64) = (0, 0)
        var walk = Walk(self, after: .before(now - 30 * CivilDay.seconds), until: now)
        while let occurrence = walk.next() {
            if now < occurrence.settledAt {
                sums.pending += occurrence.amount
            } else if !occurrence.becomesVoid {
                sums.posted += occurrence.amount
            }
        }
        return sums
    }

    /// One page of what changed, then of what tests made.
    func page(after bytes: [UInt8]?, _ access: Access) async throws(ConnectorError) -> TransactionPage {
        guard var cursor = bytes.map(Cursor.init(bytes:)) ?? Cursor(first: access.now) else { throw .invalidResponse }
        if !cursor.isWithin { cursor.until = max(access.now, cursor.since ?? access.now) }
        let begin = cursor.since.map { $0 - longestPending } ?? cursor.until - Self.memory
        var walk = Walk(self, after: cursor.position ?? .before(begin), until: cursor.until)
        var transactions: [BankTransaction] = []
        while transactions.count < Self.pageSize, let occurrence = walk.next() {
            guard occurrence.isNews(since: cursor.since, at: cursor.until) else { continue }
            transactions.append(occurrence.transaction(at: cursor.until, in: currency))
        }
        cursor.position = walk.position
        cursor.isWithin = transactions.count == Self.pageSize
        if !cursor.isWithin {
            let room = Self.pageSize - transactions.count
            let made = try await access.fabrication?.changes(after: cursor.made, limit: room) ?? []
            transactions += made.map(\.transaction)
            cursor = Cursor(after: cursor, made: made.last?.number ?? cursor.made, isWithin: made.count == room)
        }
        return TransactionPage(transactions: transactions, cursor: cursor.bytes, hasMore: cursor.isWithin)
    }
}

/// Something that happens on an account once.
struct Occurrence: Sendable {
    let id: String
    /// Negative for money that leaves the account.
    let amount: Int64
    let description: String
    let transactedAt: Int64
    /// When it ceases to be pending.
    let settledAt: Int64
    let becomesVoid: Bool

    /// - Parameter since: a moment by which all was told; nil where nothing was.
    fileprivate func isNews(since: Int64?, at now: Int64) -> Bool {
        guard let since else { return true }
        return transactedAt > since || (settledAt > since && settledAt <= now)
    }

    fileprivate func transaction(at now: Int64, in currency: String) -> BankTransaction {
        let isPending = now < settledAt
        return BankTransaction(
            id: id,
            amount: amount,
            currency: currency,
            description: description,
            status: isPending ? .pending : becomesVoid ? .void : .posted,
            transactedAt: transactedAt,
            settledAt: isPending ? nil : settledAt
        )
    }
}

/// Something that happens on an account again and again.
struct Pattern: Sendable {
    /// Time is cut into slots without gaps; in each it happens at most once.
    enum Rhythm: Sendable {
        case every(seconds: Int64, from: Int64)
        /// On a day of a month, so many seconds after midnight; months count from January 1970.
        case months(Int64, from: Int64, day: Int64, second: Int64)

        static func monthly(day: Int64, second: Int64) -> Self { .months(1, from: 0, day: day, second: second) }

        static func days(_ days: Int64, from day: Int64, hour: Int64) -> Self {
            .every(seconds: days * CivilDay.seconds, from: day * CivilDay.seconds + hour * 3600)
        }

        fileprivate func slot(at moment: Int64) -> Int64 {
            switch self {
            case .every(let seconds, let first): (moment - first).floored(by: seconds)
            case .months(let months, let first, _, _): (CivilDay(moment).months - first).floored(by: months)
            }
        }

        fileprivate func begin(_ slot: Int64) -> Int64 {
            switch self {
            case .every(let seconds, let first): first + slot * seconds
            case .months(let months, let first, let day, let second):
                CivilDay(months: first + slot * months, day: day).begin + second
            }
        }
    }

    /// Unique on the account.
    private let key: String
    private let seed: UInt64
    private let rhythm: Rhythm
    /// It happens so many seconds after the slot begins, at most, and within the slot.
    private let spread: Int64
    private let span: ClosedRange<Int64>
    private let descriptions: [String]
    private let amount: ClosedRange<Int64>
    private let percent: Int64
    fileprivate let pending: ClosedRange<Int64>
    private let voidOneIn: Int64?

    /// - Parameters:
    ///   - percent: of a hundred slots, those in which it happens.
    ///   - pending: seconds.
    ///   - voidOneIn: of so many that were pending one becomes void.
    init(
        _ key: String,
        of account: String,
        _ rhythm: Rhythm,
        _ descriptions: [String],
        _ amount: ClosedRange<Int64>,
        spread: Int64 = 0,
        span: ClosedRange<Int64> = Int64.min...Int64.max,
        percent: Int64 = 100,
        pending: ClosedRange<Int64> = 0...0,
        voidOneIn: Int64? = nil
    ) {
        self.key = key
        seed = Chance.hash([account, key])
        self.rhythm = rhythm
        self.spread = spread
        self.span = span
        self.descriptions = descriptions
        self.amount = amount
        self.percent = percent
        self.pending = pending
        self.voidOneIn = voidOneIn
    }

    /// The slot from which to look for what happens not before a moment.
    fileprivate func slot(at moment: Int64) -> Int64 { rhythm.slot(at: max(moment, span.lowerBound)) }

    fileprivate func moment(_ slot: Int64) -> Int64 {
        var chance = Chance(seed, slot)
        return rhythm.begin(slot) + chance.number(in: 0...spread)
    }

    /// Nil where it does not happen in that slot.
    fileprivate func occurrence(_ slot: Int64) -> Occurrence? {
        var chance = Chance(seed, slot)
        let moment = rhythm.begin(slot) + chance.number(in: 0...spread)
        guard span.contains(moment), chance.number(in: 1...100) <= percent else { return nil }
        let pending = chance.number(in: pending)
        return Occurrence(
            id: "\(key):\(slot)",
            amount: chance.number(in: amount),
            description: chance.pick(descriptions),
            transactedAt: moment,
            settledAt: moment + pending,
            becomesVoid: pending > 0 && voidOneIn.map { chance.number(in: 1...$0) == 1 } ?? false
        )
    }
}

/// A place in the order in which all that happens on an account is told.
private struct Position: Comparable {
    let moment: Int64
    /// Which pattern; behind the patterns, the list of what happens once.
    let source: Int
    let number: Int64

    /// The place before all that happens from a moment on.
    static func before(_ moment: Int64) -> Position {
        Position(moment: moment - 1, source: .max, number: .max)
    }

    static func < (a: Position, b: Position) -> Bool {
        (a.moment, a.source, a.number) < (b.moment, b.source, b.number)
    }
}

extension Activity {
    /// Goes through what happens, pattern beside pattern, holding one occurrence of each.
    private struct Walk {
        private let activity: Activity
        private let end: Int64
        private var heads: [(position: Position, occurrence: Occurrence)?]
        /// Where it is: behind what it gave last.
        private(set) var position: Position

        init(_ activity: Activity, after position: Position, until end: Int64) {
            self.activity = activity
            self.end = end
            self.position = position
            heads = []
            for source in 0...activity.patterns.count {
                heads.append(head(source, from: activity.first(source, at: position.moment)))
            }
        }

        mutating func next() -> Occurrence? {
            var earliest: (position: Position, occurrence: Occurrence)?
            for case let head? in heads where earliest.map({ head.position < $0.position }) ?? true { earliest = head }
            guard let earliest else { return nil }
            position = earliest.position
            heads[position.source] = head(position.source, from: position.number + 1)
            return earliest.occurrence
        }

        private func head(_ source: Int, from first: Int64) -> (position: Position, occurrence: Occurrence)? {
            var number = first
            while let moment = activity.moment(source, number), moment <= end {
                let here = Position(moment: moment, source: source, number: number)
                if here > position, let occurrence = activity.occurrence(source, number) { return (here, occurrence) }
                number += 1
            }
            return nil
        }
    }

    private func first(_ source: Int, at moment: Int64) -> Int64 {
        source < patterns.count ? patterns[source].slot(at: moment) : 0
    }

    private func moment(_ source: Int, _ number: Int64) -> Int64? {
        if source < patterns.count { return patterns[source].moment(number) }
        return number < singles.count ? singles[Int(number)].transactedAt : nil
    }

    private func occurrence(_ source: Int, _ number: Int64) -> Occurrence? {
        source < patterns.count ? patterns[source].occurrence(number) : singles[Int(number)]
    }

    /// How far a reader is.
    private struct Cursor {
        /// All that changed up to here was told; nil at the first refresh.
        let since: Int64?
        /// Up to where the refresh at hand tells, the same for all of its pages.
        var until: Int64
        /// How far its pages are; nil before the first.
        var position: Position?
        /// Whether a refresh is at hand.
        var isWithin: Bool
        /// The last change of a test that was told.
        let made: Int64

        init(first now: Int64) {
            (since, until, position, isWithin, made) = (nil, now, nil, false, 0)
        }

        /// The one behind the last page of what was made up.
        init(after last: Cursor, made: Int64, isWithin: Bool) {
            (since, until, position) = (last.until, last.until, nil)
            self.made = made
            self.isWithin = isWithin
        }

        init?(bytes: [UInt8]) {
            let fields = String(decoding: bytes, as: UTF8.self).split(separator: " ").map(String.init)
            guard fields.count == 4 || fields.count == 7, let until = Int64(fields[1]), let made = Int64(fields[3]),
                ["within", "done"].contains(fields[2])
            else { return nil }
            since = Int64(fields[0])
            guard since != nil || fields[0] == "first" else { return nil }
            self.until = until
            self.made = made
            isWithin = fields[2] == "within"
            guard fields.count == 7 else { return }
            guard let moment = Int64(fields[4]), let source = Int(fields[5]), let number = Int64(fields[6])
            else { return nil }
            position = Position(moment: moment, source: source, number: number)
        }

        var bytes: [UInt8] {
            var fields = [since.map(String.init) ?? "first", "\(until)", isWithin ? "within" : "done", "\(made)"]
            if let position { fields += ["\(position.moment)", "\(position.source)", "\(position.number)"] }
            return Array(fields.joined(separator: " ").utf8)
        }
    }
}
