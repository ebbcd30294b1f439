"""OFX files as people give them: through the client routes, from the choice of the file to the transactions, and again
with a newer one; what is refused; what can be read on the disk afterwards."""

import datetime
import pathlib
import subprocess
import sys
import tarfile
import urllib.parse

import pytest
import requests

from support import PUBLISHABLE_KEY, TEST, Flow, begin_refresh, good, refused, wait_until

OFX = "OFX file"
PERMISSIONS = {"permissions[]": ["balances", "transactions"]}
ACCOUNT_NUMBER = "00098765432101"

HEADER = "OFXHEADER:100\nDATA:OFXSGML\nVERSION:102\nENCODING:USASCII\nCHARSET:1252\nCOMPRESSION:NONE\n\n"


def entry(day, amount, fitid, name):
    return f"<STMTTRN><TRNTYPE>POS<DTPOSTED>{day}<TRNAMT>{amount}<FITID>{fitid}<NAME>{name}</STMTTRN>\n"


def statement(*entries, balance="100.00", kind="CHECKING", number=ACCOUNT_NUMBER):
    return (
        f"{HEADER}<OFX><SIGNONMSGSRSV1><SONRS><STATUS><CODE>0<SEVERITY>INFO</STATUS><FI><ORG>Paper Bank<FID>1</FI>"
        f"</SONRS></SIGNONMSGSRSV1><BANKMSGSRSV1><STMTTRNRS><STMTRS><CURDEF>USD\n<BANKACCTFROM><BANKID>1"
        f"<ACCTID>{number}<ACCTTYPE>{kind}</BANKACCTFROM><BANKTRANLIST>\n{''.join(entries)}</BANKTRANLIST>"
        f"<LEDGERBAL><BALAMT>{balance}<DTASOF>20240301</LEDGERBAL></STMTRS></STMTTRNRS></BANKMSGSRSV1></OFX>\n"
    ).encode()


FIRST = statement(
    entry("20240102", "-10.00", "1", "Bakery Xylophone"), entry("20240103", "+250.00", "2", "Employer"),
)
SECOND = statement(
    entry("20240103", "+250.00", "2", "Employer"), entry("20240204", "-3.50", "1", "Newsagent"), balance="96.50",
)


def token(flow):
    address = flow.synchronize()["manifest"]["hosted_auth_url"]
    return urllib.parse.parse_qs(urllib.parse.urlsplit(address).query)["t"][0]


def upload(flow, auth, contents, credential=None):
    return requests.post(
        f"{flow.url}/v1/connections/auth_sessions/upload", params={"id": auth["id"]}, data=contents,
        headers={"Authorization": f"Bearer {credential or token(flow)}", "Content-Type": "application/octet-stream"},
        timeout=300,
    )


def give(flow, contents, bank=""):
    """Give a file and answer what the sign-in says then."""
    auth = good(flow.start(OFX))
    assert [(field["name"], field["kind"], field["required"]) for field in auth["prompt"]["fields"]] == [
        ("file", "file", True), ("bank", "text", False)
    ]
    file = good(upload(flow, auth, contents))
    assert file["size"] == len(contents)
    return respond(flow, auth, file["id"], bank)


def respond(flow, auth, file, bank=""):
    return good(flow.post("connections/auth_sessions/respond",
                          {"id": auth["id"], "response[file]": file, "response[bank]": bank}))


def refuses(response, status):
    assert response.status_code == status
    return refused(response)


def link(raw, server, contents, customer, bank="", corrections=(), confirm=False):
    """Give a file and link all of its accounts; answers them."""
    session = raw.session(customer, **PERMISSIONS)
    flow = Flow(server.url, session)
    flow.consent()
    auth = give(flow, contents, bank)
    if confirm:
        assert auth["prompt"]["fields"] == [] and "cannot be read" in auth["prompt"]["title"]
        auth = good(flow.post("connections/auth_sessions/respond", {"id": auth["id"]}))
    assert auth["next_pane"] == "account_picker", auth
    accounts = flow.accounts(auth)
    good(flow.post("connections/auth_sessions/selected_accounts", {
        "id": auth["id"], "selected_accounts[]": [account["id"] for account in accounts],
        "corrections[]": [f"{kind}:{accounts[at]['id']}" for at, kind in corrections],
    }))
    return good(flow.post("link_account_sessions/complete"))["accounts"]["data"]


def refresh(raw, account, feature):
    """Refresh and wait for the end; answers the account."""
    field = "transaction_refresh" if feature == "transactions" else "balance_refresh"
    begin_refresh(raw, account, feature)
    return settled(raw, account, field)


