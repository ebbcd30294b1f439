"""The same day with an official SDK of 2024, which runs in an environment of its own."""

import json
import os
import pathlib
import subprocess

import pytest

from support import SECRET_KEY, TEST

SCRIPT = pathlib.Path(__file__).with_name("old_sdk_smoke.py")


@pytest.fixture(scope="module")
def seen(server):
    python = os.environ.get("LINKSPAN_STRIPE_2024_PYTHON")
    assert python, "LINKSPAN_STRIPE_2024_PYTHON must name the Python that has the SDK of requirements-2024.txt"
    command = [python, str(SCRIPT), server.url, SECRET_KEY, TEST]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_it_is_an_sdk_of_2024(seen):
    assert int(seen["version"].split(".")[0]) in range(8, 12)


def test_it_reads_the_linked_accounts_and_their_holder(seen):
    assert len(seen["accounts"]) >= 2
    assert seen["expanded"] == "old@example.com"
    assert set(seen["expanded_inside"]) == {"old@example.com"}


def test_it_sees_the_filters_of_its_own_version(seen):
    assert seen["filters"]["countries"] == ["US"]
    assert "country" not in seen["filters"]


def test_it_lists_and_pages(seen):
    assert sorted(seen["by_session"]) == sorted(seen["accounts"])
    assert sorted(seen["by_customer"]) == sorted(seen["accounts"])


def test_it_disconnects_and_finds_the_event(seen):
    assert seen["disconnected"] == "disconnected"
    assert seen["event_found"] is True


def test_it_raises_the_classes_it_should(seen):
    assert seen["refusal"]["class"] == "InvalidRequestError"
    assert seen["authentication"]["class"] == "AuthenticationError"
