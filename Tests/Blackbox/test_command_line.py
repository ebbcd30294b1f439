"""What people type: `listen`, `trigger`, `events` and `link`, and the official command line's own protocol."""

import base64
import http.server
import json
import os
import queue
import re
import socket
import struct
import subprocess
import threading
import urllib.parse

import pytest
import requests
import stripe

from receiver import Receiver
from support import BINARY, SECRET_KEY, API, Flow, good, wait_until

PREFIX = "financial_connections."
EVENTS = [PREFIX + name for name in [
    "account.account_numbers_updated", "account.created", "account.deactivated", "account.disconnected",
    "account.expected_deactivation_date_updated", "account.reactivated", "account.refreshed_balance",
    "account.refreshed_ownership", "account.refreshed_transactions", "account.supported_payment_method_types_updated",
    "account.upcoming_account_number_expiry", "account.upcoming_deactivation",
    "authorization.expected_deactivation_date_updated", "authorization.upcoming_deactivation",
]]


def command(server, *arguments, status=0):
    place = server.storage if arguments[0] == "keys" else ["--data", str(server.data)]
    ran = subprocess.run(
        [str(BINARY), *arguments, *place], capture_output=True, text=True, timeout=120,
        env={k: v for k, v in os.environ.items() if not k.startswith("LINKSPAN_")})
    assert ran.returncode == status, ran.stdout + ran.stderr
    return ran.stdout if status == 0 else ran.stderr


