/// The schema, as the append-only list of its steps: a step that was released never changes. The only place with DDL.
///
/// Every row begins with the merchant and the mode, and so does every key but those by which a key is found and rows
/// are forgotten by their age: they are the key by which rows can be spread over machines. Times are seconds since the
/// Unix epoch, booleans 0 or 1, lists texts with commas, and what is JSON here is JSON on the wire.

public import Database

public enum Migrations {
    public static let all: [Migration] = [first, moving]

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
            kind TEXT NOT NULL CHECK (kind IN ('publishable', 'secret', 'restricted')),
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
            status TEXT NOT NULL CHECK (status IN ('pending', 'succeeded', 'cancelled')),
            cancel_reason TEXT,
            consent_at {int},
            PRIMARY KEY (merchant, livemode, id)
        ) {clustered}
        """,
        "CREATE UNIQUE INDEX session_by_secret ON session (merchant, livemode, client_secret_digest)",
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
            status TEXT NOT NULL CHECK (status IN ('active', 'inactive', 'disconnected')),
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
            status TEXT NOT NULL CHECK (status IN ('prompting', 'authorized', 'selected', 'cancelled', 'failed')),
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
}
