"""Taking a grant back: what is known of its code, and that it is good no more."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rewards.errors import NotFoundError
from rewards.records import VALUE_KINDS, KnownCode
from storage.database import Connection


@dataclass(frozen=True, slots=True)
class GivenCode:
    """A grant with the code that counts. `is_in_store`: the store may hold it; `is_shared`: others hold it too.

    `is_value`: it gives store credit or a gift card. `revoked_at`: when the store was to take it back before;
    `outcome`: what came of that.
    """

    grant_id: int
    program_id: int
    store_id: int
    state: str
    code: KnownCode
    is_in_store: bool
    is_shared: bool
    is_value: bool
    revoked_at: datetime | None
    outcome: str | None


async def by_grant(connection: Connection, grant_id: int) -> GivenCode:
    """The grant, locked; raises NotFoundError."""
    cursor = await connection.execute(
        """SELECT g.id, g.program_id, g.store_id, g.state, c.code, c.external_id, c.coupon_external_id, c.is_shared,
               g.attempts > 0 OR c.pushed_at IS NOT NULL AS is_in_store, c.revoked_at,
               CASE WHEN g.state = 'revoked' THEN g.state_reason END AS outcome,
               NOT c.is_shared AND v.benefit ->> 'kind' = ANY(%s) AS is_value
           FROM grants g JOIN promotion_codes c ON c.store_id = g.store_id AND c.grant_id = g.id
               AND c.replaced_at IS NULL
           JOIN reward_versions v ON v.id = g.reward_version_id
           WHERE g.id = %s FOR NO KEY UPDATE OF g""",
        (list(VALUE_KINDS), grant_id),
    )
    found = await cursor.fetchone()
    if found is None:
        raise NotFoundError(f"There is no grant {grant_id}; `perennial codes STORE` lists them.")
    return GivenCode(
        found["id"],
        found["program_id"],
        found["store_id"],
        found["state"],
        KnownCode(found["code"], found["external_id"], found["coupon_external_id"]),
        found["is_in_store"],
        found["is_shared"],
        found["is_value"],
        found["revoked_at"],
        found["outcome"],
    )


async def mark(connection: Connection, given: GivenCode, now: datetime) -> None:
    """The grant is good no more: it is neither pushed nor checked nor repaired from here on.

    Of a value it stands on record when the store is asked, this time, to take it back.
    """
    values = {"store": given.store_id, "grant": given.grant_id, "is_value": given.is_value, "now": now}
    await connection.execute(
        """UPDATE grants SET state = 'revoked', state_reason = CASE WHEN state = 'revoked' THEN state_reason END
           WHERE store_id = %(store)s AND id = %(grant)s""",
        values,
    )
    await connection.execute(
        """UPDATE promotion_codes
           SET revoked_at = CASE WHEN %(is_value)s THEN %(now)s ELSE coalesce(revoked_at, %(now)s) END
           WHERE store_id = %(store)s AND grant_id = %(grant)s AND replaced_at IS NULL""",
        values,
    )


async def keep_outcome(connection: Connection, given: GivenCode, outcome: str) -> None:
    """The store has taken a value back: what came of it is shown with the grant."""
    await connection.execute(
        "UPDATE grants SET state_reason = %s WHERE store_id = %s AND id = %s",
        (outcome, given.store_id, given.grant_id),
    )


async def undo(connection: Connection, given: GivenCode) -> None:
    """The store does not take it back: the grant is as it was."""
    await connection.execute(
        "UPDATE grants SET state = 'delivered' WHERE store_id = %s AND id = %s AND state = 'revoked'",
        (given.store_id, given.grant_id),
    )
    await connection.execute(
        """UPDATE promotion_codes SET revoked_at = NULL
           WHERE store_id = %s AND grant_id = %s AND replaced_at IS NULL""",
        (given.store_id, given.grant_id),
    )
