/// Makes of OFX elements what they stand for: sign-ons, accounts, statements and their transactions, profiles.
///
/// Items come in the order of the document, each when its aggregate ends, so that a statement follows its transactions.
/// It promises to read whatever is there and to leave out what is not: a field that is missing or empty is nil, and
/// what a field means is decided where it is used. It holds one transaction and one statement at a time, and what it
/// gives out has bounds: what is longer than banks write is cut, and of what there is more of than they send the rest
/// is left out.

internal import FoundationEssentials

enum OFXItem: Sendable {
    case signOn(OFXSignOn)
    /// What became of one request, with the aggregate of its answer.
    case status(OFXStatus, of: String)
    /// An account that the institution offers, with or without a statement.
    case offer(OFXOffer)
    case transaction(OFXTransaction)
    case statement(OFXStatement)
    case challenge(id: String, label: String)
    case profile(OFXProfile)
}

struct OFXStatus: Sendable, Equatable {
    var code = 0
    /// `INFO`, `WARN` or `ERROR`, in upper case; nil where the bank does not say.
    var severity: String?
    var message: String?

    /// What the person must do, which some banks call no error.
    private static let demands: Set<Int> = [3000, 3001, 15_000, 15_512, 15_513]

    /// Whether there is no answer. Warnings come with one.
    var isRefusal: Bool {
        switch severity {
        case "ERROR": true
        case "INFO", "WARN": Self.demands.contains(code)
        default: code >= 2000
        }
    }
}

struct OFXSignOn: Sendable {
    var status = OFXStatus()
    var organization: String?
    var accessKey: String?
    var sessionCookie: String?
    /// When the server answered.
    var serverTime: OFXDate?
}

/// What identifies an account at its institution. The number is secret.
struct OFXAccount: Sendable, Hashable, Codable {
    enum Kind: String, Sendable, Codable {
        case bank, card, loan, investment
    }

    let kind: Kind
    /// The routing number or the broker.
    var bank = ""
    var branch = ""
    var number = ""
    /// `CHECKING`, `MORTGAGE`; empty where the kind says it all or the bank says nothing.
    var type = ""
}

struct OFXOffer: Sendable {
    var account: OFXAccount?
    var description: String?
    var owners: [Owner] = []
}

struct OFXProfile: Sendable {
    /// Where each message set is asked, by its name: `BANKMSGSETV1`.
    var addresses: [String: String] = [:]
    var needsClientID = false
    var needsAccessToken = false
    var asksChallengeFirst = false
    var asksTokenFirst = false
    var tokenLabel: String?
}

/// A transaction as it stands in a statement.
struct OFXTransaction: Sendable {
    let isPending: Bool
    /// Where it ends, for messages.
    var line = 0
    var posted: String?
    var user: String?
    var available: String?
    var amount: String?
    var fitid: String?
    var correctedFITID: String?
    var isDeletion = false
    var checkNumber: String?
    var reference: String?
    var name: String?
    var payee: String?
    var extendedName: String?
    var memo: String?
    var type: String?
    /// The currency of the amount, where it is not the statement's.
    var currency: String?
}

/// What a statement says beside its transactions.
struct OFXStatement: Sendable, Codable {
    var account: OFXAccount
    /// As it was written; ISO 4217 where it can be used.
    var currency: String?
    var ledger: Amount?
    var available: Amount?
    /// What the positions of an investment account are worth, by currency as it was written; under an empty text what
    /// is in the statement's.
    var positions: [String: Decimal] = [:]
    var hasUnreadablePosition = false
    /// Of a 401(k): all that is in it.
    var total: String?
    /// The moment of the whole statement, for investments.
    var asOf: String?
    var begins: String?
    var ends: String?
    /// The list of what is pending is complete at this moment; nil where there is no such list.
    var pendingAsOf: String?
    /// How transactions lie in it that have no name of their own; nil where all have one.
    var numbering: Numbering?
    /// Where its first element stands in the document, and within what.
    let offset: Int
    let path: [String]

