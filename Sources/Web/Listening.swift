/// Those who listen on the command line: the official one as it is, by its own protocol, and ours.
///
/// A session is opened by a route of the API; its id then opens a websocket, at a port of its own, over which the
/// events of the key's merchant and mode come as they happen, signed. It is a tool of developers: what nobody listens
/// to is not kept for later, and what the local server answered is theirs to see.

internal import Connections
internal import Database
internal import FoundationEssentials
internal import Logging
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import NIOWebSocket
internal import Synchronization
internal import Vault
internal import Wire

public final class Listening: Sendable {
    private static let capacity = 100
    /// Seconds after which a client renews its connection.
    private static let reconnectDelay = 3600
    private static let subprotocol = "stripecli-devproxy-v1"
    /// Connections at the port; more are closed at once.
    private static let maximumConnections = 2 * capacity

    /// One client's session, over all of its connections.
    private final class Session: Sendable {
        let scope: Scope
        /// The id of the key that opened it.
        let key: String
        /// The ids of the last events that were read, in the order in which they were made; nil before the first
        /// connection.
        let position = Mutex<[String]?>(nil)
        let replays = Mutex<[String]>([])
        private let acknowledging = Mutex(Acknowledging())
        let line = Mutex<Line?>(nil)

        private struct Acknowledging {
            /// The events that were sent last and were not acknowledged.
            var missing: [String] = []
            /// Not every client does it.
            var isUsual = false
        }

        /// Notes that an event is being sent.
        func expect(_ event: String) {
            acknowledging.withLock { $0.missing = $0.missing.suffix(Listening.overlap - 1) + [event] }
        }

        func acknowledge(_ event: String) {
            acknowledging.withLock { state in
                state.isUsual = true
                state.missing.removeAll { $0 == event }
            }
        }

        /// Has what may have been lost with the former connection sent once more.
        func comeAgain() {
            let sent = position.withLock { $0 } ?? []
            let lost = acknowledging.withLock { state in
                defer { state.missing = [] }
                return state.isUsual ? state.missing.filter(sent.contains) : []
            }
            replays.withLock { replays in replays = lost.filter { !replays.contains($0) } + replays }
        }

        /// The connection that is listened over, what has it look for news, and who sends.
        struct Line {
            /// Of two connections the one that came later, whichever is ready first.
            let turn: Int
            let channel: any Channel
            let bell: AsyncStream<Void>.Continuation
            let task: Task<Void, Never>
        }

        init(_ scope: Scope, key: String) {
            self.scope = scope
            self.key = key
        }
    }

    private struct State {
        /// By the digest of the id, which is a credential.
        var sessions: [(digest: [UInt8], session: Session)] = []
        /// The host as addresses spell it, nil where it is any, and the port.
        var place: (host: String?, port: Int)?
        var connections = 0
        /// Connections that ever came.
        var turn = 0

        /// Ends a session of whoever has the most of them: the oldest over which nobody listens, else the oldest.
        mutating func makeRoom() {
            let counts = Dictionary(sessions.map { ($0.session.scope, 1) }, uniquingKeysWith: +)
            guard let scope = counts.max(by: { $0.value < $1.value })?.key else { return }
            let its = sessions.indices.filter { sessions[$0].session.scope == scope }
            let idle = its.first { index in sessions[index].session.line.withLock { $0 == nil } }
            if let index = idle ?? its.first { sessions.remove(at: index) }
        }
    }

    private let database: Database
    private let ring: KeyRing
    private let world: World
    private let logger: Logger
    private let state = Mutex(State())

    init(database: Database, ring: KeyRing, world: World, logger: Logger) {
        self.database = database
        self.ring = ring
        self.world = world
        self.logger = logger
    }

    // MARK: Sessions

    /// Opens a session. Parameters that a newer command line sends are left out.
    static func open(_ call: Call) async throws -> Answer {
        let parameters = Parameters(lenient: call.form)
        let features = try parameters.strings("websocket_features")?.map(\.value) ?? []
        guard features.contains("webhooks") else {
            throw StripeError(param: "websocket_features", message: "This server offers the feature webhooks alone.")
        }
        guard let key = call.key else { throw StripeError.internalFault }
        return try call.service.listening.open(call.scope, key, host: call.host)
    }

