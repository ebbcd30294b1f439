/// What a SimpleFIN server answers, in version 1, version 2 or a mix of both.
///
/// It promises that what can be read is read: a broken account or transaction takes none of the others with it, numbers
/// may be strings or numbers, and no amount passes through a binary fraction. It refuses an answer with more in it than
/// people have, and cuts texts that nobody reads to their end.

internal import FoundationEssentials

struct SimpleFINAnswer: Sendable, Decodable {
    let accounts: [Account]
    let connections: [Connection]
    let faults: [Fault]
    /// What version 1 says to the person, who alone can make sense of it.
    let warnings: [String]
    /// About how many bytes it takes.
    var size: Int
    /// The host of the server that gave it.
    var server = ""

    static let maximumAccounts = 1000
    static let maximumTransactions = 50_000

    struct Connection: Sendable, Decodable {
        let id: String
        let name: String?
        /// What else the bank is called.
        let bankNames: [String]

        private enum Key: String, CodingKey {
            case id = "conn_id"
            case name
            case organization = "org_name"
            case organizationID = "org_id"
            case organizationURL = "org_url"
            case serverURL = "sfin_url"
        }

        init(from decoder: any Decoder) throws {
            let values = try decoder.container(keyedBy: Key.self)
            id = try values.id(.id)
            name = values.text(.organization) ?? values.text(.name)
            bankNames = [.organizationID, .organizationURL, .serverURL, .organization].compactMap { values.origin($0) }
        }
    }

    struct Fault: Sendable, Decodable {
        /// `gen.auth`, `con.auth`, `act.failed`, …
        let code: String
        let connection: String?
        let account: String?
        /// For the person.
        let message: String?

        private enum Key: String, CodingKey {
            case code, message
            case connection = "conn_id"
            case account = "account_id"
            case shortMessage = "msg"
        }

        init(from decoder: any Decoder) throws {
            let values = try decoder.container(keyedBy: Key.self)
            code = values.text(.code)?.lowercased() ?? "gen."
            connection = try? values.id(.connection)
            account = try? values.id(.account)
            message = values.text(.shortMessage) ?? values.text(.message)
        }
    }

    struct Account: Sendable, Decodable {
        let id: String
        let name: String
        let connection: String?
        let bank: String?
        /// What tells the account's bank from others of the same answer, the best first.
        let origins: [String]
        let currency: String
        let balance: String?
        let available: String?
        let balanceDate: Int64?
        let hasHoldings: Bool
        let transactions: [Transaction]
        /// How many transactions there are with those that cannot be read.
        let entries: Int

        private enum Key: String, CodingKey {
            case id, name, currency, balance, transactions, holdings, extra
            case connection = "conn_id"
            case connectionName = "conn_name"
            case bank = "org"
            case available = "available-balance"
            case balanceDate = "balance-date"
        }

        init(from decoder: any Decoder) throws {
            let values = try decoder.container(keyedBy: Key.self)
            id = try values.id(.id)
            name = values.text(.name) ?? "Account"
            connection = try? values.id(.connection)
            let organization = try? values.decode(Organization.self, forKey: .bank)
            bank = organization?.name ?? values.text(.bank) ?? values.text(.connectionName)
            origins = [connection].compactMap { $0 } + (organization?.names ?? [values.origin(.bank)].compactMap { $0 })
            currency = values.text(.currency) ?? ""
            balance = values.text(.balance)
            available = values.text(.available)
            balanceDate = values.epoch(.balanceDate)
            hasHoldings = values.count(of: .holdings) > 0
            entries = values.count(of: .transactions)
            transactions = try values.list(.transactions, atMost: SimpleFINAnswer.maximumTransactions)
        }
    }

    private struct Organization: Decodable {
        let name: String?
        /// What it is called, the steadiest first.
        let names: [String]

        private enum Key: String, CodingKey {
            case name, domain, id
            case serverURL = "sfin-url"
        }

