"""Connecting a shop by browser: our pages, the shop's own page, and the post by which it hands over a key."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import pytest
import uvicorn
from quart import Quart

from app.install_pages import install_pages
from connectors.woocommerce import CONNECTOR
from sandbox.woocommerce import WooCommerceSandbox
from sandbox.woocommerce_auth import ApiKey
from sandbox.world import Seed, World
from storage import stores
from storage.database import Connection, Database
from storage.secrets import SecretBox
from storage.stores import StoreRow
from sync.services import Services
from webhooks.accept import Acceptor
from webhooks.lane import AsgiApp, Lane

START = "/install/woocommerce"


@dataclass
class Stage:
    """Our server and a shop, both by https, and the merchant's browser."""

    services: Services
    sandbox: WooCommerceSandbox
    browser: aiohttp.ClientSession
    public_url: str
    imports: list[int]
    now: datetime

    async def page(self, address: str) -> tuple[int, str]:
        """A page as the browser shows it; status and text."""
        url = address if "://" in address else self.public_url + address
        async with self.browser.get(url) as answer:
            return answer.status, unescape(await answer.text())

    async def send(self, path: str, **filled: str) -> tuple[int, str, str]:
        """Fills the form of a page of ours and sends it: status, text, and where the browser is sent."""
        _, text = await self.page(path)
        token = re.search(r'name="_token" value="([^"]+)"', text)
        assert token, text
        form = {"_token": token[1], **filled}
        headers = {"Origin": self.public_url}
        async with self.browser.post(
            self.public_url + path, data=form, headers=headers, allow_redirects=False
        ) as answer:
            return answer.status, unescape(await answer.text()), answer.headers.get("Location", "")

    async def approve(self, asked: str) -> tuple[int, str]:
        """Opens the shop's page and presses Approve there; what the browser shows at the end."""
        _, text = await self.page(asked)
        link = re.search(r'class="approve" href="([^"]+)"', text)
        assert link, text
        return await self.page(link[1])

    async def callback(self, **body: object) -> int:
        """A post as the shop's, with these contents; how we answer."""
        async with self.browser.post(
            f"{self.public_url}{START}/callback",
            data=json.dumps(body),
            headers={"Content-Type": "application/json;charset=UTF-8"},
        ) as answer:
            return answer.status

    async def store(self) -> StoreRow | None:
        """The shop as we hold it."""
        async with self.services.database.transaction() as connection:
            return await stores.by_external_id(connection, "woocommerce", self.sandbox.url)

    async def held_key(self) -> str | None:
        """The consumer key that we hold."""
        store = await self.store()
        return None if store is None else stores.credentials(self.services.secret_box, store)["key"]


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def served(app: Any, certificate: Path, port: list[int]) -> AsyncIterator[None]:
    config = uvicorn.Config(
        app, "127.0.0.1", 0, log_config=None, ssl_certfile=str(certificate), ssl_keyfile=str(certificate)
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve())
    async with asyncio.timeout(10):
        while not server.started:
            assert not task.done(), "the server did not start"
            await asyncio.sleep(0.01)
    port.append(server.servers[0].sockets[0].getsockname()[1])
    try:
        yield
    finally:
        server.should_exit = True
        await task


@pytest.fixture
async def stage(
    database: Database, secret_box: SecretBox, certificate: Path, tls: ssl.SSLContext, trusts: ssl.SSLContext
) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        sandbox = WooCommerceSandbox(World(Seed(customers=3, orders=3)))
        sandbox.tls, sandbox.queue.trusts = tls, trusts
        await stack.enter_async_context(sandbox)

        def session(**more: Any) -> aiohttp.ClientSession:
            return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusts), **more)

        ours = await stack.enter_async_context(session())
        browser = await stack.enter_async_context(session(cookie_jar=aiohttp.CookieJar(unsafe=True)))
        imports: list[int] = []
        lane = _Later()
        port: list[int] = []
        await stack.enter_async_context(served(lane, certificate, port))
        url = f"https://127.0.0.1:{port[0]}"
        stage: Stage

        services = Services(
            database,
            {CONNECTOR.platform: CONNECTOR},
            ours,
            lambda: stage.now,
            secret_box,
            public_url=url,
            allow_private_hosts=True,
        )
        stage = Stage(services, sandbox, browser, url, imports, datetime.now(UTC))
        await lane.become(services, imports, stack)
        yield stage


