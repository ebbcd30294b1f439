/// Style that is not tested decays: this reads the tree and fails where it breaks a rule of the house. A rule is tested
/// before it is trusted: each is shown a text that breaks it and must say so, and its good twin.

import Foundation
import Testing

@Suite("The tree")
struct TidyTests {
    private static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()
    private static let checked: Set<String> = ["css", "js", "py", "swift"]

    /// Path from the root to contents.
    private static let files: [String: String] = {
        var files: [String: String] = [:]
        for folder in ["Sources", "Tests"] {
            let start = root.appending(path: folder)
            for case let path as String in FileManager.default.enumerator(atPath: start.path) ?? .init() {
                let url = start.appending(path: path)
                guard checked.contains(url.pathExtension) else { continue }
                files["\(folder)/\(path)"] = try? String(contentsOf: url, encoding: .utf8)
            }
        }
        return files
    }()

    private static let swift = files.filter { $0.key.hasSuffix(".swift") }.sorted { $0.key < $1.key }
        .map { SwiftText(path: $0.key, $0.value) }
    private static let sources = swift.filter { $0.path.hasPrefix("Sources/") }

    private static func page(_ path: String) throws -> String {
        try String(contentsOf: root.appending(path: path), encoding: .utf8)
    }

    private static func expectNone(_ findings: [Finding], sourceLocation: SourceLocation = #_sourceLocation) {
        let list = findings.map(\.description).joined(separator: "\n")
        #expect(findings.isEmpty, "\(list)", sourceLocation: sourceLocation)
    }

    @Test("is found, in every target of the table that there is")
    func isFound() {
        for target in [
            "Connections", "Database", "Institutions", "Outbound", "Server", "Vault", "Web", "Worker", "Wire",
        ] {
            #expect(Self.sources.contains { $0.path.hasPrefix("Sources/\(target)/") }, "no file in Sources/\(target)")
        }
        #expect(Self.swift.contains { $0.path == "Tests/TidyTests/TidyTests.swift" })
    }

    @Test("imports what its table allows")
    func imports() { Self.expectNone(Self.sources.flatMap(Rules.imports)) }

    @Test("has short functions")
    func functionLengths() { Self.expectNone(Self.swift.flatMap(Rules.functionLengths)) }

    @Test("has short lines")
    func lineLengths() {
        let files = Self.files.sorted { $0.key < $1.key }
        Self.expectNone(files.flatMap { Rules.lineLengths(path: $0.key, $0.value) })
    }

    @Test("does not end the process, and does not print")
    func bannedWords() { Self.expectNone(Self.swift.flatMap(Rules.bannedWords)) }

    @Test("names files for what is in them")
    func names() { Self.expectNone(Self.files.keys.sorted().flatMap(Rules.name)) }

    @Test("says at the head of a file what it promises")
    func heads() { Self.expectNone(Self.swift.flatMap(Rules.head)) }

    @Test("has every setting in docs/configuration.md")
    func settings() throws {
        let documentation = try Self.page("docs/configuration.md")
        let server = Self.sources.filter { $0.path.hasPrefix("Sources/Server/") }
        Self.expectNone(server.flatMap { Rules.settings($0, documentation: documentation) })
    }

    @Test("has every error code in docs/errors.md")
    func errorCodes() throws {
        let documentation = try Self.page("docs/errors.md")
        Self.expectNone(Self.sources.flatMap { Rules.errorCodes($0, documentation: documentation) })
    }
}

@Suite("A rule")
struct RuleTests {
    private func text(_ contents: String, at path: String = "Sources/Connections/Account.swift") -> SwiftText {
        SwiftText(path: path, contents)
    }

    /// A function whose body has that many lines, in a type, between two others.
    private func function(bodyLines: Int, head: String = "func long() {") -> String {
        let body = Array(repeating: "        work()", count: bodyLines).joined(separator: "\n")
        return "struct S {\n    func a() {}\n\n    \(head)\n\(body)\n    }\n\n    func b() {}\n}\n"
    }

