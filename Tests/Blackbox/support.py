"""What several test files need: the server as a process, its API over plain HTTP, and the client routes of the flow.

The tests see only the built binary. Those that share one server keep apart by using customers of their own.

They run on SQLite; with `LINKSPAN_TEST_DATABASE`, the address of a PostgreSQL server, each server has a schema of its
own there; with `LINKSPAN_TEST_SERVERS=2` as well, two servers share each schema, and requests go to them by turns.
"""

import json
import os
import pathlib
import queue
import re
import shutil
import signal
import subprocess
import threading
import time
import uuid

import requests
import stripe

import alternating
import postgres

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("LINKSPAN_BINARY", REPOSITORY / ".build" / "debug" / "linkspan"))
DATABASE = os.environ.get("LINKSPAN_TEST_DATABASE")
SERVERS = int(os.environ.get("LINKSPAN_TEST_SERVERS", "1"))
SECRET_KEY = "sk_test_blackboxSecretKey000000001"
PUBLISHABLE_KEY = "pk_test_blackboxPublishableKey0001"

DEFAULT_VERSION = "2026-08-26.dahlia"
ALL_PERMISSIONS = ["balances", "ownership", "payment_method", "transactions"]

TEST = "Test (Non-OAuth)"
BANK = "Bank (Non-OAuth)"
TEST_OAUTH, BANK_OAUTH = "Test (OAuth)", "Bank (OAuth)"
OWNERSHIP = "Ownership Accounts"
INVALID_PAYMENT = "Invalid Payment Accounts"
DOWN_SCHEDULED, DOWN_UNSCHEDULED, DOWN_ERROR = "Down (Scheduled)", "Down (Unscheduled)", "Down (Error)"
TOKENIZED = "Tokenized Account Number"
INACTIVE = "Inactive Accounts"
REAUTHENTICATE_SOON = "Immediately Requires Reauthentication"
REAUTHENTICATE_LATER = "Eventually Requires Reauthentication"
FEATURED_AND_FOUND = [
    TEST, BANK, TEST_OAUTH, BANK_OAUTH, OWNERSHIP, INVALID_PAYMENT, DOWN_SCHEDULED, DOWN_UNSCHEDULED, DOWN_ERROR,
    TOKENIZED, INACTIVE, REAUTHENTICATE_SOON, REAUTHENTICATE_LATER,
]

ANYTHING = object()


def unique(prefix="k"):
    return f"{prefix}-{uuid.uuid4().hex}"


