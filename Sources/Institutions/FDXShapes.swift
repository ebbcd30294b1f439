/// What FDX sends, in version 6 and in 4.6 to 5, read with tolerance and without loss.
///
/// Version 6 names an account's category in the object; before, an object of one member (`depositAccount`,
/// `locTransaction`) wrapped it. Both are read. Numbers are read as decimals, never as binary fractions, and so are
/// numbers that came as text. What is not needed is not looked at; an item that cannot be read is told apart from one
/// that is not there.

internal import FoundationEssentials

/// An item of a list, or nothing where it could not be read.
struct FDXReadable<Value: Decodable & Sendable>: Decodable, Sendable {
    let value: Value?

    init(from decoder: any Decoder) throws {
        value = try? Value(from: decoder)
    }
}

extension KeyedDecodingContainer {
    /// The items of a list.
    /// - Throws: for a list of more than `limit`, before any of them is read: each takes time and memory, and an answer
    ///   has room for millions.
    fileprivate func items<T>(_ key: Key, atMost limit: Int) throws -> [FDXReadable<T>] {
        var list = try nestedUnkeyedContainer(forKey: key)
        guard list.count ?? 0 <= limit else {
            throw DecodingError.dataCorruptedError(in: list, debugDescription: "too many items")
        }
        var items: [FDXReadable<T>] = []
        while !list.isAtEnd { items.append(try list.decode(FDXReadable<T>.self)) }
        return items
    }

    /// A name that tells one thing from others, which some write as a number.
    fileprivate func id(_ key: Key) throws -> String {
        if let text = try? decode(String.self, forKey: key) { return text }
        return String(try decode(Int64.self, forKey: key))
    }

    /// Nil for a list that is not there or null.
    fileprivate func itemsIfPresent<T>(_ key: Key, atMost limit: Int) throws -> [FDXReadable<T>]? {
        guard contains(key), try !decodeNil(forKey: key) else { return nil }
        return try items(key, atMost: limit)
    }
}

/// An exact number, as text.
struct FDXAmount: Decodable, Sendable {
    let text: String
    /// It came as text, in which people and banks group digits.
    private let isWritten: Bool

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if let number = try? container.decode(Decimal.self) {
            (text, isWritten) = (number.description, false)
        } else {
            (text, isWritten) = (try container.decode(String.self), true)
        }
    }

    func minorUnits(of currency: String) -> Int64? {
        isWritten ? WrittenAmount.minorUnits(text, currency) : Money(text, currency)?.minorUnits
    }
}

private struct AnyKey: CodingKey {
    let stringValue: String
    var intValue: Int? { nil }

    init(stringValue: String) {
        self.stringValue = stringValue
    }

    init?(intValue: Int) {
        nil
    }
}

/// The category that version 6 writes out; what wrapped the object before says the same.
enum FDXCategory: String, Decodable, Sendable {
    case deposit = "DEPOSIT_ACCOUNT"
    case credit = "LOC_ACCOUNT"
    case loan = "LOAN_ACCOUNT"
    case investment = "INVESTMENT_ACCOUNT"
    case annuity = "ANNUITY_ACCOUNT"
    case commercial = "COMMERCIAL_ACCOUNT"
    case wallet = "DIGITAL_WALLET"
    case insurance = "INSURANCE_ACCOUNT"
    case other = "OTHER"

    init(from decoder: any Decoder) throws {
        self = Self(rawValue: try decoder.singleValueContainer().decode(String.self)) ?? .other
    }

    fileprivate init(wrapper: String) {
        let names: [(String, FDXCategory)] = [
            ("deposit", .deposit), ("loc", .credit), ("lineOfCredit", .credit), ("loan", .loan),
            ("investment", .investment), ("annuity", .annuity), ("commercial", .commercial), ("digitalWallet", .wallet),
            ("insurance", .insurance),
        ]
        self = names.first { wrapper.hasPrefix($0.0) }?.1 ?? .other
    }
}