        init(from decoder: any Decoder) throws {
            let values = try decoder.container(keyedBy: Key.self)
            name = values.text(.name) ?? values.text(.domain) ?? values.text(.id)
            // The server's address may be that of all its banks.
            names = [.id, .domain, .name, .serverURL].compactMap { values.origin($0) }
        }
    }

    struct Transaction: Sendable, Decodable {
        let id: String
        let posted: Int64
        let transactedAt: Int64?
        let amount: String
        let description: String
        let isPending: Bool

        private enum Key: String, CodingKey {
            case id, posted, amount, description, payee, memo, pending
            case transactedAt = "transacted_at"
        }

        init(from decoder: any Decoder) throws {
            let values = try decoder.container(keyedBy: Key.self)
            id = try values.id(.id)
            amount = try values.decode(Loose.self, forKey: .amount).text
            posted = values.epoch(.posted) ?? 0
            transactedAt = values.epoch(.transactedAt).flatMap { $0 > 0 ? $0 : nil }
            description = values.text(.description) ?? values.text(.payee) ?? values.text(.memo) ?? "Transaction"
            let pending = (try? values.decode(Bool.self, forKey: .pending)) ?? (values.text(.pending) == "1")
            isPending = pending || posted <= 0
        }
    }

    private enum Key: String, CodingKey { case accounts, connections, faults = "errlist", warnings = "errors" }

    init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: Key.self)
        let limit = Self.maximumAccounts
        var entries = 0
        accounts = try values.list(.accounts, atMost: limit) { (account: Account) in
            entries += account.entries
            guard entries <= Self.maximumTransactions else { throw Excess() }
        }
        connections = try values.list(.connections, atMost: limit)
        // Some servers put the new errors under the old name, or texts under the new one.
        let words = try [Key.faults, .warnings].flatMap { key -> [Either] in
            let list: [Either] = try values.list(key, atMost: limit)
            guard list.isEmpty, let one = try? values.decode(Either.self, forKey: key) else { return list }
            // One that is in no list.
            return one.text != nil || one.fault != nil ? [one] : []
        }
        faults = words.compactMap(\.fault)
        warnings = words.compactMap(\.text)
        size =
            entries * MemoryLayout<Transaction>.stride + accounts.count * MemoryLayout<Account>.stride
            + words.count * MemoryLayout<Fault>.stride
        guard values.contains(.accounts) || !words.isEmpty else {
            throw DecodingError.keyNotFound(Key.accounts, .init(codingPath: [], debugDescription: "no accounts"))
        }
    }

    /// There is more in the answer than is taken.
    fileprivate struct Excess: Error {}

    private struct Either: Decodable {
        let text: String?
        let fault: Fault?

        init(from decoder: any Decoder) throws {
            text = (try? Loose(from: decoder).text).flatMap { Words.plain($0) }
            fault = text == nil ? try? Fault(from: decoder) : nil
        }
    }

    // MARK: What it means

    /// The bank that keeps an account.
    func bank(of account: Account) -> String? {
        connections.first { $0.id == account.connection }?.name ?? account.bank
    }

    /// Bytes from which on an id is one that no other server gives too.
    private static let longID = 16

    /// What tells an account from all others, whatever else is in the answer: ids are unique at one bank alone, and
    /// those of servers that count from one at one server.
    func key(of account: Account) -> String {
        key(account, account.origins.first)
    }

    private func key(_ account: Account, _ origin: String?) -> String {
        let here = account.id.utf8.count < Self.longID && !server.isEmpty ? [server] : []
        return Words.key([account.id] + [origin].compactMap { $0 } + here)
    }

    /// What else the account may be known by, as its bank has several names, or none was told.
    func otherKeys(of account: Account) -> [String] {
        let bankNames = connections.first { $0.id == account.connection }?.bankNames ?? []
        let keys = (account.origins + bankNames).map { key(account, $0) } + [key(account, nil)]
        return keys.filter { $0 != key(of: account) }
    }

    /// Where no account has the key, the only one that may be known by it, as when a server changes its version.
    func account(_ key: String) -> Account? {
        if let found = accounts.first(where: { self.key(of: $0) == key }) { return found }
        let others = candidates(key)
        return others.count == 1 ? others[0] : nil
    }

    /// Whether an account may be known by the key.
    func mayHave(_ key: String) -> Bool { !candidates(key).isEmpty }

    private func candidates(_ key: String) -> [Account] {
        accounts.filter { key.hasPrefix(Words.key([$0.id])) && otherKeys(of: $0).contains(key) }
    }

    /// Whether the server itself was not let in.
    var isRefused: Bool {
        faults.contains { $0.code == "gen.auth" }
    }

    /// Whether nothing is wrong with the answer as a whole. Words to the person may say anything.
    var isSound: Bool {
        warnings.isEmpty && !faults.contains { $0.code.hasPrefix("gen.") }
    }

    /// Whether a bank did not let the server in, and none of its accounts are here.
    var hidesAccounts: Bool {
        faults.contains { fault in
            fault.code == "con.auth" && !accounts.contains { $0.connection == fault.connection }
        }
    }

    /// What is wrong with one account; an unknown subcode counts as its prefix.
    func faults(of account: Account) -> [Fault] {
        faults.filter { fault in
            switch fault.code.prefix(4) {
            case "con.": fault.connection == account.connection && account.connection != nil
            case "act.":
                fault.account == account.id
                    && (fault.connection == nil || account.connection == nil || fault.connection == account.connection)
            default: false
            }
        }
    }
}

