/// Values of a file that a person wrote in YAML or JSON, each read as what it must be or refused where it stands.

internal import Yams

/// Why a file was refused, and where.
public struct FileError: Error, Equatable, CustomStringConvertible {
    /// From 1.
    public let line: Int
    /// From 1.
    public let column: Int
    /// One sentence.
    public let reason: String

    public var description: String { "\(line):\(column): \(reason)" }

    init(line: Int, column: Int, _ reason: String) {
        self.line = line
        self.column = column
        self.reason = reason
    }

    init(_ mark: Mark?, _ reason: String) {
        self.init(line: mark?.line ?? 1, column: mark?.column ?? 1, reason)
    }

    /// What the text breaks of YAML itself.
    init(_ error: any Error, in yaml: String) {
        switch error as? YamlError {
        case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
            .composer(_, let problem, let mark, _):
            self.init(mark, "this is not YAML: \(problem).")
        case .reader(let problem, let offset, _, _):
            let before = yaml.prefix(offset ?? 0).split(separator: "\n", omittingEmptySubsequences: false)
            let column = (before.last?.count ?? 0) + 1
            self.init(line: before.count, column: column, "this is not YAML: \(problem).")
        case .duplicatedKeysInMapping(let keys, let context):
            self.init(context.mark, "the key '\(keys.first ?? "")' stands here twice.")
        default:
            self.init(nil, "this is not YAML.")
        }
    }
}

struct FileNode {
    /// The key that it stands under, for the reader of an error.
    let name: String
    private let node: Node

    init(_ name: String, _ node: Node) {
        self.name = name
        self.node = node
    }

    func refusal(_ reason: String) -> FileError { FileError(node.mark, reason) }

    /// What stands for a mapping here that was left out.
    func empty(_ name: String) -> FileNode {
        FileNode(name, .mapping(Node.Mapping([], .implicit, .any, node.mark)))
    }

    private func takes(_ what: String) -> FileError {
        let found =
            switch node {
            case .scalar(let scalar): isNothing(scalar) ? "nothing" : "'\(scalar.string)'"
            case .sequence: "a list"
            case .mapping: "keys of its own"
            case .alias: "a reference"
            }
        return refusal("'\(name)' takes \(what), not \(found).")
    }

    private func isNothing(_ scalar: Node.Scalar) -> Bool {
        scalar.style == .plain && ["", "~", "null", "Null", "NULL"].contains(scalar.string)
    }

    private var scalar: String? {
        guard case .scalar(let scalar) = node, !isNothing(scalar) else { return nil }
        return scalar.string
    }

    // MARK: Scalars

    func text(_ what: String = "a text") throws(FileError) -> String {
        guard let scalar, !scalar.allSatisfy(\.isWhitespace) else { throw takes(what) }
        return scalar
    }

    /// - Parameter other: what may stand in its place, for the reader of an error.
    func integer(_ range: ClosedRange<Int64>, or other: String = "") throws(FileError) -> Int64 {
        guard let scalar, let number = Int64(scalar), range.contains(number) else {
            throw takes("a whole number from \(range.lowerBound) to \(range.upperBound)\(other)")
        }
        return number
    }

    func isWord(_ word: String) -> Bool { scalar == word }

    func flag() throws(FileError) -> Bool {
        switch scalar {
        case "true": return true
        case "false": return false
        default: throw takes("true or false")
        }
    }

    /// A day or a moment, seconds since the Unix epoch.
    func moment() throws(FileError) -> Int64 {
        guard let moment = scalar.flatMap(CivilDay.moment) else {
            throw takes("a day such as 2026-01-31 or a moment such as 2026-01-31T09:30:00Z")
        }
        return moment
    }

    /// One of the words of a type.
    func word<Word: RawRepresentable<String> & CaseIterable>(_ type: Word.Type) throws(FileError) -> Word {
        guard let word = scalar.flatMap(Word.init(rawValue:)) else {
            throw takes(Self.list(Word.allCases.map(\.rawValue)))
        }
        return word
    }

    func matches<Output>(_ form: Regex<Output>, _ what: String) throws(FileError) -> Output {
        guard let output = scalar?.wholeMatch(of: form)?.output else { throw takes(what) }
        return output
    }

    func currency() throws(FileError) -> String {
        guard let scalar, Money.exponent(of: scalar) != nil else { throw takes("a currency of ISO 4217 such as usd") }
        return scalar.lowercased()
    }

