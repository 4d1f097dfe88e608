"""Renewed credentials: asked for once, stored before anything else can fail, never written over newer ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from connectors.base import Credentials, Secret
from rewards.errors import AccessRevokedError, RetryLaterError
from storage import stores
from storage.database import Database, DatabaseSettings
from storage.secrets import SecretBox
from sync.keeper import StoreKeeper
from tests.factories import new_store

OLD = {"token": Secret("old"), "refresh": Secret("r1")}
NEW = {"token": Secret("new"), "refresh": Secret("r2")}


class Platform:
    """Gives new credentials for old ones, and counts how often it was asked."""

    def __init__(self, *, fails: Exception | None = None, seconds: float = 0.1) -> None:
        self.asked: list[Credentials] = []
        self.is_asked = asyncio.Event()
        self._fails = fails
        self._seconds = seconds

    async def __call__(self, current: Credentials) -> Credentials:
        self.asked.append(current)
        self.is_asked.set()
        await asyncio.sleep(self._seconds)
        if self._fails:
            raise self._fails
        return NEW


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[Database]:
    """Another process's way to the same database."""
    opened = await Database.open(DatabaseSettings(database_url, Path(), pool_size=2))
    yield opened
    await opened.close()


@pytest.fixture
async def store_id(database: Database, secret_box: SecretBox) -> int:
    store = await new_store(database)
    async with database.transaction() as connection:
        clear = {name: secret.reveal() for name, secret in OLD.items()}
        await stores.keep_secrets(connection, secret_box, store.id, credentials=clear)
    return store.id


def keeper(database: Database, box: SecretBox, store_id: int) -> StoreKeeper:
    return StoreKeeper(database, box, store_id, asyncio.Semaphore(2))


async def stored(database: Database, box: SecretBox, store_id: int) -> dict[str, str]:
    async with database.transaction() as connection:
        return stores.credentials(box, await stores.by_id(connection, store_id))


async def test_two_workers_ask_the_platform_once(
    database: Database, other: Database, secret_box: SecretBox, store_id: int
) -> None:
    platform = Platform()
    keepers = [keeper(way, secret_box, store_id) for way in (database, other, database)]
    found = await asyncio.gather(*(one.renew(OLD, platform) for one in keepers))
    assert found == [NEW, NEW, NEW]
    assert platform.asked == [OLD]
    assert await stored(database, secret_box, store_id) == {"token": "new", "refresh": "r2"}


@pytest.mark.parametrize("error", [AccessRevokedError("gone"), RetryLaterError("busy")])
async def test_a_failed_renewal_stores_nothing_and_says_why(
    database: Database, secret_box: SecretBox, store_id: int, error: Exception
) -> None:
    with pytest.raises(type(error), match=str(error)):
        await keeper(database, secret_box, store_id).renew(OLD, Platform(fails=error))
    assert await stored(database, secret_box, store_id) == {"token": "old", "refresh": "r1"}


async def test_credentials_that_are_newer_than_the_callers_are_given_without_asking(
    database: Database, secret_box: SecretBox, store_id: int
) -> None:
    platform = Platform()
    earlier = {**OLD, "token": Secret("older")}
    assert await keeper(database, secret_box, store_id).renew(earlier, platform) == OLD
    assert platform.asked == []


async def test_a_renewal_outlives_the_transaction_that_its_caller_undoes(
    database: Database, secret_box: SecretBox, store_id: int
) -> None:
    async def renew_and_fail() -> None:
        async with database.transaction():
            await keeper(database, secret_box, store_id).renew(OLD, Platform())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await renew_and_fail()
    assert (await stored(database, secret_box, store_id))["token"] == "new"


async def test_a_caller_who_is_cancelled_leaves_the_new_credentials_stored(
    database: Database, secret_box: SecretBox, store_id: int
) -> None:
    platform = Platform(seconds=0.3)
    renewing = asyncio.create_task(keeper(database, secret_box, store_id).renew(OLD, platform))
    await platform.is_asked.wait()
    renewing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await renewing
    assert (await stored(database, secret_box, store_id))["token"] == "new"


async def test_a_store_that_was_uninstalled_gets_no_credentials_back(
    database: Database, secret_box: SecretBox, store_id: int
) -> None:
    async with database.transaction() as connection:
        await stores.end(connection, store_id, "uninstalled")
    platform = Platform()
    with pytest.raises(AccessRevokedError):
        await keeper(database, secret_box, store_id).renew(OLD, platform)
    assert platform.asked == []
    assert await stored(database, secret_box, store_id) == {}
