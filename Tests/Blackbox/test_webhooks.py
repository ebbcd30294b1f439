"""Webhook endpoints, and deliveries that an official SDK verifies."""

import json
import socket
import time

import pytest
import stripe

from receiver import Counter, Receiver
from support import PUBLISHABLE_KEY, SECRET_KEY, good, unique, wait_until

ENDPOINTS = "/v1/webhook_endpoints"


@pytest.fixture
def receiver():
    with Receiver() as running:
        yield running


@pytest.fixture
def endpoint(client):
    """Makes endpoints of this test's own."""
    made = []

    def make(url, *events, **fields):
        made.append(client.v1.webhook_endpoints.create({"url": url, "enabled_events": list(events) or ["*"], **fields}))
        return made[-1]

    yield make
    for one in made:
        try:
            client.v1.webhook_endpoints.delete(one.id)
        except stripe.InvalidRequestError:
            pass


def deliveries(raw, event):
    return good(raw.get(f"/v1/linkspan/events/{event}/deliveries"))["data"]


def error(answer, status, param=None):
    assert answer.status_code == status, answer.text
    found = answer.json()["error"]
    assert found.get("param") == param, found
    return found


# Endpoints


def test_an_endpoint_has_its_secret_in_the_answer_that_makes_it_and_nowhere_else(client):
    made = client.v1.webhook_endpoints.create({
        "url": "http://127.0.0.1:9/hook", "enabled_events": ["customer.created", "customer.created"],
        "description": "mine", "metadata": {"a": "1"}, "api_version": "2024-06-20",
    })
    assert made.id.startswith("we_") and made.secret.startswith("whsec_") and len(made.secret) == 38
    assert made.status == "enabled" and made.enabled_events == ["customer.created"] and made.livemode is False
    assert made.api_version == "2024-06-20" and made.application is None and made.metadata.to_dict() == {"a": "1"}
    kept = client.v1.webhook_endpoints.retrieve(made.id)
    assert set(made.to_dict()) - set(kept.to_dict()) == {"secret"}
    listed = client.v1.webhook_endpoints.list()
    assert made.id in [one.id for one in listed] and not any(hasattr(one, "secret") for one in listed)
    changed = client.v1.webhook_endpoints.update(made.id, {
        "description": "", "disabled": True, "enabled_events": ["*"], "metadata": {"b": "2"},
        "url": "http://localhost:9/other",
    })
    assert changed.description is None and changed.status == "disabled" and changed.enabled_events == ["*"]
    assert changed.metadata.to_dict() == {"a": "1", "b": "2"} and changed.url == "http://localhost:9/other"
    assert client.v1.webhook_endpoints.delete(made.id).deleted is True
    with pytest.raises(stripe.InvalidRequestError, match="No such webhook endpoint"):
        client.v1.webhook_endpoints.retrieve(made.id)


@pytest.mark.parametrize("form,param", [
    ({}, "enabled_events"),
    ({"enabled_events[]": "*"}, "url"),
    ({"enabled_events[]": "financial_connections.account.create", "url": "http://127.0.0.1:9"}, "enabled_events[0]"),
    ({"enabled_events[0]": "*", "enabled_events[1]": "x", "url": "http://127.0.0.1:9"}, "enabled_events[1]"),
    ({"enabled_events[]": "*", "url": "http://127.0.0.1:9", "api_version": "2011-13-13"}, "api_version"),
    ({"enabled_events[]": "*", "url": "http://127.0.0.1:9", "api_version": "2024-06-20;x=y"}, "api_version"),
    ({"enabled_events[]": "*", "url": "ftp://127.0.0.1:9"}, "url"),
    ({"enabled_events[]": "*", "url": "http://user:secret@127.0.0.1:9"}, "url"),
    ({"enabled_events[]": "*", "url": "127.0.0.1:9"}, "url"),
    ({"enabled_events[]": "*", "url": "http://127.0.0.1:9", "connect": "maybe"}, "connect"),
    ({"enabled_events[]": "*", "url": "http://127.0.0.1:9", "secret": "whsec_x"}, "secret"),
    ({"enabled_events[]": "*", "url": "http://127.0.0.1:9", "disabled": "true"}, "disabled"),
])
def test_a_wrong_parameter_is_named(raw, form, param):
    error(raw.post(ENDPOINTS, form), 400, param)


