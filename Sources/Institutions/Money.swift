/// Exact amounts of money from the text that a bank sent or a person wrote.
///
/// It promises whole minor units by the exponent of ISO 4217: `12.50` of `usd` is 1250, `1250` of `jpy` is 1250 and
/// `1.250` of `kwd` is 1250. Digits beyond the minor unit are rounded half to even, and the amount says whether any
/// were lost. No binary fraction is ever involved. It refuses what is not a sign, digits, and a point with digits
/// behind it: no spaces, no grouping, no comma, no exponent. It refuses a currency that ISO 4217 does not know, or
/// that has no minor unit there, and what a 64-bit integer cannot hold.

public struct Money: Sendable, Hashable {
    public let minorUnits: Int64
    /// ISO 4217, lower case.
    public let currency: String
    /// Whether digits other than zero were rounded away.
    public let isRounded: Bool

    /// - Parameters:
    ///   - text: `[+-]?[0-9]+(\.[0-9]+)?`, of any length.
    ///   - currency: in upper or lower case.
    public init?(_ text: some StringProtocol, _ currency: String) {
        let currency = currency.lowercased()
        guard let exponent = Self.exponent(of: currency), let digits = Digits(text.utf8, exponent: exponent)
        else { return nil }
        minorUnits = digits.minorUnits
        isRounded = digits.isRounded
        self.currency = currency
    }

    /// How many decimal digits the minor unit of a currency has; nil where ISO 4217 does not know the currency, or
    /// gives it no minor unit.
    /// - Parameter currency: in upper or lower case.
    public static func exponent(of currency: String) -> Int? {
        exponents[currency] ?? exponents[currency.lowercased()]
    }

    /// The currencies in use, and those that were withdrawn since 2023, in which old transactions may be.
    private static let exponents: [String: Int] = {
        let codes: [(exponent: Int, codes: String)] = [
            (0, "bif clp djf gnf isk jpy kmf krw pyg rwf ugx uyi vnd vuv xaf xof xpf"),
            (
                2,
                """
                aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bmd bnd bob bov brl bsd btn bwp byn bzd \
                cad cdf che chf chw cny cop cou crc cuc cup cve czk dkk dop dzd egp ern etb eur fjd fkp gbp gel \
                ghs gip gmd gtq gyd hkd hnl hrk htg huf idr ils inr irr jmd kes kgs khr kpw kyd kzt lak lbp lkr \
                lrd lsl mad mdl mga mkd mmk mnt mop mru mur mvr mwk mxn mxv myr mzn nad ngn nio nok npr nzd pab \
                pen pgk php pkr pln qar ron rsd rub sar sbd scr sdg sek sgd shp sle sll sos srd ssp stn svc syp \
                szl thb tjs tmt top try ttd twd tzs uah usd usn uyu uzs ved ves wst xad xcd xcg yer zar zmw zwg \
                zwl
                """
            ),
            (3, "bhd iqd jod kwd lyd omr tnd"),
            (4, "clf uyw"),
        ]
        var exponents: [String: Int] = [:]
        for (exponent, codes) in codes {
            for code in codes.split(separator: " ") { exponents[String(code)] = exponent }
        }
        return exponents
    }()
}

/// The reading of the text.
private struct Digits {
    private(set) var minorUnits: Int64
    private(set) var isRounded = false

    init?(_ text: some Collection<UInt8>, exponent: Int) {
        let isNegative = text.first == UInt8(ascii: "-")
        let unsigned = text.dropFirst(isNegative || text.first == UInt8(ascii: "+") ? 1 : 0)
        let parts = unsigned.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        let isDigit: (UInt8) -> Bool = { UInt8(ascii: "0") <= $0 && $0 <= UInt8(ascii: "9") }
        guard parts.count <= 2, parts.allSatisfy({ !$0.isEmpty && $0.allSatisfy(isDigit) }) else { return nil }
        minorUnits = 0
        let fraction = parts.count == 2 ? Array(parts[1]) : []
        for digit in parts[0] { guard append(digit, isNegative) else { return nil } }
        for place in 0..<exponent {
            guard append(place < fraction.count ? fraction[place] : UInt8(ascii: "0"), isNegative) else { return nil }
        }
        guard round(by: fraction.dropFirst(exponent), isNegative) else { return nil }
    }

    /// Counts downwards for negative amounts, so that the least integer can be read.
    private mutating func append(_ digit: UInt8, _ isNegative: Bool) -> Bool {
        let value = Int64(digit - UInt8(ascii: "0"))
        let (tenfold, overflowed) = minorUnits.multipliedReportingOverflow(by: 10)
        let (sum, overflows) = tenfold.addingReportingOverflow(isNegative ? -value : value)
        minorUnits = sum
        return !overflowed && !overflows
    }

    private mutating func round(by rest: ArraySlice<UInt8>, _ isNegative: Bool) -> Bool {
        guard let first = rest.first, rest.contains(where: { $0 != UInt8(ascii: "0") }) else { return true }
        isRounded = true
        let isHalf = first == UInt8(ascii: "5") && rest.dropFirst().allSatisfy { $0 == UInt8(ascii: "0") }
        guard isHalf ? minorUnits % 2 != 0 : first >= UInt8(ascii: "5") else { return true }
        let (sum, overflows) = minorUnits.addingReportingOverflow(isNegative ? -1 : 1)
        minorUnits = sum
        return !overflows
    }
}
