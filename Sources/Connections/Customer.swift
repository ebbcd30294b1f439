/// A customer: the person or company whose bank accounts are linked. Fields of the API that belong to billing are shown
/// with their defaults and cannot be set.

public import Database
internal import FoundationEssentials
public import Wire

public struct Customer: Sendable {
    public let id: String
    let scope: Scope
    let created: Int64
    var deleted = false
    var fields = Fields()
    let invoicePrefix: String
    /// The clock that the customer was created on.
    let testClock: String?

    /// What a merchant may set.
    struct Fields: Sendable, Equatable {
        var address: Address?
        var businessName: String?
        var description: String?
        var email: String?
        var individualName: String?
        var metadata = Metadata()
        var name: String?
        var phone: String?
        var preferredLocales: [String] = []
        var shipping: Shipping?
        var taxExempt = "none"
    }

    struct Address: Sendable, Equatable, Codable {
        var city: String?
        var country: String?
        var line1: String?
        var line2: String?
        var postalCode: String?
        var state: String?
    }

    struct Shipping: Sendable, Equatable, Codable {
        var address: Address
        var name: String?
        var phone: String?
    }

    // MARK: Parameters

    private static let addressNames: Parameters.Names = [
        "city": .leaf, "country": .leaf, "line1": .leaf, "line2": .leaf, "postal_code": .leaf, "state": .leaf,
    ]
    public static let names: [String: Parameters.Names] = [
        "address": addressNames, "business_name": .leaf, "description": .leaf, "email": .leaf, "individual_name": .leaf,
        "metadata": .any, "name": .leaf, "phone": .leaf, "preferred_locales": .leaf,
        "shipping": ["address": addressNames, "name": .leaf, "phone": .leaf], "tax_exempt": .leaf,
    ]
    public static let namesOfNew: [String: Parameters.Names] = names.merging(
        ["test_clock": .leaf],
        uniquingKeysWith: { first, _ in first }
    )

    /// What a create or an update asks for, checked.
    public struct Changes: Sendable {
        private let address: Parameters.Change<Address>
        private let businessName: Parameters.Change<String>
        private let description: Parameters.Change<String>
        private let email: Parameters.Change<String>
        private let individualName: Parameters.Change<String>
        private let metadata: Metadata.Change
        private let name: Parameters.Change<String>
        private let phone: Parameters.Change<String>
        private let preferredLocales: [String]?
        private let shipping: Parameters.Change<Shipping>
        private let taxExempt: Parameters.Change<String>
        fileprivate let testClock: String?

        public init(_ parameters: Parameters) throws(StripeError) {
            address = try Self.address(parameters, "address")
            businessName = try parameters.change("business_name", maximum: 150)
            description = try parameters.change("description")
            email = try parameters.change("email", maximum: 512)
            if case .set(let email) = email, !Self.looksLikeEmail(email) {
                throw StripeError(code: "email_invalid", param: "email", message: "Invalid email address: \(email)")
            }
            individualName = try parameters.change("individual_name", maximum: 150)
            metadata = try Metadata.Change(parameters)
            name = try parameters.change("name", maximum: 256)
            phone = try parameters.change("phone", maximum: 20)
            preferredLocales = try parameters.strings("preferred_locales")?.map(\.value)
            if let wrong = preferredLocales?.firstIndex(where: { $0.contains(",") }) {
                throw StripeError.badString("preferred_locales[\(wrong)]")
            }
            shipping = try Self.shipping(parameters)
            if parameters.isEmptyString("tax_exempt") {
                taxExempt = .clear
            } else {
                let value = try parameters.choice("tax_exempt", of: ["exempt", "none", "reverse"])
                taxExempt = value.map { .set($0) } ?? .keep
            }
            testClock = try parameters.string("test_clock")
        }

        private static func looksLikeEmail(_ text: String) -> Bool {
            let parts = text.split(separator: "@", omittingEmptySubsequences: false)
            return parts.count == 2 && !parts[0].isEmpty && !parts[1].isEmpty
                && !text.contains(where: { $0.isWhitespace || $0 == "," }) && parts[1].last != "."
        }

