/// A webhook endpoint: an address of the merchant's that is told of events, and the secret that they are signed with.
///
/// It is `enabled` or `disabled`, by the merchant's word or because nothing could be delivered to it for days. The
/// secret is shown when it is made and never again. A new one can be made at any time; for a day at most the former one
/// signs too, so that the merchant's server can change over.

public import Database
public import Vault
public import Wire

public struct WebhookEndpoint: Sendable {
    public enum Status: String, Sendable {
        case enabled, disabled
    }

    public let id: String
    public let scope: Scope
    let created: Int64
    public private(set) var url: String
    private(set) var enabledEvents: [String]
    /// What events are told in, nil for the version that they were recorded in.
    public let apiVersion: String?
    /// Whether it is for events of connected accounts, of which there are none.
    let isConnect: Bool
    private(set) var description: String?
    private(set) var metadata: Metadata
    private(set) var status: Status
    private var sealedSecret: [UInt8]
    private var formerSecret: (sealed: [UInt8], until: Int64)?
    private(set) var trouble: Trouble

    /// What went wrong of late.
    struct Trouble: Sendable {
        /// When the first attempt failed that none succeeded after.
        var failingSince: Int64?
        /// How many failed since.
        var failures: Int64 = 0
        /// When the endpoint was disabled for it.
        var givenUp: Int64?
    }

    public static let maximumPerMode = 100
    /// How long a former secret may go on signing.
    public static let longestOverlap: Int64 = 24 * 3600

    /// Every event that an endpoint can ask for. `*` stands for all of them.
    static let eventNames = [
        "customer.created", "customer.deleted", "customer.updated",
        "financial_connections.account.account_numbers_updated", "financial_connections.account.created",
        "financial_connections.account.deactivated", "financial_connections.account.disconnected",
        "financial_connections.account.expected_deactivation_date_updated",
        "financial_connections.account.reactivated", "financial_connections.account.refreshed_balance",
        "financial_connections.account.refreshed_ownership", "financial_connections.account.refreshed_transactions",
        "financial_connections.account.supported_payment_method_types_updated",
        "financial_connections.account.upcoming_account_number_expiry",
        "financial_connections.account.upcoming_deactivation",
        "financial_connections.authorization.expected_deactivation_date_updated",
        "financial_connections.authorization.upcoming_deactivation", "test_helpers.test_clock.advancing",
        "test_helpers.test_clock.created", "test_helpers.test_clock.deleted",
        "test_helpers.test_clock.internal_failure", "test_helpers.test_clock.ready",
    ]

    // MARK: Parameters

    public static let namesOfCreate: [String: Parameters.Names] = [
        "api_version": .leaf, "connect": .leaf, "description": .leaf, "enabled_events": .leaf, "metadata": .any,
        "url": .leaf,
    ]
    public static let namesOfUpdate: [String: Parameters.Names] = [
        "description": .leaf, "disabled": .leaf, "enabled_events": .leaf, "metadata": .any, "url": .leaf,
    ]

    /// What an update asks for, checked as far as its parameters alone allow.
    public struct Changes: Sendable {
        /// The caller checks that it may be reached.
        public let url: String?
        fileprivate let enabledEvents: [String]?
        fileprivate let description: Parameters.Change<String>
        fileprivate let metadata: Metadata.Change
        fileprivate let disabled: Bool?

        public init(_ parameters: Parameters) throws(StripeError) {
            url = try parameters.url("url")
            enabledEvents = try WebhookEndpoint.events(parameters)
            description = try parameters.change("description")
            metadata = try Metadata.Change(parameters)
            disabled = try parameters.boolean("disabled")
        }
    }

