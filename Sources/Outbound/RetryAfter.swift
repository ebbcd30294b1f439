/// When the other side of a reply wants to be asked again. The text is the receiver's: whatever it says, the answer is
/// a moment within bounds.

extension Outbound.Reply {
    /// Nobody is believed for longer, in seconds.
    private static let longestWait: Int64 = 86_400

    /// When the other side is to be asked again: its `Retry-After`, in seconds or as a date; nil where it says nothing
    /// that can be read. It is never before `now`, and at most a day later.
    /// - Parameter now: seconds since the Unix epoch, as is the answer.
    public func retryAfter(_ now: Int64) -> Int64? {
        guard let text = headers.first("Retry-After") else { return nil }
        if !text.isEmpty, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) {
            // A number that is too long for its type is a long wait too.
            return now + min(Int64(text) ?? .max, Self.longestWait)
        }
        return HTTPDate.moment(text).map { min(max($0, now), now + Self.longestWait) }
    }
}

/// Dates as headers of HTTP have them: `Wed, 21 Oct 2026 07:28:00 GMT`, the form that is to be sent. The two older ones
/// are not read.
enum HTTPDate {
    private static let months: [Substring] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]

    /// Seconds since the Unix epoch; nil for a text of another form.
    static func moment(_ text: String) -> Int64? {
        let words = text.split(separator: " ", omittingEmptySubsequences: false)
        guard words.count == 6, words[5] == "GMT", let month = months.firstIndex(of: words[2]),
            let day = number(words[1], digits: 2), (1...31).contains(day), let year = number(words[3], digits: 4)
        else { return nil }
        let time = words[4].split(separator: ":", omittingEmptySubsequences: false).map { number($0, digits: 2) }
        guard time.count == 3, let hour = time[0], let minute = time[1], let second = time[2], hour < 24, minute < 60,
            second <= 60
        else { return nil }
        // Years begin in March, so that a leap day is the last of its year.
        let shiftedYear = year - (month < 2 ? 1 : 0)
        let dayOfYear = Int64(153 * ((month + 10) % 12) + 2) / 5 + day - 1
        let days = shiftedYear * 365 + shiftedYear / 4 - shiftedYear / 100 + shiftedYear / 400 + dayOfYear - 719_468
        return days * 86_400 + hour * 3600 + minute * 60 + second
    }

    private static func number(_ text: Substring, digits: Int) -> Int64? {
        guard text.utf8.count == digits, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
        return Int64(text)
    }
}
