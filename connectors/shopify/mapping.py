"""Shopify's orders to records; with `customers.py` and `coupons.py` all that knows its field names.

The same thing comes in two shapes: REST-shaped webhook bodies (numeric ids, snake_case) and GraphQL answers and bulk
lines (gids, camelCase). Both go through the same constructors at the end of each section, so that an order by webhook
equals the order by API. Field by field: README.md, "What becomes what".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Annotated

import msgspec

from rewards.money import exponent, minor_units
from rewards.records import Order, OrderStatus, Refund, RefundStatus

Moment = Annotated[datetime, msgspec.Meta(tz=True)]

_decimals = cache(exponent)


def external_id(gid: str) -> str:
    """The number at the end of gid://shopify/Order/123, which webhook bodies carry too."""
    return gid[gid.rfind("/") + 1 :]


def gid(kind: str, number: str) -> str:
    """gid://shopify/Order/123 for "Order" and "123"."""
    return f"gid://shopify/{kind}/{number}"


class EmailAddress(msgspec.Struct, rename="camel", gc=False):
    email_address: str
    marketing_state: str | None = None


# -- orders ----------------------------------------------------------------------------------------------------------


class _Money(msgspec.Struct, rename="camel", gc=False):
    amount: str
    currency_code: str = ""


class _MoneyBag(msgspec.Struct, rename="camel", gc=False):
    shop_money: _Money


class _OrderCustomer(msgspec.Struct, rename="camel", gc=False):
    id: str
    default_email_address: EmailAddress | None = None


class _RefundLine(msgspec.Struct, rename="camel", gc=False):
    id: str
    total_refunded_set: _MoneyBag
    created_at: Moment | None = None
    processed_at: Moment | None = None


class OrderLine(msgspec.Struct, rename="camel", gc=False):
    """An order as GraphQL gives it (operations/bulk_orders.graphql)."""

    id: str
    created_at: Moment
    updated_at: Moment
    test: bool
    total_shipping_price_set: _MoneyBag
    total_price_set: _MoneyBag
    processed_at: Moment | None = None
    cancelled_at: Moment | None = None
    display_financial_status: str | None = None
    email: str | None = None
    customer: _OrderCustomer | None = None
    subtotal_price_set: _MoneyBag | None = None
    total_tax_set: _MoneyBag | None = None
    total_discounts_set: _MoneyBag | None = None
    discount_codes: list[str] = []
    refunds: list[_RefundLine] = []


# What we call a financial status: where the order stands, the word as given, and whether it counts as paid.
_STANDS = {
    word: (status, word, status is not OrderStatus.PENDING)
    for word, status in {
        "pending": OrderStatus.PENDING,
        "authorized": OrderStatus.PENDING,
        "partially_paid": OrderStatus.PENDING,
        "paid": OrderStatus.PAID,
        "partially_refunded": OrderStatus.PAID,
        "refunded": OrderStatus.REFUNDED,
        "voided": OrderStatus.PENDING,
        "expired": OrderStatus.PENDING,
    }.items()
}
_STANDS |= {word.upper(): stands for word, stands in _STANDS.items()}


def order_from_line(line: OrderLine) -> Order:
    """The record of a GraphQL order, money in the shop's currency. Runs for every line of a history."""
    price = line.total_price_set.shop_money
    currency = price.currency_code
    customer = line.customer
    email = line.email
    if not email and customer is not None and customer.default_email_address is not None:
        email = customer.default_email_address.email_address
    status, given, is_paid = _stands(line.display_financial_status)
    placed_at = utc(line.processed_at or line.created_at)
    cancelled_at = line.cancelled_at
    return Order(
        external_id=external_id(line.id),
        customer_external_id=external_id(customer.id) if customer is not None else None,
        email=email or None,
        status=OrderStatus.CANCELLED if cancelled_at else status,
        status_given=given,
        currency=currency,
        subtotal_minor=_bag(line.subtotal_price_set, currency),
        tax_minor=_bag(line.total_tax_set, currency),
        shipping_minor=_bag(line.total_shipping_price_set, currency),
        discount_minor=_bag(line.total_discounts_set, currency),
        total_minor=_minor(price.amount, currency),
        placed_at=placed_at,
        paid_at=placed_at if is_paid else None,
        cancelled_at=utc(cancelled_at) if cancelled_at else None,
        is_test=line.test,
        codes=tuple([code.lower() for code in line.discount_codes]) if line.discount_codes else (),
        refunds=_refunds_from_lines(line.refunds, currency) if line.refunds else (),
        source_updated_at=utc(line.updated_at),
    )


def _refunds_from_lines(lines: Sequence[_RefundLine], currency: str) -> tuple[Refund, ...]:
    return _by_number(
        _refund(
            external_id(line.id),
            _bag(line.total_refunded_set, currency),
            line.created_at or line.processed_at,
        )
        for line in lines
    )


class _RestMoneyBag(msgspec.Struct, gc=False):
    shop_money: _Money | None = None


class _RestCode(msgspec.Struct, gc=False):
    code: str


class _RestTransaction(msgspec.Struct, gc=False):
    kind: str
    status: str
    amount: str
    currency: str | None = None


class _RestRefundItem(msgspec.Struct, gc=False):
    subtotal_set: _RestMoneyBag | None = None
    total_tax_set: _RestMoneyBag | None = None


