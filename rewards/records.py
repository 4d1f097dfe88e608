"""What every platform's payloads become: customers, orders, refunds, coupons, codes.

Times are aware UTC (`_at`), dates plain (`_on`), money integer minor units (`_minor`) plus a currency.
`external_id` is the platform's id as text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, TypeVar, dataclass_transform

_NOTHING: Mapping[str, str] = {}
T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[T]) -> type[T]:
    """A dataclass that is frozen for the type checker, and only for it.

    For what a history holds millions of: Python's own frozen dataclass sets each field through a call, so that an order
    took nine times as long to make, and a tenth of all the processor time of an import.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)


class Birthday(NamedTuple):
    """Day and month, and the year only where somebody gave it; make one with `rewards.occasions.birthday`."""

    month: int
    day: int
    year: int | None = None

    @property
    def md(self) -> int:
        """Month x 100 + day: 29 February is 229."""
        return self.month * 100 + self.day


class OrderStatus(StrEnum):
    """Where an order stands, in our words; the platform's own word is kept beside it.

    FAILED: its payment failed. Until it is paid all the same it counts as cancelled.
    """

    PENDING = "pending"
    FAILED = "failed"
    PAID = "paid"
    REFUNDED = "refunded"
    CANCELLED = "cancelled"


class RefundStatus(StrEnum):
    """Where a refund stands. A later rank wins: a refund that failed after all gives the sale back."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@record
class Customer:
    """A person's record in one store."""

    external_id: str
    email: str | None
    name: str | None
    has_account: bool
    joined_at: datetime | None
    birthday: Birthday | None = None
    locale: str | None = None
    accepts_marketing: bool | None = None
    source_updated_at: datetime | None = None  # the platform's version; None where it gives none
    metadata: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    phone: str | None = None  # as the platform writes it; for finding somebody, never for telling who is who


@record
class Refund:
    """One repayment of (a part of) an order. Amounts are positive."""

    external_id: str
    total_minor: int
    status: RefundStatus
    refunded_at: datetime | None
    # What of it concerns the goods before tax and shipping; None: in proportion of the order's total.
    subtotal_minor: int | None = None


@record
class Order:
    """One purchase as the platform shows it now.

    `subtotal_minor` is what points are counted on: goods after discounts, before tax and shipping, before refunds.
    `paid_at` is None until it counts as paid; it stays when the order is refunded or cancelled later.
    `codes` are the promotion codes used: the text in lower case, or the platform's id of the code where the payload
    holds only that.
    """

    external_id: str
    customer_external_id: str | None
    email: str | None
    status: OrderStatus
    status_given: str
    currency: str
    subtotal_minor: int
    tax_minor: int
    shipping_minor: int
    discount_minor: int
    total_minor: int
    placed_at: datetime
    paid_at: datetime | None
    cancelled_at: datetime | None
    is_test: bool = False
    codes: tuple[str, ...] = ()
    refunds: tuple[Refund, ...] = ()
    source_updated_at: datetime | None = None


class BenefitKind(StrEnum):
    """What a coupon gives."""

    PERCENTAGE = "percentage"
    AMOUNT = "amount"
    FREE_SHIPPING = "free_shipping"
    FREE_PRODUCT = "free_product"  # one unit of one of the benefit's products; the shopper adds it
    STORE_CREDIT = "store_credit"  # money in the customer's account with the store
    GIFT_CARD = "gift_card"  # money for whoever holds the card's code
    OTHER = "other"  # seen in a store, never made by us


# Money that is handed over.
VALUE_KINDS = (BenefitKind.STORE_CREDIT, BenefitKind.GIFT_CARD)


class Binding(StrEnum):
    """Who can use a code: the member it was made for only, or whoever holds it, once."""

    BOUND = "bound"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Benefit:
    """What a coupon gives: `basis_points` (1000 is 10 %) or `amount_minor` of `currency`, as the kind says.

    With products or collections (platform's ids) it counts for those only; `first_time_only`: for a first order only.
    """

    kind: BenefitKind
    basis_points: int | None = None
    amount_minor: int | None = None
    currency: str | None = None
    minimum_minor: int | None = None
    product_external_ids: tuple[str, ...] = ()
    collection_external_ids: tuple[str, ...] = ()
    first_time_only: bool = False

    @property
    def is_value(self) -> bool:
        """True for money that is handed over. With that the gift is made: no order tells of its use."""
        return self.kind in VALUE_KINDS


@dataclass(frozen=True, slots=True)
class Coupon:
    """A discount, or one code of a discount, as a store holds it."""

    external_id: str
    code: str | None
    title: str | None
    benefit: Benefit
    is_active: bool
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    usage_limit: int | None = None
    used_count: int | None = None
    customer_external_ids: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    parent_external_id: str | None = None  # where codes are records of their own: the coupon behind this one
    combines: bool | None = None  # may be used together with other discounts; None: the platform does not say
    source_updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class CodeDraft:
    """A single-use code that a store shall hold: bound to one customer, or open to whoever holds it.

    `code` is deterministic, so that a retry asks for the same one; `idempotency_key` names the grant.
    `reward_key` is the same for all codes of one version of a reward: codes that can share a discount find it by this.
    `combines`: it may be used together with other discounts.
    """

    code: str
    idempotency_key: str
    reward_key: str
    title: str
    benefit: Benefit
    starts_at: datetime
    ends_at: datetime
    customer_external_id: str | None
    email: str | None
    binding: Binding = Binding.BOUND
    combines: bool = False


@dataclass(frozen=True, slots=True)
class PushedCode:
    """What became of one draft: ids in the store, or `refused` with the platform's reason."""

    code: str
    external_id: str | None = None
    coupon_external_id: str | None = None
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class HeldValue:
    """Store credit or a gift card as the store holds it. `left_minor` is what has not been spent of it.

    `ends_at` None: it does not end. `is_active` False: somebody switched it off.
    """

    amount_minor: int
    left_minor: int
    currency: str
    is_active: bool
    ends_at: datetime | None


@dataclass(frozen=True, slots=True)
class KnownCode:
    """A code that we pushed before, by everything that finds it again."""

    code: str
    external_id: str | None
    coupon_external_id: str | None


@dataclass(frozen=True, slots=True)
class ShopFacts:
    """What a store says of itself. `time_zone` is an IANA name.

    `notices`: what the merchant should know (a missing permission, fields that are not shown to us), a sentence each.
    `settings`: what the connector must know of the store when it reads payloads; kept among the store's settings.
    `read_by`: those of them that decide what can be read, and as what. When one changes, all is read anew.
    """

    external_id: str
    name: str
    time_zone: str
    currency: str
    notices: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    read_by: tuple[str, ...] = ()
