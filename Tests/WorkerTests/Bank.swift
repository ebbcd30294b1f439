/// A bank that does what a test says: a connector made of closures, and the stage that a worker works on.

import Connections
import Database
import Foundation
import Institutions
import Logging
import Synchronization
import Testing
import Vault
import Wire
import Worker

/// Answers what it was given, and counts what it was asked.
final class Bank: BalanceProviding, OwnershipProviding, TransactionProviding {
    typealias Answer<T> = @Sendable (Access) async throws(ConnectorError) -> T

    static let institution = Institution(
        id: "fcinst_00000000000001",
        name: "Bank",
        domain: "bank.example",
        featured: true,
        countries: ["US"]
    )

    let isTest: Bool
    let policy: RefreshPolicy
    var institutions: [Institution] { [Self.institution] }
    private let balances: Answer<Balance>
    private let pages: @Sendable ([UInt8]?, Access) async throws(ConnectorError) -> TransactionPage
    private let asked = Mutex<[Int64]>([])
    private let atOnce = Mutex((now: 0, most: 0))

    init(
        isTest: Bool = true,
        policy: RefreshPolicy = .init(interval: 60, concurrency: 8, dailyBudget: nil),
        balances: @escaping Answer<Balance> = { access throws(ConnectorError) in
            Balance(asOf: access.now, current: ["usd": 100], kind: .cash(available: nil))
        },
        pages: @escaping @Sendable ([UInt8]?, Access) async throws(ConnectorError) -> TransactionPage = {
            _,
            _ throws(ConnectorError) in TransactionPage(transactions: [], cursor: [], hasMore: false)
        }
    ) {
        self.isTest = isTest
        self.policy = policy
        self.balances = balances
        self.pages = pages
    }

    /// How often it was asked for anything.
    var calls: Int { asked.withLock { $0.count } }
    /// When it was asked, by the clock of the workers.
    var moments: [Int64] { asked.withLock { $0 } }
    /// How many calls there were at the same time, at most.
    var mostAtOnce: Int { atOnce.withLock { $0.most } }

    private func counted<T>(
        _ access: Access,
        _ answer: () async throws(ConnectorError) -> T
    ) async throws(ConnectorError) -> T {
        asked.withLock { $0.append(access.now) }
        atOnce.withLock { $0 = ($0.now + 1, max($0.most, $0.now + 1)) }
        defer { atOnce.withLock { $0.now -= 1 } }
        return try await answer()
    }

    func begin(_ attempt: Attempt) async throws(ConnectorError) -> Step { throw .unsupported }

    func resume(
        _ attempt: Attempt,
        from resume: [UInt8],
        _ response: Institutions.Response
    ) async throws(ConnectorError) -> Step { throw .unsupported }

    func accounts(_ access: Access) async throws(ConnectorError) -> [BankAccount] { [] }

    func balance(of account: BankAccount.Reference, _ access: Access) async throws(ConnectorError) -> Balance {
        try await counted(access) { () async throws(ConnectorError) in try await balances(access) }
    }

    func owners(
        of account: BankAccount.Reference,
        _ access: Access
    ) async throws(ConnectorError) -> [Institutions.Owner] {
        try await counted(access) { () async throws(ConnectorError) in
            [.init(name: "Ada", email: nil, phone: nil, address: nil)]
        }
    }

    func transactions(
        of account: BankAccount.Reference,
        after cursor: [UInt8]?,
        _ access: Access
    ) async throws(ConnectorError) -> TransactionPage {
        try await counted(access) { () async throws(ConnectorError) in try await pages(cursor, access) }
    }
}

/// A bank that tells nothing but its accounts.
struct SilentBank: Connector {
    let isTest = true
    let policy = RefreshPolicy(interval: 1, concurrency: 1, dailyBudget: nil)
    var institutions: [Institution] { [Bank.institution] }

    func begin(_ attempt: Attempt) async throws(ConnectorError) -> Step { throw .unsupported }

    func resume(
        _ attempt: Attempt,
        from resume: [UInt8],
        _ response: Institutions.Response
    ) async throws(ConnectorError) -> Step { throw .unsupported }

    func accounts(_ access: Access) async throws(ConnectorError) -> [BankAccount] { [] }
}

/// What the workers are tested on.
enum Store: Sendable, CaseIterable {
    case file, postgres

    static var allCases: [Store] { PostgresSchema.isAvailable ? [.file, .postgres] : [.file] }
}

/// A database with one customer, and as many workers as a test wants.
final class Works: Sendable {
    let database: Database
    let world: World
    let ring: KeyRing
    let scope: Scope
    private let folder: URL
    private let session: Session

