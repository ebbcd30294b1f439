"""Banks behind OAuth, from outside: all data over HTTP, the end of a consent and its renewal, the operator's own banks.

The first half is about the reference bank that the server serves; the second about a provider and an FDX API that are
none of ours.
"""

import base64
import contextlib
import datetime
import hashlib
import html
import http.server
import itertools
import ipaddress
import json
import re
import socket
import sqlite3
import ssl
import subprocess
import threading
import urllib.parse

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from oidc_provider_mock import run_server_in_thread

from support import (
    API, BANK_OAUTH, BINARY, DATABASE, PUBLISHABLE_KEY, SECRET_KEY, TEST_OAUTH, Flow, bad, begin_refresh,
    clean_environment, complete_path, good, refreshed, unique, wait_until,
)

FEATURES = ["balance", "ownership", "transactions"]


def hint(api, customer):
    """The name under which the bank behind Test (OAuth) knows a customer."""
    merchant = good(api.get("/v1/account"))["id"]
    digest = hashlib.sha256(f"login hint\n{merchant}|test|{customer}".encode()).digest()
    return "user-" + base64.urlsafe_b64encode(digest).decode()[:16]


def allow(address, user=None, accounts=(), decision="allow"):
    """Answer the bank's page, and come back to the server."""
    page = requests.get(address, timeout=30)
    request = re.search(r'name="request" value="([^"]+)"', page.text).group(1)
    form = {"request": request, "decision": decision, "user": user, "accounts[]": list(accounts)}
    answer = requests.post(address.split("?")[0], data=form, allow_redirects=False, timeout=30)
    assert answer.status_code == 303, answer.text
    return go_on(requests.get(answer.headers["Location"], timeout=30))


def outcome(page):
    return re.search(r'data-outcome="(\w+)"', page.text).group(1)


def go_on(page, **headers):
    """Say "Continue" where the last page asks: what no browser of the flow's brought back is not taken as it is."""
    if outcome(page) != "question":
        return page
    found = re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', page.text)
    fields = {html.unescape(name): html.unescape(value) for name, value in found}
    return requests.post(page.url.split("?")[0], data=fields, headers=headers, timeout=30)


def link_at_bank(server, api, customer, user, accounts):
    """Link accounts through Bank (OAuth), as this customer of the bank."""
    session = api.session(customer)
    flow = Flow(server.url, session)
    flow.consent()
    auth = good(flow.start(BANK_OAUTH))
    allow(auth["url"], user, accounts)
    auth = good(flow.post("connections/auth_sessions/authorized", id=auth["id"]))
    assert auth["next_pane"] == "account_picker"
    linked = good(flow.select(auth, flow.accounts(auth)))["data"]
    flow.finish()
    return {account["name"]: account["linked_account_id"] for account in linked}


def account(api, id):
    return good(api.get(f"/v1/financial_connections/accounts/{id}"))


def at_bank(server, user, **knobs):
    return good(requests.post(f"{server.url}/bank/users/{user}", data=knobs, timeout=30))


def events(api, kind):
    listed = good(api.get("/v1/events", {"type": kind, "limit": 100}))["data"]
    return [event["data"]["object"]["id"] for event in listed]


def test_everything_is_refreshed_over_http(server, raw):
    customer, user = raw.customer()["id"], unique("jo")
    ids = link_at_bank(server, raw, customer, user, ["Success", "Credit Card", "Mortgage", "Brokerage"])
    success = refreshed(raw, account(raw, ids["Success"]), *FEATURES)
    for feature in ["balance", "ownership", "transaction"]:
        assert success[f"{feature}_refresh"]["status"] == "succeeded"
    assert success["balance"]["type"] == "cash"
    assert 1_000_000 <= success["balance"]["current"]["usd"] < 1_000_100
    owners = good(raw.get("/v1/financial_connections/accounts/%s/owners" % ids["Success"],
                          {"ownership": success["ownership"]}))["data"]
    assert sorted(owner["name"] for owner in owners) == ["Avery Rosen", "Jenny Rosen"]
    listed = good(raw.get("/v1/financial_connections/transactions", {"account": ids["Success"], "limit": 100}))["data"]
    assert len(listed) == 100, "180 days hold more than a page of ours and of the bank's"
    assert {t["currency"] for t in listed} == {"usd"} and any(t["amount"] < 0 for t in listed)
    assert {t["status"] for t in listed} <= {"posted", "pending"}
    for name in ("Credit Card", "Mortgage"):
        owed = refreshed(raw, account(raw, ids[name]), "balance")["balance"]
        assert owed["type"] == "credit" and owed["current"]["usd"] < 0 and owed["credit"]["used"] == owed["current"]
    invested = refreshed(raw, account(raw, ids["Brokerage"]), "balance")["balance"]
    assert invested["type"] == "cash" and invested["current"]["usd"] > 0


