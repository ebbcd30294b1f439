/// A consent: what a customer allowed a client to see, and the family of refresh tokens that hangs on it.
///
/// `ACTIVE` until its end (`EXPIRED`), or until the customer or the client takes it back (`REVOKED`). Its code is good
/// once and each refresh token once: who comes with one that was used already holds a copy, and the consent is revoked.
/// Its rows belong to the bank, not to a merchant, as a real bank's would.

internal import Database

struct Consent: Sendable {
    enum Status: String, Sendable {
        case active = "ACTIVE", expired = "EXPIRED", revoked = "REVOKED"
    }

    let id: String
    let client: String
    let user: String
    /// The accounts that the customer chose, by their ids.
    let accounts: [String]
    let created: Int64
    private(set) var expires: Int64?
    private(set) var status: Status
    /// The number of the refresh token that is good; 0 until the code was redeemed.
    private(set) var generation: Int64

    /// - Parameter lifetime: seconds, nil for a consent that nothing ends but its being taken back.
    init(id: String, client: String, user: String, accounts: [String], at now: Int64, lifetime: Int64?) {
        self.id = id
        self.client = client
        self.user = user
        self.accounts = accounts
        created = now
        expires = lifetime.map { now + $0 }
        status = .active
        generation = 0
    }

    // MARK: Transitions

    func status(at now: Int64) -> Status {
        if status == .active, let expires, expires <= now { return .expired }
        return status
    }

    /// Spends the code (generation 0) or a refresh token, and makes the next one the good one.
    /// - Returns: nil where it was spent before, which revokes the consent, or where the consent is over.
    static func spend(_ generation: Int64, of id: String, by client: String, at now: Int64, _ db: Connection) throws
        -> Consent?
    {
        guard var consent = try find(id, db), consent.client == client, consent.status(at: now) == .active else {
            return nil
        }
        guard consent.generation == generation else {
            consent.status = .revoked
            try consent.save(db)
            return nil
        }
        consent.generation += 1
        try consent.save(db)
        return consent
    }

    static func revoke(_ id: String, _ db: Connection) throws {
        guard var consent = try find(id, db), consent.status == .active else { return }
        consent.status = .revoked
        try consent.save(db)
    }

    /// What a test does to all consents of a customer.
    static func end(_ status: Status, of user: String, at now: Int64, _ db: Connection) throws {
        for var consent in try all(of: user, db) where consent.status(at: now) == .active {
            consent.status = status
            consent.expires = min(consent.expires ?? now, now)
            try consent.save(db)
        }
    }

    // MARK: Statements

    private static let columns: SQL = """
        SELECT id, client, user_name, accounts, created, expires, status, generation FROM bank_consent
        """

    static func find(_ id: String, _ db: Connection) throws -> Consent? {
        try db.first("\(columns) WHERE id = \(id)") { try Consent($0) }
    }

    static func all(of user: String, _ db: Connection) throws -> [Consent] {
        try db.all("\(columns) WHERE user_name = \(user) ORDER BY created, id LIMIT 1000") { try Consent($0) }
    }

    func insert(_ db: Connection) throws {
        try db.execute(
            """
            INSERT INTO bank_consent (id, client, user_name, accounts, created, expires, status, generation)
            VALUES (\(id), \(client), \(user), \(accounts.joined(separator: ",")), \(created), \(expires),
                \(status.rawValue), \(generation))
            """
        )
    }

    private func save(_ db: Connection) throws {
        try db.execute(
            """
            UPDATE bank_consent SET expires = \(expires), status = \(status.rawValue), generation = \(generation)
            WHERE id = \(id)
            """
        )
    }

    private init(_ row: Row) throws {
        id = try row.text(0)
        client = try row.text(1)
        user = try row.text(2)
        accounts = try row.text(3).split(separator: ",").map(String.init)
        created = try row.int(4)
        expires = row.optionalInt(5)
        status = try row.choice(6, of: Status.self)
        generation = try row.int(7)
    }
}

/// What tests set for a customer of the bank. No row is an ordinary customer.
struct Mood: Sendable {
    /// Access tokens that were given under a smaller number are no longer good.
    private(set) var epoch: Int64 = 0
    /// So many requests for data are yet to be answered by 429.
    private(set) var throttled: Int64 = 0
    /// So many requests for data are yet to be answered by 503.
    private(set) var unavailable: Int64 = 0

    static func of(_ user: String, _ db: Connection) throws -> Mood {
        try db.first("SELECT epoch, throttled, unavailable FROM bank_user WHERE user_name = \(user)") { row in
            var mood = Mood()
            mood.epoch = try row.int(0)
            mood.throttled = try row.int(1)
            mood.unavailable = try row.int(2)
            return mood
        } ?? Mood()
    }

    static func set(
        throttled: Int64?,
        unavailable: Int64?,
        endsAccessTokens: Bool,
        of user: String,
        _ db: Connection
    ) throws {
        var mood = try of(user, db)
        if let throttled { mood.throttled = throttled }
        if let unavailable { mood.unavailable = unavailable }
        if endsAccessTokens { mood.epoch += 1 }
        try db.execute(
            """
            INSERT INTO bank_user (user_name, epoch, throttled, unavailable)
            VALUES (\(user), \(mood.epoch), \(mood.throttled), \(mood.unavailable))
            ON CONFLICT (user_name) DO UPDATE SET epoch = \(mood.epoch), throttled = \(mood.throttled),
                unavailable = \(mood.unavailable)
            """
        )
    }

    /// One refused request fewer is to come.
    static func refused(_ user: String, _ db: Connection) throws {
        let mood = try of(user, db)
        try set(
            throttled: max(0, mood.throttled - 1),
            unavailable: mood.throttled > 0 ? nil : max(0, mood.unavailable - 1),
            endsAccessTokens: false,
            of: user,
            db
        )
    }
}
