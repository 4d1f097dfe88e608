"""Stripe's objects as our records: the only file that knows their field names.

The structs hold only what we use; msgspec skips the rest while it reads. Objects have no version on Stripe, so every
record's `source_updated_at` is None (events set their own time, see `webhooks.py`) and orders merge by monotone rules.

One purchase is told by two objects. The charge says what was paid; the Checkout session with the same payment intent
adds the codes, the e-mail, tax, shipping and discount, and counts no money itself: it was opened before the payment
and shows what was asked, which is not always what was captured. Merged in any order they give the same order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import msgspec

from connectors.stripe import birthdays
from rewards.changes import CouponSaved, CustomerSaved, Ignored, OrderSaved, RefundSaved
from rewards.records import (
    Benefit,
    BenefitKind,
    Coupon,
    Customer,
    Order,
    OrderStatus,
    Refund,
    RefundStatus,
    ShopFacts,
)

# Amounts that Stripe does not count in the minor units of ISO 4217: (ours, theirs) per unit of money.
# ISK and UGX lost their decimals but keep two here; MGA has none here (docs.stripe.com/currencies#special-cases,
# support.stripe.com/questions/deprecation-of-fractional-isk-charges-and-refunds).
_ODD_CURRENCIES = {"ISK": (1, 100), "UGX": (1, 100), "MGA": (100, 1)}

_REFUND_STATUS = {
    "pending": RefundStatus.PENDING,
    "requires_action": RefundStatus.PENDING,
    "succeeded": RefundStatus.SUCCEEDED,
    "failed": RefundStatus.FAILED,
    "canceled": RefundStatus.FAILED,
}


_time = partial(datetime.fromtimestamp, tz=UTC)


class Deleted(msgspec.Struct, gc=False):
    """What is left of any object in a `….deleted` event, and an object of which only the id matters."""

    id: str


class CustomerObject(msgspec.Struct, gc=False):
    id: str
    created: int
    email: str | None = None
    name: str | None = None
    phone: str | None = None
    preferred_locales: list[str] | None = None
    metadata: dict[str, str] | None = None


class BillingDetails(msgspec.Struct, gc=False):
    email: str | None = None


class Charge(msgspec.Struct, gc=False):
    id: str
    created: int
    currency: str
    status: str
    paid: bool
    captured: bool
    amount_captured: int
    customer: str | None = None
    payment_intent: str | None = None
    billing_details: BillingDetails | None = None
    receipt_email: str | None = None
    source_transfer: str | None = None


class CustomerDetails(msgspec.Struct, gc=False):
    email: str | None = None


class TotalDetails(msgspec.Struct, gc=False):
    amount_discount: int = 0
    amount_tax: int = 0
    amount_shipping: int | None = None


class SessionDiscount(msgspec.Struct, gc=False):
    promotion_code: str | None = None


class Session(msgspec.Struct, gc=False):
    id: str
    created: int
    mode: str
    payment_status: str
    status: str | None = None
    currency: str | None = None
    amount_total: int | None = None
    customer: str | None = None
    customer_email: str | None = None
    customer_details: CustomerDetails | None = None
    payment_intent: str | None = None
    total_details: TotalDetails | None = None
    discounts: list[SessionDiscount] | None = None


class RefundObject(msgspec.Struct, gc=False):
    id: str
    amount: int
    currency: str
    created: int
    status: str | None = None
    charge: str | None = None
    payment_intent: str | None = None


class CurrencyOption(msgspec.Struct, gc=False):
    amount_off: int | None = None


class AppliesTo(msgspec.Struct, gc=False):
    products: list[str] = []


class CouponObject(msgspec.Struct, gc=False):
    id: str
    valid: bool = False  # what is left of a deleted one does not say
    times_redeemed: int = 0
    name: str | None = None
    percent_off: float | None = None
    amount_off: int | None = None
    currency: str | None = None
    max_redemptions: int | None = None
    redeem_by: int | None = None
    # These two only where they are expanded.
    applies_to: AppliesTo | None = None
    currency_options: dict[str, CurrencyOption] | None = None


class Promotion(msgspec.Struct, gc=False):
    coupon: str | CouponObject | None = None


class Restrictions(msgspec.Struct, gc=False):
    minimum_amount: int | None = None
    minimum_amount_currency: str | None = None
    first_time_transaction: bool = False


class PromotionCode(msgspec.Struct, gc=False):
    id: str
    code: str
    active: bool
    created: int
    times_redeemed: int
    promotion: Promotion
    restrictions: Restrictions
    customer: str | None = None
    expires_at: int | None = None
    max_redemptions: int | None = None
    metadata: dict[str, str] | None = None


class Dashboard(msgspec.Struct, gc=False):
    display_name: str | None = None
    timezone: str | None = None


class AccountSettings(msgspec.Struct, gc=False):
    dashboard: Dashboard | None = None


class Account(msgspec.Struct, gc=False):
    id: str
    default_currency: str | None = None
    settings: AccountSettings | None = None


class WebhookEndpoint(msgspec.Struct, gc=False):
    id: str
    url: str
    status: str = ""
    enabled_events: list[str] = []
    api_version: str | None = None
    metadata: dict[str, str] | None = None
    secret: str | None = None


def facts(account: Account, mode: str) -> ShopFacts:
    """The account in one mode: its test data is a store of its own, so the two never meet."""
    dashboard = (account.settings.dashboard if account.settings else None) or Dashboard()
    return ShopFacts(
        external_id=external_id(account, mode),
        name=dashboard.display_name or account.id,
        time_zone=dashboard.timezone or "Etc/UTC",
        currency=(account.default_currency or "usd").upper(),
    )


def account_as_told(settings: Mapping[str, str]) -> Account:
    """The account that nobody may read, as its merchant told it when the app was installed."""
    told = Dashboard(settings.get("shop_name"), settings.get("shop_time_zone"))
    return Account(settings["account"], settings.get("shop_currency"), AccountSettings(told))


def external_id(account: Account, mode: str) -> str:
    """What names one mode of one account, e.g. "acct_1:test"."""
    return f"{account.id}:{mode}"


def minor(amount: int, currency: str) -> int:
    """Stripe's amount in the currency's own minor units; `currency` in capitals."""
    if currency in _ODD_CURRENCIES:
        ours, theirs = _ODD_CURRENCIES[currency]
        return amount * ours // theirs
    return amount


def stripe_amount(amount_minor: int, currency: str) -> int:
    """Minor units as Stripe wants them; `currency` in capitals."""
    ours, theirs = _ODD_CURRENCIES.get(currency, (1, 1))
    return amount_minor * theirs // ours


def customer_saved(
    found: CustomerObject, settings: Mapping[str, str], typed_birthday: str | None = None
) -> CustomerSaved:
    """A Customer. Every Customer counts as an account: Stripe's "guest customers" are no objects of the API.

    A birthday in the metadata is the merchant's word; `typed_birthday`, from Checkout, stands in where there is none.
    """
    metadata = found.metadata or {}
    birthday = birthdays.read(metadata.get(birthdays.key_of(settings)), settings)
    return CustomerSaved(
        Customer(
            external_id=found.id,
            email=found.email,
            name=found.name,
            has_account=True,
            joined_at=_time(found.created),
            birthday=birthday or (birthdays.read(typed_birthday, settings) if typed_birthday else None),
            locale=found.preferred_locales[0] if found.preferred_locales else None,
            phone=found.phone or None,
            metadata=metadata,
        )
    )


def order_of_charge(charge: Charge) -> OrderSaved | Ignored:
    """The purchase that a charge paid for; points count on all that was captured, a charge knows no tax.

    `amount_refunded` is left alone: each refund is told by an object of its own.
    """
    if charge.status != "succeeded" or not charge.paid:
        return Ignored("a charge that took no money")
    if not charge.captured:
        return Ignored("a charge that is authorized and not captured yet")
    if charge.source_transfer:
        return Ignored("a charge that came from another Stripe account")
    currency = charge.currency.upper()
    captured_minor = minor(charge.amount_captured, currency)
    billing = charge.billing_details
    at = _time(charge.created)
    # By position: a history has millions of these, and names cost a third of the time that making one takes.
    return OrderSaved(
        Order(
            charge.payment_intent or charge.id,
            charge.customer,
            (billing.email if billing else None) or charge.receipt_email,
            OrderStatus.PAID,
            charge.status,
            currency,
            captured_minor,  # subtotal, tax, shipping, discount, total
            0,
            0,
            0,
            captured_minor,
            at,  # placed, paid, cancelled
            at,
            None,
        )
    )


def order_of_session(session: Session) -> OrderSaved | Ignored:
    """What a completed Checkout session says of a purchase.

    Without a payment (100 % off) the session is the order. Otherwise it adds to the order of its payment intent, which
    becomes paid by its charge.
    """
    if session.mode != "payment":
        return Ignored(f"a Checkout session in {session.mode} mode: its payments are told by their charges")
    if session.status != "complete":
        return Ignored("a Checkout session that was not completed")
    free = session.payment_status == "no_payment_required"
    if not free and session.payment_intent is None:
        return Ignored("a Checkout session without a payment of its own")
    currency = (session.currency or "").upper()
    details = session.total_details or TotalDetails()
    total_minor = minor(session.amount_total or 0, currency) if free else 0
    at = _time(session.created)
    codes = (
        tuple([d.promotion_code for d in session.discounts if d.promotion_code]) if session.discounts else ()
    )
    return OrderSaved(
        Order(
            session.id if free else session.payment_intent or session.id,
            session.customer,
            _session_email(session),
            OrderStatus.PAID if free else OrderStatus.PENDING,
            session.payment_status,
            currency,
            total_minor,  # subtotal, tax, shipping, discount, total
            minor(details.amount_tax, currency),
            minor(details.amount_shipping or 0, currency),
            minor(details.amount_discount, currency),
            total_minor,
            at,  # placed, paid, cancelled
            at if free else None,
            None,
            False,  # test mode is a store of its own, whose orders all count there
            codes,
        )
    )


def order_that_failed(session: Session) -> OrderSaved | Ignored:
    """A session whose delayed payment failed after all; the same payment intent may still be paid in another way."""
    change = order_of_session(session)
    if isinstance(change, Ignored):
        return change
    return OrderSaved(replace(change.order, status=OrderStatus.FAILED))


def refund_saved(refund: RefundObject) -> RefundSaved | Ignored:
    """A refund, tied to its purchase by the same key as the charge's."""
    order = refund.payment_intent or refund.charge
    if order is None:
        return Ignored("a refund that belongs to no charge")
    return RefundSaved(
        order,
        Refund(
            external_id=refund.id,
            total_minor=minor(refund.amount, refund.currency.upper()),
            status=_REFUND_STATUS.get(refund.status or "succeeded", RefundStatus.PENDING),
            refunded_at=_time(refund.created),
        ),
    )


