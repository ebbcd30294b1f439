/// The bank's data, as FDX 6 has it and, by another address, as FDX 5 did: accounts, their details, transactions,
/// contact and payment networks, the customer and the consent. Accounts outside of the consent are not found.

internal import Database
internal import HTTPTypes
internal import Hummingbird
internal import NIOCore
internal import Wire

/// A refusal in FDX's words.
private struct FDXError: Error {
    let status: HTTPResponse.Status
    let code: Int64
    let message: String
    var retryAfter: Int64?

    static let notAuthorized = FDXError(status: .unauthorized, code: 602, message: "Customer not authorized")
    static let accountNotFound = FDXError(status: .notFound, code: 701, message: "Account not found")
    static let badRange = FDXError(status: .badRequest, code: 703, message: "Invalid date range")
    static let forbidden = FDXError(status: .forbidden, code: 706, message: "The scope does not allow this")
}

/// The two shapes of the data, by the path that asks for it.
enum Shape: String, CaseIterable, Sendable {
    case v5, v6
}

/// One authorised request for data.
private struct DataCall: Sendable {
    let shape: Shape
    let consent: Consent
    let query: Fields
    let path: String
    let now: Int64

    var accounts: [BookAccount] {
        BookAccount.all(of: consent.user).filter { consent.accounts.contains($0.id) }
    }

    func account(_ context: BasicRequestContext) throws -> BookAccount {
        let id = context.parameters.get("account") ?? ""
        guard let account = accounts.first(where: { $0.id == id }) else { throw FDXError.accountNotFound }
        return account
    }

    /// A page of a list by the caller's limit and place, and the place of the next.
    func page<T>(_ all: [T], defaultLimit: Int) throws -> (page: ArraySlice<T>, next: Int?) {
        let limit = try number("limit") ?? defaultLimit
        let start = try number("pageKey") ?? number("offset") ?? 0
        guard (1...500).contains(limit), start >= 0 else { throw FDXError.badRange }
        let end = min(all.count, start + limit)
        return (start < end ? all[start..<end] : [], end < all.count ? end : nil)
    }

    private func number(_ name: String) throws -> Int? {
        guard let text = query[name] else { return nil }
        guard let number = Int(text) else { throw FDXError.badRange }
        return number
    }

    func writePage(_ next: Int?, total: Int, to json: inout JSONWriter) {
        json.object("page") { json in
            if let next { json.field(shape == .v6 ? "nextPageKey" : "nextOffset", String(next)) }
            json.field("totalElements", total)
        }
    }
}

extension Bank {
    private static let defaultWindow: Int64 = 7 * 86_400

    func registerResources(on router: Router<BasicRequestContext>) {
        for shape in Shape.allCases {
            let base = "bank/fdx/\(shape.rawValue)"
            func get(
                _ path: String,
                _ body: @escaping @Sendable (DataCall, BasicRequestContext) throws -> Response
            ) {
                router.get(RouterPath("\(base)/\(path)")) { request, context in
                    await data(request, context, shape, body)
                }
            }
            get("customers/current") { call, _ in
                Self.json { json in json.object { $0.field("customerId", call.consent.user) } }
            }
            get("accounts") { call, _ in try Self.accounts(call) }
            get("accounts/:account") { call, context in
                let account = try call.account(context)
                return Self.json { json in Self.writeDetails(of: account, call, to: &json) }
            }
            get("accounts/:account/transactions") { call, context in
                try Self.transactions(of: call.account(context), call)
            }
            get("accounts/:account/contact") { call, context in Self.contact(try call.account(context)) }
            get("accounts/:account/payment-networks") { call, context in
                Self.networks(try call.account(context), call)
            }
            get("consents/:consent") { call, context in
                guard context.parameters.get("consent") == call.consent.id else { throw FDXError.accountNotFound }
                return Self.consent(call)
            }
            router.put(RouterPath("\(base)/consents/:consent/revocation")) { request, context in
                await data(request, context, shape) { call, context in
                    guard context.parameters.get("consent") == call.consent.id else { throw FDXError.accountNotFound }
                    return Response(status: .noContent)
                } afterwards: { consent in
                    try await database.write { db in try Consent.revoke(consent.id, db) }
                }
            }
        }
    }

