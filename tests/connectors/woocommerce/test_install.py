"""Connecting a shop with pasted keys."""

from __future__ import annotations

import aiohttp
import pytest
from aiohttp import web

from connectors.woocommerce.finding import normalised
from connectors.woocommerce.install import WooCommerceInstall
from rewards.errors import AccessRevokedError, InvalidInputError
from sandbox.woocommerce import WooCommerceSandbox
from sandbox.world import Seed, World
from tests.connectors.woocommerce.shop import server

FLOW = WooCommerceInstall()
PASTED = {"key": "ck_" + "a" * 40, "secret": "cs_" + "b" * 40, "allow-private-hosts": "1"}


@pytest.mark.parametrize(
    ("pasted", "expected"),
    [
        ("https://shop.example", "https://shop.example"),
        ("shop.example", "https://shop.example"),
        ("  HTTPS://WWW.Shop.Example/  ", "https://www.shop.example"),
        ("https://shop.example:443/", "https://shop.example"),
        ("http://shop.example:8081", "http://shop.example:8081"),
        ("https://shop.example/tienda/", "https://shop.example/tienda"),
        ("https://shop.example/wp-admin/admin.php?page=wc-settings", "https://shop.example"),
        ("https://shop.example/tienda/wp-admin/", "https://shop.example/tienda"),
        ("https://shop.example/wp-login.php", "https://shop.example"),
        ("https://shop.example/wp-json/wc/v3/orders", "https://shop.example"),
        ("https://shop.example/?lang=es#top", "https://shop.example"),
        ("https://shop.example./", "https://shop.example"),
        ("http://[::1]:8081/x", "http://[::1]:8081/x"),
    ],
)
def test_addresses_as_people_paste_them(pasted: str, expected: str) -> None:
    assert normalised(pasted) == expected


@pytest.mark.parametrize(
    "pasted",
    [
        "",
        "https://",
        "ftp://shop.example",
        "https://me:pw@shop.example",
        "my shop",
        "http://[::1",
        "http://x:99999",
    ],
)
def test_what_is_no_address_is_said(pasted: str) -> None:
    with pytest.raises(InvalidInputError, match="address"):
        normalised(pasted)


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:9", "http://localhost", "https://10.1.2.3", "https://[::1]", "http://169.254.169.254"],
)
async def test_private_addresses_are_refused_unless_the_operator_allows_them(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(InvalidInputError, match="private network"):
            await FLOW.installation({**PASTED, "url": url, "allow-private-hosts": ""}, session)


@pytest.mark.parametrize("bent", [{"key": "cs_x"}, {"secret": "ck_x"}, {"key": ""}, {"secret": ""}])
async def test_keys_that_are_mixed_up_are_said(bent: dict[str, str]) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(InvalidInputError, match="ck_"):
            await FLOW.installation({**PASTED, "url": "http://127.0.0.1:9", **bent}, session)


async def test_a_shop_is_installed_under_its_address() -> None:
    async with (
        WooCommerceSandbox(World(Seed(customers=3, orders=3))) as sandbox,
        aiohttp.ClientSession() as session,
    ):
        answers = sandbox.connect_answers()
        installed = await FLOW.installation({**answers, "url": f"{sandbox.url}/wp-admin/"}, session)
        assert installed.external_id == installed.api_base == sandbox.url
        assert installed.credentials["secret"].reveal() == answers["secret"]
        assert not sandbox.coupons.by_id.keys() - {5_000_001, 5_000_002, 5_000_003}


async def test_a_wrong_key_or_one_that_may_only_read_is_refused() -> None:
    async with (
        WooCommerceSandbox(World(Seed(customers=3, orders=3))) as sandbox,
        aiohttp.ClientSession() as session,
    ):
        url = {"url": sandbox.url}
        with pytest.raises(AccessRevokedError, match="make a new key"):
            await FLOW.installation({**PASTED, **url}, session)
        reading = {"key": sandbox.read_only.key, "secret": sandbox.read_only.secret}
        with pytest.raises(AccessRevokedError, match="Read/Write"):
            await FLOW.installation({**PASTED, **url, **reading}, session)


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (404, '{"code": "rest_no_route"}', "no WooCommerce API"),
        (404, "<html>not found</html>", "no WooCommerce API"),
        (200, '{"name": "A blog", "namespaces": ["wp/v2"]}', "WooCommerce is not active"),
        (200, '{"name": "?"}', "no WooCommerce API"),
        (401, '{"code": "rest_login_required"}', "blocked"),
        (403, "<html>forbidden</html>", "blocked"),
        (301, "", "another address"),
    ],
)
async def test_what_is_no_shop_is_explained(status: int, body: str, says: str) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=body)

    async with server(answer) as base, aiohttp.ClientSession() as session:
        with pytest.raises(InvalidInputError, match=says):
            await FLOW.installation({**PASTED, "url": base}, session)