def settled(raw, account, field):
    def ask():
        shown = good(raw.get(f"/v1/financial_connections/accounts/{account}"))
        return shown if (shown[field] or {}).get("status") in ("succeeded", "failed") else None

    return wait_until(ask, 120, f"{field} ends")


def transactions(raw, account):
    listed, after = [], {}
    while True:
        page = good(raw.get("/v1/financial_connections/transactions", {"account": account, "limit": 100, **after}))
        listed += page["data"]
        if not page["has_more"]:
            return listed
        after = {"starting_after": page["data"][-1]["id"]}


def test_a_file_becomes_accounts_with_balances_and_transactions(raw, server):
    (account,) = link(raw, server, FIRST, raw.customer()["id"])
    assert (account["institution_name"], account["display_name"], account["last4"]) == (
        "Paper Bank", "Checking 2101", "2101")
    assert (account["category"], account["subcategory"], account["account_numbers"]) == ("cash", "checking", None)
    shown = refresh(raw, account["id"], "balance")
    assert shown["balance"]["current"] == {"usd": 10_000}
    refresh(raw, account["id"], "transactions")
    listed = transactions(raw, account["id"])
    assert sorted(one["amount"] for one in listed) == [-1000, 25_000]
    assert {one["description"] for one in listed} == {"Bakery Xylophone", "Employer"}
    assert {one["status"] for one in listed} == {"posted"}


def test_a_newer_file_is_a_refresh_of_the_same_account(raw, server):
    customer = raw.customer()["id"]
    (account,) = link(raw, server, FIRST, customer)
    refresh(raw, account["id"], "balance")
    refresh(raw, account["id"], "transactions")
    known = {one["id"] for one in transactions(raw, account["id"])}
    (again,) = link(raw, server, SECOND, customer)
    assert again["id"] == account["id"]
    listed = wait_until(lambda: (found := transactions(raw, account["id"])) and len(found) == 3 and found, 60,
                        "what is new in the file appears by itself")
    assert known < {one["id"] for one in listed}
    assert sorted(one["amount"] for one in listed) == [-1000, -350, 25_000]
    shown = settled(raw, account["id"], "balance_refresh")
    assert shown["balance"]["current"] == {"usd": 9650}


def test_the_person_says_what_an_account_is_where_the_file_does_not(raw, server):
    customer = raw.customer()["id"]
    contents = statement(kind="")
    (account,) = link(raw, server, contents, customer, bank="Village Bank", corrections=[(0, "savings")])
    assert (account["category"], account["subcategory"]) == ("cash", "savings")
    session = raw.session(customer, **PERMISSIONS)
    flow = Flow(server.url, session)
    flow.consent()
    (offered,) = flow.accounts(give(flow, contents))
    assert offered["category_kind"] == "savings", "what was said once is remembered"
    auth = give(flow, FIRST)
    (known,) = flow.accounts(auth)
    assert known["category_kind"] is None
    error = refuses(flow.post("connections/auth_sessions/selected_accounts", {
        "id": auth["id"], "selected_accounts[]": known["id"], "corrections[]": f"savings:{known['id']}"}), 400)
    assert error["param"] == "corrections[0]"
    auth = give(flow, contents)
    for wrong in ("gold:" + offered["id"], "savings:other", "savings"):
        refuses(flow.post("connections/auth_sessions/selected_accounts", {
            "id": auth["id"], "selected_accounts[]": offered["id"], "corrections[]": wrong}), 400)


REFUSED = {
    "not OFX": (b"date,amount\n2024-01-02,5\n", "This is not an OFX file: it has no <OFX>."),
    "cut": (FIRST[:-60], "is not complete"),
    "a document type": (b"<?xml version='1.0'?>\n<!DOCTYPE x [<!ENTITY a 'b'>]>\n<OFX></OFX>",
                        "Line 2: it declares a document type"),
    "no account": (HEADER.encode() + b"<OFX></OFX>", "There is no account in the file."),
}


@pytest.mark.parametrize("contents, words", REFUSED.values(), ids=REFUSED.keys())
def test_a_file_that_cannot_be_read_is_refused_with_the_reason(open_flow, contents, words):
    _, flow = open_flow()
    auth = give(flow, contents)
    assert words in auth["prompt"]["error"]
    assert ACCOUNT_NUMBER not in auth["prompt"]["error"]
    good_file = good(upload(flow, auth, FIRST))
    assert respond(flow, auth, good_file["id"])["next_pane"] == "account_picker", "another file may follow"


