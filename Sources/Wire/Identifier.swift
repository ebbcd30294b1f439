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
        var letters: [UInt8] = Array(kind.rawValue.utf8)
        letters.reserveCapacity(letters.count + kind.length)
        // All but those of refreshes.
        let isLed = kind.length == 24 && kind != .transactionRefresh
        if isLed { letters.append(contentsOf: leading.utf8) }
        append(UInt64(max(0, milliseconds)), digits: timeLetters, to: &letters)
        append(sequence, digits: sequenceLetters, to: &letters)
        // Ten letters are less than 64 bits; that some are likelier by 10⁻¹ of a billionth matters to no id.
        var rest = kind.length - (isLed ? 1 : 0) - momentLetters
        while rest > 0 {
            append(random.next(), digits: min(rest, 10), to: &letters)
            rest -= 10
        }
        return String(decoding: letters, as: UTF8.self)
    }

    private static func append(_ number: UInt64, digits: Int, to letters: inout [UInt8]) {
        var rest = number
        let start = letters.count
        letters.append(contentsOf: repeatElement(0, count: digits))
        for index in stride(from: start + digits - 1, through: start, by: -1) {
            letters[index] = alphabet[Int(rest % 62)]
            rest /= 62
        }
    }
}
