/// What one refresh writes of an account's transactions. Writing the same again changes nothing.
///
/// A transaction keeps its `fctxn_` when the institution gives it another name. The names that it had are remembered,
/// with the transaction that stands for them now: what is told again under a name that is over, by an older file or a
/// narrower one, is not taken, and a correction that goes by a former name finds what it is about.

internal import Database
internal import Wire

extension Transaction {
    struct Batch {
        let account: String
        let scope: Scope
        /// The refresh's number on the account.
        let refresh: Int64
        let now: Int64

        private var mine: SQL {
            "merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND account = \(account)"
        }

        /// A name that is over, for transactions that happened until then.
        private struct Former {
            let name: String
            var through = Int64.max
            /// When the correction was made that ended it; 0 where none did.
            var correctedAt: Int64 = 0
        }

        func ingest(_ entries: [Entry], _ db: Connection, _ world: World) throws {
            var hasFormer =
                try db.first("SELECT 1 FROM former_transaction_name WHERE \(mine) LIMIT 1") { try $0.int(0) } != nil
            for entry in entries {
                if hasFormer, let (id, moment) = try over(entry, db) {
                    try absorb(entry.corrects, into: id, at: moment, db)
                    if let name = entry.replaces, let former = try forerunner(name, of: entry, db) {
                        try remove([name], db)
                        try remember([former], for: id, db)
                    }
                    continue
                }
                if hasFormer, let later = try laterCorrection(than: entry, db) {
                    if try id(named: entry.institutionID, db) != nil { try remove([entry.institutionID], db) }
                    try absorb([entry.institutionID] + entry.corrects, into: later.id, at: later.moment, db)
                    continue
                }
                var former: [Former] = []
                if let name = entry.replaces, name != entry.institutionID { former += try settle(name, as: entry, db) }
                for name in entry.corrects where name != entry.institutionID {
                    former += try correct(name, by: entry, db)
                }
                try upsert(entry, db, world)
                guard !former.isEmpty else { continue }
                hasFormer = true
                try remember(former, for: try id(named: entry.institutionID, db), db)
            }
        }

        /// The transaction that stands for a name that is over, empty where none does, and since when. Nil where the
        /// name is not over.
        private func over(_ entry: Entry, _ db: Connection) throws -> (id: String, moment: Int64)? {
            try db.first(
                """
                SELECT transaction_id, corrected_at FROM former_transaction_name WHERE \(mine)
                AND institution_id = \(entry.institutionID) AND through >= \(entry.transactedAt)
                """
            ) { (try $0.text(0), try $0.int(1)) }
        }

        /// The correction of the same that was made later than one, with the transaction that it made.
        private func laterCorrection(
            than entry: Entry,
            _ db: Connection
        ) throws -> (id: String, moment: Int64)? {
            var latest: (id: String, moment: Int64)?
            for name in entry.corrects where name != entry.institutionID {
                let found = try correction(of: name, db)
                if let found, found.moment > latest?.moment ?? entry.moment { latest = found }
            }
            return latest
        }

        private func correction(of name: String, _ db: Connection) throws -> (id: String, moment: Int64)? {
            try db.first(
                """
                SELECT transaction_id, corrected_at FROM former_transaction_name
                WHERE \(mine) AND institution_id = \(name)
                """
            ) { (try $0.text(0), try $0.int(1)) }
        }

        /// What was corrected by something that does not count itself any more does not count either.
        private func absorb(_ names: [String], into id: String, at moment: Int64, _ db: Connection) throws {
            for name in names {
                if let current = try current(name, db), current.id != id { try remove([current.name], db) }
                try remember([Former(name: name, correctedAt: moment)], for: id, db)
            }
        }