    // MARK: Imports

    @Test(
        "finds an import outside the table",
        arguments: [
            ("Sources/Connections/Account.swift", "internal import CSQLite", "CSQLite"),
            ("Sources/Connections/Account.swift", "@preconcurrency public import Hummingbird", "Hummingbird"),
            ("Sources/Wire/Form.swift", "private import struct Foundation.Data", "Foundation"),
            ("Sources/Wire/Form.swift", "import Database", "Database"),
            ("Sources/Institutions/Sandbox.swift", "internal import Connections", "Connections"),
            ("Sources/Vault/KeyRing.swift", "import Wire;", "Wire"),
        ]
    )
    func importOutside(path: String, line: String, module: String) throws {
        let finding = try #require(Rules.imports(text("/// Head.\n\n\(line)\n", at: path)).first)
        #expect(finding.line == 3)
        #expect(finding.message.hasSuffix("may not import \(module)"))
    }

    @Test("finds a target that the table does not know")
    func unknownTarget() {
        #expect(Rules.imports(text("/// Head.\n", at: "Sources/Extras/More.swift")).count == 1)
    }

    @Test("takes an import of the table, of the system, and all of them in Server")
    func importInside() {
        let good = "/// import CSQLite\npublic import Database\ninternal import struct Foundation.Data\n"
        #expect(Rules.imports(text(good)).isEmpty)
        #expect(Rules.imports(text("internal import FoundationEssentials\n", at: "Sources/Wire/Form.swift")).isEmpty)
        #expect(Rules.imports(text("import Hummingbird\n", at: "Sources/Server/Main.swift")).isEmpty)
    }

    // MARK: Lengths

    @Test(
        "finds a function of 71 lines and takes one of 70",
        arguments: [
            "func long() {", "public static func long() async throws {", "@Test(arguments: [1, 2]) func long(_: Int) {",
            "init() {", "public convenience init?(_ row: Row) throws {", "deinit {", "subscript(_ index: Int) -> Int {",
        ]
    )
    func functionLength(head: String) {
        let long = Rules.functionLengths(text(function(bodyLines: 69, head: head)))
        #expect(long.map(\.line) == [4])
        #expect(long.first?.message.contains("71 lines") == true)
        #expect(Rules.functionLengths(text(function(bodyLines: 68, head: head))).isEmpty)
    }

    @Test("counts a declaration that is broken over lines, and looks through directives and texts")
    func brokenDeclaration() {
        let broken = function(bodyLines: 67, head: "func long(\n        _ a: Int\n    ) throws -> Int {")
        #expect(Rules.functionLengths(text(broken)).first?.message.contains("71 lines") == true)
        let odd = "func long() {\n#if DEBUG\n        let text = \"\"\"\n    }\n            \"\"\"\n#endif"
        #expect(Rules.functionLengths(text(function(bodyLines: 65, head: odd))).map(\.line) == [4])
    }

    @Test("takes a protocol's requirements, however long the protocol, and calls of init")
    func requirements() {
        let requirements = String(repeating: "    func one() -> Int\n    init(two: Int)\n", count: 60)
        #expect(Rules.functionLengths(text("protocol P {\n\(requirements)}\n")).isEmpty)
        let calls = String(repeating: "        .init(1)\n        self.init(2)\n", count: 60)
        #expect(Rules.functionLengths(text("let all = [\n\(calls)    }\n]\n")).isEmpty)
    }

    @Test("finds a line of 121 columns and takes one of 120")
    func lineLength() {
        let contents = String(repeating: "é", count: 120) + "\n" + String(repeating: "x", count: 121) + "\n"
        #expect(Rules.lineLengths(path: "Sources/Web/Pages/flow.css", contents).map(\.line) == [2])
    }

    // MARK: Words

