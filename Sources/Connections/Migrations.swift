/// The schema, as the append-only list of its steps: a step that was released never changes. The only place with DDL.
///
/// Every row begins with the merchant and the mode, and so does every key but those by which a key is found and rows
/// are forgotten by their age: they are the key by which rows can be spread over machines. Times are seconds since the
/// Unix epoch, booleans 0 or 1, lists texts with commas, and what is JSON here is JSON on the wire. Of more than two
/// values a column is one by `OR`: for an `IN` SQLite would build a table of them whenever a row is checked.

public import Database

public enum Migrations {
    public static let all: [Migration] = [
        first, moving, data, webhooks, institutionsPages, revocations, uploads, covering, withEvents, failures,
        answeredWith, formerNames, recipes,
    ]

    /// What the answer under a key is rendered from again; its `body` is empty then.
    private static let recipes = Migration(["ALTER TABLE idempotency ADD COLUMN recipe TEXT"])

    /// What institutions called transactions before, and the transaction that stands for each name now; none where it
    /// is empty.
    private static let formerNames = Migration([
        """
        CREATE TABLE former_transaction_name (
            merchant {key} NOT NULL,
            livemode {int} NOT NULL,
            account {key} NOT NULL,
            institution_id {key} NOT NULL,
            transaction_id {key} NOT NULL,
            through {int} NOT NULL,
            corrected_at {int} NOT NULL,
            PRIMARY KEY (merchant, livemode, account, institution_id)
        ) {clustered}
        """,
        // By what the accounts were linked that a sign-in opened.
        "ALTER TABLE auth_session ADD COLUMN authorization_id {key}",
    ])

    /// Which file a sign-in was answered with: files are found by it.
    private static let answeredWith = Migration([
        "ALTER TABLE auth_session ADD COLUMN upload {key}",
        "DROP INDEX upload_by_sign_in",
    ])

    /// Consents that institutions are yet to be told are over.
    private static let revocations = Migration([
        """
        CREATE TABLE revocation (
            merchant {key} NOT NULL,
            livemode {int} NOT NULL,
            id {key} NOT NULL,
            holder {key} NOT NULL,
            institution TEXT NOT NULL,
            credential {bytes} NOT NULL,
            run_at {int} NOT NULL,
            attempts {int} NOT NULL,
            PRIMARY KEY (merchant, livemode, id)
        ) {clustered}
        """,
        "CREATE INDEX revocation_by_time ON revocation (run_at)",
    ])

    /// Sign-ins on an institution's own pages, which are found by their state alone, and the books of the reference
    /// bank, whose rows are no merchant's.
    private static let institutionsPages = Migration([
        "ALTER TABLE auth_session ADD COLUMN address {bytes}",
        "ALTER TABLE auth_session ADD COLUMN state {bytes}",
        "ALTER TABLE auth_session ADD COLUMN deadline {int}",
        "ALTER TABLE auth_session ADD COLUMN failure TEXT",
        "ALTER TABLE auth_session ADD COLUMN return_to TEXT",
        "CREATE UNIQUE INDEX auth_session_by_state ON auth_session (state) WHERE state IS NOT NULL",
        """
        CREATE TABLE bank_consent (
            id {key} PRIMARY KEY,
            client {key} NOT NULL,
            user_name {key} NOT NULL,
            accounts TEXT NOT NULL,
            created {int} NOT NULL,
            expires {int},
            status TEXT NOT NULL CHECK (status = 'ACTIVE' OR status = 'EXPIRED' OR status = 'REVOKED'),
            generation {int} NOT NULL
        ) {strict}
        """,
        "CREATE INDEX bank_consent_by_user ON bank_consent (user_name, created, id)",
        """
        CREATE TABLE bank_user (
            user_name {key} PRIMARY KEY,
            epoch {int} NOT NULL,
            throttled {int} NOT NULL,
            unavailable {int} NOT NULL
        ) {strict}
        """,
    ])

