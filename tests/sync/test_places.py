"""Places that several processes share: three pools of connections stand for three processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from connectors.base import Noun, Store, Window
from connectors.woocommerce.pace import MOST, Pace
from rewards.errors import DatabaseError
from sandbox.woocommerce import WooCommerceSandbox
from sandbox.world import Seed, World
from storage import places
from storage.database import Database, DatabaseSettings
from sync.services import Services
from sync.turns import StoreBoard
from tests.sync.shops import Clock, install, rows


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


class Shop:
    """A server that can bear so many at a time, and answers the rest slowly."""

    def __init__(self, bears: int) -> None:
        self.bears = bears
        self.now = self.most = 0
        self.overrun = 0

    async def answer(self, pace: Pace) -> None:
        async with pace.turn() as turn:
            self.now += 1
            self.most = max(self.most, self.now)
            if self.now > self.bears:
                self.overrun += 1
                turn.bad()
            await asyncio.sleep(0.02)
            self.now -= 1


def _paces(processes: list[Database], store_id: int = 1) -> list[Pace]:
    return [Pace(StoreBoard(process, store_id)) for process in processes]


async def test_all_processes_together_have_no_more_in_flight_than_one_alone_would(
    processes: list[Database],
) -> None:
    shop = Shop(bears=100)
    await asyncio.gather(*(shop.answer(pace) for pace in _paces(processes) for _ in range(150)))
    assert 2 < shop.most <= MOST


async def test_a_shop_that_can_bear_few_is_found_out_by_all_together(processes: list[Database]) -> None:
    """With eight at a time it would be half of all."""
    shop = Shop(bears=4)
    await asyncio.gather(*(shop.answer(pace) for pace in _paces(processes) for _ in range(150)))
    assert shop.most <= MOST
    assert shop.overrun < 450 / 2


async def test_a_process_that_comes_later_gets_its_part_soon(processes: list[Database]) -> None:
    shop = Shop(bears=100)
    first, second, _ = _paces(processes)
    busy = [asyncio.create_task(shop.answer(first)) for _ in range(1_500)]
    await asyncio.sleep(0.5)
    await asyncio.gather(*(shop.answer(second) for _ in range(20)))
    assert not all(task.done() for task in busy)
    await asyncio.gather(*busy)
    assert shop.most <= MOST


async def test_a_process_that_is_killed_holds_nobody_up_for_long(processes: list[Database]) -> None:
    dead, alive, _ = _paces(processes)
    held = [asyncio.create_task(dead.enter()) for _ in range(2)]
    await asyncio.gather(*held)
    dead._at_board.cancel()  # type: ignore[union-attr]  # as kill -9 would: it says nothing any more
    shop = Shop(bears=100)
    async with asyncio.timeout(30):
        await asyncio.gather(*(shop.answer(alive) for _ in range(10)))


async def test_stores_do_not_wait_for_each_other(processes: list[Database]) -> None:
    one, other = _paces(processes, 1)[0], _paces(processes, 2)[1]
    async with one.turn(), one.turn():
        async with asyncio.timeout(30):
            async with other.turn(), other.turn():
                pass


async def test_who_waits_hears_of_it_when_the_database_is_gone(processes: list[Database]) -> None:
    (pace, *_) = _paces(processes)
    await processes[0].close()
    with pytest.raises(DatabaseError):
        await pace.enter()


async def test_the_rows_of_stores_that_nobody_calls_are_cleared_away(processes: list[Database]) -> None:
    async with _paces(processes)[0].turn():
        pass
    async with processes[0].transaction() as connection:
        await places.remove_idle(connection)
    assert len(await rows(processes[0], "SELECT 1 FROM places")) == 1
    async with processes[0].transaction() as connection:
        await connection.execute("UPDATE places SET used_at = used_at - interval '2 days'")
        await places.remove_idle(connection)
    assert await rows(processes[0], "SELECT 1 FROM places") == []


async def test_two_workers_who_read_one_shop_keep_to_its_places_together(
    services: Services, processes: list[Database], clock: Clock
) -> None:
    """Each alone would go up to eight."""
    async with WooCommerceSandbox(World(Seed(customers=3, orders=3_000)), clock=clock) as sandbox:
        row = await install(services, sandbox)
        sandbox.busy_seconds = 0.02
        apart = [replace(services, database=database, _boards={}) for database in processes[:2]]
        workers = [worker.open_store(row) for worker in apart]

        async def read(store: Store) -> int:
            windows = await store.windows(Noun.ORDERS, None)

            async def part(window: Window) -> int:
                return sum([len(page.changes) async for page in store.read(window, None)])

            return sum(await asyncio.gather(*map(part, windows)))

        assert await asyncio.gather(*map(read, workers)) == [3_000, 3_000]
        assert 2 < sandbox.most_seen_in_flight <= MOST
