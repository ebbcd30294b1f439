/// An authorization: one consent at one institution, covering the accounts that were linked with it. It keeps the
/// credential, sealed, by which their data is fetched, and counts the calls that were made with it.
///
/// It is `active` as long as one of its accounts is. When its accounts are expected to end, the earliest counts.

public import Database
public import Vault
internal import Wire

public struct Authorization: Sendable {
    enum Status: String, Sendable {
        case active, inactive
    }

    static let prefix = Identifier.Kind.authorization.rawValue

    let id: String
    private let scope: Scope
    private let institutionName: String
    private var status: Status
    private(set) var expectedDeactivation: Int64?
    private let clock: String?

    // MARK: Transitions

    static func create(
        holder: AccountHolder,
        institution: (id: String, name: String),
        credential: [UInt8],
        clock: String?,
        in scope: Scope,
        _ db: Connection,
        _ world: World,
        _ ring: KeyRing
    ) throws -> Authorization {
        let id = world.id(.authorization)
        let sealed = try ring.seal(credential, for: .bankCredential, owner: id)
        try db.execute(
            """
            INSERT INTO authorization_at_institution (merchant, livemode, id, created, holder, institution,
                institution_name, credential, test_clock)
            VALUES (\(scope.merchant), \(scope.livemode), \(id), \(world.now()), \(holder.id), \(institution.id),
                \(institution.name), \(sealed), \(clock))
            """
        )
        return Authorization(
            id: id,
            scope: scope,
            institutionName: institution.name,
            status: .active,
            expectedDeactivation: nil,
            clock: clock
        )
    }

    /// Deletes an authorization, with its credential, that no account hangs on any longer.
    static func forget(_ id: String, in scope: Scope, _ db: Connection) throws {
        let mine: SQL = "merchant = \(scope.merchant) AND livemode = \(scope.livemode)"
        let forgotten = try db.execute(
            """
            DELETE FROM authorization_at_institution WHERE \(mine) AND id = \(id) AND NOT EXISTS (
                SELECT 1 FROM account WHERE \(mine) AND authorization_id = \(id) AND status <> 'disconnected')
            """
        )
        guard forgotten > 0 else { return }
        try Schedule.clear(of: id, in: scope, db)
        try UploadedFile.release(ofAuthorization: id, in: scope, db)
    }

    /// Brings status and dates in line with the accounts. An end that is expected is announced 30 days before, at once
    /// where it is nearer.
    /// - Parameter former: for a consent that was just given, those whose place it takes: a date that they had is no
    ///   change. Nil for any other.
    static func update(
        _ id: String,
        replacing former: [Authorization]? = nil,
        by cause: Cause,
        in scope: Scope,
        _ db: Connection,
        _ world: World
    ) throws {
        guard var authorization = try find(id, in: scope, db) else { return }
        let before = authorization
        let active = try Account.activeIDs(of: id, in: scope, db)
        authorization.status = active.isEmpty ? .inactive : .active
        if !active.isEmpty {
            authorization.expectedDeactivation = try Account.earliestDeactivation(of: id, in: scope, db)
        }
        try db.execute(
            """
            UPDATE authorization_at_institution SET status = \(authorization.status.rawValue),
                expected_deactivation = \(authorization.expectedDeactivation) WHERE \(authorization.row)
            """
        )
        guard authorization.status == .active else { return try Schedule.clear(of: id, in: scope, db) }
        let expected = authorization.expectedDeactivation
        if (former ?? [before]).contains(where: { $0.expectedDeactivation != expected }) {
            try authorization.record(.authorizationDateUpdated, by: cause, db, world)
        }
        if before.expectedDeactivation != expected || before.status != .active {
            try authorization.schedule(db, world)
        }
    }

    private func schedule(_ db: Connection, _ world: World) throws {
        guard let expected = expectedDeactivation else { return try Schedule.clear(of: id, in: scope, db) }
        let now = try TestClock.world(of: clock, in: scope, db, world).now()
        if expected - Schedule.notice <= now {
            try Schedule.clear(of: id, in: scope, db)
            try record(.authorizationUpcomingDeactivation, by: .none, db, world)
        } else {
            try Schedule.set(.announcement, of: id, at: expected - Schedule.notice, clock: clock, in: scope, db)
        }
    }

