"""The official Python SDK, unmodified and newest: what a merchant's server does, and what it is told when it errs."""

import concurrent.futures
import socket
import threading
import time

import pytest
import stripe

from support import (
    ALL_PERMISSIONS, PUBLISHABLE_KEY, SECRET_KEY, TEST, complete_path, good, refused, unique,
)

EXPANSIONS = ["account_holder.customer", "accounts.data.account_holder.customer"]


def new_session(client, customer, **more):
    holder = {"type": "customer", "customer": customer.id}
    parameters = {"account_holder": holder, "permissions": ALL_PERMISSIONS, **more}
    return client.v1.financial_connections.sessions.create(parameters)


def complete(client, session, **parameters):
    response = client.raw_request("post", complete_path(session.id), **parameters)
    return client.deserialize(response, api_mode="V1")


def new_customer(client):
    return client.v1.customers.create({"email": f"{unique('jo')}@example.com", "name": "Jo Doe"})


@pytest.fixture
def linked(client):
    """A customer with accounts linked at Test, and the completed Session."""
    customer = new_customer(client)
    return customer, complete(client, new_session(client, customer))


# What works


def test_a_new_session_names_its_holder_and_has_no_accounts(client):
    customer = new_customer(client)
    session = new_session(client, customer, prefetch=["balances"], filters={"country": "US"})
    assert session.id.startswith("fcsess_")
    assert session.client_secret.startswith("fcsess_client_secret_")
    assert session.object == "financial_connections.session"
    assert session.account_holder.type == "customer"
    assert session.account_holder.customer == customer.id
    assert session.accounts.data == []
    assert session.permissions == ALL_PERMISSIONS
    assert session.prefetch == ["balances"]
    assert session.filters.country == "US"
    assert session.livemode is False


def test_completing_links_accounts_that_the_merchant_reads_back_expanded(client, linked):
    customer, completed = linked
    session = client.v1.financial_connections.sessions.retrieve(completed.id, {"expand": EXPANSIONS})
    assert session.account_holder.customer.id == customer.id
    assert session.account_holder.customer.email == customer.email
    assert len(session.accounts.data) >= 2
    for account in session.accounts.data:
        assert account.id.startswith("fca_")
        assert account.account_holder.customer.name == "Jo Doe"
        assert account.institution_name == TEST
        assert account.status == "active"


def test_completing_can_name_the_accounts(client):
    customer = new_customer(client)
    names = [a.display_name for a in complete(client, new_session(client, customer)).accounts.data]
    other = new_session(client, new_customer(client))
    picked = complete(client, other, institution=TEST, accounts=[names[1]])
    assert [a.display_name for a in picked.accounts.data] == [names[1]]


def test_completing_can_cancel(client):
    session = complete(client, new_session(client, new_customer(client)), cancel=True)
    assert session.accounts.data == []


def test_completing_with_a_strange_account_changes_nothing(client):
    session = new_session(client, new_customer(client))
    with pytest.raises(stripe.InvalidRequestError):
        complete(client, session, accounts=["No Such Account"])
    assert client.v1.financial_connections.sessions.retrieve(session.id).accounts.data == []


def test_a_limit_of_the_session_holds_for_the_test_helper(client):
    session = complete(client, new_session(client, new_customer(client), limits={"accounts": 1}))
    assert len(session.accounts.data) == 1
    assert session.limits.accounts == 1


def test_accounts_are_listed_by_session_and_by_customer(client, linked):
    customer, session = linked
    accounts = client.v1.financial_connections.accounts
    wanted = {a.id for a in session.accounts.data}
    assert {a.id for a in accounts.list({"session": session.id, "limit": 100}).data} == wanted
    assert {a.id for a in accounts.list(
        {"account_holder": {"customer": customer.id}, "limit": 100}).data} == wanted


def test_an_account_of_one_customer_is_not_listed_for_another(client, linked):
    stranger = new_customer(client)
    listing = client.v1.financial_connections.accounts.list({"account_holder": {"customer": stranger.id}})
    assert listing.data == []
    assert listing.has_more is False


def test_linking_the_same_bank_account_again_gives_the_same_account(client, linked):
    customer, session = linked
    first = [a.id for a in session.accounts.data]
    client.v1.financial_connections.accounts.disconnect(first[0])
    again = complete(client, new_session(client, customer))
    assert sorted(a.id for a in again.accounts.data) == sorted(first)
    assert client.v1.financial_connections.accounts.retrieve(first[0]).status == "active"


def test_disconnecting_is_lasting(client, linked):
    account = linked[1].accounts.data[0]
    assert client.v1.financial_connections.accounts.disconnect(account.id).status == "disconnected"
    assert client.v1.financial_connections.accounts.retrieve(account.id).status == "disconnected"


