"""Sorts a chunk of changes by kind and turns records into rows for the staging tables.

A chunk may tell of one record several times. Merging happens in SQL, one row per record at a time, so repeats go into
layers that are merged one after another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from zoneinfo import ZoneInfo

from rewards.changes import (
    Change,
    CouponDeleted,
    CouponSaved,
    CustomerDeleted,
    CustomerSaved,
    CustomersMerged,
    OrderDeleted,
    OrderSaved,
    PrivacyRequested,
    RefundSaved,
    StoreChanged,
    Uninstalled,
)
from rewards.records import BenefitKind, Coupon, Customer, Order, Refund, ShopFacts


@dataclass(slots=True)
class Sorted:
    """The changes of one chunk by kind; `seen` counts how many told of something."""

    customers: list[Customer] = field(default_factory=list)
    customers_deleted: dict[str, datetime | None] = field(default_factory=dict)
    customers_merged: list[CustomersMerged] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    orders_deleted: dict[str, datetime | None] = field(default_factory=dict)
    # Deleted, and told of again after it.
    orders_restored: dict[str, datetime | None] = field(default_factory=dict)
    refunds: list[tuple[str, Refund]] = field(default_factory=list)
    coupons: list[Coupon] = field(default_factory=list)
    coupons_deleted: dict[str, datetime | None] = field(default_factory=dict)
    privacy: list[PrivacyRequested] = field(default_factory=list)
    facts: ShopFacts | None = None
    uninstalled: Uninstalled | None = None


def sort(changes: Iterable[Change]) -> Sorted:
    """The chunk by kind, in order of arrival within each."""
    found = Sorted()
    for change in changes:
        kind = type(change)
        if kind is OrderSaved:
            order = change.order  # type: ignore[union-attr]
            found.orders.append(order)
            if order.refunds:
                found.refunds += [(order.external_id, refund) for refund in order.refunds]
            if found.orders_deleted and order.external_id in found.orders_deleted:
                found.orders_restored[order.external_id] = found.orders_deleted.pop(order.external_id)
        elif kind is CustomerSaved:
            found.customers.append(change.customer)  # type: ignore[union-attr]
        else:
            _sort_rare(found, change)
    return found


def _sort_rare(found: Sorted, change: Change) -> None:
    match change:
        case RefundSaved(order_external_id, refund):
            found.refunds.append((order_external_id, refund))
        case CouponSaved(coupon):
            found.coupons.append(coupon)
        case CouponDeleted(external_id, deleted_at):
            found.coupons_deleted[external_id] = deleted_at
        case CustomerDeleted(external_id, deleted_at):
            found.customers_deleted[external_id] = deleted_at
        case CustomersMerged():
            found.customers_merged.append(change)
        case StoreChanged(facts):
            found.facts = facts
        case OrderDeleted(external_id, deleted_at):
            found.orders_deleted[external_id] = deleted_at
        case PrivacyRequested():
            found.privacy.append(change)
        case Uninstalled():
            found.uninstalled = change


def order_layers(orders: Sequence[Order]) -> list[dict[str, Order]]:
    """The orders by external id, repeats in later layers."""
    first = {order.external_id: order for order in orders}
    if len(first) == len(orders):
        return [first]
    layers: list[dict[str, Order]] = [{}]
    for order in orders:
        for layer in layers:
            if order.external_id not in layer:
                layer[order.external_id] = order
                break
        else:
            layers.append({order.external_id: order})
    return layers


def latest_customers(customers: Sequence[Customer]) -> dict[str, Customer]:
    """Each customer once, by the latest version; without versions, the last told.

    What it does not say is taken from the others: one change may be told twice, and not everywhere in full.
    """
    latest: dict[str, Customer] = {}
    for customer in customers:
        known = latest.get(customer.external_id)
        if known is None:
            latest[customer.external_id] = customer
        elif _is_older(customer.source_updated_at, known.source_updated_at):
            latest[customer.external_id] = _filled(known, customer)
        else:
            latest[customer.external_id] = _filled(customer, known)
    return latest


_MAY_BE_UNSAID = ("email", "name", "phone", "joined_at", "birthday", "locale", "accepts_marketing")


def _filled(customer: Customer, other: Customer) -> Customer:
    unsaid = [name for name in _MAY_BE_UNSAID if getattr(customer, name) is None]
    found = {name: value for name in unsaid if (value := getattr(other, name)) is not None}
    return replace(customer, **found) if found else customer


def latest_coupons(coupons: Sequence[Coupon]) -> dict[str, Coupon]:
    """Each coupon once, as `latest_customers`; one told without what it gives keeps what was told of that."""
    latest: dict[str, Coupon] = {}
    for coupon in coupons:
        known = latest.get(coupon.external_id)
        if known is None:
            latest[coupon.external_id] = coupon
        elif _is_older(coupon.source_updated_at, known.source_updated_at):
            latest[coupon.external_id] = _with_terms(known, coupon)
        else:
            latest[coupon.external_id] = _with_terms(coupon, known)
    return latest


def _with_terms(coupon: Coupon, other: Coupon) -> Coupon:
    """The coupon; with the other's benefit where it does not say its own."""
    return replace(coupon, benefit=other.benefit) if coupon.benefit.kind is BenefitKind.OTHER else coupon


