/// What the product asks of the outside: the time and chance. Both come in as parameters, so that a seed replays a run.

internal import Synchronization
internal import Vault
public import Wire

public final class World: Sendable {
    private let milliseconds: @Sendable () -> Int64
    private let random: @Sendable () -> UInt64
    /// The moment and the count of the id made last: ids of one millisecond are counted, and time never runs back.
    private let last = Mutex<(moment: Int64, sequence: UInt64)>((0, 0))

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
    }

    /// Seconds since the Unix epoch.
    public func now() -> Int64 {
        milliseconds() / 1000
    }

    public func id(_ kind: Identifier.Kind) -> String {
        let now = milliseconds()
        let (moment, sequence) = last.withLock { last in
            if now > last.moment {
                last = (now, 0)
            } else {
                last.sequence += 1
                if last.sequence == Self.sequenceCapacity { last = (last.moment + 1, 0) }
            }
            return last
        }
        var chance = Chance(next: random)
        return Identifier.make(kind, milliseconds: moment, sequence: sequence, using: &chance)
    }

    /// `prefix` and `length` letters and digits that nobody can guess.
    public func secret(_ prefix: String, length: Int) -> String {
        var chance = Chance(next: random)
        return Secret.make(prefix: prefix, length: length, using: &chance)
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
