/// What a request meets on its way: addresses that are not allowed, rude receivers, bounds, kept connections.

import NIOCore
import NIOSSL
import Outbound
import Synchronization
import Testing

@Suite("A request")
struct OutboundTests {
    private let local = Outbound(policy: .withLoopback)

    private func request(_ url: String, maximum: Int = 1000, timeout: Duration = .seconds(120)) -> Outbound.Request {
        Outbound.Request(url: url, timeout: timeout, maximumReply: maximum)
    }

    @Test("is sent as it is, and answered with status, headers and body")
    func isSent() async throws {
        let listener = try await Listener(.answer(answer(201, "created", headers: "X-A: 1\r\nx-a: 2\r\n")))
        var request = request("\(listener.url)/hook?a=b#c")
        request.method = "POST"
        request.headers = [("Content-Type", "text/plain"), ("Stripe-Signature", "t=1,v1=2")]
        request.body = Array("hello".utf8)
        let reply = try await local.send(request)
        #expect(reply.status == 201 && String(decoding: reply.body, as: UTF8.self) == "created" && !reply.isCut)
        #expect(reply.headers.first("X-A") == "1")
        #expect(reply.headers.all.count { $0.name.lowercased() == "x-a" } == 2)
        let sent = try #require(listener.requests.first)
        #expect(sent.hasPrefix("POST /hook?a=b HTTP/1.1\r\nHost: 127.0.0.1:\(listener.port)\r\n"))
        #expect(sent.contains("Stripe-Signature: t=1,v1=2\r\n") && sent.hasSuffix("\r\n\r\nhello"))
        #expect(sent.contains("Accept-Encoding: identity\r\n"))
    }

