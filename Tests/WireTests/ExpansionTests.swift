/// `expand[]` against the shapes of objects: what may be expanded, and the API's own words for what may not.

import Testing
import Wire

private let person: Expansion.Shape = .object([
    "id": .leaf, "home": .reference(resource: "thing") { city },
])
private let city: Expansion.Shape = .object([
    "id": .leaf, "mayor": .reference(resource: "thing") { person }, "map": .object(["id": .leaf]),
])
private let list: Expansion.Shape = Expansion.Shape.object(["object": .leaf, "data": city, "has_more": .leaf])

private func expand(_ paths: String..., of shape: Expansion.Shape = city) throws -> Expansion {
    let text = paths.map { "expand[]=\($0)" }.joined(separator: "&")
    return try Expansion(Form.decode(Array(text.utf8)), of: shape)
}

private func refused(_ message: String, code: String? = nil) -> StripeError {
    StripeError(code: code, param: "expand", message: message)
}

@Suite("Expansion")
struct ExpansionTests {
    @Test("takes a reference, and what lies behind it")
    func references() throws {
        let expansion = try expand("mayor.home", "mayor")
        #expect(expansion["mayor"]?["home"]?.isEmpty == true)
        #expect(expansion["id"] == nil)
        #expect(try !expand("mayor").isEmpty)
    }

    @Test("is nothing where nothing is asked")
    func nothing() throws {
        #expect(try Expansion(Form.decode(Array("a=1".utf8)), of: city) == .none)
        #expect(try Expansion(Form.decode(Array("expand=".utf8)), of: city) == .none)
        #expect(Expansion.none.isEmpty)
    }

    @Test("goes through a list by data")
    func data() throws {
        #expect(try expand("data.mayor", of: list)["data"]?["mayor"] != nil)
        #expect(throws: refused("This property cannot be expanded because it doesn't exist: mayor.")) {
            try expand("mayor", of: list)
        }
    }

    @Test("goes four levels deep and no deeper")
    func depth() throws {
        #expect(try expand("mayor.home.mayor.home")["mayor"]?["home"]?["mayor"]?["home"] != nil)
        #expect(
            throws: refused(
                "You cannot expand more than 4 levels of a property. Property: mayor.home.mayor.home.mayor",
                code: "property_expansion_max_depth"
            )
        ) { try expand("mayor.home.mayor.home.mayor") }
    }

    @Test(
        "refuses what does not exist",
        arguments: ["none", "mayor.none", "id.none", "", "mayor.", ".mayor", "map.id.x"]
    )
    func nonExistent(path: String) {
        #expect(throws: refused("This property cannot be expanded because it doesn't exist: \(path).")) {
            try expand(path)
        }
    }

    @Test("refuses what is no reference", arguments: ["id", "map", "map.id", "mayor.id"])
    func nonExpandable(path: String) {
        #expect(throws: refused("This property cannot be expanded (\(path)).")) { try expand(path) }
    }

    @Test("refuses to count a list")
    func totalCount() {
        #expect(throws: refused("This property cannot be included (total_count)")) {
            try expand("total_count", of: list)
        }
    }

    @Test("refuses what is no array of texts")
    func notAnArray() throws {
        #expect(throws: StripeError.badArray("expand")) {
            try Expansion(Form.decode(Array("expand=mayor".utf8)), of: city)
        }
        #expect(throws: StripeError.badArray("expand")) {
            try Expansion(Form.decode(Array("expand[a]=mayor".utf8)), of: city)
        }
        #expect(throws: StripeError.badString("expand[0]")) {
            try Expansion(Form.decode(Array("expand[0][a]=mayor".utf8)), of: city)
        }
    }

    @Test("has limits")
    func limits() throws {
        let hundred = Array(repeating: "expand[]=mayor", count: 100).joined(separator: "&")
        #expect(try !Expansion(Form.decode(Array(hundred.utf8)), of: city).isEmpty)
        #expect(throws: StripeError.tooMany("expand", maximum: 100)) {
            try Expansion(Form.decode(Array("\(hundred)&expand[]=mayor".utf8)), of: city)
        }
        let long = String(repeating: "x", count: 501)
        #expect(throws: StripeError.tooLong("expand[0]", long, maximum: 500)) { try expand(long) }
    }
}
