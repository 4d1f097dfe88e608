"""The stand-in Shopify shop's gift cards: what may be made, what is spent, what is left.

Error texts are those that a live shop gave (2026-04); a code that is taken, and a plan without gift cards, have no code.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from sandbox.server import CheckoutRefused
from sandbox.shopify_views import connection, number_of, z

if TYPE_CHECKING:
    from sandbox.shopify import ShopifySandbox

View = dict[str, Any]
_FARTHEST_NOTICE = timedelta(days=90)
_KIND = "GiftCard"


@dataclass(slots=True)
class GiftCard:
    """One gift card; `code` in small letters."""

    number: int
    code: str
    initial_minor: int
    balance_minor: int
    expires_on: date | None
    customer: str | None
    note: str | None
    created_at: datetime
    sent_at: datetime | None = None  # when Shopify writes to its recipient
    deactivated_at: datetime | None = None


class CardDesk:
    """Gift cards of one shop, and the root fields that concern them.

    `plan_has_them`, `issue_limit_minor`: what the shop allows. `search_is_late`: the search does not know the newest yet.
    """

    def __init__(self, shop: ShopifySandbox) -> None:
        self._shop = shop
        self.cards: dict[int, GiftCard] = {}
        self._numbers = count(1_500_000_001)
        self.plan_has_them = True
        self.issue_limit_minor = 200_000
        self.search_is_late = False

    def fields(self) -> View:
        """The root fields."""
        return {
            "giftCardConfiguration": lambda info: {
                "issueLimit": self._shop.views.money(self.issue_limit_minor)
            },
            "giftCards": self._found,
            "giftCardCreate": self._create,
            "giftCardDeactivate": self._deactivate,
        }

    def node(self, number: int) -> View | None:
        """The card with this number."""
        return self._view(self.cards[number]) if number in self.cards else None

    def card_of(self, code: str) -> GiftCard | None:
        """The card with this code."""
        return next((card for card in self.cards.values() if card.code == code.lower()), None)

    def spend(self, code: str, minor: int) -> None:
        """Somebody pays with a gift card. Raises CheckoutRefused."""
        card = self.card_of(code)
        if card is None:
            raise CheckoutRefused("unknown_code")
        if card.deactivated_at or (card.expires_on is not None and card.expires_on < self._today()):
            raise CheckoutRefused("expired")
        if card.balance_minor < minor:
            raise CheckoutRefused("used_up")
        card.balance_minor -= minor

    def _create(self, info: Any, input: View) -> View:
        errors = self._against(input)
        if errors:
            return {"giftCard": None, "giftCardCode": None, "userErrors": errors}
        recipient = input.get("recipientAttributes") or {}
        sent = recipient.get("sendNotificationAt")
        made = GiftCard(
            number=next(self._numbers),
            code=input.get("code", "").lower() or f"made{next(self._numbers)}",
            initial_minor=self._shop.views.minor(input["initialAmount"]),
            balance_minor=self._shop.views.minor(input["initialAmount"]),
            expires_on=date.fromisoformat(input["expiresOn"]) if input.get("expiresOn") else None,
            customer=number_of(input["customerId"]) if input.get("customerId") else None,
            note=input.get("note"),
            created_at=self._now(),
            sent_at=datetime.fromisoformat(sent) if sent else None,
        )
        self.cards[made.number] = made
        return {"giftCard": self._view(made), "giftCardCode": made.code, "userErrors": []}

    def _against(self, asked: View) -> list[View]:
        if not self.plan_has_them:
            return [_error(["base"], "Gift cards are unavailable on your plan.", None)]
        minor = self._shop.views.minor(asked["initialAmount"]) if asked.get("initialAmount") else 0
        if minor <= 0:
            return [_error(["input", "initialAmount"], "must be greater than 0", "GREATER_THAN")]
        if minor > self.issue_limit_minor:
            most = f"{self._shop.views.plain(self.issue_limit_minor)} {self._shop.views.currency}"
            return [_error(["input", "initialAmount"], f"can't exceed {most}", "GIFT_CARD_LIMIT_EXCEEDED")]
        ends = asked.get("expiresOn")
        if ends and date.fromisoformat(ends) < self._today():
            return [_error(["input", "expiresOn"], "Expires on must be in the future", "INVALID")]
        return self._against_people(asked) + self._against_code(asked.get("code"))

    def _against_people(self, asked: View) -> list[View]:
        known = self._shop.customers
        if asked.get("customerId") and number_of(asked["customerId"]) not in known:
            return [_error(["input", "customerId"], "The customer could not be found.", "CUSTOMER_NOT_FOUND")]
        recipient = asked.get("recipientAttributes") or {}
        if recipient and number_of(recipient["id"]) not in known:
            field = ["input", "recipientAttributes", "id"]
            return [_error(field, "The recipient could not be found.", "RECIPIENT_NOT_FOUND")]
        sent = recipient.get("sendNotificationAt")
        if sent and not self._now() <= datetime.fromisoformat(sent) <= self._now() + _FARTHEST_NOTICE:
            message = "Send notification at must be within 90 days from now"
            return [_error(["input", "recipientAttributes", "sendNotificationAt"], message, "INVALID")]
        return []

    def _against_code(self, code: str | None) -> list[View]:
        where = ["input", "code"]
        if code is None:
            return []
        if len(code) < 8:
            return [_error(where, "Code must be at least 8 characters long", "TOO_SHORT")]
        if len(code) > 20:
            return [_error(where, "Code must be at most 20 characters long", "TOO_LONG")]
        if not (code.isascii() and code.isalnum()):
            return [_error(where, "Code can only contain letters(a-z) and numbers(0-9)", "INVALID")]
        return [_error(where, "Code has already been taken", None)] if self.card_of(code) else []

    def _deactivate(self, info: Any, id: str) -> View:
        card = self.cards.get(int(number_of(id)))
        if card is None:
            error = _error(["id"], "The gift card could not be found.", "GIFT_CARD_NOT_FOUND")
            return {"giftCard": None, "userErrors": [error]}
        card.deactivated_at = card.deactivated_at or self._now()
        return {"giftCard": self._view(card), "userErrors": []}

    def _found(
        self, info: Any, first: int = 50, after: str | None = None, query: str | None = None, **_: Any
    ) -> View:
        words = (query or "").strip().strip('"').lower()
        found = [card for card in self.cards.values() if not words or words == card.code]
        shown = found[:-1] if self.search_is_late else found
        return connection(shown, view=self._view, first=first, after=after)

    def _view(self, card: GiftCard) -> View:
        money = self._shop.views.money
        person = self._shop.customers.get(card.customer or "")
        return {
            "__typename": _KIND,
            "id": f"gid://shopify/{_KIND}/{card.number}",
            "balance": money(card.balance_minor),
            "initialValue": money(card.initial_minor),
            "createdAt": z(card.created_at),
            "customer": self._shop.views.customer(person) if person else None,
            "deactivatedAt": z(card.deactivated_at) if card.deactivated_at else None,
            "enabled": card.deactivated_at is None,
            "expiresOn": card.expires_on.isoformat() if card.expires_on else None,
            "lastCharacters": card.code[-4:],
            "maskedCode": f"•••• •••• •••• {card.code[-4:]}",
            "note": card.note,
        }

    def _now(self) -> datetime:
        return self._shop.clock().replace(microsecond=0)

    def _today(self) -> date:
        return self._shop.clock().astimezone(ZoneInfo(self._shop.world.seed.time_zone)).date()


def _error(path: list[str], message: str, code: str | None) -> View:
    return {"field": path, "message": message, "code": code}
