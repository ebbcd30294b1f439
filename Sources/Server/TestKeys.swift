/// The keys of test mode: those that are set, else those of the data folder, made at the first start.

internal import Connections
internal import Database
internal import Foundation

struct TestKeys {
    private static let secretName = "LINKSPAN_TEST_SECRET_KEY"
    private static let publishableName = "LINKSPAN_TEST_PUBLISHABLE_KEY"

    let merchant: String
    let merchantName: String
    /// Nil where another server of the same database made it: what is stored is a digest.
    let secret: String?
    /// Nil where another server of the same database made it.
    let publishable: String?

    init(
        _ settings: ServeSettings,
        _ folder: DataFolder,
        _ store: Store,
        _ database: Database,
        _ world: World
    ) async throws {
        let name = settings.merchantName
        let platform = try await database.write { db in try Merchant.platform(named: name, in: db, world) }
        let merchant = platform.id
        let scope = Scope(merchant: merchant, livemode: false)
        let stored = try Self.stored(in: folder)

        /// A key that is set must work; one of the folder that was revoked is replaced.
        /// - Parameter isShared: none is made where there is one that this server does not know.
        func key(
            _ set: String?,
            _ name: String,
            _ kind: APIKey.Kind,
            _ prefix: String,
            isShared: Bool
        ) async throws -> String? {
            var known = set ?? stored[name]
            while true {
                let text = known ?? world.secret(prefix, length: 32)
                let isChosen = known != nil
                let title = "Test \(kind.rawValue) key"
                let key = try await database.write { db -> APIKey? in
                    let isMade =
                        try !isChosen && isShared
                        && APIKey.all(of: merchant, in: db)
                            .contains { $0.kind == kind && !$0.scope.livemode && $0.revoked == nil }
                    return isMade ? nil : try APIKey.register(text, kind, named: title, for: scope, in: db, world)
                }
                guard let key else { return nil }
                if key.revoked == nil { return text }
                if set != nil {
                    throw Failure("The key that \(name) or its flag sets was revoked. Choose another one.")
                }
                known = nil
            }
        }
        self.merchant = merchant
        merchantName = platform.name
        secret = try await key(
            settings.testSecretKey,
            Self.secretName,
            .secret,
            "sk_test_",
            isShared: store.isShared
        )
        // Whoever made the one makes the other.
        publishable = try await key(
            settings.testPublishableKey,
            Self.publishableName,
            .publishable,
            "pk_test_",
            isShared: secret == nil
        )
        try self.store(in: folder, settings, stored)
    }

    /// Keys that were set are the setter's to keep; those that were made are written down.
    private func store(in folder: DataFolder, _ settings: ServeSettings, _ stored: [String: String]) throws {
        var lines = stored
        if settings.testSecretKey == nil, let secret { lines[Self.secretName] = secret }
        if settings.testPublishableKey == nil, let publishable { lines[Self.publishableName] = publishable }
        guard lines != stored else { return }
        let text = lines.sorted { $0.key > $1.key }.map { "\($0.key)=\($0.value)\n" }.joined()
        try folder.writePrivate(
            "# The keys of test mode. Source this file, or pass your own by --test-secret-key and so on.\n" + text,
            to: folder.keysFile
        )
    }

    private static func stored(in folder: DataFolder) throws -> [String: String] {
        guard FileManager.default.fileExists(atPath: folder.keysFile.path) else { return [:] }
        let broken = Failure("The file '\(folder.keysFile.path)' is damaged. Mend it, or remove it to get new keys.")
        guard let text = try? String(contentsOf: folder.keysFile, encoding: .utf8) else { throw broken }
        var values: [String: String] = [:]
        for line in text.split(whereSeparator: \.isNewline) where !line.hasPrefix("#") {
            let parts = line.split(separator: "=", maxSplits: 1)
            guard parts.count == 2 else { throw broken }
            let (name, value) = (String(parts[0]), String(parts[1]))
            let kind: APIKey.Kind = name == secretName ? .secret : .publishable
            guard [secretName, publishableName].contains(name), let key = APIKey.parse(value), !key.livemode,
                key.kind == kind
            else { throw broken }
            values[name] = value
        }
        return values
    }
}
