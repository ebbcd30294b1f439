"""Changing the key that seals: everything opens under the new one, and nothing is left under the old."""

import base64
import os
import subprocess

from support import BINARY, DATABASE, TEST_OAUTH, Flow, good, refreshed


def key(number):
    return f"{number}:{base64.b64encode(os.urandom(32)).decode()}\n"


def rotate(server, ring):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LINKSPAN_")}
    command = [BINARY, "rotate-keys", *server.storage, "--key-file", str(ring)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)


def test_rotate_and_drop_the_old_key(own_server, tmp_path):
    ring, old, new = tmp_path / "ring", key(1), key(2)
    ring.write_text(old)
    server = own_server(["--key-file", str(ring)])
    api = server.api()
    session = api.session()
    flow = Flow(server.url, session)
    flow.consent()
    good(flow.start(TEST_OAUTH))
    linked = api.linked()["accounts"]["data"][0]
    endpoint = good(api.post("/v1/webhook_endpoints", {"url": "http://127.0.0.1:9/", "enabled_events[]": "*"}))
    if not DATABASE:
        assert rotate(server, ring).returncode == 1, "a server runs on the folder"
    server.stop()

    ring.write_text(new + old)
    done = rotate(server, ring)
    assert done.returncode == 0, done.stderr
    counts = dict(line.split() for line in done.stdout.splitlines() if "." in line.split()[0])
    assert all(int(counts[column]) > 0 for column in
               ("session.client_secret", "authorization_at_institution.credential", "webhook_endpoint.secret")), counts
    again = rotate(server, ring)
    assert again.returncode == 0 and all(int(line.split()[1]) == 0 for line in again.stdout.splitlines()[:-1])

    ring.write_text(new)
    (server.data / "keyring").unlink(missing_ok=True)
    server.start()
    api = server.api()
    assert good(api.get(f"/v1/financial_connections/sessions/{session['id']}"))["client_secret"] == \
        session["client_secret"]
    assert refreshed(api, linked, "balance")["balance_refresh"]["status"] == "succeeded"
    assert good(api.get(f"/v1/webhook_endpoints/{endpoint['id']}"))["id"] == endpoint["id"]
    server.stop()

    ring.write_text(old)
    failed = rotate(server, ring)
    assert failed.returncode == 1 and "Add the key that sealed it" in failed.stderr, failed.stderr