def test_an_expired_consent_makes_inactive_and_a_relink_brings_the_same_account_back(server, raw):
    customer, user = raw.customer()["id"], unique("jo")
    ids = link_at_bank(server, raw, customer, user, ["Success", "High Balance"])
    assert account(raw, ids["Success"])["status_details"]["active"]["action"] == "relink_required"
    assert at_bank(server, user, consents="expired")["consents"][0]["status"] == "EXPIRED"
    begin_refresh(raw, ids["Success"], "balance")
    wait_until(lambda: account(raw, ids["Success"])["status"] == "inactive", 30, "the account is inactive")
    failed = account(raw, ids["Success"])
    assert failed["balance_refresh"]["status"] == "failed"
    assert ids["Success"] in events(raw, "financial_connections.account.deactivated")
    again = link_at_bank(server, raw, customer, user, ["Success", "High Balance"])
    assert again == ids
    assert account(raw, ids["Success"])["status"] == "active"
    assert ids["Success"] in events(raw, "financial_connections.account.reactivated")
    assert refreshed(raw, account(raw, ids["Success"]), "balance")["balance_refresh"]["status"] == "succeeded"


def test_another_customer_of_the_bank_has_other_accounts(server, raw):
    customer = raw.customer()["id"]
    first = link_at_bank(server, raw, customer, unique("jo"), ["Success"])
    assert link_at_bank(server, raw, customer, unique("jo"), ["Success"]) != first


def test_disconnecting_the_last_account_ends_the_consent_at_the_bank(server, raw):
    user = unique("jo")
    ids = link_at_bank(server, raw, None, user, ["Success", "Mortgage"])
    disconnect = "/v1/financial_connections/accounts/%s/disconnect"
    good(raw.post(disconnect % ids["Success"]))
    assert at_bank(server, user)["consents"][0]["status"] == "ACTIVE", "another account hangs on it"
    good(raw.post(disconnect % ids["Mortgage"]))
    wait_until(lambda: at_bank(server, user)["consents"][0]["status"] == "REVOKED", 30, "the bank is told")


@pytest.mark.parametrize("form", [{"consents": "expird"}, {"consent": "expired"}, {"throttle": "two"}])
def test_the_bank_takes_no_order_that_it_does_not_know(server, form):
    refused = requests.post(f"{server.url}/bank/users/{unique('jo')}", form, timeout=30)
    assert refused.status_code == 400 and refused.json()["error"] == "invalid_request", refused.text


@pytest.mark.parametrize("how", ["throttle", "unavailable"])
def test_a_bank_that_is_busy_is_asked_later(server, raw, how):
    user = unique("jo")
    ids = link_at_bank(server, raw, None, user, ["Success"])
    at_bank(server, user, **{how: "1"})
    after = refreshed(raw, account(raw, ids["Success"]), "balance")
    assert after["status"] == "active"


def test_tokens_rotate_and_survive_a_kill(own_server):
    server = own_server()
    api = server.api()
    customer, user = api.customer()["id"], unique("jo")
    ids = link_at_bank(server, api, customer, user, ["Success", "High Balance", "Credit Card"])
    for _ in range(2):
        at_bank(server, user, access_tokens="expired")
        for id in ids.values():
            begin_refresh(api, id, *FEATURES)
        for id in ids.values():
            after = wait_until(lambda: settled(api, id), 60, "the refreshes end")
            assert {after[f"{f}_refresh"]["status"] for f in ("balance", "ownership", "transaction")} == {"succeeded"}
        server.kill()
        server.start()
        api = server.api()
    assert at_bank(server, user)["consents"] == [dict(at_bank(server, user)["consents"][0], status="ACTIVE")]


def settled(api, id):
    fresh = account(api, id)
    done = all(fresh[f"{f}_refresh"]["status"] != "pending" for f in ("balance", "ownership", "transaction"))
    return fresh if done else None


@pytest.mark.parametrize("name", [TEST_OAUTH, BANK_OAUTH])
def test_the_helper_links_without_a_browser(raw, name):
    session = raw.linked(institution=name)
    linked = session["accounts"]["data"]
    assert {a["institution_name"] for a in linked} == {name} and len(linked) == 13
    assert {a["last4"] for a in linked if a["display_name"] == "Success"} == {"6789"}


def test_the_quick_bank_knows_the_same_customer_again(server, raw):
    customer = raw.customer()["id"]
    first = raw.linked(customer, institution=TEST_OAUTH)["accounts"]["data"]
    assert [c["status"] for c in at_bank(server, hint(raw, customer))["consents"]] == ["ACTIVE"]
    again = raw.linked(customer, institution=TEST_OAUTH)["accounts"]["data"]
    assert {a["id"] for a in again} == {a["id"] for a in first}