        private static func address(
            _ parameters: Parameters,
            _ name: String
        ) throws(StripeError) -> Parameters.Change<Address> {
            if parameters.isEmptyString(name) { return .clear }
            guard let group = try parameters.group(name) else { return .keep }
            var address = Address()
            address.city = try optional(group, "city")
            address.country = try optional(group, "country")
            address.line1 = try optional(group, "line1")
            address.line2 = try optional(group, "line2")
            address.postalCode = try optional(group, "postal_code")
            address.state = try optional(group, "state")
            return .set(address)
        }

        private static func shipping(_ parameters: Parameters) throws(StripeError) -> Parameters.Change<Shipping> {
            if parameters.isEmptyString("shipping") { return .clear }
            guard let group = try parameters.group("shipping") else { return .keep }
            guard case .set(let address) = try address(group, "address") else { throw .missing("shipping[address]") }
            let name = try group.requiredString("name")
            return .set(Shipping(address: address, name: name, phone: try optional(group, "phone")))
        }

        private static func optional(_ group: Parameters, _ name: String) throws(StripeError) -> String? {
            if case .set(let value) = try group.change(name) { return value }
            return nil
        }

        func apply(to fields: inout Fields) throws(StripeError) {
            address.apply(to: &fields.address)
            businessName.apply(to: &fields.businessName)
            description.apply(to: &fields.description)
            email.apply(to: &fields.email)
            individualName.apply(to: &fields.individualName)
            try fields.metadata.apply(metadata)
            name.apply(to: &fields.name)
            phone.apply(to: &fields.phone)
            if let preferredLocales { fields.preferredLocales = preferredLocales }
            shipping.apply(to: &fields.shipping)
            switch taxExempt {
            case .keep: break
            case .clear: fields.taxExempt = "none"
            case .set(let value): fields.taxExempt = value
            }
        }
    }

    // MARK: Transitions

    public static func create(
        _ changes: Changes,
        by cause: Cause,
        in scope: Scope,
        _ db: Connection,
        _ world: World
    ) throws -> Customer {
        if let clock = changes.testClock {
            try TestClock.requireRoom(clock, at: .parameter("test_clock"), in: scope, db)
        }
        let world = try TestClock.world(of: changes.testClock, in: scope, db, world)
        var customer = Customer(
            id: world.id(.customer),
            scope: scope,
            created: world.now(),
            invoicePrefix: String(world.secret("", length: 8).uppercased()),
            testClock: changes.testClock
        )
        try changes.apply(to: &customer.fields)
        try customer.insert(db)
        try Event.record(.customerCreated, object: customer.snapshot(), by: cause, in: scope, db, world)
        return customer
    }

    public static func update(
        _ id: String,
        _ changes: Changes,
        by cause: Cause,
        in scope: Scope,
        _ db: Connection,
        _ world: World
    ) throws -> Customer {
        var customer = try find(id, at: .path(param: "id"), in: scope, db)
        guard !customer.deleted else { throw noSuch(id, at: .path(param: "id"), scope) }
        let before = customer.fields
        try changes.apply(to: &customer.fields)
        guard customer.fields != before else { return customer }
        try customer.save(db)
        let previous = customer.fields.previousAttributes(before)
        try Event.record(
            .customerUpdated,
            object: customer.snapshot(),
            previous: previous,
            by: cause,
            in: scope,
            db,
            TestClock.world(of: customer.testClock, in: scope, db, world)
        )
        return customer
    }

    /// Deletes the customer's personal data and keeps the id as a stub. Linked accounts stay.
    public static func delete(
        _ id: String,
        by cause: Cause,
        in scope: Scope,
        _ db: Connection,
        _ world: World
    ) throws -> Customer {
        var customer = try find(id, at: .path(param: "id"), in: scope, db)
        guard !customer.deleted else { throw noSuch(id, at: .path(param: "id"), scope) }
        let snapshot = customer.snapshot()
        customer.deleted = true
        customer.fields = Fields()
        try customer.save(db)
        let own = try TestClock.world(of: customer.testClock, in: scope, db, world)
        try Event.record(.customerDeleted, object: snapshot, by: cause, in: scope, db, own)
        return customer
    }

