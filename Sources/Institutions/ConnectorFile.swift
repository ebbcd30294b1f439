/// The operator's file of institutions: which banks this server reaches, by which protocol and with what settings.
/// `docs/connectors.md` describes the format.
///
/// It promises to check all that can be checked without the network, and to say where the file is wrong. What is secret
/// does not stand in the file: a setting names an environment variable or another file. Nothing of a secret is in an
/// error.

internal import Yams

/// What a connector may be told of one institution.
public struct ConnectorField: Sendable, Equatable {
    public enum Kind: Sendable, Equatable {
        case text
        /// `https://…`; `http://` is for this machine.
        case url
        /// A text that the file does not hold: `{env: NAME}` or `{file: /path}`.
        case secret
        case list
        case flag
        /// Texts by names of the operator's choice.
        case table
        case choice([String])
    }

    public let name: String
    public let kind: Kind
    public let isRequired: Bool
    /// One line, for who writes the file.
    public let help: String

    public init(_ name: String, _ kind: Kind, isRequired: Bool = false, _ help: String) {
        self.name = name
        self.kind = kind
        self.isRequired = isRequired
        self.help = help
    }
}

/// The settings of one institution, checked against the connector's fields.
public struct ConnectorSettings: Sendable {
    fileprivate enum Value: Sendable {
        case text(String)
        case list([String])
        case flag(Bool)
        case table([(name: String, value: String)])
    }

    fileprivate var values: [String: Value] = [:]

    /// A text, a URL, a secret or a choice.
    public func text(_ name: String) -> String? {
        if case .text(let text)? = values[name] { text } else { nil }
    }

    public func list(_ name: String) -> [String]? {
        if case .list(let list)? = values[name] { list } else { nil }
    }

    public func flag(_ name: String) -> Bool? {
        if case .flag(let flag)? = values[name] { flag } else { nil }
    }

    public func table(_ name: String) -> [(name: String, value: String)] {
        if case .table(let table)? = values[name] { table } else { [] }
    }
}

/// What a connector finds wrong with settings that are right one by one.
public struct SettingsRefusal: Error {
    /// The setting at fault.
    public let name: String
    /// What it must be, as the end of a sentence: `is needed with private_key_jwt`.
    public let reason: String

    public init(_ name: String, _ reason: String) {
        self.name = name
        self.reason = reason
    }
}

/// What connectors are given to work with.
public struct ConnectorTools: Sendable {
    public let line: Line
    /// For addresses that people give, not the operator.
    public let peoplesLine: Line
    /// Seconds since the Unix epoch, as clocks on walls have them.
    public let now: @Sendable () -> Int64
    /// So many letters and digits that nobody can guess.
    public let secret: @Sendable (_ length: Int) -> String
    /// A mark of a text, always the same, out of which nobody reads the text: for ids of accounts that the protocol
    /// knows by their number alone.
    public let mark: @Sendable (String) -> String

    public init(
        line: Line,
        peoplesLine: Line,
        now: @escaping @Sendable () -> Int64,
        secret: @escaping @Sendable (_ length: Int) -> String,
        mark: @escaping @Sendable (String) -> String
    ) {
        self.mark = mark
        self.line = line
        self.peoplesLine = peoplesLine
        self.now = now
        self.secret = secret
    }
}

/// A connector that operators can set up.
public protocol ConfigurableConnector: Connector {
    /// How the file names it: `fdx`.
    static var kind: String { get }
    static var fields: [ConnectorField] { get }

    init(
        _ institution: Institution,
        _ settings: ConnectorSettings,
        _ tools: ConnectorTools
    ) throws(SettingsRefusal)

    /// Tries what can be tried without a person: whether the other side is there and is what it should be.
    func check() async throws(ConnectorError)
}

public enum ConnectorFile {
    /// Every kind of connector that a file may name.
    public static let kinds: [any ConfigurableConnector.Type] = [
        FDX.self, SimpleFIN.self, OFXDirect.self, OFXFiles.self,
    ]

