/// Every route under `/v1/`, in one table.

internal import Connections
internal import HTTPTypes

enum API {
    static let routes: [Route] =
        customers + sessions + accounts + accountData + events + webhookEndpoints + platform + testHelpers + testClocks
        + flow

    private static let customers: [Route] = [
        Route(.post, "/v1/customers", .server(.init(.customer, write: true)), Customers.create),
        Route(.get, "/v1/customers", .server(.init(.customer, write: false)), Customers.list),
        Route(.get, "/v1/customers/:id", .server(.init(.customer, write: false)), Customers.retrieve),
        Route(.post, "/v1/customers/:id", .server(.init(.customer, write: true)), Customers.update),
        Route(.delete, "/v1/customers/:id", .server(.init(.customer, write: true)), Customers.delete),
    ]

    private static let sessions: [Route] = [
        Route(
            .post,
            "/v1/financial_connections/sessions",
            .server(.init(.financialConnectionsSession, write: true)),
            Sessions.create
        ),
        Route(
            .get,
            "/v1/financial_connections/sessions/:id",
            .server(.init(.financialConnectionsSession, write: false)),
            Sessions.retrieve
        ),
    ]

    private static let accounts: [Route] = [
        Route(
            .get,
            "/v1/financial_connections/accounts",
            .server(.init(.financialConnectionsAccount, write: false)),
            Accounts.list
        ),
        Route(
            .get,
            "/v1/financial_connections/accounts/:id",
            .server(.init(.financialConnectionsAccount, write: false)),
            Accounts.retrieve
        ),
        Route(
            .post,
            "/v1/financial_connections/accounts/:id/disconnect",
            .server(.init(.financialConnectionsAccount, write: true)),
            Accounts.disconnect
        ),
    ]

    private static let accountData: [Route] = [
        Route(
            .post,
            "/v1/financial_connections/accounts/:id/refresh",
            .server(.init(.financialConnectionsAccount, write: true)),
            Accounts.refresh
        ),
        Route(
            .post,
            "/v1/financial_connections/accounts/:id/subscribe",
            .server(.init(.financialConnectionsAccount, write: true)),
            Accounts.subscribe
        ),
        Route(
            .post,
            "/v1/financial_connections/accounts/:id/unsubscribe",
            .server(.init(.financialConnectionsAccount, write: true)),
            Accounts.unsubscribe
        ),
        Route(
            .get,
            "/v1/financial_connections/accounts/:id/owners",
            .server(.init(.financialConnectionsAccount, write: false)),
            Accounts.owners
        ),
        Route(
            .get,
            "/v1/financial_connections/transactions",
            .server(.init(.financialConnectionsTransaction, write: false)),
            Transactions.list
        ),
        Route(
            .get,
            "/v1/financial_connections/transactions/:id",
            .server(.init(.financialConnectionsTransaction, write: false)),
            Transactions.retrieve
        ),
    ]

    private static let events: [Route] = [
        Route(.get, "/v1/events", .server(.init(.event, write: false)), Events.list),
        Route(.get, "/v1/events/:id", .server(.init(.event, write: false)), Events.retrieve),
        // What the official command line sends for `events resend`.
        Route(.post, "/v1/events/:id/retry", .server(.init(.event, write: true)), Deliveries.resend),
        Route(.get, "/v1/linkspan/events/:id/deliveries", .server(.init(.event, write: false)), Deliveries.history),
        Route(.post, "/v1/stripecli/sessions", .server(.init(.event, write: false)), Listening.open),
    ]

    private static let webhookEndpoints: [Route] = [
        Route(.post, "/v1/webhook_endpoints", .server(.init(.webhookEndpoint, write: true)), WebhookEndpoints.create),
        Route(.get, "/v1/webhook_endpoints", .server(.init(.webhookEndpoint, write: false)), WebhookEndpoints.list),
        Route(
            .get,
            "/v1/webhook_endpoints/:id",
            .server(.init(.webhookEndpoint, write: false)),
            WebhookEndpoints.retrieve
        ),
        Route(
            .post,
            "/v1/webhook_endpoints/:id",
            .server(.init(.webhookEndpoint, write: true)),
            WebhookEndpoints.update
        ),
        Route(
            .delete,
            "/v1/webhook_endpoints/:id",
            .server(.init(.webhookEndpoint, write: true)),
            WebhookEndpoints.delete
        ),
        Route(
            .get,
            "/v1/linkspan/webhook_endpoints/:id/health",
            .server(.init(.webhookEndpoint, write: false)),
            WebhookEndpoints.health
        ),
        Route(
            .post,
            "/v1/linkspan/webhook_endpoints/:id/roll_secret",
            .server(.init(.webhookEndpoint, write: true)),
            WebhookEndpoints.rollSecret
        ),
    ]