class _RestAdjustment(msgspec.Struct, gc=False):
    amount_set: _RestMoneyBag | None = None
    tax_amount_set: _RestMoneyBag | None = None


class RefundBody(msgspec.Struct):
    """A refund as a webhook brings it, alone or within its order."""

    id: int
    order_id: int | None = None
    created_at: Moment | None = None
    processed_at: Moment | None = None
    transactions: list[_RestTransaction] = []
    refund_line_items: list[_RestRefundItem] = []
    order_adjustments: list[_RestAdjustment] = []


class _RestOrderCustomer(msgspec.Struct):
    id: int
    email: str | None = None


class OrderBody(msgspec.Struct):
    """An order as a webhook brings it. Plain amounts are in the shop's currency, `currency`."""

    id: int
    created_at: Moment
    updated_at: Moment
    currency: str
    total_price: str
    processed_at: Moment | None = None
    cancelled_at: Moment | None = None
    test: bool = False
    financial_status: str | None = None
    email: str | None = None
    customer: _RestOrderCustomer | None = None
    subtotal_price: str | None = None
    total_tax: str | None = None
    total_discounts: str | None = None
    total_shipping_price_set: _RestMoneyBag | None = None
    discount_codes: list[_RestCode] = []
    refunds: list[RefundBody] = []


def order_from_body(body: OrderBody) -> Order:
    """The record of a webhook's order; equal to `order_from_line` of the same order."""
    currency, customer = body.currency, body.customer
    status, given, is_paid = _stands(body.financial_status)
    placed_at = utc(body.processed_at or body.created_at)
    shipping = body.total_shipping_price_set
    return Order(
        external_id=str(body.id),
        customer_external_id=str(customer.id) if customer else None,
        email=body.email or (customer.email if customer else None) or None,
        status=OrderStatus.CANCELLED if body.cancelled_at else status,
        status_given=given,
        currency=currency,
        subtotal_minor=_minor(body.subtotal_price or "0", currency),
        tax_minor=_minor(body.total_tax or "0", currency),
        shipping_minor=_rest_bag(shipping, currency),
        discount_minor=_minor(body.total_discounts or "0", currency),
        total_minor=_minor(body.total_price, currency),
        placed_at=placed_at,
        paid_at=placed_at if is_paid else None,
        cancelled_at=utc_or_none(body.cancelled_at),
        is_test=body.test,
        codes=tuple([entry.code.lower() for entry in body.discount_codes]),
        refunds=_by_number(refund_from_body(refund, currency) for refund in body.refunds),
        source_updated_at=utc(body.updated_at),
    )


def refund_from_body(body: RefundBody, currency: str) -> Refund:
    """The record of a webhook's refund; `currency` is the shop's."""
    return _refund(str(body.id), _repaid(body, currency), body.created_at or body.processed_at)


def _repaid(body: RefundBody, currency: str) -> int:
    """What went back, in the shop's currency: the successful repayments, as `totalRefundedSet` counts them.

    A buyer who paid in another currency is repaid in it; then the shop's amounts stand on the goods and adjustments.
    """
    repayments = [t for t in body.transactions if t.kind == "refund" and t.status == "success"]
    if all(t.currency in (None, currency) for t in repayments):
        return sum(_minor(t.amount, currency) for t in repayments)
    goods = sum(
        _rest_bag(item.subtotal_set, currency) + _rest_bag(item.total_tax_set, currency)
        for item in body.refund_line_items
    )
    # Adjustments are negative where more than the goods went back (shipping).
    return goods - sum(
        _rest_bag(entry.amount_set, currency) + _rest_bag(entry.tax_amount_set, currency)
        for entry in body.order_adjustments
    )


def _refund(number: str, total_minor: int, at: datetime | None) -> Refund:
    return Refund(
        external_id=number,
        total_minor=total_minor,
        status=RefundStatus.SUCCEEDED,
        refunded_at=utc_or_none(at),
    )


def _by_number(refunds: Iterable[Refund]) -> tuple[Refund, ...]:
    """In one order, whatever the order in the payload."""
    return tuple(sorted(refunds, key=lambda refund: int(refund.external_id)))


def _stands(financial_status: str | None) -> tuple[OrderStatus, str, bool]:
    word = financial_status or ""
    return _STANDS.get(word) or (OrderStatus.PENDING, word.lower(), False)


# -- small things ----------------------------------------------------------------------------------------------------


def utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)


def utc_or_none(moment: datetime | None) -> datetime | None:
    return None if moment is None else utc(moment)


def _bag(bag: _MoneyBag | None, currency: str) -> int:
    return 0 if bag is None else _minor(bag.shop_money.amount, currency)


def _rest_bag(bag: _RestMoneyBag | None, currency: str) -> int:
    return 0 if bag is None or bag.shop_money is None else _minor(bag.shop_money.amount, currency)


def _minor(text: str, currency: str) -> int:
    """Minor units, without `Decimal` for what nearly every amount looks like (GraphQL writes 12.5 for 12.50)."""
    if _decimals(currency) == 2:
        if text[-2:-1] == ".":
            return int(text[:-2] + text[-1]) * 10
        if text[-3:-2] == ".":
            return int(text[:-3] + text[-2:])
    return minor_units(text, currency)