    /// In minor units.
    func amount(_ currency: String) throws(FileError) -> Int64 {
        guard let scalar, let money = Money(scalar, currency) else {
            throw takes("an amount of \(currency) such as \"-1234\(Self.example(currency))\"")
        }
        guard !money.isRounded else {
            let digits = Money.exponent(of: currency) ?? 0
            throw refusal("'\(scalar)' has more decimals than \(currency), which has \(digits).")
        }
        return money.minorUnits
    }

    private static func example(_ currency: String) -> String {
        let digits = Money.exponent(of: currency) ?? 0
        return digits == 0 ? "" : ".\("5678".prefix(digits))"
    }

    /// `a`, `a or b`, `a, b or c`.
    private static func list(_ words: [String]) -> String {
        guard let last = words.last, words.count > 1 else { return words.joined() }
        return "\(words.dropLast().joined(separator: ", ")) or \(last)"
    }

    // MARK: Lists and mappings

    var isScalar: Bool { if case .scalar = node { true } else { false } }

    var isMapping: Bool { if case .mapping = node { true } else { false } }

    func list() throws(FileError) -> [FileNode] {
        guard case .sequence(let sequence) = node else { throw takes("a list") }
        return sequence.map { FileNode(name, $0) }
    }

    /// The list, or the one value that stands in its place.
    func oneOrMore() throws(FileError) -> [FileNode] { isScalar ? [self] : try list() }

    /// The values by their keys, in the order of the file.
    func entries() throws(FileError) -> [(key: String, value: FileNode)] {
        guard case .mapping(let mapping) = node else { throw takes("keys of its own") }
        var entries: [(String, FileNode)] = []
        for (key, value) in mapping {
            guard case .scalar(let scalar) = key else {
                throw FileError(key.mark, "a key of '\(name)' is not a plain word.")
            }
            entries.append((scalar.string, FileNode(scalar.string, value)))
        }
        return entries
    }

    /// - Parameters:
    ///   - what: what it describes, with an article.
    ///   - keys: those it may have.
    func mapping(_ what: String, _ keys: [String]) throws(FileError) -> FileMapping {
        guard case .mapping(let mapping) = node else { throw takes("the keys of \(what)") }
        var values: [String: FileNode] = [:]
        for (key, value) in mapping {
            let word = key.string ?? ""
            guard keys.contains(word) else {
                let near = Self.nearest(word, keys).map { "; did you mean '\($0)'?" }
                throw FileError(key.mark, "'\(word)' is not a key of \(what)" + (near ?? "."))
            }
            values[word] = FileNode(word, value)
        }
        return FileMapping(what: what, owner: self, values: values)
    }

    private static func nearest(_ word: String, _ keys: [String]) -> String? {
        let nearest = keys.map { (key: $0, distance: distance(word, $0)) }.min { $0.distance < $1.distance }
        guard let nearest, nearest.distance <= max(2, word.count / 2) else { return nil }
        return nearest.key
    }

    /// How many letters must be added, left out or changed.
    private static func distance(_ a: String, _ b: String) -> Int {
        let b = Array(b)
        var row = Array(0...b.count)
        for (i, letter) in a.enumerated() {
            var diagonal = row[0]
            row[0] = i + 1
            for j in b.indices {
                let changed = diagonal + (letter == b[j] ? 0 : 1)
                diagonal = row[j + 1]
                row[j + 1] = min(changed, row[j] + 1, row[j + 1] + 1)
            }
        }
        return row[b.count]
    }
}

/// The values of a mapping whose keys are known.
struct FileMapping {
    fileprivate let what: String
    fileprivate let owner: FileNode
    fileprivate let values: [String: FileNode]

    subscript(key: String) -> FileNode? { values[key] }

    func need(_ key: String) throws(FileError) -> FileNode {
        guard let value = values[key] else { throw owner.refusal("\(what) needs the key '\(key)'.") }
        return value
    }

    /// One of two keys, and not both.
    func either(_ a: String, _ b: String) throws(FileError) -> FileNode {
        if let second = values[b], values[a] != nil { throw second.refusal("\(what) has '\(a)' or '\(b)', not both.") }
        guard let value = values[a] ?? values[b] else { throw owner.refusal("\(what) needs the key '\(a)' or '\(b)'.") }
        return value
    }
}
