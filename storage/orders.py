"""Orders and refunds, merged a staged chunk at a time.

A later version of an order wins. Where versions are equal or the platform gives none, the rules are monotone, so that
any order of arrival ends alike: amounts take the maximum, the status its highest rank, codes are united. That an order
was paid is never forgotten, whatever version told it first.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from storage.database import Connection

_NEWER = "coalesce(excluded.source_updated_at > o.source_updated_at, false)"
_OLDER = "coalesce(excluded.source_updated_at < o.source_updated_at, false)"
_RANK = "array_position(ARRAY['pending', 'failed', 'paid', 'refunded', 'cancelled']::text[], {}::text)"
_EXCLUDED_RANKS = f"{_RANK.format('excluded.status')} >= {_RANK.format('o.status')}"

_ORDER_COLUMNS = (
    "store_customer_id status status_given currency subtotal_minor tax_minor shipping_minor discount_minor "
    "total_minor placed_at paid_at cancelled_at is_test codes source_updated_at"
).split()
_AMOUNTS = ("subtotal_minor", "tax_minor", "shipping_minor", "discount_minor", "total_minor")
_WHEN_EQUAL = {
    "store_customer_id": "coalesce(o.store_customer_id, excluded.store_customer_id)",
    "status": f"CASE WHEN {_EXCLUDED_RANKS} THEN excluded.status ELSE o.status END",
    "status_given": f"CASE WHEN {_EXCLUDED_RANKS} THEN excluded.status_given ELSE o.status_given END",
    "currency": "CASE WHEN o.currency = '' THEN excluded.currency ELSE o.currency END",
    "placed_at": "least(o.placed_at, excluded.placed_at)",
    "cancelled_at": "least(o.cancelled_at, excluded.cancelled_at)",
    "is_test": "o.is_test OR excluded.is_test",
    "codes": """CASE WHEN o.codes @> excluded.codes THEN o.codes
        ELSE (SELECT array_agg(DISTINCT code ORDER BY code) FROM unnest(o.codes || excluded.codes) AS code) END""",
    "source_updated_at": "coalesce(o.source_updated_at, excluded.source_updated_at)",
    **{name: f"greatest(o.{name}, excluded.{name})" for name in _AMOUNTS},
}


# A deletion has no version of the order; it holds until a version from after it is told.
_REVIVED = "coalesce(excluded.source_updated_at > o.deleted_at, false)"


def _merged(column: str) -> str:
    if column == "paid_at":
        return "paid_at = least(o.paid_at, excluded.paid_at)"
    if column == "status":
        return (
            f"status = CASE WHEN o.deleted_at IS NOT NULL AND NOT {_REVIVED} THEN 'cancelled' "
            f"WHEN {_NEWER} OR {_REVIVED} THEN excluded.status WHEN {_OLDER} THEN o.status "
            f"ELSE {_WHEN_EQUAL[column]} END"
        )
    if (
        column == "store_customer_id"
    ):  # whoever ordered is not forgotten: the later version's word comes first
        later = "coalesce(excluded.store_customer_id, o.store_customer_id)"
        return f"{column} = CASE WHEN {_NEWER} THEN {later} ELSE {_WHEN_EQUAL[column]} END"
    return (
        f"{column} = CASE WHEN {_NEWER} THEN excluded.{column} WHEN {_OLDER} THEN o.{column} "
        f"ELSE {_WHEN_EQUAL[column]} END"
    )


_MERGE_ORDERS = f"""
INSERT INTO orders AS o (program_id, store_id, external_id, {", ".join(_ORDER_COLUMNS)})
SELECT %(program)s, %(store)s, i.external_id,
    (SELECT sc.id FROM store_customers sc WHERE sc.store_id = %(store)s AND sc.external_id = i.person),
    {", ".join(f"i.{name}" for name in _ORDER_COLUMNS[1:])}
FROM incoming_orders i
ON CONFLICT (store_id, external_id) DO UPDATE SET {", ".join(_merged(name) for name in _ORDER_COLUMNS)},
    deleted_at = CASE WHEN {_REVIVED} THEN NULL ELSE o.deleted_at END
WHERE ({", ".join(f"o.{name}" for name in _ORDER_COLUMNS)})
    IS DISTINCT FROM ({", ".join(f"excluded.{name}" for name in _ORDER_COLUMNS)})
    AND (NOT {_OLDER} OR least(o.paid_at, excluded.paid_at) IS DISTINCT FROM o.paid_at
         OR o.store_customer_id IS NULL)
"""

# A refund is made once; only how it stands changes, and only upwards: one that failed after all gives the sale back.
# Told several times in a chunk it is merged as if it had been told in several.
_REFUND_RANK = "array_position(ARRAY['pending', 'succeeded', 'failed']::text[], {}::text)"
_MERGE_REFUNDS = f"""
INSERT INTO refunds AS r (store_id, order_external_id, external_id, total_minor, subtotal_minor, status, refunded_at)
SELECT %(store)s, order_external_id, external_id, max(total_minor), max(subtotal_minor),
    (array_agg(status ORDER BY {_REFUND_RANK.format("status")} DESC))[1], min(refunded_at)
