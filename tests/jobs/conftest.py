"""Jobs over a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from storage.database import Database
from sync.services import Services
from tests.jobs.support import add_store, services_over


@pytest.fixture
async def services(database: Database) -> AsyncIterator[Services]:
    async with aiohttp.ClientSession() as session:
        yield services_over(database, session)


@pytest.fixture
async def store_id(database: Database) -> int:
    return await add_store(database)