    struct Amount: Sendable, Codable {
        var amount: String?
        var asOf: String?
    }

    /// What has to be read at once, so that those that are alike can be numbered.
    enum Numbering: String, Sendable, Codable {
        /// The transactions come in the order of their days.
        case day
        case whole
    }

    fileprivate struct Position: Sendable {
        var value: String?
        var currency = ""
    }
}

struct OFXDecoder: Sendable {
    private(set) var reader: OFXReader
    /// The statement that is being read.
    private(set) var statement: OFXStatement?
    private var transaction: OFXTransaction?
    private var signOn: OFXSignOn?
    private var status: OFXStatus?
    private var offer: OFXOffer?
    private var holder = Holder()
    private var profile: OFXProfile?
    private var challenge = (id: "", label: "")
    private var position = OFXStatement.Position()

    private static let maximumOwners = 100
    private static let maximumAddresses = 100

    init() {
        reader = OFXReader()
    }

    /// Goes on within a statement.
    init(in statement: OFXStatement, at offset: Int, path: [String]) {
        reader = OFXReader(at: offset, path: path)
        self.statement = statement
    }

    mutating func feed(_ bytes: [UInt8]) { reader.feed(bytes) }
    mutating func finish() { reader.finish() }

    /// - Returns: the next item; nil where more bytes are needed or, at the end, where there is no more.
    mutating func next() throws(OFXFault) -> OFXItem? {
        while let element = try reader.next() {
            switch element {
            case .open(let name): open(name)
            case .leaf(let name, let value): if !value.isEmpty { leaf(name, value) }
            case .close(let name): if let item = close(name) { return item }
            }
        }
        return nil
    }

    // MARK: Aggregates

    private mutating func open(_ name: String) {
        switch name {
        case "STMTTRN", "LOANSTMTTRN": transaction = OFXTransaction(isPending: false)
        case "STMTTRNP": transaction = OFXTransaction(isPending: true)
        case "STMTRS": begin(.bank)
        case "CCSTMTRS": begin(.card)
        case "LOANSTMTRS": begin(.loan)
        case "INVSTMTRS": begin(.investment)
        case "BANKTRANLISTP": statement?.pendingAsOf = ""
        case "LEDGERBAL", "PRINBAL": statement?.ledger = .init()
        case "AVAILBAL": statement?.available = .init()
        case "SONRS": signOn = OFXSignOn()
        case "STATUS": status = OFXStatus()
        case "ACCTINFO": offer = OFXOffer()
        case "BANKACCTFROM": account(.bank)
        case "CCACCTFROM": account(.card)
        case "LOANACCTFROM": account(.loan)
        case "INVACCTFROM": account(.investment)
        case "PRIMARYHOLDER", "SECONDARYHOLDER", "CONTACTPROF": holder = Holder()
        case "PROFRS": profile = OFXProfile()
        case "MFACHALLENGE": challenge = ("", "")
        case "INVPOS": position = .init()
        default: break
        }
    }

    private mutating func begin(_ kind: OFXAccount.Kind) {
        statement = OFXStatement(account: .init(kind: kind), offset: reader.offset, path: reader.path)
    }

    /// In an offer the aggregate tells the kind; a card's statement may carry a bank's aggregate, and stays a card's.
    private mutating func account(_ kind: OFXAccount.Kind) {
        if offer != nil, offer?.account == nil { offer?.account = .init(kind: kind) }
    }

