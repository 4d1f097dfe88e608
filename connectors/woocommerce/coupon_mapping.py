"""Coupons of WooCommerce as our records, drafts of ours as its coupons, and how the two differ.

Together with `mapping.py` the only file that knows its field names.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import TypedDict
from zoneinfo import ZoneInfo

import msgspec

from connectors.base import StoreOptions
from connectors.woocommerce.catalogue import is_number
from connectors.woocommerce.mapping import Meta, meta_text, utc
from rewards.changes import Change, CouponSaved, Ignored
from rewards.money import decimal_text, exponent, minor_units
from rewards.records import Benefit, BenefitKind, Binding, CodeDraft, Coupon

GRANT_META = "perennial_grant"


class _Limits(TypedDict):
    minimum_minor: int | None
    currency: str
    product_external_ids: tuple[str, ...]
    collection_external_ids: tuple[str, ...]


class CouponData(msgspec.Struct, gc=False):
    """A coupon; its code is always lower case. Shops of 2021 and before do not show a status."""

    id: int
    code: str
    amount: str
    discount_type: str
    status: str | None = "publish"
    date_modified_gmt: str | None = None
    date_expires_gmt: str | None = None
    description: str = ""
    usage_count: int = 0
    individual_use: bool = False
    usage_limit: int | None = None
    usage_limit_per_user: int | None = None
    limit_usage_to_x_items: int | None = None
    free_shipping: bool = False
    minimum_amount: str = "0"
    maximum_amount: str = "0"
    email_restrictions: list[str] = []
    product_ids: list[int] = []
    excluded_product_ids: list[int] = []
    product_categories: list[int] = []
    excluded_product_categories: list[int] = []
    exclude_sale_items: bool = False
    meta_data: list[Meta] = []

    @property
    def grant(self) -> str | None:
        """The idempotency key that we left in the coupon, if it is ours."""
        return meta_text(self.meta_data, GRANT_META)


COUPON_FIELDS = ",".join(CouponData.__struct_fields__)


def coupon_change(data: CouponData, options: StoreOptions) -> Change:
    """The coupon as it is now; one without a code is a draft in the admin pages."""
    if data.status == "auto-draft" or not data.code:
        return Ignored("a coupon that is not saved yet")
    return CouponSaved(coupon(data, options))


def coupon(data: CouponData, options: StoreOptions) -> Coupon:
    """The coupon's record."""
    return Coupon(
        external_id=str(data.id),
        code=data.code.lower(),
        title=data.description or None,
        benefit=_benefit(data, options.currency),
        is_active=data.status in ("publish", None),
        ends_at=utc(data.date_expires_gmt),
        usage_limit=data.usage_limit,
        used_count=data.usage_count,
        emails=tuple(email.lower() for email in data.email_restrictions),
        combines=not data.individual_use,
        source_updated_at=utc(data.date_modified_gmt),
    )


def _benefit(data: CouponData, currency: str) -> Benefit:
    limits: _Limits = {
        "minimum_minor": minor_units(data.minimum_amount or "0", currency) or None,
        "currency": currency,
        "product_external_ids": _texts(data.product_ids),
        "collection_external_ids": _texts(data.product_categories),
    }
    kind, hundredths, items = data.discount_type, _hundredths(data.amount), data.limit_usage_to_x_items
    if data.grant is not None and _has_limits_we_never_set(data):
        return Benefit(BenefitKind.OTHER, **limits)
    if data.free_shipping and not hundredths:
        return Benefit(BenefitKind.FREE_SHIPPING, **limits)
    if kind == "percent" and hundredths == 10_000 and items == 1 and data.product_ids:
        return Benefit(BenefitKind.FREE_PRODUCT, **limits)
    if kind == "percent" and items is None:
        return Benefit(BenefitKind.PERCENTAGE, basis_points=hundredths, **limits)
    if kind == "fixed_cart" or (kind == "fixed_product" and items == 1):
        return Benefit(BenefitKind.AMOUNT, amount_minor=minor_units(data.amount, currency), **limits)
    return Benefit(BenefitKind.OTHER, **limits)


