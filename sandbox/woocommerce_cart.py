"""A WooCommerce cart: which coupon a shopper may use with what is in it, and what it takes off."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase

from sandbox.server import CheckoutRefused
from sandbox.woocommerce_coupons import Coupon

PRODUCT, CATEGORY = 10, 15  # what is bought where a checkout does not say


@dataclass(frozen=True, slots=True)
class Line:
    """Some units of one product, which is in one category."""

    product: int
    category: int
    unit_minor: int
    quantity: int = 1

    @property
    def total_minor(self) -> int:
        return self.unit_minor * self.quantity


def lines_of(body: Mapping[str, object]) -> list[Line]:
    """The checkout's "lines" ([product, category, unit_minor, quantity] each), or one line of "subtotal_minor"."""
    given = body.get("lines")
    if isinstance(given, list):
        return [Line(*line) for line in given]
    return [Line(PRODUCT, CATEGORY, int(str(body["subtotal_minor"])))]


def check(coupon: Coupon | None, lines: Sequence[Line], email: str, user: str, now: datetime) -> Coupon:
    """The coupon, or CheckoutRefused as the cart would. `user` is the customer's id, or a guest's e-mail."""
    if coupon is None or coupon.fields["status"] != "publish":
        raise CheckoutRefused("unknown_code")
    if coupon.expires and now > coupon.expires:
        raise CheckoutRefused("expired")
    fields = coupon.fields
    limit, each = fields["usage_limit"], fields["usage_limit_per_user"]
    if (limit and len(coupon.used_by) >= limit) or (each and coupon.used_by.count(user) >= each):
        raise CheckoutRefused("used_up")
    # A * stands for any text.
    allowed = fields["email_restrictions"]
    allowed = list(allowed.values()) if isinstance(allowed, dict) else allowed
    if allowed and not any(fnmatchcase(email, pattern) for pattern in allowed):
        raise CheckoutRefused("wrong_customer")
    # The whole cart needs one of the products and one of the categories, where both are given.
    products, categories = fields["product_ids"], fields["product_categories"]
    if products and not any(line.product in products for line in lines):
        raise CheckoutRefused("wrong_products")
    if categories and not any(line.category in categories for line in lines):
        raise CheckoutRefused("wrong_products")
    return coupon


def discount_minor(coupon: Coupon | None, lines: Sequence[Line], scale: int) -> int:
    """What it takes off the goods; `scale` minor units are one of the currency."""
    if coupon is None:
        return 0
    amount, kind = float(coupon.fields["amount"]), coupon.fields["discount_type"]
    if kind == "fixed_cart":
        return min(sum(line.total_minor for line in lines), round(amount * scale))
    taken, left = 0, coupon.fields["limit_usage_to_x_items"] or math.inf
    for line in sorted(lines, key=lambda line: -line.total_minor):
        if not _fits(coupon, line):
            continue
        units = int(min(line.quantity, left))
        left -= units
        if kind == "percent":
            taken += line.unit_minor * units * round(amount * 100) // 10_000
        else:
            taken += min(line.unit_minor, round(amount * scale)) * units
    return taken


def _fits(coupon: Coupon, line: Line) -> bool:
    """Of what is limited to products or categories, either is enough."""
    products, categories = coupon.fields["product_ids"], coupon.fields["product_categories"]
    return not (products or categories) or line.product in products or line.category in categories
