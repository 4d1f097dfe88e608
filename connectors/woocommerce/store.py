"""One WooCommerce shop over its API: facts and webhooks. History is in `history.py`, codes in `coupons.py`."""

from __future__ import annotations

import asyncio
import html
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime

import aiohttp
import msgspec

from connectors.base import AWAITS_PING, Noun, Page, Secret, StoreAccess, Subscription, Window
from connectors.besides import MARK
from connectors.woocommerce.answers import UnreadableError
from connectors.woocommerce.birthdays import offers, wrong_settings
from connectors.woocommerce.client import CLOCK_SECONDS, REST_ROOT, Client
from connectors.woocommerce.coupons import Coupons
from connectors.woocommerce.finding import INDEX, INDEX_FIELDS
from connectors.woocommerce.history import PER_PAGE, History
from connectors.woocommerce.install import IN_QUERY, KEYS_IN, ROOT
from connectors.woocommerce.mapping import (
    CurrencyData,
    CustomerData,
    WebhookData,
    birthday_body,
    customer_change,
    meta_text,
    time_zone,
    webhook_body,
)
from connectors.woocommerce.pace import pace_of
from connectors.woocommerce.versions import release_of
from connectors.woocommerce.webhooks import TOPICS
from rewards.errors import AccessRevokedError, RefusedError
from rewards.records import Benefit, Birthday, CodeDraft, Coupon, KnownCode, PushedCode, ShopFacts

_PATIENCE_SECONDS, _TIMEOUT_SECONDS = 60.0, 60.0
_CUSTOMER = msgspec.json.Decoder(CustomerData)
_CUSTOMERS = msgspec.json.Decoder(list[CustomerData])
_CURRENCY = msgspec.json.Decoder(CurrencyData)
_WEBHOOK = msgspec.json.Decoder(WebhookData)
_WEBHOOKS = msgspec.json.Decoder(list[WebhookData])


