/// Reads OFX as it comes: bytes in, elements out, never the whole document at once.
///
/// It takes OFX 1.x (SGML, whose leaves are not closed) and 2.x (XML) for one language and is tolerant in it: headers
/// that are missing or on one line, leaves closed or not, CDATA, stray closing tags, a `<` in the middle of a text,
/// aggregates that were not closed before the next of their kind, any of the encodings that banks declare and the one
/// that they use. It promises to hold no more than one value and one chunk, and that a text it gives out has no control
/// characters. It knows the predefined entities and numbers of characters, and nothing else: it refuses a document type
/// and with it every entity that somebody defines, names, values and nesting beyond its limits, a file that ends in the
/// middle of an aggregate, and what is not OFX. A refusal names the line and never what stands there.

internal import Foundation

struct OFXReader: Sendable {
    enum Element: Equatable, Sendable {
        /// An aggregate begins, and is the last of ``OFXReader/path``.
        case open(String)
        /// The aggregate ends, and is no longer in ``OFXReader/path``.
        case close(String)
        /// An element with a value, in the last of ``OFXReader/path``.
        case leaf(String, String)
    }

    static let maximumHeader = 16 * 1024
    static let maximumName = 64
    /// Room for an access token of 10 000 characters.
    static let maximumValue = 32 * 1024
    static let maximumDepth = 32

    private var buffer: [UInt8] = []
    /// The first byte of the buffer that is not read yet.
    private var start = 0
    /// Where in the document `start` is.
    private(set) var offset = 0
    /// The line that `start` is in, from 1.
    private(set) var line = 1
    private var isAtEnd = false
    private var hasHeader = false
    /// The names of the aggregates that are open, from the outermost.
    private(set) var path: [String] = []
    /// How many aggregates are to be closed before anything else is read.
    private var closing = 0
    /// The tag that was looked at to find the end of a value before it.
    private var ahead: (index: Int, markup: Markup)?
    /// What was looked for to the end of the buffer, and is not there.
    private var missing: Set<Ending> = []

    init() {}

    /// Goes on in the middle of a document.
    /// - Parameters:
    ///   - offset: where the first byte that is fed stands, as ``offset`` was then.
    ///   - path: as ``path`` was then.
    init(at offset: Int, path: [String]) {
        self.offset = offset
        self.path = path
        hasHeader = true
    }

    mutating func feed(_ bytes: [UInt8]) {
        buffer.removeFirst(start)
        start = 0
        ahead = nil
        missing = []
        buffer += bytes
    }

    /// All bytes were fed.
    mutating func finish() {
        isAtEnd = true
    }

    /// - Returns: the next element; nil where more bytes are needed or, after ``finish()``, where there is no more.
    mutating func next() throws(OFXFault) -> Element? {
        if !hasHeader { guard try readHeader() else { return nil } }
        while true {
            if closing > 0 {
                closing -= 1
                return .close(path.removeLast())
            }
            guard let open = find(UInt8(ascii: "<"), from: start) else {
                consume(to: buffer.count)
                return try end()
            }
            consume(to: open)
            switch try markup(at: open) {
            case .incomplete:
                guard isAtEnd else { return nil }
                consume(to: buffer.count)
                return try end()
            case .text: consume(to: open + 1)
            case .ignored(let end), .data(_, let end): consume(to: end)
            case .tag(let name, .closing, let end):
                consume(to: end)
                if let depth = path.lastIndex(of: name) { closing = path.count - depth }
            case .tag(let name, let kind, let end):
                // One that never stands in itself: the closing tag before it is missing.
                if let depth = path.lastIndex(of: name) { closing = path.count - depth; continue }
                return try element(name, kind, after: end)
            }
        }
    }

    private func end() throws(OFXFault) -> Element? {
        guard isAtEnd, let inner = path.last else { return nil }
        // What is missing is the closing of the outermost alone.
        guard path.count > 2 else { return nil }
        throw OFXFault(line, "the file ends in the middle of \(inner): it is not complete")
    }

    /// Reads what begins with a tag of its own: a leaf to the end of its value, an aggregate to the end of the tag.
    private mutating func element(_ name: String, _ kind: Tag, after end: Int) throws(OFXFault) -> Element? {
        if kind == .empty {
            consume(to: end)
            return .leaf(name, "")
        }
        guard let (text, next) = try text(from: end) else { return nil }
        var isClosed = false
        var afterwards = next
        if case .tag(name, .closing, let end)? = ahead?.markup, ahead?.index == next {
            (isClosed, afterwards) = (true, end)
        }
        let isAggregate =
            if Self.aggregates.contains(name) {
                true
            } else if text.isEmpty, !isClosed {
                !Self.leaves.contains(name)
            } else {
                false
            }
        guard isAggregate else {
            consume(to: afterwards)
            return .leaf(name, text)
        }
        guard path.count < Self.maximumDepth else { throw OFXFault(line, "elements are nested too deeply") }
        consume(to: end)
        path.append(name)
        return .open(name)
    }

