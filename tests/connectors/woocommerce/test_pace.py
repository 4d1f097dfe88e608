"""How many requests a shop gets at a time."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import web

from connectors.base import Noun, StoreAccess
from connectors.places import MemoryBoard, Report, Share
from connectors.woocommerce.pace import Pace, pace_of
from connectors.woocommerce.store import open_store
from rewards.errors import RetryLaterError
from sandbox.world import Seed
from tests.connectors.woocommerce.shop import KEYS, OPTIONS, server, standing


class Counting(MemoryBoard):
    """A board that knows how often it was asked, and whether we have left."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.farewell = asyncio.Event()

    async def settle(self, report: Report) -> Share:
        self.asked += 1
        if not report.wants:
            self.farewell.set()
        return await super().settle(report)


async def grown(
    pace: Pace, answers: int, *, seconds: float = 0.1, went_badly: bool = False, size: int = 0
) -> int:
    """The limit after so many answers, which came one after another."""
    for _ in range(answers):
        await pace.enter()
        pace.leave(seconds, went_badly, size=size)
        await asyncio.sleep(0)
    return await limit_of(pace)


async def limit_of(pace: Pace) -> int:
    """What the board says once it has heard everything."""
    await pace.enter()
    for _ in range(10):
        await asyncio.sleep(0)
    limit = pace.limit
    pace._in_flight -= 1  # as if it had never been
    return limit


async def test_it_starts_with_two_and_rises_to_eight_while_answers_are_fast() -> None:
    pace = Pace()
    assert await limit_of(pace) == 2
    assert await grown(pace, 2) == 3
    assert await grown(pace, 200) == 8


async def test_it_falls_at_the_first_slow_or_refused_answer_but_never_below_one() -> None:
    pace = Pace()
    await grown(pace, 200)
    assert await grown(pace, 1, seconds=5.0) == 4
    assert await grown(pace, 1, went_badly=True) == 2
    assert await grown(pace, 5, went_badly=True) == 1


async def test_it_rises_no_further_once_answers_wait_behind_each_other() -> None:
    """As measured on a shop with two processors: 0.3 s alone, ever longer the more are asked at a time."""
    pace, highest = Pace(), 0
    limit = await grown(pace, 1, seconds=0.3, size=41_000)
    for _ in range(200):
        highest = max(highest, limit)
        limit = await grown(pace, 1, seconds=0.3 if limit <= 2 else 0.215 * limit, size=41_000)
    assert highest == 3


async def test_a_small_answer_says_nothing_of_how_fast_a_large_one_can_be() -> None:
    pace = Pace()
    grown_to = await grown(pace, 10, seconds=0.02, size=2)
    assert await grown(pace, 100, seconds=0.9, size=300_000) >= grown_to


async def test_a_sudden_wait_of_many_times_the_usual_is_slow() -> None:
    pace = Pace()
    assert await grown(pace, 200) == 8
    assert await grown(pace, 1, seconds=0.9) == 8  # not worth noting
    assert await grown(pace, 1, seconds=1.2) == 4


async def test_a_shop_that_is_slow_by_nature_is_asked_one_at_a_time() -> None:
    assert await grown(Pace(), 5, seconds=4.0) == 1


async def test_a_fixed_pace_stays() -> None:
    pace = Pace(fixed=8)
    assert await grown(pace, 3, went_badly=True) == 8


async def test_no_more_than_the_limit_are_in_flight_and_all_come_through() -> None:
    pace, now, most = Pace(fixed=3), 0, 0

    async def work() -> None:
        nonlocal now, most
        async with pace.turn():
            now += 1
            most = max(most, now)
            await asyncio.sleep(0)
            now -= 1

    await asyncio.gather(*(work() for _ in range(50)))
    assert (now, most) == (0, 3)


async def test_a_cancelled_waiter_takes_no_place() -> None:
    pace = Pace(fixed=1)
    async with pace.turn():
        waiting = asyncio.ensure_future(pace.enter())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    async with asyncio.timeout(5), pace.turn():
        pass


async def test_a_place_given_to_a_waiter_that_is_cancelled_meanwhile_is_passed_on() -> None:
    pace = Pace(fixed=1)
    async with pace.turn():
        waiting = asyncio.ensure_future(pace.enter())
        await asyncio.sleep(0)
    waiting.cancel()  # the place was its own by then
    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with asyncio.timeout(5), pace.turn():
        pass


async def test_all_that_talks_to_one_shop_shares_its_pace() -> None:
    board = MemoryBoard()
    one = pace_of(board, {})
    assert pace_of(board, {}) is one
    assert pace_of(MemoryBoard(), {}) is not one
    assert pace_of(board, {"requests_in_flight": "8"}) is not one
    assert pace_of(board, {"requests_in_flight": "8"}).limit == 8


async def test_a_shop_at_rest_is_asked_for_no_places() -> None:
    """Nobody stands at the board any more soon after the last answer."""
    board = Counting()
    pace = Pace(board)
    async with pace.turn():
        pass
    async with asyncio.timeout(30):
        await board.farewell.wait()
    asked = board.asked
    await asyncio.sleep(0.7)
    assert board.asked == asked
    async with asyncio.timeout(30), pace.turn():
        assert board.asked == asked + 1


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 524])
async def test_a_shop_that_fails_gets_half_as_many_at_a_time(status: int) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text="<html>Error</html>", content_type="text/html")

    board = MemoryBoard()
    async with server(answer) as base, aiohttp.ClientSession() as session:
        store = open_store(StoreAccess(base, KEYS, OPTIONS, base, board=board), session)
        pace = pace_of(board, {})
        assert await grown(pace, 200) == 8
        with pytest.raises(RetryLaterError):
            await store.unsubscribe("https://app.example/webhooks")
        assert await limit_of(pace) == 4


async def test_a_shop_sees_few_requests_at_first_and_never_more_than_eight() -> None:
    async with standing(Seed(customers=3, orders=1_650)) as (sandbox, store):
        sandbox.busy_seconds = 0.005
        windows = await store.windows(Noun.ORDERS, None)

        async def read(number: int) -> int:
            return sum([len(page.changes) async for page in store.read(windows[number], None)])

        assert sum(await asyncio.gather(*map(read, range(len(windows))))) == 1_650
        assert 2 <= sandbox.most_seen_in_flight <= 8
