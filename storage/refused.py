"""Grants whose code the store refused: until their time is over it can be asked for again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from storage.database import Connection


@dataclass(frozen=True, slots=True)
class RefusedGrant:
    """A grant with the code that the store did not take, and why."""

    id: int
    code: str
    reason: str


_OPEN = "g.store_id = %(store)s AND g.state = 'failed' AND g.valid_until >= %(now)s"


async def refused(connection: Connection, store_id: int, now: datetime) -> list[RefusedGrant]:
    """Those of the store whose time is not over, oldest first."""
    cursor = await connection.execute(
        f"""SELECT g.id, c.code, coalesce(g.state_reason, '') AS reason FROM grants g
            JOIN promotion_codes c ON c.store_id = g.store_id AND c.grant_id = g.id AND c.replaced_at IS NULL
            WHERE {_OPEN} ORDER BY g.id""",
        {"store": store_id, "now": now},
    )
    return [RefusedGrant(**found) for found in await cursor.fetchall()]


async def try_again(
    connection: Connection,
    store_id: int,
    now: datetime,
    *,
    of_each: int | None = None,
    reward_version_ids: Sequence[int] | None = None,
) -> list[int]:
    """Lets refused codes be pushed once more; the grants. `of_each`: so many of each version of a reward, those that
    were tried least often first; of these versions only, where they are named.
    """
    cursor = await connection.execute(
        f"""UPDATE grants SET state = 'decided', state_reason = NULL, try_after = NULL
            WHERE store_id = %(store)s AND id IN (
                SELECT id FROM (
                    SELECT g.id, row_number() OVER (PARTITION BY g.reward_version_id ORDER BY g.attempts, g.id) AS nth
                    FROM grants g WHERE {_OPEN}
                        AND (%(versions)s::bigint[] IS NULL OR g.reward_version_id = ANY(%(versions)s))) ranked
                WHERE %(of_each)s::int IS NULL OR nth <= %(of_each)s ORDER BY id)
            RETURNING id""",
        {
            "store": store_id,
            "now": now,
            "of_each": of_each,
            "versions": None if reward_version_ids is None else list(reward_version_ids),
        },
    )
    return sorted(found["id"] for found in await cursor.fetchall())


async def versions_taken(connection: Connection, store_id: int, grant_ids: Sequence[int]) -> list[int]:
    """The versions of rewards of which the store holds the code of at least one of these grants."""
    cursor = await connection.execute(
        """SELECT DISTINCT reward_version_id FROM grants
           WHERE store_id = %s AND id = ANY(%s) AND state NOT IN ('decided', 'failed') ORDER BY reward_version_id""",
        (store_id, list(grant_ids)),
    )
    return [found["reward_version_id"] for found in await cursor.fetchall()]


async def states(
    connection: Connection, store_id: int, grant_ids: Sequence[int]
) -> dict[int, tuple[str, str]]:
    """How these grants stand now, by id: state, and why it is so where that was said."""
    cursor = await connection.execute(
        "SELECT id, state, coalesce(state_reason, '') AS reason FROM grants WHERE store_id = %s AND id = ANY(%s)",
        (store_id, list(grant_ids)),
    )
    return {found["id"]: (found["state"], found["reason"]) for found in await cursor.fetchall()}
