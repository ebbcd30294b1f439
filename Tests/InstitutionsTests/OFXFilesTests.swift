/// OFX files as an institution: what a file brings, what a newer file changes, what is refused.

import Foundation
import Testing

@testable import Institutions

/// A mark that tells nothing of what it marks, as the key ring makes them.
private let mark: @Sendable (String) -> String = { text in
    let hash = text.utf8.reduce(UInt64(14_695_981_039_346_656_037)) { ($0 ^ UInt64($1)) &* 1_099_511_628_211 }
    return String(hash, radix: 36)
}
private let files = OFXFiles(mark: mark)

private func upload(_ bytes: [UInt8], chunk: Int = 512) -> Upload {
    Upload(size: bytes.count) { offset in Array(bytes[offset..<min(bytes.count, offset + chunk)]) }
}

private func attempt(isRelink: Bool = false) -> Attempt {
    Attempt(
        institution: OFXFiles.standard,
        holder: "cus_A",
        now: 1_790_000_000,
        isRelink: isRelink,
        callback: .init(url: "https://link.example/flow/return", state: "state")
    )
}

/// A file that was given and taken.
private struct Given {
    let upload: Upload
    let credential: [UInt8]
    var note: String?

    init(_ text: String, as encoding: [UInt8]? = nil, answers: [String: String] = [:], _ files: OFXFiles = files)
        async throws
    {
        upload = InstitutionsTests.upload(encoding ?? Array(text.utf8))
        guard case .prompt(_, let resume) = try await files.begin(attempt()) else { throw ConnectorError.unsupported }
        var step = try await files.resume(attempt(), from: resume, .file(upload, answers: answers))
        if case .prompt(let prompt, let resume) = step {
            if let error = prompt.error { throw Refused(error: error) }
            note = prompt.message
            step = try await files.resume(attempt(), from: resume, .answers([:]))
        }
        guard case .authorized(let credential) = step else { throw ConnectorError.unsupported }
        self.credential = credential
    }

    var access: Access {
        Access(
            institution: OFXFiles.standard,
            holder: "cus_A",
            now: 1_790_000_000,
            credential: credential,
            upload: upload
        ) { _ throws(ConnectorError) in throw .unsupported }
    }

    func accounts() async throws -> [BankAccount] { try await files.accounts(access) }

    func balance(_ account: BankAccount, _ files: OFXFiles = files) async throws -> Balance {
        try await files.balance(of: account.reference, access)
    }

    /// Everything, and how it came.
    func transactions(
        _ account: BankAccount,
        after cursor: [UInt8]? = nil
    ) async throws -> (all: [BankTransaction], retracted: [[String]], cursor: [UInt8], window: Range<Int64>?) {
        var (all, retracted, cursor): ([BankTransaction], [[String]], [UInt8]?) = ([], [], cursor)
        for _ in 0..<1000 {
            let page = try await files.transactions(of: account.reference, after: cursor, access)
            all += page.transactions
            retracted += page.retractions.map(\.retracts)
            cursor = page.cursor
            if !page.hasMore { return (all, retracted, page.cursor, page.completeWindow) }
        }
        throw ConnectorError.invalidResponse
    }
}

private struct Refused: Error {
    let error: String
}

private func refusal(_ text: String) async -> String? {
    do {
        _ = try await Given(text)
        return nil
    } catch {
        return (error as? Refused)?.error
    }
}

func ofxFileExhibit() -> Exhibit {
    let upload = upload(Array(OFXSamples.xml.utf8))
    return Exhibit(
        connector: files,
        institution: OFXFiles.standard,
        answer: { _, _ in .file(upload, answers: [:]) },
        upload: upload
    )
}

@Suite("OFX files")
struct OFXFilesTests {
    @Test("of one bank have its name, and nobody is asked for it")
    func ofOneBank() async throws {
        let institution = Institution(
            id: "fcinst_TownBankFile01",
            name: "Town Bank",
            domain: "",
            featured: false,
            countries: []
        )
        let town = OFXFiles(institution, mark: mark)
        guard case .prompt(let prompt, _) = try await town.begin(attempt()) else { throw ConnectorError.unsupported }
        #expect(prompt.fields.map(\.name) == ["file"])
        let given = try await Given(OFXSamples.bank, town)
        #expect(try await town.accounts(given.access).map(\.institutionName) == [nil])
    }