    static func announceEnd(of id: String, in scope: Scope, _ db: Connection, _ world: World) throws {
        guard let authorization = try find(id, in: scope, db), authorization.status == .active else { return }
        try authorization.record(.authorizationUpcomingDeactivation, by: .none, db, world)
    }

    /// The institution has said when it will end the link to some accounts, nil for never.
    static func expectEnd(
        of accounts: [String],
        at moment: Int64?,
        by cause: Cause,
        in scope: Scope,
        _ db: Connection,
        _ world: World
    ) throws {
        var authorizations: [String] = []
        for id in accounts {
            var account = try Account.find(id, at: .path(param: "account"), in: scope, db)
            guard account.details.expectedDeactivation != moment, account.status == .active else { continue }
            try account.expectEnd(at: moment, by: cause, db, world)
            if !authorizations.contains(account.authorization) { authorizations.append(account.authorization) }
        }
        for id in authorizations { try update(id, by: cause, in: scope, db, world) }
    }

    private func record(_ kind: Event.Kind, by cause: Cause, _ db: Connection, _ world: World) throws {
        var json = JSONWriter()
        write(to: &json)
        let own = try TestClock.world(of: clock, in: scope, db, world)
        try Event.record(kind, object: json.bytes, by: cause, in: scope, db, own)
    }

    // MARK: Statements

    private var row: SQL { "merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND id = \(id)" }

    static func find(_ id: String, in scope: Scope, _ db: Connection) throws -> Authorization? {
        try db.first(
            """
            SELECT institution_name, status, expected_deactivation, test_clock FROM authorization_at_institution
            WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND id = \(id)
            """
        ) { row in
            Authorization(
                id: id,
                scope: scope,
                institutionName: try row.text(0),
                status: try row.choice(1, of: Status.self),
                expectedDeactivation: row.optionalInt(2),
                clock: row.optionalText(3)
            )
        }
    }

    // MARK: Credential

    /// The credential, sealed for the authorization.
    public static func credential(of id: String, in scope: Scope, _ db: Connection) throws -> [UInt8]? {
        try db.first(
            """
            SELECT credential FROM authorization_at_institution
            WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND id = \(id)
            """
        ) { try $0.bytes(0) }
    }

    /// How long one call may take to renew a credential before another tries, in seconds.
    static let renewalLease: Int64 = 60

    /// What becomes of asking for the turn to renew a credential.
    public enum Turn: Sendable {
        /// It was renewed in the meantime; this is the new one.
        case renewed([UInt8])
        /// Another call is at it.
        case busy
        /// It is this call's turn, and what is stored by then is given; the fence is handed back.
        case granted([UInt8], fence: Int64)
        /// There is none left.
        case gone
    }

    /// Asks for the turn to renew a credential, so that one call at a time does.
    /// - Parameter known: the credential that the call has. It is compared as it is: sealed anew it is still the same.
    public static func beginRenewal(
        of id: String,
        known: [UInt8],
        in scope: Scope,
        _ db: Connection,
        _ world: World,
        _ ring: KeyRing
    ) throws -> Turn {
        guard let sealed = try credential(of: id, in: scope, db) else { return .gone }
        let stored = try ring.open(sealed, for: .bankCredential, owner: id)
        guard stored == known else { return .renewed(stored) }
        let fence = world.wall() + renewalLease
        let isGranted = try db.execute(
            """
            UPDATE authorization_at_institution SET renewal = \(fence) WHERE merchant = \(scope.merchant)
            AND livemode = \(scope.livemode) AND id = \(id) AND renewal <= \(world.wall())
            """
        )
        return isGranted == 1 ? .granted(stored, fence: fence) : .busy
    }

