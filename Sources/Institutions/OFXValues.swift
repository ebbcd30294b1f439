/// Dates and amounts as OFX spells them.
///
/// It promises exact numbers: no binary fraction is involved, and a date without a time is the first second of its day
/// in UTC, never moved by a zone. It takes what banks write beside the standard: a decimal comma, a plus, a minus
/// behind the number or parentheses for it, groups of digits, no digit before the point, dashes in a date, the hour
/// 24, milliseconds behind a colon, a zone without an offset or with minutes. It refuses days that no calendar has and
/// what is no number.

internal import FoundationEssentials

struct OFXDate: Sendable, Equatable {
    /// Seconds since the Unix epoch.
    let seconds: Int64
    /// The day as it was written, `YYYYMMDD`, whatever the zone.
    let day: String

    /// - Parameter text: `YYYYMMDD[HHMM[SS]][.XXX][[offset[:zone]]]`; without an offset it is in UTC.
    init?(_ text: String) {
        var rest = Self.undashed(text)[...]
        let digits = rest.prefix { $0.isASCII && $0.isNumber }
        rest = rest[digits.endIndex...]
        guard [8, 10, 12, 14].contains(digits.count), let number = Int64(digits.prefix(8)) else { return nil }
        let (year, month, dayOfMonth) = (number / 10_000, number / 100 % 100, number % 100)
        guard (1900...2199).contains(year), (1...12).contains(month), dayOfMonth >= 1 else { return nil }
        let date = CivilDay(months: (year - 1970) * 12 + month - 1, day: dayOfMonth)
        guard date.day == dayOfMonth else { return nil }
        let midnight = date.begin
        day = String(digits.prefix(8))
        guard digits.count > 8 else { seconds = midnight; return }
        let time = (Int64(digits.dropFirst(8)) ?? 0) * (digits.count == 10 ? 10_000 : digits.count == 12 ? 100 : 1)
        let (hour, minute, second) = (time / 10_000, time / 100 % 100, time % 100)
        // The end of a day may be written as its hour 24.
        guard hour < 24 || time == 240_000, minute < 60, second <= 60 else { return nil }
        seconds = midnight + hour * 3600 + minute * 60 + second - Self.offset(rest)
    }

    /// Dates are sometimes written as `2024-02-29`.
    private static func undashed(_ text: String) -> String {
        let letters = Array(text.utf8.prefix(10))
        guard letters.count == 10, letters[4] == UInt8(ascii: "-"), letters[7] == UInt8(ascii: "-") else { return text }
        return String(text.prefix(10).filter { $0 != "-" })
    }

    /// Seconds to the east of UTC: of `[-5:EST]`, `[5.5:IST]`, or `[-:EST]`, where only the name tells.
    private static func offset(_ text: Substring) -> Int64 {
        guard let open = text.firstIndex(of: "[") else { return 0 }
        let parts = text[open...].dropFirst().prefix { $0 != "]" }.split(
            separator: ":",
            omittingEmptySubsequences: false
        )
        guard let hours = parts.first else { return 0 }
        let isWest = hours.hasPrefix("-")
        let number = hours.drop { $0 == "-" || $0 == "+" }.split(separator: ".", omittingEmptySubsequences: false)
        if let first = number.first, let whole = Int64(first), whole <= 14 {
            let fraction = number.count > 1 ? number[1].prefix(2) : ""
            // Of the quarters of an hour some banks write the minutes.
            let isMinutes = ["15", "30", "45"].contains(fraction)
            let part = (Int64(fraction) ?? 0) * (isMinutes ? 60 : fraction.count == 1 ? 360 : 36)
            let seconds = whole * 3600 + part
            return isWest ? -seconds : seconds
        }
        return parts.count > 1 ? (zones[parts[1].uppercased()] ?? 0) * 3600 : 0
    }

    private static let zones: [String: Int64] = [
        "AKDT": -8, "AKST": -9, "BST": 1, "CDT": -5, "CEST": 2, "CET": 1, "CST": -6, "EDT": -4, "EST": -5, "HST": -10,
        "MDT": -6, "MST": -7, "PDT": -7, "PST": -8,
    ]