    @Test("bring a checking account with its balance and its transactions")
    func bank() async throws {
        let given = try await Given(OFXSamples.bank)
        let accounts = try await given.accounts()
        let account = try #require(accounts.first)
        #expect(accounts.count == 1 && given.note == nil)
        #expect(account.displayName == "Checking 6789" && account.last4 == "6789" && account.institutionName == "B1")
        #expect(account.category == .cash && account.subcategory == .checking && !account.isCategoryGuessed)
        #expect(!account.supportsPayments && account.numbers.isEmpty && !account.id.contains("123456789"))
        let balance = try await given.balance(account)
        #expect(balance.current == ["usd": 123_456] && balance.kind == .cash(available: ["usd": 120_000]))
        #expect(balance.asOf == 1_709_636_400)
        let (all, retracted, _, window) = try await given.transactions(account)
        #expect(all.filter { $0.status == .posted }.reduce(0) { $0 + $1.amount } == 98_666)
        #expect(all.map(\.amount) == [-1234, 100_000, -50, -50, -700] && retracted.isEmpty)
        #expect(all.map(\.description) == ["CAFé & CO", "EMPLOYER", "FEE", "FEE", "KIOSK"])
        #expect(all[0].transactedAt == 1_707_436_800 && all[0].settledAt == 1_707_584_400)
        #expect(all[4].status == .pending && all[4].settledAt == nil && Set(all.map(\.id)).count == 5)
        #expect(window == 0..<1_709_636_401, "the list of what is pending is all of it")
    }

    @Test("bring a card whose debt is negative, and whose limit is nobody's money")
    func card() async throws {
        let given = try await Given(OFXSamples.card, answers: ["bank": "  My   Bank "])
        let account = try #require(try await given.accounts().first)
        #expect(account.category == .credit && account.subcategory == .creditCard && account.last4 == "1234")
        #expect(account.institutionName == "My Bank")
        let balance = try await given.balance(account)
        #expect(balance.current == ["eur": -25_075] && balance.kind == .credit(used: ["eur": -25_075]))
        let all = try await given.transactions(account)
        #expect(all.all.map(\.amount) == [10_000] && all.window == nil)
        let positive = OFXFiles(owesPositive: true, mark: mark)
        #expect(try await given.balance(account, positive).current == ["eur": 25_075], "for banks that write it so")
    }

    @Test("bring several accounts of all kinds, in the order of the file")
    func several() async throws {
        let given = try await Given(OFXSamples.xml)
        let accounts = try await given.accounts()
        #expect(accounts.map(\.displayName) == ["Money market 4321", "Mortgage 0042", "Investment 5678"])
        #expect(accounts.map(\.category) == [.cash, .credit, .investment])
        #expect(accounts.map(\.subcategory) == [.savings, .mortgage, .other])
        #expect(accounts.map(\.last4) == ["4321", "0042", "5678"])
        let expected: [(Balance.Kind, [String: Int64], Int, Int64)] = [
            (.cash(available: nil), ["jpy": 150_000], 1, 12),
            (.credit(used: ["usd": -20_000_000]), ["usd": -20_000_000], 1, 150_000),
            (.cash(available: ["usd": 150_000]), ["usd": 150_000], 1, -4025),
        ]
        for (account, (kind, current, count, sum)) in zip(accounts, expected) {
            let balance = try await given.balance(account)
            #expect(balance.kind == kind && balance.current == current, "\(account.displayName)")
            let all = try await given.transactions(account).all
            #expect(all.count == count && all.reduce(0) { $0 + $1.amount } == sum, "\(account.displayName)")
        }
    }

