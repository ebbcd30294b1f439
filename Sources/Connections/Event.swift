/// What happened, kept for 30 days: written in the transaction of the change, with the object as it was at that moment.

public import Database
public import Wire

public struct Event: Sendable {
    /// The types that are recorded. **Names are the API's; never rename one.**
    public enum Kind: String, Sendable, CaseIterable {
        case customerCreated = "customer.created"
        case customerDeleted = "customer.deleted"
        case customerUpdated = "customer.updated"
        case accountCreated = "financial_connections.account.created"
        case accountDateUpdated = "financial_connections.account.expected_deactivation_date_updated"
        case accountDeactivated = "financial_connections.account.deactivated"
        case accountDisconnected = "financial_connections.account.disconnected"
        case accountNumbersUpdated = "financial_connections.account.account_numbers_updated"
        case accountPaymentsUpdated = "financial_connections.account.supported_payment_method_types_updated"
        case accountReactivated = "financial_connections.account.reactivated"
        case accountRefreshedBalance = "financial_connections.account.refreshed_balance"
        case accountRefreshedOwnership = "financial_connections.account.refreshed_ownership"
        case accountRefreshedTransactions = "financial_connections.account.refreshed_transactions"
        case accountUpcomingDeactivation = "financial_connections.account.upcoming_deactivation"
        case accountUpcomingNumberExpiry = "financial_connections.account.upcoming_account_number_expiry"
        case authorizationDateUpdated = "financial_connections.authorization.expected_deactivation_date_updated"
        case authorizationUpcomingDeactivation = "financial_connections.authorization.upcoming_deactivation"
        case testClockAdvancing = "test_helpers.test_clock.advancing"
        case testClockCreated = "test_helpers.test_clock.created"
        case testClockDeleted = "test_helpers.test_clock.deleted"
        case testClockInternalFailure = "test_helpers.test_clock.internal_failure"
        case testClockReady = "test_helpers.test_clock.ready"
    }

    /// By the clock outside: an event of a test clock is kept as long as any other.
    public static let retention: Int64 = 30 * 24 * 3600

    public let id: String
    let created: Int64
    let livemode: Bool
    public let type: String
    let apiVersion: String
    let requestID: String?
    let idempotencyKey: String?
    let object: [UInt8]
    let previousAttributes: [UInt8]?
    /// To how many endpoints it was not delivered, so far or for good.
    let pendingWebhooks: Int64

    // MARK: Statements

    /// - Parameters:
    ///   - world: the object's, by its test clock where it has one.
    ///   - object: the object's JSON, as ``JSONWriter`` wrote it, without a final line feed.
    ///   - previous: the changed attributes as they were, as a JSON object, for `*.updated` alone.
    static func record(
        _ kind: Kind,
        object: [UInt8],
        previous: [UInt8]? = nil,
        by cause: Cause,
        in scope: Scope,
        _ db: Connection,
        _ world: World
    ) throws {
        let id = world.id(.event)
        try db.execute(
            """
            INSERT INTO event (merchant, livemode, id, created, type, api_version, request_id, idempotency_key, object,
                previous_attributes, recorded)
            VALUES (\(scope.merchant), \(scope.livemode), \(id), \(world.now()), \(kind.rawValue),
                \(APIVersion.standard.description), \(cause.requestID), \(cause.idempotencyKey), \(object), \(previous),
                \(world.wall()))
            """
        )
        try Delivery.plan(id, kind, in: scope, db, world)
        db.wake(.events)
    }

    private static let undelivered: SQL = """
        FROM delivery WHERE delivery.merchant = event.merchant AND delivery.livemode = event.livemode
            AND delivery.event = event.id AND delivery.status <> 'succeeded'
        """
    private static let columns: SQL = """
        SELECT id, created, livemode, type, api_version, request_id, idempotency_key, object, previous_attributes,
            (SELECT COUNT(*) \(undelivered))
        FROM event
        """

    private static func read(_ row: Row) throws -> Event {
        Event(
            id: try row.text(0),
            created: try row.int(1),
            livemode: try row.bool(2),
            type: try row.text(3),
            apiVersion: try row.text(4),
            requestID: row.optionalText(5),
            idempotencyKey: row.optionalText(6),
            object: try row.bytes(7),
            previousAttributes: row.optionalBytes(8),
            pendingWebhooks: try row.int(9)
        )
    }

    public static func find(_ id: String, in scope: Scope, _ db: Connection, _ world: World) throws -> Event {
        let event = try db.first(
            """
            \(columns) WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND id = \(id)
            AND recorded > \(world.wall() - retention)
            """,
            read
        )
        guard let event else {
            throw StripeError.noSuch("notification", id, at: .path(param: "id"), livemode: scope.livemode)
        }
        return event
    }

    /// The same, nil where it is no longer kept.
    public static func known(_ id: String, in scope: Scope, _ db: Connection) throws -> Event? {
        try db.first(
            "\(columns) WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND id = \(id)",
            read
        )
    }

    /// The ids of the events that were made after one, the oldest first.
    public static func ids(after id: String, in scope: Scope, _ db: Connection) throws -> [String] {
        try db.all(
            """
            SELECT id FROM event WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND id > \(id)
            ORDER BY id LIMIT 500
            """
        ) { try $0.text(0) }
    }

