/// OFX Direct Connect against a server that was written from the protocol: profile, sign-on with password, token, code
/// and questions, accounts with owners, statements, what is pending, errors.

import Foundation
import Synchronization
import Testing

@testable import Institutions
@testable import Outbound

private let now: Int64 = 1_790_000_000
private let canary = "canary-ofx-password-7d2a"
private let mark: @Sendable (String) -> String = { text in
    let hash = text.utf8.reduce(UInt64(14_695_981_039_346_656_037)) { ($0 ^ UInt64($1)) &* 1_099_511_628_211 }
    return String(hash, radix: 36)
}

/// An OFX server with one customer.
private final class OFXServer: Sendable {
    struct State {
        /// The number of the account in statements.
        var number = "0009991111"
        /// `SIGNONINFO` of the profile; nil where the server tells none.
        var signOnInfo: String? = "<CLIENTUIDREQ>Y"
        /// Asks questions of whoever has no access key.
        var asksQuestions = false
        var wantsToken = false
        /// The code of every answer to a signed-on request; 0 for none.
        var refusal = 0
        /// What stands beside that code.
        var severity = "ERROR"
        /// Whether it stands beside an answer.
        var isWarning = false
        var password = canary
        /// The code of a statement's answer, for windows that begin before this day.
        var earliest = ""
        var status = 200
    }

    let state = Mutex(State())
    private let server = Mutex<LocalServer?>(nil)

    init() async throws {
        let server = try await LocalServer { [self] asked in answer(asked) }
        self.server.withLock { $0 = server }
    }

    var url: String { (server.withLock { $0?.url } ?? "") + "/ofx" }
    var asked: [LocalServer.Asked] { server.withLock { $0?.asked } ?? [] }

    private func answer(_ asked: LocalServer.Asked) -> LocalServer.Answer {
        let state = state.withLock { $0 }
        guard state.status == 200 else { return .init(status: state.status) }
        guard asked.headers["content-type"] == "application/x-ofx", asked.body.contains("<FID>4242") else {
            return .init(status: 400)
        }
        func leaf(_ name: String) -> String? {
            guard let begin = asked.body.firstRange(of: "<\(name)>") else { return nil }
            let text = asked.body[begin.upperBound...].prefix { !"<\r\n".contains($0) && $0 != "\r\n" }
            return String(text).replacing("&amp;", with: "&")
        }
        if asked.body.contains("<PROFRQ>") {
            guard let info = state.signOnInfo else { return .init(status: 400) }
            return document(
                0,
                """
                <PROFMSGSRSV1><PROFTRNRS><TRNUID>1<STATUS><CODE>0<SEVERITY>INFO</STATUS><PROFRS><MSGSETLIST>
                <SIGNUPMSGSET>
                <SIGNUPMSGSETV1><MSGSETCORE><VER>1<URL>\(url)/signup</MSGSETCORE></SIGNUPMSGSETV1></SIGNUPMSGSET>
                </MSGSETLIST><SIGNONINFOLIST><SIGNONINFO><SIGNONREALM>R\(info)</SIGNONINFO></SIGNONINFOLIST>
                </PROFRS></PROFTRNRS></PROFMSGSRSV1>
                """
            )
        }
        let isKnown =
            leaf("USERID") == "ada" && leaf("USERPASS") == state.password || leaf("ACCESSTOKEN") == canary
        guard isKnown else { return document(15_500, "") }
        if asked.body.contains("<MFACHALLENGERQ>") {
            return document(
                0,
                "",
                """
                <MFACHALLENGETRNRS><TRNUID>1<STATUS><CODE>0<SEVERITY>INFO</STATUS><MFACHALLENGERS><MFACHALLENGE>
                <MFAPHRASEID>MFA13<MFAPHRASELABEL>Your first pet?</MFACHALLENGE></MFACHALLENGERS></MFACHALLENGETRNRS>
                """
            )
        }
        let isAnswered = leaf("MFAPHRASEA") == "Rex & Co" || leaf("ACCESSKEY") == "key-1"
        if state.asksQuestions, !isAnswered { return document(leaf("MFAPHRASEA") == nil ? 3000 : 3001, "") }
        if state.wantsToken, leaf("AUTHTOKEN") != "123" { return document(15_512, "") }
        let status = "<STATUS><CODE>\(state.refusal)<SEVERITY>\(state.severity)</STATUS>"
        if state.refusal != 0, !state.isWarning { return document(0, "<X><XTRNRS>\(status)</XTRNRS></X>") }
        if asked.body.contains("<ACCTINFORQ>") { return document(0, Self.accounts) }
        var body = Self.statements.first { asked.body.contains("<\($0.key)>") }?.value ?? ""
        body = body.replacing("<ACCTID>0009991111", with: "<ACCTID>\(state.number)")
        if state.isWarning { body = body.replacing("<STATUS><CODE>0<SEVERITY>INFO</STATUS>", with: status) }
        if let start = leaf("DTSTART"), start < state.earliest {
            return document(0, "<B><STMTTRNRS><STATUS><CODE>2027<SEVERITY>ERROR</STATUS></STMTTRNRS></B>")
        }
        return document(0, body)
    }

