/// A statement's interpolated values are binds and never text, and its tokens mean what the engine calls them.

import Testing

@testable import Database

@Suite("SQL")
struct SQLTests {
    @Test("binds every interpolated value")
    func binds() {
        let absent: String? = nil
        let noNumber: Int64? = nil
        let noBytes: [UInt8]? = nil
        let bytes: [UInt8] = [1, 2]
        let evil = "'; DROP TABLE item; --"
        let sql: SQL = "a \(evil) \(7) \(8 as Int64) \(true) \(false) \(bytes) \(absent) \(noNumber) \(noBytes)"
        #expect(sql.text == "a ? ? ? ? ? ? ? ? ?")
        #expect(
            sql.binds == [
                .text(evil), .integer(7), .integer(8), .integer(1), .integer(0), .bytes(bytes), .null, .null, .null,
            ]
        )
    }

    @Test("takes parts written as SQL with their binds in their place")
    func parts() {
        let inner: SQL = "b = \(2)"
        let sql: SQL = "a = \(1) AND \(inner) AND c = \("x")"
        #expect(sql.text == "a = ? AND b = ? AND c = ?")
        #expect(sql.binds == [.integer(1), .integer(2), .text("x")])
    }

    @Test("written as a literal has no binds")
    func literal() {
        let sql: SQL = "SELECT '?'"
        #expect(sql.text == "SELECT '?'")
        #expect(sql.binds.isEmpty)
    }

    @Test("has its tokens rendered, all of them, and nothing else")
    func tokens() {
        let tokens = [(token: "{int}", meaning: "INTEGER"), (token: "{skip}", meaning: "")]
        #expect(SQL.render("a {int}, b {int} {skip}{int}", tokens: tokens) == "a INTEGER, b INTEGER INTEGER")
        #expect(SQL.render("no brace", tokens: tokens) == "no brace")
        #expect(SQL.render("{other} {", tokens: tokens) == "{other} {")
    }
}
