"""The client routes, as the mobile SDKs call them: what their decoders need, every institution, every refusal."""

import json
import re
import time
import urllib.parse

import pytest

from support import (
    ALL_PERMISSIONS, BANK, DOWN_ERROR, DOWN_SCHEDULED, DOWN_UNSCHEDULED, FEATURED_AND_FOUND, INACTIVE, INVALID_PAYMENT,
    OWNERSHIP, REAUTHENTICATE_LATER, REAUTHENTICATE_SOON, SECRET_KEY, TEST, TOKENIZED, Flow, good, ids, refused,
)

SYNCHRONIZE = "financial_connections/sessions/synchronize"
MANIFEST_FIELDS = {
    "id": str, "product": str, "livemode": bool, "next_pane": str, "permissions": list, "single_account": bool,
    "allow_manual_entry": bool, "manual_entry_mode": str, "manual_entry_uses_microdeposits": bool,
    "custom_manual_entry_handling": bool, "consent_required": bool, "disable_link_more_accounts": bool,
    "instant_verification_disabled": bool, "institution_search_disabled": bool, "app_verification_enabled": bool,
    "mobile_handoff_enabled": bool, "use_single_sort_search": bool, "hosted_auth_url": str, "success_url": str,
    "cancel_url": str, "accounts_linked": int,
}
VISUAL_FIELDS = {"reduced_branding": bool, "merchant_logo": list, "reduce_manual_entry_prominence_in_errors": bool}
MANUAL = {"manual_entry[mode]": "automatic"}


def lacking(thing, fields):
    """The fields that are missing or of another type, as a decoder would trip over them."""
    return {name: thing.get(name, "missing") for name, kind in fields.items() if type(thing.get(name)) is not kind}


def events_to_emit(error):
    """The codes of the events that a client is told to emit; they come as JSON inside a string."""
    emitted = json.loads(error["extra_fields"]["events_to_emit"])
    return [event["error"]["error_code"] for event in emitted if event["type"] == "error"]


def token_of(manifest):
    return urllib.parse.parse_qs(urllib.parse.urlsplit(manifest["hosted_auth_url"]).query)["t"][0]


# synchronize and consent

SDK_CALLS = {
    "iOS": {"expand[]": "manifest.active_auth_session", "locale": "en-US", "mobile[fullscreen]": "true",
            "mobile[hide_close_button]": "true", "mobile[forced_authflow_version]": "v3",
            "mobile[app_return_url]": "app://back", "mobile[supports_app_verification]": "true",
            "mobile[verified_app_id]": "com.example.app"},
    "iOS Lite": {"mobile[fullscreen]": "true", "mobile[mobile_sdk_type]": "FC_LITE",
                 "mobile[use_secure_webview_if_necessary]": "true"},
    "Android": {"emit_events": "true", "locale": "de", "mobile[fullscreen]": "true",
                "mobile[hide_close_button]": "false", "mobile[application_id]": "com.example.app"},
    "our page": {"locale": "en"},
}


@pytest.mark.parametrize("call", SDK_CALLS.values(), ids=SDK_CALLS.keys())
def test_synchronize_satisfies_every_decoder(open_flow, call):
    session, flow = open_flow(consent=False)
    answer = flow.synchronize(**call)
    manifest = answer["manifest"]
    assert lacking(manifest, MANIFEST_FIELDS) == {}
    assert lacking(answer["visual"], VISUAL_FIELDS) == {}
    assert "text" in answer
    assert (manifest["id"], manifest["next_pane"]) == (session["id"], "consent")
    assert manifest["permissions"] == ALL_PERMISSIONS
    assert "consent_acquired_at" in manifest and manifest["consent_acquired_at"] is None


def test_features_are_booleans_and_experiments_are_strings(open_flow):
    manifest = open_flow(consent=False)[1].synchronize()["manifest"]
    assert {type(value) for value in manifest["features"].values()} == {bool}
    assert {type(value) for value in manifest["experiment_assignments"].values()} <= {str}
    assert manifest["features"]["bank_connections_mobile_native_version_killswitch"] is True


