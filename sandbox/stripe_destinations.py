"""Event destinations of the stand-in for Stripe: the v2 API, and the thin events that it posts.

Shapes: stripe-python 16.1, `stripe.v2.core.EventDestination` and `EventNotification`; docs.stripe.com/api/v2/core/event-destinations,
docs.stripe.com/event-destinations. Here they are only for webhooks and thin payloads, which is what nothing else does.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from sandbox.stripe_access import Access
from sandbox.stripe_objects import Json, Row
from sandbox.stripe_shelf import StripeRefusal

PATH = "/v2/core/event_destinations"
_NEW = {
    "name",
    "description",
    "type",
    "event_payload",
    "enabled_events",
    "events_from",
    "include",
    "metadata",
}
_NEW |= {"snapshot_api_version", "webhook_endpoint"}
_NEEDED = ("name", "type", "event_payload", "enabled_events")
_SECRET, _URL = "webhook_endpoint.signing_secret", "webhook_endpoint.url"
_PAGE = 20


@dataclass(slots=True, eq=False)
class Destination:
    """One destination; who made it learns its secret in the answer, and nobody ever again."""

    id: str
    name: str
    url: str
    enabled_events: list[str]
    events_from: list[str]
    secret: str
    created: str
    metadata: dict[str, str]
    is_developers: bool  # of the account whose app others install, or of the account itself
    status: str = "enabled"

    def show(self, include: frozenset[str], *, is_live: bool) -> Json:
        held = {"url": self.url} if _URL in include else {}
        if _SECRET in include:
            held["signing_secret"] = self.secret
        return {
            "id": self.id,
            "object": "v2.core.event_destination",
            "created": self.created,
            "description": "",
            "enabled_events": self.enabled_events,
            "event_payload": "thin",
            "events_from": self.events_from,
            "livemode": is_live,
            "metadata": self.metadata,
            "name": self.name,
            "status": self.status,
            "status_details": None if self.status == "enabled" else {"disabled": {"reason": "user"}},
            "type": "webhook_endpoint",
            "updated": self.created,
            "webhook_endpoint": held or None,
        }


class Destinations:
    """Those of one account. `post` sends a body to an address; `refusal` is what everything is answered with instead."""

    def __init__(
        self, access: Access, clock: Callable[[], datetime], post: Callable[[str, bytes, str], None]
    ) -> None:
        self.rows: list[Destination] = []
        self.refusal: StripeRefusal | None = None
        self._access = access
        self._clock = clock
        self._post = post
        self._numbers = 0

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get(PATH, self._answered(self._list))
        router.add_post(PATH, self._answered(self._create))
        router.add_get(PATH + "/{id}", self._answered(self._retrieve))
        router.add_delete(PATH + "/{id}", self._answered(self._delete))

    def secrets_of(self, url: str) -> list[str]:
        """What signs thin events at this address."""
        return [row.secret for row in self.rows if row.url == url]

    def tell(self, topic: str, row: Row) -> None:
        """Posts a thin event of something that happened to every destination that asked for it."""
        self._numbers += 1
        body: Json = {
            "id": f"evt_test_65Sbx{self._numbers:012d}",
            "object": "v2.core.event",
            "created": self._now(),
            "livemode": self._is_live,
            "reason": None,
            "related_object": {
                "id": row.id,
                "type": row.object,
                "url": f"/v1/{row.object}s/{row.id}",
            },
            "type": topic,
        }
        app = self._access.app
        for each in self.rows:
            if each.status != "enabled" or topic not in each.enabled_events:
                continue
            if not each.is_developers and "@self" in each.events_from:
                self._post(each.url, json.dumps(body).encode(), body["id"])
            elif each.is_developers and "@accounts" in each.events_from and app and app.is_installed:
                of_account = {**body, "context": self._access.account_id}
                self._post(each.url, json.dumps(of_account).encode(), body["id"])

    # -- the API -----------------------------------------------------------------------------------------------------

    def _answered(self, act: Callable[[web.Request, Json], Json]) -> Callable[..., Any]:
        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                if self.refusal is not None:
                    raise self.refusal
                self._access.check(request)
                body = await request.read()
                return web.json_response(act(request, json.loads(body) if body else {}))
            except StripeRefusal as refusal:
                return web.json_response({"error": refusal.error}, status=refusal.status)

        return handle

    def _create(self, request: web.Request, params: Json) -> Json:
        if unknown := set(params) - _NEW:
            raise StripeRefusal(f"Unknown field: {unknown.pop()}", code="unknown_field")
        for name in _NEEDED:
            if name not in params:
                raise StripeRefusal(f"Missing required field: {name}", code="missing_required_field")
        url = str((params.get("webhook_endpoint") or {}).get("url", ""))
        if self._is_live and not url.startswith("https://"):
            raise StripeRefusal("The URL must be https in live mode.", code="url_invalid")
        if params["event_payload"] == "thin" and "snapshot_api_version" in params:
            raise StripeRefusal("Thin events have no version.", code="invalid_field")
        made = Destination(
            f"ed_test_65Sbx{len(self.rows):012d}{secrets.token_hex(3)}",
            str(params["name"]),
            url,
            list(params["enabled_events"]),
            list(params.get("events_from") or ["@self"]),
            "whsec_" + secrets.token_hex(16),
            self._now(),
            dict(params.get("metadata") or {}),
            self._access.is_developer(request),
        )
        self.rows.append(made)
        return made.show(frozenset(params.get("include") or ()), is_live=self._is_live)

    def _list(self, request: web.Request, _: Json) -> Json:
        start = int(request.query.get("page", "0"))
        size = int(request.query.get("limit", _PAGE))
        mine = self._mine(request)
        shown = [
            row.show(_included(request.query), is_live=self._is_live) for row in mine[start : start + size]
        ]
        following = start + size
        asked = "&".join(f"{name}={value}" for name, value in request.query.items() if name != "page")
        more = f"{PATH}?page={following}&{asked}" if following < len(mine) else None
        return {"data": shown, "next_page_url": more, "previous_page_url": None}

    def _retrieve(self, request: web.Request, _: Json) -> Json:
        return self._get(request).show(_included(request.query), is_live=self._is_live)

    def _delete(self, request: web.Request, _: Json) -> Json:
        gone = self._get(request)
        self.rows.remove(gone)
        return {"id": gone.id, "object": "v2.core.event_destination"}

    def _get(self, request: web.Request) -> Destination:
        wanted = request.match_info["id"]
        found = next((row for row in self._mine(request) if row.id == wanted), None)
        if found is None:
            raise StripeRefusal(f"No such event destination: '{wanted}'", status=404, code="not_found")
        return found

    def _mine(self, request: web.Request) -> list[Destination]:
        """Those of the account whose key asks."""
        is_developers = self._access.is_developer(request)
        return [row for row in self.rows if row.is_developers is is_developers]

    @property
    def _is_live(self) -> bool:
        return self._access.mode == "live"

    def _now(self) -> str:
        return self._clock().astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _included(query: Mapping[str, str]) -> frozenset[str]:
    return frozenset(value for name, value in query.items() if name.startswith("include"))
