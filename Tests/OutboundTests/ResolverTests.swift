/// Names that are slow to resolve, beside names that are not.

import Dispatch
import NIOCore
import NIOPosix
import Synchronization
import Testing

@testable import Outbound

@Suite("Resolving", .timeLimit(.minutes(5)))
struct ResolverTests {
    /// A system that takes two seconds for names `slow…`, by a clock of the test's, and for names `stuck…` until its
    /// gate is opened; behind a shut gate wait the slow ones too.
    private final class System: Sendable {
        private let time = Atomic<Int64>(0)
        private let gate = DispatchSemaphore(value: 0)
        let isShut = Atomic(false)
        private let log = Mutex(Log())

        private struct Log {
            var names: [String] = []
            /// Who waits until so many names have been asked for.
            var waiting: [(count: Int, prefix: String, isThere: CheckedContinuation<Void, Never>)] = []

            func asked(_ prefix: String) -> Int { names.count { $0.hasPrefix(prefix) } }

            /// Takes out those who wait no longer.
            mutating func ready() -> [CheckedContinuation<Void, Never>] {
                let all = waiting
                waiting = all.filter { asked($0.prefix) < $0.count }
                return all.filter { asked($0.prefix) >= $0.count }.map(\.isThere)
            }
        }

        func asked(_ prefix: String) -> Int { log.withLock { $0.asked(prefix) } }

        /// Waits until so many names have been asked for.
        func asked(_ count: Int, _ prefix: String) async {
            await withCheckedContinuation { isThere in
                note { $0.waiting.append((count, prefix, isThere)) }
            }
        }

        private func note(_ change: (inout Log) -> Void) {
            let ready = log.withLock { log in
                change(&log)
                return log.ready()
            }
            for one in ready { one.resume() }
        }

        func now() -> NIODeadline { .uptimeNanoseconds(UInt64(time.load(ordering: .relaxed))) }

        func advance(_ amount: TimeAmount) { time.add(amount.nanoseconds, ordering: .relaxed) }

        func resolve(_ name: String) -> [Outbound.Address] {
            note { $0.names.append(name) }
            let isSlow = name.hasPrefix("slow")
            if isSlow { advance(.seconds(2)) }
            if name.hasPrefix("stuck") || isSlow && isShut.load(ordering: .relaxed) { gate.wait() }
            return name.hasPrefix("good") ? [Outbound.Address("127.0.0.1")].compactMap { $0 } : []
        }

        func open() { for _ in 0..<1000 { gate.signal() } }
    }

    private let system = System()
    private let resolver: Outbound.Resolver
    private let loop = MultiThreadedEventLoopGroup.singleton.any()

    init() {
        resolver = Outbound.Resolver(system.resolve, now: system.now)
    }

    private func ask(_ name: String, for patience: TimeAmount = .seconds(60)) async -> OutboundError? {
        do {
            _ = try await resolver.addresses(of: name, until: .now() + patience, on: loop)
            return nil
        } catch {
            return error
        }
    }

    /// Asks for so many names at once.
    private func ask(_ count: Int, _ prefix: String, for patience: TimeAmount = .seconds(60)) async -> [OutboundError?]
    {
        await withTaskGroup { group in
            for number in 0..<count {
                group.addTask { await ask("\(prefix)\(number).example", for: patience) }
            }
            return await group.reduce(into: []) { $0.append($1) }
        }
    }

    @Test("goes on for names that are known to be quick, however many hang")
    func quick() async {
        #expect(await ask("good.example") == nil)
        system.advance(.seconds(6))
        let stuck = (0..<40).map { number in Task { await ask("stuck\(number).example") } }
        await system.asked(12, "stuck")
        #expect(await ask("good.example") == nil)
        #expect(system.asked("good") == 2 && system.asked("stuck") == 12)
        system.open()
        for one in stuck { #expect(await one.value == .unresolved) }
        resolver.close()
    }

    @Test("gives names that were slow a few of the threads")
    func slow() async {
        let names = (0..<10).map { "slow\($0).example" }
        for name in names { #expect(await ask(name) == .unresolved) }
        system.advance(.seconds(6))
        system.isShut.store(true, ordering: .relaxed)
        let slow = names.map { name in Task { await ask(name) } }
        await system.asked(14, "slow")
        #expect(await ask(20, "good") == Array(repeating: nil, count: 20))
        #expect(system.asked("slow") == 14)
        system.open()
        for one in slow { #expect(await one.value == .unresolved) }
        resolver.close()
    }

    @Test("asks for no name that nobody waits for any longer")
    func left() async {
        let first = (0..<12).map { number in Task { await ask("stuck\(number).example") } }
        await system.asked(12, "stuck")
        #expect(await ask(30, "gone", for: .milliseconds(1)) == Array(repeating: .timedOut, count: 30))
        let last = Task { await ask("good.example") }
        system.open()
        #expect(await last.value == nil)
        for one in first { #expect(await one.value == .unresolved) }
        #expect(system.asked("gone") == 0)
        resolver.close()
    }
}
