/// Wakes one who waits for work.

/// Rings that come while one is waited for are one.
final class Bell: Sendable {
    let rings: AsyncStream<Void>
    private let continuation: AsyncStream<Void>.Continuation

    init() {
        (rings, continuation) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        ring()
    }

    func ring() {
        continuation.yield()
    }
}
