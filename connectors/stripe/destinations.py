"""The event destination that brings thin events, which no webhook endpoint takes: v2 of the API.

It brings `v1.promotion_code.fully_redeemed`, which only says sooner and more plainly what `promotion_code.updated` of our
endpoint says too. So it is made where that can be done, and nobody misses it where it cannot: a key may lack the
permission, and a server that speaks v1 need not know v2.

Shapes: docs.stripe.com/api/v2/core/event-destinations, as stripe-python 16.1 has them (`stripe.v2.core.EventDestination`):

- `POST /v2/core/event_destinations`, JSON: name, type "webhook_endpoint", event_payload "thin", enabled_events,
  events_from ["@self"] or ["@accounts"], webhook_endpoint {url}, include ["webhook_endpoint.signing_secret"]. Only this answer holds the
  secret: {id "ed_…", status "enabled" | "disabled", webhook_endpoint {signing_secret}, …}.
- `GET /v2/core/event_destinations?include[0]=webhook_endpoint.url`: {data, next_page_url: a path with its query, or null}.
- `DELETE /v2/core/event_destinations/{id}`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from stripe.params.v2.core import EventDestinationCreateParams

from connectors.stripe.client import Client, Operation
from connectors.stripe.mapping import Deleted
from connectors.stripe.webhooks import THIN_TOPICS
from rewards.errors import PlatformError

PREFIX = "ed_"  # how their ids begin
_PATH = "/v2/core/event_destinations"
_MOST_PAGES = 50


class _Webhook(msgspec.Struct, gc=False):
    url: str | None = None
    signing_secret: str | None = None


class Destination(msgspec.Struct, gc=False):
    """An event destination; its address and secret only where they were asked for."""

    id: str
    status: str = ""
    event_payload: str = ""
    enabled_events: list[str] = []
    webhook_endpoint: _Webhook | None = None

    @property
    def secret(self) -> str | None:
        """What signs its posts; told once, when it is made."""
        return self.webhook_endpoint.signing_secret if self.webhook_endpoint else None

    @property
    def brings_ours(self) -> bool:
        """True when it is switched on for all that we want of it."""
        return self.status == "enabled" and set(THIN_TOPICS).issubset(self.enabled_events)


class _Page(msgspec.Struct, gc=False):
    data: list[Destination]
    next_page_url: str | None = None


_page = msgspec.json.Decoder(_Page)


class Destinations:
    """The event destinations of one account."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def make(self, address: str, *, of: str = "@self") -> Destination | None:
        """One for our thin events; None where it cannot be made, whatever the reason.

        `of`: whose events, of the account itself or ("@accounts") of those that are connected to it.
        """
        params: EventDestinationCreateParams = {
            "name": "Perennial",
            "type": "webhook_endpoint",
            "event_payload": "thin",
            "enabled_events": sorted(THIN_TOPICS),
            "events_from": [of],
            "webhook_endpoint": {"url": address},
            "include": ["webhook_endpoint.signing_secret"],
            "metadata": {"perennial": "webhooks"},
        }
        try:
            made = await self._client.call(
                f"POST {_PATH}", lambda sdk: sdk.v2.core.event_destinations.create_async(params), Destination
            )
        except PlatformError:  # whatever it is: the endpoint was made with the same key just now
            return None
        return made if made.secret else None

    async def at(self, address: str) -> list[Destination] | None:
        """Those that post thin events to the address; None where they cannot be seen, whatever the reason."""
        found: list[Destination] = []
        path, params = _PATH, {"include[0]": "webhook_endpoint.url"}
        for _ in range(_MOST_PAGES):
            try:
                page = await self._client.page(path, params, _page, endpoint=f"GET {_PATH}")
            except PlatformError:
                return None
            found += [
                each
                for each in page.data
                if each.event_payload == "thin"
                and each.webhook_endpoint
                and each.webhook_endpoint.url == address
            ]
            if not page.next_page_url or not page.next_page_url.startswith(_PATH):
                break
            path, params = page.next_page_url, {}
        return found

    async def remove(self, external_ids: Sequence[str]) -> None:
        """Deletes them; fine when they are gone, or cannot be deleted: their posts are then signed with a secret that we forget."""
        for external_id in external_ids:
            try:
                await self._client.call(f"DELETE {_PATH}", _delete(external_id), Deleted)
            except PlatformError:
                continue


def _delete(external_id: str) -> Operation:
    return lambda sdk: sdk.v2.core.event_destinations.delete_async(external_id)