    /// - Returns: the text up to the next tag, and where that begins; nil where more bytes are needed.
    private mutating func text(from begin: Int) throws(OFXFault) -> (text: String, next: Int)? {
        var parts: [String] = []
        var (piece, index) = (begin, begin)
        while true {
            let open = find(UInt8(ascii: "<"), from: index)
            guard (open ?? buffer.count) - begin <= Self.maximumValue else {
                throw OFXFault(line, "a value is too long")
            }
            guard let open else {
                guard isAtEnd else { return nil }
                parts.append(Self.text(buffer[piece...], decodingEntities: true))
                return (Self.trimmed(parts), buffer.count)
            }
            switch try markup(at: open) {
            case .incomplete:
                guard isAtEnd else { return nil }
                index = open + 1
            case .text: index = open + 1
            case .ignored(let end):
                parts.append(Self.text(buffer[piece..<open], decodingEntities: true))
                (piece, index) = (end, end)
            case .data(let content, let end):
                parts.append(Self.text(buffer[piece..<open], decodingEntities: true))
                parts.append(Self.text(buffer[content], decodingEntities: false))
                (piece, index) = (end, end)
            case .tag:
                parts.append(Self.text(buffer[piece..<open], decodingEntities: true))
                return (Self.trimmed(parts), open)
            }
        }
    }

    // MARK: Markup

    private enum Tag { case opening, closing, empty }

    private enum Markup {
        case tag(String, Tag, end: Int)
        /// CDATA: a text in which nothing is markup.
        case data(Range<Int>, end: Int)
        /// A comment or a processing instruction.
        case ignored(end: Int)
        /// A `<` that begins nothing.
        case text
        /// It may be anything: more bytes are needed.
        case incomplete
    }

    /// What ends a part in which nothing is markup.
    private enum Ending {
        case comment, data, instruction

        var text: StaticString {
            switch self {
            case .comment: "-->"
            case .data: "]]>"
            case .instruction: "?>"
            }
        }

        var part: String {
            switch self {
            case .comment: "a comment"
            case .data: "a value"
            case .instruction: "a processing instruction"
            }
        }
    }

    private mutating func markup(at index: Int) throws(OFXFault) -> Markup {
        if let ahead, ahead.index == index { return ahead.markup }
        let markup = try parse(at: index)
        ahead = (index, markup)
        return markup
    }

    private mutating func parse(at index: Int) throws(OFXFault) -> Markup {
        guard index + 1 < buffer.count else { return .incomplete }
        switch buffer[index + 1] {
        case UInt8(ascii: "!"): return try declaration(at: index)
        case UInt8(ascii: "?"):
            guard let end = try find(.instruction, of: index, from: index + 2) else { return .incomplete }
            return .ignored(end: end + 2)
        case let byte where Self.isName(byte) || byte == UInt8(ascii: "/"): return tag(at: index)
        default: return .text
        }
    }

    private mutating func declaration(at index: Int) throws(OFXFault) -> Markup {
        if begins("<!--", at: index) {
            guard let end = try find(.comment, of: index, from: index + 4) else { return .incomplete }
            return .ignored(end: end + 3)
        }
        if begins("<![CDATA[", at: index) {
            guard let end = try find(.data, of: index, from: index + 9) else { return .incomplete }
            return .data(index + 9..<end, end: end + 3)
        }
        let isShort = buffer.count - index < 9
        if isShort, !isAtEnd { return .incomplete }
        guard index + 2 < buffer.count, Self.isLetter(buffer[index + 2]) else { return .text }
        throw OFXFault(line(of: index), "it declares a document type or entities, which are not read")
    }

    /// - Parameter index: where what it ends begins.
    /// - Returns: nil where it has not come yet.
    private mutating func find(_ ending: Ending, of index: Int, from begin: Int) throws(OFXFault) -> Int? {
        guard !missing.contains(ending) else { return nil }
        if let end = find(ending.text, from: begin, within: Self.maximumValue) { return end }
        guard buffer.count - index <= Self.maximumValue else {
            throw OFXFault(line(of: index), "\(ending.part) is too long")
        }
        missing.insert(ending)
        return nil
    }