def test_an_unknown_event_is_refused_with_the_nearest_known_one(raw):
    form = {"enabled_events[]": "financial_connections.account.create", "url": "http://127.0.0.1:9"}
    message = error(raw.post(ENDPOINTS, form), 400, "enabled_events[0]")["message"]
    assert "'financial_connections.account.created'" in message


def test_a_literal_address_outside_of_the_policy_is_refused_at_once(raw):
    # Test mode may reach loopback and the internet.
    for host in ["10.0.0.1", "169.254.169.254", "192.168.0.1", "[fd00::1]", "[fe80::1]", "0.0.0.0", "100.64.0.1"]:
        form = {"enabled_events[]": "*", "url": f"http://{host}/hook"}
        assert error(raw.post(ENDPOINTS, form), 400, "url")["code"] == "url_invalid"
    for host in ["2130706433", "0x7f.1", "0177.0.0.1", "127.1"]:
        form = {"enabled_events[]": "*", "url": f"http://{host}/hook"}
        assert error(raw.post(ENDPOINTS, form), 400, "url")["code"] == "url_invalid"


def test_a_publishable_key_sees_no_endpoint(server):
    api = server.api(PUBLISHABLE_KEY)
    assert api.get(ENDPOINTS).status_code == 403 and api.post(ENDPOINTS, {}).status_code == 403


# Deliveries


def test_an_event_arrives_signed_and_the_sdk_verifies_it(client, raw, receiver, endpoint):
    made = endpoint(f"{receiver.url}/a?b=c", "customer.created", "customer.updated")
    customer = client.v1.customers.create({"email": "jo@example.com"})
    client.v1.customers.update(customer.id, {"name": "Jo"})
    client.v1.customers.delete(customer.id)
    mine = wait_until(
        lambda: [one for one in receiver.deliveries if customer.id.encode() in one.body][1:] and
        [one for one in receiver.deliveries if customer.id.encode() in one.body], 20, "two deliveries")
    assert {one.verified(made.secret).type for one in mine} == {"customer.created", "customer.updated"}
    one = next(one for one in mine if b"customer.created" in one.body)
    event = one.verified(made.secret)
    assert event.data.object.id == customer.id and event.livemode is False and event.pending_webhooks >= 1
    assert event.api_version == "2026-08-26.dahlia" and event.request.id.startswith("req_")
    assert one.path == "/a?b=c" and one.headers["Content-Type"] == "application/json; charset=utf-8"
    assert one.headers["User-Agent"] == "Stripe/1.0 (+https://stripe.com/docs/webhooks)"
    kept = client.v1.events.retrieve(event.id)
    assert json.loads(one.body)["data"] == kept.data.to_dict()
    wait_until(lambda: client.v1.events.retrieve(event.id).pending_webhooks == 0, 20, "nothing is pending")
    [own] = [d for d in deliveries(raw, event.id) if d["webhook_endpoint"] == made.id]
    assert own["status"] == "succeeded" and own["next_attempt"] is None
    [attempt] = own["attempts"]
    assert attempt["http_status"] == 200 and attempt["reply"] == "ok" and attempt["number"] == 1


def test_a_changed_body_an_old_time_and_a_wrong_secret_do_not_verify(client, receiver, endpoint):
    made = endpoint(receiver.url, "customer.created")
    client.v1.customers.create({})
    one = receiver.wait(1)[0]
    one.verified(made.secret)
    good_body = one.body
    one.body = good_body.replace(b"customer.created", b"customer.creates", 1)
    with pytest.raises(stripe.SignatureVerificationError):
        one.verified(made.secret)
    one.body = good_body
    with pytest.raises(stripe.SignatureVerificationError):
        one.verified(made.secret[:-1] + "!")
    stamp = one.headers["Stripe-Signature"].split(",")[0]
    assert abs(int(stamp[2:]) - time.time()) < 60
    old = one.headers["Stripe-Signature"].replace(stamp, f"t={int(time.time()) - 301}")
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(one.body, old, made.secret)


def test_an_endpoint_gets_what_it_asked_for_in_its_own_version(client, receiver, endpoint):
    endpoint(f"{receiver.url}/old", "customer.deleted", api_version="2024-06-20")
    endpoint(f"{receiver.url}/new", "*", api_version="2026-09-30.endive")
    endpoint(f"{receiver.url}/connect", "*", connect=True)
    endpoint(f"{receiver.url}/off", "*")
    off = client.v1.webhook_endpoints.list(params={"limit": 1}).data[0]
    client.v1.webhook_endpoints.update(off.id, {"disabled": True})
    customer = client.v1.customers.create({})
    client.v1.customers.delete(customer.id)
    old = json.loads(receiver.wait(1, path="/old")[0].body)
    assert old["type"] == "customer.deleted" and old["api_version"] == "2024-06-20"
    new = [json.loads(one.body) for one in receiver.wait(2, path="/new")]
    assert {one["api_version"] for one in new} == {"2026-09-30.endive"}
    wait_until(lambda: client.v1.events.retrieve(old["id"]).pending_webhooks == 0, 20, "all is delivered")
    assert not [one for one in receiver.deliveries if one.path in ("/connect", "/off")]


