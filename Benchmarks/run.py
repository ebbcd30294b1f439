"""Measures a release build of Linkspan against a bare Hummingbird server that answers the same bytes.

Both run at once on 127.0.0.1, and wrk loads one after the other, in interleaved rounds, so that whatever else the
machine does falls on both. A ratio is taken within a round; the table shows the median of the rounds, with the lowest
and the highest. Nothing but the standard library is needed. script/bench builds what this runs.
"""

import argparse
import base64
import contextlib
import json
import os
import pathlib
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
WRK = ROOT / "Benchmarks" / "wrk"
LINKSPAN = ROOT / ".build" / "release" / "linkspan"
BARE = ROOT / "Benchmarks" / ".build" / "release" / "bare"
SECRET_KEY = "sk_test_benchSecretKey00000000001"
PUBLISHABLE_KEY = "pk_test_benchPublishableKey000001"
GOALS = {"create a Session": 0.4, "retrieve an Account": 0.6, "list 10 Accounts": 0.4}
GOAL_RESIDENT_MB = 60
GOAL_START_MS = 300


def options():
    parser = argparse.ArgumentParser(prog="script/bench", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (3)")
    parser.add_argument("--seconds", type=int, default=10, help="of load for each work in each round (10)")
    parser.add_argument("--connections", type=int, default=64, help="that wrk keeps open (64)")
    parser.add_argument("--starts", type=int, default=5, help="timed starts of the server (5)")
    parser.add_argument("--check", action="store_true", help="end with status 1 where a goal is missed")
    chosen = parser.parse_args()
    for name in ("rounds", "seconds", "connections", "starts"):
        if getattr(chosen, name) < 1:
            parser.error(f"--{name} must be 1 or more")
    return chosen


# Processes: each is ended by its own id, whatever happens.


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def end(process):
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=15)


