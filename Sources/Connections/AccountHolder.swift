/// Whose accounts are linked: a customer of the merchant, or the merchant's own account.

public import Database
internal import Wire

public struct AccountHolder: Sendable, Equatable {
    public enum Kind: String, Sendable {
        case account, customer
    }

    public let kind: Kind
    /// `cus_…` or `acct_…`
    public let id: String

    static let names: Parameters.Names = [
        "account": .leaf, "customer": .leaf, "customer_account": .leaf, "type": .leaf,
    ]

    /// Reads `account_holder` of a new session: the member that its type names, and that one alone.
    init(_ parameters: Parameters) throws(StripeError) {
        guard let group = try parameters.group("account_holder") else { throw .missing("account_holder") }
        let type = try group.requiredChoice("type", of: ["account", "customer"])
        kind = type == "account" ? .account : .customer
        if group.has("customer_account") {
            throw StripeError(
                param: group.path("customer_account"),
                message: "Accounts of the v2 API cannot act as customers here. Pass account_holder[customer]."
            )
        }
        let stranger = kind == .account ? "customer" : "account"
        if group.has(stranger) { throw .unknown(group.path(stranger)) }
        id = try group.requiredString(type)
    }

    init(kind: Kind, id: String) {
        self.kind = kind
        self.id = id
    }

    /// - Throws: `resource_missing` where the holder is not the merchant's, or was deleted.
    func check(in scope: Scope, _ db: Connection) throws {
        switch kind {
        case .account:
            guard id == scope.merchant else {
                throw StripeError.noSuch(
                    "account",
                    id,
                    at: .parameter("account_holder[account]"),
                    livemode: scope.livemode
                )
            }
        case .customer:
            try Customer.requireLiving(id, at: .parameter("account_holder[customer]"), in: scope, db)
        }
    }

    /// Who links, as institutions and their connectors know them: opaque, and another for each merchant and mode.
    public func nameAtInstitutions(in scope: Scope) -> String {
        Self.nameAtInstitutions(of: id, in: scope)
    }

    static func nameAtInstitutions(of id: String, in scope: Scope) -> String {
        "\(scope.merchant)|\(scope.livemode ? "live" : "test")|\(id)"
    }

    /// The test clock that the holder is on.
    func testClock(in scope: Scope, _ db: Connection) throws -> String? {
        switch kind {
        case .account: nil
        case .customer: try Customer.testClock(of: id, in: scope, db)
        }
    }

    /// The world at the holder's time.
    public func world(in scope: Scope, _ db: Connection, _ world: World) throws -> World {
        try TestClock.world(of: testClock(in: scope, db), in: scope, db, world)
    }

    // MARK: JSON

    static let shape = Expansion.Shape.object([
        "account": .reference(resource: "account") { Merchant.shape },
        "customer": .reference(resource: "customer") { Customer.shape }, "type": .leaf,
    ])

    func write(_ key: String, to json: inout JSONWriter) {
        json.object(key) { json in
            json.field(kind.rawValue, id)
            json.field("type", kind.rawValue)
        }
    }

    func write(
        _ key: String,
        to json: inout JSONWriter,
        expanding expansion: Expansion?,
        in scope: Scope,
        _ db: Connection
    ) throws {
        guard expansion?[kind.rawValue] != nil else { return write(key, to: &json) }
        try json.object(key) { json in
            json.key(kind.rawValue)
            switch kind {
            case .account:
                guard let merchant = try Merchant.find(id, in: db) else { return json.null() }
                merchant.write(to: &json)
            case .customer:
                try Customer.find(id, at: .path(param: "id"), in: scope, db).write(to: &json)
            }
            json.field("type", kind.rawValue)
        }
    }
}
