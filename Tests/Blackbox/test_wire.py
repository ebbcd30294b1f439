"""What goes over the wire, byte for byte: authentication, errors, versions, JSON, lists, expansion, limits."""

import json
import re

import pytest
import requests

from support import (
    ALL_PERMISSIONS, DEFAULT_VERSION, PUBLISHABLE_KEY, SECRET_KEY, TEST, Flow, bad, good, ids, refused, unique,
)

SESSIONS = "/v1/financial_connections/sessions"
ACCOUNTS = "/v1/financial_connections/accounts"
BEFORE, ENDIVE, NEWEST = "2026-07-29.dahlia", "2026-09-30.endive", "2026-10-28.endive"


def session_form(customer, **more):
    return {
        "account_holder[type]": "customer", "account_holder[customer]": customer,
        "permissions[]": ALL_PERMISSIONS, **more,
    }


@pytest.fixture(scope="module")
def holder(server):
    return server.api().customer(email="holder@example.com")["id"]


@pytest.fixture(scope="module")
def linked(server, holder):
    return server.api().linked(holder)


# Authentication

NO_KEY = (
    "You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth "
    "(e.g. 'Authorization: Bearer YOUR_SECRET_KEY'). See https://stripe.com/docs/api#authentication for details, or "
    "we can help at https://support.stripe.com/."
)
PUBLISHABLE_REFUSED = (
    "This API call cannot be made with a publishable API key. Please use a secret API key. You can find a list of "
    "your API keys at https://dashboard.stripe.com/account/apikeys."
)


def test_no_key(server):
    answer = server.api(key=None).get("/v1/customers")
    bad(answer, 401, code=None, param=None, message=NO_KEY)
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="Stripe"'


@pytest.mark.parametrize("key", [
    "sk_test_thisKeyIsNotKnown1234", "sk_live_anUnknownLiveKey99999", "rk_test_restrictedUnknown0000",
    SECRET_KEY + "x", SECRET_KEY[:-1],
])
def test_an_unknown_key_is_masked(server, key):
    prefix = key[:8]
    masked = prefix + "*" * (len(key) - len(prefix) - 4) + key[-4:]
    bad(server.api(key).get("/v1/customers"), 401, param=None, message=f"Invalid API Key provided: {masked}")


@pytest.mark.parametrize("authorization", ["Bearer ", "Bearer", "Basic !!!", "Basic Og==", "Digest x", "Bearer a b"])
def test_a_malformed_authorization_is_refused(server, authorization):
    answer = server.api(key=None).get("/v1/customers", Authorization=authorization)
    bad(answer, 401)


def test_basic_auth_with_the_key_as_user(server):
    api = server.api(key=None)
    api.http.auth = (SECRET_KEY, "")
    assert good(api.get("/v1/customers", {"limit": 1}))["object"] == "list"


def test_basic_auth_with_an_unknown_key(server):
    api = server.api(key=None)
    api.http.auth = ("sk_test_thisKeyIsNotKnown1234", "")
    bad(api.get("/v1/customers"), 401)


@pytest.mark.parametrize("method, path", [
    ("GET", "/v1/customers"), ("POST", "/v1/customers"), ("POST", SESSIONS), ("GET", f"{SESSIONS}/fcsess_x"),
    ("GET", ACCOUNTS), ("GET", "/v1/events"), ("GET", "/v1/account"),
    ("POST", "/v1/test_helpers/financial_connections/sessions/fcsess_x/complete"),
])
def test_a_publishable_key_opens_no_secret_route(server, method, path):
    answer = server.api(PUBLISHABLE_KEY).request(method, path)
    bad(answer, 403, message=PUBLISHABLE_REFUSED)


def test_an_account_that_the_key_cannot_act_for(raw):
    answer = raw.get("/v1/customers", **{"Stripe-Account": "acct_1000000000000000"})
    error = bad(answer, 403, code="account_invalid")
    assert SECRET_KEY not in error["message"]


def test_the_own_account_may_be_named(raw):
    account = good(raw.get("/v1/account"))["id"]
    good(raw.get("/v1/customers", {"limit": 1}, **{"Stripe-Account": account}))


# Routes


@pytest.mark.parametrize("method, path", [
    ("GET", "/v1/foo"), ("POST", "/v1/foo"), ("GET", "/v1"), ("DELETE", SESSIONS), ("GET", SESSIONS),
    ("GET", f"{ACCOUNTS}/"), ("PUT", "/v1/customers"), ("DELETE", f"{ACCOUNTS}/fca_x"),
    ("POST", f"{SESSIONS}/fcsess_x"),
])
def test_an_unknown_route(raw, method, path):
    message = (
        f"Unrecognized request URL ({method}: {path}). If you are trying to list objects, remove the trailing slash. "
        "If you are trying to retrieve an object, make sure you passed a valid (non-empty) identifier in your code. "
        "Please see https://stripe.com/docs or we can help at https://support.stripe.com/."
    )
    bad(raw.request(method, path), 404, code=None, param=None, message=message)


