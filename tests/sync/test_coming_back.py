"""A store whose merchant takes the app out and puts it in again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rewards.changes import Uninstalled
from rewards.records import ShopFacts
from storage import stores
from storage.database import Database
from storage.stores import StoreRow
from tests.factories import NOON, new_store
from tests.sync.test_apply import apply, rows

EARNS_FROM = NOON - timedelta(days=30)
FACTS = ShopFacts("", "Small shop", "Europe/Madrid", "EUR")


async def earning_store(database: Database) -> StoreRow:
    store = await new_store(database)
    async with database.transaction() as connection:
        await connection.execute(
            "UPDATE stores SET earning_from = %s, installed_at = %s WHERE id = %s",
            (EARNS_FROM, EARNS_FROM, store.id),
        )
    return replace(store, earning_from=EARNS_FROM)


async def comes_back(database: Database, store: StoreRow, *, hours: float) -> None:
    async with database.transaction() as connection:
        await stores.renew(
            connection,
            store.id,
            FACTS,
            api_base=None,
            defaults={},
            settings={},
            now=NOON + timedelta(hours=hours),
        )


async def state(database: Database) -> list[tuple[object, ...]]:
    return await rows(database, "SELECT status, earning_from, settings ? 'ended_at' FROM stores")


@pytest.mark.parametrize("times", [1, 2])
async def test_a_store_that_is_back_within_two_days_earns_as_if_it_had_never_been_away(
    database: Database, times: int
) -> None:
    store = await earning_store(database)
    for _ in range(times):  # the news may come twice
        await apply(database, store, Uninstalled(NOON))
    assert await state(database) == [("uninstalled", None, True)]
    await comes_back(database, store, hours=47)
    assert await state(database) == [("active", EARNS_FROM, False)]


async def test_a_store_that_is_back_later_earns_nothing_by_itself(database: Database) -> None:
    store = await earning_store(database)
    await apply(database, store, Uninstalled(NOON))
    await comes_back(database, store, hours=49)
    assert await state(database) == [("active", None, False)]


async def test_connecting_again_without_an_uninstall_changes_nothing_of_that(database: Database) -> None:
    store = await earning_store(database)
    await comes_back(database, store, hours=1)
    assert await state(database) == [("active", EARNS_FROM, False)]
    await apply(database, store, Uninstalled(NOON))
    assert await state(database) == [("active", EARNS_FROM, False)], "that was before it came back"
