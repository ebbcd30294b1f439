/// What the product asks of the outside: the time and chance. Both come in as parameters, so that a seed replays a run.

internal import Synchronization
internal import Vault
public import Wire

public final class World: Sendable {
    private let milliseconds: @Sendable () -> Int64
    private let random: @Sendable () -> UInt64
    private let ids: Mutex<Ids>

    /// How ids go on. An id is no secret: its letters come from a fast generator that chance starts, not from chance
    /// itself.
    private struct Ids {
        /// The moment and the count of the id made last: ids of one millisecond are counted, and time never runs back.
        var moment: Int64 = 0
        var sequence: UInt64 = 0
        var generator: SplitMix
    }

    /// How many ids one millisecond holds.
    private static let sequenceCapacity: UInt64 = 62 * 62

    /// - Parameters:
    ///   - milliseconds: the time, since the Unix epoch.
    ///   - random: chance; secrets are made of it too.
    public init(
        milliseconds: @escaping @Sendable () -> Int64,
        random: some RandomNumberGenerator & Sendable = SystemRandomNumberGenerator()
    ) {
        self.milliseconds = milliseconds
        let source = Source(random)
        self.random = { source.next() }
        ids = Mutex(Ids(generator: SplitMix(state: source.next())))
    }

    /// Seconds since the Unix epoch.
    public func now() -> Int64 {
        milliseconds() / 1000
    }

    public func id(_ kind: Identifier.Kind) -> String {
        let now = milliseconds()
        var (moment, sequence, generator) = ids.withLock { ids in
            if now > ids.moment {
                (ids.moment, ids.sequence) = (now, 0)
            } else {
                ids.sequence += 1
                if ids.sequence == Self.sequenceCapacity { (ids.moment, ids.sequence) = (ids.moment + 1, 0) }
            }
            return (ids.moment, ids.sequence, SplitMix(state: ids.generator.next()))
        }
        return Identifier.make(kind, milliseconds: moment, sequence: sequence, using: &generator)
    }

    /// `prefix` and `length` letters and digits that nobody can guess.
    public func secret(_ prefix: String, length: Int) -> String {
        var chance = Chance(next: random)
        return Secret.make(prefix: prefix, length: length, using: &chance)
    }

    /// Steele, Lea and Flood's SplitMix64.
    private struct SplitMix: RandomNumberGenerator {
        var state: UInt64

        mutating func next() -> UInt64 {
            state &+= 0x9E37_79B9_7F4A_7C15
            var mixed = state
            mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
            mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
            return mixed ^ (mixed >> 31)
        }
    }

    private final class Source<Generator: RandomNumberGenerator & Sendable>: Sendable {
        private let generator: Mutex<Generator>

        init(_ generator: Generator) {
            self.generator = Mutex(generator)
        }

        func next() -> UInt64 {
            generator.withLock { $0.next() }
        }
    }

    private struct Chance: RandomNumberGenerator {
        let random: @Sendable () -> UInt64

        init(next random: @escaping @Sendable () -> UInt64) {
            self.random = random
        }

        mutating func next() -> UInt64 { random() }
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

    public init(requestID: String?, idempotencyKey: String?) {
        self.requestID = requestID
        self.idempotencyKey = idempotencyKey
    }
}
