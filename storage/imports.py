"""How far the reading of a store's history has come: runs, their windows, and cursors written with the rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from storage.database import Connection

WHOLE = "history"  # the kind of a run that reads all nouns; others are called by the nouns that they read


@dataclass(frozen=True, slots=True)
class WindowRow:
    """A window of a run that is not finished: the connector's `spec` and the last stored `cursor`."""

    id: int
    noun: str
    spec: Mapping[str, object]
    cursor: Mapping[str, object] | None


@dataclass(frozen=True, slots=True)
class ReadingRow:
    """A finished reading of all nouns."""

    started_at: datetime
    finished_at: datetime


async def open_run(connection: Connection, store_id: int, kind: str = WHOLE) -> int | None:
    """The store's run of this kind that was begun and not finished."""
    cursor = await connection.execute(
        """SELECT id FROM import_runs WHERE store_id = %s AND kind = %s AND state = 'running'
           ORDER BY id DESC LIMIT 1""",
        (store_id, kind),
    )
    found = await cursor.fetchone()
    return None if found is None else found["id"]


async def last_started(connection: Connection, store_id: int, kind: str = WHOLE) -> datetime | None:
    """When the last finished reading of the store's history began; a whole one counts as one of each kind."""
    cursor = await connection.execute(
        """SELECT max(started_at) AS at FROM import_runs
           WHERE store_id = %s AND kind = ANY(%s) AND state = 'done'""",
        (store_id, [kind, WHOLE]),
    )
    found = await cursor.fetchone()
    return found["at"] if found else None


async def last_whole(connection: Connection, store_id: int) -> ReadingRow | None:
    """The last finished reading of all nouns."""
    cursor = await connection.execute(
        """SELECT started_at, finished_at FROM import_runs WHERE store_id = %s AND kind = %s AND state = 'done'
           ORDER BY started_at DESC LIMIT 1""",
        (store_id, WHOLE),
    )
    found = await cursor.fetchone()
    return None if found is None else ReadingRow(**found)


async def begin(
    connection: Connection,
    program_id: int,
    store_id: int,
    windows: Sequence[tuple[str, Mapping[str, object]]],
    *,
    since: datetime | None,
    now: datetime,
    kind: str = WHOLE,
    expected: Mapping[str, int] | None = None,
) -> int:
    """Starts a run over these windows (noun, spec); its id. `expected`: about how many records by noun, where known."""
    cursor = await connection.execute(
        """INSERT INTO import_runs (program_id, store_id, kind, state, since, preview, counts, started_at)
           VALUES (%s, %s, %s, 'running', %s, %s, '{}', %s) RETURNING id""",
        (program_id, store_id, kind, since, Jsonb({"expected": dict(expected or {})}), now),
    )
    found = await cursor.fetchone()
    assert found is not None
    run_id: int = found["id"]
    async with connection.cursor() as many:
        await many.executemany(
            """INSERT INTO import_windows (store_id, run_id, noun, position, spec, records)
               VALUES (%s, %s, %s, %s, %s, 0)""",
            [
                (store_id, run_id, noun, position, Jsonb(dict(spec)))
                for position, (noun, spec) in enumerate(windows)
            ],
        )
    return run_id


async def unfinished(connection: Connection, store_id: int, run_id: int, noun: str) -> list[WindowRow]:
    """The noun's windows that are still to be read, in order."""
    cursor = await connection.execute(
        """SELECT id, noun, spec, cursor FROM import_windows
           WHERE store_id = %s AND run_id = %s AND noun = %s AND done_at IS NULL ORDER BY position""",
        (store_id, run_id, noun),
    )
    return [WindowRow(**row) for row in await cursor.fetchall()]


async def left(connection: Connection, store_id: int, run_id: int) -> dict[str, int]:
    """About how many records are still to be read, by noun, where the platform said how many there are."""
    cursor = await connection.execute(
        """SELECT e.noun, greatest(e.records::bigint - coalesce(sum(w.records), 0), 0)::bigint AS records
           FROM import_runs r CROSS JOIN jsonb_each_text(coalesce(r.preview->'expected', '{}')) AS e (noun, records)
           LEFT JOIN import_windows w ON w.store_id = r.store_id AND w.run_id = r.id AND w.noun = e.noun
           WHERE r.store_id = %s AND r.id = %s GROUP BY e.noun, e.records""",
        (store_id, run_id),
    )
    return {row["noun"]: row["records"] for row in await cursor.fetchall()}


async def advance(
    connection: Connection,
    store_id: int,
    steps: Sequence[tuple[int, Mapping[str, object] | None, int]],
    now: datetime,
) -> None:
    """Moves windows on, in the transaction that stores their rows: (window id, cursor or None when done, records)."""
    await connection.execute(
        """UPDATE import_windows w
           SET cursor = coalesce(s.cursor::jsonb, w.cursor), records = w.records + s.records, done_at = s.done_at
           FROM unnest(%(windows)s::bigint[], %(cursors)s::text[], %(records)s::bigint[], %(done)s::timestamptz[])
               AS s (id, cursor, records, done_at)
           WHERE w.store_id = %(store)s AND w.id = s.id AND w.done_at IS NULL""",
        {
            "store": store_id,
            "windows": [window_id for window_id, _, _ in steps],
            "cursors": [None if cursor is None else json.dumps(dict(cursor)) for _, cursor, _ in steps],
            "records": [records for _, _, records in steps],
            "done": [now if cursor is None else None for _, cursor, _ in steps],
        },
    )


async def finish(connection: Connection, store_id: int, run_id: int, now: datetime) -> dict[str, Any]:
    """Marks the run and the store as synced; records read, by noun."""
    cursor = await connection.execute(
        """UPDATE import_runs SET state = 'done', finished_at = %(now)s, error = NULL, counts = (
               SELECT coalesce(jsonb_object_agg(noun, records), '{}') FROM (
                   SELECT noun, sum(records) AS records FROM import_windows
                   WHERE store_id = %(store)s AND run_id = %(run)s GROUP BY noun) AS sums)
           WHERE store_id = %(store)s AND id = %(run)s RETURNING counts""",
        {"store": store_id, "run": run_id, "now": now},
    )
    found = await cursor.fetchone()
    await connection.execute("UPDATE stores SET synced_at = %s WHERE id = %s", (now, store_id))
    return dict(found["counts"]) if found else {}


async def remove_readings(connection: Connection, finished_before: datetime) -> None:
    """Removes old readings of mere changes; a store's last one stays, since the next goes on from it."""
    await connection.execute(
        """DELETE FROM import_runs r
           WHERE state = 'done' AND since IS NOT NULL AND finished_at < %s
             AND EXISTS (SELECT 1 FROM import_runs later WHERE later.store_id = r.store_id
                         AND later.kind = r.kind AND later.state = 'done' AND later.started_at > r.started_at)""",
        (finished_before,),
    )


async def note_error(connection: Connection, store_id: int, run_id: int, error: str) -> None:
    """Keeps why the run stopped; it goes on from its cursors when it is run again."""
    await connection.execute(
        "UPDATE import_runs SET error = %s WHERE store_id = %s AND id = %s", (error, store_id, run_id)
    )
