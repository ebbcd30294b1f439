/// `linkspan events`: what happened, and sending it to webhook endpoints once more.

internal import ArgumentParser
internal import Foundation

struct Events: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List events, and send them again.",
        discussion: """
            Examples:
              linkspan events list --type "financial_connections.*"
              linkspan events list --undelivered
              linkspan events resend evt_… --webhook-endpoint we_…
            """,
        subcommands: [List.self, Resend.self],
        defaultSubcommand: List.self
    )

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List events, the newest first.",
            discussion: "Example: linkspan events list --limit 20 --type financial_connections.account.created"
        )

        @OptionGroup var remote: RemoteOptions

        @Option(help: "How many, 1 to 100.")
        var limit = 10

        @Option(help: "A type, or its beginning with a star: customer.*")
        var type: String?

        @Flag(help: "Those alone that were not delivered to some endpoint.")
        var undelivered = false

        @Flag(help: "Print JSON.")
        var json = false

        func run() async throws {
            var query = [("limit", "\(limit)")]
            if let type { query.append(("type", type)) }
            if undelivered { query.append(("delivery_success", "false")) }
            let events = try await remote.remote().get("/v1/events", query)
            guard !json else { return print(events.text, terminator: "") }
            for event in events["data"]?.elements ?? [] {
                let created = Date(timeIntervalSince1970: Double(event["created"]?.int ?? 0))
                let pending = event["pending_webhooks"]?.int ?? 0
                print(
                    created.formatted(.iso8601),
                    event["id"]?.string ?? "",
                    event["type"]?.string ?? "",
                    pending == 0 ? "" : "\(pending) undelivered",
                    separator: "  "
                )
            }
        }
    }

    struct Resend: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Send an event again.",
            discussion: """
                Without --webhook-endpoint it goes to every enabled endpoint that asks for its type.

                Example: linkspan events resend evt_… --webhook-endpoint we_…
                """
        )

        @OptionGroup var remote: RemoteOptions

        @Argument(help: "The event's id, evt_….")
        var id: String

        @Option(help: "The endpoint's id, we_….")
        var webhookEndpoint: String?

        @Flag(help: "Print JSON.")
        var json = false

        func run() async throws {
            let form = webhookEndpoint.map { [("webhook_endpoint", $0)] } ?? []
            let event = try await remote.remote().post("/v1/events/\(id)/retry", form)
            if json { return print(event.text, terminator: "") }
            print("\(id) is sent again to \(event["pending_webhooks"]?.int ?? 0) of its endpoints.")
        }
    }
}
