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
        /// The refresh that reads: what one has seen of what is pending the next has not.
        var refresh: Int64?
        /// When the newest list of what is pending was made that was read to its end, by currency.
        var pending: [String: Int64]?
        /// Corrections of what was not told yet.
        var open: [OFXPage.Open]?
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
        page = statements.first.map { index.page(of: $0.account) } ?? OFXPage()
    }

    /// - Parameter refresh: ``Access/refreshNumber``
    mutating func page(after cursor: [UInt8]?, of refresh: Int64?) async throws(ConnectorError) -> TransactionPage {
        var place = Place(file: index.file, statement: 0, refresh: refresh)
        if let cursor {
            guard let last = try? JSONDecoder().decode(Place.self, from: Data(cursor)) else { throw .invalidResponse }
            // A newer file is read from its beginning, and one that another refresh has not read to its end.
            if last.file == index.file, last.refresh == refresh || last.statement >= statements.count { place = last }
            (place.pending, place.open) = (last.pending, last.open)
        }
        page.open = place.open ?? []
        if place.statement == 0, place.offset == nil { try await aim() }
        guard place.statement < statements.count else { return finished(place) }
        let lists = OFXPendingLists(statements, currency: currency, after: place.pending ?? [:])
        while place.statement < statements.count {
            guard try await !read(from: &place, lists.places) else {
                return finished(place, hasMore: true)
            }
        }
        place.pending = lists.made
        return finished(place, window: lists.window)
    }

    /// Finds what the corrections are about that wait, if it is in this file: of those that they may be about the last.
    private mutating func aim() async throws(ConnectorError) {
        guard !page.open.isEmpty else { return }
        for index in page.open.indices { (page.open[index].target, page.open[index].targetDay) = (nil, nil) }
        let fitids = Set(page.open.map(\.fitid))
        for statement in statements {
            var decoder = OFXDecoder(in: statement, at: statement.offset, path: statement.path)
            var (next, isDone) = (statement.offset, false)
            while !isDone {
                let bytes = try await upload.bytes(from: next)
                if bytes.isEmpty { decoder.finish() }
                next += bytes.count
                decoder.feed(bytes)
                while !isDone, let item = try decoded(&decoder) {
                    if case .statement = item { isDone = true }
                    guard case .transaction(let raw) = item, let fitid = raw.fitid, fitids.contains(fitid) else {
                        continue
                    }
                    page.aim(at: raw, fitid, raw.readable(in: statement.usableCurrency ?? currency))
                }
                if bytes.isEmpty { break }
            }
        }
    }

    private func finished(_ place: Place, hasMore: Bool = false, window: Range<Int64>? = nil) -> TransactionPage {
        var place = place
        place.open = page.open.isEmpty ? nil : page.open
        return TransactionPage(
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
                        try await page.take(raw, readable, in: statement.usableCurrency ?? currency, known)
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
