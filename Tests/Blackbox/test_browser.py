"""The hosted flow and the library in a real browser, as a person uses them: by pointer, by keyboard, on a phone.

Every pane is also photographed, at 1280 and 360 pixels, light and dark, into `artifacts/screenshots`.
"""

import re

import pytest
from playwright.sync_api import expect

from person import NAMELESS, OVERFLOW, Person, check_accessibility, photograph
from support import (
    BANK, DOWN_ERROR, DOWN_SCHEDULED, DOWN_UNSCHEDULED, INVALID_PAYMENT, OWNERSHIP, PUBLISHABLE_KEY, TEST, Flow, good,
)

MANUAL = {"manual_entry[mode]": "automatic"}
PAYABLE = {"filters[require_payment_method_support]": "all"}


# A merchant's page: the modal


def test_two_accounts_at_test(merchant):
    person = merchant.start_from_form().agree()
    picked = person.link(TEST, 2)
    person.click("done")
    result = merchant.result()
    assert sorted(a["display_name"] for a in result["accounts"]["data"]) == sorted(picked)
    assert {a["institution_name"] for a in result["accounts"]["data"]} == {TEST}
    expect(merchant.page.get_by_test_id("demo-accounts").locator("li")).to_have_count(2)


def test_a_featured_bank_is_chosen_without_a_search(merchant, institutions):
    person = merchant.start_from_form().agree()
    person.click(f"institution-{institutions[TEST]}").sees("account_picker")


@pytest.mark.parametrize("word", ["mfa", "options", "confirm_mfa", "security_question"])
def test_bank_asks_for_more(merchant, word):
    person = merchant.start_from_form().agree().choose(BANK)
    person.answer_and_go_on(password=word)
    while person.root.get_attribute("data-pane") == "partner_auth":
        person.answer_and_go_on()
    person.pick(1)
    person.click("accounts-connect").sees("success").click("done")
    assert [a["institution_name"] for a in merchant.result()["accounts"]["data"]] == [BANK]


def test_a_wrong_password_can_be_typed_again(modal):
    person = modal().agree().choose(BANK)
    person.answer(password="incorrect")
    expect(person.frame.get_by_role("alert").filter(has_text=re.compile(r"\w"))).to_be_visible()
    person.sees("partner_auth").answer().sees("account_picker")


def test_a_refused_sign_in_leads_to_another_bank(modal):
    person = modal().agree().choose(BANK)
    person.answer(password="error").sees("unexpected_error", "authorization_failed")
    person.click("select-another").sees("institution_picker")
    person.link(TEST)


@pytest.mark.parametrize("name, error", [
    (DOWN_SCHEDULED, "institution_unavailable_planned"), (DOWN_UNSCHEDULED, "institution_unavailable_unplanned"),
    (DOWN_ERROR, "unexpected_error"),
])
def test_a_bank_that_is_down_leads_to_another(merchant, name, error):
    person = merchant.start_from_form().agree().choose(name)
    person.sees("unexpected_error", error)
    assert (person.frame.locator("time").count() == 1) == (name == DOWN_SCHEDULED)
    person.click("select-another").sees("institution_picker")
    person.link(TEST)
    person.click("done")
    assert len(merchant.result()["accounts"]["data"]) == 1


def test_nothing_eligible_is_explained(merchant):
    merchant.set("filters[require_payment_method_support]", "all")
    person = merchant.start_from_form().agree().choose(INVALID_PAYMENT)
    person.sees("unexpected_error", "no_debitable_account")
    expect(person.by("select-another")).to_be_visible()


def test_accounts_outside_the_filter_cannot_be_picked(merchant):
    merchant.set("filters[account_subcategories][]", "savings")
    person = merchant.start_from_form().agree().choose(TEST)
    picked = person.pick(1)
    for box in person.frame.locator("input[data-testid^='account-']:disabled").all():
        expect(person.frame.locator(f"[id='{box.get_attribute('aria-describedby')}']")).to_be_visible()
    person.click("accounts-connect").sees("success").click("done")
    accounts = merchant.result()["accounts"]["data"]
    assert [(a["display_name"], a["subcategory"]) for a in accounts] == [(picked[0], "savings")]


