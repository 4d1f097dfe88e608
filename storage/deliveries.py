"""The inbox of webhook posts: kept once, claimed in chunks, marked handled or broken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from storage.database import Connection

_LONGEST_NOTE = 500


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """A verified post that is to be kept. Header names are in lower case."""

    store_id: int
    delivery_key: str
    topic: str
    headers: Mapping[str, str]
    body: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """A kept post that this transaction holds."""

    id: int
    headers: Mapping[str, str]
    body: bytes
    attempts: int


@dataclass(frozen=True, slots=True)
class BrokenDelivery:
    """A post that will not be tried again, as the merchant is shown it; the body stays in the table."""

    id: int
    topic: str
    received_at: datetime
    attempts: int
    note: str


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A kept post as lists show it: never its body."""

    id: int
    topic: str
    state: str
    received_at: datetime
    handled_at: datetime | None
    attempts: int
    try_after: datetime | None
    note: str | None


# All in binary form: in the text of an array each quote of the headers would have to be escaped.
_KEEP = """INSERT INTO deliveries (store_id, delivery_key, topic, headers, body, received_at, state, attempts)
    SELECT store_id, delivery_key, topic, headers::jsonb, body, received_at, 'waiting', 0
    FROM unnest(%b::bigint[], %b::text[], %b::text[], %b::text[], %b::bytea[], %b::timestamptz[])
         AS post (store_id, delivery_key, topic, headers, body, received_at)
    ON CONFLICT (store_id, delivery_key) DO NOTHING"""


async def keep(connection: Connection, posts: Sequence[NewDelivery]) -> None:
    """Inserts the posts with one statement; those whose key is here already change nothing."""
    await connection.execute(
        _KEEP,
        (
            [post.store_id for post in posts],
            [post.delivery_key for post in posts],
            [post.topic for post in posts],
            [msgspec.json.encode(post.headers).decode() for post in posts],
            [post.body for post in posts],
            [post.received_at for post in posts],
        ),
    )


async def has_come(connection: Connection, store_id: int, delivery_key: str) -> bool:
    """Whether a post with this key was kept, handled or not."""
    cursor = await connection.execute(
        "SELECT FROM deliveries WHERE store_id = %s AND delivery_key = %s", (store_id, delivery_key)
    )
    return await cursor.fetchone() is not None


# Asked for in binary form: as text, bodies are twice as long and have to be decoded.
_CLAIM = """SELECT id, headers, body, attempts FROM deliveries
    WHERE store_id = %s AND state = 'waiting' AND {which} ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED"""


async def claim(connection: Connection, store_id: int, now: datetime, limit: int) -> list[ClaimedDelivery]:
    """The store's oldest waiting posts whose time has come, locked until the transaction ends."""
    which = "(try_after IS NULL OR try_after <= %s)"
    cursor = await connection.execute(_CLAIM.format(which=which), (store_id, now, limit), binary=True)
    return [ClaimedDelivery(**found) for found in await cursor.fetchall()]


async def claim_these(connection: Connection, store_id: int, ids: Sequence[int]) -> list[ClaimedDelivery]:
    """Those of the posts that still wait and that nobody else holds, locked until the transaction ends."""
    values = (store_id, list(ids), len(ids))
    cursor = await connection.execute(_CLAIM.format(which="id = ANY(%s)"), values, binary=True)
    return [ClaimedDelivery(**found) for found in await cursor.fetchall()]


async def mark_handled(
    connection: Connection, store_id: int, notes: Mapping[int, str | None], now: datetime
) -> None:
    """Marks the posts handled; a note says why one had no effect."""
    if not notes:
        return
    await connection.execute(
        """UPDATE deliveries SET state = 'handled', handled_at = %s, try_after = NULL, note = done.note
           FROM unnest(%s::bigint[], %s::text[]) AS done (id, note)
           WHERE deliveries.store_id = %s AND deliveries.id = done.id""",
        (
            now,
            list(notes),
            [None if note is None else note[:_LONGEST_NOTE] for note in notes.values()],
            store_id,
        ),
    )


