/// Where people come back to from a bank's own pages: the redirect address of every bank, and the last page of its
/// window.
///
/// It promises one clear page whatever came: signed in, turned back, refused, too late, unknown. It names the merchant
/// and the bank, so that nobody finishes what somebody else began without seeing it; it needs no cookie and no window
/// that opened it. It takes a state once; nothing is asked of a bank for one that is not good. What becomes of the
/// sign-in is written for the flow, which asks; the page claims nothing that the flow would have to believe.

internal import Connections
internal import Database
internal import HTTPTypes
internal import Hummingbird
internal import Institutions
internal import Logging
internal import Mustache
internal import NIOCore
internal import Vault
internal import Wire

struct BankReturn: Sendable {
    private let service: Service
    private let template: MustacheTemplate?
    private let headers: HTTPFields

    /// - Parameter headers: of the pages that stand alone.
    init(_ service: Service, headers: HTTPFields) {
        self.service = service
        template = try? MustacheTemplate(string: String(decoding: PackageResources.return_html, as: UTF8.self))
        self.headers = headers
    }

    fileprivate enum Outcome: String {
        case success, cancelled, failure, unknown
    }

    private struct Ending {
        var outcome: Outcome
        var bank = ""
        var merchant = ""
        var returnTo: String?
    }

    func respond(to request: Request) async -> Response {
        do {
            let form = try Form.decode(Array((request.uri.query ?? "").utf8))
            var answer: [String: String] = [:]
            for key in form.keys { if case .value(let value)? = form[key] { answer[key] = value } }
            guard let state = answer.removeValue(forKey: "state"), !state.isEmpty, state.utf8.count <= 200 else {
                return page(Ending(outcome: .unknown))
            }
            let taken = try await service.database.write { [service] db in
                try SignIn.takeBack(state: state, db, service.world)
            }
            guard let taken else { return page(Ending(outcome: .unknown)) }
            return try await resume(taken, answer)
        } catch {
            _ = service.explain(error, service.world.id(.request), "GET /flow/return")
            return page(Ending(outcome: .failure))
        }
    }

    /// Hands the connector what the bank sent along.
    private func resume(_ taken: SignIn, _ answer: [String: String]) async throws -> Response {
        let (ring, service) = (service.ring, service)
        guard let (institution, connector) = service.directory.find(taken.institution, livemode: taken.scope.livemode),
            let note = try taken.note(ring)
        else { return page(Ending(outcome: .unknown)) }
        let (session, merchant, attempt) = try await service.database.read { db in
            let session = try Session.find(taken.session, at: .parameter("id"), in: taken.scope, db)
            try session.requireOpen(service.world)
            let merchant = try Merchant.find(session.scope.merchant, in: db)?.name ?? ""
            return (session, merchant, try Attempt(institution, session, db, service))
        }
        var ending = Ending(outcome: .success, bank: institution.name, merchant: merchant, returnTo: taken.returnTo)
        let step: Step
        do throws(ConnectorError) {
            step = try await connector.resume(attempt, from: note, .returned(answer))
        } catch {
            ending.outcome = error == .cancelled ? .cancelled : .failure
            service.logger.info(
                "sign-in at an institution failed",
                metadata: ["institution": "\(institution.id)", "reason": "\(error)"]
            )
            let failure = error.failure
            try await service.database.write { db in
                var current = try SignIn.find(taken.id, of: session, db)
                guard current.isAtSameStep(as: taken) else { return }
                try current.end(as: failure == "cancelled" ? .cancelled : .failed, failure: failure, db)
            }
            return page(ending)
        }
        let isCurrent = try await service.database.write { db in
            var current = try SignIn.find(taken.id, of: session, db)
            guard current.isAtSameStep(as: taken) else { return false }
            try current.advance(step.progress(attempt), db, service.world, ring)
            return true
        }
        guard isCurrent else { return page(Ending(outcome: .unknown)) }
        if case .redirect(let address, _) = step {
            return Response(status: .seeOther, headers: [.location: address, .cacheControl: "no-store"])
        }
        return page(ending)
    }

    // MARK: The page

    private func page(_ ending: Ending) -> Response {
        let (title, lead) = words(ending)
        let returnTo = ending.returnTo.map { address in
            // What Stripe's SDKs wait for carries the outcome; a merchant's address is left as it is.
            address.hasPrefix("stripe://") ? "\(address)?status=\(ending.outcome.status)" : address
        }
        let text =
            template?.render([
                "title": title,
                "lead": lead,
                "outcome": ending.outcome.rawValue,
                "hasReturn": returnTo != nil,
                "returnTo": returnTo ?? "",
                "back": ending.merchant.isEmpty ? "Go back" : "Back to \(ending.merchant)",
            ]) ?? title
        var headers = headers
        headers[.contentType] = "text/html; charset=utf-8"
        headers[.cacheControl] = "no-store"
        headers[.xContentTypeOptions] = "nosniff"
        headers[.name("Referrer-Policy")] = "no-referrer"
        return Response(
            status: ending.outcome == .unknown ? .badRequest : .ok,
            headers: headers,
            body: .init(byteBuffer: ByteBuffer(string: text))
        )
    }

    private func words(_ ending: Ending) -> (title: String, lead: String) {
        let (bank, merchant) = (ending.bank, ending.merchant)
        switch ending.outcome {
        case .success:
            return (
                "You are signed in at \(bank)",
                "Go back to the page where you began to connect your accounts to \(merchant): it goes on by itself. If "
                    + "you did not begin this yourself, close this window; nothing is shared before you choose there."
            )
        case .cancelled:
            return ("You turned back at \(bank)", "Nothing was shared with \(merchant).")
        case .failure:
            let name = bank.isEmpty ? "The bank" : bank
            return (
                "\(name) did not let you in",
                "Nothing was shared. Go back to the page where you began; there you can try again."
            )
        case .unknown:
            return (
                "This link was used already or is too old",
                "Go back to the page where you began to connect your account, and start again from there."
            )
        }
    }
}

extension BankReturn.Outcome {
    /// As the mobile SDKs spell it.
    fileprivate var status: String {
        switch self {
        case .success: "success"
        case .cancelled: "cancel"
        case .failure, .unknown: "failure"
        }
    }
}