def test_the_hosted_url_can_be_appended_to_and_holds_no_client_secret(open_flow):
    session, flow = open_flow(consent=False)
    url = flow.synchronize()["manifest"]["hosted_auth_url"]
    assert "?" in url
    assert session["client_secret"] not in url
    assert "client_secret" not in url


def test_an_android_app_is_returned_to_by_its_own_links(open_flow):
    manifest = open_flow(consent=False)[1].synchronize(**SDK_CALLS["Android"])["manifest"]
    assert manifest["success_url"] == "stripe-auth://link-accounts/com.example.app/success"
    assert manifest["cancel_url"] == "stripe-auth://link-accounts/com.example.app/cancel"


def test_the_consent_text_has_every_required_part(open_flow):
    pane = open_flow(consent=False)[1].synchronize()["text"]["consent_pane"]
    assert all(isinstance(pane[name], str) and pane[name] for name in ("title", "above_cta", "cta"))
    assert all(bullet["content"] for bullet in pane["body"]["bullets"])
    assert pane["legal_details_notice"]["title"] and pane["legal_details_notice"]["cta"]
    assert all(link["title"] for link in pane["legal_details_notice"]["body"]["links"])
    assert all(bullet["title"] for bullet in pane["data_access_notice"]["body"]["bullets"])


def test_consent_is_remembered(open_flow):
    flow = open_flow(consent=False)[1]
    manifest = flow.consent()
    assert lacking(manifest, MANIFEST_FIELDS) == {}
    assert manifest["next_pane"] == "institution_picker"
    assert isinstance(manifest["consent_acquired_at"], str)
    assert flow.synchronize()["manifest"]["next_pane"] == "institution_picker"
    assert flow.consent()["consent_acquired_at"] == manifest["consent_acquired_at"]


def test_a_mobile_version_header_is_taken(open_flow):
    flow = open_flow(consent=False)[1]
    flow.http.headers["Stripe-Version"] = "2020-08-27; financial_connections_client_api_beta=v1"
    assert flow.synchronize()["manifest"]["next_pane"] == "consent"


# Institutions


def test_featured_institutions_satisfy_the_decoders(open_flow):
    listing = good(open_flow()[1].get("connections/featured_institutions", limit=20))
    assert isinstance(listing["show_manual_entry"], bool)
    assert TEST in [bank["name"] for bank in listing["data"]]
    for bank in listing["data"]:
        assert lacking(bank, {"id": str, "name": str, "featured": bool, "mobile_handoff_capable": bool}) == {}
        assert bank["featured"] is True
        assert re.fullmatch(r"fcinst_[A-Za-z0-9]{14}", bank["id"])


@pytest.mark.parametrize("name", FEATURED_AND_FOUND)
def test_every_test_institution_is_found_by_its_name(open_flow, name):
    flow = open_flow()[1]
    assert name in [bank["name"] for bank in flow.search(name)]
    assert name in [bank["name"] for bank in flow.search(name.lower())]


def test_a_search_narrows_and_can_find_nothing(open_flow):
    flow = open_flow()[1]
    down = [bank["name"] for bank in flow.search("down")]
    assert {DOWN_SCHEDULED, DOWN_UNSCHEDULED, DOWN_ERROR} <= set(down)
    assert TEST not in down
    assert flow.search("no bank has this name") == []


@pytest.mark.parametrize("query", ["%", "_", "'", "\\", "*", "(", "é" * 50])
def test_a_search_takes_any_text(open_flow, query):
    found = good(open_flow()[1].get("connections/institutions", query=query))
    assert all(query.lower() in json.dumps(bank).lower() for bank in found["data"])


