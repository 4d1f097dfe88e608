"""Looks up gift cards and credits to customers' accounts by their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import msgspec

from connectors.shopify.client import ShopifyClient
from connectors.shopify.coupons import Money, Numbered
from connectors.shopify.mapping import Moment, external_id, gid
from rewards.money import minor_units
from rewards.occasions import valid_until
from rewards.records import BenefitKind, HeldValue

CREDIT_TRANSACTION = "StoreCreditAccountCreditTransaction"


class _Card(msgspec.Struct, rename="camel"):
    id: str
    enabled: bool
    initial_value: Money
    balance: Money
    expires_on: date | None = None


class _Cards(msgspec.Struct):
    nodes: list[_Card | None]


class _Credit(msgspec.Struct, rename="camel"):
    id: str
    amount: Money
    remaining_amount: Money
    account: Numbered
    expires_at: Moment | None = None


class _Credits(msgspec.Struct):
    nodes: list[_Credit | None]


def minor(money: Money) -> int:
    """Minor units of the money's own currency."""
    return minor_units(money.amount, money.currency_code)


class ValueLookups:
    """Gift cards and credits of one shop, read only; at most 250 at once."""

    def __init__(self, client: ShopifyClient, zone: str) -> None:
        self._client = client
        self._zone = zone

    async def held(self, values: Sequence[tuple[BenefitKind, str]]) -> list[HeldValue | None]:
        """Each as the shop holds it now, in order; None where it is gone."""
        of_kind: dict[BenefitKind, list[str]] = {}
        for kind, number in values:
            of_kind.setdefault(kind, []).append(number)
        cards = await self._cards(of_kind.get(BenefitKind.GIFT_CARD, []))
        credits_ = await self.credits(of_kind.get(BenefitKind.STORE_CREDIT, []))
        return [
            self._card(cards.get(number)) if kind is BenefitKind.GIFT_CARD else _credit(credits_.get(number))
            for kind, number in values
        ]

    async def credits(self, numbers: Sequence[str]) -> dict[str, _Credit]:
        """Credits by their numbers."""
        if not numbers:
            return {}
        ids = [gid(CREDIT_TRANSACTION, number) for number in numbers]
        nodes = (await self._client.call("store_credits_by_id", {"ids": ids}, _Credits)).nodes
        return {external_id(node.id): node for node in nodes if node is not None}

    async def _cards(self, numbers: Sequence[str]) -> dict[str, _Card]:
        if not numbers:
            return {}
        ids = [gid("GiftCard", number) for number in numbers]
        nodes = (await self._client.call("gift_cards_by_id", {"ids": ids}, _Cards)).nodes
        return {external_id(node.id): node for node in nodes if node is not None}

    def _card(self, card: _Card | None) -> HeldValue | None:
        """One that ends on a day is good all through it."""
        if card is None:
            return None
        ends_at = valid_until(card.expires_on, 0, self._zone) if card.expires_on else None
        whole = card.initial_value
        return HeldValue(minor(whole), minor(card.balance), whole.currency_code, card.enabled, ends_at)


def _credit(credit: _Credit | None) -> HeldValue | None:
    """Nobody can switch a credit off; what was taken of it was spent, or taken back."""
    if credit is None:
        return None
    whole, left = credit.amount, minor(credit.remaining_amount)
    return HeldValue(minor(whole), left, whole.currency_code, is_active=True, ends_at=credit.expires_at)
