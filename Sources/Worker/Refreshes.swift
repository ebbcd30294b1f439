/// Fetches what was asked to be refreshed, lets what is due happen, and drives test clocks.
///
/// It claims a refresh with a lease, asks the institution while no transaction is open, and writes what came of it
/// where the refresh is still its own. Transactions are written page by page, each page with the connector's cursor in
/// one write, so that a worker that dies is followed by one that goes on after the last page, and memory never holds
/// more than a page. It is woken by whoever makes work and otherwise looks once a second.

public import Connections
public import Database
internal import Foundation
public import Institutions
public import Logging
internal import Synchronization
public import Vault

public struct Refreshes: Sendable {
    /// The most refreshes under way at the same time.
    private static let capacity = 32
    /// How many transactions are written at once.
    private static let batch = 500
    /// How long an institution may take to answer one call, in seconds, and one about its consent, which comes last and
    /// can be done without: together less than the lease.
    private static let patience = 45
    private static let patienceAboutConsent = 10
    /// Pages without an end are the institution's mistake.
    private static let maximumPages = 1_000_000

    private let database: Database
    private let ring: KeyRing
    private let world: World
    private let directory: Directory
    private let isAlone: Bool
    private let logger: Logger
    private let underWay = UnderWay()

    /// - Parameter isAlone: whether no other server shares the database: what was under way when it was last left is
    ///   nobody's then.
    public init(
        database: Database,
        ring: KeyRing,
        world: World,
        directory: Directory,
        isAlone: Bool,
        logger: Logger
    ) {
        self.database = database
        self.ring = ring
        self.world = world
        self.directory = directory
        self.isAlone = isAlone
        self.logger = logger
    }

    /// Works until the task is cancelled.
    public func run() async {
        let wakes = database.wakes(.refreshes)
        if isAlone { await takeOver() }
        await withDiscardingTaskGroup { group in
            let bell = Bell()
            group.addTask { for await _ in wakes { bell.ring() } }
            group.addTask {
                while !Task.isCancelled {
                    try? await Task.sleep(for: .seconds(1))
                    bell.ring()
                }
            }
            for await _ in bell.rings {
                if Task.isCancelled { break }
                do {
                    try await begin(in: &group, bell)
                } catch DatabaseError.closed {
                    break
                } catch {
                    logger.error("refreshes cannot be claimed", metadata: ["error": "\(error)"])
                }
            }
            group.cancelAll()
        }
    }

    private func takeOver() async {
        do {
            try await database.write { [world] db in
                try Refresh.releaseAll(db, world)
                try TestClock.releaseAll(db)
            }
        } catch {
            // Each lease ends by itself.
            logger.warning("what was under way is taken up later", metadata: ["error": "\(error)"])
        }
    }

    /// Starts all that can be started now; each part rings the bell when it is over, since more may be possible then.
    private func begin(in group: inout DiscardingTaskGroup, _ bell: Bell) async throws {
        let world = world
        let now = world.wall()
        // Asked without a write first: most of the time nothing is due.
        let work = try await database.read { db in
            (
                scheduled: try Schedule.next(db).map { $0 <= now } ?? false,
                refreshes: try Refresh.isDue(db, world),
                clocks: try TestClock.isDue(db, world)
            )
        }
        if work.scheduled {
            while try await database.write({ db in try Schedule.runDue(db, world) }) > 0 {}
        }
        if work.clocks {
            while let drive = try await database.write({ db in try TestClock.claim(db, world) }) {
                group.addTask {
                    await self.advance(drive)
                    bell.ring()
                }
            }
        }
        let free = Self.capacity - underWay.count
        guard work.refreshes || work.scheduled, free > 0 else { return }
        let limits = limits
        let claims = try await database.write { db in try Refresh.claim(limit: free, limits, db, world) }
        for claim in claims {
            underWay.began(claim)
            group.addTask {
                await self.perform(claim)
                self.underWay.ended(claim)
                bell.ring()
            }
        }
        // Behind many that were put off there may be others.
        if claims.count < free, try await database.read({ db in try Refresh.isDue(db, world) }) { bell.ring() }
    }

    /// What an institution takes beside what is under way there.
    private var limits: @Sendable (_ institution: String, _ livemode: Bool) -> Refresh.Limits {
        let counts = underWay.counts
        return { [directory] institution, livemode in
            guard let policy = directory.find(institution, livemode: livemode)?.connector.policy else {
                return Refresh.Limits(free: 1, dailyBudget: nil)
            }
            let free = policy.concurrency - counts[institution, default: 0]
            return Refresh.Limits(free: free, dailyBudget: policy.isMetered ? nil : policy.dailyBudget)
        }
    }

    // MARK: Clocks