    /// Files that people give at a sign-in, and the secret by which accounts of theirs are marked.
    private static let uploads = Migration([
        "CREATE TABLE mark_key (id {int} PRIMARY KEY, sealed {bytes} NOT NULL) {strict}",
        """
        CREATE TABLE upload (
            merchant {key} NOT NULL,
            livemode {int} NOT NULL,
            id {key} NOT NULL,
            session {key} NOT NULL,
            auth_session {key} NOT NULL,
            authorization_id {key},
            size {int} NOT NULL,
            status TEXT NOT NULL CHECK (status IN ('receiving', 'complete')),
            expires {int},
            PRIMARY KEY (merchant, livemode, id)
        ) {clustered}
        """,
        "CREATE INDEX upload_by_sign_in ON upload (merchant, livemode, auth_session, id)",
        "CREATE INDEX upload_by_session ON upload (merchant, livemode, session)",
        """
        CREATE INDEX upload_by_authorization ON upload (merchant, livemode, authorization_id)
            WHERE authorization_id IS NOT NULL
        """,
        "CREATE INDEX upload_for_pruning ON upload (expires) WHERE expires IS NOT NULL",
        """
        CREATE TABLE upload_piece (
            merchant {key} NOT NULL,
            livemode {int} NOT NULL,
            id {key} NOT NULL,
            upload {key} NOT NULL,
            sealed {bytes} NOT NULL,
            PRIMARY KEY (merchant, livemode, id)
        ) {strict}
        """,
        "CREATE INDEX upload_piece_by_upload ON upload_piece (merchant, livemode, upload)",
    ])

    /// Indexes that hold all that is asked of them. SQLite does not know how many rows there are of a key, and where it
    /// has to look a row up behind an index it would rather walk over all accounts of a merchant, or all transactions.
    private static let covering = Migration([
        "DROP INDEX account_by_authorization",
        """
        CREATE INDEX account_by_authorization
            ON account (merchant, livemode, authorization_id, status, created, id, expected_deactivation)
        """,
        """
        CREATE INDEX account_by_clock ON account (merchant, livemode, test_clock, created, id)
            WHERE test_clock IS NOT NULL
        """,
        "DROP INDEX bank_transaction_pending",
        """
        CREATE INDEX bank_transaction_pending
            ON bank_transaction (merchant, livemode, account, status, transacted_at, seen, institution_id)
            WHERE status = 'pending'
        """,
        "DROP INDEX delivery_due",
        """
        CREATE INDEX delivery_due ON delivery (merchant, livemode, endpoint, status, due_milliseconds)
            WHERE status = 'pending'
        """,
    ])

    /// Deliveries are forgotten with their events, so that nothing need find the old ones among them.
    private static let withEvents = Migration([
        "DROP INDEX delivery_for_pruning", "DROP INDEX delivery_attempt_for_pruning",
    ])

    /// What failed is found without what succeeded; and what outlived its event is forgotten.
    private static let failures = Migration([
        """
        CREATE INDEX delivery_failed ON delivery (merchant, livemode, endpoint, status) WHERE status = 'failed'
        """,
        """
        DELETE FROM delivery WHERE NOT EXISTS (
            SELECT 1 FROM event WHERE event.merchant = delivery.merchant AND event.livemode = delivery.livemode
            AND event.id = delivery.event)
        """,
        """
        DELETE FROM delivery_attempt WHERE NOT EXISTS (
            SELECT 1 FROM event WHERE event.merchant = delivery_attempt.merchant
            AND event.livemode = delivery_attempt.livemode AND event.id = delivery_attempt.event)
        """,
    ])

