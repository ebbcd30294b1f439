/// Sessions: what is asked and its defaults, the shape in each version of the API, and how a session is opened, ended
/// and found by its secret.

import Connections
import Database
import Testing
import Wire

private let endive = "2026-10-28.endive"

@Suite("A session")
struct SessionTests {
    @Test("has its defaults, in the shape of the standard version", arguments: Store.allCases)
    func defaults(store: Store) async throws {
        let stage = try await Stage(store)
        let customer = try await stage.createCustomer()
        let (session, secret) = try await stage.createSession(customer)
        let json = try await stage.json(session)
        let accounts: Node = [
            "object": "list", "data": [], "has_more": false, "total_count": 0,
            "url": .text("/v1/financial_connections/accounts?session=\(session.id)"),
        ]
        let expected: Node = [
            "id": .text(session.id), "object": "financial_connections.session",
            "account_holder": ["customer": .text(customer), "type": "customer"], "accounts": accounts,
            "bank_account_token": .null, "client_secret": .text(secret), "filters": .null,
            "limits": ["accounts": .null], "livemode": false, "manual_entry": ["mode": "disabled"],
            "permissions": ["payment_method"], "prefetch": .null, "return_url": .null,
        ]
        #expect(json == expected)
        #expect(secret.hasPrefix("fcsess_client_secret_") && secret.utf8.count == 57)
        #expect(session.status == .pending && session.expires == Stage.start + Stage.lifetime)
    }

    @Test("shows what was asked", arguments: Store.allCases)
    func asked(store: Store) async throws {
        let stage = try await Stage(store)
        let customer = try await stage.createCustomer()
        let (session, _) = try await stage.createSession(
            customer,
            "permissions[]=transactions&permissions[]=balances&prefetch[]=transactions&prefetch[]=balances"
                + "&limits[accounts]=2&manual_entry[mode]=automatic&return_url=https://shop.example/back"
                + "&filters[account_subcategories][]=savings&filters[account_subcategories][]=checking"
                + "&filters[countries][]=us&filters[require_payment_method_support]=at_least_one"
        )
        let json = try await stage.json(session)
        #expect(json["permissions"] == ["balances", "payment_method", "transactions"])
        #expect(json["prefetch"] == ["balances", "transactions"])
        #expect(json["limits"] == ["accounts": 2])
        #expect(json["manual_entry"] == ["mode": "automatic"])
        #expect(json["return_url"] == "https://shop.example/back")
        let filters: Node = [
            "account_subcategories": ["checking", "savings"], "countries": ["US"], "country": "US",
            "require_payment_method_support": "at_least_one",
        ]
        #expect(json["filters"] == filters)
    }

    @Test(
        "shows its filters in the shape of the version asked",
        arguments: [
            ("2020-08-27", ["account_subcategories", "countries"]),
            ("2026-07-29.dahlia", ["account_subcategories", "countries", "require_payment_method_support"]),
            ("2026-08-26.dahlia", ["account_subcategories", "countries", "country", "require_payment_method_support"]),
            (endive, ["account_subcategories", "country", "require_payment_method_support"]),
        ]
    )
    func shapes(header: String, members: [String]) async throws {
        let stage = try await Stage(.memory)
        let (session, _) = try await stage.createSession(stage.createCustomer(), "filters[countries][]=US")
        let json = try await stage.json(session, APIVersion(header: header))
        #expect(json["filters"]?.keys == Set(members))
        #expect((json["limits"] != nil) == (header > "2026-07"))
        #expect((json["manual_entry"] != nil) == (header > "2026-07"))
        #expect((json["bank_account_token"] != nil) == (header > "2026-07"))
    }

    @Test("shows what its omitted filters mean from endive on, and null before", arguments: Store.allCases)
    func defaultFilters(store: Store) async throws {
        let stage = try await Stage(store)
        let (session, _) = try await stage.createSession(stage.createCustomer())
        let filters: Node = [
            "account_subcategories": ["checking", "credit_card", "line_of_credit", "mortgage", "savings"],
            "country": "US", "require_payment_method_support": "none",
        ]
        #expect(try await stage.json(session, APIVersion(header: endive))["filters"] == filters)
        #expect(try await stage.json(session, APIVersion(header: "2026-08-26.dahlia"))["filters"] == .null)
    }

