/// One idempotency key has at most one effect.
///
/// The key's row is written in the transaction of the effect, with the answer: whoever comes second, be it at the same
/// moment, waits for the first one's commit and is answered its bytes. An error that the work itself found is an answer
/// too and is kept, its half-done work undone. What never began, a request that failed validation, is not kept, and
/// neither is a fault of the server: the key may be used again. An answer may hold a client secret: it is stored
/// sealed, or not at all where it can be rendered again.

public import Database
public import Vault
public import Wire

public struct Answer: Sendable {
    public let status: Int
    public let body: [UInt8]
    /// `req_…` of the request that did the work, where this answer is a replay of it.
    public let original: String?
    /// A cookie for the browser that asked, as `Set-Cookie` has it. It is no part of what is replayed.
    public var cookie: String?

    public init(status: Int = 200, body: [UInt8], original: String? = nil) {
        self.status = status
        self.body = body
        self.original = original
    }
}

/// An answer that is known before the work is done.
public struct KnownAnswer: Sendable {
    let answer: Answer
    /// What it can be rendered from again, which is then kept in its place; nil where it is kept itself.
    let recipe: String?

    public init(_ answer: Answer, recipe: String? = nil) {
        self.answer = answer
        self.recipe = recipe
    }
}

/// One request's use of a key.
public final class Idempotency: Sendable {
    /// How long a key is kept at least.
    public static let lifetime: Int64 = 24 * 3600

    private let key: String
    private let fingerprint: [UInt8]
    private let request: String
    private let scope: Scope
    private let database: Database
    private let world: World
    private let ring: KeyRing
    private let again: (@Sendable (_ recipe: String, Connection) throws -> [UInt8])?

    /// - Parameters:
    ///   - fingerprint: a digest of the method, the path and the parameters.
    ///   - request: `req_…`
    ///   - again: renders the answer of a recipe, the same bytes; for requests whose answers have one.
    public init(
        key: String,
        fingerprint: [UInt8],
        request: String,
        in scope: Scope,
        _ database: Database,
        _ world: World,
        _ ring: KeyRing,
        again: (@Sendable (_ recipe: String, Connection) throws -> [UInt8])? = nil
    ) {
        self.key = key
        self.fingerprint = fingerprint
        self.request = request
        self.scope = scope
        self.database = database
        self.world = world
        self.ring = ring
        self.again = again
    }

    /// Does the work, unless the key was used before.
    /// - Parameters:
    ///   - render: how an error that the work throws is answered.
    ///   - known: the answer, where it is known before the work is done: then it is sealed outside of the transaction.
    ///   - work: all that the request does, in one transaction with the key's row; where it throws, nothing stays.
    public func once(
        render: @Sendable (StripeError) -> Answer,
        answering known: KnownAnswer? = nil,
        _ work: @escaping @Sendable (Connection) throws -> Answer
    ) async throws -> Answer {
        do {
            return try await attempt(answering: known, work)
        } catch let error as StripeError where error.status < 500 && error.type != .idempotencyError {
            // Found by the work and so an answer too; if the key was used in the meantime, that answer counts.
            let answer = render(error)
            return try await attempt(answering: KnownAnswer(answer)) { _ in answer }
        }
    }

    private func attempt(
        answering known: KnownAnswer?,
        _ work: @escaping @Sendable (Connection) throws -> Answer
    ) async throws -> Answer {
        guard let known else {
            return try await database.write { db in
                let now = self.world.now()
                if let answer = try self.replay(now, db) { return answer }
                let answer = try work(db)
                try db.execute(self.taking(KnownAnswer(answer), at: now))
                return answer
            }
        }
        let now = world.now()
        let statement = try taking(known, at: now)
        return try await database.write { db in
            // Taking the key tells whether it is free: there is nothing to look up before.
            if try db.execute(statement) > 0 { return try work(db) }
            // The same transaction has just seen it.
            guard let answer = try self.replay(now, db) else { throw DatabaseError.unexpectedValue(column: 0) }
            return answer
        }
    }

    /// Stores an answer under a key that is free, or whose time has passed. Where the key is used, it changes no row.
    private func taking(_ known: KnownAnswer, at now: Int64) throws -> SQL {
        let sealed =
            try known.recipe == nil ? ring.seal(known.answer.body, for: .idempotentAnswer, owner: key) : []
        return """
            INSERT INTO idempotency (merchant, livemode, key, created, fingerprint, request, status, body, recipe)
            VALUES (\(scope.merchant), \(scope.livemode), \(key), \(now), \(fingerprint), \(request),
                \(known.answer.status), \(sealed), \(known.recipe))
            ON CONFLICT (merchant, livemode, key) DO UPDATE SET created = excluded.created,
                fingerprint = excluded.fingerprint, request = excluded.request, status = excluded.status,
                body = excluded.body, recipe = excluded.recipe
            WHERE idempotency.created <= \(now - Self.lifetime)
            """
    }

    private func replay(_ now: Int64, _ db: Connection) throws -> Answer? {
        let known = try db.first(
            """
            SELECT fingerprint, status, body, request, recipe FROM idempotency
            WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND key = \(key)
            AND created > \(now - Self.lifetime)
            """
        ) { row in
            (try row.bytes(0), Int(try row.int(1)), try row.bytes(2), try row.text(3), row.optionalText(4))
        }
        guard let (known, status, sealed, original, recipe) = known else { return nil }
        guard known == fingerprint else {
            throw StripeError(
                type: .idempotencyError,
                message: "Keys for idempotent requests can only be used with the same parameters they were first used "
                    + "with. Try using a key other than '\(key)' if you meant to execute a different request."
            )
        }
        // A server of an earlier build leaves the recipe of a key that it uses anew.
        guard let recipe, sealed.isEmpty else {
            let body = try ring.open(sealed, for: .idempotentAnswer, owner: key)
            return Answer(status: status, body: body, original: original)
        }
        // Requests with the same parameters keep recipes all or none.
        guard let again else { throw DatabaseError.unexpectedValue(column: 4) }
        return Answer(status: status, body: try again(recipe, db), original: original)
    }

    /// Forgets a bounded number of keys whose time has passed.
    /// - Returns: how many.
    public static func prune(in db: Connection, _ world: World) throws -> Int {
        try db.execute(
            """
            DELETE FROM idempotency WHERE (merchant, livemode, key) IN (
                SELECT merchant, livemode, key FROM idempotency WHERE created <= \(world.now() - lifetime)
                ORDER BY created LIMIT 500)
            """
        )
    }
}
