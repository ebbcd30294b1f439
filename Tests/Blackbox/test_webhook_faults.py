"""Deliveries through crashes, dead receivers and slow ones. `script/faults` runs the same for longer."""

import collections
import concurrent.futures
import json
import os
import random
import resource
import socket
import threading
import time
import urllib.parse

from receiver import Receiver
from support import wait_until

EVENTS = int(os.environ.get("LINKSPAN_FAULT_EVENTS", "300"))
KILLS = int(os.environ.get("LINKSPAN_FAULT_KILLS", "4"))
ENDPOINTS = int(os.environ.get("LINKSPAN_FAULT_ENDPOINTS", "12"))
SECONDS = int(os.environ.get("LINKSPAN_FAULT_SECONDS", "6"))
RATE = int(os.environ.get("LINKSPAN_FAULT_RATE", "15"))


def free_port():
    with Receiver() as receiver:
        return receiver.port


def accepts(url):
    parts = urllib.parse.urlsplit(url)
    try:
        socket.create_connection((parts.hostname, parts.port), timeout=5).close()
        return True
    except OSError:
        return False


def test_nothing_is_lost_between_a_commit_and_its_delivery(own_server):
    """A receiver refuses connections, then answers 500, then 200, while the server is killed again and again."""
    server = own_server()
    client = server.sdk()
    port = free_port()
    made = client.v1.webhook_endpoints.create(
        {"url": f"http://127.0.0.1:{port}/hook", "enabled_events": ["customer.created"]})
    acknowledged = []
    lock = threading.Lock()
    phases = ["refuse", 500, 200]
    receiver = None
    chance = random.Random(5)
    arrived = collections.defaultdict(set)
    forged = []

    def answer(one):
        # At once: a signature is good for five minutes.
        try:
            one.event = one.verified(made.secret)
        except Exception as problem:
            forged.append(problem)
        return receiver.status

    def create(count):
        api = server.api()
        for _ in range(count):
            try:
                answer = api.post("/v1/customers", {"name": "fault"})
            except Exception:  # The server was killed: what was not acknowledged is not counted.
                return
            if answer.status_code == 200:
                with lock:
                    acknowledged.append(answer.json()["id"])

    try:
        for kill in range(KILLS):
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                running = [pool.submit(create, max(1, (EVENTS - len(acknowledged)) // (KILLS - kill) // 4))
                           for _ in range(4)]
                moment = threading.Timer(chance.uniform(0.2, 1.5), server.kill)
                moment.start()
                for one in running:
                    one.result(timeout=120)
                moment.join()
            phase = phases[min(2, kill * 3 // KILLS)]
            if phase != "refuse" and receiver is None:
                receiver = Receiver(answer, port=port)
            if receiver:
                receiver.status = phase
            server.start()
        while len(acknowledged) < EVENTS:
            create(min(100, EVENTS - len(acknowledged)))
        receiver.status = 200

        def all_delivered():
            with receiver.lock:
                deliveries = list(receiver.deliveries)
            for one in deliveries[all_delivered.seen:]:
                # What was refused, or is not answered yet, is not delivered.
                if one.status == 200:
                    arrived[one.event.data.object.id].add(one.event.id)
            while all_delivered.seen < len(deliveries) and deliveries[all_delivered.seen].status is not None:
                all_delivered.seen += 1
            return forged or set(acknowledged) <= set(arrived)

        all_delivered.seen = 0
        # Attempts that were under way in a kill come again when their claims end; the others wait for their turn.
        wait_until(all_delivered, 600, f"all {len(acknowledged)} events are delivered")
        assert not forged, forged[0]
        for customer in acknowledged:
            assert len(arrived[customer]) == 1, "a duplicate has another id"
        # The server says so too, also of what it made and could not acknowledge.
        wait_until(lambda: not server.sdk().v1.events.list({"delivery_success": False}).data, 120,
                   "no event is undelivered")
        print(f"\n{len(acknowledged)} events, {KILLS} kills, {len(receiver.deliveries)} deliveries, none lost")
    finally:
        if receiver:
            receiver.close()


def test_an_endpoint_that_hangs_delays_no_other(own_server):
    server = own_server()
    client = server.sdk()
    sent = {}
    stop = threading.Event()

    def answer(one):
        if one.path == "/0":
            stop.wait(60)
            return None
        return 200

    with Receiver(answer) as receiver:
        for number in range(ENDPOINTS):
            client.v1.webhook_endpoints.create(
                {"url": f"{receiver.url}/{number}", "enabled_events": ["customer.created"]})
        api = server.api()
        begin = time.time()
        for number in range(SECONDS * RATE):
            time.sleep(max(0, begin + number / RATE - time.time()))
            name = f"lag {number}"
            sent[name] = time.time()
            assert api.post("/v1/customers", {"name": name}).status_code == 200
        expected = len(sent) * (ENDPOINTS - 1)
        done = wait_until(
            lambda: (found := [one for one in list(receiver.deliveries) if one.path != "/0"]) and
            len(found) >= expected and found, 60, f"{expected} deliveries to the others")
        stop.set()
    lags = sorted(
        one.at - sent[json.loads(one.body)["data"]["object"]["name"]] for one in done)
    p99 = lags[int(len(lags) * 0.99)]
    print(f"\n{len(lags)} deliveries to {ENDPOINTS - 1} endpoints beside one that hangs: "
          f"p50 {lags[len(lags) // 2] * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms")
    assert p99 < 2


def test_a_server_that_is_told_to_stop_ends_what_it_began(own_server):
    server = own_server()
    client = server.sdk()
    began = threading.Event()
    urls = [one.url for one in getattr(server, "servers", [server])]

    def answer(one):
        began.set()
        # Until a server has been told to stop, and takes nothing new.
        wait_until(lambda: not all(accepts(url) for url in urls), 30, "the server is stopping")
        return 200

    with Receiver(answer) as receiver:
        client.v1.webhook_endpoints.create({"url": receiver.url, "enabled_events": ["customer.created"]})
        event_of = client.v1.customers.create({}).id
        assert began.wait(20)
        server.stop()
        server.start()
        event = next(one for one in server.sdk().v1.events.list({"type": "customer.created"})
                     if one.data.object.id == event_of)
        assert event.pending_webhooks == 0 and len(receiver.deliveries) == 1


def test_a_server_that_is_told_to_stop_does_not_wait_for_a_receiver_that_hangs(own_server):
    server = own_server(["--webhook-timeout", "60"])
    client = server.sdk()
    over = threading.Event()

    def answer(one):
        over.wait(120)
        return 200

    with Receiver(answer) as receiver:
        client.v1.webhook_endpoints.create({"url": receiver.url, "enabled_events": ["customer.created"]})
        client.v1.customers.create({})
        receiver.wait(1)
        # Within 30 seconds, or it fails.
        server.stop()
        over.set()
        server.start()
        # What was given up is free at once, long before its claim would have ended.
        receiver.wait(2, seconds=30)
        wait_until(lambda: not server.sdk().v1.events.list({"delivery_success": False}).data, 20, "delivered")


def test_a_server_takes_as_many_open_files_as_it_may(own_server):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
    try:
        server = own_server()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for one in getattr(server, "servers", [server]):
        assert resource.prlimit(one.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