    private func tag(at index: Int) -> Markup {
        let isClosing = buffer[index + 1] == UInt8(ascii: "/")
        let begin = index + (isClosing ? 2 : 1)
        var end = begin
        while end < buffer.count, end - begin <= Self.maximumName, Self.isName(buffer[end]) { end += 1 }
        // Longer than any name, or none: not a tag.
        guard end - begin <= Self.maximumName, end > begin || end == buffer.count else { return .text }
        guard end < buffer.count else { return .incomplete }
        let name = Self.name(buffer[begin..<end])
        if buffer[end] == UInt8(ascii: ">") { return .tag(name, isClosing ? .closing : .opening, end: end + 1) }
        guard Self.isSpace(buffer[end]) || buffer[end] == UInt8(ascii: "/") else { return .text }
        return attributes(name, isClosing, from: end)
    }

    /// The rest of a tag behind its name: spaces, and in XML attributes, which say nothing here.
    private func attributes(_ name: String, _ isClosing: Bool, from index: Int) -> Markup {
        let limit = min(buffer.count, index + Self.maximumName * 16)
        let end = buffer[index..<limit].firstIndex { $0 == UInt8(ascii: ">") || $0 == UInt8(ascii: "<") }
        guard let close = end else { return limit < buffer.count ? .text : .incomplete }
        guard buffer[close] == UInt8(ascii: ">") else { return .text }
        let rest = buffer[index..<close]
        let isEmpty = rest.last == UInt8(ascii: "/")
        let hasAttributes = rest.contains(UInt8(ascii: "="))
        guard hasAttributes || rest.allSatisfy({ Self.isSpace($0) || $0 == UInt8(ascii: "/") }) else { return .text }
        return .tag(name, isClosing ? .closing : isEmpty ? .empty : .opening, end: close + 1)
    }

    // MARK: The header

    /// Everything before the outermost element.
    /// - Returns: false where more bytes are needed.
    private mutating func readHeader() throws(OFXFault) -> Bool {
        if buffer.starts(with: [0xFF, 0xFE]) || buffer.starts(with: [0xFE, 0xFF]) {
            throw OFXFault(1, "the file is in UTF-16; save it as UTF-8")
        }
        if buffer.starts(with: Array("PK".utf8)) { throw OFXFault(1, "the file is an archive; unpack it first") }
        if buffer.starts(with: Array("%PDF".utf8)) { throw OFXFault(1, "the file is a PDF, not an OFX file") }
        var index = start
        while let open = find(UInt8(ascii: "<"), from: index), open < Self.maximumHeader {
            guard open + Self.maximumName < buffer.count || isAtEnd else { return false }
            if begins("<!DOCTYPE", at: open) || begins("<!ENTITY", at: open) {
                throw OFXFault(line(of: open), "it declares a document type or entities, which are not read")
            }
            let name = buffer[(open + 1)...].prefix(Self.maximumName).prefix(while: Self.isName)
            if Self.name(name) == "OFX" {
                try checkHeader(buffer[start..<open])
                consume(to: open)
                hasHeader = true
                return true
            }
            index = open + 1
        }
        if isAtEnd || buffer.count >= Self.maximumHeader {
            throw OFXFault(nil, "this is not an OFX file: it has no <OFX>")
        }
        return false
    }

    private func checkHeader(_ header: ArraySlice<UInt8>) throws(OFXFault) {
        let words = String(decoding: header, as: UTF8.self).uppercased().split {
            !($0.isLetter || $0.isNumber || $0 == "-" || $0 == "_")
        }
        guard let key = words.firstIndex(of: "COMPRESSION"), key + 1 < words.count else { return }
        // Some banks leave the value out; then the next key follows.
        guard ["NONE", "OLDFILEUID", "NEWFILEUID"].contains(words[key + 1]) else {
            throw OFXFault(nil, "its header says that the file is compressed, which is not read")
        }
    }

    // MARK: The buffer

    private mutating func consume(to index: Int) {
        line += lines(in: start..<index)
        offset += index - start
        start = index
    }

    private func line(of index: Int) -> Int {
        line + lines(in: start..<index)
    }

    private func lines(in range: Range<Int>) -> Int {
        var count = 0
        var index = range.lowerBound
        while let next = find(UInt8(ascii: "\n"), from: index, to: range.upperBound) {
            count += 1
            index = next + 1
        }
        return count
    }

    /// - Parameter end: what is not looked at; the end of the buffer where it is nil.
    private func find(_ byte: UInt8, from index: Int, to end: Int? = nil) -> Int? {
        buffer.withUnsafeBytes { bytes in
            let end = min(end ?? bytes.count, bytes.count)
            guard let base = bytes.baseAddress, index < end,
                let found = memchr(base + index, Int32(byte), end - index)
            else { return nil }
            return UnsafeRawPointer(found) - base
        }
    }