# Parameters of a Session

HOLDER = {"account_holder[type]": "customer", "account_holder[customer]": "cus_doesnotexist0"}
GOOD = {**HOLDER, "permissions[]": "balances"}
EMPTY = (
    "You passed an empty string for '{0}'. We assume empty values are an attempt to unset a parameter; however '{0}' "
    "cannot be unset. You should remove '{0}' from your request or supply a non-empty value."
)
REFUSED = {
    "unknown": ({**GOOD, "colour": "red"}, "parameter_unknown", "colour", "Received unknown parameter: colour"),
    "unknown before missing": ({"colour": "red"}, "parameter_unknown", "colour",
                               "Received unknown parameter: colour"),
    "unknown inside": ({**GOOD, "account_holder[shoe]": "9"}, "parameter_unknown", "account_holder[shoe]",
                       "Received unknown parameter: account_holder[shoe]"),
    "missing inside": ({"account_holder[customer]": "cus_x", "permissions[]": "balances"}, "parameter_missing",
                       "account_holder[type]", "Missing required param: account_holder[type]."),
    "missing array": (HOLDER, "parameter_missing", "permissions", "Missing required param: permissions."),
    "missing holder": ({"account_holder[type]": "customer", "permissions[]": "balances"}, "parameter_missing",
                       "account_holder[customer]", "Missing required param: account_holder[customer]."),
    "missing inside limits": ({**GOOD, "limits[x]": "1"}, "parameter_unknown", "limits[x]",
                              "Received unknown parameter: limits[x]"),
    "enum in array": ({**HOLDER, "permissions[0]": "secrets"}, None, "permissions[0]",
                      "Invalid permissions[0]: must be one of balances, ownership, payment_method, or transactions"),
    "second in array": ({**HOLDER, "permissions[]": ["balances", "secrets"]}, None, "permissions[1]",
                        "Invalid permissions[1]: must be one of balances, ownership, payment_method, or transactions"),
    "integer": ({**GOOD, "limits[accounts]": "abc"}, "parameter_invalid_integer", "limits[accounts]",
                "Invalid integer: abc"),
    "range": ({**GOOD, "limits[accounts]": "0"}, "parameter_invalid_integer", "limits[accounts]",
              "This value must be greater than or equal to 1."),
    "object": ({"account_holder": "x", "permissions[]": "balances"}, None, "account_holder", "Invalid object"),
    "array": ({**HOLDER, "permissions": "balances"}, None, "permissions", "Invalid array"),
    "empty": ({"account_holder[type]": "", "permissions[]": "balances"}, "parameter_invalid_empty",
              "account_holder[type]", EMPTY.format("account_holder[type]")),
    "no such customer": (GOOD, "resource_missing", "account_holder[customer]",
                         "No such customer: 'cus_doesnotexist0'"),
    "no URL": ({**GOOD, "return_url": "nowhere"}, "url_invalid", "return_url", "Not a valid URL"),
    "long URL": ({**GOOD, "return_url": "https://example.com/" + "a" * 2048}, "url_invalid", "return_url",
                 "Invalid URL: URL must be 2048 characters or less."),
    "URL not in ASCII": ({**GOOD, "return_url": "https://example.com/ü"}, "url_invalid", "return_url",
                         "Invalid URL: Non-ASCII characters in URLs must be percent-encoded in order for the URL to "
                         "be valid."),
}


@pytest.mark.parametrize("form, code, param, message", REFUSED.values(), ids=REFUSED.keys())
def test_a_session_is_refused(raw, form, code, param, message):
    bad(raw.post(SESSIONS, form), 400, code=code, param=param, message=message)


@pytest.mark.parametrize("name, value", [
    ("account_holder[type]", "nobody"), ("manual_entry[mode]", "sometimes"),
    ("filters[require_payment_method_support]", "some"), ("filters[account_subcategories][0]", "other"),
    ("prefetch[0]", "payment_method"),
])
def test_a_strange_enum_value_names_its_parameter(raw, holder, name, value):
    error = bad(raw.post(SESSIONS, session_form(holder, **{name: value})), 400, code=None, param=name)
    assert error["message"].startswith(f"Invalid {name}: must be one of ")


def test_without_any_parameter_the_holder_is_missed_first(raw):
    error = bad(raw.post(SESSIONS), 400, code="parameter_missing")
    assert error["param"] in ("account_holder", "account_holder[type]")
    assert error["message"] == f"Missing required param: {error['param']}."