    private static func events(_ parameters: Parameters) throws(StripeError) -> [String]? {
        guard let values = try parameters.strings("enabled_events", maximumCount: 1000) else { return nil }
        guard !values.isEmpty else { throw .empty("enabled_events") }
        var events: [String] = []
        for (path, name) in values {
            guard name == "*" || eventNames.contains(name) else {
                throw StripeError(
                    param: path,
                    message: "Invalid \(path): '\(name.prefix(100))' is no event of this server. The nearest is "
                        + "'\(nearest(to: name))'; '*' stands for all."
                )
            }
            if !events.contains(name) { events.append(name) }
        }
        return events
    }

    /// The known name that the fewest letters have to be changed for.
    static func nearest(to name: String) -> String {
        let name = Array(name.utf8.prefix(100))
        func distance(_ other: [UInt8]) -> Int {
            var row = Array(0...other.count)
            for (index, letter) in name.enumerated() {
                var diagonal = row[0]
                row[0] = index + 1
                for (column, known) in other.enumerated() {
                    let above = row[column + 1]
                    row[column + 1] = min(diagonal + (letter == known ? 0 : 1), above + 1, row[column] + 1)
                    diagonal = above
                }
            }
            return row[other.count]
        }
        return eventNames.min { distance(Array($0.utf8)) < distance(Array($1.utf8)) } ?? "*"
    }

    /// A new endpoint with all that takes no database: id and secret are made and sealed outside of any transaction.
    public struct Draft: Sendable {
        fileprivate let endpoint: WebhookEndpoint
        /// `whsec_…`
        public let secret: String

        public init(_ parameters: Parameters, in scope: Scope, _ world: World, _ ring: KeyRing) throws {
            let version = try parameters.string("api_version", maximum: 100)
            if let version {
                do { _ = try APIVersion(header: version) } catch {
                    throw StripeError(param: "api_version", message: error.message)
                }
                // Flags are for a request's header alone.
                guard !version.contains(";") else {
                    throw StripeError(param: "api_version", message: "Invalid Stripe API version: \(version)")
                }
            }
            let isConnect = try parameters.boolean("connect") ?? false
            let changes = try Changes(parameters)
            guard let events = changes.enabledEvents else { throw StripeError.missing("enabled_events") }
            guard let url = changes.url else { throw StripeError.missing("url") }
            let id = world.id(.webhookEndpoint)
            secret = WebhookEndpoint.newSecret(world)
            var endpoint = WebhookEndpoint(
                id: id,
                scope: scope,
                created: world.wall(),
                url: url,
                enabledEvents: events,
                apiVersion: version,
                isConnect: isConnect,
                description: nil,
                metadata: Metadata(),
                status: .enabled,
                sealedSecret: try ring.seal(Array(secret.utf8), for: .webhookSecret, owner: id),
                formerSecret: nil,
                trouble: Trouble()
            )
            try endpoint.apply(changes)
            self.endpoint = endpoint
        }

        public var url: String { endpoint.url }
    }

    private static func newSecret(_ world: World) -> String { world.secret("whsec_", length: 32) }

    // MARK: Transitions

    public static func create(_ draft: Draft, _ db: Connection) throws -> WebhookEndpoint {
        let endpoint = draft.endpoint
        let scope = endpoint.scope
        let count =
            try db.first(
                """
                SELECT COUNT(*) FROM webhook_endpoint
                WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode)
                """
            ) { try $0.int(0) } ?? 0
        guard count < maximumPerMode else {
            throw StripeError(message: "You have reached the maximum of \(maximumPerMode) webhook endpoints.")
        }
        try endpoint.insert(db)
        return endpoint
    }

    public static func update(
        _ id: String,
        _ changes: Changes,
        in scope: Scope,
        _ db: Connection
    ) throws -> WebhookEndpoint {
        var endpoint = try find(id, in: scope, db)
        try endpoint.apply(changes)
        try endpoint.save(db)
        return endpoint
    }

