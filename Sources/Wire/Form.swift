/// Decodes `application/x-www-form-urlencoded` with nested brackets into a tree.
///
/// It takes what the official SDKs and `curl` send: `a[b]=`, arrays as `a[]=` and `a[0]=`, arrays of maps as
/// `a[0][b]=`, brackets raw or percent-encoded, `+` for a space, a repeated scalar where the last one wins. It refuses
/// what is not UTF-8, what contradicts itself (`a=1&a[b]=2`), and whatever is larger than its limits: the tree's depth
/// is bounded before it is built, so that no input can exhaust the stack.
public enum FormNode: Sendable, Equatable {
    case value(String)
    case map(FormMap)
}

/// What stands under a name: members in the order in which they first came. An array is a map whose keys are all whole
/// numbers; `a[]=` takes the next one.
public struct FormMap: Sendable, Equatable {
    // Looked through in turn: a form has a handful, and their number is bounded.
    public private(set) var members: [Member] = []
    private var nextIndex = 0

    public struct Member: Sendable, Equatable {
        public let key: String
        public fileprivate(set) var node: FormNode
    }

    public init() {
        // As many as most have, so that they need not grow.
        members.reserveCapacity(4)
    }

    public subscript(key: String) -> FormNode? {
        members.first { $0.key == key }?.node
    }

    public var keys: [String] { members.map(\.key) }

    public var isList: Bool {
        members.allSatisfy { $0.key.utf8.count <= 4 && $0.key.utf8.allSatisfy { $0 >= 48 && $0 <= 57 } }
    }

    /// The elements of an array, in the order of their indices.
    public var elements: [FormNode] {
        let isSorted = members.indices.dropFirst().allSatisfy { members[$0 - 1].index <= members[$0].index }
        return (isSorted ? members : members.sorted { $0.index < $1.index }).map(\.node)
    }

    /// The same bytes for the same parameters, however they were ordered and spelled.
    public func appendCanonical(to bytes: inout [UInt8]) {
        func append(_ text: String) {
            withUnsafeBytes(of: UInt32(truncatingIfNeeded: text.utf8.count)) { bytes.append(contentsOf: $0) }
            bytes.append(contentsOf: text.utf8)
        }
        // Few are more than one, and most stand in their order.
        let isSorted = members.indices.dropFirst().allSatisfy { members[$0 - 1].key < members[$0].key }
        for member in isSorted ? members : members.sorted(by: { $0.key < $1.key }) {
            append(member.key)
            switch member.node {
            case .value(let value):
                bytes.append(0)
                append(value)
            case .map(let map):
                bytes.append(1)
                map.appendCanonical(to: &bytes)
            }
        }
        bytes.append(2)
    }

    /// - Parameter path: the parts of the name, outermost first; at least one.
    fileprivate mutating func insert(
        _ value: String,
        at path: ArraySlice<Range<Int>>,
        of name: [UInt8]
    ) throws(StripeError) {
        guard let head = path.first else { return }
        var key = String(decoding: name[head], as: UTF8.self)
        if key.isEmpty {
            key = String(nextIndex)
            nextIndex += 1
        } else if head.count <= 4, let index = Int(key), index >= nextIndex {
            nextIndex = index + 1
        }
        guard let known = members.firstIndex(where: { $0.key == key }) else {
            var node = FormNode.value(value)
            if path.count > 1 {
                var branch = FormMap()
                try branch.insert(value, at: path.dropFirst(), of: name)
                node = .map(branch)
            }
            members.append(Member(key: key, node: node))
            return
        }
        if path.count > 1, var branch = takeBranch(known) {
            try branch.insert(value, at: path.dropFirst(), of: name)
            members[known].node = .map(branch)
        } else if path.count == 1, case .value = members[known].node {
            members[known].node = .value(value)
        } else {
            throw Self.contradiction(String(decoding: name, as: UTF8.self))
        }
    }

    /// Takes out a branch that is to grow, so that it is not copied; nil where a value stands.
    private mutating func takeBranch(_ index: Int) -> FormMap? {
        guard case .map(let branch) = members[index].node else { return nil }
        members[index].node = .value("")
        return branch
    }

    private static func contradiction(_ name: String) -> StripeError {
        StripeError(param: name, message: "Invalid parameter: \(name) is given both as a value and as a container.")
    }
}

extension FormMap.Member {
    /// Its place in an array.
    fileprivate var index: Int { Int(key) ?? 0 }
}

public enum Form {
    // More than any SDK sends.
    public static let maximumPairs = 1000
    public static let maximumDepth = 8
    public static let maximumKeyBytes = 512