async def mark_broken(connection: Connection, store_id: int, delivery_id: int, note: str) -> None:
    """Marks a post that cannot be read, with the reason that the merchant is shown."""
    await connection.execute(
        """UPDATE deliveries SET state = 'broken', try_after = NULL, note = %s, attempts = attempts + 1
           WHERE store_id = %s AND id = %s""",
        (note[:_LONGEST_NOTE], store_id, delivery_id),
    )


async def put_off(
    connection: Connection, store_id: int, delivery_id: int, note: str, try_after: datetime
) -> None:
    """Leaves a post waiting after a failed try, until `try_after`."""
    await connection.execute(
        """UPDATE deliveries SET attempts = attempts + 1, note = %s, try_after = %s
           WHERE store_id = %s AND id = %s AND state = 'waiting'""",
        (note[:_LONGEST_NOTE], try_after, store_id, delivery_id),
    )


async def stores_with_waiting(connection: Connection, now: datetime) -> list[int]:
    """The stores with posts whose time has come: what the sweep asks a drain for."""
    cursor = await connection.execute(
        """SELECT DISTINCT store_id FROM deliveries
           WHERE state = 'waiting' AND (try_after IS NULL OR try_after <= %s) ORDER BY store_id""",
        (now,),
    )
    return [row["store_id"] for row in await cursor.fetchall()]


async def counts(connection: Connection, store_id: int) -> dict[str, int]:
    """How many of the store's posts are waiting, handled and broken."""
    cursor = await connection.execute(
        "SELECT state, count(*) AS posts FROM deliveries WHERE store_id = %s GROUP BY state", (store_id,)
    )
    found: dict[str, int] = {"waiting": 0, "handled": 0, "broken": 0}
    found.update({row["state"]: row["posts"] for row in await cursor.fetchall()})
    return found


async def broken(connection: Connection, store_id: int, limit: int = 100) -> list[BrokenDelivery]:
    """The store's posts that will not be tried again, newest first."""
    cursor = await connection.execute(
        """SELECT id, topic, received_at, attempts, coalesce(note, '') AS note FROM deliveries
           WHERE store_id = %s AND state = 'broken' ORDER BY id DESC LIMIT %s""",
        (store_id, limit),
    )
    return [BrokenDelivery(**found) for found in await cursor.fetchall()]


async def latest(
    connection: Connection, store_id: int, *, state: str | None = None, limit: int | None = None
) -> list[DeliveryRow]:
    """The store's posts, newest first, or only those in a state."""
    cursor = await connection.execute(
        """SELECT id, topic, state, received_at, handled_at, attempts, try_after, note FROM deliveries
           WHERE store_id = %(store)s AND (%(state)s::text IS NULL OR state = %(state)s)
           ORDER BY id DESC LIMIT %(limit)s""",
        {"store": store_id, "state": state, "limit": limit},
    )
    return [DeliveryRow(**found) for found in await cursor.fetchall()]


async def try_again(connection: Connection, store_id: int) -> int:
    """Puts the store's broken posts back among the waiting, after whatever broke them was mended; how many."""
    cursor: Any = await connection.execute(
        """UPDATE deliveries SET state = 'waiting', attempts = 0, try_after = NULL
           WHERE store_id = %s AND state = 'broken'""",
        (store_id,),
    )
    return int(cursor.rowcount)


async def remove_handled(connection: Connection, before: datetime, limit: int = 5_000) -> int:
    """Removes posts handled, or given up as broken, before a time, at most `limit` at once; how many.

    Repeats that come later find no trace, so the time lies well beyond any platform's last retry. Bodies hold personal
    data: nothing of them stays for good.
    """
    cursor: Any = await connection.execute(
        """DELETE FROM deliveries WHERE id IN (
               SELECT id FROM deliveries WHERE state <> 'waiting' AND coalesce(handled_at, received_at) < %s
               LIMIT %s)""",
        (before, limit),
    )
    return int(cursor.rowcount)
