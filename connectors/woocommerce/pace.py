"""How many requests a shop gets at a time: few at first, more while it answers fast, fewer as soon as it does not.

What is fast depends on the shop: an answer that takes twice as long as the quickest of its like was waiting behind
others, and with more at a time it would only wait longer, and shoppers with it. Measured on a shop with two processors: a
page takes 0.3 s alone and 0.85 s with four at a time, so beyond three nothing is won.

The number is for all our processes together (`connectors.places`); here is what one of them learns from its answers,
and the line in which its own requests wait.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from weakref import WeakValueDictionary

from connectors.places import Board, MemoryBoard, Report, Share

FIRST, MOST = 2, 8
# As long as answers are this quick nobody waits for them; from the second on a wait is worth noting; beyond the last
# the shop is struggling.
_FAST_SECONDS, _WORTH_SECONDS, _SLOW_SECONDS = 0.5, 1.0, 3.0
_FAST_TIMES, _SLOW_TIMES = 2.0, 5.0  # as long as the quickest of its like
# How often the board is asked, at least; more often by whoever has no place at all.
_TICK_SECONDS, _STARVED_SECONDS = 0.5, 0.1


class Pace:
    """The requests that one process has in flight for one shop, shared by everything in it that talks to the shop.

    `fixed` keeps the number as it is, e.g. for a measurement, and asks no board.
    """

    def __init__(self, board: Board | None = None, *, fixed: int | None = None) -> None:
        self._board = board or MemoryBoard()
        self._fixed = fixed
        self._share = Share(fixed or 0, fixed or 0, 0)
        self._member = secrets.token_hex(8)
        self._in_flight = 0
        self._good, self._overran, self._is_broken = 0, 0, False
        self._quickest: dict[tuple[str, int], float] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._news = asyncio.Event()
        self._at_board: asyncio.Task[None] | None = None

    @property
    def limit(self) -> int:
        """How many requests all our processes together may have in flight, as far as we know."""
        return self._share.limit

    def turn(self, method: str = "GET") -> Turn:
        """A place among the requests in flight, as a context."""
        return Turn(self, method)

    async def enter(self) -> None:
        """Waits for a place. Raises what the board raises when it cannot be asked."""
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        self._admit()
        if not place.done():
            self._call_on_board()
        try:
            await place
        except asyncio.CancelledError:
            # Given and cancelled at once: pass it on.
            if place.done() and not place.cancelled() and place.exception() is None:
                self._in_flight -= 1
                self._admit()
            raise

    def leave(self, seconds: float, went_badly: bool, method: str = "GET", size: int = 0) -> None:
        """Gives the place back and learns from how it went. `size` is the answer's, in bytes."""
        self._in_flight -= 1
        if self._fixed is None:
            self._learn(seconds, went_badly, (method, size.bit_length()))
            if self._in_flight >= self._share.places:  # somebody else waits for what we had too much of
                self._news.set()
        self._admit()

    def _learn(self, seconds: float, went_badly: bool, like: tuple[str, int]) -> None:
        """Answers are alike when they are of about the same size to the same method."""
        quickest = self._quickest.get(like, seconds)
        if went_badly or seconds > min(_SLOW_SECONDS, max(_WORTH_SECONDS, _SLOW_TIMES * quickest)):
            self._overran += 1
            self._news.set()
            return
        self._quickest[like] = min(seconds, quickest)
        if seconds > max(_FAST_SECONDS, _FAST_TIMES * quickest):
            self._good, self._is_broken = 0, True
            return
        self._good += 1
        if self.limit < MOST and self._good >= self.limit:
            self._news.set()

    def _admit(self) -> None:
        # A share holds only while the board hears of us.
        places = self._share.places if self._fixed is not None or self._at_board is not None else 0
        while self._waiting and self._in_flight < places:
            place = self._waiting.popleft()
            if not place.done():
                self._in_flight += 1
                place.set_result(None)

    def _call_on_board(self) -> None:
        """Has somebody of ours stand at the board, and asks for more where nobody holds it."""
        if self._fixed is not None:
            return
        if self._at_board is None:
            self._at_board = asyncio.create_task(self._stand_at_board())
        elif self._share.spare:
            self._news.set()

    async def _stand_at_board(self) -> None:
        """Reports and takes over what the board says, as long as there is a request on its way or waiting."""
        is_idle = False
        try:
            while True:
                self._news.clear()
                report = self._report(leaves=is_idle)
                self._share = await self._board.settle(report)
                self._admit()
                if not report.wants:
                    if not self._waiting:
                        return
                    is_idle = False  # that was a farewell, and now there is somebody again
                    continue
                is_starved = self._waiting and not self._share.places
                try:
                    async with asyncio.timeout(_STARVED_SECONDS if is_starved else _TICK_SECONDS):
                        await self._news.wait()
                    is_idle = False
                except TimeoutError:
                    is_idle = not self._in_flight and not self._waiting
        # The database's: whoever waits hears of it, and where nobody does there is nobody to tell.
        except Exception as error:
            self._refuse(error)
        finally:
            self._at_board = None

    def _report(self, *, leaves: bool) -> Report:
        """How it goes. Between two requests of one caller there is a moment without any, and still no farewell."""
        wants = self._in_flight + sum(not place.done() for place in self._waiting)
        report = Report(
            self._member,
            in_flight=self._in_flight,
            wants=wants if leaves else max(1, wants),
            first=FIRST,
            most=MOST,
            good=self._good,
            is_broken=self._is_broken,
            overran=self._overran,
        )
        self._good, self._overran, self._is_broken = 0, 0, False
        return report

    def _refuse(self, error: Exception) -> None:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_exception(error)


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


_SHARED: WeakValueDictionary[tuple[int, int], Pace] = WeakValueDictionary()


def pace_of(board: Board, settings: Mapping[str, str]) -> Pace:
    """The pace of a board's shop in this process; "requests_in_flight" makes one of its own with a fixed number."""
    fixed = settings.get("requests_in_flight", "")
    if fixed.isascii() and fixed.isdigit() and int(fixed) > 0:
        return Pace(fixed=int(fixed))
    # Futures belong to one loop. A pace keeps its board, so while it is here no other board has the same id.
    key = (id(board), id(asyncio.get_running_loop()))
    pace = _SHARED.get(key)
    if pace is None:
        pace = _SHARED[key] = Pace(board)
    return pace
