"""A clock, services, and an installed shop of six birthdays."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from connectors.stripe import CONNECTOR as STRIPE
from connectors.woocommerce import CONNECTOR as WOOCOMMERCE
from sandbox.woocommerce import WooCommerceSandbox
from storage.database import Database
from storage.secrets import SecretBox
from sync.history import run_import
from sync.services import Services
from tests.sync.shops import Clock, Shop, install, services_for, small_world


@pytest.fixture
def clock() -> Clock:
    """At noon of 15 June 2026 (UTC) until a test moves it."""
    return Clock()


@pytest.fixture
async def services(database: Database, secret_box: SecretBox, clock: Clock) -> AsyncIterator[Services]:
    """All that comes in from outside."""
    async with aiohttp.ClientSession() as session:
        yield services_for(database, session, secret_box, clock, (WOOCOMMERCE, STRIPE))


@pytest.fixture
async def shop(services: Services, clock: Clock) -> AsyncIterator[Shop]:
    """A WooCommerce stand-in, installed and with its history read."""
    async with WooCommerceSandbox(small_world(clock), clock=clock) as sandbox:
        store = await install(services, sandbox)
        await run_import(services, store.id)
        yield Shop(services, sandbox, store, clock)
