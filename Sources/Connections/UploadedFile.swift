/// A file that a person gave at a sign-in, in sealed pieces. It is read piece by piece, as it came.
///
/// `receiving` → `complete`. Until accounts are linked with it it belongs to its sign-in and is forgotten after a day;
/// then it belongs to the authorization and goes with that. A Session has one file that nothing is linked with at most:
/// a new one takes the place of the one before, with which nothing can be done any more. A sign-in notes the file that
/// it was answered with, and accounts are linked with that one or not at all. Nothing of a file is readable in the
/// database, not even its name.

public import Database
public import Vault
internal import Wire

public struct UploadedFile: Sendable {
    enum Status: String, Sendable {
        case receiving, complete
    }

    /// The bytes of every piece but the last. A piece is sealed for its place.
    public static let pieceSize = 64 * 1024
    /// Seconds until a file that nothing was linked with is forgotten.
    private static let lifetime: Int64 = 86_400

    public static let prefix = Identifier.Kind.upload.rawValue

    public let id: String
    private let scope: Scope
    /// In bytes; none as long as it is being received.
    public private(set) var size: Int
    private var status: Status

    // MARK: Transitions

    /// Makes room for a file, in place of any that nothing was linked with in the Session.
    public static func begin(
        for signIn: SignIn,
        of session: Session,
        _ db: Connection,
        _ world: World
    ) throws -> UploadedFile {
        try release(allOf: session, db)
        let file = UploadedFile(id: world.id(.upload), scope: session.scope, size: 0, status: .receiving)
        try db.execute(
            """
            INSERT INTO upload (merchant, livemode, id, session, auth_session, size, status, expires)
            VALUES (\(session.scope.merchant), \(session.scope.livemode), \(file.id), \(session.id), \(signIn.id), 0,
                \(file.status.rawValue), \(world.wall() + lifetime))
            """
        )
        return file
    }

    /// A piece as it is stored. Sealing is work, so it is done outside of any transaction.
    public struct Piece: Sendable {
        /// The file and the place in it.
        let id: String
        let sealed: [UInt8]
    }

    public func piece(_ number: Int, _ bytes: ArraySlice<UInt8>, _ ring: KeyRing) throws -> Piece {
        let id = pieceID(number)
        return Piece(id: id, sealed: try ring.seal(Array(bytes), for: .upload, owner: id))
    }

    private func pieceID(_ number: Int) -> String { "\(id)/\(number)" }

    /// - Throws: where another took its place meanwhile.
    public func append(_ pieces: [Piece], _ db: Connection, _ world: World) throws {
        // As long as this is written the row cannot go, and with it what forgets the pieces.
        let count = try db.execute("UPDATE upload SET status = status WHERE \(row) AND \(Self.isKept(world))")
        guard count == 1 else { throw Self.replaced }
        for piece in pieces {
            try db.execute(
                """
                INSERT INTO upload_piece (merchant, livemode, id, upload, sealed)
                VALUES (\(scope.merchant), \(scope.livemode), \(piece.id), \(id), \(piece.sealed))
                """
            )
        }
    }

    /// All of it is there.
    /// - Throws: where another took its place meanwhile.
    public mutating func complete(size: Int, _ db: Connection, _ world: World) throws {
        (self.size, status) = (size, .complete)
        let count = try db.execute(
            """
            UPDATE upload SET size = \(size), status = \(status.rawValue) WHERE \(row) AND \(Self.isKept(world))
            """
        )
        guard count == 1 else { throw Self.replaced }
    }

    private static let replaced = StripeError(message: "Another file took the place of this one. Give it again.")

    /// It will not be needed; the pieces go when their time comes.
    public func discard(_ db: Connection) throws {
        try db.execute("UPDATE upload SET expires = 0 WHERE \(row)")
    }

    /// Accounts were linked: the file that the sign-in was answered with stays as long as their authorization.
    /// - Returns: whether there is one.
    /// - Throws: where another took its place meanwhile.
    static func keep(
        of signIn: SignIn,
        for authorization: String,
        _ db: Connection,
        _ world: World
    ) throws -> Bool {
        guard let id = signIn.file else { return false }
        let count = try db.execute(
            """
            UPDATE upload SET authorization_id = \(authorization), expires = NULL
            WHERE \(row(id, in: signIn.scope)) AND \(isKept(world))
            """
        )
        guard count == 1 else { throw replaced }
        return true
    }

