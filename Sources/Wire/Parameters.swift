/// Reads typed parameters out of a form, reporting the API's own error for the exact parameter.
///
/// A request's parameters are declared first, as a tree of ``Names``; a name outside of it is reported before anything
/// else is looked at. Then each one is read in the order of its declaration and the first problem is thrown.
public struct Parameters: Sendable {
    private let map: FormMap
    private let prefix: String

    /// The names that a request may carry.
    public indirect enum Names: Sendable, ExpressibleByDictionaryLiteral {
        /// A scalar, or an array of scalars: whatever is there is the reader's to judge.
        case leaf
        case group([String: Names])
        /// Any keys: `metadata`.
        case any

        public init(dictionaryLiteral elements: (String, Names)...) {
            self = .group(Dictionary(elements, uniquingKeysWith: { first, _ in first }))
        }
    }

    /// What an update does to an attribute.
    public enum Change<Value: Sendable>: Sendable {
        case keep
        case clear
        case set(Value)
    }

    /// - Throws: `parameter_unknown` for the first name that is not declared; `expand` is always allowed.
    public init(_ form: FormMap, allowing names: [String: Names]) throws(StripeError) {
        map = form
        prefix = ""
        var unknown: [String] = []
        for member in form.members where member.key != "expand" {
            Self.check(member.node, member.key, names[member.key], &unknown)
        }
        if let first = unknown.first { throw .unknown(first, others: Array(unknown.dropFirst().prefix(9))) }
    }

    /// Reads a form of a client that may say more than is understood.
    public init(lenient form: FormMap) {
        self.init(map: form, prefix: "")
    }

    private init(map: FormMap, prefix: String) {
        self.map = map
        self.prefix = prefix
    }

    /// - Parameter path: put together for a name that is unknown alone.
    private static func check(
        _ node: FormNode,
        _ path: @autoclosure () -> String,
        _ names: Names?,
        _ unknown: inout [String]
    ) {
        guard let names else { return unknown.append(path()) }
        guard case .group(let members) = names, case .map(let map) = node, !map.isList else { return }
        for member in map.members {
            check(member.node, "\(path())[\(member.key)]", members[member.key], &unknown)
        }
    }

    /// The full name of a parameter, as errors spell it: `account_holder[type]`.
    public func path(_ name: String) -> String {
        prefix.isEmpty ? name : "\(prefix)[\(name)]"
    }

    public func has(_ name: String) -> Bool {
        map[name] != nil
    }

    public func isEmptyString(_ name: String) -> Bool {
        map[name] == .value("")
    }

    // MARK: Scalars

    /// - Throws: `parameter_invalid_empty` for an empty string: it cannot be unset here.
    public func string(_ name: String, maximum: Int = 5000) throws(StripeError) -> String? {
        guard let node = map[name] else { return nil }
        guard case .value(let value) = node else { throw .badString(path(name)) }
        guard !value.isEmpty else { throw .empty(path(name)) }
        guard value.isWithin(maximum) else { throw .tooLong(path(name), value, maximum: maximum) }
        return value
    }

    public func requiredString(_ name: String, maximum: Int = 5000) throws(StripeError) -> String {
        guard let value = try string(name, maximum: maximum) else { throw .missing(path(name)) }
        return value
    }

    /// A string that an empty one clears.
    public func change(_ name: String, maximum: Int = 5000) throws(StripeError) -> Change<String> {
        guard map[name] != nil else { return .keep }
        if isEmptyString(name) { return .clear }
        return .set(try requiredString(name, maximum: maximum))
    }

    public func choice(_ name: String, of allowed: [String]) throws(StripeError) -> String? {
        guard let value = try string(name) else { return nil }
        guard allowed.contains(value) else { throw .badEnum(path(name), allowed: allowed) }
        return value
    }

    public func requiredChoice(_ name: String, of allowed: [String]) throws(StripeError) -> String {
        guard let value = try choice(name, of: allowed) else { throw .missing(path(name)) }
        return value
    }

