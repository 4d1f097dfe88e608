"""How many requests a shop gets at a time: few at first, more while it answers fast, fewer as soon as it does not.

What is fast depends on the shop: an answer that takes twice as long as the quickest of its like was waiting behind
others, and with more at a time it would only wait longer, and shoppers with it. Measured on a shop with two processors: a
page takes 0.3 s alone and 0.85 s with four at a time, so beyond three nothing is won.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from weakref import WeakValueDictionary

_FIRST, _MOST = 2, 8
# As long as answers are this quick nobody waits for them; from the second on a wait is worth noting; beyond the last
# the shop is struggling.
_FAST_SECONDS, _WORTH_SECONDS, _SLOW_SECONDS = 0.5, 1.0, 3.0
_FAST_TIMES, _SLOW_TIMES = 2.0, 5.0  # as long as the quickest of its like


class Pace:
    """The number of requests in flight for one shop, shared by everything in this process that talks to it.

    `fixed` keeps the number as it is, e.g. for a measurement.
    """

    def __init__(self, fixed: int | None = None) -> None:
        self.limit = fixed or _FIRST
        self._fixed = fixed is not None
        self._in_flight = 0
        self._good_in_a_row = 0
        self._quickest: dict[tuple[str, int], float] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()

    def turn(self, method: str = "GET") -> Turn:
        """A place among the requests in flight, as a context."""
        return Turn(self, method)

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

    def leave(self, seconds: float, went_badly: bool, method: str = "GET", size: int = 0) -> None:
        """Gives the place back and learns from how it went. `size` is the answer's, in bytes."""
        self._in_flight -= 1
        if not self._fixed:
            self._learn(seconds, went_badly, (method, size.bit_length()))
        self._admit()

    def _learn(self, seconds: float, went_badly: bool, like: tuple[str, int]) -> None:
        """Answers are alike when they are of about the same size to the same method."""
        quickest = self._quickest.get(like, seconds)
        if went_badly or seconds > min(_SLOW_SECONDS, max(_WORTH_SECONDS, _SLOW_TIMES * quickest)):
            self.limit = max(1, self.limit // 2)
            self._good_in_a_row = 0
            return
        self._quickest[like] = min(seconds, quickest)
        if seconds > max(_FAST_SECONDS, _FAST_TIMES * quickest):
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
    """One request's place; `bad()` says that the shop was overrun, `brought()` how much it answered."""

    __slots__ = ("_method", "_pace", "_since", "_size", "_went_badly")

    def __init__(self, pace: Pace, method: str) -> None:
        self._pace = pace
        self._method = method
        self._size = 0
        self._went_badly = False
        self._since = 0.0

    def bad(self) -> None:
        """The shop failed or refused for want of breath."""
        self._went_badly = True

    def brought(self, size: int) -> None:
        """The answer has so many bytes."""
        self._size = size

    async def __aenter__(self) -> Turn:
        await self._pace.enter()
        self._since = time.monotonic()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pace.leave(time.monotonic() - self._since, self._went_badly, self._method, self._size)


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
