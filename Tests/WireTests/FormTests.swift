/// What the form decoder takes, what it refuses, and where its limits are.

import Testing
import Wire

private func decode(_ text: String) throws(StripeError) -> FormMap {
    try Form.decode(Array(text.utf8))
}

extension FormMap {
    /// The scalar at the end of a path of names.
    fileprivate func value(_ path: String...) -> String? {
        var node = FormNode.map(self)
        for name in path {
            guard case .map(let map) = node, let next = map[name] else { return nil }
            node = next
        }
        if case .value(let value) = node { return value }
        return nil
    }

    fileprivate func map(_ name: String) -> FormMap? {
        if case .map(let map) = self[name] { return map }
        return nil
    }

    fileprivate func scalars(_ name: String) -> [String]? {
        map(name)?.elements.compactMap { if case .value(let value) = $0 { value } else { nil } }
    }
}

@Suite("A form is decoded")
struct FormTests {
    @Test("into nested maps that keep the order of their names")
    func nested() throws {
        let form = try decode("b[c][d]=1&a=2&b[e]=3")
        #expect(form.keys == ["b", "a"])
        #expect(form.map("b")?.keys == ["c", "e"])
        #expect(form.value("b", "c", "d") == "1")
        #expect(form.value("a") == "2")
        #expect(form.value("b", "e") == "3")
    }

    @Test(
        "into arrays, however their indices are written",
        arguments: [
            ("p[]=x&p[]=y&p[]=z", ["x", "y", "z"]), ("p[0]=x&p[1]=y&p[2]=z", ["x", "y", "z"]),
            ("p[2]=z&p[0]=x&p[1]=y", ["x", "y", "z"]), ("p[10]=y&p[9]=x", ["x", "y"]),
            ("p[3]=x&p[]=y", ["x", "y"]), ("p%5B%5D=x&p%5b%5d=y", ["x", "y"]), ("p[0]=x&p[0]=y", ["y"]),
        ]
    )
    func arrays(text: String, elements: [String]) throws {
        let form = try decode(text)
        #expect(form.map("p")?.isList == true)
        #expect(form.scalars("p") == elements)
    }

    @Test("into arrays of maps")
    func arraysOfMaps() throws {
        let form = try decode("a[1][n]=three&a[0][n]=one&a[0][m]=two")
        let elements = try #require(form.map("a")).elements
        #expect(elements == [.map(try decode("n=one&m=two")), .map(try decode("n=three"))])
    }

    @Test(
        "with its escapes undone",
        arguments: [
            ("a=1+2", "1 2"), ("a=1%2B2", "1+2"), ("a=%C3%A9%e2%82%ac", "é€"), ("a=%F0%9F%8F%A6", "🏦"),
            ("a=b=c", "b=c"),
            ("a=", ""), ("a", ""), ("a=%3D%26%25", "=&%"), ("a=1&a=2&a=3", "3"), ("&&a=1&&", "1"), ("%61=1", "1"),
            ("=9&a=1", "1"),
        ]
    )
    func escapes(text: String, value: String) throws {
        let form = try decode(text)
        #expect(form.keys == ["a"])
        #expect(form.value("a") == value)
    }

    @Test("with brackets that are percent-encoded as with bare ones")
    func encodedBrackets() throws {
        #expect(try decode("a%5Bb%5D%5B0%5D=1&a%5bc%5D=2") == decode("a[b][0]=1&a[c]=2"))
    }

    @Test("from nothing into nothing")
    func nothing() throws {
        #expect(try decode("").keys.isEmpty)
        #expect(try decode("&").keys.isEmpty)
    }