def answers(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
            return response.status == 200
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


@contextlib.contextmanager
def server(command, path, log, timeout=20):
    """A running server and the milliseconds from its start to the first 200 at `path`. Its port is the last word."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [str(word) for word in command], stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=log_folder(log),
        env={name: value for name, value in os.environ.items() if not name.startswith("LINKSPAN_")})
    try:
        while not answers(command[-1], path):
            if process.poll() is not None or time.perf_counter() - began > timeout:
                sys.exit(f"{command[0]} does not answer at {path}; its output:\n{tail(log)}")
            time.sleep(0.001)
        yield process, (time.perf_counter() - began) * 1000
    finally:
        end(process)


def log_folder(log):
    return pathlib.Path(log.name).parent


def tail(log):
    log.flush()
    return pathlib.Path(log.name).read_text(errors="replace")[-2000:]


def linkspan(folder, log):
    # At its usual level of logging, into a file: what it costs is part of what is measured.
    return server(
        [LINKSPAN, "serve", "--host", "127.0.0.1", "--data", folder / "data", "--test-secret-key", SECRET_KEY,
         "--test-publishable-key", PUBLISHABLE_KEY, "--port", free_port()], "/health/ready", log)


def resident_mb(process):
    for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return float("nan")


# The API, as far as the measurement needs it.


def call(base, path, form=None):
    data = urllib.parse.urlencode(form).encode() if form is not None else None
    request = urllib.request.Request(f"{base}{path}", data=data)
    request.add_header("Authorization", "Basic " + base64.b64encode(f"{SECRET_KEY}:".encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.read()
    except urllib.error.HTTPError as error:
        sys.exit(f"{path} answers {error.code}: {error.read().decode(errors='replace')}")


def session_form(customer):
    """What wrk/create_session.lua sends."""
    permissions = ["balances", "ownership", "payment_method", "transactions"]
    return {"account_holder[type]": "customer", "account_holder[customer]": customer, "filters[countries][0]": "US",
            **{f"permissions[{index}]": name for index, name in enumerate(permissions)}}


def prepare(base, folder):
    """Links at least ten accounts, and records the bytes that the bare server is to answer."""
    for _ in range(20):
        customer = json.loads(call(base, "/v1/customers", {"email": "jo@example.com"}))["id"]
        session = call(base, "/v1/financial_connections/sessions", session_form(customer))
        helper = f"/v1/test_helpers/financial_connections/sessions/{json.loads(session)['id']}/complete"
        call(base, helper, {"institution": "Test (Non-OAuth)"})
        accounts = call(base, "/v1/financial_connections/accounts?limit=10")
        if len(json.loads(accounts)["data"]) == 10:
            break
    else:
        sys.exit("twenty customers have fewer than ten accounts together")
    account = json.loads(accounts)["data"][0]["id"]
    (folder / "session.json").write_bytes(session)
    (folder / "accounts.json").write_bytes(accounts)
    (folder / "account.json").write_bytes(call(base, f"/v1/financial_connections/accounts/{account}"))
    return customer, account


# The load.


def wrk(chosen, url, script, *arguments):
    command = ["wrk", "-t1", f"-c{chosen.connections}", f"-d{chosen.seconds}s", "--timeout", "10s", "-s", script, url,
               "--", *arguments]
    done = subprocess.run(
        command, cwd=WRK, capture_output=True, text=True, timeout=chosen.seconds + 60, check=False)
    line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT ")), None)
    if done.returncode or line is None:
        sys.exit(f"wrk failed at {url}:\n{done.stdout}{done.stderr}")
    result = json.loads(line.removeprefix("RESULT "))
    if result["status"] or result["io"]:
        sys.exit(f"{url}: {result['status']} answers were errors, {result['io']} connections failed; no number counts")
    return result["requests"] / result["microseconds"] * 1e6, result["p50"] / 1000, result["p99"] / 1000


def measure(chosen, ours, bare, customer, account):
    works = [
        ("create a Session", "create_session.lua", "/v1/financial_connections/sessions", "/bare/session"),
        ("retrieve an Account", "get.lua", f"/v1/financial_connections/accounts/{account}", "/bare/account"),
        ("list 10 Accounts", "get.lua", "/v1/financial_connections/accounts?limit=10", "/bare/accounts"),
    ]
    rows = {name: [] for name, *_ in works}
    for number in range(chosen.rounds):
        for name, script, path, bare_path in works:
            run = f"run{number}-{os.getpid()}"
            pair = [lambda: wrk(chosen, ours + path, script, SECRET_KEY, run, customer),
                    lambda: wrk(chosen, bare + bare_path, script, SECRET_KEY, run, customer)]
            # Which of the two goes first changes from round to round.
            if number % 2:
                second, first = pair[1](), pair[0]()
            else:
                first, second = pair[0](), pair[1]()
            rows[name].append((first, second))
            print(f"round {number + 1}, {name}: {first[0]:,.0f}/s against {second[0]:,.0f}/s", file=sys.stderr)
    return rows


def starts(chosen, folder, log):
    """Milliseconds to the first 200 on a new data folder, and on one that is there; resident memory when idle."""
    with linkspan(folder, log) as (_, first):
        pass
    times, memory = [], []
    for _ in range(chosen.starts):
        with linkspan(folder, log) as (process, milliseconds):
            times.append(milliseconds)
            time.sleep(1)
            memory.append(resident_mb(process))
    return first, statistics.median(times), statistics.median(memory)


# The report.


def output_of(*command):
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def processor():
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def report(chosen, rows, first, start, idle, loaded, folder):
    missed = []
    print(f"{os.cpu_count()} cores ({processor()}), Linux {platform.release()}, data on "
          f"{output_of('stat', '-f', '-c', '%T', str(folder))}, commit {output_of('git', 'rev-parse', '--short', 'HEAD')}.")
    print(f"wrk -t1 -c{chosen.connections} -d{chosen.seconds}s on the same machine, rounds: {chosen.rounds}.\n")
    print("| Work | Linkspan, requests/s | p50, ms | p99, ms | Bare Hummingbird, requests/s | Ratio | Lowest to highest "
          "| Goal |\n|---|--:|--:|--:|--:|--:|--:|--:|")
    for name, pairs in rows.items():
        ratios = [ours[0] / bare[0] for ours, bare in pairs]
        ratio, goal = statistics.median(ratios), GOALS[name]
        rate, p50, p99 = (statistics.median(ours[index] for ours, _ in pairs) for index in range(3))
        floor = statistics.median(bare[0] for _, bare in pairs)
        print(f"| {name} | {rate:,.0f} | {p50:.1f} | {p99:.1f} | {floor:,.0f} | {ratio:.2f} "
              f"| {min(ratios):.2f} to {max(ratios):.2f} | ≥ {goal} |")
        if ratio < goal:
            missed.append(name)
    print("\n| Server | Measured | Goal |\n|---|--:|--:|")
    print(f"| start to first 200, new data folder | {first:.0f} ms | |")
    print(f"| start to first 200 (median of {chosen.starts}) | {start:.0f} ms | < {GOAL_START_MS} ms |")
    print(f"| resident memory, idle | {idle:.0f} MB | < {GOAL_RESIDENT_MB} MB |")
    print(f"| resident memory, after the load | {loaded:.0f} MB | |")
    if start >= GOAL_START_MS:
        missed.append("start to first 200")
    if idle >= GOAL_RESIDENT_MB:
        missed.append("resident memory, idle")
    return missed


def main():
    chosen = options()
    for signal_number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signal_number, lambda *_: sys.exit("ended by a signal"))
    for program in (LINKSPAN, BARE):
        if not program.exists():
            sys.exit(f"{program.relative_to(ROOT)} is not built; script/bench builds it")
    # Beside the build and not in /tmp, which may be memory, where a durable write costs nothing.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="bench-", dir=ROOT / ".build"))
    try:
        with open(folder / "linkspan.log", "ab") as log, open(folder / "bare.log", "ab") as bare_log:
            first, start, idle = starts(chosen, folder, log)
            with linkspan(folder, log) as (process, _):
                ours = f"http://127.0.0.1:{process.args[-1]}"
                customer, account = prepare(ours, folder)
                files = [word for name in ("account", "accounts", "session")
                         for word in (f"--{name}", folder / f"{name}.json")]
                with server([BARE, *files, "--port", free_port()], "/bare/account", bare_log) as (other, _):
                    rows = measure(chosen, ours, f"http://127.0.0.1:{other.args[-1]}", customer, account)
                loaded = resident_mb(process)
        missed = report(chosen, rows, first, start, idle, loaded, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if chosen.check and missed:
        sys.exit("missed: " + ", ".join(missed))


if __name__ == "__main__":
    main()
