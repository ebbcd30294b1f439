/// The FDX connector against the reference bank over HTTP, and against FDX's objects as banks write them.

import Foundation
import Outbound
import Testing
import Vault

@testable import Institutions

private func signedIn(
    _ bank: TestBank,
    _ connector: FDX,
    holder: String,
    user: String? = nil
) async throws -> (attempt: Attempt, keeper: Keeper) {
    let exhibit = Exhibit(connector: connector, institution: TestBank.institution) { step, _ in
        guard case .redirect(let address, _) = step else { throw ConnectorError.unsupported }
        return .returned(try await bank.person(at: address, user: user))
    }
    let attempt = exhibit.attempt(holder: holder)
    return (attempt, try await exhibit.signIn(attempt))
}

private func redirect(_ step: Step) throws -> (address: String, note: [UInt8]) {
    guard case .redirect(let address, let note) = step else { throw ConnectorError.unsupported }
    return (address, note)
}

private let exhibit = Exhibit(connector: Sandbox(), institution: TestBank.institution, answer: answerForm)

@Suite("FDX: signing in")
struct FDXSignInTests {
    @Test("The request is pushed, so that the address tells nothing of it")
    func pushed() async throws {
        let bank = try await TestBank.shared()
        let attempt = exhibit.attempt()
        let (address, _) = try redirect(try await bank.connector().begin(attempt))
        let names = URLComponents(string: address)?.queryItems?.map(\.name) ?? []
        #expect(Set(names) == ["client_id", "request_uri"])
        #expect(!address.contains(attempt.callback.state))
    }

    @Test("An answer that names another issuer, or none, is not taken, and its code is not spent")
    func mixUp() async throws {
        let bank = try await TestBank.shared()
        let connector = bank.connector()
        let attempt = exhibit.attempt(holder: "mixed up")
        let (address, note) = try redirect(try await connector.begin(attempt))
        let answer = try await bank.person(at: address)
        for wrong in ["https://other.example", nil] {
            var changed = answer
            changed["iss"] = wrong
            await #expect(throws: ConnectorError.authorizationFailed) {
                try await connector.resume(attempt, from: note, .returned(changed))
            }
        }
        guard case .authorized = try await connector.resume(attempt, from: note, .returned(answer)) else {
            Issue.record("the code was spent")
            return
        }
        await #expect(throws: ConnectorError.authorizationFailed, "a code is good once") {
            try await connector.resume(attempt, from: note, .returned(answer))
        }
    }

    @Test("A code that was given to another sign-in is worth nothing here")
    func swappedCode() async throws {
        let bank = try await TestBank.shared()
        let connector = bank.connector()
        let (mine, theirs) = (exhibit.attempt(holder: "mine"), exhibit.attempt(holder: "theirs"))
        let (_, note) = try redirect(try await connector.begin(mine))
        let (address, _) = try redirect(try await connector.begin(theirs))
        let answer = try await bank.person(at: address)
        await #expect(throws: ConnectorError.authorizationFailed) {
            try await connector.resume(mine, from: note, .returned(answer))
        }
    }

    @Test(
        "What the bank's refusals become",
        arguments: [
            ("deny", nil, ConnectorError.cancelled), ("cancel", nil, .cancelled),
            ("allow", "error", .authorizationFailed), ("allow", "unavailable", .institutionUnavailable(until: nil)),
        ] as [(String, String?, ConnectorError)]
    )
    func refusals(_ decision: String, _ user: String?, _ error: ConnectorError) async throws {
        let bank = try await TestBank.shared()
        let connector = bank.connector(client: "test-secret")
        let attempt = exhibit.attempt()
        let (address, note) = try redirect(try await connector.begin(attempt))
        let answer = try await bank.person(at: address, decision: decision, user: user)
        await #expect(throws: error) { try await connector.resume(attempt, from: note, .returned(answer)) }
    }

    @Test("A bank that does not know the client, or whose document names another issuer, is not gone to")
    func misconfigured() async throws {
        let bank = try await TestBank.shared()
        let attempt = exhibit.attempt()
        let wrong = bank.connector(client: "test-secret") { $0.proof = .secretBasic("wrong") }
        await #expect(throws: ConnectorError.misconfigured("client_id")) { try await wrong.begin(attempt) }
        await #expect(throws: ConnectorError.misconfigured("client_id")) { try await wrong.check() }
        await #expect(throws: ConnectorError.misconfigured("redirect_uri")) {
            try await bank.connector(client: "test-secret").begin(exhibit.attempt(callback: "http://127.0.0.1:1/other"))
        }
        await #expect(throws: ConnectorError.misconfigured("base_url")) {
            try await bank.connector(client: "test-secret") { $0.base += "/none" }.check()
        }
        await #expect(throws: ConnectorError.misconfigured("issuer")) {
            try await bank.connector {
                $0.discovery = "\($0.issuer)/.well-known/openid-configuration"; $0.issuer += "/x"
            }
            .begin(attempt)
        }
        try await bank.connector().check()
    }

    @Test("No address is dialled that the policy does not allow")
    func policy() async throws {
        let bank = try await TestBank.shared()
        let line = Line(Outbound(policy: .publicOnly))
        await #expect(throws: ConnectorError.misconfigured("issuer")) {
            try await bank.connector(line: line).begin(exhibit.attempt())
        }
    }
}