    private static let platform: [Route] = [
        Route(.get, "/v1/account", .server(.init(.account, write: false)), Platform.retrieve),
        Route(.get, "/v1/accounts/:id", .server(.init(.account, write: false)), Platform.retrieve),
    ]

    private static let testHelpers: [Route] = [
        Route(
            .post,
            "/v1/test_helpers/financial_connections/sessions/:id/complete",
            .testHelper,
            TestHelpers.complete
        ),
        atInstitution("balance", TestInstitution.setBalance),
        atInstitution("owners", TestInstitution.setOwners),
        atInstitution("deactivate", TestInstitution.deactivate),
        atInstitution("reactivate", TestInstitution.reactivate),
        atInstitution("fail_next_refresh", TestInstitution.failNextRefresh),
        atInstitution("transactions", TestInstitution.addTransaction),
        atInstitution("transactions/:inner/post", TestInstitution.postTransaction),
        atInstitution("transactions/:inner/void", TestInstitution.voidTransaction),
    ]

    private static func atInstitution(
        _ action: String,
        _ handle: @escaping @Sendable (Call) async throws -> Answer
    ) -> Route {
        Route(.post, "/v1/test_helpers/financial_connections/accounts/:id/\(action)", .testHelper, handle)
    }

    private static let testClocks: [Route] = [
        Route(.post, "/v1/test_helpers/test_clocks", .testHelper, TestClocks.create),
        Route(.get, "/v1/test_helpers/test_clocks", .testHelper, TestClocks.list),
        Route(.get, "/v1/test_helpers/test_clocks/:id", .testHelper, TestClocks.retrieve),
        Route(.delete, "/v1/test_helpers/test_clocks/:id", .testHelper, TestClocks.delete),
        Route(.post, "/v1/test_helpers/test_clocks/:id/advance", .testHelper, TestClocks.advance),
    ]

    /// The routes of the flow's clients: Stripe's mobile SDKs and our own page.
    private static let flow: [Route] = [
        Route(.post, "/v1/financial_connections/sessions/synchronize", .client, Flow.synchronize),
        Route(.post, "/v1/link_account_sessions/consent_acquired", .client, Flow.consentAcquired),
        Route(.post, "/v1/link_account_sessions/link_more_accounts", .client, Flow.linkMoreAccounts),
        Route(.post, "/v1/link_account_sessions/attach_payment_account", .client, Flow.attachPaymentAccount),
        Route(.post, "/v1/link_account_sessions/complete", .client, Flow.complete),
        Route(.get, "/v1/link_account_sessions/session_receipt", .client, Flow.receipt),
        Route(.get, "/v1/link_account_sessions/list_accounts", .client, Flow.listAccounts),
        Route(.get, "/v1/connections/featured_institutions", .client, Flow.featuredInstitutions),
        Route(.get, "/v1/connections/institutions", .client, Flow.institutions),
        Route(.post, "/v1/connections/auth_sessions", .client, SignIns.begin),
        Route(.post, "/v1/connections/auth_sessions/respond", .client, SignIns.respond),
        Route(.post, Limits.uploadPath, .client, content: .file, Uploads.receive),
        Route(.post, "/v1/connections/auth_sessions/retrieve", .client, SignIns.retrieve),
        Route(.post, "/v1/connections/auth_sessions/cancel", .client, SignIns.cancel),
        Route(.post, "/v1/connections/auth_sessions/oauth_results", .client, SignIns.oauthResults),
        Route(.post, "/v1/connections/auth_sessions/authorized", .client, SignIns.authorized),
        Route(.post, "/v1/connections/auth_sessions/accounts", .client, SignIns.accounts),
        Route(.post, "/v1/connections/auth_sessions/selected_accounts", .client, SignIns.selectAccounts),
        Route(.post, "/v1/connections/auth_sessions/events", .client, SignIns.events),
    ]
}
