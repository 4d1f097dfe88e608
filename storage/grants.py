"""What becomes of grants: pushed into the store, redeemed there, expired. A grant's code is recorded with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from rewards.differences import USED
from rewards.returns import CodeReturns
from storage import shared_codes
from storage.database import Connection
from storage.locks import take_turn


@dataclass(frozen=True, slots=True)
class GrantToPush:
    """A grant whose code the store shall hold, with whom it is for. A guest has no `customer_external_id`."""

    id: int
    reward_version_id: int
    occasion: str
    decided_at: datetime
    valid_until: datetime
    code: str
    external_id: str | None  # of the code, where the store holds it already
    coupon_external_id: str | None
    customer_external_id: str | None
    email: str | None
    asked_at: datetime | None = (
        None  # of store credit and gift cards: when the store was last asked to give it
    )


@dataclass(frozen=True, slots=True)
class PushOutcome:
    """What the store said of one grant's code: its ids there, or why it is refused."""

    grant_id: int
    external_id: str | None
    coupon_external_id: str | None
    refused: str | None


# A customer's record that the store has merged into another, or deleted, takes nothing any more: then it is for another
# record of the same person in the store, if there is one.
SELECT_TO_PUSH = """SELECT g.id, g.reward_version_id, g.occasion, g.decided_at, g.valid_until, c.code, c.external_id,
    c.coupon_external_id, CASE WHEN sc.has_account THEN sc.external_id END AS customer_external_id, sc.email,
    c.asked_at
    FROM grants g
    JOIN promotion_codes c ON c.store_id = g.store_id AND c.grant_id = g.id AND c.replaced_at IS NULL
    LEFT JOIN store_customers own ON own.store_id = g.store_id AND own.id = g.store_customer_id
    LEFT JOIN LATERAL (
        SELECT other.id FROM members m
        CROSS JOIN LATERAL (
            SELECT coalesce(m.merged_into, m.id) AS id
            UNION ALL SELECT id FROM members WHERE merged_into = coalesce(m.merged_into, m.id)) person
        JOIN store_customers other ON other.store_id = g.store_id AND other.member_id = person.id
        WHERE own.deleted_at IS NOT NULL AND m.id = g.member_id AND other.deleted_at IS NULL
        ORDER BY other.has_account DESC, other.id LIMIT 1) living ON true
    LEFT JOIN store_customers sc ON sc.store_id = g.store_id AND sc.id = coalesce(living.id, own.id)"""


async def claim_to_push(
    connection: Connection,
    store_id: int,
    today: date,
    now: datetime,
    limit: int,
    apart_from: Sequence[int] = (),
) -> list[GrantToPush]:
    """Grants that are decided, due and not waiting for a later try, apart from these; counted as tried once more."""
    cursor = await connection.execute(
        """UPDATE grants SET attempts = attempts + 1
           WHERE id IN (SELECT id FROM grants
                        WHERE store_id = %s AND state = 'decided' AND due_on <= %s
                            AND (try_after IS NULL OR try_after <= %s) AND id <> ALL(%s::bigint[])
                        ORDER BY attempts, id LIMIT %s FOR NO KEY UPDATE SKIP LOCKED)
           RETURNING id""",
        (store_id, today, now, list(apart_from), limit),
    )
    claimed = sorted(found["id"] for found in await cursor.fetchall())
    if not claimed:
        return []
    cursor = await connection.execute(
        f"{SELECT_TO_PUSH} WHERE g.store_id = %s AND g.id = ANY(%s) ORDER BY g.id", (store_id, claimed)
    )
    return [GrantToPush(**found) for found in await cursor.fetchall()]


async def count_to_push(connection: Connection, store_id: int, today: date, now: datetime) -> int:
    """How many grants `claim_to_push` would give in all."""
    cursor = await connection.execute(
        """SELECT count(*) AS found FROM grants
           WHERE store_id = %s AND state = 'decided' AND due_on <= %s AND (try_after IS NULL OR try_after <= %s)""",
        (store_id, today, now),
    )
    found = await cursor.fetchone()
    return 0 if found is None else int(found["found"])