def test_what_cannot_be_read_is_left_out_after_the_person_was_told(raw, server):
    broken = statement(entry("20240231", "-1.00", "1", "No day"), entry("20240105", "-2.00", "2", "Good"))
    (account,) = link(raw, server, broken, raw.customer()["id"], confirm=True)
    refresh(raw, account["id"], "transactions")
    assert [one["amount"] for one in transactions(raw, account["id"])] == [-200]


def test_only_a_flow_token_may_give_a_file_and_only_to_its_own_sign_in(open_flow):
    _, flow = open_flow()
    auth = good(flow.start(OFX))
    refuses(upload(flow, auth, FIRST, credential=PUBLISHABLE_KEY), 403)
    refuses(upload(flow, {"id": "bcsess_none"}, FIRST), 400)
    _, other = open_flow()
    refuses(upload(other, auth, FIRST), 400)
    file = good(upload(flow, auth, FIRST))
    mine = good(other.start(OFX))
    stolen = respond(other, mine, file["id"])
    assert stolen["prompt"]["error"] == "Choose a file."
    refuses(upload(flow, auth, b""), 400)


def test_a_file_larger_than_the_limit_is_refused(own_server):
    server = own_server(["--upload-limit", "1"])
    raw = server.api()
    session = raw.session(**PERMISSIONS)
    flow = Flow(server.url, session)
    flow.consent()
    assert flow.synchronize()["manifest"]["upload_limit"] == 1_000_000
    auth = good(flow.start(OFX))
    too_large = b"x" * 1_000_001
    assert refuses(upload(flow, auth, too_large), 413)["code"] == "file_too_large"

    def pieces():
        for _ in range(20):
            yield b"x" * 65_536

    assert refuses(upload(flow, auth, pieces()), 413)["code"] == "file_too_large", "whatever length is announced"
    assert respond(flow, auth, good(upload(flow, auth, FIRST))["id"])["next_pane"] == "account_picker"


def test_without_a_limit_there_are_no_files(own_server):
    server = own_server(["--upload-limit", "0"])
    flow = Flow(server.url, server.api().session())
    assert flow.search(OFX) == []


def peak(server):
    """The most memory that a server has had, in MB."""
    running = getattr(server, "servers", [server])
    texts = [pathlib.Path(f"/proc/{one.process.pid}/status").read_text() for one in running]
    return max(int(text.split("VmHWM:")[1].split()[0]) for text in texts) / 1024


def test_a_large_file_is_read_in_little_memory(own_server):
    server = own_server()
    raw = server.api()
    count = 20_000
    entries = [
        entry(f"2024{1 + number // 2000:02}{1 + number // 80 % 25:02}", "-1.25", str(number), "x" * 900)
        for number in range(count)
    ]
    contents = statement(*entries)
    assert len(contents) > 19_000_000
    (small,) = link(raw, server, FIRST, raw.customer()["id"])
    refresh(raw, small["id"], "transactions")
    before = peak(server)
    (account,) = link(raw, server, contents, raw.customer()["id"])
    shown = refresh(raw, account["id"], "transactions")
    assert shown["transaction_refresh"]["status"] == "succeeded"
    assert peak(server) - before < 60, "MB"
    listed = good(raw.get("/v1/financial_connections/transactions", {"account": account["id"], "limit": 100}))
    assert listed["has_more"] and {one["amount"] for one in listed["data"]} == {-125}


def test_nothing_of_a_file_can_be_read_on_the_disk_or_in_the_log(own_server):
    server = own_server(["--log-level", "trace"])
    raw = server.api()
    (account,) = link(raw, server, FIRST, raw.customer()["id"], bank="Canary Bank")
    refresh(raw, account["id"], "balance")
    refused_flow = Flow(server.url, raw.session())
    refused_flow.consent()
    give(refused_flow, FIRST[:-60])
    server.stop()
    readable = b"".join(path.read_bytes() for path in pathlib.Path(server.folder).rglob("*") if path.is_file())
    for secret in (ACCOUNT_NUMBER.encode(), b"Bakery Xylophone", b"<STMTTRN>"):
        assert secret not in readable


# Files of the world

