"""Store credit and gift cards: what was asked for, what was given, what waits. A grant is asked for before the store is."""

from __future__ import annotations

from datetime import datetime

from storage.database import Connection
from storage.grants import SELECT_TO_PUSH, GrantToPush


async def note_asked(connection: Connection, store_id: int, grant: GrantToPush, now: datetime) -> bool:
    """Puts on record that the store is asked to give it, before the request goes out.

    False when the grant is not as it was read any more: then somebody else looks after it, and nobody must ask.
    """
    cursor = await connection.execute(
        """UPDATE promotion_codes c SET asked_at = %(now)s FROM grants g
           WHERE c.store_id = %(store)s AND c.grant_id = %(grant)s AND c.replaced_at IS NULL
               AND c.external_id IS NULL AND c.asked_at IS NOT DISTINCT FROM %(before)s::timestamptz
               AND g.id = c.grant_id AND g.state = 'decided'""",
        {"now": now, "store": store_id, "grant": grant.id, "before": grant.asked_at},
    )
    return cursor.rowcount == 1


async def others_given(connection: Connection, store_id: int, grant: GrantToPush) -> list[str]:
    """What the store gave the grant's customer for other grants: its ids there."""
    cursor = await connection.execute(
        """SELECT c.external_id FROM store_customers sc
           JOIN grants g ON g.store_id = sc.store_id AND g.store_customer_id = sc.id
           JOIN promotion_codes c ON c.store_id = g.store_id AND c.grant_id = g.id
           WHERE sc.store_id = %s AND sc.external_id = %s AND g.id <> %s AND c.asked_at IS NOT NULL
               AND c.external_id IS NOT NULL""",
        (store_id, grant.customer_external_id, grant.id),
    )
    return [found["external_id"] for found in await cursor.fetchall()]


async def record_given(
    connection: Connection, store_id: int, grant_id: int, external_id: str, now: datetime
) -> None:
    """The store has given it: the grant is delivered, also when its time ran out meanwhile."""
    values = {"store": store_id, "grant": grant_id, "external": external_id, "now": now}
    await connection.execute(
        """UPDATE promotion_codes SET external_id = %(external)s, pushed_at = coalesce(pushed_at, %(now)s)
           WHERE store_id = %(store)s AND grant_id = %(grant)s AND replaced_at IS NULL""",
        values,
    )
    await connection.execute(
        """UPDATE grants SET state = 'delivered', state_reason = NULL, try_after = NULL,
               pushed_at = coalesce(pushed_at, %(now)s)
           WHERE store_id = %(store)s AND id = %(grant)s AND state IN ('decided', 'expired')""",
        values,
    )


async def record_refused(connection: Connection, store_id: int, grant_id: int, reason: str) -> None:
    """The store does not give it, or nobody can say whether it did: it is not asked again."""
    await connection.execute(
        """UPDATE grants SET state = 'failed', state_reason = %s, try_after = NULL
           WHERE store_id = %s AND id = %s AND state = 'decided'""",
        (reason, store_id, grant_id),
    )


async def postpone(
    connection: Connection, store_id: int, grant_id: int, until: datetime, reason: str
) -> None:
    """Lets the grant wait; why is shown with it."""
    await connection.execute(
        """UPDATE grants SET try_after = %s, state_reason = %s
           WHERE store_id = %s AND id = %s AND state = 'decided'""",
        (until, reason, store_id, grant_id),
    )


async def delivered(
    connection: Connection, store_id: int, now: datetime, after_grant_id: int, limit: int
) -> list[GrantToPush]:
    """What was given and has not ended yet; by grant id."""
    cursor = await connection.execute(
        f"""{SELECT_TO_PUSH}
            WHERE g.store_id = %s AND g.state = 'delivered' AND g.valid_until >= %s AND g.id > %s
                AND c.external_id IS NOT NULL
            ORDER BY g.id LIMIT %s""",
        (store_id, now, after_grant_id, limit),
    )
    return [GrantToPush(**found) for found in await cursor.fetchall()]


async def by_grant(connection: Connection, store_id: int, grant_id: int) -> GrantToPush:
    """One grant as it was given; of a grant that has a code."""
    cursor = await connection.execute(
        f"{SELECT_TO_PUSH} WHERE g.store_id = %s AND g.id = %s", (store_id, grant_id)
    )
    found = await cursor.fetchone()
    assert found is not None, "the grant was read a moment ago"
    return GrantToPush(**found)
