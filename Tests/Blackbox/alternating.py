"""Stands in front of several servers and sends each request to the next of them, whichever connection it came on."""

import http.client
import http.server
import itertools
import threading
import urllib.parse

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding"}


class Front:
    """Listens on a free port of its own; `backends` are set when they are known."""

    def __init__(self):
        self.backends = []
        self.turn = itertools.count()
        front = self

        class Handler(_Handler):
            """Requests of one connection."""

            def next_backend(self):
                return front.backends[next(front.turn) % len(front.backends)]

        self.server = _Listener(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"


class _Listener(http.server.ThreadingHTTPServer):
    daemon_threads = True
    # Many connect at the same moment.
    request_queue_size = 512


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # An answer leaves whole and at once.
    disable_nagle_algorithm = True
    wbufsize = -1

    def setup(self):
        super().setup()
        self.connections = {}

    def finish(self):
        for connection in self.connections.values():
            connection.close()
        super().finish()

    def forward(self):
        body = self.body()
        backend = self.next_backend()
        if backend not in self.connections:
            self.connections[backend] = http.client.HTTPConnection(urllib.parse.urlsplit(backend).netloc, timeout=60)
        try:
            answer = self.ask(self.connections[backend], body)
        except (OSError, http.client.HTTPException):
            # The server is gone; so is the connection, for whoever asked.
            self.connections.pop(backend).close()
            self.close_connection = True
            return
        content = answer.read()
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        if "chunked" in (answer.getheader("Transfer-Encoding") or "") and self.command != "HEAD":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def body(self):
        if "chunked" not in (self.headers.get("Transfer-Encoding") or ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pieces = []
        while length := int(self.rfile.readline().split(b";")[0], 16):
            pieces.append(self.rfile.read(length))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def ask(self, connection, body):
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in HOP_BY_HOP:
                connection.putheader(name, value)
        if body and "Content-Length" not in self.headers:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body or None)
        return connection.getresponse()

    do_GET = do_POST = do_DELETE = do_OPTIONS = do_HEAD = do_PUT = do_PATCH = forward

    def log_message(self, *_):
        pass
