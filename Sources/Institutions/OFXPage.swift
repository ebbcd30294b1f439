/// Makes of OFX transactions, as they are read, what a page of a connector tells.
///
/// It promises that each stands once and as it was corrected last: what a correction names is found in the same file or
/// answer, among what was told before, or later, when it comes; and that what is posted is not told as pending.

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
    private static func settling(_ raw: OFXTransaction, _ readable: OFXTransaction.Readable) -> String? {
        raw.reference.map { "\($0)|\(readable.amount.signum())" }
    }

    /// Takes note of what is posted, for what is pending.
    static func settle(
        _ settled: inout [String: Int64],
        by raw: OFXTransaction,
        _ readable: OFXTransaction.Readable?
    ) {
        guard !raw.isPending, !raw.isDeletion, let readable, let name = settling(raw, readable) else { return }
        settled[name] = max(settled[name] ?? 0, readable.day.seconds)
    }

    /// Of those that are alike, each statement tells all again.
    mutating func beginStatement() {
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
            Self.settle(&settled, by: raw, readable)
        }
        self.corrections = corrections.read()
        for (raw, readable) in read { try await take(raw, readable, in: currency, known) }
    }

    /// - Parameter currency: of what names none.
    mutating func take(
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
    mutating func aim(
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
