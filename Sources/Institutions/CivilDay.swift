/// Days of the calendar, in UTC.
///
/// It promises the Gregorian calendar, reckoned back and forward without end, and to read `2026-01-31` and
/// `2026-01-31T09:30:00Z` and nothing else.

struct CivilDay {
    static let seconds: Int64 = 86_400

    let year: Int64
    /// From 1.
    let month: Int64
    /// From 1.
    let day: Int64

    /// The day on which a moment falls.
    init(_ moment: Int64) {
        // Years begin in March here, so that the leap day is the last of its year; eras are 400 years.
        let days = moment.floored(by: Self.seconds) + 719_468
        let era = days.floored(by: 146_097)
        let dayOfEra = days - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    }

    /// - Parameters:
    ///   - months: since January 1970.
    ///   - day: from 1; where the month has no such day, its last one is meant.
    init(months: Int64, day: Int64) {
        year = 1970 + months.floored(by: 12)
        month = months - months.floored(by: 12) * 12 + 1
        self.day = min(day, Self.days(in: month, year))
    }

    /// Months since January 1970.
    var months: Int64 { (year - 1970) * 12 + month - 1 }

    /// The moment at which it begins, seconds since the Unix epoch.
    var begin: Int64 {
        let shiftedYear = month <= 2 ? year - 1 : year
        let era = shiftedYear.floored(by: 400)
        let yearOfEra = shiftedYear - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return (era * 146_097 + dayOfEra - 719_468) * Self.seconds
    }

    /// The moment that a text names, a day without a time being its beginning; nil where it names none.
    static func moment(_ text: String) -> Int64? {
        let form = #/([0-9]{4})-([0-9]{2})-([0-9]{2})(?:T([0-9]{2}):([0-9]{2}):([0-9]{2})Z)?/#
        guard let match = text.wholeMatch(of: form)?.output, let year = Int64(match.1), let month = Int64(match.2),
            let day = Int64(match.3), (1...12).contains(month), day >= 1, day <= days(in: month, year)
        else { return nil }
        let time = [match.4, match.5, match.6].map { $0.flatMap { Int64($0) } ?? 0 }
        guard time[0] < 24, time[1] < 60, time[2] < 60 else { return nil }
        let date = CivilDay(months: (year - 1970) * 12 + month - 1, day: day)
        return date.begin + time[0] * 3600 + time[1] * 60 + time[2]
    }

    private static func days(in month: Int64, _ year: Int64) -> Int64 {
        if month == 2 { return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28 }
        return [4, 6, 9, 11].contains(month) ? 30 : 31
    }
}

extension Int64 {
    /// The quotient, rounded downwards for negative numbers too.
    func floored(by divisor: Int64) -> Int64 {
        let (quotient, remainder) = quotientAndRemainder(dividingBy: divisor)
        return remainder < 0 ? quotient - 1 : quotient
    }
}
