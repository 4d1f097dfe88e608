"""A real server in front of a real database, once as the lane and once as Quart alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvicorn
from quart import Quart

from connectors.woocommerce import CONNECTOR
from storage.database import Database, DatabaseSettings
from storage.secrets import SecretBox
from sync.services import Services
from tests.webhooks.posts import Poster, Shop, Woken, install
from webhooks.accept import Acceptor
from webhooks.lane import Lane
from webhooks.quart_route import webhook_routes


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def services(database: Database, secret_box: SecretBox, session: aiohttp.ClientSession) -> Services:
    return Services(
        database=database,
        connectors={CONNECTOR.platform: CONNECTOR},
        session=session,
        clock=lambda: datetime.now(UTC),
        secret_box=secret_box,
    )


@pytest.fixture
async def impatient(services: Services, database_url: str) -> AsyncIterator[Services]:
    """Services over the same database that wait only a second for a connection."""
    opened = await Database.open(DatabaseSettings(database_url, Path(), wait_seconds=1.0))
    yield replace(services, database=opened)
    await opened.close()


@pytest.fixture
def woken() -> Woken:
    return Woken()


@pytest.fixture
async def acceptor(services: Services, woken: Woken) -> AsyncIterator[Acceptor]:
    acceptor = Acceptor(services, woken)
    yield acceptor
    await acceptor.close()


@pytest.fixture
async def shop(database: Database, secret_box: SecretBox) -> Shop:
    return await install(database, secret_box, "first")


@pytest.fixture
async def other_shop(database: Database, secret_box: SecretBox) -> Shop:
    return await install(database, secret_box, "second")


@pytest.fixture(params=["lane", "quart"])
async def post(
    request: pytest.FixtureRequest, acceptor: Acceptor, session: aiohttp.ClientSession
) -> AsyncIterator[Poster]:
    """Posts to a running server: path, body, headers, and optionally another method; status, text, headers."""
    pages = Quart(__name__)

    @pages.get("/page")
    async def page() -> str:
        return "a page"

    if request.param == "quart":
        pages.register_blueprint(webhook_routes(acceptor))
    app = Lane(acceptor, pages) if request.param == "lane" else pages
    async with served(app) as url:

        async def send(
            path: str, body: Any = b"", headers: Mapping[str, str] | None = None, method: str = "POST"
        ) -> tuple[int, str, Mapping[str, str]]:
            async with session.request(method, url + path, data=body, headers=headers) as answer:
                return answer.status, await answer.text(), answer.headers

        yield send


class _Server(uvicorn.Server):
    """Leaves the test runner's signals alone."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[str]:
    """The app on a free port of 127.0.0.1; its URL."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, http="httptools", lifespan="on")
    server = _Server(config)
    task = asyncio.create_task(server.serve())
    async with asyncio.timeout(10):
        while not server.started:
            assert not task.done(), "the server did not start"
            await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task
