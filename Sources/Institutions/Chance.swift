/// Chance that repeats: numbers that follow from words.
///
/// It promises the same numbers for the same words in every process, on every machine and with every version of the
/// standard library, whose `Hasher` is seeded anew in every process and whose `random(in:)` may change its ways. It is
/// for making things up, not for keeping secrets: the hash behind it can be run backwards.

struct Chance {
    private var state: UInt64

    init(_ words: String...) {
        state = Self.hash(words)
    }

    /// The chance of one of many: of the `number`th payment, the `number`th day.
    init(_ seed: UInt64, _ number: Int64) {
        state = seed &+ UInt64(bitPattern: number) &* 0xd6e8_feb8_6659_fd93
    }

    /// FNV-1a, 64 bits, over the UTF-8 of the words, each closed by a zero byte so that `ab`, `c` is not `a`, `bc`.
    static func hash(_ words: [String]) -> UInt64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for word in words {
            for byte in word.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
            hash = hash &* 0x100_0000_01b3
        }
        return hash
    }

    /// SplitMix64.
    private mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }

    mutating func number(in range: ClosedRange<Int64>) -> Int64 {
        let width = UInt64(bitPattern: range.upperBound &- range.lowerBound) &+ 1
        let number = width == 0 ? next() : next().multipliedFullWidth(by: width).high
        return range.lowerBound &+ Int64(bitPattern: number)
    }

    /// - Parameter choices: at least one.
    mutating func pick<Choice>(_ choices: [Choice]) -> Choice {
        choices[Int(number(in: 0...Int64(choices.count - 1)))]
    }
}