    public func integer(_ name: String, in range: ClosedRange<Int64>) throws(StripeError) -> Int64? {
        guard let value = try string(name) else { return nil }
        return try Self.integer(value, path(name), in: range)
    }

    private static func integer(
        _ value: String,
        _ path: String,
        in range: ClosedRange<Int64>
    ) throws(StripeError) -> Int64 {
        guard let integer = Int64(value), value.first != "+" else { throw .badInteger(path, value) }
        guard integer >= range.lowerBound else { throw .tooSmall(path, minimum: range.lowerBound) }
        guard integer <= range.upperBound else { throw .tooLarge(path, maximum: range.upperBound) }
        return integer
    }

    public func boolean(_ name: String) throws(StripeError) -> Bool? {
        guard let value = try string(name) else { return nil }
        switch value {
        case "true": return true
        case "false": return false
        default: throw .badBoolean(path(name), value)
        }
    }

    /// An address that a person is sent to: `https`, `http`, or an app's own scheme; never one that runs or reads
    /// something in the browser.
    public func url(_ name: String) throws(StripeError) -> String? {
        guard let value = try string(name) else { return nil }
        guard value.utf8.count <= 2048 else {
            throw StripeError(
                code: "url_invalid",
                param: path(name),
                message: "Invalid URL: URL must be 2048 characters or less."
            )
        }
        guard value.utf8.allSatisfy({ $0 < 0x80 }) else {
            throw StripeError(
                code: "url_invalid",
                param: path(name),
                message: "Invalid URL: Non-ASCII characters in URLs must be percent-encoded in order for the URL to "
                    + "be valid."
            )
        }
        guard URLScheme.isSafeDestination(value) else { throw .badURL(path(name)) }
        return value
    }

    // MARK: Arrays

    /// Scalars of an array, each named by its index; nil where the parameter is absent.
    public func strings(_ name: String, maximumCount: Int = 100) throws(StripeError) -> [(path: String, value: String)]?
    {
        guard let values = try scalars(name, maximumCount: maximumCount) else { return nil }
        return values.enumerated().map { ("\(path(name))[\($0)]", $1) }
    }

    /// An array of enum values, repeated ones taken once; nil where the parameter is absent.
    public func choices(_ name: String, of allowed: [String]) throws(StripeError) -> [String]? {
        guard let values = try scalars(name) else { return nil }
        var chosen: [String] = []
        chosen.reserveCapacity(values.count)
        for (index, value) in values.enumerated() {
            guard allowed.contains(value) else { throw .badEnum("\(path(name))[\(index)]", allowed: allowed) }
            if !chosen.contains(value) { chosen.append(value) }
        }
        return chosen
    }

    private func scalars(_ name: String, maximumCount: Int = 100) throws(StripeError) -> [String]? {
        guard let node = map[name] else { return nil }
        guard case .map(let map) = node, map.isList else {
            if node == .value("") { return [] }
            throw .badArray(path(name))
        }
        let elements = map.elements
        guard elements.count <= maximumCount else { throw .tooMany(path(name), maximum: maximumCount) }
        var values: [String] = []
        values.reserveCapacity(elements.count)
        for (index, element) in elements.enumerated() {
            guard case .value(let value) = element else { throw .badString("\(path(name))[\(index)]") }
            guard !value.isEmpty else { throw .empty("\(path(name))[\(index)]") }
            guard value.isWithin(5000) else { throw .tooLong("\(path(name))[\(index)]", value, maximum: 5000) }
            values.append(value)
        }
        return values
    }

    // MARK: Groups

    /// The parameters under a name, or nil where it is absent.
    public func group(_ name: String) throws(StripeError) -> Parameters? {
        guard let node = map[name] else { return nil }
        guard case .map(let members) = node, !members.isList else { throw .badObject(path(name)) }
        return Parameters(map: members, prefix: path(name))
    }