class _Later:
    """The app behind a port that has to be known before the app can be made."""

    def __init__(self) -> None:
        self._app: Any = None

    async def become(self, services: Services, imports: list[int], stack: AsyncExitStack) -> None:
        async def start_import(connection: Connection, store_id: int) -> None:
            imports.append(store_id)

        async def wake(*_: object, **__: object) -> None:
            """Nothing is drained here."""

        pages = Quart("app.server")
        pages.register_blueprint(install_pages(services, start_import))
        acceptor = Acceptor(services, wake)
        stack.push_async_callback(acceptor.close)
        self._app = Lane(acceptor, cast(AsgiApp, pages))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        await self._app(scope, receive, send)


def query_of(address: str) -> Mapping[str, str]:
    return dict(parse_qsl(urlsplit(address).query))


async def test_a_shop_is_connected_by_its_address_and_one_approval(stage: Stage) -> None:
    pasted = f"{stage.sandbox.url}/wp-admin/admin.php?page=wc-settings"
    status, _, asked = await stage.send(START, url=pasted)
    assert status == 303
    assert asked.startswith(f"{stage.sandbox.url}/wc-auth/v1/authorize?")
    query = query_of(asked)
    assert query["scope"] == "read_write"
    assert len(query["user_id"]) >= 32
    status, text = await stage.approve(asked)
    assert status == 200
    assert "Tienda de prueba is connected" in text
    store = await stage.store()
    assert store is not None
    assert (store.status, store.name, store.time_zone) == ("active", "Tienda de prueba", "Europe/Madrid")
    assert await stage.held_key() == stage.sandbox.grants.made[0].key
    assert stage.imports == [store.id]
    topics = {hook.topic for hook in stage.sandbox.queue.webhooks.values() if hook.was_pinged}
    assert topics == CONNECTOR.webhooks.topics


async def test_a_second_approval_replaces_the_key_and_makes_no_second_store(stage: Stage) -> None:
    _, _, asked = await stage.send(START, url=stage.sandbox.url)
    await stage.approve(asked)
    first = await stage.store()
    await stage.approve(asked)
    second = await stage.store()
    assert first is not None
    assert second is not None
    assert first.id == second.id
    older, newer = stage.sandbox.grants.made
    assert older.key != newer.key
    assert await stage.held_key() == newer.key


async def test_a_post_without_a_ticket_of_ours_changes_nothing(stage: Stage) -> None:
    key = stage.sandbox.read_write
    genuine = {"consumer_key": key.key, "consumer_secret": key.secret, "key_permissions": "read_write"}
    assert await stage.callback(**genuine, user_id="guessed") == 403
    assert await stage.callback(**genuine) == 400
    assert await stage.callback(user_id=7) == 400
    assert await stage.store() is None


async def test_a_ticket_is_worth_nothing_after_an_hour(stage: Stage) -> None:
    _, _, asked = await stage.send(START, url=stage.sandbox.url)
    stage.now += timedelta(minutes=61)
    status, text = await stage.approve(asked)
    assert status == 401
    assert "unable to send the consumer data" in text
    assert await stage.store() is None
    _, text = await stage.page(f"{START}/return?success=1&user_id={query_of(asked)['user_id']}")
    assert "took too long" in text


async def test_a_key_of_another_shop_is_refused_and_the_one_held_stays(stage: Stage) -> None:
    _, _, asked = await stage.send(START, url=stage.sandbox.url)
    await stage.approve(asked)
    held = await stage.held_key()
    other = ApiKey("ck_" + "1" * 40, "cs_" + "2" * 40)
    ticket = query_of(asked)["user_id"]
    status = await stage.callback(
        user_id=ticket, consumer_key=other.key, consumer_secret=other.secret, key_permissions="read_write"
    )
    assert status == 403
    assert await stage.held_key() == held


async def test_a_key_that_is_not_what_we_asked_for_is_refused_and_the_shop_deletes_it(stage: Stage) -> None:
    _, _, asked = await stage.send(START, url=stage.sandbox.url)
    before = len(stage.sandbox.keys.keys)
    status, _ = await stage.approve(asked.replace("scope=read_write", "scope=read"))
    assert status == 401
    assert len(stage.sandbox.keys.keys) == before
    assert await stage.store() is None
    _, text = await stage.page(f"{START}/return?success=0&user_id={query_of(asked)['user_id']}")
    assert "Read/Write" in text


