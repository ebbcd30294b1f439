/// Customers: what is set, cleared and merged, what is left of a deleted one, and the order and pages of their list.

import Testing
import Wire

private func noSuchCustomer(_ id: String) -> StripeError {
    StripeError(status: 404, code: "resource_missing", param: "id", message: "No such customer: '\(id)'")
}

@Suite("A customer")
struct CustomerTests {
    @Test("is made of what was asked, the rest at its default", arguments: Store.allCases)
    func create(store: Store) async throws {
        let stage = try await Stage(store)
        let id = try await stage.createCustomer(
            "name=Ada&email=ada@example.com&phone=1&address[city]=Ulm&address[postal_code]=1&preferred_locales[]=de"
                + "&shipping[name]=A&shipping[address][line1]=B&tax_exempt=reverse&metadata[k]=v"
        )
        let customer = try await stage.customer(id)
        #expect(customer["id"] == .text(id))
        #expect(customer["object"] == "customer")
        #expect(customer["created"] == .int(Stage.start))
        #expect(customer["livemode"] == false)
        #expect(customer["name"] == "Ada")
        #expect(customer["description"] == .null)
        #expect(customer["metadata"] == ["k": "v"])
        #expect(customer["preferred_locales"] == ["de"])
        #expect(customer["tax_exempt"] == "reverse")
        let city: Node = [
            "city": "Ulm", "country": .null, "line1": .null, "line2": .null, "postal_code": "1", "state": .null,
        ]
        #expect(customer["address"] == city)
        #expect(customer["shipping"]?["address"]?["line1"] == "B")
        let plain = try await stage.customer(stage.createCustomer())
        #expect(plain["address"] == .null && plain["email"] == .null && plain["tax_exempt"] == "none")
        #expect(plain["metadata"] == [:] && plain["preferred_locales"] == [])
        #expect(plain.keys?.count == 24)
    }

    @Test(
        "is updated where something is sent, cleared where it is empty, and left otherwise",
        arguments: Store.allCases
    )
    func update(store: Store) async throws {
        let stage = try await Stage(store)
        let id = try await stage.createCustomer("name=Ada&email=ada@example.com&description=x&tax_exempt=exempt")
        let updated = try await stage.updateCustomer(id, "name=Eva&email=&tax_exempt=")
        #expect(updated["name"] == "Eva")
        #expect(updated["email"] == .null)
        #expect(updated["description"] == "x")
        #expect(updated["tax_exempt"] == "none")
        #expect(try await stage.customer(id) == updated)
        let event = try #require(try await stage.events("type=customer.updated")["data"]?.elements?.first)
        #expect(
            event["data"]?["previous_attributes"]
                == ["name": "Ada", "email": "ada@example.com", "tax_exempt": "exempt"]
        )
        #expect(event["data"]?["object"] == updated)
    }

    @Test("that is updated to what it was makes no event", arguments: Store.allCases)
    func sameAgain(store: Store) async throws {
        let stage = try await Stage(store)
        let id = try await stage.createCustomer("name=Ada")
        try await stage.updateCustomer(id, "name=Ada")
        #expect(try await stage.eventTypes() == ["customer.created"])
    }

    @Test("has its metadata merged, single keys deleted, and all of it cleared", arguments: Store.allCases)
    func metadata(store: Store) async throws {
        let stage = try await Stage(store)
        let id = try await stage.createCustomer("metadata[a]=1&metadata[b]=2&metadata[0]=zero")
        let merged = try await stage.updateCustomer(id, "metadata[b]=3&metadata[c]=4&metadata[a]=")
        #expect(merged["metadata"] == ["0": "zero", "b": "3", "c": "4"])
        let event = try #require(try await stage.events("type=customer.updated")["data"]?.elements?.first)
        let before: Node = ["a": "1", "b": "2", "c": .null]
        #expect(event["data"]?["previous_attributes"] == ["metadata": before])
        #expect(try await stage.updateCustomer(id, "metadata=")["metadata"] == [:])
    }

    @Test("has 50 keys of metadata of 40 letters with values of 500, and no more", arguments: Store.allCases)
    func metadataLimits(store: Store) async throws {
        let stage = try await Stage(store)
        let (key, value) = (String(repeating: "k", count: 41), String(repeating: "v", count: 501))
        await #expect(
            throws: StripeError(
                param: "metadata[\(key)]",
                message: "Metadata keys can have up to 40 characters, but you passed in a key that is 41 characters. "
                    + "Invalid key: \(key)"
            )
        ) { try await stage.createCustomer("metadata[\(key)]=1") }
        await #expect(
            throws: StripeError(
                param: "metadata[a]",
                message: "Metadata values can have up to 500 characters, but you passed in a value that is 501 "
                    + "characters. Invalid value: \(value)"
            )
        ) { try await stage.createCustomer("metadata[a]=\(value)") }
        let fifty = (0..<50).map { "metadata[\($0)]=1" }.joined(separator: "&")
        let id = try await stage.createCustomer("\(fifty)")
        await #expect(
            throws: StripeError(param: "metadata", message: "Metadata can have up to 50 keys, but you've set 51.")
        ) { try await stage.updateCustomer(id, "metadata[x]=1") }
        try await stage.updateCustomer(id, "metadata[x]=1&metadata[0]=")
        try await stage.updateCustomer(id, "metadata[\(key.dropLast())]=\(value.dropLast())&metadata[x]=")
    }

    @Test("that is deleted is a stub, cannot be changed, and is in no list", arguments: Store.allCases)
    func delete(store: Store) async throws {
        let stage = try await Stage(store)
        let id = try await stage.createCustomer("email=canary@example.com")
        let stub: Node = ["id": .text(id), "object": "customer", "deleted": true]
        #expect(try await stage.deleteCustomer(id) == stub)
        #expect(try await stage.customer(id) == stub)
        await #expect(throws: noSuchCustomer(id)) { try await stage.updateCustomer(id, "name=x") }
        await #expect(throws: noSuchCustomer(id)) { try await stage.deleteCustomer(id) }
        #expect(try await stage.customers().ids == [])
        #expect(try await stage.customers("email=canary@example.com").ids == [])
        #expect(try await stage.eventTypes() == ["customer.created", "customer.deleted"])
        await #expect(throws: StripeError.self) { try await stage.createSession(id) }
    }

    @Test(
        "is refused with a bad address of e-mail",
        arguments: ["x", "@", "a@", "@b", "a b@c", "a@b@c", "a@b.", "a,b@c"]
    )
    func email(address: String) async throws {
        let stage = try await Stage(.memory)
        await #expect(
            throws: StripeError(code: "email_invalid", param: "email", message: "Invalid email address: \(address)")
        ) { try await stage.createCustomer("email=\(address)") }
    }

    @Test("has locales without commas", arguments: Store.allCases)
    func locales(store: Store) async throws {
        let stage = try await Stage(store)
        await #expect(throws: StripeError.badString("preferred_locales[1]")) {
            try await stage.createCustomer("preferred_locales[]=fr&preferred_locales[]=de,en")
        }
        let id = try await stage.createCustomer("preferred_locales[]=fr&preferred_locales[]=de")
        #expect(try await stage.customer(id)["preferred_locales"] == ["fr", "de"])
        #expect(try await stage.updateCustomer(id, "preferred_locales=")["preferred_locales"] == [])
    }
}

