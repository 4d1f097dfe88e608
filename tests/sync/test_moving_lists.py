"""A shop goes on selling, and tidying up, while its history is read: nothing of it is missed."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from sandbox.woocommerce import WooCommerceSandbox
from sandbox.woocommerce_records import FIRST_ORDER
from sync.history import run_import
from sync.reconcile import reconcile
from sync.services import Services
from tests.sync.shops import Clock, Shop, install, rows, small_world


async def ours(shop: Shop) -> set[str]:
    """The orders that we know."""
    return {
        row[0] for row in await rows(shop.database, "SELECT external_id FROM orders WHERE deleted_at IS NULL")
    }


def theirs(sandbox: WooCommerceSandbox) -> set[str]:
    """The orders that the shop lists."""
    return {str(FIRST_ORDER + index) for index in sandbox.orders.view({})}


async def test_orders_that_come_and_go_while_we_read_are_all_here_in_the_end(
    services: Services, clock: Clock
) -> None:
    world = small_world(clock, customers=20, orders=800)
    async with WooCommerceSandbox(world, clock=clock) as sandbox:
        store = await install(services, sandbox)
        shop = Shop(services, sandbox, store, clock)
        sandbox.busy_seconds = 0.02
        reading = asyncio.create_task(run_import(services, store.id))
        for number in range(FIRST_ORDER, FIRST_ORDER + 700, 7):
            await asyncio.sleep(0.004)
            clock.now += timedelta(seconds=1)
            if reading.done():
                break
            sandbox.trash_order(str(number))
            sandbox.place_order({"email": "new@people.example", "subtotal_minor": 500})
        assert len(sandbox.orders.trashed) > 20  # some of them while we read
        await reading
        clock.now += timedelta(minutes=5)
        await reconcile(services, store.id)
        assert theirs(sandbox) <= await ours(shop)
