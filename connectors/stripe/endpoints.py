"""Where Stripe posts an account's events: an endpoint that we make, one that the merchant adds, or the app's one.

Stripe chooses the secret and tells it only in the answer to the creation. An endpoint of ours whose secret we do not
hold (we were stopped in between) signs with something nobody knows, so it counts as none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import msgspec
from stripe.params import WebhookEndpointCreateParams, WebhookEndpointUpdateParams

from connectors.base import Secret, StoreAccess, Subscription
from connectors.stripe.client import API_VERSION, Client, Operation
from connectors.stripe.destinations import PREFIX, Destinations
from connectors.stripe.errors import MISSING_PERMISSION
from connectors.stripe.mapping import Deleted, WebhookEndpoint
from connectors.stripe.webhooks import TOPICS
from rewards.errors import RefusedError, RetryLaterError

# A store's setting: the merchant added the endpoint in the Dashboard, where our key cannot look.
WEBHOOKS, BY_HAND = "webhooks", "by_hand"
_OURS = {"perennial": "webhooks"}  # the metadata of what we make
SIGNING = "whsec_"  # how Stripe's signing secrets begin


class _Page(msgspec.Struct, gc=False):
    data: list[WebhookEndpoint]
    has_more: bool


_page = msgspec.json.Decoder(_Page)


class Endpoints:
    """The webhook endpoints of one account."""

    def __init__(self, client: Client, access: StoreAccess) -> None:
        self._client = client
        self._destinations = Destinations(client)
        self._is_by_hand = access.options.settings.get(WEBHOOKS) == BY_HAND
        self._held = access.subscription_ids

    async def subscribe(self, address: str, secret: Secret) -> Subscription:
        """An endpoint in the version that we read. For an app's store, and for an endpoint that the merchant added,
        `secret` is what signs. Raises RefusedError that says what to add where the key may not do it.
        """
        if self._client.keyring.is_of_app:
            return _of_the_app(secret)
        try:
            made = await self._create_with_room(address)
        except RefusedError as refusal:
            if refusal.code != MISSING_PERMISSION:
                raise _in_words(refusal, address) from None
            if self._is_by_hand and secret.reveal().startswith(SIGNING):
                return Subscription([], secret)
            raise RefusedError(by_hand(address), code=MISSING_PERMISSION) from None
        if made.secret is None:
            raise RetryLaterError("Stripe made a webhook endpoint without telling its secret.")
        thin = await self._destinations.make(address)
        self._held = [made.id, *([thin.id] if thin else [])]
        # The new ones first: between the two, events would go nowhere.
        await self._remove_others(address)
        also = [Secret(thin.secret)] if thin and thin.secret else []
        return Subscription(self._held, Secret(made.secret), also)

    async def _create_with_room(self, address: str) -> WebhookEndpoint:
        """A new endpoint. An account may have so many: where there is no room for one more, our old one makes it."""
        try:
            return await self.create(address)
        except RefusedError as refusal:
            if refusal.code in (MISSING_PERMISSION, "url_invalid"):
                raise
            old = await self.at(address)
            if not old:
                raise
        await self._remove([each.id for each in old])
        return await self.create(address)

    async def is_subscribed(self, address: str) -> bool:
        """True when an endpoint at the address whose secret we hold is enabled for all our events, and so is the event
        destination where we have made one.

        What the key may not look at, because the merchant added it, is taken to be there; so is the app's endpoint.
        """
        if self._client.keyring.is_of_app:
            return True
        try:
            found = await self.at(address)
        except RefusedError as refusal:
            if self._is_by_hand and refusal.code == MISSING_PERMISSION:
                return True
            raise
        return await self._holds_destination(address) and any(
            each.status == "enabled"
            and TOPICS.issubset(each.enabled_events)
            and (not self._held or each.id in self._held)
            for each in found
        )

    async def _holds_destination(self, address: str) -> bool:
        """False when the destination that we made is gone or off; True where there never was one."""
        held = [each for each in self._held or () if each.startswith(PREFIX)]
        found = await self._destinations.at(address) if held else None
        return found is None or any(each.id in held and each.brings_ours for each in found)

    async def unsubscribe(self, address: str) -> None:
        """Deletes the endpoints and destinations at the address; the app's one endpoint is there for others too."""
        if not self._client.keyring.is_of_app:
            self._held = []
            await self._remove_others(address)

    async def _remove_others(self, address: str) -> None:
        """Deletes what posts to the address and is not what we hold."""
        held = self._held or ()
        await self._remove([found.id for found in await self.at(address) if found.id not in held])
        thin = await self._destinations.at(address) or ()
        await self._destinations.remove([found.id for found in thin if found.id not in held])

    async def create(
        self, address: str, *, connect: bool = False, metadata: Mapping[str, str] = _OURS
    ) -> WebhookEndpoint:
        """A new endpoint for all our events, with its secret; `connect`: for those of connected accounts."""
        params = cast(
            WebhookEndpointCreateParams,
            {
                "url": address,
                "enabled_events": sorted(TOPICS),
                "api_version": API_VERSION,
                "description": "Perennial",
                "metadata": dict(metadata),
                **({"connect": True} if connect else {}),
            },
        )
        return await self._client.call(
            "POST /v1/webhook_endpoints",
            lambda sdk: sdk.v1.webhook_endpoints.create_async(params),
            WebhookEndpoint,
        )

    async def at(self, address: str) -> list[WebhookEndpoint]:
        """The endpoints that post to the address. Raises PlatformError."""
        found: list[WebhookEndpoint] = []
        params = {"limit": "100"}
        while True:
            page = await self._client.page("/v1/webhook_endpoints", params, _page)
            found += [endpoint for endpoint in page.data if endpoint.url == address]
            if not page.has_more or not page.data:
                return found
            params["starting_after"] = page.data[-1].id

    async def switch_on(self, endpoint_id: str) -> None:
        """Enables an endpoint for all our events; its secret stays. Raises PlatformError."""
        params = cast(WebhookEndpointUpdateParams, {"enabled_events": sorted(TOPICS), "disabled": False})
        await self._client.call(
            "POST /v1/webhook_endpoints/id",
            lambda sdk: sdk.v1.webhook_endpoints.update_async(endpoint_id, params),
            WebhookEndpoint,
        )

    async def _remove(self, endpoint_ids: Sequence[str]) -> None:
        for endpoint_id in endpoint_ids:
            await self._client.find("DELETE /v1/webhook_endpoints", _delete(endpoint_id), Deleted)


