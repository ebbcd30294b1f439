/// What is asked of an OFX server and what it answers: one document each way.

internal import FoundationEssentials

/// A request, written in SGML for versions before 200 and in XML from then on.
struct OFXRequest: Sendable {
    /// Who asks.
    struct SignOn: Sendable {
        enum Proof: Sendable {
            case anonymous
            case password(user: String, password: String)
            case token(String)
        }

        var proof: Proof
        var organization: String
        var institutionID: String
        var application = "QWIN"
        var applicationVersion = "2700"
        var clientID: String?
        var accessKey: String?
        var authenticationToken: String?
        /// What the person answered to the bank's questions, by the name of the question.
        var challengeAnswers: [(id: String, answer: String)] = []
    }

    private let version: Int
    private var text = ""

    private static let anonymous = "anonymous00000000000000000000000"

    /// - Parameters:
    ///   - version: 102 to 160, or 200 to 230.
    ///   - identifier: unique, up to 36 letters and digits.
    init(version: Int, identifier: String, signOn: SignOn, now: Int64) {
        self.version = version
        if version < 200 {
            text = """
                OFXHEADER:100\r\nDATA:OFXSGML\r\nVERSION:\(version)\r\nSECURITY:NONE\r\nENCODING:USASCII\r\n\
                CHARSET:1252\r\nCOMPRESSION:NONE\r\nOLDFILEUID:NONE\r\nNEWFILEUID:\(identifier)\r\n\r\n<OFX>
                """
        } else {
            text = """
                <?xml version="1.0" encoding="UTF-8" standalone="no"?>
                <?OFX OFXHEADER="200" VERSION="\(version)" SECURITY="NONE" OLDFILEUID="NONE" \
                NEWFILEUID="\(identifier)"?>
                <OFX>
                """
        }
        aggregate("SIGNONMSGSRQV1") { request in
            request.aggregate("SONRQ") { request in request.write(signOn, now) }
        }
    }

    private mutating func write(_ signOn: SignOn, _ now: Int64) {
        leaf("DTCLIENT", OFXDate.text(of: now))
        switch signOn.proof {
        case .anonymous:
            leaf("USERID", Self.anonymous)
            leaf("USERPASS", Self.anonymous)
        case .password(let user, let password):
            leaf("USERID", user)
            leaf("USERPASS", password)
        case .token(let token): leaf("ACCESSTOKEN", token)
        }
        leaf("LANGUAGE", "ENG")
        aggregate("FI") { request in
            request.leaf("ORG", signOn.organization)
            request.leaf("FID", signOn.institutionID)
        }
        leaf("APPID", signOn.application)
        leaf("APPVER", signOn.applicationVersion)
        leaf("CLIENTUID", signOn.clientID)
        leaf("AUTHTOKEN", signOn.authenticationToken)
        leaf("ACCESSKEY", signOn.accessKey)
        for (id, answer) in signOn.challengeAnswers {
            aggregate("MFACHALLENGEANSWER") { request in
                request.leaf("MFAPHRASEID", id)
                request.leaf("MFAPHRASEA", answer)
            }
        }
    }

    // MARK: What is asked

    mutating func askProfile(_ id: String) {
        transaction("PROFMSGSRQV1", "PROFTRNRQ", id) { request in
            request.aggregate("PROFRQ") { request in
                request.leaf("CLIENTROUTING", "NONE")
                request.leaf("DTPROFUP", "19900101")
            }
        }
    }

    mutating func askAccounts(_ id: String) {
        transaction("SIGNUPMSGSRQV1", "ACCTINFOTRNRQ", id) { request in
            request.aggregate("ACCTINFORQ") { request in request.leaf("DTACCTUP", "19900101") }
        }
    }

    /// The bank's questions stand in the sign-on's message set, which was closed.
    mutating func askChallenge(_ id: String, now: Int64) {
        let end = "</SIGNONMSGSRQV1>"
        if text.hasSuffix(end) { text.removeLast(end.count) }
        aggregate("MFACHALLENGETRNRQ") { request in
            request.leaf("TRNUID", id)
            request.aggregate("MFACHALLENGERQ") { request in request.leaf("DTCLIENT", OFXDate.text(of: now)) }
        }
        text += end
    }

