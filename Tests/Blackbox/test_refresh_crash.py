"""kill -9 in the middle of refreshes: none stays pending, and no transaction is doubled or lost.

The bank is slow and has one transaction each half hour, so that whatever is missing leaves a gap. The whole suite kills
8 times; `LINKSPAN_TEST_KILLS=50` is the long form.
"""

import os
import random
import time

from support import DATABASE, good, wait_until

KILLS = int(os.environ.get("LINKSPAN_TEST_KILLS", "8"))
HALF_HOUR = 1800
BANK = """
institutions:
  - name: Slow Bank
    latency_ms: 3
    accounts:
      - name: Checking
        subcategory: checking
        patterns:
          - {every: 30 minutes, amount: "-1.00", description: Tick}
"""


class Refreshed:
    """Accounts of the slow bank, each with a refresh of its transactions that is under way or over."""

    def __init__(self, server):
        self.server = server
        self.accounts = []

    @property
    def api(self):
        return self.server.api()

    def begin(self):
        api = self.api
        session = api.session(**{"prefetch[]": ["transactions"]})
        linked = api.complete(session, institution="Slow Bank")
        self.accounts.append(linked["accounts"]["data"][0]["id"])

    def status(self, account):
        return good(self.api.get(f"/v1/financial_connections/accounts/{account}"))["transaction_refresh"]["status"]

    def moments(self, account):
        api, query, moments = self.api, {"account": account, "limit": 100}, []
        while True:
            page = good(api.get("/v1/financial_connections/transactions", query))
            moments += [transaction["transacted_at"] for transaction in page["data"]]
            if not page["has_more"]:
                return moments
            query["starting_after"] = page["data"][-1]["id"]

    def events(self):
        api, query, found = self.api, {"limit": 100}, []
        query["type"] = "financial_connections.account.refreshed_transactions"
        while True:
            page = good(api.get("/v1/events", query))
            found += [event["data"]["object"]["id"] for event in page["data"]]
            if not page["has_more"]:
                return found
            query["starting_after"] = page["data"][-1]["id"]


def test_killed_in_the_middle_of_refreshes(own_server, tmp_path):
    bank = tmp_path / "bank.yaml"
    bank.write_text(BANK)
    server = own_server(["--sandbox", str(bank)])
    refreshed = Refreshed(server)
    chance = random.Random(KILLS)
    hits = 0
    for _ in range(KILLS):
        if not refreshed.accounts or refreshed.status(refreshed.accounts[-1]) != "pending":
            refreshed.begin()
        # No condition to wait for: the kill is to come at any moment of the refresh.
        time.sleep(chance.uniform(0, 0.4))
        server.kill()
        server.start()
        hits += refreshed.status(refreshed.accounts[-1]) == "pending"
    assert hits >= KILLS // 3, f"only {hits} of {KILLS} kills came in the middle of a refresh"
    for account in refreshed.accounts:
        # Servers that share a database wait for the lease of one that was killed.
        wait_until(lambda: refreshed.status(account) == "succeeded", 150 if DATABASE else 60, "the refresh is over")
        moments = refreshed.moments(account)
        assert moments == sorted(set(moments), reverse=True), "a transaction is there twice"
        assert {a - b for a, b in zip(moments, moments[1:])} == {HALF_HOUR}, "a transaction is missing"
        assert 180 * 48 - 2 <= len(moments) <= 180 * 48 + 49
    assert sorted(refreshed.events()) == sorted(refreshed.accounts), "each refresh is told of once"
