"""A store's discounts as last seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rewards.errors import NotFoundError
from rewards.records import Benefit, BenefitKind, Coupon
from storage.database import Connection

_COLUMNS = (
    "code title kind basis_points amount_minor currency minimum_minor is_active starts_at ends_at usage_limit "
    "used_count customer_external_ids emails parent_external_id source_updated_at"
).split()

# Some posts name a code and its discount without what it gives: "other" never replaces what is known.
_TERMS = ("kind", "basis_points", "amount_minor", "currency", "minimum_minor")


def _merged(column: str) -> str:
    if column in _TERMS:
        return f"{column} = CASE WHEN excluded.kind = 'other' THEN c.{column} ELSE excluded.{column} END"
    if column == "source_updated_at":
        return f"{column} = coalesce(excluded.{column}, c.{column})"
    return f"{column} = excluded.{column}"


@dataclass(frozen=True, slots=True)
class StoreCoupon:
    """A discount of the store's own, as last seen. `is_ours`: the code of a grant."""

    id: int
    store_id: int
    external_id: str
    code: str | None
    parent_external_id: str | None
    benefit: Benefit
    is_active: bool
    starts_at: datetime | None
    ends_at: datetime | None
    is_deleted: bool
    is_ours: bool

    def why_not_now(self, now: datetime) -> str | None:
        """Why nobody can use it now, in words for the merchant; None when it is good."""
        name = self.code or self.external_id
        if self.is_deleted:
            return f"The coupon {name} is gone from the store; make it again there, or change the reward."
        if not self.is_active:
            return (
                f"The coupon {name} is switched off in the store; switch it on there, or change the reward."
            )
        if self.starts_at is not None and self.starts_at > now:
            return f"The coupon {name} has not begun in the store; let it begin there, or change the reward."
        if self.ends_at is not None and self.ends_at <= now:
            return f"The coupon {name} has ended in the store; let it go on there, or change the reward."
        return None


_SELECT = """SELECT c.id, c.store_id, c.external_id, c.code, c.parent_external_id, c.kind, c.basis_points,
    c.amount_minor, c.currency, c.minimum_minor, c.is_active, c.starts_at, c.ends_at,
    c.deleted_at IS NOT NULL AS is_deleted,
    EXISTS (SELECT FROM promotion_codes p
            WHERE p.store_id = c.store_id AND p.code_key = lower(c.code) AND NOT p.is_shared) AS is_ours
    FROM coupons c"""


async def by_id(connection: Connection, program_id: int, coupon_id: int) -> StoreCoupon:
    """The coupon; raises NotFoundError."""
    cursor = await connection.execute(
        f"{_SELECT} WHERE c.program_id = %s AND c.id = %s", (program_id, coupon_id)
    )
    found = await cursor.fetchone()
    if found is None:
        raise NotFoundError(f"There is no coupon {coupon_id} in this program.")
    return _row(found)


async def by_name(connection: Connection, store_id: int, name: str) -> StoreCoupon:
    """The store's coupon with this code or, failing that, this id there; raises NotFoundError."""
    cursor = await connection.execute(
        f"""{_SELECT} WHERE c.store_id = %(store)s AND c.deleted_at IS NULL
                AND (lower(c.code) = lower(%(name)s) OR c.external_id = %(name)s)
            ORDER BY lower(c.code) = lower(%(name)s) DESC NULLS LAST, c.is_active DESC, c.id DESC LIMIT 1""",
        {"store": store_id, "name": name.strip()},
    )
    found = await cursor.fetchone()
    if found is None:
        raise NotFoundError(
            f"The store has no coupon {name.strip()} that we know of: `perennial sync {store_id}` reads its "
            f"coupons, `perennial coupons {store_id}` lists them."
        )
    return _row(found)


async def given_to_members(connection: Connection, store_id: int, now: datetime) -> list[StoreCoupon]:
    """The store's own coupons that a reward gives now, or whose code a member still holds."""
    cursor = await connection.execute(
        f"""{_SELECT} WHERE c.store_id = %(store)s AND c.code IS NOT NULL AND (
                EXISTS (SELECT FROM rewards r JOIN reward_versions v ON v.program_id = r.program_id
                            AND v.reward_id = r.id AND v.version = r.version
                        WHERE r.program_id = c.program_id AND r.is_on AND v.generic_coupon_id = c.id)
                OR EXISTS (SELECT FROM promotion_codes p JOIN grants g ON g.id = p.grant_id
                           WHERE p.store_id = c.store_id AND p.is_shared AND p.code_key = lower(c.code)
                               AND p.external_id = c.external_id
                               AND g.state IN ('pushed', 'notified') AND g.valid_until >= %(now)s))
            ORDER BY c.id""",
        {"store": store_id, "now": now},
    )
    return [_row(found) for found in await cursor.fetchall()]