def test_several_unknown_parameters_are_named_together(raw):
    error = bad(raw.post(SESSIONS, "zebra=1&apple=2"), 400, code="parameter_unknown")
    assert error["message"].startswith("Received unknown parameters: ")
    assert "zebra" in error["message"] and "apple" in error["message"]


@pytest.mark.parametrize("feature, permission", [
    ("balances", "ownership"), ("ownership", "balances"), ("transactions", "balances"),
])
def test_a_prefetch_needs_its_permission(raw, holder, feature, permission):
    form = {**session_form(holder), "permissions[]": permission, "prefetch[]": feature}
    assert refused(raw.post(SESSIONS, form))["param"].startswith("prefetch")


@pytest.mark.parametrize("more", [
    {"account_holder[account]": "acct_x"}, {"account_holder[type]": "account"},
])
def test_holder_and_type_must_agree(raw, holder, more):
    assert refused(raw.post(SESSIONS, session_form(holder, **more)))["param"].startswith("account_holder")


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "file:///etc/passwd"])
def test_a_return_url_cannot_carry_a_script_or_a_file(raw, holder, url):
    bad(raw.post(SESSIONS, session_form(holder, return_url=url)), 400, code="url_invalid", param="return_url")


@pytest.mark.parametrize("url", ["https://example.com/back?a=b", "http://127.0.0.1:9/x", "myapp://return"])
def test_a_return_url_may_be_a_page_or_an_app(raw, holder, url):
    assert good(raw.post(SESSIONS, session_form(holder, return_url=url)))["return_url"] == url


def test_all_current_parameters_are_taken_and_shown(server, holder):
    form = session_form(holder, **{
        "prefetch[]": ["balances", "transactions"], "filters[country]": "US",
        "filters[account_subcategories][]": ["checking", "savings"],
        "filters[require_payment_method_support]": "at_least_one", "limits[accounts]": "3",
        "manual_entry[mode]": "automatic", "return_url": "https://example.com/back",
    })
    session = good(server.api(version=NEWEST).post(SESSIONS, form))
    assert session["prefetch"] == ["balances", "transactions"]
    assert session["filters"] == {
        "account_subcategories": ["checking", "savings"], "country": "US",
        "require_payment_method_support": "at_least_one",
    }
    assert session["limits"] == {"accounts": 3}
    assert session["manual_entry"] == {"mode": "automatic"}
    assert session["return_url"] == "https://example.com/back"


def test_an_empty_limit_means_none(raw, holder):
    session = good(raw.post(SESSIONS, session_form(holder, **{"limits[accounts]": ""})))
    assert (session.get("limits") or {"accounts": None})["accounts"] is None


@pytest.mark.parametrize("body", [
    "permissions[]=balances&permissions[]=ownership",
    "permissions[0]=balances&permissions[1]=ownership",
    "permissions%5B%5D=balances&permissions%5B%5D=ownership",
    "permissions%5B0%5D=balances&permissions%5B1%5D=ownership",
])
def test_arrays_in_every_spelling(raw, holder, body):
    head = f"account_holder%5Btype%5D=customer&account_holder[customer]={holder}"
    assert good(raw.post(SESSIONS, f"{head}&{body}"))["permissions"] == ["balances", "ownership"]


def test_of_a_repeated_plain_parameter_the_last_counts(raw):
    assert good(raw.post("/v1/customers", "name=first&name=last"))["name"] == "last"


def test_plus_and_percent_are_decoded(raw):
    assert good(raw.post("/v1/customers", "name=J%C3%BCrgen+M%2B"))["name"] == "Jürgen M+"


# Parameters elsewhere


def test_text_that_is_too_long(raw):
    text = "abcd" + "." * 4993 + "wxyz"
    message = "Invalid string: abcd...wxyz; must be at most 5000 characters"
    bad(raw.post("/v1/customers", {"description": text}), 400, code=None, param="description", message=message)


def test_text_of_5000_characters_is_kept(raw):
    text = "ü" * 5000
    assert good(raw.post("/v1/customers", {"description": text}))["description"] == text


def test_an_array_that_is_too_long(raw):
    message = "Array types exceeded maximum 20 allowed elements."
    answer = raw.get("/v1/events", {"types[]": ["customer.created"] * 21})
    bad(answer, 400, code=None, param="types", message=message)


@pytest.mark.parametrize("address", ["nobody", "a@", "@b", "a b@example.com"])
def test_an_email_address_that_is_none(raw, address):
    answer = raw.post("/v1/customers", {"email": address})
    bad(answer, 400, code="email_invalid", param="email", message=f"Invalid email address: {address}")


def test_a_boolean_that_is_none(raw):
    answer = raw.get("/v1/events", {"delivery_success": "maybe"})
    bad(answer, 400, code=None, param="delivery_success", message="Invalid boolean: maybe")


