/// One HTTP/1.1 connection to a checked address, one exchange at a time.

internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import NIOSSL
internal import Synchronization

/// How an exchange failed, as the pool must know it.
enum ExchangeFailure: Error {
    /// A connection that was used before ended without a byte of the reply: the request can go over a fresh one.
    case stale
    case other(OutboundError)
}

final class Connection: Sendable {
    /// The bytes of a reply's headers.
    private static let maximumHeader = 64 * 1024

    let key: Pool.Key
    private let pool: Pool
    private let channel: any Channel
    private let handler: NIOLoopBound<ExchangeHandler>

    private init(_ key: Pool.Key, _ pool: Pool, _ channel: any Channel, _ handler: NIOLoopBound<ExchangeHandler>) {
        self.key = key
        self.pool = pool
        self.channel = channel
        self.handler = handler
    }

    static func open(
        _ key: Pool.Key,
        _ context: NIOSSLContext?,
        in pool: Pool,
        _ group: any EventLoopGroup,
        timeout: TimeAmount
    ) async throws -> Connection {
        let prepared = Mutex<(channel: any Channel, handler: NIOLoopBound<ExchangeHandler>)?>(nil)
        let address = try key.address.socketAddress(port: key.port)
        let bootstrap = ClientBootstrap(group: group)
            .connectTimeout(timeout)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let handler = try prepare(channel, key, context, idleTime: pool.idleTime)
                    prepared.withLock { $0 = (channel, handler) }
                }
            }
        let channel = try await withTaskCancellationHandler {
            try await bootstrap.connect(to: address).get()
        } onCancel: {
            prepared.withLock { $0 }?.channel.close(promise: nil)
        }
        guard let handler = prepared.withLock({ $0 })?.handler else { throw OutboundError.unreachable }
        let connection = Connection(key, pool, channel, handler)
        channel.closeFuture.whenComplete { [weak connection] _ in
            if let connection { pool.remove(connection) }
        }
        return connection
    }

    private static func prepare(
        _ channel: any Channel,
        _ key: Pool.Key,
        _ context: NIOSSLContext?,
        idleTime: TimeAmount
    ) throws -> NIOLoopBound<ExchangeHandler> {
        let pipeline = channel.pipeline.syncOperations
        if let context {
            try pipeline.addHandler(NIOSSLClientHandler(context: context, serverHostname: key.serverName))
        }
        let meter = ByteMeter()
        try pipeline.addHandler(meter)
        var limits = NIOHTTPDecoderLimitConfiguration()
        limits.maxHeaderFieldSize = maximumHeader
        limits.maxHeaderListSize = maximumHeader
        try pipeline.addHTTPClientHandlers(decoderLimitConfiguration: limits)
        try pipeline.addHandler(IdleStateHandler(allTimeout: idleTime))
        let handler = ExchangeHandler(meter)
        try pipeline.addHandler(handler)
        return NIOLoopBound(handler, eventLoop: channel.eventLoop)
    }

    var isOpen: Bool { channel.isActive }

    func close() {
        channel.close(promise: nil)
    }

    /// Sends the request and waits for its reply. The connection goes to the pool afterwards, or is closed.
    func run(
        _ request: Outbound.Request,
        to destination: Destination,
        until deadline: NIODeadline
    ) async -> Result<Outbound.Reply, ExchangeFailure> {
        let promise = channel.eventLoop.makePromise(of: ExchangeHandler.Outcome.self)
        let head = Self.head(request, destination)
        let outcome: ExchangeHandler.Outcome
        do {
            outcome = try await withTaskCancellationHandler {
                channel.eventLoop.execute { [handler] in
                    handler.value.begin(head, request, until: deadline, promise)
                }
                // It may have been cancelled before there was anything to cancel.
                if Task.isCancelled { cancel() }
                return try await promise.futureResult.get()
            } onCancel: {
                cancel()
            }
        } catch {
            close()
            return .failure(error as? ExchangeFailure ?? .other(.broken))
        }
        if outcome.mayBeReused { pool.put(self) } else { close() }
        return .success(outcome.reply)
    }

    private func cancel() {
        channel.eventLoop.execute { [handler] in handler.value.fail(.other(.cancelled)) }
    }

    private static func head(_ request: Outbound.Request, _ destination: Destination) -> HTTPRequestHead {
        var headers = HTTPHeaders()
        headers.add(name: "Host", value: destination.authority)
        for (name, value) in request.headers { headers.add(name: name, value: value) }
        if !headers.contains(name: "Accept-Encoding") { headers.add(name: "Accept-Encoding", value: "identity") }
        if let body = request.body {
            headers.add(name: "Content-Length", value: "\(body.count)")
        } else if ["POST", "PUT", "PATCH"].contains(request.method) {
            headers.add(name: "Content-Length", value: "0")
        }
        return HTTPRequestHead(
            version: .http1_1,
            method: HTTPMethod(rawValue: request.method),
            uri: destination.target,
            headers: headers
        )
    }
}

