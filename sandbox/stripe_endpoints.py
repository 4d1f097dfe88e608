"""Webhook endpoints of the stand-in for Stripe: of the account itself, or of a developer for all who installed an app."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from sandbox.stripe_objects import Json, Row
from sandbox.stripe_shelf import Shelf, StripeRefusal, boolean, check_names, merged

_NEW = {"url", "enabled_events", "api_version", "description", "metadata", "connect"}
_CHANGED = {"url", "enabled_events", "description", "metadata", "disabled"}
_MOST = 16


@dataclass(slots=True, eq=False)
class EndpointRow(Row):
    url: str
    enabled_events: list[str]
    api_version: str | None
    secret: str
    description: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    status: str = "enabled"
    hears_connected: bool = False  # of the accounts that are connected; of its own account otherwise
    old_secrets: list[str] = field(default_factory=list)  # while a secret is rolled, for up to a day
    object: ClassVar[str] = "webhook_endpoint"

    def wants(self, topic: str) -> bool:
        return self.status == "enabled" and ("*" in self.enabled_events or topic in self.enabled_events)

    def show(self, expand: frozenset[str] = frozenset()) -> Json:
        return {
            "id": self.id,
            "object": "webhook_endpoint",
            "api_version": self.api_version,
            "application": None,
            "created": self.created,
            "description": self.description,
            "enabled_events": self.enabled_events,
            "livemode": False,
            "metadata": self.metadata,
            "status": self.status,
            "url": self.url,
        }


class Endpoints(Shelf[EndpointRow]):
    """The endpoints of one account. `clock` gives unix seconds."""

    def __init__(
        self, clock: Callable[[], int], is_live: Callable[[], bool], prefix: str = "we_1New"
    ) -> None:
        super().__init__()
        self._clock = clock
        self._is_live = is_live
        self._prefix = prefix
        self._made = 0

    def create(self, params: Mapping[str, Any]) -> EndpointRow:
        """A new one, whose secret is told once."""
        check_names(params, _NEW)
        for name in ("url", "enabled_events"):
            if name not in params:
                raise StripeRefusal(f"Missing required param: {name}.", code="parameter_missing", param=name)
        if self._is_live() and not str(params["url"]).startswith("https://"):
            raise StripeRefusal(
                "Invalid URL: An explicit scheme (such as https) must be provided.",
                code="url_invalid",
                param="url",
            )
        if len(self) >= _MOST:
            raise StripeRefusal(f"You have reached the maximum of {_MOST} test webhook endpoints.")
        self._made += 1
        endpoint = EndpointRow(
            f"{self._prefix}{self._made:012d}",
            self._clock(),
            str(params["url"]),
            list(params["enabled_events"]),
            params.get("api_version"),
            "whsec_" + secrets.token_hex(16),
            params.get("description"),
            dict(params.get("metadata", {})),
            hears_connected=boolean(params, "connect") is True,
        )
        self.add(endpoint)
        return endpoint

    def update(self, external_id: str, params: Mapping[str, Any]) -> EndpointRow:
        """Address, events, or whether it is on; its version stays."""
        check_names(params, _CHANGED)
        endpoint = self.get(external_id, "webhook_endpoint")
        endpoint.url = params.get("url", endpoint.url)
        endpoint.enabled_events = list(params.get("enabled_events", endpoint.enabled_events))
        disabled = boolean(params, "disabled")
        if disabled is not None:
            endpoint.status = "disabled" if disabled else "enabled"
        endpoint.metadata = merged(endpoint.metadata, params.get("metadata"))
        return endpoint

    def delete(self, external_id: str) -> Json:
        """Takes it away."""
        endpoint = self.get(external_id, "webhook_endpoint")
        self.remove(endpoint)
        return {"id": endpoint.id, "object": "webhook_endpoint", "deleted": True}