    // MARK: Statements

    private static let columns: SQL = """
        SELECT id, created, deleted, email, name, phone, description, business_name, individual_name, tax_exempt,
            preferred_locales, address, shipping, metadata, invoice_prefix, test_clock FROM customer
        """

    /// - Throws: `resource_missing`. A deleted customer is found.
    public static func find(
        _ id: String,
        at place: StripeError.Place,
        in scope: Scope,
        _ db: Connection
    ) throws -> Customer {
        let customer = try db.first(
            "\(columns) WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND id = \(id)"
        ) { try Customer($0, scope) }
        if let customer { return customer }
        throw try missing(id, at: place, in: scope, db)
    }

    /// - Throws: `resource_missing` for a customer that there is not, or no longer.
    static func requireLiving(
        _ id: String,
        at place: StripeError.Place,
        in scope: Scope,
        _ db: Connection
    ) throws {
        let isDeleted = try db.first(
            """
            SELECT deleted FROM customer
            WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND id = \(id)
            """
        ) { try $0.bool(0) }
        switch isDeleted {
        case false: return
        case true: throw noSuch(id, at: place, scope)
        case nil: throw try missing(id, at: place, in: scope, db)
        }
    }

    static func testClock(of id: String, in scope: Scope, _ db: Connection) throws -> String? {
        try db.first(
            """
            SELECT test_clock FROM customer
            WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND id = \(id)
            """
        ) { $0.optionalText(0) } ?? nil
    }

    private static func missing(
        _ id: String,
        at place: StripeError.Place,
        in scope: Scope,
        _ db: Connection
    ) throws -> StripeError {
        let other = scope.otherMode
        let exists =
            try db.first(
                """
                SELECT 1 FROM customer
                WHERE merchant = \(other.merchant) AND livemode = \(other.livemode) AND id = \(id)
                """
            ) { try $0.int(0) } != nil
        return noSuch(id, at: place, scope, otherMode: exists)
    }

    /// The newest customer of an e-mail address, deleted ones left out.
    public static func find(email: String, in scope: Scope, _ db: Connection) throws -> Customer? {
        try db.first(
            """
            \(columns) WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND email = \(email)
            AND deleted = 0 ORDER BY created DESC, id DESC LIMIT 1
            """
        ) { try Customer($0, scope) }
    }

    static func noSuch(
        _ id: String,
        at place: StripeError.Place,
        _ scope: Scope,
        otherMode: Bool = false
    ) -> StripeError {
        .noSuch("customer", id, at: place, livemode: scope.livemode, otherMode: otherMode)
    }

    private init(
        id: String,
        scope: Scope,
        created: Int64,
        invoicePrefix: String,
        testClock: String?
    ) {
        self.id = id
        self.scope = scope
        self.created = created
        self.invoicePrefix = invoicePrefix
        self.testClock = testClock
    }

    private init(_ row: Row, _ scope: Scope) throws {
        self.init(
            id: try row.text(0),
            scope: scope,
            created: try row.int(1),
            invoicePrefix: try row.text(14),
            testClock: row.optionalText(15)
        )
        deleted = try row.bool(2)
        fields.email = row.optionalText(3)
        fields.name = row.optionalText(4)
        fields.phone = row.optionalText(5)
        fields.description = row.optionalText(6)
        fields.businessName = row.optionalText(7)
        fields.individualName = row.optionalText(8)
        fields.taxExempt = try row.text(9)
        fields.preferredLocales = Joined.values(try row.text(10))
        fields.address = try row.optionalText(11).map { try Self.decode($0) }
        fields.shipping = try row.optionalText(12).map { try Self.decode($0) }
        fields.metadata = try Metadata(text: try row.text(13))
    }

