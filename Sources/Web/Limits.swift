/// What one client may take of the server before its request is even read.
///
/// The framework sets no limits of its own. Silence ends a connection after a while, and a request whose head has come
/// must be complete soon: a body that comes byte by byte never looks idle.

internal import HTTPTypes
public import HummingbirdCore
internal import NIOCore
internal import NIOHTTPTypes

public enum Limits {
    /// A connection without a byte is closed after this time. Clients keep idle connections for about a minute.
    private static let idleTimeout = TimeAmount.seconds(65)
    /// The time from a request's head to its last byte.
    private static let requestTimeout = TimeAmount.seconds(10)
    /// The one route whose requests may take longer, as long as their bytes keep coming.
    static let uploadPath = "/v1/connections/auth_sessions/upload"
    /// The bytes of a file that must come in ``requestTimeout``.
    private static let slowestUpload = 64 * 1024
    /// The bytes of a request's headers; the largest of a client's is a key and a description of itself.
    private static let maximumHeader = 16 * 1024
    /// More connections wait until others are closed.
    private static let maximumConnections = 10_000

    /// Bounds the connections.
    public static var connections: any AvailableConnectionsDelegate {
        MaximumAvailableConnections(maximumConnections)
    }

    /// The HTTP server with its limits.
    public static var server: HTTPServerBuilder {
        .http1(
            configuration: .init(
                additionalChannelHandlers: [RequestDeadline(requestTimeout, slowestUpload: slowestUpload)],
                idleTimeout: idleTimeout,
                httpDecoderConfiguration: .init(
                    maxHeaderFieldSize: maximumHeader,
                    maxHeaderListSize: maximumHeader,
                    maxHeaderFieldCount: 100
                )
            )
        )
    }
}

/// Closes a connection whose request is not complete in time, or whose file comes too slowly.
private final class RequestDeadline: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart

    private let timeout: TimeAmount
    private let slowestUpload: Int
    private var isReading = false
    private var isUpload = false
    /// The bytes of a file since the deadline was set.
    private var received = 0
    private var deadline: Scheduled<Void>?

    init(_ timeout: TimeAmount, slowestUpload: Int) {
        self.timeout = timeout
        self.slowestUpload = slowestUpload
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            isReading = true
            let path = head.path?.utf8.prefix { $0 != UInt8(ascii: "?") }
            isUpload = path?.elementsEqual(Limits.uploadPath.utf8) == true
        case .body(let body): received += body.readableBytes
        case .end:
            isReading = false
            deadline?.cancel()
            deadline = nil
        }
        context.fireChannelRead(data)
    }

    /// Nearly every request arrives whole: a timer is set only for one that did not.
    func channelReadComplete(context: ChannelHandlerContext) {
        if isReading && deadline == nil { watch(context.channel) }
        context.fireChannelReadComplete()
    }

    private func watch(_ channel: any Channel) {
        received = 0
        let handler = NIOLoopBound(self, eventLoop: channel.eventLoop)
        deadline = channel.eventLoop.scheduleTask(in: timeout) {
            let handler = handler.value
            guard handler.isUpload, handler.received >= handler.slowestUpload else {
                return channel.close(promise: nil)
            }
            handler.watch(channel)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        deadline?.cancel()
        context.fireChannelInactive()
    }
}