/// An object in either shape.
struct FDXWrapped<Value: Decodable & Sendable>: Decodable, Sendable {
    let category: FDXCategory?
    let value: Value

    init(from decoder: any Decoder) throws {
        let members = try decoder.container(keyedBy: AnyKey.self)
        if members.allKeys.count == 1, let key = members.allKeys.first,
            ["Account", "Transaction"].contains(where: key.stringValue.hasSuffix)
        {
            category = FDXCategory(wrapper: key.stringValue)
            value = try members.decode(Value.self, forKey: key)
        } else {
            category = try? members.decode(FDXCategory.self, forKey: AnyKey(stringValue: "accountCategory"))
            value = try Value(from: decoder)
        }
    }
}

struct FDXPage: Decodable, Sendable {
    var nextPageKey: String?
    var nextOffset: String?

    private enum CodingKeys: String, CodingKey {
        case nextPageKey, nextOffset
    }

    init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        nextPageKey = Self.token(values, .nextPageKey)
        nextOffset = Self.token(values, .nextOffset)
    }

    /// Some number their pages; nothing follows where the next one is the first.
    private static func token(_ values: KeyedDecodingContainer<CodingKeys>, _ key: CodingKeys) -> String? {
        let text = try? values.decode(String.self, forKey: key)
        let token = text ?? (try? values.decode(Int64.self, forKey: key)).map { String($0) }
        guard let token, !token.isEmpty, key == .nextPageKey || Int64(token) != 0 else { return nil }
        return token
    }

    /// The parameter that asks for the next page: whichever token was given goes back.
    var next: (name: String, value: String)? {
        nextPageKey.map { ("pageKey", $0) } ?? nextOffset.map { ("offset", $0) }
    }
}

struct FDXCurrency: Decodable, Sendable {
    /// Lower case.
    let code: String

    private enum CodingKeys: String, CodingKey {
        case currencyCode
    }

    init(from decoder: any Decoder) throws {
        if let text = try? decoder.singleValueContainer().decode(String.self) {
            code = text.lowercased()
        } else {
            code = try decoder.container(keyedBy: CodingKeys.self).decode(String.self, forKey: .currencyCode)
                .lowercased()
        }
    }
}

struct FDXAccounts: Decodable, Sendable {
    /// More than anybody has.
    static let maximum = 1000

    let page: FDXPage?
    let accounts: [FDXReadable<FDXWrapped<FDXAccount>>]

    private enum CodingKeys: String, CodingKey {
        case page, accounts
    }

    init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        page = try values.decodeIfPresent(FDXPage.self, forKey: .page)
        accounts = try values.items(.accounts, atMost: Self.maximum)
    }
}

/// An account with as many details as were given. What is not of its kind counts as not given.
struct FDXAccount: Decodable, Sendable {
    /// Needed in a list; where one account was asked for, it is known.
    let accountId: String?
    let accountType: String?
    let accountNumberDisplay: String?
    let productName: String?
    let nickname: String?
    let status: String?
    let currency: FDXCurrency?
    let balanceAsOf: String?
    let currentBalance: FDXAmount?
    let availableBalance: FDXAmount?
    let availableCredit: FDXAmount?
    let creditLine: FDXAmount?
    let principalBalance: FDXAmount?
    let currentValue: FDXAmount?
    let availableCashBalance: FDXAmount?

    private enum CodingKeys: String, CodingKey {
        case accountId, accountType, accountNumberDisplay, productName, nickname, status, currency, balanceAsOf,
            currentBalance, availableBalance, availableCredit, creditLine, principalBalance, currentValue,
            availableCashBalance
    }

