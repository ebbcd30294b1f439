"""Random bodies and queries from a fixed seed: whatever comes, the answer is an object or an error, never a 5xx."""

import random

import pytest

SESSIONS = "/v1/financial_connections/sessions"
NAMES = [
    "account_holder", "account_holder[type]", "account_holder[customer]", "permissions", "permissions[]",
    "permissions[0]", "permissions[7]", "prefetch[]", "filters[countries][]", "filters[country]", "limits[accounts]",
    "manual_entry[mode]", "return_url", "expand[]", "name", "email", "metadata", "metadata[a]", "metadata[a][b]",
    "address[city]", "shipping[address][line1]", "phone", "tax_exempt", "preferred_locales[]", "description", "limit",
    "starting_after", "created[gte]", "type", "types[]", "",
]
VALUES = [
    "", "customer", "balances", "US", "1", "0", "-1", "99999999999999999999", "1e9", "true", "null", "cus_x",
    "https://example.com/", "a@b.example", "%00", "%ff", "%", "%zz", "é", "%F0%9F%8F%A6", "[]", "a" * 6000,
    "' OR 1=1 --",
    "accounts.data.account_holder.customer", "..", "*", "2024-06-20", "+", "\r\nSet-Cookie: a=b",
]
BYTES = b"&=[]%+;.0123456789abcXYZ\x00\x0a\x7f\xff\xc3\x28 "


def a_name(rng):
    name = rng.choice(NAMES)
    for _ in range(rng.choice([0, 0, 0, 1, 2, 40])):
        name += rng.choice(["[]", "[0]", "[a]", "[", "]", "[%5B]", "[999999]"])
    return name


def a_body(rng):
    if rng.random() < 0.25:
        return bytes(rng.choice(BYTES) for _ in range(rng.randrange(200)))
    pairs = [a_name(rng) + rng.choice(["=", "=", "=", "", "=="]) + rng.choice(VALUES) for _ in range(rng.randrange(9))]
    body = "&".join(pairs).encode()
    if body and rng.random() < 0.3:
        at = rng.randrange(len(body))
        body = body[:at] + bytes([rng.randrange(256)]) + body[at + 1:]
    return body


def problem(answer):
    """What is wrong with an answer, or None."""
    if answer.status_code >= 500:
        return f"status {answer.status_code}"
    try:
        body = answer.json()
    except ValueError:
        return "not JSON"
    if answer.status_code == 200:
        return None if body.get("object") else "a 200 without an object"
    error = body.get("error", {})
    return None if error.get("type") and error.get("message") else f"status {answer.status_code} without an error"


@pytest.mark.parametrize("path", [SESSIONS, "/v1/customers"])
@pytest.mark.parametrize("seed", range(4))
def test_random_bodies(server, path, seed):
    rng, api = random.Random(f"{path} {seed}"), server.api()
    for n in range(500):
        body = a_body(rng)
        found = problem(api.post(path, body))
        assert found is None, f"{found} for request {n}: {body!r}"
    assert api.get("/v1/account").status_code == 200


@pytest.mark.parametrize("path", ["/v1/customers", "/v1/events", "/v1/financial_connections/accounts"])
def test_random_queries(server, path):
    rng, api = random.Random(path), server.api()
    for n in range(300):
        query = "".join(c for c in a_body(rng).decode("latin-1") if "!" <= c <= "~" and c != "#")[:4000]
        answer = api.request("GET", f"{path}?{query}")
        assert problem(answer) is None, f"{problem(answer)} for request {n}: {query!r}"