@pytest.mark.parametrize("wrong", ["state", "code", "iss", "nothing"])
def test_a_forged_return_shares_nothing(server, raw, wrong):
    flow = Flow(server.url, raw.session())
    flow.consent()
    auth, other = good(flow.start(TEST_OAUTH)), good(flow.start(TEST_OAUTH))
    answers = []
    for address in (auth["url"], other["url"]):
        page = requests.get(address, timeout=30)
        request = re.search(r'name="request" value="([^"]+)"', page.text).group(1)
        form = {"request": request, "decision": "allow"}
        back = requests.post(address.split("?")[0], data=form, allow_redirects=False, timeout=30)
        answers.append(dict(urllib.parse.parse_qsl(urllib.parse.urlparse(back.headers["Location"]).query)))
    mine, theirs = answers
    forged = {"state": {**mine, "state": "x" * 43}, "code": {**mine, "code": theirs["code"]},
              "iss": {**mine, "iss": "https://evil.example"}, "nothing": {"state": mine["state"]}}[wrong]
    page = go_on(requests.get(f"{server.url}/flow/return", params=forged, timeout=30))
    assert outcome(page) == ("unknown" if wrong == "state" else "failure")
    current = good(flow.post("connections/auth_sessions/retrieve", id=auth["id"]))
    if wrong == "state":
        assert current["next_pane"] == "partner_auth"
    else:
        assert current["next_pane"] == "institution_picker" and current["failure"] == "authorization_failed"
        again = requests.get(f"{server.url}/flow/return", params=mine, timeout=30)
        assert 'data-outcome="unknown"' in again.text, "a state is good once, whatever came with it"
    bad(flow.post("connections/auth_sessions/accounts", id=auth["id"]), 400)


def back_from_bank(address):
    """Let everything in at the bank's page, as somebody whom the address was sent to; answers where they are led."""
    page = requests.get(address, timeout=30)
    request = re.search(r'name="request" value="([^"]+)"', page.text).group(1)
    form = {"request": request, "decision": "allow"}
    return requests.post(address.split("?")[0], data=form, allow_redirects=False, timeout=30).headers["Location"]


def test_whoever_was_sent_to_the_bank_by_somebody_else_is_asked_first(server, raw):
    flow = Flow(server.url, raw.session())
    flow.consent()
    auth = good(flow.start(TEST_OAUTH))
    back = back_from_bank(auth["url"])
    for _ in range(2):
        page = requests.get(back, timeout=30)
        assert outcome(page) == "question" and TEST_OAUTH in page.text, page.text
        assert good(raw.get("/v1/account"))["business_profile"]["name"] in page.text
        assert "<script" not in page.text
    assert outcome(go_on(page, **{"Sec-Fetch-Site": "cross-site"})) == "unknown", "no other page says it for them"
    assert good(flow.post("connections/auth_sessions/retrieve", id=auth["id"]))["next_pane"] == "partner_auth"
    bad(flow.post("connections/auth_sessions/accounts", id=auth["id"]), 400)
    assert outcome(go_on(page, **{"Sec-Fetch-Site": "same-origin"})) == "success", "the code was not spent before"
    assert outcome(go_on(page)) == "unknown"


def test_the_browser_that_began_is_known_again(server, raw):
    flow = Flow(server.url, raw.session())
    flow.consent()
    flow.http.headers["Sec-Fetch-Site"] = "same-origin"
    first, second = flow.start(TEST_OAUTH), flow.start(TEST_OAUTH)
    assert re.fullmatch(r"linkspan-[\w-]{22}=1; Max-Age=600; Path=/; HttpOnly; SameSite=Lax",
                        first.headers["Set-Cookie"])
    mark = {"Cookie": "; ".join(answer.headers["Set-Cookie"].split(";")[0] for answer in (first, second))}
    page = requests.get(back_from_bank(good(second)["url"]), headers=mark, timeout=30)
    assert outcome(page) == "success" and "Max-Age=0" in page.headers["Set-Cookie"]
    other = requests.get(back_from_bank(good(flow.start(TEST_OAUTH))["url"]), headers=mark, timeout=30)
    assert outcome(other) == "question", "a mark is of one sign-in"
    for site in (None, "cross-site", "same-site"):
        flow.http.headers["Sec-Fetch-Site"] = site
        assert "Set-Cookie" not in flow.start(TEST_OAUTH).headers