def test_a_failed_delivery_is_tried_again_with_a_fresh_signature(client, raw, endpoint):
    answers = [500, (302, {"Location": "http://127.0.0.1:9/"}, b""), 404, 200]
    with Receiver(lambda one: answers[min(one.number, 4) - 1]) as receiver:
        made = endpoint(receiver.url, "customer.created")
        client.v1.customers.create({})
        got = receiver.wait(4, seconds=60)
        events = [one.verified(made.secret) for one in got]
        assert len({event.id for event in events}) == 1
        assert len({one.headers["Stripe-Signature"] for one in got}) == 4
        gaps = [after.at - before.at for before, after in zip(got, got[1:])]
        assert gaps[0] >= 0.7 and gaps[1] > 2 and gaps[2] > 10
        wait_until(lambda: client.v1.events.retrieve(events[0].id).pending_webhooks == 0, 20, "delivered")
        [own] = deliveries(raw, events[0].id)
        assert [one["http_status"] for one in own["attempts"]] == [500, 302, 404, 200]


def test_what_is_not_delivered_is_found_by_delivery_success(client, endpoint):
    with Receiver(lambda one: 500) as receiver:
        endpoint(receiver.url, "customer.created")
        customer = client.v1.customers.create({})
        event = json.loads(receiver.wait(1)[0].body)["id"]
        query = {"type": "customer.created", "limit": 100}
        assert event in [one.id for one in client.v1.events.list({**query, "delivery_success": False})]
        assert event not in [one.id for one in client.v1.events.list({**query, "delivery_success": True})]
        assert client.v1.events.retrieve(event).pending_webhooks == 1
        receiver.answer = lambda one: 200
        wait_until(lambda: client.v1.events.retrieve(event).pending_webhooks == 0, 30, "delivered at last")
        assert event in [one.id for one in client.v1.events.list({**query, "delivery_success": True})]
        assert customer.id


def test_retry_after_is_honoured(client, endpoint):
    answers = {1: (503, {"Retry-After": "4"}, b"")}
    with Receiver(lambda one: answers.get(one.number, 200)) as receiver:
        endpoint(receiver.url, "customer.created")
        client.v1.customers.create({})
        first, second = receiver.wait(2, seconds=30)
        assert second.at - first.at >= 3.9


@pytest.mark.parametrize("status", [200, 503])
def test_a_retry_after_without_sense_harms_nothing(client, raw, endpoint, status):
    values = ["99999999999999999", "9" * 400, "Mon, 99999999999999999 Sep 2026 14:13:30 GMT",
              "Mon, 21 Sep 2026 -9223372036854775808:13:30 GMT", "Mon, 21 Sep 9223372036854775807 14:13:30 GMT"]
    with Receiver(lambda one: (status, {"Retry-After": values[(one.number - 1) % len(values)]}, b"")) as receiver:
        endpoint(receiver.url, "customer.created")
        for _ in values:
            client.v1.customers.create({})
        events = [json.loads(one.body)["id"] for one in receiver.wait(len(values))]
        for event in set(events):
            wait_until(lambda: [a for d in deliveries(raw, event) for a in d["attempts"] if a["http_status"] == status],
                       20, "the attempt is noted")


def test_a_rolled_secret_signs_beside_the_former_one(client, raw, receiver, endpoint):
    made = endpoint(receiver.url, "customer.created")
    rolled = good(raw.post(f"/v1/linkspan/webhook_endpoints/{made.id}/roll_secret"))
    assert rolled["id"] == made.id and rolled["secret"] != made.secret and rolled["secret"].startswith("whsec_")
    client.v1.customers.create({})
    both = receiver.wait(1)[0]
    assert both.headers["Stripe-Signature"].count("v1=") == 2
    assert both.verified(made.secret).id == both.verified(rolled["secret"]).id
    again = good(raw.post(f"/v1/linkspan/webhook_endpoints/{made.id}/roll_secret", {"expires_after": "0"}))
    client.v1.customers.create({})
    alone = receiver.wait(2)[1]
    alone.verified(again["secret"])
    for former in (made.secret, rolled["secret"]):
        with pytest.raises(stripe.SignatureVerificationError):
            alone.verified(former)
    error(raw.post(f"/v1/linkspan/webhook_endpoints/{made.id}/roll_secret", {"expires_after": "86401"}), 400,
          "expires_after")


