/// The JSON of an answer, byte for byte.

import Testing
import Wire

private func text(_ write: (inout JSONWriter) -> Void) -> String {
    var json = JSONWriter()
    write(&json)
    return String(decoding: json.finish(), as: UTF8.self)
}

@Suite("JSON is written")
struct JSONWriterTests {
    @Test("with two spaces an indent, one member a line, and a line feed at the end")
    func pretty() {
        let written = text { json in
            json.object { json in
                json.field("id", "cus_1")
                json.field("balance", 0)
                json.field("created", 1_790_000_000 as Int64?)
                json.field("livemode", false)
                json.field("deleted", true)
                json.object("nested") { json in
                    json.field("least", Int64.min as Int64?)
                    json.array("list") { json in
                        json.element()
                        json.integer(1)
                        json.element()
                        json.object { $0.field("a", "b") }
                        json.element()
                        json.array { _ in }
                    }
                }
                json.field("words", ["x", "y"])
            }
        }
        #expect(
            written == """
                {
                  "id": "cus_1",
                  "balance": 0,
                  "created": 1790000000,
                  "livemode": false,
                  "deleted": true,
                  "nested": {
                    "least": -9223372036854775808,
                    "list": [
                      1,
                      {
                        "a": "b"
                      },
                      []
                    ]
                  },
                  "words": [
                    "x",
                    "y"
                  ]
                }

                """
        )
    }

    @Test("with empty containers closed on their line")
    func empty() {
        #expect(text { $0.object { _ in } } == "{}\n")
        #expect(text { $0.array { _ in } } == "[]\n")
        let inner = text { json in
            json.object { json in
                json.object("a") { _ in }
                json.array("b") { _ in }
                json.field("c", [])
            }
        }
        #expect(inner == "{\n  \"a\": {},\n  \"b\": [],\n  \"c\": []\n}\n")
    }

    @Test("with null for what is absent")
    func nulls() {
        let written = text { json in
            json.object { json in
                json.field("a", nil as String?)
                json.field("b", nil as Int64?)
                json.field("c", nil as [String]?)
                json.nullField("d")
                json.field("e", "" as String?)
            }
        }
        #expect(written == "{\n  \"a\": null,\n  \"b\": null,\n  \"c\": null,\n  \"d\": null,\n  \"e\": \"\"\n}\n")
    }

    @Test("with texts escaped as far as JSON asks, and no further")
    func escapes() {
        #expect(
            text { $0.string("plain é 漢 🏦 / </script> \u{7F}\u{2028}") }
                == "\"plain é 漢 🏦 / </script> \u{7F}\u{2028}\"\n"
        )
        #expect(text { $0.string("a\"b\\c\nd\re\tf") } == #""a\"b\\c\nd\re\tf""# + "\n")
        for code in UInt8(0)..<0x20 where ![9, 10, 13].contains(code) {
            let digits = String(code, radix: 16)
            let escape = "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            #expect(text { $0.string("é" + String(UnicodeScalar(code))) } == "\"é\(escape)\"\n")
        }
    }

    @Test("with keys escaped as well")
    func keys() {
        #expect(text { json in json.object { $0.field("a\"\n", "b") } } == "{\n  \"a\\\"\\n\": \"b\"\n}\n")
    }

    @Test("with JSON that was written before indented anew, so that it reads as if written in place")
    func rendered() {
        var inner = JSONWriter()
        // Once written to stand at the top, once to stand in a list.
        var listed = JSONWriter(depth: 2)
        let members: (inout JSONWriter) -> Void = { json in
            json.field("text", "line\nfeed")
            json.object("deep") { $0.field("empty", []) }
        }
        inner.object(members)
        listed.object(members)
        let embedded = text { json in
            json.object { json in
                json.object("data") { json in
                    json.field("object", rendered: inner.bytes)
                    json.field("after", 1)
                    json.object("deeper") { $0.field("object", rendered: listed.bytes, depth: 2) }
                }
                json.array("list") { json in
                    json.element()
                    json.rendered(inner.bytes)
                    json.element()
                    json.rendered(listed.bytes, depth: 2)
                }
            }
        }
        let direct = text { json in
            json.object { json in
                json.object("data") { json in
                    json.object("object", members)
                    json.field("after", 1)
                    json.object("deeper") { $0.object("object", members) }
                }
                json.array("list") { json in
                    json.element()
                    json.object(members)
                    json.element()
                    json.object(members)
                }
            }
        }
        #expect(embedded == direct)
        let top = text { $0.rendered(listed.bytes, depth: 2) }
        #expect(top == text { $0.object(members) })
    }

    @Test("of an error with its members in the order of the alphabet, absent ones left out")
    func error() {
        let full = text { json in
            StripeError.missing("a[b]").write(to: &json, requestLogURL: "https://desk.example/req_1")
        }
        #expect(
            full == """
                {
                  "error": {
                    "code": "parameter_missing",
                    "doc_url": "https://stripe.com/docs/error-codes/parameter-missing",
                    "message": "Missing required param: a[b].",
                    "param": "a[b]",
                    "request_log_url": "https://desk.example/req_1",
                    "type": "invalid_request_error"
                  }
                }

                """
        )
        let bare = text { StripeError.internalFault.write(to: &$0) }
        #expect(bare.contains("\"type\": \"api_error\""))
        #expect(!bare.contains("code") && !bare.contains("param") && !bare.contains("doc_url"))
    }
}
