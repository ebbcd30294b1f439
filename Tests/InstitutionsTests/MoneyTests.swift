/// Amounts from text: exact, by the exponent of the currency, or refused.

import Foundation
import Institutions
import Testing

@Suite("Money from text")
struct MoneyTests {
    @Test(
        "is exact",
        arguments: [
            ("0", "usd", 0), ("-0", "usd", 0), ("0.00", "usd", 0), ("1", "usd", 100), ("+1.5", "usd", 150),
            ("1234.56", "usd", 123_456), ("-1234.56", "usd", -123_456), ("0.1", "usd", 10), ("1399.02", "usd", 139_902),
            ("00012.3000", "usd", 1230), ("1250", "jpy", 1250), ("-1250.0", "jpy", -1250), ("1.250", "kwd", 1250),
            ("1.2345", "clf", 12_345), ("90071992547409.93", "usd", 9_007_199_254_740_993),
            ("92233720368547758.07", "usd", .max), ("-92233720368547758.08", "usd", .min),
            ("9223372036854775807", "jpy", .max), ("4.10", "ugx", 4), ("7", "isk", 7), ("2.3456", "uyw", 23_456),
        ] as [(String, String, Int64)]
    )
    func exact(text: String, currency: String, minorUnits: Int64) throws {
        let money = try #require(Money(text, currency))
        #expect(money.minorUnits == minorUnits)
        #expect(money.currency == currency)
        #expect(money.isRounded == (text == "4.10"))
    }

    @Test(
        "rounds half to even, and says so",
        arguments: [
            ("0.005", 0), ("0.015", 2), ("0.025", 2), ("0.0251", 3), ("0.02500000000000000000000001", 3), ("0.024", 2),
            ("0.026", 3), ("-0.005", 0), ("-0.015", -2), ("-0.025", -2), ("-0.0251", -3), ("0.999", 100),
            ("-0.009", -1), ("92233720368547758.074", .max), ("0.0000000000000000000000000001", 0),
        ] as [(String, Int64)]
    )
    func rounded(text: String, minorUnits: Int64) throws {
        let money = try #require(Money(text, "usd"))
        #expect(money.minorUnits == minorUnits)
        #expect(money.isRounded)
    }

    @Test(
        "refuses what is not a plain number",
        arguments: [
            "", "+", "-", ".", "1.", ".5", "1,5", "1,234.50", "12,34", "1.2x", "x1", " 1", "1 ", "1.2.3", "--1", "+-1",
            "1e3", "0x10", "١٢", "1.５", "$1", "1_000", "NaN", "Infinity", "−1", "1\u{0}", "1\n", "1.-5", "1.+5",
        ]
    )
    func refused(text: String) {
        #expect(Money(text, "usd") == nil)
    }

    @Test(
        "refuses what 64 bits cannot hold",
        arguments: [
            "92233720368547758.08", "-92233720368547758.09", "92233720368547758.075", "-92233720368547758.0851",
            "99999999999999999999", "9223372036854775807",
        ]
    )
    func tooLarge(text: String) {
        #expect(Money(text, "usd") == nil)
    }

    @Test("takes the currency in either case and gives it in lower case")
    func cases() {
        #expect(Money("1", "EUR")?.currency == "eur")
        #expect(Money.exponent(of: "BHD") == 3)
        #expect(Money.exponent(of: "bhd") == 3)
    }

    @Test("refuses currencies that are none", arguments: ["", "us", "usdx", "xau", "xxx", "xdr", "btc", "u\u{0}d"])
    func currencies(currency: String) {
        #expect(Money.exponent(of: currency) == nil)
        #expect(Money("1", currency) == nil)
    }

    @Test("gives back what minor units were written from")
    func roundTrip() throws {
        var random = Seeded(7)
        for currency in ["jpy", "usd", "kwd", "clf"] {
            let exponent = try #require(Money.exponent(of: currency))
            for _ in 0..<200 {
                let minorUnits = Int64.random(in: -1_000_000_000_000...1_000_000_000_000, using: &random)
                let text = "\(Decimal(minorUnits) / pow(10, exponent))"
                #expect(Money(text, currency)?.minorUnits == minorUnits, "\(text) \(currency)")
            }
        }
    }
}
