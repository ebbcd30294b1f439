/// The handlers of the merchant's routes: customers, sessions, accounts, events and the platform's own account.

internal import Connections
internal import Database
internal import Wire

enum Customers {
    static func create(_ call: Call) async throws -> Answer {
        let changes = try Customer.Changes(call.parameters(Customer.namesOfNew))
        _ = try call.expansion(Customer.shape)
        return try await call.write { [cause = call.cause, scope = call.scope, world = call.service.world] db, json in
            try Customer.create(changes, by: cause, in: scope, db, world).write(to: &json)
        }
    }

    static func retrieve(_ call: Call) async throws -> Answer {
        _ = try call.parameters()
        _ = try call.expansion(Customer.shape)
        return try await call.lookup { [id = call.id, scope = call.scope] db, json in
            try Customer.find(id, at: .path(param: "id"), in: scope, db).write(to: &json)
        }
    }

    static func update(_ call: Call) async throws -> Answer {
        let changes = try Customer.Changes(call.parameters(Customer.names))
        _ = try call.expansion(Customer.shape)
        return try await call.write {
            [id = call.id, cause = call.cause, scope = call.scope, world = call.service.world]
            db,
            json in
            try Customer.update(id, changes, by: cause, in: scope, db, world).write(to: &json)
        }
    }

    static func delete(_ call: Call) async throws -> Answer {
        _ = try call.parameters()
        return try await call.write {
            [id = call.id, cause = call.cause, scope = call.scope, world = call.service.world]
            db,
            json in
            try Customer.delete(id, by: cause, in: scope, db, world).write(to: &json)
        }
    }

    static func list(_ call: Call) async throws -> Answer {
        let query = try Customer.Query(call.parameters(Customer.Query.names))
        _ = try call.expansion(.object(["data": Customer.shape]))
        return try await call.read { [scope = call.scope] db, json in
            try Customer.writeList(query, in: scope, db, to: &json)
        }
    }
}

enum Sessions {
    static func create(_ call: Call) async throws -> Answer {
        let version = call.version
        let request = try Session.Request(call.parameters(Session.names(version)), version)
        let expansion = try call.expansion(Session.shape)
        let service = call.service
        let lifetime = service.settings.sessionLifetime
        let draft = try Session.Draft(request, lifetime: lifetime, in: call.scope, service.world, service.ring)
        if expansion.isEmpty {
            let answer = Call.answer { json in draft.write(to: &json, version) }
            return try await call.write(
                answering: answer,
                from: draft.recipe(version),
                again: { [scope = call.scope] recipe, db, json in
                    try Session.writeNew(recipe, to: &json, in: scope, db, service.ring)
                },
                { db in try Session.create(draft, db) }
            )
        }
        return try await call.write { db, json in
            try Session.create(draft, db)
            try draft.session.write(to: &json, for: .server(version), expanding: expansion, db, service.ring)
        }
    }

    static func retrieve(_ call: Call) async throws -> Answer {
        let version = call.version
        _ = try call.parameters()
        let expansion = try call.expansion(Session.shape)
        return try await call.read { [id = call.id, scope = call.scope, ring = call.service.ring] db, json in
            let session = try Session.find(id, at: .path(param: "session"), in: scope, db)
            try session.write(to: &json, for: .server(version), expanding: expansion, db, ring)
        }
    }
}

enum Accounts {
    static func list(_ call: Call) async throws -> Answer {
        let query = try Account.Query(call.parameters(Account.Query.names))
        let expansion = try call.expansion(Account.listShape)
        let answer: @Sendable (Connection, inout JSONWriter) throws -> Void = { [scope = call.scope] db, json in
            try Account.writeList(query, expanding: expansion, in: scope, db, to: &json)
        }
        return try await query.isSimple && expansion.isEmpty ? call.lookup(answer) : call.read(answer)
    }

    static func retrieve(_ call: Call) async throws -> Answer {
        _ = try call.parameters()
        let expansion = try call.expansion(Account.shape)
        let answer: @Sendable (Connection, inout JSONWriter) throws -> Void = { db, json in
            try Account.write(
                call.id,
                at: .path(param: "account"),
                expanding: expansion,
                in: call.scope,
                db,
                to: &json
            )
        }
        return try await expansion.isEmpty ? call.lookup(answer) : call.read(answer)
    }

