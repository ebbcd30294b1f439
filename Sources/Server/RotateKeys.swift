/// `linkspan rotate-keys`: seals what is stored anew under the first key of the ring.

internal import ArgumentParser
internal import Connections
internal import Database
internal import Logging
internal import Vault

struct RotateKeys: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rotate-keys",
        abstract: "Seal everything anew under the newest key of the key ring.",
        discussion: """
            Put a new line in front of the key ring, restart the servers, run this command, and drop the old lines. It \
            can be stopped and run again. On SQLite the server must be stopped; on PostgreSQL servers may run.

            Example: linkspan rotate-keys --key-file /etc/linkspan/keyring
            """
    )

    @OptionGroup var data: DataOptions

    @Option(help: "The file of the key ring. LINKSPAN_KEY_FILE; default: the one in the data folder.")
    var keyFile: String?

    func run() async throws {
        let store = try Store(data)
        if case .folder(let folder) = store {
            guard try folder.lock() else {
                throw Failure("A linkspan runs on the data folder '\(folder.path)'. Stop it first.")
            }
        }
        let database = try store.open(Logger(label: "linkspan", factory: { _ in LineLog() }))
        let file = keyFile ?? Environment["LINKSPAN_KEY_FILE"]
        let ring = try data.folder.ring(file: file, sealed: store)
        guard try await database.read({ try RingCheck.isThere(in: $0) }) else {
            throw Failure("Nothing is sealed in '\(store.place)'.")
        }
        do {
            for resealed in try await Resealing(database, ring).run() {
                print("\(resealed.column)  \(resealed.values)")
            }
        } catch let unopened as Resealing.Unopened {
            throw Failure(
                "No key of the ring opens \(unopened.column) of '\(unopened.row)'. Add the key that sealed it as a "
                    + "further line, and run this again."
            )
        }
        try database.close()
        print("Everything is sealed under the first key of the ring. The others may be dropped.")
    }
}
