/// Which addresses may be reached, and how URLs are read.

import Testing

@testable import Outbound

@Suite("The policy")
struct PolicyTests {
    /// Every range that is not of the public internet, by its first and last address or one inside.
    static let blocked = [
        "0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255", "127.0.0.1",
        "127.255.255.254", "169.254.0.0", "169.254.169.254", "172.16.0.0", "172.31.255.255", "192.0.0.8",
        "192.0.2.1", "192.88.99.1", "192.168.0.0", "192.168.255.255", "198.18.0.0", "198.19.255.255",
        "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.255", "240.0.0.0", "255.255.255.255",
        "::", "::1", "::2", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
        "::ffff:0:127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::8.8.8.8", "64:ff9b:1::1", "100::1", "2001::1",
        "2001:10::1", "2001:db8::1", "2002:7f00:1::1", "2002:808:808::1", "3fff::1", "5f00::1", "fc00::1",
        "fd00:ec2::254", "fdff:ffff::1", "fe80::1", "febf::1", "fec0::1", "ff02::1", "ffff::1",
    ]

    @Test("lets nothing but the public internet through", arguments: blocked)
    func blocksSpecial(text: String) throws {
        let address = try #require(Outbound.Address(text))
        #expect(!Outbound.Policy.publicOnly.allows(address, isTLS: true))
        #expect(address.isLoopback == Outbound.Policy.withLoopback.allows(address, isTLS: false))
    }

    @Test(
        "lets the public internet through",
        arguments: [
            "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
            "128.0.0.0", "169.253.255.255", "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0",
            "198.17.255.255", "198.20.0.0", "223.255.255.255", "2606:4700::1111", "2a00:1450:4001::200e",
            "::ffff:8.8.8.8",
        ]
    )
    func allowsPublic(text: String) throws {
        let address = try #require(Outbound.Address(text))
        #expect(Outbound.Policy.publicOnly.allows(address, isTLS: true))
        #expect(!Outbound.Policy.publicOnly.allows(address, isTLS: false), "without TLS")
    }

    @Test("lets a network through that the operator names, and what is around it not")
    func allowsNamed() throws {
        let networks = ["10.1.0.0/16", "fd00:1::/32", "64:ff9b::/96", "192.168.1.7"].compactMap(Outbound.Network.init)
        let policy = Outbound.Policy(allowing: networks, requiresTLS: false)
        for text in ["10.1.0.0", "10.1.255.255", "::ffff:10.1.2.3", "fd00:1::5", "192.168.1.7", "64:ff9b::8.8.8.8"] {
            #expect(policy.allows(try #require(Outbound.Address(text)), isTLS: false), "\(text)")
        }
        for text in ["10.0.255.255", "10.2.0.0", "fd00:2::", "192.168.1.8", "127.0.0.1", "64:ff9b::127.0.0.1"] {
            #expect(!policy.allows(try #require(Outbound.Address(text)), isTLS: false), "\(text)")
        }
    }

    @Test("reads a range only where it is one")
    func networks() {
        for text in ["10.0.0.0/8", "10.0.0.1", "::/0", "fd00::/7", "0.0.0.0/0", "10.0.0.1/32"] {
            #expect((Outbound.Network(text) != nil) == (text != "fd00::/7"), "\(text)")
        }
        for text in ["", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/-1", "10/8", "host/8", "::1/129", "10.0.0.0/8/8"] {
            #expect(Outbound.Network(text) == nil, "\(text)")
        }
    }

    @Test(
        "refuses a URL that names a place outside",
        arguments: [
            "https://127.0.0.1/", "https://localhost", "https://LOCALHOST:8443/x", "https://a.localhost/",
            "https://10.0.0.1", "https://[::1]/", "https://[::ffff:127.0.0.1]:80/", "https://[fe80::1]/",
            "https://169.254.169.254/latest/meta-data", "http://example.com/", "http://8.8.8.8/",
        ]
    )
    func refusesLiteral(url: String) {
        #expect(throws: OutboundError.notAllowed) { try Outbound.Policy.publicOnly.check(url) }
    }

    @Test(
        "does not guess at what could be read in two ways",
        arguments: [
            "", "example.com", "ftp://example.com/", "https:example.com", "https:/example.com", "https://",
            "https://user@example.com/", "https://user:password@example.com/", "https://127.0.0.1@example.com/",
            "https://example.com\\@127.0.0.1/", "https://2130706433/", "https://0x7f000001/", "https://0x7f.0.0.1/",
            "https://0177.0.0.1/", "https://127.1/", "https://127.0.1/", "https://127.0.0.01/", "https://127.0.0.1./",
            "https://example.com:0/", "https://example.com:65536/", "https://example.com:80:80/",
            "https://example.com:+80/", "https://example..com/", "https://exa mple.com/",
            "https://example.com/\r\nX: y",
            "https://[::1", "https://[::1%25lo]/", "https://[fe80::1%lo]/", "https://[127.0.0.1]/", "https://[::1]x/",
            "https://ex%61mple.com/", "https://١٢٧.0.0.1/", "https://éxample.com/", "https://1.2.3.4.5/",
            "https://-example.com/", "https://example.com/" + String(repeating: "a", count: 9000),
        ]
    )
    func refusesOdd(url: String) {
        let policy = Outbound.Policy(
            allowing: ["0.0.0.0/0", "::/0"].compactMap(Outbound.Network.init),
            requiresTLS: false
        )
        #expect(throws: OutboundError.invalidURL) { try policy.check(url) }
    }

    @Test("takes a URL of the internet, and of loopback where that is allowed")
    func takes() throws {
        try Outbound.Policy.publicOnly.check("https://example.com/hook?a=b#c")
        try Outbound.Policy.publicOnly.check("HTTPS://Example.COM:8443")
        try Outbound.Policy.publicOnly.check("https://my_service.4chan/")
        try Outbound.Policy.withLoopback.check("http://localhost:4242/webhook")
        try Outbound.Policy.withLoopback.check("http://127.0.0.1:4242/webhook")
        try Outbound.Policy.withLoopback.check("http://[::1]:4242/webhook")
        #expect(throws: OutboundError.notAllowed) { try Outbound.Policy.withLoopback.check("http://example.com/") }
        let destination = try Destination("https://Example.com:8443?a=b#c")
        #expect(destination.authority == "example.com:8443" && destination.target == "/?a=b")
    }
}
