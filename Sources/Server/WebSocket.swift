/// A websocket that the command line opens to the server.

internal import Foundation
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import NIOWebSocket

struct WebSocket {
    private let channel: NIOAsyncChannel<WebSocketFrame, WebSocketFrame>

    /// How many texts are taken at a time.
    private static let atOnce = 8

    /// - Parameter url: `ws://host:port/path`
    /// - Returns: nil where the server answers that it knows nobody who could listen.
    static func connect(to url: String, headers: [String: String], subprotocol: String) async throws -> WebSocket? {
        guard let parts = URLComponents(string: url), parts.scheme == "ws", let host = parts.host, let port = parts.port
        else { throw Failure("The server answered no address that can be listened to.") }
        var fields = HTTPHeaders(headers.map { ($0.key, $0.value) })
        fields.add(name: "Host", value: "\(host):\(port)")
        fields.add(name: "Content-Length", value: "0")
        fields.add(name: "Sec-WebSocket-Protocol", value: subprotocol)
        let target = parts.path + (parts.query.map { "?\($0)" } ?? "")
        let head = HTTPRequestHead(version: .http1_1, method: .GET, uri: target, headers: fields)
        let upgrade = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connect(host: host.trimmingCharacters(in: ["[", "]"]), port: port) { channel in
                channel.eventLoop.makeCompletedFuture { try prepare(channel, head) }
            }
        return try await upgrade.get().map { WebSocket(channel: $0) }
    }

    private static func prepare(
        _ channel: any Channel,
        _ head: HTTPRequestHead
    ) throws -> EventLoopFuture<NIOAsyncChannel<WebSocketFrame, WebSocketFrame>?> {
        let upgrader = NIOTypedWebSocketClientUpgrader<NIOAsyncChannel<WebSocketFrame, WebSocketFrame>?>(
            maxFrameSize: 1 << 22,
            upgradePipelineHandler: { channel, _ in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<WebSocketFrame, WebSocketFrame>(wrappingChannelSynchronously: channel)
                }
            }
        )
        let configuration = NIOTypedHTTPClientUpgradeConfiguration(
            upgradeRequestHead: head,
            upgraders: [upgrader],
            notUpgradingCompletionHandler: { channel in channel.eventLoop.makeSucceededFuture(nil) }
        )
        var pipeline = NIOUpgradableHTTPClientPipelineConfiguration(upgradeConfiguration: configuration)
        // Frames may come in the same packet as the answer.
        pipeline.leftOverBytesStrategy = .forwardBytes
        return try channel.pipeline.syncOperations.configureUpgradableHTTPClientPipeline(configuration: pipeline)
    }

    /// Sends an answer, as JSON, while there is a connection.
    typealias Answer = @Sendable ([String: any Sendable]) async -> Void

    /// Takes texts until the connection ends, a few at a time in their order. No more is read than is taken, and what
    /// was begun is finished when the connection has ended.
    func run(_ take: @escaping @Sendable (String, Answer) async -> Void) async throws {
        try await channel.executeThenClose { inbound, outbound in
            // So that both sides know of a connection that has died.
            let pings = Task {
                while !Task.isCancelled {
                    try? await Task.sleep(for: .seconds(10))
                    let ping = WebSocketFrame(fin: true, opcode: .ping, maskKey: .random(), data: ByteBuffer())
                    guard (try? await outbound.write(ping)) != nil else { return }
                }
            }
            defer { pings.cancel() }
            await withTaskGroup(of: Void.self) { group in
                var count = 0
                do {
                    for try await frame in inbound {
                        guard frame.opcode != .connectionClose else { break }
                        guard frame.opcode == .text else { continue }
                        let text = String(buffer: frame.unmaskedData)
                        if count == Self.atOnce { await group.next() } else { count += 1 }
                        group.addTask { await take(text) { try? await send($0, outbound) } }
                    }
                } catch {
                    // The same as an end.
                }
            }
        }
    }

    private func send(
        _ answer: [String: any Sendable],
        _ outbound: NIOAsyncChannelOutboundWriter<WebSocketFrame>
    ) async throws {
        let data = try JSONSerialization.data(withJSONObject: answer as [String: Any])
        let frame = WebSocketFrame(fin: true, opcode: .text, maskKey: .random(), data: ByteBuffer(bytes: data))
        try await outbound.write(frame)
    }
}
