/// The transactions of one account in an OFX file, a page at a time: each page is read from where the last one ended.
///
/// It promises the same ids for the same transactions from every file, in whatever pages they come. A page ends where
/// none that follows can be like one before, so that transactions that differ in nothing are told apart by how many
/// there were before them in their statement: between two days or, where days are in no order and there are
/// transactions without a FITID, at the end of the statement.

internal import Foundation

struct OFXPages: Sendable {
    /// Where a page begins.
    private struct Place: Codable {
        /// ``OFXIndex/file``.
        let file: Int
        /// The number of the account's statement; beyond the last where all is read.
        var statement: Int
        /// Where in the file, and within what; the beginning of the statement where it is nil.
        var offset: Int?
        var path: [String] = []
        /// When the newest list of what is pending was made that was read to its end, by currency.
        var pending: [String: Int64]?
    }

    private static let pageSize = 2000
    /// How many transactions are read at once where they have to be. A file with more that have to is refused when it
    /// is given.
    static let largestRun = 20_000

    private let statements: [OFXStatement]
    private let index: OFXIndex
    private let upload: Upload
    private let known: Access.Known
    private let currency: String?
    private var page: OFXPage

    /// - Parameter known: ``Access/known``.
    init(
        _ statements: [OFXStatement],
        _ index: OFXIndex,
        _ upload: Upload,
        currency: String?,
        known: @escaping Access.Known
    ) {
        self.statements = statements
        self.index = index
        self.upload = upload
        self.known = known
        self.currency = currency
        page = OFXPage(
            corrections: statements.first.map { index.corrections(of: $0.account) } ?? [:],
            settled: statements.first.map { index.settled(of: $0.account) } ?? [:]
        )
    }

    /// The lists of what is pending that count: of each currency the newest, where none was read before that is newer.
    private func pendingLists(after known: [String: Int64]) -> (of: Set<Int>, made: [String: Int64], Range<Int64>?) {
        func name(_ statement: OFXStatement) -> String { statement.usableCurrency ?? currency ?? "" }
        func moment(_ statement: OFXStatement) -> Int64 { statement.completeWindow?.upperBound ?? 0 }
        let lists = statements.indices.filter { statements[$0].pendingAsOf != nil }
        var made: [String: Int64] = [:]
        for list in lists {
            made[name(statements[list])] = max(made[name(statements[list])] ?? 0, moment(statements[list]))
        }
        made = made.filter { $0.value >= known[$0.key] ?? 0 }
        let counting = lists.filter { made[name(statements[$0])] == moment(statements[$0]) }
        // What is missing is gone only where there is a list of every currency.
        let isComplete = statements.allSatisfy { made[name($0)] ?? 0 > 0 }
        return (Set(counting), made, isComplete ? made.values.min().map { 0..<$0 } : nil)
    }

    mutating func page(after cursor: [UInt8]?) async throws(ConnectorError) -> TransactionPage {
        var place = Place(file: index.file, statement: 0)
        if let cursor {
            guard let last = try? JSONDecoder().decode(Place.self, from: Data(cursor)) else { throw .invalidResponse }
            // A newer file is read from its beginning.
            if last.file == index.file { place = last }
            place.pending = last.pending
        }
        guard place.statement < statements.count else { return finished(place) }
        let known = place.pending ?? [:]
        let (lists, made, window) = pendingLists(after: known)
        while place.statement < statements.count {
            guard try await !read(from: &place, lists) else {
                return finished(place, hasMore: true)
            }
        }
        place.pending = known.merging(made) { _, new in new }
        return finished(place, window: window)
    }

    private func finished(_ place: Place, hasMore: Bool = false, window: Range<Int64>? = nil) -> TransactionPage {
        TransactionPage(
            transactions: page.transactions,
            retractions: page.retractions,
            // Nothing in it can fail to be encoded.
            cursor: (try? JSONEncoder().encode(place)).map { [UInt8]($0) } ?? [],
            hasMore: hasMore,
            completeWindow: window
        )
    }

    /// Reads on in one statement.
    /// - Parameter lists: the statements whose lists of what is pending count.
    /// - Returns: whether the page is full; otherwise the statement is done.
    private mutating func read(from place: inout Place, _ lists: Set<Int>) async throws(ConnectorError) -> Bool {
        let statement = statements[place.statement]
        var offset = place.offset ?? statement.offset
        var path = place.offset == nil ? statement.path : place.path
        var decoder = OFXDecoder(in: statement, at: offset, path: path)
        var next = offset
        var group: String?
        page.beginStatement()
        while true {
            let bytes = try await upload.bytes(from: next)
            if bytes.isEmpty { decoder.finish() }
            next += bytes.count
            decoder.feed(bytes)
            while let item = try decoded(&decoder) {
                switch item {
                case .transaction(let raw):
                    let readable = raw.readable(in: statement.usableCurrency ?? currency)
                    let count = page.transactions.count + page.retractions.count
                    let own = raw.isPending ? "pending" : statement.numbering == .whole ? "posted" : readable?.day.day
                    if count >= Self.pageSize, own ?? group != group || count >= Self.pageSize + Self.largestRun {
                        (place.offset, place.path) = (offset, path)
                        return true
                    }
                    group = own ?? group
                    if !raw.isPending || lists.contains(place.statement) {
                        let corrects = try await page.corrected(by: raw, readable, until: statement.lastDay, known)
                        page.take(raw, readable, corrects: corrects)
                    }
                    (offset, path) = (decoder.reader.offset, decoder.reader.path)
                case .statement:
                    (place.statement, place.offset, place.path) = (place.statement + 1, nil, [])
                    return false
                default: break
                }
            }
            // The index found the statement's end, so the file is not the one that it was made of.
            if bytes.isEmpty { throw .invalidResponse }
        }
    }

