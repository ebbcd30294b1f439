"""One server for each test process, and servers of their own for the tests that restart or kill them."""

import os

import pytest

import support
from person import DESKTOP, PATIENCE, MerchantPage, Person


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


# A browser


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=os.environ.get("LINKSPAN_CHROMIUM"), args=["--no-sandbox"]
        )
        yield running
        running.close()


@pytest.fixture
def page(browser):
    """A page that fails its test if a script of ours throws or breaks the content policy."""
    context = browser.new_context(viewport=DESKTOP)
    context.set_default_timeout(PATIENCE)
    opened, complaints = context.new_page(), []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda line: complaints.append(line.text) if is_complaint(line) else None)
    yield opened
    context.close()
    assert complaints == []


def is_complaint(line):
    """A refused request is what some tests are about; every other error on the console is a defect."""
    return line.type == "error" and not line.text.startswith("Failed to load resource")


@pytest.fixture(scope="session")
def institutions(server):
    flow = support.Flow(server.url, server.api().session())
    flow.consent()
    return {name: flow.institution(name) for name in support.FEATURED_AND_FOUND}


@pytest.fixture
def merchant(page, server, institutions):
    return MerchantPage(page, server, institutions).open()


@pytest.fixture
def modal(merchant, raw):
    """Opens the modal for a Session with the given parameters, from a script."""

    def start(call="collectFinancialConnectionsAccounts", **form):
        return merchant.start(raw.session(**form), support.PUBLISHABLE_KEY, call)

    return start


@pytest.fixture
def full_page(page, server, raw, institutions):
    """Opens the flow as a page of its own."""

    def start(**form):
        session = raw.session(**form)
        page.goto(support.Flow(server.url, session).synchronize()["manifest"]["hosted_auth_url"])
        return Person(page, page, institutions)

    return start