def test_disconnecting_leaves_the_other_accounts(client, linked):
    first, second = linked[1].accounts.data[:2]
    client.v1.financial_connections.accounts.disconnect(first.id)
    assert client.v1.financial_connections.accounts.retrieve(second.id).status == "active"


def test_customers_are_updated_listed_and_deleted(client):
    customer = new_customer(client)
    assert client.v1.customers.update(customer.id, {"metadata": {"order": "7"}}).metadata["order"] == "7"
    assert [c.id for c in client.v1.customers.list({"email": customer.email}).data] == [customer.id]
    deleted = client.v1.customers.delete(customer.id)
    assert (deleted.id, deleted.deleted) == (customer.id, True)
    assert client.v1.customers.retrieve(customer.id).deleted is True


def test_the_account_behind_the_key_can_hold_accounts(client):
    account = client.v1.accounts.retrieve_current()
    assert account.id.startswith("acct_")
    session = client.v1.financial_connections.sessions.create(
        {"account_holder": {"type": "account", "account": account.id}, "permissions": ["payment_method"]}
    )
    assert session.account_holder.account == account.id


# Paging


@pytest.fixture
def many_accounts(own_server):
    """A server of its own with 250 accounts or more, and their ids."""
    client = own_server().sdk()
    linked = []
    while len(linked) < 250:
        session = complete(client, new_session(client, new_customer(client)))
        assert session.accounts.data
        linked += [a.id for a in session.accounts.data]
    return client.v1.financial_connections.accounts, linked


def test_auto_paging_over_250_accounts_both_ways(many_accounts):
    accounts, linked = many_accounts
    forward = [a.id for a in accounts.list({"limit": 100}).auto_paging_iter()]
    assert sorted(forward) == sorted(linked)
    assert len(set(forward)) == len(forward)
    from_newest = accounts.list({"limit": 33, "starting_after": forward[0]}).auto_paging_iter()
    assert [a.id for a in from_newest] == forward[1:]
    from_oldest = accounts.list({"limit": 33, "ending_before": forward[-1]}).auto_paging_iter()
    assert [a.id for a in from_oldest] == forward[-2::-1]


def test_auto_paging_keeps_the_filter_of_the_list(client, linked):
    customer, session = linked
    first_page = client.v1.financial_connections.accounts.list(
        {"account_holder": {"customer": customer.id}, "limit": 1}
    )
    assert sorted(a.id for a in first_page.auto_paging_iter()) == sorted(a.id for a in session.accounts.data)


def test_the_list_inside_a_session_pages_to_its_end(client, linked):
    session = client.v1.financial_connections.sessions.retrieve(linked[1].id)
    paged = [a.id for a in session.accounts.auto_paging_iter()]
    assert sorted(paged) == sorted(a.id for a in linked[1].accounts.data)


# Events


def events_of(client, object_id, **parameters):
    """The events about one object, newest first."""
    listing = client.v1.events.list({"limit": 100, **parameters})
    return [e for e in listing.auto_paging_iter() if e.data.object["id"] == object_id]


def test_linking_and_disconnecting_are_recorded_once_each(client, linked):
    account = linked[1].accounts.data[0]
    client.v1.financial_connections.accounts.disconnect(account.id)
    types = [e.type for e in events_of(client, account.id, type="financial_connections.*")]
    assert types == ["financial_connections.account.disconnected", "financial_connections.account.created"]


def test_an_event_holds_the_object_as_it_was(client, linked):
    account = linked[1].accounts.data[0]
    client.v1.financial_connections.accounts.disconnect(account.id)
    created = events_of(client, account.id, type="financial_connections.account.created")[0]
    assert created.data.object["status"] == "active"
    again = client.v1.events.retrieve(created.id)
    assert again.object == "event"
    assert again.data.object["id"] == account.id
    assert again.livemode is False
    assert isinstance(again.pending_webhooks, int)


def test_an_event_names_the_request_that_caused_it(client):
    key = unique()
    customer = client.v1.customers.create({"name": "Jo"}, {"idempotency_key": key})
    event = events_of(client, customer.id, type="customer.created")[0]
    assert event.request.idempotency_key == key
    assert event.request.id == customer.last_response.request_id


def test_an_update_event_says_what_was_before(client):
    customer = client.v1.customers.create({"name": "Before"})
    client.v1.customers.update(customer.id, {"name": "After"})
    client.v1.customers.delete(customer.id)
    found = events_of(client, customer.id, types=["customer.updated", "customer.deleted"])
    assert [e.type for e in found] == ["customer.deleted", "customer.updated"]
    assert found[1].data.previous_attributes["name"] == "Before"
    assert found[1].data.object["name"] == "After"