def test_the_country_of_the_session_limits_the_institutions(open_flow):
    flow = open_flow(**{"filters[countries][]": "US"})[1]
    assert TEST in [bank["name"] for bank in flow.search("test")]


def test_a_strange_institution_is_refused(open_flow):
    flow = open_flow()[1]
    refused(flow.post("connections/auth_sessions", institution="fcinst_doesnotexist0"))
    refused(flow.post("connections/auth_sessions"))


# Signing in


def test_test_goes_straight_to_the_accounts(open_flow):
    auth = good(open_flow()[1].start(TEST))
    assert auth["id"].startswith("bcsess_")
    assert (auth["next_pane"], auth["is_oauth"], auth["prompt"]) == ("account_picker", False, None)
    assert auth["flow"].startswith("testmode")


def test_bank_asks_for_a_user_and_a_password(open_flow):
    flow = open_flow()[1]
    auth = good(flow.start(BANK))
    assert auth["next_pane"] == "partner_auth"
    assert auth["prompt"]["title"] and auth["prompt"]["submit_label"] and auth["prompt"]["error"] is None
    assert sorted(field["kind"] for field in auth["prompt"]["fields"]) == ["password", "text"]
    assert all(field["label"] for field in auth["prompt"]["fields"])
    assert good(flow.respond(auth))["next_pane"] == "account_picker"


@pytest.mark.parametrize("word", ["options", "mfa", "confirm_mfa", "security_question"])
def test_a_special_password_leads_to_a_further_step(open_flow, word):
    flow = open_flow()[1]
    auth = good(flow.start(BANK))
    step = good(flow.respond(auth, password=word))
    assert step["next_pane"] == "partner_auth"
    assert step["prompt"] != auth["prompt"]
    assert ("choice" in [field["kind"] for field in step["prompt"]["fields"]]) == (word in ("options", "confirm_mfa"))
    for _ in range(5):
        if step["next_pane"] == "account_picker":
            break
        step = good(flow.respond(step))
    assert flow.accounts(step)


def test_the_password_error_ends_the_sign_in(open_flow):
    flow = open_flow()[1]
    error = refused(flow.respond(good(flow.start(BANK)), password="error"))
    assert error["extra_fields"]["reason"] == "authorization_failed"


@pytest.mark.parametrize("first", [None, "mfa", "security_question"])
def test_the_word_incorrect_allows_a_retry(open_flow, first):
    flow = open_flow()[1]
    auth = good(flow.start(BANK))
    if first:
        auth = good(flow.respond(auth, password=first))
    again = good(flow.respond(auth, password="incorrect", text="incorrect"))
    assert again["next_pane"] == "partner_auth"
    assert again["prompt"]["error"]
    assert [f["name"] for f in again["prompt"]["fields"]] == [f["name"] for f in auth["prompt"]["fields"]]
    assert good(flow.respond(again))["next_pane"] == "account_picker"


def test_a_later_step_takes_special_words_too(open_flow):
    flow = open_flow()[1]
    step = good(flow.respond(good(flow.start(BANK)), password="mfa"))
    error = refused(flow.respond(step, password="error", text="error"))
    assert error["extra_fields"]["reason"] == "authorization_failed"


def test_accounts_are_not_shown_before_the_sign_in(open_flow):
    flow = open_flow()[1]
    auth = good(flow.start(BANK))
    answer = flow.post("connections/auth_sessions/accounts", id=auth["id"])
    assert answer.status_code == 202 or 400 <= answer.status_code < 500
    assert "error" in answer.json()


def test_an_auth_session_is_retrieved_and_cancelled(open_flow):
    flow = open_flow()[1]
    auth = good(flow.start(BANK))
    assert good(flow.post("connections/auth_sessions/retrieve", id=auth["id"], emit_events="true")) == auth
    cancelled = good(flow.post("connections/auth_sessions/cancel", id=auth["id"]))
    assert cancelled["next_pane"] == "institution_picker"
    refused(flow.respond(auth))


