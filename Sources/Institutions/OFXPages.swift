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
    /// The statement with the newest list of what is pending; older lists say nothing any more.
    private let newestPending: Int?
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
        newestPending = statements.indices.filter { statements[$0].completeWindow != nil }
            .max { (statements[$0].completeWindow?.upperBound ?? 0) < (statements[$1].completeWindow?.upperBound ?? 0) }
        page = OFXPage(corrections: statements.first.map { index.corrections(of: $0.account) } ?? [:])
    }

    mutating func page(after cursor: [UInt8]?) async throws(ConnectorError) -> TransactionPage {
        var place = Place(file: index.file, statement: 0)
        if let cursor {
            guard let last = try? JSONDecoder().decode(Place.self, from: Data(cursor)) else { throw .invalidResponse }
            // A newer file is read from its beginning.
            if last.file == index.file { place = last }
        }
        guard place.statement < statements.count else { return finished(place) }
        while place.statement < statements.count {
            guard try await !read(from: &place) else {
                return finished(place, hasMore: true)
            }
        }
        return finished(place, window: newestPending.flatMap { statements[$0].completeWindow })
    }

    private func finished(_ place: Place, hasMore: Bool = false, window: Range<Int64>? = nil) -> TransactionPage {
        TransactionPage(
            transactions: page.transactions,
            removed: page.removed,
            // Nothing in it can fail to be encoded.
            cursor: (try? JSONEncoder().encode(place)).map { [UInt8]($0) } ?? [],
            hasMore: hasMore,
            completeWindow: window
        )
    }

    /// Reads on in one statement.
    /// - Returns: whether the page is full; otherwise the statement is done.
    private mutating func read(from place: inout Place) async throws(ConnectorError) -> Bool {
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
                    let count = page.transactions.count + page.removed.count
                    let own = raw.isPending ? "pending" : statement.numbering == .whole ? "posted" : readable?.day.day
                    if count >= Self.pageSize, own ?? group != group || count >= Self.pageSize + Self.largestRun {
                        (place.offset, place.path) = (offset, path)
                        return true
                    }
                    group = own ?? group
                    try await page.learn(from: raw, readable, until: statement.lastDay, known)
                    if !raw.isPending || place.statement == newestPending { page.take(raw, readable) }
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
    private(set) var transactions: [BankTransaction] = []
    private(set) var removed: [String] = []
    /// ``OFXIndex/corrections``
    private var corrections: [String: String]
    /// Ids that corrections take the place of.
    private var superseded: Set<String>
    private var positions: [String: Int] = [:]
    private var naming = OFXNaming()

    init(corrections: [String: String] = [:]) {
        self.corrections = corrections
        superseded = Set(corrections.values)
    }

    /// Looks up what a correction is about that was told before, in an earlier file or answer. One that was carried out
    /// already is about nothing any more: where the bank counts anew, its FITID is another transaction's by then.
    /// - Parameter lastDay: the last day that its statement can tell of, nil where that is not known.
    fileprivate mutating func learn(
        from raw: OFXTransaction,
        _ readable: OFXTransaction.Readable?,
        until lastDay: String?,
        _ known: Access.Known
    ) async throws(ConnectorError) {
        guard let fitid = raw.correctedFITID, corrections[fitid] == nil else { return }
        if let own = raw.fitid, let id = readable?.id(own), !raw.isDeletion {
            guard try await !known(id).contains(id) else { return }
        }
        corrections[fitid] = try await known("\(fitid)|").first { id in
            guard let day = OFXTransaction.day(of: id, fitid: fitid) else { return false }
            return lastDay.map { day <= $0 } ?? true
        }
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
        let currency = statement.usableCurrency
        let corrections = transactions.filter { $0.correctedFITID != nil }
        guard corrections.count <= OFXIndex.maximumCorrections else { throw .invalidResponse }
        let corrected = Set(corrections.compactMap(\.correctedFITID))
        for raw in transactions where raw.mayBeCorrected {
            guard let fitid = raw.fitid, corrected.contains(fitid), let readable = raw.readable(in: currency) else {
                continue
            }
            self.corrections[fitid] = readable.id(fitid)
            superseded.insert(readable.id(fitid))
        }
        for raw in corrections {
            try await learn(from: raw, raw.readable(in: currency), until: statement.lastDay, known)
        }
        for raw in transactions { take(raw, raw.readable(in: currency)) }
    }

    fileprivate mutating func take(_ raw: OFXTransaction, _ readable: OFXTransaction.Readable?) {
        let former = raw.correctedFITID.flatMap { corrections[$0] }
        if raw.isDeletion {
            if let former { removed.append(former) }
            return
        }
        guard let readable else { return }
        let transaction = naming.name(raw, readable, former: former)
        // A correction may have the name of what it corrects.
        guard transaction.id == former || !superseded.contains(transaction.id) else {
            // Neither it nor what it corrected counts any more.
            if let former { removed.append(former) }
            return
        }
        // The same once more says the same.
        if let known = positions[transaction.id] {
            transactions[known] = transaction
        } else {
            positions[transaction.id] = transactions.count
            transactions.append(transaction)
        }
    }
}