    private func find(_ text: StaticString, from index: Int, within distance: Int) -> Int? {
        var index = index
        let limit = index + distance
        while let candidate = find(text.utf8Start.pointee, from: index, to: limit) {
            if begins(text, at: candidate) { return candidate }
            index = candidate + 1
        }
        return nil
    }

    /// Whether a text stands there, in upper or lower case.
    private func begins(_ text: StaticString, at index: Int) -> Bool {
        let count = text.utf8CodeUnitCount
        guard index + count <= buffer.count else { return false }
        for place in 0..<count where Self.upper(buffer[index + place]) != text.utf8Start[place] { return false }
        return true
    }
}

/// Why a document, or a part of it, cannot be read.
struct OFXFault: Error, Equatable {
    /// From 1; nil where the fault is not in one place.
    let line: Int?
    /// The rest of a sentence, without what stands in the document.
    let reason: String

    init(_ line: Int?, _ reason: String) {
        self.line = line
        self.reason = reason
    }

    /// A sentence for the person who has the file.
    var message: String {
        let reason = reason.prefix(1).uppercased() + reason.dropFirst()
        return line.map { "Line \($0): \(self.reason)." } ?? "\(reason)."
    }
}

// MARK: - Letters

extension OFXReader {
    private static func upper(_ byte: UInt8) -> UInt8 {
        byte >= 97 && byte <= 122 ? byte - 32 : byte
    }

    private static func isLetter(_ byte: UInt8) -> Bool {
        let byte = upper(byte)
        return byte >= 65 && byte <= 90
    }

    /// Whether a byte may stand in a name: letters, digits, `.`, `-`, `_` and the `:` of a namespace.
    private static func isName(_ byte: UInt8) -> Bool {
        isLetter(byte) || byte >= 48 && byte <= 58 || byte == 45 || byte == 46 || byte == 95
    }

    private static func isSpace(_ byte: UInt8) -> Bool {
        byte == 32 || byte >= 9 && byte <= 13
    }

    /// A name in upper case, without its namespace.
    private static func name(_ bytes: ArraySlice<UInt8>) -> String {
        let colon = bytes.lastIndex(of: UInt8(ascii: ":"))
        let local = colon.map { bytes[($0 + 1)...] } ?? bytes
        if local.contains(where: { $0 >= 97 && $0 <= 122 }) { return String(decoding: local.map(upper), as: UTF8.self) }
        return String(decoding: local, as: UTF8.self)
    }

