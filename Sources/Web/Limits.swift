/// What one client may take of the server before its request is even read.
///
/// The framework sets no limits of its own. Silence ends a connection after a while, and a request that has begun must
/// be complete soon: a body that comes byte by byte never looks idle.

public import HummingbirdCore
internal import NIOCore
internal import NIOHTTPTypes

public enum Limits {
    /// A connection without a byte is closed after this time. Clients keep idle connections for about a minute.
    private static let idleTimeout = TimeAmount.seconds(65)
    /// The time from a request's head to its last byte.
    private static let requestTimeout = TimeAmount.seconds(10)
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
                additionalChannelHandlers: [RequestDeadline(requestTimeout)],
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

/// Closes a connection whose request is not complete in time.
private final class RequestDeadline: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart

    private let timeout: TimeAmount
    private var isReading = false
    private var deadline: Scheduled<Void>?

    init(_ timeout: TimeAmount) {
        self.timeout = timeout
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head: isReading = true
        case .body: break
        case .end:
            isReading = false
            deadline?.cancel()
            deadline = nil
        }
        context.fireChannelRead(data)
    }

    /// Nearly every request arrives whole: a timer is set only for one that did not.
    func channelReadComplete(context: ChannelHandlerContext) {
        if isReading && deadline == nil {
            let channel = context.channel
            deadline = context.eventLoop.scheduleTask(in: timeout) { channel.close(promise: nil) }
        }
        context.fireChannelReadComplete()
    }

    func channelInactive(context: ChannelHandlerContext) {
        deadline?.cancel()
        context.fireChannelInactive()
    }
}
