/// An authorization: one consent at one institution, covering the accounts that were linked with it. It keeps the
/// credential, sealed, by which their data is fetched.

internal import Database
internal import Vault
internal import Wire

struct Authorization: Sendable {
    let id: String

    static func create(
        holder: String,
        institution: String,
        credential: [UInt8],
        in scope: Scope,
        _ db: Connection,
        _ world: World,
        _ ring: KeyRing
    ) throws -> Authorization {
        let id = world.id(.authorization)
        let sealed = try ring.seal(credential, for: .bankCredential, owner: id)
        try db.execute(
            """
            INSERT INTO authorization_at_institution (merchant, livemode, id, created, holder, institution, credential)
            VALUES (\(scope.merchant), \(scope.livemode), \(id), \(world.now()), \(holder), \(institution), \(sealed))
            """
        )
        return Authorization(id: id)
    }

    /// Deletes an authorization, with its credential, that no account hangs on any longer.
    static func forget(_ id: String, in scope: Scope, _ db: Connection) throws {
        let mine: SQL = "merchant = \(scope.merchant) AND livemode = \(scope.livemode)"
        try db.execute(
            """
            DELETE FROM authorization_at_institution WHERE \(mine) AND id = \(id) AND NOT EXISTS (
                SELECT 1 FROM account WHERE \(mine) AND authorization_id = \(id) AND status <> 'disconnected')
            """
        )
    }
}