    private mutating func close(_ name: String) -> OFXItem? {
        switch name {
        case "STMTTRN", "STMTTRNP", "LOANSTMTTRN":
            guard var done = transaction else { return nil }
            transaction = nil
            done.line = reader.line
            return .transaction(done)
        case "STMTRS", "CCSTMTRS", "LOANSTMTRS", "INVSTMTRS":
            guard let done = statement else { return nil }
            statement = nil
            return .statement(done)
        case "SONRS":
            guard let done = signOn else { return nil }
            signOn = nil
            return .signOn(done)
        case "STATUS":
            guard let done = status else { return nil }
            status = nil
            if signOn == nil { return .status(done, of: reader.path.last ?? "") }
            signOn?.status = done
            return nil
        case "ACCTINFO":
            guard let done = offer else { return nil }
            offer = nil
            return .offer(done)
        case "PRIMARYHOLDER", "SECONDARYHOLDER", "CONTACTPROF":
            if let owner = holder.owner, offer?.owners.count ?? 0 < Self.maximumOwners { offer?.owners.append(owner) }
            return nil
        case "INVPOS":
            statement.mutate { $0.take(position) }
            return nil
        case "PROFRS":
            guard let done = profile else { return nil }
            profile = nil
            return .profile(done)
        case "MFACHALLENGE": return challenge.id.isEmpty ? nil : .challenge(id: challenge.id, label: challenge.label)
        default: return nil
        }
    }

    // MARK: Leaves

    private static let longestText = 1024
    private static let longestNumber = 256

    /// Fields that tell one thing from others, and amounts.
    private static let numbers: Set<String> = [
        "ACCTID", "ACCTTYPE", "AVAILCASH", "BALAMT", "BANKID", "BRANCHID", "BROKERID", "CHECKNUM", "CORRECTFITID",
        "CURDEF", "CURSYM", "DTASOF", "DTAVAIL", "DTEND", "DTPOSTED", "DTSERVER", "DTSTART", "DTTRAN", "DTUSER",
        "FITID",
        "LOANACCTID", "LOANACCTTYPE", "LOANTYPE", "MFAPHRASEID", "MKTVAL", "PRINBAL", "REFNUM", "TOTAL", "TRNAMT",
        "TRNTYPE", "VALUEDATE",
    ]

    /// A value within its length. What opens accounts is left whole.
    private static func cut(_ value: String, of name: String) -> String {
        guard value.utf8.count > longestNumber, name != "ACCESSKEY" else { return value }
        let limit = numbers.contains(name) ? longestNumber : longestText
        guard value.utf8.count > limit else { return value }
        // Not in the middle of a letter.
        return String(decoding: value.utf8.prefix(limit - 3), as: UTF8.self).filter { $0 != "\u{FFFD}" }
    }

    private mutating func leaf(_ name: String, _ value: String) {
        let parent = reader.path.last ?? ""
        let value = Self.cut(value, of: name)
        if transaction != nil { return transactionLeaf(name, value, parent) }
        switch parent {
        case "STATUS": statusLeaf(name, value)
        case "SONRS": signOnLeaf(name, value)
        case "FI": if name == "ORG", signOn?.organization == nil { signOn?.organization = value }
        case "BANKACCTFROM", "CCACCTFROM", "LOANACCTFROM", "INVACCTFROM": accountLeaf(name, value)
        case "STMTRS", "CCSTMTRS", "LOANSTMTRS", "INVSTMTRS", "BANKTRANLIST", "BANKTRANLISTP", "LOANTRANLIST",
            "INVTRANLIST", "LEDGERBAL", "AVAILBAL", "PRINBAL", "INVBAL", "INV401KBAL":
            statementLeaf(name, value, parent)
        case "INVPOS": if name == "MKTVAL" { position.value = value }
        case "CURRENCY": if name == "CURSYM", reader.path.dropLast().last == "INVPOS" { position.currency = value }
        case "ACCTINFO": if name == "DESC" || name == "NAME" && offer?.description == nil { offer?.description = value }
        case "PRIMARYHOLDER", "SECONDARYHOLDER", "CONTACTPROF", "CONTACTNAMES", "CONTACTNAME": holder.take(name, value)
        case "MFACHALLENGE":
            if name == "MFAPHRASEID" { challenge.id = value }
            if name == "MFAPHRASELABEL" { challenge.label = value }
        default: profileLeaf(name, value, parent)
        }
    }

