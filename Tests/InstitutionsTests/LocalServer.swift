/// A server of the tests that speaks a bank's protocol: it answers what a test tells it to, and keeps what it was
/// asked.

import Hummingbird
import Logging
import NIOCore
import Synchronization

final class LocalServer: Sendable {
    struct Asked: Sendable {
        let method: String
        let path: String
        let query: [String: String]
        let headers: [String: String]
        let body: String
    }

    struct Answer: Sendable {
        var status = 200
        var type = "application/json"
        var body = ""
        var retryAfter: String?
    }

    private let kept = Mutex<[Asked]>([])
    private let address = Mutex("")
    private let handle: @Sendable (Asked) -> Answer

    /// Where it is reached: `http://127.0.0.1:port`.
    var url: String { address.withLock { $0 } }
    var asked: [Asked] { kept.withLock { $0 } }

    init(_ handle: @escaping @Sendable (Asked) -> Answer) async throws {
        self.handle = handle
        let (ports, found) = AsyncStream.makeStream(of: Int.self)
        let application = Application(
            responder: CallbackResponder { [self] (request: Request, _: BasicRequestContext) in
                try await respond(request)
            },
            configuration: .init(address: .hostname("127.0.0.1", port: 0)),
            onServerRunning: { channel in found.yield(channel.localAddress?.port ?? 0) },
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        )
        Task { try await application.run() }
        for await port in ports {
            address.withLock { $0 = "http://127.0.0.1:\(port)" }
            return
        }
    }

    private func respond(_ request: Request) async throws -> Response {
        let body = try await request.body.collect(upTo: 1 << 20)
        var query: [String: String] = [:]
        for (key, value) in request.uri.queryParameters { query[String(key)] = String(value) }
        var headers: [String: String] = [:]
        for field in request.headers { headers[field.name.canonicalName] = field.value }
        let asked = Asked(
            method: request.method.rawValue,
            path: request.uri.path,
            query: query,
            headers: headers,
            body: String(buffer: body)
        )
        kept.withLock { $0.append(asked) }
        let answer = handle(asked)
        var fields: HTTPFields = [.contentType: answer.type]
        fields[.retryAfter] = answer.retryAfter
        return Response(
            status: .init(code: answer.status),
            headers: fields,
            body: .init(byteBuffer: ByteBuffer(string: answer.body))
        )
    }
}
