"""Codes that the store should hold: what is checked against it, and what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from rewards.differences import USED
from storage.database import Connection
from storage.grants import SELECT_TO_PUSH, GrantToPush


@dataclass(frozen=True, slots=True)
class Checked:
    """How one code was found: `difference` None when it is as it should be. Ids as they are now."""

    grant_id: int
    difference: str | None
    external_id: str | None
    coupon_external_id: str | None


async def usable(
    connection: Connection, store_id: int, now: datetime, after_grant_id: int, limit: int
) -> list[GrantToPush]:
    """Grants whose code is in the store and not used up or over, or used up by the store's word alone; by grant id."""
    cursor = await connection.execute(
        f"""{SELECT_TO_PUSH}
            WHERE g.store_id = %s AND g.valid_until >= %s AND g.id > %s
                AND (g.state IN ('pushed', 'notified') OR (g.state = 'redeemed' AND c.difference = '{USED}'))
                AND c.pushed_at IS NOT NULL AND c.revoked_at IS NULL AND NOT c.is_shared
            ORDER BY g.id LIMIT %s""",
        (store_id, now, after_grant_id, limit),
    )
    return [GrantToPush(**found) for found in await cursor.fetchall()]


async def used_up(connection: Connection, store_id: int, grant_ids: Sequence[int]) -> dict[int, str]:
    """Those of the grants whose code the store held for used up when it was looked at last, with their states."""
    cursor = await connection.execute(
        """SELECT g.id, g.state FROM promotion_codes c JOIN grants g ON g.id = c.grant_id
           WHERE c.store_id = %s AND c.grant_id = ANY(%s) AND c.replaced_at IS NULL AND c.difference = %s""",
        (store_id, list(grant_ids), USED),
    )
    return {row["id"]: row["state"] for row in await cursor.fetchall()}


async def record_checks(
    connection: Connection, store_id: int, checks: Sequence[Checked], now: datetime
) -> None:
    """Keeps when each code was looked at and how it differed."""
    await connection.execute(
        """UPDATE promotion_codes c
           SET verified_at = %s, difference = t.difference, external_id = t.external_id,
               coupon_external_id = t.coupon_external_id
           FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[])
               AS t(grant_id, difference, external_id, coupon_external_id)
           WHERE c.store_id = %s AND c.grant_id = t.grant_id AND c.replaced_at IS NULL""",
        (
            now,
            [check.grant_id for check in checks],
            [check.difference for check in checks],
            [check.external_id for check in checks],
            [check.coupon_external_id for check in checks],
            store_id,
        ),
    )
