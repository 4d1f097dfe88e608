"""Points for the past while the shop goes on selling: each order and each account once, by the shop's own books."""

from __future__ import annotations

import asyncio

from rewards.earning import WayKind, WayToEarn
from sandbox.server import Sandbox
from sandbox.world import EarningRule
from storage import programs
from storage.database import Connection
from sync import backfill
from sync.kinds import Kind
from tests.flows.stage import Shop, Stage
from tests.flows.tills import RULE, points_of


async def assert_each_order_earned(shop: Shop, rule: EarningRule) -> None:
    """Every order's net points are what the shop's books say, and so is their sum with the accounts'."""
    orders = await shop.stage.rows(
        "SELECT external_id FROM orders WHERE store_id = %s AND paid_at IS NOT NULL", shop.store.id
    )
    books = await shop.books()
    expected = {found["external_id"]: points_of(shop.sandbox, found["external_id"], rule) for found in orders}
    net = {fact: points for fact, points in books.net.items() if not fact.startswith("sign-up of ")}
    assert net == {order: points for order, points in expected.items() if points}
    accounts = sum(1 for person in shop.sandbox.world.people if not person.is_guest)
    assert sum(books.balances.values()) == sum(expected.values()) + accounts * rule.sign_up
    awards = [(fact, turn) for _, fact, turn, _ in books.awards]
    assert len(awards) == len(set(awards))


async def past_orders(shop: Shop, count: int) -> list[str]:
    """Some paid orders of the history that nothing has happened to, by their id."""
    found = await shop.stage.rows(
        """SELECT external_id FROM orders o WHERE store_id = %s AND status = 'paid' AND placed_at < %s
               AND NOT EXISTS (SELECT FROM refunds r WHERE r.store_id = o.store_id AND r.order_external_id = o.external_id)
           ORDER BY id LIMIT %s""",
        shop.store.id,
        shop.sandbox.world.seed.now,
        count,
    )
    return [row["external_id"] for row in found]


async def goes_on_selling(shop: Shop) -> None:
    """New orders, and old ones repaid and cancelled."""
    whole, part, cancelled, *_ = await past_orders(shop, 3)
    old = shop.sandbox.world.people[3].email
    await shop.ask("refund", order=part, total_minor=150)
    orders = [await shop.buys(old, 1_000 + 77 * number) for number in range(6)]
    await shop.ask("cancel", order=cancelled)
    await shop.ask("refund", order=orders[0], total_minor=333)
    await shop.ask("refund", order=whole, total_minor=200_000)
    await shop.ask("sign_up", name="New", email="new@people.example")
    await shop.ask("replay")


async def test_a_run_while_webhooks_come_and_history_is_read_again_awards_nothing_twice(
    stage: Stage, kind: type[Sandbox]
) -> None:
    shop = await stage.open(kind, customers=100, orders=300)
    await shop.earns()
    previewed = await backfill.preview(stage.services, shop.store.id, actor="test")

    async def confirm(connection: Connection) -> None:
        await backfill.confirm(stage.services, previewed.id, actor="test", connection=connection)
        await stage.jobs.defer_in(connection, Kind.BACKFILL, previewed.id)
        await stage.jobs.defer_in(connection, Kind.IMPORT_HISTORY, shop.store.id)

    await asyncio.gather(stage.services.database.retrying(confirm), goes_on_selling(shop))
    await stage.settle()
    await shop.rewards_the_past()  # what came in while the first one ran
    await assert_each_order_earned(shop, RULE)
    assert (await shop.rewards_the_past()).preview["points"] == 0


async def test_an_undone_run_can_be_made_again_by_other_rules_and_nothing_doubles(
    stage: Stage, kind: type[Sandbox]
) -> None:
    shop = await stage.open(kind, customers=100, orders=300)
    first = await shop.rewards_the_past()
    await assert_each_order_earned(shop, RULE)
    await stage.defer(Kind.UNDO_BACKFILL, first.id)
    await stage.defer(Kind.UNDO_BACKFILL, first.id)  # a second click
    await stage.settle()
    assert (await shop.books()).balances == {}
    async with stage.services.database.transaction() as connection:
        for way in (WayToEarn(WayKind.SIGN_UP, True, 50), WayToEarn(WayKind.PLACE_ORDER, True, 200)):
            await programs.set_way(connection, shop.store.program_id, way, stage.clock())
    await shop.rewards_the_past()
    await assert_each_order_earned(shop, EarningRule(sign_up=50, order_fixed=200))