def _has_limits_we_never_set(data: CouponData) -> bool:
    """Somebody has since made one of our coupons worth less."""
    return _excludes(data) or bool(_hundredths(data.maximum_amount))


def _excludes(data: CouponData) -> bool:
    return bool(data.excluded_product_ids or data.excluded_product_categories or data.exclude_sale_items)


def _hundredths(amount: str) -> int:
    try:
        return int(Decimal(amount or "0") * 100)
    except (InvalidOperation, ValueError, OverflowError):
        return 0


def coupon_body(draft: CodeDraft, options: StoreOptions) -> dict[str, object]:
    """What makes (or mends) the coupon of a draft: every field that decides who may use it, and for what."""
    benefit = draft.benefit
    kind, amount, items = _discount(benefit, options.currency)
    minimum = decimal_text(benefit.minimum_minor, options.currency) if benefit.minimum_minor else "0"
    return {
        "code": draft.code.lower(),
        "status": "publish",
        "discount_type": kind,
        "amount": amount,
        "description": draft.title,
        "individual_use": not draft.combines,
        "usage_limit": 1,
        "usage_limit_per_user": 1,
        "limit_usage_to_x_items": items,
        "email_restrictions": [draft.email] if draft.binding is Binding.BOUND else [],
        "date_expires": _shop_local(draft.ends_at, options),
        "minimum_amount": minimum,
        "maximum_amount": "0",
        "free_shipping": benefit.kind is BenefitKind.FREE_SHIPPING,
        "product_ids": _numbers(benefit.product_external_ids),
        "excluded_product_ids": [],
        "product_categories": _numbers(benefit.collection_external_ids),
        "excluded_product_categories": [],
        "exclude_sale_items": False,
        "meta_data": [{"key": GRANT_META, "value": draft.idempotency_key}],
    }


def _discount(benefit: Benefit, currency: str) -> tuple[str, str, int]:
    """Kind, amount, and to how many units it is limited (0: to none).

    `fixed_cart` would come off the whole cart as soon as one of the products is in it, and `fixed_product` off each
    unit; so an amount for some products is `fixed_product` on one unit.
    """
    if benefit.kind is BenefitKind.FREE_PRODUCT:
        return "percent", "100", 1
    if benefit.kind is BenefitKind.PERCENTAGE:
        return "percent", format(Decimal(benefit.basis_points or 0).scaleb(-2), "f"), 0
    if benefit.kind is BenefitKind.AMOUNT:
        amount = decimal_text(benefit.amount_minor or 0, currency)
        is_limited = bool(benefit.product_external_ids or benefit.collection_external_ids)
        return ("fixed_product", amount, 1) if is_limited else ("fixed_cart", amount, 0)
    return "fixed_cart", "0", 0


def unfit(draft: CodeDraft, options: StoreOptions) -> str | None:
    """Why this draft cannot become a coupon, or None."""
    benefit = draft.benefit
    if draft.binding is Binding.BOUND and not draft.email:
        return "the customer has no e-mail address, and the shop binds a code to one"
    if draft.binding is Binding.BOUND and "*" in (draft.email or ""):
        return "the customer's e-mail address has a * in it, which the shop would take for any text"
    if benefit.kind is BenefitKind.OTHER:
        return "the shop has no coupon of this kind"
    if benefit.first_time_only:
        return "the shop's coupons cannot tell a first order from a later one"
    if benefit.kind is BenefitKind.FREE_PRODUCT and not benefit.product_external_ids:
        return "a free product needs the number of the product"
    if not all(map(is_number, (*benefit.product_external_ids, *benefit.collection_external_ids))):
        return "products and categories of the shop are named by their numbers"
    if benefit.kind is BenefitKind.AMOUNT and (benefit.currency or options.currency) != options.currency:
        return "the amount is not in the shop's currency"
    if any(
        _has_third_decimal(minor, options.currency) for minor in (benefit.amount_minor, benefit.minimum_minor)
    ):
        return "the shop shows a coupon's amounts with two decimals; choose an amount without a third one"
    return None


