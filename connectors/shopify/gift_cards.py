"""Gift cards with codes of our own: a code is unique in a shop, so a card that is asked for twice is made once."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

from connectors.shopify.client import ShopifyClient
from connectors.shopify.coupons import Money, Numbered
from connectors.shopify.failures import UserError, refusal
from connectors.shopify.mapping import external_id, gid
from connectors.shopify.value_lookups import ValueLookups, minor
from rewards.errors import RefusedError, RetryLaterError
from rewards.money import decimal_text
from rewards.records import CodeDraft, HeldValue

# Shopify sends it within an hour of then, and takes no time that is past.
_TOLD_AFTER = timedelta(minutes=10)
_MOST_NOTE = 200
_FOREIGN = "The shop uses this code for another gift card."
_NO_PLAN = " Choose a plan with gift cards, or give store credit or a code."


class _Result(msgspec.Struct, rename="camel"):
    user_errors: list[UserError]
    gift_card: Numbered | None = None


class _Changed(msgspec.Struct):
    result: _Result


class _Card(msgspec.Struct, rename="camel"):
    id: str
    last_characters: str
    initial_value: Money


class _Cards(msgspec.Struct):
    nodes: list[_Card]


class _CardsData(msgspec.Struct, rename="camel"):
    gift_cards: _Cards


class GiftCards:
    """The gift cards of one shop. `tells`: Shopify sends them to customers that have an e-mail address."""

    def __init__(self, client: ShopifyClient, lookups: ValueLookups, zone: str, *, tells: bool) -> None:
        self._client = client
        self._lookups = lookups
        self._zone = ZoneInfo(zone)
        self._tells = tells

    async def give(self, draft: CodeDraft, asked_at: datetime) -> str:
        """Makes the card; its number."""
        result = (
            await self._client.call("gift_card_create", {"input": self._input(draft, asked_at)}, _Changed)
        ).result
        if result.user_errors:
            if not any(_is_taken(error) for error in result.user_errors):
                advice = _NO_PLAN if "plan" in result.user_errors[0].message else ""
                error = refusal(result.user_errors)
                raise RefusedError(f"{error}{advice}", code=error.code)
            found = await self.look_for(draft, asked_at, ())
            if found is None:
                raise RetryLaterError("Shopify has the gift card, but its search does not know it yet.")
            return found
        if result.gift_card is None:
            raise RetryLaterError("Shopify did not say which gift card it has made.")
        return external_id(result.gift_card.id)

    async def look_for(self, draft: CodeDraft, asked_at: datetime, others: Collection[str]) -> str | None:
        """The card with this code. Nobody else can work the code out, so one of the same value is ours."""
        cards = (
            await self._client.call("gift_cards_by_code", {"code": draft.code.lower()}, _CardsData)
        ).gift_cards
        same = [card for card in cards.nodes if card.last_characters.casefold() == draft.code[-4:].casefold()]
        ours = [card for card in same if minor(card.initial_value) == draft.benefit.amount_minor]
        if ours:
            return external_id(ours[0].id)
        if same:
            raise RefusedError(_FOREIGN, code="TAKEN")
        return None

    async def take_back(self, number: str, held: HeldValue, asked_at: datetime | None) -> int:
        """Switches the card off for good; what was left on it. Doing so twice does no harm."""
        result = (
            await self._client.call("gift_card_deactivate", {"id": gid("GiftCard", number)}, _Changed)
        ).result
        if result.user_errors:
            raise refusal(result.user_errors)
        return held.left_minor

    def _input(self, draft: CodeDraft, asked_at: datetime) -> dict[str, object]:
        benefit = draft.benefit
        amount = decimal_text(benefit.amount_minor or 0, benefit.currency or "")
        content: dict[str, object] = {
            "initialAmount": {"amount": amount, "currencyCode": (benefit.currency or "").upper()},
            "code": draft.code.lower(),
            "expiresOn": draft.ends_at.astimezone(self._zone).date(),
            "note": draft.title[:_MOST_NOTE],
        }
        if draft.customer_external_id is not None:
            customer = gid("Customer", draft.customer_external_id)
            content["customerId"] = customer
            if self._tells and draft.email:
                told = {"id": customer, "sendNotificationAt": asked_at + _TOLD_AFTER}
                content["recipientAttributes"] = told
        return content


def _is_taken(error: UserError) -> bool:
    """Shopify gives this refusal no code of its own."""
    return (error.field or [""])[-1] == "code" and (error.code == "TAKEN" or "taken" in error.message)
