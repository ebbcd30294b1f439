/// What a bank that exists only here gives at the end of a sign-in: whom it knows, since when, and whether it knew them
/// before.
///
/// It promises to be read only with the institution and the holder that it was given to. It holds no secret.

struct TestCredential {
    let isRelink: Bool
    /// When the person signed in, seconds since the Unix epoch; nil in the oldest ones, which do not tell.
    let linked: Int64?
    private let known: String

    /// - Parameter kind: the connector's own word.
    init(_ attempt: Attempt, kind: String) {
        isRelink = attempt.isRelink
        linked = attempt.now
        known = Self.known(kind, attempt.institution, attempt.holder)
    }

    /// Nil for bytes that were not given to this holder at this institution.
    init?(_ bytes: [UInt8], _ access: Access, kind: String) {
        known = Self.known(kind, access.institution, access.holder)
        guard bytes.starts(with: known.utf8) else { return nil }
        var rest = String(decoding: bytes.dropFirst(known.utf8.count), as: UTF8.self)[...]
        isRelink = rest.hasPrefix(Self.again)
        if isRelink { rest = rest.dropFirst(Self.again.count) }
        linked = rest.hasPrefix("@") ? Int64(rest.dropFirst()) : nil
        guard linked != nil || rest.isEmpty else { return nil }
    }

    private static let again = ":again"

    private static func known(_ kind: String, _ institution: Institution, _ holder: String) -> String {
        "\(kind):\(institution.id):\(holder)"
    }

    var bytes: [UInt8] {
        Array("\(known)\(isRelink ? Self.again : "")\(linked.map { "@\($0)" } ?? "")".utf8)
    }
}

extension Access {
    /// Throws what tests want to be thrown.
    func checkFabrication() throws(ConnectorError) {
        guard let fabrication else { return }
        if fabrication.isDeactivated { throw .accountClosed }
        if fabrication.fails { throw .invalidResponse }
    }
}