async def record_look(
    connection: Connection,
    store_id: int,
    coupon: StoreCoupon,
    found: Coupon | None,
    difference: str | None,
    now: datetime,
) -> None:
    """Keeps how a coupon of the store's own was found, with the grants that hold its code."""
    values = {
        "store": store_id,
        "id": coupon.id,
        "code": coupon.code,
        "external": coupon.external_id,
        "difference": difference,
        "is_active": found is not None and found.is_active,
        "ends_at": coupon.ends_at if found is None else found.ends_at,
        "is_gone": found is None,
        "now": now,
    }
    await connection.execute(
        """UPDATE coupons SET verified_at = %(now)s, difference = %(difference)s, is_active = %(is_active)s,
               ends_at = %(ends_at)s, deleted_at = CASE WHEN %(is_gone)s THEN coalesce(deleted_at, %(now)s) END
           WHERE store_id = %(store)s AND id = %(id)s""",
        values,
    )
    await connection.execute(
        """UPDATE promotion_codes SET verified_at = %(now)s, difference = %(difference)s
           WHERE store_id = %(store)s AND is_shared AND code_key = lower(%(code)s) AND external_id = %(external)s""",
        values,
    )


def _row(found: Mapping[str, Any]) -> StoreCoupon:
    terms = ("basis_points", "amount_minor", "currency", "minimum_minor")
    benefit = Benefit(BenefitKind(found["kind"]), **{name: found[name] for name in terms})
    kept = {name: value for name, value in found.items() if name not in (*terms, "kind")}
    return StoreCoupon(**kept, benefit=benefit)


_MERGE = f"""
INSERT INTO coupons AS c (program_id, store_id, external_id, {", ".join(_COLUMNS)}, verified_at)
SELECT %(program)s, %(store)s, external_id, {", ".join(_COLUMNS)}, %(now)s
FROM incoming_coupons
ON CONFLICT (store_id, external_id) DO UPDATE SET
    {", ".join(map(_merged, _COLUMNS))}, deleted_at = NULL, verified_at = %(now)s
WHERE c.source_updated_at IS NULL OR excluded.source_updated_at IS NULL
    OR excluded.source_updated_at >= c.source_updated_at
"""


async def merge_coupons(connection: Connection, *, program_id: int, store_id: int, now: datetime) -> int:
    """Brings the store's discounts up to date with `incoming_coupons`; how many rows changed."""
    cursor = await connection.execute(_MERGE, {"program": program_id, "store": store_id, "now": now})
    return cursor.rowcount


_DELETED = "unnest(%(ids)s::text[], %(at)s::timestamptz[]) AS d (external_id, at)"
_NOT_LATER = "coalesce(c.source_updated_at <= d.at, true)"


async def mark_deleted(
    connection: Connection, store_id: int, deleted: Mapping[str, datetime | None], now: datetime
) -> None:
    """Notes that the store holds these no more; codes of a discount that is gone cannot be used.

    Where the platform says when, that is a version: what is older comes too late, and what is later is not undone.
    """
    values = {"store": store_id, "ids": list(deleted), "at": list(deleted.values()), "now": now}
    await connection.execute(
        f"""UPDATE coupons c SET is_active = false, source_updated_at = greatest(c.source_updated_at, d.at)
            FROM {_DELETED}
            WHERE c.store_id = %(store)s AND c.parent_external_id = d.external_id AND c.is_active AND {_NOT_LATER}""",
        values,
    )
    await connection.execute(
        f"""UPDATE coupons c SET deleted_at = %(now)s, is_active = false,
                source_updated_at = greatest(c.source_updated_at, d.at)
            FROM {_DELETED}
            WHERE c.store_id = %(store)s AND c.external_id = d.external_id AND c.deleted_at IS NULL AND {_NOT_LATER}""",
        values,
    )
