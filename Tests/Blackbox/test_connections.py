"""SimpleFIN and OFX Direct Connect from outside: servers written from the protocols, institutions from the operator's
file, and no secret of theirs readable anywhere afterwards."""

import base64
import concurrent.futures
import http.server
import json
import os
import pathlib
import threading
import time
import urllib.parse

import pytest

from support import API, Flow, good, new_server, refused, wait_until
from test_files import PERMISSIONS, refresh, transactions
from test_isolation import make_key

PASSWORD = "canary-password-2f6d0c"
SIMPLEFIN, DIRECT = "Money Bridge", "Paper and Sons"
CONFIGURATION = """
institutions:
  - {{id: fcinst_SimpleFINTest1, name: Money Bridge, domain: bridge.example, connector: simplefin,
     settings: {{refresh_seconds: 1}}}}
  - {{id: fcinst_OFXDirectTst01, name: Paper and Sons, domain: paper.example, connector: ofx_direct,
     settings: {{url: "{url}/ofx", org: PAPER, fid: 4242, refresh_seconds: 1}}}}
  - {{id: fcinst_OFXFilesTest01, name: Village files, domain: village.example, connector: ofx_file,
     settings: {{currency: CHF}}}}
"""


class Banks:
    """A SimpleFIN server and an OFX server at one address."""

    def __init__(self):
        self.claimed = 0
        self.may_claim = threading.Event()
        self.asked = []
        self.faults = []
        self.refused = False
        self.now = int(time.time())
        self.may_claim.set()
        banks = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self.answer(*banks.get(self.path, self.headers.get("Authorization")))

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode("latin-1")
                self.answer(*banks.post(self.path, body))

            def answer(self, status, body):
                content = body.encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def access_url(self):
        return self.url.replace("http://", f"http://user:{PASSWORD}@") + "/simplefin"

    @property
    def token(self):
        return base64.b64encode(f"{self.url}/simplefin/claim/abc".encode()).decode()

    def get(self, path, authorization):
        parts = urllib.parse.urlsplit(path)
        expected = "Basic " + base64.b64encode(f"user:{PASSWORD}".encode()).decode()
        if parts.path != "/simplefin/accounts" or authorization != expected or self.refused:
            return 403, "Forbidden"
        self.asked.append(urllib.parse.parse_qs(parts.query))
        return 200, json.dumps({
            "errlist": self.faults,
            "connections": [{"conn_id": "C1", "name": "First Bank", "org_id": "1", "sfin_url": self.url},
                            {"conn_id": "C2", "name": "Second Bank", "org_id": "2", "sfin_url": self.url}],
            "accounts": [
                {"id": "A1", "name": "Everyday Checking (1234)", "conn_id": "C1", "currency": "USD",
                 "balance": "100.23", "available-balance": "75.23", "balance-date": self.now, "transactions": [
                     {"id": "t1", "posted": self.now - 90_000, "amount": "-20.5", "description": "Bait Shop"},
                     {"id": "t2", "posted": 0, "transacted_at": self.now - 3600, "amount": "-1", "pending": True,
                      "description": "Kiosk"}]},
                {"id": "A2", "name": "Visa ...9876", "conn_id": "C2", "currency": "USD", "balance": "-250.00",
                 "balance-date": self.now, "transactions": []},
                {"id": "A3", "name": "Air Miles", "conn_id": "C2", "currency": "https://air.example/miles",
                 "balance": "9", "balance-date": self.now}],
        })

    def post(self, path, body):
        if path == "/simplefin/claim/abc":
            self.claimed += 1
            if self.claimed > 1:
                return 403, "Forbidden"
            self.may_claim.wait(30)
            return 200, self.access_url
        return 200, self.ofx(body)

    def ofx(self, body):
        def document(code, rest):
            severity = "ERROR" if code else "INFO"
            return (f"OFXHEADER:100\nDATA:OFXSGML\nVERSION:103\n\n<OFX><SIGNONMSGSRSV1><SONRS><STATUS><CODE>{code}"
                    f"<SEVERITY>{severity}</STATUS><DTSERVER>20260101</SONRS></SIGNONMSGSRSV1>{rest}</OFX>")

        if "<PROFRQ>" in body:
            return document(0, "<PROFMSGSRSV1><PROFTRNRS><PROFRS><SIGNONINFOLIST><SIGNONINFO><CLIENTUIDREQ>Y"
                               "</SIGNONINFO></SIGNONINFOLIST></PROFRS></PROFTRNRS></PROFMSGSRSV1>")
        if PASSWORD not in body:
            return document(15500, "")
        account = "<BANKACCTFROM><BANKID>1<ACCTID>000777666555<ACCTTYPE>SAVINGS</BANKACCTFROM>"
        if "<ACCTINFORQ>" in body:
            return document(0, f"<SIGNUPMSGSRSV1><ACCTINFOTRNRS><ACCTINFORS><ACCTINFO><DESC>Rainy days<BANKACCTINFO>"
                               f"{account}<SUPTXDL>Y<SVCSTATUS>ACTIVE</BANKACCTINFO></ACCTINFO></ACCTINFORS>"
                               f"</ACCTINFOTRNRS></SIGNUPMSGSRSV1>")
        day = time.strftime("%Y%m%d", time.gmtime(self.now - 86_400))
        return document(0, f"<BANKMSGSRSV1><STMTTRNRS><STMTRS><CURDEF>EUR{account}<BANKTRANLIST><STMTTRN><TRNTYPE>INT"
                           f"<DTPOSTED>{day}<TRNAMT>1,25<FITID>1<NAME>INTEREST</STMTTRN></BANKTRANLIST><LEDGERBAL>"
                           f"<BALAMT>501.25<DTASOF>{day}</LEDGERBAL></STMTRS></STMTTRNRS></BANKMSGSRSV1>")


