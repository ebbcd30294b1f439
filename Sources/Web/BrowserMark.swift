/// The mark of the browser in which a sign-in at a bank's pages began: a cookie, by which who comes back by themselves
/// is told from who was sent to the bank by somebody else.
///
/// It says nothing of anybody: its name is a digest of the sign-in's state, and it is gone after some minutes. It is
/// set for our own page alone, which no other page can be to a browser.

internal import Connections
internal import HTTPTypes
internal import Vault

struct BrowserMark: Sendable {
    private let name: String
    private let attributes: String

    init(state: String, _ service: Service) {
        let isSecure = service.settings.publicURL().hasPrefix("https:")
        let digest = Secret.base64URL(Array(Secret.digest("browser\n\(state)").prefix(16)))
        // Browsers take a name with this prefix over TLS alone, and from no other host of the domain.
        name = "\(isSecure ? "__Host-" : "")linkspan-\(digest)"
        attributes = "Path=/; HttpOnly; SameSite=Lax\(isSecure ? "; Secure" : "")"
    }

    /// What sets it.
    var cookie: String { "\(name)=1; Max-Age=\(SignIn.timeAway); \(attributes)" }
    /// What takes it away.
    var end: String { "\(name)=; Max-Age=0; \(attributes)" }

    func isIn(_ headers: HTTPFields) -> Bool {
        (headers[.cookie] ?? "").split(separator: ";").contains { $0.drop { $0 == " " } == "\(name)=1" }
    }
}

extension HTTPFields {
    /// Whether a page of ours makes the request, as the browser says, which no script can forge.
    var isFromOwnPage: Bool { self[.name("Sec-Fetch-Site")] == "same-origin" }

    /// Whether a page of somebody else's does.
    var isFromOtherPage: Bool {
        let site = self[.name("Sec-Fetch-Site")]
        return site != nil && site != "same-origin" && site != "none"
    }
}
