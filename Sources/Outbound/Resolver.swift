/// Names to addresses. The system's resolver blocks, so it runs on threads of its own, and what it says is kept for a
/// few seconds: a busy receiver is not asked about at each request, and one dead name server holds few threads.

internal import Glibc
internal import NIOCore
internal import NIOPosix
internal import Synchronization

extension Outbound {
    public final class Resolver: Sendable {
        private static let lifetime = TimeAmount.seconds(5)
        private static let capacity = 1000
        private static let threadCount = 16

        private struct State {
            var known: [String: (addresses: [Address], until: NIODeadline)] = [:]
            var asked: [String: [EventLoopPromise<[Address]>]] = [:]
        }

        private let resolve: @Sendable (String) -> [Address]
        private let threads: NIOThreadPool
        private let state = Mutex(State())

        init(_ resolve: @escaping @Sendable (String) -> [Address]) {
            self.resolve = resolve
            threads = NIOThreadPool(numberOfThreads: Self.threadCount)
            threads.start()
        }

        func close() {
            threads.shutdownGracefully { _ in }
        }

        /// - Throws: `unresolved` for a name without an address.
        func addresses(
            of name: String,
            until deadline: NIODeadline,
            on loop: any EventLoop
        ) async throws(OutboundError) -> [Address] {
            let promise = loop.makePromise(of: [Address].self)
            enum Next { case known([Address]), ask, wait }
            let next = state.withLock { state -> Next in
                if let known = state.known[name], known.until > .now() { return .known(known.addresses) }
                let isAsked = state.asked[name] != nil
                state.asked[name, default: []].append(promise)
                return isAsked ? .wait : .ask
            }
            let addresses: [Address]
            switch next {
            case .known(let known):
                promise.succeed(known)
                addresses = known
            case .ask, .wait:
                if case .ask = next { ask(name) }
                let timer = loop.scheduleTask(deadline: deadline) { promise.fail(OutboundError.timedOut) }
                defer { timer.cancel() }
                do {
                    addresses = try await withTaskCancellationHandler {
                        try await promise.futureResult.get()
                    } onCancel: {
                        promise.fail(OutboundError.cancelled)
                    }
                } catch {
                    throw error as? OutboundError ?? .unresolved
                }
            }
            guard !addresses.isEmpty else { throw .unresolved }
            return addresses
        }

        private func ask(_ name: String) {
            threads.submit { [self] threadState in
                let addresses = threadState == .active ? resolve(name) : []
                let waiting = state.withLock { state in
                    if state.known.count >= Self.capacity { state.known.removeAll() }
                    state.known[name] = (addresses, .now() + Self.lifetime)
                    return state.asked.removeValue(forKey: name) ?? []
                }
                for promise in waiting { promise.succeed(addresses) }
            }
        }

        /// What the operating system's resolver says; an address that cannot be read makes the answer none.
        public static let system: @Sendable (String) -> [Address] = { name in
            var hints = addrinfo()
            hints.ai_family = AF_UNSPEC
            hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
            var list: UnsafeMutablePointer<addrinfo>?
            guard getaddrinfo(name, nil, &hints, &list) == 0 else { return [] }
            defer { freeaddrinfo(list) }
            var addresses: [Address] = []
            var next = list
            while let info = next?.pointee {
                next = info.ai_next
                let bytes = Array(UnsafeRawBufferPointer(start: info.ai_addr, count: Int(info.ai_addrlen)))
                switch info.ai_family {
                case AF_INET where bytes.count >= 8:
                    // After the family and the port.
                    addresses.append(Address(bytes: Array(bytes[4..<8])))
                case AF_INET6 where bytes.count >= 28 && bytes[24..<28].allSatisfy({ $0 == 0 }):
                    // After the family, the port and the flow; before a zone, which chooses among local networks.
                    addresses.append(Address(bytes: Array(bytes[8..<24])))
                default:
                    return []
                }
            }
            return addresses
        }
    }
}