    @Test("bring an account in several currencies with what is in it of each, the newest")
    func currenciesOfOne() async throws {
        func statement(_ currency: String, _ amount: String, _ day: String) -> String {
            """
            <STMTTRNRS><STMTRS><CURDEF>\(currency)<BANKACCTFROM><BANKID>1<ACCTID>00054321<ACCTTYPE>CHECKING
            </BANKACCTFROM><LEDGERBAL><BALAMT>\(amount)<DTASOF>\(day)</LEDGERBAL>
            <AVAILBAL><BALAMT>\(amount)<DTASOF>\(day)</AVAILBAL></STMTRS></STMTTRNRS>
            """
        }
        let statements = [
            statement("EUR", "10.00", "20240301"), statement("USD", "20.00", "20240302"),
            statement("EUR", "30.00", "20240303"), statement("USD", "40.00", "20240301"),
        ]
        let given = try await Given("<OFX><BANKMSGSRSV1>" + statements.joined() + "</BANKMSGSRSV1></OFX>")
        let accounts = try await given.accounts()
        let balance = try await given.balance(try #require(accounts.first))
        #expect(accounts.count == 1 && balance.current == ["eur": 3000, "usd": 2000])
        #expect(balance.kind == .cash(available: ["eur": 3000, "usd": 2000]) && balance.asOf == 1_709_424_000)
    }

    @Test(
        "reckon an investment account by what it is worth",
        arguments: [
            ("<INVBAL><AVAILCASH>10.00</INVBAL>", ["usd": 1000], 1000),
            ("<INVPOSLIST>P20.005/P</INVPOSLIST><INVBAL><AVAILCASH>10.00</INVBAL>", ["usd": 3000], 1000),
            ("<INVPOSLIST>P20.005/PP-5.003/P</INVPOSLIST>", ["usd": 1500], nil),
            (
                "<INVPOSLIST>P1.50<CURRENCY><CURSYM>EUR</CURRENCY>/PP2<CURRENCY><CURSYM>usd</CURRENCY>/P</INVPOSLIST>",
                ["eur": 150, "usd": 200], nil
            ),
            (
                "<INVPOSLIST>P20/P</INVPOSLIST><INVBAL><AVAILCASH>1</INVBAL><INV401KBAL><TOTAL>99.00</INV401KBAL>",
                ["usd": 9900], 100
            ),
            ("<INVPOSLIST>P20/P</INVPOSLIST><INV401KBAL><TOTAL>0.0</INV401KBAL>", ["usd": 2000], nil),
            ("<INVPOSLIST>Pmuch/P</INVPOSLIST><INVBAL><AVAILCASH>1</INVBAL>", nil, nil),
            ("<INVPOSLIST>P9e999/P</INVPOSLIST>", nil, nil), ("", nil, nil),
        ] as [(String, [String: Int64]?, Int64?)]
    )
    func investments(_ body: String, _ current: [String: Int64]?, _ cash: Int64?) async throws {
        let text = body.replacing("/P", with: "</INVPOS></POSSTOCK>")
            .replacing(/P(?=[0-9m-])/, with: "<POSSTOCK><INVPOS><SECID><UNIQUEID>1</SECID><MKTVAL>")
        let given = try await Given(
            """
            <OFX><INVSTMTMSGSRSV1><INVSTMTTRNRS><INVSTMTRS><DTASOF>20240331<CURDEF>USD
            <INVACCTFROM><BROKERID>b<ACCTID>Z1234</INVACCTFROM>
            \(text)</INVSTMTRS></INVSTMTTRNRS></INVSTMTMSGSRSV1></OFX>
            """
        )
        let account = try await given.accounts()[0]
        guard let current else {
            await #expect(throws: ConnectorError.unsupported) { try await given.balance(account) }
            return
        }
        let balance = try await given.balance(account)
        #expect(balance.current == current && balance.kind == .cash(available: cash.map { ["usd": $0] }))
    }

    @Test("bring a loan whose principal stands alone")
    func principal() async throws {
        let given = try await Given(
            """
            <OFX><LOANMSGSRSV1><LOANSTMTTRNRS><LOANSTMTRS><CURDEF>USD<LOANACCTFROM><LOANACCTID>M-0042
            <LOANACCTTYPE>MORTGAGE</LOANACCTFROM><DTASOF>20240331<PRINBAL>200000.00</LOANSTMTRS></LOANSTMTTRNRS>
            </LOANMSGSRSV1></OFX>
            """
        )
        let balance = try await given.balance(try await given.accounts()[0])
        #expect(balance.current == ["usd": -20_000_000] && balance.asOf == 1_711_843_200)
    }

    @Test("lose nothing to a leaf of the bank's own that is empty and not closed")
    func ownLeaves() async throws {
        let given = try await Given(
            OFXSamples.statement(
                """
                <STMTTRN><TRNTYPE>POS<X.OWN><DTPOSTED>20240102<TRNAMT>-3.00<FITID>1<NAME>A</STMTTRN>
                <STMTTRN><TRNTYPE>POS<DTPOSTED>20240102<TRNAMT>-4.00<FITID>2<NAME>B<X.OWN><NAME>NO</X.OWN></STMTTRN>
                <STMTTRN><DTPOSTED>20240102<TRNAMT>-5.00<FITID>3<BANKACCTTO><NAME>NO</BANKACCTTO><MEMO>C</STMTTRN>
                """
            )
        )
        let all = try await given.transactions(try await given.accounts()[0]).all
        #expect(all.map(\.amount) == [-300, -400, -500] && all.map(\.description) == ["A", "B", "C"])
        #expect(all.map { $0.id.prefix(2) } == ["1|", "2|", "3|"])
    }

    @Test("leave little behind, however long and many the fields of a file are")
    func hostile() async throws {
        let long = String(repeating: "é", count: 12_000)
        let account = "<ACCTINFO><DESC>\(long)<BANKACCTINFO><BANKACCTFROM><BANKID>\(long)<ACCTID>"
        var text = "<OFX><SIGNUPMSGSRSV1><ACCTINFOTRNRS><ACCTINFORS>"
        for number in 0..<400 {
            text += "\(account)\(number)<ACCTTYPE>\(long)</BANKACCTFROM></BANKACCTINFO></ACCTINFO>"
        }
        text += "</ACCTINFORS></ACCTINFOTRNRS></SIGNUPMSGSRSV1></OFX>"
        let given = try await Given(text)
        let accounts = try await given.accounts()
        #expect(accounts.count == 400 && text.utf8.count > 28_000_000 && given.credential.count < 1_000_000)
        #expect(accounts.allSatisfy { $0.displayName.utf8.count <= 1024 && $0.displayName.allSatisfy { $0 == "é" } })
        let cut = try await Given(
            OFXSamples.statement("<STMTTRN><DTPOSTED>20240102<TRNAMT>-3<FITID>\(long)<NAME>\(long)</STMTTRN>")
        )
        let one = try await cut.transactions(try await cut.accounts()[0]).all[0]
        #expect(one.id.utf8.count < 300 && one.description.utf8.count <= 1024)
        let corrections = (1...2001).map { "<STMTTRN><CORRECTFITID>\($0)<CORRECTACTION>DELETE</STMTTRN>" }.joined()
        #expect(await refusal(OFXSamples.statement(corrections))?.contains("too many corrections") == true)
    }

    @Test("bring what is new and nothing twice when a newer one is given")
    func newer() async throws {
        let first = try await Given(OFXSamples.correctable)
        let account = try #require(try await first.accounts().first)
        let before = try await first.transactions(account)
        #expect(before.all.map(\.amount) == [-1000, -2000, -3000])
        #expect(try await first.transactions(account, after: before.cursor).all.isEmpty, "nothing came since")
        let second = try await Given(OFXSamples.corrected)
        #expect(try await second.accounts().map(\.id) == [account.id])
        let after = try await second.transactions(account, after: before.cursor)
        #expect(after.retracted == [[before.all[1].id]], "one was taken back")
        #expect(after.all.map(\.amount) == [-3300, -1100], "one was replaced, and a used FITID names another")
        #expect(after.all[0].corrects.first == before.all[2].id && after.all[1].id != before.all[0].id)
        let known = Set(before.all.map(\.id))
        #expect(after.all.allSatisfy { !known.contains($0.id) })
    }

    @Test("tell transactions without an id apart by how many there are on their day")
    func withoutID() async throws {
        let coffee = "<STMTTRN><TRNTYPE>POS<DTPOSTED>20240102<TRNAMT>-3.00<FITID><NAME>COFFEE</STMTTRN>\n"
        let given = try await Given(OFXSamples.statement(coffee + coffee))
        let account = try #require(try await given.accounts().first)
        let ids = try await given.transactions(account).all.map(\.id)
        #expect(ids.count == 2 && Set(ids).count == 2)
        let again = try await Given(OFXSamples.statement(coffee + coffee + coffee))
        #expect(Set(ids).isSubset(of: try await again.transactions(account).all.map(\.id)))
    }

    @Test("link what is pending to what it became by its reference")
    func pending() async throws {
        let posted = OFXSamples.statement(
            "<STMTTRN><TRNTYPE>POS<DTPOSTED>20240306<TRNAMT>-7.00<FITID>K1<REFNUM>R9<NAME>KIOSK</STMTTRN>"
        )
        let pending = try await Given(OFXSamples.bank).accounts()[0]
        let first = try await Given(OFXSamples.bank).transactions(pending).all
        let second = try await Given(posted)
        let now = try await second.transactions(try await second.accounts()[0]).all
        #expect(now.map(\.replaces) == [first.last?.id])
    }

    @Test("guess the kind of an account only where the file does not say it, and mark the guess")
    func guesses() async throws {
        for (type, isGuess) in [
            ("CHECKING", false), ("SAVINGS", false), ("CREDITLINE", false), ("", true), ("X", true),
        ] {
            let given = try await Given(OFXSamples.statement("", type: type))
            #expect(try await given.accounts().map(\.isCategoryGuessed) == [isGuess], "\(type)")
        }
    }

    @Test("leave out what cannot be read only after saying so")
    func unreadable() async throws {
        let given = try await Given(
            OFXSamples.statement(
                """
                <STMTTRN><TRNTYPE>POS<DTPOSTED>20240231<TRNAMT>-3.00<FITID>1<NAME>NO DAY</STMTTRN>
                <STMTTRN><TRNTYPE>POS<DTPOSTED>20240202<TRNAMT>$3.00<FITID>2<NAME>NO AMOUNT</STMTTRN>
                <STMTTRN><TRNTYPE>POS<DTPOSTED>20240202<TRNAMT>-3.00<FITID>3<NAME>GOOD</STMTTRN>
                """
            )
        )
        #expect(given.note?.contains("2 of 3 transactions") == true && given.note?.contains("line 13, 14") == true)
        #expect(try await given.transactions(try await given.accounts()[0]).all.map(\.description) == ["GOOD"])
    }

    @Test("need no currency in the statement where the transactions or the operator name one")
    func currencies() async throws {
        let named = "<STMTTRN><DTPOSTED>20240202<TRNAMT>-3<FITID>3<CURRENCY><CURRATE>1<CURSYM>chf</CURRENCY></STMTTRN>"
        let given = try await Given(OFXSamples.statement(named, currency: ""))
        let account = try await given.accounts()[0]
        #expect(try await given.transactions(account).all.map(\.currency) == ["chf"])
        await #expect(throws: ConnectorError.unsupported) { try await given.balance(account) }
        let francs = OFXFiles(currency: "CHF", mark: mark)
        #expect(try await given.balance(account, francs).current == ["chf": 500])
    }

    @Test("are refused with the line and the reason, and without what stands there")
    func refusals() async throws {
        #expect(await refusal("hello") == "This is not an OFX file: it has no <OFX>.")
        #expect(await refusal(OFXSamples.header + "<OFX></OFX>") == "There is no account in the file.")
        let cut = String(OFXSamples.bank.prefix(1200))
        let reason = try #require(await refusal(cut))
        #expect(reason.hasPrefix("Line ") && reason.contains("not complete") && !reason.contains("000123456789"))
        let refused = """
            <OFX><SIGNONMSGSRSV1><SONRS><STATUS><CODE>15500<SEVERITY>ERROR<MESSAGE>Wrong password</STATUS></SONRS>\
            </SIGNONMSGSRSV1></OFX>
            """
        #expect(await refusal(refused)?.contains("refused (15500): Wrong password") == true)
        let attempt = attempt()
        guard case .prompt(let form, let note) = try await files.begin(attempt) else {
            return #expect(Bool(false), "a form was expected")
        }
        #expect(form.fields.map(\.kind) == [.file, .text])
        guard case .prompt(let again, _) = try await files.resume(attempt, from: note, .answers([:])) else {
            return #expect(Bool(false), "a form was expected")
        }
        #expect(again.error == "Choose a file.")
    }

    @Test("pass on what their keeper throws")
    func keeper() async throws {
        let broken = Upload(size: 10) { _ throws(ConnectorError) in throw .institutionUnavailable(until: nil) }
        guard case .prompt(_, let note) = try await files.begin(attempt()) else { return }
        await #expect(throws: ConnectorError.institutionUnavailable(until: nil)) {
            try await files.resume(attempt(), from: note, .file(broken, answers: [:]))
        }
    }

