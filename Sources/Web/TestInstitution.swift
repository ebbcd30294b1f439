/// What tests make at a test institution, and the clocks that they set: routes of test mode.
///
/// A balance, owners or a transaction is what the bank says from now on: a refresh finds it out.

internal import Connections
internal import Database
internal import Wire

enum TestInstitution {
    static func setBalance(_ call: Call) async throws -> Answer {
        let request = try TestBankAccount.BalanceRequest(call.parameters(TestBankAccount.balanceNames))
        return try await Accounts.change(call) { [id = call.id, scope = call.scope, world = call.service.world] db in
            try TestBankAccount.set(request, of: id, in: scope, db, world)
        }
    }

    static func setOwners(_ call: Call) async throws -> Answer {
        let request = try TestBankAccount.OwnersRequest(call.parameters(TestBankAccount.ownersNames))
        return try await Accounts.change(call) { [id = call.id, scope = call.scope] db in
            try TestBankAccount.set(request, of: id, in: scope, db)
        }
    }

    static func deactivate(_ call: Call) async throws -> Answer {
        let request = try TestBankAccount.DeactivationRequest(call.parameters(TestBankAccount.deactivationNames))
        return try await Accounts.change(call) {
            [id = call.id, cause = call.cause, scope = call.scope, world = call.service.world]
            db in
            try TestBankAccount.deactivate(id, request, by: cause, in: scope, db, world)
        }
    }

    static func reactivate(_ call: Call) async throws -> Answer {
        _ = try call.parameters()
        return try await Accounts.change(call) {
            [id = call.id, cause = call.cause, scope = call.scope, world = call.service.world]
            db in
            try TestBankAccount.reactivate(id, by: cause, in: scope, db, world)
        }
    }

    static func failNextRefresh(_ call: Call) async throws -> Answer {
        let parameters = try call.parameters(TestBankAccount.failureNames)
        let name = try parameters.requiredChoice("feature", of: Refresh.Feature.allCases.map(\.rawValue))
        guard let feature = Refresh.Feature(rawValue: name) else { throw StripeError.internalFault }
        return try await Accounts.change(call) { [id = call.id, scope = call.scope] db in
            try TestBankAccount.failNext(feature, of: id, in: scope, db)
        }
    }

    // MARK: Transactions

    static func addTransaction(_ call: Call) async throws -> Answer {
        let request = try TestBankAccount.TransactionRequest(call.parameters(TestBankAccount.transactionNames))
        return try await call.write {
            [id = call.id, scope = call.scope, world = call.service.world]
            db,
            json in
            let made = try TestBankAccount.add(request, to: id, in: scope, db, world)
            json.object { json in json.field("id", made) }
        }
    }

    static func postTransaction(_ call: Call) async throws -> Answer {
        try await settleTransaction(call, as: .posted)
    }

    static func voidTransaction(_ call: Call) async throws -> Answer {
        try await settleTransaction(call, as: .void)
    }

    private static func settleTransaction(_ call: Call, as status: Transaction.Status) async throws -> Answer {
        _ = try call.parameters()
        return try await call.write {
            [id = call.id, made = call.inner, scope = call.scope, world = call.service.world]
            db,
            json in
            try TestBankAccount.settle(made, as: status, on: id, in: scope, db, world)
            json.object { json in json.field("id", made) }
        }
    }
}

enum TestClocks {
    static func create(_ call: Call) async throws -> Answer {
        let parameters = try call.parameters(TestClock.names)
        let time = try TestClock.frozenTime(parameters)
        let name = try parameters.string("name", maximum: 300)
        _ = try call.expansion(TestClock.shape)
        return try await call.write { [cause = call.cause, scope = call.scope, world = call.service.world] db, json in
            try TestClock.create(at: time, name: name, by: cause, in: scope, db, world).write(to: &json)
        }
    }

    static func retrieve(_ call: Call) async throws -> Answer {
        _ = try call.parameters()
        _ = try call.expansion(TestClock.shape)
        return try await call.lookup { [id = call.id, scope = call.scope] db, json in
            try TestClock.find(id, at: .path(param: "test_clock"), in: scope, db).write(to: &json)
        }
    }

    static func list(_ call: Call) async throws -> Answer {
        let request = try PageRequest(call.parameters(PageRequest.names))
        _ = try call.expansion(.object(["data": TestClock.shape]))
        return try await call.read { [scope = call.scope] db, json in
            try TestClock.writeList(request, in: scope, db, to: &json)
        }
    }

    /// Answers at once, while the clock is `advancing`; it is `ready` when it has arrived.
    static func advance(_ call: Call) async throws -> Answer {
        let time = try TestClock.frozenTime(call.parameters(TestClock.advanceNames))
        _ = try call.expansion(TestClock.shape)
        return try await call.write {
            [id = call.id, cause = call.cause, scope = call.scope, world = call.service.world]
            db,
            json in
            try TestClock.advance(id, to: time, by: cause, in: scope, db, world).write(to: &json)
        }
    }

    static func delete(_ call: Call) async throws -> Answer {
        _ = try call.parameters()
        return try await call.write {
            [id = call.id, cause = call.cause, scope = call.scope, world = call.service.world]
            db,
            json in
            try TestClock.delete(id, by: cause, in: scope, db, world).writeStub(to: &json)
        }
    }
}
