/// `linkspan serve`: wires the parts, says where it is, and runs until it is told to stop.

internal import ArgumentParser
internal import Connections
internal import Database
internal import Foundation
internal import Hummingbird
internal import Institutions
internal import Logging
internal import NIOCore
internal import Outbound
internal import ReferenceBank
internal import ServiceLifecycle
internal import Synchronization
internal import UnixSignals
internal import Vault
internal import Web
internal import Worker

struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run the server.",
        discussion: """
            With no flag at all it starts on SQLite in ./data, makes keys, and prints the addresses, the keys and one \
            curl that works.

            Example: linkspan serve --port 8080 --data /var/lib/linkspan
            """
    )

    @OptionGroup var dataOptions: DataOptions
    @OptionGroup var options: ServeOptions

    func run() async throws {
        let settings = try ServeSettings(options)
        Self.takeOpenFiles()
        var logger = Logger(label: "linkspan", factory: { _ in LineLog() })
        logger.logLevel = settings.logLevel
        let folder = dataOptions.folder
        try folder.create()
        guard try folder.lock() else {
            throw Failure("Another linkspan runs on the data folder '\(folder.path)'.")
        }
        let store = try Store(dataOptions)
        let database = try store.open(logger)
        let world = try await store.explaining { try await makeWorld(settings, database) }
        let ring = try await store.explaining { try await checkedRing(settings, folder, store, database) }
        let keys = try await store.explaining { try await TestKeys(settings, folder, store, database, world) }
        try await requireRing(settings, database, keys)
        let marker = try await store.explaining {
            try await database.write { db in try MarkKey.marker(in: db, world, ring) }
        }
        let address = PublicAddress(settings)
        let banks = try TestBanks(
            database,
            ring,
            world,
            host: settings.host,
            front: { address.forPeople },
            back: { address.forItself }
        )
        defer { folder.withdraw() }
        try await run(
            Parts(
                settings: settings,
                folder: folder,
                store: store,
                database: database,
                ring: ring,
                world: world,
                keys: keys,
                directory: Directory(
                    (settings.scenario.map { [$0] } ?? []) + configured(settings, world, marker) + [Sandbox()]
                        + banks.connectors + files(settings, marker)
                ),
                bank: banks.bank,
                address: address,
                outbound: Outbound(policy: .publicOnly),
                logger: logger
            )
        )
    }

    /// Every connection is an open file, and a shell often allows a thousand at first: takes all that may be had.
    private static func takeOpenFiles() {
        let files = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        var limit = rlimit()
        guard getrlimit(files, &limit) == 0, limit.rlim_cur < limit.rlim_max else { return }
        limit.rlim_cur = limit.rlim_max
        // What was allowed before will do where this is refused.
        _ = setrlimit(files, &limit)
    }

    /// What needs no operator: files that people have.
    private func files(_ settings: ServeSettings, _ marker: Marker) -> [any Connector] {
        settings.uploadLimit == 0 ? [] : [OFXFiles(mark: marker.mark)]
    }

    /// What a server is wired from.
    private struct Parts: Sendable {
        let settings: ServeSettings
        let folder: DataFolder
        let store: Store
        let database: Database
        let ring: KeyRing
        let world: World
        let keys: TestKeys
        let directory: Directory
        let bank: Bank
        let address: PublicAddress
        let outbound: Outbound
        let logger: Logger
    }

    /// The operator's own institutions.
    private func configured(_ settings: ServeSettings, _ world: World, _ marker: Marker) throws -> [any Connector] {
        guard let path = settings.connectors else { return [] }
        let livemode = settings.keyFile != nil
        return try ConfiguredInstitutions.read(
            path,
            world,
            Outbound(policy: settings.webhooks.policy(livemode: livemode)),
            forPeople: livemode ? .publicOnly : .withLoopback,
            mark: marker.mark
        )
    }

    /// Chance follows from the seed where there is one, another for each start on the same data.
    private func makeWorld(_ settings: ServeSettings, _ database: Database) async throws -> World {
        guard let seed = settings.seed else { return World(milliseconds: Self.wallClock) }
        let start = try await database.write { try SeededStart.count(in: $0) }
        return World(milliseconds: Self.wallClock, seed: seed, start: start)
    }

    static let wallClock: @Sendable () -> Int64 = {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
    }

    /// The key ring, once it is known to be the one that the database was sealed with.
    private func checkedRing(
        _ settings: ServeSettings,
        _ folder: DataFolder,
        _ store: Store,
        _ database: Database
    ) async throws -> KeyRing {
        let (isSealed, isHalf) = try await database.read { db in
            (try RingCheck.isThere(in: db), try Moving.isUnderWay(in: db))
        }
        guard !isHalf else {
            throw Failure("Copying into the database in '\(store.place)' was not ended. Run 'linkspan copy' again.")
        }
        let ring = try folder.ring(file: settings.keyFile, sealed: isSealed ? store : nil)
        guard try await database.write({ try RingCheck.pass(ring, in: $0) }) else {
            throw Failure(
                "The key ring cannot open what the database in '\(store.place)' holds: it was sealed with another key. "
                    + (store.isShared
                        ? "Servers of one database share a key ring: name the file of the others by --key-file."
                        : "Add that key to the ring as a further line.")
            )
        }
        return ring
    }

    /// What live mode seals must not hang on a file that nobody chose.
    private func requireRing(_ settings: ServeSettings, _ database: Database, _ keys: TestKeys) async throws {
        guard settings.keyFile == nil else { return }
        let live = try await database.read { db in
            try APIKey.all(of: keys.merchant, in: db).contains { $0.scope.livemode && $0.revoked == nil }
        }
        guard !live else {
            throw Failure(
                "There are keys of live mode, and live mode needs a key ring of its own: name its file by "
                    + "--key-file (LINKSPAN_KEY_FILE)."
            )
        }
    }

    private func run(_ parts: Parts) async throws {
        let settings = parts.settings
        let address = parts.address
        // Not out of a seed that others may know.
        let adminToken = World(milliseconds: Self.wallClock).secret("", length: 43)
        let demo = (settings.showsDemo ? parts.keys.publishable : nil).map {
            Service.Settings.Demo(scope: Scope(merchant: parts.keys.merchant, livemode: false), publishableKey: $0)
        }
        let service = service(parts, demo, adminToken)
        let application = Application(
            responder: Front(service, answersRequests: settings.role != .worker),
            server: Limits.server,
            configuration: .init(
                address: .hostname(settings.host, port: settings.port),
                backlog: 1024,
                availableConnectionsDelegate: Limits.connections
            ),
            services: (settings.role == .worker ? [] : [listening(service, settings)])
                + (settings.role == .api ? [] : workers(parts)),
            onServerRunning: { channel in
                address.listens(at: channel.localAddress?.port ?? settings.port)
                do {
                    try parts.folder.announce(
                        .init(
                            url: address.forItself,
                            token: adminToken,
                            secretKey: parts.keys.secret,
                            publishableKey: parts.keys.publishable
                        )
                    )
                } catch {
                    parts.logger.warning("the command line cannot reach this server", metadata: ["error": "\(error)"])
                }
                Banner(
                    address: address.forPeople,
                    place: parts.store.place,
                    keys: parts.keys,
                    showsDemo: demo != nil,
                    isLive: settings.keyFile != nil
                ).show()
            },
            logger: parts.logger
        )
        defer { parts.outbound.shutdown() }
        try await run(application, settings, parts.logger)
        try parts.database.close()
    }

    private func service(
        _ parts: Parts,
        _ demo: Web.Service.Settings.Demo?,
        _ adminToken: String
    )
        -> Web.Service
    {
        let settings = parts.settings
        return Service(
            database: parts.database,
            ring: parts.ring,
            world: parts.world,
            directory: parts.directory,
            settings: Service.Settings(
                publicURL: { parts.address.forPeople },
                sessionLifetime: settings.sessionLifetime,
                earlyRefresh: settings.earlyRefresh,
                uploadLimit: settings.uploadLimit,
                embedOrigins: settings.embedOrigins,
                demo: demo,
                webhookPolicy: settings.webhooks.policy,
                admin: .init(token: adminToken, allowsLive: settings.keyFile != nil)
            ),
            bank: parts.bank,
            logger: parts.logger
        )
    }

    /// Those who listen on the command line are where requests are.
    private func listening(_ service: Web.Service, _ settings: ServeSettings) -> any ServiceLifecycle.Service {
        Background {
            await service.listening.run(
                host: settings.host,
                port: settings.webhooks.listenPort,
                name: settings.isAnyHost ? nil : settings.urlHost
            )
        }
    }

    /// All that happens without a request.
    private func workers(_ parts: Parts) -> [any ServiceLifecycle.Service] {
        let settings = parts.settings
        let housekeeping = Housekeeping(
            database: parts.database,
            world: parts.world,
            sessionLifetime: settings.sessionLifetime,
            logger: parts.logger
        )
        let refreshes = Refreshes(
            database: parts.database,
            ring: parts.ring,
            world: parts.world,
            directory: parts.directory,
            isAlone: !parts.store.isShared,
            logger: parts.logger
        )
        let deliveries = Deliveries(
            database: parts.database,
            ring: parts.ring,
            world: parts.world,
            outbound: parts.outbound,
            settings: Deliveries.Settings(
                timeout: settings.webhooks.timeout,
                patience: settings.webhooks.patience,
                schedule: settings.webhooks.schedule,
                policy: settings.webhooks.policy
            ),
            logger: parts.logger
        )
        let revocations = Revocations(
            database: parts.database,
            ring: parts.ring,
            world: parts.world,
            directory: parts.directory,
            logger: parts.logger
        )
        return [
            Background(work: housekeeping.run), Background(work: refreshes.run), Background(work: deliveries.run),
            Background(work: revocations.run),
        ]
    }

    /// Runs until the process is told to stop.
    private func run(_ application: some ServiceLifecycle.Service, _ settings: ServeSettings, _ logger: Logger)
        async throws
    {
        var group = ServiceGroupConfiguration(
            services: [.init(service: application)],
            gracefulShutdownSignals: [.sigterm, .sigint],
            logger: quiet(logger)
        )
        group.maximumGracefulShutdownDuration = .seconds(20)
        do {
            try await ServiceGroup(configuration: group).run()
        } catch let error as IOError where error.errnoCode == EADDRINUSE {
            throw Failure("Port \(settings.port) is in use. Choose another one by --port.")
        }
    }

    /// The life cycle's own steps are told at debug; it says them at info.
    private func quiet(_ logger: Logger) -> Logger {
        var logger = logger
        logger.logLevel = max(logger.logLevel, .warning)
        return logger
    }
}