class WooCommerceStore:
    """A shop. See `connectors.base.Store` for what each method promises."""

    def __init__(self, access: StoreAccess, session: aiohttp.ClientSession) -> None:
        self._external_id = access.external_id
        base = access.api_base or access.external_id
        settings = access.options.settings
        self._client = Client(
            session,
            base,
            access.credentials["key"],
            access.credentials["secret"],
            pace=pace_of(access.board, settings),
            patience_seconds=_seconds(settings.get("patience_seconds", ""), _PATIENCE_SECONDS),
            timeout_seconds=_seconds(settings.get("timeout_seconds", ""), _TIMEOUT_SECONDS),
            in_query=settings.get(KEYS_IN) == IN_QUERY,
            root=settings.get(ROOT, REST_ROOT),
        )
        self._options = access.options
        self._coupons = Coupons(self._client, access.options)
        self._history = History(self._client, access.options)

    async def facts(self) -> ShopFacts:
        """Name and time zone from the index, which needs no key; the currency, which does."""
        index = (await self._client.get("", INDEX.decode, INDEX_FIELDS, with_key=False)).value
        currency = (await self._client.get("wc/v3/data/currencies/current", _CURRENCY.decode)).value
        release = await release_of(self._client)
        return ShopFacts(
            external_id=self._external_id,
            name=html.unescape(index.name) or self._external_id,
            time_zone=time_zone(index),
            currency=currency.code,
            notices=(
                *self._notices(),
                *release.notices,
                *(wrong_settings(self._options.settings) or await self._birthdays_elsewhere()),
                *await self._coupons.notices(),
            ),
            settings={MARK: release.mark} if release.mark else {},
        )

    async def _birthdays_elsewhere(self) -> tuple[str, ...]:
        """What the newest customers' fields show, where the merchant has not found the right one yet."""
        params = {"_fields": "id,meta_data", "orderby": "id", "order": "desc", "per_page": str(PER_PAGE)}
        try:
            newest = (await self._client.get("wc/v3/customers", _CUSTOMERS.decode, params)).value
        except (RefusedError, AccessRevokedError, UnreadableError):  # it is only an offer
            return ()
        fields = [
            {entry.key: meta_text(data.meta_data, entry.key) or "" for entry in data.meta_data}
            for data in newest
        ]
        return offers(fields, self._options.settings)

    def _notices(self) -> tuple[str, ...]:
        minutes = round(self._client.clock_off_seconds / 60)
        if abs(minutes) * 60 < CLOCK_SECONDS:
            return ()
        way = "ahead of" if minutes > 0 else "behind"
        return (
            f"The shop's clock is {abs(minutes)} minutes {way} ours: ask its host to set it (NTP), as times of orders "
            "may be wrong.",
        )

    # -- webhooks ----------------------------------------------------------------------------------------------------

    async def subscribe(self, address: str, secret: Secret) -> Subscription:
        """One webhook per topic; the old ones at the address go after the new ones stand, so that nothing is missed.

        The shop posts a ping to the address during each create call and waits for the answer. Only what was there
        before is removed: somebody else may be setting them up too.
        """
        old = await self._webhooks(address)
        made = await asyncio.gather(*(self._subscribe(topic, address, secret) for topic in sorted(TOPICS)))
        await self._remove(old)
        return Subscription(external_ids=tuple(str(number) for number in made), secret=secret)

    async def is_subscribed(self, address: str) -> bool:
        """True when each topic has an active webhook at the address; the shop disables those that keep failing.

        While no ping has come, the shop is made to try again: it does so when a webhook is saved.
        """
        hooks = await self._webhooks(address)
        on = {hook.topic: hook.id for hook in sorted(hooks, key=_number_of) if hook.status == "active"}
        if not on.keys() >= TOPICS:
            return False
        # Made twice, when an answer was lost or two of us were at it.
        await self._remove([hook for hook in hooks if hook.id not in on.values()])
        if AWAITS_PING in self._options.settings:
            path = f"wc/v3/webhooks/{min(on.values())}"
            await self._client.send("PUT", path, {"status": "active"}, _WEBHOOK.decode)
        return True

    async def unsubscribe(self, address: str) -> None:
        """Takes all our webhooks at the address out."""
        await self._remove(await self._webhooks(address))

    async def _subscribe(self, topic: str, address: str, secret: Secret) -> int:
        body = webhook_body(topic, address, secret.reveal())
        made = await self._client.send("POST", "wc/v3/webhooks", body, _WEBHOOK.decode)
        return made.id

    async def _remove(self, hooks: Sequence[WebhookData]) -> None:
        for hook in hooks:
            with suppress(RefusedError):  # somebody else removed it meanwhile
                await self._client.send("DELETE", f"wc/v3/webhooks/{hook.id}", None, bytes, {"force": "true"})

    async def _webhooks(self, address: str) -> list[WebhookData]:
        """Those at our address."""
        found: list[WebhookData] = []
        page = 1
        while True:
            params = {"per_page": str(PER_PAGE), "page": str(page), "_fields": "id,status,topic,delivery_url"}
            some = (await self._client.get("wc/v3/webhooks", _WEBHOOKS.decode, params)).value
            found += [hook for hook in some if hook.delivery_url == address]
            if len(some) < PER_PAGE:
                return found
            page += 1

    # -- history -----------------------------------------------------------------------------------------------------

    async def windows(self, noun: Noun, since: datetime | None) -> Sequence[Window]:
        """Ranges of pages of the noun's list."""
        return await self._history.windows(noun, since)

    def read(self, window: Window, after: Mapping[str, object] | None) -> AsyncIterator[Page]:
        """The window's pages."""
        return self._history.read(window, after)

    async def write_birthday(self, customer_external_id: str, birthday: Birthday) -> None:
        """Writes it into the meta field of the merchant's choice, and reads it back."""
        for wrong in wrong_settings(self._options.settings):
            raise RefusedError(wrong)
        body = birthday_body(birthday, self._options)
        path = f"wc/v3/customers/{int(customer_external_id)}"
        written = customer_change(await self._client.send("PUT", path, body, _CUSTOMER.decode), self._options)
        if written.customer.birthday != birthday:
            raise RefusedError(
                "The shop did not keep the birthday; look whether the setting birthday_key names a customer field that "
                "can be written."
            )

    async def count_orders(self, first: datetime, end: datetime) -> int:
        """How many orders were placed in this time."""
        return await self._history.count_orders(first, end)

    async def vanished(self, external_ids: Sequence[str]) -> Sequence[str]:
        """Those of these orders that are gone."""
        return await self._history.vanished(external_ids)

    # -- codes -------------------------------------------------------------------------------------------------------

    async def push(self, drafts: Sequence[CodeDraft]) -> Sequence[PushedCode]:
        """Makes the codes in one call."""
        return await self._coupons.push(drafts)

    async def missing(self, benefit: Benefit) -> Sequence[str]:
        """What the benefit names and the shop does not have."""
        return await self._coupons.missing(benefit)

    async def find(self, codes: Sequence[KnownCode]) -> Sequence[Coupon | None]:
        """The coupons behind the codes."""
        return await self._coupons.find(codes)

    async def revoke(self, code: KnownCode) -> None:
        """Switches the coupon off."""
        await self._coupons.revoke(code)

    async def restore(self, draft: CodeDraft, known: KnownCode) -> PushedCode:
        """Mends the coupon, or makes it again."""
        return await self._coupons.restore(draft, known)


def open_store(access: StoreAccess, session: aiohttp.ClientSession) -> WooCommerceStore:
    """The shop behind the access."""
    return WooCommerceStore(access, session)


def _number_of(hook: WebhookData) -> int:
    return hook.id


def _seconds(text: str, otherwise: float) -> float:
    try:
        return max(0.0, float(text))
    except ValueError:
        return otherwise