    /// The moment as OFX spells it, in UTC.
    static func text(of moment: Int64) -> String {
        let date = CivilDay(moment)
        let time = ((moment % 86_400) + 86_400) % 86_400
        return padded(date.year, 4) + padded(date.month, 2) + padded(date.day, 2) + padded(time / 3600, 2)
            + padded(time / 60 % 60, 2) + padded(time % 60, 2)
    }

    private static func padded(_ number: Int64, _ width: Int) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }
}

/// An amount of money as banks and people write it.
enum WrittenAmount {
    /// An amount of a currency in minor units. Nil where it may be more than a thousand or little more than one:
    /// `1,234` where the minor unit has no three digits, and `1.234` where digits would be lost or there is no minor
    /// unit.
    static func minorUnits(_ text: String, _ currency: String) -> Int64? {
        guard let number = canonical(text), let money = Money(number, currency) else { return nil }
        let parts = number.drop { $0 == "-" }.split(separator: ".")
        let isLikeGroups = parts.count == 2 && parts[1].count == 3 && parts[0].count <= 3 && parts[0].first != "0"
        guard isLikeGroups else { return money.minorUnits }
        let exponent = Money.exponent(of: currency) ?? 0
        let isClear = exponent == 3 || text.contains(".") && exponent > 0 && !money.isRounded
        return isClear ? money.minorUnits : nil
    }

    /// The exact number, or nil.
    static func decimal(_ text: String) -> Decimal? {
        canonical(text).flatMap { Decimal(string: $0) }
    }

    /// An amount as ``Money`` takes it, or nil. A comma is a decimal mark, unless a point follows it or there are more
    /// of them, and the other way round. Apostrophes and spaces group three digits, and there is one sign.
    static func canonical(_ text: String) -> String? {
        func trimmed(_ text: Substring) -> Substring {
            let begun = text.drop(while: \.isWhitespace)
            return begun.lastIndex { !$0.isWhitespace }.map { begun[...$0] } ?? ""
        }
        var number = trimmed(text[...])
        var signs: [Character] = []
        if number.hasPrefix("("), number.hasSuffix(")") {
            number = trimmed(number.dropFirst().dropLast())
            signs.append("-")
        }
        if let first = number.first, "-+\u{2212}".contains(first) { signs.append(number.removeFirst()) }
        if let last = number.last, "-+\u{2212}".contains(last) { signs.append(number.removeLast()) }
        guard signs.count <= 1, let joined = joined(trimmed(number)) else { return nil }
        number = joined[...]
        let sign = signs == ["+"] || signs.isEmpty ? "" : "-"
        guard number.utf8.allSatisfy({ $0 >= 48 && $0 <= 57 || $0 == 44 || $0 == 46 }) else { return nil }
        guard let mark = number.last(where: { $0 == "," || $0 == "." }) else {
            return number.isEmpty ? nil : sign + number
        }
        let other: Character = mark == "," ? "." : ","
        let isGrouping = number.count(where: { $0 == mark }) > 1
        // Groups alone, or groups before one decimal mark.
        guard !isGrouping || !number.contains(other) else { return nil }
        let cut = isGrouping ? nil : number.lastIndex(of: mark)
        let whole = cut.map { number[..<$0] } ?? number
        let groups = whole.split(omittingEmptySubsequences: false) { $0 == "," || $0 == "." }
        guard groups.count == 1 || groups.dropFirst().allSatisfy({ $0.count == 3 }) && !groups[0].isEmpty else {
            return nil
        }
        let fraction = cut.map { number[number.index(after: $0)...] } ?? ""
        guard groups.count > 1 || !groups[0].isEmpty || !fraction.isEmpty else { return nil }
        let digits = groups.joined()
        return sign + (digits.isEmpty ? "0" : digits) + (fraction.isEmpty ? "" : "." + fraction)
    }

    /// A number without the apostrophes and spaces that group its digits; nil where these do not group.
    private static func joined(_ number: Substring) -> String? {
        let parts = number.split(omittingEmptySubsequences: false) { $0.isWhitespace || $0 == "'" || $0 == "\u{2019}" }
        guard parts.count > 1 else { return String(number) }
        let areGroups = parts.enumerated().allSatisfy { place, part in
            let digits = part.prefix { $0.isASCII && $0.isNumber }.count
            let isEnd = place == parts.count - 1
            return (isEnd || digits == part.count) && (place == 0 ? 1...3 : 3...3).contains(digits)
        }
        return areGroups ? parts.joined() : nil
    }
}