@Suite("Lists of customers")
struct CustomerListTests {
    @Test("are newest first, those of one second too, and page both ways", arguments: Store.allCases)
    func paging(store: Store) async throws {
        let stage = try await Stage(store)
        var made: [String] = []
        for index in 0..<25 {
            if index % 5 == 0 { stage.advance(seconds: 1) }
            made.append(try await stage.createCustomer())
        }
        let newestFirst = Array(made.reversed())
        let first = try await stage.customers()
        #expect(first.ids == Array(newestFirst[..<10]))
        #expect(first["has_more"] == true && first["url"] == "/v1/customers" && first["object"] == "list")
        #expect(try await stage.customers("limit=100").ids == newestFirst)
        #expect(try await stage.customers("limit=25")["has_more"] == false)
        #expect(try await stage.customers("limit=24")["has_more"] == true)

        var forward: [String] = []
        var cursor = ""
        while true {
            let page = try await stage.customers("limit=4\(cursor)")
            let ids = try #require(page.ids)
            forward += ids
            guard page["has_more"] == true, let last = ids.last else { break }
            #expect(ids.count == 4)
            cursor = "&starting_after=\(last)"
        }
        #expect(forward == newestFirst)

        let newer = try await stage.customers("limit=4&ending_before=\(newestFirst[10])")
        #expect(newer.ids == Array(newestFirst[6..<10]))
        #expect(newer["has_more"] == true)
        let newest = try await stage.customers("limit=4&ending_before=\(newestFirst[3])")
        #expect(newest.ids == Array(newestFirst[..<3]))
        #expect(newest["has_more"] == false)
    }

    @Test("keep their place where the customer of the cursor was deleted", arguments: Store.allCases)
    func deletedCursor(store: Store) async throws {
        let stage = try await Stage(store)
        let ids = [
            try await stage.createCustomer(), try await stage.createCustomer(), try await stage.createCustomer(),
        ]
        try await stage.deleteCustomer(ids[1])
        #expect(try await stage.customers("starting_after=\(ids[1])").ids == [ids[0]])
        #expect(try await stage.customers("ending_before=\(ids[1])").ids == [ids[2]])
    }

    @Test("are filtered by e-mail and by time", arguments: Store.allCases)
    func filters(store: Store) async throws {
        let stage = try await Stage(store)
        let old = try await stage.createCustomer("email=a@example.com")
        stage.advance(seconds: 10)
        let new = try await stage.createCustomer("email=b@example.com")
        #expect(try await stage.customers("email=a@example.com").ids == [old])
        #expect(try await stage.customers("email=c@example.com").ids == [])
        #expect(try await stage.customers("created=\(Stage.start)").ids == [old])
        #expect(try await stage.customers("created[gt]=\(Stage.start)").ids == [new])
        #expect(try await stage.customers("created[gte]=\(Stage.start)").ids == [new, old])
        #expect(try await stage.customers("created[lt]=\(Stage.start + 10)").ids == [old])
    }

    @Test("refuse both cursors, unknown ones, and limits out of range", arguments: Store.allCases)
    func refused(store: Store) async throws {
        let stage = try await Stage(store)
        let id = try await stage.createCustomer()
        let both = "Received both starting_after and ending_before parameters. Please pass in only one."
        await #expect(throws: StripeError(message: both)) {
            try await stage.customers("starting_after=\(id)&ending_before=\(id)")
        }
        for name in ["starting_after", "ending_before"] {
            await #expect(
                throws: StripeError(
                    status: 400,
                    code: "resource_missing",
                    param: name,
                    message: "No such customer: 'cus_x'"
                )
            ) { try await stage.customers("\(name)=cus_x") }
        }
        await #expect(throws: StripeError.tooSmall("limit", minimum: 1)) { try await stage.customers("limit=0") }
        await #expect(throws: StripeError.tooLarge("limit", maximum: 100)) { try await stage.customers("limit=101") }
    }
}
