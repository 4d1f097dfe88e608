"""Past-action runs: what they would award, their chunks, and what undoing them touches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from rewards.errors import NotFoundError
from storage.database import Connection
from storage.ledger import EARNS, ORDER_FACTS, SIGN_UP_FACTS

_SIGN_UPS = f"""
SELECT count(*) FILTER (WHERE NOT is_live AND points > 0) AS customers,
    count(*) FILTER (WHERE NOT is_live AND points > 0) AS facts,
    coalesce(sum(points) FILTER (WHERE NOT is_live), 0)::bigint AS points,
    count(*) FILTER (WHERE is_live) AS already_awarded, max(member_id) AS through
FROM ({SIGN_UP_FACTS} AND root.id > %(after)s) AS facts
"""

# What refunds and cancelling leave of each award, as `storage.ledger` will take it back in the same chunk.
_ORDERS = f"""
WITH repaid AS (
    SELECT order_external_id, count(*) AS known, sum(total_minor) FILTER (WHERE status = 'succeeded') AS total_minor,
        sum(subtotal_minor) FILTER (WHERE status = 'succeeded') AS subtotal_minor,
        bool_and(subtotal_minor IS NOT NULL) FILTER (WHERE status = 'succeeded') AS by_goods
    FROM refunds WHERE store_id = %(store)s GROUP BY order_external_id
), facts AS ({ORDER_FACTS}), judged AS (
    SELECT f.*, NOT f.is_live AND {EARNS} AS earns,
        CASE WHEN r.by_goods THEN f.subtotal_minor ELSE f.total_minor END AS base_minor,
        greatest(coalesce(CASE WHEN r.by_goods THEN r.subtotal_minor ELSE r.total_minor END, 0), 0) AS repaid_minor,
        f.status = 'cancelled' OR (f.status = 'refunded' AND r.known IS NULL) AS is_cancelled
    FROM facts f LEFT JOIN repaid r ON r.order_external_id = f.external_id
), net AS (
    SELECT *, CASE WHEN NOT earns OR is_cancelled THEN 0 WHEN base_minor <= 0 THEN points
        ELSE div(points::numeric * (base_minor - least(base_minor, repaid_minor)), base_minor)::bigint END AS left_over
    FROM judged
)
SELECT count(DISTINCT member_id) FILTER (WHERE earns) AS customers,
    count(DISTINCT member_id) FILTER (WHERE earns AND NOT has_account) AS guests,
    count(*) FILTER (WHERE earns) AS facts,
    coalesce(sum(points) FILTER (WHERE earns), 0)::bigint AS awarded,
    coalesce(sum(points - left_over) FILTER (WHERE earns), 0)::bigint AS taken_back,
    coalesce(sum(left_over), 0)::bigint AS points,
    count(*) FILTER (WHERE is_live) AS already_awarded,
    count(*) FILTER (WHERE NOT is_live AND paid_at IS NULL) AS unpaid,
    count(*) FILTER (WHERE NOT is_live AND paid_at IS NOT NULL AND is_test) AS test_orders,
    count(*) FILTER (WHERE NOT is_live AND paid_at IS NOT NULL AND NOT is_test AND member_id IS NULL) AS nobody,
    count(*) FILTER (WHERE NOT is_live AND paid_at IS NOT NULL AND NOT is_test AND NOT currency_fits)
        AS other_currency,
    count(*) FILTER (WHERE NOT is_live AND paid_at IS NOT NULL AND NOT is_test AND currency_fits
        AND member_id IS NOT NULL AND points <= 0) AS worth_nothing,
    max(order_id) AS through
FROM net
"""

_COLUMNS = """id, program_id, store_id, state, rule_version_ids, preview, cursor, counts, actor, created_at,
    confirmed_at, finished_at, undone_at"""


@dataclass(frozen=True, slots=True)
class RunRow:
    """One past-action run as stored."""

    id: int
    program_id: int
    store_id: int
    state: str
    rule_version_ids: Sequence[int]
    preview: Mapping[str, Any]
    cursor: Mapping[str, Any]
    counts: Mapping[str, Any]
    actor: str
    created_at: datetime
    confirmed_at: datetime | None
    finished_at: datetime | None
    undone_at: datetime | None


async def preview_sign_ups(connection: Connection, values: Mapping[str, object]) -> dict[str, Any]:
    """What a run would award for sign-ups now, and who is left out."""
    return await _one(connection, _SIGN_UPS, {**values, "after": 0})


async def preview_orders(connection: Connection, values: Mapping[str, object]) -> dict[str, Any]:
    """What a run would award for orders now, what refunds take of it, and what is left out and why."""
    return await _one(connection, _ORDERS, values)


async def _one(connection: Connection, sql: str, values: Mapping[str, object]) -> dict[str, Any]:
    cursor = await connection.execute(sql, values)
    found = await cursor.fetchone()
    assert found is not None
    return found


async def create(
    connection: Connection,
    program_id: int,
    store_id: int,
    *,
    rule_version_ids: Sequence[int],
    preview: Mapping[str, object],
    actor: str,
    now: datetime,
) -> int:
    """Stores a preview; its id is the run's."""
    cursor = await connection.execute(
        """INSERT INTO backfill_runs (program_id, store_id, state, rule_version_ids, preview, cursor, counts, actor,
               created_at)
           VALUES (%s, %s, 'previewed', %s, %s, '{}', '{}', %s, %s) RETURNING id""",
        (program_id, store_id, Jsonb(list(rule_version_ids)), Jsonb(dict(preview)), actor, now),
    )
    found = await cursor.fetchone()
    assert found is not None
    return int(found["id"])


