"""The stand-in's authorize page, step by step as it was recorded from a real shop."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import pytest
from aiohttp import web

from sandbox.woocommerce import WooCommerceSandbox
from sandbox.world import Seed, World

RECORDINGS = Path(__file__).parents[3] / "shared" / "reference" / "woocommerce"
VISITORS = {"authorize, not logged in": "", "authorize, logged in as a plain customer": "customer"}
LEFT_OUT = {
    "login page it goes to",
    "approve, nothing listens",
}  # of WordPress itself; an error of its HTTP client


class App:
    """Whoever asks for a key: answers callbacks as the end of their path says, and keeps what came."""

    def __init__(self) -> None:
        self.url = ""
        self.got: list[tuple[dict[str, str], dict[str, Any]]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/ok":
            return web.Response()
        self.got.append((dict(request.headers), await request.json()))
        status = int(request.path[-3:]) if request.path[-3:].isdigit() else 200
        if status == 302:
            raise web.HTTPFound("/ok")
        return web.Response(status=status)


@pytest.fixture
async def app(tls: ssl.SSLContext) -> AsyncIterator[App]:
    found = App()
    server = web.Application()
    server.router.add_route("*", "/{path:.*}", found.answer)
    runner = web.AppRunner(server, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    found.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


@pytest.fixture
async def shop(trusts: ssl.SSLContext) -> AsyncIterator[WooCommerceSandbox]:
    sandbox = WooCommerceSandbox(World(Seed(customers=2, orders=1)))
    async with sandbox:
        sandbox.queue.trusts = trusts
        yield sandbox


def steps() -> list[Any]:
    found = json.loads((RECORDINGS / "wc-auth-flow.json").read_text(encoding="utf-8"))
    return [pytest.param(step, id=step["step"]) for step in found if step["step"] not in LEFT_OUT]


async def opened(shop: WooCommerceSandbox, path: str, query: dict[str, str]) -> tuple[int, str, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(shop.url + path, params=query, allow_redirects=False) as answer,
    ):
        return answer.status, await answer.text(), answer.headers.get("Location", "")


async def nonce_of(shop: WooCommerceSandbox, query: dict[str, str]) -> str:
    _, text, _ = await opened(shop, "/wc-auth/v1/authorize", query)
    found = re.search(r'class="approve" href="[^"]*wc_auth_nonce=(\w+)', unescape(text))
    return found[1] if found else ""


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="shared/ is not there")
@pytest.mark.parametrize("step", steps() if RECORDINGS.is_dir() else [])
async def test_each_step_goes_as_in_a_real_shop(
    step: dict[str, Any], shop: WooCommerceSandbox, app: App
) -> None:
    parts = urlsplit(step["request"]["url"])
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    if "callback_url" in query:
        query["callback_url"] = query["callback_url"].replace("https://127.0.0.1:8445", app.url)
    if query.get("wc_auth_nonce", "0000000000") != "0000000000":
        query["wc_auth_nonce"] = await nonce_of(
            shop, {n: v for n, v in query.items() if n != "wc_auth_nonce"}
        )
    shop.grants.visitor = VISITORS.get(step["step"], "administrator")
    status, text, location = await opened(shop, parts.path, query)
    assert status == step["status"]
    refusal = step["page_text"].partition("Access denied Error: ")[2]
    assert refusal in unescape(text)
    theirs = step["headers"].get("Location", "")
    assert urlsplit(location).path == urlsplit(theirs).path
    assert dict(parse_qsl(urlsplit(location).query)).keys() == dict(parse_qsl(urlsplit(theirs).query)).keys()


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="shared/ is not there")
async def test_the_key_comes_as_in_a_real_shop_and_works(shop: WooCommerceSandbox, app: App) -> None:
    recorded = json.loads((RECORDINGS / "wc-auth-callback.json").read_text(encoding="utf-8"))
    query = {
        "app_name": "An app",
        "scope": "read_write",
        "user_id": "cuenta-42",
        "return_url": "https://app.example/back?x=1",
        "callback_url": f"{app.url}/cb",
    }
    nonce = await nonce_of(shop, query)
    status, _, location = await opened(shop, "/wc-auth/v1/access_granted/", {**query, "wc_auth_nonce": nonce})
    assert (status, location) == (302, "https://app.example/back?x=1&success=1&user_id=cuenta-42")
    ((headers, body),) = app.got
    assert headers["Content-Type"] == recorded["headers"]["Content-Type"]
    assert list(body) == list(recorded["body"])
    assert {name: type(value) for name, value in body.items()} == {
        name: type(value) for name, value in recorded["body"].items()
    }
    assert len(body["consumer_key"]) == len(recorded["body"]["consumer_key"])
    assert shop.keys.keys[body["consumer_key"]].secret == body["consumer_secret"]


@pytest.mark.parametrize("path", ["/fail500", "/fail201"])
async def test_a_key_that_was_not_taken_is_deleted(shop: WooCommerceSandbox, app: App, path: str) -> None:
    query = {
        "app_name": "An app",
        "scope": "read_write",
        "user_id": "7",
        "return_url": "https://app.example/",
        "callback_url": app.url + path,
    }
    before = set(shop.keys.keys)
    query["wc_auth_nonce"] = await nonce_of(shop, query)
    assert (await opened(shop, "/wc-auth/v1/access_granted/", query))[0] == 401
    assert set(shop.keys.keys) == before


async def test_an_unmodified_shop_hands_no_key_to_a_private_address(
    shop: WooCommerceSandbox, app: App
) -> None:
    shop.host.calls_private_hosts = False
    query = {
        "app_name": "An app",
        "scope": "read_write",
        "user_id": "7",
        "return_url": "https://app.example/",
        "callback_url": f"{app.url}/cb",
    }
    query["wc_auth_nonce"] = await nonce_of(shop, query)
    status, text, _ = await opened(shop, "/wc-auth/v1/access_granted/", query)
    assert (status, app.got) == (401, [])
    assert "A valid URL was not provided." in text