def test_an_event_is_sent_again_by_hand(client, raw, receiver, endpoint):
    made = endpoint(receiver.url, "customer.created")
    other = endpoint(f"{receiver.url}/other", "customer.created")
    client.v1.customers.create({})
    event = json.loads(receiver.wait(1, path="/")[0].body)["id"]
    receiver.wait(1, path="/other")
    wait_until(lambda: client.v1.events.retrieve(event).pending_webhooks == 0, 20, "delivered")
    good(raw.post(f"/v1/events/{event}/retry", {"webhook_endpoint": made.id}))
    assert receiver.wait(2, path="/")[1].verified(made.secret).id == event
    wait_until(lambda: client.v1.events.retrieve(event).pending_webhooks == 0, 20, "delivered")
    own = next(one for one in deliveries(raw, event) if one["webhook_endpoint"] == made.id)
    assert [one["number"] for one in own["attempts"]] == [1, 2]
    good(raw.post(f"/v1/events/{event}/retry"))
    receiver.wait(3, path="/")
    receiver.wait(2, path="/other")
    client.v1.webhook_endpoints.update(other.id, {"disabled": True})
    error(raw.post(f"/v1/events/{event}/retry", {"webhook_endpoint": other.id}), 400, "webhook_endpoint")
    error(raw.post(f"/v1/events/{event}/retry", {"webhook_endpoint": "we_none"}), 400, "webhook_endpoint")
    error(raw.post("/v1/events/evt_none/retry"), 404, "id")


def test_a_deleted_endpoint_gets_no_more(client, raw, endpoint):
    with Receiver(lambda one: 500) as receiver:
        made = endpoint(receiver.url, "customer.created")
        client.v1.customers.create({})
        event = json.loads(receiver.wait(1)[0].body)["id"]
        health = good(raw.get(f"/v1/linkspan/webhook_endpoints/{made.id}/health"))
        assert health["pending_deliveries"] == 1
        client.v1.webhook_endpoints.delete(made.id)
        assert client.v1.events.retrieve(event).pending_webhooks == 0


def test_an_endpoint_that_fails_for_too_long_is_disabled_with_a_notice(own_server):
    server = own_server(["--webhook-patience", "1"])
    client, raw = server.sdk(), server.api()
    with Receiver(lambda one: 410) as receiver:
        made = client.v1.webhook_endpoints.create({"url": receiver.url, "enabled_events": ["*"]})
        for _ in range(8):
            client.v1.customers.create({})
        gone = wait_until(
            lambda: (w := client.v1.webhook_endpoints.retrieve(made.id)).status == "disabled" and w, 30, "disabled")
        assert gone.status == "disabled"
        health = good(raw.get(f"/v1/linkspan/webhook_endpoints/{made.id}/health"))
        assert health["disabled_for_failures_at"] and health["failing_since"] and health["failures_since"] >= 10
        assert made.id in server.log() and "was disabled" in server.log()
        receiver.answer = lambda one: 200
        client.v1.webhook_endpoints.update(made.id, {"disabled": False})
        # What was pending is delivered after all.
        wait_until(lambda: not client.v1.events.list({"delivery_success": False}).data, 60, "all is delivered")
        health = good(raw.get(f"/v1/linkspan/webhook_endpoints/{made.id}/health"))
        assert health["disabled_for_failures_at"] is None and health["failing_since"] is None


def test_a_secret_is_not_readable_in_any_file_of_the_server(own_server):
    server = own_server()
    with Receiver() as receiver:
        made = server.sdk().v1.webhook_endpoints.create({"url": receiver.url, "enabled_events": ["*"]})
        server.sdk().v1.customers.create({})
        receiver.wait(1)
        session = good(server.api().post("/v1/stripecli/sessions", {"websocket_features[]": "webhooks"}))
        server.stop()
    for path in server.folder.rglob("*"):
        if path.is_file():
            for secret in (made.secret, session["secret"], session["websocket_id"]):
                assert secret.encode() not in path.read_bytes(), path


# Hostile places


