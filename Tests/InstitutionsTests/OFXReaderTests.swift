/// The tokenizer of OFX: what it takes, in whatever pieces it comes, and what it refuses and where.

import Testing

@testable import Institutions

private func read(_ text: String, chunk: Int = .max) throws -> [OFXReader.Element] {
    try read(Array(text.utf8), chunk: chunk)
}

private func read(_ bytes: [UInt8], chunk: Int = .max) throws -> [OFXReader.Element] {
    var reader = OFXReader()
    var elements: [OFXReader.Element] = []
    var offset = 0
    while offset < bytes.count {
        let end = min(bytes.count, chunk == .max ? bytes.count : offset + chunk)
        reader.feed(Array(bytes[offset..<end]))
        offset = end
        while let element = try reader.next() { elements.append(element) }
    }
    reader.finish()
    while let element = try reader.next() { elements.append(element) }
    return elements
}

/// The values of the leaves of a name.
private func values(_ name: String, in elements: [OFXReader.Element]) -> [String] {
    elements.compactMap { element in
        if case .leaf(name, let value) = element { return value }
        return nil
    }
}

private func value(_ text: String) throws -> String? {
    try values("MEMO", in: read("<OFX><STMTTRN><MEMO>\(text)</STMTTRN></OFX>")).first
}

private func fault(_ text: String) -> OFXFault? {
    do throws(any Error) {
        _ = try read(text)
        return nil
    } catch {
        return error as? OFXFault
    }
}

@Suite("The tokenizer of OFX")
struct OFXReaderTests {
    @Test("reads SGML whose leaves are open, XML, and a mixture, as the same")
    func dialects() throws {
        let sgml = "<OFX><STMTTRN><TRNAMT>-1.50\n<NAME>Baker\n</STMTTRN></OFX>"
        let xml = """
            <?xml version="1.0" encoding="UTF-8"?>
            <?OFX OFXHEADER="200" VERSION="211"?>
            <OFX>
              <STMTTRN><TRNAMT>-1.50</TRNAMT><NAME>Baker</NAME></STMTTRN>
            </OFX>
            """
        let mixture = "OFXHEADER:100\n\n<ofx><stmttrn><TrnAmt>-1.50</TrnAmt><NAME>Baker</STMTTRN></OFX>"
        let spaced = "<OFX >\t<STMTTRN\n><TRNAMT > -1.50 <NAME>Baker</STMTTRN ></OFX>"
        let namespaced = """
            <ofx:OFX xmlns:ofx="http://ofx.net/types/2003/04"><STMTTRN><TRNAMT>-1.50</TRNAMT><NAME>Baker</NAME>\
            </STMTTRN></ofx:OFX>
            """
        let expected: [OFXReader.Element] = [
            .open("OFX"), .open("STMTTRN"), .leaf("TRNAMT", "-1.50"), .leaf("NAME", "Baker"), .close("STMTTRN"),
            .close("OFX"),
        ]
        let prefixed = namespaced.replacing("ofx:", with: "bank-1.x:")
        for text in [sgml, xml, mixture, spaced, namespaced, prefixed] {
            #expect(try read(text) == expected, "\(text)")
        }
    }

