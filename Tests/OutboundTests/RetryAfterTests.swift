/// `Retry-After` as receivers write it, and as no receiver should.

import Testing

@testable import Outbound

@Suite("Retry-After")
struct RetryAfterTests {
    private static let now: Int64 = 1_790_000_000
    private static let day: Int64 = 86_400

    private func moment(_ text: String, _ now: Int64 = now) -> Int64? {
        let headers = Outbound.Headers(all: [(name: "retry-after", value: text)])
        return Outbound.Reply(status: 503, headers: headers, body: [], isCut: false).retryAfter(now)
    }

    @Test(
        "is a number of seconds or a date, within bounds",
        arguments: [
            ("0", 0), ("4", 4), ("120", 120), ("86401", 86_400), ("99999999999999999", 86_400),
            ("9223372036854775807", 86_400), ("9223372036854775808", 86_400),
            ("1" + String(repeating: "0", count: 400), 86_400),
            ("-1", nil), ("+1", nil), ("1.5", nil), (" 1", nil), ("", nil), ("soon", nil), ("٣", nil),
            ("Mon, 21 Sep 2026 14:13:30 GMT", 10), ("Mon, 21 Sep 2026 14:13:20 GMT", 0),
            ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400),
            ("Thu, 01 Jan 0000 00:00:00 GMT", 0), ("Sat, 01 Jan 9223372036854775807 00:00:00 GMT", nil),
            ("Mon, 99999999999999999 Sep 2026 14:13:30 GMT", nil),
            ("Mon, 21 Sep 2026 99999999999999999:13:30 GMT", nil),
            ("Mon, 21 Sep 2026 -9223372036854775808:13:30 GMT", nil), ("Mon, 21 Sep 2026 14:13 GMT", nil),
            ("Mon, 21 Sep 2026 14:13:30:00 GMT", nil), ("Mon, 21 Sep 2026 24:00:00 GMT", nil),
            ("Mon, 00 Sep 2026 14:13:30 GMT", nil), ("Mon, 21 Sep 2026 14:13:30 CET", nil),
            ("Monday, 21-Sep-26 14:13:30 GMT", nil), ("Mon Sep 21 14:13:30 2026", nil),
        ] as [(String, Int64?)]
    )
    func bounds(text: String, seconds: Int64?) {
        #expect(moment(text) == seconds.map { Self.now + $0 })
    }

    @Test("is read to the second")
    func dates() {
        #expect(HTTPDate.moment("Wed, 21 Oct 2015 07:28:00 GMT") == 1_445_412_480)
        #expect(HTTPDate.moment("Thu, 01 Jan 1970 00:00:00 GMT") == 0)
        #expect(HTTPDate.moment("Thu, 29 Feb 2024 23:59:60 GMT") == 1_709_251_200)
        #expect(HTTPDate.moment("Mon, 01 Mar 2100 00:00:00 GMT") == 4_107_542_400)
    }

    @Test("takes whatever it is", arguments: UInt64(0)..<20)
    func fuzz(seed: UInt64) {
        var chance = Seeded(seed)
        let parts = [
            "Mon,", "21", "Sep", "Feb", "2026", "14:13:30", "GMT", " ", " ", ":", "-", "+", "0", "9",
            "99999999999999999999", "-9223372036854775808", "9223372036854775807", "\u{301}", "é", "\t", ",", "31",
            "00",
        ]
        for _ in 0..<2000 {
            var words = ["Mon,", " ", "21", " ", "Sep", " ", "2026", " ", "14:13:30", " ", "GMT"]
            for _ in 0..<Int.random(in: 0...4, using: &chance) {
                let index = Int.random(in: 0..<words.count, using: &chance)
                words[index] = parts[Int.random(in: 0..<parts.count, using: &chance)]
            }
            let text = words.prefix(Int.random(in: 1...words.count, using: &chance)).joined()
            guard let found = moment(text) else { continue }
            #expect((Self.now...Self.now + Self.day).contains(found), "\(text)")
        }
    }
}
