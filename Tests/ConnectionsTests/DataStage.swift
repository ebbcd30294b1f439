/// The stage's part in data: an account with every permission, and a worker's hands.

import Connections
import Database
import Testing
import Wire

extension Stage {
    static let everything = "permissions[]=balances&permissions[]=ownership&permissions[]=transactions"

    /// One linked account with every permission.
    func linkedAccount(
        _ customer: String? = nil,
        _ more: String = Stage.everything,
        details: Account.Details = Stage.details("1")
    ) async throws -> String {
        let holder: String = if let customer { customer } else { try await createCustomer() }
        let (session, _) = try await createSession(holder, more)
        return try await link([details], to: session)[0]
    }

    @discardableResult
    func refresh(_ id: String, _ features: String..., early: Account.EarlyRefresh = .refuse) async throws -> Node {
        let form = features.map { "features[]=\($0)" }.joined(separator: "&")
        let request = try Account.RefreshRequest(
            Self.parameters(form, Account.RefreshRequest.names),
            of: Refresh.Feature.allCases
        )
        return try await write { [world, scope] db, json in
            try Account.refresh(id, request, early: early, in: scope, db, world).write(to: &json, db)
        }
    }

    @discardableResult
    func subscribe(_ id: String) async throws -> Node {
        let request = try Account.RefreshRequest(
            Self.parameters("features[]=transactions", Account.RefreshRequest.names),
            of: [.transactions]
        )
        return try await write { [world, scope] db, json in
            try Account.subscribe(id, request, in: scope, db, world).write(to: &json, db)
        }
    }

    @discardableResult
    func unsubscribe(_ id: String) async throws -> Node {
        try await write { [scope] db, json in
            try Account.unsubscribe(id, in: scope, db).write(to: &json, db)
        }
    }

    func claim(free: Int = 100, budget: Int? = nil) async throws -> [Refresh.Claim] {
        try await database.write { [world] db in
            try Refresh.claim(limit: 100, { _, _ in .init(free: free, dailyBudget: budget) }, db, world)
        }
    }

    /// Writes where the claim holds.
    @discardableResult
    func finish(
        _ claim: Refresh.Claim,
        _ body: @escaping @Sendable (Refresh.Claim, Connection, World) throws -> Void
    ) async throws -> Bool {
        try await database.write { [world] db in
            guard try claim.holds(db, world) else { return false }
            try body(claim, db, world)
            return true
        }
    }

    /// Does what is pending: balances and owners that say nothing, and these transactions.
    @discardableResult
    func serve(
        _ entries: [Transaction.Entry] = [],
        removed: [String] = [],
        retractions: [Transaction.Retraction] = [],
        window: Range<Int64>? = nil
    ) async throws -> Int {
        let claims = try await claim()
        for claim in claims {
            try await finish(claim) { claim, db, world in
                let next = claim.lastAttempted + 1
                switch claim.feature {
                case .balance:
                    let balance = Account.Balance(asOf: claim.now, current: ["usd": 1], isCredit: false, amounts: nil)
                    try claim.succeed(balance, next: next, db, world)
                case .ownership: try claim.succeed([], next: next, db, world)
                case .transactions:
                    try claim.ingest(entries, removed: removed, retractions: retractions, cursor: [1], db, world)
                    if let window { while try claim.voidUnseen(in: window, db, world) {} }
                    try claim.succeed(next: next, db, world)
                }
            }
        }
        return claims.count
    }

    func transactions(_ account: String, _ more: String = "") async throws -> Node {
        let query = try Transaction.Query(Self.parameters("account=\(account)&\(more)", Transaction.Query.names))
        return try await read { [scope] db, json in
            try Transaction.writeList(query, in: scope, db, to: &json)
        }
    }

    /// Does what is due by the clock outside, until nothing is.
    func runSchedule() async throws {
        while try await database.write({ [world] db in try Schedule.runDue(db, world) }) > 0 {}
    }

    static func entry(
        _ name: String,
        _ amount: Int64 = -100,
        _ status: Transaction.Status = .posted,
        at moment: Int64 = Stage.start,
        replaces: String? = nil,
        corrects: [String] = []
    ) -> Transaction.Entry {
        Transaction.Entry(
            institutionID: name,
            replaces: replaces,
            corrects: corrects,
            amount: amount,
            currency: "usd",
            description: "Transaction \(name)",
            status: status,
            transactedAt: moment,
            settledAt: nil
        )
    }
}
