"""Test clocks, driven by the official SDK: time that stands still, and that brings about all that is due on its way."""

import json

import pytest

from support import DATABASE, REAUTHENTICATE_LATER, SERVERS, TEST, bad, good, wait_until

DAY = 86400
START = 1_800_000_000


class Clock:
    def __init__(self, server, frozen_time=START):
        self.raw, self.client = server.api(), server.sdk()
        self.id = self.client.v1.test_helpers.test_clocks.create({"frozen_time": frozen_time, "name": "Clock"}).id
        self.customer = self.client.v1.customers.create({"test_clock": self.id}).id

    def link(self, institution=TEST, name="Success", **session):
        made = self.raw.session(self.customer, **session)
        done = self.raw.complete(made, institution=institution, **{"accounts[]": [name]})
        return done["accounts"]["data"][0]["id"]

    def advance(self, time):
        clock = self.client.v1.test_helpers.test_clocks.advance(self.id, {"frozen_time": time})
        assert clock.status == "advancing" and clock.status_details.advancing.target_frozen_time == time
        self.arrived()

    def arrived(self):
        clocks = self.client.v1.test_helpers.test_clocks
        # Servers that share a database wait for the lease of one that was killed.
        bound = 120 if DATABASE else 60
        clock = wait_until(lambda: (c := clocks.retrieve(self.id)).status != "advancing" and c, bound, "it arrives")
        assert clock.status == "ready"
        return clock

    def settled(self, account):
        def over():
            found = self.client.v1.financial_connections.accounts.retrieve(account)
            return found.transaction_refresh.status != "pending" and found

        return wait_until(over, 20, "the refresh is over")

    def events(self, account=None):
        """Oldest first, as the bytes of their JSON have them."""
        listing = self.client.v1.events.list({"limit": 100, "type": "financial_connections.*"})
        found = [e for e in listing.auto_paging_iter() if account is None or e.data.object["id"] == account]
        return list(reversed(found))


def test_a_clock_has_the_life_that_the_sdk_knows(server, client):
    clocks = client.v1.test_helpers.test_clocks
    made = clocks.create({"frozen_time": START})
    assert made.object == "test_helpers.test_clock" and made.id.startswith("clock_") and made.frozen_time == START
    assert made.status == "ready" and made.name is None and made.livemode is False and made.deletes_after > made.created
    assert clocks.retrieve(made.id) == made
    assert made.id in [clock.id for clock in clocks.list({"limit": 100}).data]
    deleted = clocks.delete(made.id)
    assert deleted.id == made.id and deleted.deleted is True
    raw = server.api()
    bad(raw.get(f"/v1/test_helpers/test_clocks/{made.id}"), 404, "resource_missing", "test_clock")
    bad(raw.post("/v1/test_helpers/test_clocks"), 400, "parameter_missing", "frozen_time")
    bad(raw.post("/v1/test_helpers/test_clocks", {"frozen_time": "tomorrow"}), 400, "parameter_invalid_integer",
        "frozen_time")


def test_customers_of_a_clock_live_in_its_time_and_go_with_it(server):
    clock = Clock(server)
    customer = clock.client.v1.customers.retrieve(clock.customer)
    assert customer.created == START and customer.test_clock == clock.id
    other = clock.client.v1.customers.create({})
    listed = [c.id for c in clock.client.v1.customers.list({"test_clock": clock.id}).data]
    assert listed == [clock.customer]
    assert clock.customer not in [c.id for c in clock.client.v1.customers.list({"limit": 100}).auto_paging_iter()]
    assert other.test_clock is None
    account = clock.link()
    assert clock.client.v1.financial_connections.accounts.retrieve(account).created == START
    bad(clock.raw.post("/v1/customers", {"test_clock": "clock_x"}), 400, "resource_missing", "test_clock")
    moved = clock.raw.post(f"/v1/customers/{clock.customer}", {"test_clock": clock.id})
    bad(moved, 400, "parameter_unknown", "test_clock")
    clock.client.v1.test_helpers.test_clocks.delete(clock.id)
    assert clock.client.v1.customers.retrieve(clock.customer).deleted is True
    assert clock.client.v1.financial_connections.accounts.retrieve(account).status == "disconnected"


def test_a_clock_only_goes_forward(server):
    clock = Clock(server)
    path = f"/v1/test_helpers/test_clocks/{clock.id}/advance"
    bad(clock.raw.post(path), 400, "parameter_missing", "frozen_time")
    for time in (START, START - 1, START + 3 * 366 * DAY):
        bad(clock.raw.post(path, {"frozen_time": time}), 400, None, "frozen_time")
    clock.advance(START + 1)
    assert clock.arrived().frozen_time == START + 1