    private static let first = Migration([
        """
        CREATE TABLE merchant (
            id {key} PRIMARY KEY,
            created {int} NOT NULL,
            name TEXT NOT NULL,
            country TEXT NOT NULL,
            platform {int} NOT NULL UNIQUE
        ) {strict}
        """,
        "CREATE TABLE ring_check (id {int} PRIMARY KEY, sealed {bytes} NOT NULL) {strict}",
        "CREATE TABLE probe (id {int} PRIMARY KEY, at {int} NOT NULL) {strict}",
        """
        CREATE TABLE api_key (
            digest {bytes} PRIMARY KEY,
            id {key} NOT NULL UNIQUE,
            merchant {key} NOT NULL,
            livemode {int} NOT NULL,
            created {int} NOT NULL,
            kind TEXT NOT NULL CHECK (kind = 'publishable' OR kind = 'secret' OR kind = 'restricted'),
            name TEXT NOT NULL,
            masked TEXT NOT NULL,
            permissions TEXT NOT NULL,
            expires {int},
            revoked {int}
        ) {strict}
        """,
        """
        CREATE TABLE idempotency (
            merchant {key} NOT NULL,
            livemode {int} NOT NULL,
            key {key} NOT NULL,
            created {int} NOT NULL,
            fingerprint {bytes} NOT NULL,
            request TEXT NOT NULL,
            status {int} NOT NULL,
            body {bytes} NOT NULL,
            PRIMARY KEY (merchant, livemode, key)
        ) {strict}
        """,
        "CREATE INDEX idempotency_by_age ON idempotency (created)",
        """
        CREATE TABLE customer (
            merchant {key} NOT NULL,
            livemode {int} NOT NULL,
            id {key} NOT NULL,
            created {int} NOT NULL,
            deleted {int} NOT NULL,
            email TEXT,
            name TEXT,
            phone TEXT,
            description TEXT,
            business_name TEXT,
            individual_name TEXT,
            tax_exempt TEXT NOT NULL,
            preferred_locales TEXT NOT NULL,
            address TEXT,
            shipping TEXT,
            metadata TEXT NOT NULL,
            invoice_prefix TEXT NOT NULL,
            PRIMARY KEY (merchant, livemode, id)
        ) {clustered}
        """,
        "CREATE INDEX customer_by_age ON customer (merchant, livemode, created, id) WHERE deleted = 0",
        "CREATE INDEX customer_by_email ON customer (merchant, livemode, email, created, id) WHERE deleted = 0",
        """
        CREATE TABLE session (
            merchant {key} NOT NULL,
            livemode {int} NOT NULL,
            id {key} NOT NULL,
            created {int} NOT NULL,
            expires {int} NOT NULL,
            holder_type TEXT NOT NULL CHECK (holder_type IN ('account', 'customer')),
            holder {key} NOT NULL,
            permissions TEXT NOT NULL,
            prefetch TEXT,
            subcategories TEXT,
            country TEXT,
            payment_support TEXT,
            account_limit {int},
            manual_entry TEXT NOT NULL CHECK (manual_entry IN ('automatic', 'disabled')),
            return_url TEXT,
            client_secret {bytes} NOT NULL,
            client_secret_digest {bytes} NOT NULL,
            status TEXT NOT NULL CHECK (status = 'pending' OR status = 'succeeded' OR status = 'cancelled'),
            cancel_reason TEXT,
            consent_at {int},
            PRIMARY KEY (merchant, livemode, id)
        ) {clustered}
        """,
        """
        CREATE TABLE authorization_at_institution (
            merchant {key} NOT NULL,
            livemode {int} NOT NULL,
            id {key} NOT NULL,
            created {int} NOT NULL,
            holder {key} NOT NULL,
            institution TEXT NOT NULL,
            credential {bytes} NOT NULL,
            PRIMARY KEY (merchant, livemode, id)
        ) {clustered}
        """,
        """
        CREATE TABLE account (
            merchant {key} NOT NULL,
            livemode {int} NOT NULL,
            id {key} NOT NULL,
            created {int} NOT NULL,
            holder_type TEXT NOT NULL CHECK (holder_type IN ('account', 'customer')),
            holder {key} NOT NULL,
            authorization_id {key} NOT NULL,
            institution TEXT NOT NULL,
            institution_name TEXT NOT NULL,
            institution_account {key} NOT NULL,
            category TEXT NOT NULL,
            subcategory TEXT NOT NULL,
            display_name TEXT,
            last4 TEXT,
            supports_payments {int} NOT NULL,
            numbers TEXT,
            permissions TEXT NOT NULL,
            status TEXT NOT NULL CHECK (status = 'active' OR status = 'inactive' OR status = 'disconnected'),
            expected_deactivation {int},
            closes_after_linking {int} NOT NULL,
            rendering {bytes} NOT NULL,
            PRIMARY KEY (merchant, livemode, id)
        ) {clustered}
        """,
        "CREATE INDEX account_by_authorization ON account (merchant, livemode, authorization_id)",
        "CREATE INDEX account_by_age ON account (merchant, livemode, created, id)",
        "CREATE INDEX account_by_holder ON account (merchant, livemode, holder, created, id)",
        """
        CREATE UNIQUE INDEX account_by_institution
            ON account (merchant, livemode, holder, institution, institution_account)
        """,
        """
        CREATE TABLE session_account (
            merchant {key} NOT NULL,
            livemode {int} NOT NULL,
            session {key} NOT NULL,
            account {key} NOT NULL,
            PRIMARY KEY (merchant, livemode, session, account)
        ) {clustered}
        """,
        """
        CREATE TABLE bank_account_token (
            merchant {key} NOT NULL,
            livemode {int} NOT NULL,
            session {key} NOT NULL,
            id {key} NOT NULL,
            bank_account {key} NOT NULL,
            created {int} NOT NULL,
            last4 TEXT NOT NULL,
            routing_number TEXT NOT NULL,
            fingerprint TEXT NOT NULL,
            PRIMARY KEY (merchant, livemode, session)
        ) {clustered}
        """,
        """
        CREATE TABLE auth_session (
            merchant {key} NOT NULL,
            livemode {int} NOT NULL,
            id {key} NOT NULL,
            session {key} NOT NULL,
            created {int} NOT NULL,
            institution TEXT NOT NULL,
            status TEXT NOT NULL CHECK (status = 'prompting' OR status = 'authorized' OR status = 'selected'
                OR status = 'cancelled' OR status = 'failed'),
            prompt TEXT,
            note {bytes},
            credential {bytes},
            PRIMARY KEY (merchant, livemode, id)
        ) {clustered}
        """,
        "CREATE INDEX auth_session_by_session ON auth_session (merchant, livemode, session)",
        "CREATE INDEX auth_session_by_age ON auth_session (created)",
        """
        CREATE TABLE event (
            merchant {key} NOT NULL,
            livemode {int} NOT NULL,
            id {key} NOT NULL,
            created {int} NOT NULL,
            type {key} NOT NULL,
            api_version TEXT NOT NULL,
            request_id TEXT,
            idempotency_key TEXT,
            object {bytes} NOT NULL,
            previous_attributes {bytes},
            PRIMARY KEY (merchant, livemode, id)
        ) {clustered}
        """,
        "CREATE INDEX event_by_age ON event (merchant, livemode, created, id)",
        "CREATE INDEX event_for_pruning ON event (created)",
        "CREATE INDEX event_by_type ON event (merchant, livemode, type, created, id)",
    ])