class Running:
    """A command that runs until the test ends it, with its lines."""

    def __init__(self, server, *arguments):
        self.process = subprocess.Popen(
            [str(BINARY), *arguments, "--data", str(server.data)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, bufsize=1, env={k: v for k, v in os.environ.items() if not k.startswith("LINKSPAN_")})
        self.lines = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def wait(self, pattern, seconds=30):
        """The first line that the pattern is found in."""
        def found():
            return next((m for m in (re.search(pattern, line) for line in list(self.lines)) if m), None)
        try:
            return wait_until(found, seconds, pattern)
        except AssertionError as error:
            raise AssertionError(f"{error}\n" + "\n".join(self.lines)) from None

    def close(self):
        self.process.kill()
        self.process.wait(timeout=30)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def test_listen_and_trigger_for_all_fourteen_events_in_one_run(own_server):
    server = own_server()
    with Receiver() as receiver:
        with Running(server, "listen", "--forward-to", f"127.0.0.1:{receiver.port}/webhook") as listening:
            secret = listening.wait(r"^Ready! .*Your webhook signing secret is (whsec_\w+) ").group(1)
            for name in EVENTS:
                told = command(server, "trigger", name)
                event = re.search(r"^" + re.escape(name) + r" happened: (evt_\w+)$", told, re.M).group(1)
                listening.wait(rf"   --> {re.escape(name)} \[{event}\]$")
                listening.wait(rf"  <--  \[200\] POST http://127.0.0.1:{receiver.port}/webhook \[{event}\]$")
        got = {one.verified(secret).type for one in receiver.deliveries}
        assert got >= set(EVENTS) and len({one.verified(secret).id for one in receiver.deliveries}) == len(
            receiver.deliveries)
    # The same secret the next time.
    assert command(server, "listen", "--print-secret").strip() == secret


def test_trigger_prints_json_and_names_the_events_that_there_are(server):
    event = json.loads(command(server, "trigger", "customer.updated", "--json"))
    assert event["type"] == "customer.updated" and event["data"]["previous_attributes"] == {"name": None}
    told = command(server, "trigger", "customer.uptated", status=1)
    assert "customer.updated" in told and all(name in told for name in EVENTS)
    help_text = command(server, "trigger", "--help")
    assert "Example:" in help_text and all(name in help_text for name in EVENTS)


def test_listen_takes_the_types_that_are_asked_for(own_server):
    server = own_server()
    with Running(server, "listen", "--events", "customer.deleted", "--json") as listening:
        listening.wait("Ready!")
        customer = server.sdk().v1.customers.create({})
        server.sdk().v1.customers.delete(customer.id)
        listening.wait('"type": "customer.deleted"')
        assert not any("customer.created" in line for line in listening.lines)


def test_listen_carries_on_when_the_server_was_away(own_server):
    server = own_server()
    with Running(server, "listen") as listening:
        listening.wait("Ready!")
        server.sdk().v1.customers.create({})
        listening.wait("--> customer.created")
        server.stop()
        listening.wait("connecting again")
        # At another port.
        server.start()
        listening.wait("Connected again")
        server.sdk().v1.customers.delete(server.sdk().v1.customers.list().data[0].id)
        listening.wait("--> customer.deleted")


class Relay:
    """Stands between `linkspan listen` and a server: connections through it can be cut and held up."""

    def __init__(self, server):
        self.sessions = []
        self.cut_off = False
        self.pairs = []
        relay = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                answer = requests.post(
                    server.url + self.path, data=body, timeout=60,
                    headers={name: self.headers[name] for name in ("Authorization", "Content-Type")})
                session = answer.json()
                parts = urllib.parse.urlsplit(session["websocket_url"])
                relay.target = (parts.hostname, parts.port)
                session["websocket_url"] = parts._replace(netloc=f"127.0.0.1:{relay.port}").geturl()
                relay.sessions.append(session)
                text = json.dumps(session).encode()
                self.send_response(answer.status_code)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        self.api = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.api.server_port}"
        threading.Thread(target=self.api.serve_forever, args=(0.05,), daemon=True).start()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            if self.cut_off:
                client.close()
                continue
            server = socket.create_connection(self.target)
            self.pairs.append((client, server))
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    def _copy(self, source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        for one in (source, sink):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        self.cut_off = True
        for pair in self.pairs:
            for one in pair:
                try:
                    one.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        self.pairs = []

    def mend(self):
        self.cut_off = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.cut()
        self.socket.close()
        self.api.shutdown()
        self.api.server_close()


def test_listen_misses_nothing_while_its_connection_is_cut(own_server):
    server = own_server()
    with Relay(server) as relay:
        with Running(server, "listen", "--url", relay.url, "--api-key", SECRET_KEY) as listening:
            listening.wait("Ready!")
            server.sdk().v1.customers.create({})
            listening.wait("--> customer.created")
            relay.cut()
            listening.wait("connecting again")
            customer = server.sdk().v1.customers.list().data[0]
            server.sdk().v1.customers.delete(customer.id)
            relay.mend()
            listening.wait("--> customer.deleted")
        assert len(relay.sessions) == 1


def test_listen_forwards_a_few_at_a_time_and_finishes_what_it_began(own_server):
    server = own_server()
    over = threading.Event()
    lock = threading.Lock()
    count = {"now": 0, "most": 0}

    def answer(one):
        with lock:
            count["now"] += 1
            count["most"] = max(count["most"], count["now"])
        over.wait(60)
        with lock:
            count["now"] -= 1
        return 200

    with Receiver(answer) as receiver, Relay(server) as relay:
        with Running(server, "listen", "--url", relay.url, "--api-key", SECRET_KEY, "--forward-to",
                     receiver.url) as listening:
            listening.wait("Ready!")
            customers = {server.sdk().v1.customers.create({}).id for _ in range(30)}
            first = receiver.wait(8)
            relay.cut()
            over.set()
            for one in first:
                listening.wait(rf"  <--  \[200\] POST .*\[{json.loads(one.body)['id']}\]$")
            relay.mend()
            listening.wait("Connected again")
            wait_until(lambda: customers <= {json.loads(one.body)["data"]["object"]["id"]
                                             for one in list(receiver.deliveries)}, 30, "all are forwarded")
        assert count["most"] == 8


def test_events_are_listed_and_sent_again(own_server):
    server = own_server()
    client = server.sdk()
    with Receiver(lambda one: 500) as receiver:
        made = client.v1.webhook_endpoints.create({"url": receiver.url, "enabled_events": ["customer.created"]})
        client.v1.customers.create({})
        event = json.loads(receiver.wait(1)[0].body)["id"]
        listed = command(server, "events", "list", "--undelivered")
        assert event in listed and "1 undelivered" in listed
        receiver.answer = lambda one: 200
        assert "sent again to 1" in command(server, "events", "resend", event, "--webhook-endpoint", made.id)
        wait_until(lambda: client.v1.events.retrieve(event).pending_webhooks == 0, 20, "delivered")
        assert [one["id"] for one in json.loads(command(server, "events", "--json"))["data"]] == [event]
        assert "No such" in command(server, "events", "resend", "evt_none", status=1)


def test_link_waits_for_the_person_and_prints_what_was_linked(own_server):
    server = own_server()
    with Running(server, "link", "--no-browser") as linking:
        address = linking.wait(r"(http://\S+/flow\S+)").group(1)
        token = urllib.parse.parse_qs(urllib.parse.urlsplit(address.replace("#", "?")).query).get("t", [None])[0]
        flow = Flow(server.url, {}, token=token)
        flow.consent()
        auth = good(flow.start("Test (Non-OAuth)"))
        accounts = good(flow.post("connections/auth_sessions/accounts", id=auth["id"]))["data"]
        wanted = next(one for one in accounts if one["name"] == "Success")
        good(flow.post("connections/auth_sessions/selected_accounts",
                       {"id": auth["id"], "selected_accounts[]": wanted["id"]}))
        line = linking.wait(r"^(fca_\w+)  Test \(Non-OAuth\)  Success ••••6789$")
        linked = server.sdk().v1.financial_connections.accounts.retrieve(line.group(1))
        assert linked.display_name == "Success"


def test_without_a_server_the_command_says_what_to_do(tmp_path):
    class Nowhere:
        data = tmp_path / "none"
    for arguments in (["listen"], ["trigger", EVENTS[0]], ["events"], ["link"]):
        assert "linkspan serve" in command(Nowhere, *arguments, status=1)


# The official command line's protocol


class Socket:
    """A websocket client as the official command line is one: its headers, its masked frames, its fragments."""

    def __init__(self, session, identifier=None):
        parts = urllib.parse.urlsplit(session["websocket_url"])
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=20)
        target = f"{parts.path}?websocket_feature={session['websocket_authorized_feature']}"
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall((
            f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nUser-Agent: Stripe/v1 stripe-cli/1.30.0\r\n"
            f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: stripecli-devproxy-v1\r\nAccept-Encoding: identity\r\n"
            f"Websocket-Id: {identifier or session['websocket_id']}\r\n\r\n").encode())
        self.file = self.socket.makefile("rb")
        self.head = b""
        while not self.head.endswith(b"\r\n\r\n"):
            byte = self.file.read(1)
            assert byte, self.head
            self.head += byte

    def send(self, opcode, payload, final=True):
        mask = os.urandom(4)
        first = (0x80 if final else 0) | opcode
        if len(payload) < 126:
            length = struct.pack("!BB", first, 0x80 | len(payload))
        else:
            length = struct.pack("!BBH", first, 0x80 | 126, len(payload))
        self.socket.sendall(length + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload)))

    def receive(self):
        first, second = self.file.read(2)
        length = second & 0x7F
        assert not second & 0x80, "a server's frames are not masked"
        if length == 126:
            length = struct.unpack("!H", self.file.read(2))[0]
        elif length == 127:
            length = struct.unpack("!Q", self.file.read(8))[0]
        return first & 0x0F, self.file.read(length)

    def close(self):
        self.socket.close()


