"""One Shopify shop over its GraphQL Admin API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime

import aiohttp
import msgspec

from connectors.base import Noun, Page, Secret, StoreAccess, Subscription, Window
from connectors.shopify import permissions, subscriptions
from connectors.shopify.access import app_secrets
from connectors.shopify.bulk import Export, read_export
from connectors.shopify.client import ShopifyClient
from connectors.shopify.customers import CustomerLine, customer_from_line
from connectors.shopify.discounts import Discounts
from connectors.shopify.looks import Looks
from connectors.shopify.mapping import OrderLine, order_from_line
from rewards.changes import Change, CustomerSaved, LookAgain, OrderSaved
from rewards.records import CodeDraft, Coupon, KnownCode, PushedCode, ShopFacts


class _Shop(msgspec.Struct, rename="camel"):
    name: str
    myshopify_domain: str
    currency_code: str
    iana_timezone: str


class _Scope(msgspec.Struct):
    handle: str


class _Installation(msgspec.Struct, rename="camel"):
    access_scopes: list[_Scope]


class _ShopData(msgspec.Struct, rename="camel"):
    shop: _Shop
    current_app_installation: _Installation


class ShopifyStore:
    """The Store of Shopify; made by `open_store`."""

    def __init__(self, access: StoreAccess, session: aiohttp.ClientSession) -> None:
        self._client = ShopifyClient(access, session)
        self._discounts = Discounts(self._client, access.options.currency, access.options.time_zone)
        self._access = access
        self._looks = Looks(self._client, self._discounts, self.facts, _customer_saved)
        self._topics = subscriptions.api_topics(access.options.settings)

    async def facts(self) -> ShopFacts:
        """Who the shop is, and what the merchant should know of our access to it."""
        data = await self._client.call("shop_facts", {}, _ShopData)
        shop, scopes = data.shop, [scope.handle for scope in data.current_app_installation.access_scopes]
        return ShopFacts(
            external_id=shop.myshopify_domain,
            name=shop.name,
            time_zone=shop.iana_timezone,
            currency=shop.currency_code,
            notices=await permissions.notices(self._client, scopes),
        )

    async def look(self, thing: LookAgain) -> Sequence[Change]:
        """What a post only named."""
        return await self._looks.look(thing)

    async def maintain(self) -> None:
        """Renews the access of a shop that has been silent for a month."""
        await self._client.maintain()

    async def subscribe(self, address: str, secret: Secret) -> Subscription:
        """Shopify signs with the app's client secret; the proposal is not used."""
        ids = await subscriptions.subscribe(self._client, address, self._topics)
        signing = (*app_secrets(self._access.credentials), *app_secrets(self._access.app), secret)
        return Subscription(ids, signing[0])

    async def is_subscribed(self, address: str) -> bool:
        """Shopify deletes what it gives up; what is listed is on."""
        return await subscriptions.is_subscribed(self._client, address, self._topics)

    async def unsubscribe(self, address: str) -> None:
        """Takes our webhooks at `address` out again."""
        await subscriptions.unsubscribe(self._client, address)

    async def windows(self, noun: Noun, since: datetime | None) -> Sequence[Window]:
        """One window per noun: Shopify writes the whole of it into one file."""
        return (Window(noun, {"search": _changed_since(since)}),)

    def read(self, window: Window, after: Mapping[str, object] | None) -> AsyncIterator[Page]:
        """Customers and orders by export, discounts by ordinary pages."""
        search = str(window.spec["search"])
        if window.noun is Noun.COUPONS:
            return self._discounts.pages(search, after)
        if window.noun is Noun.CUSTOMERS:
            return read_export(
                self._client, Export("bulk_customers", search, CustomerLine, _customer_saved), after
            )
        return read_export(self._client, Export("bulk_orders", search, OrderLine, _order_saved), after)

    async def push(self, drafts: Sequence[CodeDraft]) -> Sequence[PushedCode]:
        """Makes the codes, several at a time, within the shop's cost bucket."""
        return await self._discounts.push(drafts)

    async def find(self, codes: Sequence[KnownCode]) -> Sequence[Coupon | None]:
        """Each code as the shop holds it now."""
        return await self._discounts.find(codes)

    async def revoke(self, code: KnownCode) -> None:
        """Ends the code's discount now."""
        await self._discounts.revoke(code)

    async def restore(self, draft: CodeDraft, known: KnownCode) -> PushedCode:
        """Makes the shop hold the code as the draft says."""
        return await self._discounts.restore(draft, known)


def _customer_saved(line: CustomerLine) -> Change:
    return CustomerSaved(customer_from_line(line))


def _order_saved(line: OrderLine) -> Change:
    return OrderSaved(order_from_line(line))


def _changed_since(since: datetime | None) -> str:
    if since is None:
        return ""
    return f"updated_at:>='{since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}'"