    /// Ten thousand transactions on days of a hundred, so that several pages begin in the middle of the file.
    @Test("come page by page, from the middle of the file, in little memory")
    func pages() async throws {
        let count = 10_000
        var body = ""
        for number in 0..<count {
            let day = 10 + number / 100 % 18
            let month = 1 + number / 1800
            let date = "20240\(month)\(day)"
            body += "<STMTTRN><DTPOSTED>\(date)<TRNAMT>-\(number % 90).25<FITID>F\(number)</STMTTRN>\n"
        }
        let given = try await Given(OFXSamples.statement(body))
        let account = try await given.accounts()[0]
        var (cursor, seen, pages): ([UInt8]?, Set<String>, Int) = (nil, [], 0)
        while true {
            let page = try await files.transactions(of: account.reference, after: cursor, given.access)
            pages += 1
            #expect(page.transactions.count <= 2100, "a page ends with a day")
            for transaction in page.transactions { #expect(seen.insert(transaction.id).inserted) }
            cursor = page.cursor
            if !page.hasMore { break }
        }
        #expect(seen.count == count && pages == 5)
    }
}

/// What a file says of a transaction, a line each.
private func entry(
    _ day: String,
    _ amount: String,
    _ name: String,
    fitid: String = "",
    corrects: String = "",
    _ action: String = "REPLACE"
) -> String {
    let correction = corrects.isEmpty ? "" : "<CORRECTFITID>\(corrects)<CORRECTACTION>\(action)"
    return "<STMTTRN><TRNTYPE>POS<DTPOSTED>\(day)<TRNAMT>\(amount)<FITID>\(fitid)\(correction)<NAME>\(name)"
        + "</STMTTRN>\n"
}

extension OFXFilesTests {
    private func accounts(_ entries: [(bank: String, number: String, entries: String)]) -> String {
        let statements = entries.map { bank, number, entries in
            """
            <STMTTRNRS><STMTRS><CURDEF>USD<BANKACCTFROM><BANKID>\(bank)<ACCTID>\(number)<ACCTTYPE>CHECKING
            </BANKACCTFROM><BANKTRANLIST>\(entries)</BANKTRANLIST></STMTRS></STMTTRNRS>
            """
        }
        return "<OFX><BANKMSGSRSV1>" + statements.joined() + "</BANKMSGSRSV1></OFX>"
    }