    private func open(_ scope: Scope, _ key: APIKey, host: String?) throws -> Answer {
        let id = world.secret("cliws_", length: 32)
        let place = state.withLock { state in
            if state.sessions.count >= Self.capacity { state.makeRoom() }
            state.sessions.append((Secret.digest(id), Session(scope, key: key.id)))
            return state.place
        }
        guard let place else { throw StripeError.unavailable("Nobody can listen here at the moment.") }
        let address = "ws://\(place.host ?? Self.host(host) ?? "127.0.0.1"):\(place.port)/subscribe"
        let secret = secret(of: scope)
        return Call.answer { json in
            json.object { json in
                json.field("default_version", APIVersion.standard.description)
                json.field("device_token", "")
                json.field("display_connect_filter_warning", false)
                json.field("latest_version", APIVersion.latest.description)
                json.field("reconnect_delay", Self.reconnectDelay)
                json.field("secret", secret)
                json.field("websocket_authorized_feature", "webhooks")
                json.field("websocket_id", id)
                json.field("websocket_url", address)
            }
        }
    }

    /// The same each time, so that what is configured with it keeps working.
    private func secret(of scope: Scope) -> String {
        ring.secret("whsec_", named: "listen|\(scope.merchant)|\(scope.livemode ? "live" : "test")")
    }

    private func session(_ id: String?) -> Session? {
        guard let digest = id.map({ Secret.digest($0) }) else { return nil }
        return state.withLock { state in state.sessions.first { $0.digest == digest }?.session }
    }

    /// The host that a request was sent to, by its `Host`; nil for a text that is none.
    private static func host(_ text: String?) -> String? {
        let form = #/(\[[0-9A-Fa-f:.]{2,45}\]|[0-9A-Za-z._\-]{1,253})(?::[0-9]{1,5})?/#
        return text?.wholeMatch(of: form).map { String($0.output.1) }
    }

    /// Whether the key that opened a session may still be used.
    private func isAllowed(_ session: Session) async throws -> Bool {
        let now = world.now()
        return try await database.lookup { db in try APIKey.isGood(session.key, at: now, in: db) }
    }

    private func forget(_ gone: Session) {
        state.withLock { $0.sessions.removeAll { $0.session === gone } }
    }

    /// Sends an event once more to those who listen.
    func replay(_ event: String, in scope: Scope) {
        for (_, session) in state.withLock({ $0.sessions }) where session.scope == scope {
            session.replays.withLock { if $0.count < Self.capacity { $0.append(event) } }
            session.line.withLock { _ = $0?.bell.yield() }
        }
    }

    // MARK: Connections

    /// Takes connections until the task is cancelled.
    /// - Parameters:
    ///   - port: 0 takes a free one.
    ///   - name: the host as addresses spell it; nil where callers reach it by more than one, and are told the one that
    ///     they asked.
    public func run(host: String, port: Int, name: String?) async {
        do {
            let server = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
                .childChannelInitializer { [self] channel in
                    channel.eventLoop.makeCompletedFuture(Result { try prepare(channel) })
                }
                .bind(host: host, port: port).get()
            let bound = server.localAddress?.port ?? port
            state.withLock { $0.place = (name, bound) }
            await withTaskCancellationHandler {
                try? await server.closeFuture.get()
            } onCancel: {
                server.close(promise: nil)
            }
        } catch {
            logger.error("nobody can listen here: the port cannot be taken", metadata: ["error": "\(error)"])
        }
        state.withLock { $0.place = nil }
    }

    private struct Full: Error {}

    private func prepare(_ channel: any Channel) throws {
        let (count, turn) = state.withLock { state in
            state.connections += 1
            state.turn += 1
            return (state.connections, state.turn)
        }
        channel.closeFuture.whenComplete { [self] _ in state.withLock { $0.connections -= 1 } }
        guard count <= Self.maximumConnections else { throw Full() }
        // Clients ping every few seconds; who says nothing is gone.
        try channel.pipeline.syncOperations.addHandler(IdleStateHandler(readTimeout: .seconds(60)))
        let refusal = Refusal()
        let upgrader = NIOWebSocketServerUpgrader(
            maxFrameSize: 1 << 20,
            shouldUpgrade: { [self] channel, head in
                channel.eventLoop.makeFutureWithTask { [self] in
                    guard await admit(head.headers.first(name: "Websocket-Id"), on: channel) else { return nil }
                    let offered = head.headers[canonicalForm: "Sec-WebSocket-Protocol"]
                    return offered.contains(Self.subprotocol[...]) ? ["Sec-WebSocket-Protocol": Self.subprotocol] : [:]
                }
            },
            upgradePipelineHandler: { [self] channel, head in
                let id = head.headers.first(name: "Websocket-Id")
                return channel.eventLoop.makeCompletedFuture(Result { try begin(id, turn, on: channel) })
            }
        )
        let bound = NIOLoopBound(refusal, eventLoop: channel.eventLoop)
        let pipeline = channel.pipeline.syncOperations
        try pipeline.configureHTTPServerPipeline(
            withServerUpgrade: (
                upgraders: [upgrader],
                completionHandler: { context in context.pipeline.syncOperations.removeHandler(bound.value, promise: nil)
                }
            )
        )
        try pipeline.addHandler(refusal)
    }

