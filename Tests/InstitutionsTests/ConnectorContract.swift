/// What every connector must hold, whatever its protocol: held against each of the exhibits below. A new connector is
/// shown here by an exhibit of its own, and by tests of its own for what is its protocol's alone.

import Foundation
import Institutions
import Synchronization
import Testing

/// A connector with a bank behind it, and a person who can sign in there.
struct Exhibit: Sendable {
    let connector: any Connector
    let institution: Institution
    /// Answers a step as a person would who lets everything in.
    let answer: @Sendable (Step, Attempt) async throws -> Response
    /// What must never stand in an error or a description.
    var secrets: [String] = []
    /// The file that the person gives, where the institution takes one.
    var upload: Upload?
}

/// How an exhibit is made; it has a name before it is there.
struct ExhibitMaker: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let make: @Sendable () async throws -> Exhibit
}

let exhibits = [
    ExhibitMaker(testDescription: "Sandbox, without a form") {
        Exhibit(connector: Sandbox(), institution: Sandbox.testNonOAuth, answer: answerForm)
    },
    ExhibitMaker(testDescription: "Sandbox, with a form") {
        Exhibit(connector: Sandbox(), institution: Sandbox.bankNonOAuth, answer: answerForm)
    },
    ExhibitMaker(testDescription: "The example") { try await ExampleBank.shared().exhibit() },
    ExhibitMaker(testDescription: "FDX 6") { try await TestBank.shared().exhibit("v6") },
    ExhibitMaker(testDescription: "FDX 5") { try await TestBank.shared().exhibit("v5") },
    ExhibitMaker(testDescription: "OFX file") { ofxFileExhibit() },
    ExhibitMaker(testDescription: "OFX Direct Connect") { try await ofxDirectExhibit() },
    ExhibitMaker(testDescription: "SimpleFIN") { try await simpleFINExhibit() },
]

/// Fills in every field of a form.
@Sendable
func answerForm(_ step: Step, _ attempt: Attempt) async throws -> Response {
    guard case .prompt(let prompt, _) = step else { throw ConnectorError.unsupported }
    var answers: [String: String] = [:]
    for field in prompt.fields { answers[field.name] = field.options.first?.value ?? "open sesame" }
    return .answers(answers)
}

/// A credential as whoever keeps it sees it: renewed by one call at a time.
final class Keeper: Sendable {
    private let stored: Mutex<[UInt8]>
    private let asked = Atomic<Int>(0)

    private let upload: Upload?

    init(_ credential: [UInt8], upload: Upload? = nil) {
        stored = Mutex(credential)
        self.upload = upload
    }

    var credential: [UInt8] { stored.withLock { $0 } }
    var renewals: Int { asked.load(ordering: .relaxed) }

    func access(_ attempt: Attempt, now: Int64? = nil) -> Access {
        let read = credential
        return Access(
            institution: attempt.institution,
            holder: attempt.holder,
            now: now ?? attempt.now,
            credential: read,
            upload: upload
        ) { [self] ask throws(ConnectorError) in
            guard credential == read else { return credential }
            asked.add(1, ordering: .relaxed)
            let new = try await ask(read)
            stored.withLock { $0 = new }
            return new
        }
    }
}

extension Exhibit {
    /// The time by which the exhibits live: it is real, as banks over HTTP have clocks of their own.
    static var now: Int64 { Int64(Date().timeIntervalSince1970) }

    func attempt(
        holder: String = "cus_A",
        isRelink: Bool = false,
        callback: String = "https://link.example/flow/return"
    ) -> Attempt {
        Attempt(
            institution: institution,
            holder: holder,
            now: Self.now,
            isRelink: isRelink,
            callback: .init(url: callback, state: "state-\(UUID().uuidString)")
        )
    }

    func signIn(_ attempt: Attempt) async throws -> Keeper {
        var step = try await connector.begin(attempt)
        for _ in 0..<10 {
            let resume: [UInt8]
            switch step {
            case .authorized(let credential): return Keeper(credential, upload: upload)
            case .prompt(_, let note), .redirect(_, let note), .wait(_, let note): resume = note
            }
            step = try await connector.resume(attempt, from: resume, answer(step, attempt))
        }
        throw ConnectorError.invalidResponse
    }
}

@Suite("Every connector")
struct ConnectorContract {
    @Test("names its institutions well", arguments: exhibits)
    func institutions(_ maker: ExhibitMaker) async throws {
        let exhibit = try await maker.make()
        let all = exhibit.connector.institutions
        #expect(all.contains(exhibit.institution))
        #expect(Set(all.map(\.id)).count == all.count)
        for institution in all {
            let letters = institution.id.dropFirst("fcinst_".count)
            #expect(institution.id.hasPrefix("fcinst_") && letters.count == 14 && letters.allSatisfy(\.isLetterOrDigit))
            #expect(!institution.name.isEmpty && !institution.domain.contains("://"))
            #expect(institution.countries.allSatisfy { $0.count == 2 && $0 == $0.uppercased() })
        }
        #expect(exhibit.connector.policy.interval > 0 && exhibit.connector.policy.concurrency > 0)
    }

