"""Stripe's objects as our records."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from connectors.stripe import mapping
from connectors.stripe.mapping import (
    Charge,
    CouponObject,
    CustomerObject,
    PromotionCode,
    RefundObject,
    Session,
)
from rewards.changes import Ignored, OrderSaved, RefundSaved
from rewards.records import Benefit, BenefitKind, Birthday, Order, OrderStatus, RefundStatus

AT = 1_767_225_600


def charge(**changes: object) -> Charge:
    given = {
        "id": "ch_1",
        "created": AT,
        "currency": "eur",
        "status": "succeeded",
        "paid": True,
        "captured": True,
        "amount_captured": 12_100,
        "customer": "cus_1",
        "payment_intent": "pi_1",
        "billing_details": {"email": "Ada@people.example"},
    }
    return msgspec.convert(given | changes, Charge)


def session(**changes: object) -> Session:
    given = {
        "id": "cs_1",
        "created": AT - 60,
        "currency": "eur",
        "mode": "payment",
        "status": "complete",
        "payment_status": "paid",
        "payment_intent": "pi_1",
        "amount_total": 12_100,
        "customer_details": {"email": "Ada@people.example"},
        "total_details": {"amount_discount": 500, "amount_tax": 2_100, "amount_shipping": 495},
        "discounts": [{"coupon": None, "promotion_code": "promo_1"}],
    }
    return msgspec.convert(given | changes, Session)


def customer(**changes: object) -> CustomerObject:
    return msgspec.convert({"id": "cus_1", "created": AT} | changes, CustomerObject)


def order_of(change: OrderSaved | Ignored) -> Order:
    assert isinstance(change, OrderSaved)
    return change.order


def test_a_charge_is_an_order_of_all_that_was_captured() -> None:
    order = order_of(mapping.order_of_charge(charge(amount_captured=9_000)))
    assert (order.external_id, order.customer_external_id, order.email) == (
        "pi_1",
        "cus_1",
        "Ada@people.example",
    )
    assert (order.subtotal_minor, order.total_minor, order.currency) == (9_000, 9_000, "EUR")
    assert order.status is OrderStatus.PAID
    assert order.paid_at == datetime.fromtimestamp(AT, UTC)


def test_a_charge_without_payment_intent_is_known_by_itself() -> None:
    assert order_of(mapping.order_of_charge(charge(payment_intent=None))).external_id == "ch_1"


def test_a_guest_is_known_by_the_receipt_where_billing_says_nothing() -> None:
    guest = charge(customer=None, billing_details={"email": None}, receipt_email="guest@people.example")
    assert order_of(mapping.order_of_charge(guest)).email == "guest@people.example"


@pytest.mark.parametrize(
    "changes",
    [{"status": "failed", "paid": False}, {"status": "pending", "paid": False}, {"captured": False},
     {"source_transfer": "tr_1"}],
)  # fmt: skip
def test_a_charge_that_is_no_purchase_counts_for_nothing(changes: dict[str, object]) -> None:
    assert isinstance(mapping.order_of_charge(charge(**changes)), Ignored)


def test_a_session_adds_codes_to_its_charge_and_counts_no_money() -> None:
    order = order_of(mapping.order_of_session(session()))
    assert (order.external_id, order.codes) == ("pi_1", ("promo_1",))
    assert (order.status, order.paid_at, order.total_minor, order.subtotal_minor) == (
        OrderStatus.PENDING,
        None,
        0,
        0,
    )
    assert (order.tax_minor, order.shipping_minor, order.discount_minor) == (2_100, 495, 500)


def test_a_session_without_payment_is_a_paid_order_of_its_own() -> None:
    free = session(payment_status="no_payment_required", payment_intent=None, amount_total=0)
    order = order_of(mapping.order_of_session(free))
    assert (order.external_id, order.status, order.total_minor) == ("cs_1", OrderStatus.PAID, 0)
    assert order.paid_at == order.placed_at
    assert order.codes == ("promo_1",)


@pytest.mark.parametrize(
    "changes", [{"mode": "setup"}, {"mode": "subscription"}, {"status": "expired"}, {"payment_intent": None}]
)
def test_a_session_that_tells_of_no_purchase_is_left_out(changes: dict[str, object]) -> None:
    assert isinstance(mapping.order_of_session(session(**changes)), Ignored)


@pytest.mark.parametrize(
    ("status", "ours"),
    [("pending", RefundStatus.PENDING), ("requires_action", RefundStatus.PENDING), (None, RefundStatus.SUCCEEDED),
     ("succeeded", RefundStatus.SUCCEEDED), ("failed", RefundStatus.FAILED), ("canceled", RefundStatus.FAILED)],
)  # fmt: skip
def test_a_refund_keeps_its_own_status(status: str | None, ours: RefundStatus) -> None:
    refund = RefundObject("re_1", 400, "eur", AT, status, "ch_1", None)
    change = mapping.refund_saved(refund)
    assert isinstance(change, RefundSaved)
    assert (change.order_external_id, change.refund.status) == ("ch_1", ours)


def test_a_refund_of_nothing_is_left_out() -> None:
    assert isinstance(mapping.refund_saved(RefundObject("re_1", 400, "eur", AT)), Ignored)


@pytest.mark.parametrize(
    ("text", "birthday"),
    [
        ("1984-02-29", Birthday(2, 29, 1984)),
        ("02-29", Birthday(2, 29)),
        ("--12-31", Birthday(12, 31)),
        ("04-31", None),
        ("1985-02-29", None),
        ("31.04.1984", None),
        ("soon", None),
        ("", None),
    ],
)
def test_a_birthday_is_read_or_left_out_never_guessed(text: str, birthday: Birthday | None) -> None:
    found = mapping.customer_saved(customer(metadata={"dob": text}), {"birthday_key": "dob"}).customer
    assert found.birthday == birthday
    assert found.metadata == {"dob": text}


def test_a_customers_phone_is_read_and_an_empty_one_is_none() -> None:
    for given, held in (("+34600000001", "+34600000001"), ("", None), (None, None)):
        found = mapping.customer_saved(mapping.CustomerObject("cus_1", 1_700_000_000, phone=given), {})
        assert found.customer.phone == held


def test_every_customer_has_an_account_from_the_day_it_was_created() -> None:
    found = mapping.customer_saved(customer(preferred_locales=["es-ES", "en"]), {}).customer
    assert (found.has_account, found.locale, found.birthday) == (True, "es-ES", None)
    assert found.joined_at == datetime.fromtimestamp(AT, UTC)


@pytest.mark.parametrize(
    ("currency", "theirs", "ours"),
    [("EUR", 1_234, 1_234), ("JPY", 500, 500), ("ISK", 50_000, 500), ("UGX", 50_000, 500), ("MGA", 7, 700),
     ("KWD", 5_120, 5_120)],
)  # fmt: skip
def test_odd_currencies_are_counted_as_the_rest_of_the_world_does(
    currency: str, theirs: int, ours: int
) -> None:
    assert mapping.minor(theirs, currency) == ours
    assert mapping.stripe_amount(ours, currency) == theirs
    order = order_of(mapping.order_of_charge(charge(currency=currency.lower(), amount_captured=theirs)))
    assert order.total_minor == ours


def test_a_code_shows_its_coupon_only_where_that_was_expanded() -> None:
    shown = {"id": "promo_1", "code": "A-1", "active": True, "created": AT, "times_redeemed": 0, "customer": "cus_1",
             "restrictions": {"minimum_amount": 2_000, "minimum_amount_currency": "eur"}}  # fmt: skip
    coupon = {"id": "c", "valid": True, "times_redeemed": 0, "percent_off": 12.5, "name": "Birthday"}
    bare = mapping.coupon_of_code(msgspec.convert(shown | {"promotion": {"coupon": "c"}}, PromotionCode))
    full = mapping.coupon_of_code(msgspec.convert(shown | {"promotion": {"coupon": coupon}}, PromotionCode))
    assert (bare.parent_external_id, bare.benefit) == ("c", Benefit(BenefitKind.OTHER))
    assert (full.parent_external_id, full.title, full.customer_external_ids) == ("c", "Birthday", ("cus_1",))
    assert full.benefit == Benefit(
        BenefitKind.PERCENTAGE, basis_points=1_250, currency="EUR", minimum_minor=2_000
    )


def test_an_amount_off_is_in_its_own_currency() -> None:
    coupon = CouponObject("c", True, 3, "Five off", None, 500, "eur", 10, AT)
    saved = mapping.coupon_saved(coupon).coupon
    assert saved.benefit == Benefit(BenefitKind.AMOUNT, amount_minor=500, currency="EUR")
    assert (saved.code, saved.usage_limit, saved.used_count) == (None, 10, 3)
    assert saved.ends_at == datetime.fromtimestamp(AT, UTC)