def coupon_saved(coupon: CouponObject) -> CouponSaved:
    """A coupon: the discount behind promotion codes, without a code of its own."""
    return CouponSaved(
        Coupon(
            external_id=coupon.id,
            code=None,
            title=coupon.name,
            benefit=benefit_of(coupon),
            is_active=coupon.valid,
            ends_at=_time(coupon.redeem_by) if coupon.redeem_by else None,
            usage_limit=coupon.max_redemptions,
            used_count=coupon.times_redeemed,
        )
    )


def code_saved(code: PromotionCode) -> CouponSaved:
    """A promotion code."""
    return CouponSaved(coupon_of_code(code))


def coupon_of_code(code: PromotionCode) -> Coupon:
    """A promotion code as a coupon with a code. Its benefit is known only where the coupon was expanded; events
    hold just the coupon's id, and then `benefit.kind` is OTHER.
    """
    coupon = code.promotion.coupon
    expanded = coupon if isinstance(coupon, CouponObject) else None
    return Coupon(
        external_id=code.id,
        code=code.code,
        title=expanded.name if expanded else None,
        benefit=benefit_of(expanded, code.restrictions) if expanded else Benefit(BenefitKind.OTHER),
        is_active=code.active,
        ends_at=_time(code.expires_at) if code.expires_at else None,
        usage_limit=code.max_redemptions,
        used_count=code.times_redeemed,
        customer_external_ids=(code.customer,) if code.customer else (),
        parent_external_id=expanded.id if expanded else coupon if isinstance(coupon, str) else None,
    )