    @Test(
        "takes the country by the name that its version has for it",
        arguments: [
            (endive, "filters[country]=US", nil), (endive, "filters[countries][]=US", "filters[countries]"),
            ("2026-08-26.dahlia", "filters[countries][]=US", nil),
            ("2026-08-26.dahlia", "filters[country]=US", "filters[country]"),
        ] as [(String, String, String?)]
    )
    func country(header: String, filter: String, unknown: String?) async throws {
        let stage = try await Stage(.memory)
        let (customer, version) = (try await stage.createCustomer(), try APIVersion(header: header))
        if let unknown {
            await #expect(throws: StripeError.unknown(unknown)) {
                try await stage.createSession(customer, filter, version)
            }
        } else {
            let (session, _) = try await stage.createSession(customer, filter, version)
            #expect(session.configuration.country == "US")
        }
    }

    @Test("of the merchant itself has the account as its holder", arguments: Store.allCases)
    func merchant(store: Store) async throws {
        let stage = try await Stage(store)
        let (session, _) = try await stage.createSession(
            form: "account_holder[type]=account&account_holder[account]=\(stage.merchant.id)&permissions[]=balances"
        )
        let json = try await stage.json(session, expanding: "expand[]=account_holder.account")
        #expect(json["account_holder"]?["account"]?["id"] == .text(stage.merchant.id))
        #expect(json["account_holder"]?["account"]?["object"] == "account")
    }

    @Test("shows its customer as a whole where asked, and the stub of a deleted one", arguments: Store.allCases)
    func expanded(store: Store) async throws {
        let stage = try await Stage(store)
        let customer = try await stage.createCustomer("name=Ada")
        let (session, _) = try await stage.createSession(customer)
        let path = "expand[]=account_holder.customer"
        #expect(try await stage.json(session, expanding: path)["account_holder"]?["customer"]?["name"] == "Ada")
        try await stage.deleteCustomer(customer)
        #expect(try await stage.json(session, expanding: path)["account_holder"]?["customer"]?["deleted"] == true)
    }

    private static let holder = "account_holder[type]=customer&account_holder[customer]=cus_1"

    @Test(
        "is refused for the exact parameter that is wrong",
        arguments: [
            ("permissions[]=balances", StripeError.missing("account_holder")),
            ("account_holder=x&permissions[]=balances", .badObject("account_holder")),
            ("account_holder[customer]=cus_1", .missing("account_holder[type]")),
            ("account_holder[type]=person", .badEnum("account_holder[type]", allowed: ["account", "customer"])),
            ("account_holder[type]=customer", .missing("account_holder[customer]")),
            ("account_holder[type]=account&account_holder[customer]=cus_1", .unknown("account_holder[customer]")),
            (holder, .missing("permissions")), ("\(holder)&permissions=", .missing("permissions")),
            ("\(holder)&permissions=balances", .badArray("permissions")),
            (
                "\(holder)&permissions[]=balances&permissions[]=balance",
                .badEnum("permissions[1]", allowed: ["balances", "ownership", "payment_method", "transactions"])
            ),
            ("\(holder)&permissions[]=balances&limits[accounts]=0", .tooSmall("limits[accounts]", minimum: 1)),
            ("\(holder)&permissions[]=balances&manual_entry[mode]=", .empty("manual_entry[mode]")),
            (
                "\(holder)&permissions[]=balances&filters[account_subcategories][]=other",
                .badEnum(
                    "filters[account_subcategories][0]",
                    allowed: ["checking", "credit_card", "line_of_credit", "mortgage", "savings"]
                )
            ),
            ("\(holder)&permissions[]=balances&return_url=javascript:x()", .badURL("return_url")),
            ("\(holder)&permissions[]=balances&metadata[a]=1", .unknown("metadata")),
        ]
    )
    func refused(form: String, error: StripeError) throws {
        #expect(throws: error) {
            let parameters = try Stage.parameters(form, Session.names(.standard))
            _ = try Session.Request(parameters, .standard)
        }
    }

    @Test("has no limit where the limit is empty, and prefetches only what it is permitted")
    func limitsAndPrefetch() throws {
        let empty = try Stage.parameters(
            "\(Self.holder)&permissions[]=balances&limits[accounts]=",
            Session.names(.standard)
        )
        #expect(throws: Never.self) { try Session.Request(empty, .standard) }
        let prefetch = try Stage.parameters(
            "\(Self.holder)&permissions[]=balances&prefetch[]=balances&prefetch[]=ownership",
            Session.names(.standard)
        )
        let error = #expect(throws: StripeError.self) { try Session.Request(prefetch, .standard) }
        #expect(error?.param == "prefetch[1]" && error?.status == 400)
    }

    @Test("for a customer that is not there is refused", arguments: Store.allCases)
    func unknownHolder(store: Store) async throws {
        let stage = try await Stage(store)
        await #expect(
            throws: StripeError(
                status: 400,
                code: "resource_missing",
                param: "account_holder[customer]",
                message: "No such customer: 'cus_x'"
            )
        ) { try await stage.createSession("cus_x") }
    }
}

@Suite("The life of a session")
struct SessionLifeTests {
    private func requireOpen(_ session: Session, on stage: Stage) async throws {
        let found = try await stage.database.read {
            try Session.find(session.id, at: .path(param: "session"), in: session.scope, $0)
        }
        try found.requireOpen(stage.world)
    }

