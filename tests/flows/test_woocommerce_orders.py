"""Codes and points of WooCommerce orders that fail, go to the trash, come back, or are refunded."""

from __future__ import annotations

import pytest

from sandbox.woocommerce import WooCommerceSandbox
from sync.verify import verify_codes
from tests.flows.stage import Shop, Stage


async def redeemed(stage: Stage) -> tuple[Shop, WooCommerceSandbox, str, dict[str, str]]:
    """A shop in which a member has used their code: the shop twice, the order, and the code with its owner."""
    shop = await stage.open(WooCommerceSandbox, customers=90, orders=30, birthday_share=1.0)
    await shop.earns()
    await shop.rewards("birthday", validity_days=10)
    await stage.tick()
    mine = (await shop.codes())[0]
    order = await shop.buys(mine["email"], 5_000, mine["code"])
    await stage.settle()
    assert await state(shop) == "redeemed"
    assert isinstance(shop.sandbox, WooCommerceSandbox)
    return shop, shop.sandbox, order, mine


async def state(shop: Shop) -> str:
    return str((await shop.codes())[0]["state"])


async def later(stage: Stage) -> None:
    """What was done is told, and some time passes."""
    await stage.settle()
    stage.clock.passes(seconds=5)


@pytest.mark.parametrize("status", ["failed", "cancelled"])
async def test_an_order_that_ends_gives_its_code_back_and_takes_it_again_when_it_is_revived(
    stage: Stage, status: str
) -> None:
    shop, sandbox, order, mine = await redeemed(stage)
    stage.clock.passes(seconds=5)
    sandbox.set_status(order, status)
    await later(stage)
    assert await state(shop) == "pushed"
    sandbox.set_status(order, "processing")
    await later(stage)
    assert await state(shop) == "redeemed"
    assert await shop.refused(mine["email"], mine["code"]) == "used_up"


async def test_a_trashed_order_gives_its_code_back_and_takes_it_again_when_it_is_restored(
    stage: Stage,
) -> None:
    shop, sandbox, order, mine = await redeemed(stage)
    stage.clock.passes(seconds=5)
    sandbox.trash_order(order)
    await later(stage)
    assert await state(shop) == "pushed"
    sandbox.untrash_order(order)
    await later(stage)
    assert await state(shop) == "redeemed"
    assert await shop.refused(mine["email"], mine["code"]) == "used_up"


async def test_a_refunded_order_keeps_its_code_used(stage: Stage) -> None:
    shop, sandbox, order, mine = await redeemed(stage)
    await shop.ask("refund", order=order, total_minor=sandbox.world.sales[-1].total_minor)
    await later(stage)
    assert await state(shop) == "redeemed"
    assert await shop.refused(mine["email"], mine["code"]) == "used_up"


async def test_an_order_is_awarded_once_whatever_its_status_does(stage: Stage) -> None:
    shop, sandbox, order, _ = await redeemed(stage)
    net = (await shop.books()).net
    assert sum(net.values()) > 0
    for status in ("on-hold", "completed", "shipped", "pending", "processing"):
        stage.clock.passes(seconds=5)
        sandbox.set_status(order, status)
        await later(stage)
        assert (await shop.books()).net == net


@pytest.mark.parametrize("how", ["failed", "trash"])
async def test_where_an_older_shop_keeps_the_code_used_its_count_decides(stage: Stage, how: str) -> None:
    """Shops before late 2025 give a code back for cancelled orders only."""
    shop, sandbox, order, mine = await redeemed(stage)
    sandbox.be_older("8.0.3")
    stage.clock.passes(seconds=5)
    if how == "trash":
        sandbox.trash_order(order)
    else:
        sandbox.set_status(order, how)
    await later(stage)
    assert await state(shop) == "pushed"
    assert await shop.refused(mine["email"], mine["code"]) == "used_up"
    report = await verify_codes(stage.services, shop.store.id)
    assert await state(shop) == "redeemed"
    assert report.differences == []
    # Looked at again it stays so, until the shop gives the code back after all.
    await verify_codes(stage.services, shop.store.id)
    assert await state(shop) == "redeemed"
    stage.clock.passes(seconds=5)
    if how == "trash":
        sandbox.untrash_order(order)
    sandbox.set_status(order, "cancelled")
    await later(stage)
    await verify_codes(stage.services, shop.store.id)
    assert await state(shop) == "pushed"
    await shop.buys(mine["email"], 5_000, mine["code"])
    await stage.settle()
    assert await state(shop) == "redeemed"