    /// The maps of an array, each named by its index; nil where the parameter is absent.
    public func groups(_ name: String, maximumCount: Int = 100) throws(StripeError) -> [Parameters]? {
        guard let node = map[name] else { return nil }
        guard case .map(let map) = node, map.isList else {
            if node == .value("") { return [] }
            throw .badArray(path(name))
        }
        let elements = map.elements
        guard elements.count <= maximumCount else { throw .tooMany(path(name), maximum: maximumCount) }
        var groups: [Parameters] = []
        for (index, element) in elements.enumerated() {
            let path = "\(path(name))[\(index)]"
            guard case .map(let members) = element, !members.isList else { throw .badObject(path) }
            groups.append(Parameters(map: members, prefix: path))
        }
        return groups
    }

    /// The names that were sent, in their order.
    public var names: [String] { map.keys }

    /// Keys and values under a name, in the order sent.
    public func pairs(_ name: String) throws(StripeError) -> [(key: String, value: String)]? {
        guard let node = map[name] else { return nil }
        guard case .map(let members) = node else { throw .badObject(path(name)) }
        var pairs: [(key: String, value: String)] = []
        for member in members.members {
            guard case .value(let value) = member.node else { throw .badString("\(path(name))[\(member.key)]") }
            pairs.append((member.key, value))
        }
        return pairs
    }

    /// An exact moment or a range of moments, in seconds since the Unix epoch.
    public func moments(_ name: String) throws(StripeError) -> MomentRange? {
        let seconds: ClosedRange<Int64> = 0...253_402_300_799
        switch map[name] {
        case nil:
            return nil
        case .value(let value):
            guard !value.isEmpty else { throw .empty(path(name)) }
            let moment = try Self.integer(value, path(name), in: seconds)
            return MomentRange(from: moment, through: moment, isMoment: true)
        case .map(let members):
            let group = Parameters(map: members, prefix: path(name))
            var range = MomentRange(from: 0, through: Int64.max, isMoment: false)
            for key in members.keys {
                guard let value = try group.integer(key, in: seconds) else { continue }
                switch key {
                case "gt": range.from = max(range.from, value + 1)
                case "gte": range.from = max(range.from, value)
                case "lt": range.through = min(range.through, value - 1)
                case "lte": range.through = min(range.through, value)
                default: throw .unknown(group.path(key))
                }
            }
            return range
        }
    }
}

/// Moments from one second through another, both included.
public struct MomentRange: Sendable, Equatable {
    public var from: Int64
    public var through: Int64
    /// Whether it was asked for as one moment, and not by its bounds.
    public let isMoment: Bool
}

/// Which schemes a person may be sent to.
public enum URLScheme {
    private static let refused: Set<String> = [
        "about", "blob", "data", "file", "filesystem", "javascript", "vbscript", "view-source", "ws", "wss",
    ]

    /// Whether `url` is `scheme:…` with a scheme that leads to a site or an app. For `http` and `https` a host must
    /// follow, without user information.
    public static func isSafeDestination(_ url: String) -> Bool {
        guard url.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "\\") }) else { return false }
        guard let colon = url.firstIndex(of: ":") else { return false }
        let scheme = url[..<colon].lowercased()
        let isScheme =
            scheme.first?.isLetter == true
            && scheme.allSatisfy { $0.isLetter || $0.isNumber || $0 == "+" || $0 == "-" || $0 == "." }
        guard isScheme, !refused.contains(scheme) else { return false }
        let rest = url[url.index(after: colon)...]
        guard scheme == "http" || scheme == "https" else { return rest.count > 2 }
        guard rest.hasPrefix("//") else { return false }
        let authority = rest.dropFirst(2).prefix { $0 != "/" && $0 != "?" && $0 != "#" }
        return !authority.isEmpty && authority.first != ":" && !authority.contains("@")
    }
}

extension String {
    /// Whether it has at most so many characters, as the API counts them.
    fileprivate func isWithin(_ maximum: Int) -> Bool {
        utf8.count <= maximum || unicodeScalars.count <= maximum
    }
}
