/// Names to addresses. The system's resolver blocks, so it runs on threads of its own, and what it says is kept for a
/// few seconds: a busy receiver is not asked about at each request.
///
/// Names whose name servers are slow or dead hold up no others for long: a name that took long is remembered, all of
/// these share few of the threads, and some threads are for names that were quick the last time. A name that nobody
/// waits for any longer is not asked for.

internal import Glibc
internal import NIOCore
internal import NIOPosix
internal import Synchronization

extension Outbound {
    public final class Resolver: Sendable {
        private static let lifetime = TimeAmount.seconds(5)
        private static let capacity = 1000
        private static let threadCount = 16
        /// Of the threads, how many names may have at a time that are slow or not known.
        private static let threadsForUnknown = 12
        private static let threadsForSlow = 4
        /// A name that took so long is slow, for a while.
        private static let slowness = TimeAmount.seconds(2)
        private static let memory = TimeAmount.seconds(60)

        private enum Standing { case quick, unknown, slow }

        private struct Answer {
            let addresses: [Address]
            let at: NIODeadline
            let isSlow: Bool
        }

        private struct State {
            var known: [String: Answer] = [:]
            /// Who waits, by numbers of ours.
            var waiting: [String: [Int: EventLoopPromise<[Address]>]] = [:]
            var last = 0
            /// The names that are still to be asked for, in their order.
            var queue: [String] = []
            /// The names that the system is being asked for.
            var asked: [String: Standing] = [:]
        }

        private let resolve: @Sendable (String) -> [Address]
        private let now: @Sendable () -> NIODeadline
        private let threads: NIOThreadPool
        private let state = Mutex(State())

        /// - Parameter now: by which what is known gets old.
        init(
            _ resolve: @escaping @Sendable (String) -> [Address],
            now: @escaping @Sendable () -> NIODeadline = { .now() }
        ) {
            self.resolve = resolve
            self.now = now
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
            let known = known(name)
            let addresses = if let known { known } else { try await asked(name, until: deadline, on: loop) }
            guard !addresses.isEmpty else { throw .unresolved }
            return addresses
        }

        private func known(_ name: String) -> [Address]? {
            state.withLock { state in
                guard let answer = state.known[name], answer.at + Self.lifetime > now() else { return nil }
                return answer.addresses
            }
        }

        private func asked(
            _ name: String,
            until deadline: NIODeadline,
            on loop: any EventLoop
        ) async throws(OutboundError) -> [Address] {
            let promise = loop.makePromise(of: [Address].self)
            let number = state.withLock { state in
                state.last += 1
                state.waiting[name, default: [:]][state.last] = promise
                if state.asked[name] == nil && !state.queue.contains(name) { state.queue.append(name) }
                return state.last
            }
            askNext()
            let timer = loop.scheduleTask(deadline: deadline) { promise.fail(OutboundError.timedOut) }
            defer {
                timer.cancel()
                leave(name, number)
            }
            do {
                return try await withTaskCancellationHandler {
                    try await promise.futureResult.get()
                } onCancel: {
                    promise.fail(OutboundError.cancelled)
                }
            } catch {
                throw error as? OutboundError ?? .unresolved
            }
        }

        /// Nobody asks for a name that the last one has stopped waiting for.
        private func leave(_ name: String, _ number: Int) {
            state.withLock { state in
                guard state.waiting[name]?.removeValue(forKey: number) != nil, state.waiting[name]?.isEmpty == true
                else { return }
                state.waiting[name] = nil
                state.queue.removeAll { $0 == name }
            }
        }

        /// Asks the system for the first names in the queue that there is a thread for.
        private func askNext() {
            while let name = state.withLock({ begin(&$0) }) {
                threads.submit { [self] threadState in
                    let start = now()
                    let addresses = threadState == .active ? resolve(name) : []
                    let answer = Answer(addresses: addresses, at: now(), isSlow: now() - start >= Self.slowness)
                    let waiting = state.withLock { state in
                        if state.known.count >= Self.capacity { forget(&state) }
                        state.known[name] = answer
                        state.asked[name] = nil
                        return state.waiting.removeValue(forKey: name) ?? [:]
                    }
                    for promise in waiting.values { promise.succeed(addresses) }
                    askNext()
                }
            }
        }

        private func begin(_ state: inout State) -> String? {
            let slow = state.asked.values.count { $0 == .slow }
            let unknown = state.asked.values.count { $0 == .unknown }
            guard state.asked.count < Self.threadCount else { return nil }
            for (index, name) in state.queue.enumerated() {
                let standing = standing(of: name, state)
                switch standing {
                case .quick: break
                case .unknown: guard unknown + slow < Self.threadsForUnknown else { continue }
                case .slow:
                    guard slow < Self.threadsForSlow, unknown + slow < Self.threadsForUnknown else { continue }
                }
                state.queue.remove(at: index)
                state.asked[name] = standing
                return name
            }
            return nil
        }

        private func standing(of name: String, _ state: State) -> Standing {
            guard let answer = state.known[name], answer.at + Self.memory > now() else { return .unknown }
            return answer.isSlow ? .slow : .quick
        }

        private func forget(_ state: inout State) {
            let now = now()
            state.known = state.known.filter { $0.value.at + Self.memory > now }
            if state.known.count >= Self.capacity { state.known.removeAll() }
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