@pytest.fixture
def session(own_server):
    server = own_server()
    form = [("device_name", "test"), ("websocket_features[]", "webhooks"), ("forward_to_url", "http://localhost:1"),
            ("forward_thin_to_url", ""), ("a_newer_parameter", "1")]
    answer = good(server.api().post("/v1/stripecli/sessions", form))
    answer["server"] = server
    return answer


def test_the_official_protocol_both_ways(session):
    assert set(session) >= {
        "websocket_id", "websocket_url", "websocket_authorized_feature", "secret", "reconnect_delay",
        "default_version", "latest_version", "device_token", "display_connect_filter_warning"}
    server = session["server"]
    line = Socket(session)
    assert line.head.startswith(b"HTTP/1.1 101 ")
    assert b"sec-websocket-protocol: stripecli-devproxy-v1" in line.head.lower()
    line.send(9, b"are you there")
    assert line.receive() == (10, b"are you there")
    customer = server.sdk().v1.customers.create({})
    frames = []
    for _ in range(2):
        opcode, text = line.receive()
        assert opcode == 1
        frames.append(json.loads(text))
    # The client takes the one of its version and leaves the other out.
    assert [one["endpoint"]["api_version"] for one in frames] == [None, session["latest_version"]]
    for one in frames:
        assert set(one) == {"endpoint", "event_payload", "http_headers", "type", "webhook_conversation_id",
                            "webhook_id"}
        event = stripe.Webhook.construct_event(
            one["event_payload"], one["http_headers"]["Stripe-Signature"], session["secret"])
        assert event.type == "customer.created" and event.data.object.id == customer.id
        ids = {"webhook_id": one["webhook_id"], "webhook_conversation_id": one["webhook_conversation_id"]}
        line.send(1, json.dumps({"type": "event_ack", "event_id": event.id, **ids}).encode())
    response = json.dumps({
        "type": "webhook_response", "forward_url": "http://localhost:1", "status": 200, "http_headers": {},
        "body": "x" * 5000, "request_headers": {}, "request_body": frames[0]["event_payload"],
        "notification_id": event.id, **ids}).encode()
    # A long message comes in parts.
    for start in range(0, len(response), 4096):
        part = response[start:start + 4096]
        line.send(1 if start == 0 else 0, part, final=start + 4096 >= len(response))
    line.send(9, b"still")
    assert line.receive() == (10, b"still")
    # `stripe events resend evt_…`
    good(server.api().post(f"/v1/events/{event.id}/retry", {"for_stripecli": "true"}))
    again = json.loads(line.receive()[1])
    assert json.loads(again["event_payload"])["id"] == event.id
    line.receive()
    line.send(1, json.dumps({"type": "event_ack", "event_id": event.id}).encode())
    line.send(8, struct.pack("!H", 1000))
    assert line.receive()[0] == 8
    line.close()
    # What happens between two connections of a session is not lost.
    server.sdk().v1.customers.delete(customer.id)
    line = Socket(session)
    assert json.loads(json.loads(line.receive()[1])["event_payload"])["type"] == "customer.deleted"
    line.close()


