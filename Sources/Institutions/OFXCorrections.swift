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
        private let named: [String: [Told]]
        /// Ids of those that are corrected here.
        let superseded: Set<String>

        fileprivate init(_ told: [Told]) {
            let named = Dictionary(grouping: told.filter { $0.id != nil }) { $0.fitid ?? "" }
            self.named = named
            superseded = Set(
                told.compactMap { one in
                    one.corrects.flatMap { Self.last(named[$0], until: one.day, in: one.currency, but: [one.id])?.id }
                }
            )
        }

        private static func last(
            _ told: [Told]?,
            until day: String,
            in currency: String,
            but passed: Set<String?>
        ) -> Told? {
            var last: Told?
            for one in told ?? [] where one.day <= day && one.currency == currency && !passed.contains(one.id) {
                // On one day what corrects nothing was there first.
                let isLater = last.map {
                    ($0.day, $0.corrects != nil ? 0 : 1) <= (one.day, one.corrects != nil ? 0 : 1)
                }
                if isLater ?? true { last = one }
            }
            return last
        }

        /// - Parameters:
        ///   - id: of the correction.
        ///   - currency: of a statement.
        func chain(of raw: OFXTransaction, id: String?, currency: String?) -> Chain {
            var chain = Chain()
            guard var fitid = raw.correctedFITID else { return chain }
            var (day, passed): (String, Set<String?>) = (raw.correctionDay, [id])
            let currency = raw.usableCurrency ?? currency ?? ""
            while let one = Self.last(named[fitid], until: day, in: currency, but: passed), let id = one.id {
                chain.ids.append(id)
                guard let next = one.corrects else { return chain }
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