        /// The row is inserted, or changed where it is another; a transaction that was posted keeps that moment when
        /// it becomes void. That it was seen is noted of those alone that may vanish.
        private func upsert(_ entry: Entry, _ db: Connection, _ world: World) throws {
            let settled = entry.settledAt ?? (entry.status == .posted ? entry.transactedAt : now)
            let postedAt = entry.status == .posted ? settled : 0
            let voidAt = entry.status == .void ? settled : 0
            try db.execute(
                """
                INSERT INTO bank_transaction (merchant, livemode, account, transacted_at, id, institution_id, amount,
                    currency, description, status, posted_at, void_at, updated, refresh, seen)
                VALUES (\(scope.merchant), \(scope.livemode), \(account), \(entry.transactedAt),
                    \(world.id(.transaction)), \(entry.institutionID), \(entry.amount), \(entry.currency),
                    \(entry.description), \(entry.status.rawValue), \(postedAt), \(voidAt), \(now), \(refresh),
                    \(refresh))
                ON CONFLICT (merchant, livemode, account, institution_id) DO UPDATE SET
                    transacted_at = excluded.transacted_at, amount = excluded.amount, currency = excluded.currency,
                    description = excluded.description, status = excluded.status,
                    posted_at = CASE WHEN excluded.status = 'void' THEN bank_transaction.posted_at
                        ELSE excluded.posted_at END,
                    void_at = excluded.void_at, updated = excluded.updated, refresh = excluded.refresh,
                    seen = excluded.seen
                WHERE (bank_transaction.transacted_at, bank_transaction.amount, bank_transaction.currency,
                        bank_transaction.description, bank_transaction.status)
                    <> (excluded.transacted_at, excluded.amount, excluded.currency, excluded.description,
                        excluded.status)
                """
            )
            if entry.status == .pending {
                try db.execute(
                    """
                    UPDATE bank_transaction SET seen = \(refresh) WHERE \(mine)
                    AND institution_id = \(entry.institutionID) AND seen < \(refresh)
                    """
                )
            }
        }

        // MARK: Names

        /// A pending transaction goes on under another name.
        private func settle(_ old: String, as entry: Entry, _ db: Connection) throws -> [Former] {
            guard let former = try forerunner(old, of: entry, db) else { return [] }
            try rename(old, to: entry.institutionID, db)
            return [former]
        }

        /// What was pending before a transaction was posted. One that is posted is what a refund refers to, and stays;
        /// and so does one whose money went the other way, or that came a day after what is said to be its posting.
        private func forerunner(_ name: String, of entry: Entry, _ db: Connection) throws -> Former? {
            let pending = try db.first(
                """
                SELECT transacted_at, amount FROM bank_transaction
                WHERE \(mine) AND institution_id = \(name) AND status = 'pending'
                """
            ) { (try $0.int(0), try $0.int(1)) }
            guard let (transactedAt, amount) = pending, amount.signum() * entry.amount.signum() >= 0,
                transactedAt < max(entry.moment, entry.transactedAt) + 86_400
            else { return nil }
            // A later one that is pending may have the name again.
            return Former(name: name, through: max(transactedAt, entry.transactedAt))
        }

        /// What was wrong goes on as its correction.
        private func correct(_ old: String, by entry: Entry, _ db: Connection) throws -> [Former] {
            let former = Former(name: old, correctedAt: entry.moment)
            guard let current = try current(old, db), current.name != entry.institutionID else { return [former] }
            try rename(current.name, to: entry.institutionID, db)
            return [former, Former(name: current.name, correctedAt: entry.moment)]
        }

        /// Where both names are known already, the old one has nothing left to stand for.
        private func rename(_ old: String, to new: String, _ db: Connection) throws {
            guard try id(named: new, db) == nil else { return try remove([old], db) }
            try db.execute(
                "UPDATE bank_transaction SET institution_id = \(new) WHERE \(mine) AND institution_id = \(old)"
            )
        }

        private func id(named name: String, _ db: Connection) throws -> String? {
            try db.first("SELECT id FROM bank_transaction WHERE \(mine) AND institution_id = \(name)") { row in
                try row.text(0)
            }
        }

