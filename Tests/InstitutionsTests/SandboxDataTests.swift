/// What the test institutions tell of an account, read as a refresh reads it: balances and owners by the account's
/// name, and transactions that come in pages, settle as time passes and are never told twice or lost.

import Institutions
import Testing

private let now: Int64 = 1_790_000_000
private let day: Int64 = 86_400
private let sandbox = Sandbox()

/// A holder who has linked at an institution.
private struct Link {
    let institution: Institution
    var holder = "cus_A"
    var linked = now
    var isRelink = false

    func access(at now: Int64, _ fabrication: Fabrication? = nil) async throws -> Access {
        let attempt = Attempt(
            institution: institution,
            holder: holder,
            now: linked,
            isRelink: isRelink,
            callback: .init(url: "https://link.example/flow/return", state: "state")
        )
        guard case .authorized(let credential) = try await sandbox.begin(attempt) else {
            throw ConnectorError.invalidResponse
        }
        return Access(
            institution: institution,
            holder: holder,
            now: now,
            credential: credential,
            fabrication: fabrication
        ) { _ throws(ConnectorError) in throw .unsupported }
    }

    func accounts() async throws -> [BankAccount] { try await sandbox.accounts(access(at: linked)) }

    func account(_ name: String) async throws -> BankAccount.Reference {
        let account = try #require(try await accounts().first { $0.displayName == name })
        return .init(id: account.id, category: account.category, subcategory: account.subcategory)
    }
}

private let link = Link(institution: Sandbox.testNonOAuth)

/// What a reader that refreshes has by now, and how far it is.
private struct Reader {
    let account: BankAccount.Reference
    private(set) var known: [String: BankTransaction] = [:]
    private(set) var cursor: [UInt8]?
    private(set) var pages: [TransactionPage] = []

    init(_ account: BankAccount.Reference) { self.account = account }

    /// Answers what the refresh brought.
    @discardableResult
    mutating func refresh(_ access: Access) async throws -> [BankTransaction] {
        pages = []
        repeat {
            let page = try await sandbox.transactions(of: account, after: cursor, access)
            pages.append(page)
            cursor = page.cursor
            for transaction in page.transactions { known[transaction.id] = transaction }
        } while pages.last?.hasMore == true
        return pages.flatMap(\.transactions)
    }
}

/// All that a bank tells at a moment to one who asks for the first time.
private func all(_ account: BankAccount.Reference, _ link: Link = link, at now: Int64) async throws -> [BankTransaction]
{
    var reader = Reader(account)
    return try await reader.refresh(link.access(at: now))
}

@Suite("Test institutions: balances")
struct SandboxBalanceTests {
    private func balance(_ name: String, _ link: Link = link, at now: Int64 = now) async throws -> Balance {
        try await sandbox.balance(of: link.account(name), link.access(at: now))
    }

    @Test("are of the kind and the sign that the account has")
    func kinds() async throws {
        for account in try await link.accounts() {
            let balance = try await balance(account.displayName)
            let current = try #require(balance.current["usd"])
            #expect(balance.current.count == 1)
            #expect(balance.asOf == now)
            switch (account.category, balance.kind) {
            case (.credit, .credit(let used)):
                #expect(current < 0)
                #expect(try #require(used?["usd"]) < 0)
            case (.cash, .cash(let available)), (.investment, .cash(let available)):
                #expect(current >= 0)
                #expect(try #require(available?["usd"]) >= 0)
            default: Issue.record("\(account.displayName) has a balance of another kind")
            }
        }
    }

    @Test("keep what the names promise", arguments: ["cus_A", "cus_B", "acct_C"], [0, 33, 200])
    func names(holder: String, days: Int64) async throws {
        let link = Link(institution: Sandbox.testNonOAuth, holder: holder)
        let later = now + days * day
        #expect(try #require(await balance("High Balance", link, at: later).current["usd"]) > 20_000_000)
        #expect((1..<1000).contains(try #require(await balance("Insufficient Funds", link, at: later).current["usd"])))
        #expect(try await balance("Account Closed", link, at: later).current == ["usd": 0])
        #expect(try #require(await balance("Success", link, at: later).current["usd"]) > 100_000)
        #expect(try #require(await balance("Mortgage", link, at: later).current["usd"]) < -5_000_000)
    }