OFXPARSE = "ofxparse==0.21"
UNREAD = "no day, amount or currency"
# Of each file: what the sign-in says, or the accounts as (last4, subcategory, current balance, number of transactions,
# their sum), in minor units, worked out by hand.
WORLD = {
    "account_listing_aggregation.ofx": [
        ("0001", "savings", None, 0, 0), ("0002", "checking", None, 0, 0), ("0003", "line_of_credit", None, 0, 0),
        ("1111", "credit_card", None, 0, 0),
    ],
    "anzcc.ofx": [("1234", "credit_card", {"aud": -12_345}, 1, -550)],
    "bank_medium.ofx": [("5678", "checking", {"cad": 38_234}, 3, -34_527)],
    "bank_small.ofx": "no account",
    "checking.ofx": [("6877", "checking", {"usd": 10_099}, 3, -5950)],
    "date_missing.ofx": [("9749", "checking", {"usd": 0}, 0, 0)],
    "decimal_error.ofx": [("9749", "checking", {"cad": 0}, 0, 0)],
    "empty_balance.ofx": [("9749", "checking", None, 1, 12_000)],
    "error_message.ofx": "refused (2000): General Server Error",
    "fidelity-savings.ofx": [("0001", "other", None, 4, -177_840)],
    # Six positions of 14919.80 in sum, and 18073.98 in cash.
    "fidelity.ofx": [("7890", "other", {"usd": 3_299_378}, 3, -57)],
    "investment_401k.ofx": [("5601", "other", {"usd": 100_000}, 0, 0)],
}
WITH_UNREADABLE = {"date_missing.ofx", "decimal_error.ofx"}


@pytest.fixture(scope="session")
def files_of_the_world(tmp_path_factory):
    """The test files of a reader of OFX, fetched from the package index; they are no part of this project."""
    folder = tmp_path_factory.mktemp("ofxparse")
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
         "--no-binary", ":all:", "--dest", folder, OFXPARSE],
        check=True, timeout=300,
    )
    (archive,) = folder.glob("ofxparse-*")
    with tarfile.open(archive) as contents:
        contents.extractall(folder, filter="data")
    found = {path.name: path for path in folder.glob("*/tests/fixtures/**/*.ofx")}
    assert sorted(WORLD) == sorted(found)[: len(WORLD)], "these are the first twelve by name"
    return found


@pytest.mark.parametrize("name", WORLD)
def test_files_of_the_world(raw, server, files_of_the_world, name):
    contents, expected = files_of_the_world[name].read_bytes(), WORLD[name]
    if isinstance(expected, str):
        flow = Flow(server.url, raw.session(**PERMISSIONS))
        flow.consent()
        assert expected in give(flow, contents)["prompt"]["error"]
        return
    accounts = link(raw, server, contents, raw.customer()["id"], confirm=name in WITH_UNREADABLE)
    read = []
    for account in sorted(accounts, key=lambda one: one["last4"]):
        shown = refresh(raw, account["id"], "balance")
        assert (shown["balance_refresh"]["status"] == "succeeded") == (shown["balance"] is not None)
        refresh(raw, account["id"], "transactions")
        listed = transactions(raw, account["id"])
        balance = shown["balance"] and shown["balance"]["current"]
        read.append((account["last4"], account["subcategory"], balance, len(listed),
                     sum(one["amount"] for one in listed)))
    assert read == expected


def test_dates_are_those_of_the_file(raw, server, files_of_the_world):
    (account,) = link(raw, server, files_of_the_world["bank_medium.ofx"].read_bytes(), raw.customer()["id"])
    refresh(raw, account["id"], "transactions")
    moments = sorted(one["transacted_at"] for one in transactions(raw, account["id"]))
    # 12:20:17 at five hours west of Greenwich, on the first three days of April 2009.
    first = datetime.datetime(2009, 4, 1, 17, 20, 17, tzinfo=datetime.timezone.utc)
    assert moments == [int((first + datetime.timedelta(days=day)).timestamp()) for day in range(3)]


def test_a_newer_file_corrects_what_an_older_one_told(raw, server):
    customer = raw.customer()["id"]
    (account,) = link(raw, server, FIRST, customer)
    refresh(raw, account["id"], "transactions")
    known = {one["description"]: one["id"] for one in transactions(raw, account["id"])}
    corrections = statement(
        entry("20240110", "-11.00", "8<CORRECTFITID>1<CORRECTACTION>REPLACE", "Bakery"),
        entry("20240110", "0", "9<CORRECTFITID>2<CORRECTACTION>DELETE", ""),
    )
    for _ in range(2):
        link(raw, server, corrections, customer)
        settled(raw, account["id"], "transaction_refresh")
        listed = {one["id"]: one for one in transactions(raw, account["id"])}
        assert set(listed) == set(known.values())
        bakery, employer = listed[known["Bakery Xylophone"]], listed[known["Employer"]]
        assert (bakery["amount"], bakery["status"], bakery["description"]) == (-1100, "posted", "Bakery")
        assert (employer["amount"], employer["status"]) == (25_000, "void")


