"""A person at the hosted flow: finds its controls by their stable hooks, waits on what the page says of itself."""

import json
import re

from playwright.sync_api import expect

from support import REPOSITORY

PATIENCE = 20_000
DESKTOP = {"width": 1280, "height": 900}
SCREENSHOTS = REPOSITORY / "artifacts" / "screenshots"

# Answers the outcome of the last flow that was started, or says that it did not end.
OUTCOME = """() => Promise.race([
    window.outcome,
    new Promise((resolve) => setTimeout(() => resolve({neverEnded: true}), 20000)),
])"""

START = """([call, key, secret]) => {
    window.outcome = window.Stripe(key)[call]({clientSecret: secret});
    return null;
}"""

# The visible controls without a name that a screen reader could say.
NAMELESS = """() => [...document.querySelectorAll('input, select, textarea, button, a[href], dialog[open], img')]
    .filter((node) => node.getClientRects().length && node.type !== 'hidden')
    .filter((node) => {
        const by = (node.getAttribute('aria-labelledby') ?? '').split(' ').map((id) => document.getElementById(id));
        const labels = [...(node.labels ?? [])];
        const texts = [node.getAttribute('aria-label'), node.getAttribute('alt'), node.title,
            ...[...by, ...labels].map((other) => other?.textContent),
            ['BUTTON', 'A'].includes(node.tagName) ? node.textContent : ''];
        return !texts.some((text) => text?.trim());
    })
    .map((node) => node.outerHTML.slice(0, 120))"""

REPEATED_IDS = """() => [...document.querySelectorAll('[id]')].map((node) => node.id)
    .filter((id, at, all) => all.indexOf(id) !== at)"""

# Targets under 24 by 24 CSS pixels that are not part of a sentence and not inside a larger label.
SMALL_TARGETS = """() => [...document.querySelectorAll('button, select, input')]
    .filter((node) => node.getClientRects().length && !node.closest('label') && !node.closest('p'))
    .filter((node) => node.getBoundingClientRect().height < 24 || node.getBoundingClientRect().width < 24)
    .map((node) => node.outerHTML.slice(0, 120))"""

OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
FOCUSED = "() => document.activeElement?.dataset?.testid ?? document.activeElement?.tagName"


class Person:
    """`frame` is the page of the flow itself: a frame inside of the merchant's page, or a page of its own."""

    def __init__(self, page, frame, institutions):
        self.page = page
        self.frame = frame
        self.institutions = institutions
        self.root = frame.locator("#flow")

    def by(self, testid):
        return self.frame.get_by_test_id(testid)

    def sees(self, pane, error=None):
        """Wait until that pane is drawn and nothing is under way."""
        expect(self.root).to_have_attribute("data-pane", pane, timeout=PATIENCE)
        expect(self.root).to_have_attribute("aria-busy", "false", timeout=PATIENCE)
        if error:
            expect(self.root).to_have_attribute("data-error", error)
        return self

    def click(self, testid):
        self.by(testid).click()
        return self

    def agree(self):
        self.sees("consent").click("consent-continue")
        return self.sees("institution_picker")

    def choose(self, name):
        """Search for the bank and choose it."""
        self.by("institution-search").fill(name)
        return self.click(f"institution-{self.institutions[name]}")

    def accounts(self):
        self.sees("account_picker")
        return self.frame.locator("input[data-testid^='account-']:enabled")

    def pick(self, count=1):
        """Pick the first accounts that may be picked; answers their names."""
        boxes = self.accounts()
        expect(boxes.nth(count - 1)).to_be_visible()
        for n in range(boxes.count()):
            boxes.nth(n).set_checked(n < count) if boxes.nth(n).get_attribute("type") == "checkbox" else None
        if boxes.first.get_attribute("type") == "radio":
            boxes.first.check()
        return [boxes.nth(n).get_attribute("data-testid").removeprefix("account-") for n in range(count)]

    def link(self, name, count=1):
        self.choose(name)
        picked = self.pick(count)
        self.click("accounts-connect").sees("success")
        return picked

    def fields(self):
        return self.frame.locator("[data-testid^='prompt-']:not([data-testid='prompt-submit'])")

    def answer(self, text="open sesame", password="open sesame"):
        """Fill in the form of the bank and send it; a choice gets its first option."""
        self.sees("partner_auth")
        for n in range(self.fields().count()):
            field = self.fields().nth(n)
            if field.evaluate("node => node.tagName") == "FIELDSET":
                field.locator("input").first.check()
            else:
                field.fill(password if field.get_attribute("type") == "password" else text)
        return self.click("prompt-submit")

    def answer_and_go_on(self, **texts):
        """Answer, and wait until another heading shows that the bank asks for something else."""
        # Only then is it the heading of the form, and not of the pane that was there while the bank was asked.
        self.sees("partner_auth")
        before = self.frame.locator("h1").text_content()
        self.answer(**texts)
        expect(self.frame.locator("h1")).not_to_have_text(before, timeout=PATIENCE)
        return self

    def enter_by_hand(self, routing="110000000", account="000123456789", again=None):
        self.sees("manual_entry")
        self.by("manual-routing").fill(routing)
        self.by("manual-account").fill(account)
        self.by("manual-account-confirm").fill(again or account)
        return self.click("manual-submit")

    def tab_to(self, testid):
        """Reach a control by the Tab key alone."""
        for _ in range(60):
            if self.focused() == testid:
                return self
            self.page.keyboard.press("Tab")
        raise AssertionError(f"the Tab key never reaches {testid}")

    def focused(self):
        return self.frame.evaluate(FOCUSED)

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)
        return self


