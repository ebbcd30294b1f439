"""The data behind an account: balances, owners, transactions, subscriptions, and what the life of an account means for
them. Asked with the official SDK; what a bank says is made by the test helpers.
"""

import random

import pytest
import stripe

from support import (
    INACTIVE, OWNERSHIP, REAUTHENTICATE_LATER, REAUTHENTICATE_SOON, SECRET_KEY, TEST, TOKENIZED, bad, good, ids,
    wait_until,
)

FEATURES = {"balance": "balance_refresh", "ownership": "ownership_refresh", "transactions": "transaction_refresh"}
HELPERS = "/v1/test_helpers/financial_connections/accounts"


@pytest.fixture(scope="module")
def eager(tmp_path_factory):
    """A server of its own, so that events are counted without those of other tests."""
    import support

    running = support.new_server(tmp_path_factory.mktemp("eager")).start()
    yield running
    running.stop()


class Bank:
    """One linked account, and both sides of it: the merchant's and the bank's."""

    def __init__(self, server, institution=TEST, name="Success", customer=None, **session):
        self.raw = server.api()
        self.client = server.sdk()
        self.customer = customer or self.raw.customer()["id"]
        self.institution = institution
        self.name = name
        done = self.link(**session)
        self.id = done["accounts"]["data"][0]["id"]

    def link(self, **session):
        made = self.raw.session(self.customer, **session)
        return self.raw.complete(made, institution=self.institution, **{"accounts[]": [self.name]})

    @property
    def account(self):
        return self.client.v1.financial_connections.accounts.retrieve(self.id)

    def tell(self, action, **form):
        return good(self.raw.post(f"{HELPERS}/{self.id}/{action}", form))

    def refresh(self, *features):
        """Refresh as soon as that may be, and wait for the end."""
        account = self.account
        times = [getattr(account, FEATURES[feature]) for feature in features]
        earliest = max([state.next_refresh_available_at for state in times if state] or [0])
        wait_until(lambda: self.now() >= earliest, 10, "a refresh may be started")
        self.client.v1.financial_connections.accounts.refresh(self.id, {"features": list(features)})
        return self.settled(*features)

    def settled(self, *features):
        def over():
            account = self.account
            states = [getattr(account, FEATURES[feature]) for feature in features]
            return all(state is not None and state.status != "pending" for state in states) and account

        return wait_until(over, 20, f"{features} are refreshed")

    def now(self):
        import time

        return int(time.time())

    def transactions(self, **query):
        listing = self.client.v1.financial_connections.transactions.list({"account": self.id, "limit": 100, **query})
        return list(listing.auto_paging_iter())

    def events(self, kind=None):
        """Of this account or its consent, oldest first."""
        listing = self.client.v1.events.list({"limit": 100, "types": [kind]} if kind else {"limit": 100})
        mine = [e for e in listing.auto_paging_iter() if e.type.startswith("financial_connections.")]
        return [e for e in reversed(mine) if e.data.object["id"] == self.id or ".authorization." in e.type]


# Balances


def test_a_balance_is_null_until_it_is_refreshed(server):
    bank = Bank(server)
    account = bank.account
    assert account.balance is None and account.balance_refresh is None and account.ownership is None
    assert account.transaction_refresh is None and account.subscriptions == []
    asked = bank.client.v1.financial_connections.accounts.refresh(bank.id, {"features": ["balance"]})
    assert asked.balance_refresh.status == "pending" and asked.balance_refresh.next_refresh_available_at is None
    account = bank.settled("balance")
    state = account.balance_refresh
    assert state.status == "succeeded" and state.last_attempted_at == asked.balance_refresh.last_attempted_at
    assert state.next_refresh_available_at > state.last_attempted_at
    assert account.balance.type == "cash" and set(account.balance.current.to_dict()) == {"usd"}
    assert account.balance.cash.available.usd is not None and account.balance.credit is None


