"""Signing in at a bank's own pages, in a real browser: the window that opens, the ways back, what goes wrong there."""

import contextlib
import http.server
import threading

import pytest
from playwright.sync_api import expect

from person import OVERFLOW, PATIENCE, Person, check_accessibility, photograph
from support import BANK_OAUTH, TEST, TEST_OAUTH, Flow, good, unique, wait_until


class AtBank:
    """A person at the bank's page, in whatever window it is."""

    def __init__(self, page):
        self.page = page

    def by(self, testid):
        return self.page.get_by_test_id(testid)

    def click(self, testid):
        self.by(testid).click()

    def share(self, *accounts, user=None):
        if user:
            self.by("bank-user").fill(user)
        for account in accounts:
            self.by(f"bank-account-{account}").check()
        self.click("bank-allow")


@contextlib.contextmanager
def return_listener():
    """A merchant's own address, and what came to it."""
    visits = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path != "/favicon.ico":
                visits.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>App</title>")

        def log_message(self, *_):
            pass

    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.server_port}", visits
    finally:
        listener.shutdown()


def go_to_bank(person, name):
    """Choose the bank and let its window open."""
    person.choose(name).sees("partner_auth")
    with person.page.expect_popup() as opened:
        person.click("bank-continue")
    window = opened.value
    window.wait_for_url("**/bank/authorize?**")
    expect(person.root).to_have_attribute("data-pane", "partner_auth")
    return AtBank(window)


def came_back(window):
    """The bank's window ends by itself."""
    wait_until(window.page.is_closed, 20, "the bank's window closes itself")


def test_link_through_test_oauth(merchant):
    person = merchant.start_from_form().agree()
    bank = go_to_bank(person, TEST_OAUTH)
    bank.share()
    person.pick(2)
    came_back(bank)
    person.click("accounts-connect").sees("success").click("done")
    result = merchant.result()
    assert [a["institution_name"] for a in result["accounts"]["data"]] == [TEST_OAUTH] * 2


def test_link_through_bank_oauth_with_accounts_chosen_there(modal, merchant):
    person = modal().agree()
    bank = go_to_bank(person, BANK_OAUTH)
    bank.share("High Balance", "Credit Card", user=unique("jo"))
    assert person.accounts().count() == 2
    came_back(bank)
    person.pick(2)
    person.click("accounts-connect").sees("success").click("done")
    linked = merchant.outcome()["financialConnectionsSession"]["accounts"]
    assert sorted(account["display_name"] for account in linked) == ["Credit Card", "High Balance"]


def test_the_bank_asks_again_where_no_account_was_chosen(modal):
    bank = go_to_bank(modal().agree(), BANK_OAUTH)
    bank.click("bank-allow")
    expect(bank.by("bank-problem")).to_have_text("Choose at least one account.")
    bank.by("bank-user").fill("")
    bank.page.locator("form").evaluate("form => { form.noValidate = true; }")
    bank.share("Success")
    expect(bank.by("bank-problem")).to_have_text("Type a user name.")


@pytest.mark.parametrize("way_out", ["bank-cancel", "bank-deny"])
def test_turning_back_at_the_bank_shares_nothing_and_can_be_undone(modal, merchant, way_out):
    person = modal().agree()
    bank = go_to_bank(person, TEST_OAUTH)
    bank.click(way_out)
    person.sees("partner_auth", error="cancelled")
    came_back(bank)
    person.click("try-again").sees("partner_auth")
    with person.page.expect_popup() as opened:
        person.click("bank-continue")
    AtBank(opened.value).share()
    person.pick(1)
    person.click("accounts-connect").sees("success").click("done")
    assert len(merchant.outcome()["financialConnectionsSession"]["accounts"]) == 1


def test_turning_back_at_the_bank_and_choosing_another(modal):
    person = modal().agree()
    go_to_bank(person, BANK_OAUTH).click("bank-cancel")
    person.sees("partner_auth", error="cancelled")
    person.click("select-another").sees("institution_picker").link(TEST)


def test_a_bank_that_refuses_is_named(modal):
    person = modal().agree()
    bank = go_to_bank(person, BANK_OAUTH)
    bank.share("Success", user="error")
    person.sees("unexpected_error", error="authorization_failed")
    expect(person.frame.locator("h1")).to_contain_text(BANK_OAUTH)
    person.click("select-another").sees("institution_picker")


def test_leaving_the_waiting_pane_for_another_bank(modal):
    person = modal().agree()
    bank = go_to_bank(person, TEST_OAUTH)
    expect(person.by("bank-reopen")).to_be_visible()
    person.click("select-another").sees("institution_picker")
    bank.share()
    expect(bank.page.get_by_test_id("return")).to_have_attribute("data-outcome", "unknown")
    person.link(TEST)


def test_a_closed_window_is_noticed_and_opened_again(modal):
    person = modal().agree()
    go_to_bank(person, TEST_OAUTH).page.close()
    person.sees("partner_auth", error="window_closed")
    with person.page.expect_popup() as opened:
        person.click("bank-reopen")
    AtBank(opened.value).share()
    person.pick(1)
    person.click("accounts-connect").sees("success")


BLOCK_WINDOWS = "window.open = () => null;"


def test_a_blocked_window_goes_on_in_the_same_tab(full_page, page):
    page.add_init_script(BLOCK_WINDOWS)
    person = full_page().agree()
    person.choose(TEST_OAUTH).sees("partner_auth").click("bank-continue")
    person.sees("partner_auth").click("bank-same-tab")
    page.wait_for_url("**/bank/authorize?**")
    AtBank(page).share()
    page.wait_for_url("**/flow")
    person.pick(1)
    person.click("accounts-connect").sees("success")


