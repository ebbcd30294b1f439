"""The merchant's day with an SDK of 2024. Runs in an environment of its own; prints what it saw as JSON.

usage: old_sdk_smoke.py BASE_URL SECRET_KEY INSTITUTION
"""

import json
import sys
import urllib.parse
import urllib.request

import stripe

BASE, KEY, INSTITUTION = sys.argv[1:4]
EXPANSIONS = ["account_holder.customer", "accounts.data.account_holder.customer"]


def complete(session_id):
    """This SDK has no call for the test helper."""
    request = urllib.request.Request(
        f"{BASE}/v1/test_helpers/financial_connections/sessions/{session_id}/complete",
        data=urllib.parse.urlencode({"institution": INSTITUTION}).encode(),
        headers={"Authorization": f"Bearer {KEY}"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def refusal(call):
    try:
        call()
    except stripe.StripeError as error:
        return {"class": type(error).__name__, "code": error.code, "param": getattr(error, "param", None)}
    return None


def main():
    client = stripe.StripeClient(KEY, base_addresses={"api": BASE}, max_network_retries=0)
    connections = client.financial_connections
    customer = client.customers.create(params={"email": "old@example.com"})
    session = connections.sessions.create(params={
        "account_holder": {"type": "customer", "customer": customer.id},
        "permissions": ["balances", "transactions"],
        "filters": {"countries": ["US"]},
    })
    complete(session.id)
    read = connections.sessions.retrieve(session.id, params={"expand": EXPANSIONS})
    by_session = connections.accounts.list(params={"session": session.id, "limit": 1})
    by_customer = connections.accounts.list(params={"account_holder": {"customer": customer.id}, "limit": 100})
    paged = [account.id for account in by_session.auto_paging_iter()]
    disconnected = connections.accounts.disconnect(paged[0])
    events = client.events.list(params={"type": "financial_connections.account.disconnected", "limit": 100})
    print(json.dumps({
        "version": stripe.VERSION,
        "customer": customer.id,
        "filters": read.filters.to_dict_recursive(),
        "expanded": read.account_holder.customer.email,
        "expanded_inside": [a.account_holder.customer.email for a in read.accounts.data],
        "accounts": [a.id for a in read.accounts.data],
        "by_session": paged,
        "by_customer": [a.id for a in by_customer.data],
        "disconnected": disconnected.status,
        "event_found": paged[0] in [e.data.object["id"] for e in events.auto_paging_iter()],
        "refusal": refusal(lambda: connections.sessions.create(params={"permissions": ["nonsense"]})),
        "authentication": refusal(lambda: stripe.StripeClient(
            "sk_test_wrongwrongwrong", base_addresses={"api": BASE}).customers.list()),
    }))


main()
