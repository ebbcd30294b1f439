/// A sign-in at an institution within a Session, from the choice of the bank to the choice of accounts. What the
/// connector notes and what it is handed at the end are secret and sealed.
///
/// `prompting` → `authorized` → `selected`, or `cancelled` or `failed` at any time before. A sign-in belongs to one
/// Session and is found from no other, but by the `state` with which a person comes back from the institution's own
/// pages: that is good once and for ten minutes, and stored as a digest. Where it was answered with a file, what it
/// opens goes with that file and no other.

public import Database
public import Vault
internal import Wire

public struct SignIn: Sendable {
    public enum Status: String, Sendable {
        case prompting, authorized, selected, cancelled, failed
    }

    /// More than a person begins; a client that goes on is broken or hostile.
    private static let maximumPerSession = 100

    /// Seconds in which a person comes back from an institution's pages.
    public static let timeAway: Int64 = 600

    public let id: String
    public let scope: Scope
    public let session: String
    public let institution: String
    public private(set) var status: Status
    /// The form that the person is asked to fill in, as JSON.
    public private(set) var prompt: String?
    /// Why it failed or was cancelled, as the flow's clients name it; nil where the person left in the flow itself.
    public private(set) var failure: String?
    /// Where the person goes from the page on which the institution's pages end, other than back to the flow.
    public let returnTo: String?
    /// The file that was the last answer with one. What the connector made of it goes with no other.
    public private(set) var file: String?
    /// That by which its accounts were linked; nil before.
    public private(set) var authorization: String?
    private var sealedNote: [UInt8]?
    private var sealedCredential: [UInt8]?
    /// Where the person is sent, for as long as they may come back.
    private var sealedAddress: [UInt8]?
    private var stateDigest: [UInt8]?
    /// Until when the person may come back or, once they were let in, a turn to renew the credential lasts.
    private var deadline: Int64?

    /// What the connector answered.
    public enum Progress: Sendable {
        case prompt(json: String, note: [UInt8])
        /// The person is sent to an address, which is to hand back the state.
        case redirect(address: String, state: String, note: [UInt8])
        /// The person does something elsewhere.
        case wait(note: [UInt8])
        case authorized(credential: [UInt8])
    }

    /// Whether the person is, or was, sent to the institution's own pages.
    public var isAway: Bool { sealedAddress != nil }

    // MARK: Transitions

