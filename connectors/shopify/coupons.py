"""Shopify's discounts to coupons: the part of the mapping that is about discounts as the shop holds them."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from connectors.shopify.mapping import Moment, external_id
from rewards.money import minor_units
from rewards.records import Benefit, BenefitKind, Coupon

BASIC, FREE_SHIPPING = "DiscountCodeBasic", "DiscountCodeFreeShipping"
POOL_TAG = "perennial-pool"  # on the discounts that hold many members' codes
GIFT_TAG = "perennial-free-product"  # on those that take the price of one product off


class Money(msgspec.Struct, rename="camel"):
    amount: str
    currency_code: str


class _Code(msgspec.Struct):
    code: str


class _Codes(msgspec.Struct):
    nodes: list[_Code] = []


class _Count(msgspec.Struct):
    count: int = 1


class Numbered(msgspec.Struct):
    id: str


class _Context(msgspec.Struct):
    kind: str = msgspec.field(name="__typename", default="DiscountBuyerSelectionAll")
    customers: list[Numbered] = []


class _Limit(msgspec.Struct):
    kind: str = msgspec.field(name="__typename", default="AllDiscountItems")


class _Quantity(msgspec.Struct):
    quantity: str = "0"


class _Effect(msgspec.Struct):
    percentage: float | None = None


class _Value(msgspec.Struct):
    amount: Money | None = None
    percentage: float | None = None
    quantity: _Quantity | None = None
    effect: _Effect | None = None


class _Gets(msgspec.Struct):
    value: _Value = msgspec.field(default_factory=_Value)
    items: _Limit = msgspec.field(default_factory=_Limit)


class _Asked(msgspec.Struct):
    amount: str | None = None
    quantity: str | None = None


class _Buys(msgspec.Struct):
    value: _Asked = msgspec.field(default_factory=_Asked)


class _Minimum(msgspec.Struct, rename="camel"):
    greater_than_or_equal_to_subtotal: Money | None = None


class _Combines(msgspec.Struct, rename="camel"):
    order_discounts: bool = False
    product_discounts: bool = False
    shipping_discounts: bool = False


class _Discount(msgspec.Struct, rename="camel"):
    kind: str = msgspec.field(name="__typename")
    title: str = ""
    status: str = ""
    starts_at: Moment | None = None
    ends_at: Moment | None = None
    updated_at: Moment | None = None
    usage_limit: int | None = None
    uses_per_order_limit: int | None = None
    async_usage_count: int | None = None
    tags: list[str] = []
    codes_count: _Count | None = None
    codes: _Codes = msgspec.field(default_factory=_Codes)
    context: _Context = msgspec.field(default_factory=_Context)
    combines_with: _Combines | None = None
    customer_gets: _Gets | None = None
    customer_buys: _Buys | None = None
    minimum_requirement: _Minimum | None = None


class DiscountNode(msgspec.Struct):
    """A discount as our operations select it."""

    id: str
    discount: _Discount

    @property
    def number(self) -> str:
        """The number at the end of its gid."""
        return external_id(self.id)

    @property
    def kind(self) -> str:
        """Shopify's name of its kind."""
        return self.discount.kind

    @property
    def code(self) -> str:
        """Its first code; a personal one has no other."""
        codes = self.discount.codes.nodes
        return codes[0].code if codes else ""

    @property
    def codes_count(self) -> int:
        """How many codes it holds."""
        return self.discount.codes_count.count if self.discount.codes_count else 1

    @property
    def is_pool(self) -> bool:
        """True for a discount of ours that holds the codes of many members."""
        return POOL_TAG in self.discount.tags

    @property
    def is_active(self) -> bool:
        """False when somebody has ended it. A scheduled one is active: nobody has switched it off."""
        return self.discount.status in ("ACTIVE", "SCHEDULED")

    @property
    def customer_gids(self) -> tuple[str, ...]:
        """The customers that it is bound to; empty when it is for others too."""
        return tuple(customer.id for customer in self.discount.context.customers)

    @property
    def has_minimum(self) -> bool:
        """True when it asks for a minimum subtotal."""
        return _minimum(self.discount) is not None

    @property
    def is_limited(self) -> bool:
        """True when it counts for some products or collections only."""
        gets = self.discount.customer_gets
        return gets is not None and gets.items.kind != "AllDiscountItems"


