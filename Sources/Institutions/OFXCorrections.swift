/// What the corrections of one account in one file or answer are about.
///
/// A correction names a FITID, and banks give these again: it is about the last transaction that had the FITID on its
/// own day or before, in its own currency, and about what that one corrected itself. What is not among what was told
/// here may have been told before, or may come.

struct OFXCorrections: Sendable, Codable {
    /// A correction, or a transaction with a FITID that one names.
    fileprivate struct Told: Sendable, Codable {
        let fitid: String?
        /// Nil for a deletion, and where the bank has no name for it.
        let id: String?
        let day: String
        let currency: String
        let corrects: String?
    }

    /// What a correction is about.
    struct Chain: Sendable {
        /// From what it names to the first of all.
        var ids: [String] = []
        /// The FITID of one that was not told here, and its last day; nil where all were.
        var open: (fitid: String, day: String)?
    }

    private var told: [Told] = []

    /// Takes note of a transaction, in the order of the document.
    /// - Parameters:
    ///   - currency: of what names none.
    ///   - isNamed: whether a correction names its FITID.
    mutating func add(
        _ raw: OFXTransaction,
        _ readable: OFXTransaction.Readable?,
        currency: String?,
        isNamed: Bool
    ) {
        guard !raw.isPending, isNamed || raw.isCorrection(readable) else { return }
        told.append(
            Told(
                fitid: raw.fitid,
                id: raw.isDeletion
                    ? nil : raw.fitid.flatMap { readable?.id($0, isCorrection: raw.correctedFITID != nil) },
                day: raw.correctionDay,
                currency: raw.usableCurrency ?? currency ?? "",
                corrects: raw.isCorrection(readable) ? raw.correctedFITID : nil
            )
        )
    }

    var count: Int { told.count }

    /// What is corrected, and how to find it.
    func read() -> Read { Read(told) }

    struct Read: Sendable {
        /// By FITID and currency, from the first to the last, each once.
        private let named: [String: [Told]]
        /// Ids of those that are corrected here.
        let superseded: Set<String>

        /// Corrections of one transaction that are followed.
        private static let maximumChain = 50

        fileprivate init(_ told: [Told]) {
            var named: [String: [Told]] = [:]
            var ids: Set<String> = []
            for one in told.reversed() {
                guard let id = one.id, let fitid = one.fitid, ids.insert(id).inserted else { continue }
                named[Self.key(fitid, one.currency), default: []].append(one)
            }
            // On one day what corrects nothing was there first, and is what is meant.
            let sorted = named.mapValues { told in
                told.reversed().sorted { ($0.day, $0.corrects == nil ? 1 : 0) < ($1.day, $1.corrects == nil ? 1 : 0) }
            }
            self.named = sorted
            superseded = Set(
                told.compactMap { one in
                    one.corrects.flatMap { fitid in
                        Self.last(sorted[Self.key(fitid, one.currency)], until: one.day, but: [one.id])?.id
                    }
                }
            )
        }

        private static func key(_ fitid: String, _ currency: String) -> String { "\(currency)|\(fitid)" }

        private static func last(_ told: [Told]?, until day: String, but passed: Set<String?>) -> Told? {
            guard let told else { return nil }
            var (low, high) = (0, told.count)
            while low < high {
                let middle = (low + high) / 2
                if told[middle].day <= day { low = middle + 1 } else { high = middle }
            }
            return told[..<low].last { !passed.contains($0.id) }
        }

        /// - Parameters:
        ///   - id: of the correction.
        ///   - currency: of a statement.
        func chain(of raw: OFXTransaction, id: String?, currency: String?) -> Chain {
            var chain = Chain()
            guard var fitid = raw.correctedFITID else { return chain }
            var (day, passed): (String, Set<String?>) = (raw.correctionDay, [id])
            let currency = raw.usableCurrency ?? currency ?? ""
            while let one = Self.last(named[Self.key(fitid, currency)], until: day, but: passed), let id = one.id {
                chain.ids.append(id)
                guard let next = one.corrects, chain.ids.count < Self.maximumChain else { return chain }
                passed.insert(id)
                (fitid, day) = (next, one.day)
            }
            chain.open = (fitid, day)
            return chain
        }
    }
}

extension OFXTransaction {
    /// The last day of what it corrects; the last of all days where it tells none.
    var correctionDay: String { day?.day ?? "99999999" }

    /// Whether it changes what was told before. One that cannot be read replaces nothing.
    func isCorrection(_ readable: Readable?) -> Bool {
        correctedFITID != nil && (isDeletion || readable != nil)
    }
}