def test_an_unknown_query_parameter(raw):
    answer = raw.get("/v1/customers", {"colour": "red"})
    bad(answer, 400, code="parameter_unknown", param="colour", message="Received unknown parameter: colour")


@pytest.mark.parametrize("path, message", [
    ("/v1/customers/cus_no", "No such customer: 'cus_no'"), ("/v1/events/evt_no", "No such notification: 'evt_no'"),
])
def test_an_object_that_does_not_exist(raw, path, message):
    bad(raw.get(path), 404, code="resource_missing", message=message)


@pytest.mark.parametrize("path", [f"{SESSIONS}/fcsess_no", f"{ACCOUNTS}/fca_no"])
def test_a_connections_object_that_does_not_exist(raw, path):
    bad(raw.get(path), 404, code="resource_missing")


@pytest.mark.parametrize("spoiled", [" {}", "{} ", "'{}'", '"{}"'])
def test_an_id_with_something_around_it_is_explained(raw, holder, spoiled):
    given = spoiled.format(holder)
    error = bad(raw.post(SESSIONS, session_form(given)), 400, code="resource_missing",
                param="account_holder[customer]")
    assert error["message"].startswith(f"No such customer: '{given}'")
    assert error["message"].endswith(". Make sure you use the exact id without extra whitespace or quotes")


def test_accounts_of_an_unknown_holder_or_session(raw):
    bad(raw.get(ACCOUNTS, {"session": "fcsess_no"}), 400, code="resource_missing", param="session")
    answer = raw.get(ACCOUNTS, {"account_holder[customer]": "cus_no"})
    bad(answer, 400, code="resource_missing", param="account_holder[customer]")


@pytest.mark.parametrize("filters", [
    {"session": "S", "account_holder[customer]": "C"},
    {"account_holder[account]": "A", "account_holder[customer]": "C"},
    {"session": "S", "account_holder[account]": "A"},
])
def test_the_filters_of_accounts_exclude_each_other(raw, linked, holder, filters):
    real = {"S": linked["id"], "C": holder, "A": good(raw.get("/v1/account"))["id"]}
    bad(raw.get(ACCOUNTS, {name: real[value] for name, value in filters.items()}), 400)


# Bodies and headers


def keys_out_of_order(node, path="$"):
    """Paths of objects whose keys are not id, object, then alphabetical."""
    if isinstance(node, list):
        return [found for i, item in enumerate(node) for found in keys_out_of_order(item, f"{path}[{i}]")]
    if not isinstance(node, dict):
        return []
    first = [key for key in ("id", "object") if key in node]
    wanted = first + sorted(set(node) - set(first))
    here = [] if list(node) == wanted else [path]
    return here + [found for key, value in node.items() for found in keys_out_of_order(value, f"{path}.{key}")]


@pytest.fixture(params=[
    "customer", "session", "account", "accounts", "event", "events", "platform", "error",
])
def any_answer(request, raw, holder, linked):
    event = ids(good(raw.get("/v1/events", {"limit": 1})))[0]
    paths = {
        "customer": f"/v1/customers/{holder}", "session": f"{SESSIONS}/{linked['id']}",
        "account": f"{ACCOUNTS}/{linked['accounts']['data'][0]['id']}", "accounts": ACCOUNTS,
        "event": f"/v1/events/{event}", "events": "/v1/events", "platform": "/v1/account", "error": "/v1/customers/x",
    }
    return raw.get(paths[request.param])


def test_json_is_ordered_pretty_and_ends_with_a_newline(any_answer):
    assert keys_out_of_order(any_answer.json()) == []
    pretty = json.dumps(any_answer.json(), indent=2, ensure_ascii=False) + "\n"
    assert any_answer.content.decode() == pretty
    assert any_answer.headers["Content-Type"].startswith("application/json")


def test_every_answer_has_a_request_id_of_its_own(raw, any_answer):
    other = raw.get("/v1/account").headers["Request-Id"]
    assert re.fullmatch(r"req_[A-Za-z0-9]{14}", any_answer.headers["Request-Id"])
    assert other != any_answer.headers["Request-Id"]


def test_answers_are_not_cached(any_answer):
    assert "no-store" in any_answer.headers["Cache-Control"]


def test_text_is_written_as_utf8(raw):
    name = "Zoë 東京 \U0001f3e6 \"quoted\" \\ / \u2028 \t"
    customer = good(raw.post("/v1/customers", {"name": name}))
    assert customer["name"] == name
    assert "東京" in raw.get(f"/v1/customers/{customer['id']}").content.decode()


# Versions


def test_the_default_version(raw):
    assert raw.get("/v1/account").headers["Stripe-Version"] == DEFAULT_VERSION


@pytest.mark.parametrize("version", ["2020-08-27", "2024-06-20", "2025-09-30.clover", BEFORE, ENDIVE, NEWEST])
def test_a_version_is_echoed(server, version):
    assert server.api(version=version).get("/v1/account").headers["Stripe-Version"] == version