    /// - Parameter text: a body, or the query of a URL without its `?`.
    /// - Throws: a ``StripeError`` of status 400.
    public static func decode(_ text: [UInt8]) throws(StripeError) -> FormMap {
        var root = FormMap()
        var count = 0
        var start = 0
        // Taken up again for each pair.
        var name: [UInt8] = []
        var path: [Range<Int>] = []
        path.reserveCapacity(maximumDepth)
        while start < text.count {
            let pair = text[start...].prefix { $0 != UInt8(ascii: "&") }
            start = pair.endIndex + 1
            if pair.isEmpty { continue }
            count += 1
            guard count <= maximumPairs else {
                throw StripeError(message: "Too many parameters: at most \(maximumPairs) are accepted.")
            }
            let sign = pair.firstIndex(of: UInt8(ascii: "=")) ?? pair.endIndex
            try unescape(pair[..<sign], into: &name)
            let value = try unescape(pair[sign...].dropFirst())
            guard !name.isEmpty else { continue }
            guard name.count <= maximumKeyBytes else {
                throw StripeError(message: "Parameter names can have up to \(maximumKeyBytes) bytes.")
            }
            try split(name, into: &path)
            try root.insert(value, at: path[...], of: name)
        }
        return root
    }

    /// Splits `a[b][]` into `a`, `b` and the empty segment that stands for "next index".
    private static func split(_ name: [UInt8], into path: inout [Range<Int>]) throws(StripeError) {
        path.removeAll(keepingCapacity: true)
        guard let open = name.firstIndex(of: UInt8(ascii: "[")), open > 0 else {
            path.append(0..<name.count)
            return
        }
        path.append(0..<open)
        var start = open
        while start < name.count {
            guard name[start] == UInt8(ascii: "["), let close = name[start...].firstIndex(of: UInt8(ascii: "]")) else {
                let name = String(decoding: name, as: UTF8.self)
                throw StripeError(param: name, message: "Invalid parameter name: \(name)")
            }
            path.append(start + 1..<close)
            start = close + 1
            guard path.count <= maximumDepth else {
                throw StripeError(message: "Parameters can be nested up to \(maximumDepth) levels deep.")
            }
        }
    }

    /// Fields as the query of an address or the body of a form carries them.
    public static func encode(_ fields: [(name: String, value: String)]) -> String {
        fields.map { "\(escape($0.name))=\(escape($0.value))" }.joined(separator: "&")
    }

    /// Percent-encodes all but what RFC 3986 leaves unreserved.
    public static func escape(_ text: String) -> String {
        var escaped: [UInt8] = []
        let digits = Array("0123456789ABCDEF".utf8)
        for byte in text.utf8 {
            switch byte {
            case 48...57, 65...90, 97...122, 45, 46, 95, 126: escaped.append(byte)
            default: escaped += [37, digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: escaped, as: UTF8.self)
    }

    /// A segment of an address without its percent-encoding; nil where that is not UTF-8.
    public static func percentDecoded(_ segment: String) -> String? {
        try? unescape(Array(segment.utf8)[...])
    }

    private static func unescape(_ bytes: ArraySlice<UInt8>) throws(StripeError) -> String {
        // Nearly all of what is sent: letters that stand for themselves.
        let isPlain = bytes.allSatisfy { $0 > 0 && $0 < 0x80 && $0 != UInt8(ascii: "%") && $0 != UInt8(ascii: "+") }
        if isPlain { return String(decoding: bytes, as: UTF8.self) }
        var decoded: [UInt8] = []
        try unescape(bytes, into: &decoded)
        return String(decoding: decoded, as: UTF8.self)
    }

    /// - Parameter decoded: replaced by bytes that are UTF-8 without a zero.
    private static func unescape(_ bytes: ArraySlice<UInt8>, into decoded: inout [UInt8]) throws(StripeError) {
        decoded.removeAll(keepingCapacity: true)
        decoded.reserveCapacity(bytes.count)
        var index = bytes.startIndex
        var isPlain = true
        while index != bytes.endIndex {
            var byte = bytes[index]
            index = bytes.index(after: index)
            switch byte {
            case UInt8(ascii: "+"):
                byte = UInt8(ascii: " ")
            case UInt8(ascii: "%"):
                guard let high = hex(bytes, &index), let low = hex(bytes, &index) else {
                    throw StripeError(message: "Invalid percent-encoding in the request's parameters.")
                }
                byte = high << 4 | low
            default: break
            }
            isPlain = isPlain && byte > 0 && byte < 0x80
            decoded.append(byte)
        }
        guard isPlain || String(validating: decoded, as: UTF8.self) != nil && !decoded.contains(0) else {
            throw StripeError(message: "Invalid UTF-8 in the request's parameters.")
        }
    }

    private static func hex(_ bytes: ArraySlice<UInt8>, _ index: inout Int) -> UInt8? {
        guard index != bytes.endIndex else { return nil }
        defer { index = bytes.index(after: index) }
        switch bytes[index] {
        case let byte where byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9"): return byte - UInt8(ascii: "0")
        case let byte where byte >= UInt8(ascii: "a") && byte <= UInt8(ascii: "f"): return byte - UInt8(ascii: "a") + 10
        case let byte where byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "F"): return byte - UInt8(ascii: "A") + 10
        default: return nil
        }
    }
}