/// Runs one exchange after the other; all of it on the channel's event loop.
final class ExchangeHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias OutboundOut = HTTPClientRequestPart

    struct Outcome: Sendable {
        let reply: Outbound.Reply
        let mayBeReused: Bool
    }

    private final class Exchange {
        let promise: EventLoopPromise<Outcome>
        let timer: Scheduled<Void>
        let maximumReply: Int
        let whenLonger: Outbound.WhenLonger
        var isSent = false
        var head: HTTPResponseHead?
        var body: [UInt8] = []

        init(_ promise: EventLoopPromise<Outcome>, _ timer: Scheduled<Void>, _ request: Outbound.Request) {
            self.promise = promise
            self.timer = timer
            maximumReply = request.maximumReply
            whenLonger = request.whenLonger
        }
    }

    private let meter: ByteMeter
    private var context: ChannelHandlerContext?
    private var exchange: Exchange?
    private var count = 0
    /// Why the connection ended while nothing was under way, such as a handshake that failed at once.
    private var end = ExchangeFailure.other(.broken)

    init(_ meter: ByteMeter) {
        self.meter = meter
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        fail(.other(.broken))
        self.context = nil
    }

    func begin(
        _ head: HTTPRequestHead,
        _ request: Outbound.Request,
        until deadline: NIODeadline,
        _ promise: EventLoopPromise<Outcome>
    ) {
        count += 1
        guard let context, context.channel.isActive, exchange == nil else {
            promise.fail(count > 1 ? ExchangeFailure.stale : end)
            return
        }
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        let timer = context.eventLoop.scheduleTask(deadline: deadline) { bound.value.fail(.other(.timedOut)) }
        let exchange = Exchange(promise, timer, request)
        self.exchange = exchange
        meter.allow(request.maximumReply)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        if let body = request.body, !body.isEmpty {
            context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: body)))), promise: nil)
        }
        let sent = NIOLoopBound(exchange, eventLoop: context.eventLoop)
        context.writeAndFlush(wrapOutboundOut(.end(nil))).whenSuccess { sent.value.isSent = true }
    }

    /// Ends the exchange, and the connection with it: without a reply, unless its head is all that must be whole.
    func fail(_ failure: ExchangeFailure) {
        guard let exchange else { return }
        if exchange.head != nil, case .cut = exchange.whenLonger {
            switch failure {
            case .other(.broken), .other(.tooLong), .other(.tls): return succeed(isCut: true)
            case .stale, .other: break
            }
        }
        self.exchange = nil
        exchange.timer.cancel()
        context?.close(promise: nil)
        exchange.promise.fail(failure)
    }

    private func succeed(isCut: Bool) {
        guard let exchange, let head = exchange.head else { return fail(.other(.broken)) }
        self.exchange = nil
        exchange.timer.cancel()
        let reply = Outbound.Reply(
            status: Int(head.status.code),
            headers: .init(all: head.headers.map { (name: $0.name, value: $0.value) }),
            body: exchange.body,
            isCut: isCut
        )
        let mayBeReused = !isCut && exchange.isSent && head.isKeepAlive && context?.channel.isActive == true
        if isCut { context?.close(promise: nil) }
        exchange.promise.succeed(Outcome(reply: reply, mayBeReused: mayBeReused))
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard exchange != nil else {
            // Nothing was asked for.
            context.close(promise: nil)
            return
        }
        switch unwrapInboundIn(data) {
        case .head(let head):
            exchange?.head = head
        case .body(let buffer):
            take(buffer)
        case .end:
            succeed(isCut: false)
        }
    }

    private func take(_ buffer: ByteBuffer) {
        guard let exchange else { return }
        let room = exchange.maximumReply - exchange.body.count
        exchange.body.append(contentsOf: buffer.readableBytesView.prefix(room))
        guard buffer.readableBytes > room else { return }
        switch exchange.whenLonger {
        case .cut: succeed(isCut: true)
        case .fail: fail(.other(.tooLong))
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard event is IdleStateHandler.IdleStateEvent else { return context.fireUserInboundEventTriggered(event) }
        // One that was just opened is about to be used.
        if exchange == nil && count > 0 { context.close(promise: nil) }
    }

    func channelInactive(context: ChannelHandlerContext) {
        let isStale = count > 1 && exchange?.head == nil
        fail(isStale ? .stale : .other(.broken))
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        let isStale = count > 1 && exchange?.head == nil
        let failure: ExchangeFailure =
            switch error {
            case is ByteMeter.Exceeded, HTTPParserError.headerOverflow: .other(.tooLong)
            case NIOSSLError.uncleanShutdown: isStale ? .stale : .other(.broken)
            case is NIOSSLError, is BoringSSLError, is NIOSSLExtraError: .other(.tls)
            case is HTTPParserError: .other(.broken)
            default: isStale ? .stale : .other(.broken)
            }
        if exchange == nil { end = failure }
        fail(failure)
        context.close(promise: nil)
    }
}

/// Bounds what comes in for one exchange before it is parsed: interim replies and chunks of one byte are free of any
/// body, and could go on for as long as the exchange may take.
final class ByteMeter: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    struct Exceeded: Error {}

    /// What comes before anything was asked for is bounded too.
    private var rest = 128 * 1024

    /// - Parameter body: how many bytes of a body are expected; a chunk of one byte takes six.
    func allow(_ body: Int) {
        rest = 128 * 1024 + min(body, Int.max / 16) * 8
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        rest -= unwrapInboundIn(data).readableBytes
        guard rest >= 0 else {
            context.fireErrorCaught(Exceeded())
            return
        }
        context.fireChannelRead(data)
    }
}