    init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        func text(_ key: CodingKeys) -> String? { try? values.decode(String.self, forKey: key) }
        func amount(_ key: CodingKeys) -> FDXAmount? { try? values.decode(FDXAmount.self, forKey: key) }
        accountId = try? values.id(.accountId)
        accountType = text(.accountType)?.uppercased()
        accountNumberDisplay = text(.accountNumberDisplay)
        productName = text(.productName)
        nickname = text(.nickname)
        status = text(.status)?.uppercased()
        currency = try? values.decode(FDXCurrency.self, forKey: .currency)
        balanceAsOf = text(.balanceAsOf)
        currentBalance = amount(.currentBalance)
        availableBalance = amount(.availableBalance)
        availableCredit = amount(.availableCredit)
        creditLine = amount(.creditLine)
        principalBalance = amount(.principalBalance)
        currentValue = amount(.currentValue)
        availableCashBalance = amount(.availableCashBalance)
    }

    /// Lower case. A bank that names none is taken for one of dollars.
    var currencyCode: String { currency?.code ?? "usd" }
}

struct FDXTransactions: Decodable, Sendable {
    /// Of one page.
    static let maximum = 50_000

    let page: FDXPage?
    let transactions: [FDXReadable<FDXWrapped<FDXTransaction>>]

    private enum CodingKeys: String, CodingKey {
        case page, transactions
    }

    /// No transactions.
    init() {
        (page, transactions) = (nil, [])
    }

    init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        page = try values.decodeIfPresent(FDXPage.self, forKey: .page)
        transactions = try values.items(.transactions, atMost: Self.maximum)
    }
}

struct FDXTransaction: Decodable, Sendable {
    var transactionId: String
    var referenceTransactionId: String?
    var transactionTimestamp: String?
    var postedTimestamp: String?
    var description: String?
    var payee: String?
    var memo: String?
    var debitCreditMemo: String?
    var status: String?
    var amount: FDXAmount

    private enum CodingKeys: String, CodingKey {
        case transactionId, referenceTransactionId, transactionTimestamp, postedTimestamp, description, payee,
            transactionPayee, memo, debitCreditMemo, status, amount
    }

    init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        func text(_ key: CodingKeys) -> String? {
            guard let text = try? values.decode(String.self, forKey: key), !text.isEmpty else { return nil }
            return text
        }
        transactionId = try values.id(.transactionId)
        amount = try values.decode(FDXAmount.self, forKey: .amount)
        referenceTransactionId = (try? values.id(.referenceTransactionId)).flatMap { $0.isEmpty ? nil : $0 }
        transactionTimestamp = text(.transactionTimestamp)
        postedTimestamp = text(.postedTimestamp)
        description = text(.description)
        payee = text(.payee) ?? text(.transactionPayee)
        memo = text(.memo)
        debitCreditMemo = text(.debitCreditMemo)?.uppercased()
        status = text(.status)?.uppercased()
    }
}

struct FDXContact: Decodable, Sendable {
    /// Of holders, and of what each of them has.
    static let maximum = 100

    let holders: [FDXReadable<FDXHolder>]?
    let emails: [FDXReadable<String>]?
    let addresses: [FDXReadable<FDXAddress>]?
    let telephones: [FDXReadable<FDXTelephone>]?

    private enum CodingKeys: String, CodingKey {
        case holders, emails, addresses, telephones
    }

    init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        holders = try values.itemsIfPresent(.holders, atMost: Self.maximum)
        emails = try values.itemsIfPresent(.emails, atMost: Self.maximum)
        addresses = try values.itemsIfPresent(.addresses, atMost: Self.maximum)
        telephones = try values.itemsIfPresent(.telephones, atMost: Self.maximum)
    }
}

struct FDXHolder: Decodable, Sendable {
    struct Name: Decodable, Sendable {
        var prefix: String?
        var first: String?
        var middle: String?
        var last: String?
        var suffix: String?
        var company: String?
    }

    struct Business: Decodable, Sendable {
        var name: String?
    }

    let name: Name?
    let businessCustomer: Business?
    let relationship: FDXReadable<String>?
    let email: [FDXReadable<String>]?
    let addresses: [FDXReadable<FDXAddress>]?
    let telephones: [FDXReadable<FDXTelephone>]?

