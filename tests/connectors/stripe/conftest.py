"""A made-up Stripe account over loopback HTTP, and the connector's store opened on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest

from connectors.base import Store, StoreAccess, StoreOptions
from connectors.stripe import CONNECTOR
from sandbox.stripe import StripeSandbox
from sandbox.world import Seed, World
from storage.database import Database
from storage.secrets import SecretBox
from tests.connectors.stripe.browser import Browser, opened
from tests.sandbox.listening import Listening, problems

Opener = Callable[..., Store]


@pytest.fixture
async def sandbox() -> AsyncIterator[StripeSandbox]:
    """An account whose every exchange with us must be one that Stripe's document allows."""
    shop = Listening(World(Seed(customers=150, orders=900, number=11), base_is_total=True))
    shop.limiter_on = False
    await shop.start()
    yield shop
    await shop.stop()
    assert list(problems(shop.exchanges)) == []


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest.fixture
async def open_store(sandbox: StripeSandbox, session: aiohttp.ClientSession) -> Opener:
    """Opens the account's store with some settings; without limit and without patience unless told otherwise."""
    found = await CONNECTOR.install.installation(sandbox.connect_answers(), session)

    def open_with(**settings: str) -> Store:
        given = {"requests_per_second": "0", "patience_seconds": "0", **CONNECTOR.default_settings}
        options = StoreOptions("EUR", "Europe/Madrid", {**given, **found.settings, **settings})
        access = StoreAccess(found.external_id, found.credentials, options, found.api_base)
        return CONNECTOR.open_store(access, session)

    return open_with


@pytest.fixture
def store(open_store: Opener) -> Store:
    return open_store()


@pytest.fixture
async def browser(database: Database, secret_box: SecretBox, tmp_path: Path) -> AsyncIterator[Browser]:
    """Somebody who connects an account on the pages of the served app."""
    async with opened(database, secret_box, tmp_path) as found:
        yield found
