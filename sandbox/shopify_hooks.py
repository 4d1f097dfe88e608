"""Webhook subscriptions of the stand-in Shopify, and the posts that they cause."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sandbox.server import Hooks, Post
from sandbox.shopify_views import connection

_FAILURES_IN_A_ROW = 8
_NAMES = uuid.UUID("5d0b7f5e-7a0e-4f0e-9d7c-2f6d7b2f1c11")


@dataclass(slots=True)
class Subscribed:
    """One subscription made through the API."""

    number: int
    topic: str  # ORDERS_PAID
    uri: str
    metafields: list[dict[str, str]]
    created_at: str

    @property
    def gid(self) -> str:
        return f"gid://shopify/WebhookSubscription/{self.number}"

    def view(self) -> dict[str, Any]:
        return {
            "__typename": "WebhookSubscription",
            "id": self.gid,
            "topic": self.topic,
            "uri": self.uri,
            "format": "JSON",
            "name": None,
            "filter": None,
            "includeFields": [],
            "metafields": self.metafields,
            "createdAt": self.created_at,
            "updatedAt": self.created_at,
        }


@dataclass
class HookDesk:
    """Holds the subscriptions, signs bodies with the app's client secret and hands posts to the sender.

    `app_uri`: where the app's TOML sends everything, the privacy topics too; such subscriptions are never deleted.
    """

    hooks: Hooks
    shop: str
    secret: str
    api_version: str
    clock: Callable[[], datetime]
    app_uri: str | None = None
    shows: Callable[[Any], Any] = lambda body: body  # what the app may see of a body
    _found: dict[str, Subscribed] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1_300_000_001))
    _posts: itertools.count[int] = field(default_factory=itertools.count)

    def create(
        self, topic: str, content: Mapping[str, Any]
    ) -> tuple[Subscribed | None, list[dict[str, Any]]]:
        """A new subscription, or Shopify's user errors."""
        uri = str(content.get("uri") or "")
        if not uri.startswith(("https://", "http://127.0.0.1", "http://localhost")):
            return None, [{"field": ["webhookSubscription", "uri"], "message": "Address is invalid"}]
        self.forget_dead()
        if any((found.topic, found.uri) == (topic, uri) for found in self._found.values()):
            message = "Address for this topic has already been taken"
            return None, [{"field": ["webhookSubscription", "uri"], "message": message}]
        made = Subscribed(
            number=next(self._numbers),
            topic=topic,
            uri=uri,
            metafields=[dict(field) for field in content.get("metafields") or []],
            created_at=self.clock().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
        self._found[made.gid] = made
        return made, []

    def delete(self, gid: str) -> bool:
        """True when there was one."""
        return self._found.pop(gid, None) is not None

    def page(self, *, first: int | None, after: str | None) -> dict[str, Any]:
        """The subscriptions as a connection."""
        self.forget_dead()
        return connection(list(self._found.values()), view=Subscribed.view, first=first, after=after)

    def subscribed(self) -> list[Subscribed]:
        """The subscriptions made through the API."""
        return list(self._found.values())

    def forget_dead(self) -> None:
        """Deletes API subscriptions whose address has failed eight times in a row; new ones there start afresh."""
        for uri, failures in self.hooks.failed_in_a_row.items():
            if failures >= _FAILURES_IN_A_ROW:
                self._found = {gid: found for gid, found in self._found.items() if found.uri != uri}
                self.hooks.failed_in_a_row[uri] = 0

    def forget_all(self) -> None:
        """Deletes every API subscription."""
        self._found.clear()

    def emit(self, topic: str, body: Callable[[bool], Mapping[str, Any]]) -> None:
        """Sends "orders/paid" to whoever wants it; `body` is asked with or without the birthday."""
        self.forget_dead()
        event = self._id("event")
        for found in list(self._found.values()):
            if found.topic == topic.replace("/", "_").upper():
                self._send(topic, found.uri, _with_fields(body(bool(found.metafields)), found), event)
        if self.app_uri:
            self._send(topic, self.app_uri, body(False), event)

    def _send(self, topic: str, uri: str, body: Mapping[str, Any], event: str) -> None:
        content = json.dumps(self.shows(body), separators=(",", ":"), ensure_ascii=False).encode()
        key = self._id("webhook")
        headers = {
            "Content-Type": "application/json",
            "X-Shopify-Topic": topic,
            "X-Shopify-Hmac-Sha256": signed(content, self.secret),
            "X-Shopify-Shop-Domain": self.shop,
            "X-Shopify-API-Version": self.api_version,
            "X-Shopify-Webhook-Id": key,
            "X-Shopify-Event-Id": event,
            "X-Shopify-Triggered-At": self.clock().astimezone(UTC).isoformat().replace("+00:00", "Z"),
        }
        self.hooks.send(Post(uri, headers, content, key))

    def _id(self, kind: str) -> str:
        return str(uuid.uuid5(_NAMES, f"{self.shop}/{kind}/{next(self._posts)}"))


def _with_fields(body: Mapping[str, Any], found: Subscribed) -> Mapping[str, Any]:
    """The body with those metafields only that the subscription asks for."""
    if "metafields" not in body:
        return body
    asked = [(field["namespace"], field["key"]) for field in found.metafields]
    kept = [field for field in body["metafields"] if (field["namespace"], field["key"]) in asked]
    return {**body, "metafields": kept}


def signed(body: bytes, secret: str) -> str:
    """Shopify's signature of a body."""
    return base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()
