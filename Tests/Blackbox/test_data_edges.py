"""Where the data of accounts meets something else: a list and the SDK's paging, a consent that is given anew for less,
a server that is stopped while a bank is asked.
"""

from support import ALL_PERMISSIONS, TEST, good, ids, wait_until

ACCOUNTS = "/v1/financial_connections/accounts"
HELPERS = "/v1/test_helpers/financial_connections/accounts"


def settled(api, account, *members):
    def over():
        found = good(api.get(f"{ACCOUNTS}/{account}"))
        return all(found[member] and found[member]["status"] != "pending" for member in members) and found

    return wait_until(over, 30, f"{members} are over")


def link(api, customer, name="Success", institution=TEST, **session):
    made = api.session(customer, **session)
    return api.complete(made, institution=institution, **{"accounts[]": [name]})["accounts"]["data"][0]


def test_the_sdk_pages_through_transactions_however_they_are_filtered(client, raw):
    account = link(raw, raw.customer()["id"])["id"]
    moment = 1_700_000_000
    for amount in range(5):
        good(raw.post(f"{HELPERS}/{account}/transactions", {"amount": amount, "transacted_at": moment}))
    good(raw.post(f"{HELPERS}/{account}/transactions", {"amount": 9, "transacted_at": moment + 1}))
    good(raw.post(f"{ACCOUNTS}/{account}/refresh", {"features[]": "transactions"}))
    settled(raw, account, "transaction_refresh")
    for transacted_at, count in (
        (moment, 5), ({"gte": moment, "lte": moment}, 5), ({"gt": moment - 1, "lt": moment + 2}, 6),
        ({"lte": moment + 1}, 6), ({"gt": moment, "lt": moment + 2}, 1),
    ):
        listing = client.v1.financial_connections.transactions.list(
            {"account": account, "limit": 2, "transacted_at": transacted_at}
        )
        found = [transaction.id for transaction in listing.auto_paging_iter()]
        assert len(found) == len(set(found)) == count, transacted_at
        assert ids(good(raw.get(listing.url))) == found


def test_what_a_person_no_longer_agrees_to_is_shown_no_longer(raw):
    customer = raw.customer()["id"]
    account = link(raw, customer, **{"prefetch[]": ["balances", "ownership", "transactions"]})["id"]
    before = settled(raw, account, "balance_refresh", "ownership_refresh", "transaction_refresh")
    assert before["balance"] and before["ownership"]
    assert link(raw, customer, **{"permissions[]": ["payment_method"]})["id"] == account
    for expand in ({}, {"expand[]": "ownership"}):
        after = good(raw.get(f"{ACCOUNTS}/{account}", expand))
        assert after["balance"] is None and after["ownership"] is None
    listed = good(raw.get(ACCOUNTS, {"account_holder[customer]": customer, "expand[]": "data.ownership"}))["data"]
    assert [(one["id"], one["balance"], one["ownership"]) for one in listed] == [(account, None, None)]
    again = link(raw, customer, **{"permissions[]": ALL_PERMISSIONS})
    assert again["balance"] == before["balance"] and again["ownership"] == before["ownership"]


def test_an_end_that_was_announced_can_be_taken_back(raw):
    clock = good(raw.post("/v1/test_helpers/test_clocks", {"frozen_time": 1_790_000_000}))["id"]
    account = link(raw, raw.customer(test_clock=clock)["id"])["id"]
    ended = good(raw.post(f"{HELPERS}/{account}/deactivate", {"at": 1_790_000_000 + 86_400}))
    assert ended["status_details"]["active"]["expected_deactivation_date"] == 1_790_000_000 + 86_400
    assert good(raw.post(f"{HELPERS}/{account}/reactivate"))["status_details"] is None
    good(raw.post(f"/v1/test_helpers/test_clocks/{clock}/advance", {"frozen_time": 1_790_000_000 + 2 * 86_400}))
    wait_until(lambda: good(raw.get(f"/v1/test_helpers/test_clocks/{clock}"))["status"] == "ready", 30, "two days")
    assert good(raw.get(f"{ACCOUNTS}/{account}"))["status"] == "active"


def test_refreshes_on_a_clock_that_stands_still_go_on_after_a_restart(own_server, tmp_path):
    file = tmp_path / "slow.yaml"
    kept = """{name: Account %d, patterns: [{every: 12 hours, amount: "-1.00", description: Tea}]}"""
    accounts = ", ".join(kept % number for number in range(6))
    file.write_text(f"institutions: [{{name: Slow Bank, latency_ms: 1500, accounts: [{accounts}]}}]")
    server = own_server(["--sandbox", str(file)])
    raw = server.api()
    clock = good(raw.post("/v1/test_helpers/test_clocks", {"frozen_time": 1_790_000_000}))["id"]
    slow = ids(raw.linked(raw.customer(test_clock=clock)["id"], "Slow Bank")["accounts"])
    quick = link(raw, raw.customer()["id"])["id"]
    for account in [*slow, quick]:
        good(raw.post(f"{ACCOUNTS}/{account}/refresh", {"features[]": "transactions"}))
    settled(raw, quick, "transaction_refresh")
    # What was asked for before is under way by now.
    server.stop()
    server.start()
    for account in slow:
        over = settled(server.api(), account, "transaction_refresh")
        assert over["transaction_refresh"]["status"] == "succeeded"
