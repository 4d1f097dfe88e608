"""The served app, installed by nobody yet, beside a stand-in shop that has it from the App Store."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
from pydantic import SecretStr

from app.server import serving
from app.settings import Settings
from app.wiring import open_jobs
from connectors.base import Secret
from connectors.shopify import CONNECTOR
from sandbox.shopify import CLIENT_ID, ShopifySandbox
from sandbox.world import Seed, World
from storage import stores
from storage.database import Database
from storage.secrets import SecretBox, new_key
from storage.stores import StoreRow
from sync.services import Services
from tests.sync.shops import rows
from webhooks.draining import drain

SEED = Seed(number=11, customers=15, orders=20)


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


@dataclass
class App:
    """The served app, one shop, and a browser that keeps no cookies."""

    sandbox: ShopifySandbox
    services: Services
    session: aiohttp.ClientSession
    database_url: str

    async def opens(self, query: dict[str, str] | None = None) -> tuple[str, aiohttp.ClientResponse]:
        """The merchant opens the app in the admin."""
        address = f"{self.services.public_url}/install/shopify?"
        found = self.sandbox.oauth.launch() if query is None else query
        async with self.session.get(address + urlencode(found), allow_redirects=False) as answer:
            return await answer.text(), answer

    async def store(self) -> StoreRow:
        async with self.services.database.transaction() as connection:
            found = await stores.by_external_id(connection, "shopify", self.sandbox.shop)
        assert found is not None
        return found

    async def credentials(self) -> dict[str, str]:
        return stores.credentials(self.services.secret_box, await self.store())

    async def heard(self) -> int:
        """All posts arrive and are handled; how many."""
        await self.sandbox.hooks.quiet()
        return await drain(self.services, (await self.store()).id)

    async def statuses(self) -> list[tuple[object, ...]]:
        return await rows(self.services.database, "SELECT status FROM stores")


@asynccontextmanager
async def served(
    database: Database, database_url: str, secret_box: SecretBox, folder: Path
) -> AsyncIterator[App]:
    """The app while the block runs."""
    port = free_port()
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(ShopifySandbox(World(SEED)))
        assert isinstance(sandbox, ShopifySandbox)
        session = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
        services = Services(
            database,
            {CONNECTOR.platform: CONNECTOR},
            session,
            lambda: datetime.now(UTC),
            secret_box,
            public_url=f"http://127.0.0.1:{port}",
            allow_private_hosts=True,
            apps={
                "shopify": {
                    "client_id": Secret(CLIENT_ID),
                    "client_secret": Secret(sandbox.client_secret),
                    "api_base": Secret(sandbox.url),
                }
            },
        )
        # As the deployed shopify.app.toml says.
        sandbox.hook_desk.app_uri = f"{services.public_url}/webhooks/shopify"
        jobs = await stack.enter_async_context(open_jobs(services))
        settings = Settings(data_dir=folder, port=port, secret_key=SecretStr(new_key()))
        await stack.enter_async_context(serving(settings, services, jobs, with_worker=False))
        yield App(sandbox, services, session, database_url)