    private func data(
        _ request: Request,
        _ context: BasicRequestContext,
        _ shape: Shape,
        _ body: @Sendable (DataCall, BasicRequestContext) throws -> Response,
        afterwards: @Sendable (Consent) async throws -> Void = { _ in }
    ) async -> Response {
        let interaction = request.headers[.interactionID]
        var response: Response
        do {
            let consent = try await authorise(request)
            let query = try Fields(query: request.uri.query ?? "")
            let call = DataCall(shape: shape, consent: consent, query: query, path: request.uri.path, now: now())
            let answer = try body(call, context)
            try await afterwards(consent)
            response = answer
        } catch {
            response = Self.failure(error)
        }
        if let interaction { response.headers[.interactionID] = interaction }
        return response
    }

    private func authorise(_ request: Request) async throws -> Consent {
        guard let header = request.headers[.authorization], header.lowercased().hasPrefix("bearer "),
            let (consent, mood) = try await consent(bearer: String(header.dropFirst(7))),
            consent.status(at: now()) == .active
        else { throw FDXError.notAuthorized }
        if mood.throttled > 0 || mood.unavailable > 0 {
            try await database.write { db in try Mood.refused(consent.user, db) }
            throw mood.throttled > 0
                ? FDXError(status: .tooManyRequests, code: 429, message: "Too many requests", retryAfter: 2)
                : FDXError(status: .serviceUnavailable, code: 503, message: "Under maintenance", retryAfter: 4)
        }
        return consent
    }

    private static func failure(_ error: any Error) -> Response {
        let known = error as? FDXError
        var headers: HTTPFields = [:]
        if let retryAfter = known?.retryAfter { headers[.retryAfter] = String(retryAfter) }
        if known?.status == .unauthorized { headers[.wwwAuthenticate] = "Bearer error=\"invalid_token\"" }
        let status = known?.status ?? (error is StripeError ? .badRequest : .internalServerError)
        return json(status: status, headers: headers) { json in
            json.object { json in
                json.field("code", String(known?.code ?? 500))
                json.field("message", known?.message ?? "Internal server error")
            }
        }
    }

    // MARK: Accounts

    private static func accounts(_ call: DataCall) throws -> Response {
        let (page, next) = try call.page(call.accounts, defaultLimit: 10)
        let isDetailed = call.query["resultType"] == "details"
        return json { json in
            json.object { json in
                json.array("accounts") { json in
                    for account in page {
                        json.element()
                        if isDetailed {
                            writeDetails(of: account, call, to: &json)
                        } else {
                            writeWrapped(account, "Account", call, to: &json) { writeDescriptor(of: account, to: &$0) }
                        }
                    }
                }
                call.writePage(next, total: call.accounts.count, to: &json)
            }
        }
    }

    /// Version 6 names the category in the object; before, a wrapper did.
    private static func writeWrapped(
        _ account: BookAccount,
        _ thing: String,
        _ call: DataCall,
        to json: inout JSONWriter,
        _ members: (inout JSONWriter) -> Void
    ) {
        json.object { json in
            switch call.shape {
            case .v6:
                json.field("accountCategory", account.category)
                members(&json)
            case .v5: json.object(account.wrapper(thing)) { members(&$0) }
            }
        }
    }

    private static func writeDescriptor(of account: BookAccount, to json: inout JSONWriter) {
        json.field("accountId", account.id)
        json.field("accountNumberDisplay", "xxxx\(account.last4)")
        json.field("accountType", account.kind.rawValue)
        json.field("balanceType", ["LOC_ACCOUNT", "LOAN_ACCOUNT"].contains(account.category) ? "LIABILITY" : "ASSET")
        json.object("currency") { $0.field("currencyCode", "USD") }
        json.field("nickname", account.name)
        json.field("productName", "Reference \(account.kind.rawValue.lowercased())")
        json.field("status", "OPEN")
    }

    private static func writeDetails(of account: BookAccount, _ call: DataCall, to json: inout JSONWriter) {
        writeWrapped(account, "Account", call, to: &json) { json in
            writeDescriptor(of: account, to: &json)
            func amount(_ name: String, _ cents: Int64) {
                json.field(name, rendered: Array(Cents.text(cents).utf8))
            }
            json.field("balanceAsOf", Moment.text(call.now))
            switch account.kind {
            case .checking, .savings:
                amount("availableBalance", account.current + account.pending(asOf: call.now))
                amount("currentBalance", account.current)
            case .creditCard, .lineOfCredit:
                amount("availableCredit", account.creditLine - account.current)
                amount("creditLine", account.creditLine)
                amount("currentBalance", account.current)
            case .mortgage: amount("principalBalance", account.current)
            case .brokerage:
                amount("availableCashBalance", account.current / 10)
                amount("currentValue", account.current)
            }
        }
    }

    // MARK: What hangs on an account