def test_a_balance_that_the_bank_was_told_is_the_one_that_is_seen(server):
    bank = Bank(server)
    bank.tell("balance", current=123456, available=100000, currency="usd")
    bank.tell("balance", current=-5000, available=0, currency="jpy")
    account = bank.refresh("balance")
    assert account.balance.current.to_dict() == {"usd": 123456, "jpy": -5000}
    assert account.balance.cash.available.to_dict() == {"usd": 100000, "jpy": 0}
    before = account.balance
    bank.tell("balance", current=1, currency="usd")
    assert bank.account.balance == before, "nothing changes before a refresh"
    assert bank.refresh("balance").balance.current.to_dict() == {"usd": 1, "jpy": -5000}


def test_a_card_owes_what_is_negative(server):
    bank = Bank(server, name="Credit Card")
    account = bank.refresh("balance")
    assert account.balance.type == "credit" and account.balance.cash is None
    assert account.balance.current["usd"] < 0
    bank.tell("balance", current=-2500, used=-2500)
    account = bank.refresh("balance")
    assert account.balance.credit.used.to_dict() == {"usd": -2500}
    bad(bank.raw.post(f"{HELPERS}/{bank.id}/balance", {"current": 1, "available": 1}), 400, None, "available")
    bad(bank.raw.post(f"{HELPERS}/{bank.id}/balance", {"available": 1}), 400, "parameter_missing", "current")


def test_a_refresh_fails_and_then_succeeds(eager):
    bank = Bank(eager)
    balance = bank.refresh("balance").balance
    bank.tell("fail_next_refresh", feature="balance")
    failed = bank.refresh("balance")
    assert failed.balance_refresh.status == "failed" and failed.balance == balance and failed.status == "active"
    assert bank.refresh("balance").balance_refresh.status == "succeeded"
    events = bank.events("financial_connections.account.refreshed_balance")
    assert [e.data.object.balance_refresh.status for e in events] == ["succeeded", "failed", "succeeded"]
    assert all(e.request.id is None and e.request.idempotency_key is None for e in events)


def test_a_refresh_that_comes_too_early_is_refused_or_ignored_as_is_set(server, own_server):
    for running, flags in ((server, None), (own_server(["--early-refresh", "ignore"]), "ignore")):
        bank = Bank(running)
        path = f"/v1/financial_connections/accounts/{bank.id}/refresh"
        statuses = [bank.raw.post(path, {"features[]": "balance"}) for _ in range(2)]
        assert statuses[0].status_code == 200
        if flags:
            assert statuses[1].status_code == 200
        else:
            bad(statuses[1], 400, None, "features[0]")
        assert bank.settled("balance").balance_refresh.status == "succeeded"


def test_a_refresh_needs_its_permission_and_known_features(server):
    bank = Bank(server, **{"permissions[]": ["balances"]})
    path = f"/v1/financial_connections/accounts/{bank.id}/refresh"
    bad(bank.raw.post(path, {"features[]": ["balance", "ownership"]}), 400, None, "features[1]")
    bad(bank.raw.post(path, {"features[]": "balances"}), 400, None, "features[0]")
    bad(bank.raw.post(path), 400, "parameter_missing", "features")
    assert bank.account.balance_refresh is None, "nothing was started"
    bad(bank.raw.post(f"/v1/financial_connections/accounts/{bank.id}/subscribe", {"features[]": "transactions"}),
        400, None, "features[0]")
    bad(bank.raw.post(f"/v1/financial_connections/accounts/{bank.id}/subscribe", {"features[]": "balance"}),
        400, None, "features[0]")
    bad(bank.raw.get("/v1/financial_connections/transactions", {"account": bank.id}), 400, None, "account")


def test_prefetch_starts_refreshes_when_an_account_is_linked(server):
    bank = Bank(server, **{"prefetch[]": ["balances", "ownership", "transactions"]})
    account = bank.settled("balance", "ownership", "transactions")
    assert account.balance and account.ownership and account.transaction_refresh.id.startswith("fctxnref_")
    assert len(account.transaction_refresh.id) == len("fctxnref_") + 24


# Owners