@pytest.fixture
def banks():
    running = Banks()
    yield running
    running.server.shutdown()


@pytest.fixture
def connected(own_server, banks, tmp_path):
    """A server that reaches the banks."""
    file = tmp_path / "banks.yaml"
    file.write_text(CONFIGURATION.format(url=banks.url))
    return own_server(["--connectors", str(file), "--log-level", "trace"])


def open_session(server, customer=None):
    raw = server.api()
    session = raw.session(customer or raw.customer()["id"], **PERMISSIONS)
    flow = Flow(server.url, session)
    flow.consent()
    return flow


def answer(flow, auth, **answers):
    return good(flow.post("connections/auth_sessions/respond",
                          {"id": auth["id"], **{f"response[{name}]": text for name, text in answers.items()}}))


def finish(flow, auth, accounts):
    good(flow.select(auth, accounts))
    return good(flow.post("link_account_sessions/complete"))["accounts"]["data"]


def assert_nothing_readable(server, *secrets):
    folder = pathlib.Path(server.folder)
    for secret in secrets:
        for path in folder.rglob("*"):
            if path.is_file():
                assert secret.encode() not in path.read_bytes(), f"{secret} can be read in {path.name}"


def test_simplefin_from_the_token_to_a_bank_that_wants_a_new_sign_in(connected, banks):
    raw = connected.api()
    customer = raw.customer()["id"]
    flow = open_session(connected, customer)
    auth = good(flow.start(SIMPLEFIN))
    wrong = answer(flow, auth, token="not a token")
    assert "not a SimpleFIN token" in wrong["prompt"]["error"]
    halves = banks.token[:20] + "\n " + banks.token[20:].rstrip("=")
    auth = answer(flow, auth, token=halves)
    assert auth["next_pane"] == "account_picker" and banks.claimed == 1
    offered = flow.accounts(auth)
    assert [one["name"] for one in offered] == ["Everyday Checking (1234)", "Visa ...9876", "Air Miles"]
    assert [one["institution_name"] for one in offered] == ["First Bank", "Second Bank", "Second Bank"]
    assert [one["category_kind"] for one in offered] == ["checking", "credit_card", "other"]
    assert [one["allow_selection"] for one in offered] == [True, True, False]
    assert "ISO 4217" in offered[2]["allow_selection_message"]
    refused(flow.select(auth, offered))
    linked = finish(flow, auth, offered[:2])
    first, second = sorted(linked, key=lambda one: one["institution_name"])
    assert (first["last4"], second["last4"]) == ("1234", "9876")
    assert refresh(raw, first["id"], "balance")["balance"]["cash"] == {"available": {"usd": 7523}}
    shown = refresh(raw, second["id"], "balance")["balance"]
    assert (shown["type"], shown["current"]) == ("credit", {"usd": -25_000})
    refresh(raw, first["id"], "transactions")
    listed = transactions(raw, first["id"])
    assert sorted((one["amount"], one["status"]) for one in listed) == [(-2050, "posted"), (-100, "pending")]
    assert all(one["version"] == ["2"] for one in banks.asked)

    banks.faults = [{"code": "con.auth", "msg": "Sign in again", "conn_id": "C2"}]
    wait_until(lambda: deactivate(raw, first["id"], second["id"]) == ["active", "inactive"], 30,
               "the second bank's account alone is inactive")

    again = open_session(connected, customer)
    auth = good(again.start(SIMPLEFIN))
    used = answer(again, auth, token=banks.token)
    assert "used before" in used["prompt"]["error"] and "somebody else" in used["prompt"]["error"]
    auth = answer(again, auth, token=banks.access_url)
    offered = again.accounts(auth)
    assert [one["allow_selection"] for one in offered] == [True, False, False]
    assert offered[1]["allow_selection_message"] == "Your SimpleFIN server says: Sign in again"
    refused(again.select(auth, offered[1:2]))
    # Once the person has set it right, a new sign-in shows it at once.
    banks.faults = []
    auth = answer(again, good(again.start(SIMPLEFIN)), token=banks.access_url)
    relinked = finish(again, auth, again.accounts(auth)[:2])
    assert {one["id"] for one in relinked} == {first["id"], second["id"]}
    assert {one["status"] for one in relinked} == {"active"}
    connected.stop()
    encoded = base64.b64encode(f"user:{PASSWORD}".encode()).decode()
    assert_nothing_readable(connected, PASSWORD, banks.token, encoded, "claim/abc")