    /// Whether an id opens a connection. What happens from this moment on is sent over it, so that a client misses
    /// nothing after the answer.
    private func admit(_ id: String?, on channel: any Channel) async -> Bool {
        guard let session = session(id) else { return false }
        do {
            guard try await isAllowed(session) else {
                forget(session)
                return false
            }
            guard session.position.withLock({ $0 }) == nil else { return true }
            let ids = try await database.read { db in try Event.latestIDs(Self.overlap, in: session.scope, db) }
            session.position.withLock { $0 = $0 ?? ids }
            return true
        } catch {
            // To be told that the id is unknown would cost the client what it has not seen yet.
            channel.close(promise: nil)
            return false
        }
    }

    private func begin(_ id: String?, _ turn: Int, on channel: any Channel) throws {
        let pipeline = channel.pipeline.syncOperations
        try pipeline.addHandler(
            NIOWebSocketFrameAggregator(
                minNonFinalFragmentSize: 0,
                maxAccumulatedFrameCount: 1000,
                maxAccumulatedFrameSize: 1 << 20
            )
        )
        guard let session = session(id) else { throw StripeError.internalFault }
        try pipeline.addHandler(Frames(acknowledge: session.acknowledge))
        let (rings, bell) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        // A client that comes again has left its former connection, which may look alive for a while.
        session.line.withLock { line in
            guard turn > line?.turn ?? 0 else { return channel.close(promise: nil) }
            line?.channel.close(promise: nil)
            let task = Task { [self, former = line?.task] in
                await former?.value
                session.comeAgain()
                await pump(session, to: channel, rings, bell)
                session.line.withLock { if $0?.turn == turn { $0 = nil } }
            }
            channel.closeFuture.whenComplete { _ in task.cancel() }
            line = .init(turn: turn, channel: channel, bell: bell, task: task)
        }
    }

    // MARK: Events

    /// So many events are looked at again: where several servers write, one may be committed after a later one.
    private static let overlap = 200
    /// A wake-up can be lost, so that news is looked for without one too.
    private static let pause = Duration.seconds(1)
    /// How long a revoked key may go on listening.
    private static let trust = Duration.seconds(3)

    /// Sends what happens until the connection ends, or the key is revoked.
    private func pump(
        _ session: Session,
        to channel: any Channel,
        _ rings: AsyncStream<Void>,
        _ bell: AsyncStream<Void>.Continuation
    ) async {
        await withTaskGroup { group in
            group.addTask { [self] in
                for await _ in database.wakes(.events) { bell.yield() }
            }
            group.addTask {
                while !Task.isCancelled {
                    bell.yield()
                    try? await Task.sleep(for: Self.pause)
                }
            }
            group.addTask { [self] in
                do {
                    try await send(session, to: channel, at: rings)
                } catch {
                    // The connection has ended, or the client comes again when the database is there again.
                }
            }
            await group.next()
            group.cancelAll()
        }
        channel.close(promise: nil)
    }

    private func send(_ session: Session, to channel: any Channel, at rings: AsyncStream<Void>) async throws {
        var checked = ContinuousClock.now
        for await _ in rings {
            if ContinuousClock.now - checked >= Self.trust {
                guard try await isAllowed(session) else { return forget(session) }
                checked = .now
            }
            try await sendAgain(session, to: channel)
            try await sendNews(session, to: channel)
        }
    }

    private func sendAgain(_ session: Session, to channel: any Channel) async throws {
        // Each stays until it is sent: what a break leaves is for the next connection.
        while let id = session.replays.withLock({ $0.first }) {
            try await send(id, session, to: channel)
            session.replays.withLock { if $0.first == id { $0.removeFirst() } }
        }
    }