    /// - Parameter begin: from when on transactions are asked for; nil for the balance alone.
    mutating func askStatement(_ id: String, of account: OFXAccount, from begin: Int64?) {
        let names: (set: String, transaction: String, request: String) =
            switch account.kind {
            case .bank: ("BANKMSGSRQV1", "STMTTRNRQ", "STMTRQ")
            case .card: ("CREDITCARDMSGSRQV1", "CCSTMTTRNRQ", "CCSTMTRQ")
            case .loan: ("LOANMSGSRQV1", "LOANSTMTTRNRQ", "LOANSTMTRQ")
            case .investment: ("INVSTMTMSGSRQV1", "INVSTMTTRNRQ", "INVSTMTRQ")
            }
        transaction(names.set, names.transaction, id) { request in
            request.aggregate(names.request) { request in
                request.write(account)
                request.aggregate("INCTRAN") { request in
                    request.leaf("DTSTART", begin.map { String(OFXDate.text(of: $0).prefix(8)) })
                    request.leaf("INCLUDE", begin == nil ? "N" : "Y")
                }
                switch account.kind {
                case .bank, .card:
                    if begin != nil, request.version >= 200 { request.leaf("INCLUDEPENDING", "Y") }
                case .loan: break
                case .investment:
                    request.leaf("INCOO", "N")
                    // The balance is that of all positions.
                    request.aggregate("INCPOS") { request in request.leaf("INCLUDE", begin == nil ? "Y" : "N") }
                    request.leaf("INCBAL", "Y")
                }
            }
        }
    }

    private mutating func write(_ account: OFXAccount) {
        switch account.kind {
        case .bank:
            aggregate("BANKACCTFROM") { request in
                request.leaf("BANKID", account.bank)
                request.leaf("BRANCHID", account.branch)
                request.leaf("ACCTID", account.number)
                request.leaf("ACCTTYPE", account.type.isEmpty ? "CHECKING" : account.type)
            }
        case .card: aggregate("CCACCTFROM") { request in request.leaf("ACCTID", account.number) }
        case .loan:
            aggregate("LOANACCTFROM") { request in
                request.leaf("LOANACCTID", account.number)
                request.leaf("LOANACCTTYPE", account.type)
            }
        case .investment:
            aggregate("INVACCTFROM") { request in
                request.leaf("BROKERID", account.bank)
                request.leaf("ACCTID", account.number)
            }
        }
    }

    private mutating func transaction(
        _ set: String,
        _ name: String,
        _ id: String,
        _ body: (inout OFXRequest) -> Void
    ) {
        aggregate(set) { request in
            request.aggregate(name) { request in
                request.leaf("TRNUID", id)
                body(&request)
            }
        }
    }

    // MARK: Bytes

    private mutating func aggregate(_ name: String, _ body: (inout OFXRequest) -> Void) {
        text += "<\(name)>"
        body(&self)
        text += "</\(name)>"
    }

    /// Nothing is written for what is not there.
    private mutating func leaf(_ name: String, _ value: String?) {
        guard let value, !value.isEmpty else { return }
        text += "<\(name)>"
        for letter in value.unicodeScalars {
            switch letter {
            case "&": text += "&amp;"
            case "<": text += "&lt;"
            case ">": text += "&gt;"
            default: if letter.value >= 32 { text.unicodeScalars.append(letter) }
            }
        }
        text += version < 200 ? "\r\n" : "</\(name)>"
    }

    var bytes: [UInt8] {
        let whole = text + "</OFX>"
        guard version < 200 else { return Array(whole.utf8) }
        // ISO 8859-1 is what Windows-1252 and Unicode have in common.
        return whole.unicodeScalars.map { $0.value < 256 ? UInt8($0.value) : UInt8(ascii: "?") }
    }
}

/// All of an answer.
struct OFXAnswer: Sendable {
    private(set) var signOn = OFXSignOn()
    /// What became of the requests, in their order.
    private(set) var statuses: [OFXStatus] = []
    private(set) var offers: [OFXOffer] = []
    private(set) var statements: [(statement: OFXStatement, transactions: [OFXTransaction])] = []
    private(set) var challenges: [(id: String, label: String)] = []
    private(set) var profile: OFXProfile?

    init(_ bytes: [UInt8]) throws(OFXFault) {
        var decoder = OFXDecoder()
        decoder.feed(bytes)
        decoder.finish()
        var transactions: [OFXTransaction] = []
        while let item = try decoder.next() {
            switch item {
            case .signOn(let signOn): self.signOn = signOn
            case .status(let status, _): statuses.append(status)
            case .offer(let offer): offers.append(offer)
            case .transaction(let transaction): transactions.append(transaction)
            case .statement(let statement):
                statements.append((statement, transactions))
                transactions = []
            case .challenge(let id, let label): challenges.append((id, label))
            case .profile(let profile): self.profile = profile
            }
        }
    }

    /// Leaves the statements of one account.
    /// - Parameter others: as in ``OFXAccount/answers(for:among:)``.
    /// - Throws: `invalidResponse` where there are statements, and all of them are others'.
    mutating func keepStatements(
        of account: OFXAccount,
        among others: [OFXAccount]
    ) throws(ConnectorError) {
        let isOnly = statements.count == 1
        let own = statements.filter { statement, _ in
            statement.account.answers(for: account, among: others) || isOnly && statement.account.number.isEmpty
        }
        guard own.isEmpty == statements.isEmpty else { throw .invalidResponse }
        statements = own
    }

    /// The first refusal: of the sign-on, or of what was asked.
    var refusal: OFXStatus? {
        ([signOn.status] + statuses).first(where: \.isRefusal)
    }
}
