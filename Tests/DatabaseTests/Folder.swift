/// A folder of its own for a test's database, gone with the test, and what stands in the files there.

import Foundation

final class Folder: Sendable {
    private let url: URL

    init() throws {
        url = FileManager.default.temporaryDirectory.appending(path: "linkspan-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(at: url) }

    /// The path of the database file.
    var path: String { url.appending(path: "test.db").path }

    /// Puts a text where the database would be.
    func write(_ text: String) throws {
        try Data(text.utf8).write(to: URL(filePath: path))
    }

    /// How many commits the write-ahead log holds: the frames that end one, of those written since it began anew.
    func commits() throws -> Int {
        guard FileManager.default.fileExists(atPath: path + "-wal") else { return 0 }
        let log = [UInt8](try Data(contentsOf: URL(filePath: path + "-wal")))
        func word(_ offset: Int) -> Int {
            log[offset..<offset + 4].reduce(0) { $0 << 8 | Int($1) }
        }
        guard log.count > 32 else { return 0 }
        let frame = 24 + word(8)
        return stride(from: 32, through: log.count - frame, by: frame).count { offset in
            word(offset + 4) != 0 && log[offset + 8..<offset + 16] == log[16..<24]
        }
    }
}