def test_events_of_the_page_are_taken(open_flow):
    flow = open_flow()[1]
    auth = good(flow.start(TEST))
    sent = {"id": auth["id"], "client_timestamp": "1700000000", "frontend_events[0][event_type]": "loaded"}
    good(flow.post("connections/auth_sessions/events", sent))


def test_a_bank_that_is_down_as_planned_says_until_when(open_flow):
    extra = refused(open_flow()[1].start(DOWN_SCHEDULED))["extra_fields"]
    assert extra["institution_unavailable"] is True
    assert type(extra["expected_to_be_available_at"]) is int
    assert extra["expected_to_be_available_at"] > time.time()


def test_a_bank_that_is_down_unplanned_does_not(open_flow):
    extra = refused(open_flow()[1].start(DOWN_UNSCHEDULED))["extra_fields"]
    assert extra["institution_unavailable"] is True
    assert "expected_to_be_available_at" not in extra


def test_a_bank_that_fails_is_not_reported_as_down(open_flow):
    flow = open_flow()[1]
    answer = flow.start(DOWN_ERROR)
    if answer.status_code == 200:
        answer = flow.post("connections/auth_sessions/accounts", id=answer.json()["id"])
    assert not refused(answer).get("extra_fields", {}).get("institution_unavailable")


# Accounts


def test_accounts_satisfy_the_decoders(open_flow):
    flow = open_flow()[1]
    auth = flow.sign_in()
    answer = good(flow.post("connections/auth_sessions/accounts", {"id": auth["id"], "expand[]": "data.institution"}))
    assert isinstance(answer["next_pane"], str)
    assert len(answer["data"]) >= 2
    fields = {"id": str, "name": str, "supported_payment_method_types": list, "authorization": str, "category": str,
              "subcategory": str, "allow_selection": bool}
    for account in answer["data"]:
        assert lacking(account, fields) == {}
        assert re.fullmatch(r"[0-9]{4}", account["displayable_account_numbers"] or "0000")
        assert account["linked_account_id"] is None
        assert not account["id"].startswith("fca_")


def test_test_has_payable_and_other_accounts(open_flow):
    flow = open_flow()[1]
    payable = [bool(a["supported_payment_method_types"]) for a in flow.accounts(flow.sign_in())]
    assert True in payable and False in payable


@pytest.mark.parametrize("name", [TEST, BANK, OWNERSHIP, INVALID_PAYMENT, TOKENIZED, INACTIVE, REAUTHENTICATE_SOON,
                                  REAUTHENTICATE_LATER])
def test_an_institution_is_deterministic(open_flow, raw, name):
    def shown(flow):
        kept = ("name", "displayable_account_numbers", "category", "subcategory")
        return [[account[key] for key in kept] for account in flow.accounts(flow.sign_in(name))]

    customer = raw.customer()["id"]
    first = shown(open_flow(customer)[1])
    assert first
    assert shown(open_flow(customer)[1]) == first


def test_accounts_that_cannot_be_paid_from_are_told_apart(open_flow):
    flow = open_flow()[1]
    accounts = flow.accounts(flow.sign_in(INVALID_PAYMENT))
    assert [a["supported_payment_method_types"] for a in accounts] == [[]] * len(accounts)


def test_picked_accounts_become_accounts_of_the_merchant(open_flow, raw):
    session, flow = open_flow()
    linked = flow.link(2)
    wanted = [account["linked_account_id"] for account in linked]
    assert all(re.fullmatch(r"fca_1[A-Za-z0-9]{23}", account) for account in wanted)
    read = good(raw.get(f"/v1/financial_connections/sessions/{session['id']}"))["accounts"]
    assert sorted(ids(read)) == sorted(wanted)
    assert sorted(a["display_name"] for a in read["data"]) == sorted(a["name"] for a in linked)