@pytest.mark.parametrize("version", ["2019-13-99", "yesterday", "2026-09-30.parsley", "9999-01-01"])
def test_an_unknown_version(server, version):
    answer = server.api(version=version).get("/v1/account")
    bad(answer, 400, message=f"Invalid Stripe API version: {version}")


def test_the_version_syntax_of_the_betas(server):
    version = "2020-08-27; financial_connections_client_api_beta=v1"
    good(server.api(version=version).get("/v1/account"))


FILTER_SHAPES = [
    ("2024-06-20", {"countries": ["US"]}), (BEFORE, {"countries": ["US"]}),
    (DEFAULT_VERSION, {"countries": ["US"], "country": "US"}), (None, {"countries": ["US"], "country": "US"}),
    (ENDIVE, {"country": "US"}), (NEWEST, {"country": "US"}),
]


def countries_of(session):
    return {key: value for key, value in session["filters"].items() if key in ("countries", "country")}


@pytest.mark.parametrize("version, shape", FILTER_SHAPES)
def test_filters_have_the_shape_of_the_version(server, holder, version, shape):
    api = server.api(version=version)
    name = "filters[country]" if "countries" not in shape else "filters[countries][]"
    session = good(api.post(SESSIONS, session_form(holder, **{name: "US"})))
    assert countries_of(session) == shape
    assert countries_of(good(api.get(f"{SESSIONS}/{session['id']}"))) == shape


@pytest.mark.parametrize("version, shape", FILTER_SHAPES)
def test_one_session_is_shown_in_every_version(server, raw, holder, version, shape):
    session = good(raw.post(SESSIONS, session_form(holder, **{"filters[countries][]": "US"})))
    assert countries_of(good(server.api(version=version).get(f"{SESSIONS}/{session['id']}"))) == shape


@pytest.mark.parametrize("version, name, value", [
    (BEFORE, "filters[country]", "US"), (DEFAULT_VERSION, "filters[country]", "US"),
    (ENDIVE, "filters[countries][]", "US"), (NEWEST, "filters[countries][0]", "US"),
])
def test_the_filter_of_another_version_is_unknown(server, holder, version, name, value):
    answer = server.api(version=version).post(SESSIONS, session_form(holder, **{name: value}))
    error = bad(answer, 400, code="parameter_unknown")
    assert error["param"] == name.split("][")[0].rstrip("]") + "]"


def test_an_array_is_no_country(server, holder):
    answer = server.api(version=ENDIVE).post(SESSIONS, session_form(holder, **{"filters[country][]": "US"}))
    assert refused(answer)["param"] == "filters[country]"


# Expansion

NO_SUCH = "This property cannot be expanded because it doesn't exist: {}."
NOT_EXPANDABLE = "This property cannot be expanded ({})."


@pytest.mark.parametrize("path, message", [
    ("nothing", NO_SUCH), ("account_holder.nothing", NO_SUCH), ("client_secret", NOT_EXPANDABLE),
    ("permissions", NOT_EXPANDABLE), ("accounts.data.display_name", NOT_EXPANDABLE),
])
def test_what_cannot_be_expanded(raw, linked, path, message):
    answer = raw.get(f"{SESSIONS}/{linked['id']}", {"expand[]": path})
    error = bad(answer, 400, code=None)
    assert error["message"].rstrip(".") == message.format(path).rstrip(".")


def test_expansion_ends_at_four_levels(raw, linked):
    path = "accounts.data.account_holder.customer.name"
    message = f"You cannot expand more than 4 levels of a property. Property: {path}"
    answer = raw.get(f"{SESSIONS}/{linked['id']}", {"expand[]": path})
    bad(answer, 400, code="property_expansion_max_depth", message=message)


def test_expansion_in_a_list_needs_the_prefix(raw, holder):
    query = {"account_holder[customer]": holder}
    listing = good(raw.get(ACCOUNTS, {**query, "expand[]": "data.account_holder.customer"}))
    assert {item["account_holder"]["customer"]["id"] for item in listing["data"]} == {holder}
    error = bad(raw.get(ACCOUNTS, {**query, "expand[]": "account_holder.customer"}), 400, code=None)
    assert error["message"].startswith("This property cannot be expanded")


def test_expansion_works_on_a_post(raw, holder):
    form = session_form(holder, **{"expand[0]": "account_holder.customer"})
    assert good(raw.post(SESSIONS, form))["account_holder"]["customer"]["email"] == "holder@example.com"


def test_expanding_does_not_change_what_is_stored(raw, linked, holder):
    path = f"{SESSIONS}/{linked['id']}"
    good(raw.get(path, {"expand[]": "account_holder.customer"}))
    assert good(raw.get(path))["account_holder"]["customer"] == holder


