"""Measures the data behind an account: how fast transactions are taken in, and what a page costs at the end of many.

A scenario file gives a bank one transaction a second, so that one refresh brings as many as are asked for. Linkspan, a
release build, fetches them page by page into SQLite; its rate is held against plain batched inserts of the same rows
into the same table with Python's sqlite3, durable as well. Then the first and the last pages of the list are timed, in
turns. Nothing but the standard library is needed. `script/bench data` builds what this runs.
"""

import argparse
import contextlib
import json
import os
import pathlib
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
LINKSPAN = pathlib.Path(os.environ.get("LINKSPAN_BINARY", ROOT / ".build" / "release" / "linkspan"))
SECRET_KEY = "sk_test_benchSecretKey00000000001"
GOAL_INGEST = 0.5
GOAL_LAST_PAGE = 1.2
BANK = """
institutions:
  - name: Busy Bank
    accounts:
      - name: Checking
        subcategory: checking
        patterns:
          - {{every: 1 second, start: {start}, amount: {{from: "-1.00", to: "-90.00"}}, description: Ticking along}}
"""


def options():
    parser = argparse.ArgumentParser(prog="script/bench data", description=__doc__.splitlines()[0])
    parser.add_argument("--transactions", type=int, default=1_000_000, help="of one account (1000000; at most 15 million)")
    parser.add_argument("--baseline", type=int, default=500_000, help="rows of the plain inserts (500000)")
    parser.add_argument("--pages", type=int, default=200, help="timed requests of each page (200)")
    return parser.parse_args()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def server(folder, count):
    bank = folder / "bank.yaml"
    start = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - count))
    bank.write_text(BANK.format(start=start))
    port = free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LINKSPAN_")}
    process = subprocess.Popen(
        [LINKSPAN, "serve", "--port", str(port), "--data", str(folder / "data"), "--sandbox", str(bank),
         "--test-secret-key", SECRET_KEY, "--log-level", "warning"],
        stdout=subprocess.DEVNULL, env=environment,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                urllib.request.urlopen(f"{url}/health/ready", timeout=5).read()
                break
            except OSError:
                assert time.monotonic() < deadline and process.poll() is None, "the server does not start"
                time.sleep(0.05)
        yield process, url
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


def call(url, path, form=None, query=None):
    if query:
        path += "?" + urllib.parse.urlencode(query)
    data = urllib.parse.urlencode(form).encode() if form is not None else None
    request = urllib.request.Request(url + path, data=data, headers={"Authorization": f"Bearer {SECRET_KEY}"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


def resident_mb(process):
    for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0


def linked(url):
    customer = call(url, "/v1/customers", {})["id"]
    session = call(url, "/v1/financial_connections/sessions", {
        "account_holder[type]": "customer", "account_holder[customer]": customer, "permissions[]": "transactions",
    })
    path = f"/v1/test_helpers/financial_connections/sessions/{session['id']}/complete"
    return call(url, path, {"institution": "Busy Bank"})["accounts"]["data"][0]["id"]


def ingest(process, url, account):
    path = f"/v1/financial_connections/accounts/{account}"
    idle, most = resident_mb(process), 0
    started = time.monotonic()
    call(url, f"{path}/refresh", {"features[]": "transactions"})
    while True:
        state = call(url, path)["transaction_refresh"]
        most = max(most, resident_mb(process))
        if state["status"] != "pending":
            break
        time.sleep(0.25)
    assert state["status"] == "succeeded", state
    return time.monotonic() - started, idle, most


def timed(url, query):
    started = time.perf_counter()
    call(url, "/v1/financial_connections/transactions", query=query)
    return (time.perf_counter() - started) * 1000


def pages(url, account, rounds, database):
    """Milliseconds of the first page, one in the middle and the last, the three in turns."""
    def cursor(after):
        row = database.execute(
            "SELECT id FROM bank_transaction WHERE account = ? AND transacted_at >= ? ORDER BY merchant, livemode, "
            "account, transacted_at, id LIMIT 1", (account, after)).fetchone()
        return row[0]

    low, high = database.execute(
        "SELECT MIN(transacted_at), MAX(transacted_at) FROM bank_transaction WHERE account = ?", (account,)).fetchone()
    queries = {
        "first": {"account": account, "limit": 100},
        "middle": {"account": account, "limit": 100, "starting_after": cursor((low + high) // 2)},
        "last": {"account": account, "limit": 100, "starting_after": cursor(low + 100)},
    }
    times = {name: [] for name in queries}
    for _ in range(rounds + 5):
        for name, query in queries.items():
            times[name].append(timed(url, query))
    return {name: statistics.median(all[5:]) for name, all in times.items()}


def baseline(folder, source, count):
    """Plain inserts of the same rows into the same table, in batches of 500, each on disk before the next."""
    schema = [row[0] for row in source.execute(
        "SELECT sql FROM sqlite_master WHERE tbl_name = 'bank_transaction' AND sql IS NOT NULL ORDER BY type DESC")]
    rows = source.execute("SELECT * FROM bank_transaction ORDER BY refresh, id LIMIT ?", (count,)).fetchall()
    target = sqlite3.connect(folder / "plain.db", isolation_level=None)
    target.execute("PRAGMA journal_mode = WAL")
    target.execute("PRAGMA synchronous = FULL")
    target.execute("PRAGMA wal_autocheckpoint = 4096")
    for statement in schema:
        target.execute(statement)
    places = ", ".join("?" * len(rows[0]))
    started = time.monotonic()
    for start in range(0, len(rows), 500):
        target.execute("BEGIN IMMEDIATE")
        target.executemany(f"INSERT INTO bank_transaction VALUES ({places})", rows[start:start + 500])
        target.execute("COMMIT")
    seconds = time.monotonic() - started
    target.close()
    return len(rows) / seconds


def main():
    chosen = options()
    if not LINKSPAN.exists():
        sys.exit(f"{LINKSPAN} is missing: run script/bench data")
    # Beside the repository: /tmp may be in memory.
    with tempfile.TemporaryDirectory(dir=ROOT) as name:
        folder = pathlib.Path(name)
        with server(folder, chosen.transactions) as (process, url):
            account = linked(url)
            seconds, idle, most = ingest(process, url, account)
            file = folder / "data" / "linkspan.db"
            with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
                count = database.execute("SELECT COUNT(*) FROM bank_transaction").fetchone()[0]
                page = pages(url, account, chosen.pages, database)
                plain = baseline(folder, database, min(chosen.baseline, count))
        size = file.stat().st_size / 1024 ** 2
    rate = count / seconds
    print("| Work | Measured | Goal |\n|---|--:|--:|")
    print(f"| transactions of one refresh | {count:,} | |")
    print(f"| taken in, a second | {rate:,.0f} | |")
    print(f"| plain batched inserts of the same rows, a second | {plain:,.0f} | |")
    print(f"| ratio | {rate / plain:.2f} | ≥ {GOAL_INGEST} |")
    print(f"| resident memory before, and at most while taking in | {idle:.0f} MB, {most:.0f} MB | |")
    print(f"| database | {size:,.0f} MB, {size * 1024 ** 2 / count:.0f} bytes a transaction | |")
    for name in ("first", "middle", "last"):
        print(f"| {name} page of 100, median | {page[name]:.2f} ms | |")
    print(f"| last page to first | {page['last'] / page['first']:.2f} | ≤ {GOAL_LAST_PAGE} |")


if __name__ == "__main__":
    main()
