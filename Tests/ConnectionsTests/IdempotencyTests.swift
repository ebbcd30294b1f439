/// One idempotency key has at most one effect, and its answer comes back byte for byte.

import Connections
import Database
import Testing
import Wire

private struct Fault: Error {}

/// How errors are answered here.
private func render(_ error: StripeError) -> Answer {
    Answer(status: error.status, body: Array("error: \(error.message)".utf8))
}

extension Stage {
    /// Makes a customer under a key, as a request does, and then throws `error` where there is one.
    fileprivate func create(
        _ key: String,
        fingerprint: [UInt8] = [1],
        request: String = "req_1",
        in scope: Scope? = nil,
        throwing error: (any Error)? = nil
    ) async throws -> Answer {
        let changes = try Customer.Changes(Self.parameters("", Customer.names))
        let (world, ring, scope) = (world, ring, scope ?? self.scope)
        let use = Idempotency(
            key: key,
            fingerprint: fingerprint,
            request: request,
            in: scope,
            database,
            world,
            ring
        )
        return try await use.once(render: render) { db in
            let customer = try Customer.create(changes, by: Self.cause, in: scope, db, world)
            if let error { throw error }
            return Answer(body: Array(customer.id.utf8))
        }
    }
}

@Suite("An idempotency key")
struct IdempotencyTests {
    @Test("has one effect, and answers the same bytes again", arguments: Store.allCases)
    func replay(store: Store) async throws {
        let stage = try await Stage(store)
        let first = try await stage.create("k")
        #expect(first.original == nil && first.status == 200)
        stage.advance(seconds: 60)
        let second = try await stage.create("k", request: "req_2")
        #expect(second.body == first.body && second.status == 200 && second.original == "req_1")
        #expect(try await stage.customers().ids == [String(decoding: first.body, as: UTF8.self)])
        #expect(try await stage.create("k2").body != first.body)
    }

    @Test("has one effect where many requests come at once", arguments: Store.allCases)
    func atOnce(store: Store) async throws {
        let stage = try await Stage(store)
        let bodies = try await withThrowingTaskGroup(of: [UInt8].self) { group in
            for number in 0..<50 { group.addTask { try await stage.create("k", request: "req_\(number)").body } }
            return try await group.reduce(into: Set<[UInt8]>()) { $0.insert($1) }
        }
        #expect(bodies.count == 1)
        #expect(try await stage.customers().ids?.count == 1)
    }

    @Test("is for the parameters it was first used with", arguments: Store.allCases)
    func mismatch(store: Store) async throws {
        let stage = try await Stage(store)
        _ = try await stage.create("k")
        await #expect(
            throws: StripeError(
                type: .idempotencyError,
                message: "Keys for idempotent requests can only be used with the same parameters they were first used "
                    + "with. Try using a key other than 'k' if you meant to execute a different request."
            )
        ) { try await stage.create("k", fingerprint: [2]) }
        #expect(try await stage.customers().ids?.count == 1)
        #expect(try await stage.create("k").original == "req_1")
    }

    @Test("keeps the error that the work found, and nothing of the work", arguments: Store.allCases)
    func storedError(store: Store) async throws {
        let stage = try await Stage(store)
        let error = StripeError(status: 402, message: "no")
        let first = try await stage.create("k", throwing: error)
        #expect(first.status == 402 && first.body == Array("error: no".utf8))
        #expect(try await stage.customers().ids == [])
        #expect(try await stage.eventTypes() == [])
        let second = try await stage.create("k", request: "req_2")
        #expect(second.status == 402 && second.body == first.body && second.original == "req_1")
        #expect(try await stage.customers().ids == [])
    }

    @Test("is free again after a fault of the server", arguments: Store.allCases)
    func fault(store: Store) async throws {
        let stage = try await Stage(store)
        await #expect(throws: Fault.self) { try await stage.create("k", throwing: Fault()) }
        await #expect(throws: StripeError.internalFault) {
            try await stage.create("k", throwing: StripeError.internalFault)
        }
        #expect(try await stage.customers().ids == [])
        #expect(try await stage.create("k").original == nil)
        #expect(try await stage.customers().ids?.count == 1)
    }

    @Test("is another one for another merchant and in the other mode", arguments: Store.allCases)
    func scopes(store: Store) async throws {
        let stage = try await Stage(store)
        let live = Scope(merchant: stage.scope.merchant, livemode: true)
        let other = Scope(merchant: "acct_other", livemode: false)
        let bodies = [
            try await stage.create("k").body, try await stage.create("k", in: live).body,
            try await stage.create("k", in: other).body,
        ]
        #expect(Set(bodies).count == 3)
    }

    @Test("has its answer stored sealed: an answer may hold a secret")
    func sealed() async throws {
        let stage = try await Stage(.file)
        _ = try await stage.create("visible key canary", throwing: StripeError(message: "answer canary"))
        let files = try stage.files()
        #expect(files.firstRange(of: Array("visible key canary".utf8)) != nil)
        #expect(files.firstRange(of: Array("answer canary".utf8)) == nil)
    }

    @Test("is kept for a day, whether it was pruned yet or not", arguments: Store.allCases)
    func expiry(store: Store) async throws {
        let stage = try await Stage(store)
        let world = stage.world
        let first = try await stage.create("k")
        _ = try await stage.create("other")
        stage.advance(seconds: 24 * 3600 - 1)
        #expect(try await stage.database.write { try Idempotency.prune(in: $0, world) } == 0)
        #expect(try await stage.create("k", request: "req_2").original == "req_1")
        stage.advance(seconds: 1)
        let second = try await stage.create("k", fingerprint: [2], request: "req_3")
        #expect(second.original == nil && second.body != first.body)
        #expect(try await stage.create("k", fingerprint: [2]).original == "req_3")
        // The one that was used again is young; the other is not.
        #expect(try await stage.database.write { try Idempotency.prune(in: $0, world) } == 1)
        #expect(try await stage.create("k", fingerprint: [2]).original == "req_3")
    }
}
