/// A statement with its binds, written once for both engines.
///
/// `SQL` is made by string interpolation, and an interpolated value is always a bind, never text: there is no way to
/// put a string into the statement's text at run time, so no injection and a fixed set of texts for the statement
/// cache. The little that engines do not share is written as a token in braces and rendered by the driver:
///
/// | Token | SQLite | PostgreSQL | Why |
/// |---|---|---|---|
/// | `{int}` | `INTEGER` | `BIGINT` | `INTEGER` has 32 bits on PostgreSQL, a strict table refuses `BIGINT` |
/// | `{bytes}` | `BLOB` | `BYTEA` | |
/// | `{key}` | `TEXT` | `TEXT COLLATE "C"` | keys sort by their bytes, whatever the database's language |
/// | `{strict}` | `STRICT` | nothing | |
/// | `{clustered}` | `STRICT, WITHOUT ROWID` | nothing | rows lie in the tree of their key: one insert fewer |
/// | `{skipLocked}` | nothing | `FOR UPDATE SKIP LOCKED` | SQLite has one writer |
public struct SQL: Sendable, ExpressibleByStringInterpolation {
    let source: Source
    public let binds: [Value]

    public var text: String { source.text }

    /// A text that is put together from names of the schema alone.
    init(text: String, binds: [Value] = []) {
        source = Source(text)
        self.binds = binds
    }

    public init(stringLiteral value: String) {
        self.init(text: value)
    }

    public init(stringInterpolation: StringInterpolation) {
        source = stringInterpolation.source
        binds = stringInterpolation.binds
    }

    /// A statement's text, in the pieces in which the program holds it: what a prepared statement is found by. To put
    /// its text together and read all of it each time would take a good part of the time in which a statement runs;
    /// pieces of the program are equal by where they lie.
    struct Source: Hashable {
        private var pieces: [String] = []
        /// Bytes of UTF-8.
        private var count = 0

        init(_ text: String) {
            append(text)
        }

        fileprivate init(capacity: Int) {
            pieces.reserveCapacity(capacity)
        }

        fileprivate mutating func append(_ piece: String) {
            pieces.append(piece)
            count += piece.utf8.count
        }

        fileprivate mutating func append(_ part: Source) {
            pieces += part.pieces
            count += part.count
        }

        var text: String { pieces.joined() }

        func hash(into hasher: inout Hasher) {
            hasher.combine(count)
            hasher.combine(pieces.count)
        }
    }

    /// What a statement may carry: the three types that both engines store alike, and null.
    public enum Value: Sendable, Hashable {
        case null
        case integer(Int64)
        case text(String)
        case bytes([UInt8])
    }

    public struct StringInterpolation: StringInterpolationProtocol {
        fileprivate var source: Source
        fileprivate var binds: [Value] = []

        public init(literalCapacity: Int, interpolationCount: Int) {
            // A literal before each value and one behind the last, with room for a part with a few values of its own.
            source = Source(capacity: 2 * interpolationCount + 9)
            binds.reserveCapacity(interpolationCount + 4)
        }

        public mutating func appendLiteral(_ literal: String) {
            source.append(literal)
        }

        private mutating func bind(_ value: Value) {
            source.append("?")
            binds.append(value)
        }

        public mutating func appendInterpolation(_ value: Value) { bind(value) }
        public mutating func appendInterpolation(_ value: String) { bind(.text(value)) }
        public mutating func appendInterpolation(_ value: Int64) { bind(.integer(value)) }
        public mutating func appendInterpolation(_ value: Int) { bind(.integer(Int64(value))) }
        public mutating func appendInterpolation(_ value: Bool) { bind(.integer(value ? 1 : 0)) }
        public mutating func appendInterpolation(_ value: [UInt8]) { bind(.bytes(value)) }
        public mutating func appendInterpolation(_ value: String?) { bind(value.map(Value.text) ?? .null) }
        public mutating func appendInterpolation(_ value: Int64?) { bind(value.map(Value.integer) ?? .null) }
        public mutating func appendInterpolation(_ value: [UInt8]?) { bind(value.map(Value.bytes) ?? .null) }

        /// A part of a statement that was itself written as `SQL`, with its binds.
        public mutating func appendInterpolation(_ part: SQL) {
            source.append(part.source)
            binds += part.binds
        }
    }
}

extension SQL {
    /// Renders the tokens in braces. Texts without a brace, nearly all, are returned as they are.
    static func render(_ text: String, tokens: [(token: String, meaning: String)]) -> String {
        guard text.utf8.contains(UInt8(ascii: "{")) else { return text }
        var rendered = text
        for (token, meaning) in tokens {
            var pieces: [Substring] = []
            var rest = rendered[...]
            while let range = rest.firstRange(of: token) {
                pieces.append(rest[..<range.lowerBound])
                pieces.append(meaning[...])
                rest = rest[range.upperBound...]
            }
            guard !pieces.isEmpty else { continue }
            rendered = pieces.joined() + rest
        }
        return rendered
    }
}
