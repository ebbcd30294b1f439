/// `linkspan migrate`: brings the schema up to date without a server. Several may be told to at once: one of them does it.

internal import ArgumentParser
internal import Database
internal import Logging

struct Migrate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Bring the database's schema up to date.",
        discussion: """
            A server does this when it starts. On its own it is for those who let a database user change the schema that \
            the servers do not have.

            Example: linkspan migrate --database-url postgres://owner@db.example.com/linkspan
            """
    )

    @OptionGroup var data: DataOptions

    func run() async throws {
        let store = try Store(data)
        if case .folder(let folder) = store {
            try folder.create()
            guard try folder.lock() else { throw Failure("A linkspan runs on the data folder '\(folder.path)'.") }
        }
        let database = try store.open(Logger(label: "linkspan", factory: { _ in LineLog() }))
        let status = try await database.status()
        try database.close()
        print("The database in '\(store.place)' has schema \(status.schemaVersion) (\(status.engine)).")
    }
}
