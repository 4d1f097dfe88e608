"""Budgets of calls: who wants to call a platform waits here for its turn, first come first served.

A budget refills evenly and holds a little more or less (docs/decisions has why this is the way to count). It is one
moment: when it will be full again. Spending pushes the moment away, time brings it nearer; what is spent while it is
further away than the budget is deep has to wait. So a budget without depth hands out slots on an even grid, and lost
time is never made up for by a burst.

Several processes share a budget by leasing stretches of it from one place; each serves its own callers from its lease.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

# A lease holds no more than this, so that a process that ends or learns of a pause takes little with it.
LEASE_SECONDS = 0.25
# The next lease is taken while this much of the one before is still to come.
_AHEAD_SECONDS = 0.05
# Of a deep budget, what a lease may hold, and what the platform may have left beyond our count of it: calls that are
# on their way from other processes are not in the platform's count yet.
_SHARE = 0.1
_NOTHING = 1e-9


@dataclass(frozen=True, slots=True)
class Leased:
    """From when on a leased stretch counts, and before when nothing may start, both in seconds from now."""

    starts_in: float
    opens_in: float


class Shelf(Protocol):
    """Where budgets are kept."""

    async def lease(self, name: str, seconds: float) -> Leased:
        """Takes so many seconds of the budget's refilling: what follows what was taken last, and not before now."""
        ...

    async def correct(self, name: str, full_in: float, slack: float) -> bool:
        """The budget is full again in `full_in` seconds, or at most `slack` later; True when that was news."""
        ...

    async def pause(self, name: str, seconds: float) -> None:
        """Opens no sooner than in so many seconds."""
        ...


@dataclass(slots=True)
class _Entry:
    full_at: float = -math.inf
    opens_at: float = -math.inf


class MemoryShelf:
    """The budgets of one process."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    async def lease(self, name: str, seconds: float) -> Leased:
        """See Shelf."""
        entry, now = self._entry(name), time.monotonic()
        opens = max(now, entry.opens_at)
        start = max(opens, entry.full_at)
        entry.full_at = start + seconds
        return Leased(start - now, opens - now)

    async def correct(self, name: str, full_in: float, slack: float) -> bool:
        """See Shelf."""
        entry, now = self._entry(name), time.monotonic()
        before = max(entry.full_at, now)
        entry.full_at = now + min(max(before - now, full_in), full_in + slack)
        return abs(entry.full_at - before) > _NOTHING

    async def pause(self, name: str, seconds: float) -> None:
        """See Shelf."""
        entry = self._entry(name)
        entry.opens_at = max(entry.opens_at, time.monotonic() + seconds)

    def _entry(self, name: str) -> _Entry:
        return self._entries.setdefault(name, _Entry())


@dataclass(slots=True)
class _Lease:
    """What is left of a lease, on the loop's clock."""

    start: float
    opens: float
    left: float


@dataclass(slots=True)
class _Line:
    """Everybody in this process who waits for one budget."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    leases: deque[_Lease] = field(default_factory=deque)
    callers: int = 0
    wanted: float = 0.0  # by all of them, in units
    end: float = -math.inf  # of what was served last

    def forget(self) -> None:
        """The leases are void; whoever sleeps looks again."""
        self.leases.clear()
        self.end = -math.inf
        self.changed.set()


class Budgets:
    """Turns over a shelf: the `Turns` of connectors.base."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._lines: dict[str, _Line] = {}

    async def take(self, name: str, *, per_second: float, cost: float = 1.0, burst: float = 0.0) -> None:
        """Returns when `cost` units may be spent; `per_second` 0 means no limit."""
        if per_second <= 0 or cost <= 0:
            return
        line = self._lines.setdefault(name, _Line())
        line.callers += 1
        line.wanted += cost
        try:
            async with line.turn:
                while not await self._served(name, line, per_second, cost, burst):
                    line.leases.clear()  # also one that was on its way as the budget was changed
        finally:
            line.callers -= 1
            line.wanted -= cost
            if not line.callers:
                del self._lines[name]

    async def correct(self, name: str, *, available: float, per_second: float, burst: float) -> None:
        """Takes over what the platform has left, less what the caller has on its way there."""
        if per_second <= 0:
            return
        full_in = max(0.0, burst + 1 - available) / per_second
        if await self._shelf.correct(name, full_in, _SHARE * (burst + 1) / per_second):
            self._forget(name)

    async def pause(self, name: str, seconds: float) -> None:
        """Lets nobody spend anything for so long."""
        await self._shelf.pause(name, seconds)
        self._forget(name)

    def _forget(self, name: str) -> None:
        line = self._lines.get(name)
        if line is not None:
            line.forget()

    async def _served(self, name: str, line: _Line, per_second: float, cost: float, burst: float) -> bool:
        """Waits for the moment of whoever stands first; False when the budget was changed meanwhile."""
        line.changed.clear()
        gap, most = cost / per_second, max(LEASE_SECONDS, _SHARE * burst / per_second)
        lease = await self._lease_for(name, line, gap, min(line.wanted / per_second, most))
        if line.changed.is_set():
            return False
        start = max(lease.start, line.end)
        moment = max(lease.opens, start - max(0.0, burst + 1 - cost) / per_second)
        line.end = lease.start = start + gap
        lease.left -= gap
        loop = asyncio.get_running_loop()
        more = (line.wanted - cost) / per_second - sum(held.left for held in line.leases)
        if moment > loop.time() and more > 0 and sum(held.left for held in line.leases) < _AHEAD_SECONDS:
            await self._add_lease(name, line, min(more, most))
        return await _undisturbed_until(moment, line.changed)

    async def _lease_for(self, name: str, line: _Line, gap: float, most: float) -> _Lease:
        """A lease that holds the gap. What is left of an earlier one and too small goes to the next."""
        rest = 0.0
        while line.leases:
            lease = line.leases[0]
            if rest:
                lease.start, lease.left, rest = lease.start - rest, lease.left + rest, 0.0
            if lease.left >= gap - _NOTHING:
                return lease
            rest = lease.left
            line.leases.popleft()
        lease = await self._add_lease(name, line, max(gap - rest, most))
        lease.start, lease.left = lease.start - rest, lease.left + rest
        return lease

    async def _add_lease(self, name: str, line: _Line, seconds: float) -> _Lease:
        leased = await self._shelf.lease(name, seconds)
        now = asyncio.get_running_loop().time()  # after the answer: never before the moment that was meant
        lease = _Lease(now + leased.starts_in, now + leased.opens_in, seconds)
        line.leases.append(lease)
        return lease


async def _undisturbed_until(moment: float, changed: asyncio.Event) -> bool:
    if changed.is_set():
        return False
    loop = asyncio.get_running_loop()
    if moment <= loop.time():
        return True
    try:
        async with asyncio.timeout_at(moment):
            await changed.wait()
    except TimeoutError:
        return True
    return False


class LocalTurns(Budgets):
    """The budgets of one process on its own."""

    def __init__(self) -> None:
        super().__init__(MemoryShelf())