    private func advance(_ drive: TestClock.Drive) async {
        let world = world
        var faults = 0
        var pause = Duration.milliseconds(10)
        while !Task.isCancelled {
            do {
                let limits = limits
                switch try await database.write({ db in try TestClock.step(drive, limits, db, world) }) {
                case .refresh(let claim):
                    underWay.began(claim)
                    await perform(claim)
                    underWay.ended(claim)
                    pause = .milliseconds(10)
                case .more: break
                case .wait:
                    try await Task.sleep(for: pause)
                    pause = min(pause * 2, .seconds(1))
                case .done: return
                }
                faults = 0
            } catch is CancellationError {
                return
            } catch DatabaseError.closed {
                return
            } catch {
                faults += 1
                logger.error("a test clock cannot go on", metadata: ["clock": "\(drive.id)", "error": "\(error)"])
                if faults == 3 {
                    _ = try? await database.write { db in try TestClock.fail(drive, db, world) }
                    return
                }
                try? await Task.sleep(for: .milliseconds(100))
            }
        }
    }

    // MARK: One refresh

    /// The connector cannot fetch this kind of data at all: to ask again would be in vain.
    private struct NotOffered: Error {}

    /// Asks the institution and writes what came of it. A refresh that is broken off because the server stops is handed
    /// to the next; a fault of the server leaves it to the end of its lease.
    private func perform(_ claim: Refresh.Claim) async {
        do {
            do {
                try await fetch(claim)
            } catch  where Task.isCancelled {
                try await database.write { [world] db in
                    if try claim.holds(db, world) { try claim.handOn(db, world) }
                }
            } catch let error as ConnectorError {
                try await settle(claim, error)
            } catch is NotOffered {
                try await database.write { [world] db in
                    if try claim.holds(db, world) { try claim.fail(next: nil, db, world) }
                }
            }
        } catch DatabaseError.closed {
            // The server has stopped.
        } catch {
            logger.error(
                "a refresh failed",
                metadata: ["account": "\(claim.account)", "feature": "\(claim.feature)", "error": "\(error)"]
            )
        }
    }

    private func fetch(_ claim: Refresh.Claim) async throws {
        guard claim.retries <= Refresh.maximumRetries else { throw ConnectorError.invalidResponse }
        guard let (institution, connector) = directory.find(claim.institution, livemode: claim.scope.livemode),
            let category = BankAccount.Category(rawValue: claim.category),
            let subcategory = BankAccount.Subcategory(rawValue: claim.subcategory)
        else { throw ConnectorError.unsupported }
        let credential = try ring.open(claim.credential, for: .bankCredential, owner: claim.authorization)
        let access = Access(
            institution: institution,
            holder: claim.holder,
            now: claim.now,
            credential: credential,
            fabrication: connector.isTest ? claim.made.map { fabrication($0, claim) } : nil,
            refreshNumber: claim.number,
            upload: try await upload(claim),
            spend: { () async throws(ConnectorError) in try await spend(connector.policy, claim) },
            known: { beginning, last async throws(ConnectorError) in try await known(beginning, last, claim) },
            renew: renewer(of: credential, claim).callAsFunction
        )
        let account = BankAccount.Reference(
            id: claim.institutionAccount,
            category: category,
            subcategory: subcategory
        )
        switch claim.feature {
        case .balance:
            guard let connector = connector as? any BalanceProviding else { throw NotOffered() }
            let balance = try await asking { () async throws(ConnectorError) in
                try await connector.balance(of: account, access)
            }
            let isOfFile = access.upload != nil
            try await finish(claim, connector, access) { db, next, world in
                try claim.succeed(Account.Balance(balance), isOfFile: isOfFile, next: next, db, world)
            }
        case .ownership:
            guard let connector = connector as? any OwnershipProviding else { throw NotOffered() }
            let owners = try await asking { () async throws(ConnectorError) in
                try await connector.owners(of: account, access)
            }
            try await finish(claim, connector, access) { db, next, world in
                try claim.succeed(owners.map(Connections.Owner.init), next: next, db, world)
            }
        case .transactions:
            guard let connector = connector as? any TransactionProviding else { throw NotOffered() }
            try await fetchTransactions(of: account, claim, connector, access)
        }
    }

    private func renewer(of credential: [UInt8], _ claim: Refresh.Claim) -> Renewer {
        Renewer { [database, world, ring] in
            let turn = try await database.write { db in
                try Authorization.beginRenewal(
                    of: claim.authorization,
                    known: credential,
                    in: claim.scope,
                    db,
                    world,
                    ring
                )
            }
            return Renewer.Turn(turn)
        } end: { [database, ring] fence, renewed in
            try await database.write { db in
                try Authorization.endRenewal(
                    of: claim.authorization,
                    fence: fence,
                    renewed: renewed,
                    in: claim.scope,
                    db,
                    ring
                )
            }
        }
    }

