"""One Shopify shop over its GraphQL Admin API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime

import aiohttp
import msgspec

from connectors.base import Noun, Page, Secret, StoreAccess, Subscription, Window
from connectors.shopify import permissions, subscriptions, values
from connectors.shopify.access import app_secrets
from connectors.shopify.birthdays import Birthdays
from connectors.shopify.client import ShopifyClient
from connectors.shopify.customers import ACCOUNTS_VERSION, CustomerRules, complaints
from connectors.shopify.discounts import Discounts
from connectors.shopify.history import History
from connectors.shopify.looks import Looks
from connectors.shopify.points import show_points
from connectors.shopify.subscriptions import is_by_app
from rewards.changes import Change, LookAgain
from rewards.records import Birthday, CodeDraft, Coupon, HeldValue, KnownCode, PushedCode, ShopFacts


class _Accounts(msgspec.Struct, rename="camel"):
    customer_accounts_version: str


class _Shop(msgspec.Struct, rename="camel"):
    name: str
    myshopify_domain: str
    currency_code: str
    iana_timezone: str
    customer_accounts_v2: _Accounts


class _Scope(msgspec.Struct):
    handle: str


class _Installation(msgspec.Struct, rename="camel"):
    access_scopes: list[_Scope]


class _ShopData(msgspec.Struct, rename="camel"):
    shop: _Shop
    current_app_installation: _Installation


def wrong_settings(settings: Mapping[str, str]) -> list[str]:
    """What of a store's settings cannot be meant, and what to write instead."""
    return [*complaints(settings), *values.complaints(settings)]


class ShopifyStore:
    """The Store of Shopify; made by `open_store`."""

    def __init__(self, access: StoreAccess, session: aiohttp.ClientSession) -> None:
        self._client = ShopifyClient(access, session)
        self._discounts = Discounts(self._client, access.options.currency, access.options.time_zone)
        self._values = values.Values(self._client, access.options.settings, access.options.time_zone)
        self._access = access
        self._rules = CustomerRules.of(access.options.settings)
        self._birthdays = Birthdays(self._client, self._rules)
        self._history = History(self._client, self._discounts, self._rules)
        self._looks = Looks(self._history, self._discounts, self.facts)
        self._topics = subscriptions.api_topics(access.options.settings)

    async def facts(self) -> ShopFacts:
        """Who the shop is, and what the merchant should know of our access to it."""
        data = await self._client.call("shop_facts", {}, _ShopData)
        shop, scopes = data.shop, [scope.handle for scope in data.current_app_installation.access_scopes]
        shown = await permissions.what_is_shown(self._client, scopes)
        page = self._permissions_page(shop.myshopify_domain)
        return ShopFacts(
            external_id=shop.myshopify_domain,
            name=shop.name,
            time_zone=shop.iana_timezone,
            currency=shop.currency_code,
            notices=(
                *await permissions.notices(self._client, scopes, shown, page.get(values.PERMISSIONS_PAGE)),
                *wrong_settings(self._access.options.settings),
            ),
            settings={
                ACCOUNTS_VERSION: shop.customer_accounts_v2.customer_accounts_version,
                **permissions.seen(scopes, shown),
                **await values.abilities(self._client, scopes),
                **page,
            },
            read_by=(ACCOUNTS_VERSION, permissions.ORDERS_SEEN, permissions.PEOPLE_SEEN),
        )

    def _permissions_page(self, shop: str) -> dict[str, str]:
        """Only of the operator's app: what an app of the shop's own may do is said where it is made."""
        client_id = self._access.app.get("client_id")
        if client_id is None or not is_by_app(self._access.options.settings, client_id):
            return {}
        return {values.PERMISSIONS_PAGE: values.permissions_page(shop, client_id.reveal())}

    async def look(self, thing: LookAgain) -> Sequence[Change]:
        """What a post only named."""
        return await self._looks.look(thing)

    async def maintain(self) -> None:
        """Renews the access of a shop that has been silent for a month."""
        await self._client.maintain()

    async def subscribe(self, address: str, secret: Secret) -> Subscription:
        """Shopify signs with the app's client secret; the proposal is not used."""
        ids = await subscriptions.subscribe(self._client, address, self._topics, self._rules)
        signing = (*app_secrets(self._access.credentials), *app_secrets(self._access.app), secret)
        return Subscription(ids, signing[0])

    async def is_subscribed(self, address: str) -> bool:
        """Shopify deletes what it gives up; what is listed is on."""
        return await subscriptions.is_subscribed(self._client, address, self._topics, self._rules)

    async def unsubscribe(self, address: str) -> None:
        """Takes our webhooks at `address` out again."""
        await subscriptions.unsubscribe(self._client, address)

    async def windows(self, noun: Noun, since: datetime | None) -> Sequence[Window]:
        """One window per noun: a file, or pages where there are few rows."""
        return await self._history.windows(noun, since)

    def read(self, window: Window, after: Mapping[str, object] | None) -> AsyncIterator[Page]:
        """The window's pages."""
        return self._history.read(window, after)

    async def write_birthday(self, customer_external_id: str, birthday: Birthday) -> None:
        """Writes the birthday into the metafield that birthdays are read from."""
        await self._birthdays.write(customer_external_id, birthday)

    async def show_points(self, points: Mapping[str, int]) -> Mapping[str, str]:
        """Writes points into the app's own metafield of each customer."""
        return await show_points(self._client, points)

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

    async def give(self, draft: CodeDraft, asked_at: datetime) -> str:
        """Gives store credit or a gift card."""
        return await self._values.give(draft, asked_at)

    async def look_for(self, draft: CodeDraft, asked_at: datetime, others: Collection[str]) -> str | None:
        """What an earlier `give` gave."""
        return await self._values.look_for(draft, asked_at, others)

    async def held(self, values: Sequence[tuple[CodeDraft, str]]) -> Sequence[HeldValue | None]:
        """Store credit and gift cards as the shop holds them now."""
        return await self._values.held(values)

    async def take_back(self, draft: CodeDraft, external_id: str, asked_at: datetime | None) -> int:
        """Takes back what is left of store credit or a gift card."""
        return await self._values.take_back(draft, external_id, asked_at)