    private mutating func apply(_ changes: Changes) throws(StripeError) {
        if let url = changes.url { self.url = url }
        if let events = changes.enabledEvents { enabledEvents = events }
        switch changes.description {
        case .keep: break
        case .clear: description = nil
        case .set(let text): description = text
        }
        try metadata.apply(changes.metadata)
        guard let disabled = changes.disabled else { return }
        status = disabled ? .disabled : .enabled
        // Whoever enables it says that it works again.
        if !disabled { trouble = Trouble() }
    }

    /// A new secret with all that takes no database.
    public struct Roll: Sendable {
        fileprivate let id: String
        fileprivate let sealed: [UInt8]
        fileprivate let overlap: Int64
        /// `whsec_…`
        public let secret: String

        /// - Parameter id: of an endpoint, which need not exist.
        public init(_ id: String, _ parameters: Parameters, _ world: World, _ ring: KeyRing) throws {
            self.id = id
            overlap = try parameters.integer("expires_after", in: 0...longestOverlap) ?? longestOverlap
            secret = newSecret(world)
            sealed = try ring.seal(Array(secret.utf8), for: .webhookSecret, owner: id)
        }
    }

    /// Replaces the secret. The one before it signs for the overlap, and one before that no more.
    public static func roll(_ roll: Roll, in scope: Scope, _ db: Connection, _ world: World) throws -> WebhookEndpoint {
        var endpoint = try find(roll.id, in: scope, db)
        endpoint.formerSecret =
            roll.overlap == 0 ? nil : (sealed: endpoint.sealedSecret, until: world.wall() + roll.overlap)
        endpoint.sealedSecret = roll.sealed
        try endpoint.save(db)
        return endpoint
    }

    /// Removes the endpoint and what was to be delivered to it.
    public static func delete(_ id: String, in scope: Scope, _ db: Connection) throws {
        _ = try find(id, in: scope, db)
        try Delivery.cancelAll(to: id, in: scope, db)
        try db.execute(
            """
            DELETE FROM webhook_endpoint
            WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND id = \(id)
            """
        )
    }

    /// Notes how attempts went.
    /// - Parameter patience: seconds of failures, and nothing else, after which it is disabled.
    /// - Returns: since when the endpoint failed, where it was disabled now.
    static func note(
        _ id: String,
        failures: Int,
        didSucceed: Bool,
        patience: Int64,
        in scope: Scope,
        _ db: Connection,
        _ world: World
    ) throws -> Int64? {
        let mine: SQL = "WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND id = \(id)"
        if didSucceed {
            try db.execute(
                """
                UPDATE webhook_endpoint SET failing_since = \(nil as Int64?), failures = 0
                \(mine) AND failing_since IS NOT NULL
                """
            )
            return nil
        }
        let now = world.wall()
        try db.execute(
            """
            UPDATE webhook_endpoint SET failing_since = COALESCE(failing_since, \(now)),
                failures = failures + \(failures) \(mine)
            """
        )
        guard var endpoint = try db.first("\(columns) \(mine)", { try WebhookEndpoint($0) }),
            endpoint.status == .enabled, let since = endpoint.trouble.failingSince,
            since <= now - patience, endpoint.trouble.failures >= leastFailures
        else { return nil }
        endpoint.status = .disabled
        endpoint.trouble.givenUp = now
        try endpoint.save(db)
        return since
    }

    /// So many attempts say that an endpoint is dead; one event at the beginning and one at the end of a quiet week do
    /// not.
    private static let leastFailures = 10

    // MARK: Secrets

    /// The secrets that sign now, the newest first.
    public func secrets(at now: Int64, _ ring: KeyRing) throws -> [String] {
        var sealed = [sealedSecret]
        if let formerSecret, formerSecret.until > now { sealed.append(formerSecret.sealed) }
        return try sealed.map { String(decoding: try ring.open($0, for: .webhookSecret, owner: id), as: UTF8.self) }
    }

    // MARK: Statements