def test_over_tls_the_mark_is_the_hosts_own(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = "http://127.0.0.1:%d" % free.getsockname()[1]
    process = subprocess.Popen(
        [BINARY, "serve", "--port", url.split(":")[-1], "--data", tmp_path / "data", "--test-secret-key", SECRET_KEY,
         "--test-publishable-key", PUBLISHABLE_KEY, "--public-url", "https://link.example"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path, env=clean_environment())
    try:
        wait_until(lambda: is_ready(url), 30, "the server is ready")
        flow = Flow(url, API(url, SECRET_KEY).session())
        flow.consent()
        flow.http.headers["Sec-Fetch-Site"] = "same-origin"
        cookie = flow.start(TEST_OAUTH).headers["Set-Cookie"]
        assert cookie.startswith("__Host-linkspan-") and cookie.endswith("; Path=/; HttpOnly; SameSite=Lax; Secure")
    finally:
        process.terminate()
        process.wait(timeout=30)


def is_ready(url):
    with contextlib.suppress(requests.ConnectionError):
        return requests.get(f"{url}/health/ready", timeout=5).status_code == 200


def test_results_are_waited_for(server, raw):
    flow = Flow(server.url, raw.session())
    flow.consent()
    auth = good(flow.start(TEST_OAUTH))
    assert auth["is_oauth"] is True and auth["url"].startswith(f"{server.url}/bank/authorize?")
    results = flow.post("connections/auth_sessions/oauth_results", id=auth["id"])
    assert results.status_code == 202 and results.json()["error"]["message"]
    bad(flow.post("connections/auth_sessions/authorized", id=auth["id"]), 400)
    bad(flow.post("connections/auth_sessions/respond", {"id": auth["id"], "response[a]": "b"}), 400)
    allow(auth["url"])
    assert good(flow.post("connections/auth_sessions/oauth_results", id=auth["id"]))["status"] == "success"
    assert good(flow.post("connections/auth_sessions/authorized", id=auth["id"]))["next_pane"] == "account_picker"


def test_the_addresses_that_apps_wait_at(server, raw):
    session = raw.session(return_url="https://app.example/back")
    flow = Flow(server.url, session)
    flow.consent()
    for given, expected in [({}, "https://app.example/back"), ({"return_url": "ios"}, "stripe://ios?status=success"),
                            ({"return_url": "auth-redirect/com.app"}, "stripe://auth-redirect/com.app?status=success"),
                            ({"return_url": "x\"onload=1"}, "https://app.example/back")]:
        auth = good(flow.post("connections/auth_sessions", {"institution": flow.institution(TEST_OAUTH), **given}))
        page = allow(auth["url"])
        assert f'data-return-to="{expected}"' in page.text, page.text


# A provider and an API that are none of ours


SCOPES = ["openid", "profile"]
SECRET = "canary-client-secret-8d1f"
AWKWARD = [("0.1", 10), ("1399.02", 139902), ("300.80", 30080), ("90071992547409.93", 9007199254740993)]


class FDXStub(http.server.BaseHTTPRequestHandler):
    """FDX 6 as another bank may write it; remembers what it was asked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        address = urllib.parse.urlparse(self.path)
        query = dict(urllib.parse.parse_qsl(address.query))
        self.server.requests.append((address.path, query, dict(self.headers)))
        parts = address.path.strip("/").split("/")
        body = self.answer(parts, query)
        text = body.encode()
        self.send_response(200 if body != "{}" else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def answer(self, parts, query):
        if parts[-1] == "accounts":
            accounts = ['{"accountCategory": "DEPOSIT_ACCOUNT", "accountId": "a/%d", "accountType": "CHECKING", '
                        '"accountNumberDisplay": "****12%02d", "nickname": "Account %d"}' % (n, n, n)
                        for n in range(len(AWKWARD))]
            # The same page for ever, as a mock of an API does.
            return '{"page": {"nextOffset": "B47D80MVP23T"}, "accounts": [%s]}' % ", ".join(accounts)
        if parts[-1] == "transactions":
            first = query.get("pageKey") is None
            page = '"page": {"nextPageKey": "2"},' if first else ""
            number = 1 if first else 2
            return ('{%s "transactions": [{"transactionId": "t%d", "amount": 0.07, "debitCreditMemo": "DEBIT", '
                    '"status": "POSTED", "postedTimestamp": "%sT10:00:00Z", "description": "<b>Coffee</b>"}]}'
                    % (page, number, query["startTime"]))
        if parts[-1] == "contact":
            return '{"holders": [{"name": {"first": "Zo\\u00eb", "last": "O\'Neil"}}], "emails": ["z@example.com"]}'
        if parts[-1] == "payment-networks":
            return ('{"paymentNetworks": [{"type": "US_ACH", "identifierType": "ACCOUNT_NUMBER", "transferIn": true, '
                    '"transferOut": true}]}')
        if len(parts) == 2 and parts[0] == "accounts":
            number = int(urllib.parse.unquote(parts[1]).removeprefix("a/"))
            return ('{"accountCategory": "DEPOSIT_ACCOUNT", "accountId": "a/%d", "currentBalance": %s, '
                    '"currency": {"currencyCode": "USD"}}' % (number, AWKWARD[number][0]))
        return "{}"

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def fdx_stub():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), FDXStub)
    server.requests = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()


def bank_file(folder, issuer, base, **changes):
    """`None` takes a setting away."""
    path = folder / "banks.json"
    (folder / "secret").write_text(SECRET + "\n")
    settings = {"issuer": issuer, "base_url": base, "client_id": "linkspan", "scopes": SCOPES,
                "client_authentication": "client_secret_basic", "client_secret": {"file": "secret"}}
    settings = {name: value for name, value in {**settings, **changes}.items() if value is not None}
    bank = {"id": "fcinst_OtherBank00001", "name": "Other Bank", "domain": "other.example", "featured": True,
            "connector": "fdx", "settings": settings}
    path.write_text(json.dumps({"institutions": [bank]}))
    return path


@pytest.fixture
def other_bank(own_server, tmp_path):
    with run_server_in_thread() as provider, fdx_stub() as api:
        issuer = f"http://localhost:{provider.server_port}"
        path = bank_file(tmp_path, issuer, f"http://127.0.0.1:{api.server_port}")
        yield own_server(["--connectors", str(path), "--log-level", "trace"]), api


def sign_in_at_provider(address, **form):
    answer = requests.post(address, data=form or {"sub": "zoe"}, allow_redirects=False, timeout=30)
    assert answer.status_code == 302, answer.text
    return go_on(requests.get(answer.headers["Location"], timeout=30))


def test_a_bank_of_the_operator_by_another_provider(other_bank):
    server, bank = other_bank
    api = server.api()
    session = api.session()
    flow = Flow(server.url, session)
    flow.consent()
    auth = good(flow.start("Other Bank"))
    page = sign_in_at_provider(auth["url"])
    assert 'data-outcome="success"' in page.text
    offered = flow.accounts(auth)
    assert [a["name"] for a in offered] == [f"Account {n}" for n in range(len(AWKWARD))]
    linked = good(flow.select(auth, offered))["data"]
    flow.finish()
    for account_, (_, cents) in zip(linked, AWKWARD):
        fresh = refreshed(api, account(api, account_["linked_account_id"]), *FEATURES)
        assert fresh["balance"]["current"] == {"usd": cents}, "amounts are exact"
        assert fresh["supported_payment_method_types"] == ["us_bank_account"]
    first = account(api, linked[0]["linked_account_id"])
    listed = good(api.get("/v1/financial_connections/transactions", {"account": first["id"]}))["data"]
    assert [(t["amount"], t["description"]) for t in listed] == [(-7, "<b>Coffee</b>")] * 2
    path = f"/v1/financial_connections/accounts/{first['id']}/owners"
    owners = good(api.get(path, {"ownership": first["ownership"]}))["data"]
    assert [(o["name"], o["email"]) for o in owners] == [("Zoë O'Neil", "z@example.com")]
    headers = [headers for _, _, headers in bank.requests]
    assert all(re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
                            h["x-fapi-interaction-id"]) for h in headers)
    assert {h["FDX-API-Actor-Type"] for h in headers} == {"USER", "BATCH"}
    assert_nothing_readable(server, [h["Authorization"].removeprefix("Bearer ") for h in headers] + [SECRET])


def back_up(server, name):
    """A copy of the database as an operator makes one; its pages are not those of the file."""
    path = server.folder / name
    with contextlib.closing(sqlite3.connect(server.data / "linkspan.db")) as database:
        with contextlib.closing(sqlite3.connect(path)) as copy:
            database.backup(copy)
        database.execute("VACUUM INTO ?", [str(path.with_suffix(".vacuumed"))])


def assert_nothing_readable(server, secrets):
    """Not one of the secrets stands in the database, its log, a backup, the server's output or its log at trace."""
    for running in (True, False):
        if not running:
            server.stop()
        if not DATABASE:
            back_up(server, f"backup-{running}.db")
        files = [path for path in server.folder.rglob("*") if path.is_file()]
        assert DATABASE or {"linkspan.db", "backup-True.db", "backup-True.vacuumed"} <= {path.name for path in files}
        for path in files:
            if path.name == "keyring":
                continue
            contents = path.read_bytes()
            for secret in secrets:
                assert secret.encode() not in contents, f"a secret stands in {path.name}"
    server.start()


class TokenBank(http.server.BaseHTTPRequestHandler):
    """A bank with OAuth and FDX whose tokens are known canaries, which rotate, and which says them in its refusals."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = urllib.parse.urlparse(self.path).path
        bank, url = self.server.bank, self.server.bank.url
        if path == "/.well-known/openid-configuration":
            return self.answer(200, {
                "issuer": url, "authorization_endpoint": f"{url}/authorize", "token_endpoint": f"{url}/token",
                "revocation_endpoint": f"{url}/revoke"})
        bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
        bank.seen.append((path, bearer))
        if bearer != bank.access:
            return self.answer(401, {"code": 602, "message": f"{bearer} is not {bank.access}"})
        if bank.refuses:
            return self.answer(bank.refuses, {"code": 500, "message": f"no {bearer}, {bank.refresh}"},
                               {"X-Token": bearer})
        if path == "/accounts":
            return self.answer(200, {"accounts": [
                {"accountCategory": "DEPOSIT_ACCOUNT", "accountId": f"a{n}", "accountType": "CHECKING"}
                for n in range(4)]})
        if path.endswith("/transactions"):
            return self.answer(200, {"transactions": []})
        if path.endswith("/contact"):
            return self.answer(200, {"holders": [{"name": {"first": "Zoe", "last": "Owner"}}]})
        return self.answer(200, {"currentBalance": 5, "paymentNetworks": []})

    def do_POST(self):
        bank = self.server.bank
        form = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        if self.path == "/revoke":
            bank.revoked.append(form["token"])
            return self.answer(200, {})
        if form["grant_type"] == "refresh_token" and form["refresh_token"] != bank.refresh:
            return self.answer(400, {"error": "invalid_grant", "error_description": form["refresh_token"]})
        return self.answer(200, {**bank.issue(), "token_type": "Bearer", "expires_in": 9223372036854775807})

    def answer(self, status, body, headers=()):
        text = json.dumps(body).encode()
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


class Canaries:
    """What a `TokenBank` has given out and was shown."""

    def __init__(self, context=None):
        self.given, self.seen, self.revoked, self.refuses = [], [], [], None
        self.access = self.refresh = None
        self.listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), TokenBank)
        self.listener.bank = self
        if context:
            self.listener.socket = context.wrap_socket(self.listener.socket, server_side=True)
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.listener.server_port}"

    def issue(self):
        self.access, self.refresh = unique("canary-access"), unique("canary-refresh")
        self.given += [self.access, self.refresh]
        return {"access_token": self.access, "refresh_token": self.refresh}

    def end_access(self):
        self.access = unique("canary-unknown")


@contextlib.contextmanager
def token_bank(context=None):
    bank = Canaries(context)
    threading.Thread(target=bank.listener.serve_forever, daemon=True).start()
    try:
        yield bank
    finally:
        bank.listener.shutdown()


def come_back(server, api):
    """Sign in at Other Bank, whose page is left out; answers the flow, the sign-in and the last page."""
    flow = Flow(server.url, api.session())
    flow.consent()
    auth = good(flow.start("Other Bank"))
    state = dict(urllib.parse.parse_qsl(urllib.parse.urlparse(auth["url"]).query))["state"]
    page = go_on(requests.get(f"{server.url}/flow/return", {"code": "c", "state": state}, timeout=30))
    assert outcome(page) == "success", page.text
    return flow, auth, page


def link_at_token_bank(server, bank):
    """Answers what the flow was told, and the accounts that were linked."""
    api = server.api()
    flow, auth, page = come_back(server, api)
    bank.refuses = 500
    refused = flow.post("connections/auth_sessions/accounts", id=auth["id"])
    assert refused.status_code == 400, refused.text
    bank.refuses = None
    linked = good(flow.select(auth, flow.accounts(auth)))["data"]
    flow.finish()
    return page.text + refused.text, [account(api, one["linked_account_id"]) for one in linked]


def test_tokens_that_rotate_are_readable_nowhere(own_server, tmp_path):
    with token_bank() as bank:
        path = bank_file(tmp_path, bank.url, bank.url, scopes=["accounts"])
        server = own_server(["--connectors", str(path), "--log-level", "trace"])
        told, (*linked, last) = link_at_token_bank(server, bank)
        for one in linked:
            bank.end_access()
            fresh = refreshed(server.api(), one, *FEATURES)
            assert {fresh[f"{f}_refresh"]["status"] for f in ("balance", "ownership", "transaction")} == {"succeeded"}
        assert len(bank.given) == 8 and {bearer for _, bearer in bank.seen} >= set(bank.given[::2])
        bank.refuses = 418
        told += json.dumps(refreshed(server.api(), last, "balance"))
        bank.refuses, bank.refresh = None, unique("canary-stolen")
        bank.end_access()
        begin_refresh(server.api(), last["id"], "ownership")
        wait_until(lambda: account(server.api(), last["id"])["status"] == "inactive", 30, "the link is over")
        told += json.dumps(good(server.api().get("/v1/events", {"limit": 100})))
        assert "canary" not in told
        assert_nothing_readable(server, bank.given + ["canary-"])


def certificates(folder):
    """A made-up authority, a server's certificate of it for this machine, and a client's: paths of PEM files."""
    now = datetime.datetime.now(datetime.timezone.utc)

    def make(name, issuer=None, *extensions):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer[0].subject if issuer else subject)
                   .public_key(key.public_key()).serial_number(x509.random_serial_number())
                   .not_valid_before(now - datetime.timedelta(days=1))
                   .not_valid_after(now + datetime.timedelta(days=1)))
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        certificate = builder.sign(issuer[1] if issuer else key, hashes.SHA256())
        (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (folder / f"{name}.key").write_bytes(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        return certificate, key

    authority = make("authority", None, x509.BasicConstraints(ca=True, path_length=None))
    make("bank", authority, x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]))
    make("client", authority)
    make("stranger")


def test_mutual_tls(own_server, tmp_path):
    """A bank that lets nobody in without a certificate that it knows."""
    certificates(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tmp_path / "authority.pem")
    context.load_cert_chain(tmp_path / "bank.pem", tmp_path / "bank.key")
    context.verify_mode = ssl.CERT_REQUIRED
    trust = {"trusted_certificates": {"file": "authority.pem"}}

    def shown(name):
        return {"client_certificate": {"file": f"{name}.pem"}, "client_certificate_key": {"file": f"{name}.key"}}

    def check(settings):
        path = bank_file(tmp_path, bank.url, bank.url, **settings)
        checked = subprocess.run([BINARY, "connectors", "check", "--test", "--connectors", path],
                                 capture_output=True, text=True, timeout=60)
        return checked.returncode, checked.stdout + checked.stderr

    proof = {"scopes": ["accounts"], "client_authentication": "tls_client_auth", "client_secret": None}
    with token_bank(context) as bank:
        assert check({**proof, **trust, **shown("client")})[0] == 0
        bank.seen.clear()
        for wrong in ({"scopes": ["accounts"], **trust}, {**proof, **trust, **shown("stranger")},
                      {**proof, **shown("client")}):
            status, said = check(wrong)
            assert status == 1 and "one side does not take the other's certificate" in said, said
        assert bank.seen == []
        status, said = check({**proof, **trust, **shown("client"), "client_certificate_key": {"file": "bank.key"}})
        assert status == 1 and "are no pair" in said and "PRIVATE" not in said, said
        path = bank_file(tmp_path, bank.url, bank.url, **proof, **trust, **shown("client"))
        server = own_server(["--connectors", str(path)])
        _, linked = link_at_token_bank(server, bank)
        bank.end_access()
        fresh = refreshed(server.api(), linked[0], *FEATURES)
        assert {fresh[f"{f}_refresh"]["status"] for f in ("balance", "ownership", "transaction")} == {"succeeded"}
        key = (tmp_path / "client.key").read_text().splitlines()[1]
        assert_nothing_readable(server, [*bank.given, key])


def test_denying_at_another_provider_ends_on_a_clear_page(other_bank):
    server, _ = other_bank
    flow = Flow(server.url, server.api().session())
    flow.consent()
    auth = good(flow.start("Other Bank"))
    # This provider forgets to hand the state back, so nothing can be known of whose denial it was.
    page = sign_in_at_provider(auth["url"], action="deny")
    assert 'data-outcome="unknown"' in page.text
    assert good(flow.post("connections/auth_sessions/retrieve", id=auth["id"]))["next_pane"] == "partner_auth"


def test_a_provider_that_is_gone_is_an_institution_that_is_down(own_server, tmp_path):
    with run_server_in_thread() as provider:
        issuer = f"http://localhost:{provider.server_port}"
        server = own_server(["--connectors", str(bank_file(tmp_path, issuer, "http://127.0.0.1:1"))])
    flow = Flow(server.url, server.api().session())
    flow.consent()
    error = bad(flow.start("Other Bank"), 400)
    assert error["extra_fields"]["institution_unavailable"] is True
    session = server.api().session()
    helped = server.api().post(complete_path(session["id"]), {"institution": "Other Bank"})
    bad(helped, 400)


def test_the_operators_banks_are_listed_and_checked(tmp_path):
    with run_server_in_thread() as provider, fdx_stub() as api:
        issuer = f"http://localhost:{provider.server_port}"
        path = bank_file(tmp_path, issuer, f"http://127.0.0.1:{api.server_port}")

        def run(*arguments):
            return subprocess.run([BINARY, "connectors", *arguments, "--connectors", path], capture_output=True,
                                  text=True, timeout=60)

        listed = run("list", "--json")
        assert json.loads(listed.stdout) == [
            {"id": "fcinst_OtherBank00001", "connector": "fdx", "name": "Other Bank"}], listed.stderr
        checked = run("check", "--test", "--json")
        assert checked.returncode == 0 and json.loads(checked.stdout)[0]["state"] == "ok", checked.stderr
        # In live mode this machine is not to be reached.
        refused = run("check")
        assert refused.returncode == 1 and "issuer: " in refused.stdout and "--test" in refused.stdout
        bank_file(tmp_path, issuer, f"http://127.0.0.1:{api.server_port}", paths={"accounts": "/nowhere"})
        refused = run("check", "--test")
        assert refused.returncode == 1 and "base_url" in refused.stdout, refused.stdout
    assert run("check", "--test").returncode == 1, "it is gone"
    path.write_text(path.read_text().replace('"client_id"', '"client"'))
    wrong = run("list")
    assert wrong.returncode == 1 and "client_id" in wrong.stderr and SECRET not in wrong.stderr


def test_an_institution_without_settings_needs_none(tmp_path):
    bank = {"id": "fcinst_TownBankFile01", "name": "Town Bank", "domain": "town.example", "connector": "ofx_file"}
    (tmp_path / "banks.json").write_text(json.dumps({"institutions": [bank]}))
    listed = subprocess.run([BINARY, "connectors", "list", "--connectors", tmp_path / "banks.json"],
                            capture_output=True, text=True, timeout=60)
    assert listed.returncode == 0 and "Town Bank" in listed.stdout, listed.stderr


def test_the_bank_alone(tmp_path):
    """`linkspan bank`: a client of FDX needs nothing but an address and a secret."""
    callback = "http://127.0.0.1:9/callback"
    process = subprocess.Popen(
        [BINARY, "bank", "--port", "0", "--client-id", "me", "--client-secret", "s3cret", "--redirect-uri", callback],
        stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    try:
        line = next(line for line in process.stdout if "Issuer" in line)
        issuer = re.search(r"http://\S+/bank$", line.strip()).group(0)
        about = requests.get(f"{issuer}/.well-known/openid-configuration", timeout=30).json()
        assert about["issuer"] == issuer
        # What it prints is a file of institutions that works as it stands.
        printed = list(itertools.takewhile(lambda line: "refresh_seconds" not in line, process.stdout))
        entry = printed[next(at for at, line in enumerate(printed) if line.strip() == "institutions:"):]
        (tmp_path / "banks.yaml").write_text("".join(entry))
        checked = subprocess.run(
            [BINARY, "connectors", "check", "--test", "--connectors", "banks.yaml"], cwd=tmp_path, timeout=60,
            capture_output=True, text=True, env={**clean_environment(), "REFERENCE_BANK_SECRET": "s3cret"})
        assert checked.returncode == 0 and "Reference Bank  ok" in checked.stdout, checked.stdout + checked.stderr
        verifier = "v" * 43
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
        asked = {"response_type": "code", "redirect_uri": callback, "scope": "openid fdx:balances:read", "state": "s",
                 "code_challenge": challenge, "code_challenge_method": "S256", "client_id": "me", "nonce": "n"}
        auth = ("me", "s3cret")
        assert requests.post(about["pushed_authorization_request_endpoint"], asked, auth=("me", "no"),
                             timeout=30).status_code == 401
        pushed = requests.post(about["pushed_authorization_request_endpoint"], asked, auth=auth, timeout=30)
        assert pushed.status_code == 201
        for change in ({"code_challenge_method": "plain"}, {"redirect_uri": callback + "/x"}, {"scope": "all"}):
            refused = requests.post(about["pushed_authorization_request_endpoint"], {**asked, **change}, auth=auth,
                                    timeout=30)
            assert refused.status_code == 400 and refused.json()["error"], refused.text
        page = requests.get(about["authorization_endpoint"],
                            {"client_id": "me", "request_uri": pushed.json()["request_uri"]}, timeout=30)
        request = re.search(r'name="request" value="([^"]+)"', page.text).group(1)
        back = requests.post(about["authorization_endpoint"], timeout=30, allow_redirects=False,
                             data={"request": request, "decision": "allow", "user": "jo", "accounts[]": "Success"})
        code = dict(urllib.parse.parse_qsl(urllib.parse.urlparse(back.headers["Location"]).query))
        assert code["state"] == "s" and code["iss"] == issuer

        def token(**form):
            return requests.post(about["token_endpoint"], form, auth=auth, timeout=30)

        spent = {"grant_type": "authorization_code", "code": code["code"], "redirect_uri": callback}
        assert token(**spent, code_verifier="w" * 43).json()["error"] == "invalid_grant"
        tokens = token(**spent, code_verifier=verifier).json()
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        base = f"{issuer}/fdx/v6"
        (only,) = requests.get(f"{base}/accounts", headers=bearer, timeout=30).json()["accounts"]
        history = f"{base}/accounts/{only['accountId']}/transactions"
        week = requests.get(history, headers=bearer, timeout=30).json()["page"]["totalElements"]
        year = requests.get(history, {"startTime": "2000-01-01", "endTime": "2100-01-01"}, headers=bearer, timeout=30)
        assert week < 25 < year.json()["page"]["totalElements"], "without a range it is seven days"
        assert requests.get(history, {"startTime": "2026-01-01"}, headers=bearer, timeout=30).json()["code"] == "703"
        assert requests.get(f"{base}/accounts/nobody", headers=bearer, timeout=30).json()["code"] == "701"
        assert requests.get(f"{base}/accounts", timeout=30).json()["code"] == "602"
        again = token(grant_type="refresh_token", refresh_token=tokens["refresh_token"]).json()
        assert again["refresh_token"] != tokens["refresh_token"]
        reused = token(grant_type="refresh_token", refresh_token=tokens["refresh_token"])
        assert reused.json()["error"] == "invalid_grant"
        bearer = {"Authorization": f"Bearer {again['access_token']}"}
        gone = requests.get(f"{base}/accounts", headers=bearer, timeout=30)
        assert gone.status_code == 401, "a refresh token that came twice ends the consent"
    finally:
        process.terminate()
        process.wait(timeout=30)
