/// The versions of the API and what differs between them here.
///
/// A version is a day, from acacia on with a code name; a client's own is sent in `Stripe-Version` with each request
/// and the answer is given in it. Mobile clients add flags behind a semicolon, which are kept apart.
public struct APIVersion: Sendable, Hashable, Comparable {
    /// `2026-08-26`, which sorts as a text.
    public let date: String
    /// `dahlia`, or empty up to 2024-06-20.
    public let name: String

    /// What a request without the header is answered in: both shapes of `filters` are seen in it.
    public static let standard = APIVersion(date: "2026-08-26", name: "dahlia")

    /// The newest that is known here.
    public static let latest = APIVersion(date: "2026-10-28", name: "endive")

    /// As it stands in `Stripe-Version`.
    public let description: String

    public static func < (left: APIVersion, right: APIVersion) -> Bool { left.date < right.date }

    private init(date: String, name: String) {
        self.date = date
        self.name = name
        description = name.isEmpty ? date : "\(date).\(name)"
    }

    /// - Parameter header: the value of `Stripe-Version`; what follows a semicolon is left out.
    /// - Throws: "Invalid Stripe API version".
    public init(header: String) throws(StripeError) {
        let version = header.prefix { $0 != ";" }.trimmingSpaces()
        let parts = version.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        guard let date = parts.first, Self.isDay(date) else { throw Self.invalid(header) }
        switch parts.count {
        case 1:
            guard Self.unnamed.contains(date) else { throw Self.invalid(header) }
            self.init(date: date, name: "")
        default:
            // A later month of a known name is additive, so a newer SDK than this server keeps working.
            guard let first = Self.firstRelease[parts[1]], date >= first else { throw Self.invalid(header) }
            self.init(date: date, name: parts[1])
        }
    }

    private static func invalid(_ header: String) -> StripeError {
        StripeError(message: "Invalid Stripe API version: \(header.prefix(100))")
    }

    private static func isDay(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        let parts = text.split(separator: "-").map { Int($0) ?? 0 }
        return bytes.count == 10 && parts.count == 3 && (1...12).contains(parts[1]) && (1...31).contains(parts[2])
            && parts[0] < 2100
            && bytes.enumerated().allSatisfy { index, byte in
                index == 4 || index == 7 ? byte == UInt8(ascii: "-") : byte >= 48 && byte <= 57
            }
    }

    private static let firstRelease: [String: String] = [
        "acacia": "2024-09-30", "basil": "2025-03-31", "clover": "2025-09-30", "dahlia": "2026-03-25",
        "endive": "2026-09-30", "dashboard": "2025-03-01", "preview": "2022-08-01", "private": "2022-08-01",
    ]

    /// Every version from before code names.
    private static let unnamed: Set<String> = [
        "2011-01-01", "2011-06-21", "2011-06-28", "2011-08-01", "2011-09-15", "2011-11-17", "2012-02-23",
        "2012-03-25", "2012-06-18", "2012-06-28", "2012-07-09", "2012-09-24", "2012-10-26", "2012-11-07",
        "2013-02-11", "2013-02-13", "2013-07-05", "2013-08-12", "2013-08-13", "2013-10-29", "2013-12-03",
        "2014-01-31", "2014-03-13", "2014-03-28", "2014-05-19", "2014-06-13", "2014-06-17", "2014-07-22",
        "2014-07-26", "2014-08-04", "2014-08-20", "2014-09-08", "2014-10-07", "2014-11-05", "2014-11-20",
        "2014-12-08", "2014-12-17", "2014-12-22", "2015-01-11", "2015-01-26", "2015-02-10", "2015-02-16",
        "2015-02-18", "2015-03-24", "2015-04-07", "2015-06-15", "2015-07-07", "2015-07-13", "2015-07-28",
        "2015-08-07", "2015-08-19", "2015-09-03", "2015-09-08", "2015-09-23", "2015-10-01", "2015-10-12",
        "2015-10-16", "2016-02-03", "2016-02-19", "2016-02-22", "2016-02-23", "2016-02-29", "2016-03-07",
        "2016-06-15", "2016-07-06", "2016-10-19", "2017-01-27", "2017-02-14", "2017-04-06", "2017-05-25",
        "2017-06-05", "2017-08-15", "2017-12-14", "2018-01-23", "2018-02-05", "2018-02-06", "2018-02-28",
        "2018-05-21", "2018-07-27", "2018-08-23", "2018-09-06", "2018-09-24", "2018-10-31", "2018-11-08",
        "2019-02-11", "2019-02-19", "2019-03-14", "2019-05-16", "2019-08-14", "2019-09-09", "2019-10-08",
        "2019-10-17", "2019-11-05", "2019-12-03", "2020-03-02", "2020-08-27", "2022-08-01", "2022-11-15",
        "2023-08-16", "2023-10-16", "2024-04-10", "2024-06-20",
    ]
}

// MARK: What differs

extension APIVersion {
    /// `limits`, `manual_entry`, `bank_account_token` and `require_payment_method_support` exist.
    public var hasSessionConfiguration: Bool { date >= "2026-07-29" }

    /// Requests name the country as `filters[countries][]`.
    public var takesCountries: Bool { date < "2026-09-30" }

    /// Answers show `filters.countries`.
    public var showsCountries: Bool { takesCountries }

    /// Answers show `filters.country`.
    public var showsCountry: Bool { date >= "2026-08-26" }

    /// Answers show what the session's omitted filters mean, instead of `filters: null`.
    public var showsDefaultFilters: Bool { !takesCountries }
}

extension Substring {
    fileprivate func trimmingSpaces() -> Substring {
        var text = self
        while text.first == " " { text.removeFirst() }
        while text.last == " " { text.removeLast() }
        return text
    }
}
