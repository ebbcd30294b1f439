/// Chance for secrets, ids and nonces: the system's own, fetched in blocks.
///
/// Each number from the system is a call into the kernel, and a request needs several. No word of a block is handed out
/// twice.

internal import Crypto
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
        private static let capacity = 64
        private var words: [UInt64] = []

        mutating func next() -> UInt64 {
            if let word = words.popLast() { return word }
            // A key is nothing but bytes from the system's generator.
            let fresh = SymmetricKey(size: SymmetricKeySize(bitCount: 64 * Self.capacity))
            words = fresh.withUnsafeBytes { Array($0.bindMemory(to: UInt64.self)) }
            return words.removeLast()
        }
    }
}
