/// What is in an OFX file, and where: made once when the file is given, and the credential of its accounts from then
/// on.
///
/// It promises that accounts and balances can be told without the file, and that transactions can be read from the
/// middle of it. It holds no transaction, and no more accounts, statements and corrections than people have, so it is
/// small however large the file is.

internal import Foundation

struct OFXIndex: Sendable, Codable {
    /// The file, told from others.
    var file = 0
    /// What the file calls the bank.
    var organization: String?
    /// What the person calls the bank.
    var bankName: String?
    /// The accounts in the order in which they come.
    var accounts: [Account] = []
    var statements: [OFXStatement] = []
    /// When the file was made, seconds since the Unix epoch.
    var serverTime: Int64?
    /// By the place of the account.
    private var corrections: [Int: OFXCorrections]?
    /// What is pending and posted in the same file: when, by the place of the account as ``OFXPage`` notes it.
    private var settled: [Int: [String: Int64]]?
    var transactions = 0
    /// The lines of the first transactions that cannot be read, and how many there are.
    var unreadableLines: [Int] = []
    var unreadable = 0

    struct Account: Sendable, Codable {
        let account: OFXAccount
        var description: String?
    }

    private static let maximumAccounts = 1000
    static let maximumCorrections = 2000
    /// Transactions that have a FITID or a reference of these.
    private static let maximumNamed = 20_000
    private static let tooManyNamed = OFXFault(nil, "too many transactions have what corrections or holds are known by")
    private static let namedLines = 3

    /// What is known while the file is read, and not needed any more then.
    private struct Reading {
        /// The currency of statements that name none.
        let currency: String?
        var refusal: OFXStatus?
        /// FITIDs that corrections name, by the place of their account.
        var corrected: [Int: Set<String>] = [:]
        /// Those of the statement that is being read, and how many there are in all.
        var correctedHere: Set<String> = []
        var corrections = 0
        /// References of pending transactions, by the place of their account, and those of the statement at hand.
        var pending: [Int: Set<String>] = [:]
        var pendingHere: Set<String> = []
        var pendingCount = 0
        var hasPostedReferences = false
        /// Where an account stands in ``accounts``, by its key.
        var places: [String: Int] = [:]
        var order = Order()
    }

    /// The order of the transactions of one statement.
    private struct Order {
        private var day = ""
        private var fitids: Set<Int> = []
        private var hasRepeated = false
        private var (isAscending, isDescending, hasUnnamed) = (true, true, false)
        private var (ofDay, longestDay, posted, pending) = (0, 0, 0, 0)

        mutating func take(_ transaction: OFXTransaction, _ readable: OFXTransaction.Readable) {
            guard !transaction.isPending else { pending += 1; return }
            let next = readable.day.day
            if !day.isEmpty, next < day { isAscending = false }
            if !day.isEmpty, next > day { isDescending = false }
            ofDay = next == day ? ofDay + 1 : 1
            (day, longestDay, posted) = (next, max(longestDay, ofDay), posted + 1)
            guard let fitid = transaction.fitid else { hasUnnamed = true; return }
            if posted <= OFXPages.largestRun, !fitids.insert(fitid.hashValue).inserted { hasRepeated = true }
        }

        var numbering: OFXStatement.Numbering? {
            if isAscending || isDescending { return hasUnnamed ? .day : nil }
            // What has one FITID is told apart by its words, as far as it can be read at once.
            return hasUnnamed || hasRepeated && posted <= OFXPages.largestRun ? .whole : nil
        }

        /// How many are read at once, so that those that are alike are told apart.
        var together: Int {
            let unnamed =
                switch numbering {
                case .day: longestDay
                case .whole: posted
                case nil: 0
                }
            return max(unnamed, pending)
        }
    }

    /// - Parameter currency: of statements that name none.
    /// - Throws: what the file's keeper throws; a file that cannot be read is answered as a fault.
    static func make(_ upload: Upload, currency: String?) async throws(ConnectorError) -> Result<OFXIndex, OFXFault> {
        var index = OFXIndex()
        var reading = Reading(currency: currency)
        do {
            index.file = try await items(of: upload) { item, current throws(OFXFault) in
                try index.take(item, current, &reading)
            }
            guard !index.accounts.isEmpty else { return .failure(empty(reading.refusal)) }
            if !reading.corrected.isEmpty || !reading.pending.isEmpty && reading.hasPostedReferences {
                try await index.resolve(reading, upload)
            }
            return .success(index)
        } catch let fault as OFXFault {
            return .failure(fault)
        } catch let error as ConnectorError {
            throw error
        } catch {
            throw .invalidResponse
        }
    }

    private static func empty(_ refusal: OFXStatus?) -> OFXFault {
        guard let refusal else { return OFXFault(nil, "there is no account in the file") }
        let words = refusal.message.map { ": \($0.prefix(200))" } ?? ""
        return OFXFault(nil, "there is no account in the file, for the bank refused (\(refusal.code))\(words)")
    }

    /// Reads all of a file once.
    /// - Returns: a digest of it.
    private static func items(
        of upload: Upload,
        _ take: (OFXItem, OFXStatement?) throws(OFXFault) -> Void
    ) async throws -> Int {
        var decoder = OFXDecoder()
        var hasher = Hasher()
        var offset = 0
        while true {
            let bytes = try await upload.bytes(from: offset)
            if bytes.isEmpty { decoder.finish() }
            offset += bytes.count
            bytes.withUnsafeBytes { hasher.combine(bytes: $0) }
            decoder.feed(bytes)
            while let item = try decoder.next() { try take(item, decoder.statement) }
            if bytes.isEmpty { return hasher.finalize() }
        }
    }

