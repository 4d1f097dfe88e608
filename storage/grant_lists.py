"""Grants with their codes, and a store's coupons, as lists show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from rewards.records import BenefitKind
from storage.database import Connection


@dataclass(frozen=True, slots=True)
class GrantRow:
    """A grant, who it is for, and how its code stands in the store. Store credit has no code."""

    id: int
    member_id: int
    member_name: str | None
    member_email: str | None
    reward_id: int
    reward_name: str
    occasion: str
    occasion_on: date
    due_on: date
    code: str | None
    state: str
    state_reason: str | None
    valid_until: datetime
    pushed_at: datetime | None
    verified_at: datetime | None
    difference: str | None
    redeemed_at: datetime | None
    redeemed_order: str | None


@dataclass(frozen=True, slots=True)
class CouponRow:
    """A discount as the store last showed it. `is_ours`: the code of a grant."""

    external_id: str
    code: str | None
    title: str | None
    kind: str
    basis_points: int | None
    amount_minor: int | None
    currency: str | None
    minimum_minor: int | None
    is_active: bool
    starts_at: datetime | None
    ends_at: datetime | None
    usage_limit: int | None
    used_count: int | None
    verified_at: datetime | None
    is_ours: bool


async def grants_of(
    connection: Connection, store_id: int, *, state: str | None = None, limit: int | None = None
) -> list[GrantRow]:
    """The store's grants, newest first, or only those in a state."""
    cursor = await connection.execute(
        """SELECT g.id, coalesce(m.merged_into, m.id) AS member_id, m.name AS member_name, m.email AS member_email,
               g.reward_id, r.name AS reward_name, g.occasion, g.occasion_on, g.due_on,
               CASE WHEN v.benefit ->> 'kind' <> %(no_code)s THEN c.code END AS code, g.state,
               g.state_reason, g.valid_until, g.pushed_at, c.verified_at, c.difference, g.redeemed_at,
               o.external_id AS redeemed_order
           FROM grants g JOIN rewards r ON r.id = g.reward_id JOIN members m ON m.id = g.member_id
           JOIN reward_versions v ON v.id = g.reward_version_id
           LEFT JOIN promotion_codes c ON c.store_id = g.store_id AND c.grant_id = g.id
               AND c.replaced_at IS NULL
           LEFT JOIN orders o ON o.id = g.redeemed_order_id
           WHERE g.store_id = %(store)s AND (%(state)s::text IS NULL OR g.state = %(state)s)
           ORDER BY g.id DESC LIMIT %(limit)s""",
        {"store": store_id, "state": state, "limit": limit, "no_code": BenefitKind.STORE_CREDIT.value},
    )
    return [GrantRow(**row) for row in await cursor.fetchall()]


async def states_of(connection: Connection, store_id: int) -> dict[str, int]:
    """How many of the store's grants are in which state."""
    cursor = await connection.execute(
        "SELECT state, count(*) AS grants FROM grants WHERE store_id = %s GROUP BY state ORDER BY state",
        (store_id,),
    )
    return {row["state"]: row["grants"] for row in await cursor.fetchall()}


async def count_waiting(connection: Connection, store_id: int) -> int:
    """How many grants have a code that is not in the store yet."""
    return (await states_of(connection, store_id)).get("decided", 0)


async def coupons_of(connection: Connection, store_id: int, limit: int | None = None) -> list[CouponRow]:
    """The discounts that the store holds, as last seen; newest first."""
    cursor = await connection.execute(
        """SELECT c.external_id, c.code, c.title, c.kind, c.basis_points, c.amount_minor, c.currency,
               c.minimum_minor, c.is_active, c.starts_at, c.ends_at, c.usage_limit, c.used_count, c.verified_at,
               EXISTS (SELECT FROM promotion_codes p
                       WHERE p.store_id = c.store_id AND p.code_key = lower(c.code) AND NOT p.is_shared) AS is_ours
           FROM coupons c WHERE c.store_id = %s AND c.deleted_at IS NULL ORDER BY c.id DESC LIMIT %s""",
        (store_id, limit),
    )
    return [CouponRow(**row) for row in await cursor.fetchall()]


async def stores_with_due(connection: Connection, store_ids: Sequence[int] | None = None) -> list[int]:
    """Active stores (of these) with codes that are not in the store yet, by id."""
    cursor = await connection.execute(
        """SELECT DISTINCT g.store_id FROM grants g JOIN stores s ON s.id = g.store_id
           WHERE g.state IN ('decided', 'returned') AND s.status = 'active'
               AND (%(stores)s::bigint[] IS NULL OR g.store_id = ANY(%(stores)s)) ORDER BY g.store_id""",
        {"stores": None if store_ids is None else list(store_ids)},
    )
    return [row["store_id"] for row in await cursor.fetchall()]
