"""What a shop allows is shared by everybody who asks it: spent in time, and given up for nobody's storm."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import msgspec
import pytest

from connectors.base import StoreAccess
from connectors.shopify.client import ShopifyClient
from connectors.turns import LocalTurns
from rewards.errors import RetryLaterError
from sandbox.shopify_graphql import Bucket
from tests.connectors.shopify.shops import SEED, Shop, a_shop


class Nodes(msgspec.Struct, rename="camel"):
    webhook_subscriptions: dict[str, object]


def clients(shop: Shop, access: StoreAccess, count: int) -> list[ShopifyClient]:
    """So many processes over one budget."""
    shared = replace(access, turns=LocalTurns())
    return [ShopifyClient(shared, shop.session) for _ in range(count)]


async def page(client: ShopifyClient) -> None:
    """A page that asks for 100 points and costs next to nothing."""
    await client.call("webhooks_page", {"first": 100, "after": None}, Nodes)


async def test_several_processes_together_stay_within_the_shops_bucket() -> None:
    async with a_shop() as shop:
        both = clients(shop, await shop.connected(), 2)
        await asyncio.gather(*map(page, both))
        shop.sandbox.bucket = Bucket(maximum=400.0, per_second=400.0)
        await asyncio.gather(*map(page, both))
        shop.sandbox.bucket.refused = 0
        begun = time.monotonic()
        await asyncio.gather(*(page(client) for client in both for _ in range(12)))
        assert shop.sandbox.bucket.refused == 0
        assert time.monotonic() - begun < 24 * 100 / 400 + 1, "what a request did not cost is given back"


async def test_a_bucket_that_another_app_version_emptied_is_waited_for() -> None:
    async with a_shop() as shop:
        [client] = clients(shop, await shop.connected(), 1)
        await page(client)
        shop.sandbox.bucket.take(shop.sandbox.bucket.level - 50)
        await page(client)  # refused once with HTTP 200, and sent again when it fits
        assert shop.sandbox.bucket.refused == 1
        shop.sandbox.bucket.take(shop.sandbox.bucket.level - 10)
        await page(client)
        assert shop.sandbox.bucket.refused <= 2


async def test_a_storm_of_refusals_is_outlived_and_does_not_become_one_of_requests() -> None:
    async with a_shop() as shop:
        store = shop.store(await shop.connected(patience_seconds="20"))
        shop.sandbox.faults.throttle = 5
        before, begun = shop.sandbox.requests, time.monotonic()
        await store.facts()
        asked = shop.sandbox.requests - before
        assert asked <= 5 + 6, "each refusal is answered by one more try, not by many"
        assert time.monotonic() - begun >= 5 * 0.05


async def test_a_storm_without_end_is_for_later() -> None:
    async with a_shop() as shop:
        store = shop.store(await shop.connected(patience_seconds="1"))
        await store.facts()
        shop.sandbox.faults.throttle = 100_000
        before = shop.sandbox.requests
        with pytest.raises(RetryLaterError, match="rate limit"):
            await store.facts()
        assert shop.sandbox.requests - before <= 10


async def test_what_shopify_asks_of_one_process_all_of_them_heed() -> None:
    async with a_shop() as shop:
        access = replace(await shop.connected(patience_seconds="5"), turns=LocalTurns())
        hurried = replace(access, options=replace(access.options, settings={"patience_seconds": "0"}))
        one, other = (ShopifyClient(each, shop.session) for each in (hurried, access))
        await asyncio.gather(page(one), page(other))
        shop.sandbox.closed_with = 429
        with pytest.raises(RetryLaterError, match="slow down"):
            await page(one)
        shop.sandbox.closed_with = None
        begun = time.monotonic()
        await page(other)
        assert time.monotonic() - begun > 0.7


class People(msgspec.Struct):
    customers: dict[str, object]


async def test_reading_by_pages_is_refused_nothing_once_the_bucket_is_known() -> None:
    """How much of the bucket's rate it uses is measured by `make bench`, catchup.shopify."""
    async with a_shop(replace(SEED, customers=300)) as shop:
        both = clients(shop, await shop.connected(), 2)
        bucket = shop.sandbox.bucket = Bucket(maximum=400.0, per_second=400.0)
        asked = {"first": 80, "after": None, "query": "", "people": True, "phone": True}
        asked |= {"namespace": "facts", "key": "birth_date"}

        async def read(client: ShopifyClient, until: float) -> None:
            while time.monotonic() < until:
                await client.call("customers_page", asked, People)

        begun = time.monotonic()
        readers = [asyncio.create_task(read(client, begun + 3)) for client in both for _ in range(3)]
        await asyncio.sleep(1)
        refused, spent = bucket.refused, bucket.spent
        await asyncio.gather(*readers)
        assert bucket.refused == refused
        assert bucket.spent > spent
