"""Coupons of WooCommerce as our records, drafts of ours as its coupons, and how the two differ.

Together with `mapping.py` the only file that knows its field names.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from zoneinfo import ZoneInfo

import msgspec

from connectors.base import StoreOptions
from connectors.woocommerce.mapping import Meta, meta_text, utc
from rewards.changes import Change, CouponSaved, Ignored
from rewards.money import decimal_text, minor_units
from rewards.records import Benefit, BenefitKind, CodeDraft, Coupon

GRANT_META = "perennial_grant"


class CouponData(msgspec.Struct, gc=False):
    """A coupon; its code is always lower case."""

    id: int
    code: str
    amount: str
    status: str
    discount_type: str
    date_modified_gmt: str | None = None
    date_expires_gmt: str | None = None
    description: str = ""
    usage_count: int = 0
    usage_limit: int | None = None
    free_shipping: bool = False
    minimum_amount: str = "0"
    email_restrictions: list[str] = []
    product_ids: list[int] = []
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
        is_active=data.status == "publish",
        ends_at=utc(data.date_expires_gmt),
        usage_limit=data.usage_limit,
        used_count=data.usage_count,
        emails=tuple(email.lower() for email in data.email_restrictions),
        source_updated_at=utc(data.date_modified_gmt),
    )


def _benefit(data: CouponData, currency: str) -> Benefit:
    minimum = minor_units(data.minimum_amount or "0", currency) or None
    kind, hundredths = data.discount_type, _hundredths(data.amount)
    if data.free_shipping and not hundredths:
        return Benefit(BenefitKind.FREE_SHIPPING, minimum_minor=minimum, currency=currency)
    if kind == "percent":
        return Benefit(
            BenefitKind.PERCENTAGE, basis_points=hundredths, minimum_minor=minimum, currency=currency
        )
    if kind == "fixed_cart":
        amount = minor_units(data.amount, currency)
        return Benefit(BenefitKind.AMOUNT, amount_minor=amount, minimum_minor=minimum, currency=currency)
    return Benefit(BenefitKind.OTHER, minimum_minor=minimum, currency=currency)


def _hundredths(amount: str) -> int:
    try:
        return int(Decimal(amount or "0") * 100)
    except (InvalidOperation, ValueError, OverflowError):
        return 0


def coupon_body(draft: CodeDraft, options: StoreOptions) -> dict[str, object]:
    """What makes (or mends) the coupon of a draft: every field that decides who may use it, and for what."""
    benefit = draft.benefit
    kind, amount = "fixed_cart", "0"
    if benefit.kind is BenefitKind.PERCENTAGE:
        kind, amount = "percent", format(Decimal(benefit.basis_points or 0).scaleb(-2), "f")
    elif benefit.kind is BenefitKind.AMOUNT:
        amount = decimal_text(benefit.amount_minor or 0, options.currency)
    minimum = decimal_text(benefit.minimum_minor, options.currency) if benefit.minimum_minor else "0"
    return {
        "code": draft.code.lower(),
        "status": "publish",
        "discount_type": kind,
        "amount": amount,
        "description": draft.title,
        "individual_use": False,
        "usage_limit": 1,
        "usage_limit_per_user": 1,
        "email_restrictions": [draft.email],
        "date_expires": _shop_local(draft.ends_at, options),
        "minimum_amount": minimum,
        "maximum_amount": "0",
        "free_shipping": benefit.kind is BenefitKind.FREE_SHIPPING,
        "product_ids": [],
        "excluded_product_ids": [],
        "product_categories": [],
        "excluded_product_categories": [],
        "exclude_sale_items": False,
        "meta_data": [{"key": GRANT_META, "value": draft.idempotency_key}],
    }


def unfit(draft: CodeDraft, options: StoreOptions) -> str | None:
    """Why this draft cannot become a coupon, or None."""
    benefit = draft.benefit
    if not draft.email:
        return "the customer has no e-mail address, and the shop binds a code to one"
    if benefit.kind is BenefitKind.OTHER:
        return "the shop has no coupon of this kind"
    if benefit.kind is BenefitKind.AMOUNT and (benefit.currency or options.currency) != options.currency:
        return "the amount is not in the shop's currency"
    return None


def differences(data: CouponData, draft: CodeDraft, options: StoreOptions) -> list[str]:
    """How the shop's coupon differs from the draft in what decides who may use it and for what.

    The shop takes a bad e-mail restriction, amount or date in silence and keeps something else.
    """
    seen, wanted = _benefit(data, options.currency), draft.benefit
    checks = {
        "code": data.code.lower() == draft.code.lower(),
        "status": data.status == "publish",
        "e-mail": [email.lower() for email in data.email_restrictions] == [(draft.email or "").lower()],
        "amount": (seen.kind, seen.basis_points, seen.amount_minor)
        == (wanted.kind, wanted.basis_points, wanted.amount_minor),
        "minimum": seen.minimum_minor == (wanted.minimum_minor or None),
        "expiry": _same_moment(utc(data.date_expires_gmt), draft.ends_at),
        "number of uses": data.usage_limit == 1,
        "products": not data.product_ids,
    }
    return [name for name, holds in checks.items() if not holds]


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
    create: list[msgspec.Raw]


def batch_answer(body: bytes) -> list[CouponData | ItemError]:
    """A batch's coupons and refusals, each at the place of what was sent."""
    raws = msgspec.json.decode(body, type=_CouponBatch).create
    errors = [msgspec.json.decode(raw, type=_BatchItem).error for raw in raws]
    return [
        error or msgspec.json.decode(raw, type=CouponData) for raw, error in zip(raws, errors, strict=True)
    ]
