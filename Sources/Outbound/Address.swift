/// An address of the network, and ranges of them. What is written here decides what the server may be made to reach.

internal import Glibc
internal import NIOCore

extension Outbound {
    /// An IPv4 or IPv6 address, without a port.
    public struct Address: Sendable, Hashable, CustomStringConvertible {
        /// Four bytes or sixteen.
        let bytes: [UInt8]

        init(bytes: [UInt8]) {
            self.bytes = bytes
        }

        /// - Returns: nil for all but four decimal numbers without leading zeros or an IPv6 address without a zone.
        public init?(_ text: some StringProtocol) {
            let text = String(text)
            if text.contains(":") {
                var address = in6_addr()
                guard inet_pton(AF_INET6, text, &address) == 1 else { return nil }
                bytes = withUnsafeBytes(of: &address) { Array($0) }
                return
            }
            let parts = text.split(separator: ".", omittingEmptySubsequences: false)
            guard parts.count == 4 else { return nil }
            var bytes: [UInt8] = []
            for part in parts {
                let isPlain = !part.isEmpty && part.utf8.allSatisfy { $0 >= 0x30 && $0 <= 0x39 }
                guard isPlain, part == "0" || part.first != "0", let byte = UInt8(part) else { return nil }
                bytes.append(byte)
            }
            self.bytes = bytes
        }

        func socketAddress(port: Int) throws -> SocketAddress {
            try SocketAddress(packedIPAddress: ByteBuffer(bytes: bytes), port: port)
        }

        /// The IPv4 address that a packet to this IPv6 address may end at: mapped, compatible, 6to4 or NAT64.
        var embedded: Address? {
            guard bytes.count == 16 else { return nil }
            let mapped = bytes[..<10].allSatisfy { $0 == 0 } && bytes[10] == 0xFF && bytes[11] == 0xFF
            let compatible = bytes[..<12].allSatisfy { $0 == 0 } && bytes[12] != 0
            let translated = bytes[..<12] == [0, 0x64, 0xFF, 0x9B, 0, 0, 0, 0, 0, 0, 0, 0]
            if mapped || compatible || translated { return Address(bytes: Array(bytes[12...])) }
            if bytes[0] == 0x20 && bytes[1] == 0x02 { return Address(bytes: Array(bytes[2..<6])) }
            return nil
        }

        var isMapped: Bool { embedded != nil && bytes[10] == 0xFF && bytes[11] == 0xFF && bytes[0] == 0 }

        /// Whether it is the machine's own loopback, however it is spelled.
        var isLoopback: Bool {
            if isMapped, let embedded { return embedded.isLoopback }
            return Network.loopback.contains { $0.contains(self) }
        }

        /// Whether it is of the public internet: anybody's, and reached by a packet that leaves for it alone.
        var isPublic: Bool {
            if bytes.count == 4 { return !Network.special.contains { $0.contains(self) } }
            // A mapped address is the IPv4 address.
            if isMapped, let embedded { return embedded.isPublic }
            return Network.unicast.contains(self) && !Network.special.contains { $0.contains(self) }
        }

        public var description: String {
            if bytes.count == 4 { return bytes.map { "\($0)" }.joined(separator: ".") }
            return (try? socketAddress(port: 0).ipAddress) ?? ""
        }
    }

    /// A range of addresses, such as `10.0.0.0/8` or `fd00::/8`.
    public struct Network: Sendable, Hashable {
        private let prefix: Address
        private let length: Int

        /// - Returns: nil for a text that is no range, or has bits set behind its prefix. An address alone is a range
        ///   of one.
        public init?(_ text: String) {
            let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
            guard let first = parts.first, let prefix = Address(first) else { return nil }
            let bits = prefix.bytes.count * 8
            let length = parts.count == 2 ? Int(parts[1]) : bits
            guard let length, (0...bits).contains(length) else { return nil }
            self.init(prefix, length)
            let rest = (length..<bits).contains { prefix.bytes[$0 / 8] & (0x80 >> ($0 % 8)) != 0 }
            guard !rest else { return nil }
        }

        private init(_ prefix: Address, _ length: Int) {
            self.prefix = prefix
            self.length = length
        }

        public func contains(_ address: Address) -> Bool {
            guard address.bytes.count == prefix.bytes.count else { return false }
            let whole = length / 8
            guard address.bytes[..<whole] == prefix.bytes[..<whole] else { return false }
            guard length % 8 != 0 else { return true }
            let mask = UInt8(truncatingIfNeeded: 0xFF00 >> (length % 8))
            return address.bytes[whole] & mask == prefix.bytes[whole] & mask
        }

        static let loopback = ["127.0.0.0/8", "::1/128"].compactMap(Network.init)

        /// All of IPv6 that is given out for single machines of the internet.
        static let unicast = Network(Address(bytes: [0x20] + [UInt8](repeating: 0, count: 15)), 3)

        /// What the registries of special-purpose addresses take out of the public internet (RFC 6890 and its heirs).
        static let special = [
            "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
            "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
            "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
            // Protocol assignments with Teredo and ORCHID; documentation; 6to4; documentation again.
            "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
        ].compactMap(Network.init)
    }
}
