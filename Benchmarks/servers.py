"""Measures one, two and three Linkspan servers on one PostgreSQL, each on a loopback address of its own.

One wrk for each server loads all of them at once, for the same time and with as many connections together, in
interleaved rounds; the table shows the median of the sums. Everything shares this machine: with few cores it shows what
servers cost each other, and not what as many machines would give. Needs release builds: script/bench makes them.
"""

import argparse
import concurrent.futures
import contextlib
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile

import run

sys.path.insert(0, str(run.ROOT / "Tests" / "Blackbox"))
import postgres  # noqa: E402

COUNTS = (1, 2, 3)


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (3)")
    parser.add_argument("--seconds", type=int, default=8, help="of load for each work in each round (8)")
    parser.add_argument("--connections", type=int, default=60, help="that are open, on all servers together (60)")
    parser.add_argument("--binary", type=pathlib.Path, default=run.LINKSPAN, help="the server to measure")
    return parser.parse_args()


@contextlib.contextmanager
def servers(chosen, folder, database, log):
    ring = folder / "ring"
    ring.write_text("7:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=\n")
    with contextlib.ExitStack() as running:
        urls = []
        for number in range(max(COUNTS)):
            host, port = f"127.0.0.{number + 2}", run.free_port()
            command = [chosen.binary, "serve", "--host", host, "--data", folder / f"data-{number}", "--key-file", ring,
                       "--database-url", database, "--test-secret-key", run.SECRET_KEY,
                       "--test-publishable-key", run.PUBLISHABLE_KEY, "--port", port]
            process = subprocess.Popen([str(word) for word in command], stdout=log, stderr=log, cwd=folder)
            running.callback(run.end, process)
            urls.append(f"http://{host}:{port}")
        for url in urls:
            wait_for(url)
        yield urls


def wait_for(url):
    for _ in range(600):
        done = subprocess.run(["curl", "-sf", "-o", "/dev/null", f"{url}/health/ready"], check=False)
        if done.returncode == 0:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(["sleep", "0.05"], timeout=1, check=False)
    sys.exit(f"{url} does not become ready")


def load(chosen, urls, path, script, arguments):
    share = argparse.Namespace(connections=chosen.connections // len(urls), seconds=chosen.seconds)
    with concurrent.futures.ThreadPoolExecutor(len(urls)) as pool:
        results = list(pool.map(
            lambda pair: run.wrk(share, pair[1] + path, script, run.SECRET_KEY, f"{arguments[0]}-{pair[0]}",
                                 *arguments[1:]), enumerate(urls)))
    return sum(rate for rate, _, _ in results), statistics.median(p50 for _, p50, _ in results), max(
        p99 for _, _, p99 in results)


def main():
    chosen = options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))
    folder = pathlib.Path(tempfile.mkdtemp(prefix="linkspan-servers-"))
    database = postgres.Postgres().start()
    try:
        with open(folder / "log", "ab") as log, servers(chosen, folder, database.url, log) as urls:
            customer, account = run.prepare(urls[0], folder)
            works = [("create a Session", "create_session.lua", "/v1/financial_connections/sessions"),
                     ("retrieve an Account", "get.lua", f"/v1/financial_connections/accounts/{account}")]
            rows = {(name, count): [] for name, *_ in works for count in COUNTS}
            for number in range(chosen.rounds):
                for name, script, path in works:
                    for count in COUNTS:
                        arguments = (f"run{number}-{count}", customer)
                        measured = load(chosen, urls[:count], path, script, arguments)
                        rows[name, count].append(measured)
                        print(f"round {number + 1}, {name}, {count}: {measured[0]:,.0f}/s", file=sys.stderr)
        print("| Work | Servers | Requests/s, together | Lowest to highest | p50, ms | p99, ms |")
        print("|---|--:|--:|--:|--:|--:|")
        for (name, count), measured in rows.items():
            rates = [rate for rate, _, _ in measured]
            p50, p99 = (statistics.median(one[index] for one in measured) for index in (1, 2))
            print(f"| {name} | {count} | {statistics.median(rates):,.0f} | {min(rates):,.0f} to {max(rates):,.0f} "
                  f"| {p50:.1f} | {p99:.1f} |")
    finally:
        database.remove()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