async def test_what_stands_between_us_and_the_shop_is_explained_when_the_browser_comes_back(
    stage: Stage,
) -> None:
    _, _, asked = await stage.send(START, url=stage.sandbox.url)
    stage.sandbox.blocks_rest = True
    status, text = await stage.approve(asked)
    assert status == 400
    assert "security plugin" in text
    assert await stage.store() is None
    stage.sandbox.blocks_rest = False
    _, text = await stage.approve(asked)
    assert "is connected" in text


async def test_denying_changes_nothing_and_an_address_that_says_success_proves_nothing(stage: Stage) -> None:
    _, _, asked = await stage.send(START, url=stage.sandbox.url)
    _, text = await stage.page(asked)
    deny = re.search(r'class="deny" href="([^"]+)"', text)
    assert deny
    _, text = await stage.page(deny[1])
    assert "did not approve" in text
    _, text = await stage.page(deny[1].replace("success=0", "success=1"))
    assert "No key has come yet" in text
    assert await stage.store() is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"has_plain_permalinks": True}, "Settings, Permalinks"),
        ({"has_woocommerce": False}, "WooCommerce is not active"),
        ({"blocks_rest": True}, "security plugin"),
    ],
)
async def test_what_is_in_the_way_is_explained_before_the_merchant_leaves(
    stage: Stage, change: dict[str, bool], says: str
) -> None:
    for name, value in change.items():
        setattr(stage.sandbox, name, value)
    status, text, _ = await stage.send(START, url=stage.sandbox.url)
    assert status == 400
    assert says in text


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"public_url": "http://perennial.example"}, "Paste a key instead"),
        ({"public_url": None}, "Paste a key instead"),
        ({"public_url": "https://perennial.example:8443", "allow_private_hosts": False}, "at port 8443"),
        ({"public_url": "https://perennial.example", "allow_private_hosts": False}, "private network"),
    ],
)
async def test_what_is_in_the_way_at_our_end_is_explained(
    stage: Stage, changes: dict[str, Any], says: str
) -> None:
    services = replace(stage.services, **changes)
    pages = Quart("app.server")

    async def start_import(connection: Connection, store_id: int) -> None:
        raise AssertionError("nothing is installed")

    pages.register_blueprint(install_pages(services, start_import))
    browser = pages.test_client()
    text = await (await browser.get(START)).get_data(as_text=True)
    token = re.search(r'name="_token" value="([^"]+)"', text)
    assert token
    answer = await browser.post(START, form={"_token": unescape(token[1]), "url": stage.sandbox.url})
    assert answer.status_code == 400
    assert says in unescape(await answer.get_data(as_text=True))
    assert stage.sandbox.requests == 0


async def test_pasted_keys_connect_a_shop_too_and_are_not_in_the_page(stage: Stage) -> None:
    key = stage.sandbox.read_write
    status, text, _ = await stage.send(
        f"{START}/keys", url=stage.sandbox.url, key=f" {key.key} ", secret=key.secret
    )
    assert status == 200
    assert "Tienda de prueba is connected" in text
    assert key.secret not in text
    assert await stage.held_key() == key.key


async def test_pasted_keys_that_may_only_read_are_refused(stage: Stage) -> None:
    key = stage.sandbox.read_only
    status, text, _ = await stage.send(f"{START}/keys", url=stage.sandbox.url, key=key.key, secret=key.secret)
    assert status == 502
    assert "Read/Write" in text
    assert await stage.store() is None


async def test_where_the_header_is_lost_the_shop_is_connected_with_keys_in_the_query(stage: Stage) -> None:
    stage.sandbox.host.strips_authorization = True
    _, _, asked = await stage.send(START, url=stage.sandbox.url)
    _, text = await stage.approve(asked)
    assert "is connected" in text
    store = await stage.store()
    assert store is not None
    assert store.settings["keys_in"] == "query"


async def test_a_page_that_is_not_there_is_said(stage: Stage) -> None:
    assert (await stage.page(f"{START}/nothing"))[0] == 404