def test_owners_are_paged_at_the_address_that_the_list_gives(server):
    bank = Bank(server, institution=OWNERSHIP, name="Joint Owners")
    names = {f"owners[{i}][name]": f"Owner {i}" for i in range(5)}
    bank.tell("owners", **names, **{"owners[0][email]": "o@example.com"})
    account = bank.refresh("ownership")
    assert account.ownership.startswith("fcaowns_")
    owners = bank.client.v1.financial_connections.accounts.owners
    page = owners.list(bank.id, {"ownership": account.ownership, "limit": 2})
    assert [owner.name for owner in page.auto_paging_iter()] == [f"Owner {i}" for i in range(5)]
    assert page.data[0].email == "o@example.com" and page.data[0].ownership == account.ownership
    expanded = bank.client.v1.financial_connections.accounts.retrieve(bank.id, {"expand": ["ownership"]})
    assert expanded.ownership.id == account.ownership and len(expanded.ownership.owners.data) == 5
    assert expanded.ownership.owners.url == page.url
    good(bank.raw.get(page.url))


def test_a_snapshot_of_owners_stays_when_a_new_one_is_taken(server):
    bank = Bank(server)
    bank.tell("owners", **{"owners[0][name]": "Old"})
    first = bank.refresh("ownership").ownership
    bank.tell("owners", owners="")
    second = bank.refresh("ownership").ownership
    path = f"/v1/financial_connections/accounts/{bank.id}/owners"
    assert first != second
    assert [o["name"] for o in good(bank.raw.get(path, {"ownership": first}))["data"]] == ["Old"]
    assert good(bank.raw.get(path, {"ownership": second}))["data"] == []
    bad(bank.raw.get(path), 400, "parameter_missing", "ownership")
    other = Bank(server)
    bad(bank.raw.get(f"/v1/financial_connections/accounts/{other.id}/owners", {"ownership": first}),
        400, "resource_missing", "ownership")


# Transactions


def test_transactions_are_refused_before_a_refresh_has_succeeded(server):
    bank = Bank(server)
    bad(bank.raw.get("/v1/financial_connections/transactions", {"account": bank.id}), 400,
        "financial_connections_no_successful_transaction_refresh", "account")
    bad(bank.raw.get("/v1/financial_connections/transactions"), 400, "parameter_missing", "account")
    bad(bank.raw.get("/v1/financial_connections/transactions/fctxn_x"), 404, "resource_missing", "transaction")
    account = bank.refresh("transactions")
    history = bank.transactions()
    assert history, "a test account has a history"
    moments = [t.transacted_at for t in history]
    assert moments == sorted(moments, reverse=True)
    assert account.transaction_refresh.last_attempted_at - moments[-1] <= 181 * 86400
    assert {t.transaction_refresh for t in history} == {account.transaction_refresh.id}
    one = history[3]
    assert bank.client.v1.financial_connections.transactions.retrieve(one.id) == one
    assert set(one.status_transitions.to_dict()) == {"posted_at", "void_at"}


def test_a_transaction_goes_from_pending_to_posted_to_void_under_one_id(server):
    bank = Bank(server)
    made = bank.tell("transactions", amount=-1250, currency="usd", description="Coffee", status="pending")["id"]
    bank.refresh("transactions")
    pending = next(t for t in bank.transactions() if t.description == "Coffee")
    assert (pending.amount, pending.currency, pending.status) == (-1250, "usd", "pending")
    assert pending.status_transitions.to_dict() == {"posted_at": None, "void_at": None}
    seen = bank.account.transaction_refresh.id
    for action, status in (("post", "posted"), ("void", "void")):
        bank.tell(f"transactions/{made}/{action}")
        account = bank.refresh("transactions")
        changed = bank.transactions(transaction_refresh={"after": seen})
        mine = next(t for t in changed if t.id == pending.id)
        assert mine.status == status and mine.transaction_refresh == account.transaction_refresh.id
        assert mine.status_transitions[f"{status}_at"] is not None
        seen = account.transaction_refresh.id
    bad(bank.raw.post(f"{HELPERS}/{bank.id}/transactions/{made}/post"), 400, None, "transaction")
    bad(bank.raw.post(f"{HELPERS}/{bank.id}/transactions/btxn_x/post"), 404, "resource_missing", "transaction")