    /// - Parameters:
    ///   - text: YAML, or JSON, which is YAML too.
    ///   - taken: names and ids of institutions that are there already.
    ///   - secret: fetches a secret from where the file says that it is; nil where it is not there.
    public static func read(
        _ text: String,
        kinds: [any ConfigurableConnector.Type] = kinds,
        besides taken: Set<String> = [],
        _ tools: ConnectorTools,
        secret: (SecretPlace) -> String?
    ) throws(FileError) -> [any ConfigurableConnector] {
        let root: Node?
        do { root = try Yams.compose(yaml: text) } catch { throw FileError(error, in: text) }
        guard let root else { throw FileError(nil, "the file is empty.") }
        let file = try FileNode("the file", root).mapping("a file of institutions", ["institutions"])
        var (connectors, taken): ([any ConfigurableConnector], Set<String>) = ([], taken)
        for node in try file.need("institutions").list() {
            let keys = try node.mapping(
                "an institution",
                ["id", "name", "domain", "countries", "featured", "connector", "settings"]
            )
            let institution = try institution(keys)
            for (key, name) in [("id", institution.id), ("name", institution.name)] {
                guard taken.insert(name).inserted else {
                    throw try keys.need(key).refusal("another institution has the \(key) '\(name)'.")
                }
            }
            let word = try keys.need("connector")
            let name = try word.text()
            guard let kind = kinds.first(where: { $0.kind == name }) else {
                let known = kinds.map { $0.kind }.joined(separator: ", ")
                throw word.refusal("there is no connector '\(name)'. There are: \(known).")
            }
            let settings = keys["settings"] ?? node.empty("settings")
            connectors.append(try connector(kind, institution, settings, tools, secret))
        }
        return connectors
    }

    /// Where the file says that a secret is.
    public enum SecretPlace: Sendable {
        case environment(String)
        case file(String)
    }

    private static func institution(_ keys: FileMapping) throws(FileError) -> Institution {
        let id = try keys.need("id").matches(#/fcinst_[0-9A-Za-z]{14}/#, "fcinst_ and 14 letters or digits")
        var countries = ["US"]
        if let node = keys["countries"] {
            countries = []
            for item in try node.oneOrMore() {
                countries.append(String(try item.matches(#/[A-Z]{2}/#, "codes of countries in capitals, such as US")))
            }
        }
        return Institution(
            id: String(id),
            name: try keys.need("name").text(),
            domain: try keys.need("domain").text(),
            featured: try keys["featured"]?.flag() ?? false,
            countries: countries
        )
    }

    private static func connector(
        _ kind: any ConfigurableConnector.Type,
        _ institution: Institution,
        _ node: FileNode,
        _ tools: ConnectorTools,
        _ secret: (SecretPlace) -> String?
    ) throws(FileError) -> any ConfigurableConnector {
        let keys = try node.mapping("the settings of \(kind.kind)", kind.fields.map(\.name))
        var settings = ConnectorSettings()
        for field in kind.fields {
            guard let node = keys[field.name] else {
                if field.isRequired { _ = try keys.need(field.name) }
                continue
            }
            settings.values[field.name] = try value(field, node, secret)
        }
        do {
            return try kind.init(institution, settings, tools)
        } catch {
            throw (keys[error.name] ?? node).refusal("'\(error.name)' \(error.reason).")
        }
    }

    private static func value(
        _ field: ConnectorField,
        _ node: FileNode,
        _ secret: (SecretPlace) -> String?
    ) throws(FileError) -> ConnectorSettings.Value {
        switch field.kind {
        case .text: return .text(try node.text())
        case .url:
            return .text(String(try node.matches(#/https?:\/\/[!-~]+/#, "an address such as https://bank.example")))
        case .flag: return .flag(try node.flag())
        case .choice(let words):
            let word = try node.text()
            guard words.contains(word) else {
                throw node.refusal("'\(field.name)' takes \(words.joined(separator: " or ")), not '\(word)'.")
            }
            return .text(word)
        case .list:
            var list: [String] = []
            for item in try node.oneOrMore() { list.append(try item.text()) }
            return .list(list)
        case .table:
            var table: [(name: String, value: String)] = []
            for (key, value) in try node.entries() { table.append((key, try value.text())) }
            return .table(table)
        case .secret: return .text(try self.secret(node, secret))
        }
    }

    private static func secret(
        _ node: FileNode,
        _ fetch: (SecretPlace) -> String?
    ) throws(FileError) -> String {
        // What stands in the file itself must not be repeated by an error.
        guard node.isMapping else {
            throw node.refusal("'\(node.name)' is secret and does not stand here: write {env: NAME} or {file: /path}.")
        }
        let keys = try node.mapping("a secret", ["env", "file"])
        if let name = keys["env"] {
            guard let found = fetch(.environment(try name.text())) else {
                throw name.refusal("the environment has no \(try name.text()).")
            }
            return found
        }
        let path = try keys.need("file")
        guard let found = fetch(.file(try path.text())) else {
            throw path.refusal("the file '\(try path.text())' cannot be read, or is empty.")
        }
        return found
    }
}