@Suite("FDX: access")
struct FDXAccessTests {
    @Test("Accounts chosen at the bank are the accounts that are found")
    func choice() async throws {
        let bank = try await TestBank.shared()
        let connector = bank.connector(client: "test-secret")
        let attempt = exhibit.attempt(holder: "chooses")
        let (address, note) = try redirect(try await connector.begin(attempt))
        let answer = try await bank.person(at: address, accounts: ["Success", "Credit Card"])
        guard case .authorized(let credential) = try await connector.resume(attempt, from: note, .returned(answer))
        else {
            Issue.record("not let in")
            return
        }
        let accounts = try await connector.accounts(Keeper(credential).access(attempt))
        #expect(accounts.map(\.displayName) == ["Success", "Credit Card"])
        #expect(accounts.map(\.last4).first == "6789")
        #expect(accounts.map(\.supportsPayments) == [true, false])
        #expect(accounts.first?.expectedDeactivation.map { $0 > attempt.now + 364 * 86_400 } == true)
    }

    @Test("All pages of accounts are read, and savings have a tokenized number")
    func pages() async throws {
        let bank = try await TestBank.shared()
        for version in ["v5", "v6"] {
            let connector = bank.connector(version)
            let (attempt, keeper) = try await signedIn(bank, connector, holder: "pages \(version)")
            let accounts = try await connector.accounts(keeper.access(attempt))
            #expect(accounts.count == 13)
            #expect(
                accounts.first { $0.subcategory == .savings }?.numbers.map(\.identifier) == [.tokenizedAccountNumber]
            )
            #expect(accounts.first { $0.displayName == "Mortgage" }?.subcategory == .mortgage)
        }
    }

    @Test("An ended access token is renewed once, and the new refresh token is kept before it is used")
    func rotation() async throws {
        let bank = try await TestBank.shared()
        let connector = bank.connector()
        let (attempt, keeper) = try await signedIn(bank, connector, holder: "rotates")
        let before = keeper.credential
        try await bank.set(FDX.hint("rotates"), ["access_tokens": "expired"])
        let accounts = try await connector.accounts(keeper.access(attempt))
        #expect(accounts.count == 13)
        #expect(keeper.renewals == 1 && keeper.credential != before)
        // The old refresh token was spent. Whoever uses it again ends the consent, for everybody.
        let thief = Keeper(before)
        await #expect(throws: ConnectorError.relinkRequired) { try await connector.accounts(thief.access(attempt)) }
        await #expect(throws: ConnectorError.relinkRequired) { try await connector.accounts(keeper.access(attempt)) }
    }

    @Test("A token that is known to have ended is renewed before anything is asked")
    func expiry() async throws {
        let bank = try await TestBank.shared()
        let (attempt, keeper) = try await signedIn(bank, bank.connector(), holder: "expires")
        let late = bank.connector(lateBy: 3600)
        #expect(try await late.accounts(keeper.access(attempt)).count == 13)
        #expect(keeper.renewals == 1)
    }

    @Test("The end of a consent, by its time or by a word, asks for a relink", arguments: ["expired", "revoked"])
    func consentEnds(_ how: String) async throws {
        let bank = try await TestBank.shared()
        let connector = bank.connector()
        let (attempt, keeper) = try await signedIn(bank, connector, holder: "ends \(how)")
        try await bank.set(FDX.hint("ends \(how)"), ["consents": how])
        await #expect(throws: ConnectorError.relinkRequired) { try await connector.accounts(keeper.access(attempt)) }
        await #expect(throws: ConnectorError.relinkRequired) {
            try await connector.consentExpiry(keeper.access(attempt))
        }
    }

    @Test("A consent that is given back is over at the bank too")
    func revocation() async throws {
        let bank = try await TestBank.shared()
        let connector = bank.connector()
        let (attempt, keeper) = try await signedIn(bank, connector, holder: "gives back")
        try await connector.revoke(keeper.access(attempt))
        await #expect(throws: ConnectorError.relinkRequired) { try await connector.accounts(keeper.access(attempt)) }
    }

    @Test("Too many requests, and a bank that is down, say when to come again")
    func refusals() async throws {
        let bank = try await TestBank.shared()
        let connector = bank.connector()
        let (attempt, keeper) = try await signedIn(bank, connector, holder: "throttled")
        let account = BankAccount.Reference(id: "x", category: .cash, subcategory: .checking)
        try await bank.set(FDX.hint("throttled"), ["throttle": "1", "unavailable": "1"])
        await #expect(throws: ConnectorError.rateLimited(until: attempt.now + 2)) {
            try await connector.balance(of: account, keeper.access(attempt))
        }
        await #expect(throws: ConnectorError.institutionUnavailable(until: attempt.now + 4)) {
            try await connector.balance(of: account, keeper.access(attempt))
        }
        await #expect(throws: ConnectorError.accountClosed) {
            try await connector.balance(of: account, keeper.access(attempt))
        }
    }

    @Test("Both shapes tell the same of the same customer")
    func shapes() async throws {
        let bank = try await TestBank.shared()
        let (v5, v6) = (bank.connector("v5"), bank.connector("v6"))
        let (attempt, keeper) = try await signedIn(bank, v6, holder: "shapes")
        for account in try await v6.accounts(keeper.access(attempt)) {
            let access = keeper.access(attempt)
            let (old, new) = (
                try await v5.balance(of: account.reference, access), try await v6.balance(of: account.reference, access)
            )
            #expect(old.current == new.current && old.kind == new.kind)
            if account.category == .credit { #expect(old.current.values.allSatisfy { $0 < 0 }) }
            #expect(try await v5.owners(of: account.reference, access) == v6.owners(of: account.reference, access))
            let first = try await v5.transactions(of: account.reference, after: nil, access).transactions
            #expect(try await v6.transactions(of: account.reference, after: nil, access).transactions == first)
        }
        let joint = try await v6.accounts(keeper.access(attempt))[0]
        let owners = try await v6.owners(of: joint.reference, keeper.access(attempt))
        #expect(owners.map(\.name) == ["Jenny Rosen", "Avery Rosen"])
        #expect(owners.map(\.email) == ["jenny.rosen@example.com", nil])
        #expect(owners[0].phone == "+14155550100")
        #expect(owners[0].address == "1234 Fake Street, San Francisco, CA, 94102, US")
    }

    @Test("180 days are read in whole pages, and the window is told with the last")
    func windows() async throws {
        let bank = try await TestBank.shared()
        let connector = bank.connector()
        let (attempt, keeper) = try await signedIn(bank, connector, holder: "windows")
        let account = try #require(try await connector.accounts(keeper.access(attempt)).first)
        var (cursor, all, pages): ([UInt8]?, [BankTransaction], Int) = (nil, [], 0)
        var window: Range<Int64>?
        repeat {
            let page = try await connector.transactions(of: account.reference, after: cursor, keeper.access(attempt))
            (cursor, window, pages) = (page.hasMore ? page.cursor : nil, page.completeWindow, pages + 1)
            all += page.transactions
            if !page.hasMore { cursor = nil }
        } while cursor != nil && pages < 100
        #expect(pages > 1, "the first 180 days do not fit on a page")
        let complete = try #require(window)
        #expect(complete.lowerBound <= attempt.now - 179 * 86_400 && complete.upperBound > attempt.now)
        #expect(all.allSatisfy { complete.contains($0.transactedAt) && $0.currency == "usd" && $0.amount != 0 })
        #expect(all.contains { $0.amount < 0 } && all.contains { $0.amount > 0 })
    }
}