/// A value that may be a string or a number, as its text.
private struct Loose: Decodable {
    let text: String

    init(from decoder: any Decoder) throws {
        let value = try decoder.singleValueContainer()
        if let text = try? value.decode(String.self) {
            self.text = text
        } else {
            text = "\(try value.decode(Decimal.self))"
        }
    }
}

/// An element of a list that is counted and not looked at.
private struct Anything: Decodable {
    init(from decoder: any Decoder) throws {}
}

extension KeyedDecodingContainer {
    /// Nil for what is missing, null, empty or no single value.
    fileprivate func text(_ key: Key) -> String? {
        (try? decode(Loose.self, forKey: key)).flatMap { Words.plain($0.text) }
    }

    /// A name of a bank, which may be an address.
    fileprivate func origin(_ key: Key) -> String? {
        guard let text = text(key) else { return nil }
        let name = text.firstRange(of: "://").map { text[$0.upperBound...] } ?? text[...]
        return String(name.hasSuffix("/") ? name.dropLast() : name)
    }

    /// A name that tells one thing from others, which is not cut.
    fileprivate func id(_ key: Key) throws -> String {
        let id = try decode(Loose.self, forKey: key).text
        guard (1...256).contains(id.utf8.count) else {
            throw DecodingError.dataCorruptedError(forKey: key, in: self, debugDescription: "no id")
        }
        return id
    }

    /// Up to the year 9999.
    fileprivate func epoch(_ key: Key) -> Int64? {
        text(key).flatMap { Int64($0.prefix { $0 != "." }) }.flatMap { (0...253_402_300_799).contains($0) ? $0 : nil }
    }

    /// How many elements a list has.
    fileprivate func count(of key: Key) -> Int {
        (try? nestedUnkeyedContainer(forKey: key))?.count ?? 0
    }

    /// Those elements that can be read.
    /// - Parameter check: throws `Excess` to refuse the whole.
    fileprivate func list<T: Decodable>(
        _ key: Key,
        atMost limit: Int,
        _ check: (T) throws -> Void = { _ in }
    ) throws -> [T] {
        guard var values = try? nestedUnkeyedContainer(forKey: key) else { return [] }
        guard values.count ?? 0 <= limit else { throw SimpleFINAnswer.Excess() }
        var list: [T] = []
        while !values.isAtEnd {
            do {
                let element = try values.decode(T.self)
                try check(element)
                list.append(element)
            } catch let excess as SimpleFINAnswer.Excess {
                throw excess
            } catch {
                // What cannot be read is passed over.
                if (try? values.decodeNil()) != true, (try? values.decode(Anything.self)) == nil { break }
            }
        }
        return list
    }
}
