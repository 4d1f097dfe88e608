"""The ledger: entries that name their fact, take-backs that follow the order's state, balances in step.

One SQL fragment says which facts a way to earn covers and what they are worth; webhooks, previews and runs all use it,
so that they cannot disagree. Points below are whole, rounded down as in `rewards.earning` and `rewards.ledger`; tests
hold the SQL against those rules. Callers hold the program's lock (`lock_program`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from storage import locks
from storage.database import Connection


@dataclass(frozen=True, slots=True)
class Written:
    """How many entries were appended and what they add up to."""

    entries: int = 0
    points: int = 0

    def __add__(self, other: Written) -> Written:
        return Written(self.entries + other.entries, self.points + other.points)


# Whose live (not undone) award of a fact there is, and how often it was undone: the next round.
_ROUNDS = """
LEFT JOIN LATERAL (
    SELECT count(*) AS undone_rounds, coalesce(bool_or(NOT EXISTS (
        SELECT FROM ledger_entries u WHERE u.reverses_id = a.id AND u.reason = 'undo')), false) AS is_live
    FROM ledger_entries a WHERE a.program_id = %(program)s AND a.key = {key}
) rounds ON true
"""

_ORDER_KEY = "'order_paid:' || o.store_id || ':' || o.external_id"
ORDER_FACTS = f"""
SELECT o.id AS order_id, {_ORDER_KEY} AS key, rounds.undone_rounds AS round, rounds.is_live,
    coalesce(m.merged_into, m.id) AS member_id, sc.id AS store_customer_id, root.has_account,
    o.paid_at, o.is_test, o.currency, o.status, o.external_id, o.subtotal_minor, o.total_minor,
    o.paid_at AS occurred_at, 'order' AS reason,
    CASE WHEN w.per_minor IS NULL THEN w.points
         ELSE greatest(o.subtotal_minor, 0) * w.points / w.per_minor END AS points,
    w.per_minor IS NULL OR o.currency = p.currency AS currency_fits, w.id AS rule_version_id
FROM orders o
JOIN programs p ON p.id = %(program)s
JOIN ways_to_earn w ON w.id = %(way)s AND w.program_id = %(program)s
LEFT JOIN LATERAL (SELECT id, member_id FROM store_customers WHERE id = o.store_customer_id OFFSET 0) sc ON true
LEFT JOIN LATERAL (SELECT id, merged_into FROM members WHERE id = sc.member_id OFFSET 0) m ON true
LEFT JOIN LATERAL (SELECT has_account FROM members WHERE id = coalesce(m.merged_into, m.id) OFFSET 0) root ON true
{_ROUNDS.format(key=_ORDER_KEY)}
WHERE o.store_id = %(store)s
"""

_SIGN_UP_KEY = "'sign_up:' || %(store)s::bigint || ':' || root.id"
SIGN_UP_FACTS = f"""
SELECT root.id AS member_id, {_SIGN_UP_KEY} AS key, rounds.undone_rounds AS round,
    rounds.is_live OR EXISTS (  -- somebody merged into this member was awarded before
        SELECT FROM members g CROSS JOIN LATERAL (
            SELECT id FROM ledger_entries WHERE program_id = %(program)s
                AND key = 'sign_up:' || %(store)s::bigint || ':' || g.id OFFSET 0) a
        WHERE g.merged_into = root.id
            AND NOT EXISTS (SELECT FROM ledger_entries u WHERE u.reverses_id = a.id AND u.reason = 'undo')
    ) AS is_live,
    joined.store_customer_id, joined.at AS occurred_at, 'sign_up' AS reason, w.points, w.id AS rule_version_id
