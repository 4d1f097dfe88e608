"""What the upkeep of jobs asks the database: which jobs wait, and which stores have work that is due."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime

from storage.database import Connection


async def waiting_locks(connection: Connection, locks: Sequence[str]) -> set[str]:
    """Those of the queueing locks under which a job waits already."""
    cursor = await connection.execute(
        "SELECT queueing_lock FROM procrastinate_jobs WHERE status = 'todo' AND queueing_lock = ANY(%s)",
        (list(locks),),
    )
    return {found["queueing_lock"] for found in await cursor.fetchall()}


async def stores_to_push(connection: Connection, now: datetime) -> list[int]:
    """Active stores with decided grants whose time has come, or with used codes that were given back."""
    cursor = await connection.execute(
        """SELECT due.store_id FROM (
               SELECT store_id FROM grants WHERE state = 'decided' AND (try_after IS NULL OR try_after <= %s)
               UNION SELECT store_id FROM grants WHERE state = 'returned') due
           JOIN stores ON stores.id = due.store_id WHERE stores.status = 'active' ORDER BY due.store_id""",
        (now,),
    )
    return [found["store_id"] for found in await cursor.fetchall()]


async def time_zones(connection: Connection) -> list[str]:
    """The time zones that stores are in, but for those that were uninstalled."""
    cursor = await connection.execute("SELECT DISTINCT time_zone FROM stores WHERE status <> 'uninstalled'")
    return [found["time_zone"] for found in await cursor.fetchall()]


async def stores_to_reconcile(connection: Connection, today: Mapping[str, date]) -> list[int]:
    """Active, synced stores not yet reconciled on their local day; `today` gives each time zone's."""
    cursor = await connection.execute(
        """SELECT stores.id FROM stores JOIN unnest(%s::text[], %s::date[]) AS zones (name, today)
             ON zones.name = stores.time_zone
           WHERE stores.status = 'active' AND stores.synced_at IS NOT NULL
             AND coalesce(stores.last_reconciled_on, stores.installed_at::date) < zones.today
           ORDER BY stores.id""",
        (list(today), list(today.values())),
    )
    return [found["id"] for found in await cursor.fetchall()]


async def stores_to_ask(connection: Connection, today: Mapping[str, date]) -> list[int]:
    """Paused stores that were not looked at on their local day; `today` as above."""
    cursor = await connection.execute(
        """SELECT stores.id FROM stores JOIN unnest(%s::text[], %s::date[]) AS zones (name, today)
             ON zones.name = stores.time_zone
           WHERE stores.status = 'paused'
             AND (stores.last_reconciled_on IS NULL OR stores.last_reconciled_on < zones.today)
           ORDER BY stores.id""",
        (list(today), list(today.values())),
    )
    return [found["id"] for found in await cursor.fetchall()]


async def stores_to_poll(
    connection: Connection, platforms: Sequence[str], read_before: datetime, at_most: int
) -> list[int]:
    """Active stores without webhooks, and all of these platforms, that were read last before this moment.

    The longest unread come first.
    """
    cursor = await connection.execute(
        """SELECT id FROM stores
           WHERE status = 'active' AND (polled_because IS NOT NULL OR platform = ANY(%s)) AND synced_at <= %s
           ORDER BY synced_at, id LIMIT %s""",
        (list(platforms), read_before, at_most),
    )
    return [found["id"] for found in await cursor.fetchall()]


async def store_of_run(connection: Connection, run_id: int) -> int | None:
    """The store of a past-action run."""
    cursor = await connection.execute("SELECT store_id FROM backfill_runs WHERE id = %s", (run_id,))
    found = await cursor.fetchone()
    return None if found is None else found["store_id"]


async def count_workers(connection: Connection, stalled_seconds: float) -> tuple[int, int]:
    """How many of the engine's workers are alive, and how many jobs wait that could run now."""
    cursor = await connection.execute(
        """SELECT (SELECT count(*) FROM procrastinate_workers
                   WHERE last_heartbeat > now() - make_interval(secs => %s)) AS alive,
               (SELECT count(*) FROM procrastinate_jobs
                WHERE status = 'todo' AND (scheduled_at IS NULL OR scheduled_at <= now())) AS waiting""",
        (stalled_seconds,),
    )
    found = await cursor.fetchone()
    assert found is not None
    return int(found["alive"]), int(found["waiting"])
