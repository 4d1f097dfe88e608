"""How payloads become records."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from connectors.woocommerce.coupon_mapping import (
    CouponData,
    coupon_change,
)
from connectors.woocommerce.mapping import (
    CustomerData,
    IndexData,
    OrderData,
    customer_change,
    order_change,
    time_zone,
)
from rewards.changes import CouponSaved, CustomerSaved, Ignored, OrderSaved
from rewards.errors import InvalidInputError, RefusedError
from rewards.records import BenefitKind, Birthday, Coupon, Customer, Order, OrderStatus, RefundStatus
from tests.connectors.woocommerce.shop import OPTIONS, options

ORDER: dict[str, Any] = {
    "id": 2424,
    "status": "processing",
    "currency": "EUR",
    "date_created_gmt": "2026-11-21T21:14:58",
    "date_modified_gmt": "2026-11-21T21:15:26",
    "date_paid_gmt": "2026-11-21T21:15:06",
    "discount_total": "3.29",
    "shipping_total": "4.95",
    "total": "40.77",
    "total_tax": "6.22",
    "customer_id": 4,
    "billing": {"email": "Cliente3@ejemplo.example"},
    "line_items": [{"total": "20.10"}, {"total": "9.50"}],
    "coupon_lines": [{"code": "Unico10"}],
    "refunds": [],
}
COUPON: dict[str, Any] = {
    "id": 2209,
    "code": "abc-percent10",
    "amount": "10.00",
    "status": "publish",
    "discount_type": "percent",
    "date_expires_gmt": "2027-01-31T22:59:59",
    "email_restrictions": ["cliente3@ejemplo.example"],
    "minimum_amount": "0.00",
    "usage_limit": 1,
    "usage_count": 0,
}


def order(**changes: Any) -> Order:
    saved = order_change(msgspec.convert({**ORDER, **changes}, OrderData), OPTIONS)
    assert isinstance(saved, OrderSaved)
    return saved.order


def customer(key: str = "birthday", **fields: Any) -> Customer:
    data = msgspec.json.decode(msgspec.json.encode({"id": 502, **fields}), type=CustomerData)
    saved = customer_change(data, options(birthday_key=key))
    assert isinstance(saved, CustomerSaved)
    return saved.customer


def coupon(**changes: Any) -> Coupon:
    data = msgspec.json.decode(msgspec.json.encode({**COUPON, **changes}), type=CouponData)
    saved = coupon_change(data, OPTIONS)
    assert isinstance(saved, CouponSaved)
    return saved.coupon


def test_an_order_keeps_goods_tax_and_shipping_apart() -> None:
    read = order()
    assert read.subtotal_minor == 2960
    assert (read.tax_minor, read.shipping_minor, read.discount_minor, read.total_minor) == (
        622,
        495,
        329,
        4077,
    )
    assert read.customer_external_id == "4"
    assert read.email == "Cliente3@ejemplo.example"
    assert read.codes == ("unico10",)
    assert read.placed_at == datetime(2026, 11, 21, 21, 14, 58, tzinfo=UTC)
    assert read.source_updated_at == datetime(2026, 11, 21, 21, 15, 26, tzinfo=UTC)


def test_a_guest_has_no_customer_and_perhaps_no_email() -> None:
    read = order(customer_id=0, billing={"email": ""})
    assert read.customer_external_id is None
    assert read.email is None


@pytest.mark.parametrize(
    ("status", "paid", "ours", "counts_as_paid"),
    [
        ("processing", True, OrderStatus.PAID, True),
        ("completed", True, OrderStatus.PAID, True),
        ("processing", False, OrderStatus.PAID, True),  # cash on delivery has no date of payment
        ("refunded", True, OrderStatus.REFUNDED, True),
        ("pending", False, OrderStatus.PENDING, False),
        ("on-hold", False, OrderStatus.PENDING, False),
        ("wc-shipped-by-plugin", True, OrderStatus.PAID, True),
        ("wc-shipped-by-plugin", False, OrderStatus.PENDING, False),
        ("cancelled", True, OrderStatus.CANCELLED, True),
        ("cancelled", False, OrderStatus.CANCELLED, False),
        ("failed", False, OrderStatus.CANCELLED, False),
        ("trash", False, OrderStatus.CANCELLED, False),
    ],
)
def test_statuses(status: str, paid: bool, ours: OrderStatus, counts_as_paid: bool) -> None:
    read = order(status=status, date_paid_gmt="2026-11-21T21:15:06" if paid else None)
    assert read.status is ours
    assert read.status_given == status
    assert (read.paid_at is not None) == counts_as_paid
    assert (read.cancelled_at == read.source_updated_at) == (ours is OrderStatus.CANCELLED)


@pytest.mark.parametrize(
    ("setting", "status", "has_date", "counts_as_paid"),
    [
        ("processing,completed,on-hold", "on-hold", False, True),
        ("completed wc-shipped", "shipped", False, True),
        ("completed", "processing", True, False),  # only what is finished, by choice
        ("completed", "completed", True, True),
        ("completed", "shipped", True, True),  # a plugin's status after payment
        ("completed", "pending", True, False),
        ("completed", "refunded", True, True),
    ],
)
def test_the_merchant_says_which_statuses_count(
    setting: str, status: str, has_date: bool, counts_as_paid: bool
) -> None:
    body = {**ORDER, "status": status, "date_paid_gmt": ORDER["date_paid_gmt"] if has_date else None}
    saved = order_change(msgspec.convert(body, OrderData), options(paid_statuses=setting))
    assert isinstance(saved, OrderSaved)
    assert (saved.order.paid_at is not None) == counts_as_paid
    assert (saved.order.status in (OrderStatus.PAID, OrderStatus.REFUNDED)) == counts_as_paid


def test_amounts_of_a_shop_whose_plugin_changes_prices_decimals() -> None:
    four = order(
        total="40.7700", total_tax="6.2156", shipping_total="4.95", line_items=[{"total": "29.6049"}]
    )
    assert (four.total_minor, four.tax_minor, four.subtotal_minor) == (4077, 622, 2960)
    none = order(total="41", total_tax="6", shipping_total="5", line_items=[{"total": "30"}])
    assert (none.total_minor, none.tax_minor, none.shipping_minor, none.subtotal_minor) == (
        4100,
        600,
        500,
        3000,
    )


def test_refunds_are_positive_and_without_a_time() -> None:
    first, second = order(
        refunds=[{"id": 2425, "total": "-10.00", "total_tax": "0.00"}, {"id": 2426, "total": "-0.55"}]
    ).refunds
    assert (first.external_id, first.total_minor, first.status) == ("2425", 1000, RefundStatus.SUCCEEDED)
    assert (first.refunded_at, first.subtotal_minor) == (None, None)
    assert second.total_minor == 55


@pytest.mark.parametrize("status", ["checkout-draft", "auto-draft"])
def test_a_checkout_that_is_not_finished_is_no_order(status: str) -> None:
    assert isinstance(order_change(msgspec.convert({**ORDER, "status": status}, OrderData), OPTIONS), Ignored)


def test_amounts_without_decimals_and_in_other_currencies() -> None:
    read = order(
        currency="JPY", line_items=[{"total": "500"}], total="550", total_tax="50", shipping_total="0"
    )
    assert (read.currency, read.subtotal_minor, read.total_minor) == ("JPY", 500, 550)
    assert order(total="40").total_minor == 4000


@pytest.mark.parametrize("field", ["total", "total_tax", "shipping_total", "discount_total"])
def test_an_amount_that_is_none_is_said(field: str) -> None:
    with pytest.raises(InvalidInputError):
        order(**{field: "gratis"})


def test_a_date_that_is_none_is_said() -> None:
    with pytest.raises(InvalidInputError):
        order(date_modified_gmt="-0001-11-30T00:00:00")


def test_a_customer_with_a_birthday_under_the_merchants_key() -> None:
    meta = [
        {"id": 1, "key": "prefs", "value": {"talla": "M"}},
        {"id": 2, "key": "fecha_nacimiento", "value": "1990-04-30"},
    ]
    read = customer(
        key="fecha_nacimiento",
        email="A@b.example",
        first_name="Nueva",
        last_name="Clienta",
        date_created_gmt="2026-11-21T21:08:58",
        date_modified_gmt=None,
        meta_data=meta,
    )
    assert read.birthday == Birthday(4, 30, 1990)
    assert (read.external_id, read.email, read.name) == ("502", "A@b.example", "Nueva Clienta")
    assert read.has_account
    assert read.joined_at == datetime(2026, 11, 21, 21, 8, 58, tzinfo=UTC)
    assert read.source_updated_at is None
    assert customer(meta_data=meta).birthday is None


@pytest.mark.parametrize("value", [{"a": 1}, ["1990-04-30"], None, True, "31 April"])
def test_a_birthday_that_is_none_is_left_out(value: object) -> None:
    assert customer(meta_data=[{"id": 1, "key": "birthday", "value": value}]).birthday is None


def test_coupons() -> None:
    read = coupon()
    assert read.benefit.kind is BenefitKind.PERCENTAGE
    assert read.benefit.basis_points == 1000
    assert read.ends_at == datetime(2027, 1, 31, 22, 59, 59, tzinfo=UTC)
    assert (read.is_active, read.usage_limit, read.used_count) == (True, 1, 0)
    assert read.emails == ("cliente3@ejemplo.example",)
    assert not coupon(status="draft").is_active
    fixed = coupon(discount_type="fixed_cart", amount="5.00", minimum_amount="20.00").benefit
    assert (fixed.kind, fixed.amount_minor, fixed.minimum_minor) == (BenefitKind.AMOUNT, 500, 2000)
    free = coupon(discount_type="fixed_cart", amount="0.00", free_shipping=True).benefit
    assert free.kind is BenefitKind.FREE_SHIPPING
    assert coupon(discount_type="fixed_product").benefit.kind is BenefitKind.OTHER


@pytest.mark.parametrize(
    ("named", "offset", "expected"),
    [
        ("Europe/Madrid", 1, "Europe/Madrid"),
        ("", 0, "Etc/UTC"),
        ("Mars/Olympus", 2, "Etc/GMT-2"),  # no name that we know
        ("../etc/passwd", 0, "Etc/UTC"),
        ("", 2, "Etc/GMT-2"),
        ("", "-3", "Etc/GMT+3"),
        ("", 5.5, "Asia/Kolkata"),
        ("", "", "Etc/UTC"),
    ],
)
def test_time_zones(named: str, offset: float | str, expected: str) -> None:
    assert time_zone(IndexData(timezone_string=named, gmt_offset=offset)) == expected


def test_an_offset_that_no_zone_keeps_is_said() -> None:
    with pytest.raises(RefusedError, match="city"):
        time_zone(IndexData(gmt_offset=-11.5))
