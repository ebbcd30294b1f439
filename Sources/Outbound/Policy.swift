/// Which addresses the server may be made to reach. What is not allowed here is never dialled.

extension Outbound {
    public struct Policy: Sendable {
        /// Networks beyond the public internet that may be reached.
        public let allowed: [Network]
        /// Whether a request that leaves this machine must be encrypted.
        public let requiresTLS: Bool

        public init(allowing allowed: [Network], requiresTLS: Bool) {
            self.allowed = allowed
            self.requiresTLS = requiresTLS
        }

        /// The public internet, over TLS.
        public static let publicOnly = Policy(allowing: [], requiresTLS: true)
        /// The same, and this machine's loopback, with or without TLS.
        public static let withLoopback = Policy(allowing: Network.loopback, requiresTLS: true)

        /// Whether a connection to the address may be opened.
        public func allows(_ address: Address, isTLS: Bool) -> Bool {
            // What is wrapped in an IPv6 address is where the packet may end, so it must be allowed too.
            if let embedded = address.embedded, !allowsPlace(embedded) { return false }
            return allowsPlace(address) && (isTLS || !requiresTLS || address.isLoopback)
        }

        private func allowsPlace(_ address: Address) -> Bool {
            if address.isPublic || allowed.contains(where: { $0.contains(address) }) { return true }
            guard address.isMapped, let embedded = address.embedded else { return false }
            return allowsPlace(embedded)
        }

        /// Looks at a URL without asking the network: what is wrong here is wrong for good. A name is only known to be
        /// allowed when it is dialled.
        public func check(_ url: String) throws(OutboundError) {
            let destination = try Destination(url)
            switch destination.host {
            case .address(let address):
                guard allows(address, isTLS: destination.isTLS) else { throw .notAllowed }
            case .name(let name):
                if name == "localhost" || name.hasSuffix(".localhost") {
                    // By RFC 6761 nothing but loopback.
                    guard Network.loopback.allSatisfy(allowed.contains) else { throw .notAllowed }
                } else {
                    guard destination.isTLS || !requiresTLS else { throw .notAllowed }
                }
            }
        }
    }
}

/// Where a URL leads, read strictly: what two readers could read in two ways is refused.
struct Destination {
    enum Host {
        case address(Outbound.Address)
        case name(String)
    }

    let isTLS: Bool
    let host: Host
    let port: Int
    /// The value of `Host`.
    let authority: String
    /// Path and query.
    let target: String

    static let maximumLength = 8192
    /// What ends the part with the host.
    private static let ends = Array("/?#".utf8)
    private static let lettersOfNames = Set("abcdefghijklmnopqrstuvwxyz0123456789-_".utf8)

    init(_ url: String) throws(OutboundError) {
        let isPlain = url.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "\\") }
        guard isPlain, url.utf8.count <= Self.maximumLength, let colon = url.firstIndex(of: ":") else {
            throw .invalidURL
        }
        switch url[..<colon].lowercased() {
        case "https": isTLS = true
        case "http": isTLS = false
        default: throw .invalidURL
        }
        var rest = url[url.index(after: colon)...]
        guard rest.hasPrefix("//") else { throw .invalidURL }
        rest = rest.dropFirst(2)
        let authority = Substring(rest.utf8.prefix { !Self.ends.contains($0) })
        // Credentials in a URL end up in logs, and hide the host from whoever reads it.
        guard !authority.utf8.contains(UInt8(ascii: "@")) else { throw .invalidURL }
        (host, port) = try Self.parse(authority, isTLS: isTLS)
        self.authority = authority.lowercased()
        let tail = Substring(rest[authority.endIndex...].utf8.prefix { $0 != UInt8(ascii: "#") })
        target = tail.hasPrefix("/") ? String(tail) : "/\(tail)"
    }

    private static func parse(_ authority: Substring, isTLS: Bool) throws(OutboundError) -> (Host, Int) {
        let host: Host
        let end: Substring
        if authority.hasPrefix("[") {
            guard let close = authority.firstIndex(of: "]") else { throw .invalidURL }
            let text = authority[authority.index(after: authority.startIndex)..<close]
            guard text.contains(":"), let address = Outbound.Address(text) else { throw .invalidURL }
            host = .address(address)
            end = authority[authority.index(after: close)...]
        } else {
            let text = Substring(authority.utf8.prefix { $0 != UInt8(ascii: ":") })
            end = authority[text.endIndex...]
            host = try Self.host(text.lowercased())
        }
        if end.isEmpty { return (host, isTLS ? 443 : 80) }
        let digits = end.dropFirst()
        guard end.first == ":", digits.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }), let port = Int(digits),
            (1...65535).contains(port)
        else { throw .invalidURL }
        return (host, port)
    }

    /// A name of letters, digits, hyphens and underscores, or four decimal numbers. A name whose last part is a number
    /// is an address to some readers (`2130706433`, `0x7f.1`, `127.1`, `0177.0.0.1`) and is refused.
    private static func host(_ text: String) throws(OutboundError) -> Host {
        if let address = Outbound.Address(text) { return .address(address) }
        let labels = text.split(separator: ".", omittingEmptySubsequences: false)
        let areGood = labels.allSatisfy { label in
            (1...63).contains(label.utf8.count) && label.first != "-" && label.last != "-"
                && label.utf8.allSatisfy(lettersOfNames.contains)
        }
        guard areGood, text.utf8.count <= 253, let last = labels.last, !last.hasPrefix("0x"),
            !last.utf8.allSatisfy({ (0x30...0x39).contains($0) })
        else { throw .invalidURL }
        return .name(text)
    }
}