    private static func transactions(of account: BookAccount, _ call: DataCall) throws -> Response {
        let (start, end) = try range(call)
        let all = account.transactions(from: start, to: end, asOf: call.now)
        let (page, next) = try call.page(all, defaultLimit: 50)
        return json { json in
            json.object { json in
                call.writePage(next, total: all.count, to: &json)
                json.array("transactions") { json in
                    for transaction in page {
                        json.element()
                        writeWrapped(account, "Transaction", call, to: &json) { json in
                            write(transaction, of: account, to: &json)
                        }
                    }
                }
            }
        }
    }

    /// Both ends or none, by the day; the last day is included. None is the last seven days.
    private static func range(_ call: DataCall) throws -> (start: Int64, end: Int64) {
        let from = call.query["startTime"] ?? call.query["startDate"]
        let to = call.query["endTime"] ?? call.query["endDate"]
        switch (from, to) {
        case (nil, nil): return (call.now - defaultWindow, call.now + 1)
        case (let from?, let to?):
            guard let start = Moment.day(from), let last = Moment.day(to), start <= last else {
                throw FDXError.badRange
            }
            return (start, last + 86_400)
        default: throw FDXError.badRange
        }
    }

    private static func write(_ transaction: BookTransaction, of account: BookAccount, to json: inout JSONWriter) {
        json.field("amount", rendered: Array(Cents.text(transaction.cents).utf8))
        json.field("debitCreditMemo", transaction.isDebit ? "DEBIT" : "CREDIT")
        json.field("description", transaction.description)
        if let posted = transaction.posted { json.field("postedTimestamp", Moment.text(posted)) }
        if let reference = transaction.reference { json.field("referenceTransactionId", reference) }
        let pending = account.kind == .creditCard ? "AUTHORIZATION" : "PENDING"
        json.field("status", transaction.posted == nil ? pending : "POSTED")
        json.field("transactionId", transaction.id)
        json.field("transactionTimestamp", Moment.text(transaction.time))
    }

    private static func contact(_ account: BookAccount) -> Response {
        json { json in
            json.object { json in
                json.array("addresses") { json in
                    json.element()
                    json.object { json in
                        json.field("city", "San Francisco")
                        json.field("country", "US")
                        json.field("line1", "1234 Fake Street")
                        json.field("postalCode", "94102")
                        json.field("region", "CA")
                        json.field("type", "HOME")
                    }
                }
                json.field("emails", ["jenny.rosen@example.com"])
                json.array("holders") { json in
                    for holder in account.holders {
                        json.element()
                        json.object { json in
                            json.object("name") { json in
                                json.field("first", holder.first)
                                json.field("last", holder.last)
                            }
                            json.field("relationship", holder.relationship)
                        }
                    }
                }
                json.array("telephones") { json in
                    json.element()
                    json.object { json in
                        json.field("country", "+1")
                        json.field("number", "4155550100")
                        json.field("type", "HOME")
                    }
                }
            }
        }
    }

    private static func networks(_ account: BookAccount, _ call: DataCall) -> Response {
        json { json in
            json.object { json in
                call.writePage(nil, total: account.takesPayments ? 1 : 0, to: &json)
                json.array("paymentNetworks") { json in
                    guard account.takesPayments else { return }
                    json.element()
                    json.object { json in
                        json.field("bankId", "110000000")
                        json.field("identifier", account.number)
                        json.field(
                            "identifierType",
                            account.isTokenized ? "TOKENIZED_ACCOUNT_NUMBER" : "ACCOUNT_NUMBER"
                        )
                        json.field("transferIn", true)
                        json.field("transferOut", true)
                        json.field("type", "US_ACH")
                    }
                }
            }
        }
    }

    private static func consent(_ call: DataCall) -> Response {
        json { json in
            json.object { json in
                json.field("id", call.consent.id)
                json.field("createdTime", Moment.text(call.consent.created))
                json.field("durationType", call.consent.expires == nil ? "PERSISTENT" : "TIME_BOUND")
                if let expires = call.consent.expires { json.field("expirationTime", Moment.text(expires)) }
                json.array("resources") { json in
                    for account in call.consent.accounts {
                        json.element()
                        json.object { json in
                            json.field("resourceId", account)
                            json.field("resourceType", "ACCOUNT")
                        }
                    }
                }
                json.field("status", call.consent.status(at: call.now).rawValue)
            }
        }
    }
}

extension HTTPField.Name {
    static let interactionID = HTTPField.Name("x-fapi-interaction-id") ?? .server
}
