/// `linkspan connectors`: what the operator's file of institutions says, and whether the banks are there.

internal import ArgumentParser
internal import Connections
internal import Foundation
internal import Institutions
internal import Outbound
internal import Wire

struct Connectors: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List and check the institutions of --connectors.",
        discussion: """
            Examples:
              linkspan connectors list --connectors banks.yaml
              linkspan connectors check --connectors banks.yaml
              linkspan connectors fields fdx
            """,
        subcommands: [List.self, Check.self, Fields.self],
        defaultSubcommand: List.self
    )

    struct Input: ParsableArguments {
        @Option(help: "The file of institutions. LINKSPAN_CONNECTORS.")
        var connectors: String?

        @Flag(help: "Print JSON.")
        var json = false

        /// - Parameter policy: what may be reached.
        func read(_ policy: Outbound.Policy) throws -> [any ConfigurableConnector] {
            guard let path = connectors ?? Environment["LINKSPAN_CONNECTORS"] else {
                throw Failure("Name the file of institutions by --connectors (LINKSPAN_CONNECTORS).")
            }
            // Nobody signs in here, so nothing is marked.
            let world = World(milliseconds: Serve.wallClock)
            return try ConfiguredInstitutions.read(
                path,
                world,
                Outbound(policy: policy),
                forPeople: .publicOnly,
                mark: { $0 }
            )
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List the institutions, once the file is right.")
        @OptionGroup var input: Input

        func run() async throws {
            let connectors = try input.read(.publicOnly)
            Connectors.show(connectors.map { ($0, nil) }, asJSON: input.json)
        }
    }

    struct Check: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Ask each institution whether it is what its settings say.",
            discussion: """
                Reads what it publishes, and shows it the name and the secret of this server; nobody signs in. Where \
                people bring the address or a file, as with simplefin and ofx_file, there is nothing to ask. Ends with \
                exit code 1 where one is not.
                """
        )
        @OptionGroup var input: Input
        @OptionGroup var webhooks: WebhookOptions

        @Flag(help: "Reach this machine too, as a server of test mode does.")
        var test = false

        func run() async throws {
            let policy = try WebhookSettings(webhooks).policy(livemode: !test)
            var results: [(any ConfigurableConnector, String?)] = []
            for connector in try input.read(policy) {
                do throws(ConnectorError) {
                    try await connector.check()
                    results.append((connector, "ok"))
                } catch {
                    results.append((connector, error.explanation))
                }
            }
            Connectors.show(results, asJSON: input.json)
            if results.contains(where: { $0.1 != "ok" }) { throw ExitCode.failure }
        }
    }

    struct Fields: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Say what a connector may be told.")

        @Argument(help: "A kind of connector; without it, the kinds are listed.")
        var kind: String?

        func run() throws {
            guard let kind else { return ConnectorFile.kinds.forEach { print($0.kind) } }
            guard let known = ConnectorFile.kinds.first(where: { $0.kind == kind }) else {
                throw Failure("There is no connector '\(kind)'. There are: \(ConnectorFile.kinds.map { $0.kind }).")
            }
            for field in known.fields {
                print("\(field.name)\(field.isRequired ? " (needed)" : "")\n    \(field.help)")
                switch field.kind {
                case .choice(let words): print("    One of: \(words.joined(separator: ", "))")
                case .secret: print("    Secret: {env: NAME} or {file: path}")
                case .text, .url, .list, .flag, .table: break
                }
            }
        }
    }

    private static func show(_ rows: [(connector: any ConfigurableConnector, state: String?)], asJSON: Bool) {
        var json = JSONWriter()
        json.array { json in
            for (connector, state) in rows {
                for institution in connector.institutions {
                    let kind = type(of: connector).kind
                    guard asJSON else {
                        print("\(institution.id)  \(kind)  \(institution.name)\(state.map { "  \($0)" } ?? "")")
                        continue
                    }
                    json.element()
                    json.object { json in
                        json.field("id", institution.id)
                        json.field("connector", kind)
                        json.field("name", institution.name)
                        if let state { json.field("state", state) }
                    }
                }
            }
        }
        if asJSON { print(String(decoding: json.finish(), as: UTF8.self)) }
    }
}

extension ConnectorError {
    /// For whoever configures a connector.
    fileprivate var explanation: String {
        switch self {
        case .institutionUnavailable: "cannot be reached, or is down"
        case .untrusted: "gets no encrypted connection: one side does not take the other's certificate"
        case .rateLimited: "was asked too often"
        case .misconfigured("issuer"):
            "issuer: no discovery document of this issuer there, or the address may not be reached (this machine only "
                + "with --test, other networks with --allow-networks, http only where they allow)"
        case .misconfigured("client_id"): "client_id, or what proves it: the bank refuses this client"
        case .misconfigured("base_url"): "base_url, or paths: there are no accounts at this address"
        case .misconfigured(let setting): "\(setting): not as the bank expects"
        case .invalidResponse: "did not answer as it must: check the addresses, and that they are allowed"
        case .authorizationFailed, .cancelled, .relinkRequired, .accountRelinkRequired, .accountClosed: "refused"
        case .unsupported, .superseded: "does not support this"
        }
    }
}

/// The operator's institutions, read from their file with its secrets.
enum ConfiguredInstitutions {
    /// - Parameter forPeople: what the addresses may be that people give.
    static func read(
        _ path: String,
        _ world: World,
        _ outbound: Outbound,
        forPeople policy: Outbound.Policy,
        mark: @escaping @Sendable (String) -> String
    ) throws -> [any ConfigurableConnector] {
        guard let text = try? String(contentsOfFile: path, encoding: .utf8) else {
            throw Failure("--connectors (LINKSPAN_CONNECTORS): there is no text file '\(path)' that can be read.")
        }
        let tools = ConnectorTools(
            line: Line(outbound),
            peoplesLine: Line(outbound.under(policy)),
            now: { world.wall() },
            secret: { world.secret("", length: $0) },
            mark: mark
        )
        let folder = URL(fileURLWithPath: path).deletingLastPathComponent()
        let taken = Set(
            (Sandbox().institutions + TestBanks.institutions + [OFXFiles.standard]).flatMap { [$0.id, $0.name] }
        )
        do {
            return try ConnectorFile.read(text, besides: taken, tools) { place in
                switch place {
                case .environment(let name): return Environment[name]
                case .file(let name):
                    let file = URL(fileURLWithPath: name, relativeTo: folder)
                    guard let text = try? String(contentsOf: file, encoding: .utf8) else { return nil }
                    let trimmed = text.trimmingCharacters(in: .whitespacesAndNewlines)
                    return trimmed.isEmpty ? nil : trimmed
                }
            }
        } catch {
            throw Failure("\(path):\(error)")
        }
    }
}
