"""Stores with the same ids, the same people and the same orders: never each other's rows."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.server import Sandbox
from sandbox.shopify import ShopifySandbox
from sandbox.stripe import StripeSandbox
from sandbox.world import Seed, World
from tests.flows.shops import KINDS
from tests.flows.stage import Shop, Stage
from tests.flows.tills import RULE, points_of


def twin(kind: type[Sandbox], stage: Stage, number: int) -> Sandbox:
    """A shop of the same seed as all others, under another name; Shopify's share the app's secret, as in life."""
    seed = Seed(number=1, customers=120, orders=80, birthday_share=1.0, now=stage.clock.now)
    world = World(seed, base_is_total=getattr(kind, "base_is_total", False))
    if kind is ShopifySandbox:
        return ShopifySandbox(world, clock=stage.clock, shop=f"twin-{number}.myshopify.com")
    made = kind(world, clock=stage.clock)
    if isinstance(made, StripeSandbox):
        made.account.id = f"acct_1Twin{number:012d}"
    return made


async def opened(stage: Stage, kind: type[Sandbox], number: int, program_id: int | None = None) -> Shop:
    """A twin, installed and with its history read."""
    sandbox = twin(kind, stage, number)
    sandbox.limiter_on = False
    await stage.exits.enter_async_context(sandbox)
    return await stage.install(sandbox, program_id=program_id)


async def held(shop: Shop) -> dict[str, Any]:
    """All that is kept of a store, by the tables that hold it."""
    found: dict[str, Any] = {}
    for table, columns in (
        ("members", "email, balance"),
        ("orders", "external_id, total_minor, status"),
        ("store_customers", "external_id, email"),
        ("ledger_entries", "key, round, points"),
        ("grants", "occasion, state"),
        ("promotion_codes", "code, external_id"),
        ("coupons", "external_id, code"),
        ("deliveries", "delivery_key, topic"),
    ):
        store = "home_store_id" if table == "members" else "store_id"
        query = f"SELECT {columns} FROM {table} WHERE {store} = %s ORDER BY {columns}"
        found[table] = await shop.stage.rows(query, shop.store.id)
    return found


@pytest.mark.parametrize("in_one_program", [False, True], ids=["two_programs", "one_program"])
async def test_twins_on_one_platform_never_meet(
    stage: Stage, kind: type[Sandbox], in_one_program: bool
) -> None:
    first = await opened(stage, kind, 1)
    second = await opened(stage, kind, 2, first.store.program_id if in_one_program else None)
    assert (first.store.program_id == second.store.program_id) is in_one_program
    await assert_apart(stage, first, second, shares_rewards=in_one_program)


async def test_twins_on_different_platforms_never_meet(stage: Stage) -> None:
    first, second, third = [await opened(stage, kind, 1) for kind in KINDS]
    await assert_apart(stage, first, second, shares_rewards=False)
    await assert_apart(stage, third, second, shares_rewards=False, has_rewards=True)


async def assert_apart(
    stage: Stage, first: Shop, second: Shop, *, shares_rewards: bool, has_rewards: bool = False
) -> None:
    """What is done in the first changes nothing of the second."""
    await first.rewards("birthday")
    if not (shares_rewards or has_rewards):
        await second.rewards("birthday")
    await first.earns()
    await second.earns()
    await stage.tick()
    mine, theirs = await first.codes(), await second.codes()
    assert [code["email"] for code in mine] == [code["email"] for code in theirs]
    assert not {code["code"] for code in mine} & {code["code"] for code in theirs}
    before = await held(second)
    assert await first.refused(theirs[0]["email"], theirs[0]["code"]) == "unknown_code"
    run = await first.rewards_the_past()
    order = await first.buys(mine[0]["email"], 5_000, mine[0]["code"])
    cancelled = await first.buys(mine[0]["email"], 5_000)
    await stage.settle()
    await first.ask("refund", order=order, total_minor=500)
    await first.ask("cancel", order=cancelled)
    await stage.settle()
    assert await held(second) == before
    books = await first.books()
    assert books.net[order] == points_of(first.sandbox, order)
    assert sum(books.balances.values()) == run.preview["points"] + books.net[order]
    assert run.preview["points"] == first.sandbox.world.expected_points(RULE)
    assert [code["state"] for code in await first.codes()].count("redeemed") == 1
    assert {code["state"] for code in await second.codes()} == {"pushed"}


async def test_posts_of_one_store_are_refused_at_anothers_address(stage: Stage, kind: type[Sandbox]) -> None:
    first, second = await opened(stage, kind, 1), await opened(stage, kind, 2)
    await first.earns()
    await second.earns()
    await first.buys("ada@people.example", 5_000)
    await stage.settle()
    kept = await stage.rows("SELECT store_id, count(*) AS n FROM deliveries GROUP BY store_id")
    address = second.store.webhook_address
    assert address is not None
    assert first.sandbox.hooks.sent
    for post in first.sandbox.hooks.sent:
        async with stage.services.session.post(
            address, data=post.body, headers=dict(first.sandbox.hooks.resign(post).headers)
        ) as answer:
            assert answer.status == (404 if kind is ShopifySandbox else 401)
    await stage.settle()
    assert await stage.rows("SELECT store_id, count(*) AS n FROM deliveries GROUP BY store_id") == kept
    assert (await second.books()).net == {}
