"""Programs and their ways to earn; a changed way is a new version, so that every entry can name its rule."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rewards.earning import WayKind, WayToEarn
from rewards.errors import NotFoundError
from storage.database import Connection


@dataclass(frozen=True, slots=True)
class StoredWay:
    """A way to earn as it is now, and the id of its version."""

    id: int
    version: int
    way: WayToEarn


@dataclass(frozen=True, slots=True)
class ProgramRow:
    """One merchant's program. `is_on`: webhooks award; a confirmed run does so either way."""

    id: int
    name: str
    is_on: bool
    currency: str
    leap_rule: str


async def by_id(connection: Connection, program_id: int) -> ProgramRow:
    """The program; raises NotFoundError."""
    cursor = await connection.execute(
        "SELECT id, name, is_on, currency, leap_rule FROM programs WHERE id = %s", (program_id,)
    )
    found = await cursor.fetchone()
    if found is None:
        raise NotFoundError(f"There is no program {program_id}; `perennial stores` shows each store's.")
    return ProgramRow(**found)


async def create(connection: Connection, name: str, currency: str, now: datetime) -> int:
    """A new program without ways to earn; its id."""
    cursor = await connection.execute(
        """INSERT INTO programs (name, is_on, currency, leap_rule, match_across_stores, created_at)
           VALUES (%s, true, %s, 'feb_28', false, %s) RETURNING id""",
        (name, currency, now),
    )
    found = await cursor.fetchone()
    assert found is not None
    return int(found["id"])


async def set_on(connection: Connection, program_id: int, is_on: bool) -> None:
    """Switches the points program on or off: off, webhooks award nothing."""
    await connection.execute("UPDATE programs SET is_on = %s WHERE id = %s", (is_on, program_id))


async def earn_from(connection: Connection, store_id: int, moment: datetime | None) -> None:
    """From when on webhooks award in the store; None stops them.

    Counts from the beginning of the second: platforms date to the second, and what happens in this one is not past.
    """
    whole = None if moment is None else moment.replace(microsecond=0)
    await connection.execute("UPDATE stores SET earning_from = %s WHERE id = %s", (whole, store_id))


async def ways(connection: Connection, program_id: int) -> dict[WayKind, StoredWay]:
    """The program's ways to earn as they are now."""
    cursor = await connection.execute(
        """SELECT id, kind, version, is_enabled, points, per_minor FROM ways_to_earn
           WHERE program_id = %s AND superseded_at IS NULL ORDER BY kind""",
        (program_id,),
    )
    return {
        WayKind(row["kind"]): StoredWay(
            row["id"],
            row["version"],
            WayToEarn(WayKind(row["kind"]), row["is_enabled"], row["points"], row["per_minor"], row["id"]),
        )
        for row in await cursor.fetchall()
    }


async def set_way(connection: Connection, program_id: int, way: WayToEarn, now: datetime) -> int:
    """Makes this the way to earn of its kind from now on; the id of the new version (or the old one if equal)."""
    current = (await ways(connection, program_id)).get(way.kind)
    if current is not None:
        known = current.way
        if (known.is_enabled, known.points, known.per_minor) == (way.is_enabled, way.points, way.per_minor):
            return current.id
        await connection.execute(
            "UPDATE ways_to_earn SET superseded_at = %s WHERE id = %s", (now, current.id)
        )
    cursor = await connection.execute(
        """INSERT INTO ways_to_earn (program_id, kind, version, is_enabled, points, per_minor, created_at)
           VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING id""",
        (
            program_id,
            way.kind.value,
            1 if current is None else current.version + 1,
            way.is_enabled,
            way.points,
            way.per_minor,
            now,
        ),
    )
    found = await cursor.fetchone()
    assert found is not None
    return int(found["id"])


async def terms_now(connection: Connection, program_id: int, store_id: int) -> dict[str, Any]:
    """What decides about a chunk's awards: read under the lock, since the merchant may just have switched it.

    `sign_up` and `place_order` are the ids of the enabled ways' versions or None, `earning_from` is None while nothing
    earns; `has_codes` and `has_entries` say whether there is anything to redeem or to take back.
    """
    cursor = await connection.execute(
        """SELECT p.match_across_stores,
               CASE WHEN p.is_on AND s.status <> 'uninstalled' THEN s.earning_from END AS earning_from,
               EXISTS (SELECT FROM promotion_codes c WHERE c.store_id = s.id) AS has_codes,
               EXISTS (SELECT FROM ledger_entries e WHERE e.program_id = p.id) AS has_entries,
               (SELECT w.id FROM ways_to_earn w WHERE w.program_id = p.id AND w.kind = 'sign_up'
                   AND w.is_enabled AND w.superseded_at IS NULL) AS sign_up,
               (SELECT w.id FROM ways_to_earn w WHERE w.program_id = p.id AND w.kind = 'place_order'
                   AND w.is_enabled AND w.superseded_at IS NULL) AS place_order
           FROM programs p JOIN stores s ON s.program_id = p.id WHERE p.id = %s AND s.id = %s""",
        (program_id, store_id),
    )
    found = await cursor.fetchone()
    assert found is not None
    return found
