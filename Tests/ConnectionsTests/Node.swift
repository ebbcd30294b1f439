/// JSON that was written, read back: what a test asks of an object.

import Foundation

enum Node: Decodable, Sendable, Equatable {
    case null
    case bool(Bool)
    case int(Int64)
    case text(String)
    case list([Node])
    case map([String: Node])

    init(from decoder: any Decoder) throws {
        let value = try decoder.singleValueContainer()
        if value.decodeNil() {
            self = .null
        } else if let bool = try? value.decode(Bool.self) {
            self = .bool(bool)
        } else if let int = try? value.decode(Int64.self) {
            self = .int(int)
        } else if let text = try? value.decode(String.self) {
            self = .text(text)
        } else if let list = try? value.decode([Node].self) {
            self = .list(list)
        } else {
            self = .map(try value.decode([String: Node].self))
        }
    }

    init(_ json: [UInt8]) throws {
        self = try JSONDecoder().decode(Node.self, from: Data(json))
    }

    /// The member of that name: nil where there is none, `.null` where it is null.
    subscript(name: String) -> Node? {
        if case .map(let members) = self { members[name] } else { nil }
    }

    var keys: Set<String>? {
        if case .map(let members) = self { Set(members.keys) } else { nil }
    }

    var text: String? {
        if case .text(let text) = self { text } else { nil }
    }

    var elements: [Node]? {
        if case .list(let elements) = self { elements } else { nil }
    }

    /// The ids of a list object's elements.
    var ids: [String]? {
        self["data"]?.elements?.compactMap { $0["id"]?.text }
    }
}

extension Node: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral,
    ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
    init(stringLiteral value: String) { self = .text(value) }
    init(integerLiteral value: Int64) { self = .int(value) }
    init(booleanLiteral value: Bool) { self = .bool(value) }
    init(arrayLiteral elements: Node...) { self = .list(elements) }
    init(dictionaryLiteral elements: (String, Node)...) {
        self = .map(Dictionary(elements, uniquingKeysWith: { first, _ in first }))
    }
}
