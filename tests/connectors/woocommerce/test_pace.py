"""How many requests a shop gets at a time."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import web

from connectors.base import Noun, StoreAccess
from connectors.woocommerce.pace import Pace, pace_of
from connectors.woocommerce.store import open_store
from rewards.errors import RetryLaterError
from sandbox.world import Seed
from tests.connectors.woocommerce.shop import KEYS, OPTIONS, server, standing


def grown(pace: Pace, answers: int, *, seconds: float = 0.1, went_badly: bool = False) -> int:
    for _ in range(answers):
        pace.leave(seconds, went_badly)
    return pace.limit


def test_it_starts_with_two_and_rises_to_eight_while_answers_are_fast() -> None:
    pace = Pace()
    assert pace.limit == 2
    assert grown(pace, 2) == 3
    assert grown(pace, 200) == 8


def test_it_falls_at_the_first_slow_or_refused_answer_but_never_below_one() -> None:
    pace = Pace()
    grown(pace, 200)
    assert grown(pace, 1, seconds=5.0) == 4
    assert grown(pace, 1, went_badly=True) == 2
    assert grown(pace, 5, went_badly=True) == 1


def test_it_rises_no_further_once_answers_wait_behind_each_other() -> None:
    """As measured on a shop with two processors: 0.3 s alone, ever longer the more are asked at a time."""
    pace, highest = Pace(), 0
    pace.leave(0.3, False, size=41_000)
    for _ in range(200):
        highest = max(highest, pace.limit)
        pace.leave(0.3 if pace.limit <= 2 else 0.215 * pace.limit, False, size=41_000)
    assert highest == 3


def test_a_small_answer_says_nothing_of_how_fast_a_large_one_can_be() -> None:
    pace = Pace()
    for _ in range(10):
        pace.leave(0.02, False, size=2)
    grown_to = pace.limit
    for _ in range(100):
        pace.leave(0.9, False, size=300_000)
    assert pace.limit >= grown_to


def test_a_sudden_wait_of_many_times_the_usual_is_slow() -> None:
    pace = Pace()
    assert grown(pace, 200) == 8
    assert grown(pace, 1, seconds=0.9) == 8  # not worth noting
    assert grown(pace, 1, seconds=1.2) == 4


def test_a_shop_that_is_slow_by_nature_is_asked_one_at_a_time() -> None:
    assert grown(Pace(), 5, seconds=4.0) == 1


def test_a_fixed_pace_stays() -> None:
    pace = Pace(8)
    assert grown(pace, 3, went_badly=True) == 8


async def test_no_more_than_the_limit_are_in_flight_and_all_come_through() -> None:
    pace, now, most = Pace(3), 0, 0

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
    pace = Pace(1)
    async with pace.turn():
        waiting = asyncio.ensure_future(pace.enter())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    async with asyncio.timeout(5), pace.turn():
        pass


async def test_a_place_given_to_a_waiter_that_is_cancelled_meanwhile_is_passed_on() -> None:
    pace = Pace(1)
    async with pace.turn():
        waiting = asyncio.ensure_future(pace.enter())
        await asyncio.sleep(0)
    waiting.cancel()  # the place was its own by then
    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with asyncio.timeout(5), pace.turn():
        pass


async def test_all_that_talks_to_one_shop_shares_its_pace() -> None:
    one = pace_of("https://one.example", {})
    assert pace_of("https://one.example", {}) is one
    assert pace_of("https://two.example", {}) is not one
    assert pace_of("https://one.example", {"requests_in_flight": "8"}) is not one
    assert pace_of("https://one.example", {"requests_in_flight": "8"}).limit == 8


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 524])
async def test_a_shop_that_fails_gets_half_as_many_at_a_time(status: int) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text="<html>Error</html>", content_type="text/html")

    async with server(answer) as base, aiohttp.ClientSession() as session:
        store, pace = open_store(StoreAccess(base, KEYS, OPTIONS, base), session), pace_of(base, {})
        for _ in range(200):
            pace.leave(0.01, False)
        assert pace.limit == 8
        with pytest.raises(RetryLaterError):
            await store.unsubscribe("https://app.example/webhooks")
        assert pace.limit == 4


async def test_a_shop_sees_few_requests_at_first_and_never_more_than_eight() -> None:
    async with standing(Seed(customers=3, orders=1_650)) as (sandbox, store):
        sandbox.busy_seconds = 0.005
        windows = await store.windows(Noun.ORDERS, None)

        async def read(number: int) -> int:
            return sum([len(page.changes) async for page in store.read(windows[number], None)])

        assert sum(await asyncio.gather(*map(read, range(len(windows))))) == 1_650
        assert 2 <= sandbox.most_seen_in_flight <= 8
