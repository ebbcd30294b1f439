/// Metadata: the merchant's own keys and values on an object. An update merges; an empty value deletes its key, an
/// empty `metadata` all of them.

internal import FoundationEssentials
public import Wire

public struct Metadata: Sendable, Equatable {
    private static let maximumKeys = 50
    private static let maximumKeyLength = 40
    private static let maximumValueLength = 500

    private(set) var values: [String: String] = [:]

    /// What a request asks of an object's metadata.
    public enum Change: Sendable {
        case keep
        case clear
        case merge([(key: String, value: String)])

        public init(_ parameters: Parameters) throws(StripeError) {
            guard parameters.has("metadata") else { self = .keep; return }
            if parameters.isEmptyString("metadata") { self = .clear; return }
            let pairs = try parameters.pairs("metadata") ?? []
            for (key, value) in pairs {
                let param = "metadata[\(key)]"
                guard key.unicodeScalars.count <= maximumKeyLength else {
                    throw StripeError(
                        param: param,
                        message: "Metadata keys can have up to \(maximumKeyLength) characters, but you passed in a key "
                            + "that is \(key.unicodeScalars.count) characters. Invalid key: \(key)"
                    )
                }
                guard value.unicodeScalars.count <= maximumValueLength else {
                    throw StripeError(
                        param: param,
                        message: "Metadata values can have up to \(maximumValueLength) characters, but you passed in a "
                            + "value that is \(value.unicodeScalars.count) characters. Invalid value: \(value)"
                    )
                }
            }
            self = .merge(pairs)
        }
    }

    mutating func apply(_ change: Change) throws(StripeError) {
        switch change {
        case .keep: return
        case .clear: values = [:]
        case .merge(let pairs):
            for (key, value) in pairs { values[key] = value.isEmpty ? nil : value }
            guard values.count <= Self.maximumKeys else {
                throw StripeError(
                    param: "metadata",
                    message: "Metadata can have up to \(Self.maximumKeys) keys, but you've set \(values.count)."
                )
            }
        }
    }

    init() {}

    init(text: String) throws {
        guard text != "{}" else { return }
        values = try JSONDecoder().decode([String: String].self, from: Data(text.utf8))
    }

    func text() throws -> String {
        String(decoding: try JSONEncoder().encode(values), as: UTF8.self)
    }

    func write(_ key: String, to json: inout JSONWriter) {
        json.object(key) { json in
            for (key, value) in values.sorted(by: { $0.key < $1.key }) { json.field(key, value) }
        }
    }
}
