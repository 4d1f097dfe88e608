"""The served app, an account that can install the operator's Stripe App, and somebody with a browser."""

from __future__ import annotations

import contextlib
import html
import random
import re
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
from pydantic import SecretStr

from app.server import serving
from app.settings import Settings
from app.wiring import open_jobs
from connectors.base import Secret
from connectors.stripe import CONNECTOR
from sandbox.stripe import StripeSandbox
from sandbox.world import Seed, World
from storage import stores
from storage.database import Database
from storage.secrets import SecretBox, new_key
from storage.stores import StoreRow
from sync.services import Services
from tests.sandbox.listening import Listening, problems
from tests.sync.shops import Clock, services_for


@dataclass
class Browser:
    """The served app, the account, and somebody who goes from page to page."""

    address: str
    sandbox: StripeSandbox
    services: Services
    session: aiohttp.ClientSession

    async def get(self, url: str) -> tuple[int, str, str]:
        """Status, text without markup, and where it leads."""
        full = url if url.startswith("http") else f"{self.address}/install/stripe{url}"
        async with self.session.get(full, allow_redirects=False) as answer:
            return answer.status, html.unescape(await answer.text()), answer.headers.get("Location", "")

    async def pastes(self, **fields: str) -> tuple[int, str]:
        """The form with a key, filled in and sent."""
        status, text, _ = await self.sends("", "/key", **fields)
        return status, text

    async def sends(self, page: str, to: str, **fields: str) -> tuple[int, str, str]:
        """A page's form, filled in and sent: status, text, and where it leads."""
        async with self.session.get(f"{self.address}/install/stripe{page}") as found:
            hidden = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', await found.text()))
            cookies = {name: cookie.value for name, cookie in found.cookies.items()}
        form = {**hidden, **{name.replace("_", "-"): value for name, value in fields.items()}}
        url = f"{self.address}/install/stripe{to}"
        async with self.session.post(url, data=form, cookies=cookies, allow_redirects=False) as answer:
            return answer.status, html.unescape(await answer.text()), answer.headers.get("Location", "")

    async def leaves(self, mode: str = "test", **fields: str) -> tuple[int, str, str]:
        """The form about the shop, sent: it leads to Stripe."""
        told = {"name": "Ada's Shop", "currency": "EUR", "time_zone": "Europe/Madrid", **fields}
        return await self.sends(f"/authorize?mode={mode}", "/authorize", **told)

    async def agrees(self, mode: str = "test") -> str:
        """From our page to Stripe's and back; the address that Stripe sends the browser to."""
        status, text, link = await self.leaves(mode)
        assert status == 303, text
        status, _, back = await self.get(link)
        assert status == 302
        return back

    async def store(self) -> StoreRow:
        """The only store."""
        async with self.services.database.transaction() as connection:
            (found,) = await stores.every(connection)
            return found

    def worker(self) -> Services:
        """Another process over the same database: it shares no line and no lock with the others but what is stored."""
        ours = self.services
        return Services(
            ours.database,
            ours.connectors,
            ours.session,
            ours.clock,
            ours.secret_box,
            public_url=ours.public_url,
            allow_private_hosts=ours.allow_private_hosts,
            apps=ours.apps,
        )

    def credentials(self, store: StoreRow) -> Mapping[str, str]:
        return stores.credentials(self.services.secret_box, store)


@asynccontextmanager
async def opened(database: Database, secret_box: SecretBox, tmp_path: Path) -> AsyncIterator[Browser]:
    """The app at an address of its own, and an account that can install the operator's Stripe App."""
    clock = Clock(datetime.now(UTC))
    port = _free_port()
    address = f"http://127.0.0.1:{port}"
    async with AsyncExitStack() as stack:
        world = World(Seed(customers=20, orders=40, number=7, now=clock.now), base_is_total=True)
        sandbox = await stack.enter_async_context(Listening(world, clock=clock))
        sandbox.limiter_on = False
        app = sandbox.offer_app(f"{address}/install/stripe/callback", f"{address}/webhooks/stripe")
        session = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
        operators = {
            "test_client_id": app.client_id,
            "test_authorize_url": f"{sandbox.url}/oauth/v2/authorize",
            "test_secret_key": app.secret_key,
            "test_webhook_secret": sandbox.connect_endpoints[0].secret,
            "api_base": sandbox.url,
        }
        services = replace(
            services_for(database, session, secret_box, clock, (CONNECTOR,)),
            apps={"stripe": {name: Secret(text) for name, text in operators.items()}},
            allow_private_hosts=True,
            public_url=address,
        )
        jobs = await stack.enter_async_context(open_jobs(services))
        settings = Settings(data_dir=tmp_path, port=port, secret_key=SecretStr(new_key()))
        await stack.enter_async_context(serving(settings, services, jobs, with_worker=False))
        yield Browser(address, sandbox, services, session)
    assert list(problems(sandbox.exchanges)) == []


def _free_port() -> int:
    """A port below those that the system gives to connections, so that nobody takes it before the app does."""
    while True:
        port = random.randint(12_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