    /// The ids of the events that were made last, the oldest of them first.
    public static func latestIDs(_ count: Int, in scope: Scope, _ db: Connection) throws -> [String] {
        try db.all(
            """
            SELECT id FROM event WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode)
            ORDER BY id DESC LIMIT \(count)
            """
        ) { try $0.text(0) }.reversed()
    }

    /// Forgets a bounded number of events whose time has passed, with their deliveries.
    /// - Returns: how many.
    public static func prune(in db: Connection, _ world: World) throws -> Int {
        // Few at a time: each may have been delivered to many endpoints, and often tried.
        let old = try db.all(
            "SELECT merchant, livemode, id FROM event WHERE recorded <= \(world.wall() - retention) LIMIT 20"
        ) { row in
            (scope: Scope(merchant: try row.text(0), livemode: try row.bool(1)), id: try row.text(2))
        }
        for (scope, id) in old {
            try Delivery.forget(id, in: scope, db)
            try db.execute(
                """
                DELETE FROM event WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND id = \(id)
                """
            )
        }
        return old.count
    }

    // MARK: Lists

    /// What a list of events is asked for.
    public struct Query: Sendable {
        public static let names: [String: Parameters.Names] = PageRequest.names.merging(
            [
                "created": ["gt": .leaf, "gte": .leaf, "lt": .leaf, "lte": .leaf],
                "delivery_success": .leaf, "type": .leaf, "types": .leaf,
            ],
            uniquingKeysWith: { first, _ in first }
        )
        private static let maximumTypes = 20

        fileprivate let page: PageRequest
        fileprivate let created: MomentRange?
        fileprivate let deliverySuccess: Bool?
        fileprivate let type: String?
        fileprivate let types: [String]?

        public init(_ parameters: Parameters) throws(StripeError) {
            created = try parameters.moments("created")
            deliverySuccess = try parameters.boolean("delivery_success")
            type = try parameters.string("type", maximum: 100)
            let listed = try parameters.strings("types", maximumCount: Self.maximumTypes)?.map(\.value)
            types = listed?.isEmpty == true ? nil : listed
            page = try PageRequest(parameters)
            if type != nil && types != nil {
                throw StripeError(message: "You may only specify one of these parameters: type, types.")
            }
        }

        /// The conditions beside the scope; a fixed set of texts, whatever is asked.
        fileprivate func conditions() -> SQL {
            var conditions: SQL = ""
            if let created { conditions = "AND created BETWEEN \(created.from) AND \(created.through)" }
            if let type, type.hasSuffix("*") {
                let prefix = String(type.dropLast())
                conditions = "\(conditions) AND type >= \(prefix) AND type < \(prefix + "\u{7F}")"
            } else if let type {
                conditions = "\(conditions) AND type = \(type)"
            }
            if let types {
                // Always twenty binds, the last type repeated.
                var names = types
                while names.count < Self.maximumTypes { names.append(types.last ?? "") }
                var list: SQL = "\(names[0])"
                for name in names.dropFirst() { list = "\(list), \(name)" }
                conditions = "\(conditions) AND type IN (\(list))"
            }
            // An event that no endpoint was to have counts as delivered.
            switch deliverySuccess {
            case nil: break
            case true?: conditions = "\(conditions) AND NOT EXISTS (SELECT 1 \(undelivered))"
            case false?: conditions = "\(conditions) AND EXISTS (SELECT 1 \(undelivered))"
            }
            return conditions
        }
    }

    public static func writeList(
        _ query: Query,
        in scope: Scope,
        _ db: Connection,
        _ world: World,
        to json: inout JSONWriter
    ) throws {
        let mine: SQL = "WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode)"
        let select: SQL = "\(columns) \(mine) AND recorded > \(world.wall() - retention) \(query.conditions())"
        let page = try Page(
            query.page,
            of: "notification",
            in: scope,
            db,
            select: select,
            moment: { id in try db.first("SELECT created FROM event \(mine) AND id = \(id)") { try $0.int(0) } },
            read: read
        )
        json.object { json in
            json.list(page.elements, hasMore: page.hasMore, url: "/v1/events") { event, json in event.write(to: &json) }
        }
    }

    // MARK: JSON

    private static let members = [
        "id", "object", "api_version", "created", "data", "livemode", "pending_webhooks", "request", "type",
    ]
    public static let shape = Expansion.Shape.object(.init(uniqueKeysWithValues: members.map { ($0, .leaf) }))

    /// The event's JSON.
    /// - Parameter version: as for ``write(to:in:)``.
    public func rendering(in version: String?) -> [UInt8] {
        var json = JSONWriter()
        write(to: &json, in: version)
        return json.bytes
    }

    /// - Parameter version: the version that the event is told in, nil for the one that it was recorded in. No object
    ///   of an event differs between the versions, so that the snapshot is the same in all of them.
    public func write(to json: inout JSONWriter, in version: String? = nil) {
        json.object { json in
            json.field("id", id)
            json.field("object", "event")
            json.field("api_version", version ?? apiVersion)
            json.field("created", created)
            json.object("data") { json in
                json.field("object", rendered: object)
                if let previousAttributes { json.field("previous_attributes", rendered: previousAttributes) }
            }
            json.field("livemode", livemode)
            json.field("pending_webhooks", pendingWebhooks)
            json.object("request") { json in
                json.field("id", requestID)
                json.field("idempotency_key", idempotencyKey)
            }
            json.field("type", type)
        }
    }
}

extension Wake {
    /// An event was recorded.
    public static let events = Wake(rawValue: "events")
}