    init(_ store: Store, livemode: Bool = false) async throws {
        folder = FileManager.default.temporaryDirectory.appending(path: "linkspan-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let location: Database.Location =
            switch store {
            case .file: .file(folder.appending(path: "test.db").path)
            case .postgres: .postgres(try await PostgresSchema.make())
            }
        database = try Database(location, migrations: Migrations.all, logger: quiet)
        let time = TimeSource()
        self.time = time
        let world = World(milliseconds: { time.milliseconds.load(ordering: .relaxed) })
        self.world = world
        let ring = try KeyRing(text: "7:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=")
        self.ring = ring
        let merchant = try await database.write { db in try Merchant.platform(named: "Shop", in: db, world) }
        let scope = Scope(merchant: merchant.id, livemode: livemode)
        self.scope = scope
        let form = """
            account_holder[type]=account&account_holder[account]=\(merchant.id)&permissions[]=balances\
            &permissions[]=ownership&permissions[]=transactions
            """
        let parameters = try Parameters(Form.decode(Array(form.utf8)), allowing: Session.names(.standard))
        let request = try Session.Request(parameters, .standard)
        let draft = try Session.Draft(request, lifetime: 3600, in: scope, world, ring)
        try await database.write { db in try Session.create(draft, db) }
        session = draft.session
    }

    private let time: TimeSource

    private final class TimeSource: Sendable {
        let milliseconds = Atomic<Int64>(1_790_000_000_000)
    }

    deinit {
        try? FileManager.default.removeItem(at: folder)
    }

    func advance(seconds: Int64) {
        time.milliseconds.add(seconds * 1000, ordering: .relaxed)
    }

    /// Links accounts of one sign-in.
    func link(_ names: [String], credential: String = "credential") async throws -> [String] {
        let details = names.map { name in
            Account.Details(
                institutionAccount: name,
                displayName: name,
                last4: nil,
                category: "cash",
                subcategory: "checking",
                supportsPayments: false,
                numbers: nil,
                expectedDeactivation: nil,
                closesAfterLinking: false
            )
        }
        let ids = try await database.write { [session, world, ring] db in
            try Account.link(
                details,
                at: (id: Bank.institution.id, name: "Bank"),
                credential: Array(credential.utf8),
                to: session,
                by: .none,
                db,
                world,
                ring
            )
        }
        return names.compactMap { ids[$0] }
    }

    func refresh(_ id: String, _ features: String...) async throws {
        let form = features.map { "features[]=\($0)" }.joined(separator: "&")
        let parameters = try Parameters(Form.decode(Array(form.utf8)), allowing: Account.RefreshRequest.names)
        let request = try Account.RefreshRequest(parameters, of: Refresh.Feature.allCases)
        try await database.write { [world, scope] db in
            _ = try Account.refresh(id, request, early: .refuse, in: scope, db, world)
        }
    }

    /// What changing keys does to the credentials of authorizations.
    func resealCredentials() async {
        _ = try? await database.write { [ring] db in
            let all = try db.all("SELECT id, credential FROM authorization_at_institution") { row in
                (id: try row.text(0), sealed: try row.bytes(1))
            }
            for (id, sealed) in all {
                let credential = try ring.open(sealed, for: .bankCredential, owner: id)
                try db.execute(
                    """
                    UPDATE authorization_at_institution
                    SET credential = \(try ring.seal(credential, for: .bankCredential, owner: id)) WHERE id = \(id)
                    """
                )
            }
        }
    }

    func disconnect(_ id: String) async throws {
        try await database.write { [world, scope] db in
            _ = try Account.disconnect(id, by: .none, in: scope, db, world)
        }
    }

    func worker(_ connector: any Connector) -> Refreshes {
        Refreshes(
            database: database,
            ring: ring,
            world: world,
            directory: Directory([connector]),
            isAlone: true,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        )
    }

    /// Lets a worker work until a condition is met.
    func working(
        _ connector: any Connector,
        until isDone: @escaping @Sendable () async throws -> Bool
    ) async throws {
        let worker = worker(connector)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await worker.run() }
            group.addTask {
                let deadline = ContinuousClock.now + .seconds(20)
                while try await !isDone() {
                    try #require(ContinuousClock.now < deadline, "it did not happen")
                    try await Task.sleep(for: .milliseconds(5))
                }
            }
            defer { group.cancelAll() }
            // The worker ends by being stopped alone.
            try await group.next()
        }
    }

    /// An account's JSON, as text without white space between its members.
    func account(_ id: String) async throws -> String {
        let bytes = try await database.read { [scope] db in
            var json = JSONWriter()
            try Account.write(id, at: .path(param: "account"), expanding: .none, in: scope, db, to: &json)
            return json.bytes
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    func status(_ id: String, _ member: String) async throws -> String? {
        struct Shape: Decodable {
            struct Refresh: Decodable { let status: String }
            let balance_refresh: Refresh?
            let ownership_refresh: Refresh?
            let transaction_refresh: Refresh?
            let status: String
        }
        let shape = try JSONDecoder().decode(Shape.self, from: Data(await account(id).utf8))
        return switch member {
        case "balance": shape.balance_refresh?.status
        case "ownership": shape.ownership_refresh?.status
        case "transactions": shape.transaction_refresh?.status
        default: shape.status
        }
    }

    /// When the refresh of the account is tried again.
    func runsAt(_ id: String) async throws -> Int64? {
        try await database.read { db in
            try db.first("SELECT claim_at FROM refresh WHERE account = \(id)") { $0.optionalInt(0) } ?? nil
        }
    }

    /// How many transactions there are, in all and void.
    func transactions(_ id: String) async throws -> (all: Int64, void: Int64) {
        try await database.read { db in
            let all = try db.first("SELECT COUNT(*) FROM bank_transaction WHERE account = \(id)") { try $0.int(0) }
            let void = try db.first(
                "SELECT COUNT(*) FROM bank_transaction WHERE account = \(id) AND status = 'void'"
            ) { try $0.int(0) }
            return (all ?? 0, void ?? 0)
        }
    }

    func events() async throws -> [String] {
        try await database.read { db in
            try db.all("SELECT type FROM event ORDER BY id") { try $0.text(0) }
        }
    }
}
