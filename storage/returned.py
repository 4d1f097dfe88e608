"""Grants whose code was used by an order that was taken back, while the store keeps the code used: they get another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from storage.database import Connection


@dataclass(frozen=True, slots=True)
class ReturnedGrant:
    """A grant without a code that can be used. `attempt` counts the codes before its last one."""

    id: int
    reward_id: int
    reward_version_id: int
    member_id: int
    occasion: str
    attempt: int


async def claim(connection: Connection, store_id: int, now: datetime, limit: int) -> list[ReturnedGrant]:
    """Grants that want a new code, locked. Those whose time is over stay redeemed: a new code would be good for nothing."""
    await connection.execute(
        """UPDATE grants SET state = 'redeemed'
           WHERE id IN (SELECT id FROM grants WHERE store_id = %s AND state = 'returned' AND valid_until < %s
                        ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)""",
        (store_id, now),
    )
    cursor = await connection.execute(
        """SELECT g.id, g.reward_id, g.reward_version_id, g.member_id, g.occasion, c.attempt
           FROM grants g JOIN promotion_codes c ON c.store_id = g.store_id AND c.grant_id = g.id
               AND c.replaced_at IS NULL
           WHERE g.store_id = %s AND g.state = 'returned' AND g.valid_until >= %s
           ORDER BY g.id LIMIT %s FOR NO KEY UPDATE OF g SKIP LOCKED""",
        (store_id, now, limit),
    )
    return [ReturnedGrant(**found) for found in await cursor.fetchall()]


async def replace_codes(
    connection: Connection, store_id: int, codes: Mapping[int, str], now: datetime
) -> None:
    """Lets each grant begin again with its next code, by grant id; the code before stays on record."""
    values = {"store": store_id, "grants": list(codes), "codes": list(codes.values()), "now": now}
    await connection.execute(
        """UPDATE promotion_codes SET replaced_at = %(now)s
           WHERE store_id = %(store)s AND grant_id = ANY(%(grants)s) AND replaced_at IS NULL""",
        values,
    )
    await connection.execute(
        """INSERT INTO promotion_codes (program_id, store_id, grant_id, code, code_key, is_shared, attempt)
           SELECT g.program_id, g.store_id, g.id, t.code, lower(t.code), false,
               (SELECT max(c.attempt) + 1 FROM promotion_codes c
                WHERE c.store_id = %(store)s AND c.grant_id = g.id)
           FROM unnest(%(grants)s::bigint[], %(codes)s::text[]) AS t(grant_id, code)
           JOIN grants g ON g.store_id = %(store)s AND g.id = t.grant_id""",
        values,
    )
    await connection.execute(
        """UPDATE grants SET state = 'decided', state_reason = NULL, attempts = 0, try_after = NULL,
               pushed_at = NULL, notified_at = NULL, redeemed_at = NULL, redeemed_order_id = NULL
           WHERE store_id = %(store)s AND id = ANY(%(grants)s)""",
        values,
    )
