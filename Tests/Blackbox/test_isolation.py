"""What one caller must not get at: another's Session, the other mode, what a key does not allow, secrets at rest."""

import base64
import json
import os
import subprocess

import pytest

from support import API, BANK, BINARY, DATABASE, PUBLISHABLE_KEY, Flow, good, new_server, refused, unique


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """A server with a key ring of the operator's, with a secret and a publishable key of live mode."""
    folder = tmp_path_factory.mktemp("live")
    ring = folder / "ring"
    ring.write_text(f"7:{base64.b64encode(os.urandom(32)).decode()}\n")
    server = new_server(folder, ["--key-file", str(ring)]).start()
    keys = {kind: make_key(server, "--kind", kind, "--live") for kind in ("secret", "publishable")}
    yield server, keys
    server.stop()


def make_key(server, *flags):
    command = [str(BINARY), "keys", "create", *server.storage, "--json", *flags]
    made = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert made.returncode == 0, made.stderr
    return json.loads(made.stdout)[0]["text"]


def test_a_person_cannot_use_the_merchants_idempotency_keys(open_flow, raw):
    key = unique()
    first, second = open_flow(), open_flow()
    for session, flow in (first, second):
        flow.http.headers["Idempotency-Key"] = key
        assert flow.finish()["id"] == session["id"]
    made = good(raw.post("/v1/customers", {"name": "Jo"}, **{"Idempotency-Key": key}))
    assert made["object"] == "customer"


def test_a_flow_that_was_closed_links_nothing_more(open_flow, raw):
    session, flow = open_flow()
    auth = flow.sign_in()
    accounts = flow.accounts(auth)
    flow.finish()
    refused(flow.select(auth, accounts[:1]))
    assert good(raw.get(f"/v1/financial_connections/sessions/{session['id']}"))["accounts"]["data"] == []


def test_an_answer_to_the_bank_may_be_repeated(open_flow):
    flow = open_flow()[1]
    auth = good(flow.start(BANK))
    assert good(flow.respond(auth)) == good(flow.respond(auth))


def test_only_accounts_of_the_session_can_be_paid_from(open_flow):
    stranger = open_flow()[1].link(1)[0]["linked_account_id"]
    flow = open_flow()[1]
    own = flow.link(1)[0]["linked_account_id"]
    route = "link_account_sessions/attach_payment_account"
    refused(flow.post(route, {"type": "linked_account", "linked_account[id]": stranger}))
    assert good(flow.post(route, {"type": "linked_account", "linked_account[id]": own}))["id"] == own


def test_expand_does_not_go_around_a_restricted_key(server, raw):
    session = raw.session()
    permission = "financial_connections_session_read"
    limited = API(server.url, make_key(server, "--kind", "restricted", "--permission", permission))
    path = f"/v1/financial_connections/sessions/{session['id']}"
    assert good(limited.get(path))["id"] == session["id"]
    answer = limited.get(path, {"expand[]": "account_holder.customer"})
    assert answer.status_code == 403
    assert "customer_read" in answer.json()["error"]["message"]


def test_live_mode_needs_a_ring_and_is_refused_without(server):
    command = [str(BINARY), "keys", "create", *server.storage, "--live"]
    refusal = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert refusal.returncode != 0
    assert "--key-file" in refusal.stderr


def test_live_mode_offers_no_fictions_and_no_test_helpers(live):
    server, keys = live
    api = API(server.url, keys["secret"])
    session = api.session()
    flow = Flow(server.url, session, keys["publishable"])
    flow.consent()
    # Where none is featured, all are shown.
    assert [bank["name"] for bank in good(flow.get("connections/featured_institutions"))["data"]] == ["OFX file"]
    helper = f"/v1/test_helpers/financial_connections/sessions/{session['id']}/complete"
    assert api.post(helper).status_code == 404


def test_the_modes_do_not_see_each_other(live):
    server, keys = live
    live_api, test_api = API(server.url, keys["secret"]), API(server.url)
    customer, session = live_api.customer(name="Live"), live_api.session()
    for path in (f"/v1/customers/{customer['id']}", f"/v1/financial_connections/sessions/{session['id']}"):
        answer = test_api.get(path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "resource_missing")
    assert customer["id"] not in [c["id"] for c in good(test_api.get("/v1/customers", {"limit": "100"}))["data"]]
    refused(Flow(server.url, session, PUBLISHABLE_KEY).post("financial_connections/sessions/synchronize"))


def test_secrets_stand_in_no_file_and_no_log(live):
    server, keys = live
    api = API(server.url, keys["secret"])
    customer = api.customer(name="Canary")
    form = {"account_holder[type]": "customer", "account_holder[customer]": customer["id"], "permissions[]": "balances"}
    session = good(api.post("/v1/financial_connections/sessions", form, **{"Idempotency-Key": unique()}))
    secrets = [session["client_secret"], keys["secret"]]
    known = ("keys.env", "server.json")
    files = [path for path in server.folder.rglob("*") if path.is_file() and path.name not in known]
    assert DATABASE or any(path.name == "linkspan.db" for path in files)
    for path in files:
        content = path.read_bytes()
        assert not [secret for secret in secrets if secret.encode() in content], path
        assert path.parent != server.data or path.stat().st_mode & 0o077 == 0, path