FROM members root
JOIN ways_to_earn w ON w.id = %(way)s AND w.program_id = %(program)s
JOIN LATERAL (
    SELECT sc.joined_at AS at, sc.id AS store_customer_id
    FROM (SELECT root.id UNION ALL SELECT id FROM members WHERE merged_into = root.id) g
    CROSS JOIN LATERAL (SELECT * FROM store_customers WHERE member_id = g.id OFFSET 0) sc
    WHERE sc.store_id = %(store)s AND sc.has_account AND sc.joined_at IS NOT NULL
    ORDER BY sc.joined_at, sc.id LIMIT 1
) joined ON true
{_ROUNDS.format(key=_SIGN_UP_KEY)}
WHERE root.program_id = %(program)s AND root.merged_into IS NULL
"""

# What of an order's facts earns at all; the rest is shown as left out, with the reason.
EARNS = "paid_at IS NOT NULL AND NOT is_test AND currency_fits AND member_id IS NOT NULL AND points > 0"

_APPEND = """
WITH added AS (
    INSERT INTO ledger_entries (program_id, key, round, member_id, store_customer_id, store_id, points, reason,
        rule_version_id, run_id, reverses_id, actor, occurred_at, created_at)
    {select}
    ORDER BY key, round
    ON CONFLICT (program_id, key, round) DO NOTHING
    RETURNING member_id, points
), sums AS (
    SELECT member_id, sum(points) AS points FROM added GROUP BY member_id
), kept AS (
    UPDATE members m SET balance = m.balance + sums.points FROM sums WHERE m.id = sums.member_id
)
SELECT count(*) AS entries, coalesce(sum(points), 0)::bigint AS points FROM added
"""

_AWARD = """
SELECT %(program)s, key, {round} AS round, member_id, store_customer_id, %(store)s, points, reason, rule_version_id,
    %(run)s::bigint, NULL::bigint, %(actor)s, occurred_at, %(now)s::timestamptz
FROM ({facts}) AS facts WHERE {condition}
"""

# Refunds count by goods where every refund of the order says how much of it was goods, else by totals.
_TAKE_BACKS = """
WITH awards AS (
    SELECT a.id, a.points, a.round, a.member_id, a.store_customer_id, a.rule_version_id, o.external_id,
        o.subtotal_minor, o.total_minor, o.status, o.cancelled_at, o.paid_at
    FROM orders o CROSS JOIN LATERAL (
        SELECT * FROM ledger_entries WHERE program_id = %(program)s
            AND key = 'order_paid:' || o.store_id || ':' || o.external_id OFFSET 0) a
    WHERE o.store_id = %(store)s AND o.id = ANY(%(orders)s)
        AND NOT EXISTS (SELECT FROM ledger_entries u WHERE u.reverses_id = a.id AND u.reason = 'undo')
), repaid AS (
    SELECT a.id, count(*) AS known, count(*) FILTER (WHERE r.status = 'succeeded') AS counted,
        sum(r.total_minor) FILTER (WHERE r.status = 'succeeded') AS total_minor,
        sum(r.subtotal_minor) FILTER (WHERE r.status = 'succeeded') AS subtotal_minor,
        bool_and(r.subtotal_minor IS NOT NULL) FILTER (WHERE r.status = 'succeeded') AS by_goods,
        max(r.refunded_at) FILTER (WHERE r.status = 'succeeded') AS at,
        max(r.external_id) FILTER (WHERE r.status = 'succeeded' AND NOT EXISTS (
            SELECT FROM ledger_entries e WHERE e.program_id = %(program)s AND e.round = a.round
                AND e.key = 'refund:' || %(store)s || ':' || a.external_id || ':' || r.external_id)) AS unnamed
    FROM awards a CROSS JOIN LATERAL (
        SELECT * FROM refunds WHERE store_id = %(store)s AND order_external_id = a.external_id OFFSET 0) r
    GROUP BY a.id
), taken AS (
    SELECT e.reverses_id AS id, sum(e.points) AS points, count(*) FILTER (WHERE e.reason = 'correction') AS corrections
    FROM awards a CROSS JOIN LATERAL (SELECT * FROM ledger_entries WHERE reverses_id = a.id OFFSET 0) e
    WHERE e.reason IN ('refund', 'correction') GROUP BY e.reverses_id
), amounts AS (
    SELECT a.*, r.unnamed, r.at, coalesce(t.points, 0) AS taken, coalesce(t.corrections, 0) AS corrections,
        a.status = 'cancelled' OR (a.status = 'refunded' AND r.id IS NULL) AS is_cancelled,
        CASE WHEN r.by_goods THEN a.subtotal_minor ELSE a.total_minor END AS base_minor,
        greatest(coalesce(CASE WHEN r.by_goods THEN r.subtotal_minor ELSE r.total_minor END, 0), 0) AS repaid_minor
    FROM awards a LEFT JOIN repaid r ON r.id = a.id LEFT JOIN taken t ON t.id = a.id
), due AS (
    SELECT *, CASE WHEN is_cancelled THEN 0 WHEN base_minor <= 0 THEN points
        ELSE div(points::numeric * (base_minor - least(base_minor, repaid_minor)), base_minor)::bigint END
        - (points + taken) AS change
    FROM amounts
)
SELECT %(program)s, CASE WHEN change < 0 AND NOT is_cancelled AND unnamed IS NOT NULL
        THEN 'refund:' || %(store)s || ':' || external_id || ':' || unnamed
        ELSE 'correction:' || %(store)s || ':' || external_id || ':' || corrections END AS key,
    round, member_id, store_customer_id, %(store)s, change,
    CASE WHEN change < 0 AND NOT is_cancelled AND unnamed IS NOT NULL THEN 'refund' ELSE 'correction' END,
    rule_version_id, %(run)s::bigint, id, %(actor)s, coalesce(cancelled_at, at, paid_at), %(now)s::timestamptz
