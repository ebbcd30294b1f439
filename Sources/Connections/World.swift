/// What the product asks of the outside: the time and chance. Both come in as parameters, so that a seed replays a run.

internal import Synchronization
internal import Vault
public import Wire

public final class World: Sendable {
    private let milliseconds: @Sendable () -> Int64
    private let state: Mutex<State>

    private struct State {
        var random: any RandomNumberGenerator & Sendable
        /// The moment and the count of the id made last: ids of one millisecond are counted, and time never runs back.
        var last: Int64 = 0
        var sequence: UInt64 = 0
    }

    /// How many ids one millisecond holds.
    private static let sequenceCapacity: UInt64 = 62 * 62

    /// - Parameter milliseconds: the time, since the Unix epoch.
    public init(
        milliseconds: @escaping @Sendable () -> Int64,
        random: any RandomNumberGenerator & Sendable = SystemRandomNumberGenerator()
    ) {
        self.milliseconds = milliseconds
        state = Mutex(State(random: random))
    }

    /// Seconds since the Unix epoch.
    public func now() -> Int64 {
        milliseconds() / 1000
    }

    public func id(_ kind: Identifier.Kind) -> String {
        let moment = milliseconds()
        return state.withLock { state in
            if moment > state.last {
                state.last = moment
                state.sequence = 0
            } else {
                state.sequence += 1
                if state.sequence == Self.sequenceCapacity {
                    state.last += 1
                    state.sequence = 0
                }
            }
            var random = state.random
            defer { state.random = random }
            return Self.make(kind, state.last, state.sequence, &random)
        }
    }

    private static func make(
        _ kind: Identifier.Kind,
        _ moment: Int64,
        _ sequence: UInt64,
        _ random: inout any RandomNumberGenerator & Sendable
    ) -> String {
        var generator = Chance(random)
        defer { random = generator.base }
        return Identifier.make(kind, milliseconds: moment, sequence: sequence, using: &generator)
    }

    /// `prefix` and `length` letters and digits that nobody can guess.
    public func secret(_ prefix: String, length: Int) -> String {
        state.withLock { state in
            var generator = Chance(state.random)
            defer { state.random = generator.base }
            return Secret.make(prefix: prefix, length: length, using: &generator)
        }
    }

    private struct Chance: RandomNumberGenerator {
        var base: any RandomNumberGenerator & Sendable

        init(_ base: any RandomNumberGenerator & Sendable) { self.base = base }

        mutating func next() -> UInt64 { base.next() }
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
