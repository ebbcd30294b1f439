/// `linkspan copy`: moves a whole installation from SQLite in a data folder to PostgreSQL.

internal import ArgumentParser
internal import Connections
internal import Database
internal import Foundation
internal import Logging
internal import Synchronization

struct Copy: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Move an installation from SQLite to PostgreSQL.",
        discussion: """
            The server on the folder must be stopped, and the database must be empty. What was cut off goes on where \
            it was when it is started again. The folder stays as it is; servers on the new database need its key ring.

            Example: linkspan copy --from ./data --to postgres://linkspan@db.example.com/linkspan
            """
    )

    @Option(help: "The data folder of the installation.")
    var from: String

    @Option(help: "The PostgreSQL database, postgres://user@host:5432/name.")
    var to: String

    @Option(help: "A file with the password of the database's user. LINKSPAN_DATABASE_PASSWORD_FILE.")
    var databasePasswordFile: String?

    func run() async throws {
        let folder = DataFolder(path: from)
        guard FileManager.default.fileExists(atPath: folder.databasePath) else {
            throw Failure("There is no installation in '\(folder.path)'.")
        }
        guard try folder.lock() else {
            throw Failure("A linkspan runs on the data folder '\(folder.path)'. Stop it first.")
        }
        let passwordFile = databasePasswordFile ?? Environment["LINKSPAN_DATABASE_PASSWORD_FILE"]
        let target = Store.postgres(try Store.address(to, passwordFile, 2, "--to"))
        let logger = Logger(label: "linkspan", factory: { _ in LineLog() })
        let source = try Store.folder(folder).open(logger)
        let database = try target.open(logger)
        let moved: [Moving.Moved]
        do {
            moved = try await target.explaining {
                try await Moving(from: source, to: database).run(progress: Progress().show)
            }
        } catch let refusal as Moving.Refusal {
            throw Failure(Self.sentence(refusal, folder, target))
        }
        try source.close()
        try database.close()
        print("")
        for table in moved {
            print("  \(table.table)  \(table.rows) rows, equal on both sides (\(table.digest))")
        }
        let ring = folder.hasRing ? "--key-file '\(folder.ringPath)'" : "the --key-file that it was started with"
        print(
            """

            Everything is in '\(target.place)'. Start servers on it with the key ring of this installation:
              linkspan serve --database-url … \(ring)
            """
        )
    }

    private static func sentence(_ refusal: Moving.Refusal, _ folder: DataFolder, _ target: Store) -> String {
        switch refusal {
        case .sourceIsEmpty: "There is nothing in '\(folder.path)' to move."
        case .targetIsNotEmpty(let table):
            "The database in '\(target.place)' is not empty: there are rows in \(table). Nothing was changed."
        case .otherSource:
            "The database in '\(target.place)' holds a part of another installation, whose copying was not ended."
        case .sourceIsUnfinished: "The database in '\(folder.path)' is itself a copy that was not ended."
        case .differs(let table):
            "The table \(table) is not the same in '\(folder.path)' and '\(target.place)'. Empty the database and "
                + "begin again."
        }
    }

    /// A line now and then, for whoever waits.
    private final class Progress: Sendable {
        private let last = Mutex<(table: String, at: ContinuousClock.Instant)>(("", .now - .seconds(1)))

        func show(_ table: String, _ rows: Int) {
            let isDue = last.withLock { last in
                guard last.table != table || ContinuousClock.now - last.at > .seconds(1) else { return false }
                last = (table, .now)
                return true
            }
            if isDue { StandardError.write("copying \(table): \(rows) rows") }
        }
    }
}