    @Test("ends when its time is over, to the second", arguments: Store.allCases)
    func expiry(store: Store) async throws {
        let stage = try await Stage(store)
        let (session, _) = try await stage.createSession(stage.createCustomer())
        stage.advance(seconds: Stage.lifetime - 1)
        try await requireOpen(session, on: stage)
        stage.advance(seconds: 1)
        let error = await #expect(throws: StripeError.self) { try await requireOpen(session, on: stage) }
        #expect(error?.code == "session_expired" && error?.status == 400)
    }

    @Test("goes on where it was cancelled, and ends where it succeeded", arguments: Store.allCases)
    func reopening(store: Store) async throws {
        let stage = try await Stage(store)
        let (session, secret) = try await stage.createSession(stage.createCustomer())
        let cancelled = try await stage.finish(session, reason: "custom_manual_entry")
        #expect(cancelled.status == .cancelled && cancelled.cancelReason == "custom_manual_entry")
        #expect(try await stage.finish(session).cancelReason == "other")
        try await requireOpen(session, on: stage)
        let reopened = try await stage.database.read { [scope = stage.scope] in
            try Session.find(clientSecret: secret, in: scope, $0)
        }
        try await stage.link([Stage.details("1")], to: reopened)
        let succeeded = try await stage.finish(session)
        #expect(succeeded.status == .succeeded && succeeded.cancelReason == nil)
        #expect(try await stage.finish(session, reason: "other").status == .succeeded)
        let error = await #expect(throws: StripeError.self) { try await requireOpen(session, on: stage) }
        #expect(error?.code == "session_expired")
    }

    @Test("remembers the first consent", arguments: Store.allCases)
    func consent(store: Store) async throws {
        let stage = try await Stage(store)
        let (session, _) = try await stage.createSession(stage.createCustomer())
        for _ in 0..<2 {
            stage.advance(seconds: 10)
            try await stage.database.write { [world = stage.world] db in
                var found = try Session.find(session.id, at: .path(param: "session"), in: session.scope, db)
                try found.giveConsent(db, world)
            }
        }
        let found = try await stage.database.read {
            try Session.find(session.id, at: .path(param: "session"), in: session.scope, $0)
        }
        #expect(found.consentAt == Stage.start + 10)
    }

    @Test("is found by its secret in its own scope, and is the same nothing otherwise", arguments: Store.allCases)
    func secret(store: Store) async throws {
        let stage = try await Stage(store)
        let (session, secret) = try await stage.createSession(stage.createCustomer())
        let scope = stage.scope
        #expect(
            try await stage.database.read { try Session.find(clientSecret: secret, in: scope, $0).id } == session.id
        )
        let missing = StripeError(
            status: 404,
            code: "resource_missing",
            param: "client_secret",
            message: "No such financial_connections.session for the client secret provided."
        )
        let wrong = [
            (secret, Scope(merchant: scope.merchant, livemode: true)),
            (secret, Scope(merchant: "acct_other", livemode: false)), (secret + "x", scope), ("", scope),
            (session.id, scope), (String(secret.dropLast()), scope),
            (String(secret.dropLast(27)) + String(repeating: "A", count: 27), scope),
        ]
        for (text, scope) in wrong {
            await #expect(throws: missing) {
                try await stage.database.read { _ = try Session.find(clientSecret: text, in: scope, $0) }
            }
        }
    }

    @Test("without a bank has a token for an account typed by hand, and succeeds with it", arguments: Store.allCases)
    func token(store: Store) async throws {
        let stage = try await Stage(store)
        let (session, _) = try await stage.createSession(stage.createCustomer(), "manual_entry[mode]=automatic")
        let form = try Form.decode(Array("b[routing_number]=110000000&b[account_number]=000123456789".utf8))
        let group = try #require(try Parameters(lenient: form).group("b"))
        let request = try BankAccountToken.Request(group)
        try await stage.database.write { [world = stage.world, ring = stage.ring] db in
            _ = try BankAccountToken.attach(request, to: session, db, world, ring)
        }
        #expect(try await stage.finish(session).status == .succeeded)
        let token = try #require(try await stage.json(session)["bank_account_token"])
        #expect(token["object"] == "token" && token["bank_account"]?["last4"] == "6789")
        #expect(token["bank_account"]?["routing_number"] == "110000000")
    }

    @Test(
        "refuses numbers that are no bank account's",
        arguments: [
            ("110000001", "000123456789", "routing_number_invalid"),
            ("000000000", "000123456789", "routing_number_invalid"),
            ("11000000", "000123456789", "routing_number_invalid"), ("110000000", "123", "account_number_invalid"),
            ("110000000", "123456789012345678", "account_number_invalid"),
            ("110000000", "12a4", "account_number_invalid"),
        ]
    )
    func badNumbers(routing: String, account: String, code: String) throws {
        let form = try Form.decode(Array("b[routing_number]=\(routing)&b[account_number]=\(account)".utf8))
        let group = try #require(try Parameters(lenient: form).group("b"))
        let error = #expect(throws: StripeError.self) { try BankAccountToken.Request(group) }
        #expect(error?.code == code)
    }
}