    /// What is in these is not the transaction's own.
    private static let parts: Set<String> = [
        "BANKACCTTO", "CCACCTTO", "CURRENCY", "EXTDPAYEE", "IMAGEDATA", "LOANTRNAMT", "ORIGCURRENCY", "PAYEE",
    ]

    private mutating func transactionLeaf(_ name: String, _ value: String, _ parent: String) {
        switch (parent, name) {
        case ("PAYEE", "NAME"): transaction?.payee = value
        case ("CURRENCY", "CURSYM"): transaction?.currency = value
        case ("STMTTRN", _), ("STMTTRNP", _), ("LOANSTMTTRN", _): break
        case _ where Self.parts.contains(parent): return
        // A leaf of the bank's own that is empty and not closed looks like an aggregate, in which the rest stands.
        case (_, "NAME"): if transaction?.name != nil { return }
        case (_, "MEMO"): if transaction?.memo != nil { return }
        default: break
        }
        // Nothing but zeros is what banks write who have no name for it.
        if ["FITID", "CORRECTFITID", "REFNUM"].contains(name), value.allSatisfy({ $0 == "0" }) { return }
        switch name {
        case "DTPOSTED", "DTTRAN": transaction?.posted = value
        case "DTUSER": transaction?.user = value
        case "DTAVAIL", "VALUEDATE": if transaction?.available == nil { transaction?.available = value }
        case "TRNAMT": transaction?.amount = value
        case "TRNTYPE", "LOANTRNTYPE": transaction?.type = value
        case "FITID": transaction?.fitid = value
        case "CORRECTFITID": transaction?.correctedFITID = value
        case "CORRECTACTION": transaction?.isDeletion = value.uppercased() == "DELETE"
        case "CHECKNUM": transaction?.checkNumber = value
        case "REFNUM": transaction?.reference = value
        case "NAME": transaction?.name = value
        case "EXTDNAME": transaction?.extendedName = value
        case "MEMO": transaction?.memo = value
        case "CURRENCY" where Money.exponent(of: value) != nil: transaction?.currency = value
        default: break
        }
    }

    private mutating func statusLeaf(_ name: String, _ value: String) {
        switch name {
        case "CODE": status?.code = Int(value) ?? 2000
        case "SEVERITY": status?.severity = value.uppercased()
        case "MESSAGE": status?.message = value
        default: break
        }
    }

    private mutating func signOnLeaf(_ name: String, _ value: String) {
        switch name {
        case "INTU.ORG": signOn?.organization = value
        case "ACCESSKEY": signOn?.accessKey = value
        case "SESSCOOKIE": signOn?.sessionCookie = value
        case "DTSERVER": signOn?.serverTime = OFXDate(value)
        default: break
        }
    }

    private mutating func accountLeaf(_ name: String, _ value: String) {
        func take(into account: inout OFXAccount) {
            switch name {
            case "BANKID", "BROKERID": account.bank = value
            case "BRANCHID": account.branch = value
            case "ACCTID", "LOANACCTID": account.number = value
            case "ACCTTYPE", "LOANACCTTYPE", "LOANTYPE": account.type = value.uppercased()
            default: break
            }
        }
        if offer?.account != nil {
            offer?.account.mutate(take)
        } else {
            statement.mutate { take(into: &$0.account) }
        }
    }

