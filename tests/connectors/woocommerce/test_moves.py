"""What in a shop shows which one it is, and whether somebody is still at an old address."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from aiohttp import web

from connectors.base import Installation
from connectors.besides import Traces
from connectors.woocommerce.install import WooCommerceInstall
from tests.connectors.woocommerce.shop import KEYS, server

FLOW = WooCommerceInstall()
NEW = "https://new.example"
INDEX = {"name": "Shop", "namespaces": ["wc/v3"]}


def _hook(address: str) -> dict[str, Any]:
    return {"id": 1, "delivery_url": address}


@pytest.mark.parametrize(
    ("hooks", "expected"),
    [
        ((200, [_hook("https://a.example/webhooks/woocommerce/yl5gpHioOaFu3YrzP7Hk4WfX-M5-Icsz")]), 1),
        (
            (
                200,
                [_hook("https://a.example/sub/webhooks/woocommerce/yl5gpHioOaFu3YrzP7Hk4WfX-M5-Icsz/")] * 2,
            ),
            1,
        ),
        ((200, [_hook("https://a.example/webhooks/woocommerce/short"), _hook("https://b.example/?x")]), 0),
        ((403, {"code": "woocommerce_rest_cannot_view"}), 0),
        ((404, {"code": "rest_no_route"}), 0),
    ],
)
async def test_our_tokens_are_found_in_the_addresses_of_webhooks(
    hooks: tuple[int, Any], expected: int
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        status, body = (
            hooks if request.path.endswith("/webhooks") else (200, {"environment": {"store_id": "m"}})
        )
        return web.json_response(body, status=status)

    async with server(answer) as base, aiohttp.ClientSession() as session:
        found = await FLOW.traces(Installation(base, KEYS), session)
    assert found == Traces(("yl5gpHioOaFu3YrzP7Hk4WfX-M5-Icsz",) * expected, "m")


@pytest.mark.parametrize(
    ("status", "body", "location", "is_left"),
    [
        (301, "", f"{NEW}/wp-json/", True),
        (301, "", "https://somebody.example/", True),
        (404, "<html>", "", True),
        (200, {**INDEX, "home": "https://www.new.example/"}, "", True),  # another name of the new one
        (200, {"name": "A blog", "namespaces": ["wp/v2"]}, "", True),
        (200, {**INDEX, "home": "https://old.example"}, "", False),
        (200, INDEX, "", False),
        (403, "<html>", "", False),
        (401, {"code": "rest_login_required"}, "", False),
        (503, "<html>", "", False),
        (200, "<html>", "", False),
    ],
)
async def test_an_address_is_left_only_when_no_shop_can_be_there(
    status: int, body: Any, location: str, is_left: bool
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        assert "oauth_consumer_key" not in request.query
        headers = {"Location": location} if location else None
        if isinstance(body, str):
            return web.Response(status=status, text=body, headers=headers)
        return web.json_response(body, status=status, headers=headers)

    async with server(answer) as base, aiohttp.ClientSession() as session:
        assert await FLOW.has_left(base, Installation(NEW, KEYS), session) is is_left


async def test_an_address_where_nobody_answers_is_left() -> None:
    async with aiohttp.ClientSession() as session:
        assert await FLOW.has_left("http://127.0.0.1:9", Installation(NEW, KEYS), session)