    @Test("with the keys of metadata as they were sent, numeric ones too")
    func numericKeys() throws {
        let metadata = try #require(
            try decode("metadata[7]=a&metadata[007]=b&metadata[0]=c&metadata[9999]=d").map("metadata")
        )
        #expect(metadata.keys == ["7", "007", "0", "9999"])
        #expect(metadata["7"] == .value("a"))
        #expect(metadata["007"] == .value("b"))
    }

    @Test("and a name is no list as soon as one of its members is not numeric")
    func noList() throws {
        #expect(try decode("a[0]=1&a[b]=2").map("a")?.isList == false)
        #expect(try decode("a[-1]=1").map("a")?.isList == false)
        #expect(try decode("a[12345]=1").map("a")?.isList == false)
    }

    // MARK: What is refused

    @Test(
        "but not where it contradicts itself",
        arguments: ["a=1&a[b]=2", "a[b]=1&a=2", "a[b]=1&a[b][c]=2", "a[]=1&a="]
    )
    func contradiction(text: String) throws {
        let name = try #require(text.split(separator: "&").last?.split(separator: "=").first.map(String.init))
        #expect(
            throws: StripeError(
                param: name,
                message: "Invalid parameter: \(name) is given both as a value and as a container."
            )
        ) { try decode(text) }
    }

    @Test(
        "but not from bytes that are no UTF-8",
        arguments: ["a=%FF", "a=%C3", "%ED%A0%80=1", "a=%C0%AF", "a=%00", "a%00=1"]
    )
    func notUTF8(text: String) {
        #expect(throws: StripeError(message: "Invalid UTF-8 in the request's parameters.")) { try decode(text) }
    }

    @Test("but not from raw bytes that are no UTF-8 either")
    func rawBytes() {
        #expect(throws: StripeError(message: "Invalid UTF-8 in the request's parameters.")) {
            try Form.decode([0x61, 0x3D, 0xFE] as [UInt8])
        }
        #expect(throws: StripeError(message: "Invalid UTF-8 in the request's parameters.")) {
            try Form.decode([0x61, 0x3D, 0x00] as [UInt8])
        }
    }

    @Test("but not with a broken percent escape", arguments: ["a=%", "a=%4", "a=%4g", "a=%%41", "%5=1", "a=%+1"])
    func badEscapes(text: String) {
        #expect(throws: StripeError(message: "Invalid percent-encoding in the request's parameters.")) {
            try decode(text)
        }
    }

    @Test("but not with brackets that do not match", arguments: ["a[", "a[b", "a[b]c", "a[b]]", "a[b][", "a[b]c[d]"])
    func badBrackets(name: String) {
        #expect(throws: StripeError(param: name, message: "Invalid parameter name: \(name)")) {
            try decode("\(name)=1")
        }
    }

    // MARK: Limits

    @Test("up to 1000 pairs")
    func pairs() throws {
        let thousand = (0..<1000).map { "a\($0)=1" }.joined(separator: "&")
        #expect(try decode(thousand).keys.count == 1000)
        #expect(throws: StripeError(message: "Too many parameters: at most 1000 are accepted.")) {
            try decode(thousand + "&b=1")
        }
    }

    @Test("up to 8 levels deep, and far deeper input is refused before it is built")
    func depth() throws {
        let eight = "a" + String(repeating: "[b]", count: 7)
        #expect(try decode("\(eight)=1").value("a", "b", "b", "b", "b", "b", "b", "b") == "1")
        for name in [
            eight + "[b]", "a" + String(repeating: "[b]", count: 170), "a" + String(repeating: "[]", count: 255),
        ] {
            #expect(throws: StripeError(message: "Parameters can be nested up to 8 levels deep.")) {
                try decode("\(name)=1")
            }
        }
    }

    @Test("with names of up to 512 bytes, counted without their escapes")
    func keyBytes() throws {
        let longest = String(repeating: "a", count: 512)
        #expect(try decode("\(longest)=1").value(longest) == "1")
        #expect(try decode(String(repeating: "%61", count: 512) + "=1").value(longest) == "1")
        for name in [longest + "a", String(repeating: "é", count: 257)] {
            #expect(throws: StripeError(message: "Parameter names can have up to 512 bytes.")) {
                try decode("\(name)=1")
            }
        }
    }

    @Test("and a segment of an address likewise")
    func segment() {
        #expect(Form.percentDecoded("cus_%41") == "cus_A")
        #expect(Form.percentDecoded("%FF") == nil)
        #expect(Form.percentDecoded("%4") == nil)
        #expect(Form.percentDecoded("a%00") == nil)
    }
}
