"""One server for each test process, and servers of their own for the tests that restart or kill them."""

import pytest

import support


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    running = support.new_server(tmp_path_factory.mktemp("server")).start()
    yield running
    running.stop()


@pytest.fixture
def own_server(tmp_path):
    """Makes servers on data folders of this test's own; what still runs at its end is stopped."""
    started = []

    def start(flags=()):
        started.append(support.new_server(tmp_path / f"server-{len(started)}", flags).start())
        return started[-1]

    yield start
    for running in started:
        if running.is_running():
            running.stop()


@pytest.fixture
def client(server):
    return server.sdk()


@pytest.fixture
def raw(server):
    return server.api()


@pytest.fixture
def open_flow(server, raw):
    """Makes a Session with the given parameters and answers it with its client's side, consent given."""

    def start(customer=None, consent=True, **form):
        session = raw.session(customer, **form)
        flow = support.Flow(server.url, session)
        if consent:
            flow.consent()
        return session, flow

    return start