    private enum CodingKeys: String, CodingKey {
        case name, businessCustomer, relationship, email, addresses, telephones
    }

    init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        name = try values.decodeIfPresent(Name.self, forKey: .name)
        businessCustomer = try values.decodeIfPresent(Business.self, forKey: .businessCustomer)
        relationship = try values.decodeIfPresent(FDXReadable<String>.self, forKey: .relationship)
        email = try values.itemsIfPresent(.email, atMost: FDXContact.maximum)
        addresses = try values.itemsIfPresent(.addresses, atMost: FDXContact.maximum)
        telephones = try values.itemsIfPresent(.telephones, atMost: FDXContact.maximum)
    }

    /// Whether the account is, in part, this holder's own, or the bank does not say how they stand to it.
    var isOwner: Bool {
        switch relationship?.value?.uppercased() {
        case "AUTHORIZED_SIGNER", "AUTHORIZED_USER", "POWER_OF_ATTORNEY": false
        default: true
        }
    }

    /// The name as it is said, nil where no part of it was given.
    var fullName: String? {
        let parts = [name?.prefix, name?.first, name?.middle, name?.last, name?.suffix]
        let person = parts.compactMap { $0 }.filter { !$0.isEmpty }.joined(separator: " ")
        return [person, businessCustomer?.name, name?.company].compactMap { $0 }.first { !$0.isEmpty }
    }
}

/// What is told of a holder by the text of it.
protocol FDXContactPart: Decodable, Sendable {
    var text: String? { get }
    var primary: Bool? { get }
}

extension String: FDXContactPart {
    var text: String? { self }
    var primary: Bool? { nil }
}

struct FDXAddress: FDXContactPart {
    var line1: String?
    var line2: String?
    var line3: String?
    var city: String?
    var region: String?
    var state: String?
    var postalCode: String?
    var country: String?
    var primary: Bool?

    /// One line; nil where nothing stands in it.
    var text: String? {
        let parts = [line1, line2, line3, city, region ?? state, postalCode, country]
        let text = parts.compactMap { $0 }.filter { !$0.isEmpty }.joined(separator: ", ")
        return text.isEmpty ? nil : text
    }
}

struct FDXTelephone: FDXContactPart {
    var country: String?
    var number: String?
    var type: String?
    var primary: Bool?

    /// Nil where there is no number at which somebody speaks.
    var text: String? {
        guard let number, !number.isEmpty, type?.uppercased() != "FAX" else { return nil }
        guard let country, !country.isEmpty, !number.hasPrefix("+") else { return number }
        return (country.hasPrefix("+") ? country : "+\(country)") + number
    }
}

struct FDXNetworks: Decodable, Sendable {
    struct Network: Decodable, Sendable {
        var type: String?
        var identifierType: String?
        var transferIn: Bool?
        var transferOut: Bool?
    }

    static let maximum = 100

    let page: FDXPage?
    let paymentNetworks: [FDXReadable<Network>]

    private enum CodingKeys: String, CodingKey {
        case page, paymentNetworks
    }

    init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        page = try? values.decode(FDXPage.self, forKey: .page)
        paymentNetworks = try values.items(.paymentNetworks, atMost: Self.maximum)
    }
}

struct FDXConsent: Decodable, Sendable {
    var status: String?
    var expirationTime: String?

    var isOver: Bool { ["EXPIRED", "REVOKED"].contains(status?.uppercased()) }
}

/// `{code, message}`; the code is a number or a text.
struct FDXRefusal: Decodable, Sendable {
    let code: Int?

    private enum CodingKeys: String, CodingKey {
        case code
    }

    init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        let text = try? values.decode(String.self, forKey: .code)
        code = (try? values.decode(Int.self, forKey: .code)) ?? text.flatMap { Int($0) }
    }
}