def test_a_limit_of_one_offers_one_choice(merchant):
    person = merchant.set("limits[accounts]", "1").start_from_form().agree().choose(TEST)
    boxes = person.accounts()
    assert {boxes.nth(n).get_attribute("type") for n in range(boxes.count())} == {"radio"}
    person.pick(1)
    person.click("accounts-connect").sees("success")
    expect(person.by("link-another")).to_have_count(0)
    person.click("done")
    assert len(merchant.result()["accounts"]["data"]) == 1


def test_nothing_is_preselected_where_there_is_a_choice(modal):
    person = modal().agree().choose(TEST)
    expect(person.accounts().first).not_to_be_checked()
    expect(person.by("accounts-connect")).to_be_disabled()


def test_all_accounts_can_be_picked_at_once(modal, merchant):
    person = modal().agree().choose(TEST)
    count = person.accounts().count()
    person.by("accounts-select-all").check()
    person.click("accounts-connect").sees("success").click("done")
    assert len(merchant.outcome()["financialConnectionsSession"]["accounts"]) == count


def test_another_bank_is_linked_from_the_end(merchant):
    person = merchant.start_from_form().agree()
    person.link(TEST)
    person.click("link-another").sees("institution_picker")
    person.link(OWNERSHIP)
    person.click("done")
    assert {a["institution_name"] for a in merchant.result()["accounts"]["data"]} == {TEST, OWNERSHIP}


def test_back_leads_from_the_sign_in_to_the_banks(modal):
    person = modal().agree().choose(BANK).sees("partner_auth")
    person.click("back").sees("institution_picker")
    person.link(TEST)


def test_a_search_can_find_nothing(modal):
    person = modal().agree()
    person.by("institution-search").fill("no bank has this name")
    expect(person.by("no-results")).to_be_visible()
    person.link(TEST)


def test_details_entered_by_hand(merchant):
    person = merchant.set("manual_entry[mode]", "automatic").start_from_form()
    person.sees("consent").click("enter-manually")
    person.enter_by_hand().sees("manual_entry_success").click("done")
    assert merchant.result()["accounts"]["data"] == []


def test_details_entered_by_hand_are_checked(modal):
    person = modal(**MANUAL).agree().click("enter-manually")
    person.enter_by_hand(routing="110000001", again="000123456780").sees("manual_entry")
    for field in ("manual-routing", "manual-account-confirm"):
        expect(person.by(field)).to_have_attribute("aria-invalid", "true")
    expect(person.by("manual-account")).not_to_have_attribute("aria-invalid", "true")
    assert person.focused() == "manual-routing"


def test_test_data_fills_the_form(modal, merchant):
    person = modal("collectBankAccountToken", **MANUAL).agree().click("enter-manually").sees("manual_entry")
    person.click("manual-test-fill").click("manual-submit").sees("manual_entry_success").click("done")
    outcome = merchant.outcome()
    assert outcome["token"]["object"] == "token"
    assert outcome["token"]["bank_account"]["last4"] == "6789"


def test_without_permission_nothing_is_entered_by_hand(modal):
    person = modal(**{"manual_entry[mode]": "disabled"}).agree()
    expect(person.by("enter-manually")).to_have_count(0)


# Leaving


def test_closing_at_consent_resolves_with_no_accounts(modal, merchant):
    modal().sees("consent").click("close")
    outcome = merchant.outcome()
    assert outcome["financialConnectionsSession"]["accounts"] == []
    assert outcome.get("error") is None


