/// `linkspan serve`: wires the parts, says where it is, and runs until it is told to stop.

internal import ArgumentParser
internal import Connections
internal import Database
internal import Foundation
internal import Hummingbird
internal import Institutions
internal import Logging
internal import NIOCore
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
        var logger = Logger(label: "linkspan", factory: { StreamLogHandler.standardError(label: $0) })
        logger.logLevel = settings.logLevel
        let folder = dataOptions.folder
        try folder.create()
        guard try folder.lock() else {
            throw Failure("Another linkspan runs on the data folder '\(folder.path)'.")
        }
        let ring = try folder.ring(file: settings.keyFile)
        let database = try folder.openDatabase(logger)
        let world = World(milliseconds: Self.wallClock)
        let keys = try await TestKeys(settings, folder, database, world)
        try await requireRing(settings, database, keys)
        defer { folder.withdraw() }
        try await run(settings, folder, database, ring, world, keys, logger)
    }

    private static let wallClock: @Sendable () -> Int64 = {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
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

    private func run(
        _ settings: ServeSettings,
        _ folder: DataFolder,
        _ database: Database,
        _ ring: KeyRing,
        _ world: World,
        _ keys: TestKeys,
        _ logger: Logger
    ) async throws {
        let address = PublicAddress(settings.publicURL ?? "http://\(settings.host):\(settings.port)")
        let adminToken = world.secret("", length: 43)
        let service = Service(
            database: database,
            ring: ring,
            world: world,
            directory: Directory([Sandbox()]),
            settings: Service.Settings(
                publicURL: { address.value },
                sessionLifetime: settings.sessionLifetime,
                embedOrigins: settings.embedOrigins,
                demo: .init(
                    scope: Scope(merchant: keys.merchant, livemode: false),
                    publishableKey: keys.publishable
                ),
                adminToken: adminToken
            ),
            logger: logger
        )
        let housekeeping = Housekeeping(
            database: database,
            world: world,
            sessionLifetime: settings.sessionLifetime,
            logger: logger
        )
        let application = Application(
            responder: Front(service),
            server: .http1(configuration: .init(idleTimeout: .seconds(65))),
            configuration: .init(address: .hostname(settings.host, port: settings.port), backlog: 1024),
            services: [Background(work: housekeeping.run)],
            onServerRunning: { channel in
                let port = channel.localAddress?.port ?? settings.port
                let local = "http://\(settings.host):\(port)"
                if settings.publicURL == nil { address.value = local }
                do {
                    try folder.announce(.init(url: local, token: adminToken))
                } catch {
                    logger.warning("the command line cannot reach this server", metadata: ["error": "\(error)"])
                }
                Banner(address: address.value, folder: folder.path, keys: keys).show()
            },
            logger: logger
        )
        var group = ServiceGroupConfiguration(
            services: [.init(service: application)],
            gracefulShutdownSignals: [.sigterm, .sigint],
            logger: quiet(logger)
        )
        group.maximumGracefulShutdownDuration = .seconds(30)
        do {
            try await ServiceGroup(configuration: group).run()
        } catch let error as IOError where error.errnoCode == EADDRINUSE {
            throw Failure("Port \(settings.port) is in use. Choose another one by --port.")
        }
        try database.close()
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
    private let storage: Mutex<String>

    init(_ value: String) {
        storage = Mutex(value)
    }

    var value: String {
        get { storage.withLock { $0 } }
        set { storage.withLock { $0 = newValue } }
    }
}

/// Work without a request, ended when the server stops.
private struct Background: ServiceLifecycle.Service {
    let work: @Sendable () async -> Void

    func run() async throws {
        await cancelWhenGracefulShutdown { await work() }
    }
}

/// The keys of test mode: those that were set, else those of the data folder, made at the first start.
private struct TestKeys {
    let merchant: String
    let secret: String
    let publishable: String

    init(_ settings: ServeSettings, _ folder: DataFolder, _ database: Database, _ world: World) async throws {
        let stored = Self.stored(in: folder)
        let secret =
            settings.testSecretKey ?? stored["LINKSPAN_TEST_SECRET_KEY"] ?? world.secret("sk_test_", length: 32)
        let publishable =
            settings.testPublishableKey ?? stored["LINKSPAN_TEST_PUBLISHABLE_KEY"]
            ?? world.secret("pk_test_", length: 32)
        let name = settings.merchantName
        merchant = try await database.write { db in
            let merchant = try Merchant.platform(named: name, in: db, world)
            let scope = Scope(merchant: merchant.id, livemode: false)
            try APIKey.register(secret, .secret, named: "Test secret key", for: scope, in: db, world)
            try APIKey.register(publishable, .publishable, named: "Test publishable key", for: scope, in: db, world)
            return merchant.id
        }
        self.secret = secret
        self.publishable = publishable
        let isSet = settings.testSecretKey != nil && settings.testPublishableKey != nil
        if !isSet && stored.isEmpty {
            try folder.writePrivate(
                """
                # The keys of test mode. Source this file, or pass your own by --test-secret-key and
                # --test-publishable-key.
                LINKSPAN_TEST_SECRET_KEY=\(secret)
                LINKSPAN_TEST_PUBLISHABLE_KEY=\(publishable)

                """,
                to: folder.keysFile
            )
        }
    }

    private static func stored(in folder: DataFolder) -> [String: String] {
        guard let text = try? String(contentsOf: folder.keysFile, encoding: .utf8) else { return [:] }
        var values: [String: String] = [:]
        for line in text.split(separator: "\n") where !line.hasPrefix("#") {
            let parts = line.split(separator: "=", maxSplits: 1)
            if parts.count == 2 { values[String(parts[0])] = String(parts[1]) }
        }
        return values
    }
}

/// What is printed when the server listens: where it is, the keys, and a command that works.
private struct Banner {
    let address: String
    let folder: String
    let keys: TestKeys

    func show() {
        print(
            """
            Linkspan \(Linkspan.version), test mode, data in \(folder)

              API              \(address)
              Demo             \(address)/demo
              Secret key       \(keys.secret)
              Publishable key  \(keys.publishable)

              Try
                curl \(address)/v1/financial_connections/sessions \\
                  -u \(keys.secret): \\
                  -d "account_holder[type]=account" \\
                  -d "account_holder[account]=\(keys.merchant)" \\
                  -d "permissions[]=balances"

            """
        )
        fflush(nil)
    }
}
