/// A Swift file, with its comments and its texts told apart from its code.
///
/// It knows as much of Swift as the rules need: comments, nested ones too, texts with interpolation, texts of several
/// lines, raw texts and regular expressions between `#/` and `/#`. It does not know regular expressions between bare
/// slashes. What is left out is replaced by spaces, so that lines and columns stay where they are.
struct SwiftText {
    /// From the root of the repository: `Sources/Wire/Form.swift`.
    let path: String
    let lines: [Substring]
    /// Without comments and without what stands in texts.
    let code: [Substring]
    /// Without comments.
    let uncommented: String

    init(path: String, _ contents: String) {
        var lexer = Lexer(contents)
        lexer.run()
        self.path = path
        lines = contents.split(separator: "\n", omittingEmptySubsequences: false)
        code = String(decoding: lexer.code, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
        uncommented = String(decoding: lexer.uncommented, as: UTF8.self)
    }
}

private struct Lexer {
    private let bytes: [UInt8]
    private var index = 0
    private(set) var code: [UInt8]
    private(set) var uncommented: [UInt8]

    init(_ contents: String) {
        bytes = Array(contents.utf8)
        code = bytes
        uncommented = bytes
    }

    mutating func run() {
        while index < bytes.count {
            let start = index
            if at("//") {
                skip { $0.at("\n") }
                blank(from: start, comment: true)
            } else if at("/*") {
                comment()
                blank(from: start, comment: true)
            } else if text() {
                blank(from: start, comment: false)
            } else {
                index += 1
            }
        }
    }

    private func at(_ word: StaticString, offset: Int = 0) -> Bool {
        word.withUTF8Buffer { word in
            let from = index + offset
            return from + word.count <= bytes.count && word.indices.allSatisfy { bytes[from + $0] == word[$0] }
        }
    }

    private func hashes(offset: Int = 0) -> Int {
        bytes[min(index + offset, bytes.count)...].prefix { $0 == UInt8(ascii: "#") }.count
    }

    private mutating func skip(until isEnd: (Lexer) -> Bool) {
        while index < bytes.count, !isEnd(self) { index += 1 }
    }

    private mutating func blank(from start: Int, comment: Bool) {
        for position in start..<index where bytes[position] != UInt8(ascii: "\n") {
            code[position] = UInt8(ascii: " ")
            if comment { uncommented[position] = UInt8(ascii: " ") }
        }
    }

    private mutating func comment() {
        var depth = 0
        repeat {
            if at("/*") {
                depth += 1
                index += 2
            } else if at("*/") {
                depth -= 1
                index += 2
            } else {
                index += 1
            }
        } while depth > 0 && index < bytes.count
    }

    /// Passes a text or a regular expression, if one begins here.
    private mutating func text() -> Bool {
        let count = hashes()
        if at("\"", offset: count) {
            let isLong = at("\"\"\"", offset: count)
            index += count + (isLong ? 3 : 1)
            content(hashes: count, isLong: isLong)
            return true
        }
        guard count > 0, at("/", offset: count) else { return false }
        index += count + 1
        skip { $0.at("/") && $0.hashes(offset: 1) >= count }
        index = min(index + 1 + count, bytes.count)
        return true
    }

    private mutating func content(hashes count: Int, isLong: Bool) {
        while index < bytes.count {
            if at("\\"), hashes(offset: 1) >= count {
                index += 1 + count
                if at("(") { interpolation() } else { index += 1 }
            } else if isLong ? at("\"\"\"") : at("\""), hashes(offset: isLong ? 3 : 1) >= count {
                index += (isLong ? 3 : 1) + count
                return
            } else if at("\n"), !isLong {
                return
            } else {
                index += 1
            }
        }
        index = bytes.count
    }

    private mutating func interpolation() {
        var depth = 0
        repeat {
            if at("(") { depth += 1 }
            if at(")") { depth -= 1 }
            if !text() { index += 1 }
        } while depth > 0 && index < bytes.count
    }
}