async def record_push(
    connection: Connection,
    store_id: int,
    outcomes: Sequence[PushOutcome],
    *,
    returns: CodeReturns,
    now: datetime,
) -> None:
    """Keeps what the store said, and settles orders that brought these codes before we knew the codes' ids."""
    # Alone, so that an order that is being written now is either seen here or sees the ids that are stored here.
    await take_turn(connection, _turn(store_id))
    ids = [outcome.grant_id for outcome in outcomes]
    await connection.execute(
        "SELECT FROM grants WHERE store_id = %s AND id = ANY(%s) ORDER BY id FOR NO KEY UPDATE",
        (store_id, sorted(ids)),
    )
    values = {
        "store": store_id,
        "now": now,
        "ids": ids,
        "externals": [outcome.external_id for outcome in outcomes],
        "coupons": [outcome.coupon_external_id for outcome in outcomes],
        "refused": [outcome.refused for outcome in outcomes],
    }
    told = "unnest(%(ids)s::bigint[], %(externals)s::text[], %(coupons)s::text[], %(refused)s::text[])"
    await connection.execute(
        f"""UPDATE promotion_codes c
            SET external_id = t.external_id, coupon_external_id = t.coupon_id, pushed_at = coalesce(c.pushed_at, %(now)s)
            FROM {told} AS t(grant_id, external_id, coupon_id, refused)
            WHERE c.store_id = %(store)s AND c.grant_id = t.grant_id AND c.grant_id = ANY(%(ids)s::bigint[])
                AND c.replaced_at IS NULL AND t.refused IS NULL""",
        values,
    )
    await connection.execute(
        f"""UPDATE grants g
            SET state = CASE WHEN g.state <> 'decided' THEN g.state
                             WHEN t.refused IS NULL THEN 'pushed' ELSE 'failed' END,
                state_reason = CASE WHEN g.state = 'decided' THEN t.refused ELSE g.state_reason END,
                pushed_at = CASE WHEN t.refused IS NULL THEN coalesce(g.pushed_at, %(now)s) ELSE g.pushed_at END,
                try_after = NULL
            FROM {told} AS t(grant_id, external_id, coupon_id, refused)
            WHERE g.store_id = %(store)s AND g.id = t.grant_id""",
        values,
    )
    await _settle(connection, store_id, ids, returns=returns, now=now)


async def settle_codes(
    connection: Connection, store_id: int, grant_ids: Sequence[int], *, returns: CodeReturns, now: datetime
) -> int:
    """Brings these grants up to date after their codes' ids changed in this transaction; how many changed."""
    await take_turn(connection, _turn(store_id))
    ids = sorted(grant_ids)
    await connection.execute("SELECT FROM grants WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE", (ids,))
    return await _settle(connection, store_id, ids, returns=returns, now=now)


async def postpone(connection: Connection, store_id: int, until: datetime) -> None:
    """Lets all decided grants of the store wait: it does not answer now."""
    await connection.execute(
        """UPDATE grants SET try_after = %(until)s
           WHERE id IN (SELECT id FROM grants WHERE store_id = %(store)s AND state = 'decided'
                            AND (try_after IS NULL OR try_after < %(until)s)
                        ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)""",
        {"until": until, "store": store_id},
    )


async def expire(connection: Connection, store_id: int, now: datetime, limit: int = 1_000) -> int:
    """Ends grants that nobody used, or that never reached the store, in time; at most `limit` at once; how many."""
    cursor = await connection.execute(
        """UPDATE grants SET state = 'expired'
           WHERE id IN (SELECT id FROM grants
                        WHERE store_id = %s AND state IN ('decided', 'pushed', 'notified') AND valid_until < %s
                        ORDER BY valid_until LIMIT %s FOR NO KEY UPDATE SKIP LOCKED)""",
        (store_id, now, limit),
    )
    return cursor.rowcount


async def settle_redemptions(
    connection: Connection,
    store_id: int,
    order_ids: Sequence[int],
    *,
    returns: CodeReturns,
    now: datetime,
) -> int:
    """Brings the grants whose codes these orders carry, or carried, up to date; how many changed.

    Call it after the orders are written, in their transaction. The outcome is a function of the orders as they are, so
    it does not matter in which order they came.
    """
    cursor = await connection.execute(
        """SELECT EXISTS (SELECT FROM orders WHERE store_id = %(store)s AND id = ANY(%(orders)s) AND codes <> '{}')
               OR EXISTS (SELECT FROM grants WHERE redeemed_order_id = ANY(%(orders)s)) AS any,
               EXISTS (SELECT FROM promotion_codes WHERE store_id = %(store)s AND is_shared) AS shared""",
        {"store": store_id, "orders": list(order_ids)},
    )
    found = await cursor.fetchone()
    if found is None or not found["any"]:
        return 0
    await take_turn(connection, _turn(store_id), shared=True)
    touched = await _touched_grants(connection, store_id, order_ids, with_shared=found["shared"])
    changed = await _settle(connection, store_id, touched, returns=returns, now=now)
    if found["shared"]:
        changed += await shared_codes.settle(connection, store_id, touched, returns=returns, now=now)
    return changed


# A platform's id that is digits alone could be what a shopper typed for another coupon; ids of codes are only matched
# where orders hold them, and there they have letters.
_IS_AN_ID = "c.external_id ~ '[^0-9]'"