def test_picking_again_is_idempotent(open_flow, raw):
    session, flow = open_flow()
    auth = flow.sign_in()
    chosen = [a for a in flow.accounts(auth) if a["allow_selection"]][:2]
    first = good(flow.select(auth, chosen))
    assert first["next_pane"] == "success"
    second = good(flow.select(auth, chosen))
    assert [a["linked_account_id"] for a in second["data"]] == [a["linked_account_id"] for a in first["data"]]
    read = good(raw.get(f"/v1/financial_connections/sessions/{session['id']}"))
    assert read["accounts"]["total_count"] == 2
    created = good(raw.get("/v1/events", {"type": "financial_connections.account.created", "limit": 100}))["data"]
    named = [event["data"]["object"]["id"] for event in created]
    assert [named.count(account["linked_account_id"]) for account in first["data"]] == [1, 1]


@pytest.mark.parametrize("chosen", [[], ["nonsense"], ["fca_1aaaaaaaaaaaaaaaaaaaaaaa"]])
def test_a_strange_choice_links_nothing(open_flow, raw, chosen):
    session, flow = open_flow()
    auth = flow.sign_in()
    refused(flow.select(auth, [{"id": one} for one in chosen]))
    assert good(raw.get(f"/v1/financial_connections/sessions/{session['id']}"))["accounts"]["data"] == []


def test_a_partly_strange_choice_links_nothing(open_flow, raw):
    session, flow = open_flow()
    auth = flow.sign_in()
    refused(flow.select(auth, [flow.accounts(auth)[0], {"id": "nonsense"}]))
    assert good(raw.get(f"/v1/financial_connections/sessions/{session['id']}"))["accounts"]["data"] == []


def test_link_more_accounts_adds_to_the_first(open_flow):
    flow = open_flow()[1]
    first = flow.link(1)
    manifest = good(flow.post("link_account_sessions/link_more_accounts"))
    assert lacking(manifest, MANIFEST_FIELDS) == {}
    assert (manifest["next_pane"], manifest["accounts_linked"]) == ("institution_picker", 1)
    second = flow.link(1, OWNERSHIP)
    session = flow.finish()
    assert set(ids(session["accounts"])) == {a["linked_account_id"] for a in first + second}


def test_an_account_that_is_linked_already_says_so(open_flow):
    flow = open_flow()[1]
    linked = flow.link(1)[0]
    good(flow.post("link_account_sessions/link_more_accounts"))
    shown = {a["name"]: a["linked_account_id"] for a in flow.accounts(flow.sign_in())}
    assert shown[linked["name"]] == linked["linked_account_id"]


# Limits and filters


def test_a_limit_of_one_allows_one(open_flow, raw):
    session, flow = open_flow(**{"limits[accounts]": "1"})
    manifest = flow.synchronize()["manifest"]
    assert (manifest["single_account"], manifest["accounts_limit"]) == (True, 1)
    auth = flow.sign_in()
    eligible = [a for a in flow.accounts(auth) if a["allow_selection"]]
    refused(flow.select(auth, eligible[:2]))
    assert good(raw.get(f"/v1/financial_connections/sessions/{session['id']}"))["accounts"]["data"] == []
    assert len(good(flow.select(auth, eligible[:1]))["data"]) == 1
    assert flow.synchronize()["manifest"]["disable_link_more_accounts"] is True


def test_a_limit_counts_over_several_institutions(open_flow, raw):
    session, flow = open_flow(**{"limits[accounts]": "2"})
    flow.link(1)
    assert good(flow.post("link_account_sessions/link_more_accounts"))["single_account"] is True
    auth = flow.sign_in(OWNERSHIP)
    eligible = [a for a in flow.accounts(auth) if a["allow_selection"]]
    refused(flow.select(auth, eligible[:2]))
    good(flow.select(auth, eligible[:1]))
    read = good(raw.get(f"/v1/financial_connections/sessions/{session['id']}"))
    assert read["accounts"]["total_count"] == 2


