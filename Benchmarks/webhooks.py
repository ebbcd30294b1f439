"""Measures deliveries: how many a second, and how long after its cause an event arrives.

Starts a server on a data folder of its own and a receiver beside it, both on loopback, makes customers at a rate, and
prints a Markdown row for each case. The lag is from the moment before the request that causes the event to the moment at
which its delivery is read, so it holds the request too.
"""

import argparse
import asyncio
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
KEY = "sk_test_benchWebhooks0000000001"


class Receiver:
    """The program beside this one that takes the deliveries: it costs less of the processor than one in Python would."""

    def __init__(self, folder):
        program = pathlib.Path(folder) / "receiver"
        compiler = next(name for name in ("cc", "clang") if shutil.which(name))
        subprocess.run(
            [compiler, "-O2", "-o", program, ROOT / "Benchmarks/receiver/receiver.c"], check=True)
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())
        # Of each delivery, the moment and the lag in microseconds.
        self.told = []

    def ask(self):
        """Has it tell of what arrived since; answers how many there were in all."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        _, _, *numbers = map(int, self.process.stdout.readline().split())
        self.told += zip(numbers[::2], numbers[1::2])
        return len(self.told)

    def end(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)


class Client:
    """One connection to the API."""

    async def open(self, port):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)
        return self

    async def post(self, path, form):
        body = form.encode()
        self.writer.write(
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\n"
            f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(re.search(rb"(?i)content-length: (\d+)", head).group(1))
        answer = await self.reader.readexactly(length)
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"{path}: {answer.decode()}")
        return answer


def processor_seconds(process):
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start(binary, data):
    process = subprocess.Popen(
        [binary, "serve", "--port", "0", "--data", data, "--test-secret-key", KEY],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for line in process.stdout:
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        if found:
            return process, int(found.group(1))
    raise SystemExit("the server did not start")


async def load(port, count, rate, clients=16):
    """Makes customers; with a rate, at that many a second."""
    queue = asyncio.Queue()
    begin = time.perf_counter()

    async def work():
        client = await Client().open(port)
        while (number := await queue.get()) is not None:
            if rate:
                await asyncio.sleep(max(0, begin + number / rate - time.perf_counter()))
            await client.post("/v1/customers", f"name=at {time.time():.6f}".replace(" ", "%20"))

    for number in range(count):
        queue.put_nowait(number)
    for _ in range(clients):
        queue.put_nowait(None)
    await asyncio.gather(*(work() for _ in range(clients)))
    return time.perf_counter() - begin


async def case(options, endpoints, rate, count, hang):
    with tempfile.TemporaryDirectory(dir=ROOT) as data:
        receiver = Receiver(data)
        process, port = start(options.binary, f"{data}/server")
        try:
            client = await Client().open(port)
            for number in range(endpoints):
                path = "hang" if hang and number == 0 else str(number)
                await client.post(
                    "/v1/webhook_endpoints",
                    f"url=http://127.0.0.1:{receiver.port}/{path}&enabled_events[]=customer.created")
            used = processor_seconds(process)
            seconds = await load(port, count, rate)
            made = time.time()
            expected = count * (endpoints - (1 if hang else 0))
            while receiver.ask() < expected and time.time() < made + options.patience:
                await asyncio.sleep(0.5)
            used = processor_seconds(process) - used
            moments = sorted(moment / 1e6 for moment, _ in receiver.told)
            lags = sorted(lag / 1e3 for _, lag in receiver.told)
            p = lambda share: lags[min(len(lags) - 1, int(len(lags) * share))]
            after = [moment for moment in moments if moment > made]
            drain = len(after) / (after[-1] - made) if len(after) > 100 else None
            overall = len(moments) / (moments[-1] - moments[0])
            print(
                f"| {endpoints}{', one hangs' if hang else ''} | {count / seconds:,.0f} | {len(lags):,} of {expected:,} "
                f"| {overall:,.0f} | {f'{drain:,.0f}' if drain else '–'} | {p(0.5):,.0f} | {p(0.99):,.0f} "
                f"| {lags[-1]:,.0f} | {used / len(lags) * 1e6:,.0f} |", flush=True)
        finally:
            process.terminate()
            process.wait(timeout=60)
            receiver.end()


async def main(options):
    print("| Endpoints | Events/s | Arrived | Deliveries/s | Deliveries/s after the load | Lag p50, ms | p99, ms "
          "| Highest, ms | Processor, µs a delivery |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|", flush=True)
    for text in options.case:
        endpoints, rate, count, hang = text.split(",")
        await case(options, int(endpoints), float(rate), int(count), hang == "hang")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=str(ROOT / ".build/release/linkspan"))
    parser.add_argument("--patience", type=float, default=120, help="seconds to wait for the last delivery")
    parser.add_argument(
        "--case", action="append",
        help="endpoints,events a second (0: as fast as can be),events,hang or none; may be repeated")
    options = parser.parse_args()
    options.case = options.case or [
        "1,200,4000,none", "1,0,20000,none", "50,20,1000,none", "50,20,1000,hang", "50,100,2000,hang",
        "50,200,4000,hang"]
    asyncio.run(main(options))
