/// Carries hints between the servers of one database: a connection that listens, and tells what was committed here.
///
/// NOTIFY inside of the writes would make their commits wait for each other, across all servers. So a hint is told
/// after its commit, those that come together are told once, and one that is lost is not looked for: see ``Wake``.

#if Postgres
    internal import CPostgres
    internal import Foundation
    internal import Logging
    internal import Synchronization

    final class PostgresMessenger: Sendable {
        private static let channel = "linkspan"

        private let postgres: Postgres
        private let listeners: Listeners
        private let logger: Logger
        private let state = Mutex(State())
        /// Written to when there is something to do; the thread sleeps on the other end.
        private let pipe = Pipe()

        private struct State {
            var pending: Set<Wake> = []
            var isStarted = false
            var isClosed = false
        }

        init(_ postgres: Postgres, _ listeners: Listeners, _ logger: Logger) {
            self.postgres = postgres
            self.listeners = listeners
            self.logger = logger
        }

        /// Begins to listen, if that is not so yet.
        func start() {
            let isNew = state.withLock { state in
                defer { state.isStarted = true }
                return !state.isStarted && !state.isClosed
            }
            guard isNew else { return }
            Thread { [self] in work() }.start()
        }

        /// Wakes those who listen here, and soon those who listen elsewhere.
        func wake(_ channels: Set<Wake>) {
            guard !channels.isEmpty else { return }
            listeners.wake(channels)
            start()
            let wasEmpty = state.withLock { state in
                defer { state.pending.formUnion(channels) }
                return state.pending.isEmpty
            }
            if wasEmpty { ring() }
        }

        func close() {
            state.withLock { $0.isClosed = true }
            ring()
        }

        private var isClosed: Bool { state.withLock { $0.isClosed } }

        private func ring() {
            var byte: UInt8 = 1
            _ = write(pipe.fileHandleForWriting.fileDescriptor, &byte, 1)
        }

        private func work() {
            var failures = 0
            while !isClosed {
                do {
                    let handle = try PostgresSession.connect(postgres)
                    defer { PQfinish(handle) }
                    linkspan_ignore_notices(handle)
                    try run("LISTEN \(Self.channel)", [], handle)
                    failures = 0
                    // What was told while nobody listened here is not known.
                    listeners.wakeAll()
                    while !isClosed { try exchange(handle) }
                } catch {
                    failures += 1
                    if failures == 1 { logger.warning("no wake-ups between servers", metadata: ["error": "\(error)"]) }
                    wait(nil, milliseconds: Int32.random(in: 50...100) << min(failures, 5))
                }
            }
        }

        /// Waits for something to tell or to hear, and tells or hears it.
        private func exchange(_ handle: OpaquePointer) throws {
            let pending = state.withLock { state in
                defer { state.pending = [] }
                return state.pending
            }
            for wake in pending { try run("SELECT pg_notify('\(Self.channel)', $1)", [wake.rawValue], handle) }
            guard PQconsumeInput(handle) == 1 else { throw PostgresError(handle) }
            var heard: Set<Wake> = []
            while let notice = PQnotifies(handle) {
                if notice.pointee.be_pid != PQbackendPID(handle) {
                    heard.insert(Wake(rawValue: String(cString: notice.pointee.extra)))
                }
                PQfreemem(notice)
            }
            listeners.wake(heard)
            guard pending.isEmpty && heard.isEmpty else { return }
            wait(PQsocket(handle), milliseconds: 60_000)
        }

        private func wait(_ socket: Int32?, milliseconds: Int32) {
            let bell = pipe.fileHandleForReading.fileDescriptor
            var watched = [pollfd(fd: bell, events: Int16(POLLIN), revents: 0)]
            if let socket { watched.append(pollfd(fd: socket, events: Int16(POLLIN), revents: 0)) }
            guard poll(&watched, nfds_t(watched.count), milliseconds) > 0, watched[0].revents != 0 else { return }
            var bytes = [UInt8](repeating: 0, count: 64)
            _ = read(bell, &bytes, bytes.count)
        }

        private func run(_ text: String, _ values: [String], _ handle: OpaquePointer) throws {
            let texts = values.map { strdup($0) }
            defer { for text in texts { free(text) } }
            let result = PQexecParams(
                handle,
                text,
                Int32(values.count),
                nil,
                texts.map { UnsafePointer($0) },
                nil,
                nil,
                0
            )
            defer { PQclear(result) }
            let status = PQresultStatus(result)
            guard status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK else { throw PostgresError(result, handle) }
        }
    }
#endif
