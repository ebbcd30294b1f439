/// What the product asks of the outside: the time and chance. Both come in as parameters, so that a seed replays a run,
/// and a test clock takes all that hangs on it to another time.

internal import Synchronization
public import Vault
public import Wire

public final class World: Sendable {
    private let source: Source
    /// The time of a test clock; nil for the time of the world outside.
    private let frozen: Int64?

    /// Where time, chance and ids come from; worlds of test clocks share it with the one they were made from.
    private struct Source: Sendable {
        let milliseconds: @Sendable () -> Int64
        let random: @Sendable () -> UInt64
        let ids: any Ids
    }

    /// - Parameters:
    ///   - milliseconds: the time, since the Unix epoch.
    ///   - random: chance; secrets are made of it too.
    public init(
        milliseconds: @escaping @Sendable () -> Int64,
        random: some RandomNumberGenerator & Sendable = SystemChance()
    ) {
        let generator = Mutex(random)
        let next: @Sendable () -> UInt64 = { generator.withLock { $0.next() } }
        source = Source(
            milliseconds: milliseconds,
            random: next,
            ids: FlowingIds(milliseconds: milliseconds, seed: next())
        )
        frozen = nil
    }

    /// A world whose chance follows from a seed, as do its ids: those of one kind are the same in each run that makes
    /// as many of them, whatever the time. For tests alone: whoever knows the seed knows every secret.
    /// - Parameter start: how often a database was started with a seed before, so that a second run on it makes other
    ///   ids than the first.
    public init(milliseconds: @escaping @Sendable () -> Int64, seed: UInt64, start: Int64) {
        var mixer = SplitMix(state: seed)
        let state = mixer.next() ^ SplitMix.mixed(UInt64(bitPattern: start))
        let generator = Mutex(SplitMix(state: state))
        source = Source(
            milliseconds: milliseconds,
            random: { generator.withLock { $0.next() } },
            ids: ReplayedIds(seed: state, start: start)
        )
        frozen = nil
    }

    private init(_ source: Source, frozen: Int64) {
        self.source = source
        self.frozen = frozen
    }

    /// The same world at the time of a test clock.
    /// - Parameter seconds: since the Unix epoch.
    func frozen(at seconds: Int64) -> World {
        World(source, frozen: seconds)
    }

    /// Seconds since the Unix epoch, by the test clock where there is one.
    public func now() -> Int64 {
        frozen ?? wall()
    }

    /// Seconds since the Unix epoch outside, whatever a test clock says: what leases, deliveries and forgetting go by.
    public func wall() -> Int64 {
        source.milliseconds() / 1000
    }

    /// The same in milliseconds.
    public func wallMilliseconds() -> Int64 {
        source.milliseconds()
    }

    /// A number that chance picks.
    func number(in range: ClosedRange<Int64>) -> Int64 {
        var chance = Chance(random: source.random)
        return Int64.random(in: range, using: &chance)
    }

    public func id(_ kind: Identifier.Kind) -> String {
        source.ids.next(kind)
    }

    /// `prefix` and `length` letters and digits that nobody can guess.
    public func secret(_ prefix: String, length: Int) -> String {
        var chance = Chance(random: source.random)
        return Secret.make(prefix: prefix, length: length, using: &chance)
    }

    private struct Chance: RandomNumberGenerator {
        let random: @Sendable () -> UInt64

        mutating func next() -> UInt64 { random() }
    }
}

/// How ids go on. An id is no secret: its letters come from a fast generator that chance starts, not from chance.
private protocol Ids: Sendable {
    func next(_ kind: Identifier.Kind) -> String
}

/// How many ids one millisecond holds.
private let idsPerMillisecond: UInt64 = 62 * 62

/// Ids that begin with the time.
private final class FlowingIds: Ids {
    private let milliseconds: @Sendable () -> Int64
    private let state: Mutex<State>

    /// The moment and the count of the id made last: ids of one millisecond are counted, and time never runs back.
    private struct State {
        var moment: Int64 = 0
        var sequence: UInt64 = 0
        var generator: SplitMix
    }

    init(milliseconds: @escaping @Sendable () -> Int64, seed: UInt64) {
        self.milliseconds = milliseconds
        state = Mutex(State(generator: SplitMix(state: seed)))
    }

    func next(_ kind: Identifier.Kind) -> String {
        let now = milliseconds()
        var (moment, sequence, generator) = state.withLock { state in
            if now > state.moment {
                (state.moment, state.sequence) = (now, 0)
            } else {
                state.sequence += 1
                if state.sequence == idsPerMillisecond { (state.moment, state.sequence) = (state.moment + 1, 0) }
            }
            return (state.moment, state.sequence, SplitMix(state: state.generator.next()))
        }
        return Identifier.make(kind, milliseconds: moment, sequence: sequence, using: &generator)
    }
}

/// Ids of which each kind has a row of its own, so that what is made of one kind does not hang on how many of another
/// were. They count up from a fixed moment, and so sort as they were made.
private final class ReplayedIds: Ids {
    /// 1 January 2026.
    private static let base: Int64 = 1_767_225_600_000
    private static let millisecondsPerStart: Int64 = 1 << 27

    private let seed: UInt64
    private let moment: Int64
    private let counts = Mutex<[Identifier.Kind: UInt64]>([:])

    init(seed: UInt64, start: Int64) {
        self.seed = seed
        moment = Self.base + start * Self.millisecondsPerStart
    }

    func next(_ kind: Identifier.Kind) -> String {
        let count = counts.withLock { counts in
            counts[kind, default: 0] += 1
            return counts[kind, default: 0]
        }
        var letters = SplitMix(state: seed)
        for byte in kind.rawValue.utf8 { letters = SplitMix(state: letters.next() ^ UInt64(byte)) }
        letters = SplitMix(state: letters.next() &+ SplitMix.mixed(count))
        let (milliseconds, sequence) = count.quotientAndRemainder(dividingBy: idsPerMillisecond)
        return Identifier.make(
            kind,
            milliseconds: moment + Int64(milliseconds),
            sequence: sequence,
            using: &letters
        )
    }
}

/// Steele, Lea and Flood's SplitMix64.
private struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        return Self.mixed(state)
    }

    static func mixed(_ value: UInt64) -> UInt64 {
        var mixed = value
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}

/// Whose rows a statement touches: every row carries the merchant and the mode, and every index begins with them.
public struct Scope: Sendable, Hashable {
    /// `acct_…`
    public let merchant: String
    public let livemode: Bool

    public init(merchant: String, livemode: Bool) {
        self.merchant = merchant
        self.livemode = livemode
    }

    /// The same merchant in the other mode.
    var otherMode: Scope { Scope(merchant: merchant, livemode: !livemode) }
}

/// What made a change happen, as its event tells it.
public struct Cause: Sendable {
    /// `req_…`, nil for what happened without a request.
    public let requestID: String?
    public let idempotencyKey: String?

    /// What happened by itself: no request asked for it.
    public static let none = Cause(requestID: nil, idempotencyKey: nil)

    public init(requestID: String?, idempotencyKey: String?) {
        self.requestID = requestID
        self.idempotencyKey = idempotencyKey
    }
}