def test_closing_later_asks_once(modal, merchant):
    person = modal().agree().click("close")
    person.click("exit-stay")
    expect(person.by("exit-stay")).to_have_count(0)
    person.sees("institution_picker").click("close").click("exit-leave")
    assert merchant.outcome()["financialConnectionsSession"]["accounts"] == []


def test_escape_closes_and_gives_the_focus_back(merchant):
    person = merchant.start_from_form().sees("consent")
    person.press("Escape")
    assert merchant.result()["accounts"]["data"] == []
    expect(merchant.page.get_by_test_id("demo-link")).to_be_focused()


def test_escape_asks_where_something_would_be_lost(modal, merchant):
    person = modal().agree().press("Escape")
    expect(person.by("exit-stay")).to_be_visible()
    person.press("Escape")
    expect(person.by("exit-stay")).to_have_count(0)
    person.press("Escape").click("exit-leave")
    assert merchant.outcome()["financialConnectionsSession"]["accounts"] == []


def test_closing_after_success_keeps_the_accounts(modal, merchant):
    person = modal().agree()
    person.link(TEST, 2)
    person.click("close")
    assert len(merchant.outcome()["financialConnectionsSession"]["accounts"]) == 2


def test_a_cancelled_session_can_be_opened_again(merchant, raw):
    session = raw.session()
    merchant.start(session, PUBLISHABLE_KEY).sees("consent").click("close")
    assert merchant.outcome()["financialConnectionsSession"]["accounts"] == []
    person = merchant.start(session, PUBLISHABLE_KEY).agree()
    person.link(TEST)
    person.click("done")
    assert len(merchant.outcome()["financialConnectionsSession"]["accounts"]) == 1


def test_a_used_session_ends_in_an_error(merchant, raw):
    session = raw.session()
    raw.complete(session)
    person = merchant.start(session, PUBLISHABLE_KEY).sees("unexpected_error", "session_expired")
    person.click("close")
    outcome = merchant.outcome()
    assert outcome["error"]["code"] == "session_expired"
    assert outcome.get("financialConnectionsSession") is None


# The library


def test_the_outcome_has_the_published_shape(modal, merchant):
    person = modal().agree()
    person.link(TEST, 2)
    person.click("done")
    session = merchant.outcome()["financialConnectionsSession"]
    assert session["id"].startswith("fcsess_")
    assert isinstance(session["accounts"], list)
    published = {"id", "object", "balance", "balance_refresh", "category", "created", "display_name",
                 "institution_name", "last4", "livemode", "ownership", "ownership_refresh", "permissions", "status",
                 "subcategory", "supported_payment_method_types"}
    for account in session["accounts"]:
        assert published - set(account) == set()


def test_a_second_flow_is_refused_while_one_is_open(modal, merchant, raw):
    modal().sees("consent")
    call = """([key, secret]) => window.Stripe(key).collectFinancialConnectionsAccounts({clientSecret: secret})"""
    second = merchant.page.evaluate(call, [PUBLISHABLE_KEY, raw.session()["client_secret"]])
    assert second["error"]["type"] == "validation_error"


def test_an_unknown_secret_resolves_with_an_error(merchant):
    call = """([key, secret]) => window.Stripe(key).collectFinancialConnectionsAccounts({clientSecret: secret})"""
    outcome = merchant.page.evaluate(call, [PUBLISHABLE_KEY, "fcsess_client_secret_" + "A" * 24])
    assert outcome["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("wrong", [
    "window.Stripe()", "window.Stripe('sk_test_secret')", "window.Stripe('pk_test_x').elements()",
    "window.Stripe('pk_test_x').collectFinancialConnectionsAccounts()",
    "window.Stripe('pk_test_x').collectFinancialConnectionsAccounts({})",
])
def test_wrong_use_is_an_integration_error(merchant, wrong):
    thrown = merchant.page.evaluate(f"() => {{ try {{ {wrong}; return null }} catch (error) {{ return error.name }} }}")
    assert thrown == "IntegrationError"


