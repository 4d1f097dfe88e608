"""How many requests a shop gets at a time: few at first, more while it answers fast, fewer as soon as it does not."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from weakref import WeakValueDictionary

_FIRST, _MOST = 2, 8
# A page of full orders takes a small shop about half a second; beyond this it is struggling.
_SLOW_SECONDS = 3.0


class Pace:
    """The number of requests in flight for one shop, shared by everything in this process that talks to it.

    `fixed` keeps the number as it is, e.g. for a measurement.
    """

    def __init__(self, fixed: int | None = None) -> None:
        self.limit = fixed or _FIRST
        self._fixed = fixed is not None
        self._in_flight = 0
        self._good_in_a_row = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def turn(self) -> Turn:
        """A place among the requests in flight, as a context."""
        return Turn(self)

    async def enter(self) -> None:
        """Waits for a place."""
        if self._in_flight < self.limit and not self._waiting:
            self._in_flight += 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():  # given and cancelled at once: pass it on
                self._in_flight -= 1
                self._admit()
            raise

    def leave(self, seconds: float, went_badly: bool) -> None:
        """Gives the place back and learns from how it went."""
        self._in_flight -= 1
        if not self._fixed:
            self._learn(went_badly or seconds > _SLOW_SECONDS)
        self._admit()

    def _learn(self, badly: bool) -> None:
        if badly:
            self.limit = max(1, self.limit // 2)
            self._good_in_a_row = 0
            return
        self._good_in_a_row += 1
        if self._good_in_a_row >= self.limit and self.limit < _MOST:
            self.limit += 1
            self._good_in_a_row = 0

    def _admit(self) -> None:
        while self._waiting and self._in_flight < self.limit:
            place = self._waiting.popleft()
            if not place.done():
                self._in_flight += 1
                place.set_result(None)


class Turn:
    """One request's place; `bad()` says that the shop was overrun."""

    __slots__ = ("_pace", "_since", "_went_badly")

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._went_badly = False
        self._since = 0.0

    def bad(self) -> None:
        """The shop failed or refused for want of breath."""
        self._went_badly = True

    async def __aenter__(self) -> Turn:
        await self._pace.enter()
        self._since = time.monotonic()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pace.leave(time.monotonic() - self._since, self._went_badly)


_SHARED: WeakValueDictionary[tuple[str, int], Pace] = WeakValueDictionary()


def pace_of(base: str, settings: Mapping[str, str]) -> Pace:
    """The shop's pace in this process; the setting "requests_in_flight" makes one of its own with a fixed number."""
    fixed = settings.get("requests_in_flight", "")
    if fixed.isascii() and fixed.isdigit() and int(fixed) > 0:
        return Pace(int(fixed))
    key = (base, id(asyncio.get_running_loop()))  # futures belong to one loop
    pace = _SHARED.get(key)
    if pace is None:
        pace = _SHARED[key] = Pace()
    return pace
