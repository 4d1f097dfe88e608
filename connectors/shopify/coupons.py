"""Shopify's discounts to coupons and our drafts to discounts: the part of the mapping that is about codes."""

from __future__ import annotations

import msgspec

from connectors.shopify.mapping import Moment, external_id, gid
from rewards.money import decimal_text, minor_units
from rewards.records import Benefit, BenefitKind, CodeDraft, Coupon

_BASIC, _FREE_SHIPPING = "DiscountCodeBasic", "DiscountCodeFreeShipping"


class _Money(msgspec.Struct, rename="camel"):
    amount: str
    currency_code: str


class _Code(msgspec.Struct):
    code: str


class _Codes(msgspec.Struct):
    nodes: list[_Code] = []


class _CustomerId(msgspec.Struct):
    id: str


class _Context(msgspec.Struct):
    customers: list[_CustomerId] = []


class _Value(msgspec.Struct):
    amount: _Money | None = None
    percentage: float | None = None


class _Gets(msgspec.Struct):
    value: _Value


class _Minimum(msgspec.Struct, rename="camel"):
    greater_than_or_equal_to_subtotal: _Money | None = None


class _Discount(msgspec.Struct, rename="camel"):
    kind: str = msgspec.field(name="__typename")
    title: str = ""
    status: str = ""
    starts_at: Moment | None = None
    ends_at: Moment | None = None
    updated_at: Moment | None = None
    usage_limit: int | None = None
    async_usage_count: int | None = None
    codes: _Codes = msgspec.field(default_factory=_Codes)
    context: _Context = msgspec.field(default_factory=_Context)
    customer_gets: _Gets | None = None
    minimum_requirement: _Minimum | None = None


class DiscountNode(msgspec.Struct):
    """A discount as our operations select it."""

    id: str
    discount: _Discount

    @property
    def code(self) -> str:
        """Its first code; ours have one."""
        codes = self.discount.codes.nodes
        return codes[0].code if codes else ""

    @property
    def customer_gids(self) -> tuple[str, ...]:
        """The customers that it is bound to; empty when it is for others too."""
        return tuple(customer.id for customer in self.discount.context.customers)

    @property
    def has_minimum(self) -> bool:
        """True when it asks for a minimum subtotal."""
        return _minimum(self.discount) is not None

    def is_kind_of(self, draft: CodeDraft) -> bool:
        """True when the draft's benefit can be written into this discount."""
        return self.discount.kind == (_FREE_SHIPPING if is_free_shipping(draft) else _BASIC)


def coupon(node: DiscountNode) -> Coupon:
    """The record of a discount. A scheduled one is active: nobody has switched it off."""
    found = node.discount
    return Coupon(
        external_id=external_id(node.id),
        code=node.code or None,
        title=found.title or None,
        benefit=_benefit(found),
        is_active=found.status in ("ACTIVE", "SCHEDULED"),
        starts_at=found.starts_at,
        ends_at=found.ends_at,
        usage_limit=found.usage_limit,
        used_count=found.async_usage_count,
        customer_external_ids=tuple(external_id(customer) for customer in node.customer_gids),
        source_updated_at=found.updated_at,
    )


def _benefit(found: _Discount) -> Benefit:
    least = _minimum(found)
    minimum = minor_units(least.amount, least.currency_code) if least else None
    if found.kind == _FREE_SHIPPING:
        return Benefit(BenefitKind.FREE_SHIPPING, minimum_minor=minimum)
    value = found.customer_gets.value if found.customer_gets else _Value()
    if value.percentage is not None:
        return Benefit(
            BenefitKind.PERCENTAGE, basis_points=round(value.percentage * 10_000), minimum_minor=minimum
        )
    if value.amount is not None:
        money = value.amount
        amount = minor_units(money.amount, money.currency_code)
        return Benefit(
            BenefitKind.AMOUNT, amount_minor=amount, currency=money.currency_code, minimum_minor=minimum
        )
    return Benefit(BenefitKind.OTHER, minimum_minor=minimum)


def _minimum(found: _Discount) -> _Money | None:
    asked = found.minimum_requirement
    return asked.greater_than_or_equal_to_subtotal if asked else None


def is_free_shipping(draft: CodeDraft) -> bool:
    """Free shipping is made by mutations of its own."""
    return draft.benefit.kind is BenefitKind.FREE_SHIPPING


def why_not(draft: CodeDraft, currency: str) -> str | None:
    """Why Shopify cannot hold this draft as a bound code, or None when it can."""
    benefit = draft.benefit
    if draft.customer_external_id is None:
        return "Shopify binds a personal code to a customer record, and this member has none in the store."
    if benefit.kind is BenefitKind.OTHER:
        return "This kind of benefit cannot be made on Shopify."
    if benefit.kind is BenefitKind.AMOUNT and benefit.currency not in (None, currency):
        return f"The amount is in {benefit.currency}, but the shop's discounts are in {currency}."
    return None


def discount_input(draft: CodeDraft, currency: str) -> dict[str, object]:
    """DiscountCodeBasicInput or DiscountCodeFreeShippingInput of a draft that `why_not` lets pass."""
    benefit = draft.benefit
    content: dict[str, object] = {
        "title": draft.title,
        "code": draft.code,
        "startsAt": draft.starts_at,
        "endsAt": draft.ends_at,
        "usageLimit": 1,
        "appliesOncePerCustomer": True,
        "context": {"customers": {"add": [customer_gid(draft)]}},
    }
    if benefit.minimum_minor:
        content["minimumRequirement"] = _minimum_input(decimal_text(benefit.minimum_minor, currency))
    if is_free_shipping(draft):
        return content | {"destination": {"all": True}}
    value: dict[str, object] = {"percentage": (benefit.basis_points or 0) / 10_000}
    if benefit.kind is BenefitKind.AMOUNT:
        amount = decimal_text(benefit.amount_minor or 0, currency)
        value = {"discountAmount": {"amount": amount, "appliesOnEachItem": False}}
    return content | {"customerGets": {"value": value, "items": {"all": True}}}


def repair_input(draft: CodeDraft, found: DiscountNode, currency: str) -> dict[str, object]:
    """The input that makes a discount, edited by somebody, what the draft says again."""
    ours = customer_gid(draft)
    others = [customer for customer in found.customer_gids if customer != ours]
    content = discount_input(draft, currency)
    content["context"] = {"customers": {"add": [ours], **({"remove": others} if others else {})}}
    if found.has_minimum and not draft.benefit.minimum_minor:
        content["minimumRequirement"] = _minimum_input(None)
    return content


def customer_gid(draft: CodeDraft) -> str:
    """The customer that the draft is for, as Shopify names it."""
    return gid("Customer", draft.customer_external_id or "")


def same_code(one: str, other: str) -> bool:
    """Shopify's codes do not tell capitals from small letters."""
    return one.casefold() == other.casefold()


def _minimum_input(amount: str | None) -> dict[str, object]:
    return {"subtotal": {"greaterThanOrEqualToSubtotal": amount}}
