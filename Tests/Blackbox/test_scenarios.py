"""Scenario files: the institutions of a user's own file, and files that are refused."""

import concurrent.futures
import os
import subprocess
import time

import pytest

from support import BINARY, REPOSITORY, Flow, good, refreshed, refused, wait_until

EXAMPLE = REPOSITORY / "examples" / "bank.yaml"


@pytest.fixture
def described(own_server):
    """A server with the example file."""
    return own_server(["--sandbox", str(EXAMPLE)])


def open_flow(server, session=None):
    flow = Flow(server.url, session or server.api().session())
    flow.consent()
    return flow


def test_its_institutions_come_first_and_the_others_stay(described):
    flow = open_flow(described)
    featured = [bank["name"] for bank in good(flow.get("connections/featured_institutions"))["data"]]
    assert featured[:3] == ["Riverside Credit Union", "Sleepy Bank", "Tokens First Bank"]
    assert "Test (Non-OAuth)" in featured
    assert flow.search("riverside.bank")[0]["name"] == "Riverside Credit Union"


def test_its_sign_in_asks_what_it_says(described):
    session = described.api().session()
    flow = open_flow(described, session)
    auth = good(flow.start("Riverside Credit Union"))
    assert auth["prompt"]["title"] == "Sign in to Riverside Credit Union"
    auth = good(flow.respond(auth))
    assert [field["name"] for field in auth["prompt"]["fields"]] == ["mfa"]
    auth = good(flow.respond(auth, text="000000"))
    assert "incorrect" in auth["prompt"]["error"]
    auth = good(flow.respond(auth, text="123456"))
    picked = flow.accounts(auth)
    assert [account["name"] for account in picked] == ["Everyday Checking", "Travel Savings", "Travel Card"]
    good(flow.select(auth, picked))
    good(flow.post("link_account_sessions/complete"))
    linked = good(described.api().get(f"/v1/financial_connections/sessions/{session['id']}"))["accounts"]["data"]
    assert {account["institution_name"] for account in linked} == {"Riverside Credit Union"}
    checking = next(account for account in linked if account["display_name"] == "Everyday Checking")
    assert checking["last4"] == "4242"
    assert checking["subcategory"] == "checking"


def test_a_session_is_completed_without_a_browser(described):
    session = described.api().linked(institution="Tokens First Bank")
    (account,) = session["accounts"]["data"]
    (number,) = account["account_numbers"]
    assert number["identifier_type"] == "tokenized_account_number"
    assert 44 * 86400 < number["expected_expiry_date"] - time.time() <= 45 * 86400


def test_what_is_down_is_down(described):
    error = refused(open_flow(described).start("Sleepy Bank"))
    assert error["extra_fields"]["expected_to_be_available_at"] == 1893477600


def test_a_slow_bank_holds_nobody_up(own_server, tmp_path):
    """Many calls that each take a second, on few threads, take about a second together."""
    (tmp_path / "slow.yaml").write_text("institutions: [{name: Slow, latency_ms: 1000, accounts: []}]")
    server = own_server(["--sandbox", str(tmp_path / "slow.yaml")])
    flows = [open_flow(server) for _ in range(40)]
    slow = flows[0].institution("Slow")
    started = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(len(flows)) as pool:
        calls = [pool.submit(flow.post, "connections/auth_sessions", institution=slow) for flow in flows]
        for call in calls:
            good(call.result())
    assert 1 <= time.monotonic() - started < 12


def start(tmp_path, flags, **settings):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LINKSPAN_")}
    command = [str(BINARY), "serve", "--port", "0", "--data", str(tmp_path / "data"), *flags]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=30, cwd=tmp_path, env={**environment, **settings}
    )


def test_a_wrong_file_stops_the_start_with_its_place_and_a_reason(tmp_path):
    (tmp_path / "bank.yaml").write_text(
        "institutions:\n  - name: Mine\n    accounts:\n      - name: One\n        balanse: \"1.00\"\n"
    )
    for flags, settings in ((["--sandbox", "bank.yaml"], {}), ([], {"LINKSPAN_SANDBOX": "bank.yaml"})):
        ended = start(tmp_path, flags, **settings)
        assert ended.returncode == 1
        assert ended.stdout == ""
        reason = "bank.yaml:5:9: 'balanse' is not a key of an account; did you mean 'balance'?"
        assert ended.stderr.strip() == f"Error: {reason}"
        assert not (tmp_path / "data").exists(), "something was made before the file was read"


def test_a_file_that_is_not_there_stops_the_start(tmp_path):
    ended = start(tmp_path, ["--sandbox", "none.yaml"])
    assert ended.returncode == 1
    assert "--sandbox (LINKSPAN_SANDBOX)" in ended.stderr and "'none.yaml'" in ended.stderr


BANK_WITH_DATA = """
institutions:
  - name: Mine
    accounts:
      - name: One
        currency: eur
        balance: {current: "1204.50", available: "1180.05"}
        owners:
          - {name: Ada Okafor, email: ada@example.com, address: "12 Alder Street, Madison"}
          - Ben Okafor
        patterns:
          - {every: day, amount: "-3.20", description: Coffee, pending_days: 1}
        transactions:
          - {day: -2, amount: "-64.99", description: Hotel hold, pending_days: 1, void: true}
        failures: {balance: 2, ownership: 1}
"""


def test_its_data_comes_by_refreshes(own_server, tmp_path):
    (tmp_path / "mine.yaml").write_text(BANK_WITH_DATA)
    server = own_server(["--sandbox", str(tmp_path / "mine.yaml")])
    api = server.api()
    (account,) = api.linked(institution="Mine")["accounts"]["data"]
    account = refreshed(api, account, "balance", "ownership", "transactions")
    assert account["balance"]["current"] == {"eur": 120450}
    assert account["balance"]["cash"] == {"available": {"eur": 118005}}
    assert account["ownership_refresh"]["status"] == "failed", "the first one is written to fail"
    path = "/v1/financial_connections/transactions"
    told = good(api.get(path, {"account": account["id"], "limit": 100}))["data"]
    assert {(one["description"], one["amount"], one["currency"]) for one in told} == {
        ("Coffee", -320, "eur"), ("Hotel hold", -6499, "eur"),
    }
    assert [one["status"] for one in told if one["description"] == "Hotel hold"] == ["void"]
    assert {one["status"] for one in told if one["description"] == "Coffee"} == {"pending", "posted"}
    again = account["balance_refresh"]["next_refresh_available_at"]
    wait_until(lambda: time.time() >= again, 30, "it may be asked again")
    account = refreshed(api, account, "balance", "ownership")
    assert account["balance_refresh"]["status"] == "failed", "the second one is written to fail"
    assert account["balance"]["current"] == {"eur": 120450}, "what was known stays"
    assert account["ownership_refresh"]["status"] == "succeeded"
    owners = good(api.get(f"/v1/financial_connections/accounts/{account['id']}/owners",
                          {"ownership": account["ownership"]}))["data"]
    assert {owner["name"] for owner in owners} == {"Ada Okafor", "Ben Okafor"}
