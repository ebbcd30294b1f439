/// The rules of the house that can be checked by reading: which target imports what, how long things may be, what must
/// be written down. Each takes texts and answers findings, so that each can be shown a text that breaks it.

struct Finding: Equatable, CustomStringConvertible {
    let path: String
    var line: Int?
    let message: String

    var description: String { line.map { "\(path):\($0): \(message)" } ?? "\(path): \(message)" }
}

enum Rules {
    // MARK: Imports

    /// What each target may import of ours and of other packages. `Server` wires everything and may import all.
    static let imports: [String: Set<String>] = [
        "Database": ["CPostgres", "CSQLite", "Logging"],
        "Wire": ["HTTPTypes", "NIOCore"],
        "Vault": ["Crypto", "CryptoExtras"],
        "Outbound": ["NIOCore", "NIOHTTP1", "NIOPosix", "NIOSSL"],
        "Connections": ["Database", "Vault", "Wire"],
        "Institutions": ["Outbound", "Vault", "Wire", "Yams"],
        "ReferenceBank": ["Database", "HTTPTypes", "Hummingbird", "Mustache", "NIOCore", "Vault", "Wire"],
        // Both open transactions, so they know the database; requests are of types from beneath Hummingbird.
        "Worker": ["Connections", "Database", "Institutions", "Logging", "Outbound", "Vault"],
        "Web": [
            "Connections", "Database", "HTTPTypes", "Hummingbird", "HummingbirdCore", "Institutions", "Logging",
            "Mustache",
            // Of `Outbound` the policy alone: what may not be reached is refused when it is named.
            "NIOCore", "NIOHTTP1", "NIOHTTPTypes", "NIOPosix", "NIOWebSocket", "Outbound", "ReferenceBank", "Vault",
            "Wire",
        ],
    ]

    /// Modules of the toolchain, open to every target but `Wire`, which needs no more than the essentials.
    static let system: Set<String> = ["Dispatch", "Foundation", "FoundationEssentials", "Glibc", "Synchronization"]
    static let systemForWire: Set<String> = ["FoundationEssentials"]

    static func imports(_ text: SwiftText) -> [Finding] {
        let folders = text.path.split(separator: "/")
        guard folders.count > 2, folders[0] == "Sources", folders[1] != "Server" else { return [] }
        let target = String(folders[1])
        guard let own = imports[target] else {
            return [Finding(path: text.path, message: "the target \(target) is not in the table of imports")]
        }
        let allowed = own.union(target == "Wire" ? systemForWire : system)
        return text.code.enumerated().compactMap { number, line in
            guard let module = importedModule(line), !allowed.contains(module) else { return nil }
            return Finding(path: text.path, line: number + 1, message: "\(target) may not import \(module)")
        }
    }

    private static let accessLevels: Set<Substring> = ["public", "package", "internal", "fileprivate", "private"]
    private static let importedKinds: Set<Substring> = [
        "class", "enum", "func", "let", "macro", "protocol", "struct", "typealias", "var",
    ]

    private static func importedModule(_ line: Substring) -> String? {
        var words = line.split(separator: " ").drop { $0.hasPrefix("@") || accessLevels.contains($0) }
        guard words.popFirst() == "import", let first = words.first else { return nil }
        if importedKinds.contains(first) { words.removeFirst() }
        return words.first.map { String($0.prefix { $0 != "." && $0 != ";" }) }
    }

    // MARK: Lengths

    static let maximumFunctionLines = 70
    static let maximumColumns = 120

    /// Counted from the line with the name to the closing brace. Relies on the indentation, which the formatter holds.
    static func functionLengths(_ text: SwiftText) -> [Finding] {
        text.code.indices.compactMap { start in
            guard beginsFunction(text.code[start]), let end = endOfFunction(text.code, from: start) else { return nil }
            let length = end - start + 1
            guard length > maximumFunctionLines else { return nil }
            return Finding(
                path: text.path,
                line: start + 1,
                message: "a function of \(length) lines; at most \(maximumFunctionLines)"
            )
        }
    }

    private static let modifiers = accessLevels.union([
        "class", "convenience", "final", "isolated", "mutating", "nonisolated", "override", "required", "static",
    ])

    private static func beginsFunction(_ line: Substring) -> Bool {
        let words = line.split { !($0.isLetter || $0.isNumber || $0 == "_" || $0 == "@" || $0 == "`") }
        if words.contains("func") { return true }
        guard line.first(where: { $0 != " " }) != "." else { return false }
        let first = words.first { !$0.hasPrefix("@") && !modifiers.contains($0) }
        return first == "init" || first == "deinit" || first == "subscript"
    }

