"""Signing, retries, and what is never sent or told."""

from __future__ import annotations

import base64
import contextlib
import logging
import ssl
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from connectors.base import Secret, StoreAccess
from connectors.woocommerce.store import open_store
from rewards.errors import AccessRevokedError, RefusedError, RetryLaterError
from sandbox.world import Seed
from tests.connectors.woocommerce.shop import KEYS, OPTIONS, answering, server, standing

ADDRESS = "https://app.example/webhooks/woocommerce/t"
INDEX = {
    "name": "Shop &amp; Co",
    "timezone_string": "Europe/Madrid",
    "gmt_offset": 1,
    "namespaces": ["wc/v3"],
}


async def test_over_https_the_key_goes_in_the_header_and_nowhere_else(certificate: Path) -> None:
    seen: list[web.Request] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        return web.json_response(INDEX if request.path == "/wp-json/" else {"code": "EUR"})

    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    trusting = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(certificate)))
    async with server(answer, tls=tls) as base, aiohttp.ClientSession(connector=trusting) as session:
        facts = await open_store(StoreAccess(base, KEYS, OPTIONS, base), session).facts()
    assert (facts.name, facts.currency) == ("Shop & Co", "EUR")
    index, currency, *_ = seen
    assert "Authorization" not in index.headers
    pair = base64.b64decode(currency.headers["Authorization"].removeprefix("Basic ")).decode()
    assert pair == f"{KEYS['key'].reveal()}:{KEYS['secret'].reveal()}"
    assert not currency.query


async def test_a_certificate_that_does_not_verify_is_not_talked_to(certificate: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        raise AssertionError("the request must not arrive")

    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    async with server(answer, tls=tls) as base, aiohttp.ClientSession() as session:
        with pytest.raises(RetryLaterError):
            await open_store(StoreAccess(base, KEYS, OPTIONS, base), session).facts()


async def test_over_plain_http_each_request_is_signed_anew() -> None:
    async with answering((200, [])) as (store, requests):
        await store.unsubscribe(ADDRESS)
        await store.unsubscribe(ADDRESS)
    nonces = {request.query["oauth_nonce"] for request in requests}
    assert len(nonces) == 2
    assert all(KEYS["secret"].reveal() not in str(request.url) for request in requests)
    assert all("Authorization" not in request.headers for request in requests)


async def test_the_shop_itself_accepts_the_signatures() -> None:
    async with standing(Seed(customers=3, orders=3)) as (_, store):
        assert (await store.facts()).currency == "EUR"
        await store.unsubscribe(ADDRESS)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    elsewhere = {"Location": "http://127.0.0.1:9/"}
    async with answering((status, "moved"), headers=elsewhere) as (store, requests):
        with pytest.raises(RefusedError, match="another address") as caught:
            await store.facts()
    assert caught.value.code == "moved"
    assert len(requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        "<b>Warning</b>: Undefined variable $x in plugin.php<br>[]",
        "<html>Briefly unavailable for scheduled maintenance.</html>",
        "",
        '{"half": ',
        '"text"',
    ],
)
async def test_a_body_that_is_no_answer_is_for_later(body: str) -> None:
    async with answering((200, body)) as (store, _):
        with pytest.raises(RetryLaterError, match="cannot be read"):
            await store.unsubscribe(ADDRESS)


@pytest.mark.parametrize("status", [404, 410])
async def test_an_api_that_is_gone_says_what_to_look_at(status: int) -> None:
    async with answering((status, "<html>Not Found</html>")) as (store, _):
        with pytest.raises(RefusedError, match="connect it again"):
            await store.unsubscribe(ADDRESS)


async def test_one_bad_answer_is_tried_again() -> None:
    bad = [(500, "<html>fatal error</html>"), (200, "<b>Warning</b>[]"), (502, "")]
    async with answering(*bad, (200, []), patience_seconds="30") as (store, requests):
        await store.unsubscribe(ADDRESS)
    assert len(requests) == 4


async def test_the_wait_that_the_host_asks_for_is_kept_within_patience() -> None:
    async with answering((429, "slow down"), headers={"Retry-After": "9000"}, patience_seconds="30") as (
        store,
        requests,
    ):
        with pytest.raises(RetryLaterError) as caught:
            await store.unsubscribe(ADDRESS)
    assert caught.value.retry_after_seconds == 9000
    assert len(requests) == 1


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (401, {"code": "woocommerce_rest_cannot_view"}, "no longer accepts our key"),
        (401, {"code": "woocommerce_rest_authentication_error"}, "no longer accepts our key"),
        (403, "<html>Blocked by Wordfence</html>", "firewall"),
    ],
)
async def test_lost_access_says_what_to_do(status: int, body: object, says: str) -> None:
    async with answering((status, body)) as (store, _):
        with pytest.raises(AccessRevokedError, match=says):
            await store.unsubscribe(ADDRESS)


async def test_a_key_that_may_only_read_is_named() -> None:
    async with standing(Seed(customers=3, orders=3)) as (sandbox, store):
        sandbox.keys.keys = {sandbox.read_only.key: sandbox.read_only}
        keys = {"key": Secret(sandbox.read_only.key), "secret": Secret(sandbox.read_only.secret)}
        async with aiohttp.ClientSession() as session:
            reading = open_store(StoreAccess(sandbox.url, keys, OPTIONS, sandbox.url), session)
            assert (await reading.facts()).currency == "EUR"
            with pytest.raises(AccessRevokedError, match="Read/Write"):
                await reading.subscribe(ADDRESS, KEYS["secret"])
        with pytest.raises(AccessRevokedError):
            await store.unsubscribe(ADDRESS)


async def test_nothing_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with standing(Seed(customers=3, orders=30), patience_seconds="5") as (sandbox, store):
        sandbox.faults.cut = 1
        await store.facts()
        sandbox.faults.refuse_credentials = True
        with pytest.raises(AccessRevokedError):
            await store.facts()
        secrets = [sandbox.read_write.secret, sandbox.read_write.key, "oauth_signature"]
    assert not [secret for secret in secrets if secret in caplog.text]


async def test_a_wait_is_never_longer_than_patience() -> None:
    async with answering((503, ""), patience_seconds="0.4") as (store, requests):
        with pytest.raises(RetryLaterError):
            await store.unsubscribe(ADDRESS)
    assert 1 <= len(requests) <= 4


async def test_an_answer_without_end_does_not_fill_our_memory() -> None:
    sent = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while sent < 1_000:
                await response.write(b" " * 1024 * 1024)
                sent += 1
        return response

    async with server(answer) as base, aiohttp.ClientSession() as session:
        with pytest.raises(RefusedError, match="too large"):
            await open_store(StoreAccess(base, KEYS, OPTIONS, base), session).facts()
    assert sent < 100
