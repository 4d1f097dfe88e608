"""Budgets that several processes share: three pools of connections stand for three processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from connectors.turns import Budgets
from storage import budgets
from storage.database import Database, DatabaseSettings
from sync.services import Services
from sync.turns import StoreShelf
from tests.factories import new_store
from tests.sync.shops import rows


@pytest.fixture
async def processes(database_url: str) -> AsyncIterator[list[Database]]:
    """Three ways to one database that know nothing of each other."""
    async with AsyncExitStack() as stack:
        opened = []
        for _ in range(3):
            one = await Database.open(DatabaseSettings(database_url, Path(), pool_size=2))
            stack.push_async_callback(one.close)
            opened.append(one)
        yield opened


def _over(processes: list[Database], store_id: int = 1) -> list[Budgets]:
    return [Budgets(StoreShelf(process, store_id)) for process in processes]


async def _moments(turns: list[Budgets], each: int, per_second: float, burst: float = 0.0) -> list[float]:
    """When `each` callers of every process got their turns, in seconds from now, sorted."""
    began = time.monotonic()

    async def one(process: Budgets) -> float:
        await process.take("calls", per_second=per_second, burst=burst)
        return time.monotonic() - began

    return sorted(await asyncio.gather(*(one(process) for process in turns for _ in range(each))))


@pytest.mark.parametrize(("rate", "each"), [(25, 10), (250, 100)])
@pytest.mark.parametrize("number", [1, 3])
async def test_all_processes_together_keep_the_rate(
    processes: list[Database], rate: int, each: int, number: int
) -> None:
    moments = await _moments(_over(processes[:number]), each, rate)
    assert all(moment >= place / rate for place, moment in enumerate(moments))
    assert moments[-1] < 2 * len(moments) / rate + 1  # nor is much of it lost, on a machine that is busy


async def test_all_processes_together_spend_no_more_than_a_deep_budget_holds(
    processes: list[Database],
) -> None:
    moments = await _moments(_over(processes), 8, 20, burst=9)
    assert all(moment >= (place - 9) / 20 - 1e-3 for place, moment in enumerate(moments))
    assert moments[-1] < 2 * 14 / 20 + 1


async def test_no_turn_is_leased_that_nobody_takes(processes: list[Database]) -> None:
    await _moments(_over(processes), 20, 250)
    found = await rows(
        processes[0], "SELECT extract(epoch FROM full_at - opens_at)::float8 FROM budgets WHERE store_id = 1"
    )
    # The row opened with the first lease. Sixty turns of 4 ms, and what the three needed to come with more.
    assert 0.24 - 1e-4 <= found[0][0] < 1.5


async def test_a_pause_holds_every_process(processes: list[Database]) -> None:
    first, second, third = _over(processes)
    began = time.monotonic()
    await first.pause("calls", 0.4)
    await asyncio.gather(*(turns.take("calls", per_second=100) for turns in (first, second, third)))
    assert time.monotonic() - began >= 0.4


async def test_a_correction_by_one_process_counts_for_the_others(processes: list[Database]) -> None:
    first, second, _ = _over(processes)
    await first.take("calls", per_second=10, cost=1, burst=9)
    await first.correct("calls", available=0, per_second=10, burst=9)
    began = time.monotonic()
    await second.take("calls", per_second=10, cost=3, burst=9)
    assert time.monotonic() - began >= 0.29


async def test_what_the_platform_has_left_beyond_our_count_may_be_spent(processes: list[Database]) -> None:
    first, second, _ = _over(processes)
    await first.take("calls", per_second=1, cost=100, burst=99)
    await first.correct("calls", available=100, per_second=1, burst=99)
    async with asyncio.timeout(5):
        await second.take("calls", per_second=1, cost=90, burst=99)


async def test_stores_have_budgets_of_their_own(processes: list[Database]) -> None:
    await _over(processes, 1)[0].pause("calls", 30)
    async with asyncio.timeout(5):
        await _over(processes, 2)[0].take("calls", per_second=10)


async def test_whoever_opens_a_store_stands_in_the_same_line(services: Services, database: Database) -> None:
    store = await new_store(database)
    first, second = services._turns(store.id), services._turns(store.id)
    assert first is second
    await first.take("calls", per_second=100)
    assert await rows(database, "SELECT store_id, name FROM budgets") == [(store.id, "calls")]


async def test_rows_of_budgets_that_nobody_uses_go(processes: list[Database]) -> None:
    turns = _over(processes)[0]
    await turns.take("old", per_second=100)
    await turns.take("new", per_second=100)
    async with processes[0].transaction() as connection:
        await connection.execute(
            "UPDATE budgets SET full_at = now() - interval '2 days', opens_at = full_at WHERE name = 'old'"
        )
        await connection.execute("UPDATE budgets SET opens_at = full_at")
        await budgets.remove_idle(connection)
    assert await rows(processes[0], "SELECT name FROM budgets") == [("new",)]