    /// The authorization is gone.
    static func release(ofAuthorization id: String, in scope: Scope, _ db: Connection) throws {
        try db.execute(
            """
            UPDATE upload SET expires = 0 WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode)
            AND authorization_id = \(id)
            """
        )
    }

    /// The Session is done, or begins anew: files that nothing was linked with are no longer needed.
    static func release(allOf session: Session, _ db: Connection) throws {
        try db.execute(
            """
            UPDATE upload SET expires = 0 WHERE merchant = \(session.scope.merchant)
            AND livemode = \(session.scope.livemode) AND session = \(session.id) AND authorization_id IS NULL
            """
        )
    }

    // MARK: Statements

    private var row: SQL { Self.row(id, in: scope) }

    private static func row(_ id: String, in scope: Scope) -> SQL {
        "merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND id = \(id)"
    }

    /// Whether its time is not over, and no other took its place.
    private static func isKept(_ world: World) -> SQL { "(expires IS NULL OR expires > \(world.wall()))" }

    /// A file of a sign-in that is all there; nil for any other, and for one whose place another took.
    public static func find(
        _ id: String,
        of signIn: SignIn,
        _ db: Connection,
        _ world: World
    ) throws -> UploadedFile? {
        try first(
            "id = \(id) AND auth_session = \(signIn.id) AND status = 'complete' AND \(isKept(world))",
            in: signIn.scope,
            db
        )
    }

    /// The file that a sign-in was answered with.
    public static func given(at signIn: SignIn, _ db: Connection, _ world: World) throws -> UploadedFile? {
        try signIn.file.flatMap { try find($0, of: signIn, db, world) }
    }

    /// It is the answer of a sign-in.
    /// - Throws: where another took its place meanwhile.
    func check(isOf signIn: SignIn, _ db: Connection, _ world: World) throws {
        guard try Self.find(id, of: signIn, db, world) != nil else { throw Self.replaced }
    }

    public static func newest(
        ofAuthorization id: String,
        in scope: Scope,
        _ db: Connection
    ) throws -> UploadedFile? {
        try first("authorization_id = \(id) ORDER BY id DESC LIMIT 1", in: scope, db)
    }

    private static func first(_ condition: SQL, in scope: Scope, _ db: Connection) throws -> UploadedFile? {
        try db.first(
            """
            SELECT id, size, status FROM upload WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode)
            AND \(condition)
            """
        ) { row in
            UploadedFile(
                id: try row.text(0),
                scope: scope,
                size: Int(try row.int(1)),
                status: try row.choice(2, of: Status.self)
            )
        }
    }

    /// The bytes from an offset to the end of their piece; none where the file ends.
    public func bytes(from offset: Int, _ database: Database, _ ring: KeyRing) async throws -> [UInt8] {
        guard offset >= 0, offset < size else { return [] }
        let id = pieceID(offset / Self.pieceSize)
        let sealed = try await database.lookup { [scope] db in
            try db.first(
                """
                SELECT sealed FROM upload_piece WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode)
                AND id = \(id)
                """
            ) { try $0.bytes(0) }
        }
        guard let sealed else { return [] }
        let piece = try ring.open(sealed, for: .upload, owner: id)
        return Array(piece.dropFirst(offset % Self.pieceSize))
    }

    /// Forgets a bounded number of pieces of files whose time is over, and the files without pieces.
    /// - Returns: how many.
    public static func prune(in db: Connection, _ world: World) throws -> Int {
        let now = world.wall()
        let pieces = try db.execute(
            """
            DELETE FROM upload_piece WHERE (merchant, livemode, id) IN (
                SELECT p.merchant, p.livemode, p.id FROM upload AS u JOIN upload_piece AS p
                ON p.merchant = u.merchant AND p.livemode = u.livemode AND p.upload = u.id
                WHERE u.expires <= \(now) LIMIT 200)
            """
        )
        guard pieces == 0 else { return pieces }
        return try db.execute(
            """
            DELETE FROM upload WHERE (merchant, livemode, id) IN (
                SELECT merchant, livemode, id FROM upload WHERE expires <= \(now) LIMIT 200)
            """
        )
    }
}
