"""A bank that speaks FDX and answers what no bank should: nobody gets a fault of ours, what cannot be told apart is
left out, and a balance is exact or is not taken."""

import gzip
import http.server
import json
import threading
import urllib.parse

import pytest

from support import begin_refresh, good, refreshed, wait_until
from test_banks import account, bank_file, come_back

ACCOUNT = {"accountCategory": "DEPOSIT_ACCOUNT", "accountId": "a0", "accountType": "CHECKING", "nickname": "Daily"}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        bank, path = self.server.bank, urllib.parse.urlparse(self.path).path
        bank.asked += 1
        if path == "/.well-known/openid-configuration":
            return self.answer(json.dumps({
                "issuer": bank.url, "authorization_endpoint": f"{bank.url}/authorize",
                "token_endpoint": f"{bank.url}/token"}))
        if path == "/accounts":
            return bank.accounts(self) if callable(bank.accounts) else self.answer(bank.accounts)
        return self.answer(bank.transactions if path.endswith("/transactions") else bank.details)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(json.dumps({"access_token": "t", "refresh_token": "r", "expires_in": 900}))

    def answer(self, body, status=200, headers=()):
        body = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle(self):
        try:
            super().handle()
        except ConnectionError:
            pass  # the server has read enough

    def log_message(self, *_):
        pass


class Bank:
    def __init__(self):
        self.asked, self.details, self.transactions = 0, "{}", '{"transactions": []}'
        self.accounts = accounts()
        self.listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.listener.bank = self
        self.url = f"http://127.0.0.1:{self.listener.server_port}"
        threading.Thread(target=self.listener.serve_forever, daemon=True).start()


def accounts(*changes):
    return json.dumps({"accounts": [{**ACCOUNT, **change} for change in changes or [{}]]})


@pytest.fixture
def hostile(own_server, tmp_path):
    bank = Bank()
    path = bank_file(tmp_path, bank.url, bank.url, scopes=["accounts"], refresh_seconds="1")
    yield own_server(["--connectors", str(path), "--early-refresh", "ignore"]), bank
    bank.listener.shutdown()


def without_end(handler):
    number = handler.server.bank.asked
    page = json.loads(accounts({"accountId": f"a{number}"}))
    handler.answer(json.dumps({"page": {"nextOffset": str(number)}, **page}))


UNREADABLE = {
    "null": "null", "a list": "[]", "no list": '{"accounts": {}}', "nothing": "",
    "too deep": '{"accounts": ' + "[" * 200_000,
    "deep": '{"accounts": [{"x":' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "}]}",
    "too long": '{"accounts": [' + ",".join([json.dumps(ACCOUNT)] * 90_000) + "]}",
    "elsewhere": lambda handler: handler.answer("", 302, {"Location": "http://169.254.169.254/latest"}),
    "packed": lambda handler: handler.answer(gzip.compress(b" " * 50_000_000), headers={"Content-Encoding": "gzip"}),
    "later": lambda handler: handler.answer("{}", 429, {"Retry-After": "9" * 30}),
    "earlier": lambda handler: handler.answer("{}", 429, {"Retry-After": "-5"}),
}


def test_a_list_of_accounts_without_sense_is_refused_in_words(hostile):
    server, bank = hostile
    api = server.api()
    for name, body in UNREADABLE.items():
        bank.accounts = body
        flow, auth, _ = come_back(server, api)
        refused = flow.post("connections/auth_sessions/accounts", id=auth["id"])
        assert refused.status_code == 400 and "Other Bank" in refused.json()["error"]["message"], (name, refused.text)


def test_accounts_that_cannot_be_told_apart_are_left_out(hostile):
    server, bank = hostile
    api = server.api()
    ids = ["", "a\0b", "x" * 100_000, "a0", "a0", "../../token?x#y", "line\nbreak"]
    bank.accounts = accounts(*({"accountId": id} for id in ids), {"accountId": 5})
    flow, auth, _ = come_back(server, api)
    offered = flow.accounts(auth)
    assert [one["id"] for one in offered] == ["a0", "../../token?x#y", "5"]
    assert len(good(flow.select(auth, offered))["data"]) == 3
    bank.accounts = without_end
    flow, auth, _ = come_back(server, api)
    bank.asked = 0
    good(flow.post("connections/auth_sessions/accounts", id=auth["id"]))
    assert bank.asked <= 250


def test_names_are_on_one_line_and_end(hostile):
    server, bank = hostile
    api = server.api()
    bank.accounts = accounts(
        {"nickname": "\0Daily\u202e<script>\r\nX-Header: 1"}, {"accountId": "a1", "nickname": "n" * 200_000})
    flow, auth, _ = come_back(server, api)
    linked = good(flow.select(auth, flow.accounts(auth)))["data"]
    names = [account(api, one["linked_account_id"])["display_name"] for one in linked]
    assert names == ["Daily <script> X-Header: 1", "n" * 1000]
    bank.transactions = json.dumps({"transactions": [
        {"transactionId": id, "amount": 1, "debitCreditMemo": "DEBIT", "status": "POSTED", "description": "A\0B\u2028C",
         "postedTimestamp": "2026-11-20T10:00:00Z"} for id in ("t1", "t\0", "")]})
    refreshed(api, account(api, linked[0]["linked_account_id"]), "transactions")
    asked = {"account": linked[0]["linked_account_id"]}
    told = good(api.get("/v1/financial_connections/transactions", asked))["data"]
    assert [one["description"] for one in told] == ["A B C"]


AMOUNTS = {
    "-0": 0, "-0.0": 0, "0.12345678901234567890123456789": 12, '"12.34"': 1234, "1E2": 10_000,
    "92233720368547758.07": 9_223_372_036_854_775_807, "-92233720368547758.07": -9_223_372_036_854_775_807,
    "92233720368547758.08": None, "1e400": None, "1e-400": None, "NaN": None, "null": None, "true": None, "[]": None,
    '"12,34"': 1234, '"1,234"': None, '"1,234.56"': 123_456, '"$5"': None, "9" * 41: None, "1" * 5000: None,
}


def test_an_amount_is_exact_or_not_taken(hostile):
    server, bank = hostile
    api = server.api()
    for text, cents in AMOUNTS.items():
        details = json.dumps({**ACCOUNT, "currency": {"currencyCode": "USD"}})
        bank.details = f'{details[:-1]}, "currentBalance": {text}}}'
        flow, auth, _ = come_back(server, api)
        (linked,) = good(flow.select(auth, flow.accounts(auth)))["data"]
        begin_refresh(api, linked["linked_account_id"], "balance")

        def ended():
            shown = account(api, linked["linked_account_id"])
            return shown if shown["balance_refresh"]["status"] != "pending" else None

        shown = wait_until(ended, 60, "the refresh ends")
        found = (shown["balance_refresh"]["status"], (shown["balance"] or {}).get("current"))
        assert found == (("failed", None) if cents is None else ("succeeded", {"usd": cents})), text