def two_hundred_days(server):
    """Everything that a clock brings about in 200 days; the events of it as the bytes that the server sent."""
    clock = Clock(server)
    account = clock.link()
    accounts = clock.client.v1.financial_connections.accounts
    accounts.subscribe(account, {"features": ["transactions"]})
    clock.settled(account)
    helpers = f"/v1/test_helpers/financial_connections/accounts/{account}"
    expected = START + 150 * DAY
    good(clock.raw.post(f"{helpers}/deactivate", {"at": expected}))
    clock.advance(START + 100 * DAY)
    accounts.unsubscribe(account, {"features": ["transactions"]})
    clock.advance(START + 110 * DAY)
    accounts.subscribe(account, {"features": ["transactions"]})
    clock.settled(account)
    clock.advance(START + 200 * DAY)
    # What a request caused carries its id, which is not of the clock.
    events = [e for e in clock.events(account) if e.request.id is None]
    consent = [e for e in clock.events() if ".authorization." in e.type and e.request.id is None]
    return clock, account, expected, events + consent


def test_two_hundred_days_bring_a_refresh_a_day_a_notice_and_the_end_the_same_in_each_run(own_server):
    runs = []
    for _ in range(2):
        server = own_server(["--seed", "42"])
        clock, account, expected, events = two_hundred_days(server)
        refreshed = [e for e in events if e.type.endswith("refreshed_transactions")]
        moments = [e.created for e in refreshed]
        first = [m for m in moments if m <= START + 100 * DAY]
        second = [m for m in moments if m > START + 100 * DAY]
        assert len(first) == 101 and first[0] == START, "one at once, and one a day for 100 days"
        assert {b - a for a, b in zip(first[1:], first[2:])} == {DAY}
        assert second[0] == START + 110 * DAY, "none while it was not subscribed"
        assert len(second) == 1 + 40 and second[-1] <= expected, "none after the end of the link"
        notices = {e.type.removeprefix("financial_connections."): e.created for e in events
                   if e.type.endswith(("upcoming_deactivation", "deactivated"))}
        assert notices == {
            "account.upcoming_deactivation": expected - 30 * DAY,
            "authorization.upcoming_deactivation": expected - 30 * DAY, "account.deactivated": expected,
        }
        assert clock.client.v1.financial_connections.accounts.retrieve(account).status == "inactive"
        raw = [clock.raw.get(f"/v1/events/{e.id}").content for e in events]
        runs.append(raw)
        assert all(json.loads(body)["livemode"] is False for body in raw)
    # Which of two servers meets which event is chance.
    assert SERVERS == 2 or runs[0] == runs[1], "the same seed gives the same events"


def test_another_seed_gives_other_ids_and_another_start_on_the_same_data_too(own_server):
    def customer(server):
        return good(server.api().post("/v1/customers"))["id"]

    first, second = own_server(["--seed", "1"]), own_server(["--seed", "2"])
    made = customer(first)
    assert made != customer(second)
    first.stop()
    first.start()
    assert customer(first) != made
    assert good(first.api().get("/v1/customers"))["data"][1]["id"] == made


def test_daily_refreshes_are_spread_over_the_day(server):
    clock = Clock(server)
    accounts = [clock.link(name=name) for name in ("Success", "High Balance", "Credit Card", "Mortgage")]
    for account in accounts:
        clock.client.v1.financial_connections.accounts.subscribe(account, {"features": ["transactions"]})
        clock.settled(account)
    clock.advance(START + DAY)
    moments = {e.created for account in accounts for e in clock.events(account) if e.created > START}
    assert len(moments) == len(accounts)


def test_a_consent_that_ends_in_thirty_days_ends_on_the_day(server):
    clock = Clock(server)
    account = clock.link(REAUTHENTICATE_LATER, "Checking")
    details = clock.client.v1.financial_connections.accounts.retrieve(account).status_details
    assert details.active.expected_deactivation_date == START + 30 * DAY
    clock.advance(START + 30 * DAY - 1)
    assert clock.client.v1.financial_connections.accounts.retrieve(account).status == "active"
    clock.advance(START + 30 * DAY)
    assert clock.client.v1.financial_connections.accounts.retrieve(account).status == "inactive"
    kinds = [e.type.split(".")[-1] for e in clock.events(account)]
    assert kinds == ["created", "upcoming_deactivation", "deactivated"]


@pytest.mark.parametrize("kills", [2])
def test_a_clock_goes_on_where_a_killed_server_left_it(own_server, kills):
    server = own_server()
    clock = Clock(server)
    account = clock.link()
    clock.client.v1.financial_connections.accounts.subscribe(account, {"features": ["transactions"]})
    clock.settled(account)
    clock.client.v1.test_helpers.test_clocks.advance(clock.id, {"frozen_time": START + 200 * DAY})
    for number in range(kills):
        def on_its_way():
            found = clock.client.v1.test_helpers.test_clocks.retrieve(clock.id)
            return found.frozen_time > START + (number + 1) * 40 * DAY or found.status == "ready"

        wait_until(on_its_way, 30 if not DATABASE else 120, "the clock is on its way")
        server.kill()
        server.start()
        clock.raw, clock.client = server.api(), server.sdk()
    assert clock.arrived().frozen_time == START + 200 * DAY
    refreshed = [e for e in clock.events(account) if e.type.endswith("refreshed_transactions")]
    assert len(refreshed) == 201 and len({e.created for e in refreshed}) == 201
