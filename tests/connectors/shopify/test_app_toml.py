"""shopify.app.toml asks for exactly the topics that the connector reads."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from connectors.shopify import CONNECTOR
from connectors.shopify.documents import API_VERSION
from connectors.shopify.subscriptions import api_topics
from connectors.shopify.webhooks import COMPLIANCE_TOPICS

TOML: dict[str, Any] = tomllib.loads((Path(__file__).parents[3] / "shopify.app.toml").read_text())


def topics(key: str) -> list[str]:
    return [topic for entry in TOML["webhooks"]["subscriptions"] for topic in entry.get(key, [])]


def test_the_declared_topics_and_the_read_topics_are_the_same() -> None:
    declared = topics("topics") + topics("compliance_topics")
    assert len(declared) == len(set(declared))
    assert set(declared) == CONNECTOR.webhooks.topics


def test_privacy_topics_are_declared_as_such() -> None:
    assert set(topics("compliance_topics")) == COMPLIANCE_TOPICS
    assert {topic.replace("/", "_").upper() for topic in topics("topics")} == set(api_topics({}))


def test_posts_come_to_our_lane_in_our_version() -> None:
    assert {entry["uri"] for entry in TOML["webhooks"]["subscriptions"]} == {"/webhooks/shopify"}
    assert TOML["webhooks"]["api_version"] == API_VERSION


def test_the_scopes_cover_what_the_operations_need() -> None:
    scopes = set(TOML["access_scopes"]["scopes"].split(","))
    assert {"read_customers", "read_orders", "read_discounts", "write_discounts"} <= scopes
    assert "read_all_orders" in TOML["access_scopes"]["optional_scopes"]
