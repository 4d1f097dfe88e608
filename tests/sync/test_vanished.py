"""Orders that a shop deletes for good without a word: found by counting, and undone."""

from __future__ import annotations

from datetime import timedelta

from sandbox.woocommerce_records import FIRST_ORDER
from sync.history import run_import
from sync.reconcile import reconcile
from sync.vanished import find_vanished
from tests.factories import set_way
from tests.sync.shops import Shop, rows


async def cancelled(shop: Shop) -> set[str]:
    """The orders that we hold as deleted."""
    return {
        name
        for (name,) in await rows(
            shop.database, "SELECT external_id FROM orders WHERE deleted_at IS NOT NULL"
        )
    }


LISTS_DRAFTS = 1  # one question is whether lists of orders hold drafts


def order(shop: Shop, position: int) -> str:
    return str(FIRST_ORDER + shop.sandbox.world.sales[position].number)


async def test_one_question_shows_that_nothing_is_missing(shop: Shop) -> None:
    before = shop.sandbox.requests
    assert await find_vanished(shop.services, shop.store) == 0
    assert shop.sandbox.requests == before + 1 + LISTS_DRAFTS
    assert await cancelled(shop) == set()


async def test_orders_deleted_for_good_are_found_wherever_they_were(shop: Shop) -> None:
    gone = {order(shop, position) for position in (0, 57, 58, 119)}
    for name in gone:
        shop.sandbox.delete_order(name)
    before = shop.sandbox.requests
    assert await find_vanished(shop.services, shop.store) == len(gone)
    assert await cancelled(shop) == gone
    # The whole, two halves by name, and each of the four by itself.
    assert shop.sandbox.requests == before + LISTS_DRAFTS + 1 + 2 + 4
    assert await find_vanished(shop.services, shop.store) == 0


async def test_the_daily_look_takes_their_points_back(shop: Shop) -> None:
    async with shop.database.transaction() as connection:
        await set_way(connection, shop.store.program_id, "place_order", 200)
        await connection.execute("UPDATE stores SET earning_from = %s", (shop.clock.now,))
    person = shop.sandbox.accounts[0]
    placed = await shop.ask("checkout", email=person.email, subtotal_minor=4_000)
    shop.clock.now += timedelta(minutes=1)
    await run_import(shop.services, shop.store.id)
    assert await rows(shop.database, "SELECT sum(points) FROM ledger_entries") == [(200,)]
    shop.sandbox.delete_order(str(placed["order"]))
    shop.clock.now += timedelta(days=1)
    report = await reconcile(shop.services, shop.store.id)
    assert report.vanished == 1
    assert await rows(shop.database, "SELECT sum(points) FROM ledger_entries") == [(0,)]


async def test_an_order_in_the_trash_counts_as_gone_and_one_that_lists_hide_does_not(shop: Shop) -> None:
    trashed, hidden = order(shop, 3), order(shop, 4)
    shop.sandbox.faults.lose_webhooks = 10
    shop.sandbox.trash_order(trashed)
    shop.sandbox.orders.hidden.add(4)
    assert await find_vanished(shop.services, shop.store) == 1
    assert await cancelled(shop) == {trashed}
    assert hidden not in await cancelled(shop)


async def test_checkouts_that_are_not_finished_hide_no_order_that_is_gone(shop: Shop) -> None:
    """A shop whose orders are posts lists them with the orders, so it has as many as before."""
    shop.sandbox.be_older("8.0.3")
    shop.sandbox.faults.lose_webhooks = 10
    for person in shop.sandbox.accounts[:3]:
        draft = shop.sandbox.place_order({"email": person.email, "subtotal_minor": 1_000})
        shop.sandbox.set_status(str(draft["order"]), "checkout-draft")
        shop.sandbox.world.sales[-1].placed_at = shop.sandbox.world.sales[50].placed_at
    gone = {order(shop, 50), order(shop, 51)}
    for name in gone:
        shop.sandbox.delete_order(name)
    assert await find_vanished(shop.services, shop.store) == 2
    assert await cancelled(shop) == gone


async def test_a_shop_that_cannot_count_is_left_alone(shop: Shop) -> None:
    shop.sandbox.host.strips_totals = True
    shop.sandbox.delete_order(order(shop, 3))
    assert await find_vanished(shop.services, shop.store) == 0