    @Test("are the same for whoever asks again, and move with time")
    func time() async throws {
        for name in ["Success", "High Balance", "Credit Card", "Brokerage"] {
            #expect(try await balance(name) == balance(name))
            var seen: Set<Int64> = []
            for days in Int64(0)..<60 {
                seen.insert(try #require(await balance(name, at: now + days * day).current["usd"]))
            }
            #expect(seen.count > 3, "\(name)")
        }
        let (debt, less) = (try await balance("Mortgage"), try await balance("Mortgage", at: now + 62 * day))
        #expect(try #require(debt.current["usd"]) < #require(less.current["usd"]))
    }

    @Test("available money is the current balance with what is pending")
    func available() async throws {
        let account = try await link.account("Success")
        for days in Int64(0)..<40 {
            let moment = now + days * day
            let balance = try await sandbox.balance(of: account, link.access(at: moment))
            let pending = try await all(account, at: moment).filter { $0.status == .pending }.map(\.amount)
            guard case .cash(let available) = balance.kind else { throw ConnectorError.invalidResponse }
            #expect(available?["usd"] == balance.current["usd"].map { $0 + pending.reduce(0, +) })
        }
    }
}

@Suite("Test institutions: owners")
struct SandboxOwnersTests {
    private let link = Link(institution: Sandbox.ownershipAccounts)

    private func owners(_ name: String, _ link: Link) async throws -> [Owner] {
        try await sandbox.owners(of: link.account(name), link.access(at: now))
    }

    @Test("are as the names say")
    func names() async throws {
        let single = try await owners("Single Owner", link)
        let person = try #require(single.first)
        #expect(single.count == 1)
        #expect(person.email != nil && person.phone != nil && person.address != nil)
        let joint = try await owners("Joint Owners", link)
        #expect(joint.first == person)
        #expect(joint.count == 2 && joint[0].name != joint[1].name)
        #expect(joint[1].address == person.address)
        #expect(
            try await owners("Owner Without Address", link) == [
                Owner(name: person.name, email: person.email, phone: person.phone, address: nil)
            ]
        )
        #expect(
            try await owners("Owner With Name Only", link) == [
                Owner(name: person.name, email: nil, phone: nil, address: nil)
            ]
        )
        #expect(try await owners("No Owners", link).isEmpty)
        let business = try await owners("Business Owner", link)
        #expect(business.count == 1 && business[0].name.hasSuffix("LLC"))
    }

    @Test("are the same again, and others for other holders")
    func holders() async throws {
        let other = Link(institution: Sandbox.ownershipAccounts, holder: "cus_B")
        #expect(try await owners("Single Owner", link) == owners("Single Owner", link))
        #expect(try await owners("Single Owner", link) != owners("Single Owner", other))
        let success = Link(institution: Sandbox.testNonOAuth)
        #expect(try await owners("Success", success).count == 1)
    }
}

@Suite("Test institutions: transactions")
struct SandboxTransactionTests {
    private static let names = [
        "Success", "High Balance", "Credit Card", "Line of Credit", "Mortgage", "Brokerage",
    ]