    private static func decode<T: Decodable>(_ text: String) throws -> T {
        try JSONDecoder().decode(T.self, from: Data(text.utf8))
    }

    private static func encode(_ value: (some Encodable)?) throws -> String? {
        try value.map { String(decoding: try JSONEncoder().encode($0), as: UTF8.self) }
    }

    private func insert(_ db: Connection) throws {
        try db.execute(
            """
            INSERT INTO customer (merchant, livemode, id, created, deleted, email, name, phone, description,
                business_name, individual_name, tax_exempt, preferred_locales, address, shipping, metadata,
                invoice_prefix, test_clock)
            VALUES (\(scope.merchant), \(scope.livemode), \(id), \(created), \(deleted), \(fields.email),
                \(fields.name), \(fields.phone), \(fields.description), \(fields.businessName),
                \(fields.individualName), \(fields.taxExempt), \(Joined.text(fields.preferredLocales)),
                \(try Self.encode(fields.address)), \(try Self.encode(fields.shipping)),
                \(try fields.metadata.text()), \(invoicePrefix), \(testClock))
            """
        )
    }

    private func save(_ db: Connection) throws {
        try db.execute(
            """
            UPDATE customer SET deleted = \(deleted), email = \(fields.email), name = \(fields.name),
                phone = \(fields.phone), description = \(fields.description), business_name = \(fields.businessName),
                individual_name = \(fields.individualName), tax_exempt = \(fields.taxExempt),
                preferred_locales = \(Joined.text(fields.preferredLocales)),
                address = \(try Self.encode(fields.address)), shipping = \(try Self.encode(fields.shipping)),
                metadata = \(try fields.metadata.text())
            WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND id = \(id)
            """
        )
    }

    // MARK: Lists

    public struct Query: Sendable {
        public static let names: [String: Parameters.Names] = PageRequest.names.merging(
            [
                "created": ["gt": .leaf, "gte": .leaf, "lt": .leaf, "lte": .leaf], "email": .leaf,
                "test_clock": .leaf,
            ],
            uniquingKeysWith: { first, _ in first }
        )

        fileprivate let page: PageRequest
        fileprivate let created: MomentRange?
        fileprivate let email: String?
        fileprivate let testClock: String?

        public init(_ parameters: Parameters) throws(StripeError) {
            created = try parameters.moments("created")
            email = try parameters.string("email", maximum: 512)
            testClock = try parameters.string("test_clock")
            page = try PageRequest(parameters)
        }
    }

    public static func writeList(
        _ query: Query,
        in scope: Scope,
        _ db: Connection,
        to json: inout JSONWriter
    ) throws {
        let mine: SQL = "WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode)"
        var select: SQL = "\(columns) \(mine) AND deleted = 0"
        // As in the API, customers on a clock are listed by their clock alone.
        if let clock = query.testClock {
            _ = try TestClock.find(clock, at: .parameter("test_clock"), in: scope, db)
            select = "\(select) AND test_clock = \(clock) AND test_clock IS NOT NULL"
        } else {
            select = "\(select) AND test_clock IS NULL"
        }
        if let email = query.email { select = "\(select) AND email = \(email)" }
        if let created = query.created {
            select = "\(select) AND created BETWEEN \(created.from) AND \(created.through)"
        }
        let page = try Page(
            query.page,
            of: "customer",
            in: scope,
            db,
            select: select,
            moment: { id in try db.first("SELECT created FROM customer \(mine) AND id = \(id)") { try $0.int(0) } },
            read: { try Customer($0, scope) }
        )
        json.object { json in
            json.list(page.elements, hasMore: page.hasMore, url: "/v1/customers") { customer, json in
                customer.write(to: &json)
            }
        }
    }

    // MARK: JSON

    private static let members = [
        "id", "object", "address", "balance", "business_name", "created", "currency", "default_source", "delinquent",
        "description", "discount", "email", "individual_name", "invoice_prefix", "invoice_settings", "livemode",
        "metadata", "name", "next_invoice_sequence", "phone", "preferred_locales", "shipping", "tax_exempt",
        "test_clock",
    ]
    public static let shape = Expansion.Shape.object(.init(uniqueKeysWithValues: members.map { ($0, .leaf) }))