def benefit_of(coupon: CouponObject, restrictions: Restrictions | None = None) -> Benefit:
    """What a coupon gives, on which products where that was expanded, and on what terms of the promotion code."""
    kind, points, off, currency = BenefitKind.OTHER, None, None, None
    minimum = None
    if restrictions and restrictions.minimum_amount and restrictions.minimum_amount_currency:
        currency = restrictions.minimum_amount_currency.upper()
        minimum = minor(restrictions.minimum_amount, currency)
    if coupon.percent_off is not None:
        kind, points = BenefitKind.PERCENTAGE, round(coupon.percent_off * 100)
    elif coupon.amount_off is not None and coupon.currency:
        kind, currency = BenefitKind.AMOUNT, coupon.currency.upper()
        off = minor(coupon.amount_off, currency)
    return Benefit(
        kind,
        basis_points=points,
        amount_minor=off,
        currency=currency,
        minimum_minor=minimum,
        product_external_ids=tuple(coupon.applies_to.products) if coupon.applies_to else (),
        first_time_only=restrictions.first_time_transaction if restrictions else False,
    )


def coupon_id_of(code: PromotionCode) -> str | None:
    """The id of the coupon behind a promotion code."""
    coupon = code.promotion.coupon
    return coupon.id if isinstance(coupon, CouponObject) else coupon


def _session_email(session: Session) -> str | None:
    details = session.customer_details
    return (details.email if details else None) or session.customer_email
