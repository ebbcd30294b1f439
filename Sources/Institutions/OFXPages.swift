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

/// The transactions of one page as they are read.
struct OFXPage: Sendable {
    /// A correction of what was not told yet: when it comes it does not count.
    struct Open: Sendable, Codable {
        let fitid: String
        /// The last day of what it corrects.
        let day: String
        let id: String
        /// When it was made.
        let moment: Int64
        let currency: String
        /// Nil for a deletion.
        let amount: Int64?
        let description: String
        let transactedAt: Int64
        /// What it is about in the file at hand, by the id that this would have if it corrected nothing.
        var target: String?
        var targetDay: String?
    }

    /// Corrections that are waited for at most, the newest.
    private static let maximumOpen = 100

    private(set) var transactions: [BankTransaction] = []
    private(set) var retractions: [TransactionPage.Retraction] = []
    var open: [Open] = []
    private var corrections: OFXCorrections.Read
    /// When what is pending was posted, by ``settling(_:_:)``.
    private var settled: [String: Int64]
    private var positions: [String: Int] = [:]
    /// Ids that corrections of this page named.
    private var named: Set<String> = []
    private var naming = OFXNaming()

    init(corrections: OFXCorrections = .init(), settled: [String: Int64] = [:]) {
        self.corrections = corrections.read()
        self.settled = settled
    }

    /// By what a transaction that is pending and the one that it becomes are known: the reference, and which way the
    /// money goes. Nil for those without a reference.
    static func settling(_ raw: OFXTransaction, _ readable: OFXTransaction.Readable) -> String? {
        raw.reference.map { "\($0)|\(readable.amount.signum())" }
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
        let read = transactions.map { ($0, $0.readable(in: currency)) }
        let corrected = Set(read.filter { $0.isCorrection($1) }.compactMap(\.0.correctedFITID))
        guard corrected.count <= OFXIndex.maximumCorrections else { throw .invalidResponse }
        var corrections = OFXCorrections()
        for (raw, readable) in read {
            let isNamed = raw.fitid.map(corrected.contains) ?? false
            corrections.add(raw, readable, currency: currency, isNamed: isNamed)
            guard let readable, let name = Self.settling(raw, readable), !raw.isPending, !raw.isDeletion else {
                continue
            }
            settled[name] = max(settled[name] ?? 0, readable.day.seconds)
        }
        self.corrections = corrections.read()
        for (raw, readable) in read { try await take(raw, readable, in: currency, known) }
    }

    /// - Parameter currency: of what names none.
    fileprivate mutating func take(
        _ raw: OFXTransaction,
        _ readable: OFXTransaction.Readable?,
        in currency: String?,
        _ known: Access.Known
    ) async throws(ConnectorError) {
        let id = raw.isDeletion ? raw.deletionID : readable.map { naming.identify(raw, $0) }
        guard let id else { return }
        var corrected = OFXCorrections.Chain()
        if raw.isCorrection(readable) {
            corrected = try await self.corrected(by: raw, id, in: currency, known)
            if let open = corrected.open { wait(for: open, raw, readable, id, currency) }
        }
        if !open.isEmpty, !raw.isDeletion, let readable, isAwaited(raw, readable, corrected) { return }
        // What corrects it says what it corrected too, but not what is pending no more.
        guard !corrections.superseded.contains(id) || raw.reference != nil else { return }
        // What this page has named leads to whatever stands for it and for those behind it.
        if let first = corrected.ids.firstIndex(where: named.contains) {
            corrected.ids.removeSubrange((first + 1)...)
        }
        named.formUnion(corrected.ids)
        guard !raw.isDeletion else {
            if corrected.ids.isEmpty { return }
            return retractions.append(.init(id: id, retracts: corrected.ids, at: raw.day?.seconds ?? Int64.max))
        }
        guard let readable else { return }
        // What is posted is not pending any more. One of a later day may have its reference.
        if raw.isPending, let name = Self.settling(raw, readable), let posted = settled[name],
            readable.happened.seconds < posted + 86_400
        {
            return
        }
        add(OFXNaming.transaction(raw, readable, id: id, correcting: corrected))
    }

