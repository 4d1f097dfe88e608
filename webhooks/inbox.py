"""Group commit: posts that come while a commit is in flight are inserted together and answered after it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

import psycopg

from rewards.errors import AppError, DatabaseError, MalformedDeliveryError
from storage import deliveries
from storage.database import Connection, Database
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
    linger_seconds: float = 1.0  # how long the connection is held after the last post


@dataclass(slots=True, eq=False)
class _Waiting:
    post: NewDelivery
    kept: asyncio.Future[None]
    came_at: float


class GroupCommit:
    """The way into the inbox; one commit is in flight at a time."""

    def __init__(
        self,
        database: Database,
        wakeups: Wakeups,
        limits: InboxLimits | None = None,
        *,
        answer_seconds: float = 4.0,
    ) -> None:
        self._database = database
        self._wakeups = wakeups
        self._limits = limits or InboxLimits()
        self._queue: deque[_Waiting] = deque()
        # Who waits for an answer, the earliest first. One timer serves all: a timer for each costs more than a post.
        self._unanswered: deque[_Waiting] = deque()
        self._answer_seconds = answer_seconds
        self._timer: asyncio.TimerHandle | None = None
        self._held_bytes = 0
        self._held_posts = 0
        self._task: asyncio.Task[None] | None = None
        self._more = asyncio.Event()
        self._holding = AsyncExitStack()
        self._connection: Connection | None = None
        self._is_closing = False

    async def keep(self, post: NewDelivery) -> None:
        """Returns when the post is committed (or was before).

        Raises InboxFullError, DatabaseError, TimeoutError after `answer_seconds`, and MalformedDeliveryError when the
        database can never take this post. A caller that stops waiting does not stop the insert.
        """
        limits, loop = self._limits, asyncio.get_running_loop()
        if self._held_posts >= limits.waiting_posts or self._held_bytes >= limits.waiting_bytes:
            raise InboxFullError(f"{self._held_posts} posts wait for the database already; try again soon.")
        waiting = _Waiting(post, loop.create_future(), loop.time())
        self._queue.append(waiting)
        self._unanswered.append(waiting)
        if self._timer is None:
            self._timer = loop.call_later(self._answer_seconds, self._answer_late)
        self._held_posts += 1
        self._held_bytes += len(post.body)
        self._more.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="group commit")
        await waiting.kept

    async def close(self) -> None:
        """Commits what waits; gives up what the database does not take at once."""
        self._is_closing = True
        self._more.set()
        if self._task:
            await self._task
        if self._timer:
            self._timer.cancel()

    async def _run(self) -> None:
        """Commits until nothing has come for a moment; the connection is held meanwhile."""
        try:
            while True:
                while self._queue:
                    await self._commit(self._next_batch())
                if self._is_closing:
                    break
                self._more.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._limits.linger_seconds):
                        await self._more.wait()
                if not self._queue:
                    break
        finally:
            self._task = None  # before anything is waited for: the next post starts the next task
            await self._let_go()

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
        """One statement, which is its own transaction; again while the database is away, as repeats change nothing."""
        posts = [waiting.post for waiting in batch]
        until = batch[-1].came_at + self._limits.hold_seconds
        while True:
            try:
                if self._connection is None:
                    held = self._database.statements()
                    self._connection = await self._holding.enter_async_context(held)
                await deliveries.keep(self._connection, posts)
                return
            except (psycopg.OperationalError, psycopg.InterfaceError, OSError, DatabaseError):
                await self._let_go()
                if self._is_closing or asyncio.get_running_loop().time() >= until:
                    raise
                await asyncio.sleep(self._limits.retry_seconds)

    async def _let_go(self) -> None:
        """Gives the connection back; the pool throws a broken one away."""
        holding, self._holding, self._connection = self._holding, AsyncExitStack(), None
        await holding.aclose()

    def _answer_late(self) -> None:
        """Ends the waiting, though not the keeping, of posts that have waited long enough."""
        loop = asyncio.get_running_loop()
        self._timer = None
        while self._unanswered:
            waiting = self._unanswered[0]
            left = waiting.came_at + self._answer_seconds - loop.time()
            if waiting.kept.done():
                self._unanswered.popleft()
            elif left <= 0:
                self._unanswered.popleft()
                waiting.kept.set_exception(TimeoutError())
            else:
                self._timer = loop.call_later(left, self._answer_late)
                break

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
