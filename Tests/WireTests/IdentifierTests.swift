/// Ids: their prefixes and lengths, and that they sort as they were made.

import Testing
import Wire

private let now: Int64 = 1_790_000_000_000

@Suite("An id")
struct IdentifierTests {
    @Test(
        "has the prefix and the length of its kind",
        arguments: [
            (Identifier.Kind.account, "fca_", 24), (.apiKey, "mk_", 24), (.authorization, "fcauth_", 24),
            (.authSession, "bcsess_", 24), (.bankAccount, "ba_", 24), (.customer, "cus_", 14), (.event, "evt_", 24),
            (.merchant, "acct_", 16), (.request, "req_", 14), (.session, "fcsess_", 24), (.token, "btok_", 24),
        ]
    )
    func shape(kind: Identifier.Kind, prefix: String, length: Int) {
        var random = Seeded(1)
        for sequence in [0, 1, 3843] as [UInt64] {
            let id = Identifier.make(kind, milliseconds: now, sequence: sequence, using: &random)
            #expect(id.hasPrefix(prefix))
            let letters = id.utf8.dropFirst(prefix.utf8.count)
            #expect(letters.count == length)
            #expect(letters.allSatisfy { $0 >= 48 && $0 <= 57 || $0 >= 65 && $0 <= 90 || $0 >= 97 && $0 <= 122 })
            if length == 24 { #expect(letters.first == UInt8(ascii: "1")) }
        }
    }

    @Test("sorts by its bytes as it was made, over time and within one millisecond")
    func order() {
        var random = Seeded(2)
        var moments: [(milliseconds: Int64, sequence: UInt64)] = []
        for step in [0, 1, 61, 62, 3843, 3844, 86_400_000, 40_000_000_000] as [Int64] {
            for sequence in [0, 1, 9, 10, 35, 36, 61, 62, 3843] as [UInt64] { moments.append((now + step, sequence)) }
        }
        let ids = moments.map {
            Identifier.make(.customer, milliseconds: $0.milliseconds, sequence: $0.sequence, using: &random)
        }
        for (earlier, later) in zip(ids, ids.dropFirst()) {
            #expect(earlier.utf8.lexicographicallyPrecedes(later.utf8), "\(earlier) \(later)")
        }
    }

    @Test("differs by chance where time and count are the same, and repeats with its seed")
    func chance() {
        var random = Seeded(3)
        let ids = (0..<1000).map { _ in Identifier.make(.event, milliseconds: now, sequence: 0, using: &random) }
        #expect(Set(ids).count == 1000)
        var again = Seeded(3)
        #expect(Identifier.make(.event, milliseconds: now, sequence: 0, using: &again) == ids[0])
    }
}
