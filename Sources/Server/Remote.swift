/// The running server, as the command line calls it: its address and a key of test mode, found in the data folder or
/// given.

internal import ArgumentParser
internal import AsyncHTTPClient
internal import Foundation
internal import NIOCore
internal import NIOFoundationCompat
internal import NIOHTTP1

struct RemoteOptions: ParsableArguments {
    @OptionGroup var data: DataOptions

    @Option(help: "The server's address; default: that of the server that runs on the data folder.")
    var url: String?

    @Option(help: "A secret key; default: LINKSPAN_TEST_SECRET_KEY, else the one that the server runs with.")
    var apiKey: String?

    func remote() throws -> Remote {
        let running = data.folder.running()
        guard let url = url ?? running?.url else {
            throw Failure(
                "No server runs on the data folder '\(data.folder.path)'. Run 'linkspan serve' first, or name its "
                    + "folder by --data, or its address by --url."
            )
        }
        guard let key = apiKey ?? Environment["LINKSPAN_TEST_SECRET_KEY"] ?? running?.secretKey else {
            throw Failure("The server has no secret key of test mode to use. Give one by --api-key.")
        }
        return Remote(url: url, key: key, publishableKey: running?.publishableKey)
    }
}

struct Remote {
    let url: String
    let key: String
    let publishableKey: String?

    /// JSON, as it came and as it can be looked into.
    struct Answer {
        let text: String
        private let value: Any

        init(_ bytes: ByteBuffer) throws {
            text = String(buffer: bytes)
            value = try JSONSerialization.jsonObject(with: Data(text.utf8))
        }

        private init(_ value: Any) {
            self.value = value
            let data = try? JSONSerialization.data(withJSONObject: value, options: [.prettyPrinted, .fragmentsAllowed])
            text = data.map { String(decoding: $0, as: UTF8.self) } ?? ""
        }

        subscript(name: String) -> Answer? {
            (value as? [String: Any])?[name].map { Answer($0) }
        }

        var elements: [Answer] { (value as? [Any] ?? []).map { Answer($0) } }
        var string: String? { value as? String }
        var int: Int? { value as? Int }

        /// A text that must be there.
        func required(_ name: String) throws -> String {
            guard let string = self[name]?.string else { throw Failure("The server's answer has no \(name).") }
            return string
        }
    }

    func get(_ path: String, _ query: [(String, String)] = []) async throws -> Answer {
        try await send(.GET, query.isEmpty ? path : "\(path)?\(Self.form(query))", nil, key)
    }

    func post(_ path: String, _ form: [(String, String)] = [], key: String? = nil) async throws -> Answer {
        try await send(.POST, path, Self.form(form), key ?? self.key)
    }

    func delete(_ path: String) async throws -> Answer {
        try await send(.DELETE, path, nil, key)
    }

    private func send(_ method: HTTPMethod, _ path: String, _ body: String?, _ key: String) async throws -> Answer {
        var request = HTTPClientRequest(url: url + path)
        request.method = method
        request.headers.add(name: "Authorization", value: "Bearer \(key)")
        if let body {
            request.headers.add(name: "Content-Type", value: "application/x-www-form-urlencoded")
            request.body = .bytes(ByteBuffer(string: body))
        }
        let response: HTTPClientResponse
        let bytes: ByteBuffer
        do {
            response = try await HTTPClient.shared.execute(request, timeout: .seconds(60))
            bytes = try await response.body.collect(upTo: 16 << 20)
        } catch {
            throw Failure("The server at \(url) cannot be reached.")
        }
        guard let answer = try? Answer(bytes) else { throw Failure("The server at \(url) answers something else.") }
        guard response.status == .ok else {
            throw Failure(answer["error"]?["message"]?.string ?? "The server refused (\(response.status.code)).")
        }
        return answer
    }

    private static func form(_ fields: [(String, String)]) -> String {
        let plain = CharacterSet.alphanumerics.union(CharacterSet(charactersIn: "-._~[]"))
        func encoded(_ text: String) -> String { text.addingPercentEncoding(withAllowedCharacters: plain) ?? "" }
        return fields.map { "\(encoded($0.0))=\(encoded($0.1))" }.joined(separator: "&")
    }
}
