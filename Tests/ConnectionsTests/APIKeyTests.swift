/// API keys: told by their text, stored as a digest, masked, revoked, and what a restricted one may do.

import Connections
import Database
import Testing
import Vault

@Suite("An API key")
struct APIKeyTests {
    @Test(
        "says its kind and mode",
        arguments: [
            (APIKey.Kind.secret, false, "sk_test_"), (.secret, true, "sk_live_"), (.publishable, false, "pk_test_"),
            (.publishable, true, "pk_live_"), (.restricted, false, "rk_test_"), (.restricted, true, "rk_live_"),
        ]
    )
    func create(kind: APIKey.Kind, livemode: Bool, prefix: String) async throws {
        let stage = try await Stage(.memory)
        let scope = Scope(merchant: stage.scope.merchant, livemode: livemode)
        let (text, key) = try await stage.database.write { [world = stage.world] db in
            try APIKey.create(kind, named: "shop", for: scope, in: db, world)
        }
        #expect(text.hasPrefix(prefix) && text.utf8.count == prefix.utf8.count + 32)
        let said = try #require(APIKey.parse(text))
        #expect(said == (kind, livemode))
        #expect(key.masked == prefix + String(repeating: "*", count: 28) + text.suffix(4))
        let found = try await stage.database.read { try APIKey.find(digest: Secret.digest(text), in: $0) }
        #expect(found?.id == key.id && found?.scope == scope && found?.kind == kind && found?.name == "shop")
        #expect(found?.masked == key.masked && found?.revoked == nil)
        let wrong = try await stage.database.read { try APIKey.find(digest: Secret.digest(text + "x"), in: $0) }
        #expect(wrong == nil)
    }

    @Test(
        "is nothing else",
        arguments: ["", "sk_", "sk_test_", "sk_test_abc", "xk_test_abcdefgh", "sk_dev_abcdefgh", "sk_test_ab cd"]
    )
    func noKey(text: String) {
        #expect(APIKey.parse(text) == nil)
    }

    @Test(
        "is masked but for its prefix and its end, and wholly where it is short",
        arguments: [
            ("sk_test_abcdefgh", "sk_test_****efgh"), ("sk_test_abcd", "************"), ("secret", "**cret"),
            ("abcd", "****"), ("", ""), ("rk_live_51Habcdefgh", "rk_live_*******efgh"),
        ]
    )
    func mask(text: String, masked: String) {
        #expect(APIKey.mask(text) == masked)
    }

    @Test("is stored as its digest: its own bytes are in no file")
    func atRest() async throws {
        let stage = try await Stage(.file)
        let (text, _) = try await stage.database.write { [world = stage.world, scope = stage.scope] db in
            try APIKey.create(.secret, named: "the name canary", for: scope, in: db, world)
        }
        let chosen = "sk_test_chosenbysomeonecanary"
        try await stage.database.write { [world = stage.world, scope = stage.scope] db in
            _ = try APIKey.register(chosen, .secret, named: "chosen", for: scope, in: db, world)
        }
        let files = try stage.files()
        #expect(files.firstRange(of: Array("the name canary".utf8)) != nil)
        #expect(files.firstRange(of: Secret.digest(text)) != nil)
        for key in [text, chosen] {
            #expect(files.firstRange(of: Array(key.utf8)) == nil)
            #expect(files.firstRange(of: Array(key.utf8.dropFirst(8))) == nil)
        }
    }

    @Test("is revoked once, by its own merchant", arguments: Store.allCases)
    func revoke(store: Store) async throws {
        let stage = try await Stage(store)
        let (world, scope) = (stage.world, stage.scope)
        let (text, key) = try await stage.database.write {
            try APIKey.create(.secret, named: "a", for: scope, in: $0, world)
        }
        stage.advance(seconds: 9)
        try await stage.database.write { (db) throws in
            #expect(try !APIKey.revoke(key.id, of: "acct_other", in: db, world))
            #expect(try !APIKey.revoke("mk_x", of: scope.merchant, in: db, world))
            #expect(try APIKey.revoke(key.id, of: scope.merchant, in: db, world))
            #expect(try !APIKey.revoke(key.id, of: scope.merchant, in: db, world))
        }
        let found = try await stage.database.read { try APIKey.find(digest: Secret.digest(text), in: $0) }
        #expect(found?.revoked == Stage.start + 9)
        #expect(try await stage.database.read { try APIKey.all(of: scope.merchant, in: $0).map(\.id) } == [key.id])
        #expect(try await stage.database.read { try APIKey.all(of: "acct_other", in: $0).isEmpty })
    }

    @Test("that someone chose is stored once, and stays revoked", arguments: Store.allCases)
    func register(store: Store) async throws {
        let stage = try await Stage(store)
        let (world, scope) = (stage.world, stage.scope)
        let register: @Sendable () async throws -> APIKey = {
            try await stage.database.write { db in
                try APIKey.register("sk_test_chosen", .secret, named: "chosen", for: scope, in: db, world)
            }
        }
        let first = try await register()
        #expect(try await register().id == first.id)
        let isRevoked = try await stage.database.write {
            try APIKey.revoke(first.id, of: scope.merchant, in: $0, world)
        }
        #expect(isRevoked)
        #expect(try await register().revoked == Stage.start)
        #expect(try await stage.database.read { try APIKey.all(of: scope.merchant, in: $0).map(\.id) } == [first.id])
    }

    @Test("that is restricted may do what it was given, and writing includes reading", arguments: Store.allCases)
    func permissions(store: Store) async throws {
        let stage = try await Stage(store)
        let (world, scope) = (stage.world, stage.scope)
        let granted = [
            APIKey.Permission(.customer, write: true), APIKey.Permission(.financialConnectionsAccount, write: false),
        ]
        #expect(granted.map(\.name) == ["customer_write", "financial_connections_account_read"])
        let (text, made) = try await stage.database.write { db in
            try APIKey.create(.restricted, named: "a", permissions: granted, for: scope, in: db, world)
        }
        let found = try #require(
            try await stage.database.read { try APIKey.find(digest: Secret.digest(text), in: $0) }
        )
        for key in [made, found] {
            let allowed = APIKey.Permission.all.filter(key.allows)
            #expect(
                Set(allowed.map(\.name)) == ["customer_read", "customer_write", "financial_connections_account_read"]
            )
        }
    }

    @Test("that is secret may do everything, one that is publishable nothing of it", arguments: Store.allCases)
    func unrestricted(store: Store) async throws {
        let stage = try await Stage(store)
        let (world, scope) = (stage.world, stage.scope)
        try await stage.database.write { db in
            let secret = try APIKey.create(.secret, named: "a", for: scope, in: db, world).key
            let publishable = try APIKey.create(
                .publishable,
                named: "b",
                permissions: APIKey.Permission.all,
                for: scope,
                in: db,
                world
            ).key
            let none = try APIKey.create(.restricted, named: "c", for: scope, in: db, world).key
            #expect(APIKey.Permission.all.allSatisfy(secret.allows))
            #expect(!APIKey.Permission.all.contains(where: publishable.allows))
            #expect(!APIKey.Permission.all.contains(where: none.allows))
        }
    }
}