def wait_until(check, seconds, what):
    """Ask until the answer is true; the time is only the bound after which the test fails."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = check()
        if answer:
            return answer
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


class Server:
    """One `linkspan serve` on a data folder. It can be stopped, killed and started again on the same folder.

    `database` is the address of a PostgreSQL database; without it, the server has SQLite in its folder.
    """

    def __init__(self, folder, flags=(), database=None):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data = self.folder / "data"
        self.flags = list(flags)
        self.database = database
        self.process = None
        self.url = None

    @property
    def storage(self):
        """Where a command of linkspan finds this installation."""
        return ["--data", str(self.data), *(["--database-url", self.database] if self.database else [])]

    def start(self):
        assert BINARY.exists(), f"no server at {BINARY}: build it, or set LINKSPAN_BINARY"
        command = [
            str(BINARY), "serve", "--port", "0", *self.storage,
            "--test-secret-key", SECRET_KEY, "--test-publishable-key", PUBLISHABLE_KEY, *self.flags,
        ]
        environment = clean_environment()
        with open(self.folder / "server.log", "ab") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, cwd=self.folder, env=environment, text=True
            )
        self._wait_for_address()
        self.url = json.loads((self.data / "server.json").read_text())["url"]
        wait_until(self._is_ready, 30, "GET /health/ready answers 200")
        return self

    def _wait_for_address(self):
        urls = queue.Queue()
        threading.Thread(target=self._read_output, args=(self.process.stdout, urls), daemon=True).start()
        try:
            url = urls.get(timeout=30)
        except queue.Empty:
            self.kill()
            raise AssertionError(f"the server printed no address\n{self.log()}") from None
        assert url, f"the server ended before it printed an address\n{self.log()}"
        return url

    def _read_output(self, output, urls):
        with open(self.folder / "server.out", "a") as copy:
            for line in output:
                copy.write(line)
                copy.flush()
                found = re.search(r"http://127\.0\.0\.1:[0-9]+", line)
                if found:
                    urls.put(found.group(0))
        urls.put(None)

    def _is_ready(self):
        assert self.process.poll() is None, f"the server ended while it started\n{self.log()}"
        try:
            return requests.get(f"{self.url}/health/ready", timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

    def stop(self):
        """Ask it to end, as a service manager does, and hold it to a clean end."""
        os.kill(self.process.pid, signal.SIGTERM)
        try:
            status = self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the server did not stop within 30 s of SIGTERM\n{self.log()}") from None
        assert status == 0, f"the server ended with status {status}\n{self.log()}"

    def kill(self):
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=30)

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def log(self):
        path = self.folder / "server.log"
        return path.read_text(errors="replace")[-4000:] if path.exists() else ""

    def sdk(self, key=SECRET_KEY, **options):
        """The official SDK, unmodified: only its base URL is set."""
        return stripe.StripeClient(key, base_addresses={"api": self.url}, max_network_retries=0, **options)

    def api(self, key=SECRET_KEY, version=None):
        return API(self.url, key, version)


class Pair:
    """Two servers on one PostgreSQL database, with what alternates between them in front."""

    def __init__(self, folder, flags, database):
        self.folder = pathlib.Path(folder)
        self.front = alternating.Front()
        self.url = self.front.url
        flags = [*flags, "--public-url", self.url]
        self.servers = [Server(self.folder / name, flags, database) for name in ("one", "two")]
        self.data, self.storage = self.servers[0].data, self.servers[0].storage

    def start(self):
        first, second = self.servers
        first.start()
        ring = first.data / "keyring"
        if ring.exists():
            second.data.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copy(ring, second.data)
        second.start()
        self.front.backends = [json.loads((one.data / "server.json").read_text())["url"] for one in self.servers]
        return self

    def stop(self):
        for one in self.servers:
            one.stop()

    def kill(self):
        for one in self.servers:
            one.kill()

    def is_running(self):
        return any(one.is_running() for one in self.servers)

    def log(self):
        return "".join(one.log() for one in self.servers)

    sdk = Server.sdk
    api = Server.api


def new_server(folder, flags=()):
    """A server, or a pair of them, on what the tests run on."""
    if not DATABASE:
        return Server(folder, flags)
    database = postgres.new_schema(DATABASE)
    return Pair(folder, flags, database) if SERVERS == 2 else Server(folder, flags, database)


def clean_environment():
    return {name: value for name, value in os.environ.items() if not name.startswith("LINKSPAN_")}


class API:
    """The merchant's side over plain HTTP, on one connection."""

    def __init__(self, url, key=SECRET_KEY, version=None):
        self.url = url
        self.http = requests.Session()
        self.http.trust_env = False
        if key:
            self.http.headers["Authorization"] = f"Bearer {key}"
        if version:
            self.http.headers["Stripe-Version"] = version

    def request(self, method, path, **options):
        return self.http.request(method, f"{self.url}{path}", timeout=60, **options)

    def get(self, path, query=None, **headers):
        return self.request("GET", path, params=query, headers=headers)

    def post(self, path, form=None, **headers):
        """`form` is a mapping with the brackets in its keys, or the raw body."""
        if isinstance(form, (str, bytes)):
            headers = {"Content-Type": "application/x-www-form-urlencoded", **headers}
        return self.request("POST", path, data=form, headers=headers)

    def delete(self, path):
        return self.request("DELETE", path)

    def customer(self, **form):
        return good(self.post("/v1/customers", form))

    def session(self, customer=None, **form):
        """A Session for the customer (a new one where none is given). Further fields: `{"limits[accounts]": 1}`."""
        fields = {
            "account_holder[type]": "customer",
            "account_holder[customer]": customer or self.customer()["id"],
            "permissions[]": ALL_PERMISSIONS,
            **form,
        }
        return good(self.post("/v1/financial_connections/sessions", fields))

    def complete(self, session, **form):
        return good(self.post(complete_path(session["id"]), form))

    def linked(self, customer=None, institution=TEST, **form):
        return self.complete(self.session(customer, **form), institution=institution)


def complete_path(session_id):
    return f"/v1/test_helpers/financial_connections/sessions/{session_id}/complete"


