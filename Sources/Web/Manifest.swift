/// What a client needs to draw the flow: the manifest with all that Stripe's mobile SDKs require of it, and the words
/// of the consent pane. Native panes of those SDKs stay switched off: they would show another company's name over our
/// consent.

internal import Connections
internal import Database
internal import Vault
internal import Wire

struct Manifest {
    private let session: Session
    private let merchant: Merchant
    private let linked: Int64
    private let hostedURL: String
    private let success: String
    private let uploadLimit: Int
    private let cancel: String

    init(_ session: Session, end: FlowToken.End, _ db: Connection, _ service: Service) throws {
        self.session = session
        guard let merchant = try Merchant.find(session.scope.merchant, in: db) else { throw StripeError.internalFault }
        self.merchant = merchant
        uploadLimit = service.settings.uploadLimit
        linked = try Account.count(of: session.id, in: session.scope, db)
        let token = try FlowToken(session, end: end, service.world).text(service.ring)
        hostedURL = "\(service.settings.publicURL())/flow?t=\(token)"
        switch end {
        case .page:
            success = session.configuration.returnURL ?? "\(service.settings.publicURL())/flow/done"
            cancel = success
        case .app(let id):
            let base = "stripe-auth://link-accounts/\(id.isEmpty ? "" : id + "/")"
            success = base + "success"
            cancel = base + "cancel"
        }
    }

    private var limit: Int64? { session.configuration.accountLimit }
    private var remaining: Int64 { limit.map { max(0, $0 - linked) } ?? Int64.max }

    func write(to json: inout JSONWriter) {
        let allowsManualEntry = session.configuration.manualEntry == "automatic"
        json.object { json in
            json.field("id", session.id)
            json.field("account_disconnection_method", "support")
            json.field("accountholder_is_link_consumer", false)
            json.field("accounts_limit", limit)
            json.field("accounts_linked", linked)
            json.field("allow_manual_entry", allowsManualEntry)
            json.field("app_verification_enabled", false)
            json.field("business_name", merchant.name)
            json.field("cancel_url", cancel)
            json.field("consent_acquired_at", session.consentAt.map { String($0) })
            json.field("consent_required", true)
            json.field("custom_manual_entry_handling", false)
            json.field("disable_link_more_accounts", remaining == 0)
            json.object("experiment_assignments") { _ in }
            json.object("features") { json in
                json.field("bank_connections_mobile_native_version_killswitch", true)
            }
            json.field("hosted_auth_url", hostedURL)
            json.nullField("initial_institution")
            json.field("instant_verification_disabled", false)
            json.field("institution_search_disabled", false)
            json.field("is_link_with_stripe", false)
            json.field("is_networking_user_flow", false)
            json.field("livemode", session.scope.livemode)
            json.field("manual_entry_mode", "automatic")
            json.field("manual_entry_uses_microdeposits", allowsManualEntry)
            json.field("mobile_handoff_enabled", false)
            json.field("next_pane", session.consentAt == nil ? "consent" : "institution_picker")
            json.field("permissions", session.configuration.permissions)
            json.field("product", "external_api")
            json.field("single_account", remaining == 1)
            json.field("skip_success_pane", false)
            json.field("success_url", success)
            json.field("theme", "light")
            json.field("upload_limit", Int64(uploadLimit))
            json.field("use_single_sort_search", false)
        }
    }

    /// `{manifest, text, visual}`.
    func writeSynchronized(to json: inout JSONWriter) {
        json.object { json in
            json.key("manifest")
            write(to: &json)
            json.object("text") { json in writeConsent(to: &json) }
            json.object("visual") { json in
                json.field("merchant_logo", [])
                json.field("reduce_manual_entry_prominence_in_errors", false)
                json.field("reduced_branding", true)
            }
        }
    }

    // MARK: The consent pane

    /// The merchant's name as it stands in Markdown: without the letters that would make it more than a name.
    private var nameInMarkdown: String {
        String(merchant.name.filter { !"*[]()_`<>".contains($0) })
    }

    private func writeConsent(to json: inout JSONWriter) {
        let name = nameInMarkdown
        json.object("consent_pane") { json in
            json.field("above_cta", "By continuing, you agree to the [terms](stripe://legal-details-notice).")
            json.object("body") { json in
                Self.write(
                    [
                        "You sign in with your bank; **\(name) never sees your password**",
                        "\(name) gets only [what it asked for](stripe://data-access-notice)",
                        "You can end the connection at any time",
                    ],
                    to: &json
                )
            }
            json.field("cta", "Agree and continue")
            writeDataNotice(to: &json)
            writeLegalNotice(to: &json)
            json.field("title", "\(name) uses Linkspan to connect your accounts")
        }
    }

    private static func write(_ bullets: [String], to json: inout JSONWriter) {
        json.array("bullets") { json in
            for bullet in bullets {
                json.element()
                json.object { json in json.field("content", bullet) }
            }
        }
    }

    private func writeDataNotice(to json: inout JSONWriter) {
        json.object("data_access_notice") { json in
            json.object("body") { json in
                json.array("bullets") { json in
                    for permission in session.configuration.permissions {
                        let (title, content) = Self.explanation(of: permission)
                        json.element()
                        json.object { json in
                            json.field("content", content)
                            json.field("title", title)
                        }
                    }
                }
            }
            json.field("cta", "OK")
            json.field("title", "What \(merchant.name) gets of the accounts that you choose")
        }
    }

    private static func explanation(of permission: String) -> (title: String, content: String) {
        switch permission {
        case "balances": ("Balances", "How much is in the account, or owed on it.")
        case "ownership": ("Owners", "The names, addresses, phone numbers and e-mail addresses that the bank has.")
        case "payment_method": ("Account numbers", "What is needed to send a payment to the account or from it.")
        case "transactions": ("Transactions", "What went in and out, up to 180 days back and from now on.")
        default: (permission, "")
        }
    }

    private func writeLegalNotice(to json: inout JSONWriter) {
        json.object("legal_details_notice") { json in
            json.object("body") { json in
                json.array("links") { json in
                    json.element()
                    json.object { json in
                        json.field(
                            "content",
                            "\(merchant.name) runs this server and decides how your data is used. Ask \(merchant.name) "
                                + "for its privacy notice."
                        )
                        json.field("title", "Who is responsible")
                    }
                    json.element()
                    json.object { json in
                        json.field(
                            "content",
                            "Tell \(merchant.name), or withdraw the consent at your bank. What was shared before is "
                                + "not undone by it."
                        )
                        json.field("title", "How to end the connection")
                    }
                }
            }
            json.field("cta", "OK")
            json.field("title", "Terms")
        }
    }
}