class MerchantPage:
    """The demo page, used as a merchant's page: its own form, or the library called from a script."""

    def __init__(self, page, server, institutions):
        self.page, self.server, self.institutions = page, server, institutions

    def open(self):
        self.page.goto(f"{self.server.url}/demo")
        return self

    def set(self, name, value):
        """Fill in a field of the form by the name of the parameter that it stands for."""
        field = self.page.locator(f"#demo [name='{name}']")
        if field.first.evaluate("node => node.tagName") == "SELECT":
            field.select_option(value)
        elif field.first.get_attribute("type") in ("checkbox", "radio"):
            self.page.locator(f"#demo [name='{name}'][value='{value}']").check()
        else:
            field.fill(value)
        return self

    def start_from_form(self):
        with self.page.expect_event("framenavigated", lambda frame: "/flow?" in frame.url) as opened:
            self.page.get_by_test_id("demo-link").click()
        return Person(self.page, opened.value, self.institutions)

    def start(self, session, key, call="collectFinancialConnectionsAccounts"):
        """Call the library as a script of the merchant would."""
        with self.page.expect_event("framenavigated", lambda frame: "/flow?" in frame.url) as opened:
            self.page.evaluate(START, [call, key, session["client_secret"]])
        return Person(self.page, opened.value, self.institutions)

    def outcome(self):
        outcome = self.page.evaluate(OUTCOME)
        assert outcome != {"neverEnded": True}, "the library's promise was not resolved"
        return outcome

    def result(self):
        """The Session that the demo page shows once the flow has ended."""
        shown = self.page.get_by_test_id("demo-result")
        expect(shown).to_have_text(re.compile("fcsess_"), timeout=PATIENCE)
        return json.loads(shown.text_content())


def photograph(page, name):
    """One picture for each width and colour scheme; the page is left as wide as it was."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for width, height in ((1280, 900), (360, 740)):
        page.set_viewport_size({"width": width, "height": height})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.screenshot(path=SCREENSHOTS / f"{name}-{width}-{scheme}.png", animations="disabled")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(DESKTOP)


def check_accessibility(frame, heading_focused):
    headings = frame.locator("h1:visible")
    expect(headings).to_have_count(1)
    if heading_focused:
        expect(headings).to_be_focused()
    assert frame.evaluate(NAMELESS) == []
    assert frame.evaluate(REPEATED_IDS) == []
    assert frame.evaluate(SMALL_TARGETS) == []
    assert frame.evaluate("() => document.documentElement.lang")
    assert frame.evaluate("() => document.title")