@Suite("FDX: objects as banks write them")
struct FDXShapeTests {
    private func decode<T: Decodable>(_ json: String, _ type: T.Type) throws -> T {
        try JSONDecoder().decode(type, from: Data(json.utf8))
    }

    @Test(
        "Amounts are exact",
        arguments: [
            ("0.1", "usd", 10), ("1399.02", "usd", 139_902), ("-0.07", "usd", -7),
            ("10000000000000.00", "usd", 1_000_000_000_000_000),
            ("9007199254740993", "jpy", 9_007_199_254_740_993), ("90071992547409.93", "usd", 9_007_199_254_740_993),
            ("1.5E2", "usd", 15_000), ("\"1234.56\"", "usd", 123_456), ("0.005", "kwd", 5), ("4.35", "usd", 435),
            ("1.15", "usd", 115), ("8.2", "usd", 820), ("300.80", "usd", 30_080),
        ] as [(String, String, Int64)]
    )
    func amounts(_ text: String, _ currency: String, _ units: Int64) throws {
        #expect(try decode(text, FDXAmount.self).minorUnits(of: currency) == units)
    }

    @Test("Version 6 names the category, version 5 wraps the object")
    func accounts() throws {
        let old = try decode(
            """
            {"page": {"nextOffset": 2, "totalElements": 3}, "accounts": [
              {"depositAccount": {"accountId": "d1", "accountType": "MONEYMARKET", "accountNumberDisplay": "xxxx-1234",
                "nickname": "", "productName": "Rainy Days", "status": "OPEN", "currency": {"currencyCode": "CAD"}}},
              {"locAccount": {"accountId": "c1", "accountType": "CHARGE", "accountNumberDisplay": "...58"}},
              {"loanAccount": {"accountId": "l1", "accountType": "MORTGAGE"}},
              {"insuranceAccount": {"accountId": "i1"}}, {"depositAccount": {"nickname": "without an id"}}, 7]}
            """,
            FDXAccounts.self
        )
        #expect(old.page?.next?.name == "offset" && old.page?.next?.value == "2")
        let found = old.accounts.compactMap(\.value)
        #expect(found.map(\.value.accountId) == ["d1", "c1", "l1", "i1", nil])
        let described = found.dropLast().map { account in
            account.described("x", numbers: [], expectedDeactivation: nil, in: TestBank.institution)
        }
        #expect(described.map(\.displayName) == ["Rainy Days", "Test Bank", "Test Bank", "Test Bank"])
        #expect(described.map(\.last4) == ["1234", nil, nil, nil])
        #expect(described.map(\.category) == [.cash, .credit, .credit, .other])
        #expect(described.map(\.subcategory) == [.savings, .creditCard, .mortgage, .other])
        #expect(found[0].value.currencyCode == "cad" && found[1].value.currencyCode == "usd")
        let new = try decode(
            """
            {"page": {"nextPageKey": "k"}, "accounts": [
              {"accountCategory": "LOC_ACCOUNT", "accountId": "c2", "accountType": "HOMELINEOFCREDIT"},
              {"accountCategory": "SOMETHING_NEW", "accountId": "s"}, {"accountId": "n", "accountType": "CHECKING"}]}
            """,
            FDXAccounts.self
        )
        #expect(new.page?.next?.name == "pageKey")
        #expect(new.accounts.compactMap(\.value).map(\.kind.subcategory) == [.lineOfCredit, .other, .checking])
    }

