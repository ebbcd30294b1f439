/// Wake-ups: a hint that there may be work, from whoever wrote it to whoever does it.
///
/// A hint is sent after the commit of the write that gave it, can come twice or for nothing, and is lost when a process
/// or its connection dies. Who listens therefore asks the database too, from time to time: the rows are the truth.

internal import Synchronization

/// A channel of wake-ups, named by whoever uses it: lower-case letters, digits and underscores.
public struct Wake: RawRepresentable, Hashable, Sendable {
    public let rawValue: String

    public init(rawValue: String) {
        self.rawValue = rawValue
    }
}

/// Those of this process who listen.
final class Listeners: Sendable {
    private struct State {
        var next = 0
        var listening: [Wake: [Int: AsyncStream<Void>.Continuation]] = [:]
        var isClosed = false
    }

    private let state = Mutex(State())

    /// Hints from now on; those that come while one waits are one.
    func stream(_ channel: Wake) -> AsyncStream<Void> {
        let (stream, continuation) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        let number = state.withLock { state -> Int? in
            guard !state.isClosed else { return nil }
            state.next += 1
            state.listening[channel, default: [:]][state.next] = continuation
            return state.next
        }
        guard let number else {
            continuation.finish()
            return stream
        }
        continuation.onTermination = { [weak self] _ in
            self?.state.withLock { _ = $0.listening[channel]?.removeValue(forKey: number) }
        }
        return stream
    }

    func wake(_ channels: Set<Wake>) {
        guard !channels.isEmpty else { return }
        let waiting = state.withLock { state in channels.flatMap { state.listening[$0].map { Array($0.values) } ?? [] }
        }
        for continuation in waiting { continuation.yield() }
    }

    /// Wakes all, whatever they listen for.
    func wakeAll() {
        wake(state.withLock { Set($0.listening.keys) })
    }

    /// Ends every stream, and each that is asked for from now on.
    func close() {
        let waiting = state.withLock { state in
            state.isClosed = true
            return state.listening.values.flatMap(\.values)
        }
        for continuation in waiting { continuation.finish() }
    }
}