    /// The newest file that the person gave for what the claim is about.
    private func upload(_ claim: Refresh.Claim) async throws -> Upload? {
        let file = try await database.read { db in
            try UploadedFile.newest(ofAuthorization: claim.authorization, in: claim.scope, db)
        }
        return file.map { file in
            Upload(size: file.size) { [database, ring] offset throws(ConnectorError) in
                do {
                    return try await file.bytes(from: offset, database, ring)
                } catch {
                    throw .institutionUnavailable(until: nil)
                }
            }
        }
    }

    /// Names of the account's transactions that begin so.
    private func known(
        _ beginning: String,
        _ last: String?,
        _ claim: Refresh.Claim
    ) async throws(ConnectorError) -> [String] {
        do {
            return try await database.read { db in
                try Transaction.names(beginning: beginning, upTo: last, ofAccount: claim.account, in: claim.scope, db)
            }
        } catch {
            throw .institutionUnavailable(until: nil)
        }
    }

    /// Takes a request out of the day's budget.
    private func spend(_ policy: RefreshPolicy, _ claim: Refresh.Claim) async throws(ConnectorError) {
        guard policy.isMetered, let budget = policy.dailyBudget else { return }
        let wait: Int64?
        do {
            wait = try await database.write { [world] db in try claim.spend(ofBudget: budget, db, world) }
        } catch {
            throw .institutionUnavailable(until: nil)
        }
        if let wait { throw .rateLimited(until: claim.now + wait) }
    }

    /// Page by page: what is not the last part of the last page is a write of its own.
    private func fetchTransactions(
        of account: BankAccount.Reference,
        _ claim: Refresh.Claim,
        _ connector: any TransactionProviding,
        _ access: Access
    ) async throws {
        let world = world
        let isMetered = connector.policy.isMetered
        var cursor = claim.cursor
        for _ in 0..<Self.maximumPages {
            let page = try await asking { [cursor] () async throws(ConnectorError) in
                try await connector.transactions(of: account, after: cursor, access)
            }
            var entries = page.transactions.filter(\.isNamed).map(Transaction.Entry.init)[...]
            let omitted = page.unreadable + page.transactions.count - entries.count
            if omitted > 0 {
                logger.warning(
                    "transactions cannot be read and are left out",
                    metadata: ["account": "\(claim.account)", "count": "\(omitted)"]
                )
            }
            while entries.count > Self.batch {
                let part = Array(entries.prefix(Self.batch))
                entries = entries.dropFirst(Self.batch)
                let isOurs = try await database.write { db in
                    guard try claim.holds(db, world) else { return false }
                    try claim.ingest(part, cursor: nil, db, world)
                    return true
                }
                guard isOurs else { return }
            }
            let rest = Array(entries)
            guard page.hasMore else {
                return try await finishTransactions(rest, page, claim, connector, access)
            }
            let isOurs = try await database.write { db in
                guard try claim.holds(db, world) else { return false }
                try Self.take(rest, page, claim, cursor: page.cursor, db, world)
                // A metered connector counts what it asks; a page may be of an answer that it had.
                if !isMetered { try claim.countCall(db, world) }
                return true
            }
            guard isOurs else { return }
            cursor = page.cursor
        }
        throw ConnectorError.invalidResponse
    }

    private func finishTransactions(
        _ rest: [Transaction.Entry],
        _ page: TransactionPage,
        _ claim: Refresh.Claim,
        _ connector: any TransactionProviding,
        _ access: Access
    ) async throws {
        let world = world
        // Where much has vanished, it becomes void in writes of their own.
        if let window = page.completeWindow {
            let isOurs = try await database.write { db in
                guard try claim.holds(db, world) else { return false }
                try Self.take(rest, page, claim, cursor: nil, db, world)
                return true
            }
            guard isOurs else { return }
            while try await database.write({ db in
                guard try claim.holds(db, world) else { return false }
                return try claim.voidUnseen(in: window, db, world)
            }) {}
        }
        try await finish(claim, connector, access) { db, next, world in
            try Self.take(rest, page, claim, cursor: page.cursor, db, world)
            try claim.succeed(next: next, db, world)
        }
    }

    /// Writes the end of a page.
    private static func take(
        _ rest: [Transaction.Entry],
        _ page: TransactionPage,
        _ claim: Refresh.Claim,
        cursor: [UInt8]?,
        _ db: Connection,
        _ world: World
    ) throws {
        let retractions = page.retractions.filter(\.isNamed).map(Transaction.Retraction.init)
        try claim.ingest(rest, removed: page.removed, retractions: retractions, cursor: cursor, db, world)
    }