    private static let columns: SQL = """
        SELECT id, merchant, livemode, created, url, enabled_events, api_version, connect, description, metadata,
            status, secret, former_secret, former_secret_until, failing_since, failures, given_up
        FROM webhook_endpoint
        """

    /// - Parameter place: where the request names it.
    public static func find(
        _ id: String,
        at place: StripeError.Place = .path(param: "webhook_endpoint"),
        in scope: Scope,
        _ db: Connection
    ) throws -> WebhookEndpoint {
        if let endpoint = try known(id, in: scope, db) { return endpoint }
        throw StripeError.noSuch("webhook endpoint", id, at: place, livemode: scope.livemode)
    }

    private static func known(_ id: String, in scope: Scope, _ db: Connection) throws -> WebhookEndpoint? {
        try db.first(
            "\(columns) WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND id = \(id)"
        ) { try WebhookEndpoint($0) }
    }

    /// The endpoint as it is now; nil where it is gone or disabled.
    public func current(_ db: Connection) throws -> WebhookEndpoint? {
        guard let endpoint = try Self.known(id, in: scope, db), endpoint.status == .enabled else { return nil }
        return endpoint
    }

    /// The ids of the enabled endpoints that ask for a kind of event.
    static func receivers(of type: String, in scope: Scope, _ db: Connection) throws -> [String] {
        let all = try db.all(
            """
            SELECT id, enabled_events FROM webhook_endpoint
            WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND status = 'enabled' AND connect = 0
            """
        ) { row in (id: try row.text(0), events: try row.text(1)) }
        return all.filter { $0.events == "*" || Joined.values($0.events).contains { $0 == type || $0 == "*" } }.map(
            \.id
        )
    }

    /// The enabled endpoints, of all merchants, that something is due for.
    public static func due(at milliseconds: Int64, _ db: Connection) throws -> [WebhookEndpoint] {
        try db.all(
            """
            \(columns) WHERE status = 'enabled' AND EXISTS (
                SELECT 1 FROM delivery WHERE delivery.merchant = webhook_endpoint.merchant
                AND delivery.livemode = webhook_endpoint.livemode AND delivery.endpoint = webhook_endpoint.id
                AND delivery.status = 'pending' AND delivery.due_milliseconds <= \(milliseconds))
            """
        ) { try WebhookEndpoint($0) }
    }

    private init(_ row: Row) throws {
        let formerSecret = row.optionalBytes(12)
        self.init(
            id: try row.text(0),
            scope: Scope(merchant: try row.text(1), livemode: try row.bool(2)),
            created: try row.int(3),
            url: try row.text(4),
            enabledEvents: Joined.values(try row.text(5)),
            apiVersion: row.optionalText(6),
            isConnect: try row.bool(7),
            description: row.optionalText(8),
            metadata: try Metadata(text: try row.text(9)),
            status: try row.choice(10, of: Status.self),
            sealedSecret: try row.bytes(11),
            formerSecret: try formerSecret.map { (sealed: $0, until: try row.int(13)) },
            trouble: Trouble(
                failingSince: row.optionalInt(14),
                failures: try row.int(15),
                givenUp: row.optionalInt(16)
            )
        )
    }

    private init(
        id: String,
        scope: Scope,
        created: Int64,
        url: String,
        enabledEvents: [String],
        apiVersion: String?,
        isConnect: Bool,
        description: String?,
        metadata: Metadata,
        status: Status,
        sealedSecret: [UInt8],
        formerSecret: (sealed: [UInt8], until: Int64)?,
        trouble: Trouble
    ) {
        self.id = id
        self.scope = scope
        self.created = created
        self.url = url
        self.enabledEvents = enabledEvents
        self.apiVersion = apiVersion
        self.isConnect = isConnect
        self.description = description
        self.metadata = metadata
        self.status = status
        self.sealedSecret = sealedSecret
        self.formerSecret = formerSecret
        self.trouble = trouble
    }

