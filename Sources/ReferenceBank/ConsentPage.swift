/// The page on which a customer of the bank says what a client may see, and the one that says why there is none. They
/// are plain forms under a strict Content-Security-Policy and need no script.

internal import HTTPTypes
internal import Hummingbird
internal import Mustache
internal import NIOCore
internal import Wire

extension Bank {
    /// - Parameters:
    ///   - problem: why the last answer was not taken.
    ///   - chosen: the names of the accounts that are ticked; nil where nothing was chosen yet.
    func consentPage(
        _ asked: AccessRequest,
        _ client: Client,
        problem: String?,
        chosen: [String]?,
        user: String
    ) throws -> Response {
        let accounts = BookAccount.all(of: user).map { account in
            [
                "name": account.name, "last4": account.last4,
                "checked": chosen?.contains(account.name) == true ? "checked" : "",
            ]
        }
        let text = page.render([
            "client": client.name,
            "isThorough": client.isThorough,
            "problem": problem as Any,
            "hasProblem": problem != nil,
            "user": user,
            "accounts": accounts,
            "request": try seal(asked, as: .request),
            "isError": false,
        ])
        // A browser holds the redirect that follows a form against the policy of the form's page.
        let origin = Self.origin(asked.redirect)
        return html(text, formAction: "'self' \(origin)", status: problem == nil ? .ok : .unprocessableContent)
    }

    func errorPage(_ reason: String) -> Response {
        html(page.render(["isError": true, "reason": reason]), formAction: "'none'", status: .badRequest)
    }

    private func html(_ text: String, formAction: String, status: HTTPResponse.Status) -> Response {
        Response(
            status: status,
            headers: [
                .contentType: "text/html; charset=utf-8",
                .cacheControl: "no-store",
                .xContentTypeOptions: "nosniff",
                .contentSecurityPolicy: "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; "
                    + "form-action \(formAction); frame-ancestors 'none'",
            ],
            body: .init(byteBuffer: ByteBuffer(string: text))
        )
    }

    /// `https://link.example.com`, or the scheme of an app: `com.example.app:`.
    private static func origin(_ address: String) -> String {
        let parts = address.split(separator: "/", maxSplits: 3, omittingEmptySubsequences: false)
        guard parts.count > 2, parts[0] == "http:" || parts[0] == "https:" else { return String(parts.first ?? "") }
        return "\(parts[0])//\(parts[2])"
    }
}