    @Test("correct what is in the same account, whatever has the same FITID in another")
    func correctionsOfOne() async throws {
        let both = entry("20240102", "-10.00", "ONE", fitid: "1") + entry("20240103", "-20.00", "TWO", fitid: "2")
        let corrections =
            entry("20240105", "0", "", fitid: "8", corrects: "1", "DELETE")
            + entry("20240105", "-22.00", "NEW", fitid: "9", corrects: "2")
        let given = try await Given(accounts([("1", "11111", both + corrections), ("1", "22222", both)]))
        let (first, second) = (try await given.accounts()[0], try await given.accounts()[1])
        let corrected = try await given.transactions(first)
        #expect(corrected.all.map(\.amount) == [-2200] && corrected.retracted == [["1|20240102|-1000|usd"]])
        let other = try await given.transactions(second)
        #expect(other.all.map(\.amount) == [-1000, -2000] && other.retracted.isEmpty)
    }

    @Test("take a correction that has the FITID of what it corrects, in either order", arguments: [false, true])
    func correctionOfItself(isReversed: Bool) async throws {
        let entries = [
            entry("20240102", "-10.00", "ONE", fitid: "1"),
            entry("20240102", "-12.00", "RIGHT", fitid: "1", corrects: "1"),
            entry("20240103", "-20.00", "TWO", fitid: "2"),
            entry("20240103", "-20.00", "NAMED", fitid: "2", corrects: "2"),
        ]
        let text = (isReversed ? entries.reversed() : entries).joined()
        let given = try await Given(OFXSamples.statement(text))
        let (all, retracted, _, _) = try await given.transactions(try await given.accounts()[0])
        #expect(Set(all.map(\.description)) == ["RIGHT", "NAMED"] && all.count == 2 && retracted.isEmpty)
        #expect(all.first { $0.amount == -1200 }?.corrects.first == "1|20240102|-1000|usd")
        #expect(all.first { $0.amount == -2000 }?.corrects.first == "2|20240103|-2000|usd")
    }

