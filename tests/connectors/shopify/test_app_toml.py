"""shopify.app.toml can be deployed as it is, and asks for exactly what the connector reads and needs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from connectors.shopify import CONNECTOR, points
from connectors.shopify.documents import API_VERSION
from connectors.shopify.permissions import NEEDED, USEFUL, missing
from connectors.shopify.subscriptions import api_topics
from connectors.shopify.values import NEEDED as NEEDED_FOR_VALUES
from connectors.shopify.webhooks import COMPLIANCE_TOPICS

ROOT = Path(__file__).parents[3]
TOML: dict[str, Any] = tomllib.loads((ROOT / "shopify.app.toml").read_text())
SCOPES = TOML["access_scopes"]["scopes"].split(",")
OPTIONAL = TOML["access_scopes"]["optional_scopes"]
REVIEW = (ROOT / "docs/shopify-review.md").read_text()


def topics(key: str) -> list[str]:
    return [topic for entry in TOML["webhooks"]["subscriptions"] for topic in entry.get(key, [])]


def test_the_declared_topics_and_the_read_topics_are_the_same() -> None:
    declared = topics("topics") + topics("compliance_topics")
    assert len(declared) == len(set(declared))
    assert set(declared) == CONNECTOR.webhooks.topics


def test_privacy_topics_are_declared_as_such() -> None:
    assert set(topics("compliance_topics")) == COMPLIANCE_TOPICS
    assert {topic.replace("/", "_").upper() for topic in topics("topics")} == set(api_topics({}))


def test_posts_and_pages_come_to_where_we_answer_in_our_version() -> None:
    """Shopify puts a relative address behind application_url, whose path is not ours to answer posts at."""
    page = urlsplit(TOML["application_url"])
    assert (page.scheme, page.path) == ("https", "/install/shopify")
    for entry in TOML["webhooks"]["subscriptions"]:
        address = urlsplit(entry["uri"])
        assert (address.scheme, address.netloc, address.path) == ("https", page.netloc, "/webhooks/shopify")
    assert TOML["webhooks"]["api_version"] == API_VERSION


def test_the_scopes_are_what_the_connector_needs_and_nothing_more() -> None:
    assert sorted(SCOPES) == sorted(NEEDED)
    assert not missing(SCOPES, NEEDED)
    values = [scope for scopes in NEEDED_FOR_VALUES.values() for scope in scopes]
    assert sorted(OPTIONAL) == sorted([*USEFUL, *values])
    assert not set(OPTIONAL) & set(SCOPES)


def test_the_install_is_managed_by_shopify_and_embedded() -> None:
    assert TOML["embedded"] is True
    assert TOML["access_scopes"]["use_legacy_install_flow"] is False
    assert TOML["access"]["admin"]["direct_api_mode"] == "offline"
    assert TOML["auth"]["redirect_urls"]


def test_names_are_as_long_as_they_may_be() -> None:
    assert len(TOML["name"]) <= 30
    assert re.fullmatch(r"[a-z0-9-]+", TOML["handle"])
    assert re.fullmatch(r"[0-9a-f]{32}", TOML["client_id"])


def test_the_apps_own_metafields_are_defined() -> None:
    [(key, field)] = TOML["customer"]["metafields"]["app"].items()
    assert (key, field["type"]) == (points.KEY, points.TYPE), "what is declared is what is written"
    assert field["name"]
    assert field["access"]["admin"] == "merchant_read"


def test_nothing_is_declared_that_shopify_does_not_know() -> None:
    known = {"client_id", "name", "handle", "application_url", "embedded", "build", "access_scopes", "access"}
    known |= {"auth", "webhooks", "customer", "pos"}
    assert TOML.keys() <= known
    for entry in TOML["webhooks"]["subscriptions"]:
        assert entry.keys() <= {"topics", "compliance_topics", "uri", "include_fields", "filter", "name"}


@pytest.mark.parametrize("scope", [*SCOPES, *OPTIONAL])
def test_the_review_document_gives_the_reason_for_each_permission(scope: str) -> None:
    assert f"`{scope}`" in REVIEW


@pytest.mark.parametrize("topic", sorted(COMPLIANCE_TOPICS))
def test_the_review_document_says_what_each_privacy_request_does(topic: str) -> None:
    assert f"`{topic}`" in REVIEW