def test_no_packet_reaches_a_place_outside_of_the_policy(own_server, tmp_path):
    ring = tmp_path / "ring"
    ring.write_text("1:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=\n")
    server = own_server(["--key-file", str(ring)])
    live = server.api(live_key(server))
    counter = Counter()
    try:
        hosts = ["127.0.0.1", "127.8.8.8", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
                 "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1",
                 "a@127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1"]
        for host in hosts:
            for scheme in ("http", "https"):
                form = {"enabled_events[]": "*", "url": f"{scheme}://{host}:{counter.port}/"}
                assert error(live.post(ENDPOINTS, form), 400, "url")["code"] == "url_invalid", host
        # A name is refused where it leads: this machine's own name is of no public address.
        name = socket_name()
        form = {"enabled_events[]": "*", "url": f"https://{name}:{counter.port}/"}
        made = live.post(ENDPOINTS, form)
        if made.status_code == 200:
            good(live.post("/v1/customers", {}))
            event = good(live.get("/v1/events"))["data"][0]["id"]
            attempt = wait_until(
                lambda: [a for a in deliveries(live, event)[0]["attempts"] if a["problem"] and a["at"]], 20, "tried")
            assert attempt[0]["problem"] in ("the address is not allowed", "the name could not be resolved")
        assert error(live.post(ENDPOINTS, {"enabled_events[]": "*", "url": "http://example.com/"}), 400, "url")
        assert counter.count == 0
    finally:
        counter.close()


def live_key(server):
    import subprocess
    from support import BINARY
    made = subprocess.run(
        [str(BINARY), "keys", "create", "--live", "--json", *server.storage],
        capture_output=True, text=True, check=True, timeout=60)
    return json.loads(made.stdout)[0]["text"]


def socket_name():
    return socket.gethostname().lower()


def stream(head, more):
    """Answers with the head, then the same bytes for as long as they are taken."""
    def answer(one):
        try:
            one.connection.sendall(head)
            while True:
                one.connection.sendall(more)
        except OSError:
            return None
    return answer


def drip(one):
    try:
        one.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(600):
            one.connection.sendall(b"x")
            time.sleep(0.1)
    except OSError:
        return None


def broken(one):
    """A success whose body ends too early."""
    one.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx")
    one.connection.shutdown(socket.SHUT_RDWR)


OK = b"HTTP/1.1 200 OK\r\n"
BOMB = b"Content-Encoding: gzip\r\nContent-Length: 10000000\r\n\r\n"


@pytest.mark.parametrize("answer,status,problem", [
    (stream(OK + b"Content-Length: 1073741824\r\n\r\n", b"x" * 65536), 200, None),
    (stream(OK + b"\r\n", b"x" * 65536), 200, None),
    (stream(OK + BOMB, b"\0" * 65536), 200, None),
    (stream(OK, b"X-Header: value\r\n" * 100), None, "the reply is too long"),
    (drip, None, "no complete reply in time"),
    (lambda one: time.sleep(30), None, "no complete reply in time"),
    (lambda one: (307, {"Location": "http://127.0.0.1:9/"}, b""), 307, None),
    (lambda one: None, None, "the connection ended before the reply was complete"),
    (broken, 200, None),
], ids=["gigabyte", "endless", "bomb", "headers", "drip", "silence", "redirect", "hang-up", "broken"])
def test_a_hostile_receiver_takes_neither_time_nor_room(server_with_short_time, answer, status, problem):
    server = server_with_short_time
    client, raw = server.sdk(), server.api()
    with Receiver(answer) as receiver:
        made = client.v1.webhook_endpoints.create({"url": receiver.url, "enabled_events": ["customer.created"]})
        name = unique()
        client.v1.customers.create({"name": name})
        event = next(e for e in client.v1.events.list({"type": "customer.created"}) if e.data.object.name == name)
        attempt = wait_until(
            lambda: next((a for d in deliveries(raw, event.id) for a in d["attempts"] if a["at"]), None), 20, "tried")
        client.v1.webhook_endpoints.delete(made.id)
        assert attempt["http_status"] == status
        assert attempt["problem"] == problem or problem and "connection ended" in attempt["problem"]
        assert attempt["milliseconds"] < 5000 and len(attempt["reply"] or "") <= 65536


@pytest.fixture(scope="module")
def server_with_short_time(tmp_path_factory):
    import support
    running = support.new_server(tmp_path_factory.mktemp("short"), ["--webhook-timeout", "2"]).start()
    yield running
    running.stop()
