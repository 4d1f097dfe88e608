"""Points in the customers' records: in batches, where only the app writes, and refused one by one."""

from __future__ import annotations

import json

import pytest

from rewards.errors import RefusedError
from sandbox.shopify import ADMIN_TOKEN
from sandbox.world import Seed
from tests.connectors.shopify.shops import Shop, a_shop

SIXTY = Seed(number=8, customers=60, orders=1)
SEEN = '{ customer(id: "gid://shopify/Customer/%s") { points: metafield(namespace: "$app", key: "points") { value type } } }'


async def seen_in_the_admin(shop: Shop, customer: str) -> dict[str, str] | None:
    """The app's metafield of one customer."""
    async with shop.session.post(
        f"{shop.sandbox.url}/admin/api/2026-10/graphql.json",
        data=json.dumps({"query": SEEN % customer}),
        headers={"X-Shopify-Access-Token": ADMIN_TOKEN, "Content-Type": "application/json"},
    ) as answer:
        found: dict[str, str] | None = (await answer.json())["data"]["customer"]["points"]
        return found


async def test_points_are_written_25_at_a_time_and_written_again_when_they_change() -> None:
    async with a_shop(SIXTY) as shop:
        store = shop.store(await shop.installed())
        customers = list(shop.sandbox.customers)[:30]
        asked = shop.sandbox.requests
        assert await store.show_points({customer: place for place, customer in enumerate(customers)}) == {}
        assert shop.sandbox.requests == asked + 2
        assert await seen_in_the_admin(shop, customers[29]) == {"value": "29", "type": "number_integer"}
        assert await store.show_points({customers[29]: -7}) == {}
        assert await seen_in_the_admin(shop, customers[29]) == {"value": "-7", "type": "number_integer"}
        assert await store.show_points({}) == {}


async def test_a_customer_who_is_gone_is_refused_alone() -> None:
    async with a_shop(SIXTY) as shop:
        store = shop.store(await shop.connected())
        there, *_ = shop.sandbox.customers
        refused = await store.show_points({"7999999999": 5, there: 6, "7999999998": 7})
        assert refused.keys() == {"7999999999", "7999999998"}
        assert "Owner does not exist" in refused["7999999999"]
        assert await seen_in_the_admin(shop, there) == {"value": "6", "type": "number_integer"}


async def test_without_the_permission_nothing_is_tried_one_by_one() -> None:
    async with a_shop(SIXTY) as shop:
        store = shop.store(await shop.connected())
        shop.sandbox.oauth.scopes.remove("write_customers")
        shop.sandbox.oauth.scopes.append("read_customers")
        await store.facts()
        asked = shop.sandbox.requests
        with pytest.raises(RefusedError, match="write_customers"):
            await store.show_points(dict.fromkeys(shop.sandbox.customers, 1))
        assert shop.sandbox.requests == asked + 1
