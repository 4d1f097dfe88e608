"""Store credit and gift cards of one shop, and whether the shop lets us give them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from urllib.parse import urlencode

import msgspec

from connectors.base import Capability
from connectors.shopify.client import ShopifyClient
from connectors.shopify.coupons import Money
from connectors.shopify.gift_cards import GiftCards
from connectors.shopify.permissions import NEEDED as ALWAYS_NEEDED
from connectors.shopify.permissions import missing
from connectors.shopify.store_credit import MOST_IN_DOLLARS, StoreCredit
from connectors.shopify.value_lookups import ValueLookups
from rewards.errors import RefusedError
from rewards.money import decimal_text, minor_units
from rewards.records import Benefit, BenefitKind, Binding, CodeDraft, HeldValue

# Settings of a store that the shop itself says: ON, OFF, or the permissions that are missing.
STORE_CREDIT, GIFT_CARDS, GIFT_CARD_LIMIT = "store_credit", "gift_cards", "gift_card_limit"
PERMISSIONS_PAGE = "permissions_page"
# A setting of the merchant's: OFF, and Shopify tells customers nothing.
TELL_CUSTOMERS = "tell_customers"
ON, OFF = "on", "off"

NEEDED: Mapping[Capability, tuple[str, ...]] = {
    Capability.STORE_CREDIT: (
        "read_store_credit_accounts",
        "read_store_credit_account_transactions",
        "write_store_credit_account_transactions",
    ),
    Capability.GIFT_CARDS: ("read_gift_cards", "write_gift_cards"),
}
_SETTING_OF = {Capability.STORE_CREDIT: STORE_CREDIT, Capability.GIFT_CARDS: GIFT_CARDS}
_SWITCHED_OFF = "Store credit is switched off in the shop: switch it on in the Shopify admin under Settings, Customer accounts."
_TOLD = "Shopify tells them by e-mail, unless the store's setting tell_customers is off. What they spend is not followed."
EXPLAINS: Mapping[Capability | Binding, str] = {
    Capability.STORE_CREDIT: (
        "The money is put into the customer's store credit until the reward ends; customers sign in to spend it, and "
        f"members without a customer record get none. {_TOLD}"
    ),
    Capability.GIFT_CARDS: (
        "Each member gets a gift card that ends with the reward; whoever holds its code can spend it, and members "
        f"without a customer record have one too, which nobody tells them of. {_TOLD}"
    ),
}


class _Configuration(msgspec.Struct, rename="camel"):
    store_credit_enabled: bool


class _ConfigurationData(msgspec.Struct, rename="camel"):
    store_credit_configuration: _Configuration


class _CardConfiguration(msgspec.Struct, rename="camel"):
    issue_limit: Money


class _CardConfigurationData(msgspec.Struct, rename="camel"):
    gift_card_configuration: _CardConfiguration


async def abilities(client: ShopifyClient, granted: Iterable[str]) -> dict[str, str]:
    """What the shop lets us give, as settings of the store. Without the permissions it is asked nothing."""
    held = list(granted)
    found = {
        setting: " ".join(missing(held, NEEDED[capability])) or ON
        for capability, setting in _SETTING_OF.items()
    }
    if found[STORE_CREDIT] == ON and not await _is_switched_on(client):
        found[STORE_CREDIT] = OFF
    if found[GIFT_CARDS] == ON and (limit := await _limit_of_cards(client)) is not None:
        found[GIFT_CARD_LIMIT] = limit
    return found


async def _is_switched_on(client: ShopifyClient) -> bool:
    try:
        data = await client.call("store_credit_configuration", {}, _ConfigurationData)
    except RefusedError:  # a shop that has no such thing must not stop all that is asked besides
        return False
    return data.store_credit_configuration.store_credit_enabled


async def _limit_of_cards(client: ShopifyClient) -> str | None:
    """In the shop's currency. A plan without gift cards shows itself only when one is to be made."""
    try:
        data = await client.call("gift_card_configuration", {}, _CardConfigurationData)
    except RefusedError:
        return None
    return data.gift_card_configuration.issue_limit.amount