    public static func begin(
        at institution: String,
        _ progress: Progress,
        for session: Session,
        returningTo returnTo: String?,
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
            status: .prompting,
            returnTo: returnTo
        )
        try signIn.take(progress, world, ring)
        try db.execute(
            """
            INSERT INTO auth_session (merchant, livemode, id, session, created, institution, status, prompt, note,
                credential, address, state, deadline, return_to)
            VALUES (\(signIn.scope.merchant), \(signIn.scope.livemode), \(signIn.id), \(signIn.session),
                \(world.now()), \(institution), \(signIn.status.rawValue), \(signIn.prompt), \(signIn.sealedNote),
                \(signIn.sealedCredential), \(signIn.sealedAddress), \(signIn.stateDigest), \(signIn.deadline),
                \(returnTo))
            """
        )
        return signIn
    }

    /// - Parameter file: what led here; nil where that was no file.
    /// - Throws: where another file took its place meanwhile.
    public mutating func advance(
        _ progress: Progress,
        from file: UploadedFile? = nil,
        _ db: Connection,
        _ world: World,
        _ ring: KeyRing
    ) throws {
        if let file {
            try file.check(isOf: self, db, world)
            self.file = file.id
        }
        try take(progress, world, ring)
        try save(db)
    }

    /// - Parameter failure: why, where it was not the person who left in the flow itself.
    public mutating func end(as status: Status, failure: String? = nil, _ db: Connection) throws {
        self.status = status
        self.failure = failure
        prompt = nil
        sealedNote = nil
        sealedCredential = nil
        forgetAddress()
        try save(db)
    }

    private mutating func forgetAddress() {
        (sealedAddress, stateDigest, deadline) = (nil, nil, nil)
    }

    /// Takes a person back from the institution's pages. The state is spent by it, whatever comes of it.
    /// - Returns: nil for a state that is not known, was spent or is too old.
    public static func takeBack(state: String, _ db: Connection, _ world: World) throws -> SignIn? {
        let found = try expected(state: state, db, world)
        try db.execute("UPDATE auth_session SET state = NULL WHERE state = \(Secret.digest(state))")
        return found
    }

    /// The sign-in that a person comes back to, whose state stays good.
    /// - Returns: nil as above.
    public static func expected(state: String, _ db: Connection, _ world: World) throws -> SignIn? {
        let digest = Secret.digest(state)
        let found = try db.first("\(columns), merchant, livemode, session FROM auth_session WHERE state = \(digest)") {
            row in
            let scope = Scope(merchant: try row.text(13), livemode: try row.bool(14))
            return try SignIn(row, scope, session: try row.text(15))
        }
        return found.flatMap { $0.status == .prompting && ($0.deadline ?? 0) > world.now() ? $0 : nil }
    }

    /// Whether the person was sent away so long ago that they will not come back, with time for the last of them to be
    /// taken in.
    public func isOverdue(_ world: World) -> Bool {
        guard status == .prompting, let deadline else { return false }
        return deadline + 60 < world.now()
    }

    /// Asks for the turn to renew the credential, as an authorization is asked. Nobody is away any longer, so that the
    /// deadline tells when the turn ends.
    /// - Parameter known: the credential that the call has.
    public func beginRenewal(
        known: [UInt8],
        _ db: Connection,
        _ world: World,
        _ ring: KeyRing
    ) throws -> Authorization.Turn {
        guard let current = try current(db), current.status == .authorized, let stored = try current.credential(ring)
        else { return .gone }
        guard stored == known else { return .renewed(stored) }
        let fence = world.wall() + Authorization.renewalLease
        let isGranted = try db.execute(
            """
            UPDATE auth_session SET deadline = \(fence)
            WHERE \(row) AND (deadline IS NULL OR deadline <= \(world.wall()))
            """
        )
        return isGranted == 1 ? .granted(stored, fence: fence) : .busy
    }

    /// Ends the turn. Where accounts were linked meanwhile, their authorization gets the new credential too.
    /// - Parameter renewed: the new credential; nil where none came of it.
    /// - Returns: false where the turn was another's by then, and nothing is stored.
    public func endRenewal(
        fence: Int64,
        renewed: [UInt8]?,
        of session: Session,
        _ db: Connection,
        _ ring: KeyRing
    ) throws -> Bool {
        guard var current = try current(db), current.deadline == fence, let former = try current.credential(ring)
        else { return false }
        current.deadline = nil
        if let renewed {
            current.sealedCredential = try ring.seal(renewed, for: .bankCredential, owner: id)
            if current.status == .selected,
                let linked = try Account.authorization(in: session, at: institution, db)
            {
                try Authorization.replace(former, by: renewed, of: linked, in: scope, db, ring)
            }
        }
        try current.save(db)
        return true
    }

    private func current(_ db: Connection) throws -> SignIn? {
        try db.first("\(Self.columns) FROM auth_session WHERE \(row)") { try SignIn($0, scope, session: session) }
    }

    /// Ends every sign-in of a Session that is done, with what is sealed in them: one that is still under way links
    /// nothing.
    static func endAll(of session: Session, _ db: Connection) throws {
        try db.execute(
            """
            UPDATE auth_session SET status = 'cancelled', prompt = NULL, note = NULL, credential = NULL,
                address = NULL, state = NULL, deadline = NULL
            WHERE merchant = \(session.scope.merchant) AND livemode = \(session.scope.livemode)
            AND status <> 'failed' AND id IN (
                SELECT id FROM auth_session WHERE merchant = \(session.scope.merchant)
                AND livemode = \(session.scope.livemode) AND session = \(session.id))
            """
        )
        try UploadedFile.release(allOf: session, db)
    }

    /// Accounts are being linked with it under an authorization.
    func note(authorization: String, _ db: Connection) throws {
        try db.execute("UPDATE auth_session SET authorization_id = \(authorization) WHERE \(row)")
    }

    /// Accounts were linked with it; the credential stays, so that a repeated request is answered alike.
    public mutating func select(_ db: Connection) throws {
        status = .selected
        try save(db)
    }

    private mutating func take(_ progress: Progress, _ world: World, _ ring: KeyRing) throws {
        forgetAddress()
        switch progress {
        case .prompt(let json, let note):
            status = .prompting
            prompt = json
            sealedNote = try ring.seal(note, for: .signInNote, owner: id)
        case .redirect(let address, let state, let note):
            status = .prompting
            prompt = nil
            sealedNote = try ring.seal(note, for: .signInNote, owner: id)
            sealedAddress = try ring.seal(Array(address.utf8), for: .signInAddress, owner: id)
            stateDigest = Secret.digest(state)
            deadline = world.now() + Self.timeAway
        case .wait(let note):
            status = .prompting
            prompt = nil
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

    /// Where the person is sent; nil where they are not, or are back.
    public func address(_ ring: KeyRing) throws -> String? {
        try sealedAddress.map { String(decoding: try ring.open($0, for: .signInAddress, owner: id), as: UTF8.self) }
    }

    public func credential(_ ring: KeyRing) throws -> [UInt8]? {
        try sealedCredential.map { try ring.open($0, for: .bankCredential, owner: id) }
    }

    // MARK: Statements

    private var row: SQL { "merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND id = \(id)" }

    private static let columns: SQL = """
        SELECT id, institution, status, prompt, note, credential, address, state, deadline, failure, return_to, upload,
            authorization_id
        """

    /// - Throws: `resource_missing`, also for a sign-in of another Session.
    public static func find(_ id: String, of session: Session, _ db: Connection) throws -> SignIn {
        let scope = session.scope
        let signIn = try db.first(
            """
            \(columns) FROM auth_session
            WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND id = \(id)
            AND session = \(session.id)
            """
        ) { try SignIn($0, scope, session: session.id) }
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

    private init(
        id: String,
        scope: Scope,
        session: String,
        institution: String,
        status: Status,
        returnTo: String?
    ) {
        self.id = id
        self.scope = scope
        self.session = session
        self.institution = institution
        self.status = status
        self.returnTo = returnTo
    }

    private init(_ row: Row, _ scope: Scope, session: String) throws {
        self.init(
            id: try row.text(0),
            scope: scope,
            session: session,
            institution: try row.text(1),
            status: try row.choice(2, of: Status.self),
            returnTo: row.optionalText(10)
        )
        prompt = row.optionalText(3)
        sealedNote = row.optionalBytes(4)
        sealedCredential = row.optionalBytes(5)
        sealedAddress = row.optionalBytes(6)
        stateDigest = row.optionalBytes(7)
        deadline = row.optionalInt(8)
        failure = row.optionalText(9)
        file = row.optionalText(11)
        authorization = row.optionalText(12)
    }

    private func save(_ db: Connection) throws {
        try db.execute(
            """
            UPDATE auth_session SET status = \(status.rawValue), prompt = \(prompt), note = \(sealedNote),
                credential = \(sealedCredential), address = \(sealedAddress), state = \(stateDigest),
                deadline = \(deadline), failure = \(failure), upload = \(file)
            WHERE \(row)
            """
        )
    }
}
