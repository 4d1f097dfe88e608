"""A shop's webhooks, in what only WooCommerce does."""

from __future__ import annotations

from sandbox.world import Seed
from tests.connectors.woocommerce.shop import KEYS, standing

SMALL = Seed(number=8, customers=20, orders=12)


async def test_subscribing_answers_the_pings_and_replaces_only_what_was_ours() -> None:
    async with standing(SMALL) as (sandbox, store):
        await sandbox.queue.create({"topic": "order.created", "delivery_url": "http://127.0.0.1:9/theirs"})
        address = f"{sandbox.url}/_sandbox/quiet"  # any address that answers
        first = await store.subscribe(address, KEYS["secret"])
        second = await store.subscribe(address, KEYS["secret"])
        ours = [hook for hook in sandbox.queue.webhooks.values() if hook.address == address]
        assert len(ours) == len(second.external_ids) == 11
        assert {str(hook.id) for hook in ours} == set(second.external_ids)
        assert not set(first.external_ids) & set(second.external_ids)
        assert all(hook.was_pinged for hook in ours)
        await store.unsubscribe(address)
        assert [hook.address for hook in sandbox.queue.webhooks.values()] == ["http://127.0.0.1:9/theirs"]
