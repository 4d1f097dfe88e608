"""What deliveries and history pages say happened: the one currency between connectors and `sync.apply`.

Platforms send the latest state rather than the event, and out of order; so an order's change is "saved", with
everything that the platform shows of it, and what it means (paid, refunded, code used) is decided by comparing states.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rewards.records import Coupon, Customer, Order, Refund, ShopFacts, record


@record
class CustomerSaved:
    """A customer as they are now."""

    customer: Customer


@dataclass(frozen=True, slots=True)
class CustomerDeleted:
    """The store removed a customer's record; the member and their points stay.

    `deleted_at` where the platform says it: what was told before that is then known to be older.
    """

    external_id: str
    deleted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class CustomersMerged:
    """The store made two customers' records one: `gone_external_id` lives on as `kept_external_id`."""

    kept_external_id: str
    gone_external_id: str


@record
class OrderSaved:
    """An order as it is now, refunds included where the platform lists them.

    A payment that failed after all (a bank that took its days) is an order with status FAILED: it earns nothing, and a
    code that it carried counts as not used, whatever the merchant chose for refunds. Paid later, it is like any other.
    """

    order: Order


@dataclass(frozen=True, slots=True)
class OrderDeleted:
    """The store removed an order (or moved it to the trash): it counts as cancelled."""

    external_id: str
    deleted_at: datetime | None


@record
class RefundSaved:
    """A refund told on its own; its order may not be here yet."""

    order_external_id: str
    refund: Refund


@dataclass(frozen=True, slots=True)
class CouponSaved:
    """A discount or code as it is now."""

    coupon: Coupon


@dataclass(frozen=True, slots=True)
class CouponDeleted:
    """The store removed a discount or code; `deleted_at` as of `CustomerDeleted`."""

    external_id: str
    deleted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoreChanged:
    """What the store says of itself now: its name, time zone, what we may do there."""

    facts: ShopFacts


@dataclass(frozen=True, slots=True)
class Uninstalled:
    """The merchant took the app out of the store; credentials are dead.

    `happened_at` where the platform says it: news of it may come when the app has been put in again.
    """

    happened_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PrivacyRequested:
    """A person's (or, without an id, the whole store's) data is asked for or must go.

    `kind` is "export" or "erase"; `email` may stand in for a missing id.
    """

    kind: str
    customer_external_id: str | None
    email: str | None


@dataclass(frozen=True, slots=True)
class LookAgain:
    """A delivery that does not hold what it tells of: the store is asked for it before anything is applied.

    `kind` is the connector's own word for the thing.
    """

    kind: str
    external_id: str


@dataclass(frozen=True, slots=True)
class Ignored:
    """A delivery that is deliberately without effect; `reason` is shown beside it."""

    reason: str


Change = (
    CustomerSaved
    | CustomerDeleted
    | CustomersMerged
    | OrderSaved
    | OrderDeleted
    | RefundSaved
    | CouponSaved
    | CouponDeleted
    | StoreChanged
    | Uninstalled
    | PrivacyRequested
    | LookAgain
    | Ignored
)
