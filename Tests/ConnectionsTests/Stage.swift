/// The stage of a test: a database of its own, a clock that stands still until it is moved, and chance that repeats.
/// Everything is asked as a request asks it, from a form to JSON.

import Connections
import Database
import Foundation
import Logging
import Synchronization
import Testing
import Vault
import Wire

/// What a test runs on: every statement of `Connections`, with the same expectations.
enum Store: Sendable, CaseIterable {
    case memory, file, postgres

    static var allCases: [Store] { PostgresSchema.isAvailable ? [.memory, .file, .postgres] : [.memory, .file] }
}

final class Stage: Sendable {
    static let start: Int64 = 1_790_000_000

    let database: Database
    let world: World
    let ring: KeyRing
    let merchant: Merchant
    let scope: Scope
    private let clock: Clock
    private let folder: URL?

    private final class Clock: Sendable {
        let milliseconds = Atomic<Int64>(Stage.start * 1000)
    }

    init(_ store: Store, seed: UInt64 = 1) async throws {
        let clock = Clock()
        self.clock = clock
        world = World(milliseconds: { clock.milliseconds.load(ordering: .relaxed) }, random: Seeded(seed))
        ring = try KeyRing(text: "7:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=")
        let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        switch store {
        case .memory:
            folder = nil
            database = try Database(.memory, migrations: Migrations.all, logger: quiet)
        case .file:
            let url = FileManager.default.temporaryDirectory.appending(path: "linkspan-\(UUID().uuidString)")
            try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
            folder = url
            let path = url.appending(path: "test.db").path
            database = try Database(.file(path), migrations: Migrations.all, logger: quiet)
        case .postgres:
            folder = nil
            let postgres = try await PostgresSchema.make()
            database = try Database(.postgres(postgres), migrations: Migrations.all, logger: quiet)
        }
        merchant = try await database.write { [world] db in try Merchant.platform(named: "Shop", in: db, world) }
        scope = Scope(merchant: merchant.id, livemode: false)
    }

    deinit {
        if let folder { try? FileManager.default.removeItem(at: folder) }
    }

    func advance(seconds: Int64) {
        clock.milliseconds.add(seconds * 1000, ordering: .relaxed)
    }

    /// The bytes of the database's files, its write-ahead log among them.
    func files() throws -> [UInt8] {
        guard let folder else { return [] }
        return try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
            .flatMap { [UInt8](try Data(contentsOf: $0)) }
    }

    // MARK: Requests

    static let cause = Cause(requestID: "req_1", idempotencyKey: "key_1")

    static func parameters(_ form: String, _ names: [String: Parameters.Names]) throws -> Parameters {
        try Parameters(Form.decode(Array(form.utf8)), allowing: names)
    }

    /// Runs a write and reads what it wrote as JSON.
    func write(_ body: @escaping @Sendable (Connection, inout JSONWriter) throws -> Void) async throws -> Node {
        try Node(
            await database.write { db in
                var json = JSONWriter()
                try body(db, &json)
                return json.finish()
            }
        )
    }

    func read(_ body: @escaping @Sendable (Connection, inout JSONWriter) throws -> Void) async throws -> Node {
        try Node(
            await database.read { db in
                var json = JSONWriter()
                try body(db, &json)
                return json.finish()
            }
        )
    }

    // MARK: Customers

    @discardableResult
    func createCustomer(_ form: String = "", in scope: Scope? = nil) async throws -> String {
        let changes = try Customer.Changes(Self.parameters(form, Customer.namesOfNew))
        let scope = scope ?? self.scope
        return try await database.write { [world] db in
            try Customer.create(changes, by: Self.cause, in: scope, db, world).id
        }
    }

    @discardableResult
    func updateCustomer(_ id: String, _ form: String, in scope: Scope? = nil) async throws -> Node {
        let changes = try Customer.Changes(Self.parameters(form, Customer.names))
        let scope = scope ?? self.scope
        return try await write { [world] db, json in
            try Customer.update(id, changes, by: Self.cause, in: scope, db, world).write(to: &json)
        }
    }

    @discardableResult
    func deleteCustomer(_ id: String, in scope: Scope? = nil) async throws -> Node {
        let scope = scope ?? self.scope
        return try await write { [world] db, json in
            try Customer.delete(id, by: Self.cause, in: scope, db, world).write(to: &json)
        }
    }

    func customer(_ id: String, in scope: Scope? = nil) async throws -> Node {
        try await read { db, json in
            try Customer.find(id, at: .path(param: "id"), in: scope ?? self.scope, db).write(to: &json)
        }
    }

    func customers(_ form: String = "", in scope: Scope? = nil) async throws -> Node {
        let query = try Customer.Query(Self.parameters(form, Customer.Query.names))
        return try await read { db, json in
            try Customer.writeList(query, in: scope ?? self.scope, db, to: &json)
        }
    }