def test_a_client_that_keeps_the_last_refresh_sees_each_change_once(server):
    """The loop of the documentation, over 50 refreshes with random posts and voids, against what the bank was told."""
    seed = 20261126
    chance = random.Random(seed)
    clock = good(server.api().post("/v1/test_helpers/test_clocks", {"frozen_time": 1_800_000_000}))
    customer = server.api().customer(test_clock=clock["id"])["id"]
    bank = Bank(server, customer=customer)
    time = 1_800_000_000
    told, known, mark = {}, {}, None
    for round in range(50):
        expected = {}
        for _ in range(chance.randrange(4)):
            name = f"{seed}-{round}-{chance.random()}"
            status = chance.choice(["pending", "posted"])
            made = bank.tell("transactions", amount=chance.randrange(-9999, 9999), description=name, status=status)
            told[name] = (made["id"], status)
            expected[name] = status
        for name, (made, status) in list(told.items()):
            if status == "pending" and name not in expected and chance.random() < 0.4:
                action, now = chance.choice([("post", "posted"), ("void", "void")])
                bank.tell(f"transactions/{made}/{action}")
                told[name] = (made, now)
                expected[name] = now
        bank.client.v1.financial_connections.accounts.refresh(bank.id, {"features": ["transactions"]})
        account = bank.settled("transactions")
        query = {"transaction_refresh": {"after": mark}} if mark else {}
        page = bank.client.v1.financial_connections.transactions.list({"account": bank.id, "limit": 3, **query})
        changes = list(page.auto_paging_iter())
        assert len({t.id for t in changes}) == len(changes), "one was seen twice in a round"
        mine = [t for t in changes if t.description.startswith(str(seed))]
        assert {t.description: t.status for t in mine} == expected, f"round {round}"
        for transaction in changes:
            assert transaction.transaction_refresh == account.transaction_refresh.id
            assert known.get(transaction.id) != (transaction.status, transaction.amount), "nothing of it had changed"
            known[transaction.id] = (transaction.status, transaction.amount)
        mark = account.transaction_refresh.id
        time += 60
        advance(bank, clock["id"], time)
    assert {t.id: (t.status, t.amount) for t in bank.transactions()} == known


def advance(bank, clock, time):
    good(bank.raw.post(f"/v1/test_helpers/test_clocks/{clock}/advance", {"frozen_time": time}))
    address = f"/v1/test_helpers/test_clocks/{clock}"
    wait_until(lambda: good(bank.raw.get(address))["status"] == "ready", 60, "it is ready")


def test_transactions_are_filtered_by_their_moment(server):
    bank = Bank(server)
    for number in range(6):
        bank.tell("transactions", amount=1, description=f"at {number}", transacted_at=1_000_000_000 + number)
    bank.refresh("transactions")

    def names(**query):
        return [t.description for t in bank.transactions(**query) if t.description.startswith("at ")]

    assert names(transacted_at={"gt": 1_000_000_001, "lte": 1_000_000_004}) == ["at 4", "at 3", "at 2"]
    assert names(transacted_at=1_000_000_003) == ["at 3"]
    page = good(bank.raw.get("/v1/financial_connections/transactions",
                             {"account": bank.id, "transacted_at[lt]": 1_000_000_005, "limit": 2}))
    rest = good(bank.raw.get(page["url"], {"starting_after": ids(page)[-1], "limit": 100}))
    assert [t["description"] for t in rest["data"]] == ["at 2", "at 1", "at 0"]
    bad(bank.raw.get("/v1/financial_connections/transactions",
                     {"account": bank.id, "transaction_refresh[after]": "fctxnref_x"}),
        400, "resource_missing", "transaction_refresh[after]")
    bad(bank.raw.get("/v1/financial_connections/transactions", {"account": bank.id, "transaction_refresh": "x"}),
        400, None, "transaction_refresh")


# Subscriptions and the life of an account


def test_subscribing_refreshes_at_once_and_both_ways_are_idempotent(server):
    bank = Bank(server)
    accounts = bank.client.v1.financial_connections.accounts
    features = {"features": ["transactions"]}
    assert accounts.unsubscribe(bank.id, features).subscriptions == []
    subscribed = accounts.subscribe(bank.id, features)
    assert subscribed.subscriptions == ["transactions"] and subscribed.transaction_refresh.status == "pending"
    bank.settled("transactions")
    again = accounts.subscribe(bank.id, features)
    assert again.subscriptions == ["transactions"]
    assert accounts.unsubscribe(bank.id, features).subscriptions == []
    assert accounts.unsubscribe(bank.id, features).subscriptions == []
    assert bank.transactions(), "data stays"


