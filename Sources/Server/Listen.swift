/// `linkspan listen`: prints events as they happen and forwards them, signed, to a local server.

internal import ArgumentParser
internal import AsyncHTTPClient
internal import Foundation
internal import NIOCore
internal import NIOFoundationCompat
internal import NIOHTTP1

struct Listen: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print events as they happen, and forward them to a local server.",
        discussion: """
            The signing secret that it prints stays the same from one time to the next.

            Examples:
              linkspan listen --forward-to localhost:4242/webhook
              linkspan listen --events financial_connections.account.created,customer.created --json
            """
    )

    @OptionGroup var remote: RemoteOptions

    @Option(name: [.customShort("f"), .long], help: "Where events are sent: a URL, or localhost's port or path.")
    var forwardTo: String?

    @Option(name: [.customShort("e"), .long], help: "The types of events, with commas; default: all.")
    var events = "*"

    @Flag(help: "Print the signing secret, and no more.")
    var printSecret = false

    @Flag(help: "Print each event as JSON.")
    var json = false

    func run() async throws {
        if printSecret { return print(try await open(remote.remote()).required("secret")) }
        try await listen(isFirst: true)
        while true {
            // The server was stopped, or closed an old connection.
            say("The connection ended; connecting again …")
            try await Task.sleep(for: .seconds(1))
            do {
                try await listen(isFirst: false)
            } catch let failure as Failure {
                say(failure.description)
            }
        }
    }

    private func open(_ remote: Remote) async throws -> Remote.Answer {
        try await remote.post(
            "/v1/stripecli/sessions",
            [("device_name", "linkspan"), ("websocket_features[]", "webhooks")]
        )
    }

    /// Listens until the connection ends.
    private func listen(isFirst: Bool) async throws {
        let session = try await open(remote.remote())
        let socket = try await WebSocket.connect(
            to: session.required("websocket_url") + "?websocket_feature=webhooks",
            headers: ["Websocket-Id": session.required("websocket_id")],
            subprotocol: "stripecli-devproxy-v1"
        )
        let (version, secret) = (try session.required("default_version"), try session.required("secret"))
        say(
            isFirst
                ? "Ready! You are using API version [\(version)]. Your webhook signing secret is \(secret) (^C to quit)"
                : "Connected again."
        )
        let forward = forwardTo.map(Self.address)
        try await socket.run { text in await take(text, forward) }
    }

    /// As people write it: a port, a path, or an address without its scheme.
    static func address(_ text: String) -> String {
        if Int(text) != nil { return "http://localhost:\(text)" }
        if text.hasPrefix("/") { return "http://localhost\(text)" }
        return text.hasPrefix("http://") || text.hasPrefix("https://") ? text : "http://\(text)"
    }

    private struct Message: Decodable {
        struct Endpoint: Decodable { let api_version: String? }
        struct Event: Decodable {
            let id: String
            let type: String
        }

        let type: String
        let endpoint: Endpoint
        let event_payload: String
        let http_headers: [String: String]
        let webhook_id: String
        let webhook_conversation_id: String
    }

    /// Shows an event and forwards it.
    /// - Returns: what the server is told.
    private func take(_ text: String, _ forward: String?) async -> [[String: any Sendable]] {
        guard let message = try? JSONDecoder().decode(Message.self, from: Data(text.utf8)),
            message.type == "webhook_event",
            let event = try? JSONDecoder().decode(Message.Event.self, from: Data(message.event_payload.utf8))
        else { return [] }
        let ids = [
            "webhook_id": message.webhook_id, "webhook_conversation_id": message.webhook_conversation_id,
        ]
        var told: [[String: any Sendable]] = [ids.merging(["type": "event_ack", "event_id": event.id]) { $1 }]
        let wanted = events.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
        guard message.endpoint.api_version == nil, wanted.contains("*") || wanted.contains(event.type) else {
            return told
        }
        if json { show(message.event_payload) } else { show("\(time())   --> \(event.type) [\(event.id)]") }
        guard let forward else { return told }
        do {
            let (status, headers, body) = try await send(message, to: forward)
            if !json { show("\(time())  <--  [\(status)] POST \(forward) [\(event.id)]") }
            var response: [String: any Sendable] = ids
            response["type"] = "webhook_response"
            response["forward_url"] = forward
            response["status"] = status
            response["http_headers"] = headers
            response["body"] = body
            response["request_headers"] = message.http_headers
            response["request_body"] = message.event_payload
            response["notification_id"] = event.id
            told.append(response)
        } catch {
            say("\(time())            [ERROR] Failed to POST: \(error)")
        }
        return told
    }

    private func send(_ message: Message, to url: String) async throws -> (Int, [String: String], String) {
        var request = HTTPClientRequest(url: url)
        request.method = .POST
        for (name, value) in message.http_headers { request.headers.add(name: name, value: value) }
        request.body = .bytes(ByteBuffer(string: message.event_payload))
        let response = try await Self.client.execute(request, timeout: .seconds(30))
        let body = try await response.body.collect(upTo: 1 << 20)
        let headers = Dictionary(response.headers.map { ($0.name, $0.value) }, uniquingKeysWith: { first, _ in first })
        return (Int(response.status.code), headers, String(String(buffer: body).prefix(5000)))
    }

    /// A redirect is an answer like any other, as it is for a real delivery.
    private static let client = HTTPClient(configuration: .init(redirectConfiguration: .disallow))

    private func time() -> String {
        let formatter = DateFormatter()
        formatter.dateFormat = "yyyy-MM-dd HH:mm:ss"
        return formatter.string(from: Date())
    }

    private func show(_ text: String) {
        print(text)
        fflush(nil)
    }

    /// For the person, and not for what reads the output.
    private func say(_ text: String) {
        FileHandle.standardError.write(Data("\(text)\n".utf8))
    }
}