def test_an_unknown_websocket_id_is_told_in_the_words_that_the_client_knows(session):
    line = Socket(session, identifier="cliws_unknown")
    assert not line.head.startswith(b"HTTP/1.1 101")
    length = int(re.search(rb"(?i)content-length: (\d+)", line.head).group(1))
    assert json.loads(line.file.read(length))["error"]["message"] == "Unknown WebSocket ID."
    line.close()


def test_what_happens_right_after_the_answer_is_not_missed(session):
    sdk = session["server"].sdk()
    for _ in range(10):
        fresh = good(session["server"].api().post("/v1/stripecli/sessions", {"websocket_features[]": "webhooks"}))
        line = Socket(fresh)
        customer = sdk.v1.customers.create({})
        event = json.loads(json.loads(line.receive()[1])["event_payload"])
        assert event["data"]["object"]["id"] == customer.id
        line.close()


def test_what_was_sent_and_not_acknowledged_is_sent_again(session):
    sdk = session["server"].sdk()
    line = Socket(session)
    events = []
    for _ in range(2):
        sdk.v1.customers.create({})
        event, _ = [json.loads(json.loads(line.receive()[1])["event_payload"])["id"] for _ in range(2)]
        events.append(event)
    line.send(1, json.dumps({"type": "event_ack", "event_id": events[0]}).encode())
    line.send(9, b"")
    assert line.receive()[0] == 10
    line.close()
    line = Socket(session)
    sdk.v1.customers.create({})
    got = [json.loads(json.loads(line.receive()[1])["event_payload"])["id"] for _ in range(4)]
    assert got[:2] == [events[1]] * 2 and got[2] not in events
    line.close()


