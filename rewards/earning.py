"""What a sign-up or an order earns. Whole points, rounded down, never below zero."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from rewards.errors import CurrencyMismatchError, InvalidInputError

# Far above what anybody means, and so low that no product with an order's amount leaves the database's integers.
MAX_POINTS = 1_000_000
MAX_PER_MINOR = 10**12


class WayKind(StrEnum):
    """What a way to earn pays for; these two, and no others, can be awarded for the past."""

    SIGN_UP = "sign_up"
    PLACE_ORDER = "place_order"


@dataclass(frozen=True, slots=True)
class WayToEarn:
    """One version of a merchant's rule: `points` for the act, or for each `per_minor` of the order's subtotal.

    Raises InvalidInputError for a rule that cannot be meant.
    """

    kind: WayKind
    is_enabled: bool
    points: int
    per_minor: int | None = None  # None: the same points whatever the order's size
    rule_version_id: int | None = None  # None: not stored yet

    def __post_init__(self) -> None:
        # The plain words "sign_up" and "place_order" are as good as the enum's members.
        object.__setattr__(self, "kind", WayKind(self.kind))
        if self.points < 0:
            raise InvalidInputError("A way to earn gives points, it does not take them; give 0 or more.")
        if self.points > MAX_POINTS:
            raise InvalidInputError(f"A way to earn gives at most {MAX_POINTS:,} points.")
        if self.per_minor is not None and self.per_minor <= 0:
            raise InvalidInputError("Points per amount need an amount above zero.")
        if self.per_minor is not None and self.per_minor > MAX_PER_MINOR:
            raise InvalidInputError("Points per amount need a smaller amount: nobody would ever earn one.")
        if self.per_minor is not None and self.kind is WayKind.SIGN_UP:
            raise InvalidInputError("Signing up has no amount; give fixed points for it.")


def points_for_order(subtotal_minor: int, currency: str, way: WayToEarn, program_currency: str) -> int:
    """Points one paid order earns, rounded down, never below zero; none while the way is switched off.

    `subtotal_minor` is after discounts, before tax and shipping. Fixed points are the same in any currency; points per
    amount count only the program's: raises CurrencyMismatchError. Source: docs/architecture.md, "Rules".
    """
    assert way.kind is WayKind.PLACE_ORDER, "an order earns by the way to earn for orders"
    if not way.is_enabled:
        return 0
    if way.per_minor is None:
        return way.points
    if currency.upper() != program_currency.upper():
        raise CurrencyMismatchError(
            f"The order is in {currency.upper()} and the program counts {program_currency.upper()}; "
            "give fixed points per order, or run a program of its own for that currency."
        )
    return max(0, subtotal_minor) * way.points // way.per_minor


def points_for_sign_up(way: WayToEarn) -> int:
    """Points for opening an account; none while the way is switched off."""
    assert way.kind is WayKind.SIGN_UP, "a sign-up earns by the way to earn for sign-ups"
    return way.points if way.is_enabled else 0


def counts_for_webhook(
    happened_at: datetime | None, earning_from: datetime | None, program_is_on: bool
) -> bool:
    """True when a webhook's fact earns at once; all other facts wait for a run that the merchant confirms.

    `happened_at` is when the order was paid or the account opened (None: not known to have happened), `earning_from`
    when the merchant switched earning on in that store (None: never).
    """
    if not program_is_on or happened_at is None or earning_from is None:
        return False
    return happened_at >= earning_from
