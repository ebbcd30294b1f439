/// A sign-in at an institution within a Session, from the choice of the bank to the choice of accounts. What the
/// connector notes and what it is handed at the end are secret and sealed.
///
/// `prompting` → `authorized` → `selected`, or `cancelled` or `failed` at any time before. A sign-in belongs to one
/// Session and is found from no other.

public import Database
public import Vault
internal import Wire

public struct SignIn: Sendable {
    public enum Status: String, Sendable {
        case prompting, authorized, selected, cancelled, failed
    }

    /// More than a person begins; a client that goes on is broken or hostile.
    private static let maximumPerSession = 100

    public let id: String
    private let scope: Scope
    private let session: String
    public let institution: String
    public private(set) var status: Status
    /// The form that the person is asked to fill in, as JSON.
    public private(set) var prompt: String?
    private var sealedNote: [UInt8]?
    private var sealedCredential: [UInt8]?

    /// What the connector answered.
    public enum Progress: Sendable {
        case prompt(json: String, note: [UInt8])
        case authorized(credential: [UInt8])
    }

    // MARK: Transitions

    public static func begin(
        at institution: String,
        _ progress: Progress,
        for session: Session,
        _ db: Connection,
        _ world: World,
        _ ring: KeyRing
    ) throws -> SignIn {
        let count = try db.first(
            """
            SELECT COUNT(*) FROM auth_session WHERE merchant = \(session.scope.merchant)
            AND livemode = \(session.scope.livemode) AND session = \(session.id)
            """
        ) { try $0.int(0) }
        guard (count ?? 0) < maximumPerSession else {
            throw StripeError(message: "Too many sign-ins were begun in this session. Create a new one.")
        }
        var signIn = SignIn(
            id: world.id(.authSession),
            scope: session.scope,
            session: session.id,
            institution: institution,
            status: .prompting
        )
        try signIn.take(progress, ring)
        try db.execute(
            """
            INSERT INTO auth_session (merchant, livemode, id, session, created, institution, status, prompt, note,
                credential)
            VALUES (\(signIn.scope.merchant), \(signIn.scope.livemode), \(signIn.id), \(signIn.session),
                \(world.now()), \(institution), \(signIn.status.rawValue), \(signIn.prompt), \(signIn.sealedNote),
                \(signIn.sealedCredential))
            """
        )
        return signIn
    }

    public mutating func advance(_ progress: Progress, _ db: Connection, _ ring: KeyRing) throws {
        try take(progress, ring)
        try save(db)
    }

    public mutating func end(as status: Status, _ db: Connection) throws {
        self.status = status
        prompt = nil
        sealedNote = nil
        sealedCredential = nil
        try save(db)
    }

    /// Ends every sign-in of a Session that is done, with what is sealed in them: one that is still under way links
    /// nothing.
    static func endAll(of session: Session, _ db: Connection) throws {
        try db.execute(
            """
            UPDATE auth_session SET status = 'cancelled', prompt = NULL, note = NULL, credential = NULL
            WHERE merchant = \(session.scope.merchant) AND livemode = \(session.scope.livemode)
            AND session = \(session.id) AND status <> 'failed'
            """
        )
    }

    /// Accounts were linked with it; the credential stays, so that a repeated request is answered alike.
    public mutating func select(_ db: Connection) throws {
        status = .selected
        try save(db)
    }

    private mutating func take(_ progress: Progress, _ ring: KeyRing) throws {
        switch progress {
        case .prompt(let json, let note):
            status = .prompting
            prompt = json
            sealedNote = try ring.seal(note, for: .signInNote, owner: id)
        case .authorized(let credential):
            status = .authorized
            prompt = nil
            sealedNote = nil
            sealedCredential = try ring.seal(credential, for: .bankCredential, owner: id)
        }
    }

    /// Whether nothing happened to the sign-in since `other` was read.
    public func isAtSameStep(as other: SignIn) -> Bool {
        status == .prompting && sealedNote == other.sealedNote
    }

    public func note(_ ring: KeyRing) throws -> [UInt8]? {
        try sealedNote.map { try ring.open($0, for: .signInNote, owner: id) }
    }

    public func credential(_ ring: KeyRing) throws -> [UInt8]? {
        try sealedCredential.map { try ring.open($0, for: .bankCredential, owner: id) }
    }

    // MARK: Statements

    /// - Throws: `resource_missing`, also for a sign-in of another Session.
    public static func find(_ id: String, of session: Session, _ db: Connection) throws -> SignIn {
        let scope = session.scope
        let signIn = try db.first(
            """
            SELECT id, institution, status, prompt, note, credential FROM auth_session
            WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND id = \(id)
            AND session = \(session.id)
            """
        ) { row in
            var signIn = SignIn(
                id: try row.text(0),
                scope: scope,
                session: session.id,
                institution: try row.text(1),
                status: try row.choice(2, of: Status.self)
            )
            signIn.prompt = row.optionalText(3)
            signIn.sealedNote = row.optionalBytes(4)
            signIn.sealedCredential = row.optionalBytes(5)
            return signIn
        }
        guard let signIn else {
            throw StripeError.noSuch("auth_session", id, at: .parameter("id"), livemode: scope.livemode)
        }
        return signIn
    }

    /// Forgets a bounded number of sign-ins that can no longer be carried on, with what is sealed in them.
    /// - Parameter lifetime: seconds that a Session may be open.
    /// - Returns: how many.
    public static func prune(lifetime: Int64, in db: Connection, _ world: World) throws -> Int {
        try db.execute(
            """
            DELETE FROM auth_session WHERE (merchant, livemode, id) IN (
                SELECT merchant, livemode, id FROM auth_session WHERE created < \(world.now() - lifetime) LIMIT 500)
            """
        )
    }

    private init(id: String, scope: Scope, session: String, institution: String, status: Status) {
        self.id = id
        self.scope = scope
        self.session = session
        self.institution = institution
        self.status = status
    }

    private func save(_ db: Connection) throws {
        try db.execute(
            """
            UPDATE auth_session SET status = \(status.rawValue), prompt = \(prompt), note = \(sealedNote),
                credential = \(sealedCredential)
            WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND id = \(id)
            """
        )
    }
}