def test_a_bad_expansion_on_a_post_changes_nothing(raw):
    email = f"{unique()}@example.com"
    bad(raw.post("/v1/customers", {"email": email, "expand[]": "nothing"}), 400)
    assert good(raw.get("/v1/customers", {"email": email}))["data"] == []


# Lists


@pytest.fixture(scope="module")
def five(server):
    """Five customers with one address, oldest first."""
    api, email = server.api(), f"{unique('five')}@example.com"
    return email, [api.customer(email=email, name=str(n))["id"] for n in range(5)]


def test_a_list_is_newest_first(raw, five):
    email, made = five
    listing = good(raw.get("/v1/customers", {"email": email}))
    assert ids(listing) == made[::-1]
    assert (listing["object"], listing["has_more"], listing["url"]) == ("list", False, "/v1/customers")


def test_pages_forward_and_backward(raw, five):
    email, made = five
    newest = made[::-1]

    def page(**query):
        listing = good(raw.get("/v1/customers", {"email": email, "limit": 2, **query}))
        return ids(listing), listing["has_more"]

    assert page() == (newest[:2], True)
    assert page(starting_after=newest[1]) == (newest[2:4], True)
    assert page(starting_after=newest[3]) == (newest[4:], False)
    assert page(ending_before=newest[4]) == (newest[2:4], True)
    assert page(ending_before=newest[2]) == (newest[:2], False)
    assert page(starting_after=newest[4]) == ([], False)


def test_the_default_page_has_ten(raw):
    email = f"{unique()}@example.com"
    for _ in range(11):
        raw.customer(email=email)
    listing = good(raw.get("/v1/customers", {"email": email}))
    assert (len(listing["data"]), listing["has_more"]) == (10, True)


def test_both_cursors_are_refused(raw, five):
    message = "Received both starting_after and ending_before parameters. Please pass in only one."
    answer = raw.get("/v1/customers", {"starting_after": five[1][0], "ending_before": five[1][1]})
    bad(answer, 400, message=message)


@pytest.mark.parametrize("path", ["/v1/customers", ACCOUNTS, "/v1/events"])
@pytest.mark.parametrize("cursor", ["starting_after", "ending_before"])
def test_an_unknown_cursor(raw, path, cursor):
    bad(raw.get(path, {cursor: "cus_no"}), 400, code="resource_missing", param=cursor)


def test_a_limit_that_is_no_number(raw):
    answer = raw.get("/v1/customers", {"limit": "many"})
    bad(answer, 400, code="parameter_invalid_integer", param="limit", message="Invalid integer: many")


@pytest.mark.parametrize("limit", ["0", "101", "-1", "99999999999999999999"])
def test_a_limit_out_of_range_is_clamped_or_refused(raw, five, limit):
    answer = raw.get("/v1/customers", {"limit": limit, "email": five[0]})
    if answer.status_code == 200:
        assert 1 <= len(answer.json()["data"]) <= 100
    else:
        bad(answer, 400, param="limit")


def test_total_count_cannot_be_included(raw):
    error = bad(raw.get("/v1/customers", {"include[]": "total_count"}), 400)
    assert "total_count" in error["message"] or error["param"].startswith("include")


def test_the_list_inside_a_session_counts_itself(raw, linked):
    accounts = linked["accounts"]
    assert accounts["object"] == "list"
    assert accounts["total_count"] == len(accounts["data"])
    assert accounts["has_more"] is False
    found = ids(good(raw.get(accounts["url"], {"limit": 100})))
    assert set(ids(accounts)) <= set(found)


def test_customers_are_filtered_by_creation(raw):
    customer = raw.customer(email=f"{unique()}@example.com")
    email, created = customer["email"], customer["created"]
    query = {"email": email, "created[gte]": created}
    assert ids(good(raw.get("/v1/customers", query))) == [customer["id"]]
    assert ids(good(raw.get("/v1/customers", {"email": email, "created[gt]": created}))) == []
    assert ids(good(raw.get("/v1/customers", {"email": email, "created": created}))) == [customer["id"]]
    assert ids(good(raw.get("/v1/customers", {"email": email, "created[lt]": created}))) == []


def test_an_email_filter_is_exact(raw):
    email = f"{unique()}@example.com"
    raw.customer(email=email)
    assert good(raw.get("/v1/customers", {"email": email.upper()}))["data"] == []
    assert good(raw.get("/v1/customers", {"email": email[1:]}))["data"] == []


def test_events_are_filtered_by_type_and_wildcard(raw, linked):
    for name, prefix in [("customer.created", "customer.created"), ("customer.*", "customer."),
                         ("financial_connections.*", "financial_connections.")]:
        events = good(raw.get("/v1/events", {"type": name}))["data"]
        assert events and all(event["type"].startswith(prefix) for event in events)


