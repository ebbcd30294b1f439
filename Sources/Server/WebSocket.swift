/// A websocket that the command line opens to the server.

internal import Foundation
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import NIOWebSocket

struct WebSocket {
    private let channel: NIOAsyncChannel<WebSocketFrame, WebSocketFrame>

    /// - Parameter url: `ws://host:port/path`
    static func connect(to url: String, headers: [String: String], subprotocol: String) async throws -> WebSocket {
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
        guard let channel = try await upgrade.get() else { throw Failure("The server let nobody listen.") }
        return WebSocket(channel: channel)
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
        return try channel.pipeline.syncOperations.configureUpgradableHTTPClientPipeline(
            configuration: .init(upgradeConfiguration: configuration)
        )
    }

    /// Takes texts until the connection ends, a few at a time, and sends back what `take` answers to each, as JSON.
    func run(_ take: @escaping @Sendable (String) async -> [[String: any Sendable]]) async throws {
        try await channel.executeThenClose { inbound, outbound in
            await withTaskGroup { group in
                group.addTask {
                    // So that both sides know of a connection that has died.
                    while !Task.isCancelled {
                        try? await Task.sleep(for: .seconds(10))
                        let ping = WebSocketFrame(fin: true, opcode: .ping, maskKey: .random(), data: ByteBuffer())
                        guard (try? await outbound.write(ping)) != nil else { return }
                    }
                }
                do {
                    for try await frame in inbound {
                        guard frame.opcode != .connectionClose else { break }
                        guard frame.opcode == .text else { continue }
                        let text = String(buffer: frame.unmaskedData)
                        group.addTask {
                            for answer in await take(text) { try? await send(answer, outbound) }
                        }
                    }
                } catch {
                    // The same as an end.
                }
                group.cancelAll()
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