def test_a_token_that_is_given_twice_at_once_is_not_lost(connected, banks):
    flow = open_session(connected)
    auth = good(flow.start(SIMPLEFIN))
    banks.may_claim.clear()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        first = pool.submit(answer, flow, auth, token=banks.token)
        wait_until(lambda: banks.claimed == 1, 30, "the token is being claimed")
        second = answer(flow, auth, token=banks.token)
        assert "used before" in second["prompt"]["error"]
        banks.may_claim.set()
        assert first.result()["next_pane"] == "account_picker"
    assert len(flow.accounts(auth)) == 3


def test_a_stranger_cannot_reach_the_operators_networks_by_a_token(tmp_path, banks):
    file, ring = tmp_path / "banks.yaml", tmp_path / "ring"
    allowed = CONFIGURATION.replace("{{refresh_seconds: 1}}", "{{reaches_allowed_networks: true}}", 1)
    allowed = allowed.replace("fcinst_SimpleFINTest1", "fcinst_SimpleFINTest2").replace(SIMPLEFIN, "Our own")
    own = allowed.splitlines()[2:4]
    file.write_text((CONFIGURATION + "\n".join(own)).format(url=banks.url))
    ring.write_text(f"7:{base64.b64encode(os.urandom(32)).decode()}\n")
    server = new_server(tmp_path, ["--key-file", str(ring), "--connectors", str(file),
                                   "--allow-networks", "127.0.0.0/8"]).start()
    try:
        keys = [make_key(server, "--kind", kind, "--live") for kind in ("secret", "publishable")]
        flow = Flow(server.url, API(server.url, keys[0]).session(**PERMISSIONS), keys[1])
        flow.consent()
        auth = good(flow.start(SIMPLEFIN))
        assert "cannot be used" in answer(flow, auth, token=banks.token)["prompt"]["error"]
        assert banks.claimed == 0
        auth = good(flow.start("Our own"))
        assert answer(flow, auth, token=banks.token)["next_pane"] == "account_picker"
    finally:
        server.stop()


def deactivate(raw, *accounts):
    """Refresh both balances, once that is allowed again, and say what the accounts are then."""
    states = []
    for account in accounts:
        raw.post(f"/v1/financial_connections/accounts/{account}/refresh", {"features[]": "balance"})
        states.append(good(raw.get(f"/v1/financial_connections/accounts/{account}"))["status"])
    return states


def test_direct_connect_from_the_password_to_the_transactions(connected, banks):
    raw = connected.api()
    flow = open_session(connected)
    auth = good(flow.start(DIRECT))
    assert [field["kind"] for field in auth["prompt"]["fields"]] == ["text", "password"]
    wrong = answer(flow, auth, user="ada", password="wrong")
    assert wrong["prompt"]["error"] == "The user name or the password is not right."
    auth = answer(flow, auth, user="ada", password=PASSWORD)
    (offered,) = flow.accounts(auth)
    assert (offered["name"], offered["subcategory"], offered["category_kind"]) == ("Rainy days", "savings", None)
    (account,) = finish(flow, auth, [offered])
    assert refresh(raw, account["id"], "balance")["balance"]["current"] == {"eur": 50_125}
    refresh(raw, account["id"], "transactions")
    (one,) = transactions(raw, account["id"])
    assert (one["amount"], one["currency"], one["description"]) == (125, "eur", "INTEREST")
    connected.stop()
    assert_nothing_readable(connected, PASSWORD, "000777666555")


def test_an_institution_of_files_has_its_own_currency(connected):
    flow = open_session(connected)
    auth = good(flow.start("Village files"))
    assert [field["kind"] for field in auth["prompt"]["fields"]] == ["file"]
