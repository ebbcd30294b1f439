"""kill -9 at any moment loses nothing that was acknowledged, and needs no repair."""

import concurrent.futures
import contextlib
import random
import sqlite3
import threading

import pytest
import requests

from support import DATABASE, Server, good, unique

THREADS = 16


class Load:
    """Posts with idempotency keys until the server is gone; keeps what was acknowledged."""

    def __init__(self, server):
        self.server = server
        self.acknowledged = []
        self.lock = threading.Lock()
        self.first_answers = threading.Event()

    def run(self, _):
        api = self.server.api()
        try:
            while True:
                self.one(api)
        except requests.RequestException:
            return

    def one(self, api):
        key = unique("crash")
        customer = self.post(api, "/v1/customers", {"name": unique("name")}, key)
        form = {"account_holder[type]": "customer", "account_holder[customer]": customer["id"],
                "permissions[]": ["balances", "transactions"]}
        self.post(api, "/v1/financial_connections/sessions", form, f"{key}-session")

    def post(self, api, path, form, key):
        answer = api.post(path, form, **{"Idempotency-Key": key})
        body = good(answer)
        with self.lock:
            self.acknowledged.append((body, key, path, form, answer.content))
            if len(self.acknowledged) > THREADS:
                self.first_answers.set()
        return body


def kill_under_load(server, seconds):
    """Kill the server that long after the load has begun to be answered."""
    load = Load(server)
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        running = [pool.submit(load.run, n) for n in range(THREADS)]
        assert load.first_answers.wait(timeout=60), "the server answers nothing under load"
        moment = threading.Timer(seconds, server.kill)
        moment.start()
        for one in running:
            one.result(timeout=120)
        moment.join()
    return load.acknowledged


def integrity(folder):
    found = [path for path in folder.rglob("*")
             if path.is_file() and path.open("rb").read(16) == b"SQLite format 3\0"]
    assert found, f"no database under {folder}"
    verdicts = []
    for path in found:
        with contextlib.closing(sqlite3.connect(path)) as database:
            verdicts += [row[0] for row in database.execute("PRAGMA integrity_check")]
    return verdicts


def missing_after_restart(server, acknowledged):
    api = server.api()
    return [
        (path, body["id"]) for body, _, path, _, content in acknowledged
        if api.get(f"{path}/{body['id']}").content != content
    ]


def replays_wrong(server, acknowledged):
    api = server.api()
    wrong = []
    for _, key, path, form, content in acknowledged[-200:]:
        answer = api.post(path, form, **{"Idempotency-Key": key})
        if answer.content != content or answer.headers.get("Idempotent-Replayed") != "true":
            wrong.append((key, answer.status_code, answer.text))
    return wrong


@pytest.mark.parametrize("seed", range(3))
def test_killed_under_load(own_server, seed):
    server = own_server()
    acknowledged = kill_under_load(server, random.Random(seed).uniform(0.2, 2))
    assert len(acknowledged) > THREADS
    server.start()
    assert missing_after_restart(server, acknowledged) == []
    assert replays_wrong(server, acknowledged) == []
    server.stop()
    if not DATABASE:
        assert set(integrity(server.data)) == {"ok"}


def test_what_is_linked_and_its_events_survive_a_kill(own_server):
    server = own_server()
    linked = server.api().linked()
    server.kill()
    server.start()
    api = server.api()
    assert good(api.get(f"/v1/financial_connections/sessions/{linked['id']}")) == linked
    created = good(api.get("/v1/events", {"type": "financial_connections.account.created", "limit": 100}))["data"]
    assert sorted(event["data"]["object"]["id"] for event in created) == sorted(
        account["id"] for account in linked["accounts"]["data"])


def test_a_clean_stop_keeps_everything(own_server):
    server = own_server()
    linked = server.api().linked()
    server.stop()
    server.start()
    assert good(server.api().get(f"/v1/financial_connections/sessions/{linked['id']}")) == linked


def test_a_log_that_nobody_can_write_to_stops_nothing(tmp_path):
    """Standard error is on a full disk from the first line on."""
    server = Server(tmp_path)
    (tmp_path / "server.log").symlink_to("/dev/full")
    server.log = lambda: "its log is lost"
    server.start()
    try:
        assert server.api().linked()["accounts"]["data"]
    finally:
        server.stop()