FROM incoming_refunds GROUP BY order_external_id, external_id ORDER BY order_external_id, external_id
ON CONFLICT (store_id, order_external_id, external_id) DO UPDATE SET
    status = CASE WHEN {_REFUND_RANK.format("excluded.status")} > {_REFUND_RANK.format("r.status")}
        THEN excluded.status ELSE r.status END,
    total_minor = greatest(r.total_minor, excluded.total_minor),
    subtotal_minor = greatest(r.subtotal_minor, excluded.subtotal_minor),
    refunded_at = least(r.refunded_at, excluded.refunded_at)
WHERE (r.status, r.total_minor, r.subtotal_minor, r.refunded_at)
    IS DISTINCT FROM (excluded.status, excluded.total_minor, excluded.subtotal_minor, excluded.refunded_at)
"""


async def merge_orders(connection: Connection, *, program_id: int, store_id: int) -> int:
    """Merges `incoming_orders` (one row per order) into what is known; how many changed."""
    cursor = await connection.execute(_MERGE_ORDERS, {"program": program_id, "store": store_id})
    return cursor.rowcount


async def merge_refunds(connection: Connection, *, store_id: int) -> int:
    """Merges `incoming_refunds`; a refund without its order waits for it here. How many changed."""
    cursor = await connection.execute(_MERGE_REFUNDS, {"store": store_id})
    return cursor.rowcount


_MARK_DELETED = """
INSERT INTO orders AS o (program_id, store_id, external_id, status, status_given, currency, subtotal_minor, tax_minor,
    shipping_minor, discount_minor, total_minor, placed_at, cancelled_at, is_test, codes, deleted_at)
SELECT %(program)s, %(store)s, d.external_id, 'cancelled', 'deleted', '', 0, 0, 0, 0, 0, d.at, d.at, false, '{}', d.at
FROM unnest(%(ids)s::text[], %(at)s::timestamptz[]) AS d (external_id, at)
ON CONFLICT (store_id, external_id) DO UPDATE
SET status = 'cancelled', cancelled_at = coalesce(o.cancelled_at, excluded.deleted_at), deleted_at = excluded.deleted_at
WHERE coalesce(o.source_updated_at <= excluded.deleted_at, true)
    AND coalesce(o.deleted_at < excluded.deleted_at, true)
"""


async def mark_deleted(
    connection: Connection, *, program_id: int, store_id: int, deleted: Mapping[str, datetime]
) -> None:
    """Orders that the store removed count as cancelled, until a version from after it says otherwise.

    One that is not here yet leaves its mark: when it is told of after all, its deletion is not forgotten.
    """
    values = {
        "program": program_id,
        "store": store_id,
        "ids": list(deleted),
        "at": list(deleted.values()),
    }
    await connection.execute(_MARK_DELETED, values)


async def ids_of(connection: Connection, store_id: int, external_ids: list[str]) -> list[int]:
    """Our ids of those of these orders that are here."""
    cursor = await connection.execute(
        "SELECT id FROM orders WHERE store_id = %s AND external_id = ANY(%s) ORDER BY id",
        (store_id, external_ids),
    )
    return [row["id"] for row in await cursor.fetchall()]


_HELD = "FROM orders WHERE store_id = %s AND deleted_at IS NULL AND placed_at >= %s AND placed_at < %s"


async def span(connection: Connection, store_id: int) -> tuple[datetime, datetime] | None:
    """When the first and the last order of the store were placed, of those that it has not deleted."""
    cursor = await connection.execute(
        "SELECT min(placed_at) AS first, max(placed_at) AS last FROM orders WHERE store_id = %s AND deleted_at IS NULL",
        (store_id,),
    )
    found = await cursor.fetchone()
    return None if found is None or found["first"] is None else (found["first"], found["last"])


async def count_placed(connection: Connection, store_id: int, first: datetime, end: datetime) -> int:
    """Orders placed from `first` on and before `end`, without those that the store deleted."""
    cursor = await connection.execute(f"SELECT count(*) AS n {_HELD}", (store_id, first, end))
    found = await cursor.fetchone()
    return int(found["n"]) if found else 0


async def ids_placed(connection: Connection, store_id: int, first: datetime, end: datetime) -> list[str]:
    """The platform's ids of these orders."""
    cursor = await connection.execute(f"SELECT external_id {_HELD} ORDER BY id", (store_id, first, end))
    return [found["external_id"] for found in await cursor.fetchall()]


async def middle_placed(
    connection: Connection, store_id: int, first: datetime, end: datetime
) -> datetime | None:
    """When the middle one of these orders was placed."""
    cursor = await connection.execute(
        f"SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY placed_at) AS at {_HELD}", (store_id, first, end)
    )
    found = await cursor.fetchone()
    return found["at"] if found else None