    @Test("go back 180 days, plausibly", arguments: names)
    func plausible(name: String) async throws {
        let transactions = try await all(link.account(name), at: now)
        #expect(transactions.count >= 10)
        #expect(Set(transactions.map(\.id)).count == transactions.count)
        for transaction in transactions {
            #expect((now - 180 * day...now).contains(transaction.transactedAt))
            #expect(transaction.currency == "usd")
            #expect(transaction.amount != 0 && abs(transaction.amount) < 1_000_000)
            #expect(!transaction.description.isEmpty)
            #expect(transaction.replaces == nil)
            switch transaction.status {
            case .pending:
                #expect(transaction.settledAt == nil)
                #expect(transaction.transactedAt > now - 3 * day)
            case .posted: #expect((transaction.transactedAt...now).contains(try #require(transaction.settledAt)))
            case .void: #expect((transaction.transactedAt + 1...now).contains(try #require(transaction.settledAt)))
            }
        }
        #expect(transactions.map(\.transactedAt) == transactions.map(\.transactedAt).sorted())
        #expect(try #require(transactions.first).transactedAt < now - 140 * day)
    }

    @Test("a checking account has pay, rent and cards, of every status")
    func checking() async throws {
        let transactions = try await all(link.account("Success"), at: now)
        #expect((12...13).contains(transactions.count { $0.description.hasPrefix("Payroll") && $0.amount > 0 }))
        #expect((5...7).contains(transactions.count { $0.description.hasPrefix("Rent") && $0.amount < 0 }))
        #expect(Set(transactions.map(\.status)) == [.pending, .posted, .void])
        #expect(transactions.count > 150)
    }

    @Test("are the same for whoever asks again, and others for other holders and accounts")
    func determinism() async throws {
        let account = try await link.account("Success")
        #expect(try await all(account, at: now) == all(account, at: now))
        let other = Link(institution: Sandbox.testNonOAuth, holder: "cus_B")
        #expect(try await all(account, at: now) != all(other.account("Success"), other, at: now))
        #expect(try await all(account, at: now) != all(link.account("Dispute"), at: now))
    }

    @Test("outlive the process: what an earlier run told is told again")
    func pinned() async throws {
        let last = try #require(try await all(link.account("Success"), at: now).last)
        #expect(
            last
                == BankTransaction(
                    id: "groceries:6904",
                    amount: -12_572,
                    currency: "usd",
                    description: "Baker & Daughters",
                    status: .pending,
                    transactedAt: 1_789_939_734,
                    settledAt: nil
                )
        )
    }

    @Test("steps of any length add up to what is told at once", arguments: names, [1, 2, 3, 4])
    func steps(name: String, seed: UInt64) async throws {
        let account = try await link.account(name)
        var random = Seeded(seed)
        var reader = Reader(account)
        var moment = now
        try await reader.refresh(link.access(at: moment))
        let ids = Set(reader.known.keys)
        for _ in 0..<60 {
            moment += Int64.random(in: 0...(seed % 2 == 0 ? 10 * day : day / 4), using: &random)
            try await reader.refresh(link.access(at: moment))
            let told = try await all(account, at: moment)
            let window = reader.known.values.filter { $0.transactedAt >= moment - 180 * day }
            #expect(
                Dictionary(uniqueKeysWithValues: window.map { ($0.id, $0) })
                    == Dictionary(uniqueKeysWithValues: told.map { ($0.id, $0) })
            )
        }
        #expect(ids.isSubset(of: reader.known.keys))
    }

    @Test("each change is told once: the transaction, then how it ended, under one id", arguments: names)
    func once(name: String) async throws {
        let account = try await link.account(name)
        var reader = Reader(account)
        try await reader.refresh(link.access(at: now))
        var ended: Set<BankTransaction.Status> = []
        for step in Int64(1)...300 {
            let before = reader.known
            for transaction in try await reader.refresh(link.access(at: now + step * day / 4)) {
                guard let former = before[transaction.id] else { continue }
                #expect(former.status == .pending)
                #expect(transaction.status != .pending)
                #expect(former.transactedAt == transaction.transactedAt && former.amount == transaction.amount)
                #expect(former.description == transaction.description)
                ended.insert(transaction.status)
            }
            #expect(try await reader.refresh(link.access(at: now + step * day / 4)).isEmpty)
        }
        if name == "Success" || name == "Credit Card" { #expect(ended == [.posted, .void]) }
    }

    @Test("a refresh tells of one moment, however long its pages take")
    func pages() async throws {
        let account = try await link.account("Success")
        let first = try await sandbox.transactions(of: account, after: nil, link.access(at: now))
        #expect(first.hasMore)
        #expect((100...500).contains(first.transactions.count))
        var told = first.transactions
        var (cursor, hasMore) = (first.cursor, first.hasMore)
        while hasMore {
            let page = try await sandbox.transactions(of: account, after: cursor, link.access(at: now + 5 * day))
            #expect(page.transactions.count <= 500)
            told += page.transactions
            (cursor, hasMore) = (page.cursor, page.hasMore)
        }
        let isSame = try await told == all(account, at: now)
        #expect(isSame)
    }

    @Test("a clock that goes back tells nothing and loses nothing")
    func backwards() async throws {
        let account = try await link.account("Success")
        var reader = Reader(account)
        try await reader.refresh(link.access(at: now))
        #expect(try await reader.refresh(link.access(at: now - 30 * day)).isEmpty)
        try await reader.refresh(link.access(at: now + 30 * day))
        let told = try await all(account, at: now + 30 * day)
        #expect(told.allSatisfy { reader.known[$0.id] == $0 })
    }

    @Test("a cursor of another hand is refused", arguments: ["", "x", "1 2", "first 2 done", "a 2 done 0", "1 2 no 0"])
    func cursors(text: String) async throws {
        let account = try await link.account("Success")
        await #expect(throws: ConnectorError.invalidResponse) {
            try await sandbox.transactions(of: account, after: Array(text.utf8), link.access(at: now))
        }
    }

    @Test("two hundred daily refreshes take little time")
    func fast() async throws {
        let account = try await link.account("Success")
        var reader = Reader(account)
        let clock = ContinuousClock()
        let start = clock.now
        for days in Int64(0)..<200 { try await reader.refresh(link.access(at: now + days * day)) }
        #expect(clock.now - start < .seconds(5))
        #expect(reader.known.count > 300)
    }
}