    private func insert(_ db: Connection) throws {
        try db.execute(
            """
            INSERT INTO webhook_endpoint (merchant, livemode, id, created, url, enabled_events, api_version, connect,
                description, metadata, status, secret, former_secret, former_secret_until, failing_since, failures,
                given_up)
            VALUES (\(scope.merchant), \(scope.livemode), \(id), \(created), \(url), \(Joined.text(enabledEvents)),
                \(apiVersion), \(isConnect), \(description), \(try metadata.text()), \(status.rawValue),
                \(sealedSecret), \(formerSecret?.sealed), \(formerSecret?.until), \(trouble.failingSince),
                \(trouble.failures), \(trouble.givenUp))
            """
        )
    }

    private func save(_ db: Connection) throws {
        try db.execute(
            """
            UPDATE webhook_endpoint SET url = \(url), enabled_events = \(Joined.text(enabledEvents)),
                description = \(description), metadata = \(try metadata.text()), status = \(status.rawValue),
                secret = \(sealedSecret), former_secret = \(formerSecret?.sealed),
                former_secret_until = \(formerSecret?.until), failing_since = \(trouble.failingSince),
                failures = \(trouble.failures), given_up = \(trouble.givenUp)
            WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND id = \(id)
            """
        )
    }

    /// Whether attempts fail, so that few should be made at a time.
    public var isFailing: Bool { trouble.failingSince != nil }

    // MARK: Lists

    public static func writeList(
        _ request: PageRequest,
        in scope: Scope,
        _ db: Connection,
        to json: inout JSONWriter
    ) throws {
        let mine: SQL = "WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode)"
        let page = try Page(
            request,
            of: "webhook endpoint",
            in: scope,
            db,
            select: "\(columns) \(mine)",
            moment: { id in
                try db.first("SELECT created FROM webhook_endpoint \(mine) AND id = \(id)") { try $0.int(0) }
            },
            read: { try WebhookEndpoint($0) }
        )
        json.object { json in
            json.list(page.elements, hasMore: page.hasMore, url: "/v1/webhook_endpoints") { endpoint, json in
                endpoint.write(to: &json)
            }
        }
    }

    // MARK: JSON

    private static let members = [
        "id", "object", "api_version", "application", "created", "description", "enabled_events", "livemode",
        "metadata", "secret", "status", "url",
    ]
    public static let shape = Expansion.Shape.object(.init(uniqueKeysWithValues: members.map { ($0, .leaf) }))

    /// - Parameter secret: for the answer that shows it.
    public func write(to json: inout JSONWriter, secret: String? = nil) {
        json.object { json in
            json.field("id", id)
            json.field("object", "webhook_endpoint")
            json.field("api_version", apiVersion)
            json.nullField("application")
            json.field("created", created)
            json.field("description", description)
            json.field("enabled_events", enabledEvents)
            json.field("livemode", scope.livemode)
            metadata.write("metadata", to: &json)
            if let secret { json.field("secret", secret) }
            json.field("status", status.rawValue)
            json.field("url", url)
        }
    }

    /// The stub of a deleted one.
    public static func writeDeleted(_ id: String, to json: inout JSONWriter) {
        json.object { json in
            json.field("id", id)
            json.field("object", "webhook_endpoint")
            json.field("deleted", true)
        }
    }

    /// How it fares: an object of ours beside the API's.
    public func writeHealth(_ db: Connection, to json: inout JSONWriter) throws {
        let pending = try Delivery.pending(to: id, in: scope, db)
        json.object { json in
            json.field("id", id)
            json.field("object", "linkspan.webhook_endpoint_health")
            json.field("disabled_for_failures_at", trouble.givenUp)
            json.field("failing_since", trouble.failingSince)
            json.field("failures_since", trouble.failures)
            json.field("livemode", scope.livemode)
            json.field("pending_deliveries", pending)
            json.field("status", status.rawValue)
        }
    }
}
