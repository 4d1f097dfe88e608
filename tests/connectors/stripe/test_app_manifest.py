"""The Stripe App's manifest is one that Stripe takes, and asks for what the connector uses and nothing else."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from connectors.stripe.client import API_VERSION
from connectors.stripe.permissions import PERMISSIONS
from connectors.stripe.webhooks import TOPICS

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "extensions" / "stripe"
SCHEMA = ROOT.parent / "shared" / "reference" / "stripe" / "stripe-app.schema.json"
# Documented, and not yet in the schema (docs.stripe.com/stripe-apps/reference/permissions and …/viewports).
NEWER_PERMISSIONS = ["promotion_code_read", "promotion_code_write"]
NEWER_VIEWPORTS = ["stripe.dashboard.fullpage"]


def manifest() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "stripe-app.json").read_text(encoding="utf-8"))
    return found


def asked_for() -> list[str]:
    return [str(each["permission"]) for each in manifest()["permissions"]]


@pytest.mark.skipif(not SCHEMA.exists(), reason="Stripe's schema of the manifest is not here")
def test_the_manifest_fits_stripes_schema() -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    places = schema["properties"]
    places["permissions"]["items"]["properties"]["permission"]["enum"] += NEWER_PERMISSIONS
    view = places["ui_extension"]["properties"]["views"]["items"]
    view["properties"]["viewport"]["enum"] += NEWER_VIEWPORTS
    judge = Draft7Validator(schema)
    assert [error.message for error in judge.iter_errors(manifest())] == []
    assert list(judge.iter_errors({**manifest(), "permission": []}))  # it does judge


def test_the_manifest_asks_for_what_the_connector_looks_for_and_nothing_else() -> None:
    assert sorted(asked_for()) == sorted(each.name for each in PERMISSIONS)
    assert all(len(each["purpose"]) > 20 for each in manifest()["permissions"])


def test_every_event_that_we_want_is_of_an_object_that_the_app_may_read() -> None:
    """An app gets an event only with the permission to read its object."""
    nouns = {"checkout.session": "checkout_session", "charge.dispute": "dispute", "refund": "charge"}
    for topic in TOPICS - {"account.application.deauthorized"}:
        noun = topic.rpartition(".")[0]
        noun = "checkout.session" if topic.startswith("checkout.session") else noun
        assert f"{nouns.get(noun, noun)}_read" in asked_for(), topic
    assert "event_read" in asked_for()


def test_the_operator_is_told_which_events_the_apps_endpoint_takes() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert text.split("```")[1].split() == sorted(TOPICS)
    assert API_VERSION in text


def test_the_way_back_from_stripe_is_the_page_that_waits_there() -> None:
    (address,) = manifest()["allowed_redirect_uris"]
    assert address.endswith("/install/stripe/callback")
    assert manifest()["stripe_api_access_type"] == "oauth"


def test_the_icon_is_of_the_size_that_stripe_shows() -> None:
    icon = (FOLDER / manifest()["icon"]).read_bytes()
    assert icon.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", icon[16:24]) == (300, 300)
