/// `linkspan migrate`: brings the schema up to date without a server. Several may be told to at once: one of them does.

internal import ArgumentParser
internal import Database
internal import Logging

struct Migrate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Bring the database's schema up to date.",
        discussion: """
            A server does this when it starts. The command is for those whose servers have a database user that may \
            not change the schema: run it as the owner before the servers of a new version are started.

            Example: linkspan migrate --database-url postgres://owner@db.example.com/linkspan
            """
    )

    @OptionGroup var data: DataOptions

    func run() async throws {
        let store = try Store(data)
        if case .folder(let folder) = store {
            try folder.create()
            guard try folder.lock() else {
                throw Failure("A linkspan runs on the data folder '\(folder.path)'. Stop it first.")
            }
        }
        let database = try store.open(Logger(label: "linkspan", factory: { _ in LineLog() }))
        let status = try await database.status()
        try database.close()
        print("The database in '\(store.place)' has schema \(status.schemaVersion) (\(status.engine)).")
    }
}
