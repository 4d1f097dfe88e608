"""Group commit: posts that come while a commit is in flight are inserted together and answered after it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from rewards.errors import AppError, DatabaseError, MalformedDeliveryError
from storage import deliveries
from storage.database import Database
from storage.deliveries import NewDelivery
from webhooks.wakeups import Wakeups

_log = logging.getLogger(__name__)


class InboxFullError(AppError):
    """More posts wait for the database than we are ready to hold."""


@dataclass(frozen=True, slots=True)
class InboxLimits:
    """How much may wait, how much one statement takes, and how long a post is held while the database is away.

    A post is held longer than its sender waits: a platform that never tries again has then not lost it.
    """

    waiting_posts: int = 5_000
    waiting_bytes: int = 64 * 1024 * 1024
    batch_posts: int = 500
    batch_bytes: int = 16 * 1024 * 1024
    hold_seconds: float = 60.0
    retry_seconds: float = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    post: NewDelivery
    kept: asyncio.Future[None]
    until: float


class GroupCommit:
    """The way into the inbox; one commit is in flight at a time."""

    def __init__(self, database: Database, wakeups: Wakeups, limits: InboxLimits | None = None) -> None:
        self._database = database
        self._wakeups = wakeups
        self._limits = limits or InboxLimits()
        self._queue: deque[_Waiting] = deque()
        self._held_bytes = 0
        self._held_posts = 0
        self._task: asyncio.Task[None] | None = None
        self._is_closing = False

    async def keep(self, post: NewDelivery) -> None:
        """Returns when the post is committed (or was before).

        Raises InboxFullError, DatabaseError, and MalformedDeliveryError when the database can never take this post.
        A caller that stops waiting does not stop the insert.
        """
        limits, loop = self._limits, asyncio.get_running_loop()
        if self._held_posts >= limits.waiting_posts or self._held_bytes >= limits.waiting_bytes:
            raise InboxFullError(f"{self._held_posts} posts wait for the database already; try again soon.")
        waiting = _Waiting(post, loop.create_future(), loop.time() + limits.hold_seconds)
        self._queue.append(waiting)
        self._held_posts += 1
        self._held_bytes += len(post.body)
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="group commit")
        await waiting.kept

    async def close(self) -> None:
        """Commits what waits; gives up what the database does not take at once."""
        self._is_closing = True
        if self._task:
            await self._task

    async def _run(self) -> None:
        try:
            while self._queue:
                await self._commit(self._next_batch())
        finally:
            self._task = None

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        room = self._limits.batch_bytes
        while self._queue and len(batch) < self._limits.batch_posts and room > 0:
            batch.append(self._queue.popleft())
            room -= len(batch[-1].post.body)
        return batch

    async def _commit(self, batch: Sequence[_Waiting]) -> None:
        """Settles every post of the batch; one that the database refuses does not take its neighbours with it."""
        try:
            await self._insert(batch)
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            if len(batch) == 1:
                _log.warning(
                    "a post for store %s cannot be kept (%s)", batch[0].post.store_id, type(error).__name__
                )
                self._settle(batch, MalformedDeliveryError("The post holds what no database text can hold."))
                return
            middle = len(batch) // 2
            await self._commit(batch[:middle])
            await self._commit(batch[middle:])
        except Exception as error:
            _log.error("%s posts could not be kept (%s)", len(batch), type(error).__name__)
            self._settle(batch, DatabaseError("The database did not keep the post; it is asked for again."))
        else:
            self._settle(batch, None)
            for store_id in {waiting.post.store_id for waiting in batch}:
                self._wakeups.ask(store_id)

    async def _insert(self, batch: Sequence[_Waiting]) -> None:
        """One statement, one commit; again while the database is away, as repeats change nothing."""
        posts = [waiting.post for waiting in batch]
        until = max(waiting.until for waiting in batch)
        while True:
            try:
                async with self._database.transaction() as connection:
                    await deliveries.keep(connection, posts)
                return
            except (psycopg.OperationalError, psycopg.InterfaceError, OSError, DatabaseError):
                if self._is_closing or asyncio.get_running_loop().time() >= until:
                    raise
                await asyncio.sleep(self._limits.retry_seconds)

    def _settle(self, batch: Sequence[_Waiting], error: AppError | None) -> None:
        for waiting in batch:
            self._held_posts -= 1
            self._held_bytes -= len(waiting.post.body)
            if waiting.kept.done():
                continue  # its sender went away; the row is here all the same
            if error is None:
                waiting.kept.set_result(None)
            else:
                waiting.kept.set_exception(error)