    private static func trimmed(_ parts: [String]) -> String {
        let text = parts.count == 1 ? parts[0] : parts.joined()
        guard let first = text.utf8.first, let last = text.utf8.last, first == 32 || last == 32 else { return text }
        return String(text.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
    }

    /// A value as text: in UTF-8 where it is that, whatever the header says, and else in Windows-1252, of which
    /// US-ASCII and, but for control characters, ISO 8859-1 are parts. Line ends and other white space become one space
    /// each, control characters go.
    private static func text(_ bytes: ArraySlice<UInt8>, decodingEntities: Bool) -> String {
        var (isPlain, hasEntity, isASCII) = (true, false, true)
        for byte in bytes {
            if byte < 32 || byte == 127 { isPlain = false }
            if byte == UInt8(ascii: "&") { hasEntity = true }
            if byte >= 128 { isASCII = false }
        }
        var text: String
        if isASCII {
            text = String(decoding: bytes, as: UTF8.self)
        } else {
            text = String(validating: bytes, as: UTF8.self) ?? windows(bytes)
            isPlain = false
        }
        if !isPlain { text = plain(text) }
        guard hasEntity, decodingEntities else { return text }
        return plain(entities(text))
    }

    private static func plain(_ text: String) -> String {
        var plain = String.UnicodeScalarView()
        var (isAfterSpace, isAfterBreak) = (true, true)
        for scalar in text.unicodeScalars {
            switch scalar.value {
            case 9...13, 0x85, 0xA0:
                if !isAfterSpace { plain.append(" ") }
                (isAfterSpace, isAfterBreak) = (true, true)
            case 32 where isAfterBreak: continue
            case 0..<32, 127..<160, 0xFEFF: continue
            default:
                plain.append(scalar)
                (isAfterSpace, isAfterBreak) = (scalar == " ", false)
            }
        }
        return String(plain)
    }

    private static func windows(_ bytes: ArraySlice<UInt8>) -> String {
        var text = String.UnicodeScalarView()
        for byte in bytes {
            let value = byte >= 128 && byte < 160 ? windowsHigh[Int(byte) - 128] : UInt32(byte)
            if let scalar = Unicode.Scalar(value) { text.append(scalar) }
        }
        return String(text)
    }

    /// What Windows-1252 has where ISO 8859-1 has control characters; 0 where it has nothing.
    private static let windowsHigh: [UInt32] = [
        0x20AC, 0, 0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0, 0x017D, 0,
        0, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0, 0x017E,
        0x0178,
    ]

    /// Resolves the predefined entities and character numbers, once; others stay as they stand.
    private static func entities(_ text: String) -> String {
        var resolved = ""
        var rest = text[...]
        while let start = rest.firstIndex(of: "&") {
            resolved += rest[..<start]
            rest = rest[start...]
            let body = rest.dropFirst().prefix(10).prefix { $0 != ";" }
            let end = body.endIndex
            if end < rest.endIndex, rest[end] == ";", let letter = entity(body) {
                resolved.unicodeScalars.append(letter)
                rest = rest[rest.index(after: end)...]
            } else {
                resolved += "&"
                rest = rest.dropFirst()
            }
        }
        return resolved + rest
    }

    private static func entity(_ body: Substring) -> Unicode.Scalar? {
        switch body {
        case "amp": return "&"
        case "lt": return "<"
        case "gt": return ">"
        case "quot": return "\""
        case "apos": return "'"
        case "nbsp": return " "
        default: break
        }
        let digits: Substring
        let radix: Int
        if body.hasPrefix("#x") || body.hasPrefix("#X") {
            (digits, radix) = (body.dropFirst(2), 16)
        } else if body.hasPrefix("#") {
            (digits, radix) = (body.dropFirst(), 10)
        } else {
            return nil
        }
        return UInt32(digits, radix: radix).flatMap(Unicode.Scalar.init)
    }

    /// Aggregates that may stand with a stray text in them, or with nothing.
    private static let aggregates: Set<String> = [
        "ACCTINFO", "ACCTINFORS", "ACCTINFOTRNRS", "AVAILBAL", "BANKACCTFROM", "BANKACCTINFO", "BANKMSGSRSV1",
        "BANKTRANLIST", "BANKTRANLISTP", "CCACCTFROM", "CCACCTINFO", "CCSTMTRS", "CCSTMTTRNRS", "CREDITCARDMSGSRSV1",
        "INVACCTFROM", "INVACCTINFO", "INVBAL", "INVBANKTRAN", "INVSTMTMSGSRSV1", "INVSTMTRS", "INVSTMTTRNRS",
        "INVTRANLIST", "LEDGERBAL", "LOANACCTFROM", "LOANACCTINFO", "LOANMSGSRSV1", "LOANSTMTRS", "LOANSTMTTRN",
        "LOANSTMTTRNRS", "LOANTRANLIST", "OFX", "SIGNONMSGSRSV1", "SONRS", "STATUS", "STMTRS", "STMTTRN",
        "STMTTRNP", "STMTTRNRS",
    ]

    /// Leaves that may stand without a value and without a closing tag, and are no aggregates then.
    private static let leaves: Set<String> = [
        "ACCTID", "ACCTKEY", "ACCTTYPE", "ADDR1", "ADDR2", "ADDR3", "BALAMT", "BANKID", "BRANCHID", "CATEGORY",
        "CHECKNUM", "CITY", "CLTCOOKIE", "CODE", "CORRECTACTION", "CORRECTFITID", "COUNTRY", "CURDEF", "CURRATE",
        "CURSYM", "DESC", "DTACCTUP", "DTASOF", "DTAVAIL", "DTEND", "DTEXPIRE", "DTPOSTED", "DTPROFUP", "DTSERVER",
        "DTSTART", "DTTRAN", "DTUSER", "EMAIL", "EXTDNAME", "FAXPHONE", "FID", "FITID", "INTU.BID", "INTU.ORG",
        "INTU.USERID", "INV401KSOURCE", "LANGUAGE", "LOANACCTID", "LOANACCTTYPE", "MEMO", "MESSAGE", "MKTGINFO", "NAME",
        "ORG", "PAYEEID", "PHONE", "POSTALCODE", "REFNUM", "SESSCOOKIE", "SEVERITY", "SIC", "SRVRTID", "STATE",
        "SUBACCTFUND", "SUPTXDL", "SVCSTATUS", "TRNAMT", "TRNTYPE", "TRNUID", "VALUEDATE", "XFERDEST", "XFERSRC",
    ]
}
