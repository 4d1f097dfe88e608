"""How many requests a shop gets at a time."""

from __future__ import annotations

import asyncio

import pytest

from connectors.base import Noun
from connectors.woocommerce.pace import Pace, pace_of
from sandbox.world import Seed
from tests.connectors.woocommerce.shop import standing


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


async def test_a_shop_sees_few_requests_at_first_and_never_more_than_eight() -> None:
    async with standing(Seed(customers=3, orders=1_650)) as (sandbox, store):
        sandbox.busy_seconds = 0.005
        windows = await store.windows(Noun.ORDERS, None)

        async def read(number: int) -> int:
            return sum([len(page.changes) async for page in store.read(windows[number], None)])

        assert sum(await asyncio.gather(*map(read, range(len(windows))))) == 1_650
        assert 2 <= sandbox.most_seen_in_flight <= 8