    @Test("follow a correction of a correction to its end")
    func correctionOfCorrection() async throws {
        let first = entry("20240102", "-10.00", "ONE", fitid: "1")
        let second = entry("20240102", "-11.00", "TWO", fitid: "2", corrects: "1")
        let third = entry("20240102", "-12.00", "THREE", fitid: "3", corrects: "2")
        let given = try await Given(OFXSamples.statement(first + second + third))
        let (all, retracted, _, _) = try await given.transactions(try await given.accounts()[0])
        #expect(all.map(\.amount) == [-1200] && retracted.isEmpty)
        #expect(all[0].corrects == ["2|20240102|-1100|usd|c", "1|20240102|-1000|usd", "3|20240102|-1200|usd"])
    }

    @Test("correct what an earlier file told, by its FITID alone")
    func correctionOfEarlier() async throws {
        let text =
            entry("20240205", "-12.00", "RIGHT", fitid: "8", corrects: "1")
            + entry("20240205", "0", "", fitid: "9", corrects: "2", "DELETE")
            + entry("20240205", "-5.00", "NEW", fitid: "7", corrects: "3")
            + entry("20240205", "-6.00", "SELF", fitid: "4", corrects: "4")
            + entry("20240205", "-8.00", "DONE", fitid: "5", corrects: "6")
            + entry("20240205", "0", "", fitid: "11", corrects: "10", "DELETE")
        let days = "<BANKTRANLIST><DTSTART>20240201<DTEND>20240229"
        let given = try await Given(OFXSamples.statement(text).replacing("<BANKTRANLIST>", with: days))
        let stored = [
            "1|x|20240102|-5|usd", "1|20240102|-1000|usd", "1|20240101|-1|usd", "2|20240103|-2000|usd",
            "1|20240209|-1|usd", "1|20240103|-1|eur", "4|20240102|-700|usd", "5|20240205|-800|usd|c",
            "6|20240220|-900|usd", "10|20240301|-100|usd",
        ]
        let access = Access(
            institution: OFXFiles.standard,
            holder: "cus_A",
            now: 1_790_000_000,
            credential: given.credential,
            upload: given.upload,
            known: { beginning, last async throws(ConnectorError) in
                stored.filter { name in
                    name.hasPrefix(beginning) && (last.map { name < $0 + "\u{10FFFF}" } ?? true)
                }
            }
        ) { _ throws(ConnectorError) in throw .unsupported }
        let page = try await files.transactions(of: given.accounts()[0].reference, after: nil, access)
        #expect(page.retractions.map(\.retracts) == [["2|20240103|-2000|usd"]])
        #expect(
            page.transactions.map(\.corrects) == [
                ["1|20240102|-1000|usd", "8|20240205|-1200|usd"], ["7|20240205|-500|usd"],
                ["4|20240102|-700|usd", "4|20240205|-600|usd"], ["5|20240205|-800|usd"],
            ]
        )
    }