def _is_older(one: datetime | None, other: datetime | None) -> bool:
    return one is not None and other is not None and one < other


def _clean(text: str) -> str:
    """The text without the one character that the database cannot hold; JSON can, and shoppers may send it.

    Staging leaves it out of every text by itself; here it would tell apart what is the same in the database.
    """
    return text.replace("\0", "") if "\0" in text else text


def normalised(email: str | None) -> str | None:
    """An e-mail as people are matched by it: without spaces around it, in lower case."""
    return (_clean(email).strip().lower() or None) if email else None


def person_of(order: Order) -> str | None:
    """The external id of who ordered: their customer record, or one made from a guest's e-mail."""
    if order.customer_external_id:
        return order.customer_external_id
    email = normalised(order.email)
    return f"guest:{email}" if email else None


def customer_rows(customers: Iterable[Customer], zone: ZoneInfo) -> list[tuple[object, ...]]:
    """Rows for `incoming_people` with all that is told of customers."""
    return [_customer_row(customer, zone) for customer in customers]


def guest_rows(orders: Iterable[Order]) -> list[tuple[object, ...]]:
    """The first columns of rows for `incoming_people`, for everybody who ordered without a customer's record."""
    guests: dict[str, tuple[object, ...]] = {}
    for order in orders:
        if order.customer_external_id:
            continue
        person = person_of(order)
        if person is not None and person not in guests:
            guests[person] = (person, False, False, order.email, normalised(order.email))
    return list(guests.values())


def _customer_row(customer: Customer, zone: ZoneInfo) -> tuple[object, ...]:
    joined_on: date | None = None
    if customer.joined_at is not None:
        joined_on = customer.joined_at.astimezone(zone).date()
    birthday = customer.birthday
    return (
        customer.external_id,
        True,
        customer.has_account,
        customer.email,
        normalised(customer.email),
        customer.name,
        customer.phone,
        customer.locale,
        customer.accepts_marketing,
        customer.joined_at,
        joined_on,
        None if joined_on is None else joined_on.month * 100 + joined_on.day,
        None if birthday is None else birthday.md,
        None if birthday is None else birthday.year,
        customer.source_updated_at,
        {_clean(name): _clean(value) for name, value in customer.metadata.items()}
        if customer.metadata
        else None,
    )


def order_row(order: Order) -> tuple[object, ...]:
    """A row for `incoming_orders`."""
    return (
        order.external_id,
        person_of(order),
        order.status,
        order.status_given,
        order.currency,
        order.subtotal_minor,
        order.tax_minor,
        order.shipping_minor,
        order.discount_minor,
        order.total_minor,
        order.placed_at,
        order.paid_at,
        order.cancelled_at,
        order.is_test,
        order.codes,
        order.source_updated_at,
    )


def refund_row(order_external_id: str, refund: Refund) -> tuple[object, ...]:
    """A row for `incoming_refunds`."""
    return (
        order_external_id,
        refund.external_id,
        refund.total_minor,
        refund.subtotal_minor,
        refund.status,
        refund.refunded_at,
    )


def coupon_row(coupon: Coupon) -> tuple[object, ...]:
    """A row for `incoming_coupons`."""
    benefit = coupon.benefit
    return (
        coupon.external_id,
        coupon.code,
        coupon.title,
        benefit.kind,
        benefit.basis_points,
        benefit.amount_minor,
        benefit.currency,
        benefit.minimum_minor,
        coupon.is_active,
        coupon.starts_at,
        coupon.ends_at,
        coupon.usage_limit,
        coupon.used_count,
        coupon.customer_external_ids,
        coupon.emails,
        coupon.parent_external_id,
        coupon.source_updated_at,
    )