    @Test("Balances: what is owed is negative, and what was not said is not known")
    func balances() throws {
        func balance(_ json: String) throws -> Balance? {
            try decode(json, FDXWrapped<FDXAccount>.self).balance(at: 5)
        }
        let deposit = try balance(
            """
            {"accountCategory": "DEPOSIT_ACCOUNT", "accountId": "a", "balanceAsOf": "2026-07-15T14:46:41.375+02:00",
              "currentBalance": 1399.02, "availableBalance": 1200.5, "currency": {"currencyCode": "USD"}}
            """
        )
        #expect(
            deposit == Balance(asOf: 1_784_119_601, current: ["usd": 139_902], kind: .cash(available: ["usd": 120_050]))
        )
        let card = try balance(
            """
            {"locAccount": {"accountId": "a", "accountType": "CREDITCARD", "currentBalance": 192.00,
              "creditLine": 1000}}
            """
        )
        #expect(card == Balance(asOf: 5, current: ["usd": -19_200], kind: .credit(used: ["usd": -19_200])))
        let drawn = try balance(
            #"{"accountCategory": "LOC_ACCOUNT", "accountId": "a", "creditLine": 10000.0, "availableCredit": 8302.73}"#
        )
        #expect(drawn?.current == ["usd": -169_727])
        let loan = try balance(#"{"loanAccount": {"accountId": "a", "principalBalance": 580303.95}}"#)
        #expect(loan?.current == ["usd": -58_030_395])
        let invested = try balance(
            """
            {"accountCategory": "INVESTMENT_ACCOUNT", "accountId": "a", "currentValue": 34938.2,
              "availableCashBalance": 3209.54}
            """
        )
        #expect(invested?.kind == .cash(available: ["usd": 320_954]))
        #expect(try balance(#"{"accountCategory": "DEPOSIT_ACCOUNT", "accountId": "a"}"#) == nil)
        // The details need not say again what the account was linked as.
        let bare = try decode(#"{"currentBalance": 5}"#, FDXWrapped<FDXAccount>.self)
        #expect(bare.balance(at: 5, as: .credit)?.kind == .credit(used: ["usd": -500]))
        #expect(bare.balance(at: 5, as: .other)?.current == ["usd": 500])
        // What no integer holds is not known.
        for text in [
            #"{"accountCategory": "LOC_ACCOUNT", "creditLine": 92233720368547758.07, "availableCredit": -0.01}"#,
            #"{"accountCategory": "LOC_ACCOUNT", "currentBalance": -92233720368547758.08}"#,
            #"{"accountCategory": "LOAN_ACCOUNT", "principalBalance": 1e40}"#,
        ] {
            #expect(try balance(text) == nil, "\(text)")
        }
        // Of one account that was asked for, the amounts may be all that is said.
        #expect(try balance(#"{"principalBalance": 6133.0, "accountNumber": 7}"#)?.current == ["usd": -613_300])
        #expect(try balance(#"{"availableBalance": 8970.0, "currentBalance": 1087.0}"#)?.current == ["usd": 108_700])
        #expect(try balance(#"{"currentValue": 2053.0, "nickname": 7, "currency": null}"#)?.current == ["usd": 205_300])
    }

    @Test(
        "Owners: what stands in a list beside the holders is nobody's but whose turn it is",
        arguments: [
            (#"[null, "b@x"]"#, [nil, "b@x"]), (#"["", "b@x"]"#, [nil, "b@x"]), (#"["a@x", "b@x"]"#, ["a@x", "b@x"]),
            (#"["a@x"]"#, ["a@x", nil]), (#"["", "c@x", "d@x"]"#, ["c@x", nil]), ("[]", [nil, nil]),
        ] as [(String, [String?])]
    )
    func owners(_ list: String, _ expected: [String?]) throws {
        let contact = try decode(
            #"{"holders": [{"name": {"first": "Ann"}}, {"name": {"first": "Bob"}}], "emails": \#(list)}"#,
            FDXContact.self
        )
        #expect(contact.owners.map(\.name) == ["Ann", "Bob"] && contact.owners.map(\.email) == expected)
    }

    @Test("Owners: the primary address and telephone are told, and no fax")
    func primary() throws {
        let contact = try decode(
            """
            {"holders": [{"name": {"first": "Ann"},
                "addresses": [{"line1": "Box 1"}, {"line1": "2 High St", "primary": true}]}],
              "telephones": [{"type": "FAX", "number": "1"}, {"number": "2"}, {"number": "3", "primary": true}]}
            """,
            FDXContact.self
        )
        #expect(contact.owners == [Owner(name: "Ann", email: nil, phone: "3", address: "2 High St")])
        let fax = try decode(
            #"{"holders": [{"name": {"first": "Ann"}}], "telephones": [{"type": "FAX", "number": "1"}]}"#,
            FDXContact.self
        )
        #expect(fax.owners.map(\.phone) == [nil])
    }

    @Test(
        "Owners: nobody has what is the first holder's, who is no owner or has no name",
        arguments: [#"{"name": {"first": "Sig"}, "relationship": "AUTHORIZED_SIGNER"}"#, "{}"]
    )
    func strangers(_ first: String) throws {
        for list in [#"["first@x"]"#, #"["first@x", ""]"#] {
            let contact = try decode(
                #"{"holders": [\#(first), {"name": {"first": "Bob"}}], "emails": \#(list)}"#,
                FDXContact.self
            )
            #expect(contact.owners == [Owner(name: "Bob", email: nil, phone: nil, address: nil)])
        }
    }

    @Test("Transactions: the word beside the amount is its sign, and cards say what a posting replaces")
    func transactions() throws {
        func read(_ json: String, _ category: BankAccount.Category = .cash) throws -> FDXTransaction.Reading {
            try decode(json, FDXWrapped<FDXTransaction>.self).value.read(in: "usd", category)
        }
        let debit = try read(
            """
            {"depositTransaction": {"transactionId": "t1", "transactionTimestamp": "2022-04-05T00:00:00.000Z",
              "postedTimestamp": "2022-04-06T00:00:00.000Z", "debitCreditMemo": "DEBIT", "status": "POSTED",
              "amount": 0.8, "payee": "ACME", "referenceTransactionId": "reversed"}}
            """
        )
        #expect(
            debit.transaction
                == BankTransaction(
                    id: "t1",
                    amount: -80,
                    currency: "usd",
                    description: "ACME",
                    status: .posted,
                    transactedAt: 1_649_116_800,
                    settledAt: 1_649_203_200
                )
        )
        let posting = try read(
            """
            {"accountCategory": "LOC_ACCOUNT", "transactionId": "t2", "referenceTransactionId": "t0", "amount": 38.9,
              "transactionTimestamp": "2024-07-15T14:46:41.375+02:00", "debitCreditMemo": "CREDIT", "status": "POSTED"}
            """,
            .credit
        )
        #expect(posting.transaction?.replaces == "t0" && posting.transaction?.amount == 3890)
        #expect(posting.transaction?.settledAt == posting.transaction?.transactedAt)
        let pending = try read(
            """
            {"transactionId": "t3", "transactionTimestamp": "2024-07-15", "debitCreditMemo": "DEBIT",
              "postedTimestamp": "2024-07-16T00:00:00Z", "status": "AUTHORIZATION", "amount": "5"}
            """
        )
        #expect(pending.transaction?.status == .pending && pending.transaction?.settledAt == nil)
        // A word that is not known says no less than none.
        for (more, status) in [("", BankTransaction.Status.pending), (#", "postedTimestamp": "2024-07-16""#, .posted)] {
            let text = #"{"transactionId": "t5", "transactionTimestamp": "2024-07-15", "status": "NEW", "amount": 1"#
            #expect(try read("\(text)\(more)}").transaction?.status == status)
        }
        let memo =
            #"{"transactionId": "t4", "transactionTimestamp": "2024-07-15", "debitCreditMemo": "MEMO", "amount": 1}"#
        #expect(try read(memo) == .memo)
        for broken in [
            #"{"transactionId": "t", "amount": 1, "status": "POSTED"}"#,
            #"{"transactionId": "t", "amount": "1,234", "transactionTimestamp": "2024-07-15"}"#,
            #"{"transactionId": "t", "amount": 1, "transactionTimestamp": "yesterday"}"#,
            #"{"transactionId": "t", "amount": 1e300, "transactionTimestamp": "2024-07-15"}"#,
        ] {
            // What cannot even be decoded is an item of a list that was not readable.
            #expect((try? read(broken)) ?? .unreadable == .unreadable, "\(broken)")
        }
    }

    @Test("Owners: lists beside the holders go one to each, or to the first")
    func owners() throws {
        let two = try decode(
            """
            {"holders": [{"relationship": "SECONDARY", "name": {"first": "Ernest", "middle": "", "last": "Hemingway",
                "suffix": "IV"}}, {"name": {"first": "Maya", "last": "Angelou"}}, {"name": {}}],
              "emails": ["e@example.com", "m@example.com"], "telephones": [{"country": "1", "number": "8005550100"}],
              "addresses": [{"line1": "1850 N Clark St", "line2": "Apartment 103", "city": "Chicago", "region": "IL",
                "postalCode": "60614", "country": "US"}]}
            """,
            FDXContact.self
        )
        #expect(two.owners.map(\.name) == ["Ernest Hemingway IV", "Maya Angelou"])
        #expect(two.owners.map(\.email) == ["e@example.com", nil], "whose the second is nobody knows")
        #expect(two.owners.map(\.phone) == ["+18005550100", nil])
        #expect(two.owners[0].address == "1850 N Clark St, Apartment 103, Chicago, IL, 60614, US")
        let business = try decode(#"{"holders": [{"businessCustomer": {"name": "Rocket Rides"}}]}"#, FDXContact.self)
        #expect(business.owners == [Owner(name: "Rocket Rides", email: nil, phone: nil, address: nil)])
        #expect(try decode("{}", FDXContact.self).owners.isEmpty)
        let acting = try decode(
            """
            {"holders": [{"relationship": "AUTHORIZED_USER", "name": {"first": "Al", "last": "Lowed"}},
                {"relationship": "PRIMARY_JOINT", "name": {"first": "Ada", "last": "Owner"}},
                {"relationship": "POWER_OF_ATTORNEY", "name": {"first": "Ann", "last": "Attorney"}},
                {"relationship": "AUTHORIZED_SIGNER", "name": {"first": "Sam", "last": "Signer"}},
                {"relationship": 7, "name": {"first": "Una", "last": "Told"}}],
              "emails": ["ada@example.com"]}
            """,
            FDXContact.self
        )
        #expect(acting.owners.map(\.name) == ["Ada Owner", "Una Told"], "who acts for an owner is none")
        #expect(acting.owners.map(\.email) == [nil, nil], "it is the first holder's")
    }

    @Test("Refusals carry a number or a text", arguments: [#"{"code": 602}"#, #"{"code": "602", "message": "x"}"#])
    func refusals(_ json: String) throws {
        #expect(try decode(json, FDXRefusal.self).code == 602)
    }

    @Test(
        "Moments",
        arguments: [
            ("1970-01-01", 0), ("2024-02-29T23:59:60Z", 1_709_251_200), ("2026-07-15T14:46:41", 1_784_126_801),
            ("2026-07-15T14:46:41.123456789-0530", 1_784_146_601), ("2025-02-29", nil), ("2026-7-15", nil),
            ("2026-07-15T25:00:00Z", nil), ("2026-07-15T14:46:41+2", nil), ("", nil), ("2026-07-15T", nil),
            ("2026-07-15T10:00Z", 1784109600), ("2026-07-15T12:00+02", 1784109600), ("2026-07-15T10:00:", nil),
            ("2026-07-15T10:0", nil),
        ] as [(String, Int64?)]
    )
    func moments(_ text: String, _ seconds: Int64?) {
        #expect(Moment.iso(text) == seconds)
    }

    @Test("Dates written out")
    func dates() {
        #expect(Moment.date(of: 1_709_164_800) == "2024-02-29" && Moment.date(of: -1) == "1969-12-31")
    }
}