    @Test("lets a person in, who then finds the same accounts each time", arguments: exhibits)
    func accounts(_ maker: ExhibitMaker) async throws {
        let exhibit = try await maker.make()
        let attempt = exhibit.attempt()
        let keeper = try await exhibit.signIn(attempt)
        let accounts = try await exhibit.connector.accounts(keeper.access(attempt))
        #expect(!accounts.isEmpty)
        #expect(Set(accounts.map(\.id)).count == accounts.count)
        for account in accounts {
            #expect(!account.id.isEmpty && !account.displayName.isEmpty)
            if let last4 = account.last4 { #expect(last4.count == 4 && last4.allSatisfy(\.isASCIIDigit)) }
            #expect(!account.supportsPayments || !account.numbers.isEmpty)
            #expect(account.category.goesWith(account.subcategory), "\(account.category), \(account.subcategory)")
        }
        #expect(try await exhibit.connector.accounts(keeper.access(attempt)).map(\.id) == accounts.map(\.id))
        let again = exhibit.attempt(isRelink: true)
        let second = try await exhibit.signIn(again)
        let found = try await exhibit.connector.accounts(second.access(again))
        #expect(found.map(\.id) == accounts.map(\.id), "a relink finds the accounts under the same names")
    }

    @Test("refuses notes, answers and credentials that are not its own", arguments: exhibits)
    func strangers(_ maker: ExhibitMaker) async throws {
        let exhibit = try await maker.make()
        let attempt = exhibit.attempt()
        let strange: [[UInt8]] = [[], Array("{}".utf8), Array("null".utf8), [0xFF, 0, 1], Array("sandbox:x".utf8)]
        for bytes in strange {
            for response in [Response.answers([:]), .returned(["code": "x"]), .poll] {
                await #expect(throws: ConnectorError.self) {
                    try await exhibit.connector.resume(attempt, from: bytes, response)
                }
            }
            await #expect(throws: ConnectorError.self) {
                try await exhibit.connector.accounts(Keeper(bytes).access(attempt))
            }
        }
    }

    @Test("tells balances that fit their accounts", arguments: exhibits)
    func balances(_ maker: ExhibitMaker) async throws {
        let exhibit = try await maker.make()
        guard let connector = exhibit.connector as? any BalanceProviding else { return }
        let attempt = exhibit.attempt()
        let keeper = try await exhibit.signIn(attempt)
        for account in try await exhibit.connector.accounts(keeper.access(attempt)) {
            let balance = try await connector.balance(of: account.reference, keeper.access(attempt))
            #expect(balance.current.keys.allSatisfy(\.isCurrency) && !balance.current.isEmpty)
            switch balance.kind {
            case .cash(let available):
                #expect(account.category != .credit && available?.keys.allSatisfy(\.isCurrency) ?? true)
            case .credit(let used): #expect(account.category == .credit && used?.keys.allSatisfy(\.isCurrency) ?? true)
            }
        }
    }

    @Test("names owners, where it knows any", arguments: exhibits)
    func owners(_ maker: ExhibitMaker) async throws {
        let exhibit = try await maker.make()
        guard let connector = exhibit.connector as? any OwnershipProviding else { return }
        let attempt = exhibit.attempt()
        let keeper = try await exhibit.signIn(attempt)
        for account in try await exhibit.connector.accounts(keeper.access(attempt)) {
            let owners = try await connector.owners(of: account.reference, keeper.access(attempt))
            #expect(owners.allSatisfy { !$0.name.isEmpty })
        }
    }

    @Test("tells transactions once, page by page, and again in the next refresh", arguments: exhibits)
    func transactions(_ maker: ExhibitMaker) async throws {
        let exhibit = try await maker.make()
        guard let connector = exhibit.connector as? any TransactionProviding else { return }
        let attempt = exhibit.attempt()
        let keeper = try await exhibit.signIn(attempt)
        for account in try await exhibit.connector.accounts(keeper.access(attempt)).prefix(4) {
            var cursor: [UInt8]?
            for refresh in 0..<2 {
                var seen: Set<String> = []
                for page in 0... {
                    #expect(page < 200, "the pages do not end")
                    let answer = try await connector.transactions(
                        of: account.reference,
                        after: cursor,
                        keeper.access(attempt)
                    )
                    for transaction in answer.transactions {
                        #expect(!transaction.id.isEmpty && transaction.currency.isCurrency)
                        #expect((transaction.status == .pending) == (transaction.settledAt == nil))
                        #expect(seen.insert(transaction.id).inserted, "\(transaction.id) came twice")
                    }
                    cursor = answer.cursor
                    if !answer.hasMore || page >= 200 { break }
                    #expect(answer.completeWindow == nil, "a window is complete with its last page")
                }
                if refresh == 0 { #expect(!seen.isEmpty || account.category != .cash) }
            }
        }
        await #expect(throws: ConnectorError.self) {
            _ = try await connector.transactions(
                of: .init(id: "none", category: .cash, subcategory: .checking),
                after: Array("not a cursor".utf8),
                keeper.access(attempt)
            )
        }
    }

    @Test("says nothing secret when it is printed", arguments: exhibits)
    func secrets(_ maker: ExhibitMaker) async throws {
        let exhibit = try await maker.make()
        for secret in exhibit.secrets {
            #expect(!"\(exhibit.connector)".contains(secret), "the connector prints a secret")
        }
    }
}

extension BankAccount {
    var reference: Reference { Reference(id: id, category: category, subcategory: subcategory) }
}

extension BankAccount.Category {
    fileprivate func goesWith(_ subcategory: BankAccount.Subcategory) -> Bool {
        switch self {
        case .cash: [.checking, .savings, .other].contains(subcategory)
        case .credit: [.mortgage, .lineOfCredit, .creditCard, .other].contains(subcategory)
        case .investment, .other: subcategory == .other
        }
    }
}

extension String {
    fileprivate var isCurrency: Bool { count == 3 && self == lowercased() && allSatisfy(\.isLetter) }
}

extension Character {
    fileprivate var isASCIIDigit: Bool { isASCII && isNumber }
    fileprivate var isLetterOrDigit: Bool { isASCII && (isLetter || isNumber) }
}
