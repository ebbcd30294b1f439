"""Several servers on one PostgreSQL database: one truth, whatever goes away; and what is said of what will not do."""

import concurrent.futures
import json
import shutil
import socket
import struct
import subprocess
import threading
import time

import pytest
import requests

import postgres
from receiver import Receiver
from support import BINARY, DATABASE, SECRET_KEY, SERVERS, Server, clean_environment, good, unique, wait_until
from test_crash import THREADS, Load, missing_after_restart, replays_wrong

pytestmark = pytest.mark.skipif(not DATABASE or SERVERS == 2, reason="done with LINKSPAN_TEST_DATABASE alone")


@pytest.fixture
def database():
    return postgres.new_schema(DATABASE)


@pytest.fixture
def own_postgres():
    """A PostgreSQL server that the test may stop."""
    running = postgres.Postgres().start()
    yield running
    running.remove()


@pytest.fixture
def serve(tmp_path):
    """Starts servers on a database, each with a folder of its own and all with the key ring of the first."""
    started = []

    def start(database, flags=()):
        one = Server(tmp_path / f"server-{len(started)}", flags, database)
        if started:
            one.data.mkdir(mode=0o700)
            shutil.copy(started[0].data / "keyring", one.data)
        started.append(one.start())
        return one

    yield start
    for one in started:
        if one.is_running():
            one.stop()


def run(*arguments, **environment):
    command = [str(BINARY), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False,
                          env={**clean_environment(), **environment})


def refuses(folder, url, *flags, **environment):
    """Holds a start to one sentence and exit code 1; answers the sentence."""
    done = run("serve", "--port", "0", "--data", str(folder), "--database-url", url, *flags, **environment)
    assert done.returncode == 1, done
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("Error: "), done.stderr
    return lines[0]


# One truth


def test_two_hundred_posts_with_one_key_across_two_servers_make_one_object(serve, database):
    servers = [serve(database), serve(database)]
    email, key, together = f"{unique('many')}@example.com", unique(), threading.Barrier(40)

    def post(number):
        api = servers[number % 2].api()
        together.wait(timeout=60)
        return [api.post("/v1/customers", {"email": email}, **{"Idempotency-Key": key}) for _ in range(5)]

    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        answers = [answer for answers in pool.map(post, range(40)) for answer in answers]
    assert {answer.status_code for answer in answers} == {200}
    assert len(answers) == 200
    assert len({answer.content for answer in answers}) == 1
    for one in servers:
        assert len(good(one.api().get("/v1/customers", {"email": email}))["data"]) == 1


def test_what_one_server_answered_the_other_knows(serve, database):
    first, second = serve(database), serve(database)
    for _ in range(10):
        linked = first.api().linked()
        path = f"/v1/financial_connections/sessions/{linked['id']}"
        assert second.api().get(path).content == first.api().get(path).content


def test_keys_are_shared_and_a_server_that_knows_none_makes_none(serve, database, tmp_path):
    serve(database)
    known = json.loads(run("keys", "--data", str(tmp_path / "none"), "--database-url", database, "--json").stdout)
    command = [str(BINARY), "serve", "--port", "0", "--data", str(tmp_path / "server-1"), "--database-url", database]
    (tmp_path / "server-1").mkdir(mode=0o700)
    shutil.copy(tmp_path / "server-0" / "data" / "keyring", tmp_path / "server-1")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=clean_environment(),
                          text=True) as second:
        for line in second.stdout:
            if "Secret key" in line:
                assert "made by another server" in line
                break
        wait_until((tmp_path / "server-1" / "server.json").exists, 30, "the server is there")
        url = json.loads((tmp_path / "server-1" / "server.json").read_text())["url"]
        answer = requests.get(f"{url}/v1/customers", auth=(SECRET_KEY, ""), timeout=30)
        assert answer.status_code == 200
        second.terminate()
        second.stdout.read()
    after = json.loads(run("keys", "--data", str(tmp_path / "none"), "--database-url", database, "--json").stdout)
    assert after == known


def test_a_worker_answers_for_its_health_alone(serve, database):
    api, worker = serve(database, ["--role", "api"]), serve(database, ["--role", "worker"])
    assert good(api.api().get("/v1/customers"))["data"] == []
    assert worker.api().get("/v1/customers").status_code == 404
    assert requests.get(f"{worker.url}/health/ready", timeout=30).status_code == 200
    assert requests.get(f"{worker.url}/metrics", timeout=30).status_code == 200