        /// The transaction that stands for a name, and the name that it has; nil where there is none.
        private func current(_ name: String, _ db: Connection) throws -> (name: String, id: String)? {
            var (name, passed) = (name, Set<String>())
            while passed.insert(name).inserted {
                let next = try db.first(
                    """
                    SELECT t.institution_id FROM former_transaction_name AS f JOIN bank_transaction AS t
                    ON t.merchant = f.merchant AND t.livemode = f.livemode AND t.id = f.transaction_id
                    WHERE f.merchant = \(scope.merchant) AND f.livemode = \(scope.livemode)
                    AND f.account = \(account) AND f.institution_id = \(name)
                    """
                ) { try $0.text(0) }
                guard let next else { break }
                name = next
            }
            return try id(named: name, db).map { (name, $0) }
        }

        /// - Parameter id: of the transaction that stands for the names; nil where there is none.
        private func remember(_ names: [Former], for id: String?, _ db: Connection) throws {
            for former in names {
                try db.execute(
                    """
                    INSERT INTO former_transaction_name (merchant, livemode, account, institution_id, transaction_id,
                        through, corrected_at)
                    VALUES (\(scope.merchant), \(scope.livemode), \(account), \(former.name), \(id ?? ""),
                        \(former.through), \(former.correctedAt))
                    ON CONFLICT (merchant, livemode, account, institution_id) DO UPDATE SET
                        transaction_id = excluded.transaction_id,
                        through = CASE WHEN excluded.through > former_transaction_name.through
                            THEN excluded.through ELSE former_transaction_name.through END,
                        corrected_at = CASE WHEN excluded.corrected_at > former_transaction_name.corrected_at
                            THEN excluded.corrected_at ELSE former_transaction_name.corrected_at END
                    """
                )
            }
        }

        // MARK: What is gone

        /// What the institution took back becomes void.
        func remove(_ institutionIDs: [String], _ db: Connection) throws {
            for id in institutionIDs {
                try db.execute(
                    """
                    UPDATE bank_transaction SET status = 'void', void_at = \(now), updated = \(now),
                        refresh = \(refresh), seen = \(refresh)
                    WHERE \(mine) AND institution_id = \(id) AND status <> 'void'
                    """
                )
            }
        }

        /// What the institution took back for good becomes void, and its names are over. Carried out once, and not
        /// where a correction that was made later says otherwise.
        func retract(_ retractions: [Retraction], _ db: Connection) throws {
            for retraction in retractions {
                guard try correction(of: retraction.institutionID, db) == nil else { continue }
                for name in retraction.retracts {
                    if let later = try correction(of: name, db), later.moment > retraction.moment { continue }
                    let current = try current(name, db)
                    if let current { try remove([current.name], db) }
                    let names = Set([name, current?.name ?? name, retraction.institutionID])
                    let former = names.map { Former(name: $0, correctedAt: retraction.moment) }
                    try remember(former, for: current?.id, db)
                }
            }
        }

        /// - Returns: whether there may be more: a bounded number becomes void at a time.
        func voidUnseen(in window: Range<Int64>, _ db: Connection) throws -> Bool {
            let limit = 500
            let vanished = try db.all(
                """
                SELECT institution_id FROM bank_transaction WHERE \(mine) AND status = 'pending'
                AND transacted_at >= \(window.lowerBound) AND transacted_at < \(window.upperBound)
                AND seen < \(refresh) LIMIT \(limit)
                """
            ) { try $0.text(0) }
            try remove(vanished, db)
            return vanished.count == limit
        }
    }

    /// What an institution says of transactions that never were.
    public struct Retraction: Sendable {
        /// The institution's own name for saying so, unique on the account.
        public let institutionID: String
        /// The names of those that are gone.
        public let retracts: [String]
        /// When the institution said so, seconds since the Unix epoch.
        public let moment: Int64

        public init(institutionID: String, retracts: [String], at moment: Int64) {
            self.institutionID = institutionID
            self.retracts = retracts
            self.moment = moment
        }
    }
}

extension Transaction.Entry {
    /// When it was settled: of several corrections the last counts.
    fileprivate var moment: Int64 { settledAt ?? transactedAt }
}