FROM due WHERE change <> 0
"""

_UNDO = """
SELECT e.program_id, 'reverses:' || e.id AS key, 0 AS round, e.member_id, e.store_customer_id, e.store_id, -e.points,
    'undo', e.rule_version_id, %(run)s::bigint, e.id, %(actor)s, %(now)s::timestamptz, %(now)s::timestamptz
FROM ledger_entries e WHERE e.program_id = %(program)s AND e.id = ANY(%(entries)s)
"""


async def lock_program(connection: Connection, program_id: int) -> None:
    """Makes this transaction the only one that writes the program's records and ledger, until it ends.

    Chunks are short, so waiting is; and what the transaction reads stays true until it commits: no lost take-back, no
    deadlock between members.
    """
    await locks.take_turn(connection, f"ledger:{program_id}")


async def award_orders(connection: Connection, values: Mapping[str, object], *, is_run: bool) -> Written:
    """Awards the orders `values["orders"]`: held facts for a run, else paid ones from `earning_from` on, in round 0."""
    condition = f"order_id = ANY(%(orders)s) AND {EARNS}"
    return await _award(
        connection, ORDER_FACTS + " AND o.id = ANY(%(orders)s)", condition, values, is_run=is_run
    )


async def award_sign_ups(connection: Connection, values: Mapping[str, object], *, is_run: bool) -> Written:
    """Awards the sign-ups of the members `values["members"]`; else as `award_orders`."""
    facts = SIGN_UP_FACTS + " AND root.id = ANY(%(members)s)"
    return await _award(connection, facts, "points > 0", values, is_run=is_run)


async def _award(
    connection: Connection, facts: str, condition: str, values: Mapping[str, object], *, is_run: bool
) -> Written:
    if is_run:
        condition += " AND NOT is_live"
    else:
        condition += " AND occurred_at >= %(earning_from)s AND NOT is_live"
    select = _AWARD.format(facts=facts, condition=condition, round="round" if is_run else "0")
    return await _append(connection, select, values)


async def take_back(connection: Connection, values: Mapping[str, object]) -> Written:
    """Brings the live awards of the orders `values["orders"]` to what refunds and cancelling leave of them."""
    return await _append(connection, _TAKE_BACKS, values)


async def undo(connection: Connection, values: Mapping[str, object]) -> Written:
    """Appends a reversing entry for each of the entries `values["entries"]` that has none."""
    return await _append(connection, _UNDO, values)


async def _append(connection: Connection, select: str, values: Mapping[str, object]) -> Written:
    cursor = await connection.execute(_APPEND.format(select=select), values)
    row = await cursor.fetchone()
    assert row is not None
    return Written(row["entries"], row["points"])


def values_for(
    *,
    program_id: int,
    store_id: int,
    now: datetime,
    actor: str,
    way_id: int | None = None,
    run_id: int | None = None,
    **more: object,
) -> dict[str, object]:
    """The named values that every statement here takes."""
    return {
        "program": program_id,
        "store": store_id,
        "way": way_id,
        "run": run_id,
        "actor": actor,
        "now": now,
        **more,
    }
