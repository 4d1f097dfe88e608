"""One Stripe account over its API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import cast

import aiohttp
import msgspec
from stripe.params import WebhookEndpointCreateParams

from connectors.base import Noun, Page, Secret, StoreAccess, Subscription, Window
from connectors.stripe import mapping
from connectors.stripe.client import API_VERSION, Client, Operation, mode_of
from connectors.stripe.codes import Codes
from connectors.stripe.history import History
from connectors.stripe.mapping import Account, Deleted, WebhookEndpoint
from connectors.stripe.webhooks import TOPICS
from rewards.errors import AccessRevokedError, RetryLaterError
from rewards.records import CodeDraft, Coupon, KnownCode, PushedCode, ShopFacts

API_KEY = "api_key"  # the name of the credential


class _Endpoints(msgspec.Struct, gc=False):
    data: list[WebhookEndpoint]
    has_more: bool


_endpoints = msgspec.json.Decoder(_Endpoints)


def open_store(access: StoreAccess, session: aiohttp.ClientSession) -> StripeStore:
    """The store behind these credentials; nothing is asked before the first call."""
    return StripeStore(access, session, lambda: datetime.now(UTC))


async def account_of(client: Client) -> Account:
    """Whose key it is."""
    return await client.call("GET /v1/account", lambda sdk: sdk.v1.accounts.retrieve_current_async(), Account)


class StripeStore:
    """One installed account in one mode."""

    def __init__(
        self, access: StoreAccess, session: aiohttp.ClientSession, clock: Callable[[], datetime]
    ) -> None:
        key = access.credentials.get(API_KEY)
        if not key:
            raise AccessRevokedError("The store has no Stripe key any more; connect it again.")
        settings = access.options.settings
        self._mode = mode_of(key.reveal()) or settings.get("mode", "live")
        self._client = Client(
            key, session, account=access.external_id, api_base=access.api_base, settings=settings
        )
        self._history = History(self._client, access.options, clock)
        self._codes = Codes(self._client, clock)

    async def facts(self) -> ShopFacts:
        """The account's name, time zone and currency."""
        return mapping.facts(await account_of(self._client), self._mode)

    async def subscribe(self, address: str, secret: Secret) -> Subscription:
        """A webhook endpoint in the version that we read; Stripe chooses the secret and tells it only now."""
        params = cast(
            WebhookEndpointCreateParams,
            {
                "url": address,
                "enabled_events": sorted(TOPICS),
                "api_version": API_VERSION,
                "description": "Perennial",
                "metadata": {"perennial": "webhooks"},
            },
        )
        made = await self._client.call(
            "POST /v1/webhook_endpoints",
            lambda sdk: sdk.v1.webhook_endpoints.create_async(params),
            WebhookEndpoint,
        )
        if made.secret is None:
            raise RetryLaterError("Stripe made a webhook endpoint without telling its secret.")
        # The new one first: between the two, events would go nowhere.
        await self._remove([found.id for found in await self._endpoints_at(address) if found.id != made.id])
        return Subscription([made.id], Secret(made.secret))

    async def is_subscribed(self, address: str) -> bool:
        """True when an endpoint at the address is enabled for all our events."""
        return any(
            found.status == "enabled" and TOPICS.issubset(found.enabled_events)
            for found in await self._endpoints_at(address)
        )

    async def unsubscribe(self, address: str) -> None:
        """Deletes the endpoints at the address."""
        await self._remove([found.id for found in await self._endpoints_at(address)])

    async def windows(self, noun: Noun, since: datetime | None) -> Sequence[Window]:
        """See `history.History.windows`."""
        return await self._history.windows(noun, since)

    def read(self, window: Window, after: Mapping[str, object] | None) -> AsyncIterator[Page]:
        """See `history.History.read`."""
        return self._history.read(window, after)

    async def push(self, drafts: Sequence[CodeDraft]) -> Sequence[PushedCode]:
        """See `codes.Codes.push`."""
        return await self._codes.push(drafts)

    async def find(self, codes: Sequence[KnownCode]) -> Sequence[Coupon | None]:
        """See `codes.Codes.find`."""
        return await self._codes.find(codes)

    async def revoke(self, code: KnownCode) -> None:
        """See `codes.Codes.revoke`."""
        await self._codes.revoke(code)

    async def restore(self, draft: CodeDraft, known: KnownCode) -> PushedCode:
        """See `codes.Codes.restore`."""
        return await self._codes.restore(draft, known)

    async def _endpoints_at(self, address: str) -> list[WebhookEndpoint]:
        found: list[WebhookEndpoint] = []
        params = {"limit": "100"}
        while True:
            page = await self._client.page("/v1/webhook_endpoints", params, _endpoints)
            found += [endpoint for endpoint in page.data if endpoint.url == address]
            if not page.has_more or not page.data:
                return found
            params["starting_after"] = page.data[-1].id

    async def _remove(self, endpoint_ids: Sequence[str]) -> None:
        for endpoint_id in endpoint_ids:
            await self._client.find("DELETE /v1/webhook_endpoints", _delete_endpoint(endpoint_id), Deleted)


def _delete_endpoint(endpoint_id: str) -> Operation:
    return lambda sdk: sdk.v1.webhook_endpoints.delete_async(endpoint_id)