    private func document(_ code: Int, _ body: String, _ inSignOn: String = "") -> LocalServer.Answer {
        let severity = code == 0 ? "INFO" : "ERROR"
        let key = state.withLock { $0.asksQuestions } && code == 0 ? "<ACCESSKEY>key-1" : ""
        return .init(
            type: "application/x-ofx",
            body: """
                OFXHEADER:100
                DATA:OFXSGML
                VERSION:103

                <OFX><SIGNONMSGSRSV1><SONRS><STATUS><CODE>\(code)<SEVERITY>\(severity)</STATUS><DTSERVER>20260921120000
                <LANGUAGE>ENG\(key)</SONRS>\(inSignOn)</SIGNONMSGSRSV1>\(body)</OFX>
                """
        )
    }

    private static let accounts = """
        <SIGNUPMSGSRSV1><ACCTINFOTRNRS><TRNUID>1<STATUS><CODE>0<SEVERITY>INFO</STATUS><ACCTINFORS><DTACCTUP>20260901
        <ACCTINFO><DESC>Daily account<BANKACCTINFO><BANKACCTFROM><BANKID>121000358<ACCTID>0009991111<ACCTTYPE>CHECKING
        </BANKACCTFROM><SUPTXDL>Y<XFERSRC>N<XFERDEST>N<SVCSTATUS>ACTIVE</BANKACCTINFO>
        <HOLDERINFO><PRIMARYHOLDER><FIRSTNAME>Ada<LASTNAME>King<ADDR1>1 Way<CITY>London<POSTALCODE>N1
        <COUNTRY>GBR<DAYPHONE>+4420<EMAIL>ada@example.com</PRIMARYHOLDER>
        <SECONDARYHOLDER><FIRSTNAME>Will<LASTNAME>King</SECONDARYHOLDER></HOLDERINFO></ACCTINFO>
        <ACCTINFO><CCACCTINFO><CCACCTFROM><ACCTID>5500000000002222</CCACCTFROM><SUPTXDL>Y<XFERSRC>N<XFERDEST>N
        <SVCSTATUS>ACTIVE</CCACCTINFO></ACCTINFO>
        </ACCTINFORS></ACCTINFOTRNRS></SIGNUPMSGSRSV1>
        """

    private static let statements = [
        "STMTRQ": """
        <BANKMSGSRSV1><STMTTRNRS><TRNUID>1<STATUS><CODE>0<SEVERITY>INFO</STATUS><STMTRS><CURDEF>USD<BANKACCTFROM>
        <BANKID>121000358<ACCTID>0009991111<ACCTTYPE>CHECKING</BANKACCTFROM><BANKTRANLIST>
            <DTSTART>20260401<DTEND>20260921
        <STMTTRN><TRNTYPE>POS<DTPOSTED>20260901<TRNAMT>-4.20<FITID>1<NAME>TEA</STMTTRN>
        <STMTTRN><TRNTYPE>POS<DTPOSTED>20260902<TRNAMT>-5.00<FITID>2<NAME>CAKE</STMTTRN></BANKTRANLIST>
        <BANKTRANLISTP><DTASOF>20260921<STMTTRNP><TRNTYPE>POS<DTTRAN>20260920<TRNAMT>-1.00<NAME>BUS</STMTTRNP>
        </BANKTRANLISTP><LEDGERBAL><BALAMT>99.10<DTASOF>20260921</LEDGERBAL>
        <AVAILBAL><BALAMT>98.10<DTASOF>20260921</AVAILBAL></STMTRS></STMTTRNRS></BANKMSGSRSV1>
        """,
        "CCSTMTRQ": """
        <CREDITCARDMSGSRSV1><CCSTMTTRNRS><TRNUID>1<STATUS><CODE>0<SEVERITY>INFO</STATUS><CCSTMTRS><CURDEF>USD
        <CCACCTFROM><ACCTID>5500000000002222</CCACCTFROM><LEDGERBAL><BALAMT>-20.00<DTASOF>20260921</LEDGERBAL>
        </CCSTMTRS></CCSTMTTRNRS></CREDITCARDMSGSRSV1>
        """,
    ]
}

