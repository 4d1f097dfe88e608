"""WooCommerce's payloads as our records. The only file that knows their field names.

Dates come without an offset; the `_gmt` ones are UTC. Amounts are text. An e-mail is "" where there is none.
Source: recorded calls of WooCommerce 11.0.1 and developer.woocommerce.com/docs/apis/rest-api/.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from connectors.base import StoreOptions
from connectors.woocommerce.birthdays import DEFAULT_KEY, KEY, birthday_text, read_birthday
from rewards.changes import Change, CustomerSaved, Ignored, OrderSaved
from rewards.errors import InvalidInputError, RefusedError
from rewards.money import minor_units
from rewards.records import (
    Birthday,
    Customer,
    Order,
    OrderStatus,
    Refund,
    RefundStatus,
)

_DRAFTS = frozenset({"checkout-draft", "auto-draft"})
# WooCommerce's own statuses that count as paid only where the merchant says so; plugins' are believed to follow payment.
_OWN = frozenset({"pending", "on-hold", "processing", "completed"})
PAID_STATUSES, _PAID_STATUSES = "paid_statuses", "processing,completed"
_CANCELLED = frozenset({"cancelled", "failed", "trash"})


class _Billing(msgspec.Struct, gc=False):
    email: str = ""
    first_name: str = ""
    last_name: str = ""


class _Line(msgspec.Struct, gc=False):
    total: str = "0"


class _CouponLine(msgspec.Struct, gc=False):
    code: str


class _RefundLine(msgspec.Struct, gc=False):
    id: int
    total: str


class OrderData(msgspec.Struct, gc=False):
    """An order as the API lists it and as webhooks carry it."""

    id: int
    status: str
    currency: str
    date_created_gmt: str | None
    date_modified_gmt: str | None
    total: str
    total_tax: str
    shipping_total: str
    discount_total: str
    line_items: list[_Line]
    date_paid_gmt: str | None = None
    customer_id: int = 0
    billing: _Billing = msgspec.field(default_factory=_Billing)
    coupon_lines: list[_CouponLine] = []
    refunds: list[_RefundLine] = []


class Meta(msgspec.Struct, gc=False):
    key: str = ""
    value: msgspec.Raw = msgspec.Raw(b"null")


class CustomerData(msgspec.Struct, gc=False):
    """A registered customer; `date_modified_gmt` is null until WooCommerce saves them for the first time."""

    id: int
    email: str = ""
    first_name: str = ""
    last_name: str = ""
    date_created_gmt: str | None = None
    date_modified_gmt: str | None = None
    meta_data: list[Meta] = []


ORDER_FIELDS = ",".join(
    "billing.email" if name == "billing" else name for name in OrderData.__struct_fields__
)
CUSTOMER_FIELDS = ",".join(CustomerData.__struct_fields__)


def order_change(data: OrderData, options: StoreOptions) -> Change:
    """The order as it is now; a draft of the checkout is no order yet."""
    if data.status in _DRAFTS:
        return Ignored("a checkout that is not finished")
    created = utc(data.date_created_gmt)
    if created is None:
        return Ignored("an order without a date")
    return OrderSaved(_order(data, created, _paid_at(data, created, options)))


def _paid_at(data: OrderData, created: datetime, options: StoreOptions) -> datetime | None:
    """When it was paid, as far as its status counts; cash on delivery has no such date until it is completed."""
    counted = _statuses(options.settings.get(PAID_STATUSES, _PAID_STATUSES))
    if data.status in counted or data.status == "refunded":
        return utc(data.date_paid_gmt) or created
    return None if data.status in _OWN else utc(data.date_paid_gmt)


@lru_cache(maxsize=64)
def _statuses(text: str) -> frozenset[str]:
    """The merchant's list, commas or spaces between; WordPress writes a wc- before each."""
    return frozenset(name.removeprefix("wc-") for name in text.lower().replace(",", " ").split())


def _order(data: OrderData, created: datetime, paid_at: datetime | None) -> Order:
    currency, status, modified = data.currency, data.status, utc(data.date_modified_gmt)
    lines = data.line_items
    # By position: a history holds millions of these, and names cost a third of the time that making one takes.
    return Order(
        str(data.id),
        str(data.customer_id) if data.customer_id else None,
        data.billing.email or None,
        _status(status, paid_at),
        status,
        currency,
        # Line totals are what was charged for goods after discounts and before tax. They stay right where plugins
        # bend the order's total (gift cards, store credit).
        minor_units(lines[0].total, currency)
        if len(lines) == 1
        else sum([minor_units(line.total, currency) for line in lines]),
        _minor(data.total_tax, currency),
        _minor(data.shipping_total, currency),
        _minor(data.discount_total, currency),
        minor_units(data.total, currency),
        created,  # placed, paid, cancelled
        paid_at,
        (modified or created) if status in _CANCELLED else None,
        False,
        tuple([line.code.lower() for line in data.coupon_lines]) if data.coupon_lines else (),
        tuple([_refund(refund, currency) for refund in data.refunds]) if data.refunds else (),
        modified,
    )


