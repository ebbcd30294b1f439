/// Writes JSON as the API does: two spaces an indent, one member a line, `"key": value`, empty containers closed on the
/// same line. It writes bytes as it is told and builds no tree, so that a page of accounts costs microseconds; the
/// order of the members is the caller's, which writes `id` and `object` first and the rest by the alphabet.
public struct JSONWriter {
    public private(set) var bytes: [UInt8] = []
    private var depth = 0
    /// Whether the container being written holds a member already.
    private var hasMember = false

    /// - Parameter depth: how many containers what is written will stand in.
    public init(capacity: Int = 1024, depth: Int = 0) {
        bytes.reserveCapacity(capacity)
        self.depth = depth
    }

    // MARK: Containers

    /// The outermost value, or an element of an array.
    public mutating func object(_ members: (inout JSONWriter) throws -> Void) rethrows {
        try container(UInt8(ascii: "{"), UInt8(ascii: "}"), members)
    }

    public mutating func object(_ key: String, _ members: (inout JSONWriter) throws -> Void) rethrows {
        self.key(key)
        try container(UInt8(ascii: "{"), UInt8(ascii: "}"), members)
    }

    public mutating func array(_ key: String, _ elements: (inout JSONWriter) throws -> Void) rethrows {
        self.key(key)
        try container(UInt8(ascii: "["), UInt8(ascii: "]"), elements)
    }

    public mutating func array(_ elements: (inout JSONWriter) throws -> Void) rethrows {
        try container(UInt8(ascii: "["), UInt8(ascii: "]"), elements)
    }

    /// Starts an element of the array being written; a value must follow.
    public mutating func element() {
        nextLine()
    }

    private mutating func container(
        _ open: UInt8,
        _ close: UInt8,
        _ body: (inout JSONWriter) throws -> Void
    ) rethrows {
        bytes.append(open)
        depth += 1
        hasMember = false
        try body(&self)
        depth -= 1
        if hasMember {
            bytes.append(UInt8(ascii: "\n"))
            indent()
        }
        bytes.append(close)
        hasMember = true
    }

    // MARK: Members

    public mutating func field(_ key: String, _ value: String) {
        self.key(key)
        string(value)
    }

    public mutating func field(_ key: String, _ value: String?) {
        self.key(key)
        if let value { string(value) } else { null() }
    }

    public mutating func field(_ key: String, _ value: Int64?) {
        self.key(key)
        if let value { integer(value) } else { null() }
    }

    public mutating func field(_ key: String, _ value: Int) {
        self.key(key)
        integer(Int64(value))
    }

    public mutating func field(_ key: String, _ value: Bool) {
        self.key(key)
        raw(value ? "true" : "false")
    }

    public mutating func field(_ key: String, _ values: [String]) {
        array(key) { json in
            for value in values {
                json.element()
                json.string(value)
            }
        }
    }

    public mutating func field(_ key: String, _ values: [String]?) {
        if let values { field(key, values) } else { nullField(key) }
    }

    public mutating func nullField(_ key: String) {
        self.key(key)
        null()
    }

    /// A member whose value is JSON that this type wrote before, indented anew to stand here.
    public mutating func field(_ key: String, rendered: [UInt8], depth written: Int = 0) {
        self.key(key)
        self.rendered(rendered, depth: written)
    }

    /// Starts a member; a value must follow.
    public mutating func key(_ key: String) {
        nextLine()
        string(key)
        bytes.append(UInt8(ascii: ":"))
        bytes.append(UInt8(ascii: " "))
    }

    // MARK: Values

    public mutating func string(_ value: String) {
        bytes.append(UInt8(ascii: "\""))
        var value = value
        value.withUTF8 { utf8 in
            if Self.hasSpecial(UnsafeRawBufferPointer(utf8)) {
                for byte in utf8 { escaped(byte) }
            } else {
                bytes.append(contentsOf: utf8)
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }

    /// Whether a byte must be escaped: a control character, a quotation mark or a backslash. Eight are looked at at a
    /// time: in `w - n` a byte that was less than `n` has borrowed, which shows in its highest bit.
    private static func hasSpecial(_ bytes: UnsafeRawBufferPointer) -> Bool {
        func each(_ byte: UInt8) -> UInt64 { 0x0101_0101_0101_0101 &* UInt64(byte) }
        var index = 0
        while index + 8 <= bytes.count {
            let word = bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self)
            let quotes = word ^ each(UInt8(ascii: "\""))
            let slashes = word ^ each(UInt8(ascii: "\\"))
            let found = (word &- each(0x20)) & ~word | (quotes &- each(1)) & ~quotes | (slashes &- each(1)) & ~slashes
            if found & each(0x80) != 0 { return true }
            index += 8
        }
        return bytes[index...].contains { $0 < 0x20 || $0 == UInt8(ascii: "\"") || $0 == UInt8(ascii: "\\") }
    }

    public mutating func integer(_ value: Int64) {
        raw(String(value))
    }

    public mutating func null() {
        raw("null")
    }

    /// JSON that this type wrote before, as an element of an array or the value of a key.
    /// - Parameter written: the depth that it was written for; it is copied as it is where it stands so deep.
    public mutating func rendered(_ json: [UInt8], depth written: Int = 0) {
        hasMember = true
        guard depth != written else { return bytes.append(contentsOf: json) }
        json.withUnsafeBytes { json in
            // A string never holds a bare line feed, so each one ends a line.
            var start = 0
            for index in json.indices where json[index] == UInt8(ascii: "\n") {
                bytes.append(contentsOf: json[start...index])
                indent()
                start = index + 1 + 2 * written
            }
            bytes.append(contentsOf: json[start...])
        }
    }

    /// The whole document, ended by a line feed as the API ends it.
    public consuming func finish() -> [UInt8] {
        bytes.append(UInt8(ascii: "\n"))
        return bytes
    }

    private mutating func raw(_ text: String) {
        bytes.append(contentsOf: text.utf8)
    }

    private mutating func nextLine() {
        if hasMember { bytes.append(UInt8(ascii: ",")) }
        hasMember = true
        bytes.append(UInt8(ascii: "\n"))
        indent()
    }

    private mutating func indent() {
        for _ in 0..<depth {
            bytes.append(UInt8(ascii: " "))
            bytes.append(UInt8(ascii: " "))
        }
    }

    private mutating func escaped(_ byte: UInt8) {
        switch byte {
        case UInt8(ascii: "\""): raw("\\\"")
        case UInt8(ascii: "\\"): raw("\\\\")
        case UInt8(ascii: "\n"): raw("\\n")
        case UInt8(ascii: "\r"): raw("\\r")
        case UInt8(ascii: "\t"): raw("\\t")
        case 0..<0x20:
            let digits = Array("0123456789abcdef".utf8)
            raw("\\u00")
            bytes.append(digits[Int(byte >> 4)])
            bytes.append(digits[Int(byte & 0xF)])
        default: bytes.append(byte)
        }
    }
}