    @Test("takes a document in pieces of any size")
    func pieces() throws {
        let text = """
            OFXHEADER:100\r\nENCODING:UTF-8\r\n\r\n<OFX><!-- a < b --><STMTTRN><NAME>Café &amp; B<MEMO><![CDATA[1 < 2]]>
            <REFNUM><CHECKNUM>7</CHECKNUM><X.Y/>\n</STMTTRN></OFX>
            """
        let whole = try read(text)
        #expect(values("NAME", in: whole) == ["Café & B"] && values("MEMO", in: whole) == ["1 < 2"])
        for size in [1, 2, 3, 5, 7, 11, 64] { #expect(try read(text, chunk: size) == whole, "in pieces of \(size)") }
    }

    @Test("knows an empty leaf from an aggregate, and closes what was not closed")
    func structure() throws {
        let empty = try read("<OFX><STMTTRN><NAME><MEMO>x<FITID></FITID></STMTTRN><LEDGERBAL></LEDGERBAL></OFX>")
        #expect(
            empty == [
                .open("OFX"), .open("STMTTRN"), .leaf("NAME", ""), .leaf("MEMO", "x"), .leaf("FITID", ""),
                .close("STMTTRN"), .open("LEDGERBAL"), .close("LEDGERBAL"), .close("OFX"),
            ]
        )
        let unclosed = try read("<OFX><L><STMTTRN><FITID>1<STMTTRN><FITID>2</L></STMTTRN></OFX>")
        #expect(
            unclosed == [
                .open("OFX"), .open("L"), .open("STMTTRN"), .leaf("FITID", "1"), .close("STMTTRN"), .open("STMTTRN"),
                .leaf("FITID", "2"), .close("STMTTRN"), .close("L"), .close("OFX"),
            ]
        )
        #expect(try read("<OFX></STMTTRN><X><NAME>a</X></OFX>").count == 5, "a closing tag of nothing is nothing")
        let principal = try read("<OFX><L><PRINBAL>-5.00<X>1</L><L><PRINBAL><BALAMT>-5.00</PRINBAL></L></OFX>")
        #expect(values("PRINBAL", in: principal) == ["-5.00"] && values("BALAMT", in: principal) == ["-5.00"])
    }

    @Test(
        "decodes texts",
        arguments: [
            ("AT&amp;T &lt;x&gt; &quot;&apos;", "AT&T <x> \"'"), ("a&nbsp;b", "a b"), ("&#65;&#x42;&#x1F600;", "AB😀"),
            ("&amp;lt;", "&lt;"), ("fish & chips; AT&T", "fish & chips; AT&T"), ("&unknown;", "&unknown;"),
            ("&#0;a&#x8;b&#xD800;", "ab&#xD800;"), ("a < b, 3<4", "a < b, 3<4"), ("a <b c", "a <b c"),
            ("<![CDATA[ A &amp; B ]]>", "A &amp; B"), ("one\r\n  two\tthree", "one two three"), ("  a  b  ", "a  b"),
            ("a\u{0}\u{7}b", "ab"),
        ]
    )
    func texts(_ written: String, _ read: String) throws {
        #expect(try value(written) == read)
    }

    @Test("reads UTF-8 and Windows-1252, whatever the header says")
    func encodings() throws {
        let before = Array("OFXHEADER:100\nENCODING:USASCII\nCHARSET:1252\n\n<OFX><S><MEMO>".utf8)
        let after = Array("</S></OFX>".utf8)
        #expect(
            values("MEMO", in: try read(before + [0x43, 0x61, 0x66, 0xE9, 0x20, 0x80, 0x35] + after)) == ["Café €5"]
        )
        #expect(values("MEMO", in: try read(before + Array("Café €5".utf8) + after)) == ["Café €5"])
        #expect(values("MEMO", in: try read([0xEF, 0xBB, 0xBF] + before + Array("x".utf8) + after)) == ["x"])
    }

    @Test(
        "refuses with the line and the reason",
        arguments: [
            ("<?xml version=\"1.0\"?>\n<!DOCTYPE OFX [<!ENTITY a \"b\">]>\n<OFX></OFX>", 2, "document type"),
            ("<OFX>\n<A>\n<!ENTITY x SYSTEM \"file:///etc/passwd\">\n</A></OFX>", 3, "document type"),
            ("<OFX>\n<B><STMTRS>\n<STMTTRN><FITID>1\n", 4, "in the middle of STMTTRN"),
            ("!Type:Bank\nD01/02/2024\nT-5.00\n^\n", nil, "not an OFX file"), ("", nil, "not an OFX file"),
            ("date,amount\n2024-01-01,5\n", nil, "not an OFX file"), ("PK\u{3}\u{4}", 1, "archive"),
            ("<html><OFXIT></html>", nil, "not an OFX file"),
            ("%PDF-1.4 <OFX>", 1, "PDF"), ("COMPRESSION:TYPE1\n\n<OFX></OFX>", nil, "compressed"),
        ] as [(String, Int?, String)]
    )
    func refusals(_ text: String, _ line: Int?, _ reason: String) throws {
        let found = try #require(fault(text))
        #expect(found.line == line && found.reason.contains(reason), "\(found)")
    }

    @Test("refuses what is longer or deeper than its limits, and holds no more than those")
    func limits() throws {
        let deep = "<OFX>" + (0..<40).map { "<A\($0)>" }.joined() + "<NAME>x"
        #expect(fault(deep)?.reason.contains("deep") == true)
        let long = "<OFX><STMTTRN><MEMO>" + String(repeating: "x", count: OFXReader.maximumValue + 1)
        #expect(fault(long + "</STMTTRN></OFX>")?.reason.contains("too long") == true)
        // A name that is longer than any is a text.
        let name = String(repeating: "N", count: OFXReader.maximumName + 1)
        #expect(try value("a <\(name)> b") == "a <\(name)> b")
        var reader = OFXReader()
        reader.feed(Array("<OFX><STMTTRN><MEMO>".utf8))
        #expect(throws: OFXFault.self) {
            for _ in 0..<100 {
                reader.feed([UInt8](repeating: UInt8(ascii: "x"), count: 4096))
                while try reader.next() != nil {}
            }
        }
    }

    /// Every byte is looked at a bounded number of times: what is on one line, or looks like a tag over and over, takes
    /// no longer than the rest.
    @Test("reads in time what is made to take long", .timeLimit(.minutes(1)))
    func time() throws {
        let before = "<OFX><STMTTRN><MEMO>"
        for piece in ["<A ", "<A b=c ", "</A ", "<!-", "<MEMO>x", "<MEMO>x</MEMO>", "<X/>"] {
            let text = before + String(repeating: piece, count: 4_000_000 / piece.utf8.count) + "</STMTTRN></OFX>"
            _ = fault(text)
        }
        // What does not end is looked for once.
        for piece in ["<!--", "<![CDATA[", "<?"] {
            let rest = String(repeating: piece, count: (OFXReader.maximumValue - 100) / piece.utf8.count)
            for _ in 0..<40 { _ = fault(before + rest) }
        }
    }

    @Test("tells dates apart from what is none, with and without a zone")
    func dates() {
        let table: [(String, Int64?)] = [
            ("20240229", 1_709_164_800), ("20230229", nil), ("20120231", nil), ("201120000000", nil),
            ("20090401122017.000[-5:EST]", 1_238_606_417), ("20091215202000.000[-:EST]", 1_260_926_400),
            ("20180804093914:014", 1_533_375_554), ("20240101120000[5.5:IST]", 1_704_090_600),
            ("20240101120000[+0:GMT]", 1_704_110_400), ("202401011200", 1_704_110_400), ("2024-01-01", 1_704_067_200),
            ("20240101120000[+5.30:IST]", 1_704_090_600), ("20240101120000[5.75:NPT]", 1_704_089_700),
            ("20240101120000[-3.30:NST]", 1_704_123_000), ("20240101240000", 1_704_153_600), ("20240101240001", nil),
            ("", nil), ("2024", nil), ("20240101250000", nil), ("00000000", nil), ("yesterday", nil),
        ]
        for (text, seconds) in table { #expect(OFXDate(text)?.seconds == seconds, "\(text)") }
        #expect(OFXDate("20240101233000[-5:EST]")?.day == "20240101", "the day is the bank's")
        #expect(OFXDate.text(of: 1_709_164_800 + 3661) == "20240229010101")
    }

    @Test("reads amounts exactly, as banks write them")
    func amounts() {
        let table: [(String, Int64?)] = [
            ("-16.85", -1685), ("+00000000000115.8331", 11_583), ("-00000000001500.0000", -150_000), ("1,5", 150),
            ("12,34", 1234), ("1.234,56", 123_456), ("1,234.56", 123_456), ("1,234,567", 123_456_700), (".5", 50),
            ("-,5", -50), ("5.", 500), ("0", 0), ("-0.00", 0), ("90071992547409.93", 9_007_199_254_740_993),
            ("0.005", 0), ("0.015", 2), ("$120", nil), ("", nil), ("1.2x", nil), ("1e3", nil), ("--1", nil), (".", nil),
            ("1,23,4.5", nil), ("1.2.3,4,5", nil), ("99999999999999999999", nil), ("12.50-", -1250), ("12.50+", 1250),
            ("(12.50)", -1250), ("(1,234.50)", -123_450), ("1'234.50", 123_450), ("-1\u{2019}234,50", -123_450),
            ("1\u{202F}234,50", 123_450), ("-12.50-", nil), ("(-12.50)", nil), ("(12.50", nil), ("()", nil), ("-", nil),
            ("12-50", nil), ("1,234", nil), ("-100,000", nil), ("(12,345)", nil), ("0,125", 12), ("1234,567", 123_457),
        ]
        for (text, expected) in table { #expect(WrittenAmount.minorUnits(text, "usd") == expected, "\(text)") }
        #expect(WrittenAmount.minorUnits("1250", "jpy") == 1250 && WrittenAmount.minorUnits("1,250", "kwd") == 1250)
    }

    /// Mutated documents, in pieces of chance: each is read or refused, in time and within its limits.
    @Test("never breaks down", .timeLimit(.minutes(4)))
    func fuzz() async throws {
        let seeds = [OFXSamples.bank, OFXSamples.card, OFXSamples.xml, OFXSamples.corrected].map { Array($0.utf8) }
        let pieces = [
            "<", ">", "</", "<!--", "-->", "<![CDATA[", "]]>", "&#", ";", "<STMTTRN>", "</STMTTRN>", "\0", "<OFX>",
        ]
        .map { Array($0.utf8) }
        var chance = Seeded(20_261_126)
        for round in 0..<100_000 {
            if round % 100 == 0 { await Task.yield() }
            var bytes = seeds[round % seeds.count]
            // Short stretches: the number of mutations counts, not the length.
            let begin = Int.random(in: 0..<bytes.count, using: &chance)
            bytes = Array("<OFX><B>".utf8) + bytes[begin..<min(bytes.count, begin + 160)]
            for _ in 0..<Int.random(in: 1...6, using: &chance) {
                let at = Int.random(in: 0..<bytes.count, using: &chance)
                switch Int.random(in: 0..<4, using: &chance) {
                case 0: bytes[at] = UInt8.random(in: 0...255, using: &chance)
                case 1: bytes.removeSubrange(at..<min(bytes.count, at + 9))
                case 2: bytes.insert(contentsOf: pieces[Int.random(in: 0..<pieces.count, using: &chance)], at: at)
                default: bytes.insert(contentsOf: bytes[at..<min(bytes.count, at + 30)], at: at)
                }
                if bytes.isEmpty { bytes = [60] }
            }
            var decoder = OFXDecoder()
            let cut = Int.random(in: 0...bytes.count, using: &chance)
            do {
                for part in [bytes[..<cut], bytes[cut...]] {
                    decoder.feed(Array(part))
                    while try decoder.next() != nil {}
                }
                decoder.finish()
                while try decoder.next() != nil {}
            } catch {
                // A refusal is as good as an answer.
            }
            #expect(decoder.reader.path.count <= OFXReader.maximumDepth)
        }
    }
}
