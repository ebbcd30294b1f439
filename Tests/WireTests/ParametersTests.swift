/// Every error of a parameter with its exact words, code and name, and what is taken instead.

import Testing
import Wire

private let names: [String: Parameters.Names] = [
    "a": .leaf, "b": .leaf, "created": ["gt": .leaf, "gte": .leaf, "lt": .leaf, "lte": .leaf],
    "group": ["inner": .leaf, "deep": ["leaf": .leaf]], "metadata": .any,
]

private func parameters(_ text: String) throws -> Parameters {
    try Parameters(Form.decode(Array(text.utf8)), allowing: names)
}

private func group(_ text: String) throws -> Parameters {
    try #require(try parameters(text).group("group"))
}

private func refused(_ param: String, _ message: String, code: String? = nil) -> StripeError {
    StripeError(status: 400, type: .invalidRequest, code: code, param: param, message: message)
}

@Suite("Parameters: names")
struct ParameterNamesTests {
    @Test(
        "that are unknown are reported before anything else, in the order sent",
        arguments: [
            ("x=1", "x", "Received unknown parameter: x"), ("a=&b[0]=&x=1", "x", "Received unknown parameter: x"),
            ("x=1&a=1&y=2", "x", "Received unknown parameters: x, y"),
            ("group[x]=1", "group[x]", "Received unknown parameter: group[x]"),
            ("group[deep][x]=1&z=", "group[deep][x]", "Received unknown parameters: group[deep][x], z"),
            ("created[eq]=1", "created[eq]", "Received unknown parameter: created[eq]"),
        ]
    )
    func unknown(text: String, param: String, message: String) {
        #expect(throws: refused(param, message, code: "parameter_unknown")) { try parameters(text) }
    }

    @Test("that are unknown are counted out up to ten")
    func manyUnknown() {
        let text = (0..<50).map { "x\($0)=1" }.joined(separator: "&")
        let list = (0..<10).map { "x\($0)" }.joined(separator: ", ")
        #expect(throws: refused("x0", "Received unknown parameters: \(list)", code: "parameter_unknown")) {
            try parameters(text)
        }
    }

    @Test("of expand and of metadata are always allowed")
    func allowed() throws {
        let taken = try parameters("expand[]=a&metadata[any]=1&metadata[0]=2")
        let pairs = try #require(try taken.pairs("metadata"))
        #expect(pairs.map(\.key) == ["any", "0"])
        #expect(pairs.map(\.value) == ["1", "2"])
    }

    @Test("are spelled in full")
    func paths() throws {
        #expect(try group("group[inner]=1").path("inner") == "group[inner]")
        #expect(try group("group[deep][leaf]=1").group("deep")?.path("leaf") == "group[deep][leaf]")
        #expect(try parameters("a=1").has("a"))
        #expect(try !parameters("a=1").has("b"))
    }
}

@Suite("Parameters: values")
struct ParameterValuesTests {
    private static func empty(_ param: String) -> StripeError {
        refused(
            param,
            "You passed an empty string for '\(param)'. We assume empty values are an attempt to unset a parameter; "
                + "however '\(param)' cannot be unset. You should remove '\(param)' from your request or supply a "
                + "non-empty value.",
            code: "parameter_invalid_empty"
        )
    }

