/// Moments as banks write them, read strictly and into seconds since the Unix epoch. A date without a time is its first
/// second in UTC, wherever the server stands.

enum Moment {
    /// ISO 8601 as RFC 3339 takes it: `2026-07-15T14:46:41.375Z`, `2026-07-15T14:46:41+02:00`, `2026-07-15`. Without an
    /// offset it is UTC. Fractions of a second are cut. The seconds and the minutes of an offset may be missing.
    static func iso(_ text: String) -> Int64? {
        let bytes = Array(text.utf8)
        guard bytes.count >= 10, let date = CivilDay.moment(String(decoding: bytes[..<10], as: UTF8.self)) else {
            return nil
        }
        if bytes.count == 10 { return date }
        guard bytes.count >= 16, [84, 116, 32].contains(bytes[10]), bytes[13] == 58,
            let hour = number(bytes[11..<13]), let minute = number(bytes[14..<16]), hour < 24, minute < 60
        else { return nil }
        var (rest, second): (ArraySlice<UInt8>, Int64) = (bytes[16...], 0)
        if rest.first == 58 {
            guard bytes.count >= 19, let read = number(bytes[17..<19]), read <= 60 else { return nil }
            (rest, second) = (bytes[19...], read)
        }
        if rest.first == 46 {
            rest = rest.dropFirst().drop { $0 >= 48 && $0 <= 57 }
        }
        guard let offset = offset(rest) else { return nil }
        return date + hour * 3600 + minute * 60 + second - offset
    }

    private static func offset(_ text: ArraySlice<UInt8>) -> Int64? {
        guard let sign = text.first else { return 0 }
        if text.count == 1 { return sign == 90 || sign == 122 ? 0 : nil }
        let digits = text.dropFirst().filter { $0 != 58 }
        guard sign == 43 || sign == 45, [2, 4].contains(digits.count), let hours = number(digits.prefix(2)),
            let minutes = digits.count == 2 ? 0 : number(digits.suffix(2)), hours < 24, minutes < 60
        else { return nil }
        return (hours * 3600 + minutes * 60) * (sign == 45 ? -1 : 1)
    }

    /// The date of a moment in UTC: `2026-07-15`.
    static func date(of seconds: Int64) -> String {
        let day = CivilDay(seconds)
        func padded(_ number: Int64, _ width: Int) -> String {
            let digits = String(number)
            return String(repeating: "0", count: max(0, width - digits.count)) + digits
        }
        return "\(padded(day.year, 4))-\(padded(day.month, 2))-\(padded(day.day, 2))"
    }

    private static func number(_ digits: some Collection<UInt8>) -> Int64? {
        guard !digits.isEmpty, digits.allSatisfy({ $0 >= 48 && $0 <= 57 }) else { return nil }
        return digits.reduce(0) { $0 * 10 + Int64($1 - 48) }
    }
}
