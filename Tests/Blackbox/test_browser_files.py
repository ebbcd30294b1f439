"""Giving a file in the hosted flow, in a real browser: by choosing it, by dropping it, by the keyboard; what is said of
a file that cannot be read; what a person may say of an account."""

import re

import pytest
from playwright.sync_api import expect

from person import OVERFLOW, PATIENCE, check_accessibility, photograph
from support import Flow, good, unique
from test_files import FIRST, OFX, PERMISSIONS, statement

# Drops a file on the place for it, as a person would drag it there.
DROP = """([place, name, text]) => {
    const data = new DataTransfer();
    data.items.add(new File([text], name));
    const target = document.querySelector(place);
    for (const kind of ['dragenter', 'dragover', 'drop']) {
        target.dispatchEvent(new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true}));
    }
}"""


@pytest.fixture
def with_files(server, raw, institutions):
    """The institution that takes files is found by search."""
    flow = Flow(server.url, raw.session())
    flow.consent()
    institutions[OFX] = flow.institution(OFX)


def file(name, contents):
    return {"name": name, "mimeType": "application/x-ofx", "buffer": contents}


def test_a_file_is_chosen_read_and_its_account_linked(modal, merchant, raw, with_files):
    person = modal(**PERMISSIONS).agree()
    person.choose(OFX).sees("partner_auth")
    check_accessibility(person.frame, True)
    person.click("prompt-submit")
    expect(person.frame.locator("#prompt-file-problem")).to_have_text("Choose a file.")
    person.by("prompt-file").set_input_files(file("march.qfx", FIRST))
    expect(person.frame.locator("#prompt-file-chosen")).to_have_text(re.compile("march.qfx · 1 kB"))
    person.click("prompt-submit").sees("account_picker")
    expect(person.by("account-Checking 2101")).to_be_checked()
    expect(person.by("kind-Checking 2101")).to_have_count(0)
    person.click("accounts-connect").sees("success").click("done")
    session = merchant.outcome()["financialConnectionsSession"]
    assert [account["institution_name"] for account in session["accounts"]] == ["Paper Bank"]


def test_a_file_is_dropped_and_the_person_says_what_the_account_is(full_page, raw, with_files, page):
    person = full_page(**PERMISSIONS).agree()
    person.choose(OFX).sees("partner_auth")
    text = statement(kind="", number=unique("0004444")).decode()
    person.frame.evaluate(DROP, [".drop", "save.ofx", text])
    expect(person.frame.locator("#prompt-file-chosen")).to_have_text(re.compile("save.ofx"))
    person.by("prompt-bank").fill("Village Bank")
    person.click("prompt-submit").sees("account_picker")
    (kind,) = person.frame.locator("select").all()
    expect(kind).to_have_value("checking")
    check_accessibility(person.frame, True)
    photograph(page, "files-account-kind")
    kind.select_option("mortgage")
    person.click("accounts-connect").sees("success")
    customer = good(raw.get("/v1/financial_connections/accounts", {"limit": 1}))["data"][0]
    assert (customer["category"], customer["subcategory"]) == ("credit", "mortgage")


def test_a_file_that_cannot_be_read_is_refused_in_place_and_another_may_follow(full_page, with_files, page):
    person = full_page(**PERMISSIONS).agree()
    person.choose(OFX).sees("partner_auth")
    photograph(page, "files-empty")
    person.by("prompt-file").set_input_files(file("photo.ofx", FIRST[:-60]))
    photograph(page, "files-chosen")
    person.click("prompt-submit")
    error = person.frame.locator("#prompt-error")
    words = re.compile("Line [0-9]+: the file ends in the middle of .*not complete")
    expect(error).to_have_text(words, timeout=PATIENCE)
    person.sees("partner_auth")
    check_accessibility(person.frame, False)
    assert person.frame.evaluate(OVERFLOW) == 0
    photograph(page, "files-refused")
    person.by("prompt-file").set_input_files(file("march.qfx", FIRST))
    person.click("prompt-submit").sees("account_picker")


def test_a_file_is_given_by_the_keyboard_alone(full_page, with_files):
    person = full_page(**PERMISSIONS).agree()
    person.choose(OFX).sees("partner_auth")
    person.tab_to("prompt-file")
    with person.page.expect_file_chooser() as opened:
        person.press("Space")
    opened.value.set_files(file("march.qfx", FIRST))
    person.tab_to("prompt-submit").press("Enter")
    person.sees("account_picker").tab_to("accounts-connect").press("Enter")
    person.sees("success")


def test_what_cannot_be_read_is_said_before_it_is_left_out(full_page, with_files, page):
    person = full_page(**PERMISSIONS).agree()
    person.choose(OFX).sees("partner_auth")
    broken = statement("<STMTTRN><TRNAMT>-1.00<FITID>1<NAME>No day</STMTTRN>\n", number=unique("0005555"))
    person.by("prompt-file").set_input_files(file("broken.ofx", broken))
    person.click("prompt-submit")
    expect(person.frame.locator("h1")).to_have_text("Some transactions cannot be read", timeout=PATIENCE)
    person.sees("partner_auth")
    check_accessibility(person.frame, True)
    photograph(page, "files-unreadable")
    person.click("prompt-submit").sees("account_picker")
