/// A hundred thousand random forms through the decoder, the parameters and the reader of a new session: nothing ends
/// the process, every refusal is an error of status 400, and what was well formed comes out as it went in.

import Connections
import Testing
import Wire

private let names = [
    "account_holder", "type", "customer", "permissions", "prefetch", "filters", "country", "countries", "limits",
    "accounts", "manual_entry", "mode", "return_url", "account_subcategories", "expand", "0", "1", "9999", "", "é", "x",
]
private let values = [
    "customer", "account", "cus_1", "balances", "ownership", "transactions", "US", "usa", "checking", "automatic", "1",
    "0", "-1", "9223372036854775808", "https://shop.example/back", "javascript:alert(1)", "", "true", "%F0%9F%8F%A6",
    "%00", "%FF", "+", "%2", "data.account_holder",
]

/// A form that looks like one, of names and values of the API in every order, some of it broken.
private func structured(_ random: inout Seeded) -> [UInt8] {
    var text = ""
    for _ in 0..<Int.random(in: 1...5, using: &random) {
        if !text.isEmpty { text += "&" }
        text += names.randomElement(using: &random) ?? ""
        for _ in 0..<Int.random(in: 0...3, using: &random) {
            let name = names.randomElement(using: &random) ?? ""
            switch Int.random(in: 0..<16, using: &random) {
            case 0: text += "[\(name)"
            case 1: text += "\(name)]"
            case 2: text += "%5B\(name)%5D"
            default: text += "[\(name)]"
            }
        }
        text += "=\(values.randomElement(using: &random) ?? "")"
    }
    return Array(text.utf8)
}

private func garbage(_ random: inout Seeded) -> [UInt8] {
    let special = Array("&=[]%+0aA".utf8)
    return (0..<Int.random(in: 0...40, using: &random)).map { _ in
        Bool.random(using: &random)
            ? special[Int.random(in: 0..<special.count, using: &random)] : UInt8.random(in: 0...255, using: &random)
    }
}

private func escaped(_ text: String) -> String {
    let digits = Array("0123456789ABCDEF")
    return text.utf8.map { "%\(digits[Int($0 >> 4)])\(digits[Int($0 & 15)])" }.joined()
}

private func word(_ random: inout Seeded) -> String {
    let letters = Array("abz019 _-=&%+é漢🏦\"\\\u{1}\u{7F}")
    let length = Int.random(in: 1...6, using: &random)
    return String((0..<length).map { _ in letters[Int.random(in: 0..<letters.count, using: &random)] })
}

@Suite("Random forms")
struct FormFuzzTests {
    private static let version = APIVersion.standard

    /// What became of a form: nil where it was taken.
    private func refusal(_ bytes: [UInt8]) -> StripeError? {
        do {
            let form = try Form.decode(bytes)
            _ = try Expansion(form, of: Session.shape)
            let parameters = try Parameters(form, allowing: Session.names(Self.version))
            _ = try Session.Request(parameters, Self.version)
            return nil
        } catch {
            return error
        }
    }

    @Test("never do more than be refused", arguments: UInt64(0)..<10)
    func refused(seed: UInt64) {
        var random = Seeded(seed)
        var statuses: Set<Int> = []
        var messages: Set<String> = []
        for index in 0..<10_000 {
            let bytes = index % 4 == 0 ? garbage(&random) : structured(&random)
            guard let error = refusal(bytes) else { continue }
            statuses.insert(error.status)
            messages.insert(error.message)
        }
        #expect(statuses == [400])
        // The inputs really reach many places.
        #expect(messages.count > 200)
    }

    @Test("that ask for a session are taken, whatever their order")
    func taken() {
        var random = Seeded(77)
        let parts = [
            "account_holder[type]=customer", "account_holder[customer]=cus_1", "permissions[0]=balances",
            "permissions[1]=ownership", "prefetch[]=balances", "filters[countries][]=US", "limits[accounts]=3",
        ]
        for _ in 0..<200 {
            let text = parts.shuffled(using: &random).joined(separator: "&")
            #expect(refusal(Array(text.utf8)) == nil, "\(text)")
        }
    }

    @Test("come out as they went in where they are well formed", arguments: UInt64(100)..<104)
    func roundTrip(seed: UInt64) throws {
        var random = Seeded(seed)
        for _ in 0..<500 {
            var pairs: [String: [String: String]] = [:]
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                pairs[word(&random), default: [:]][word(&random)] = word(&random)
            }
            let text = pairs.flatMap { outer, members in
                members.map { "\(escaped(outer))[\(escaped($0.key))]=\(escaped($0.value))" }
            }.joined(separator: "&")
            let form = try Form.decode(Array(text.utf8))
            #expect(form.keys.count == pairs.count, "\(text)")
            for (outer, members) in pairs {
                guard case .map(let map) = form[outer] else {
                    Issue.record("\(outer) is missing in \(text)")
                    continue
                }
                #expect(map.keys.count == members.count, "\(text)")
                for (key, value) in members { #expect(map[key] == .value(value), "\(text)") }
            }
        }
    }
}
