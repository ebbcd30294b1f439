/// Ids as the API shapes them: a prefix that says what the object is, then letters and digits.
///
/// The letters begin with the time, so that ids sort as they were made: rows are appended near the end of every index,
/// and the id breaks the tie in lists of objects of one second. The rest is random. An id is no secret and proves
/// nothing.
public struct Identifier: Sendable {
    public enum Kind: String, Sendable {
        case account = "fca_"
        case apiKey = "mk_"
        case authorization = "fcauth_"
        case authSession = "bcsess_"
        case bankAccount = "ba_"
        case bankTransaction = "btxn_"
        case customer = "cus_"
        case event = "evt_"
        case merchant = "acct_"
        case owner = "fcaown_"
        case ownership = "fcaowns_"
        case request = "req_"
        case session = "fcsess_"
        case testClock = "clock_"
        case token = "btok_"
        case upload = "fcup_"
        case transaction = "fctxn_"
        case transactionRefresh = "fctxnref_"
        case webhookEndpoint = "we_"

        /// How many letters follow the prefix.
        fileprivate var length: Int {
            switch self {
            case .customer, .request: 14
            case .merchant: 16
            default: 24
            }
        }
    }

    private static let alphabet = Array("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".utf8)
    private static let timeLetters = 7
    private static let sequenceLetters = 2
    /// The API's longer ids begin with it.
    private static let leading = "1"
    /// How many letters say when an id was made. No two ids of a process share them.
    public static let momentLetters = timeLetters + sequenceLetters

    /// What the ids of a kind with 24 letters begin with, before the moment.
    public static func beginning(_ kind: Kind) -> String { kind.rawValue + leading }

    /// - Parameters:
    ///   - milliseconds: since the Unix epoch.
    ///   - sequence: counts the ids made by this process, so that those of one millisecond keep their order.
    public static func make(
        _ kind: Kind,
        milliseconds: Int64,
        sequence: UInt64,
        using random: inout some RandomNumberGenerator
    ) -> String {
        // All but those of refreshes.
        let isLed = kind.length == 24 && kind != .transactionRefresh
        let prefix = kind.rawValue + (isLed ? leading : "")
        let count = kind.rawValue.utf8.count + kind.length
        return String(unsafeUninitializedCapacity: count) { letters in
            var end = letters.update(fromContentsOf: prefix.utf8)
            end = put(UInt64(max(0, milliseconds)), digits: timeLetters, at: end, in: letters)
            end = put(sequence, digits: sequenceLetters, at: end, in: letters)
            // Ten letters are less than 64 bits; that some are likelier by 10⁻¹ of a billionth matters to no id.
            while end < count { end = put(random.next(), digits: min(count - end, 10), at: end, in: letters) }
            return count
        }
    }

    /// - Returns: the place behind the digits.
    private static func put(
        _ number: UInt64,
        digits: Int,
        at start: Int,
        in letters: UnsafeMutableBufferPointer<UInt8>
    ) -> Int {
        var rest = number
        for index in stride(from: start + digits - 1, through: start, by: -1) {
            letters[index] = alphabet[Int(rest % 62)]
            rest /= 62
        }
        return start + digits
    }
}