@Suite("Test institutions: when data is not given")
struct SandboxRefusalTests {
    /// Asks for all kinds of data of the account; each must throw.
    private func expect(
        _ error: ConnectorError,
        of account: BankAccount.Reference,
        _ access: Access,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async {
        await #expect(throws: error, sourceLocation: sourceLocation) { try await sandbox.balance(of: account, access) }
        await #expect(throws: error, sourceLocation: sourceLocation) { try await sandbox.owners(of: account, access) }
        await #expect(throws: error, sourceLocation: sourceLocation) {
            try await sandbox.transactions(of: account, after: nil, access)
        }
    }

    @Test("a consent that ran out must be given anew")
    func consent() async throws {
        let links: [(Link, Int64?)] = [
            (Link(institution: Sandbox.testNonOAuth), nil),
            (Link(institution: Sandbox.immediatelyRequiresReauthentication), nil),
            (Link(institution: Sandbox.immediatelyRequiresReauthentication, isRelink: true), now + day),
            (Link(institution: Sandbox.eventuallyRequiresReauthentication), now + 30 * day),
            (Link(institution: Sandbox.eventuallyRequiresReauthentication, isRelink: true), now + 30 * day),
        ]
        for (link, expiry) in links {
            #expect(try await sandbox.consentExpiry(link.access(at: now)) == expiry)
            let name = try #require(await link.accounts().first).displayName
            let account = try await link.account(name)
            let end = expiry ?? now + 400 * day
            _ = try await sandbox.balance(of: account, link.access(at: end - 1))
            if expiry != nil {
                await expect(.relinkRequired, of: account, try await link.access(at: end))
            } else {
                _ = try await sandbox.balance(of: account, link.access(at: end))
            }
        }
    }

    @Test("an account that the holder does not have is closed")
    func stranger() async throws {
        let other = try await Link(institution: Sandbox.testNonOAuth, holder: "cus_B").account("Success")
        await expect(.accountClosed, of: other, try await link.access(at: now))
    }