    /// Writes a success where the refresh is still ours, and when the consent ends where the institution tells.
    private func finish(
        _ claim: Refresh.Claim,
        _ connector: any Connector,
        _ access: Access,
        _ write: @escaping @Sendable (Connection, _ next: Int64, World) throws -> Void
    ) async throws {
        var expiry: Int64??
        if let connector = connector as? any ConsentKeeping, claim.made?.endsLink != true {
            // That the bank does not tell takes nothing away from what it has told.
            expiry = try? await asking(for: Self.patienceAboutConsent) { () async throws(ConnectorError) in
                try await connector.consentExpiry(access)
            }
        }
        let next = claim.lastAttempted + connector.policy.interval
        let isMetered = connector.policy.isMetered
        try await database.write { [world, expiry] db in
            guard try claim.holds(db, world) else { return }
            try write(db, next, world)
            guard let expiry else { return }
            if !isMetered { try claim.countCall(db, world) }
            try claim.note(consentExpiry: expiry, db, world)
        }
    }

    // MARK: What went wrong

    private func settle(_ claim: Refresh.Claim, _ error: ConnectorError) async throws {
        let interval = directory.find(claim.institution, livemode: claim.scope.livemode)?.connector.policy.interval
        let next = claim.lastAttempted + (interval ?? 0)
        logger.info(
            "a refresh came to nothing",
            metadata: ["account": "\(claim.account)", "feature": "\(claim.feature)", "reason": "\(error)"]
        )
        try await database.write { [world] db in
            guard try claim.holds(db, world) else { return }
            switch error {
            case .relinkRequired: try claim.endLink(.accessExpired, ofAll: true, db, world)
            case .accountRelinkRequired: try claim.endLink(.accessExpired, ofAll: false, db, world)
            case .accountClosed: try claim.endLink(.accountClosed, ofAll: false, db, world)
            case .institutionUnavailable(let until), .rateLimited(let until):
                try Self.putOff(claim, until: until, next: next, db, world)
            case .superseded, .untrusted: try Self.putOff(claim, until: nil, next: next, db, world)
            // One answer that fits nothing is no promise of the next.
            case .authorizationFailed, .cancelled, .invalidResponse, .misconfigured, .unsupported:
                try claim.fail(next: next, db, world)
            }
        }
    }

    /// Tries again after a while: at the time that the institution named, or each time later than before. What would
    /// take longer than a person waits fails, and can be asked for when the institution is back.
    private static func putOff(
        _ claim: Refresh.Claim,
        until: Int64?,
        next: Int64,
        _ db: Connection,
        _ world: World
    ) throws {
        let wait = until.map { max(1, $0 - claim.now) } ?? 5 << (2 * (claim.retries - 1))
        if claim.retries >= Refresh.maximumRetries || wait > 3600 {
            try claim.fail(next: max(next, until ?? next), db, world)
        } else {
            try claim.putOff(seconds: wait, db, world)
        }
    }

    /// Asks an institution, and waits for so long.
    private func asking<T: Sendable>(
        for patience: Int = Self.patience,
        _ ask: @escaping @Sendable () async throws(ConnectorError) -> T
    ) async throws -> T {
        try await withThrowingTaskGroup(of: T.self) { group in
            group.addTask { try await ask() }
            group.addTask {
                try await Task.sleep(for: .seconds(patience))
                throw ConnectorError.institutionUnavailable(until: nil)
            }
            defer { group.cancelAll() }
            guard let answer = try await group.next() else { throw ConnectorError.invalidResponse }
            return answer
        }
    }

    // MARK: Test institutions

    private func fabrication(_ made: TestBankAccount, _ claim: Refresh.Claim) -> Fabrication {
        Fabrication(
            balance: made.balance.map(Balance.init),
            owners: made.owners.map { $0.map(Institutions.Owner.init) },
            isDeactivated: made.isDeactivated(at: claim.now),
            fails: made.fails(claim.feature)
        ) { [database] after, limit throws(ConnectorError) in
            guard made.hasTransactions else { return [] }
            do {
                return try await database.lookup { db in
                    try TestBankAccount.transactions(
                        of: claim.account,
                        after: after,
                        limit: limit,
                        in: claim.scope,
                        db
                    ).map { Fabrication.Change(number: $0.number, transaction: BankTransaction($0.entry)) }
                }
            } catch {
                throw .institutionUnavailable(until: nil)
            }
        }
    }
}

/// How many refreshes are under way, by institution.
private final class UnderWay: Sendable {
    private let state = Mutex<[String: Int]>([:])

    var counts: [String: Int] { state.withLock { $0 } }
    var count: Int { counts.values.reduce(0, +) }

    func began(_ claim: Refresh.Claim) {
        state.withLock { $0[claim.institution, default: 0] += 1 }
    }

    func ended(_ claim: Refresh.Claim) {
        state.withLock { state in
            state[claim.institution, default: 1] -= 1
            if state[claim.institution] == 0 { state[claim.institution] = nil }
        }
    }
}
