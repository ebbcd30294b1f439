/// Who owns an account, as of one refresh: a snapshot that never changes. The account names the latest, and an earlier
/// one can be listed by its id for as long as the account's owners may be read.

public import Database
public import Wire

/// One owner, as the institution tells of them.
public struct Owner: Sendable, Codable, Equatable {
    public let name: String
    public let email: String?
    public let phone: String?
    /// One line, its parts joined by commas.
    public let address: String?

    public init(name: String, email: String?, phone: String?, address: String?) {
        self.name = name
        self.email = email
        self.phone = phone
        self.address = address
    }
}

public struct Ownership: Sendable {
    let id: String
    let scope: Scope
    let account: String
    let created: Int64

    /// How many owners the object itself shows; its `url` gives the rest.
    private static let embeddedOwners = 100

    // MARK: Statements

    /// - Parameter owners: in the institution's order, which the list keeps.
    static func create(
        of account: String,
        _ owners: [Owner],
        in scope: Scope,
        _ db: Connection,
        _ world: World
    ) throws -> Ownership {
        let ownership = Ownership(id: world.id(.ownership), scope: scope, account: account, created: world.now())
        try db.execute(
            """
            INSERT INTO ownership (merchant, livemode, id, account, created)
            VALUES (\(scope.merchant), \(scope.livemode), \(ownership.id), \(account), \(ownership.created))
            """
        )
        // Lists begin with the greatest id: the first owner is given the last.
        for owner in owners.reversed() {
            try db.execute(
                """
                INSERT INTO owner (merchant, livemode, ownership, id, created, name, email, phone, address)
                VALUES (\(scope.merchant), \(scope.livemode), \(ownership.id), \(world.id(.owner)),
                    \(ownership.created), \(owner.name), \(owner.email), \(owner.phone), \(owner.address))
                """
            )
        }
        return ownership
    }

    /// - Throws: `resource_missing` for a snapshot that there is not, or of another account.
    static func find(
        _ id: String,
        of account: String,
        at place: StripeError.Place,
        in scope: Scope,
        _ db: Connection
    ) throws -> Ownership {
        let created = try db.first(
            """
            SELECT created FROM ownership WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode)
            AND id = \(id) AND account = \(account)
            """
        ) { try $0.int(0) }
        guard let created else {
            throw StripeError.noSuch(
                "financial_connections.account_ownership",
                id,
                at: place,
                livemode: scope.livemode
            )
        }
        return Ownership(id: id, scope: scope, account: account, created: created)
    }

    private func page(_ request: PageRequest, _ db: Connection) throws -> Page<(id: String, owner: Owner)> {
        let mine: SQL = """
            FROM owner WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND ownership = \(id)
            """
        return try Page(
            request,
            of: "financial_connections.account_owner",
            in: scope,
            db,
            select: "SELECT id, name, email, phone, address \(mine)",
            moment: { id in try db.first("SELECT created \(mine) AND id = \(id)") { try $0.int(0) } },
            read: { row in
                let owner = Owner(
                    name: try row.text(1),
                    email: row.optionalText(2),
                    phone: row.optionalText(3),
                    address: row.optionalText(4)
                )
                return (try row.text(0), owner)
            }
        )
    }

    // MARK: Lists

    public struct Query: Sendable {
        public static let names: [String: Parameters.Names] = PageRequest.names.merging(
            ["ownership": .leaf],
            uniquingKeysWith: { first, _ in first }
        )

        fileprivate let ownership: String
        fileprivate let page: PageRequest

        public init(_ parameters: Parameters) throws(StripeError) {
            ownership = try parameters.requiredString("ownership")
            page = try PageRequest(parameters)
        }
    }

    /// - Throws: where the account's owners may not be read.
    public static func writeOwners(
        of account: String,
        _ query: Query,
        in scope: Scope,
        _ db: Connection,
        to json: inout JSONWriter
    ) throws {
        let account = try Account.find(account, at: .path(param: "account"), in: scope, db)
        try account.requireReadable(.ownership)
        let place = StripeError.Place.parameter("ownership")
        let ownership = try find(query.ownership, of: account.id, at: place, in: scope, db)
        try json.object { json in try ownership.writeList(query.page, to: &json, db) }
    }

    private func writeList(_ request: PageRequest, to json: inout JSONWriter, _ db: Connection) throws {
        let page = try page(request, db)
        let url = "/v1/financial_connections/accounts/\(account)/owners?ownership=\(id)"
        json.list(page.elements, hasMore: page.hasMore, url: url) { element, json in
            json.object { json in
                json.field("id", element.id)
                json.field("object", "financial_connections.account_owner")
                json.field("email", element.owner.email)
                json.field("name", element.owner.name)
                json.field("ownership", id)
                json.field("phone", element.owner.phone)
                json.field("raw_address", element.owner.address)
                json.field("refreshed_at", created)
            }
        }
    }

    // MARK: JSON

    private static let ownerShape = Expansion.Shape.object([
        "id": .leaf, "object": .leaf, "email": .leaf, "name": .leaf, "ownership": .leaf, "phone": .leaf,
        "raw_address": .leaf, "refreshed_at": .leaf,
    ])

    /// A list of owners, as `expand` sees it.
    public static let listShape = Expansion.Shape.object([
        "object": .leaf, "data": ownerShape, "has_more": .leaf, "url": .leaf,
    ])

    static let shape = Expansion.Shape.object([
        "id": .leaf, "object": .leaf, "created": .leaf, "owners": listShape,
    ])

    func write(to json: inout JSONWriter, _ db: Connection) throws {
        try json.object { json in
            json.field("id", id)
            json.field("object", "financial_connections.account_ownership")
            json.field("created", created)
            try json.object("owners") { json in
                try writeList(PageRequest(limit: Self.embeddedOwners), to: &json, db)
            }
        }
    }
}
