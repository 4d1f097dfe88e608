"""Budgets of one process: never faster than the rate, in order, and as the platform corrects them."""

from __future__ import annotations

import asyncio
import time

import pytest

from connectors.turns import Budgets, LocalTurns


async def _moments(
    turns: Budgets, number: int, *, per_second: float, cost: float = 1.0, burst: float = 0.0
) -> list[float]:
    """When each of so many callers who come together gets its turn, in seconds from now, in their order."""
    began = time.monotonic()

    async def one() -> float:
        await turns.take("calls", per_second=per_second, cost=cost, burst=burst)
        return time.monotonic() - began

    return await asyncio.gather(*(one() for _ in range(number)))


async def test_calls_are_spaced_evenly_without_a_burst() -> None:
    moments = await _moments(LocalTurns(), 12, per_second=50)
    assert all(moment >= place / 50 for place, moment in enumerate(moments))
    assert moments[-1] < 1.0  # eleven gaps of 20 ms


async def test_lost_time_is_not_made_up_for_by_a_burst() -> None:
    turns = LocalTurns()
    await turns.take("calls", per_second=20)
    await asyncio.sleep(0.3)  # six turns that nobody took
    moments = await _moments(turns, 4, per_second=20)
    assert all(moment >= place / 20 for place, moment in enumerate(moments))


async def test_a_deep_budget_is_spent_at_once_and_then_waited_for() -> None:
    moments = await _moments(LocalTurns(), 12, per_second=20, burst=9)
    assert moments[9] < 0.05 <= moments[10] < moments[11]
    assert moments[11] >= 2 / 20 - 0.001


async def test_a_call_waits_until_all_that_it_costs_is_there() -> None:
    turns = LocalTurns()
    await turns.take("calls", per_second=100, cost=40, burst=49)
    began = time.monotonic()
    await turns.take("calls", per_second=100, cost=30, burst=49)  # ten are left
    assert time.monotonic() - began >= 0.199


async def test_a_call_that_costs_more_than_the_budget_holds_waits_for_a_full_one() -> None:
    turns = LocalTurns()
    await turns.take("calls", per_second=100, cost=10, burst=9)
    began = time.monotonic()
    await turns.take("calls", per_second=100, cost=25, burst=9)
    assert time.monotonic() - began >= 0.099
    began = time.monotonic()
    await turns.take("calls", per_second=100, cost=1, burst=9)
    assert time.monotonic() - began >= 0.15  # what was spent too much comes first


async def test_a_pause_holds_also_those_who_wait_already() -> None:
    turns = LocalTurns()
    await turns.take("calls", per_second=20)
    waiting = asyncio.create_task(_moments(turns, 3, per_second=20))
    await asyncio.sleep(0)
    await turns.pause("calls", 0.3)
    moments = await waiting
    assert all(moment >= 0.299 + place / 20 for place, moment in enumerate(moments))


async def test_what_the_platform_says_is_left_counts() -> None:
    turns = LocalTurns()
    await turns.take("calls", per_second=10, burst=9)
    await turns.correct("calls", available=0, per_second=10, burst=9)
    began = time.monotonic()
    await turns.take("calls", per_second=10, burst=9)
    assert time.monotonic() - began >= 0.099


async def test_whoever_waits_for_an_overestimated_cost_goes_on_when_it_is_corrected() -> None:
    turns = LocalTurns()
    await turns.take("calls", per_second=1, cost=60, burst=59)
    waiting = asyncio.create_task(turns.take("calls", per_second=1, cost=20, burst=59))
    await asyncio.sleep(0)
    await turns.correct("calls", available=55, per_second=1, burst=59)
    async with asyncio.timeout(2):
        await waiting


async def test_a_caller_who_gives_up_holds_nobody_up() -> None:
    turns = LocalTurns()
    await turns.take("calls", per_second=20)
    waiting = [asyncio.create_task(turns.take("calls", per_second=20)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    waiting[1].cancel()
    async with asyncio.timeout(2):
        await waiting[2]
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]


async def test_budgets_of_different_names_do_not_wait_for_each_other() -> None:
    turns = LocalTurns()
    await turns.pause("slow", 30)
    async with asyncio.timeout(2):
        await turns.take("fast", per_second=5)


async def test_no_rate_means_no_limit() -> None:
    turns = LocalTurns()
    async with asyncio.timeout(2):
        for _ in range(1_000):
            await turns.take("calls", per_second=0)