def test_what_is_sent_again_by_hand_outlives_a_break_in_the_middle(own_server):
    server = own_server()
    # Of several servers the one at which somebody listens.
    one = getattr(server, "servers", [server])[0]
    sdk, api = one.sdk(), one.api()
    for _ in range(60):
        sdk.v1.customers.create({"metadata": {f"key{number}": "x" * 500 for number in range(50)}})
    events = [event.id for event in sdk.v1.events.list({"limit": 60}).data]
    session = good(api.post("/v1/stripecli/sessions", {"websocket_features[]": "webhooks"}))
    for event in events:
        good(api.post(f"/v1/events/{event}/retry", {"for_stripecli": "true"}))
    seen = set()

    def take(line):
        event = json.loads(json.loads(line.receive()[1])["event_payload"])["id"]
        line.send(1, json.dumps({"type": "event_ack", "event_id": event}).encode())
        seen.add(event)

    # 3 MB, more than is on its way at once: most of it was not sent when the connection ends.
    line = Socket(session)
    take(line)
    line.close()
    line = Socket(session)
    while seen != set(events):
        take(line)
    line.close()


def test_a_client_that_comes_again_takes_the_place_of_its_former_connection(session):
    first, second = Socket(session), Socket(session)
    assert not first.file.read(1)
    session["server"].sdk().v1.customers.create({})
    assert json.loads(second.receive()[1])["type"] == "webhook_event"
    second.close()


def test_who_listens_stays_however_many_sessions_are_opened(session):
    # Of several servers the one at which somebody listens.
    server = getattr(session["server"], "servers", [session["server"]])[0]
    api = server.api()
    listened = good(api.post("/v1/stripecli/sessions", {"websocket_features[]": "webhooks"}))
    line = Socket(listened)
    for _ in range(120):
        good(api.post("/v1/stripecli/sessions", {"websocket_features[]": "webhooks"}))
    again = Socket(listened)
    assert again.head.startswith(b"HTTP/1.1 101 ")
    line.close()
    again.close()


def test_a_revoked_key_listens_no_longer(own_server):
    server = own_server()
    key = json.loads(command(server, "keys", "create", "--json"))[0]
    api = server.api(key["text"])
    session = good(api.post("/v1/stripecli/sessions", {"websocket_features[]": "webhooks"}))
    line = Socket(session)
    assert line.head.startswith(b"HTTP/1.1 101 ")
    command(server, "keys", "revoke", key["id"])
    # Within a few seconds.
    assert not line.file.read(1)
    again = Socket(session)
    assert b"Unknown WebSocket ID." in again.file.read()


def test_the_websocket_is_where_the_caller_reached_the_server(own_server):
    server = own_server(["--host", "0.0.0.0"])
    form = {"websocket_features[]": "webhooks"}

    def host(name):
        answer = good(server.api().post("/v1/stripecli/sessions", form, Host=name))
        return urllib.parse.urlsplit(answer["websocket_url"]).netloc.rsplit(":", 1)[0]

    assert host("localhost:1") == "localhost" and host("link.example.com") == "link.example.com"
    assert host("[::1]:80") == "[::1]"
    assert host("a@b") == "127.0.0.1" and host("a/b") == "127.0.0.1"


def test_the_port_for_listening_is_not_held_by_those_who_do_not_listen(session):
    parts = urllib.parse.urlsplit(session["websocket_url"])
    idle = [socket.create_connection((parts.hostname, parts.port), timeout=30) for _ in range(220)]
    # More than there is room for are closed at once, the others when nothing came for ten seconds.
    for one in idle:
        assert one.recv(1) == b""
    line = Socket(session)
    assert line.head.startswith(b"HTTP/1.1 101 ")
    line.close()


def test_sessions_need_a_key_and_a_feature(server):
    raw = server.api()
    assert API(server.url, None).post("/v1/stripecli/sessions", {}).status_code == 401
    refused = raw.post("/v1/stripecli/sessions", {"websocket_features[]": "request_logs"})
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "websocket_features"