def test_a_refused_request_records_nothing(client):
    start = int(time.time())
    name = unique("refused")
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.customers.create({"name": name, "email": "no address"})
    created = client.v1.events.list({"type": "customer.created", "created": {"gte": start}, "limit": 100})
    assert name not in [e.data.object["name"] for e in created.auto_paging_iter()]


def test_type_and_types_together_are_refused(client):
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.events.list({"type": "customer.created", "types": ["customer.deleted"]})


# The exception classes


def test_authentication_error(server):
    with pytest.raises(stripe.AuthenticationError) as caught:
        server.sdk("sk_test_thisKeyIsNotKnown1234").v1.customers.list()
    assert caught.value.http_status == 401
    assert caught.value.user_message.startswith("Invalid API Key provided: sk_test_")
    assert "thisKeyIsNotKnown" not in str(caught.value)


def test_permission_error_for_a_publishable_key(server):
    with pytest.raises(stripe.PermissionError) as caught:
        server.sdk(PUBLISHABLE_KEY).v1.customers.list()
    assert caught.value.http_status == 403
    assert caught.value.user_message.startswith("This API call cannot be made with a publishable API key.")


def test_permission_error_for_an_account_that_the_key_cannot_act_for(server):
    client = server.sdk(stripe_account="acct_1000000000000000")
    with pytest.raises(stripe.PermissionError) as caught:
        client.v1.customers.list()
    assert caught.value.error.code == "account_invalid"


HOLDER = {"type": "customer", "customer": "cus_doesnotexist0"}
REFUSED_SESSIONS = [
    ({"account_holder": HOLDER, "permissions": ["balances"]}, "resource_missing", "account_holder[customer]",
     "No such customer: 'cus_doesnotexist0'"),
    ({"account_holder": HOLDER}, "parameter_missing", "permissions", "Missing required param: permissions."),
    ({"account_holder": {"customer": "cus_x"}, "permissions": ["balances"]}, "parameter_missing",
     "account_holder[type]", "Missing required param: account_holder[type]."),
    ({"account_holder": HOLDER, "permissions": ["balances"], "colour": "red"}, "parameter_unknown", "colour",
     "Received unknown parameter: colour"),
    ({"account_holder": HOLDER, "permissions": ["balances", "secrets"]}, None, "permissions[1]",
     "Invalid permissions[1]: must be one of balances, ownership, payment_method, or transactions"),
    ({"account_holder": HOLDER, "permissions": ["balances"], "limits": {"accounts": "few"}},
     "parameter_invalid_integer", "limits[accounts]", "Invalid integer: few"),
]


@pytest.mark.parametrize("parameters, code, param, message", REFUSED_SESSIONS)
def test_invalid_request_error(client, parameters, code, param, message):
    with pytest.raises(stripe.InvalidRequestError) as caught:
        client.v1.financial_connections.sessions.create(parameters)
    error = caught.value
    assert (error.http_status, error.code, error.param, error.user_message) == (400, code, param, message)
    assert error.request_id.startswith("req_")


@pytest.mark.parametrize("read", [
    lambda v1: v1.customers.retrieve("cus_doesnotexist0"),
    lambda v1: v1.financial_connections.sessions.retrieve("fcsess_doesnotexist"),
    lambda v1: v1.financial_connections.accounts.retrieve("fca_doesnotexist"),
    lambda v1: v1.financial_connections.accounts.disconnect("fca_doesnotexist"),
    lambda v1: v1.events.retrieve("evt_doesnotexist"),
])
def test_invalid_request_error_for_what_does_not_exist(client, read):
    with pytest.raises(stripe.InvalidRequestError) as caught:
        read(client.v1)
    assert (caught.value.http_status, caught.value.code) == (404, "resource_missing")
    assert "doesnotexist" in caught.value.user_message


def test_idempotency_error_for_other_parameters(client):
    key = unique()
    client.v1.customers.create({"name": "One"}, {"idempotency_key": key})
    with pytest.raises(stripe.IdempotencyError) as caught:
        client.v1.customers.create({"name": "Two"}, {"idempotency_key": key})
    assert caught.value.http_status == 400
    assert caught.value.code is None
    assert caught.value.user_message == (
        "Keys for idempotent requests can only be used with the same parameters they were first used with. "
        f"Try using a key other than '{key}' if you meant to execute a different request."
    )


def test_idempotency_error_for_another_endpoint(client):
    key = unique()
    customer = client.v1.customers.create({"name": "One"}, {"idempotency_key": key})
    with pytest.raises(stripe.IdempotencyError):
        client.v1.customers.update(customer.id, {"name": "One"}, {"idempotency_key": key})


