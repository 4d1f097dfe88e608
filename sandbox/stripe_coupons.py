"""Coupons and promotion codes of the stand-in for Stripe: what is kept of each, when it can be used, how it is shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from sandbox.stripe_objects import Json, Row


@dataclass(slots=True, eq=False)
class CouponRow(Row):
    name: str | None
    percent_off: float | None = None
    amount_off: int | None = None
    currency: str | None = None
    duration: str = "once"
    max_redemptions: int | None = None
    redeem_by: int | None = None
    times_redeemed: int = 0
    metadata: dict[str, str] = field(default_factory=dict)
    is_deleted: bool = False
    products: list[str] = field(default_factory=list)
    amounts: dict[str, int] = field(default_factory=dict)  # off in other currencies
    object: ClassVar[str] = "coupon"

    def valid(self, now: int) -> bool:
        """True if codes of it can be redeemed now."""
        used_up = self.max_redemptions is not None and self.times_redeemed >= self.max_redemptions
        return not (self.is_deleted or used_up or (self.redeem_by is not None and self.redeem_by <= now))

    def off(self, subtotal: int) -> int:
        """What it takes off these goods."""
        if self.percent_off is not None:
            return round(subtotal * self.percent_off / 100)
        return min(subtotal, self.amount_off or 0)

    def show(self, expand: frozenset[str] = frozenset(), *, now: int = 0) -> Json:
        shown: Json = {
            "id": self.id,
            "object": "coupon",
            "amount_off": self.amount_off,
            "created": self.created,
            "currency": self.currency,
            "duration": self.duration,
            "duration_in_months": None,
            "livemode": False,
            "max_redemptions": self.max_redemptions,
            "metadata": self.metadata,
            "name": self.name,
            "percent_off": self.percent_off,
            "redeem_by": self.redeem_by,
            "times_redeemed": self.times_redeemed,
            "valid": self.valid(now),
        }
        if "applies_to" in expand and self.products:
            shown["applies_to"] = {"products": self.products}
        if "currency_options" in expand and self.currency and self.amount_off is not None:
            amounts = {self.currency: self.amount_off, **self.amounts}
            shown["currency_options"] = {name: {"amount_off": off} for name, off in amounts.items()}
        return shown


@dataclass(slots=True, eq=False)
class CodeRow(Row):
    code: str
    coupon: CouponRow
    switched_on: bool = True
    customer: str | None = None
    expires_at: int | None = None
    max_redemptions: int | None = None
    minimum_amount: int | None = None
    minimum_amount_currency: str | None = None
    minimum_amounts: dict[str, int] = field(default_factory=dict)  # in other currencies
    first_time: bool = False
    times_redeemed: int = 0
    metadata: dict[str, str] = field(default_factory=dict)
    object: ClassVar[str] = "promotion_code"

    @property
    def is_used_up(self) -> bool:
        return self.max_redemptions is not None and self.times_redeemed >= self.max_redemptions

    def is_expired(self, now: int) -> bool:
        return self.expires_at is not None and self.expires_at <= now

    def redeemable(self, now: int) -> bool:
        """True if it could be used if it is switched on."""
        return not self.is_used_up and not self.is_expired(now) and self.coupon.valid(now)

    def active(self, now: int) -> bool:
        return self.switched_on and self.redeemable(now)

    def show(self, expand: frozenset[str] = frozenset(), *, now: int = 0) -> Json:
        parts = frozenset(
            name.removeprefix("promotion.coupon.") for name in expand if name.startswith("promotion.coupon.")
        )
        expanded = parts or "promotion.coupon" in expand
        return {
            "id": self.id,
            "object": "promotion_code",
            "active": self.active(now),
            "code": self.code,
            "created": self.created,
            "customer": self.customer,
            "customer_account": None,
            "expires_at": self.expires_at,
            "livemode": False,
            "max_redemptions": self.max_redemptions,
            "metadata": self.metadata,
            "promotion": {
                "coupon": self.coupon.show(parts, now=now) if expanded else self.coupon.id,
                "type": "coupon",
            },
            "restrictions": {
                "first_time_transaction": self.first_time,
                "minimum_amount": self.minimum_amount,
                "minimum_amount_currency": self.minimum_amount_currency,
            },
            "times_redeemed": self.times_redeemed,
        }