def test_an_inactive_account_is_readable_and_not_refreshed_until_it_is_linked_again(server):
    bank = Bank(server)
    bank.refresh("balance", "ownership", "transactions")
    assert bank.tell("deactivate")["status"] == "inactive"
    account = bank.account
    assert account.status == "inactive" and account.balance
    assert account.status_details.inactive.action == "relink_required"
    for action, feature in (("refresh", "balance"), ("subscribe", "transactions")):
        bad(bank.raw.post(f"/v1/financial_connections/accounts/{bank.id}/{action}", {"features[]": feature}), 400,
            "financial_connections_account_inactive", "account")
    assert bank.transactions()
    assert bank.link()["accounts"]["data"][0]["id"] == bank.id
    assert bank.account.status == "active"
    assert bank.refresh("balance").balance_refresh.status == "succeeded"


def test_a_refresh_finds_out_that_the_bank_has_ended_the_link(eager):
    bank = Bank(eager)
    bank.tell("deactivate", announced="false")
    assert bank.account.status == "active"
    account = bank.refresh("balance")
    assert account.status == "inactive" and account.balance_refresh.status == "failed"
    assert account.balance_refresh.next_refresh_available_at is None
    kinds = [e.type.split(".")[-1] for e in bank.events()]
    assert kinds == ["created", "refreshed_balance", "deactivated"]
    assert bank.tell("reactivate")["status"] == "active"
    assert bank.refresh("balance").balance_refresh.status == "succeeded"


def test_a_disconnected_account_keeps_nothing_that_can_be_read(server):
    bank = Bank(server)
    ownership = bank.refresh("balance", "ownership", "transactions").ownership
    one = bank.transactions()[0].id
    gone = bank.client.v1.financial_connections.accounts.disconnect(bank.id)
    assert gone.status == "disconnected" and gone.balance is None and gone.subscriptions == []
    bad(bank.raw.get("/v1/financial_connections/transactions", {"account": bank.id}), 400, None, "account")
    bad(bank.raw.get(f"/v1/financial_connections/transactions/{one}"), 400, None, "account")
    bad(bank.raw.get(f"/v1/financial_connections/accounts/{bank.id}/owners", {"ownership": ownership}), 400, None,
        "account")
    for action in ("refresh", "subscribe", "unsubscribe"):
        bad(bank.raw.post(f"/v1/financial_connections/accounts/{bank.id}/{action}", {"features[]": "transactions"}),
            400, None, "account")
    bad(bank.raw.post(f"{HELPERS}/{bank.id}/transactions", {"amount": 1}), 400, None, "account")


def test_the_helpers_are_not_there_in_live_mode_and_refuse_what_makes_no_sense(server):
    bank = Bank(server)
    live = server.api("sk_live_nobodyHasThisKey0000000001")
    assert live.post(f"{HELPERS}/{bank.id}/balance", {"current": 1}).status_code in (401, 404)
    for action, form, param in (
        ("transactions", {}, "amount"), ("transactions", {"amount": "1.5"}, "amount"),
        ("transactions", {"amount": 1, "currency": "dollars"}, "currency"),
        ("transactions", {"amount": 1, "status": "void"}, "status"), ("owners", {}, "owners"),
        ("owners", {"owners[0][email]": "x"}, "owners[0][name]"), ("owners", {"owners[0][age]": "1"}, "owners[0][age]"),
        ("fail_next_refresh", {}, "feature"), ("fail_next_refresh", {"feature": "balances"}, "feature"),
        ("deactivate", {"at": "soon"}, "at"), ("balance", {"current": 1, "color": "red"}, "color"),
    ):
        bad(bank.raw.post(f"{HELPERS}/{bank.id}/{action}", form), 400, param=param)
    bad(bank.raw.post(f"{HELPERS}/fca_x/balance", {"current": 1}), 404, "resource_missing", "account")


# Events

ALL_TYPES = [
    "account.account_numbers_updated", "account.created", "account.deactivated", "account.disconnected",
    "account.expected_deactivation_date_updated", "account.reactivated", "account.refreshed_balance",
    "account.refreshed_ownership", "account.refreshed_transactions",
    "account.supported_payment_method_types_updated", "account.upcoming_account_number_expiry",
    "account.upcoming_deactivation", "authorization.expected_deactivation_date_updated",
    "authorization.upcoming_deactivation",
]