# Metadata and customers


def test_metadata_is_merged_and_unset(raw):
    path = f"/v1/customers/{raw.customer(**{'metadata[a]': '1', 'metadata[b]': '2'})['id']}"
    assert good(raw.post(path, {"metadata[c]": "3"}))["metadata"] == {"a": "1", "b": "2", "c": "3"}
    assert good(raw.post(path, {"metadata[a]": ""}))["metadata"] == {"b": "2", "c": "3"}
    assert good(raw.post(path, {"name": "x"}))["metadata"] == {"b": "2", "c": "3"}
    assert good(raw.post(path, {"metadata": ""}))["metadata"] == {}


def test_limits_of_metadata(raw):
    fits = {**{f"metadata[{'k' * 38}{n:02}]": "v" * 500 for n in range(50)}}
    assert len(raw.customer(**fits)["metadata"]) == 50
    key, value = "k" * 41, "v" * 501
    message = ("Metadata keys can have up to 40 characters, but you passed in a key that is 41 characters. "
               f"Invalid key: {key}")
    bad(raw.post("/v1/customers", {f"metadata[{key}]": "v"}), 400, message=message)
    message = ("Metadata values can have up to 500 characters, but you passed in a value that is 501 characters. "
               f"Invalid value: {value}")
    bad(raw.post("/v1/customers", {"metadata[k]": value}), 400, message=message)
    too_many = {f"metadata[{n}]": "v" for n in range(51)}
    bad(raw.post("/v1/customers", too_many), 400, message="Metadata can have up to 50 keys, but you've set 51.")


def test_metadata_cannot_grow_beyond_50_by_updates(raw):
    customer = raw.customer(**{f"metadata[{n}]": "v" for n in range(50)})
    bad(raw.post(f"/v1/customers/{customer['id']}", {"metadata[one more]": "v"}), 400)
    assert len(good(raw.get(f"/v1/customers/{customer['id']}"))["metadata"]) == 50


def test_connections_objects_have_no_metadata(raw, holder, linked):
    answer = raw.post(SESSIONS, session_form(holder, **{"metadata[a]": "1"}))
    bad(answer, 400, code="parameter_unknown")
    assert "metadata" not in linked
    assert "metadata" not in linked["accounts"]["data"][0]


def test_a_new_customer_has_every_field(raw):
    customer = raw.customer()
    assert re.fullmatch(r"cus_[A-Za-z0-9]{14}", customer["id"])
    wanted = {
        "object": "customer", "address": None, "balance": 0, "currency": None, "default_source": None,
        "delinquent": False, "description": None, "discount": None, "email": None, "livemode": False, "metadata": {},
        "name": None, "next_invoice_sequence": 1, "phone": None, "preferred_locales": [], "shipping": None,
        "tax_exempt": "none", "test_clock": None,
        "invoice_settings": {"custom_fields": None, "default_payment_method": None, "footer": None,
                             "rendering_options": None},
    }
    assert {name: customer[name] for name in wanted} == wanted


def test_an_empty_value_unsets_an_optional_field(raw):
    customer = raw.customer(name="Jo", email="jo@example.com")
    changed = good(raw.post(f"/v1/customers/{customer['id']}", {"name": ""}))
    assert (changed["name"], changed["email"]) == (None, "jo@example.com")


def test_a_deleted_customer_is_a_stub(raw):
    customer = raw.customer(email=f"{unique()}@example.com")
    path, stub = f"/v1/customers/{customer['id']}", {"id": customer["id"], "object": "customer", "deleted": True}
    assert good(raw.delete(path)) == stub
    assert good(raw.get(path)) == stub
    assert good(raw.get("/v1/customers", {"email": customer["email"]}))["data"] == []
    answer = raw.post(path, {"name": "x"})
    bad(answer, 404, code="resource_missing", message=f"No such customer: '{customer['id']}'")


def test_a_deleted_customer_keeps_its_accounts_and_gets_no_session(raw):
    customer = raw.customer()["id"]
    account = raw.linked(customer)["accounts"]["data"][0]["id"]
    good(raw.delete(f"/v1/customers/{customer}"))
    assert good(raw.get(f"{ACCOUNTS}/{account}"))["account_holder"]["customer"] == customer
    answer = raw.post(SESSIONS, session_form(customer))
    bad(answer, 400, code="resource_missing", param="account_holder[customer]")


def test_ids_have_the_published_shapes(linked):
    assert re.fullmatch(r"fcsess_1[A-Za-z0-9]{23}", linked["id"])
    assert re.fullmatch(r"fcsess_client_secret_[A-Za-z0-9]{36}", linked["client_secret"])
    assert linked["id"].removeprefix("fcsess_") not in linked["client_secret"]
    for account in linked["accounts"]["data"]:
        assert re.fullmatch(r"fca_1[A-Za-z0-9]{23}", account["id"])


