"""Advisory locks: work that only one process does at a time, and transactions that take turns.

They save work; no fact rests on them alone, since a lost connection loses its locks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import psycopg

from storage.database import Connection, Database

_TRY_AGAIN_SECONDS = 0.2


class LockHolder:
    """Takes and frees locks by name on a connection of its own: they outlive the transactions of the work."""

    def __init__(self, connection: psycopg.AsyncConnection[tuple[bool]]) -> None:
        self._connection = connection

    @asynccontextmanager
    async def only_one(self, name: str, *, patience_seconds: float = 0.0) -> AsyncIterator[bool]:
        """True when nobody else holds the lock, or not any more within this time; it is held until the block ends."""
        until = time.monotonic() + patience_seconds
        while not (taken := await self._try(name)) and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(_TRY_AGAIN_SECONDS)
        try:
            yield taken
        finally:
            if taken:
                with suppress(psycopg.OperationalError):  # the connection is gone, and the lock with it
                    await self._connection.execute(
                        "SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (name,)
                    )

    async def _try(self, name: str) -> bool:
        cursor = await self._connection.execute(
            "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (name,)
        )
        found = await cursor.fetchone()
        return bool(found and found[0])


@asynccontextmanager
async def lock_holder(database: Database) -> AsyncIterator[LockHolder]:
    """A holder of locks. Not from the pool: who waits for a second connection while holding a first blocks others."""
    connection = await psycopg.AsyncConnection[tuple[bool]].connect(database.conninfo, autocommit=True)
    try:
        yield LockHolder(connection)
    finally:
        await connection.close()


@asynccontextmanager
async def only_one(database: Database, name: str) -> AsyncIterator[bool]:
    """True when nobody else does the work of this name; held until the block ends."""
    async with lock_holder(database) as holder, holder.only_one(name) as taken:
        yield taken


async def take_turn(connection: Connection, name: str, *, shared: bool = False) -> None:
    """Waits until no other transaction has the turn (or, shared, none has it alone); kept until this one ends."""
    function = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
    await connection.execute(f"SELECT {function}(hashtextextended(%s, 0))", (name,))
