"""Grants whose code is the one of a coupon of the store's own: an order redeems the grant of the member who placed it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rewards.returns import CodeReturns
from storage.database import Connection

IS_CANCELLED = "(o.cancelled_at IS NOT NULL OR o.status IN ('cancelled', 'failed'))"
IS_REFUNDED = """(o.status = 'refunded' OR (o.total_minor > 0 AND o.total_minor <= (
    SELECT sum(f.total_minor) FROM refunds f
    WHERE f.store_id = o.store_id AND f.order_external_id = o.external_id AND f.status = 'succeeded')))"""

# What shoppers type, and the platform's id of the code where it cannot be mistaken for that.
_CARRIES = "(c.code_key = ANY(o.codes) OR (c.external_id ~ '[^0-9]' AND c.external_id = ANY(o.codes)))"

# Everybody whom the order's customer turned out to be. "OFFSET 0" keeps one walk through the index per order.
TOUCHED = f"""SELECT c.grant_id FROM orders o
    JOIN store_customers sc ON sc.id = o.store_customer_id JOIN members m ON m.id = sc.member_id
    CROSS JOIN LATERAL (SELECT p.id FROM members p WHERE p.id = coalesce(m.merged_into, m.id)
        UNION ALL SELECT p.id FROM members p WHERE p.merged_into = coalesce(m.merged_into, m.id) OFFSET 0) person
    JOIN grants own ON own.member_id = person.id AND own.store_id = o.store_id
    JOIN promotion_codes c ON c.store_id = o.store_id AND c.grant_id = own.id AND c.is_shared
    WHERE o.store_id = %(store)s AND o.id = ANY(%(orders)s) AND o.codes <> '{{}}' AND {_CARRIES}"""

# An order counts for the last grant before it, so that one order redeems one grant.
_SETTLE = f"""
WITH mine AS MATERIALIZED (
    SELECT g.id AS grant_id, person.ids, g.decided_at, g.valid_until, c.code_key, c.external_id
    FROM grants g JOIN promotion_codes c ON c.store_id = g.store_id AND c.grant_id = g.id AND c.is_shared
    JOIN members m ON m.id = g.member_id
    CROSS JOIN LATERAL (SELECT array_append(ARRAY(SELECT p.id FROM members p
        WHERE p.merged_into = coalesce(m.merged_into, m.id)), coalesce(m.merged_into, m.id)) AS ids) person
    WHERE g.store_id = %(store)s AND g.id = ANY(%(grants)s)
), used AS (
    SELECT DISTINCT ON (c.grant_id) c.grant_id, o.id AS order_id, coalesce(o.paid_at, o.placed_at) AS at
    FROM mine c JOIN store_customers sc ON sc.member_id = ANY(c.ids) AND sc.store_id = %(store)s
    JOIN orders o ON o.store_customer_id = sc.id AND o.store_id = %(store)s
    WHERE {_CARRIES} AND o.placed_at BETWEEN c.decided_at AND c.valid_until AND NOT {IS_CANCELLED}
        AND NOT (%(renewed)s::text = 'on_full_refund' AND {IS_REFUNDED})
        AND NOT EXISTS (
            SELECT FROM grants later JOIN promotion_codes l ON l.store_id = later.store_id
                AND l.grant_id = later.id AND l.is_shared AND l.code_key = c.code_key
            WHERE later.store_id = %(store)s AND later.member_id = ANY(c.ids)
                AND o.placed_at BETWEEN later.decided_at AND later.valid_until
                AND (later.decided_at, later.id) > (c.decided_at, c.grant_id))
    ORDER BY c.grant_id, at, o.external_id
)
UPDATE grants g
SET redeemed_order_id = used.order_id, redeemed_at = used.at, state = CASE
    WHEN used.order_id IS NOT NULL THEN 'redeemed'
    WHEN g.valid_until < %(now)s THEN 'expired'
    WHEN g.notified_at IS NOT NULL THEN 'notified'
    ELSE 'pushed' END
FROM mine LEFT JOIN used ON used.grant_id = mine.grant_id
WHERE g.id = mine.grant_id AND (g.redeemed_order_id, g.redeemed_at) IS DISTINCT FROM (used.order_id, used.at)
"""


async def settle(
    connection: Connection, store_id: int, grant_ids: Sequence[int], *, returns: CodeReturns, now: datetime
) -> int:
    """Works out anew which order redeemed each of these grants, whose rows are locked; how many changed.

    Those with a code of their own are left alone.
    """
    if not grant_ids:
        return 0
    values = {**returns.values(), "store": store_id, "grants": list(grant_ids), "now": now}
    return (await connection.execute(_SETTLE, values)).rowcount
