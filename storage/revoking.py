"""Taking a grant back: what is known of its code, and that it is good no more."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rewards.errors import NotFoundError
from rewards.records import KnownCode
from storage.database import Connection


@dataclass(frozen=True, slots=True)
class GivenCode:
    """A grant with the code that counts. `is_in_store`: the store may hold it; `is_shared`: others hold it too."""

    grant_id: int
    program_id: int
    store_id: int
    state: str
    code: KnownCode
    is_in_store: bool
    is_shared: bool


async def by_grant(connection: Connection, grant_id: int) -> GivenCode:
    """The grant, locked; raises NotFoundError."""
    cursor = await connection.execute(
        """SELECT g.id, g.program_id, g.store_id, g.state, c.code, c.external_id, c.coupon_external_id, c.is_shared,
               g.attempts > 0 OR c.pushed_at IS NOT NULL AS is_in_store
           FROM grants g JOIN promotion_codes c ON c.store_id = g.store_id AND c.grant_id = g.id
               AND c.replaced_at IS NULL
           WHERE g.id = %s FOR NO KEY UPDATE OF g""",
        (grant_id,),
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
    )


async def mark(connection: Connection, given: GivenCode, now: datetime) -> None:
    """The grant is good no more: it is neither pushed nor checked nor repaired from here on."""
    values = {"store": given.store_id, "grant": given.grant_id, "now": now}
    await connection.execute(
        "UPDATE grants SET state = 'revoked' WHERE store_id = %(store)s AND id = %(grant)s", values
    )
    await connection.execute(
        """UPDATE promotion_codes SET revoked_at = coalesce(revoked_at, %(now)s)
           WHERE store_id = %(store)s AND grant_id = %(grant)s AND replaced_at IS NULL""",
        values,
    )