@pytest.mark.parametrize("call", ["collectBankAccountForPayment", "collectBankAccountForSetup"])
def test_calls_that_are_not_served_say_so(merchant, call):
    outcome = merchant.page.evaluate(f"key => window.Stripe(key).{call}({{clientSecret: 'x', params: {{}}}})",
                                     PUBLISHABLE_KEY)
    assert outcome["error"]["type"] == "invalid_request_error"
    assert "Linkspan" in outcome["error"]["message"]


def test_the_loader_of_stripe_js_is_content(merchant):
    probe = """key => {
        const stripe = window.Stripe(key, {apiVersion: '2026-08-26.dahlia'});
        stripe._registerWrapper({name: 'stripe-js', version: '9.13.0', startTime: Date.now()});
        const needed = ['elements', 'createToken', 'createPaymentMethod', 'confirmCardPayment'];
        return [window.Stripe.version, needed.every((name) => typeof stripe[name] === 'function')];
    }"""
    assert merchant.page.evaluate(probe, PUBLISHABLE_KEY) == ["dahlia", True]


def test_a_forged_message_ends_nothing(modal, merchant):
    person = modal().sees("consent")
    merchant.page.evaluate("() => window.postMessage({linkspan: 1, type: 'closed'}, '*')")
    merchant.page.evaluate("() => window.postMessage({linkspan: 1, type: 'ready'}, '*')")
    person.agree().link(TEST)
    person.click("done")
    assert len(merchant.outcome()["financialConnectionsSession"]["accounts"]) == 1


# A page of its own


def test_the_full_page_returns_to_the_merchant(full_page, server):
    target = f"{server.url}/health/live?order=7"
    person = full_page(return_url=target).agree()
    person.link(TEST)
    person.click("done")
    person.page.wait_for_url(re.compile(re.escape(f"{server.url}/health/live")))
    assert "order=7" in person.page.url


def test_the_full_page_from_the_demo_shows_what_came_back(merchant, institutions):
    merchant.set("presentation", "page").page.get_by_test_id("demo-link").click()
    person = Person(merchant.page, merchant.page, institutions).agree()
    picked = person.link(TEST, 2)
    person.click("done")
    assert sorted(a["display_name"] for a in merchant.result()["accounts"]["data"]) == sorted(picked)


def test_without_a_return_url_the_full_page_ends_on_a_page_that_says_so(full_page, raw):
    person = full_page().agree()
    person.link(TEST)
    person.click("done")
    person.page.wait_for_url("**/flow/done*")
    expect(person.page.locator("h1")).to_be_visible()


def test_leaving_the_full_page_returns_to_the_merchant(full_page, server):
    person = full_page(return_url=f"{server.url}/health/live").sees("consent").click("close")
    person.page.wait_for_url(f"{server.url}/health/live*")


def test_the_token_does_not_stay_in_the_address_and_a_reload_goes_on(full_page):
    person = full_page().agree()
    assert "fcflow_" not in person.page.url
    person.page.reload()
    person.sees("institution_picker").link(TEST)


def test_the_full_page_of_a_used_session_has_expired(page, server, raw, institutions):
    session = raw.session()
    address = Flow(server.url, session).synchronize()["manifest"]["hosted_auth_url"]
    raw.complete(session)
    page.goto(address)
    Person(page, page, institutions).sees("unexpected_error", "session_expired")


def test_without_a_token_the_page_says_so(page, server, institutions):
    page.goto(f"{server.url}/flow")
    Person(page, page, institutions).sees("unexpected_error", "session_expired")


def test_the_page_has_a_strict_content_policy(page, server):
    policy = page.goto(f"{server.url}/flow").headers["content-security-policy"]
    rules = dict(rule.strip().partition(" ")[::2] for rule in policy.split(";") if rule.strip())
    assert (rules["default-src"], rules["script-src"], rules["style-src"]) == ("'none'", "'self'", "'self'")
    assert rules["require-trusted-types-for"] == "'script'"
    assert "frame-ancestors" in rules and "base-uri" in rules and "form-action" in rules


