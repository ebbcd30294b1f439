/// Folds the write-ahead log into the file beside the writer, which goes on meanwhile.
///
/// Left to itself the engine does this in a commit, and all who wait for one wait for thousands of pages to be written.
/// Here a connection of its own folds what there is; then the writer folds the little that has come since, after which
/// its next commit begins the log anew.

internal import Dispatch
internal import Logging
internal import Synchronization

final class SQLiteCheckpointer: Sendable {
    /// The log is folded from so many pages on: 16 MiB. A page that is written often goes to the file once for many
    /// commits.
    private static let length = 4096
    /// At so many pages the writer waits, so that the log does not outgrow a slow disk: 64 MiB.
    private static let maximumLength = 4 * length

    private enum Stage {
        /// Nothing is done until the log has so many pages.
        case waiting(until: Int)
        case folding
        /// What is left is for the writer.
        case folded
    }

    private let path: String
    private let logger: Logger
    private let thread = DispatchQueue(label: "linkspan.database.checkpointer")
    private let stage = Mutex(Stage.waiting(until: length))
    /// Touched by `thread` alone.
    nonisolated(unsafe) private var session: SQLiteSession?

    init(path: String, logger: Logger) {
        self.path = path
        self.logger = logger
    }

    /// Takes note of a commit; for the writer's thread, outside of a transaction.
    func committed(_ writer: SQLiteSession) {
        switch stage.withLock({ $0 }) {
        case .waiting(let until):
            // Short again: it was begun anew.
            let until = writer.logLength < Self.length ? Self.length : until
            let isLong = writer.logLength >= until
            stage.withLock { $0 = isLong ? .folding : .waiting(until: until) }
            if isLong { thread.async { self.fold() } }
        case .folding:
            guard writer.logLength >= Self.maximumLength else { return }
            thread.sync {}
            finish(writer)
        case .folded:
            finish(writer)
        }
    }

    private func fold() {
        attempt {
            let session = try session ?? SQLiteSession(path: path)
            try session.execute("PRAGMA synchronous = FULL")
            self.session = session
            try session.checkpoint(.passive)
        }
        stage.withLock { $0 = .folded }
    }

    private func finish(_ writer: SQLiteSession) {
        attempt { try writer.checkpoint(.passive) }
        // Where a reader keeps the log from being begun anew, the next try is not at the next commit.
        stage.withLock { $0 = .waiting(until: writer.logLength + Self.length / 4) }
    }

    /// What fails leaves the log as it is, and is tried again when it has grown.
    private func attempt(_ body: () throws -> Void) {
        do {
            try SQLiteDriver.translating(body)
        } catch {
            logger.error("the write-ahead log could not be folded into the file", metadata: ["error": "\(error)"])
        }
    }

    /// Ends the connection; nothing may be committed any more.
    func close() {
        thread.sync { session = nil }
    }
}
