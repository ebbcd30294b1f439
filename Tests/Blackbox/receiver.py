"""A merchant's webhook receiver: it keeps what it was sent, and answers as it is told to."""

import http.server
import socket
import threading
import time

import stripe

from support import wait_until


class Delivery:
    """One request as it came."""

    def __init__(self, path, headers, body):
        self.path = path
        self.headers = headers
        self.body = body
        self.at = time.time()
        # The status that it was answered with, once it was.
        self.status = None

    def verified(self, secret, tolerance=300):
        return stripe.Webhook.construct_event(self.body, self.headers["Stripe-Signature"], secret, tolerance)


class Receiver:
    """`answer(delivery)` gives a status, `(status, headers, body)`, or takes the connection itself and gives None."""

    def __init__(self, answer=lambda delivery: 200, port=0):
        self.answer = answer
        self.deliveries = []
        self.lock = threading.Lock()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                delivery = Delivery(self.path, self.headers, body)
                delivery.connection = self.connection
                with receiver.lock:
                    receiver.deliveries.append(delivery)
                    delivery.number = len(receiver.deliveries)
                answer = receiver.answer(delivery)
                if answer is None:
                    self.close_connection = True
                    return
                status, headers, reply = answer if isinstance(answer, tuple) else (answer, {}, b"ok")
                head = f"HTTP/1.1 {status} Status\r\nContent-Length: {len(reply)}\r\n"
                head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
                self.wfile.write(head.encode() + b"\r\n" + reply)
                delivery.status = status

            do_GET = do_POST

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 1024

            def handle_error(self, *_):
                pass

        self.server = Server(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def wait(self, count, seconds=20, path=None):
        """The deliveries, at a path where one is given, as soon as there are that many."""
        def enough():
            with self.lock:
                found = [one for one in self.deliveries if path is None or one.path == path]
            return found if len(found) >= count else None
        return wait_until(enough, seconds, f"{count} deliveries")


class Counter:
    """Listens at every address of this machine and counts the connections that come."""

    def __init__(self):
        self.socket = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        self.port = self.socket.getsockname()[1]
        self.count = 0
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.count += 1
            connection.close()

    def close(self):
        self.socket.close()