    /// What a correction is about: in the same file or answer, or told before. One that was told before itself was
    /// carried out then, or waits for what it corrects: by now its FITID may be another transaction's.
    private mutating func corrected(
        by raw: OFXTransaction,
        _ id: String,
        in currency: String?,
        _ known: Access.Known
    ) async throws(ConnectorError) -> OFXCorrections.Chain {
        var chain = corrections.chain(of: raw, id: id, currency: currency)
        guard let (fitid, day) = chain.open else {
            open.removeAll { $0.id == id }
            return chain
        }
        if !raw.isDeletion, try await known(id, nil).contains(id) {
            chain.open = nil
            return chain
        }
        let currency = raw.usableCurrency ?? currency
        var last: (id: String, day: String)?
        for id in try await known("\(fitid)|", "\(fitid)|\(day)") {
            guard let parts = OFXTransaction.parts(of: id, fitid: fitid), parts.day <= day else { continue }
            guard currency == nil || parts.currency == currency else { continue }
            if last.map({ $0.day < parts.day }) ?? true { last = (id, parts.day) }
        }
        guard let last else { return chain }
        open.removeAll { $0.id == id }
        chain.ids.append(last.id)
        chain.open = nil
        return chain
    }

    private mutating func wait(
        for target: (fitid: String, day: String),
        _ raw: OFXTransaction,
        _ readable: OFXTransaction.Readable?,
        _ id: String,
        _ currency: String?
    ) {
        guard !open.contains(where: { $0.id == id }) else { return }
        let moment = raw.day?.seconds ?? Int64.max
        open.append(
            Open(
                fitid: target.fitid,
                day: target.day,
                id: id,
                moment: moment,
                currency: readable?.currency ?? raw.usableCurrency ?? currency ?? "",
                amount: raw.isDeletion ? nil : readable?.amount,
                description: raw.description,
                transactedAt: readable?.happened.seconds ?? moment
            )
        )
        guard open.count > Self.maximumOpen else { return }
        if let oldest = open.indices.min(by: { open[$0].moment < open[$1].moment }) { open.remove(at: oldest) }
    }

    /// Takes note of what may be what corrections wait for.
    fileprivate mutating func aim(
        at raw: OFXTransaction,
        _ fitid: String,
        _ readable: OFXTransaction.Readable?
    ) {
        guard let readable, !raw.isPending, !raw.isDeletion else { return }
        let day = readable.day.day
        for index in open.indices {
            let one = open[index]
            guard one.fitid == fitid, one.currency == readable.currency, day <= one.day,
                one.id != readable.id(fitid, isCorrection: true), one.targetDay.map({ $0 < day }) ?? true
            else { continue }
            (open[index].target, open[index].targetDay) = (readable.id(fitid), day)
        }
    }

    /// Whether corrections of it were told already. Then it does not count, and neither does what it corrects itself.
    private mutating func isAwaited(
        _ raw: OFXTransaction,
        _ readable: OFXTransaction.Readable,
        _ corrected: OFXCorrections.Chain
    ) -> Bool {
        guard !raw.isPending, let fitid = raw.fitid else { return false }
        let id = readable.id(fitid)
        let waiting = open.filter { $0.target == id }
        open.removeAll { $0.target == id }
        let ids = [id, readable.id(fitid, isCorrection: true)] + corrected.ids
        // What is pending ends with it all the same.
        let told = OFXNaming.transaction(raw, readable, id: id, correcting: corrected)
        for one in waiting {
            guard let amount = one.amount else {
                if told.replaces != nil { add(told) }
                retractions.append(.init(id: one.id, retracts: ids, at: one.moment))
                continue
            }
            add(
                BankTransaction(
                    id: one.id,
                    replaces: told.replaces,
                    corrects: ids,
                    amount: amount,
                    currency: one.currency,
                    description: one.description,
                    status: .posted,
                    transactedAt: one.transactedAt,
                    settledAt: one.moment
                )
            )
        }
        return !waiting.isEmpty
    }

    /// The same once more says the same.
    private mutating func add(_ transaction: BankTransaction) {
        if let known = positions[transaction.id] {
            transactions[known] = transaction
        } else {
            positions[transaction.id] = transactions.count
            transactions.append(transaction)
        }
    }
}