    // MARK: Sessions and accounts

    static let lifetime: Int64 = 3600

    /// A new Session for a customer, with the rest of its form.
    func createSession(
        _ customer: String,
        _ more: String = "",
        _ version: APIVersion = .standard,
        in scope: Scope? = nil
    ) async throws -> (session: Session, secret: String) {
        let form =
            "account_holder[type]=customer&account_holder[customer]=\(customer)&permissions[]=payment_method&\(more)"
        return try await createSession(form: form, version, in: scope)
    }

    func createSession(
        form: String,
        _ version: APIVersion = .standard,
        in scope: Scope? = nil
    ) async throws -> (session: Session, secret: String) {
        let request = try Session.Request(Self.parameters(form, Session.names(version)), version)
        let scope = scope ?? self.scope
        let draft = try Session.Draft(request, lifetime: Self.lifetime, in: scope, world, ring)
        try await database.write { db in try Session.create(draft, db) }
        return (draft.session, draft.secret)
    }

    func json(_ session: Session, _ version: APIVersion = .standard, expanding paths: String = "") async throws -> Node
    {
        let expansion = try Expansion(Form.decode(Array(paths.utf8)), of: Session.shape)
        return try await read { [ring] db, json in
            let found = try Session.find(session.id, at: .path(param: "session"), in: session.scope, db)
            try found.write(to: &json, for: .server(version), expanding: expansion, db, ring)
        }
    }

    /// What a bank says of an account.
    static func details(
        _ name: String,
        payments: Bool = true,
        subcategory: String = "checking",
        numbers: [Account.Number] = [],
        until expectedDeactivation: Int64? = nil,
        closesAfterLinking: Bool = false
    ) -> Account.Details {
        Account.Details(
            institutionAccount: name,
            displayName: "Account \(name)",
            last4: "6789",
            category: subcategory == "credit_card" ? "credit" : "cash",
            subcategory: subcategory,
            supportsPayments: payments,
            numbers: Account.Number.json(numbers),
            expectedDeactivation: expectedDeactivation,
            closesAfterLinking: closesAfterLinking
        )
    }

    /// - Returns: the ids, in the order picked.
    @discardableResult
    func link(
        _ picked: [Account.Details],
        to session: Session,
        at institution: String = "fcinst_1",
        credential: String = "credential",
        from signIn: SignIn? = nil
    ) async throws -> [String] {
        let ids = try await database.write { [world, ring] db in
            try Account.link(
                picked,
                at: (id: institution, name: "Bank"),
                credential: Array(credential.utf8),
                from: signIn,
                to: session,
                by: Self.cause,
                db,
                world,
                ring
            )
        }
        return picked.compactMap { ids[$0.institutionAccount] }
    }

    @discardableResult
    func finish(_ session: Session, reason: String? = nil) async throws -> Session {
        try await database.write { [world] db in
            var found = try Session.find(session.id, at: .path(param: "session"), in: session.scope, db)
            try found.finish(reason: reason, by: Self.cause, db, world)
            return found
        }
    }

    @discardableResult
    func disconnect(_ id: String, in scope: Scope? = nil) async throws -> Node {
        let scope = scope ?? self.scope
        return try await write { [world] db, json in
            try Account.disconnect(id, by: Self.cause, in: scope, db, world).write(to: &json, db)
        }
    }

    func account(_ id: String, in scope: Scope? = nil) async throws -> Node {
        try await read { db, json in
            try Account.find(id, at: .path(param: "account"), in: scope ?? self.scope, db).write(to: &json, db)
        }
    }

    func accounts(_ form: String = "", in scope: Scope? = nil) async throws -> Node {
        let query = try Account.Query(Self.parameters(form, Account.Query.names))
        return try await read { db, json in
            try Account.writeList(query, expanding: .none, in: scope ?? self.scope, db, to: &json)
        }
    }

    // MARK: Events

    func events(_ form: String = "", in scope: Scope? = nil) async throws -> Node {
        let query = try Event.Query(Self.parameters(form, Event.Query.names))
        return try await read { [world] db, json in
            try Event.writeList(query, in: scope ?? self.scope, db, world, to: &json)
        }
    }

    func event(_ id: String, in scope: Scope? = nil) async throws -> Node {
        try await read { [world] db, json in
            try Event.find(id, in: scope ?? self.scope, db, world).write(to: &json)
        }
    }

    /// The types of the events so far, oldest first.
    func eventTypes() async throws -> [String] {
        let events = try #require(try await events("limit=100")["data"]?.elements)
        return events.reversed().compactMap { $0["type"]?.text }
    }
}
