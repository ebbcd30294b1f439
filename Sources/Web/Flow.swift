/// The client routes of the hosted flow, but for the sign-in at a bank: what Stripe's mobile SDKs call, and our own
/// page.
///
/// They are authorised by a publishable key with the Session's client secret, or by a flow token. Clients say more than
/// is understood here, so unknown parameters pass.

internal import Connections
internal import Database
internal import Institutions
internal import Vault
internal import Wire

extension Call {
    var lenient: Parameters { Parameters(lenient: form) }

    /// The Session that this call's credentials open.
    func session(_ db: Connection) throws -> Session {
        if let flow {
            return try Session.find(flow.session, at: .parameter("client_secret"), in: scope, db)
        }
        return try Session.find(clientSecret: lenient.requiredString("client_secret"), in: scope, db)
    }

    /// The Session, which may still be used.
    func openSession(_ db: Connection) throws -> Session {
        let session = try session(db)
        try flow?.requireFresh(service.world)
        try session.requireOpen(service.world)
        return session
    }

    /// The Session, whose person has agreed to share data.
    func consentedSession(_ db: Connection) throws -> Session {
        let session = try openSession(db)
        guard session.consentAt != nil else {
            throw StripeError(message: "The account holder has not given consent in this session yet.")
        }
        return session
    }
}

enum Flow {
    static func synchronize(_ call: Call) async throws -> Answer {
        let end = try FlowToken.End(call.lenient)
        return try await call.read { db, json in
            let session = try call.openSession(db)
            // The page that an app opened keeps leading back to the app.
            try Manifest(session, end: call.flow?.end ?? end, db, call.service).writeSynchronized(to: &json)
        }
    }

    static func consentAcquired(_ call: Call) async throws -> Answer {
        try await call.write { db, json in
            var session = try call.openSession(db)
            try session.giveConsent(db, call.service.world)
            try Manifest(session, end: call.flow?.end ?? .page, db, call.service).write(to: &json)
        }
    }

    static func linkMoreAccounts(_ call: Call) async throws -> Answer {
        try await call.read { db, json in
            let session = try call.consentedSession(db)
            try Manifest(session, end: call.flow?.end ?? .page, db, call.service).write(to: &json)
        }
    }

    /// Ends the flow. A repeated call is answered alike, and so is one after the Session's time.
    static func complete(_ call: Call) async throws -> Answer {
        let reason = try call.lenient.string("terminal_error")
        let isCustomManualEntry = reason == "user_initiated_with_custom_manual_entry"
        return try await call.write { db, json in
            var session = try call.session(db)
            try session.finish(
                reason: isCustomManualEntry ? "custom_manual_entry" : nil,
                by: call.cause,
                db,
                call.service.world
            )
            try session.write(to: &json, for: .client(knowsSecret: call.flow == nil), db, call.service.ring)
        }
    }

    static func receipt(_ call: Call) async throws -> Answer {
        try await call.read { db, json in
            try call.session(db).write(to: &json, for: .client(knowsSecret: call.flow == nil), db, call.service.ring)
        }
    }

    static func listAccounts(_ call: Call) async throws -> Answer {
        try await call.read { db, json in
            let session = try call.session(db)
            let query = try Account.Query(session: session.id, call.lenient)
            try Account.writeList(query, expanding: .none, in: call.scope, db, to: &json)
        }
    }

    /// A bank account typed by hand, or one that was just linked.
    static func attachPaymentAccount(_ call: Call) async throws -> Answer {
        let parameters = call.lenient
        switch try parameters.requiredChoice("type", of: ["bank_account", "linked_account"]) {
        case "linked_account":
            guard let group = try parameters.group("linked_account") else {
                throw StripeError.missing("linked_account")
            }
            let id = try group.requiredString("id")
            return try await call.read { db, json in
                guard try Account.isLinked(id, in: call.consentedSession(db), db) else {
                    throw StripeError.noSuch(
                        "financial_connections.account",
                        id,
                        at: .parameter("linked_account[id]"),
                        livemode: call.scope.livemode
                    )
                }
                writePaymentAccount(id, nextPane: "success", to: &json)
            }
        default:
            guard let group = try parameters.group("bank_account") else { throw StripeError.missing("bank_account") }
            let request = try BankAccountToken.Request(group)
            return try await call.write { db, json in
                // Nothing is shared by a bank, so no consent to it is needed.
                let session = try call.openSession(db)
                guard session.configuration.manualEntry == "automatic" else {
                    throw StripeError(
                        param: "type",
                        message: "Entering an account by hand is disabled in this session."
                    )
                }
                let token = try BankAccountToken.attach(
                    request,
                    to: session,
                    db,
                    call.service.world,
                    call.service.ring
                )
                writePaymentAccount(token.id, nextPane: "manual_entry_success", to: &json)
            }
        }
    }

    private static func writePaymentAccount(_ id: String, nextPane: String, to json: inout JSONWriter) {
        json.object { json in
            json.field("id", id)
            if nextPane == "manual_entry_success" { json.field("microdeposit_verification_method", "amounts") }
            json.field("networking_successful", false)
            json.field("next_pane", nextPane)
        }
    }

    // MARK: Institutions

    static func featuredInstitutions(_ call: Call) async throws -> Answer {
        let limit = try call.lenient.integer("limit", in: 1...100) ?? 20
        return try await call.read { db, json in
            let session = try call.openSession(db)
            let country = session.configuration.country
            writeList(
                call.service.directory.featured(in: country, livemode: call.scope.livemode, limit: Int(limit)),
                session,
                "featured_institutions",
                to: &json
            )
        }
    }

    static func institutions(_ call: Call) async throws -> Answer {
        let limit = try call.lenient.integer("limit", in: 1...100) ?? 20
        let query = call.lenient.isEmptyString("query") ? "" : try call.lenient.string("query", maximum: 200) ?? ""
        return try await call.read { db, json in
            let session = try call.openSession(db)
            let country = session.configuration.country
            writeList(
                call.service.directory.search(query, in: country, livemode: call.scope.livemode, limit: Int(limit)),
                session,
                "institutions",
                to: &json
            )
        }
    }

    private static func writeList(
        _ institutions: [Institution],
        _ session: Session,
        _ name: String,
        to json: inout JSONWriter
    ) {
        json.object { json in
            json.field("object", "list")
            json.array("data") { json in
                for (index, institution) in institutions.enumerated() {
                    json.element()
                    institution.write(to: &json, order: index)
                }
            }
            json.field("has_more", false)
            json.field("show_manual_entry", session.configuration.manualEntry == "automatic")
            json.field("url", "/v1/connections/\(name)")
        }
    }
}

extension Institution {
    func write(to json: inout JSONWriter, order: Int? = nil) {
        json.object { json in
            json.field("id", id)
            json.field("featured", featured)
            json.field("featured_order", featured ? order.map { Int64($0) } : nil)
            json.nullField("icon")
            json.nullField("logo")
            json.field("mobile_handoff_capable", false)
            json.field("name", name)
            json.field("url", domain)
        }
    }
}
