// The floor: Hummingbird alone, answering bytes that were recorded from Linkspan. It parses nothing, looks nothing up
// and writes nothing down, so a ratio to it says what Linkspan's own work costs.
//
//     bare --port N --account FILE --accounts FILE --session FILE

import Foundation
import Hummingbird
import Logging

/// The words after the program's name, as pairs of a flag and its value.
func readFlags(_ words: [String]) -> [String: String] {
    var flags: [String: String] = [:]
    for index in stride(from: 0, to: words.count - 1, by: 2) { flags[words[index]] = words[index + 1] }
    return flags
}

func recorded(_ path: String?) throws -> ByteBuffer {
    guard let path else {
        throw CocoaError(
            .fileNoSuchFile,
            userInfo: [NSLocalizedDescriptionKey: "usage: bare --port N --account FILE --accounts FILE --session FILE"]
        )
    }
    return ByteBuffer(bytes: try Data(contentsOf: URL(filePath: path)))
}

func json(_ body: ByteBuffer) -> Response {
    Response(status: .ok, headers: [.contentType: "application/json"], body: .init(byteBuffer: body))
}

let flags = readFlags(Array(CommandLine.arguments.dropFirst()))
let account = try recorded(flags["--account"])
let accounts = try recorded(flags["--accounts"])
let session = try recorded(flags["--session"])

let router = Router()
router.get("bare/account") { _, _ in json(account) }
router.get("bare/accounts") { _, _ in json(accounts) }
router.post("bare/session") { request, _ in
    _ = try await request.body.collect(upTo: 65_536)
    return json(session)
}

var logger = Logger(label: "bare")
logger.logLevel = .warning
let application = Application(
    router: router,
    configuration: .init(address: .hostname("127.0.0.1", port: flags["--port"].flatMap { Int($0) } ?? 12112)),
    logger: logger
)
try await application.runService()
