/// The platform's own account: the merchant who runs Linkspan, and an account holder of sessions of type `account`.

public import Database
public import Wire

public struct Merchant: Sendable {
    public let id: String
    public let created: Int64
    public let name: String
    /// ISO 3166-1 alpha-2, upper case.
    public let country: String

    /// The name of one that was given none.
    public static let standardName = "Demo Merchant"

    // MARK: Statements

    /// The one merchant of this installation, made at the first start.
    /// - Parameter name: a new name for it, or nil to leave it as it is.
    public static func platform(named name: String? = nil, in db: Connection, _ world: World) throws -> Merchant {
        // Several servers may start on an empty database at once; one of them makes it.
        try db.execute(
            """
            INSERT INTO merchant (id, created, name, country, platform)
            VALUES (\(world.id(.merchant)), \(world.now()), \(name ?? standardName), \("US"), 1)
            ON CONFLICT (platform) DO UPDATE SET name = COALESCE(\(name), merchant.name)
            """
        )
        let merchant = try db.first("SELECT id, created, name, country FROM merchant WHERE platform = 1", read)
        guard let merchant else { throw StripeError.internalFault }
        return merchant
    }

    public static func find(_ id: String, in db: Connection) throws -> Merchant? {
        try db.first("SELECT id, created, name, country FROM merchant WHERE id = \(id)", read)
    }

    private static func read(_ row: Row) throws -> Merchant {
        Merchant(id: try row.text(0), created: try row.int(1), name: try row.text(2), country: try row.text(3))
    }

    // MARK: JSON

    private static let members = [
        "id", "object", "business_profile", "business_type", "capabilities", "charges_enabled", "country", "created",
        "default_currency", "details_submitted", "email", "external_accounts", "metadata", "payouts_enabled",
        "settings",
        "type",
    ]
    public static let shape = Expansion.Shape.object(.init(uniqueKeysWithValues: members.map { ($0, .leaf) }))

    public func write(to json: inout JSONWriter) {
        json.object { json in
            json.field("id", id)
            json.field("object", "account")
            json.object("business_profile") { json in
                json.nullField("mcc")
                json.field("name", name)
                json.nullField("product_description")
                json.nullField("support_address")
                json.nullField("support_email")
                json.nullField("support_phone")
                json.nullField("support_url")
                json.nullField("url")
            }
            json.nullField("business_type")
            json.object("capabilities") { _ in }
            json.field("charges_enabled", false)
            json.field("country", country)
            json.field("created", created)
            json.field("default_currency", "usd")
            json.field("details_submitted", true)
            json.nullField("email")
            json.object("external_accounts") { json in
                json.list([Merchant](), hasMore: false, totalCount: 0, url: "/v1/accounts/\(id)/external_accounts") {
                    _,
                    _ in
                }
            }
            json.object("metadata") { _ in }
            json.field("payouts_enabled", false)
            json.object("settings") { json in
                json.object("dashboard") { json in
                    json.field("display_name", name)
                    json.field("timezone", "Etc/UTC")
                }
            }
            json.field("type", "standard")
        }
    }
}