def permissions_page(shop: str, client_id: str) -> str:
    """Where a merchant grants the app from the App Store more; what they are asked for is to be added.

    Source: github.com/Shopify/shopify-app-js, redirect-to-install-page.ts.
    """
    query = urlencode({"client_id": client_id, "scope": ",".join(ALWAYS_NEEDED)}, safe=",")
    return f"https://{shop}/admin/oauth/install?{query}"


def lacks(settings: Mapping[str, str]) -> dict[Capability, str]:
    """What a store with these settings cannot give, and what to do about it."""
    found = {}
    for capability, setting in _SETTING_OF.items():
        known = settings.get(setting, " ".join(NEEDED[capability]))
        if known != ON:
            found[capability] = _SWITCHED_OFF if known == OFF else _ungranted(known.split(), settings)
    return found


def _ungranted(scopes: Sequence[str], settings: Mapping[str, str]) -> str:
    page = settings.get(PERMISSIONS_PAGE)
    where = (
        f"grant them at {page}&optional_scopes={','.join(scopes)} ."
        if page
        else "add them to the app in Shopify's Dev Dashboard, where gift cards need a word of Shopify's support, and "
        "approve them in the shop."
    )
    return f"The app lacks the permissions for it ({', '.join(scopes)}): {where}"


def complaints(settings: Mapping[str, str]) -> list[str]:
    """What is wrong with the merchant's setting, and what to write instead."""
    if settings.get(TELL_CUSTOMERS, ON) in (ON, OFF):
        return []
    return [
        f"The setting {TELL_CUSTOMERS} must be {ON} or {OFF}; otherwise Shopify tells customers of their gifts."
    ]


def why_not_value(benefit: Benefit, settings: Mapping[str, str]) -> str | None:
    """Why the shop does not give so much, in words for the merchant; None when it does. Its currency is checked before."""
    amount, currency = benefit.amount_minor or 0, benefit.currency or ""
    is_dollars = benefit.kind is BenefitKind.STORE_CREDIT and currency.upper() == "USD"
    if is_dollars and amount >= MOST_IN_DOLLARS * 100:
        return f"A customer's store credit on Shopify is less than {MOST_IN_DOLLARS:,} US dollars in all: give less."
    if benefit.kind is BenefitKind.GIFT_CARD and GIFT_CARD_LIMIT in settings:
        most = minor_units(settings[GIFT_CARD_LIMIT], currency)
        if amount > most:
            return f"A gift card of this shop holds at most {decimal_text(most, currency)} {currency}: give less."
    return None


class Values:
    """What one shop gives of either kind; the part of the Store that is about values."""

    def __init__(self, client: ShopifyClient, settings: Mapping[str, str], zone: str) -> None:
        self._lookups = ValueLookups(client, zone)
        tells = settings.get(TELL_CUSTOMERS, ON) != OFF
        self._credit = StoreCredit(client, self._lookups, tells=tells)
        self._cards = GiftCards(client, self._lookups, zone, tells=tells)

    def _of(self, draft: CodeDraft) -> StoreCredit | GiftCards:
        return self._credit if draft.benefit.kind is BenefitKind.STORE_CREDIT else self._cards

    async def give(self, draft: CodeDraft, asked_at: datetime) -> str:
        """Gives it, and says by which number the shop knows it."""
        return await self._of(draft).give(draft, asked_at)

    async def look_for(self, draft: CodeDraft, asked_at: datetime, others: Collection[str]) -> str | None:
        """What an earlier request gave."""
        return await self._of(draft).look_for(draft, asked_at, others)

    async def held(self, values: Sequence[tuple[CodeDraft, str]]) -> list[HeldValue | None]:
        """Each value as the shop holds it now."""
        return await self._lookups.held([(draft.benefit.kind, number) for draft, number in values])

    async def take_back(self, draft: CodeDraft, number: str, asked_at: datetime | None) -> int:
        """Takes back what is left of it."""
        [held] = await self._lookups.held([(draft.benefit.kind, number)])
        if held is None:
            raise RefusedError("Shopify knows nothing of it any more, so there is nothing to take back.")
        return await self._of(draft).take_back(number, held, asked_at)