async def _touched_grants(
    connection: Connection, store_id: int, order_ids: Sequence[int], *, with_shared: bool
) -> list[int]:
    """Grants of the orders' codes, and those redeemed by the orders so far; locked in the order of their ids."""
    shared = f"UNION {shared_codes.TOUCHED}" if with_shared else ""
    cursor = await connection.execute(
        f"""WITH used AS MATERIALIZED (
                SELECT DISTINCT u.code FROM orders o CROSS JOIN unnest(o.codes) AS u(code)
                WHERE o.store_id = %(store)s AND o.id = ANY(%(orders)s))
            SELECT g.id FROM grants g
            WHERE g.store_id = %(store)s AND g.id IN (
                SELECT c.grant_id FROM used JOIN promotion_codes c
                    ON c.store_id = %(store)s AND c.code_key = used.code AND NOT c.is_shared
                UNION SELECT c.grant_id FROM used JOIN promotion_codes c
                    ON c.store_id = %(store)s AND c.external_id = used.code AND {_IS_AN_ID}
                        AND NOT c.is_shared
                UNION SELECT r.id FROM grants r WHERE r.redeemed_order_id = ANY(%(orders)s) {shared})
            ORDER BY g.id FOR NO KEY UPDATE""",
        {"store": store_id, "orders": list(order_ids)},
    )
    return [found["id"] for found in await cursor.fetchall()]


_KEYS = f"""
SELECT c.grant_id, k.key FROM promotion_codes c
CROSS JOIN LATERAL (VALUES (c.code_key), (CASE WHEN {_IS_AN_ID} THEN c.external_id END)) AS k(key)
WHERE c.store_id = %(store)s AND c.grant_id = ANY(%(grants)s) AND k.key IS NOT NULL AND NOT c.is_shared
    AND c.replaced_at IS NULL
"""

# Not every shop gives a code back with each order that ends: looked at after that end, the store's own count decides.
_STAYED_USED = f"""EXISTS (
    SELECT FROM promotion_codes s WHERE s.store_id = %(store)s AND s.grant_id = k.grant_id AND s.replaced_at IS NULL
        AND s.difference = '{USED}' AND s.verified_at > coalesce(o.deleted_at, o.cancelled_at))"""

# The earliest order that holds the code and still counts is the one that redeemed it. Without one, the grant is what
# it was before: that too can be read from what is stored. An order that was taken back redeems a code that stays used
# in the store: "returned" grants wait for a new one.
_SETTLE = f"""
WITH used AS (
    SELECT DISTINCT ON (k.grant_id) k.grant_id, o.id AS order_id, coalesce(o.paid_at, o.placed_at) AS at, r.renewed
    FROM orders o CROSS JOIN unnest(o.codes) AS u(code)
    JOIN unnest(%(keyed)s::bigint[], %(keys)s::text[]) AS k(grant_id, key) ON k.key = u.code
    CROSS JOIN LATERAL (SELECT {shared_codes.IS_CANCELLED} AS cancelled) x
    CROSS JOIN LATERAL (SELECT
        (x.cancelled AND NOT %(by_platform)s AND (o.paid_at IS NULL OR %(renewed)s::text <> 'never'))
        OR (%(renewed)s = 'on_full_refund' AND {shared_codes.IS_REFUNDED}) AS renewed) r
    WHERE o.store_id = %(store)s AND o.codes <> '{{}}' AND o.codes && %(keys)s::text[]
        AND NOT (%(by_platform)s AND x.cancelled AND NOT {_STAYED_USED})
    ORDER BY k.grant_id, r.renewed, %(by_platform)s AND x.cancelled, at, o.external_id
)
UPDATE grants g
SET redeemed_order_id = used.order_id, redeemed_at = used.at, state = CASE
    WHEN used.renewed AND g.valid_until >= %(now)s THEN 'returned'
    WHEN used.order_id IS NOT NULL THEN 'redeemed'
    WHEN c.revoked_at IS NOT NULL THEN 'revoked'
    WHEN g.valid_until < %(now)s THEN 'expired'
    WHEN g.notified_at IS NOT NULL THEN 'notified'
    WHEN g.pushed_at IS NOT NULL THEN 'pushed'
    WHEN g.state_reason IS NOT NULL THEN 'failed'
    ELSE 'decided' END
FROM promotion_codes c LEFT JOIN used ON used.grant_id = c.grant_id
WHERE c.store_id = %(store)s AND c.grant_id = ANY(%(grants)s) AND c.replaced_at IS NULL AND NOT c.is_shared
    AND g.id = c.grant_id
    AND (g.redeemed_order_id, g.redeemed_at, g.state = 'returned') IS DISTINCT FROM
        (used.order_id, used.at, coalesce(used.renewed AND g.valid_until >= %(now)s, false))
"""


async def _settle(
    connection: Connection, store_id: int, grant_ids: Sequence[int], *, returns: CodeReturns, now: datetime
) -> int:
    """Works out anew which order redeemed each of these grants, whose rows are locked; how many changed.

    The codes are read first: so one walk through the index of orders' codes finds the orders of all of them.
    """
    if not grant_ids:
        return 0
    values = {**returns.values(), "store": store_id, "grants": list(grant_ids), "now": now}
    found = await (await connection.execute(_KEYS, values)).fetchall()
    values["keyed"] = [row["grant_id"] for row in found]
    values["keys"] = [row["key"] for row in found]
    return (await connection.execute(_SETTLE, values)).rowcount


def _turn(store_id: int) -> str:
    """Orders and the ids of codes take turns per store."""
    return f"codes:{store_id}"