    private static let moving = Migration([
        "CREATE TABLE moving (id {int} PRIMARY KEY, source TEXT NOT NULL) {strict}"
    ])

    /// Balances, owners, transactions and their refreshes; what happens at a time; test clocks.
    private static let data = Migration(
        clocks + accountData + [
            """
            CREATE TABLE refresh (
                merchant {key} NOT NULL,
                livemode {int} NOT NULL,
                account {key} NOT NULL,
                feature {key} NOT NULL CHECK (feature = 'balance' OR feature = 'ownership' OR feature = 'transactions'),
                id {key},
                number {int} NOT NULL,
                succeeded {int} NOT NULL,
                status TEXT NOT NULL CHECK (status = 'pending' OR status = 'succeeded' OR status = 'failed'),
                last_attempted {int} NOT NULL,
                next_available {int},
                attempt {int} NOT NULL,
                retries {int} NOT NULL,
                run_at {int} NOT NULL,
                claim_at {int},
                test_clock {key},
                cursor {bytes},
                PRIMARY KEY (merchant, livemode, account, feature)
            ) {clustered}
            """,
            """
            CREATE INDEX refresh_by_claim ON refresh (claim_at, merchant, livemode, account, feature)
                WHERE status = 'pending' AND claim_at IS NOT NULL
            """,
            """
            CREATE INDEX refresh_by_clock ON refresh (merchant, livemode, test_clock, run_at, account, feature)
                WHERE status = 'pending' AND test_clock IS NOT NULL
            """,
            """
            CREATE TABLE transaction_refresh (
                merchant {key} NOT NULL,
                livemode {int} NOT NULL,
                account {key} NOT NULL,
                number {int} NOT NULL,
                id {key} NOT NULL,
                complete {int} NOT NULL,
                PRIMARY KEY (merchant, livemode, account, number)
            ) {clustered}
            """,
            "CREATE UNIQUE INDEX transaction_refresh_by_id ON transaction_refresh (merchant, livemode, account, id)",
        ] + transactions
    )