def test_each_of_the_14_types_of_event_comes_once_from_its_cause(own_server):
    server = own_server()
    raw, client = server.api(), server.sdk()
    seen = []

    def new_events(count):
        """The events since the last call, oldest first; exactly so many, once those have come."""

        def arrived():
            listing = client.v1.events.list({"limit": 100, "type": "financial_connections.*"})
            fresh = [e for e in listing.auto_paging_iter() if e.id not in seen]
            return len(fresh) >= count and fresh

        fresh = wait_until(arrived, 20, f"{count} new events")
        seen.extend(e.id for e in fresh)
        for event in fresh:
            assert event.data.object["object"].split(".")[1] == event.type.split(".")[1]
        kinds = [e.type.removeprefix("financial_connections.") for e in reversed(fresh)]
        assert len(kinds) == count, kinds
        return kinds

    shown = set()

    def expect(*kinds):
        assert new_events(len(kinds)) == list(kinds)
        shown.update(kinds)

    bank = Bank(server)
    expect("account.created")
    for feature in FEATURES:
        bank.refresh(feature)
        expect(f"account.refreshed_{feature}")
    bank.tell("deactivate")
    expect("account.deactivated")
    bank.link()
    expect("account.reactivated")
    bank.client.v1.financial_connections.accounts.disconnect(bank.id)
    expect("account.disconnected")

    # A date that the bank announces, more than 30 days ahead, and one that is nearer.
    bank = Bank(server)
    expect("account.created")
    now = bank.now()
    bank.tell("deactivate", at=now + 90 * 86400)
    expect("account.expected_deactivation_date_updated", "authorization.expected_deactivation_date_updated")
    assert bank.account.status_details.active.expected_deactivation_date == now + 90 * 86400
    bank.tell("deactivate", at=now + 10 * 86400)
    expect("account.expected_deactivation_date_updated", "account.upcoming_deactivation",
           "authorization.expected_deactivation_date_updated", "authorization.upcoming_deactivation")

    # Numbers that end: one in 30 days, one at once, which is the end of payments too.
    Bank(server, institution=TOKENIZED, name="Eventually Expiring")
    expect("account.created", "account.upcoming_account_number_expiry")
    numbers = Bank(server, institution=TOKENIZED, name="Immediately Expiring")
    expect("account.created", "account.account_numbers_updated", "account.supported_payment_method_types_updated")
    assert numbers.account.account_numbers[0].status == "deactivated"
    assert numbers.account.supported_payment_method_types == []
    assert shown == set(ALL_TYPES)


def test_institutions_that_want_a_new_sign_in_say_so(own_server):
    server = own_server()

    def kinds(bank):
        return [e.type.removeprefix("financial_connections.") for e in bank.events()]

    later = Bank(server, institution=REAUTHENTICATE_LATER, name="Checking")
    wait_until(lambda: len(kinds(later)) == 3, 10, "three events")
    assert kinds(later) == ["account.created", "account.upcoming_deactivation", "authorization.upcoming_deactivation"]
    details = later.account.status_details.active
    assert details.action == "relink_required" and details.expected_deactivation_date > later.now() + 29 * 86400
    soon = Bank(server, institution=REAUTHENTICATE_SOON, name="Checking")
    assert soon.account.status_details is None
    soon.link()
    assert soon.account.status_details.active.expected_deactivation_date <= soon.now() + 86400
    names = kinds(soon)
    for kind in ("account.expected_deactivation_date_updated", "account.upcoming_deactivation",
                 "authorization.expected_deactivation_date_updated"):
        assert names.count(kind) == 1, names
    closed = Bank(server, institution=INACTIVE, name="Checking")
    assert closed.account.status == "inactive"


def test_a_restricted_key_reads_transactions_only_with_its_permission(server):
    bank = Bank(server)
    bank.refresh("transactions")
    with pytest.raises(stripe.AuthenticationError):
        server.sdk("rk_test_nobodyHasThisKey0000000001").v1.financial_connections.transactions.list(
            {"account": bank.id})
    assert server.sdk(SECRET_KEY).v1.financial_connections.transactions.list({"account": bank.id}).data