def test_a_worker_sends_what_happened_on_another_server(serve, database):
    api = serve(database, ["--role", "api"])
    serve(database, ["--role", "worker"])
    with Receiver() as receiver:
        endpoint = {"url": receiver.url, "enabled_events[]": "customer.created"}
        good(api.api().post("/v1/webhook_endpoints", endpoint))
        made = [api.api().customer(name=f"Number {number}")["id"] for number in range(5)]
        wait_until(lambda: len(receiver.deliveries) >= 5, 60, "the worker delivers five events")
        told = [json.loads(delivery.body)["data"]["object"]["id"] for delivery in receiver.deliveries]
        assert sorted(told) == sorted(made)


# What goes away


class LastingLoad(Load):
    """Posts until it is told to stop; a server that is away for a moment is asked again."""

    def __init__(self, server):
        super().__init__(server)
        self.is_over = threading.Event()
        self.refusals = set()

    def run(self, _):
        api = self.server.api()
        while not self.is_over.is_set():
            try:
                self.one(api)
            except requests.RequestException:
                return
            except Refused as refused:
                self.refusals.add(refused.args)
                time.sleep(0.02)

    def post(self, api, path, form, key):
        answer = api.post(path, form, **{"Idempotency-Key": key})
        if answer.status_code != 200:
            raise Refused(answer.status_code, answer.headers.get("Retry-After"))
        body = good(answer)
        with self.lock:
            self.acknowledged.append((body, key, path, form, answer.content))
            if len(self.acknowledged) > THREADS:
                self.first_answers.set()
        return body

    def count(self):
        with self.lock:
            return len(self.acknowledged)


class Refused(Exception):
    pass


def test_one_of_two_servers_is_killed_under_load(serve, database):
    servers = [serve(database), serve(database)]
    loads = [LastingLoad(one) for one in servers]
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        running = [pool.submit(loads[number % 2].run, number) for number in range(THREADS)]
        for load in loads:
            assert load.first_answers.wait(timeout=60)
        servers[0].kill()
        before = loads[1].count()
        wait_until(lambda: loads[1].count() > before + 100, 60, "the other goes on")
        for load in loads:
            load.is_over.set()
        for one in running:
            one.result(timeout=60)
    acknowledged = loads[0].acknowledged + loads[1].acknowledged
    assert loads[1].refusals == set()
    assert missing_after_restart(servers[1], acknowledged) == []
    assert replays_wrong(servers[1], loads[0].acknowledged) == []


def test_the_database_is_killed_under_load_and_comes_back(serve, own_postgres):
    server = serve(postgres.new_schema(own_postgres.url))
    load = LastingLoad(server)
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        running = [pool.submit(load.run, number) for number in range(THREADS)]
        assert load.first_answers.wait(timeout=60)
        own_postgres.stop("immediate")
        wait_until(lambda: load.refusals, 30, "a request is refused")
        assert server.api().get("/v1/customers").status_code == 503
        own_postgres.start()
        before = load.count()
        wait_until(lambda: load.count() > before + 100, 60, "requests are answered again")
        load.is_over.set()
        for one in running:
            one.result(timeout=60)
    assert load.refusals == {(503, "1")}
    assert missing_after_restart(server, load.acknowledged) == []
    assert replays_wrong(server, load.acknowledged) == []


def test_a_database_that_was_restarted_is_used_within_moments(serve, own_postgres):
    server = serve(postgres.new_schema(own_postgres.url))
    api = server.api()
    customer = api.customer(name="Before")
    own_postgres.stop("fast")
    own_postgres.start()
    wait_until(lambda: api.get("/v1/customers").status_code == 200, 5, "the server has a connection again")
    assert good(api.get(f"/v1/customers/{customer['id']}")) == customer
    for _ in range(20):
        api.customer(name="After")


# What will not do


def test_an_address_that_is_none(tmp_path):
    assert "--database-url" in refuses(tmp_path, "mysql://localhost/name")
    sentence = refuses(tmp_path, "postgres://me:sec@ret@localhost/name")
    assert "percent-encoded" in sentence and "ret" not in sentence.replace("postgres", "")
    assert "libpq" in refuses(tmp_path, "postgres://localhost/name?colour=red")
    assert not list(tmp_path.rglob("*.db"))


