"""What this connector's tests share: a stand-in shop with an opened store, and a server that says what it is told."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from connectors.base import Secret, StoreAccess, StoreOptions
from connectors.woocommerce.store import WooCommerceStore, open_store
from sandbox.woocommerce import WooCommerceSandbox
from sandbox.world import Seed, World

OPTIONS = StoreOptions("EUR", "Europe/Madrid", {"birthday_key": "birthday", "patience_seconds": "0"})
KEYS = {"key": Secret("ck_" + "a" * 40), "secret": Secret("cs_" + "b" * 40)}
RECORDINGS = Path(__file__).parents[4] / "shared" / "reference" / "woocommerce"


def options(**settings: str) -> StoreOptions:
    """The usual options with some settings of one's own."""
    return StoreOptions(OPTIONS.currency, OPTIONS.time_zone, {**OPTIONS.settings, **settings})


def keys_of(sandbox: WooCommerceSandbox) -> Mapping[str, Secret]:
    """What opens the stand-in for reading and writing."""
    return {"key": Secret(sandbox.read_write.key), "secret": Secret(sandbox.read_write.secret)}


@contextlib.asynccontextmanager
async def standing(seed: Seed, **settings: str) -> AsyncIterator[tuple[WooCommerceSandbox, WooCommerceStore]]:
    """A stand-in shop and the store opened on it."""
    async with WooCommerceSandbox(World(seed)) as sandbox, aiohttp.ClientSession() as session:
        assert isinstance(sandbox, WooCommerceSandbox)
        yield (
            sandbox,
            open_store(StoreAccess(sandbox.url, keys_of(sandbox), options(**settings), sandbox.url), session),
        )


@contextlib.asynccontextmanager
async def server(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]], *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """A server that answers every request with `answer`; its base URL."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"{'https' if tls else 'http'}://{host}:{port}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def answering(
    *answers: tuple[int, Any], headers: Mapping[str, str] | None = None, **settings: str
) -> AsyncIterator[tuple[WooCommerceStore, list[web.Request]]]:
    """A store on a server that gives these answers (status, text or JSON) in turn, the last one for ever."""
    seen: list[web.Request] = []
    left = list(answers)

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        status, body = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(body, str):
            return web.Response(status=status, text=body, headers=headers, content_type="text/html")
        return web.json_response(body, status=status, headers=headers)

    async with server(answer) as base, aiohttp.ClientSession() as session:
        yield open_store(StoreAccess(base, KEYS, options(**settings), base), session), seen
