/// Which database an installation has: SQLite in its data folder, or one of a PostgreSQL server, which several servers
/// may share.

internal import Connections
internal import Database
internal import Foundation
internal import Logging

enum Store {
    case folder(DataFolder)
    case postgres(Postgres)

    init(_ options: DataOptions) throws {
        guard let url = options.databaseUrl ?? Environment["LINKSPAN_DATABASE_URL"] else {
            self = .folder(options.folder)
            return
        }
        let passwordFile = options.databasePasswordFile ?? Environment["LINKSPAN_DATABASE_PASSWORD_FILE"]
        let connections = try ServeSettings.number(
            options.databaseConnections ?? Environment["LINKSPAN_DATABASE_CONNECTIONS"] ?? "8",
            "--database-connections (LINKSPAN_DATABASE_CONNECTIONS)",
            in: 1...1000
        )
        self = try .postgres(
            Self.address(url, passwordFile, Int(connections), "--database-url (LINKSPAN_DATABASE_URL)")
        )
    }

    /// - Parameter name: what the address was given by.
    static func address(_ url: String, _ passwordFile: String?, _ connections: Int, _ name: String) throws -> Postgres {
        var password: String?
        if let passwordFile {
            guard let text = try? String(contentsOfFile: passwordFile, encoding: .utf8) else {
                throw Failure("The file of the database's password, '\(passwordFile)', cannot be read.")
            }
            password = text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).first.map(String.init)
        }
        do {
            return try Postgres(url: url, password: password, connections: connections)
        } catch {
            throw Failure(
                "\(name) is no address of a PostgreSQL database. It looks like postgres://user@host:5432/name, where "
                    + "what is special in a user or a password is percent-encoded."
            )
        }
    }

    /// How a sentence names it.
    var place: String {
        switch self {
        case .folder(let folder): folder.path
        case .postgres(let postgres): postgres.place
        }
    }

    var isShared: Bool {
        if case .postgres = self { return true }
        return false
    }

    /// Opens the database and brings its schema up to date.
    func open(_ logger: Logger) throws -> Database {
        try explaining {
            switch self {
            case .folder(let folder):
                try Database(.file(folder.databasePath), migrations: Migrations.all, logger: logger)
            case .postgres(let postgres): try Database(.postgres(postgres), migrations: Migrations.all, logger: logger)
            }
        }
    }

    /// Runs what begins the work on a database; what goes wrong is said in a sentence.
    func explaining<T>(_ body: () throws -> T) throws -> T {
        do { return try body() } catch { throw failure(error) }
    }

    func explaining<T: Sendable>(_ body: () async throws -> T) async throws -> T {
        do { return try await body() } catch { throw failure(error) }
    }

    private func failure(_ error: any Error) -> any Error {
        switch error {
        case DatabaseError.newerSchema(let found, let known):
            Failure(
                "The database in '\(place)' was written by a newer version of linkspan (schema \(found), this "
                    + "one knows \(known)). Start that version."
            )
        case DatabaseError.storage(let reason), DatabaseError.unsafeSetting(let reason):
            Failure("The database in '\(place)' cannot be opened: \(reason)")
        case DatabaseError.unreachable(let reason):
            Failure("The database in '\(place)' cannot be reached: \(reason)")
        case DatabaseError.badAddress:
            Failure(
                "The address of the database in '\(place)' cannot be read: it has a parameter that libpq does not "
                    + "know, or something in it is not percent-encoded."
            )
        case DatabaseError.tooOld(let found, let floor):
            Failure("The PostgreSQL server at '\(place)' has version \(found); it takes \(floor) or newer.")
        case DatabaseError.forbidden(let reason):
            Failure("The database in '\(place)' does not give its user the rights that are needed: \(reason).")
        case DatabaseError.notBuilt(let engine):
            Failure("This linkspan was built without \(engine).")
        case let error as DatabaseError:
            Failure("The database in '\(place)' cannot be used: \(error)")
        default: error
        }
    }
}