private let bank = Institution(
    id: "fcinst_OFXDirectTest1",
    name: "Old Bank",
    domain: "old.example",
    featured: false,
    countries: ["US"]
)

private func connector(_ server: OFXServer, version: Int = 103) -> OFXDirect {
    var configuration = OFXDirect.Configuration(url: server.url, organization: "OLD", institutionID: "4242")
    configuration.version = version
    let line = Line(Outbound(policy: .withLoopback), patience: .seconds(120))
    let source = Counter()
    return OFXDirect(bank, configuration, line: line, mark: mark) { length in source.next(length) }
}

private final class Counter: Sendable {
    private let count = Mutex(0)

    func next(_ length: Int) -> String {
        let digits = count.withLock { count in
            count += 1
            return String(count)
        }
        return String(repeating: "0", count: length - digits.count) + digits
    }
}

private func attempt() -> Attempt {
    Attempt(
        institution: bank,
        holder: "cus_A",
        now: now,
        isRelink: false,
        callback: .init(url: "https://link.example/flow/return", state: "state")
    )
}

private func form(_ step: Step) throws -> (prompt: Prompt, note: [UInt8]) {
    guard case .prompt(let prompt, let note) = step else { throw ConnectorError.unsupported }
    return (prompt, note)
}

private func access(_ step: Step) throws -> Access {
    guard case .authorized(let credential) = step else { throw ConnectorError.unsupported }
    return Access(institution: bank, holder: "cus_A", now: now, credential: credential) { ask throws(ConnectorError) in
        try await ask(credential)
    }
}

private func signIn(_ connector: OFXDirect, password: String = canary) async throws -> Step {
    let (_, note) = try form(try await connector.begin(attempt()))
    return try await connector.resume(attempt(), from: note, .answers(["user": "ada", "password": password]))
}

func ofxDirectExhibit() async throws -> Exhibit {
    Exhibit(
        connector: connector(try await OFXServer(), version: 203),
        institution: bank,
        answer: { _, _ in .answers(["user": "ada", "password": canary]) },
        secrets: [canary]
    )
}