    /// Nil for a declaration without a body, as in a protocol.
    private static func endOfFunction(_ code: [Substring], from start: Int) -> Int? {
        let indentation = code[start].prefix { $0 == " " }.count
        if code[start].contains("{"), code[start].count(where: { $0 == "{" }) == code[start].count(where: { $0 == "}" })
        {
            return start
        }
        for number in code.indices.dropFirst(start + 1) {
            let words = code[number].drop { $0 == " " }
            let column = code[number].count - words.count
            guard let first = words.first, column <= indentation, first != "#" else { continue }
            if column == indentation, first == "}" { return number }
            // The rest of a declaration that is broken over lines.
            let goesOn = first == ")" || first == "{" || words.hasPrefix("where ")
            guard column == indentation, goesOn else { return nil }
        }
        return nil
    }

    static func lineLengths(path: String, _ contents: String) -> [Finding] {
        contents.split(separator: "\n", omittingEmptySubsequences: false).enumerated().compactMap { number, line in
            guard line.count > maximumColumns else { return nil }
            return Finding(
                path: path,
                line: number + 1,
                message: "a line of \(line.count) columns; at most \(maximumColumns)"
            )
        }
    }

    // MARK: Words

    /// What ends the process or writes past the log.
    private static let banned = ["try!", "as!", "fatalError(", "print("]

    /// Where a banned word is right after all, with the reason beside it. A folder ends in a slash.
    static let excepted: [(path: String, word: String)] = [
        // A command's answer to the person who typed it.
        ("Sources/Server/", "print(")
    ]

    static func bannedWords(_ text: SwiftText) -> [Finding] {
        var findings: [Finding] = []
        for (number, line) in text.code.enumerated() {
            for word in banned where contains(word, in: line) {
                guard !excepted.contains(where: { text.path.hasPrefix($0.path) && $0.word == word }) else { continue }
                findings.append(Finding(path: text.path, line: number + 1, message: "\(word) is not used here"))
            }
        }
        return findings
    }

    private static func contains(_ word: String, in line: Substring) -> Bool {
        line.ranges(of: word).contains { range in
            guard let before = line[..<range.lowerBound].last else { return true }
            return !(before.isLetter || before.isNumber || before == "_" || before == ".")
        }
    }

    private static let emptyNames: Set<String> = [
        "common", "helpers", "managers", "repositories", "services", "util", "utilities", "utility", "utils",
    ]
    /// Empty behind another word: `SessionManager`.
    private static let emptyEndings: Set<String> = ["helper", "manager", "repository", "service"]

    /// Names of the API that hold such a word: its test helpers are called so.
    private static let exceptedNames: Set<String> = ["TestHelpers", "TestHelpersTests", "test_helpers"]

    /// A file or a folder is named for what is in it.
    static func name(path: String) -> [Finding] {
        let names = path.split(separator: "/").map { String($0.prefix { $0 != "." }) }
        for name in names where !exceptedNames.contains(name) {
            let words = words(of: name)
            let empty = words.first(where: emptyNames.contains) ?? words.dropFirst().first(where: emptyEndings.contains)
            guard let empty else { continue }
            return [Finding(path: path, message: "the name says '\(empty)' and not what is in it")]
        }
        return []
    }

    /// `SessionHelpers` and `session_helpers` as `session`, `helpers`.
    private static func words(of name: String) -> [String] {
        var words: [String] = []
        var isInside = false
        for letter in name {
            let isLetter = letter.isLetter || letter.isNumber
            if isLetter {
                if letter.isUppercase || !isInside { words.append("") }
                words[words.count - 1].append(letter.lowercased())
            }
            isInside = isLetter
        }
        return words
    }

    // MARK: What must be written down

    static func head(_ text: SwiftText) -> [Finding] {
        let first = text.lines.first { line in line.contains { !$0.isWhitespace } }
        if first?.hasPrefix("//") == true { return [] }
        return [Finding(path: text.path, line: 1, message: "no comment at the head that says what the file promises")]
    }

    /// - Parameter documentation: `docs/configuration.md`.
    static func settings(_ text: SwiftText, documentation: String) -> [Finding] {
        let names = text.uncommented.matches(of: #/LINKSPAN_[A-Z][A-Z0-9_]*/#).map { String($0.output) }
        return Set(names).sorted().filter { !documentation.contains("`\($0)`") }.map {
            Finding(path: text.path, message: "the setting \($0) is not in docs/configuration.md")
        }
    }

    /// - Parameter documentation: `docs/errors.md`.
    static func errorCodes(_ text: SwiftText, documentation: String) -> [Finding] {
        let codes = text.uncommented.matches(of: #/(?:[^.\w]code: |\Wcode = )"([a-z][a-z0-9_]*)"/#)
            .map { String($0.output.1) }
        return Set(codes).sorted().filter { !documentation.contains("`\($0)`") }.map {
            Finding(path: text.path, message: "the error code \($0) is not in docs/errors.md")
        }
    }
}
