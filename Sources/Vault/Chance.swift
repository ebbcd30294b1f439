/// Chance for secrets, ids and nonces: the system's own, fetched in blocks.
///
/// Each number from the system is a call into the kernel, and a request needs several. No word of a block is handed out
/// twice, unless a snapshot of the machine's memory is started twice: start the server anew after that.

internal import Glibc
internal import Synchronization

public struct SystemChance: RandomNumberGenerator, Sendable {
    private static let block = Mutex(Block())

    public init() {}

    public mutating func next() -> UInt64 {
        Self.block.withLock { $0.next() }
    }

    /// Random bytes.
    static func bytes(count: Int) -> [UInt8] {
        block.withLock { block in
            [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
                while filled < count {
                    var word = block.next()
                    for _ in 0..<min(8, count - filled) {
                        buffer.initializeElement(at: filled, to: UInt8(truncatingIfNeeded: word))
                        word >>= 8
                        filled += 1
                    }
                }
            }
        }
    }

    private struct Block {
        /// As much as the system gives in one call.
        private static let capacity = 256 / MemoryLayout<UInt64>.size
        private var words: [UInt64] = []

        mutating func next() -> UInt64 {
            if let word = words.popLast() { return word }
            words = [UInt64](repeating: 0, count: Self.capacity)
            let code = words.withUnsafeMutableBytes { getentropy($0.baseAddress, $0.count) }
            if code != 0 {
                // It says why and ends the process where the system has no chance to give.
                var system = SystemRandomNumberGenerator()
                for index in words.indices { words[index] = system.next() }
            }
            return words.removeLast()
        }
    }
}