    private static let clocks: [SQL] = [
        "CREATE TABLE seeded_start (id {int} PRIMARY KEY, count {int} NOT NULL) {strict}",
        """
        CREATE TABLE test_clock (
            merchant {key} NOT NULL,
            livemode {int} NOT NULL,
            id {key} NOT NULL,
            created {int} NOT NULL,
            name TEXT,
            frozen_time {int} NOT NULL,
            target {int},
            status TEXT NOT NULL CHECK (status = 'ready' OR status = 'advancing' OR status = 'internal_failure'),
            deletes_after {int} NOT NULL,
            attempt {int} NOT NULL,
            claim_at {int} NOT NULL,
            PRIMARY KEY (merchant, livemode, id)
        ) {clustered}
        """,
        "CREATE INDEX test_clock_by_age ON test_clock (merchant, livemode, created, id)",
        "CREATE INDEX test_clock_by_claim ON test_clock (claim_at) WHERE status = 'advancing'",
        "CREATE INDEX test_clock_for_pruning ON test_clock (deletes_after)",
        "ALTER TABLE customer ADD COLUMN test_clock {key}",
        """
        CREATE INDEX customer_by_clock ON customer (merchant, livemode, test_clock, created, id)
            WHERE deleted = 0 AND test_clock IS NOT NULL
        """,
        """
        CREATE TABLE schedule (
            merchant {key} NOT NULL,
            livemode {int} NOT NULL,
            subject {key} NOT NULL,
            kind {key} NOT NULL,
            run_at {int} NOT NULL,
            test_clock {key},
            PRIMARY KEY (merchant, livemode, subject, kind)
        ) {clustered}
        """,
        """
        CREATE INDEX schedule_by_time ON schedule (run_at, merchant, livemode, subject, kind) WHERE test_clock IS NULL
        """,
        """
        CREATE INDEX schedule_by_clock ON schedule (merchant, livemode, test_clock, run_at, subject, kind)
            WHERE test_clock IS NOT NULL
        """,
        "ALTER TABLE event ADD COLUMN recorded {int} NOT NULL DEFAULT 0",
        "UPDATE event SET recorded = created",
        "DROP INDEX event_for_pruning",
        "CREATE INDEX event_for_pruning ON event (recorded)",
    ]

    private static let accountData: [SQL] = [
        "ALTER TABLE account ADD COLUMN test_clock {key}",
        "ALTER TABLE account ADD COLUMN balance TEXT",
        "ALTER TABLE account ADD COLUMN ownership {key}",
        "ALTER TABLE account ADD COLUMN subscriptions TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE account ADD COLUMN inactive_cause TEXT",
        "ALTER TABLE authorization_at_institution ADD COLUMN institution_name TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE authorization_at_institution ADD COLUMN status TEXT NOT NULL DEFAULT 'active'",
        "ALTER TABLE authorization_at_institution ADD COLUMN expected_deactivation {int}",
        "ALTER TABLE authorization_at_institution ADD COLUMN test_clock {key}",
        "ALTER TABLE authorization_at_institution ADD COLUMN renewal {int} NOT NULL DEFAULT 0",
        """
        CREATE TABLE institution_call (
            merchant {key} NOT NULL,
            livemode {int} NOT NULL,
            authorization_id {key} NOT NULL,
            hour {int} NOT NULL,
            calls {int} NOT NULL,
            PRIMARY KEY (merchant, livemode, authorization_id, hour)
        ) {clustered}
        """,
        "CREATE INDEX institution_call_for_pruning ON institution_call (hour)",
        """
        CREATE TABLE ownership (
            merchant {key} NOT NULL,
            livemode {int} NOT NULL,
            id {key} NOT NULL,
            account {key} NOT NULL,
            created {int} NOT NULL,
            PRIMARY KEY (merchant, livemode, id)
        ) {clustered}
        """,
        """
        CREATE TABLE owner (
            merchant {key} NOT NULL,
            livemode {int} NOT NULL,
            ownership {key} NOT NULL,
            id {key} NOT NULL,
            created {int} NOT NULL,
            name TEXT NOT NULL,
            email TEXT,
            phone TEXT,
            address TEXT,
            PRIMARY KEY (merchant, livemode, ownership, id)
        ) {clustered}
        """,
        """
        CREATE TABLE test_bank_account (
            merchant {key} NOT NULL,
            livemode {int} NOT NULL,
            account {key} NOT NULL,
            balance TEXT,
            owners TEXT,
            deactivates_at {int},
            failing TEXT NOT NULL,
            changes {int} NOT NULL,
            PRIMARY KEY (merchant, livemode, account)
        ) {clustered}
        """,
        """
        CREATE TABLE test_bank_transaction (
            merchant {key} NOT NULL,
            livemode {int} NOT NULL,
            account {key} NOT NULL,
            id {key} NOT NULL,
            number {int} NOT NULL,
            amount {int} NOT NULL,
            currency TEXT NOT NULL,
            description TEXT NOT NULL,
            status TEXT NOT NULL CHECK (status = 'pending' OR status = 'posted' OR status = 'void'),
            transacted_at {int} NOT NULL,
            settled_at {int},
            PRIMARY KEY (merchant, livemode, account, id)
        ) {clustered}
        """,
        """
        CREATE UNIQUE INDEX test_bank_transaction_by_number
            ON test_bank_transaction (merchant, livemode, account, number)
        """,
    ]

