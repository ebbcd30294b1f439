/// What operators and their machines ask: health, metrics, and the keys of a running server.
///
/// SQLite has one writer, so the command line changes a running server's keys through it, with a token that only
/// someone who can read the data folder has.

internal import Connections
internal import Database
internal import FoundationEssentials
internal import HTTPTypes
internal import Hummingbird
internal import Logging
internal import NIOCore
internal import Synchronization
internal import Vault
internal import Wire

struct Operations: Sendable {
    private let service: Service
    private let probe = Probe()

    init(_ service: Service) {
        self.service = service
    }

    func register(on router: Router<BasicRequestContext>) {
        router.get("health/live") { _, _ in Self.text(.ok, "ok\n") }
        router.get("health/ready") { _, _ in await ready() }
        router.get("health") { _, _ in await ready() }
        router.get("metrics") { _, _ in Self.text(.ok, service.metrics.text(), type: "text/plain; version=0.0.4") }
        guard let admin = service.settings.admin else { return }
        let digest = Secret.digest(admin.token)
        router.post("admin/keys") { request, _ in await keys(request, admin, digest) }
    }

    /// Ready means that the database keeps what it is given, tried once a second at most.
    private func ready() async -> Response {
        if let known = probe.recent(service.world.now()) { return known }
        let response: Response
        do {
            let now = service.world.now()
            _ = try await service.database.write { db in
                try db.execute(
                    "INSERT INTO probe (id, at) VALUES (1, \(now)) ON CONFLICT (id) DO UPDATE SET at = excluded.at"
                )
            }
            let status = try await service.database.status()
            response = Self.text(.ok, "ready\n\(status.engine), schema \(status.schemaVersion)\n")
        } catch {
            service.logger.error("not ready", metadata: ["error": "\(error)"])
            response = Self.text(.serviceUnavailable, "not ready\nThe database does not take writes: \(error)\n")
        }
        probe.store(response, service.world.now())
        return response
    }

    /// Runs a ``KeyCommand`` sent as JSON.
    private func keys(_ request: Request, _ admin: Service.Settings.Admin, _ digest: [UInt8]) async -> Response {
        do {
            let credential = try Authenticator.credential(request.headers)
            guard Secret.digest(credential) == digest else { return Self.text(.unauthorized, "") }
            let body = try await request.body.collect(upTo: Front.maximumBody)
            let command = try JSONDecoder().decode(KeyCommand.self, from: Data(body.readableBytesView))
            let world = service.world
            let result = try await service.database.write { db in
                try command.run(allowsLive: admin.allowsLive, in: db, world)
            }
            service.authenticator.forget()
            return Self.text(
                .ok,
                String(decoding: try JSONEncoder().encode(result), as: UTF8.self),
                type: "application/json"
            )
        } catch {
            let known = service.explain(error, "", "POST /admin/keys")
            return Self.text(.init(code: known.status), known.message)
        }
    }

    private static func text(
        _ status: HTTPResponse.Status,
        _ text: String,
        type: String = "text/plain; charset=utf-8"
    ) -> Response {
        Response(
            status: status,
            headers: [.contentType: type, .cacheControl: "no-store"],
            body: .init(byteBuffer: ByteBuffer(string: text))
        )
    }
}

/// What the last look at the database found, good for a second: asking costs a write.
private final class Probe: Sendable {
    private let last = Mutex<(response: Response, at: Int64)?>(nil)

    func recent(_ now: Int64) -> Response? {
        last.withLock { $0.flatMap { $0.at == now ? $0.response : nil } }
    }

    func store(_ response: Response, _ now: Int64) {
        last.withLock { $0 = (response, now) }
    }
}
