/// The reference bank, served over HTTP for the tests of this process, and a person at its pages.

import Connections
import Database
import Foundation
import Hummingbird
import Institutions
import Logging
import Outbound
import ReferenceBank
import Synchronization
import Vault

final class TestBank: Sendable {
    static let redirect = "https://link.example/flow/return"

    private let address = Mutex("")
    private let proofs: [String: ClientProof]
    let outbound = Outbound(policy: .withLoopback)
    let line: Line
    let clientSecret = "canary-client-secret-5bf2"

    private static let running = Mutex<Task<TestBank, any Error>?>(nil)

    /// One for all tests of the process.
    static func shared() async throws -> TestBank {
        let task = running.withLock { running in
            let task = running ?? Task { try await TestBank() }
            running = task
            return task
        }
        return try await task.value
    }

    /// Where the bank is reached.
    var url: String { address.withLock { $0 } }

    private init() async throws {
        // A machine that is busy with other tests is no bank that is down.
        line = Line(outbound, patience: .seconds(120))
        let key = SigningKey()
        proofs = ["test-key": .privateKey(key), "test-secret": .secretBasic(clientSecret)]
        let database = try Database(
            .memory,
            migrations: Migrations.all,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        )
        let isCallback: @Sendable (String) -> Bool = { $0 == Self.redirect }
        let bank = try Bank(
            database: database,
            ring: KeyRing(text: KeyRing.generate()),
            settings: .init(
                front: { [self] in url },
                back: { [self] in url },
                clients: [
                    .init(
                        id: "test-key",
                        name: "Test",
                        proof: .keys(try JSONWebKeys(json: Array(key.publicKeys.utf8))),
                        isThorough: false,
                        allows: isCallback
                    ),
                    .init(
                        id: "test-secret",
                        name: "Test",
                        proof: .secret(clientSecret),
                        isThorough: true,
                        allows: isCallback
                    ),
                ]
            ),
            now: { Exhibit.now },
            secret: Self.secret
        )
        let router = Router(context: BasicRequestContext.self)
        bank.register(on: router)
        let place = try await serve(router)
        address.withLock { $0 = "\(place)/bank" }
    }

    static let secret: @Sendable (Int) -> String = { length in
        var random = SystemRandomNumberGenerator()
        return Secret.make(prefix: "", length: length, using: &random)
    }

    // MARK: Connectors

    static let institution = Institution(
        id: "fcinst_TestBank000001",
        name: "Test Bank",
        domain: "bank.example",
        featured: true,
        countries: ["US"]
    )

    /// - Parameters:
    ///   - client: `test-key` shares all by one button, `test-secret` chooses accounts.
    ///   - seconds: how much the connector's clock is ahead.
    ///   - change: what differs from a plain configuration.
    func connector(
        _ version: String = "v6",
        client: String = "test-key",
        line: Line? = nil,
        lateBy seconds: Int64 = 0,
        _ change: @escaping @Sendable (inout FDX.Configuration) -> Void = { _ in }
    ) -> FDX {
        let (url, proof) = (url, proofs[client] ?? .certificate)
        return FDX(
            Self.institution,
            isTest: true,
            policy: RefreshPolicy(interval: 1, concurrency: 4, dailyBudget: nil),
            line: line ?? self.line,
            now: { Exhibit.now + seconds },
            secret: Self.secret
        ) {
            var configuration = FDX.Configuration(
                issuer: url,
                base: "\(url)/fdx/\(version)",
                clientID: client,
                proof: proof,
                scopes: FDX.Configuration.standardScopes
            )
            configuration.sendsHint = true
            change(&configuration)
            return configuration
        }
    }

    func exhibit(_ version: String) throws -> Exhibit {
        let client = version == "v6" ? "test-key" : "test-secret"
        return Exhibit(
            connector: connector(version, client: client),
            institution: Self.institution,
            answer: { [self] step, _ in
                guard case .redirect(let address, _) = step else { throw ConnectorError.unsupported }
                return .returned(try await person(at: address))
            },
            secrets: [clientSecret]
        )
    }

    // MARK: A person at the bank's pages

    /// Answers the consent page and comes back.
    /// - Parameter accounts: names of accounts; those of the page where it is nil.
    /// - Returns: what the bank sent along, `state` and all.
    func person(
        at address: String,
        decision: String = "allow",
        accounts: [String]? = nil,
        user: String? = nil
    ) async throws -> [String: String] {
        let page = try await outbound.send(.init(url: address))
        let text = String(decoding: page.body, as: UTF8.self)
        guard page.status == 200, let request = text.firstMatch(of: /name="request" value="([^"]+)"/)?.1 else {
            throw Refused(status: page.status, page: text)
        }
        let offered = text.matches(of: /name="accounts\[\]" value="([^"]+)"/).map { String($0.1) }
        let name = user ?? text.firstMatch(of: /name="user" value="([^"]*)"/).map { String($0.1) }
        var fields = URLComponents()
        fields.queryItems = [
            .init(name: "request", value: String(request)), .init(name: "decision", value: decision),
            .init(name: "user", value: name),
        ]
        fields.queryItems? += (accounts ?? offered).map { .init(name: "accounts[]", value: $0) }
        let reply = try await outbound.send(
            .init(
                method: "POST",
                url: "\(url)/authorize",
                headers: [("Content-Type", "application/x-www-form-urlencoded")],
                body: Array((fields.percentEncodedQuery ?? "").utf8)
            )
        )
        guard reply.status == 303, let location = reply.headers.first("Location"),
            let back = URLComponents(string: location), location.hasPrefix("\(Self.redirect)?")
        else { throw Refused(status: reply.status, page: String(decoding: reply.body, as: UTF8.self)) }
        var answer: [String: String] = [:]
        for item in back.queryItems ?? [] { answer[item.name] = item.value }
        return answer
    }

    struct Refused: Error {
        let status: Int
        let page: String
    }

    /// Sets how the bank treats a customer.
    func set(_ user: String, _ knobs: [String: String]) async throws {
        let body = knobs.map { "\($0.key)=\($0.value)" }.joined(separator: "&")
        _ = try await outbound.send(
            .init(
                method: "POST",
                url: "\(url)/users/\(user)",
                headers: [("Content-Type", "application/x-www-form-urlencoded")],
                body: Array(body.utf8)
            )
        )
    }
}