    private mutating func statementLeaf(_ name: String, _ value: String, _ parent: String) {
        statement.mutate { statement in
            switch (parent, name) {
            case (_, "CURDEF"): statement.currency = value
            case ("BANKTRANLISTP", "DTASOF"): statement.pendingAsOf = value
            case (_, "DTSTART"): statement.begins = value
            case (_, "DTEND"): statement.ends = value
            case ("LEDGERBAL", "BALAMT"), ("PRINBAL", "BALAMT"): statement.ledger?.amount = value
            case ("LEDGERBAL", "DTASOF"), ("PRINBAL", "DTASOF"): statement.ledger?.asOf = value
            case ("AVAILBAL", "BALAMT"): statement.available?.amount = value
            case ("AVAILBAL", "DTASOF"): statement.available?.asOf = value
            case ("LOANSTMTRS", "PRINBAL"): statement.ledger = .init(amount: value)
            case ("INVSTMTRS", "DTASOF"), ("LOANSTMTRS", "DTASOF"): statement.asOf = value
            case ("INVBAL", "AVAILCASH"): statement.available = .init(amount: value)
            case ("INV401KBAL", "TOTAL"): statement.total = value
            default: break
            }
        }
    }

    private mutating func profileLeaf(_ name: String, _ value: String, _ parent: String) {
        guard profile != nil else { return }
        let isYes = value.uppercased() == "Y"
        switch (parent, name) {
        case ("MSGSETCORE", "URL"):
            if let set = reader.path.dropLast().last, profile?.addresses.count ?? 0 < Self.maximumAddresses {
                profile?.addresses[set] = value
            }
        case ("SIGNONINFO", "CLIENTUIDREQ"): profile?.needsClientID = isYes
        case ("SIGNONINFO", "ACCESSTOKENREQ"): profile?.needsAccessToken = isYes
        case ("SIGNONINFO", "MFACHALLENGEFIRST"): profile?.asksChallengeFirst = isYes
        case ("SIGNONINFO", "AUTHTOKENFIRST"): profile?.asksTokenFirst = isYes
        case ("SIGNONINFO", "AUTHTOKENLABEL"): profile?.tokenLabel = value
        default: break
        }
    }

    /// The parts of a name and an address as they come.
    private struct Holder: Sendable {
        private var parts: [String: String] = [:]

        private static let names: Set<String> = [
            "ADDR1", "ADDR2", "ADDR3", "CITY", "COMPANYNAME", "CONTACTNAME", "COUNTRY", "DAYPHONE", "EMAIL", "EVEPHONE",
            "FIRSTNAME", "LASTNAME", "MIDDLENAME", "NAME", "PHONE", "POSTALCODE", "STATE",
        ]

        mutating func take(_ name: String, _ value: String) {
            if Self.names.contains(name) { parts[name] = value }
        }

        private func joined(_ names: [String], _ separator: String) -> String? {
            let values = names.compactMap { parts[$0] }
            return values.isEmpty ? nil : values.joined(separator: separator)
        }

        /// Nil where no name is told.
        var owner: Owner? {
            let person = joined(["FIRSTNAME", "MIDDLENAME", "LASTNAME"], " ")
            guard let name = person ?? parts["CONTACTNAME"] ?? parts["NAME"] ?? parts["COMPANYNAME"] else { return nil }
            return Owner(
                name: name,
                email: parts["EMAIL"],
                phone: parts["DAYPHONE"] ?? parts["EVEPHONE"] ?? parts["PHONE"],
                address: joined(["ADDR1", "ADDR2", "ADDR3", "CITY", "STATE", "POSTALCODE", "COUNTRY"], ", ")
            )
        }
    }
}

extension OFXStatement {
    /// Adds a position up.
    fileprivate mutating func take(_ position: Position) {
        guard let value = position.value else { return }
        var currency = position.currency.uppercased()
        if currency == self.currency?.uppercased() { currency = "" }
        let sum = WrittenAmount.decimal(value).map { (positions[currency] ?? 0) + $0 }
        if let sum, sum.isFinite, currency.isEmpty || Money.exponent(of: currency) != nil {
            positions[currency] = sum
        } else {
            hasUnreadablePosition = true
        }
    }
}

extension Optional {
    fileprivate mutating func mutate(_ body: (inout Wrapped) -> Void) {
        guard var value = self else { return }
        body(&value)
        self = value
    }
}