def differences(data: CouponData, draft: CodeDraft, options: StoreOptions) -> list[str]:
    """How the shop's coupon differs from what was asked, in what decides who may use it and for what.

    The shop takes a bad e-mail restriction, amount or date in silence and keeps something else.
    """
    asked = coupon_body(draft, options)
    emails = [(draft.email or "").lower()] if draft.binding is Binding.BOUND else []
    checks = {
        "code": data.code.lower() == asked["code"],
        "status": data.status in ("publish", None),
        "e-mail": [email.lower() for email in data.email_restrictions] == emails,
        "amount": (data.discount_type, _decimal(data.amount))
        == (asked["discount_type"], _decimal(str(asked["amount"]))),
        "minimum": _decimal(data.minimum_amount) == _decimal(str(asked["minimum_amount"])),
        "maximum": not _decimal(data.maximum_amount),
        "expiry": _same_moment(utc(data.date_expires_gmt), draft.ends_at),
        "number of uses": data.usage_limit == 1 and data.usage_limit_per_user == 1,
        "number of units": (data.limit_usage_to_x_items or 0) == asked["limit_usage_to_x_items"],
        "free shipping": data.free_shipping == asked["free_shipping"],
        "use beside other coupons": data.individual_use == asked["individual_use"],
        "products": set(_texts(data.product_ids)) == set(draft.benefit.product_external_ids),
        "categories": set(_texts(data.product_categories)) == set(draft.benefit.collection_external_ids),
        "exclusions": not _excludes(data),
        "reference to the reward": data.grant == draft.idempotency_key,
    }
    return [name for name, holds in checks.items() if not holds]


def _decimal(text: str) -> Decimal | None:
    try:
        return Decimal(text or "0")
    except InvalidOperation:
        return None


def _has_third_decimal(minor: int | None, currency: str) -> bool:
    return exponent(currency) == 3 and bool((minor or 0) % 10)


def _numbers(ids: Sequence[str]) -> list[int]:
    return [int(number) for number in ids]


def _texts(numbers: Sequence[int]) -> tuple[str, ...]:
    return tuple(map(str, numbers))


def _same_moment(seen: datetime | None, wanted: datetime) -> bool:
    """Equal, or an hour apart: when clocks go back, a local time without offset stands for two moments."""
    return seen is not None and abs(seen - wanted) <= timedelta(hours=1)


def _shop_local(moment: datetime, options: StoreOptions) -> str:
    return moment.astimezone(ZoneInfo(options.time_zone)).strftime("%Y-%m-%dT%H:%M:%S")


class ItemError(msgspec.Struct):
    """Why one item of a batch failed."""

    code: str = ""


class _BatchItem(msgspec.Struct):
    error: ItemError | None = None


class _CouponBatch(msgspec.Struct):
    create: list[msgspec.Raw] = []
    delete: list[msgspec.Raw] = []


def batch_answer(body: bytes) -> list[CouponData | ItemError]:
    """A batch's coupons and refusals, each at the place of what was sent."""
    raws = msgspec.json.decode(body, type=_CouponBatch).create
    errors = [msgspec.json.decode(raw, type=_BatchItem).error for raw in raws]
    return [
        error or msgspec.json.decode(raw, type=CouponData) for raw, error in zip(raws, errors, strict=True)
    ]


def removal_answer(body: bytes) -> list[ItemError | None]:
    """Why each of a batch's removals failed, at its place; None where it did not."""
    raws = msgspec.json.decode(body, type=_CouponBatch).delete
    return [msgspec.json.decode(raw, type=_BatchItem).error for raw in raws]