@pytest.mark.parametrize("subcategory", ["checking", "savings", "credit_card"])
def test_a_subcategory_filter_holds(open_flow, subcategory):
    flow = open_flow(**{"filters[account_subcategories][]": subcategory})[1]
    auth = flow.sign_in()
    accounts = flow.accounts(auth)
    eligible = [a for a in accounts if a["allow_selection"]]
    assert eligible and {a["subcategory"] for a in eligible} == {subcategory}
    for other in (a for a in accounts if not a["allow_selection"]):
        assert other["allow_selection_message"]
        refused(flow.select(auth, [other]))


def test_required_payment_support_holds_for_all_accounts(open_flow):
    flow = open_flow(**{"filters[require_payment_method_support]": "all"})[1]
    eligible = [a for a in flow.accounts(flow.sign_in()) if a["allow_selection"]]
    assert eligible
    assert all("us_bank_account" in a["supported_payment_method_types"] for a in eligible)


def test_nothing_eligible_is_explained_with_a_count(open_flow):
    flow = open_flow(**{"filters[require_payment_method_support]": "all"})[1]
    auth = flow.sign_in(INVALID_PAYMENT)
    extra = refused(flow.post("connections/auth_sessions/accounts", id=auth["id"]))["extra_fields"]
    assert extra["reason"] == "no_supported_payment_method_type_accounts_found"
    assert extra["total_accounts_count"] > 0


# Completion


def test_complete_twice_gives_the_same_session(open_flow):
    session, flow = open_flow()
    flow.link(2)
    first = flow.finish()
    assert first["id"] == session["id"]
    assert flow.finish() == first
    assert flow.receipt() == first


def test_the_client_sees_what_its_decoders_need(open_flow):
    session, flow = open_flow()
    linked = flow.link(2)
    shown = flow.finish()
    assert lacking(shown, {"id": str, "client_secret": str, "livemode": bool, "accounts": dict}) == {}
    assert shown["client_secret"] == session["client_secret"]
    assert shown["accounts"]["has_more"] is False
    assert shown["payment_account"]["id"] in {a["linked_account_id"] for a in linked}
    fields = {"id": str, "object": str, "institution_name": str, "category": str, "created": int, "livemode": bool,
              "status": str, "subcategory": str, "supported_payment_method_types": list}
    assert [lacking(account, fields) for account in shown["accounts"]["data"]] == [{}, {}]


def test_the_merchant_does_not_see_the_clients_extras(open_flow, raw):
    session, flow = open_flow()
    flow.link(1)
    flow.finish()
    read = good(raw.get(f"/v1/financial_connections/sessions/{session['id']}"))
    assert not {"payment_account", "status", "status_details"} & set(read)


def test_linked_accounts_can_be_paged_by_the_client(open_flow):
    flow = open_flow()[1]
    flow.link(2)
    flow.finish()
    first = good(flow.get("link_account_sessions/list_accounts", limit=1))
    assert (len(first["data"]), first["has_more"]) == (1, True)
    rest = good(flow.get("link_account_sessions/list_accounts", starting_after=ids(first)[0]))
    assert rest["has_more"] is False
    assert set(ids(first) + ids(rest)) == set(ids(flow.receipt()["accounts"]))


def test_leaving_without_accounts_is_no_error_and_can_be_resumed(open_flow):
    flow = open_flow()[1]
    left = flow.finish()
    assert left["accounts"]["data"] == []
    assert left["status"] == "cancelled"
    flow.synchronize()
    assert len(flow.link(1)) == 1


def test_leaving_for_custom_manual_entry_is_told(open_flow):
    flow = open_flow(**MANUAL)[1]
    terminal = "user_initiated_with_custom_manual_entry"
    left = good(flow.post("link_account_sessions/complete", terminal_error=terminal))
    assert left["status_details"]["cancelled"]["reason"] == "custom_manual_entry"


