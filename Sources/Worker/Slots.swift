/// How many attempts are under way: so many in all, shared by turns between the endpoints, and few at a time at one
/// that does not answer.

/// The attempts of a worker that are under way, and what is known of who answers.
struct Slots {
    /// In all: each holds a connection, of which a process may have so many.
    static let capacity = 256
    /// Of these, for endpoints that have not answered: however many hang, the others have the rest.
    static let capacityOfSilent = 128
    /// At one endpoint; of one that fails or has not answered, few.
    static let ofOne = 16
    static let ofDoubtful = 2

    private var underWay: [String: Int] = [:]
    private var total = 0
    /// Endpoints whose last attempt was answered, with whatever status.
    private var answering: Set<String> = []
    /// Whose turn it was last.
    private var last = ""
    /// Whether there was no room for all that was due.
    private var isShort = false

    /// Shares what is free between endpoints that something is due for, one by one, beginning behind the one that had
    /// the last turn.
    /// - Parameter due: each once.
    /// - Returns: how many attempts may be begun at each; those that may begin none are left out.
    mutating func share(_ due: [(endpoint: String, isFailing: Bool)]) -> [String: Int] {
        var room = Self.capacity - total
        let silent = underWay.reduce(0) { $0 + (answering.contains($1.key) ? 0 : $1.value) }
        var roomOfSilent = Self.capacityOfSilent - silent
        let sorted = due.sorted { $0.endpoint < $1.endpoint }
        let turn = sorted.firstIndex { $0.endpoint > last } ?? 0
        var waiting = Array(sorted[turn...] + sorted[..<turn])
        var shares: [String: Int] = [:]
        isShort = false
        while !waiting.isEmpty {
            waiting = waiting.filter { endpoint, isFailing in
                let isSilent = !answering.contains(endpoint)
                let limit = isSilent || isFailing ? Self.ofDoubtful : Self.ofOne
                guard underWay[endpoint, default: 0] + shares[endpoint, default: 0] < limit else { return false }
                guard room > 0, !isSilent || roomOfSilent > 0 else {
                    isShort = true
                    return false
                }
                shares[endpoint, default: 0] += 1
                room -= 1
                if isSilent { roomOfSilent -= 1 }
                last = endpoint
                return true
            }
        }
        return shares
    }

    mutating func begin(at endpoint: String) {
        underWay[endpoint, default: 0] += 1
        total += 1
    }

    /// - Returns: whether something may have waited for the place that is free now.
    mutating func end(at endpoint: String, wasAnswered: Bool) -> Bool {
        let count = underWay[endpoint] ?? 1
        underWay[endpoint] = count > 1 ? count - 1 : nil
        total -= 1
        if wasAnswered { answering.insert(endpoint) } else { answering.remove(endpoint) }
        return isShort || count >= Self.ofDoubtful
    }
}
