/// Who may begin how many attempts, with hundreds of endpoints that hang beside those that answer.

import Testing

@testable import Worker

@Suite("Attempts at a time")
struct SlotsTests {
    private func due(_ names: [String], isFailing: Bool = false) -> [(endpoint: String, isFailing: Bool)] {
        names.map { ($0, isFailing) }
    }

    private func names(_ prefix: String, _ count: Int) -> [String] { (0..<count).map { "\(prefix)\($0)" } }

    /// Begins what is shared out.
    private func begin(_ slots: inout Slots, _ due: [(endpoint: String, isFailing: Bool)]) -> [String: Int] {
        let shares = slots.share(due)
        for (endpoint, count) in shares { for _ in 0..<count { slots.begin(at: endpoint) } }
        return shares
    }

    /// Slots that know these endpoints to answer.
    private func knowing(_ names: [String]) -> Slots {
        var slots = Slots()
        for name in names {
            slots.begin(at: name)
            _ = slots.end(at: name, wasAnswered: true)
        }
        return slots
    }

    @Test("are few at an endpoint until it answers, and again when it does not")
    func one() {
        var slots = Slots()
        let first = begin(&slots, due(["a"]))
        let second = begin(&slots, due(["a"]))
        #expect(first == ["a": 2] && second.isEmpty)
        let isAwaited = slots.end(at: "a", wasAnswered: true)
        let failing = begin(&slots, due(["a"], isFailing: true))
        let answering = begin(&slots, due(["a"]))
        #expect(isAwaited && failing == ["a": 1] && answering == ["a": 14])
        _ = slots.end(at: "a", wasAnswered: false)
        let silent = begin(&slots, due(["a"]))
        #expect(silent.isEmpty)
    }

    @Test("leave room for those that answer, however many hang")
    func hanging() {
        let good = names("good", 4)
        let silent = names("silent", 300)
        var slots = knowing(good)
        let first = begin(&slots, due(silent))
        let second = begin(&slots, due(silent))
        let third = begin(&slots, due(silent + good))
        #expect(first.values.reduce(0, +) == Slots.capacityOfSilent && second.isEmpty)
        #expect(third == Dictionary(uniqueKeysWithValues: good.map { ($0, 16) }))
    }

    @Test("are never more than there is room for, and everyone has a turn")
    func turns() {
        let good = names("good", 400)
        var slots = knowing(good)
        var served: Set<String> = []
        for _ in 0..<2 {
            let shares = begin(&slots, due(good))
            #expect(shares.values.reduce(0, +) == Slots.capacity)
            served.formUnion(shares.keys)
            // Whoever ends makes room for one who waits.
            for endpoint in shares.keys {
                let isAwaited = slots.end(at: endpoint, wasAnswered: true)
                #expect(isAwaited)
            }
        }
        #expect(served.count == good.count)
    }

    @Test("are shared evenly where many want more than there is")
    func shares() {
        let good = names("good", 32)
        var slots = knowing(good)
        let shares = begin(&slots, due(good))
        #expect(Set(shares.values) == [8])
    }
}