def _minor(text: str, currency: str) -> int:
    """As `minor_units`; nothing at all, which tax, shipping and discount mostly are, without a look at it."""
    return 0 if text == "0.00" else minor_units(text, currency)


def _status(status: str, paid_at: datetime | None) -> OrderStatus:
    if status in _CANCELLED:
        return OrderStatus.CANCELLED
    if status == "refunded":
        return OrderStatus.REFUNDED
    return OrderStatus.PAID if paid_at else OrderStatus.PENDING


def _refund(line: _RefundLine, currency: str) -> Refund:
    """A repayment; its total is negative in the order, and its time is not told there."""
    return Refund(
        external_id=str(line.id),
        total_minor=minor_units(line.total.removeprefix("-"), currency),
        status=RefundStatus.SUCCEEDED,
        refunded_at=None,
    )


def customer_change(data: CustomerData, options: StoreOptions) -> CustomerSaved:
    """The customer as they are now, with the birthday from the meta field of the merchant's choice."""
    name = f"{data.first_name} {data.last_name}".strip()
    return CustomerSaved(
        Customer(
            external_id=str(data.id),
            email=data.email or None,
            name=name or None,
            has_account=True,
            joined_at=utc(data.date_created_gmt),
            birthday=read_birthday(
                meta_text(data.meta_data, options.settings.get(KEY, DEFAULT_KEY)), options.settings
            ),
            source_updated_at=utc(data.date_modified_gmt),
        )
    )


def meta_text(entries: list[Meta], key: str) -> str | None:
    """The text under a key; numbers count as text, anything else as nothing."""
    for entry in entries:
        if entry.key == key:
            value: object = msgspec.json.decode(entry.value)
            return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None
    return None


def utc(text: str | None) -> datetime | None:
    """A `_gmt` date. Raises InvalidInputError for one that is none, e.g. "-0001-11-30T00:00:00"."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text.removesuffix("Z") + "+00:00")
    except ValueError:
        raise InvalidInputError(
            "A date of the shop cannot be read; look for a plugin that changes dates."
        ) from None


def birthday_body(birthday: Birthday, options: StoreOptions) -> Mapping[str, object]:
    """What writes a customer's birthday: an entry by its key alone is changed in place, or made."""
    key = options.settings.get(KEY, DEFAULT_KEY)
    return {"meta_data": [{"key": key, "value": birthday_text(birthday, options.settings)}]}


def webhook_body(topic: str, address: str, secret: str) -> Mapping[str, str]:
    """What makes a webhook for one topic."""
    return {"name": f"Perennial {topic}", "topic": topic, "delivery_url": address, "secret": secret}


class WebhookData(msgspec.Struct):
    """A webhook; its secret is never shown."""

    id: int
    status: str = ""
    topic: str = ""
    delivery_url: str = ""


class SettingData(msgspec.Struct):
    """One of the shop's settings; a box that is ticked is "yes"."""

    value: str = ""


class CurrencyData(msgspec.Struct):
    """The shop's currency."""

    code: str


class IndexData(msgspec.Struct):
    """What the index of the REST API tells anybody. `gmt_offset` is in hours, at times as text."""

    name: str = ""
    home: str = ""
    timezone_string: str = ""
    gmt_offset: float | str = 0
    namespaces: list[str] = []


# Shops may be set to a bare offset. Whole hours have names of their own; these are zones that never change clocks.
_HALF_HOURS = {
    -9.5: "Pacific/Marquesas",
    3.5: "Asia/Tehran",
    4.5: "Asia/Kabul",
    5.5: "Asia/Kolkata",
    5.75: "Asia/Kathmandu",
    6.5: "Asia/Yangon",
    8.75: "Australia/Eucla",
    9.5: "Australia/Darwin",
}


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def time_zone(index: IndexData) -> str:
    """The shop's zone as an IANA name. Raises RefusedError for an offset that no such zone has.

    A name that this machine does not know (newer than its data, or a plugin's) is as good as none.
    """
    if index.timezone_string and _is_zone(index.timezone_string):
        return index.timezone_string
    try:
        offset = float(index.gmt_offset)
    except ValueError:
        offset = 0.0
    if offset in _HALF_HOURS:
        return _HALF_HOURS[offset]
    if not offset.is_integer() or not -12 <= offset <= 14:
        raise RefusedError(
            "Choose a city as the shop's time zone under Settings, General, and connect again."
        )
    # The sign of these names is turned around: Etc/GMT-2 is two hours ahead of UTC.
    return f"Etc/GMT{-int(offset):+d}" if offset else "Etc/UTC"