    static func disconnect(_ call: Call) async throws -> Answer {
        _ = try call.parameters()
        let expansion = try call.expansion(Account.shape)
        return try await call.write {
            [id = call.id, cause = call.cause, scope = call.scope, world = call.service.world]
            db,
            json in
            try Account.disconnect(id, by: cause, in: scope, db, world).write(to: &json, expanding: expansion, db)
        }
    }
}

extension Accounts {
    static func refresh(_ call: Call) async throws -> Answer {
        let parameters = try call.parameters(Account.RefreshRequest.names)
        let request = try Account.RefreshRequest(parameters, of: Refresh.Feature.allCases)
        let early = call.service.settings.earlyRefresh
        return try await change(call) { [id = call.id, scope = call.scope, world = call.service.world] db in
            try Account.refresh(id, request, early: early, in: scope, db, world)
        }
    }

    static func subscribe(_ call: Call) async throws -> Answer {
        let request = try Account.RefreshRequest(call.parameters(Account.RefreshRequest.names), of: [.transactions])
        return try await change(call) { [id = call.id, scope = call.scope, world = call.service.world] db in
            try Account.subscribe(id, request, in: scope, db, world)
        }
    }

    static func unsubscribe(_ call: Call) async throws -> Answer {
        // What it names can only be all that there is.
        _ = try Account.RefreshRequest(call.parameters(Account.RefreshRequest.names), of: [.transactions])
        return try await change(call) { [id = call.id, scope = call.scope] db in
            try Account.unsubscribe(id, in: scope, db)
        }
    }

    /// Makes a change to an account and answers the account.
    static func change(
        _ call: Call,
        _ change: @escaping @Sendable (Connection) throws -> Account
    ) async throws -> Answer {
        let expansion = try call.expansion(Account.shape)
        return try await call.write { db, json in
            try change(db).write(to: &json, expanding: expansion, db)
        }
    }

    static func owners(_ call: Call) async throws -> Answer {
        let query = try Ownership.Query(call.parameters(Ownership.Query.names))
        _ = try call.expansion(Ownership.listShape)
        return try await call.read { [id = call.id, scope = call.scope] db, json in
            try Ownership.writeOwners(of: id, query, in: scope, db, to: &json)
        }
    }
}

enum Transactions {
    static func list(_ call: Call) async throws -> Answer {
        let query = try Transaction.Query(call.parameters(Transaction.Query.names))
        _ = try call.expansion(.object(["data": Transaction.shape]))
        return try await call.read { [scope = call.scope] db, json in
            try Transaction.writeList(query, in: scope, db, to: &json)
        }
    }

    static func retrieve(_ call: Call) async throws -> Answer {
        _ = try call.parameters()
        _ = try call.expansion(Transaction.shape)
        return try await call.read { [id = call.id, scope = call.scope] db, json in
            try Transaction.find(id, in: scope, db).write(to: &json)
        }
    }
}

enum Events {
    static func list(_ call: Call) async throws -> Answer {
        let query = try Event.Query(call.parameters(Event.Query.names))
        _ = try call.expansion(.object(["data": Event.shape]))
        return try await call.read { [scope = call.scope, world = call.service.world] db, json in
            try Event.writeList(query, in: scope, db, world, to: &json)
        }
    }

    static func retrieve(_ call: Call) async throws -> Answer {
        _ = try call.parameters()
        _ = try call.expansion(Event.shape)
        return try await call.lookup { [id = call.id, scope = call.scope, world = call.service.world] db, json in
            try Event.find(id, in: scope, db, world).write(to: &json)
        }
    }
}

/// The platform's own account; there are no connected ones.
enum Platform {
    static func retrieve(_ call: Call) async throws -> Answer {
        _ = try call.parameters()
        _ = try call.expansion(Merchant.shape)
        return try await call.lookup { [id = call.id, scope = call.scope] db, json in
            guard id.isEmpty || id == scope.merchant, let merchant = try Merchant.find(scope.merchant, in: db) else {
                throw StripeError.noSuch("account", id, at: .path(param: "account"), livemode: scope.livemode)
            }
            merchant.write(to: &json)
        }
    }
}
