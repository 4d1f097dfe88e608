"""Stores whose access ends unless something is done: all are looked at, and one's trouble is its own."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, cast

import aiohttp
import pytest

from connectors.base import Capability, Store, StoreAccess
from connectors.woocommerce import CONNECTOR as WOOCOMMERCE
from rewards.errors import AccessRevokedError, RetryLaterError
from storage.database import Database
from storage.secrets import SecretBox
from sync.jobs import build
from sync.maintenance import CHUNK, maintain
from sync.services import Services
from tests.factories import make_program, make_store
from tests.jobs.support import jobs_of, run_waiting, work
from tests.sync.shops import Clock, rows, services_for

Say = Callable[[str], Awaitable[None]]


class Kept:
    """A store that only has to be maintained; `say` is told of it by its external id, and may fail."""

    def __init__(self, access: StoreAccess, say: Say) -> None:
        self._access = access
        self._say = say

    async def maintain(self) -> None:
        await self._say(self._access.external_id)


def services_with(database: Database, box: SecretBox, session: aiohttp.ClientSession, say: Say) -> Services:
    """Services with one platform whose stores have to be maintained."""
    connector = replace(
        WOOCOMMERCE,
        capabilities=WOOCOMMERCE.capabilities | {Capability.MAINTENANCE},
        open_store=lambda access, session: cast(Store, Kept(access, say)),
    )
    return services_for(database, session, box, Clock(), (connector,))


async def add_stores(database: Database, *names: str, **columns: Any) -> None:
    async with database.transaction() as connection:
        program_id = await make_program(connection)
        for name in names:
            await make_store(connection, program_id, external_id=name, **columns)


async def _never(*given: object, **more: object) -> None:
    raise AssertionError("nothing is left to be asked for")


async def test_every_active_store_of_such_a_platform_is_maintained(
    database: Database, secret_box: SecretBox
) -> None:
    seen: list[str] = []

    async def say(name: str) -> None:
        seen.append(name)

    await add_stores(database, "a", "b", "paused")
    await add_stores(database, "other", platform="stripe")
    async with database.transaction() as connection:
        await connection.execute("UPDATE stores SET status = 'paused' WHERE external_id = 'paused'")
    async with aiohttp.ClientSession() as session:
        services = services_with(database, secret_box, session, say)
        async with build(services, work()).opened() as jobs:
            await jobs.wake("tick", 0)
            await run_waiting(jobs)
    assert sorted(seen) == ["a", "b"]


async def test_one_stores_trouble_is_its_own(
    database: Database, secret_box: SecretBox, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []
    errors = {
        "gone": AccessRevokedError("The merchant has to open the app."),
        "busy": RetryLaterError("Busy."),
        "bug": ZeroDivisionError("Ada Abel"),
    }

    async def say(name: str) -> None:
        if name in errors:
            raise errors[name]
        seen.append(name)

    await add_stores(database, "gone", "busy", "bug", "well")
    async with aiohttp.ClientSession() as session:
        with caplog.at_level(logging.INFO):
            await maintain(services_with(database, secret_box, session, say), 0, _never)
    assert seen == ["well"]
    found = dict(await rows(database, "SELECT external_id, status FROM stores"))
    assert found == {"gone": "paused", "busy": "active", "bug": "active", "well": "active"}
    assert await rows(database, "SELECT status_reason FROM stores WHERE external_id = 'gone'") == [
        ("The merchant has to open the app.",)
    ]
    assert "Ada" not in caplog.text


async def test_many_stores_are_maintained_a_chunk_per_job(database: Database, secret_box: SecretBox) -> None:
    seen: list[str] = []

    async def say(name: str) -> None:
        seen.append(name)

    await add_stores(database, "first")
    async with database.transaction() as connection:
        await connection.execute(
            """INSERT INTO stores (program_id, platform, external_id, token, name, time_zone, currency, settings,
                   status, subscription_ids, installed_at)
               SELECT program_id, platform, 'more ' || n, 'token ' || n, name, time_zone, currency, settings, status,
                   subscription_ids, installed_at FROM stores, generate_series(1, %s) AS n""",
            (CHUNK,),
        )
    async with aiohttp.ClientSession() as session:
        services = services_with(database, secret_box, session, say)
        async with build(services, work()).opened() as jobs:
            await maintain(services, 0, jobs.wake)
            assert len(seen) == CHUNK
            (job,) = await jobs_of(database, "maintenance")
            await run_waiting(jobs)
    assert job["args"]["subject_id"] > 0
    assert len(seen) == len(set(seen)) == CHUNK + 1