    @Test("that are missing")
    func missing() throws {
        let none = try parameters("")
        #expect(throws: refused("a", "Missing required param: a.", code: "parameter_missing")) {
            try none.requiredString("a")
        }
        let other = try group("group[deep][leaf]=1")
        #expect(throws: refused("group[inner]", "Missing required param: group[inner].", code: "parameter_missing")) {
            try other.requiredChoice("inner", of: ["x"])
        }
        #expect(try none.string("a") == nil && none.choice("a", of: ["x"]) == nil && none.boolean("a") == nil)
        #expect(try none.integer("a", in: 0...1) == nil && none.url("a") == nil && none.moments("created") == nil)
        #expect(try none.strings("a") == nil && none.choices("a", of: []) == nil && none.group("group") == nil)
        #expect(try none.pairs("metadata") == nil)
    }

    @Test("that are empty where they cannot be unset")
    func emptyValues() throws {
        let given = try parameters("a=&b[]=&group[inner]=&created=")
        #expect(throws: Self.empty("a")) { try given.string("a") }
        #expect(throws: Self.empty("a")) { try given.choice("a", of: ["x"]) }
        #expect(throws: Self.empty("a")) { try given.boolean("a") }
        #expect(throws: Self.empty("a")) { try given.integer("a", in: 0...1) }
        #expect(throws: Self.empty("a")) { try given.url("a") }
        #expect(throws: Self.empty("b[0]")) { try given.strings("b") }
        #expect(throws: Self.empty("group[inner]")) { try given.group("group")?.string("inner") }
        #expect(throws: Self.empty("created")) { try given.moments("created") }
        #expect(given.isEmptyString("a") && !given.isEmptyString("b") && !given.isEmptyString("metadata"))
    }

    @Test("that change an attribute, clear it, or leave it")
    func changes() throws {
        if case .set("x") = try parameters("a=x").change("a") {} else { Issue.record("not set") }
        if case .clear = try parameters("a=").change("a") {} else { Issue.record("not cleared") }
        if case .keep = try parameters("b=x").change("a") {} else { Issue.record("not kept") }
    }

    @Test(
        "that are none of an enum",
        arguments: [
            (["x"], "x"), (["x", "y"], "x or y"), (["x", "y", "z"], "x, y, or z"),
            (
                ["balances", "ownership", "payment_method", "transactions"],
                "balances, ownership, payment_method, or transactions"
            ),
        ]
    )
    func choices(allowed: [String], list: String) throws {
        #expect(throws: refused("a", "Invalid a: must be one of \(list)")) {
            try parameters("a=X").choice("a", of: allowed)
        }
        #expect(throws: refused("b[1]", "Invalid b[1]: must be one of \(list)")) {
            try parameters("b[]=\(allowed[0])&b[]=w").choices("b", of: allowed)
        }
        #expect(try parameters("a=\(allowed[0])").requiredChoice("a", of: allowed) == allowed[0])
        #expect(try parameters("b[]=\(allowed[0])&b[]=\(allowed[0])").choices("b", of: allowed) == [allowed[0]])
    }

    @Test(
        "that are no integers",
        arguments: ["abc", "1.0", "+1", "1e3", " 1", "0x10", "9223372036854775808", "--1", "１"]
    )
    func integers(value: String) throws {
        let form = "a=" + value.replacing("+", with: "%2B")
        #expect(throws: refused("a", "Invalid integer: \(value)", code: "parameter_invalid_integer")) {
            try parameters(form).integer("a", in: 0...Int64.max)
        }
    }

    @Test("that are integers out of range")
    func range() throws {
        let code = "parameter_invalid_integer"
        #expect(throws: refused("a", "This value must be greater than or equal to 1.", code: code)) {
            try parameters("a=0").integer("a", in: 1...100)
        }
        #expect(throws: refused("a", "This value must be less than or equal to 100.", code: code)) {
            try parameters("a=101").integer("a", in: 1...100)
        }
        #expect(try parameters("a=1").integer("a", in: 1...100) == 1)
        #expect(try parameters("a=100").integer("a", in: 1...100) == 100)
        #expect(try parameters("a=-5").integer("a", in: -5...5) == -5)
    }

    @Test("that are no booleans", arguments: ["x", "1", "True", "yes"])
    func booleans(value: String) throws {
        #expect(throws: refused("a", "Invalid boolean: \(value)")) { try parameters("a=\(value)").boolean("a") }
        #expect(try parameters("a=true").boolean("a") == true)
        #expect(try parameters("a=false").boolean("a") == false)
    }

    @Test("that are of another kind than asked for")
    func kinds() throws {
        #expect(throws: refused("group", "Invalid object")) { try parameters("group=1").group("group") }
        #expect(throws: refused("group", "Invalid object")) { try parameters("group[0]=1").group("group") }
        #expect(throws: refused("metadata", "Invalid object")) { try parameters("metadata=1").pairs("metadata") }
        #expect(throws: refused("a", "Invalid array")) { try parameters("a=1").strings("a") }
        #expect(throws: refused("a", "Invalid array")) { try parameters("a[x]=1").strings("a") }
        #expect(throws: refused("a", "Invalid string")) { try parameters("a[]=1").string("a") }
        #expect(throws: refused("a", "Invalid string")) { try parameters("a[x]=1").change("a") }
        #expect(throws: refused("a[0]", "Invalid string")) { try parameters("a[0][x]=1").strings("a") }
        #expect(throws: refused("metadata[a]", "Invalid string")) {
            try parameters("metadata[a][b]=1").pairs("metadata")
        }
        #expect(try parameters("a=").strings("a")?.isEmpty == true)
    }

    @Test("that are too long")
    func tooLong() throws {
        let long = "abcd" + String(repeating: "-", count: 4993) + "wxyz"
        let message = "Invalid string: abcd...wxyz; must be at most 5000 characters"
        #expect(throws: refused("a", message)) { try parameters("a=\(long)").string("a") }
        #expect(throws: refused("a[0]", message)) { try parameters("a[]=\(long)").strings("a") }
        #expect(try parameters("a=\(long.dropFirst())").string("a")?.count == 5000)
        #expect(throws: refused("a", "Invalid string: éé...éé; must be at most 1 characters")) {
            try parameters("a=éé").string("a", maximum: 1)
        }
        #expect(try parameters("a=éé").string("a", maximum: 2) == "éé")
    }

    @Test("that are too many")
    func tooMany() throws {
        let three = try parameters("a[]=x&a[]=y&a[]=z")
        #expect(throws: refused("a", "Array a exceeded maximum 2 allowed elements.")) {
            try three.strings("a", maximumCount: 2)
        }
        let values = try #require(try three.strings("a", maximumCount: 3))
        #expect(values.map(\.path) == ["a[0]", "a[1]", "a[2]"])
        #expect(values.map(\.value) == ["x", "y", "z"])
    }

    @Test("that are no addresses a person may be sent to")
    func urls() throws {
        let code = "url_invalid"
        for value in ["shop.example", "javascript:alert(1)", "https://user@shop.example"] {
            #expect(throws: refused("a", "Not a valid URL", code: code)) { try parameters("a=\(value)").url("a") }
        }
        let longest = "https://shop.example/" + String(repeating: "x", count: 2027)
        #expect(try parameters("a=\(longest)").url("a") == longest)
        #expect(throws: refused("a", "Invalid URL: URL must be 2048 characters or less.", code: code)) {
            try parameters("a=\(longest)x").url("a")
        }
        let message =
            "Invalid URL: Non-ASCII characters in URLs must be percent-encoded in order for the URL to be valid."
        #expect(throws: refused("a", message, code: code)) { try parameters("a=https://shop.example/é").url("a") }
    }

    @Test(
        "that are moments or ranges of them",
        arguments: [
            ("created=5", 5, 5), ("created[gt]=5", 6, Int64.max), ("created[gte]=5", 5, Int64.max),
            ("created[lt]=5", 0, 4), ("created[lte]=5", 0, 5), ("created[gt]=5&created[lt]=9", 6, 8),
            ("created[gte]=5&created[gt]=5", 6, Int64.max), ("created[lte]=253402300799", 0, 253_402_300_799),
        ]
    )
    func moments(text: String, from: Int64, through: Int64) throws {
        let range = try #require(try parameters(text).moments("created"))
        #expect(range.from == from)
        #expect(range.through == through)
    }

    @Test("that are no moments")
    func badMoments() throws {
        let code = "parameter_invalid_integer"
        #expect(throws: refused("created", "Invalid integer: x", code: code)) {
            try parameters("created=x").moments("created")
        }
        #expect(throws: refused("created[gt]", "Invalid integer: x", code: code)) {
            try parameters("created[gt]=x").moments("created")
        }
        #expect(throws: refused("created[lt]", "This value must be greater than or equal to 0.", code: code)) {
            try parameters("created[lt]=-1").moments("created")
        }
        #expect(throws: Self.empty("created[lte]")) { try parameters("created[lte]=").moments("created") }
    }
}

