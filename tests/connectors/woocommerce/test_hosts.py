"""Shops on the hosts that real shops run on: what is lived through, and what is said of the rest."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from connectors.addresses import guarded_connector, is_public
from connectors.base import Installation, Noun, Secret, StoreAccess
from connectors.woocommerce.finding import find_shop
from connectors.woocommerce.install import WooCommerceInstall
from connectors.woocommerce.store import WooCommerceStore, open_store
from rewards.errors import (
    AccessRevokedError,
    InvalidInputError,
    PlatformError,
    RefusedError,
    RetryLaterError,
)
from sandbox.woocommerce import WooCommerceSandbox
from sandbox.world import Seed, World
from tests.connectors.woocommerce.shop import KEYS, options, server, standing

SEED = Seed(customers=3, orders=5)
FLOW = WooCommerceInstall()
ADDRESS = "https://app.example/webhooks/woocommerce/t"
MINUTES = 60


@contextlib.asynccontextmanager
async def shop(tls: ssl.SSLContext | None = None) -> AsyncIterator[WooCommerceSandbox]:
    sandbox = WooCommerceSandbox(World(SEED))
    sandbox.tls = tls
    async with sandbox:
        yield sandbox


async def installed(
    sandbox: WooCommerceSandbox, trusts: ssl.SSLContext | None = None, **changed: str
) -> Installation:
    connector = aiohttp.TCPConnector(ssl=trusts or True)
    async with aiohttp.ClientSession(connector=connector) as session:
        return await FLOW.installation({**sandbox.connect_answers(), **changed}, session)


async def orders(store: WooCommerceStore) -> int:
    windows = await store.windows(Noun.ORDERS, None)
    return sum([len(page.changes) for window in windows async for page in store.read(window, None)])


# -- keys ------------------------------------------------------------------------------------------------------------


async def test_where_the_header_is_kept_from_wordpress_the_keys_go_in_the_query(
    tls: ssl.SSLContext, trusts: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with shop(tls) as sandbox:
        assert (await installed(sandbox, trusts)).settings["keys_in"] == "header"
        sandbox.host.strips_authorization = True
        made = await installed(sandbox, trusts)
        assert made.settings["keys_in"] == "query"
        access = StoreAccess(made.external_id, made.credentials, options(**made.settings), made.api_base)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusts)) as session:
            store = open_store(access, session)
            assert (await store.facts()).currency == "EUR"
            assert await orders(store) == SEED.orders
            await store.subscribe(ADDRESS, KEYS["secret"])
            assert await store.is_subscribed(ADDRESS)
            sandbox.keys.keys.clear()
            with pytest.raises(AccessRevokedError) as caught:
                await store.facts()
    secret = made.credentials["secret"].reveal()
    assert secret not in caplog.text + str(caught.value)


async def test_a_key_that_nobody_knows_is_not_taken_for_a_lost_header(
    tls: ssl.SSLContext, trusts: ssl.SSLContext
) -> None:
    async with shop(tls) as sandbox:
        with pytest.raises(AccessRevokedError, match="make a new key"):
            await installed(sandbox, trusts, key=KEYS["key"].reveal())


async def test_a_key_of_which_the_header_is_lost_may_still_be_one_that_only_reads(
    tls: ssl.SSLContext, trusts: ssl.SSLContext
) -> None:
    async with shop(tls) as sandbox:
        sandbox.host.strips_authorization = True
        with pytest.raises(AccessRevokedError, match="Read/Write"):
            await installed(sandbox, trusts, key=sandbox.read_only.key, secret=sandbox.read_only.secret)


@pytest.mark.parametrize("minutes", [20, -20, 600])
async def test_a_clock_that_is_off_is_lived_with_and_told(minutes: int) -> None:
    async with standing(SEED) as (sandbox, store):
        sandbox.host.clock_off_seconds = minutes * MINUTES
        facts = await store.facts()
        before = sandbox.requests
        assert await orders(store) == SEED.orders
        assert sandbox.requests == before + 2  # nothing is refused any more
        (notice,) = facts.notices
        assert f"{abs(minutes)} minutes {'ahead of' if minutes > 0 else 'behind'} ours" in notice
        sandbox.host.clock_off_seconds = 0  # somebody has set it
        assert await orders(store) == SEED.orders
        assert (await store.facts()).notices == ()


async def test_a_shop_with_a_wrong_clock_can_be_connected() -> None:
    async with shop() as sandbox:
        sandbox.host.clock_off_seconds = 20 * MINUTES
        assert (await installed(sandbox)).external_id == sandbox.url


async def test_a_wrong_clock_is_no_reason_to_try_a_refused_key_for_ever() -> None:
    async with standing(SEED) as (sandbox, store):
        sandbox.keys.keys.clear()
        sandbox.host.clock_off_seconds = 20 * MINUTES
        with pytest.raises(AccessRevokedError):
            await orders(store)
        assert sandbox.requests == 2


async def test_over_plain_http_the_key_holds_only_at_the_shops_own_address_and_that_is_said() -> None:
    async with shop() as sandbox:
        sandbox.home = "http://shop.example"
        with pytest.raises(AccessRevokedError, match=r"own address .http://shop\.example"):
            await installed(sandbox)


# -- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"has_plain_permalinks": True}, "under Settings, Permalinks"),
        ({"has_woocommerce": False}, "WooCommerce is not active"),
        ({"has_woocommerce": False, "has_plain_permalinks": True}, "WooCommerce is not active"),
        ({"blocks_rest": True}, "blocked, often by a security plugin"),
    ],
)
async def test_what_is_in_the_way_is_explained(change: dict[str, bool], says: str) -> None:
    async with shop() as sandbox:
        for name, value in change.items():
            setattr(sandbox, name, value)
        with pytest.raises(InvalidInputError, match=says):
            await installed(sandbox)


async def test_plain_permalinks_are_named_where_the_web_server_knows_no_such_address_either() -> None:
    async with shop() as sandbox:
        sandbox.has_plain_permalinks, sandbox.host.rewrites = True, False
        with pytest.raises(InvalidInputError, match="under Settings, Permalinks"):
            await installed(sandbox)


@pytest.mark.parametrize(
    ("prefix", "tls_too"), [("geheim/api", False), ("geheim/api", True), ("index.php/wp-json", True)]
)
async def test_a_shop_whose_api_a_plugin_has_moved_is_found_by_what_its_front_page_says(
    tls: ssl.SSLContext, trusts: ssl.SSLContext, prefix: str, tls_too: bool
) -> None:
    sandbox = WooCommerceSandbox(World(SEED))
    sandbox.rest_prefix, sandbox.tls = prefix, tls if tls_too else None
    async with sandbox:
        made = await installed(sandbox, trusts)
        assert made.settings["rest_root"] == f"{prefix}/"
        access = StoreAccess(sandbox.url, made.credentials, options(**made.settings), sandbox.url)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusts)) as session:
            assert await orders(open_store(access, session)) == 5


async def test_a_front_page_that_names_an_api_elsewhere_is_not_followed() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append(str(request.rel_url))
        headers = {"Link": '<https://evil.example/wp-json/>; rel="https://api.w.org/"'}
        return web.Response(status=404, text="<html></html>", headers=headers)

    seen: list[str] = []
    async with server(answer) as base, aiohttp.ClientSession() as session:
        with pytest.raises(InvalidInputError, match="no WooCommerce API"):
            await find_shop(base, session, allow_private_hosts=True)
    assert not any("evil" in path for path in seen)


async def test_a_shop_that_sends_us_to_its_https_address_is_connected_there(
    tls: ssl.SSLContext, trusts: ssl.SSLContext
) -> None:
    async with shop(tls) as secure, shop() as plain:
        plain.host.moved_to = secure.url
        made = await installed(secure, trusts, url=plain.url)
        assert made.external_id == made.api_base == secure.url
        assert plain.requests == 1  # the index, which takes no key


async def test_a_shop_that_sends_us_from_https_to_http_is_not_followed(
    tls: ssl.SSLContext, trusts: ssl.SSLContext
) -> None:
    async with shop(tls) as secure, shop() as plain:
        secure.host.moved_to = plain.url
        with pytest.raises(InvalidInputError, match="another address"):
            await installed(secure, trusts)
        assert plain.requests == 0


async def test_addresses_that_send_us_round_in_circles_end() -> None:
    async with shop() as one, shop() as two:
        one.host.moved_to, two.host.moved_to = two.url, one.url
        with pytest.raises(InvalidInputError, match="circles"):
            await installed(one)


async def test_a_shop_that_moved_after_it_was_connected_is_said_and_gets_no_key_there() -> None:
    async with standing(SEED, patience_seconds="5") as (sandbox, store), shop() as new:
        sandbox.host.moved_to = new.url
        with pytest.raises(RefusedError, match=r"has moved to another address .127\.0\.0\.1") as caught:
            await orders(store)
        assert caught.value.code == "moved"
        assert "oauth" not in str(caught.value)
        assert new.requests == 0


async def test_no_call_of_a_connected_shop_goes_to_a_private_address() -> None:
    async with shop() as sandbox:
        keys = {"key": Secret(sandbox.read_write.key), "secret": Secret(sandbox.read_write.secret)}
        access = StoreAccess(sandbox.url, keys, options(), sandbox.url)
        async with aiohttp.ClientSession(connector=guarded_connector(is_public)) as session:
            with pytest.raises(RefusedError, match="PERENNIAL_ALLOW_PRIVATE_HOSTS"):
                await open_store(access, session).facts()
        assert sandbox.requests == 0


# -- troubles --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", ["fatal_errors", "bad_gateways"])
async def test_a_short_trouble_of_the_host_is_lived_through(trouble: str) -> None:
    async with standing(SEED, patience_seconds="20") as (sandbox, store):
        setattr(sandbox.host, trouble, 2)
        assert await orders(store) == SEED.orders


async def test_what_php_prints_before_an_answer_does_not_spoil_it() -> None:
    async with standing(SEED) as (sandbox, store):
        sandbox.host.prints_warnings = True
        assert (await store.facts()).currency == "EUR"
        assert await orders(store) == SEED.orders
        await store.subscribe(ADDRESS, KEYS["secret"])
        assert len(sandbox.queue.webhooks) == 11
        assert await store.is_subscribed(ADDRESS)


async def test_a_refusal_behind_a_warning_is_still_one_although_its_status_says_otherwise() -> None:
    async with standing(SEED) as (sandbox, store):
        sandbox.host.prints_warnings = True
        sandbox.keys.keys.clear()
        with pytest.raises(AccessRevokedError):
            await orders(store)


@pytest.mark.parametrize("with_tls", [False, True])
async def test_a_cache_that_gives_old_answers_is_got_around(
    tls: ssl.SSLContext, trusts: ssl.SSLContext, with_tls: bool
) -> None:
    async with shop(tls if with_tls else None) as sandbox:
        sandbox.host.caches = True
        made = await installed(sandbox, trusts)
        access = StoreAccess(sandbox.url, made.credentials, options(**made.settings), sandbox.url)
        connector = aiohttp.TCPConnector(ssl=trusts)
        async with aiohttp.ClientSession(connector=connector) as session:
            for goes_well in (False, True):  # nothing there, and then there is
                assert await open_store(access, session).is_subscribed(ADDRESS) is goes_well
                await open_store(access, session).subscribe(ADDRESS, Secret("s"))


async def test_a_shop_with_warnings_in_its_answers_can_be_connected() -> None:
    async with shop() as sandbox:
        sandbox.host.prints_warnings = True
        assert (await installed(sandbox)).external_id == sandbox.url
        with pytest.raises(AccessRevokedError, match="Read/Write"):
            await installed(sandbox, key=sandbox.read_only.key, secret=sandbox.read_only.secret)


async def test_a_firewall_is_named() -> None:
    async with standing(SEED) as (sandbox, store):
        sandbox.host.has_firewall = True
        with pytest.raises(AccessRevokedError, match="firewall"):
            await orders(store)


async def test_maintenance_is_waited_for_as_long_as_the_shop_says() -> None:
    async with standing(SEED, patience_seconds="5") as (sandbox, store):
        sandbox.host.is_in_maintenance = True
        with pytest.raises(RetryLaterError) as caught:
            await orders(store)
        assert caught.value.retry_after_seconds == 600
        assert sandbox.requests == 1


async def test_a_shop_that_hangs_holds_nobody_up_for_good() -> None:
    async with shop() as sandbox:
        sandbox.host.hangs, sandbox.host.hangs_seconds = 1, 1.0
        keys = {"key": Secret(sandbox.read_write.key), "secret": Secret(sandbox.read_write.secret)}
        settings = options(timeout_seconds="0.3", patience_seconds="0")
        async with aiohttp.ClientSession() as session, asyncio.timeout(10):
            store = open_store(StoreAccess(sandbox.url, keys, settings, sandbox.url), session)
            with pytest.raises(RetryLaterError, match="did not answer in time"):
                await orders(store)
            assert await orders(store) == SEED.orders


@pytest.mark.parametrize("fault", ["fatal_errors", "bad_gateways"])
async def test_a_long_trouble_is_for_later(fault: str) -> None:
    async with standing(SEED, patience_seconds="0.4") as (sandbox, store):
        setattr(sandbox.host, fault, 1000)
        with pytest.raises(RetryLaterError) as caught:
            await orders(store)
        assert isinstance(caught.value, PlatformError)


# -- webhooks --------------------------------------------------------------------------------------------------------


async def test_two_who_set_webhooks_up_at_once_leave_one_working_set() -> None:
    async with standing(SEED) as (sandbox, store):
        await store.subscribe(ADDRESS, KEYS["secret"])
        sandbox.give_up_webhooks()
        await asyncio.gather(*(store.subscribe(ADDRESS, KEYS["secret"]) for _ in range(2)))
        active = {hook.topic for hook in sandbox.queue.webhooks.values() if hook.status == "active"}
        assert len(active) == 11
        assert await store.is_subscribed(ADDRESS)
        assert len(sandbox.queue.webhooks) == 11
        assert await store.is_subscribed(ADDRESS)


async def test_webhooks_of_others_are_left_alone() -> None:
    async with standing(SEED) as (sandbox, store):
        await sandbox.queue.create({"topic": "order.created", "delivery_url": "https://other.example/hook"})
        await store.subscribe(ADDRESS, KEYS["secret"])
        assert await store.is_subscribed(ADDRESS)
        await store.unsubscribe(ADDRESS)
        assert [hook.address for hook in sandbox.queue.webhooks.values()] == ["https://other.example/hook"]


async def test_a_webhook_whose_creation_is_answered_with_a_cut_connection_is_made_once_in_the_end() -> None:
    async with standing(SEED, patience_seconds="20") as (sandbox, store):
        sandbox.faults.spare, sandbox.faults.cut_answers = 3, 2
        await store.subscribe(ADDRESS, KEYS["secret"])
        assert len(sandbox.queue.webhooks) == 13
        assert await store.is_subscribed(ADDRESS)
        assert len(sandbox.queue.webhooks) == 11


async def test_a_shop_that_is_not_there_is_said_to_whoever_typed_its_address() -> None:
    async with shop() as sandbox:
        await sandbox.stop()
        with pytest.raises(InvalidInputError, match=r"could not be reached.+Check the address"):
            await installed(sandbox)


async def test_a_certificate_of_nobody_known_is_named_and_plain_http_not_tried_instead(
    tls: ssl.SSLContext,
) -> None:
    async with shop(tls) as sandbox:
        with pytest.raises(InvalidInputError, match="certificate cannot be verified"):
            await installed(sandbox)
        assert sandbox.requests == 0


async def test_a_shop_that_names_no_city_lives_at_its_offset() -> None:
    async with standing(Seed(customers=3, orders=3, time_zone="Asia/Kolkata")) as (sandbox, store):
        sandbox.names_time_zone = False
        assert (await store.facts()).time_zone == "Asia/Kolkata"
    async with standing(Seed(customers=3, orders=3, time_zone="America/Bogota")) as (sandbox, store):
        sandbox.names_time_zone = False
        assert (await store.facts()).time_zone == "Etc/GMT+5"


class Everywhere(AbstractResolver):
    """Names that all lead to this machine, but for gone.example."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        if host.startswith("gone."):
            raise OSError("no such name")
        return [
            ResolveResult(hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=0)
        ]

    async def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize(
    ("typed", "home", "found"),
    [
        ("http://shop.example", "http://www.shop.example", "http://www.shop.example"),
        ("http://www.shop.example", "http://shop.example", "http://shop.example"),
        ("http://shop.example", "https://shop.example", "http://shop.example"),  # nobody answers there
        ("http://shop.example", "http://other.example", "http://shop.example"),
        ("http://www.gone.example", "http://gone.example", "http://www.gone.example"),
        ("http://shop.example", "no address", "http://shop.example"),
    ],
)
async def test_a_shop_is_known_by_the_name_it_gives_itself_where_that_is_the_same_place(
    typed: str, home: str, found: str
) -> None:
    async with shop() as sandbox:
        port = sandbox.url.rpartition(":")[2]
        sandbox.home = f"{home}:{port}"
        connector = aiohttp.TCPConnector(resolver=Everywhere())
        async with aiohttp.ClientSession(connector=connector) as session:
            made = await find_shop(f"{typed}:{port}", session, allow_private_hosts=True)
    assert made.base == f"{found}:{port}"