def test_a_used_session_cannot_be_opened_again(open_flow):
    flow = open_flow()[1]
    flow.link(1)
    flow.finish()
    error = refused(flow.post(SYNCHRONIZE))
    assert error["code"] == "session_expired"
    assert events_to_emit(error) == ["session_expired"]


def test_a_used_session_links_no_more(open_flow, raw):
    session, flow = open_flow()
    auth = flow.sign_in()
    accounts = [a for a in flow.accounts(auth) if a["allow_selection"]]
    good(flow.select(auth, accounts[:1]))
    flow.finish()
    refused(flow.select(auth, accounts[1:2]))
    refused(flow.post("link_account_sessions/link_more_accounts"))
    read = good(raw.get(f"/v1/financial_connections/sessions/{session['id']}"))
    assert read["accounts"]["total_count"] == 1


def test_a_session_completed_by_the_test_helper_is_used(raw, open_flow):
    session, flow = open_flow(consent=False)
    raw.complete(session)
    assert refused(flow.post(SYNCHRONIZE))["code"] == "session_expired"
    assert len(flow.receipt()["accounts"]["data"]) >= 1


@pytest.fixture
def expiring(own_server):
    """A server whose sessions live for no time at all."""
    return own_server(["--session-lifetime", "0"])


def test_an_expired_session_is_refused_everywhere_and_changes_nothing(expiring):
    api = expiring.api()
    session = api.session()
    flow = Flow(expiring.url, session)
    error = refused(flow.post(SYNCHRONIZE))
    assert error["code"] == "session_expired"
    assert events_to_emit(error) == ["session_expired"]
    refused(flow.post("link_account_sessions/consent_acquired"))
    assert good(api.get(f"/v1/financial_connections/sessions/{session['id']}"))["accounts"]["data"] == []


# Manual entry


def attach(flow, routing="110000000", number="000123456789"):
    form = {"type": "bank_account", "bank_account[routing_number]": routing, "bank_account[account_number]": number}
    return flow.post("link_account_sessions/attach_payment_account", form)


def test_an_account_entered_by_hand_becomes_a_token(open_flow):
    flow = open_flow(**MANUAL)[1]
    assert flow.synchronize()["manifest"]["allow_manual_entry"] is True
    attached = good(attach(flow))
    assert attached["id"]
    assert attached["next_pane"] == "manual_entry_success"
    session = flow.finish()
    assert session["payment_account"]["last4"] == "6789"
    token = session["bank_account_token"]
    assert token["object"] == "token"
    assert (token["bank_account"]["last4"], token["bank_account"]["routing_number"]) == ("6789", "110000000")
    assert "000123456789" not in json.dumps(session)


@pytest.mark.parametrize("routing, number, param", [
    ("110000001", "000123456789", "bank_account[routing_number]"),
    ("11000000", "000123456789", "bank_account[routing_number]"),
    ("abcdefghi", "000123456789", "bank_account[routing_number]"),
    ("110000000", "", "bank_account[account_number]"),
    ("110000000", "1" * 18, "bank_account[account_number]"),
    ("110000000", "12 34", "bank_account[account_number]"),
])
def test_a_wrong_number_names_its_field(open_flow, routing, number, param):
    flow = open_flow(**MANUAL)[1]
    answer = attach(flow, routing, number)
    assert (answer.status_code, refused(answer)["param"]) == (400, param)
    assert number == "" or number not in answer.text
    assert flow.finish()["accounts"]["data"] == []


def test_manual_entry_must_be_allowed(open_flow):
    flow = open_flow(**{"manual_entry[mode]": "disabled"})[1]
    assert flow.synchronize()["manifest"]["allow_manual_entry"] is False
    assert good(flow.get("connections/featured_institutions"))["show_manual_entry"] is False
    refused(attach(flow))


# Who may call