def by_hand(address: str) -> str:
    """How the merchant adds the endpoint where the key may not: the address, the events, and where the secret goes."""
    return (
        "The Stripe key may not make webhook endpoints. Either switch on Webhook Endpoints: Write for it, or add the "
        f"endpoint in the Stripe Dashboard (Developers, Webhooks): address {address}, API version {API_VERSION}, "
        f"events {', '.join(sorted(TOPICS))}; then connect the store again with its signing secret "
        "(--webhook-secret whsec_…)."
    )


def _of_the_app(secret: Secret) -> Subscription:
    """The operator's one Connect endpoint, whose secret came with the installation."""
    if secret.reveal().startswith(SIGNING):
        return Subscription([], secret)
    raise RefusedError(
        "The operator has not set the secret of the Stripe app's Connect endpoint (PERENNIAL_APPS__STRIPE__WEBHOOK_SECRET)."
    )


def _in_words(refusal: RefusedError, address: str) -> RefusedError:
    if refusal.code != "url_invalid":
        return RefusedError(
            f"Stripe makes no webhook endpoint for {address}. {refusal} An account may have 16 of them: if it does, delete "
            "those that nobody needs in the Dashboard (Developers, Webhooks).",
            code=refusal.code,
        )
    return RefusedError(
        f"Stripe posts events only to a public https address, and {address} is none; set PERENNIAL_PUBLIC_URL to one "
        "and connect the store again.",
        code=refusal.code,
    )


def _delete(endpoint_id: str) -> Operation:
    return lambda sdk: sdk.v1.webhook_endpoints.delete_async(endpoint_id)
