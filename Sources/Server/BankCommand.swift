/// `linkspan bank`: the reference bank alone, for whoever writes a client of FDX.

internal import ArgumentParser
internal import Connections
internal import Database
internal import Foundation
internal import Hummingbird
internal import Logging
internal import NIOCore
internal import ReferenceBank
internal import Synchronization
internal import Vault

struct BankCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bank",
        abstract: "Run the reference bank alone: FDX 6 and 5 behind OAuth 2.0.",
        discussion: """
            Any user name signs in. What people allow is forgotten when the bank stops.

            Example: linkspan bank --port 12112 --client-id me --client-secret s3cret \
            --redirect-uri http://127.0.0.1:12111/flow/return
            """
    )

    @Option(help: "The address to listen at.")
    var host = "127.0.0.1"

    @Option(help: "The port to listen at; 0 takes a free one.")
    var port = 12112

    @Option(help: "Where browsers and clients reach the bank. Default: host and port.")
    var publicUrl: String?

    @Option(help: "The client's name.")
    var clientId = "client"

    @Option(help: "The client's secret. Default: a made one, which is printed.")
    var clientSecret: String?

    @Option(help: "Where customers may be sent back to; can be given more than once.")
    var redirectUri: [String] = []

    func run() async throws {
        let world = World(milliseconds: Serve.wallClock)
        let secret = clientSecret ?? world.secret("", length: 24)
        var logger = Logger(label: "linkspan", factory: { _ in LineLog() })
        logger.logLevel = .warning
        let place = Place(url: publicUrl ?? "http://\(host):\(port)")
        let redirects = redirectUri
        let bank = try Bank(
            database: Database(.memory, migrations: Migrations.all, logger: logger),
            ring: KeyRing(text: KeyRing.generate()),
            settings: Bank.Settings(
                front: { "\(place.url)/bank" },
                back: { "\(place.url)/bank" },
                clients: [
                    Bank.Client(
                        id: clientId,
                        name: clientId,
                        proof: .secret(secret),
                        isThorough: true,
                        allows: { redirects.contains($0) }
                    )
                ]
            ),
            now: { world.wall() },
            secret: { world.secret("", length: $0) }
        )
        let router = Router(context: BasicRequestContext.self)
        bank.register(on: router)
        let (isFixed, host, id) = (publicUrl != nil, host, clientId)
        try await Application(
            responder: router.buildResponder(),
            configuration: .init(address: .hostname(host, port: port)),
            onServerRunning: { channel in
                if !isFixed, let port = channel.localAddress?.port { place.url = "http://\(host):\(port)" }
                print(
                    """
                    Reference bank, a fiction for tests

                      Issuer         \(place.url)/bank
                      FDX 6          \(place.url)/bank/fdx/v6
                      FDX 5          \(place.url)/bank/fdx/v5
                      Client         \(id)
                      Client secret  \(secret)

                    For the file of linkspan serve --connectors, with the secret in the environment:

                      institutions:
                        - id: fcinst_ReferenceBank1
                          name: Reference Bank
                          domain: bank.example
                          connector: fdx
                          settings:
                            issuer: \(place.url)/bank
                            base_url: \(place.url)/bank/fdx/v6
                            client_id: \(id)
                            client_authentication: client_secret_basic
                            client_secret: {env: REFERENCE_BANK_SECRET}
                            refresh_seconds: 1

                    """
                )
                fflush(nil)
            },
            logger: logger
        ).runService()
    }

    private final class Place: Sendable {
        private let stored: Mutex<String>

        init(url: String) {
            stored = Mutex(url)
        }

        var url: String {
            get { stored.withLock { $0 } }
            set { stored.withLock { $0 = newValue } }
        }
    }
}
