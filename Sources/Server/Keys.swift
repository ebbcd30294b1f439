/// `linkspan keys`: the merchant's API keys, in the database, or through the server that runs on the data folder.

internal import ArgumentParser
internal import AsyncHTTPClient
internal import Connections
internal import Database
internal import Foundation
internal import Logging
internal import NIOCore
internal import NIOFoundationCompat
internal import NIOHTTP1
internal import Wire

struct Keys: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List, make and revoke API keys.",
        discussion: """
            Examples:
              linkspan keys
              linkspan keys create --kind secret --name "CI"
              linkspan keys create --kind restricted --permission customer_read
              linkspan keys revoke mk_…
            """,
        subcommands: [List.self, Create.self, Revoke.self],
        defaultSubcommand: List.self
    )

    struct Output: ParsableArguments {
        @OptionGroup var data: DataOptions

        @Flag(help: "Print JSON.")
        var json = false

        func run(_ command: KeyCommand) async throws {
            let keys = try await KeyAccess(folder: data.folder, store: Store(data)).run(command)
            if json {
                let encoder = JSONEncoder()
                encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
                print(String(decoding: try encoder.encode(keys), as: UTF8.self))
                return
            }
            for key in keys {
                let mode = key.livemode ? "live" : "test"
                let state = key.revoked == nil ? "" : "  revoked"
                print("\(key.id)  \(mode)  \(key.kind)  \(key.text ?? key.masked)  \(key.name)\(state)")
            }
            if keys.contains(where: { $0.text != nil && $0.kind != "publishable" }) {
                print("The key is shown this once: it is stored as a digest.")
            }
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List the keys, masked.")
        @OptionGroup var output: Output

        func run() async throws { try await output.run(.list) }
    }

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Make a key; it is shown once.")
        @OptionGroup var output: Output

        @Option(help: "publishable, secret or restricted.")
        var kind = "secret"

        @Flag(help: "A key of live mode.")
        var live = false

        @Option(help: "A name to tell the key by.")
        var name = ""

        @Option(help: "What a restricted key may do, such as customer_read; may be repeated.")
        var permission: [String] = []

        func run() async throws {
            try await output.run(.create(kind: kind, live: live, name: name, permissions: permission))
        }
    }

    struct Revoke: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Revoke a key at once.")
        @OptionGroup var output: Output

        @Argument(help: "The key's id, mk_….")
        var id: String

        func run() async throws { try await output.run(.revoke(id: id)) }
    }
}

/// Runs a command on the keys: in the database itself where no server holds it alone, and else through the server.
private struct KeyAccess {
    let folder: DataFolder
    let store: Store

    func run(_ command: KeyCommand) async throws -> [KeyCommand.Shown] {
        guard store.isShared || FileManager.default.fileExists(atPath: folder.databasePath) else {
            throw Failure(
                "There is no installation in '\(folder.path)'. Run 'linkspan serve' first, or name its folder by "
                    + "--data."
            )
        }
        do {
            // A server on the folder knows whether live mode may be used, and forgets what it knows of keys.
            let isFree = try !FileManager.default.fileExists(atPath: folder.path) || folder.lock()
            return try await isFree ? inDatabase(command) : throughServer(command)
        } catch let error as StripeError {
            throw Failure(error.message)
        }
    }

    private func inDatabase(_ command: KeyCommand) async throws -> [KeyCommand.Shown] {
        let logger = Logger(label: "linkspan", factory: { _ in LineLog() })
        let database = try store.open(logger)
        let world = World(milliseconds: { Int64(Date().timeIntervalSince1970 * 1000) })
        let shown = try await store.explaining {
            // Servers elsewhere run on this database now; one that holds a folder alone looks when it starts.
            let allowsLive = !store.isShared || Environment["LINKSPAN_KEY_FILE"] != nil
            return try await database.write { db in try command.run(allowsLive: allowsLive, in: db, world) }
        }
        try database.close()
        return shown
    }

    private func throughServer(_ command: KeyCommand) async throws -> [KeyCommand.Shown] {
        guard let running = folder.running() else {
            throw Failure("A server runs on '\(folder.path)' but does not say where. Try again when it has started.")
        }
        var request = HTTPClientRequest(url: "\(running.url)/admin/keys")
        request.method = .POST
        request.headers.add(name: "Authorization", value: "Bearer \(running.token)")
        request.body = .bytes(ByteBuffer(data: try JSONEncoder().encode(command)))
        let response = try await HTTPClient.shared.execute(request, timeout: .seconds(10))
        let body = try await response.body.collect(upTo: 1 << 20)
        guard response.status == .ok else {
            throw Failure(
                String(buffer: body).isEmpty ? "The server refused (\(response.status.code))." : String(buffer: body)
            )
        }
        return try JSONDecoder().decode([KeyCommand.Shown].self, from: Data(body.readableBytesView))
    }
}