# By keyboard


def test_the_keyboard_alone_suffices(merchant):
    merchant.page.get_by_test_id("demo-link").focus()
    with merchant.page.expect_event("framenavigated", lambda frame: "/flow?" in frame.url) as opened:
        merchant.page.keyboard.press("Enter")
    person = Person(merchant.page, opened.value, merchant.institutions).sees("consent")
    person.tab_to("consent-continue").press("Enter").sees("institution_picker")
    person.tab_to("institution-search")
    person.page.keyboard.type(TEST)
    row = f"institution-{merchant.institutions[TEST]}"
    expect(person.frame.locator("[data-testid^='institution-fcinst_']")).to_have_count(1)
    person.tab_to(row).press("Enter")
    first = person.accounts().first.get_attribute("data-testid")
    person.tab_to(first).press("Space").tab_to("accounts-connect").press("Enter").sees("success")
    person.tab_to("done").press("Enter")
    assert [f"account-{a['display_name']}" for a in merchant.result()["accounts"]["data"]] == [first]
    expect(merchant.page.get_by_test_id("demo-link")).to_be_focused()


def test_the_focus_stays_inside_of_the_modal(modal):
    person = modal().sees("consent")
    for _ in range(40):
        person.press("Tab")
        outside = person.page.evaluate("() => document.activeElement.closest('#demo') !== null")
        assert not outside


# Every pane


def to_consent(person):
    person.sees("consent")


def to_banks(person):
    person.agree()


def to_search(person):
    person.agree().by("institution-search").fill("down")
    expect(person.frame.locator("[data-testid^='institution-fcinst_']")).to_have_count(3)


def to_no_results(person):
    person.agree().by("institution-search").fill("no bank has this name")
    expect(person.by("no-results")).to_be_visible()


def to_sign_in(person):
    person.agree().choose(BANK).sees("partner_auth")


def to_sign_in_again(person):
    person.agree().choose(BANK).answer(password="incorrect")
    expect(person.frame.locator("[aria-invalid='true']").first).to_be_visible()


def to_step(word):
    def arrive(person):
        person.agree().choose(BANK).answer_and_go_on(password=word).sees("partner_auth")

    return arrive


def to_accounts(person):
    person.agree().choose(TEST).accounts()


def to_accounts_picked(person):
    person.agree().choose(TEST).pick(2)


def to_success(person):
    person.agree().link(TEST, 2)


def to_error(name, error):
    def arrive(person):
        person.agree().choose(name).sees("unexpected_error", error)

    return arrive


def to_refused_sign_in(person):
    person.agree().choose(BANK).answer(password="error").sees("unexpected_error", "authorization_failed")


def to_manual_entry(person):
    person.agree().click("enter-manually").sees("manual_entry")


def to_manual_entry_wrong(person):
    person.agree().click("enter-manually").enter_by_hand(routing="110000001", again="1").sees("manual_entry")


def to_manual_entry_success(person):
    person.agree().click("enter-manually").enter_by_hand().sees("manual_entry_success")


def to_exit_question(person):
    person.agree().click("close")
    expect(person.by("exit-stay")).to_be_visible()