def wrong_secrets(secret):
    return ["fcsess_client_secret_" + "A" * 24, secret[:-1], secret + "x", secret.swapcase(), "x", ""]


ROUTES = [
    ("POST", SYNCHRONIZE), ("POST", "link_account_sessions/consent_acquired"),
    ("GET", "link_account_sessions/session_receipt"), ("POST", "link_account_sessions/complete"),
    ("GET", "connections/featured_institutions"),
]


@pytest.mark.parametrize("method, path", ROUTES)
def test_every_wrong_secret_gets_the_same_answer(open_flow, method, path):
    session, flow = open_flow()
    seen = set()
    for secret in wrong_secrets(session["client_secret"])[:-1]:
        flow.secret = {"client_secret": secret}
        answer = flow.get(path) if method == "GET" else flow.post(path)
        error = refused(answer)
        assert len(secret) < 2 or secret not in answer.text
        seen.add((answer.status_code, error["type"], error.get("code"), error.get("param"), error["message"]))
    assert len(seen) == 1


@pytest.mark.parametrize("method, path", ROUTES)
@pytest.mark.parametrize("secret", [{}, {"client_secret": ""}])
def test_without_a_secret_nothing_is_answered(open_flow, method, path, secret):
    flow = open_flow()[1]
    flow.secret = secret
    refused(flow.get(path) if method == "GET" else flow.post(path))


@pytest.mark.parametrize("authorization", [None, "Bearer pk_test_unknownUnknownUnknown", "Bearer fcflow_unknown"])
def test_a_secret_alone_is_not_enough(open_flow, authorization):
    flow = open_flow()[1]
    flow.http.headers["Authorization"] = authorization
    assert flow.post(SYNCHRONIZE).status_code in (401, 403)


def test_a_flow_token_stands_for_its_session(open_flow, server):
    session, flow = open_flow(consent=False)
    token = token_of(flow.synchronize()["manifest"])
    assert token.startswith("fcflow_")
    by_token = Flow(server.url, session, token=token)
    assert by_token.synchronize()["manifest"]["id"] == session["id"]
    by_token.consent()
    by_token.link(1)
    assert by_token.finish()["id"] == session["id"]


def test_a_flow_token_opens_no_other_session_and_no_secret_route(open_flow, server):
    mine, flow = open_flow()
    other = open_flow()[0]
    by_token = Flow(server.url, mine, token=token_of(flow.synchronize()["manifest"]))
    answer = by_token.post(SYNCHRONIZE, client_secret=other["client_secret"])
    assert answer.status_code >= 400 or answer.json()["manifest"]["id"] == mine["id"]
    assert by_token.get("customers").status_code in (401, 403)
    assert by_token.get(f"financial_connections/sessions/{mine['id']}").status_code in (401, 403)


def test_an_auth_session_of_another_session_is_refused(open_flow):
    mine, others = open_flow()[1], open_flow()[1]
    auth = others.sign_in(TEST)
    account = others.accounts(auth)[0]
    for action in ("retrieve", "cancel", "accounts"):
        assert mine.post(f"connections/auth_sessions/{action}", id=auth["id"]).status_code in (400, 404)
    assert mine.select(auth, [account]).status_code in (400, 404)
    assert mine.finish()["accounts"]["data"] == []
    assert others.accounts(auth)


def test_an_account_shown_in_another_session_cannot_be_picked(open_flow):
    mine, others = open_flow()[1], open_flow()[1]
    account = others.accounts(others.sign_in())[0]
    refused(mine.select(mine.sign_in(), [account]))
    assert mine.finish()["accounts"]["data"] == []


def test_the_answers_of_the_client_routes_name_no_key(open_flow):
    flow = open_flow()[1]
    flow.link(1)
    for answer in (flow.post(SYNCHRONIZE), flow.get("link_account_sessions/session_receipt")):
        assert SECRET_KEY not in answer.text
        assert "no-store" in answer.headers["Cache-Control"]
