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
        var session = try await open(remote.remote())
        guard var socket = try await connect(session) else { throw Failure("The server let nobody listen.") }
        let (version, secret) = (try session.required("default_version"), try session.required("secret"))
        say("Ready! You are using API version [\(version)]. Your webhook signing secret is \(secret) (^C to quit)")
        let forward = forwardTo.map(Self.address)
        while true {
            do {
                try await socket.run { text, answer in await take(text, forward, answer) }
            } catch {
                // The same as an end.
            }
            // The server was stopped, or closed an old connection.
            say("The connection ended; connecting again …")
            try await Task.sleep(for: .seconds(1))
            (session, socket) = try await connectAgain(session)
            say("Connected again.")
        }
    }

    /// Tries until there is a connection. It is one of the same session, which gets what happened meanwhile, unless the
    /// server no longer knows it.
    private func connectAgain(_ former: Remote.Answer) async throws -> (Remote.Answer, WebSocket) {
        var session = former
        while true {
            do {
                if let socket = try await connect(session) { return (session, socket) }
                session = try await open(remote.remote())
                if let socket = try await connect(session) { return (session, socket) }
            } catch {
                say((error as? Failure)?.description ?? "The server cannot be reached.")
                // One that was started anew may listen at another port.
                if let fresh = try? await open(remote.remote()),
                    fresh["websocket_url"]?.string != session["websocket_url"]?.string
                {
                    session = fresh
                    continue
                }
            }
            try await Task.sleep(for: .seconds(1))
        }
    }

    private func open(_ remote: Remote) async throws -> Remote.Answer {
        try await remote.post(
            "/v1/stripecli/sessions",
            [("device_name", "linkspan"), ("websocket_features[]", "webhooks")]
        )
    }

    /// - Returns: nil where the server does not know the session.
    private func connect(_ session: Remote.Answer) async throws -> WebSocket? {
        try await WebSocket.connect(
            to: session.required("websocket_url") + "?websocket_feature=webhooks",
            headers: ["Websocket-Id": session.required("websocket_id")],
            subprotocol: "stripecli-devproxy-v1"
        )
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

    /// Shows an event and forwards it. The server is told that it came, and what became of it.
    private func take(_ text: String, _ forward: String?, _ answer: WebSocket.Answer) async {
        guard let message = try? JSONDecoder().decode(Message.self, from: Data(text.utf8)),
            message.type == "webhook_event",
            let event = try? JSONDecoder().decode(Message.Event.self, from: Data(message.event_payload.utf8))
        else { return }
        let ids = [
            "webhook_id": message.webhook_id, "webhook_conversation_id": message.webhook_conversation_id,
        ]
        await answer(ids.merging(["type": "event_ack", "event_id": event.id]) { $1 })
        let wanted = events.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
        guard message.endpoint.api_version == nil, wanted.contains("*") || wanted.contains(event.type) else { return }
        if json { show(message.event_payload) } else { show("\(time())   --> \(event.type) [\(event.id)]") }
        guard let forward else { return }
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
            await answer(response)
        } catch {
            say("\(time())            [ERROR] Failed to POST: \(error)")
        }
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
        StandardError.write(text)
    }
}
