/// What a SimpleFIN server answers, in version 1, version 2 or a mix of both.
///
/// It promises that what can be read is read: a broken account or transaction takes none of the others with it, numbers
/// may be strings or numbers, and no amount passes through a binary fraction.

internal import FoundationEssentials

struct SimpleFINAnswer: Sendable, Decodable {
    let accounts: [Account]
    let connections: [Connection]
    let faults: [Fault]
    /// What version 1 says to the person, who alone can make sense of it.
    let warnings: [String]

    struct Connection: Sendable, Decodable {
        let id: String
        let name: String?

        private enum Key: String, CodingKey { case id = "conn_id", name, organization = "org_name" }

        init(from decoder: any Decoder) throws {
            let values = try decoder.container(keyedBy: Key.self)
            id = try values.decode(Loose.self, forKey: .id).text
            name = values.text(.organization) ?? values.text(.name)
        }
    }

    struct Fault: Sendable, Decodable {
        /// `gen.auth`, `con.auth`, `act.failed`, …
        let code: String
        let connection: String?
        let account: String?

        private enum Key: String, CodingKey { case code, connection = "conn_id", account = "account_id" }

        init(from decoder: any Decoder) throws {
            let values = try decoder.container(keyedBy: Key.self)
            code = values.text(.code)?.lowercased() ?? "gen."
            connection = values.text(.connection)
            account = values.text(.account)
        }
    }

    struct Account: Sendable, Decodable {
        let id: String
        let name: String
        let connection: String?
        let bank: String?
        let currency: String
        let balance: String?
        let available: String?
        let balanceDate: Int64?
        let hasHoldings: Bool
        let transactions: [Transaction]

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
            id = try values.decode(Loose.self, forKey: .id).text
            name = values.text(.name) ?? "Account"
            connection = values.text(.connection)
            let organization = try? values.decode(Organization.self, forKey: .bank)
            bank = organization?.name ?? organization?.domain ?? values.text(.connectionName)
            currency = values.text(.currency) ?? ""
            balance = values.text(.balance)
            available = values.text(.available)
            balanceDate = values.epoch(.balanceDate)
            hasHoldings = !((try? values.decode([Anything].self, forKey: .holdings)) ?? []).isEmpty
            transactions = values.list(.transactions)
        }
    }

    private struct Organization: Decodable {
        let name: String?
        let domain: String?
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
            id = try values.decode(Loose.self, forKey: .id).text
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
        accounts = values.list(.accounts)
        connections = values.list(.connections)
        let warnings: [Either] = values.list(.warnings)
        // Some servers put the new errors under the old name.
        faults = values.list(.faults) + warnings.compactMap(\.fault)
        self.warnings = warnings.compactMap(\.text)
        guard values.contains(.accounts) || !faults.isEmpty || !self.warnings.isEmpty else {
            throw DecodingError.keyNotFound(Key.accounts, .init(codingPath: [], debugDescription: "no accounts"))
        }
    }

    private struct Either: Decodable {
        let text: String?
        let fault: Fault?

        init(from decoder: any Decoder) throws {
            text = try? Loose(from: decoder).text
            fault = text == nil ? try? Fault(from: decoder) : nil
        }
    }

    // MARK: What it means

    /// The bank that keeps an account.
    func bank(of account: Account) -> String? {
        connections.first { $0.id == account.connection }?.name ?? account.bank
    }

    /// What tells an account from others: its id, and its connection where two have the same.
    func key(of account: Account) -> String {
        guard accounts.count(where: { $0.id == account.id }) > 1 else { return account.id }
        return "\(account.id)|\(account.connection ?? account.bank ?? "")"
    }

    func account(_ key: String) -> Account? {
        accounts.first { self.key(of: $0) == key }
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
    func faults(of account: Account) -> [String] {
        faults.filter { fault in
            switch fault.code.prefix(4) {
            case "con.": fault.connection == account.connection && account.connection != nil
            case "act.": fault.account == account.id
            default: false
            }
        }.map(\.code)
    }
}

/// A value that may be a string, a number or a boolean, as its text.
private struct Loose: Decodable {
    let text: String

    init(from decoder: any Decoder) throws {
        let value = try decoder.singleValueContainer()
        if let text = try? value.decode(String.self) {
            self.text = text
        } else if let number = try? value.decode(Decimal.self) {
            text = "\(number)"
        } else {
            text = try value.decode(Bool.self) ? "1" : "0"
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
        guard let text = (try? decode(Loose.self, forKey: key))?.text else { return nil }
        // Line ends and control characters are for nobody to see.
        let plain = text.unicodeScalars.map { $0.value < 32 || $0.value == 127 ? " " : $0 }
        let words = String(String.UnicodeScalarView(plain)).split(separator: " ").joined(separator: " ")
        return words.isEmpty ? nil : words
    }

    fileprivate func epoch(_ key: Key) -> Int64? {
        text(key).flatMap { Int64($0.prefix { $0 != "." }) }
    }

    /// Those elements that can be read.
    fileprivate func list<T: Decodable>(_ key: Key) -> [T] {
        guard var values = try? nestedUnkeyedContainer(forKey: key) else { return [] }
        var list: [T] = []
        while !values.isAtEnd {
            if let element = try? values.decode(T.self) {
                list.append(element)
            } else if (try? values.decodeNil()) != true, (try? values.decode(Anything.self)) == nil {
                break
            }
        }
        return list
    }
}
