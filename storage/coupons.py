"""A store's discounts as last seen."""

from __future__ import annotations

from datetime import datetime

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
    return f"{column} = excluded.{column}"


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


async def mark_deleted(connection: Connection, store_id: int, external_ids: list[str], now: datetime) -> None:
    """Notes that the store holds these no more."""
    await connection.execute(
        """UPDATE coupons SET deleted_at = %s, is_active = false
           WHERE store_id = %s AND external_id = ANY(%s) AND deleted_at IS NULL""",
        (now, store_id, external_ids),
    )