    private func sendNews(_ session: Session, to channel: any Channel) async throws {
        guard let known = session.position.withLock({ $0 }) else { return }
        var start = known.first ?? ""
        while !Task.isCancelled {
            let from = start
            let ids = try await database.read { db in try Event.ids(after: from, in: session.scope, db) }
            guard let last = ids.last else { return }
            start = last
            for id in ids where !known.contains(id) {
                try await send(id, session, to: channel)
                session.position.withLock { position in
                    let ids = ((position ?? []) + [id]).sorted()
                    position = Array(ids.suffix(Self.overlap))
                }
            }
        }
    }

    /// Sends an event in the version of most, and once more in the latest: a client takes the one that it asked for.
    private func send(_ id: String, _ session: Session, to channel: any Channel) async throws {
        let scope = session.scope
        session.expect(id)
        guard let event = try await database.read({ db in try Event.known(id, in: scope, db) }) else { return }
        for version in [nil, APIVersion.latest.description] {
            let payload = event.rendering(in: version)
            let signature = Signature.header(of: payload, at: world.wall(), secrets: [secret(of: scope)])
            let id = world.secret("wc_", length: 24)
            var json = JSONWriter(capacity: payload.count + 1024)
            json.object { json in
                json.object("endpoint") { json in json.field("api_version", version) }
                json.field("event_payload", String(decoding: payload, as: UTF8.self))
                json.object("http_headers") { json in
                    json.field("Accept", "*/*")
                    json.field("Content-Type", "application/json; charset=utf-8")
                    json.field("Stripe-Signature", signature)
                    json.field("User-Agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
                }
                json.field("type", "webhook_event")
                json.field("webhook_conversation_id", id)
                json.field("webhook_id", id)
            }
            let frame = WebSocketFrame(fin: true, opcode: .text, data: ByteBuffer(bytes: json.bytes))
            try await channel.writeAndFlush(frame)
        }
    }
}

/// Answers whatever is no websocket of a known session.
private final class Refusal: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    /// The time until a connection must be a websocket; the handler is removed when it is one.
    private static let patience = TimeAmount.seconds(10)
    private var deadline: Scheduled<Void>?

    func handlerAdded(context: ChannelHandlerContext) {
        let channel = context.channel
        deadline = context.eventLoop.scheduleTask(in: Self.patience) { channel.close(promise: nil) }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        deadline?.cancel()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard case .end = unwrapInboundIn(data) else { return }
        // The words that the official command line knows, to ask for a new session.
        let body = ByteBuffer(string: #"{"error": {"message": "Unknown WebSocket ID."}}"#)
        let headers: HTTPHeaders = [
            "Content-Type": "application/json", "Content-Length": "\(body.readableBytes)", "Connection": "close",
        ]
        let head = HTTPResponseHead(version: .http1_1, status: .badRequest, headers: headers)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        context.write(wrapOutboundOut(.body(.byteBuffer(body))), promise: nil)
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        context.close(promise: nil)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard event is IdleStateHandler.IdleStateEvent else { return context.fireUserInboundEventTriggered(event) }
        context.close(promise: nil)
    }
}

/// What a websocket itself must answer, and what clients acknowledge. Reports of what a local server said are taken and
/// not kept.
private final class Frames: ChannelInboundHandler {
    typealias InboundIn = WebSocketFrame
    typealias OutboundOut = WebSocketFrame

    private struct Acknowledgement: Decodable {
        let type: String
        let event_id: String
    }

    private let acknowledge: (String) -> Void

    init(acknowledge: @escaping (String) -> Void) {
        self.acknowledge = acknowledge
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let frame = unwrapInboundIn(data)
        switch frame.opcode {
        case .text:
            let data = Data(frame.unmaskedData.readableBytesView)
            guard let message = try? JSONDecoder().decode(Acknowledgement.self, from: data),
                message.type == "event_ack"
            else { return }
            acknowledge(message.event_id)
        case .ping:
            let pong = WebSocketFrame(fin: true, opcode: .pong, data: frame.unmaskedData)
            context.writeAndFlush(wrapOutboundOut(pong), promise: nil)
        case .connectionClose:
            let close = WebSocketFrame(fin: true, opcode: .connectionClose, data: frame.unmaskedData)
            context.writeAndFlush(wrapOutboundOut(close), promise: nil)
            context.close(promise: nil)
        default: break
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard event is IdleStateHandler.IdleStateEvent else { return context.fireUserInboundEventTriggered(event) }
        context.close(promise: nil)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }
}