    @Test("goes nowhere that the policy forbids, however the place is spelled")
    func isRefused() async throws {
        // Listens at every address of this machine.
        let listener = try await Listener(.answer(answer()), host: "::")
        let names: [String: [String]] = [
            "private.example": ["10.1.2.3"], "loop.example": ["127.0.0.1"], "loop6.example": ["::1"],
            "mapped.example": ["::ffff:127.0.0.1"], "any.example": ["0.0.0.0"], "any6.example": ["::"],
            "mixed.example": ["93.184.216.34", "127.0.0.1"], "metadata.example": ["169.254.169.254"],
            "translated.example": ["64:ff9b::7f00:1"], "sixtofour.example": ["2002:7f00:1::"],
        ]
        let outbound = Outbound(policy: .init(allowing: [], requiresTLS: false)) { name in
            (names[name] ?? []).compactMap { Outbound.Address($0) }
        }
        let literals = [
            "127.0.0.1", "127.1.2.3", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
            "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fe80::1]", "10.0.0.1", "100.64.0.1",
        ]
        let spelled = ["2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "127.1", "017700000001", "a@127.0.0.1"]
        for host in literals + names.keys {
            await #expect(throws: OutboundError.notAllowed, "\(host)") {
                _ = try await outbound.send(request("http://\(host):\(listener.port)/"))
            }
        }
        for host in spelled {
            await #expect(throws: OutboundError.invalidURL, "\(host)") {
                _ = try await outbound.send(request("http://\(host):\(listener.port)/"))
            }
        }
        #expect(listener.connections == 0)
        // The same listener is reached where it may be: the count counts.
        _ = try await local.send(request("http://[::1]:\(listener.port)/"))
        _ = try await local.send(request("http://[::ffff:127.0.0.1]:\(listener.port)/"))
        #expect(listener.connections == 2)
    }

    @Test("goes to the address that was checked, whatever the name says a moment later")
    func rebinding() async throws {
        let allowed = try await Listener(.answer(answer(200, "allowed")))
        // The same port at an address that is not allowed.
        let forbidden = try await Listener(.answer(answer(200, "forbidden")), host: "127.0.0.2", port: allowed.port)
        let asked = Mutex(0)
        let policy = Outbound.Policy(allowing: ["127.0.0.1"].compactMap(Outbound.Network.init), requiresTLS: false)
        func outbound(_ answers: [String]) -> Outbound {
            Outbound(policy: policy) { _ in
                let index = asked.withLock { count in
                    count += 1
                    return count - 1
                }
                return [answers[min(index, answers.count - 1)]].compactMap { Outbound.Address($0) }
            }
        }
        let rebinding = outbound(["127.0.0.1", "127.0.0.2"])
        let reply = try await rebinding.send(request("http://rebind.example:\(allowed.port)/"))
        #expect(String(decoding: reply.body, as: UTF8.self) == "allowed" && asked.withLock { $0 } == 1)
        asked.withLock { $0 = 0 }
        await #expect(throws: OutboundError.notAllowed) {
            _ = try await outbound(["127.0.0.2"]).send(request("http://rebind.example:\(allowed.port)/"))
        }
        #expect(forbidden.connections == 0)
    }

    @Test("follows no redirect")
    func redirects() async throws {
        let target = try await Listener(.answer(answer()))
        let listener = try await Listener(.answer(answer(302, "", headers: "Location: \(target.url)/\r\n")))
        let reply = try await local.send(request(listener.url))
        #expect(reply.status == 302 && reply.headers.first("location") == "\(target.url)/")
        #expect(target.connections == 0)
    }

    @Test("goes over a connection that was used before, if it may be sent twice")
    func reuse() async throws {
        // However long the machine takes from one to the next.
        let local = Outbound(policy: .withLoopback, idleTime: .seconds(600))
        defer { local.shutdown() }
        let listener = try await Listener(.answer(answer()))
        for _ in 1...5 { _ = try await local.send(request(listener.url)) }
        #expect(listener.connections == 1 && listener.requests.count == 5)
        let post = Outbound.Request(method: "POST", url: listener.url)
        for _ in 1...2 { _ = try await local.send(post) }
        #expect(listener.connections == 3)
        // Where the other side closes at the next request, it goes over a fresh one.
        let fickle = try await Listener(.once(answer()))
        for _ in 1...3 { #expect(try await local.send(request(fickle.url)).status == 200) }
        #expect(fickle.connections == 3)
    }

    @Test("keeps as much of the reply as it may, or fails")
    func longReplies() async throws {
        let listener = try await Listener(.answer(answer(200, String(repeating: "x", count: 2000))))
        await #expect(throws: OutboundError.tooLong) { _ = try await local.send(request(listener.url)) }
        var cut = request(listener.url)
        cut.whenLonger = .cut
        let reply = try await local.send(cut)
        #expect(reply.body.count == 1000 && reply.isCut)
        let whole = try await local.send(request(listener.url, maximum: 2000))
        #expect(whole.body.count == 2000 && !whole.isCut)
    }

    @Test("counts by its head where the rest need not be whole")
    func brokenBodies() async throws {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        let listener = try await Listener(.answer(head + "2\r\nok\r\nthis is no chunk\r\n"))
        var hook = request(listener.url)
        await #expect(throws: OutboundError.broken) { _ = try await local.send(hook) }
        hook.whenLonger = .cut
        let reply = try await local.send(hook)
        #expect(reply.status == 200 && reply.isCut && String(decoding: reply.body, as: UTF8.self) == "ok")
    }

    enum Endless: CaseIterable {
        case chunks, body, headers, header, interim, extensions

        /// How the reply begins, and what comes again and again.
        var text: (begin: String, more: String) {
            let (ok, chunked) = ("HTTP/1.1 200 OK\r\n", "Transfer-Encoding: chunked\r\n\r\n")
            let long = String(repeating: "x", count: 4096)
            return switch self {
            case .chunks: (ok + chunked, "1000\r\n\(long)\r\n")
            case .body: (ok + "\r\n", long)
            case .headers: (ok, "X-Header: value\r\n")
            case .header: (ok + "X-Header: ", long)
            case .interim: ("", "HTTP/1.1 100 Continue\r\n\r\n")
            case .extensions: (ok + chunked, "1;\(long)\r\nx\r\n")
            }
        }
    }

    @Test("is not held up by a reply without an end", arguments: Endless.allCases)
    func endless(_ endless: Endless) async throws {
        let listener = try await Listener(.endless(endless.text.begin, then: endless.text.more))
        let error = await #expect(throws: OutboundError.self) { _ = try await local.send(request(listener.url)) }
        // Too much of some things is no HTTP any more.
        #expect(error == .tooLong || error == .broken)
    }

    @Test("ends in time, whatever the receiver does not do")
    func slowness() async throws {
        let silent = try await Listener(.silent)
        await #expect(throws: OutboundError.timedOut) {
            _ = try await local.send(request(silent.url, timeout: .milliseconds(100)))
        }
        let begun = try await Listener(.answer("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"))
        await #expect(throws: OutboundError.timedOut) {
            _ = try await local.send(request(begun.url, timeout: .milliseconds(100)))
        }
        await #expect(throws: OutboundError.timedOut) {
            _ = try await local.send(
                request("https://127.0.0.1:\(silent.port)", timeout: .milliseconds(100))
            )
        }
        let slowNames = Outbound(policy: .withLoopback) { _ in
            let gate = Mutex(0)
            while gate.withLock({
                $0 += 1; return $0
            }) < 20_000_000 {}
            return []
        }
        await #expect(throws: OutboundError.timedOut) {
            _ = try await slowNames.send(request("http://slow.example/", timeout: .milliseconds(1)))
        }
    }

    @Test("ends when the task that waits for it is cancelled")
    func cancellation() async throws {
        let silent = try await Listener(.silent)
        let task = Task { try await local.send(request(silent.url)) }
        while silent.requests.isEmpty { await Task.yield() }
        task.cancel()
        await #expect(throws: OutboundError.cancelled) { _ = try await task.value }
    }

    @Test("says what kind of failure it met")
    func failures() async throws {
        let listener = try await Listener(.hangUp)
        await #expect(throws: OutboundError.broken) { _ = try await local.send(request(listener.url)) }
        let port = listener.port
        try await listener.close()
        await #expect(throws: OutboundError.unreachable) {
            _ = try await local.send(request("http://127.0.0.1:\(port)/"))
        }
        let garbage = try await Listener(.greeting("SSH-2.0-OpenSSH_9.2\r\n\r\n"))
        await #expect(throws: OutboundError.broken) { _ = try await local.send(request(garbage.url)) }
        await #expect(throws: OutboundError.tls) {
            _ = try await local.send(request("https://127.0.0.1:\(garbage.port)/"))
        }
        let nameless = Outbound(policy: .withLoopback) { _ in [] }
        await #expect(throws: OutboundError.unresolved) {
            _ = try await nameless.send(request("http://none.example/"))
        }
        var forged = request(garbage.url)
        forged.headers = [("X", "a\r\nY: b")]
        await #expect(throws: OutboundError.invalidRequest) { _ = try await local.send(forged) }
        forged.headers = [("Host", "other.example")]
        await #expect(throws: OutboundError.invalidRequest) { _ = try await local.send(forged) }
    }
}
