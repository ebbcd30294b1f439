/// A server of the tests: it counts the connections that reach it and answers each request with raw bytes, so that it
/// can be as rude as it likes.

import NIOCore
import NIOPosix
import NIOSSL
import Outbound
import Synchronization

final class Listener: Sendable {
    /// What a listener does with the requests of a connection.
    enum Manner: Sendable {
        /// The whole answer, head and body, as text.
        case answer(String)
        /// One answer after the other, the last one for ever.
        case answers([String])
        /// Speaks first, and says this.
        case greeting(String)
        /// Nothing at all.
        case silent
        /// Closes without an answer.
        case hangUp
        /// The text, then this text again and again.
        case endless(String, then: String)
        /// Answers the first request of a connection and closes at the second.
        case once(String)
    }

    private struct Counts {
        var connections = 0
        var requests: [String] = []
    }

    /// Not the client's: one that is rude must not hold up who is asked.
    private static let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)

    private let counts = Mutex(Counts())
    private let channel = Mutex<(any Channel)?>(nil)
    let manner: Manner

    init(_ manner: Manner, host: String = "127.0.0.1", port: Int = 0, tls: NIOSSLContext? = nil) async throws {
        self.manner = manner
        let server = try await ServerBootstrap(group: Self.group)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { [self] child in
                counts.withLock { $0.connections += 1 }
                return child.eventLoop.makeCompletedFuture {
                    if let tls {
                        try child.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: tls))
                    }
                    try child.pipeline.syncOperations.addHandler(Handler(self))
                }
            }
            .bind(host: host, port: port).get()
        channel.withLock { $0 = server }
    }

    var port: Int { channel.withLock { $0?.localAddress?.port } ?? 0 }
    var url: String { "http://127.0.0.1:\(port)" }
    var connections: Int { counts.withLock { $0.connections } }
    /// The requests that came whole, head and body.
    var requests: [String] { counts.withLock { $0.requests } }

    func close() async throws {
        try await channel.withLock { $0 }?.close().get()
    }

    private func count(_ request: String) -> Int {
        counts.withLock {
            $0.requests.append(request)
            return $0.requests.count
        }
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer

        private let listener: Listener
        private var text = ""
        private var served = 0

        init(_ listener: Listener) {
            self.listener = listener
        }

        func channelActive(context: ChannelHandlerContext) {
            if case .greeting(let text) = listener.manner { write(text, context) }
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            text += String(buffer: unwrapInboundIn(data))
            guard let end = text.range(of: "\r\n\r\n") else { return }
            let length = text[..<end.lowerBound].split(separator: "\r\n")
                .first { $0.lowercased().hasPrefix("content-length:") }
                .flatMap { Int($0.dropFirst(15).drop { $0 == " " }) }
            guard text[end.upperBound...].utf8.count >= length ?? 0 else { return }
            let number = listener.count(text)
            text = ""
            served += 1
            answer(number, context)
        }

        private func answer(_ number: Int, _ context: ChannelHandlerContext) {
            switch listener.manner {
            case .answer(let text): write(text, context)
            case .answers(let texts): write(texts[min(number, texts.count) - 1], context)
            case .silent, .greeting: break
            case .hangUp: context.close(promise: nil)
            case .once(let text): if served == 1 { write(text, context) } else { context.close(promise: nil) }
            case .endless(let text, let more):
                write(text, context)
                goOn(more, context)
            }
        }

        private func write(_ text: String, _ context: ChannelHandlerContext) {
            context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: text)), promise: nil)
        }

        private func goOn(_ text: String, _ context: ChannelHandlerContext) {
            let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
            let loop = context.eventLoop
            context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: text))).whenSuccess {
                // Not at once, which would leave the event loop no time for anyone else.
                loop.scheduleTask(in: .microseconds(200)) { bound.value.0.goOn(text, bound.value.1) }
            }
        }
    }
}

extension String {
    fileprivate func range(of text: String) -> Range<String.Index>? {
        firstRange(of: text)
    }
}

/// An answer with a length.
func answer(_ status: Int = 200, _ body: String = "ok", headers: String = "") -> String {
    "HTTP/1.1 \(status) Status\r\nContent-Length: \(body.utf8.count)\r\n\(headers)\r\n\(body)"
}