async def test_a_shop_that_sends_us_to_another_domain_is_only_named() -> None:
    async with shop() as sandbox, shop() as other:
        port, elsewhere = (one.url.rpartition(":")[2] for one in (sandbox, other))
        sandbox.host.moved_to = f"http://other.example:{elsewhere}"
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=Everywhere())) as session:
            with pytest.raises(InvalidInputError, match=r"another address .other\.example"):
                await find_shop(f"http://shop.example:{port}", session, allow_private_hosts=True)
            sandbox.host.moved_to = f"http://www.shop.example:{elsewhere}"
            found = await find_shop(f"http://shop.example:{port}", session, allow_private_hosts=True)
        assert found.base == f"http://www.shop.example:{elsewhere}"


async def test_without_a_scheme_https_is_tried_before_plain_http() -> None:
    asked: list[str] = []

    class Watching(Everywhere):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            asked.append(f"{host}:{port}")
            raise OSError("no such name")

    connector = aiohttp.TCPConnector(resolver=Watching(), use_dns_cache=False)
    async with aiohttp.ClientSession(connector=connector) as session:
        with pytest.raises(InvalidInputError, match="Check the address"):
            await find_shop("shop.example", session, allow_private_hosts=True)
    assert list(dict.fromkeys(asked)) == ["shop.example:443", "shop.example:80"]


async def test_an_address_with_a_port_and_no_scheme_is_tried_over_plain_http_too() -> None:
    async with (
        WooCommerceSandbox(World(Seed(customers=3, orders=3))) as sandbox,
        aiohttp.ClientSession() as session,
    ):
        typed = f"{sandbox.url.removeprefix('http://')}/wp-admin/"
        assert (await find_shop(typed, session, allow_private_hosts=True)).base == sandbox.url