/// Where the server is reached; with port 0 it is known once the server listens.
private final class PublicAddress: Sendable {
    private let host: String
    private let publicURL: String?
    private let port: Mutex<Int>

    init(_ settings: ServeSettings) {
        host = settings.urlHost
        publicURL = settings.publicURL
        port = Mutex(settings.port)
    }

    func listens(at port: Int) {
        self.port.withLock { $0 = port }
    }

    /// Where this process reaches itself.
    var forItself: String { "http://\(host):\(port.withLock { $0 })" }

    /// Where people and clients reach it.
    var forPeople: String { publicURL ?? forItself }
}

/// Work without a request, ended when the server stops. What ends before, such as listening on a port that is taken,
/// takes nothing else with it.
private struct Background: ServiceLifecycle.Service {
    let work: @Sendable () async -> Void

    func run() async throws {
        await cancelWhenGracefulShutdown { await work() }
        try? await gracefulShutdown()
    }
}

/// What is printed when the server listens: where it is, the keys, and a command that works.
private struct Banner {
    let address: String
    let place: String
    let keys: TestKeys
    let showsDemo: Bool
    /// Whether live mode is there too.
    let isLive: Bool

    func show() {
        let unknown = "made by another server; linkspan keys create makes more"
        let isUnnamed = isLive && keys.merchantName == Merchant.standardName
        print(
            """
            Linkspan \(Linkspan.version), \(isLive ? "live and test mode" : "test mode"), data in \(place)

              API              \(address)
              Merchant         \(keys.merchantName)\(isUnnamed ? " (people see this: --merchant-name)" : "")
              Demo             \(showsDemo ? "\(address)/demo" : "off")
              Secret key       \(keys.secret ?? unknown)
              Publishable key  \(keys.publishable ?? unknown)
            \(isLive ? "  Live keys        linkspan keys create --live\n" : "")
              Try
                curl \(address)/v1/financial_connections/sessions \\
                  -u \(keys.secret ?? "sk_test_…"): \\
                  -d "account_holder[type]=account" \\
                  -d "account_holder[account]=\(keys.merchant)" \\
                  -d "permissions[]=balances"

            """
        )
        fflush(nil)
    }
}