class Flow:
    """The client's side: the routes that the hosted page and the mobile SDKs call, for one Session."""

    def __init__(self, url, session, key=PUBLISHABLE_KEY, token=None):
        self.url = url
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.headers["Authorization"] = f"Bearer {token or key}"
        self.secret = {} if token else {"client_secret": session["client_secret"]}

    def get(self, path, **query):
        return self.http.get(f"{self.url}/v1/{path}", params={**self.secret, **query}, timeout=60)

    def post(self, path, form=None, **more):
        data = {**self.secret, **(form or {}), **more}
        return self.http.post(f"{self.url}/v1/{path}", data=data, timeout=60)

    def synchronize(self, **form):
        return good(self.post("financial_connections/sessions/synchronize", form))

    def consent(self):
        return good(self.post("link_account_sessions/consent_acquired"))

    def search(self, query):
        return good(self.get("connections/institutions", query=query))["data"]

    def institution(self, name):
        found = [bank["id"] for bank in self.search(name) if bank["name"] == name]
        assert len(found) == 1, f"{name!r} was found {len(found)} times"
        return found[0]

    def start(self, name):
        return self.post("connections/auth_sessions", institution=self.institution(name))

    def respond(self, auth, password="open sesame", text="open sesame"):
        """Answer each field of the prompt: a choice with its first option, the others with the given texts."""
        answers = {}
        for field in auth["prompt"]["fields"]:
            value = {"password": password, "text": text}.get(field["kind"])
            answers[f"response[{field['name']}]"] = value or field["options"][0]["value"]
        return self.post("connections/auth_sessions/respond", {"id": auth["id"], **answers})

    def sign_in(self, name=TEST, password="open sesame"):
        """Start at the institution and answer prompts until accounts can be picked."""
        auth = good(self.start(name))
        for _ in range(6):
            if auth["next_pane"] != "partner_auth":
                break
            auth = good(self.respond(auth, password=password))
            password = "open sesame"
        assert auth["next_pane"] == "account_picker", auth
        return auth

    def accounts(self, auth):
        return good(self.post("connections/auth_sessions/accounts", id=auth["id"]))["data"]

    def select(self, auth, accounts):
        chosen = [account["id"] for account in accounts]
        return self.post("connections/auth_sessions/selected_accounts",
                         {"id": auth["id"], "selected_accounts[]": chosen})

    def link(self, count=1, name=TEST):
        """Link that many of the accounts that may be picked; answers the linked ones."""
        auth = self.sign_in(name)
        eligible = [account for account in self.accounts(auth) if account["allow_selection"]]
        assert len(eligible) >= count, f"{name!r} has only {len(eligible)} accounts to pick"
        return good(self.select(auth, eligible[:count]))["data"]

    def finish(self):
        return good(self.post("link_account_sessions/complete"))

    def receipt(self):
        return good(self.get("link_account_sessions/session_receipt"))


def begin_refresh(api, account, *features):
    """Start refreshes as soon as that may be: an institution is not asked twice in one second."""
    path = f"/v1/financial_connections/accounts/{account}/refresh"

    def begun():
        answer = api.post(path, {"features[]": features})
        return None if "cannot be started" in answer.text else good(answer)

    return wait_until(begun, 30, f"the refresh of {features} may begin")


def refreshed(api, account, *features):
    """The account once the refresh of these features is over."""
    path = f"/v1/financial_connections/accounts/{account['id']}"
    begin_refresh(api, account["id"], *features)

    def over():
        fresh = good(api.get(path))
        members = [fresh[f"{feature.removesuffix('s')}_refresh"] for feature in features]
        return fresh if all(member["status"] != "pending" for member in members) else None

    return wait_until(over, 30, f"the refresh of {features} is over")


def good(response):
    assert response.status_code == 200, f"{response.status_code}: {response.text}"
    return response.json()


def bad(response, status, code=ANYTHING, param=ANYTHING, message=ANYTHING, kind="invalid_request_error"):
    """Hold an answer against the shape of every error, and against what this one must say. None: must be absent."""
    assert response.status_code == status, f"{response.status_code}: {response.text}"
    body = response.json()
    assert list(body) == ["error"]
    error = body["error"]
    assert list(error) == sorted(error), "the keys are not in alphabetical order"
    assert None not in error.values(), "a member is null; it should be left out"
    assert error["type"] == kind
    for name, wanted in (("code", code), ("param", param), ("message", message)):
        if wanted is not ANYTHING:
            assert error.get(name) == wanted, f"{name}: {error.get(name)!r}, wanted {wanted!r}"
    hyphened = error.get("code", "").replace("_", "-")
    assert error.get("doc_url") == (f"https://stripe.com/docs/error-codes/{hyphened}" if hyphened else None)
    return error


def refused(response):
    """A 4xx with an error that says something; which one is not settled."""
    assert 400 <= response.status_code < 500, f"{response.status_code}: {response.text}"
    error = response.json()["error"]
    assert error["type"] in ("invalid_request_error", "idempotency_error"), error
    assert error["message"]
    return error


def ids(listing):
    return [item["id"] for item in listing["data"]]