class Goods(msgspec.Struct, frozen=True):
    """What a discount is limited to, by gid, and what the dearest of the products costs, in minor units."""

    products: tuple[str, ...] = ()
    collections: tuple[str, ...] = ()
    price_minor: int = 0

    @property
    def count(self) -> int:
        """How many it names."""
        return len(self.products) + len(self.collections)


def coupon(node: DiscountNode, currency: str, goods: Goods | None = None) -> Coupon:
    """The record of a discount; what it is limited to only where the goods were read. `currency` is the shop's."""
    found = node.discount
    return Coupon(
        external_id=node.number,
        # A pool's first code is its anchor, which is nobody's to use.
        code=None if node.is_pool else node.code or None,
        title=found.title or None,
        benefit=_with_goods(_benefit(found, currency, goods), goods or Goods()),
        is_active=node.is_active,
        starts_at=found.starts_at,
        ends_at=found.ends_at,
        usage_limit=found.usage_limit,
        used_count=found.async_usage_count,
        customer_external_ids=tuple(external_id(customer) for customer in node.customer_gids),
        source_updated_at=found.updated_at,
        combines=_combines(found),
    )


def _benefit(found: _Discount, currency: str, goods: Goods | None) -> Benefit:
    least = _minimum(found)
    minimum = minor_units(least.amount, least.currency_code) if least else None
    if found.kind == FREE_SHIPPING:
        return Benefit(BenefitKind.FREE_SHIPPING, minimum_minor=minimum)
    value = found.customer_gets.value if found.customer_gets else _Value()
    if value.percentage is not None:
        return Benefit(
            BenefitKind.PERCENTAGE, basis_points=round(value.percentage * 10_000), minimum_minor=minimum
        )
    if value.amount is not None:
        money = value.amount
        amount = minor_units(money.amount, money.currency_code)
        # Prices rise: then it is an amount, and no longer the whole product.
        if GIFT_TAG in found.tags and (goods is None or amount >= goods.price_minor):
            return Benefit(BenefitKind.FREE_PRODUCT, minimum_minor=minimum)
        return Benefit(
            BenefitKind.AMOUNT, amount_minor=amount, currency=money.currency_code, minimum_minor=minimum
        )
    if found.customer_buys and _is_one_for_nothing(found, value):
        least_bought = found.customer_buys.value.amount
        minimum = minor_units(least_bought, currency) if least_bought else None
        return Benefit(BenefitKind.FREE_PRODUCT, minimum_minor=minimum)
    return Benefit(BenefitKind.OTHER, minimum_minor=minimum)


def _is_one_for_nothing(found: _Discount, value: _Value) -> bool:
    """One unit, once an order, for buying one other thing or for some amount."""
    one = value.quantity is not None and value.quantity.quantity == "1" and found.uses_per_order_limit == 1
    free = value.effect is not None and value.effect.percentage == 1.0
    asked = found.customer_buys.value if found.customer_buys else _Asked()
    return one and free and (asked.amount is not None or asked.quantity == "1")


def _with_goods(benefit: Benefit, goods: Goods) -> Benefit:
    return replace(
        benefit,
        product_external_ids=tuple(external_id(gid) for gid in goods.products),
        collection_external_ids=tuple(external_id(gid) for gid in goods.collections),
    )


def _combines(found: _Discount) -> bool | None:
    """Shipping does not combine with shipping, so for free shipping that says nothing."""
    rules = found.combines_with
    if rules is None:
        return None
    shipping = rules.shipping_discounts or found.kind == FREE_SHIPPING
    return rules.order_discounts and rules.product_discounts and shipping


def _minimum(found: _Discount) -> Money | None:
    asked = found.minimum_requirement
    return asked.greater_than_or_equal_to_subtotal if asked else None


def same_code(one: str, other: str) -> bool:
    """Shopify's codes do not tell capitals from small letters."""
    return one.casefold() == other.casefold()