@Suite("OFX Direct Connect")
struct OFXDirectTests {
    @Test("signs on, and finds accounts with their owners", arguments: [102, 103, 203, 220])
    func accounts(_ version: Int) async throws {
        let server = try await OFXServer()
        let connector = connector(server, version: version)
        let access = try access(try await signIn(connector))
        let accounts = try await connector.accounts(access)
        #expect(accounts.map(\.displayName) == ["Daily account", "Credit card 2222"])
        #expect(accounts.map(\.last4) == ["1111", "2222"] && accounts.map(\.subcategory) == [.checking, .creditCard])
        let owners = try await connector.owners(of: accounts[0].reference, access)
        #expect(
            owners == [
                Owner(
                    name: "Ada King",
                    email: "ada@example.com",
                    phone: "+4420",
                    address: "1 Way, London, N1, GBR"
                ), Owner(name: "Will King", email: nil, phone: nil, address: nil),
            ]
        )
        if version < 203 {
            await #expect(throws: ConnectorError.unsupported, "there is no place for them") {
                try await connector.owners(of: accounts[1].reference, access)
            }
        } else {
            #expect(try await connector.owners(of: accounts[1].reference, access).isEmpty, "none is made up")
        }
        let request = try #require(server.asked.first { $0.body.contains("<ACCTINFORQ>") })
        #expect(request.path == "/ofx/signup", "asked where the profile says")
        #expect(request.headers["user-agent"] == "InetClntApp/3.0" && request.body.contains("<CLIENTUID>"))
        #expect(request.body.contains(version < 200 ? "VERSION:\(version)" : "VERSION=\"\(version)\""))
        let again = try #require(server.asked.last { $0.body.contains("<ACCTINFORQ>") })
        let client = { (body: String) in body.firstMatch(of: /<CLIENTUID>([0-9A-F-]{36})/)?.output.1 }
        #expect(client(request.body) != nil && client(request.body) == client(again.body), "a stable id of 36 letters")
    }

    @Test("tells balances, transactions and what is pending")
    func data() async throws {
        let server = try await OFXServer()
        let connector = connector(server, version: 203)
        let access = try access(try await signIn(connector))
        let accounts = try await connector.accounts(access).map(\.reference)
        let cash = try await connector.balance(of: accounts[0], access)
        #expect(cash.current == ["usd": 9910] && cash.kind == .cash(available: ["usd": 9810]))
        #expect(try await connector.balance(of: accounts[1], access).kind == .credit(used: ["usd": -2000]))
        let page = try await connector.transactions(of: accounts[0], after: nil, access)
        #expect(page.transactions.map(\.amount) == [-420, -500, -100] && !page.hasMore)
        #expect(page.transactions.map(\.status) == [.posted, .posted, .pending] && page.completeWindow != nil)
        let first = try #require(server.asked.last { $0.body.contains("<DTSTART>") })
        #expect(first.body.contains("<DTSTART>20260325") && first.body.contains("<INCLUDEPENDING>Y"), "180 days")
        _ = try await connector.transactions(of: accounts[0], after: page.cursor, access)
        #expect(server.asked.last?.body.contains("<DTSTART>20260822") == true, "then 30, for what may have changed")
    }

    @Test("asks for less where a bank does not remember so long")
    func memory() async throws {
        let server = try await OFXServer()
        server.state.withLock { $0.earliest = "20260715" }
        let connector = connector(server)
        let access = try access(try await signIn(connector))
        let account = try await connector.accounts(access)[0].reference
        #expect(try await connector.transactions(of: account, after: nil, access).transactions.count == 3)
    }

    @Test("says which part of a sign-on was not right, and never sends it twice")
    func refusals() async throws {
        let server = try await OFXServer()
        let connector = connector(server)
        let before = server.asked.count
        let (prompt, _) = try form(try await signIn(connector, password: "wrong"))
        #expect(prompt.error == "The user name or the password is not right.")
        #expect(server.asked.dropFirst(before).filter { $0.body.contains("<USERPASS>wrong") }.count == 1)
        let (empty, _) = try form(try await signIn(connector, password: ""))
        #expect(empty.error != nil)
        for (code, words) in [(15_502, "locked"), (15_501, "signed in"), (15_000, "new password")] {
            server.state.withLock { $0.refusal = code }
            #expect(try form(try await signIn(connector)).prompt.error?.contains(words) == true)
        }
    }

    @Test("asks the person what the bank asks, and keeps the access key that it gives for that")
    func challenge() async throws {
        let server = try await OFXServer()
        server.state.withLock { $0.asksQuestions = true }
        let connector = connector(server)
        let (questions, note) = try form(try await signIn(connector))
        #expect(questions.fields.map(\.label) == ["Your first pet?"])
        let wrong = try await connector.resume(attempt(), from: note, .answers(["MFA13": "Tom"]))
        #expect(try form(wrong).prompt.error?.contains("not right") == true)
        let (_, second) = try form(try await signIn(connector))
        let done = try await connector.resume(attempt(), from: second, .answers(["MFA13": "Rex & Co"]))
        let access = try access(done)
        let account = try await connector.accounts(access)[0].reference
        #expect(try await connector.balance(of: account, access).current == ["usd": 9910])
        #expect(server.asked.last?.body.contains("<ACCESSKEY>key-1") == true)
    }

    @Test("signs on by a token of the person's, or with a code, where the bank wants that")
    func tokens() async throws {
        let server = try await OFXServer()
        server.state.withLock { $0.signOnInfo = "<ACCESSTOKENREQ>Y" }
        let connector = connector(server, version: 220)
        let (prompt, note) = try form(try await connector.begin(attempt()))
        #expect(prompt.fields.map(\.name) == ["token"])
        let access = try access(try await connector.resume(attempt(), from: note, .answers(["token": " \(canary)\n"])))
        let account = try await connector.accounts(access)[0].reference
        #expect(try await connector.balance(of: account, access).current == ["usd": 9910])
        #expect(!(server.asked.last?.body.contains("<USERPASS>") ?? true))
        server.state.withLock { ($0.signOnInfo, $0.wantsToken) = (nil, true) }
        let (code, next) = try form(try await signIn(connector))
        #expect(code.fields.map(\.name) == ["user", "password", "code"])
        let done = try await connector.resume(
            attempt(),
            from: next,
            .answers(["user": "ada", "password": canary, "code": "123"])
        )
        guard case .authorized = done else { return #expect(Bool(false), "the code was right") }
    }

    @Test("names what ended or what is down when data is fetched")
    func faults() async throws {
        let server = try await OFXServer()
        let connector = connector(server)
        let table: [(Int, ConnectorError)] = [
            (15_500, .relinkRequired), (2003, .accountClosed), (2004, .accountClosed), (2005, .accountRelinkRequired),
            (2000, .institutionUnavailable(until: nil)), (3000, .relinkRequired), (13_504, .invalidResponse),
        ]
        for (code, error) in table {
            server.state.withLock { $0.refusal = 0 }
            let access = try access(try await signIn(connector))
            let account = try await connector.accounts(access)[0].reference
            server.state.withLock { $0.refusal = code }
            await #expect(throws: error, "\(code)") { try await connector.balance(of: account, access) }
        }
        server.state.withLock { $0.refusal = 0 }
        let access = try access(try await signIn(connector))
        let account = try await connector.accounts(access)[0].reference
        for (status, error) in [(500, ConnectorError.institutionUnavailable(until: nil)), (400, .invalidResponse)] {
            server.state.withLock { ($0.refusal, $0.status) = (0, status) }
            await #expect(throws: error, "\(status)") { try await connector.balance(of: account, access) }
        }
    }

    @Test(
        "takes a warning for an answer, but for one that demands something",
        arguments: [
            (2000, "WARN", nil), (2000, "INFO", nil), (10_500, "WARN", nil),
            (2000, "ERROR", .institutionUnavailable(until: nil)), (2000, "", .institutionUnavailable(until: nil)),
            (15_000, "INFO", .relinkRequired), (3000, "WARN", .relinkRequired),
        ] as [(Int, String, ConnectorError?)]
    )
    func warnings(_ code: Int, _ severity: String, _ error: ConnectorError?) async throws {
        let server = try await OFXServer()
        let connector = connector(server)
        let access = try access(try await signIn(connector))
        let account = try await connector.accounts(access)[0].reference
        server.state.withLock { ($0.refusal, $0.severity, $0.isWarning) = (code, severity, true) }
        guard let error else {
            #expect(try await connector.balance(of: account, access).current == ["usd": 9910])
            return
        }
        await #expect(throws: error) { try await connector.balance(of: account, access) }
    }

    @Test("tells a client id from version 103 on, or where the bank wants it", arguments: [102, 103], [true, false])
    func clientID(_ version: Int, _ isWanted: Bool) async throws {
        let server = try await OFXServer()
        server.state.withLock { $0.signOnInfo = isWanted ? "<CLIENTUIDREQ>Y" : "<CLIENTUIDREQ>N" }
        _ = try access(try await signIn(connector(server, version: version)))
        let request = try #require(server.asked.last { $0.body.contains("<ACCTINFORQ>") })
        #expect(request.body.contains("<CLIENTUID>") == (version >= 103 || isWanted))
        let profile = try #require(server.asked.first { $0.body.contains("<PROFRQ>") })
        #expect(profile.body.contains("<CLIENTUID>") == (version >= 103))
    }

    @Test("sends a stored password that is wrong once, whatever is asked at once, until the person signs in anew")
    func oneAtATime() async throws {
        let server = try await OFXServer()
        let connector = connector(server)
        let access = try access(try await signIn(connector))
        let account = try await connector.accounts(access)[0].reference
        server.state.withLock { $0.password = "changed" }
        let before = server.asked.count
        await withTaskGroup(of: ConnectorError?.self) { group in
            for _ in 0..<6 {
                group.addTask {
                    do throws(ConnectorError) {
                        _ = try await connector.balance(of: account, access)
                        return nil
                    } catch {
                        return error
                    }
                }
            }
            for await error in group { #expect(error == .relinkRequired) }
        }
        #expect(server.asked.count == before + 1)
        server.state.withLock { $0.password = canary }
        _ = try await signIn(connector)
        #expect(try await connector.balance(of: account, access).current == ["usd": 9910])
    }

    @Test("asks for the positions of an investment account where its balance is asked for", arguments: [nil, now])
    func positions(_ begin: Int64?) {
        let signOn = OFXRequest.SignOn(proof: .anonymous, organization: "O", institutionID: "F")
        var request = OFXRequest(version: 203, identifier: "1", signOn: signOn, now: now)
        request.askStatement("2", of: OFXAccount(kind: .investment, bank: "b", number: "1"), from: begin)
        let text = String(decoding: request.bytes, as: UTF8.self)
        #expect(text.contains("<INCPOS><INCLUDE>\(begin == nil ? "Y" : "N")</INCLUDE></INCPOS>"))
    }

    @Test("writes what a person typed so that it is read as that")
    func escaping() throws {
        for version in [103, 203] {
            let signOn = OFXRequest.SignOn(
                proof: .password(user: "a<b>&c", password: "é</USERPASS>\u{1}"),
                organization: "O",
                institutionID: "F"
            )
            var request = OFXRequest(version: version, identifier: "1", signOn: signOn, now: now)
            request.askAccounts("2")
            var reader = OFXReader()
            reader.feed(request.bytes)
            reader.finish()
            var values: [String] = []
            while let element = try reader.next() {
                if case .leaf(let name, let value) = element, name.hasPrefix("USER") { values.append(value) }
            }
            #expect(values == ["a<b>&c", "é</USERPASS>"])
        }
    }
}

extension OFXDirectTests {
    @Test(
        "takes a statement of the account that was asked for, and no other",
        arguments: [
            ("0009991111", true), ("9991111", true), ("000-999-1111", true), ("XXXXXX1111", true), ("******1111", true),
            ("", true), ("0009992222", false), ("XXXXXX2222", false), ("1111", false), ("XX11", false), ("XXXX", false),
        ]
    )
    func others(_ number: String, _ isTaken: Bool) async throws {
        let server = try await OFXServer()
        let connector = connector(server)
        let access = try access(try await signIn(connector))
        let account = try await connector.accounts(access)[0].reference
        server.state.withLock { $0.number = number }
        if isTaken {
            #expect(try await connector.balance(of: account, access).current == ["usd": 9910])
            #expect(try await connector.transactions(of: account, after: nil, access).transactions.count == 3)
        } else {
            await #expect(throws: ConnectorError.invalidResponse) { try await connector.balance(of: account, access) }
            await #expect(throws: ConnectorError.invalidResponse) {
                try await connector.transactions(of: account, after: nil, access)
            }
        }
    }
    @Test("tells accounts with one number apart by their type and their bank, and only those")
    func namesakes() {
        func account(_ bank: String, _ number: String, _ type: String) -> OFXAccount {
            OFXAccount(kind: .bank, bank: bank, number: number, type: type)
        }
        let (daily, saved) = (account("1", "77", "CHECKING"), account("1", "77", "SAVINGS"))
        let far = account("2", "77", "")
        #expect(saved.answers(for: daily, among: [daily]))
        #expect(!saved.answers(for: daily, among: [daily, saved]) && daily.answers(for: daily, among: [daily, saved]))
        #expect(far.answers(for: daily, among: [daily]) && !far.answers(for: daily, among: [daily, far]))
        #expect(!OFXAccount(kind: .card, number: "77").answers(for: daily, among: [daily]))
    }

    @Test("believes a hidden number only where it is one account's")
    func hidden() {
        func account(_ number: String, _ type: String = "", branch: String = "") -> OFXAccount {
            OFXAccount(kind: .bank, branch: branch, number: number, type: type)
        }
        let (first, second) = (account("0001111", "CHECKING"), account("9991111", "SAVINGS"))
        let (hidden, typed) = (account("XXX1111"), account("XXX1111", "SAVINGS"))
        for asked in [first, second] {
            #expect(hidden.answers(for: asked, among: [asked]))
            #expect(!hidden.answers(for: asked, among: [first, second]), "it may be either")
        }
        #expect(typed.answers(for: second, among: [first, second]))
        #expect(!typed.answers(for: first, among: [first, second]))
        let branches = ["1", "2"].map { account("1111", branch: $0) }
        #expect(branches[0].answers(for: branches[0], among: branches))
        #expect(!branches[0].answers(for: branches[1], among: branches))
    }
}
