/// Where people come back to from a bank's own pages: the redirect address of every bank, and the last page of its
/// window.
///
/// It promises one clear page whatever came: signed in, turned back, refused, too late, unknown. It needs no window
/// that opened it. A browser that did not begin the sign-in may be that of somebody who was sent to the bank by whoever
/// did: it is told who asks for what, and no code is spent before the person goes on. A state is taken once; nothing is
/// asked of a bank for one that is not good. What becomes of the sign-in is written for the flow, which asks; the page
/// claims nothing that the flow would have to believe.

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
        /// Nothing came of it yet.
        case question
    }

    private struct Ending {
        var outcome: Outcome
        var bank = ""
        var merchant = ""
        var returnTo: String?
        /// What is to come back with the answer to a question.
        var fields: [String: String] = [:]
    }

    /// A person comes from the bank.
    func respond(to request: Request) async -> Response {
        await answering(request) {
            let fields = try Self.fields(Array((request.uri.query ?? "").utf8))
            guard let state = Self.state(fields) else { return page(Ending(outcome: .unknown)) }
            let mark = BrowserMark(state: state, service)
            // A refusal at the bank gives nothing away.
            guard mark.isIn(request.headers) || fields["error"] != nil else { return try await ask(fields, state) }
            var response = try await take(fields, state)
            response.headers[values: .setCookie].append(mark.end)
            return response
        }
    }

    /// A person in a browser that did not begin the sign-in goes on with it.
    func goOn(_ request: Request) async -> Response {
        await answering(request) {
            guard !request.headers.isFromOtherPage else { return page(Ending(outcome: .unknown)) }
            let fields = try Self.fields(await Endpoint.body(of: request))
            guard let state = Self.state(fields) else { return page(Ending(outcome: .unknown)) }
            return try await take(fields, state)
        }
    }

    private func answering(_ request: Request, _ body: () async throws -> Response) async -> Response {
        do {
            return try await body()
        } catch {
            _ = service.explain(error, service.world.id(.request), "\(request.method.rawValue) /flow/return")
            return page(Ending(outcome: .failure))
        }
    }

    private static func fields(_ text: [UInt8]) throws -> [String: String] {
        let form = try Form.decode(text)
        var fields: [String: String] = [:]
        for member in form.members { if case .value(let value) = member.node { fields[member.key] = value } }
        return fields
    }

    private static func state(_ fields: [String: String]) -> String? {
        fields["state"].flatMap { $0.isEmpty || $0.utf8.count > 200 ? nil : $0 }
    }

    /// Says who asks for what, and waits for the person.
    private func ask(_ fields: [String: String], _ state: String) async throws -> Response {
        let found = try await service.database.read { [service] db in
            try SignIn.expected(state: state, db, service.world).map { ($0, try Self.open($0, db, service).merchant) }
        }
        guard let (signIn, merchant) = found,
            let (institution, _) = service.directory.find(signIn.institution, livemode: signIn.scope.livemode)
        else { return page(Ending(outcome: .unknown)) }
        return page(Ending(outcome: .question, bank: institution.name, merchant: merchant, fields: fields))
    }

    private func take(_ fields: [String: String], _ state: String) async throws -> Response {
        let taken = try await service.database.write { [service] db in
            try SignIn.takeBack(state: state, db, service.world)
        }
        guard let taken else { return page(Ending(outcome: .unknown)) }
        return try await resume(taken, fields.filter { $0.key != "state" })
    }

    /// - Throws: where the Session is over.
    private static func open(
        _ signIn: SignIn,
        _ db: Connection,
        _ service: Service
    ) throws -> (session: Session, merchant: String) {
        let session = try Session.find(signIn.session, at: .parameter("id"), in: signIn.scope, db)
        try session.requireOpen(service.world)
        return (session, try Merchant.find(session.scope.merchant, in: db)?.name ?? "")
    }

    /// Hands the connector what the bank sent along.
    private func resume(_ taken: SignIn, _ answer: [String: String]) async throws -> Response {
        let (ring, service) = (service.ring, service)
        guard let (institution, connector) = service.directory.find(taken.institution, livemode: taken.scope.livemode),
            let note = try taken.note(ring)
        else { return page(Ending(outcome: .unknown)) }
        let (session, merchant, attempt) = try await service.database.read { db in
            let (session, merchant) = try Self.open(taken, db, service)
            return (session, merchant, try Attempt(institution, session, db, service))
        }
        var ending = Ending(outcome: .success, bank: institution.name, merchant: merchant, returnTo: taken.returnTo)
        let step: Step
        do throws(ConnectorError) {
            step = try await connector.resume(attempt, from: note, .returned(answer))
        } catch {
            ending.outcome = error == .cancelled ? .cancelled : .failure
            error.log(institution, service.logger)
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
            let mark = BrowserMark(state: attempt.callback.state, service)
            return Response(
                status: .seeOther,
                headers: [.location: address, .cacheControl: "no-store", .setCookie: mark.cookie]
            )
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
            template?.render(
                [
                    "title": title,
                    "lead": lead,
                    "outcome": ending.outcome.rawValue,
                    "hasReturn": returnTo != nil,
                    "returnTo": returnTo ?? "",
                    "back": ending.merchant.isEmpty ? "Go back" : "Back to \(ending.merchant)",
                    "asks": ending.outcome == .question,
                    "fine": ending.outcome == .question
                        ? "If you did not begin this yourself, close this window." : "You can close this window.",
                    "fields": ending.fields.sorted { $0.key < $1.key }.map { ["name": $0.key, "value": $0.value] },
                ] as [String: Any]
            ) ?? title
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
        case .question:
            return (
                "Let \(merchant) see accounts at \(bank)?",
                "You come from \(bank). \(merchant) asked for this, to see accounts of yours there. Go on only if you "
                    + "yourself began to connect accounts to \(merchant), in an app or another browser. If a message "
                    + "or another person sent you to \(bank), do not: whoever did would choose and see your accounts."
            )
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
        case .failure, .question, .unknown: "failure"
        }
    }
}