def test_turning_back_in_the_same_tab(full_page, page):
    page.add_init_script(BLOCK_WINDOWS)
    person = full_page().agree()
    person.choose(TEST_OAUTH).sees("partner_auth").click("bank-continue")
    person.sees("partner_auth").click("bank-same-tab")
    page.wait_for_url("**/bank/authorize?**")
    AtBank(page).click("bank-cancel")
    page.wait_for_url("**/flow")
    person.sees("partner_auth", error="cancelled")


def test_a_blocked_window_in_the_modal_is_a_tab_opened_by_a_link(modal, page):
    page.add_init_script(BLOCK_WINDOWS)
    page.reload()
    person = modal().agree()
    person.choose(TEST_OAUTH).sees("partner_auth").click("bank-continue")
    with page.context.expect_page() as opened:
        person.click("bank-same-tab")
    bank = AtBank(opened.value)
    bank.share()
    person.pick(1)
    came_back(bank)
    person.click("accounts-connect").sees("success")


def test_a_reload_while_the_person_is_at_the_bank_goes_on(full_page, page):
    person = full_page().agree()
    bank = go_to_bank(person, TEST_OAUTH)
    page.reload()
    person.sees("partner_auth")
    bank.share()
    person.pick(1)
    person.click("accounts-connect").sees("success")


def test_an_app_is_resumed_by_its_return_url(browser, server, raw, institutions):
    """The flow in an app's webview, the bank in the system's browser: they share nothing but the server."""
    with return_listener() as (address, visits):
        webview, system = browser.new_context(), browser.new_context()
        try:
            page = webview.new_page()
            page.add_init_script(BLOCK_WINDOWS)
            session = raw.session(return_url=f"{address}/linked?a=1")
            page.goto(Flow(server.url, session).synchronize()["manifest"]["hosted_auth_url"])
            person = Person(page, page, institutions).agree()
            person.choose(TEST_OAUTH).sees("partner_auth").click("bank-continue")
            bank = system.new_page()
            bank.goto(person.by("bank-same-tab").get_attribute("href"))
            AtBank(bank).share()
            expect(bank.get_by_test_id("return")).to_have_attribute("data-outcome", "question", timeout=PATIENCE)
            check_accessibility(bank, heading_focused=False)
            photograph(bank, "oauth-return-question")
            bank.get_by_test_id("return-continue").click()
            bank.wait_for_url(f"{address}/linked?a=1")
            assert visits == ["/linked?a=1"]
            person.pick(1)
            person.click("accounts-connect").sees("success")
        finally:
            webview.close()
            system.close()


def test_the_last_page_works_without_a_script_and_never_twice(browser, server, raw):
    session = raw.session(return_url="com.example.app://linked")
    flow = Flow(server.url, session)
    flow.consent()
    auth = good(flow.start(TEST_OAUTH))
    context = browser.new_context(java_script_enabled=False)
    try:
        page = context.new_page()
        page.goto(auth["url"])
        AtBank(page).share()
        page.get_by_test_id("return-continue").click()
        done = page.get_by_test_id("return")
        expect(done).to_have_attribute("data-outcome", "success", timeout=PATIENCE)
        expect(page.get_by_test_id("return-back")).to_have_attribute("href", "com.example.app://linked")
        expect(page.locator("h1")).to_contain_text(TEST_OAUTH)
        page.reload()
        expect(page.get_by_test_id("return")).to_have_attribute("data-outcome", "unknown")
    finally:
        context.close()
    assert good(flow.post("connections/auth_sessions/retrieve", id=auth["id"]))["next_pane"] == "account_picker"


def at_prepane(person):
    person.agree().choose(BANK_OAUTH).sees("partner_auth")


def at_waiting(person):
    go_to_bank(person.agree(), TEST_OAUTH)
    expect(person.by("bank-reopen")).to_be_visible()


def at_blocked(person):
    person.page.evaluate("() => { window.open = () => null; }")
    at_prepane(person)
    person.click("bank-continue")
    expect(person.by("bank-same-tab")).to_be_visible()


def at_turned_back(person):
    go_to_bank(person.agree(), TEST_OAUTH).click("bank-deny")
    person.sees("partner_auth", error="cancelled")


def at_closed(person):
    go_to_bank(person.agree(), TEST_OAUTH).page.close()
    person.sees("partner_auth", error="window_closed")


ARRIVALS = {"oauth-prepane": at_prepane, "oauth-waiting": at_waiting, "oauth-blocked": at_blocked,
            "oauth-turned-back": at_turned_back, "oauth-window-closed": at_closed}


@pytest.mark.parametrize("name", ARRIVALS)
def test_every_new_pane(full_page, page, name):
    ARRIVALS[name](full_page())
    check_accessibility(page, heading_focused=True)
    photograph(page, name)
    page.set_viewport_size({"width": 320, "height": 640})
    assert page.evaluate(OVERFLOW) <= 0


@pytest.mark.parametrize("name", [TEST_OAUTH, BANK_OAUTH])
def test_the_banks_own_page(page, server, open_flow, name):
    auth = good(open_flow()[1].start(name))
    page.goto(auth["url"])
    check_accessibility(page, heading_focused=False)
    photograph(page, "bank-page" if name == BANK_OAUTH else "bank-page-quick")
    page.set_viewport_size({"width": 320, "height": 640})
    assert page.evaluate(OVERFLOW) <= 0


@pytest.mark.parametrize("answer", ["", "?state=nobody", "?state=a&state=b&code=x", "?error=access_denied"])
def test_the_return_page_for_what_nobody_asked(page, server, answer):
    page.goto(f"{server.url}/flow/return{answer}")
    expect(page.get_by_test_id("return")).to_have_attribute("data-outcome", "unknown")
    check_accessibility(page, heading_focused=False)
    photograph(page, "oauth-return-unknown")