    @Test("tell those without a FITID apart, however far they are from each other")
    func alike() async throws {
        let alike = entry("20240301", "-3.00", "COFFEE")
        let days = (0..<4500).map { "2024\(["01", "02"][$0 % 2])\(10 + $0 / 2 % 19)" }
        let other = days.enumerated().map { entry($1, "-1.00", "N\($0)") }.joined()
        let sorted = days.sorted().enumerated().map { entry($1, "-1.00", "N\($0)") }.joined()
        let named = days.sorted().enumerated().map { entry($1, "-1.00", "N\($0)", fitid: "F\($0)") }.joined()
        let many = String(repeating: alike, count: 4500)
        for text in [alike + other + alike, sorted + many, sorted + many + named, named + alike + named + alike] {
            let given = try await Given(OFXSamples.statement(text))
            let all = try await given.transactions(try await given.accounts()[0]).all
            let count = text.split(separator: "\n").count - (text.hasPrefix(named) ? 4500 : 0)
            #expect(Set(all.map(\.id)).count == count)
        }
    }

    @Test("tell those that are pending apart by their reference, however far they are from each other")
    func alikePending() async throws {
        let pending = { (name: String) in
            "<STMTTRNP><TRNTYPE>POS<DTTRAN>20240304<TRNAMT>-7.00<REFNUM>R\(name)<NAME>KIOSK</STMTTRNP>\n"
        }
        let list = pending("x") + (0..<2500).map { pending("\($0)") }.joined() + pending("x")
        let text = OFXSamples.statement(entry("20240102", "-1.00", "A", fitid: "1")).replacing(
            "</BANKTRANLIST>",
            with: "</BANKTRANLIST><BANKTRANLISTP><DTASOF>20240305\n\(list)</BANKTRANLISTP>"
        )
        let given = try await Given(text)
        let all = try await given.transactions(try await given.accounts()[0]).all
        #expect(Set(all.map(\.id)).count == 2503)
    }

