"""The Session holds every attribute that its reference page lists, with the page's types, nulls and enum values.

`session_attributes.json` is that list. An attribute counts as exercised when some session gave a chance to see it.
"""

import json
import pathlib
import re

import pytest

from support import TEST, good, wait_until

ATTRIBUTES = json.loads(pathlib.Path(__file__).with_name("session_attributes.json").read_text())
# A holder has the member of its own type only; a balance has the member of its own type only.
MAY_BE_LEFT_OUT = ("account_holder.account", "account_holder.customer", "balance.cash", "balance.credit")
# What a Session of the other type of holder shows.
OTHERS = {"customer": "account_holder.account", "account": "account_holder.customer"}
PREFIXES = {
    "id": "fcsess_", "client_secret": "fcsess_client_secret_", "accounts.data.id": "fca_",
    "accounts.data.ownership": "fcaowns_", "accounts.data.transaction_refresh.id": "fctxnref_",
}
MONEY = {"accounts.data.balance.current", "accounts.data.balance.cash.available", "accounts.data.balance.credit.used"}
FOUND_NOTHING = object()


def values_at(node, names):
    """The values at a path; arrays fan out, and below a null there is nothing to see."""
    if isinstance(node, list) and names:
        return [value for item in node for value in values_at(item, names)]
    if not names:
        return [node]
    if node is None:
        return []
    if names[0] not in node:
        return [FOUND_NOTHING]
    return values_at(node[names[0]], names[1:])


def is_money(value):
    return all(re.fullmatch(r"[a-z]{3}", currency) and type(amount) is int for currency, amount in value.items())


def has_type(attribute, value):
    kind, path, values = attribute["type"], attribute["path"], attribute.get("values", [])
    checks = {
        "string": lambda: isinstance(value, str) and value.startswith(PREFIXES.get(path, "")),
        "timestamp": lambda: type(value) is int and 10**9 < value < 10**11,
        "boolean": lambda: isinstance(value, bool),
        "enum": lambda: value in values,
        "object": lambda: isinstance(value, dict) and (path not in MONEY or is_money(value)),
        "array of enums": lambda: isinstance(value, list) and all(item in values for item in value),
        "array of strings": lambda: isinstance(value, list) and all(isinstance(item, str) for item in value),
        "array of objects": lambda: isinstance(value, list) and all(isinstance(item, dict) for item in value),
    }
    return checks[kind]() or (attribute.get("expandable", False) and isinstance(value, dict))


def problem(attribute, value):
    if value is FOUND_NOTHING:
        return None if attribute["path"].endswith(MAY_BE_LEFT_OUT) else "is missing"
    if value is None:
        return None if attribute["nullable"] else "is null, and the page allows none"
    return None if has_type(attribute, value) else f"is {value!r}, which is no {attribute['type']}"


def failures(session):
    return [
        f"{attribute['path']} {problem(attribute, value)}"
        for attribute in ATTRIBUTES
        for value in values_at(session, attribute["path"].split("."))
        if problem(attribute, value)
    ]


def exercised(session):
    return {
        attribute["path"] for attribute in ATTRIBUTES
        if any(v is not FOUND_NOTHING and v is not None for v in values_at(session, attribute["path"].split(".")))
    }


KINDS = ["Success", "High Balance", "Credit Card", "Line of Credit", "Mortgage", "Brokerage"]
ASKED = {
    "permissions[]": ["balances", "ownership", "payment_method", "transactions"],
    "prefetch[]": ["balances", "ownership", "transactions"], "filters[countries][]": "US",
    "return_url": "https://example.com/back",
}
SUBCATEGORIES = {
    "filters[account_subcategories][]": ["checking", "savings", "credit_card", "mortgage", "line_of_credit"],
}


def fetched(api, session):
    """The Session once the refreshes that it asked for are over."""
    path = f"/v1/financial_connections/sessions/{session['id']}"

    def over():
        found = good(api.get(path))
        states = [account[name] for account in found["accounts"]["data"]
                  for name in ("balance_refresh", "ownership_refresh", "transaction_refresh")]
        return all(state and state["status"] != "pending" for state in states) and found

    return wait_until(over, 30, "everything is fetched")


def link(api, holder, kinds, **more):
    """A Session that has linked accounts of these kinds, one of them subscribed, with all that can be fetched."""
    session = good(api.post("/v1/financial_connections/sessions", {**holder, **ASKED, **more}))
    done = api.complete(session, institution=TEST, **{"accounts[]": kinds})
    account = done["accounts"]["data"][0]["id"]
    fetched(api, session)
    good(api.post(f"/v1/financial_connections/accounts/{account}/subscribe", {"features[]": "transactions"}))
    return fetched(api, session)


@pytest.fixture(scope="module")
def sessions(server):
    """Sessions of a customer and of the platform's account, with an account of each kind; and others that are bare."""
    api = server.api()
    holder = {"account_holder[type]": "customer", "account_holder[customer]": api.customer()["id"]}
    platform = {"account_holder[type]": "account", "account_holder[account]": good(api.get("/v1/account"))["id"]}
    made = [
        link(api, holder, KINDS[:5], **SUBCATEGORIES), link(api, platform, KINDS[:5], **SUBCATEGORIES),
        link(api, holder, KINDS), api.linked(), api.session(),
    ]
    expansion = {"expand[]": ["account_holder.customer", "accounts.data.account_holder.customer",
                              "accounts.data.ownership"]}
    return made + [good(api.get(f"/v1/financial_connections/sessions/{made[0]['id']}", expansion))]


def test_the_page_has_58_attributes():
    assert len({attribute["path"] for attribute in ATTRIBUTES}) == 58


def test_no_attribute_fails(sessions):
    assert [failure for session in sessions for failure in failures(session)] == []


@pytest.mark.parametrize("index", [0, 1])
def test_every_attribute_is_exercised_by_one_session(sessions, index):
    """But for the member that a holder of the other type has."""
    session = sessions[index]
    missing = [attribute["path"] for attribute in ATTRIBUTES if attribute["path"] not in exercised(session)]
    other = OTHERS[session["account_holder"]["type"]]
    assert missing == [other, f"accounts.data.{other}"]


def test_accounts_of_every_kind_have_their_data(sessions):
    accounts = sessions[2]["accounts"]["data"]
    assert sorted(account["display_name"] for account in accounts) == sorted(KINDS)
    assert {account["category"] for account in accounts} == {"cash", "credit", "investment"}
    for account in accounts:
        assert account["balance"] and account["ownership"]
        assert account["balance"]["type"] == ("credit" if account["category"] == "credit" else "cash")
        for name in ("balance_refresh", "ownership_refresh", "transaction_refresh"):
            assert account[name]["status"] == "succeeded", (account["display_name"], name)


@pytest.mark.parametrize("path, value", [
    ("client_secret", None), ("livemode", "false"), ("permissions", ["secrets"]), ("accounts", []),
    ("filters", {"account_subcategories": ["other"], "countries": ["US"]}),
])
def test_the_checker_notices_what_is_wrong(sessions, path, value):
    assert failures({**sessions[0], path: value})


def test_the_checker_notices_what_is_missing(sessions):
    for attribute in ATTRIBUTES:
        if "." not in attribute["path"]:
            rest = {key: value for key, value in sessions[0].items() if key != attribute["path"]}
            assert f"{attribute['path']} is missing" in failures(rest)