    /// A row lies where the list shows it, so that a page is read in one stretch. Zero stands for a moment that is not,
    /// so that rows can be compared as a whole on both engines.
    private static let transactions: [SQL] = [
        """
        CREATE TABLE bank_transaction (
            merchant {key} NOT NULL,
            livemode {int} NOT NULL,
            account {key} NOT NULL,
            transacted_at {int} NOT NULL,
            id {key} NOT NULL,
            institution_id {key} NOT NULL,
            amount {int} NOT NULL,
            currency TEXT NOT NULL,
            description TEXT NOT NULL,
            status TEXT NOT NULL CHECK (status = 'pending' OR status = 'posted' OR status = 'void'),
            posted_at {int} NOT NULL,
            void_at {int} NOT NULL,
            updated {int} NOT NULL,
            refresh {int} NOT NULL,
            seen {int} NOT NULL,
            PRIMARY KEY (merchant, livemode, account, transacted_at, id)
        ) {clustered}
        """,
        "CREATE UNIQUE INDEX bank_transaction_by_id ON bank_transaction (merchant, livemode, id)",
        """
        CREATE UNIQUE INDEX bank_transaction_by_institution
            ON bank_transaction (merchant, livemode, account, institution_id)
        """,
        """
        CREATE INDEX bank_transaction_by_refresh
            ON bank_transaction (merchant, livemode, account, refresh, transacted_at, id)
        """,
        """
        CREATE INDEX bank_transaction_pending ON bank_transaction (merchant, livemode, account, transacted_at, id)
            WHERE status = 'pending'
        """,
    ]

    /// Endpoints, what is delivered to them, and each attempt. A delivery that is claimed is due again when the claim
    /// ends; the number of its attempt tells one claim from the next.
    private static let webhooks = Migration([
        """
        CREATE TABLE webhook_endpoint (
            merchant {key} NOT NULL,
            livemode {int} NOT NULL,
            id {key} NOT NULL,
            created {int} NOT NULL,
            url TEXT NOT NULL,
            enabled_events TEXT NOT NULL,
            api_version TEXT,
            connect {int} NOT NULL,
            description TEXT,
            metadata TEXT NOT NULL,
            status TEXT NOT NULL CHECK (status IN ('enabled', 'disabled')),
            secret {bytes} NOT NULL,
            former_secret {bytes},
            former_secret_until {int},
            failing_since {int},
            failures {int} NOT NULL,
            given_up {int},
            PRIMARY KEY (merchant, livemode, id)
        ) {clustered}
        """,
        "CREATE INDEX webhook_endpoint_by_age ON webhook_endpoint (merchant, livemode, created, id)",
        """
        CREATE TABLE delivery (
            merchant {key} NOT NULL,
            livemode {int} NOT NULL,
            event {key} NOT NULL,
            endpoint {key} NOT NULL,
            since {int} NOT NULL,
            due_milliseconds {int} NOT NULL,
            status TEXT NOT NULL CHECK (status = 'pending' OR status = 'succeeded' OR status = 'failed'),
            attempt {int} NOT NULL,
            tries {int} NOT NULL,
            PRIMARY KEY (merchant, livemode, event, endpoint)
        ) {clustered}
        """,
        """
        CREATE INDEX delivery_due ON delivery (merchant, livemode, endpoint, due_milliseconds)
            WHERE status = 'pending'
        """,
        "CREATE INDEX delivery_for_pruning ON delivery (since)",
        """
        CREATE TABLE delivery_attempt (
            merchant {key} NOT NULL,
            livemode {int} NOT NULL,
            event {key} NOT NULL,
            endpoint {key} NOT NULL,
            number {int} NOT NULL,
            at {int} NOT NULL,
            milliseconds {int} NOT NULL,
            http_status {int},
            problem TEXT,
            reply {bytes},
            PRIMARY KEY (merchant, livemode, event, endpoint, number)
        ) {clustered}
        """,
        "CREATE INDEX delivery_attempt_for_pruning ON delivery_attempt (at)",
    ])
}
