"""Asks for a store's drain after its posts are committed, at most about once a second for each store."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

Wake = Callable[[str, int], Awaitable[None]]

DRAIN = "drain"

_log = logging.getLogger(__name__)


class Wakeups:
    """Calls `wake("drain", store_id)` outside of any request. A wake-up that fails is left to the sweep."""

    def __init__(self, wake: Wake, *, every_seconds: float = 1.0) -> None:
        self._wake = wake
        self._every_seconds = every_seconds
        self._asked: dict[int, bool] = {}  # stores woken within the last second; True: asked for again since
        self._tasks: set[asyncio.Task[None]] = set()

    def ask(self, store_id: int) -> None:
        """Returns at once; the wake-up follows now, or when the last one is a second old."""
        is_resting = store_id in self._asked
        self._asked[store_id] = True
        if not is_resting:
            task = asyncio.create_task(self._serve(store_id), name=f"wake-ups of store {store_id}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Sends the wake-ups that are still due, so that nothing waits for the sweep after a restart."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        due = [store_id for store_id, asked in self._asked.items() if asked]
        self._asked.clear()
        for store_id in due:
            await self._try(store_id)

    async def _serve(self, store_id: int) -> None:
        while self._asked[store_id]:
            self._asked[store_id] = False
            await self._try(store_id)
            await asyncio.sleep(self._every_seconds)
        del self._asked[store_id]

    async def _try(self, store_id: int) -> None:
        try:
            await self._wake(DRAIN, store_id)
        except Exception as error:
            _log.warning(
                "no drain asked for store %s (%s); the sweep will within a minute",
                store_id,
                type(error).__name__,
            )