def test_each_sign_in_of_a_session_shows_its_own_accounts(raw, server):
    flow = Flow(server.url, raw.session(raw.customer()["id"], **PERMISSIONS))
    flow.consent()
    given = {}
    for number in ("11111111", "22222222"):
        auth = give(flow, statement(entry("20240102", "-10.00", "1", "Bakery"), number=number))
        (account,) = flow.accounts(auth)
        good(flow.post("connections/auth_sessions/selected_accounts", {
            "id": auth["id"], "selected_accounts[]": [account["id"]],
        }))
        given[auth["id"]] = account["id"]
    assert len(set(given.values())) == 2
    for auth, account in given.items():
        assert [one["id"] for one in flow.accounts({"id": auth})] == [account]
        good(flow.post("connections/auth_sessions/selected_accounts", {"id": auth, "selected_accounts[]": [account]}))
    assert len(good(flow.post("link_account_sessions/complete"))["accounts"]["data"]) == 2


def begin(raw, server, institution=OFX):
    flow = Flow(server.url, raw.session(raw.customer()["id"], **PERMISSIONS))
    flow.consent()
    return flow, good(flow.start(institution))


def picked(raw, flow, auth):
    """Link what the sign-in opens, and read its transactions."""
    good(flow.post("connections/auth_sessions/selected_accounts", {
        "id": auth["id"], "selected_accounts[]": [account["id"] for account in flow.accounts(auth)],
    }))
    (account,) = good(flow.post("link_account_sessions/complete"))["accounts"]["data"]
    refresh(raw, account["id"], "transactions")
    return sorted(one["amount"] for one in transactions(raw, account["id"]))


def test_an_account_is_read_from_the_file_that_was_answered_with(raw, server):
    flow, auth = begin(raw, server)
    first, second = good(upload(flow, auth, FIRST)), good(upload(flow, auth, SECOND))
    again = respond(flow, auth, first["id"])
    assert again["prompt"]["error"] == "Choose a file.", "another took its place"
    assert respond(flow, auth, second["id"])["next_pane"] == "account_picker"
    assert refuses(upload(flow, auth, FIRST), 400)["message"] == "This sign-in does not ask for a file."
    assert picked(raw, flow, auth) == [-350, 25_000]


def test_no_file_is_taken_while_something_else_is_asked(raw, server):
    flow, auth = begin(raw, server)
    poor = statement(entry("20240102", "-10.00", "1", "Bakery"), entry("20240199", "-1.00", "2", "No such day"))
    asked = respond(flow, auth, good(upload(flow, auth, poor))["id"])
    assert asked["prompt"]["fields"] == []
    assert refuses(upload(flow, auth, SECOND), 400)["param"] == "id"
    good(flow.post("connections/auth_sessions/respond", {"id": auth["id"]}))
    assert picked(raw, flow, auth) == [-1000]


def test_a_file_of_another_sign_in_ends_what_was_to_be_linked_with_the_one_before(raw, server):
    flow, auth = begin(raw, server)
    respond(flow, auth, good(upload(flow, auth, FIRST))["id"])
    accounts = [account["id"] for account in flow.accounts(auth)]
    other = good(flow.start(OFX))
    second = good(upload(flow, other, SECOND))
    failed = flow.post("connections/auth_sessions/selected_accounts", {
        "id": auth["id"], "selected_accounts[]": accounts,
    })
    assert "took the place" in refuses(failed, 400)["message"]
    respond(flow, other, second["id"])
    assert picked(raw, flow, other) == [-350, 25_000]


def test_a_sign_in_that_asks_for_no_file_takes_none(raw, server):
    flow, auth = begin(raw, server, TEST)
    assert refuses(upload(flow, auth, FIRST), 400)["message"] == "This sign-in does not ask for a file."


def test_a_file_is_not_taken_any_more_when_its_sign_in_was_cancelled_meanwhile(raw, server):
    flow, auth = begin(raw, server)
    credential = token(flow)

    def pieces():
        yield FIRST[:100]
        good(flow.post("connections/auth_sessions/cancel", {"id": auth["id"]}))
        yield FIRST[100:]

    assert refuses(upload(flow, auth, pieces(), credential), 400)["param"] == "id"
