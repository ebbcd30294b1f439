/// The handlers of webhook endpoints, and of what became of the events that were sent to them.

internal import Connections
internal import Outbound
internal import Wire

enum WebhookEndpoints {
    static func create(_ call: Call) async throws -> Answer {
        let parameters = try call.parameters(WebhookEndpoint.namesOfCreate)
        _ = try call.expansion(WebhookEndpoint.shape)
        let draft = try WebhookEndpoint.Draft(parameters, in: call.scope, call.service.world, call.service.ring)
        try check(draft.url, call)
        return try await call.write { db, json in
            try WebhookEndpoint.create(draft, db).write(to: &json, secret: draft.secret)
        }
    }

    static func retrieve(_ call: Call) async throws -> Answer {
        _ = try call.parameters()
        _ = try call.expansion(WebhookEndpoint.shape)
        return try await call.lookup { [id = call.id, scope = call.scope] db, json in
            try WebhookEndpoint.find(id, in: scope, db).write(to: &json)
        }
    }

    static func update(_ call: Call) async throws -> Answer {
        let changes = try WebhookEndpoint.Changes(call.parameters(WebhookEndpoint.namesOfUpdate))
        _ = try call.expansion(WebhookEndpoint.shape)
        if let url = changes.url { try check(url, call) }
        return try await call.write { [id = call.id, scope = call.scope] db, json in
            try WebhookEndpoint.update(id, changes, in: scope, db).write(to: &json)
        }
    }

    static func delete(_ call: Call) async throws -> Answer {
        _ = try call.parameters()
        return try await call.write { [id = call.id, scope = call.scope] db, json in
            try WebhookEndpoint.delete(id, in: scope, db)
            WebhookEndpoint.writeDeleted(id, to: &json)
        }
    }

    static func list(_ call: Call) async throws -> Answer {
        let page = try PageRequest(call.parameters(PageRequest.names))
        _ = try call.expansion(.object(["data": WebhookEndpoint.shape]))
        return try await call.read { [scope = call.scope] db, json in
            try WebhookEndpoint.writeList(page, in: scope, db, to: &json)
        }
    }

    /// Makes a new secret, which this answer alone shows.
    static func rollSecret(_ call: Call) async throws -> Answer {
        let parameters = try call.parameters(["expires_after": .leaf])
        let roll = try WebhookEndpoint.Roll(call.id, parameters, call.service.world, call.service.ring)
        return try await call.write { [scope = call.scope, world = call.service.world] db, json in
            try WebhookEndpoint.roll(roll, in: scope, db, world).write(to: &json, secret: roll.secret)
        }
    }

    static func health(_ call: Call) async throws -> Answer {
        _ = try call.parameters()
        return try await call.read { [id = call.id, scope = call.scope] db, json in
            try WebhookEndpoint.find(id, in: scope, db).writeHealth(db, to: &json)
        }
    }

    /// Refuses at once what could never be reached.
    private static func check(_ url: String, _ call: Call) throws(StripeError) {
        do {
            try call.service.settings.webhookPolicy(call.scope.livemode).check(url)
        } catch {
            var refusal = StripeError.badURL("url")
            if error == .notAllowed {
                let isPlain = call.scope.livemode && !url.lowercased().hasPrefix("https:")
                refusal.message =
                    isPlain
                    ? "Invalid URL: the URL of a live mode endpoint must begin with https."
                    : "Invalid URL: this server may not connect to that address. Whoever runs it can allow a network "
                        + "by --allow-networks."
            }
            throw refusal
        }
    }
}

enum Deliveries {
    /// Every attempt to deliver an event.
    static func history(_ call: Call) async throws -> Answer {
        _ = try call.parameters()
        return try await call.read { [id = call.id, scope = call.scope, world = call.service.world] db, json in
            _ = try Event.find(id, in: scope, db, world)
            try Delivery.writeHistory(of: id, in: scope, db, to: &json)
        }
    }

    /// Sends an event once more: to one endpoint, to those that listen on the command line, or to all endpoints that
    /// ask for its type.
    static func resend(_ call: Call) async throws -> Answer {
        let parameters = try call.parameters(["account": .leaf, "for_stripecli": .leaf, "webhook_endpoint": .leaf])
        let endpoint = try parameters.string("webhook_endpoint")
        let isForListeners = try endpoint == nil && parameters.boolean("for_stripecli") ?? false
        if isForListeners { call.service.listening.replay(call.id, in: call.scope) }
        return try await call.write { [id = call.id, scope = call.scope, world = call.service.world] db, json in
            let event = try Event.find(id, in: scope, db, world)
            if !isForListeners { try Delivery.resend(event, to: endpoint, in: scope, db, world) }
            try Event.find(id, in: scope, db, world).write(to: &json)
        }
    }
}