    private mutating func take(
        _ item: OFXItem,
        _ current: OFXStatement?,
        _ reading: inout Reading
    ) throws(OFXFault) {
        switch item {
        case .signOn(let signOn):
            organization = organization ?? signOn.organization
            serverTime = signOn.serverTime?.seconds ?? serverTime
            if signOn.status.isRefusal { reading.refusal = reading.refusal ?? signOn.status }
        case .status(let status, _): if status.isRefusal { reading.refusal = reading.refusal ?? status }
        case .offer(let offer):
            if let account = offer.account { try add(account, offer.description, &reading) }
        case .transaction(let transaction):
            transactions += 1
            let readable = transaction.readable(in: current?.usableCurrency ?? reading.currency)
            if transaction.isCorrection(readable), let fitid = transaction.correctedFITID {
                reading.correctedHere.insert(fitid)
            }
            guard reading.corrections + reading.correctedHere.count <= Self.maximumCorrections else {
                throw OFXFault(transaction.line, "there are too many corrections")
            }
            if let reference = transaction.reference {
                if transaction.isPending {
                    reading.pendingHere.insert(reference)
                } else {
                    reading.hasPostedReferences = true
                }
            }
            guard !transaction.isDeletion else { return }
            if let readable { return reading.order.take(transaction, readable) }
            unreadable += 1
            if unreadable <= Self.namedLines { unreadableLines.append(transaction.line) }
        case .statement(var statement):
            let (corrected, pending, order) = (reading.correctedHere, reading.pendingHere, reading.order)
            (reading.correctedHere, reading.pendingHere, reading.order) = ([], [], Order())
            guard !statement.account.number.isEmpty else { return }
            try add(statement.account, nil, &reading)
            if let place = reading.places[statement.account.key], !corrected.isEmpty {
                reading.corrected[place, default: []].formUnion(corrected)
                reading.corrections += corrected.count
            }
            if let place = reading.places[statement.account.key], !pending.isEmpty {
                reading.pending[place, default: []].formUnion(pending)
                reading.pendingCount += pending.count
            }
            guard reading.pendingCount <= OFXPages.largestRun else {
                throw OFXFault(nil, "there are too many pending transactions")
            }
            guard order.together <= OFXPages.largestRun else {
                throw OFXFault(
                    nil,
                    "an account has more than \(OFXPages.largestRun) transactions that are pending, or have no FITID "
                        + "and do not come day by day"
                )
            }
            statement.numbering = order.numbering
            statements.append(statement)
            guard statements.count <= Self.maximumAccounts else { throw OFXFault(nil, "there are too many statements") }
        case .challenge, .profile: break
        }
    }

    private mutating func add(
        _ account: OFXAccount,
        _ description: String?,
        _ reading: inout Reading
    ) throws(OFXFault) {
        guard !account.number.isEmpty else { return }
        if let known = reading.places[account.key] {
            accounts[known].description = accounts[known].description ?? description
            return
        }
        guard accounts.count < Self.maximumAccounts else { throw OFXFault(nil, "there are too many accounts") }
        reading.places[account.key] = accounts.count
        accounts.append(Account(account: account, description: description))
    }

    /// Finds what is corrected, and what is pending and posted. It may stand anywhere, and mostly there is nothing: the
    /// file is read again only where there is something.
    private mutating func resolve(_ reading: Reading, _ upload: Upload) async throws {
        var (corrections, settled): ([Int: OFXCorrections], [Int: [String: Int64]]) = ([:], [:])
        var here: [(OFXTransaction, OFXTransaction.Readable?)] = []
        let corrected = reading.corrected.values.reduce(into: Set<String>()) { $0.formUnion($1) }
        let pending = reading.pending.values.reduce(into: Set<String>()) { $0.formUnion($1) }
        _ = try await Self.items(of: upload) { item, current throws(OFXFault) in
            switch item {
            case .transaction(let raw):
                guard !raw.isPending else { return }
                let isNamed = raw.fitid.map(corrected.contains) ?? false || raw.correctedFITID != nil
                guard isNamed || raw.reference.map(pending.contains) ?? false else { return }
                here.append((raw, raw.readable(in: current?.usableCurrency ?? reading.currency)))
                guard here.count <= Self.maximumNamed else { throw Self.tooManyNamed }
            case .statement(let statement):
                defer { here = [] }
                guard let place = reading.places[statement.account.key] else { return }
                for (raw, readable) in here {
                    let isNamed = raw.fitid.map { reading.corrected[place]?.contains($0) ?? false } ?? false
                    let currency = statement.usableCurrency ?? reading.currency
                    corrections[place, default: .init()].add(raw, readable, currency: currency, isNamed: isNamed)
                    OFXPage.settle(&settled[place, default: [:]], by: raw, readable)
                }
                guard corrections.values.reduce(0, { $0 + $1.count }) <= Self.maximumNamed else {
                    throw Self.tooManyNamed
                }
            default: break
            }
        }
        (self.corrections, self.settled) = (corrections, settled)
    }

    /// What the transactions of an account correct, and what of it is pending no more.
    func page(of account: OFXAccount) -> OFXPage {
        let place = accounts.firstIndex { $0.account.key == account.key } ?? -1
        return OFXPage(corrections: corrections?[place] ?? .init(), settled: settled?[place] ?? [:])
    }

    // MARK: As a credential

    var bytes: [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        // Nothing in it can fail to be encoded.
        return (try? encoder.encode(self)).map { [UInt8]($0) } ?? []
    }

    /// Nil for bytes that no index has made.
    init?(bytes: some Collection<UInt8>) {
        guard let index = try? JSONDecoder().decode(Self.self, from: Data(bytes)) else { return nil }
        self = index
    }

    private init() {}
}
