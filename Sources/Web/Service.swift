/// What every handler works with: the parts of the house, wired by the server and passed on as values.

public import Connections
public import Database
public import Institutions
public import Logging
public import Outbound
public import ReferenceBank
public import Vault
internal import Wire

public final class Service: Sendable {
    let database: Database
    let ring: KeyRing
    let world: World
    let directory: Directory
    let settings: Settings
    /// The bank that the test institutions with OAuth stand for; nil where it is not served.
    let bank: Bank?
    let logger: Logger
    let authenticator: Authenticator
    let metrics = Metrics()
    /// Those who listen on the command line; it runs beside the server.
    public let listening: Listening

    /// Whether the merchant page at `/demo` is served.
    public var hasDemo: Bool { settings.demo != nil }

    /// What an operator may set.
    public struct Settings: Sendable {
        /// Where people and clients reach this server, without a slash at the end: `https://link.example.com`.
        public let publicURL: @Sendable () -> String
        /// Seconds until a Session can no longer be opened.
        public let sessionLifetime: Int64
        /// What becomes of a refresh that is asked for before its time.
        public let earlyRefresh: Account.EarlyRefresh
        /// Bytes of the largest file that a person may give at a sign-in.
        public let uploadLimit: Int
        /// The origins that may frame the hosted flow, as `frame-ancestors` takes them.
        public let embedOrigins: [String]
        /// The merchant page at `/demo`, with its scope and publishable key; nil where it is not served.
        public let demo: Demo?
        /// What webhooks may reach, in live mode and not.
        public let webhookPolicy: @Sendable (_ livemode: Bool) -> Outbound.Policy
        /// The operator's command line, nil where it is not served.
        public let admin: Admin?

        public struct Admin: Sendable {
            /// What the command line proves itself with.
            public let token: String
            /// Whether keys of live mode may be made.
            public let allowsLive: Bool

            public init(token: String, allowsLive: Bool) {
                self.token = token
                self.allowsLive = allowsLive
            }
        }

        public struct Demo: Sendable {
            public let scope: Scope
            public let publishableKey: String

            public init(scope: Scope, publishableKey: String) {
                self.scope = scope
                self.publishableKey = publishableKey
            }
        }

        public init(
            publicURL: @escaping @Sendable () -> String,
            sessionLifetime: Int64,
            earlyRefresh: Account.EarlyRefresh,
            uploadLimit: Int,
            embedOrigins: [String],
            demo: Demo?,
            webhookPolicy: @escaping @Sendable (_ livemode: Bool) -> Outbound.Policy,
            admin: Admin?
        ) {
            self.publicURL = publicURL
            self.sessionLifetime = sessionLifetime
            self.earlyRefresh = earlyRefresh
            self.uploadLimit = uploadLimit
            self.embedOrigins = embedOrigins
            self.demo = demo
            self.webhookPolicy = webhookPolicy
            self.admin = admin
        }
    }

    public init(
        database: Database,
        ring: KeyRing,
        world: World,
        directory: Directory,
        settings: Settings,
        bank: Bank?,
        logger: Logger
    ) {
        self.database = database
        self.ring = ring
        self.world = world
        self.directory = directory
        self.settings = settings
        self.bank = bank
        self.logger = logger
        authenticator = Authenticator(database: database, world: world)
        listening = Listening(database: database, ring: ring, world: world, logger: logger)
    }
}