def test_idempotency_error_for_a_key_of_256_characters(client):
    assert client.v1.customers.create({}, {"idempotency_key": unique().ljust(255, "x")}).id
    with pytest.raises(stripe.IdempotencyError) as caught:
        client.v1.customers.create({}, {"idempotency_key": unique().ljust(256, "x")})
    assert caught.value.user_message == "Idempotency keys can be up to 255 characters long."


def test_api_connection_error_where_nobody_listens():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        client = stripe.StripeClient(SECRET_KEY, base_addresses={"api": address}, max_network_retries=0)
        with pytest.raises(stripe.APIConnectionError):
            client.v1.customers.list()


# Idempotency


def test_a_replay_is_the_same_byte_for_byte(raw):
    headers = {"Idempotency-Key": unique()}
    first = raw.post("/v1/customers", {"name": "Once"}, **headers)
    second = raw.post("/v1/customers", {"name": "Once"}, **headers)
    assert good(first)["id"]
    assert second.content == first.content
    assert second.status_code == first.status_code
    assert second.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotency-Key"] == headers["Idempotency-Key"]
    assert second.headers["Request-Id"] != first.headers["Request-Id"]


def test_a_replay_shows_the_first_answer_even_after_a_change(raw):
    headers = {"Idempotency-Key": unique()}
    first = raw.post("/v1/customers", {"name": "Old"}, **headers)
    good(raw.post(f"/v1/customers/{first.json()['id']}", {"name": "New"}))
    assert raw.post("/v1/customers", {"name": "Old"}, **headers).content == first.content


def test_a_session_is_replayed_with_its_secret(raw):
    form = {
        "account_holder[type]": "customer", "account_holder[customer]": raw.customer()["id"],
        "permissions[]": ["balances"],
    }
    headers = {"Idempotency-Key": unique()}
    first = raw.post("/v1/financial_connections/sessions", form, **headers)
    assert good(first)["client_secret"]
    assert raw.post("/v1/financial_connections/sessions", form, **headers).content == first.content


@pytest.mark.parametrize("more", [{}, {"expand[]": "account_holder.customer"}])
@pytest.mark.parametrize("country, version, other", [
    ("filters[countries][]", "2022-08-01", "2026-08-26.dahlia"),
    ("filters[countries][]", "2026-08-26.dahlia", "2025-03-31.basil"),
    ("filters[country]", "2026-10-28.endive", "2026-09-30.endive"),
])
def test_a_session_is_replayed_as_it_was_when_it_was_new(raw, country, version, other, more):
    form = {
        "account_holder[type]": "customer", "account_holder[customer]": raw.customer()["id"],
        "permissions[]": ["balances", "transactions"], "prefetch[]": "balances", country: "US",
        "limits[accounts]": 1, "return_url": "https://shop.example/back?a=%22", **more,
    }
    key = {"Idempotency-Key": unique()}
    first = raw.post("/v1/financial_connections/sessions", form, **key, **{"Stripe-Version": version})
    done = raw.complete(good(first), institution=TEST)
    assert len(done["accounts"]["data"]) == 1
    # The version that the first request asked for counts.
    for asked in (version, other):
        again = raw.post("/v1/financial_connections/sessions", form, **key, **{"Stripe-Version": asked})
        assert again.content == first.content
        assert again.headers["Idempotent-Replayed"] == "true"
        assert again.headers["Original-Request"] == first.headers["Request-Id"]


def test_fifty_concurrent_posts_with_one_key_make_one_object(server, raw):
    email, key, together = f"{unique('fifty')}@example.com", unique(), threading.Barrier(50)

    def post(_):
        api = server.api()
        together.wait(timeout=60)
        return api.post("/v1/customers", {"email": email}, **{"Idempotency-Key": key})

    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(post, range(50)))
    made = {a.content for a in answers if a.status_code == 200}
    assert len(made) == 1
    for answer in answers:
        if answer.status_code != 200:
            assert answer.status_code == 409
            assert answer.json()["error"]["code"] == "idempotency_key_in_use"
    assert len(good(raw.get("/v1/customers", {"email": email}))["data"]) == 1


def test_a_request_that_failed_validation_can_be_corrected_with_the_same_key(raw):
    headers = {"Idempotency-Key": unique()}
    assert refused(raw.post("/v1/customers", {"email": "no address"}, **headers))["code"] == "email_invalid"
    corrected = raw.post("/v1/customers", {"email": "jo@example.com"}, **headers)
    assert good(corrected)["email"] == "jo@example.com"
    assert "Idempotent-Replayed" not in corrected.headers


def test_an_idempotency_key_on_get_is_ignored(raw):
    customer = raw.customer(name="One")
    path, headers = f"/v1/customers/{customer['id']}", {"Idempotency-Key": unique()}
    assert good(raw.get(path, **headers))["name"] == "One"
    good(raw.post(path, {"name": "Two"}))
    assert good(raw.get(path, **headers))["name"] == "Two"