    @Test(
        "finds what ends the process or prints",
        arguments: [
            "let x = try! work()", "let y = x as! Int", "fatalError()", "    print(x)", "let f = { print($0) }",
            #"let a = "\(b)"; print(a)"#, "let b = #\"a \" \\(\"#; print(b)", "let r = #/\"/#; print(r)",
        ]
    )
    func banned(line: String) {
        #expect(Rules.bannedWords(text("/// Head.\n\(line)\n")).map(\.line) == [2])
    }

    @Test(
        "takes the same words in comments and texts, and as parts of others",
        arguments: [
            "// try! fatalError()", "/* a /* b */ try! c */ let x = 1",
            #"let x = "try! \(y("print(1)")) fatalError()""#,
            "let x = \"\"\"\n    \" try! print(1)\n    \"\"\"", "footprint(1)", "logger.print(1)", "debugPrint(x)",
            "let x = try? work()", "let x = #\"\"print(\"\"#",
        ]
    )
    func notBanned(line: String) {
        #expect(Rules.bannedWords(text("/// Head.\n\(line)\n")).isEmpty)
    }

    @Test("lets Server print, and nothing else")
    func printing() {
        #expect(Rules.bannedWords(text("print(x)\n", at: "Sources/Server/Main.swift")).isEmpty)
        #expect(Rules.bannedWords(text("fatalError()\n", at: "Sources/Server/Main.swift")).count == 1)
        #expect(Rules.bannedWords(text("print(x)\n", at: "Tests/WireTests/FormTests.swift")).count == 1)
    }

    @Test(
        "finds a name that says nothing",
        arguments: [
            "Sources/Web/Utils.swift", "Sources/Web/SessionHelpers.swift", "Sources/Common/Session.swift",
            "Tests/Blackbox/http_helpers.py", "Sources/Web/AccountService.swift", "Sources/Web/KeyManager+More.swift",
            "Sources/Connections/Repositories/Account.swift",
        ]
    )
    func emptyName(path: String) {
        #expect(Rules.name(path: path).count == 1)
    }

    @Test(
        "takes a name that says something",
        arguments: [
            "Sources/Connections/Session.swift", "Sources/Web/TestHelpers.swift", "Sources/Web/Pages/flow.js",
            "Sources/Web/Serviceability.swift", "Sources/Web/Service.swift",
        ]
    )
    func fullName(path: String) {
        #expect(Rules.name(path: path).isEmpty)
    }

    // MARK: What must be written down

    @Test("finds a file without a head")
    func head() {
        #expect(Rules.head(text("import Wire\n/// Late.\n")).count == 1)
        #expect(Rules.head(text("")).count == 1)
        #expect(Rules.head(text("\n/// Head.\nimport Wire\n")).isEmpty)
        #expect(Rules.head(text("// Head.\n")).isEmpty)
    }

    @Test("finds a setting that the documentation leaves out")
    func setting() {
        let server = text(
            "let a = env[\"LINKSPAN_PORT\"], b = env[\"LINKSPAN_PORT_2\"] // LINKSPAN_OLD\n",
            at: "Sources/Server/Main.swift"
        )
        let findings = Rules.settings(server, documentation: "| `--port` | `LINKSPAN_PORT` |")
        #expect(findings.map(\.message) == ["the setting LINKSPAN_PORT_2 is not in docs/configuration.md"])
    }

    @Test("finds an error code that the documentation leaves out")
    func errorCode() {
        let errors = text(
            """
            throw StripeError(code: "resource_missing", message: "")
            error.code = "url_invalid"
            StripeError(
                code: "email_invalid",
            switch x { case .code: "no_code" }
            // code: "old_code"
            """
        )
        let findings = Rules.errorCodes(errors, documentation: "### `resource_missing`")
        #expect(
            findings.map(\.message) == [
                "the error code email_invalid is not in docs/errors.md",
                "the error code url_invalid is not in docs/errors.md",
            ]
        )
    }
}