    private func decoded(_ decoder: inout OFXDecoder) throws(ConnectorError) -> OFXItem? {
        do {
            return try decoder.next()
        } catch {
            throw .invalidResponse
        }
    }
}

/// The transactions of one page as they are read.
struct OFXPage: Sendable {
    /// A transaction that another of the same file corrects.
    struct Corrected: Sendable {
        let id: String
        /// The FITID that it corrects itself.
        var corrects: String?
    }

    private(set) var transactions: [BankTransaction] = []
    private(set) var retractions: [TransactionPage.Retraction] = []
    /// By FITID.
    private var corrections: [String: Corrected]
    /// Ids that corrections take the place of.
    private var superseded: Set<String>
    /// When what is pending was posted, by its reference.
    private var settled: [String: Int64]
    private var positions: [String: Int] = [:]
    private var naming = OFXNaming()

    init(corrections: [String: Corrected] = [:], settled: [String: Int64] = [:]) {
        self.corrections = corrections
        self.settled = settled
        superseded = Set(corrections.values.map(\.id))
    }

    /// What a correction is about, from what it names to the first of the chain: in the same file or answer, or told
    /// before. One of what was told before is carried out once: where the bank counts anew, the FITID is another
    /// transaction's by then.
    /// - Parameter lastDay: the last day that its statement can tell of, nil where that is not known.
    fileprivate func corrected(
        by raw: OFXTransaction,
        _ readable: OFXTransaction.Readable?,
        until lastDay: String?,
        _ known: Access.Known
    ) async throws(ConnectorError) -> [String] {
        guard raw.isCorrection(readable), var fitid = raw.correctedFITID else { return [] }
        var (ids, passed): ([String], Set<String>) = ([], [])
        while let here = corrections[fitid], passed.insert(fitid).inserted {
            ids.append(here.id)
            guard let next = here.corrects else { return ids }
            fitid = next
        }
        guard !passed.contains(fitid) else { return ids }
        if let own = raw.fitid, let id = readable?.id(own), !raw.isDeletion {
            guard try await !known(id).contains(id) else { return ids }
        }
        var newest: (id: String, day: String)?
        for id in try await known("\(fitid)|") {
            guard let day = OFXTransaction.day(of: id, fitid: fitid), lastDay.map({ day <= $0 }) ?? true else {
                continue
            }
            if newest.map({ $0.day < day }) ?? true { newest = (id, day) }
        }
        if let newest { ids.append(newest.id) }
        return ids
    }

    /// Of those that are alike, each statement tells all again.
    fileprivate mutating func beginStatement() {
        naming = OFXNaming()
    }

    /// Takes the transactions of a whole statement.
    /// - Parameter known: ``Access/known``.
    mutating func take(
        _ transactions: [OFXTransaction],
        of statement: OFXStatement,
        _ known: Access.Known
    ) async throws(ConnectorError) {
        beginStatement()
        let read = transactions.map { ($0, $0.readable(in: statement.usableCurrency)) }
        let corrections = read.filter { $0.isCorrection($1) }
        guard corrections.count <= OFXIndex.maximumCorrections else { throw .invalidResponse }
        let corrected = Set(corrections.compactMap(\.0.correctedFITID))
        for case (let raw, let readable?) in read where !raw.isPending && !raw.isDeletion {
            if let reference = raw.reference {
                settled[reference] = max(settled[reference] ?? 0, readable.day.seconds)
            }
            guard raw.mayBeCorrected, let fitid = raw.fitid, corrected.contains(fitid) else { continue }
            self.corrections[fitid] = Corrected(id: readable.id(fitid), corrects: raw.correctedFITID)
            superseded.insert(readable.id(fitid))
        }
        for (raw, readable) in read {
            let corrects = try await self.corrected(by: raw, readable, until: statement.lastDay, known)
            take(raw, readable, corrects: corrects)
        }
    }

    /// - Parameter corrects: what ``corrected(by:_:until:_:)`` found.
    fileprivate mutating func take(
        _ raw: OFXTransaction,
        _ readable: OFXTransaction.Readable?,
        corrects: [String]
    ) {
        if raw.isDeletion {
            if !corrects.isEmpty { retractions.append(.init(id: raw.deletionID, retracts: corrects)) }
            return
        }
        guard let readable else { return }
        // What is posted is not pending any more. A later one may have its reference.
        if raw.isPending, let reference = raw.reference, let posted = settled[reference],
            readable.happened.seconds <= posted
        {
            return
        }
        let transaction = naming.name(raw, readable, corrects: corrects)
        // What corrects it says what it corrected too. A correction may have the name of what it corrects.
        guard corrects.contains(transaction.id) || !superseded.contains(transaction.id) else { return }
        // The same once more says the same.
        if let known = positions[transaction.id] {
            transactions[known] = transaction
        } else {
            positions[transaction.id] = transactions.count
            transactions.append(transaction)
        }
    }
}
