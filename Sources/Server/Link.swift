/// `linkspan link`: opens the hosted flow for a customer of its own, waits for the person, and prints what was linked.

internal import ArgumentParser
internal import Foundation

struct Link: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Link accounts in the hosted flow, and print them.",
        discussion: """
            It makes a customer and a Session, opens the flow in a browser, and waits until accounts are linked.

            Examples:
              linkspan link
              linkspan link --no-browser --customer cus_…
            """
    )

    @OptionGroup var remote: RemoteOptions

    @Option(help: "A customer to link accounts for; default: a new one.")
    var customer: String?

    @Flag(inversion: .prefixedNo, help: "Open a browser. Without one, open the address yourself.")
    var browser = true

    @Option(help: "Seconds to wait.")
    var timeout = 900

    @Flag(help: "Print the accounts as JSON.")
    var json = false

    func run() async throws {
        let remote = try remote.remote()
        let holder = try await customer(remote)
        let permissions = ["balances", "ownership", "payment_method", "transactions"].map { ("permissions[]", $0) }
        let session = try await remote.post(
            "/v1/financial_connections/sessions",
            [("account_holder[type]", "customer"), ("account_holder[customer]", holder)] + permissions
        )
        let id = try session.required("id")
        guard let key = remote.publishableKey else {
            throw Failure("The flow needs a publishable key, and the server's is not known here.")
        }
        let client = try await remote.post(
            "/v1/financial_connections/sessions/synchronize",
            [("client_secret", try session.required("client_secret"))],
            key: key
        )
        guard let address = client["manifest"]?["hosted_auth_url"]?.string else {
            throw Failure("The server's answer has no address of the flow.")
        }
        say("Link accounts at:\n\n  \(address)\n")
        if browser && !open(address) { say("No browser could be opened: open the address yourself.") }
        say("Waiting until accounts are linked (^C to quit) …")
        try await wait(for: id, remote)
    }

    private func customer(_ remote: Remote) async throws -> String {
        if let customer { return customer }
        return try await remote.post("/v1/customers", [("description", "Made by linkspan link")]).required("id")
    }

    private func wait(for session: String, _ remote: Remote) async throws {
        let end = ContinuousClock.now + .seconds(timeout)
        while ContinuousClock.now < end {
            let accounts = try await remote.get("/v1/financial_connections/sessions/\(session)")["accounts"]
            if let accounts, let list = accounts["data"], !list.elements.isEmpty {
                if json { return print(list.text) }
                for account in list.elements {
                    let name = account["display_name"]?.string ?? account["institution_name"]?.string ?? ""
                    let last4 = account["last4"]?.string.map { " ••••\($0)" } ?? ""
                    print(
                        "\(try account.required("id"))  \(account["institution_name"]?.string ?? "")  \(name)\(last4)"
                    )
                }
                return
            }
            try await Task.sleep(for: .milliseconds(500))
        }
        throw Failure("Nothing was linked within \(timeout) seconds.")
    }

    /// For the person, and not for what reads the output.
    private func say(_ text: String) {
        StandardError.write(text)
    }

    private func open(_ address: String) -> Bool {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["xdg-open", address]
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        guard (try? process.run()) != nil else { return false }
        process.waitUntilExit()
        return process.terminationStatus == 0
    }
}
