/// Names that are slow to resolve, beside names that are not.

import Dispatch
import NIOCore
import NIOPosix
import Synchronization
import Testing

@testable import Outbound

@Suite("Resolving", .timeLimit(.minutes(1)))
struct ResolverTests {
    /// A system that takes two seconds for names `slow…`, by a clock of the test's, and for names `stuck…` until its
    /// gate is opened; behind a shut gate wait the slow ones too.
    private final class System: Sendable {
        private let time = Atomic<Int64>(0)
        private let gate = DispatchSemaphore(value: 0)
        let isShut = Atomic(false)
        private let names = Mutex<[String]>([])

        var asked: [String] { names.withLock { $0 } }

        func asked(_ prefix: String) -> Int { asked.count { $0.hasPrefix(prefix) } }

        func now() -> NIODeadline { .uptimeNanoseconds(UInt64(time.load(ordering: .relaxed))) }

        func advance(_ amount: TimeAmount) { time.add(amount.nanoseconds, ordering: .relaxed) }

        func resolve(_ name: String) -> [Outbound.Address] {
            names.withLock { $0.append(name) }
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

    /// Waits until so many names are being asked for that do not answer.
    private func wait(until count: Int, _ prefix: String = "stuck") async {
        while system.asked(prefix) < count { await Task.yield() }
    }

    @Test("goes on for names that are known to be quick, however many hang")
    func quick() async {
        #expect(await ask("good.example") == nil)
        system.advance(.seconds(6))
        let stuck = (0..<40).map { number in Task { await ask("stuck\(number).example") } }
        await wait(until: 12)
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
        await wait(until: 14, "slow")
        for number in 0..<20 { #expect(await ask("good\(number).example") == nil) }
        #expect(system.asked("slow") == 14)
        system.open()
        for one in slow { #expect(await one.value == .unresolved) }
        resolver.close()
    }

    @Test("asks for no name that nobody waits for any longer")
    func left() async {
        let first = (0..<12).map { number in Task { await ask("stuck\(number).example") } }
        await wait(until: 12)
        for number in 0..<30 { #expect(await ask("gone\(number).example", for: .milliseconds(1)) == .timedOut) }
        let last = Task { await ask("good.example") }
        system.open()
        #expect(await last.value == nil)
        for one in first { #expect(await one.value == .unresolved) }
        #expect(system.asked("gone") == 0)
        resolver.close()
    }
}