    @Test("the consent can be taken back, by its holder")
    func revoke() async throws {
        try await sandbox.revoke(link.access(at: now))
        let access = Access(institution: Sandbox.testNonOAuth, holder: "cus_A", now: now, credential: []) {
            _ throws(ConnectorError) in throw .unsupported
        }
        await #expect(throws: ConnectorError.invalidResponse) { try await sandbox.revoke(access) }
    }
}

@Suite("Test institutions: what tests made")
struct SandboxFabricationTests {
    private func fabrication(
        balance: Balance? = nil,
        owners: [Owner]? = nil,
        isDeactivated: Bool = false,
        fails: Bool = false,
        changes: [Fabrication.Change] = []
    ) -> Fabrication {
        Fabrication(balance: balance, owners: owners, isDeactivated: isDeactivated, fails: fails) {
            after,
            limit throws(ConnectorError) in
            Array(changes.filter { $0.number > after }.prefix(limit))
        }
    }

    private func made(_ number: Int64, _ id: String, _ status: BankTransaction.Status = .pending) -> Fabrication.Change
    {
        .init(
            number: number,
            transaction: BankTransaction(
                id: id,
                amount: -number,
                currency: "usd",
                description: "made",
                status: status,
                transactedAt: now,
                settledAt: status == .pending ? nil : now
            )
        )
    }

    @Test("a balance and owners take the place of those made up")
    func instead() async throws {
        let account = try await link.account("Success")
        let balance = Balance(asOf: 7, current: ["eur": 5], kind: .cash(available: nil))
        let owner = Owner(name: "Ada", email: nil, phone: nil, address: nil)
        let access = try await link.access(at: now, fabrication(balance: balance, owners: [owner]))
        #expect(try await sandbox.balance(of: account, access) == balance)
        #expect(try await sandbox.owners(of: account, access) == [owner])
        let none = try await link.access(at: now, fabrication(owners: []))
        #expect(try await sandbox.owners(of: account, none) == [])
        #expect(try await sandbox.balance(of: account, none) == sandbox.balance(of: account, link.access(at: now)))
    }

    @Test("the end of the link and a failure come first")
    func refusals() async throws {
        let account = try await link.account("Success")
        let cases: [(Fabrication, ConnectorError)] = [
            (fabrication(isDeactivated: true, fails: true), .accountClosed),
            (fabrication(fails: true), .invalidResponse),
        ]
        for (fabrication, error) in cases {
            let access = try await link.access(at: now, fabrication)
            await #expect(throws: error) { try await sandbox.balance(of: account, access) }
            await #expect(throws: error) { try await sandbox.owners(of: account, access) }
            await #expect(throws: error) { try await sandbox.transactions(of: account, after: nil, access) }
        }
    }

    @Test("transactions stand beside those made up, in pages, each change once", arguments: [0, 1, 99, 100, 1000])
    func beside(count: Int64) async throws {
        let account = try await link.account("Success")
        var changes = (0..<count).map { made($0 + 1, "made-\($0)") }
        var reader = Reader(account)
        let told = try await reader.refresh(link.access(at: now, fabrication(changes: changes)))
        #expect(reader.pages.allSatisfy { $0.transactions.count <= 500 })
        #expect(try await told == all(account, at: now) + changes.map(\.transaction))
        #expect(try await reader.refresh(link.access(at: now, fabrication(changes: changes))).isEmpty)
        guard count > 0 else { return }
        changes.removeFirst()
        changes.append(made(count + 1, "made-0", .void))
        let later = try await reader.refresh(link.access(at: now, fabrication(changes: changes)))
        #expect(later == [try #require(changes.last).transaction])
        let next = try await reader.refresh(link.access(at: now + day, fabrication(changes: changes)))
        #expect(!next.isEmpty && !next.contains { $0.description == "made" })
    }
}
