/// One idempotency key has at most one effect.
///
/// The key's row is written in the transaction of the effect, with the answer: whoever comes second, be it at the same
/// moment, waits for the first one's commit and is answered its bytes. An error that the work itself found is an answer
/// too and is kept, its half-done work undone. What never began, a request that failed validation, is not kept, and
/// neither is a fault of the server: the key may be used again. An answer may hold a client secret: it is stored
/// sealed.

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

public enum Idempotency {
    /// How long a key is kept at least.
    public static let lifetime: Int64 = 24 * 3600

    /// Does the work, unless the key was used before.
    /// - Parameters:
    ///   - fingerprint: a digest of the method, the path and the parameters.
    ///   - render: how an error that the work throws is answered.
    ///   - known: the answer, where it is known before the work is done: then it is sealed outside of the transaction.
    ///   - work: all that the request does, in one transaction with the key's row; where it throws, nothing stays.
    public static func once(
        key: String,
        fingerprint: [UInt8],
        request: String,
        in scope: Scope,
        _ database: Database,
        _ world: World,
        _ ring: KeyRing,
        render: @Sendable (StripeError) -> Answer,
        answering known: Answer? = nil,
        _ work: @escaping @Sendable (Connection) throws -> Answer
    ) async throws -> Answer {
        @Sendable func seal(_ answer: Answer) throws -> [UInt8] {
            try ring.seal(answer.body, for: .idempotentAnswer, owner: key)
        }
        @Sendable func attempt(
            answering known: Answer?,
            _ work: @escaping @Sendable (Connection) throws -> Answer
        ) async throws -> Answer {
            guard let known else {
                return try await database.write { db in
                    let now = world.now()
                    if let answer = try replay(key, fingerprint, in: scope, now, db, ring) { return answer }
                    let answer = try work(db)
                    try db.execute(taking(key, for: answer, seal(answer), fingerprint, request, in: scope, now))
                    return answer
                }
            }
            let now = world.now()
            let statement = try taking(key, for: known, seal(known), fingerprint, request, in: scope, now)
            return try await database.write { db in
                // Taking the key tells whether it is free: there is nothing to look up before.
                guard try db.execute(statement) > 0 else {
                    guard let answer = try replay(key, fingerprint, in: scope, now, db, ring) else {
                        // The same transaction has just seen it.
                        throw DatabaseError.unexpectedValue(column: 0)
                    }
                    return answer
                }
                return try work(db)
            }
        }
        do {
            return try await attempt(answering: known, work)
        } catch let error as StripeError where error.status < 500 && error.type != .idempotencyError {
            // Found by the work and so an answer too; if the key was used in the meantime, that answer counts.
            let answer = render(error)
            return try await attempt(answering: answer) { _ in answer }
        }
    }

    /// Stores an answer under a key that is free, or whose time has passed. Where the key is used, it changes no row.
    private static func taking(
        _ key: String,
        for answer: Answer,
        _ sealed: [UInt8],
        _ fingerprint: [UInt8],
        _ request: String,
        in scope: Scope,
        _ now: Int64
    ) -> SQL {
        """
        INSERT INTO idempotency (merchant, livemode, key, created, fingerprint, request, status, body)
        VALUES (\(scope.merchant), \(scope.livemode), \(key), \(now), \(fingerprint), \(request),
            \(answer.status), \(sealed))
        ON CONFLICT (merchant, livemode, key) DO UPDATE SET created = excluded.created,
            fingerprint = excluded.fingerprint, request = excluded.request, status = excluded.status,
            body = excluded.body
        WHERE idempotency.created <= \(now - lifetime)
        """
    }

    private static func replay(
        _ key: String,
        _ fingerprint: [UInt8],
        in scope: Scope,
        _ now: Int64,
        _ db: Connection,
        _ ring: KeyRing
    ) throws -> Answer? {
        let known = try db.first(
            """
            SELECT fingerprint, status, body, request FROM idempotency
            WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND key = \(key)
            AND created > \(now - lifetime)
            """
        ) { row in
            (try row.bytes(0), Int(try row.int(1)), try row.bytes(2), try row.text(3))
        }
        guard let (known, status, sealed, original) = known else { return nil }
        guard known == fingerprint else {
            throw StripeError(
                type: .idempotencyError,
                message: "Keys for idempotent requests can only be used with the same parameters they were first used "
                    + "with. Try using a key other than '\(key)' if you meant to execute a different request."
            )
        }
        let body = try ring.open(sealed, for: .idempotentAnswer, owner: key)
        return Answer(status: status, body: body, original: original)
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