    @Test("are refused where too many cannot be told apart in parts")
    func tooManyAlike() async throws {
        let mixed = (0..<20_001).map { entry("202401\(10 + $0 % 2)", "-1.00", "A") }.joined()
        #expect(await refusal(OFXSamples.statement(mixed))?.contains("more than 20000") == true)
        let oneDay = (0..<20_001).map { _ in entry("20240110", "-1.00", "A") }.joined()
        #expect(await refusal(OFXSamples.statement(oneDay))?.contains("have no FITID") == true)
    }

    @Test("prove that something is pending no more only where each currency has a list")
    func pendingLists() {
        func statement(_ currency: String, _ moment: String?) -> OFXStatement {
            var statement = OFXStatement(account: OFXAccount(kind: .bank), offset: 0, path: [])
            (statement.currency, statement.pendingAsOf) = (currency, moment)
            return statement
        }
        let both = OFXPendingLists(
            [statement("USD", "20240301"), statement("EUR", "20240229")],
            currency: nil,
            after: [:]
        )
        #expect(both.places == [0, 1] && both.window?.upperBound == 1_709_164_801)
        for statements in [[statement("USD", "20240302"), statement("EUR", nil)], [statement("USD", "20240302")]] {
            let one = OFXPendingLists(statements, currency: nil, after: both.made)
            #expect(one.places == [0] && one.window == nil)
        }
        let older = OFXPendingLists([statement("USD", "20240228")], currency: nil, after: both.made)
        #expect(older.places == [] && older.window == nil && older.made == both.made)
        let twice = OFXPendingLists(
            [statement("USD", "20240301"), statement("USD", "20240301")],
            currency: nil,
            after: [:]
        )
        #expect(twice.places == [0, 1] && twice.window != nil)
    }

    @Test("bring the same where a statement comes twice")
    func twice() async throws {
        let coffee = entry("20240102", "-3.00", "COFFEE")
        let given = try await Given(accounts([("1", "11111", coffee + coffee), ("1", "11111", coffee)]))
        let (accounts, all) = (try await given.accounts(), try await given.transactions(given.accounts()[0]).all)
        #expect(accounts.count == 1 && all.count == 2 && Set(all.map(\.id)).count == 2)
    }

    @Test("tell what is alike in two currencies of an account apart")
    func alikeInCurrencies() async throws {
        let coffee = entry("20240102", "-3.00", "COFFEE")
        let text = accounts([("1", "11111", coffee), ("1", "11111", coffee)])
        let second = try #require(text.ranges(of: "USD").last)
        let given = try await Given(text.replacingCharacters(in: second, with: "EUR"))
        let all = try await given.transactions(try await given.accounts()[0]).all
        #expect(all.map(\.currency) == ["usd", "eur"])
    }

    @Test("bring accounts apart whose numbers only look alike when they are joined")
    func joined() async throws {
        let given = try await Given(accounts([("1|2", "3", ""), ("1", "2|3", ""), ("1\\", "2|3", "")]))
        #expect(Set(try await given.accounts().map(\.id)).count == 3)
        #expect(OFXAccount(kind: .bank, bank: "12", number: "3", type: "SAVINGS").key == "ofx|bank|12|3|SAVINGS")
    }
}
