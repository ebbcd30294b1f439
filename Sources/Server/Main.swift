/// `linkspan`: the command line.

internal import ArgumentParser

@main
struct Linkspan: AsyncParsableCommand {
    static let version = "0.1.0"

    static let configuration = CommandConfiguration(
        commandName: "linkspan",
        abstract: "A self-hosted server that speaks Stripe's Financial Connections API.",
        discussion: """
            Start with: linkspan serve

            Linkspan is not affiliated with Stripe.
            """,
        subcommands: [
            Serve.self, Keys.self, RotateKeys.self, Connectors.self, BankCommand.self, Migrate.self, Copy.self,
            Version.self,
            Listen.self, Trigger.self, Link.self, Events.self,
        ]
    )
}

struct Version: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Print the version.")

    @Flag(help: "Print JSON.")
    var json = false

    func run() {
        print(json ? "{\"version\": \"\(Linkspan.version)\"}" : "linkspan \(Linkspan.version)")
    }
}

/// A sentence for whoever typed the command; it ends with exit code 1.
struct Failure: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}
