/// What opens one Session's flow from an address: a sealed note of the Session and where the flow ends, good for an
/// hour. It stands in `hosted_auth_url` where the client secret must not.

internal import Connections
internal import Vault
internal import Wire

struct FlowToken: Sendable {
    static let prefix = "fcflow_"
    private static let lifetime: Int64 = 3600

    /// Where the person is led when the flow is done.
    enum End: Sendable, Equatable {
        /// The Session's `return_url`, or a page of ours.
        case page
        /// An app with Stripe's mobile SDK: Android names itself, iOS does not.
        case app(id: String)

        /// What `synchronize` was told of the client. A name that could not stand in an address is no name.
        init(_ parameters: Parameters) throws(StripeError) {
            guard let mobile = try parameters.group("mobile") else { self = .page; return }
            let id = try mobile.string("application_id", maximum: 255) ?? ""
            let isPlain = id.utf8.allSatisfy { byte in
                byte >= 48 && byte <= 57 || byte >= 65 && byte <= 90 || byte >= 97 && byte <= 122 || byte == 45
                    || byte == 46 || byte == 95
            }
            self = .app(id: isPlain ? id : "")
        }
    }

    let scope: Scope
    let session: String
    let end: End
    private let expires: Int64

    /// - Throws: `session_expired` for a token that is too old to go on with.
    func requireFresh(_ world: World) throws(StripeError) {
        guard world.now() < expires else { throw Session.over("This link has expired. Open the flow again.") }
    }

    init(_ session: Session, end: End, _ world: World) {
        scope = session.scope
        self.session = session.id
        self.end = end
        expires = min(world.now() + Self.lifetime, session.expires)
    }

    /// - Throws: 401 for a token that was never ours. One that is too old is read: what was linked by it can still be
    ///   ended.
    init(_ text: String, _ ring: KeyRing) throws {
        let invalid = StripeError(status: 401, message: "Invalid flow token. Open the flow again from where you began.")
        guard let sealed = Secret.bytes(base64URL: text.dropFirst(Self.prefix.count)),
            let note = try? ring.open(sealed, for: .flowToken, owner: "")
        else { throw invalid }
        let parts = String(decoding: note, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
        guard parts.count == 6, let expires = Int64(parts[3]) else { throw invalid }
        scope = Scope(merchant: String(parts[0]), livemode: parts[1] == "live")
        session = String(parts[2])
        end = parts[4] == "app" ? .app(id: String(parts[5])) : .page
        self.expires = expires
    }

    func text(_ ring: KeyRing) throws -> String {
        let (kind, app) =
            switch end {
            case .page: ("page", "")
            case .app(let id): ("app", id)
            }
        let note = [scope.merchant, scope.livemode ? "live" : "test", session, String(expires), kind, app]
        let sealed = try ring.seal(Array(note.joined(separator: "\n").utf8), for: .flowToken, owner: "")
        return Self.prefix + Secret.base64URL(sealed)
    }
}