async def load(connection: Connection, run_id: int, *, lock: bool = False) -> RunRow:
    """The run; with `lock`, nobody else moves it until the transaction ends. Raises NotFoundError."""
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} FROM backfill_runs WHERE id = %s {'FOR UPDATE' if lock else ''}", (run_id,)
    )
    found = await cursor.fetchone()
    if found is None:
        raise NotFoundError(f"There is no run {run_id}; `perennial backfill status STORE` lists them.")
    return RunRow(**found)


async def of_store(connection: Connection, store_id: int) -> list[RunRow]:
    """The store's runs, newest first."""
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} FROM backfill_runs WHERE store_id = %s ORDER BY id DESC", (store_id,)
    )
    return [RunRow(**row) for row in await cursor.fetchall()]


async def move(
    connection: Connection,
    run_id: int,
    *,
    state: str,
    cursor: Mapping[str, object],
    counts: Mapping[str, object],
    now: datetime,
) -> None:
    """Stores how far the run has come, in the transaction that stores its entries."""
    await connection.execute(
        """UPDATE backfill_runs SET state = %(state)s::text, cursor = %(cursor)s, counts = %(counts)s,
               confirmed_at = CASE WHEN %(state)s::text = 'confirmed' THEN coalesce(confirmed_at, %(now)s)
                   ELSE confirmed_at END,
               finished_at = CASE WHEN %(state)s::text = 'done' THEN %(now)s ELSE finished_at END,
               undone_at = CASE WHEN %(state)s::text = 'undone' THEN %(now)s ELSE undone_at END
           WHERE id = %(run)s""",
        {
            "run": run_id,
            "state": state,
            "cursor": Jsonb(dict(cursor)),
            "counts": Jsonb(dict(counts)),
            "now": now,
        },
    )


async def next_members(
    connection: Connection, program_id: int, store_id: int, after: int, through: int, limit: int
) -> list[int]:
    """The next members with a customer record in the store, by id."""
    cursor = await connection.execute(
        """SELECT m.id FROM members m WHERE m.program_id = %s AND m.id > %s AND m.id <= %s
               AND m.merged_into IS NULL AND EXISTS (
                   SELECT FROM (SELECT m.id UNION ALL SELECT id FROM members WHERE merged_into = m.id) g
                   CROSS JOIN LATERAL (SELECT store_id FROM store_customers WHERE member_id = g.id OFFSET 0) sc
                   WHERE sc.store_id = %s)
           ORDER BY m.id LIMIT %s""",
        (program_id, after, through, store_id, limit),
    )
    return [row["id"] for row in await cursor.fetchall()]


async def next_orders(
    connection: Connection, store_id: int, after: int, through: int, limit: int
) -> list[int]:
    """The next orders of the store, by id."""
    cursor = await connection.execute(
        "SELECT id FROM orders WHERE store_id = %s AND id > %s AND id <= %s ORDER BY id LIMIT %s",
        (store_id, after, through, limit),
    )
    return [row["id"] for row in await cursor.fetchall()]


async def next_to_undo(
    connection: Connection, program_id: int, run_id: int, after: int, limit: int
) -> list[int]:
    """The next entries that undoing the run reverses: its own, and what was taken back from its awards since."""
    cursor = await connection.execute(
        """SELECT e.id FROM ledger_entries e
           WHERE e.program_id = %(program)s AND e.id > %(after)s AND e.reason <> 'undo' AND (
               e.run_id = %(run)s OR e.reverses_id IN (SELECT a.id FROM ledger_entries a WHERE a.run_id = %(run)s))
           ORDER BY e.id LIMIT %(limit)s""",
        {"program": program_id, "run": run_id, "after": after, "limit": limit},
    )
    return [row["id"] for row in await cursor.fetchall()]