# name: how to get there, the Session's parameters, whether the focus is on the heading
PANES = {
    "consent": (to_consent, MANUAL, True),
    "institution-picker": (to_banks, MANUAL, True),
    "search": (to_search, {}, False),
    "no-results": (to_no_results, MANUAL, False),
    "sign-in": (to_sign_in, {}, True),
    "sign-in-incorrect": (to_sign_in_again, {}, False),
    "sign-in-mfa": (to_step("mfa"), {}, True),
    "sign-in-confirm-mfa": (to_step("confirm_mfa"), {}, True),
    "sign-in-security-question": (to_step("security_question"), {}, True),
    "sign-in-options": (to_step("options"), {}, True),
    "account-picker": (to_accounts, {}, True),
    "account-picker-picked": (to_accounts_picked, {}, False),
    "account-picker-single": (to_accounts, {"limits[accounts]": "1"}, True),
    "account-picker-filtered": (to_accounts, {"filters[account_subcategories][]": "savings"}, True),
    "success": (to_success, {}, True),
    "manual-entry": (to_manual_entry, MANUAL, True),
    "manual-entry-wrong": (to_manual_entry_wrong, MANUAL, False),
    "manual-entry-success": (to_manual_entry_success, MANUAL, True),
    "error-down-planned": (to_error(DOWN_SCHEDULED, "institution_unavailable_planned"), MANUAL, True),
    "error-down-unplanned": (to_error(DOWN_UNSCHEDULED, "institution_unavailable_unplanned"), {}, True),
    "error-down": (to_error(DOWN_ERROR, "unexpected_error"), {}, True),
    "error-no-debitable-account": (to_error(INVALID_PAYMENT, "no_debitable_account"), PAYABLE, True),
    "error-authorization-failed": (to_refused_sign_in, {}, True),
    "exit-question": (to_exit_question, {}, False),
}


@pytest.mark.parametrize("arrive, form, heading_focused", PANES.values(), ids=PANES.keys())
def test_every_pane(full_page, request, arrive, form, heading_focused):
    person = full_page(**form)
    arrive(person)
    check_accessibility(person.frame, heading_focused)
    photograph(person.page, request.node.callspec.id)
    person.page.set_viewport_size({"width": 320, "height": 640})
    assert person.frame.evaluate(OVERFLOW) <= 0, "the pane scrolls sideways at 320 pixels"


def test_pictures_of_the_expired_pane(page, server, institutions):
    page.goto(f"{server.url}/flow")
    person = Person(page, page, institutions).sees("unexpected_error", "session_expired")
    check_accessibility(person.frame, heading_focused=True)
    photograph(page, "error-session-expired")
    page.set_viewport_size({"width": 320, "height": 640})
    assert page.evaluate(OVERFLOW) <= 0


def test_pictures_of_the_demo_and_its_modal(merchant):
    photograph(merchant.page, "demo")
    assert merchant.page.evaluate(NAMELESS) == []
    person = merchant.start_from_form().sees("consent")
    photograph(merchant.page, "modal-consent")
    merchant.page.set_viewport_size({"width": 320, "height": 640})
    assert person.frame.evaluate(OVERFLOW) <= 0
    assert merchant.page.evaluate(OVERFLOW) <= 0
    person.agree().link(TEST, 2)
    photograph(merchant.page, "modal-success")
    person.click("done")
    merchant.result()
    photograph(merchant.page, "demo-result")


def test_dark_mode_is_dark(full_page):
    person = full_page().sees("consent")
    ground = "() => getComputedStyle(document.body).backgroundColor.match(/[0-9.]+/g).slice(0, 3).map(Number)"
    light = person.frame.evaluate(ground)
    person.page.emulate_media(color_scheme="dark")
    dark = person.frame.evaluate(ground)
    assert sum(light) > 600 and sum(dark) < 200


def test_reduced_motion_is_still(full_page):
    person = full_page()
    person.page.emulate_media(reduced_motion="reduce")
    person.agree().link(TEST)
    moving = """() => document.getAnimations().filter((one) => one.effect.getComputedTiming().duration > 10).length"""
    assert person.frame.evaluate(moving) == 0


def test_the_demo_makes_sessions_only_through_its_own_route(server):
    answer = good(server.api(key=None).post("/demo/sessions", {"permissions[]": "balances"}))
    assert set(answer) >= {"client_secret", "publishable_key", "id", "hosted_auth_url"}
    assert answer["publishable_key"] == PUBLISHABLE_KEY