def test_a_server_that_is_not_there(tmp_path):
    sentence = refuses(tmp_path, f"postgres://me:canary@127.0.0.1:{postgres.free_port()}/name")
    assert "127.0.0.1" in sentence and "refused" in sentence
    assert "canary" not in sentence


def test_a_database_that_is_not_there(tmp_path):
    assert "does not exist" in refuses(tmp_path, DATABASE.replace("/postgres", "/nowhere").replace("//nowhere", "//"))


def test_a_password_from_a_file(tmp_path, database):
    (tmp_path / "password").write_text("wrong, and nobody asks\n")
    done = run("migrate", "--database-url", database, "--data", str(tmp_path),
               LINKSPAN_DATABASE_PASSWORD_FILE=str(tmp_path / "password"))
    assert done.returncode == 0, done.stderr
    sentence = refuses(tmp_path, database, LINKSPAN_DATABASE_PASSWORD_FILE=str(tmp_path / "nothing"))
    assert "cannot be read" in sentence


def test_a_user_without_rights(tmp_path, database):
    user = f"guest_{unique('u').replace('-', '_')}"
    postgres.ask(DATABASE, f"CREATE ROLE {user} LOGIN")
    assert "rights" in refuses(tmp_path, postgres.as_user(database, user))
    schema = database.rsplit("%3D", 1)[1]
    postgres.ask(DATABASE, f"GRANT USAGE ON SCHEMA {schema} TO {user}")
    assert "rights" in refuses(tmp_path, postgres.as_user(database, user))