@Suite("An object that is not there")
struct NoSuchObjectTests {
    @Test("is 404 in a path and 400 in a parameter, with the mode it is in where it is in the other")
    func noSuch() {
        let path = StripeError.noSuch("customer", "cus_x", at: .path(param: "id"), livemode: false)
        #expect(
            path
                == StripeError(
                    status: 404,
                    code: "resource_missing",
                    param: "id",
                    message: "No such customer: 'cus_x'"
                )
        )
        let other = StripeError.noSuch("customer", "cus_x", at: .parameter("c"), livemode: false, otherMode: true)
        #expect(other.status == 400)
        #expect(
            other.message == "No such customer: 'cus_x'; a similar object exists in live mode, but a test mode key was "
                + "used to make this request."
        )
        let live = StripeError.noSuch("customer", "cus_x", at: .parameter("c"), livemode: true, otherMode: true)
        #expect(live.message.contains("exists in test mode, but a live mode key was used"))
        let spaced = StripeError.noSuch("customer", "cus_x ", at: .path(param: "id"), livemode: false)
        #expect(
            spaced.message
                == "No such customer: 'cus_x '. Make sure you use the exact id without extra whitespace or quotes"
        )
    }

    @Test("and no route is told by method and path")
    func unknownRoute() {
        let error = StripeError.unknownRoute(method: "GET", path: "/v1/foo")
        #expect(error.status == 404 && error.code == nil && error.param == nil)
        #expect(
            error.message == "Unrecognized request URL (GET: /v1/foo). If you are trying to list objects, remove the "
                + "trailing slash. If you are trying to retrieve an object, make sure you passed a valid (non-empty) "
                + "identifier in your code. Please see https://stripe.com/docs or we can help at "
                + "https://support.stripe.com/."
        )
    }
}