    func snapshot() -> [UInt8] {
        var json = JSONWriter()
        write(to: &json)
        return json.bytes
    }

    /// The customer, or the stub of a deleted one.
    public func write(to json: inout JSONWriter) {
        json.object { json in
            json.field("id", id)
            json.field("object", "customer")
            if deleted {
                json.field("deleted", true)
            } else {
                writeMembers(to: &json)
            }
        }
    }

    private func writeMembers(to json: inout JSONWriter) {
        Address.write(fields.address, to: &json)
        json.field("balance", 0)
        json.field("business_name", fields.businessName)
        json.field("created", created)
        json.nullField("currency")
        json.nullField("default_source")
        json.field("delinquent", false)
        json.field("description", fields.description)
        json.nullField("discount")
        json.field("email", fields.email)
        json.field("individual_name", fields.individualName)
        json.field("invoice_prefix", invoicePrefix)
        json.object("invoice_settings") { json in
            json.nullField("custom_fields")
            json.nullField("default_payment_method")
            json.nullField("footer")
            json.nullField("rendering_options")
        }
        json.field("livemode", scope.livemode)
        fields.metadata.write("metadata", to: &json)
        json.field("name", fields.name)
        json.field("next_invoice_sequence", 1)
        json.field("phone", fields.phone)
        json.field("preferred_locales", fields.preferredLocales)
        Shipping.write(fields.shipping, to: &json)
        json.field("tax_exempt", fields.taxExempt)
        json.field("test_clock", testClock)
    }
}

extension Customer.Fields {
    /// The attributes that changed, as they were.
    fileprivate func previousAttributes(_ before: Customer.Fields) -> [UInt8] {
        var json = JSONWriter()
        json.object { json in
            if before.address != address {
                Customer.Address.write(before.address, to: &json)
            }
            if before.businessName != businessName { json.field("business_name", before.businessName) }
            if before.description != description { json.field("description", before.description) }
            if before.email != email { json.field("email", before.email) }
            if before.individualName != individualName { json.field("individual_name", before.individualName) }
            if before.metadata != metadata {
                json.object("metadata") { json in
                    let keys = Set(before.metadata.values.keys).union(metadata.values.keys).sorted()
                    for key in keys where before.metadata.values[key] != metadata.values[key] {
                        json.field(key, before.metadata.values[key])
                    }
                }
            }
            if before.name != name { json.field("name", before.name) }
            if before.phone != phone { json.field("phone", before.phone) }
            if before.preferredLocales != preferredLocales { json.field("preferred_locales", before.preferredLocales) }
            if before.shipping != shipping {
                Customer.Shipping.write(before.shipping, to: &json)
            }
            if before.taxExempt != taxExempt { json.field("tax_exempt", before.taxExempt) }
        }
        return json.bytes
    }
}

extension Customer.Address {
    /// Writes the member `address`, null where there is none.
    fileprivate static func write(_ address: Customer.Address?, to json: inout JSONWriter) {
        guard let address else { return json.nullField("address") }
        json.object("address") { json in
            json.field("city", address.city)
            json.field("country", address.country)
            json.field("line1", address.line1)
            json.field("line2", address.line2)
            json.field("postal_code", address.postalCode)
            json.field("state", address.state)
        }
    }
}

extension Customer.Shipping {
    /// Writes the member `shipping`, null where there is none.
    fileprivate static func write(_ shipping: Customer.Shipping?, to json: inout JSONWriter) {
        guard let shipping else { return json.nullField("shipping") }
        json.object("shipping") { json in
            Customer.Address.write(shipping.address, to: &json)
            json.field("name", shipping.name)
            json.field("phone", shipping.phone)
        }
    }
}

extension Parameters.Change {
    fileprivate func apply(to value: inout Value?) {
        switch self {
        case .keep: break
        case .clear: value = nil
        case .set(let new): value = new
        }
    }
}