def test_a_user_that_may_not_change_the_schema_runs_on_one_that_is_there(serve, tmp_path, database):
    assert run("migrate", "--database-url", database, "--data", str(tmp_path)).returncode == 0
    user = f"server_{unique('u').replace('-', '_')}"
    schema = database.rsplit("%3D", 1)[1]
    postgres.ask(DATABASE, f"CREATE ROLE {user} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {user};"
                 f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {user}")
    server = serve(postgres.as_user(database, user))
    assert server.api().linked()["accounts"]["data"]


def test_a_schema_that_is_newer(tmp_path, database):
    assert run("migrate", "--database-url", database, "--data", str(tmp_path)).returncode == 0
    postgres.ask(database, "INSERT INTO migration (number) VALUES (1000)")
    assert "newer version" in refuses(tmp_path, database)


def test_another_key_ring(serve, tmp_path, database):
    serve(database).stop()
    sentence = refuses(tmp_path / "other", database)
    assert "share" in sentence and "--key-file" in sentence
    assert not (tmp_path / "other" / "keyring").exists()


def test_a_server_that_is_too_old(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=old_server, args=(listener,), daemon=True).start()
        sentence = refuses(tmp_path, f"postgres://me@127.0.0.1:{listener.getsockname()[1]}/name?sslmode=disable")
    assert "13.9" in sentence and "14" in sentence


def old_server(listener):
    """Speaks as much of the protocol as it takes to be known for version 13."""
    connection, _ = listener.accept()
    with connection:
        length = struct.unpack("!I", connection.recv(4, socket.MSG_WAITALL))[0]
        connection.recv(length - 4, socket.MSG_WAITALL)

        def message(kind, content):
            return kind + struct.pack("!I", len(content) + 4) + content

        settings = {"server_version": "13.9", "client_encoding": "UTF8", "standard_conforming_strings": "on",
                    "in_hot_standby": "off", "default_transaction_read_only": "off"}
        connection.sendall(
            message(b"R", struct.pack("!I", 0))
            + b"".join(message(b"S", f"{name}\0{value}\0".encode()) for name, value in settings.items())
            + message(b"K", struct.pack("!II", 1, 1)) + message(b"Z", b"I"))
        connection.recv(1)


def test_a_server_that_needs_tls_and_has_none(tmp_path, database):
    assert "SSL" in refuses(tmp_path, f"{database}&sslmode=require")


def test_several_that_start_at_once_on_an_empty_database(tmp_path, database):
    ring = tmp_path / "ring"
    ring.write_text("7:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=\n")
    servers = [Server(tmp_path / f"{number}", ["--key-file", str(ring)], database) for number in range(4)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(Server.start, servers))
    try:
        customer = servers[0].api().customer(name="Everywhere")
        for one in servers:
            assert good(one.api().get(f"/v1/customers/{customer['id']}")) == customer
        assert postgres.ask(database, "SELECT COUNT(*) FROM merchant") == "1"
    finally:
        for one in servers:
            one.stop()


# Moving


def objects(server):
    """Every object that can be listed, as it is shown."""
    api = server.api()
    everything = {}
    for path in ("/v1/customers", "/v1/financial_connections/accounts", "/v1/events"):
        after = {}
        while True:
            page = good(api.get(path, {"limit": "100", **after}))
            for item in page["data"]:
                everything[item["id"]] = api.get(f"{path}/{item['id']}").content
            if not page["has_more"]:
                break
            after = {"starting_after": page["data"][-1]["id"]}
    return everything


@pytest.fixture
def installation(tmp_path):
    """A server on SQLite, stopped, with its Sessions and what it showed."""
    server = Server(tmp_path / "sqlite").start()
    api = server.api()
    sessions = [api.linked() for _ in range(12)]
    customer = api.customer(name="Zoë \N{BANK}", **{"metadata[a]": "b", "address[city]": "Paris"})
    good(api.delete(f"/v1/customers/{customer['id']}"))
    account = sessions[0]["accounts"]["data"][0]["id"]
    good(api.post(f"/v1/financial_connections/accounts/{account}/disconnect"))
    paths = [f"/v1/financial_connections/sessions/{session['id']}" for session in sessions]
    shown = {path: api.get(path).content for path in paths}
    shown |= objects(server)
    replay = {"Idempotency-Key": unique()}
    first = api.post("/v1/customers", {"name": "Once"}, **replay)
    shown |= objects(server)
    server.stop()
    return server, paths, shown, replay, first.content


def test_everything_is_moved(installation, serve, database):
    before, paths, shown, replay, first = installation
    done = run("copy", "--from", str(before.data), "--to", database)
    assert done.returncode == 0, done.stderr
    assert "account  " in done.stdout and "equal on both sides" in done.stdout
    after = serve(database, ["--key-file", str(before.data / "keyring")])
    now = {path: after.api().get(path).content for path in paths} | objects(after)
    assert now == shown
    assert after.api().post("/v1/customers", {"name": "Once"}, **replay).content == first
    assert after.api().linked()["accounts"]["data"]


def test_a_target_that_is_not_empty_is_left_alone(installation, serve, database):
    before = installation[0]
    server = serve(database)
    customer = server.api().customer(name="First")
    refusal = run("copy", "--from", str(before.data), "--to", database)
    assert refusal.returncode == 1
    assert "not empty" in refusal.stderr
    assert objects(server).keys() >= {customer["id"]}
    assert len(good(server.api().get("/v1/customers"))["data"]) == 1


def test_a_copy_that_was_cut_off_goes_on(installation, serve, database, tmp_path):
    before, paths, shown, _, _ = installation
    assert run("copy", "--from", str(before.data), "--to", database).returncode == 0
    # As it was in the middle: some tables whole, one in part, the others empty, and the mark.
    source = postgres.ask(database, "SELECT id FROM merchant")
    postgres.ask(database, "DELETE FROM account WHERE id IN (SELECT id FROM account ORDER BY merchant DESC,"
                 " livemode DESC, id DESC LIMIT 5); DELETE FROM session; DELETE FROM session_account;"
                 " DELETE FROM event;"
                 f"INSERT INTO moving (id, source) VALUES (1, '{source}')")
    assert "copy" in refuses(tmp_path / "early", database, "--key-file", str(before.data / "keyring"))
    done = run("copy", "--from", str(before.data), "--to", database)
    assert done.returncode == 0, done.stderr
    after = serve(database, ["--key-file", str(before.data / "keyring")])
    assert {path: after.api().get(path).content for path in paths} | objects(after) == shown


def test_a_difference_is_found(installation, database):
    before = installation[0]
    assert run("copy", "--from", str(before.data), "--to", database).returncode == 0
    source = postgres.ask(database, "SELECT id FROM merchant")
    postgres.ask(database, "UPDATE account SET last4 = '0000' WHERE id = (SELECT MIN(id) FROM account);"
                 f"INSERT INTO moving (id, source) VALUES (1, '{source}')")
    again = run("copy", "--from", str(before.data), "--to", database)
    assert again.returncode == 1
    assert "table account" in again.stderr


def test_a_server_that_runs_is_not_copied_from(tmp_path, database):
    server = Server(tmp_path / "sqlite").start()
    try:
        refusal = run("copy", "--from", str(server.data), "--to", database)
        assert refusal.returncode == 1
        assert "Stop it" in refusal.stderr
    finally:
        server.stop()
