"""Stores, a piece of work that can be cut off anywhere, and waiting for what must come."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import aiohttp

from app.worker import Timing
from rewards.errors import DatabaseError
from storage.database import Connection, Database
from storage.secrets import SecretBox
from sync.attempts import OUTAGES, Pauses
from sync.jobs import Jobs, Work
from sync.services import Services

# As in production, only faster.
FAST = Timing(
    heartbeat_seconds=0.5,
    stalled_seconds=2.0,
    poll_seconds=0.2,
    sweep_seconds=1.0,
    watch_seconds=0.3,
    graceful_seconds=1.0,
)
FAST_PAUSES = Pauses(most_failures=3, first_seconds=0.1, platform_seconds=0.1, outage_seconds=0.2)
CHUNK = 10
# Nothing of a test has to survive a power cut.
HASTY = {"fsync": "off", "full_page_writes": "off"}


def services_over(
    database: Database, session: aiohttp.ClientSession, clock: Callable[[], datetime] | None = None
) -> Services:
    """What jobs get, without any platform."""
    return Services(
        database=database,
        connectors={},
        session=session,
        clock=clock or (lambda: datetime.now(UTC)),
        secret_box=SecretBox([bytes(32)]),
    )


async def nothing(services: Services, *_: int) -> None:
    """Work that is done as soon as it is begun."""


def work(**given: Callable[..., Awaitable[object]]) -> Work:
    """Work of which only the given kinds do anything."""
    return Work(**{kind.name: given.get(kind.name, nothing) for kind in fields(Work)})


async def add_store(database: Database, name: str = "shop", **columns: object) -> int:
    """An active store in a program of its own."""
    row: dict[str, object] = {
        "platform": "woocommerce",
        "external_id": name,
        "token": f"token-{name}",
        "name": name,
        "time_zone": "Europe/Madrid",
        "currency": "EUR",
        "settings": "{}",
        "status": "active",
        "subscription_ids": "[]",
        "installed_at": datetime(2026, 1, 1, tzinfo=UTC),
        **columns,
    }
    async with database.transaction() as connection:
        cursor = await connection.execute(
            """INSERT INTO programs (name, is_on, currency, leap_rule, match_across_stores, created_at)
               VALUES (%s, true, 'EUR', 'feb_28', false, now()) RETURNING id""",
            (name,),
        )
        row["program_id"] = (await _one(cursor))["id"]
        marks = ", ".join(["%s"] * len(row))
        cursor = await connection.execute(
            f"INSERT INTO stores ({', '.join(row)}) VALUES ({marks}) RETURNING id", list(row.values())
        )
        return int((await _one(cursor))["id"])


async def rows(database: Database, query: str, *values: object) -> list[dict[str, Any]]:
    """What a query gives."""
    async with database.transaction() as connection:
        return await (await connection.execute(query, values)).fetchall()


async def jobs_of(database: Database, task: str) -> list[dict[str, Any]]:
    """The engine's rows for a task, oldest first."""
    return await rows(database, "SELECT * FROM procrastinate_jobs WHERE task_name = %s ORDER BY id", task)


async def run_waiting(jobs: Jobs) -> None:
    """Runs the jobs whose time has come, and those that they ask for; the clock asks for nothing."""
    jobs.app.periodic_defaults = {"max_delay": 0}
    await jobs.app.run_worker_async(
        wait=False, listen_notify=False, install_signal_handlers=False, delete_jobs="successful"
    )


async def until(
    condition: Callable[[], Awaitable[object]], *, seconds: float = 20.0, every: float = 0.05
) -> None:
    """Waits until the condition holds; the database may be away meanwhile."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if await condition():
                return
        except (*OUTAGES, DatabaseError):
            pass
        await asyncio.sleep(every)
    raise AssertionError(f"did not come about within {seconds:.0f} s: {condition}")


async def prepare_count(database: Database, store_id: int, goal: int) -> None:
    """Something to count: one row for each number up to the goal, and a cursor."""
    async with database.transaction() as connection:
        await connection.execute(
            """CREATE TABLE IF NOT EXISTS counting (store_id bigint PRIMARY KEY, position int NOT NULL, goal int NOT NULL);
               CREATE TABLE IF NOT EXISTS counted (
                   store_id bigint, number int, process int, PRIMARY KEY (store_id, number))"""
        )
        await connection.execute("INSERT INTO counting VALUES (%s, 0, %s)", (store_id, goal))


async def count_chunk(connection: Connection, store_id: int) -> bool:
    """Inserts the next rows and moves the cursor with them; False when the goal is reached."""
    cursor = await connection.execute(
        "SELECT position, goal FROM counting WHERE store_id = %s FOR UPDATE", (store_id,)
    )
    found = await _one(cursor)
    begin, end = found["position"], min(found["position"] + CHUNK, found["goal"])
    await connection.execute(
        "INSERT INTO counted SELECT %s, generate_series(%s::int, %s::int), %s",
        (store_id, begin + 1, end, os.getpid()),
    )
    await connection.execute("UPDATE counting SET position = %s WHERE store_id = %s", (end, store_id))
    return bool(end < found["goal"])


async def count(services: Services, store_id: int) -> None:
    """A run that goes on where it stopped, slowly enough to be cut off."""
    is_more = True
    while is_more:
        is_more = await services.database.retrying(lambda connection: count_chunk(connection, store_id))
        await asyncio.sleep(0.02)


async def position(database: Database, store_id: int) -> int:
    """How far the count has come."""
    return int(
        (await rows(database, "SELECT position FROM counting WHERE store_id = %s", store_id))[0]["position"]
    )


async def _one(cursor: Any) -> dict[str, Any]:
    found = await cursor.fetchone()
    assert found is not None
    return dict(found)
