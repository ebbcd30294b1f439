/// What a person pastes to connect by SimpleFIN, and the Access URL that comes of it.
///
/// It takes a token in all the spellings in which they arrive: base64 or base64url, with or without padding, broken
/// over lines, in quotes, in a sentence, the claim URL that is in it, or the Access URL that was claimed elsewhere. It
/// never gives a secret out in a description.

internal import Foundation

enum SimpleFINToken: Sendable {
    /// A URL that gives the Access URL, once.
    case claim(url: String)
    case access(SimpleFINAccess)

    /// Nil for what is none of these.
    init?(_ text: String) {
        let words = text.split { $0.isWhitespace || $0 == "\u{FEFF}" || $0 == "\u{200B}" || "\"'`<>,".contains($0) }
        // A token is broken over lines more often than it stands in a sentence.
        let candidates = [words.joined()] + words.filter { $0.count >= 12 }.map(String.init)
        for candidate in candidates {
            if let token = Self(word: candidate) { self = token; return }
        }
        return nil
    }

    private init?(word: String) {
        if let token = Self(url: word) { self = token; return }
        guard let decoded = Self.decoded(word), let token = Self(url: decoded) else { return nil }
        self = token
    }

    private init?(url: String) {
        let lowercase = url.prefix(8).lowercased()
        guard lowercase.hasPrefix("https://") || lowercase.hasPrefix("http://"), SimpleFINAccess.isAddress(url) else {
            return nil
        }
        if let access = SimpleFINAccess(url) {
            self = .access(access)
        } else if !url.split(separator: "/", maxSplits: 2).joined().contains("@") {
            self = .claim(url: url)
        } else {
            return nil
        }
    }

    private static func decoded(_ text: String) -> String? {
        var base64 = String(text.filter { $0 != "=" }.map { $0 == "-" ? "+" : $0 == "_" ? "/" : $0 })
        base64 += String(repeating: "=", count: (4 - base64.utf8.count % 4) % 4)
        guard let data = Data(base64Encoded: base64), let decoded = String(validating: data, as: UTF8.self) else {
            return nil
        }
        return String(decoded.drop { $0.isWhitespace }.reversed().drop { $0.isWhitespace || $0 == "\0" }.reversed())
    }
}

/// Where the accounts are, with the name and the password that open them.
struct SimpleFINAccess: Sendable, CustomStringConvertible {
    /// Without credentials and without a slash at the end.
    let root: String
    /// The host, with the port where it is told.
    let server: String
    /// The value of `Authorization`.
    let authorization: String
    /// The URL as it was claimed.
    let url: String

    var description: String { "SimpleFINAccess" }

    /// Bytes; each request carries it, and each credential holds it.
    private static let longest = 4096

    static func isAddress(_ text: some StringProtocol) -> Bool {
        text.utf8.count <= longest && text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F }
    }

    /// - Parameter text: `https://user:password@host/path`; both may be percent-encoded. Nil for what is longer than
    ///   4096 bytes, or has other letters than an address.
    init?(_ text: some StringProtocol) {
        guard Self.isAddress(text), let colon = text.firstRange(of: "://") else { return nil }
        let rest = text[colon.upperBound...]
        let authority = rest.prefix { $0 != "/" && $0 != "?" && $0 != "#" }
        guard let at = authority.lastIndex(of: "@") else { return nil }
        let parts = authority[..<at].split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, let user = String(parts[0]).removingPercentEncoding,
            let password = String(parts[1]).removingPercentEncoding, !user.isEmpty
        else { return nil }
        let host = authority[authority.index(after: at)...]
        var path = rest[authority.endIndex...].prefix { $0 != "?" && $0 != "#" }
        while path.hasSuffix("/") { path = path.dropLast() }
        // Some paste the address of the accounts.
        if path.hasSuffix("/accounts") { path = path.dropLast("/accounts".count) }
        guard !host.isEmpty else { return nil }
        root = "\(text[..<colon.lowerBound].lowercased())://\(host)\(path)"
        server = host.lowercased()
        authorization = "Basic " + Data("\(user):\(password)".utf8).base64EncodedString()
        url = String(text)
    }
}