    /// Ends the turn.
    /// - Parameter renewed: the new credential; nil where none came of it.
    /// - Returns: false where the turn was another's by then, and nothing is stored.
    public static func endRenewal(
        of id: String,
        fence: Int64,
        renewed: [UInt8]?,
        in scope: Scope,
        _ db: Connection,
        _ ring: KeyRing
    ) throws -> Bool {
        let sealed = try renewed.map { try ring.seal($0, for: .bankCredential, owner: id) }
        let credential: SQL = sealed.map { ", credential = \($0)" } ?? ""
        let count = try db.execute(
            """
            UPDATE authorization_at_institution SET renewal = 0\(credential) WHERE merchant = \(scope.merchant)
            AND livemode = \(scope.livemode) AND id = \(id) AND renewal = \(fence)
            """
        )
        if count == 0 { try Revocation.endRenewal(of: id, fence: fence, renewed: sealed, in: scope, db) }
        return count == 1
    }

    /// Gives an authorization what came of a renewal that its sign-in had begun before the accounts were linked.
    static func replace(
        _ former: [UInt8],
        by renewed: [UInt8],
        of id: String,
        in scope: Scope,
        _ db: Connection,
        _ ring: KeyRing
    ) throws {
        guard let sealed = try credential(of: id, in: scope, db),
            try ring.open(sealed, for: .bankCredential, owner: id) == former
        else { return }
        try db.execute(
            """
            UPDATE authorization_at_institution
            SET credential = \(try ring.seal(renewed, for: .bankCredential, owner: id))
            WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND id = \(id)
            """
        )
    }

    // MARK: Calls

    private static let hour: Int64 = 3600

    /// Notes a call with the credential, by the hour.
    static func countCall(with id: String, in scope: Scope, _ db: Connection, _ world: World) throws {
        try db.execute(
            """
            INSERT INTO institution_call (merchant, livemode, authorization_id, hour, calls)
            VALUES (\(scope.merchant), \(scope.livemode), \(id), \(world.wall() / hour), 1)
            ON CONFLICT (merchant, livemode, authorization_id, hour) DO UPDATE SET calls = institution_call.calls + 1
            """
        )
    }

    /// Takes a call out of the budget of a day.
    /// - Returns: nil where there was one left; otherwise the seconds until there is.
    static func waitForBudget(
        _ budget: Int,
        of id: String,
        in scope: Scope,
        _ db: Connection,
        _ world: World
    ) throws -> Int64? {
        let now = world.wall()
        // The hour that began 24 hours ago is not over everywhere in it.
        let counts = try db.all(
            """
            SELECT hour, calls FROM institution_call WHERE merchant = \(scope.merchant)
            AND livemode = \(scope.livemode) AND authorization_id = \(id) AND hour >= \(now / hour - 24) ORDER BY hour
            """
        ) { (try $0.int(0), try $0.int(1)) }
        let spent = counts.reduce(0) { $0 + $1.1 }
        if spent < Int64(budget) {
            try countCall(with: id, in: scope, db, world)
            return nil
        }
        let oldest = counts.first?.0 ?? now / hour
        return max(1, (oldest + 25) * hour - now)
    }

    /// Forgets a bounded number of counts that no budget looks at.
    /// - Returns: how many.
    public static func pruneCalls(_ db: Connection, _ world: World) throws -> Int {
        try db.execute(
            """
            DELETE FROM institution_call WHERE (merchant, livemode, authorization_id, hour) IN (
                SELECT merchant, livemode, authorization_id, hour FROM institution_call
                WHERE hour < \(world.wall() / hour - 48) ORDER BY hour LIMIT 500)
            """
        )
    }

    // MARK: JSON

    private func write(to json: inout JSONWriter) {
        json.object { json in
            json.field("id", id)
            json.field("object", "financial_connections.authorization")
            json.field("institution_name", institutionName)
            json.field("livemode", scope.livemode)
            json.field("status", status.rawValue)
            json.object("status_details") { json in
                switch status {
                case .active:
                    json.object("active") { json in
                        json.field("action", expectedDeactivation == nil ? "none" : "relink_required")
                        json.field("expected_deactivation_date", expectedDeactivation)
                    }
                case .inactive: json.object("inactive") { json in json.field("action", "relink_required") }
                }
            }
        }
    }
}