def test_a_session_has_no_fields_that_are_not_public(linked):
    for name in ("created", "metadata", "payment_account", "status", "status_details"):
        assert name not in linked


def test_a_fresh_account_knows_nothing_that_needs_a_refresh(raw, holder):
    account = raw.linked(raw.customer()["id"], institution=TEST)["accounts"]["data"][0]
    for name in ("balance", "balance_refresh", "ownership", "ownership_refresh", "transaction_refresh"):
        assert name in account and account[name] is None
    assert account["subscriptions"] == []


# CORS

CLIENT_ROUTES = [
    ("POST", "/v1/financial_connections/sessions/synchronize"), ("GET", "/v1/link_account_sessions/session_receipt"),
    ("GET", "/v1/connections/featured_institutions"), ("POST", "/v1/link_account_sessions/complete"),
    ("POST", "/v1/connections/auth_sessions"),
]
SECRET_ROUTES = [("GET", "/v1/customers"), ("POST", SESSIONS), ("GET", ACCOUNTS), ("GET", "/v1/events")]
PAGE = {"Origin": "https://shop.example"}


def preflight(server, method, path):
    asked = {**PAGE, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": "authorization"}
    return requests.options(f"{server.url}{path}", headers=asked, timeout=30)


@pytest.mark.parametrize("method, path", CLIENT_ROUTES)
def test_a_page_may_call_the_client_routes(server, method, path):
    answer = preflight(server, method, path)
    assert answer.status_code in (200, 204)
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert method in answer.headers["Access-Control-Allow-Methods"]
    assert "authorization" in answer.headers["Access-Control-Allow-Headers"].lower()
    assert "Access-Control-Allow-Credentials" not in answer.headers


def test_a_page_may_read_the_answer_even_if_it_is_an_error(server, raw):
    flow = Flow(server.url, raw.session())
    flow.http.headers.update(PAGE)
    answer = flow.post("financial_connections/sessions/synchronize")
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, "*")
    flow.secret = {"client_secret": "fcsess_client_secret_wrong"}
    answer = flow.post("financial_connections/sessions/synchronize")
    assert answer.status_code >= 400
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize("method, path", SECRET_ROUTES)
def test_no_page_may_call_a_secret_route(server, raw, method, path):
    assert "Access-Control-Allow-Origin" not in preflight(server, method, path).headers
    answer = raw.request(method, path, headers=PAGE)
    assert "Access-Control-Allow-Origin" not in answer.headers


# Limits and broken input


def deep(levels):
    return "a" + "[b]" * levels + "=1"


BROKEN = {
    "large body": b"description=" + b"x" * (8 * 1024 * 1024),
    "very deep": deep(3000).encode(),
    "deep": deep(40).encode(),
    "many parameters": b"&".join(b"metadata[%d]=1" % n for n in range(20000)),
    "large index": b"permissions[99999999999]=balances",
    "negative index": b"permissions[-1]=balances",
    "unclosed bracket": b"metadata[a=1",
    "only brackets": b"[]=1&[a]=2&]=3",
    "bad percent": b"name=%zz",
    "cut percent": b"name=%4",
    "not UTF-8": b"name=%ff%fe",
    "raw bytes": b"\x00\xff\xfe=\x80",
    "scalar and map": b"metadata=a&metadata[b]=c",
    "map and array": b"metadata[]=a&metadata[b]=c",
    "long name": b"k" * 100000 + b"=1",
}


@pytest.mark.parametrize("path", ["/v1/customers", SESSIONS])
@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN.keys())
def test_broken_input_is_refused_or_taken_but_never_fails(server, path, body):
    answer = server.api().post(path, body)
    if answer.status_code == 200:
        assert path == "/v1/customers" and answer.json()["object"] == "customer"
    else:
        assert answer.status_code in (400, 413)
        bad(answer, answer.status_code)


@pytest.mark.parametrize("name", ["large body", "very deep", "many parameters"])
def test_input_beyond_the_limits_is_refused(server, name):
    answer = server.api().post("/v1/customers", BROKEN[name])
    assert answer.status_code in (400, 413)
    bad(answer, answer.status_code)


def test_a_nul_in_text_does_not_cut_it(raw):
    answer = raw.post("/v1/customers", b"name=a%00b")
    if answer.status_code == 200:
        assert answer.json()["name"] == "a\0b"
    else:
        bad(answer, 400)


def test_the_connection_survives_a_refused_request(raw):
    bad(raw.post("/v1/customers", {"email": "no"}), 400)
    good(raw.get("/v1/account"))


# Health


def test_health(server):
    assert requests.get(f"{server.url}/health/live", timeout=30).status_code == 200
    assert requests.get(f"{server.url}/health/ready", timeout=30).status_code == 200
