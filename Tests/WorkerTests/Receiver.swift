/// A receiver of webhooks: it answers each request with the same text, or with nothing until a test says so.

import NIOCore
import NIOPosix
import Synchronization

final class Receiver: Sendable {
    private struct State {
        var paths: [String] = []
        var answer: String?
        var waiting: [any Channel] = []
    }

    private let state: Mutex<State>
    private let server = Mutex<(any Channel)?>(nil)

    /// - Parameter answer: head and body; nil to let everyone wait.
    init(_ answer: String?) async throws {
        state = Mutex(State(answer: answer))
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { [self] channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Handler(self))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        server.withLock { $0 = channel }
    }

    deinit {
        server.withLock { $0 }?.close(promise: nil)
    }

    static let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

    var url: String { "http://127.0.0.1:\(server.withLock { $0?.localAddress?.port } ?? 0)" }

    /// How many requests came to a path.
    func count(_ path: String) -> Int { state.withLock { $0.paths.count { $0 == path } } }

    /// Answers those who wait, and whoever comes.
    func open(_ answer: String) {
        let waiting = state.withLock { state in
            defer { state.waiting = [] }
            state.answer = answer
            return state.waiting
        }
        for channel in waiting { channel.writeAndFlush(ByteBuffer(string: answer), promise: nil) }
    }

    /// - Returns: the answer that is known.
    private func take(_ path: String, _ channel: any Channel) -> String? {
        state.withLock { state in
            state.paths.append(path)
            if state.answer == nil { state.waiting.append(channel) }
            return state.answer
        }
    }

    /// The bodies of the tests come whole with their heads or right behind: an answer is due at the end of a body.
    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer

        private let receiver: Receiver
        private var text = ""

        init(_ receiver: Receiver) {
            self.receiver = receiver
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            text += String(buffer: unwrapInboundIn(data))
            guard let head = text.firstRange(of: "\r\n\r\n"),
                let field = text[..<head.lowerBound].firstRange(of: "Content-Length: "),
                let length = Int(text[field.upperBound...].prefix { $0.isNumber }),
                text[head.upperBound...].utf8.count >= length
            else { return }
            let path = text.split(separator: " ", maxSplits: 2)[1]
            text = ""
            guard let answer = receiver.take(String(path), context.channel) else { return }
            context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: answer)), promise: nil)
        }
    }
}
