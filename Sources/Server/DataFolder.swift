/// The folder of an installation: the database, and beside it what only its owner may read.

internal import Foundation
internal import Vault

struct DataFolder {
    private let url: URL

    init(path: String) {
        url = URL(fileURLWithPath: path)
    }

    var path: String { url.path }
    var databasePath: String { url.appendingPathComponent("linkspan.db").path }
    var keysFile: URL { url.appendingPathComponent("keys.env") }
    var ringPath: String { ringFile.path }
    var hasRing: Bool { FileManager.default.fileExists(atPath: ringPath) }
    private var ringFile: URL { url.appendingPathComponent("keyring") }
    private var serverFile: URL { url.appendingPathComponent("server.json") }
    private var lockFile: URL { url.appendingPathComponent("linkspan.lock") }

    /// Makes the folder where there is none. Files that this process makes from here on are its owner's alone.
    func create() throws {
        umask(0o077)
        do {
            try FileManager.default.createDirectory(
                at: url,
                withIntermediateDirectories: true,
                attributes: [.posixPermissions: 0o700]
            )
        } catch {
            throw Failure("The data folder '\(path)' cannot be made: \(error.localizedDescription)")
        }
    }

    /// Writes a file that only its owner may read, from its first byte on.
    func writePrivate(_ text: String, to file: URL) throws {
        let temporary = file.appendingPathExtension("new")
        try? FileManager.default.removeItem(at: temporary)
        let failure = Failure("The file '\(file.path)' cannot be written.")
        let descriptor = open(temporary.path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw failure }
        // On disk before the database is: what is sealed with a ring must not outlive it.
        let bytes = Array(text.utf8)
        let isWritten = write(descriptor, bytes, bytes.count) == bytes.count && fsync(descriptor) == 0
        close(descriptor)
        guard isWritten, rename(temporary.path, file.path) == 0 else { throw failure }
        let folder = open(url.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        if folder >= 0 {
            fsync(folder)
            close(folder)
        }
    }

    // MARK: The key ring

    /// The ring of a file that the operator names, or the folder's own, made where there is none.
    /// - Parameter store: where a database is that was sealed with a ring before; nil for a new one.
    func ring(file: String?, sealed store: Store?) throws -> KeyRing {
        if let file {
            guard let text = try? String(contentsOfFile: file, encoding: .utf8) else {
                throw Failure("The key file '\(file)' cannot be read.")
            }
            // What was sealed before the operator chose a ring stays readable.
            let own = (try? String(contentsOf: ringFile, encoding: .utf8)) ?? ""
            return try parse(text + "\n" + own, file)
        }
        if let text = try? String(contentsOf: ringFile, encoding: .utf8) { return try parse(text, ringFile.path) }
        // Without its ring, what is sealed in an old database could never be opened again.
        if let store {
            throw Failure(
                "The key ring '\(ringFile.path)' is missing, and the database in '\(store.place)' was sealed with one. "
                    + (store.isShared
                        ? "Servers of one database share one: name its file by --key-file, or copy it there."
                        : "Restore the file, or name another one by --key-file.")
            )
        }
        let text = KeyRing.generate()
        try writePrivate(text, to: ringFile)
        return try parse(text, ringFile.path)
    }

    private func parse(_ text: String, _ path: String) throws -> KeyRing {
        do {
            return try KeyRing(text: text)
        } catch {
            throw Failure("The key file '\(path)' is not a key ring: one key a line, as number:base64 of 32 bytes.")
        }
    }

    // MARK: One server at a time

    /// Holds the folder for this process until it ends.
    /// - Returns: false where another process holds it.
    func lock() throws -> Bool {
        let descriptor = open(lockFile.path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw Failure("The data folder '\(path)' cannot be written.") }
        return flock(descriptor, LOCK_EX | LOCK_NB) == 0
    }

    // MARK: The running server

    /// How the command line reaches a running server.
    struct Running: Codable {
        let url: String
        let token: String
        /// The keys of test mode, where the server knows them.
        let secretKey: String?
        let publishableKey: String?
    }

    func announce(_ running: Running) throws {
        try writePrivate(String(decoding: JSONEncoder().encode(running), as: UTF8.self), to: serverFile)
    }

    func running() -> Running? {
        guard let data = try? Data(contentsOf: serverFile) else { return nil }
        return try? JSONDecoder().decode(Running.self, from: data)
    }

    func withdraw() {
        try? FileManager.default.removeItem(at: serverFile)
    }
}
