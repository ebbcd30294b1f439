/// The bank of the example, over HTTP, and what the operator's file says of it.

import Foundation
import Hummingbird
import Institutions
import Logging
import NIOCore
import Outbound
import Synchronization
import Testing

final class ExampleBank: Sendable {
    static let key = "canary-example-key-77"
    private static let running = Mutex<Task<ExampleBank, any Error>?>(nil)

    private let connector: any ConfigurableConnector

    static func shared() async throws -> ExampleBank {
        let task = running.withLock { running in
            let task = running ?? Task { try await ExampleBank() }
            running = task
            return task
        }
        return try await task.value
    }

    private init() async throws {
        let router = Router(context: BasicRequestContext.self)
        @Sendable func answer(_ request: Request, _ json: String) -> Response {
            guard request.headers[.authorization] == "Key \(Self.key)" else { return Response(status: .unauthorized) }
            return Response(status: .ok, body: .init(byteBuffer: ByteBuffer(string: json)))
        }
        router.get("accounts") { request, _ in
            answer(request, #"[{"id": "1", "name": "Everyday", "balance": "12.50"}]"#)
        }
        router.get("accounts/:id/movements") { request, _ in
            let isFirst = request.uri.queryParameters.get("after") == "0"
            return answer(
                request,
                isFirst ? #"[{"number": 1, "amount": "-0.07", "text": "Coffee", "date": "2026-01-02"}]"# : "[]"
            )
        }
        let url = try await serve(router)
        connector = try exampleFile(
            """
            institutions:
              - id: fcinst_ExampleBank001
                name: Example Bank
                domain: bank.example
                connector: example
                settings: {base_url: "\(url)/"}
            """
        )[0]
    }

    func exhibit() throws -> Exhibit {
        Exhibit(
            connector: connector,
            institution: connector.institutions[0],
            answer: { _, _ in .answers(["key": Self.key]) },
            secrets: [Self.key]
        )
    }
}

/// Serves routes at a free port until the process ends.
func serve(_ router: Router<BasicRequestContext>) async throws -> String {
    let (ports, found) = AsyncStream.makeStream(of: Int.self)
    let application = Application(
        responder: router.buildResponder(),
        configuration: .init(address: .hostname("127.0.0.1", port: 0)),
        onServerRunning: { channel in found.yield(channel.localAddress?.port ?? 0) },
        logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    )
    Task { try await application.run() }
    for await port in ports { return "http://127.0.0.1:\(port)" }
    throw CancellationError()
}

/// Reads a file of institutions, with secrets `S` in the environment and `f` in a file.
func exampleFile(_ text: String) throws(FileError) -> [any ConfigurableConnector] {
    let tools = ConnectorTools(
        line: Line(Outbound(policy: .withLoopback), patience: .seconds(120)),
        peoplesLine: Line(Outbound(policy: .publicOnly)),
        now: { Exhibit.now },
        secret: TestBank.secret,
        mark: { "mark of \($0)" }
    )
    return try ConnectorFile.read(text, kinds: ConnectorFile.kinds + [ExampleConnector.self], tools) { place in
        switch place {
        case .environment(let name): name == "S" ? "canary-from-environment" : nil
        case .file(let name): name == "f" ? "canary-from-file" : nil
        }
    }
}

@Suite("A file of institutions")
struct ConnectorFileTests {
    private func file(
        _ settings: String,
        id: String = "fcinst_ExampleBank001",
        connector: String = "fdx"
    ) -> String {
        """
        institutions:
          - id: \(id)
            name: Example Bank
            domain: bank.example
            countries: [US, CA]
            featured: true
            connector: \(connector)
            settings: {\(settings)}
        """
    }

    private let plain = """
        issuer: "https://login.bank.example", base_url: "https://api.bank.example/fdx/v6/", client_id: me, \
        client_authentication: client_secret_basic
        """

    @Test("gives institutions, in YAML and in JSON")
    func reads() throws {
        let connector = try #require(try exampleFile(file("\(plain), client_secret: {env: S}")).first)
        let institution = connector.institutions[0]
        #expect(institution.id == "fcinst_ExampleBank001" && institution.countries == ["US", "CA"])
        #expect(!connector.isTest && institution.featured)
        let json = """
            {"institutions": [{"id": "fcinst_ExampleBank001", "name": "B", "domain": "b.example", "connector": "fdx",
              "settings": {"issuer": "https://b.example", "base_url": "https://b.example", "client_id": "me",
                "client_authentication": "client_secret_post", "client_secret": {"file": "f"}, "scopes": ["openid"],
                "headers": {"x-partner": "7"}, "bearer": "id_token", "paths": {"account": "/b/{account}"}}}]}
            """
        #expect(try exampleFile(json).count == 1)
    }

    @Test(
        "is refused where it is wrong, and never repeats a secret",
        arguments: [
            ("client_secret: canary-plain", "8:", "is secret and does not stand here"),
            ("client_secret: {env: NOTHING}", "8:", "the environment has no NOTHING"),
            ("client_secret: {file: none}", "8:", "cannot be read"),
            ("client_secret: {env: S}, clientid: x", "8:", "did you mean 'client_id'?"),
            ("client_secret: {env: S}, bearer: cookie", "8:", "takes access_token or id_token"),
            ("client_secret: {env: S}, paths: {accounts: x}", "8:", "begins with no slash"),
            ("client_secret: {env: S}, client_certificate: {env: S}", "8:", "client_certificate_key"),
            (
                "client_secret: {env: S}, client_certificate: {env: S}, client_certificate_key: {env: S}", "8:",
                "are no pair"
            ),
            ("scopes: [openid]", "8:", "'client_secret' is needed with client_secret_basic"),
        ]
    )
    func refuses(_ settings: String, _ place: String, _ reason: String) throws {
        let error = try #require(throws: FileError.self) { try exampleFile(file("\(plain), \(settings)")) }
        #expect("\(error)".hasPrefix(place) && "\(error)".contains(reason), "\(error)")
        #expect(!"\(error)".contains("canary"))
    }

    @Test("refuses unknown connectors, ids that are none or taken, and keys that are no keys")
    func others() {
        for (text, reason) in [
            (file("", connector: "abacus"), "there is no connector 'abacus'"),
            (file("", id: "fcinst_short"), "fcinst_ and 14 letters or digits"),
            (file("base_url: ftp://b", connector: "example"), "an address such as"),
            (file("", connector: "example"), "needs the key 'base_url'"),
            (
                file(
                    plain.replacingOccurrences(of: "client_secret_basic", with: "private_key_jwt")
                        + ", signing_key: {env: S}"
                ), "is no key"
            ),
            ("institutions: []\nmore: 1", "'more' is not a key"),
            ("", "empty"), ("[", "not YAML"),
        ] {
            let error = #expect(throws: FileError.self) { try exampleFile(text) }
            #expect(error.map { "\($0)".contains(reason) } == true, "\(String(describing: error))")
        }
        let one = file("base_url: https://b.example", connector: "example")
        let twice = one + "\n" + one.split(separator: "\n").dropFirst().joined(separator: "\n")
        let error = #expect(throws: FileError.self) { try exampleFile(twice) }
        #expect(error?.reason.contains("another institution has the id") == true)
    }
}
