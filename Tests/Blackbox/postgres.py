"""A PostgreSQL server of the tests' own, on a free port and in a temporary folder, gone with them.

As a program it runs a command beside such a server: `python postgres.py COMMAND…`, which finds its address in
`LINKSPAN_TEST_DATABASE`.
"""

import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import uuid

USER = "linkspan"
# Only what a test needs beside the defaults: many servers at once.
SETTINGS = ["max_connections=1000", "listen_addresses=127.0.0.1", "max_wal_size=256MB"]


def folder_of_programs():
    """Of the newest version that is installed; Debian keeps them off the PATH."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    on_path = shutil.which("initdb")
    assert found or on_path, "there is no PostgreSQL: run script/setup test"
    return found[-1] if found else pathlib.Path(on_path).parent


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Postgres:
    """One server. It can be stopped and started again on the same port."""

    def __init__(self):
        self.programs = folder_of_programs()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="linkspan-postgres-"))
        self.port = free_port()
        if os.getuid() == 0:
            # It refuses to run as root.
            owner = pwd.getpwnam("postgres")
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
        help_text = self._run("initdb", "--help")
        # A language that sorts `a` before `B`, where there is one: nothing may depend on the database's.
        collation = ["--locale-provider=icu", "--icu-locale=en"] if "icu-locale" in help_text else []
        self._run("initdb", "-D", str(self.folder / "data"), "-A", "trust", "-U", USER, "-E", "UTF8",
                  "--locale=C.UTF-8", *collation)

    @property
    def url(self):
        return f"postgres://{USER}@127.0.0.1:{self.port}/postgres"

    def start(self):
        settings = " ".join(f"-c {setting}" for setting in SETTINGS)
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-l", str(self.folder / "log"), "-w", "-t", "60",
                  "-o", f"-p {self.port} -k {self.folder} {settings}", "start")
        return self

    def stop(self, mode="fast"):
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-m", mode, "-w", "stop")

    def remove(self):
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program, *arguments):
        command = [str(self.programs / program), *arguments]
        if os.getuid() == 0:
            command = ["runuser", "-u", "postgres", "--", *command]
        done = subprocess.run(command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"{program}: {done.stdout}"
        return done.stdout


def ask(url, statement):
    """Runs a statement and answers what it printed."""
    command = [str(folder_of_programs() / "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url,
               "-c", statement]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def new_schema(url):
    """A schema that holds one test's rows: answers an address that works in it."""
    name = f"test_{uuid.uuid4().hex}"
    ask(url, f"CREATE SCHEMA {name}")
    return in_schema(url, name)


def in_schema(url, name):
    return f"{url}{'&' if '?' in url else '?'}options=-c%20search_path%3D{name}"


def as_user(url, user):
    return re.sub(r"//[^@/]*@", f"//{user}@", url)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    server = Postgres().start()
    try:
        environment = {**os.environ, "LINKSPAN_TEST_DATABASE": server.url}
        status = subprocess.run(sys.argv[1:], env=environment, check=False).returncode
    finally:
        server.remove()
    sys.exit(status)
