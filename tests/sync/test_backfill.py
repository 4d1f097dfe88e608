"""Past actions are previewed exactly, awarded once, and taken back as one batch."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import aiohttp
import pytest

from rewards.changes import CustomerSaved, OrderSaved, RefundSaved
from rewards.errors import AlreadyReversedError, InvalidInputError
from rewards.ledger import points_taken_back
from rewards.records import OrderStatus
from storage import backfill as stored
from storage import plans
from storage.backfill import RunRow
from storage.database import Database
from storage.secrets import SecretBox
from storage.stores import StoreRow
from sync import backfill
from sync.services import Services
from tests.factories import NOON, customer, new_store, order, refund, set_way
from tests.sync.test_apply import EARLY, apply, rows


@pytest.fixture
async def services(database: Database, secret_box: SecretBox) -> AsyncIterator[Services]:
    async with aiohttp.ClientSession() as session:
        yield Services(database, {}, session, lambda: NOON, secret_box)


async def run(services: Services, store: StoreRow) -> RunRow:
    """Preview, confirm, run."""
    previewed = await backfill.preview(services, store.id, actor="test")
    async with services.database.transaction() as connection:
        await backfill.confirm(services, previewed.id, actor="test", connection=connection)
    return await backfill.continue_run(services, previewed.id)


@pytest.mark.feature("B-04", "R-05")
async def test_old_account_with_one_order_gets_300_points(services: Services) -> None:
    store = await new_store(services.database)
    await apply(services.database, store, CustomerSaved(customer()), OrderSaved(order()))
    done = await run(services, store)
    assert done.preview["points"] == done.counts["points"] == 300
    assert await rows(services.database, "SELECT balance FROM members") == [(300,)]


async def test_guests_get_orders_only_and_preview_says_who_is_left_out(services: Services) -> None:
    store = await new_store(services.database, sign_up=100, place_order=(5, 100))
    await apply(
        services.database,
        store,
        CustomerSaved(customer()),
        OrderSaved(order("1")),
        OrderSaved(order("2", customer_external_id=None, email="bo@people.example")),
        OrderSaved(order("3", paid_at=None, status=OrderStatus.PENDING)),
        OrderSaved(order("4", is_test=True)),
        OrderSaved(order("5", currency="USD")),
        OrderSaved(order("6", customer_external_id=None, email=None)),
        OrderSaved(order("7", subtotal_minor=0)),
    )
    done = await run(services, store)
    counted = done.preview["ways"]["place_order"]
    assert {name: counted[name] for name in ("customers", "guests", "facts", "points")} == {
        "customers": 2,
        "guests": 1,
        "facts": 2,
        "points": 1_000,
    }
    left_out = ("unpaid", "test_orders", "other_currency", "nobody", "worth_nothing", "already_awarded")
    assert [counted[name] for name in left_out] == [1, 1, 1, 1, 1, 0]
    assert await rows(services.database, "SELECT email, balance FROM members ORDER BY email") == [
        ("ada.1@people.example", 600),
        ("bo@people.example", 500),
    ]


@pytest.mark.parametrize("refunded", [1, 3_333, 12_099, 12_100, 50_000])
async def test_preview_run_and_rule_agree_on_refunds(services: Services, refunded: int) -> None:
    store = await new_store(services.database, place_order=(7, 100))
    parts = (
        RefundSaved("1", refund("a", refunded // 2)),
        RefundSaved("1", refund("b", refunded - refunded // 2)),
    )
    await apply(services.database, store, OrderSaved(order()), *parts)
    done = await run(services, store)
    assert done.preview["points"] == done.counts["points"]
    assert done.counts["points"] == 700 - points_taken_back(700, 12_100, refunded, False)


async def test_only_enabled_ways_award(services: Services) -> None:
    store = await new_store(services.database, sign_up=100)
    await apply(services.database, store, CustomerSaved(customer()), OrderSaved(order()))
    assert (await run(services, store)).counts["points"] == 100


async def test_second_run_awards_nothing(services: Services) -> None:
    store = await new_store(services.database)
    await apply(services.database, store, CustomerSaved(customer()), OrderSaved(order()))
    await run(services, store)
    again = await run(services, store)
    assert again.preview["points"] == 0
    assert again.counts.get("entries", 0) == 0
    assert await rows(services.database, "SELECT balance FROM members") == [(300,)]


async def test_undone_run_can_run_again_under_another_rule(services: Services) -> None:
    store = await new_store(services.database)
    await apply(services.database, store, CustomerSaved(customer()), OrderSaved(order()))
    first = await run(services, store)
    await apply(services.database, store, RefundSaved("1", refund("r", 12_100 // 2)))
    undone = await backfill.undo_run(services, first.id)
    assert undone.state == "undone"
    assert await rows(services.database, "SELECT balance FROM members") == [(0,)]
    async with services.database.transaction() as connection:
        await set_way(connection, store.program_id, "place_order", 50)
    second = await run(services, store)
    assert second.counts["points"] == 100 + 25
    await apply(services.database, store, CustomerSaved(customer()), OrderSaved(order()))
    assert await rows(
        services.database,
        "SELECT balance, balance = (SELECT sum(points) FROM ledger_entries) AS s FROM members",
    ) == [(125, True)]
    with pytest.raises(AlreadyReversedError):
        await backfill.undo_run(services, first.id)


async def test_confirming_after_the_rules_changed_is_refused(services: Services) -> None:
    store = await new_store(services.database)
    previewed = await backfill.preview(services, store.id, actor="test")
    async with services.database.transaction() as connection:
        await set_way(connection, store.program_id, "sign_up", 5)
    with pytest.raises(InvalidInputError, match="changed since this preview"):
        async with services.database.transaction() as connection:
            await backfill.confirm(services, previewed.id, actor="test", connection=connection)


@pytest.mark.feature("B-07", "R-16")
async def test_run_works_while_the_program_is_switched_off(services: Services) -> None:
    store = await new_store(services.database, earning_from=EARLY)
    async with services.database.transaction() as connection:
        await connection.execute("UPDATE programs SET is_on = false")
    await apply(services.database, store, CustomerSaved(customer()), OrderSaved(order()))
    assert await rows(services.database, "SELECT balance FROM members") == [(0,)]
    assert (await run(services, store)).counts["points"] == 300


async def test_run_goes_on_where_it_was_stopped(services: Services) -> None:
    store = await new_store(services.database, place_order=10)
    orders = [OrderSaved(order(str(n), paid_at=NOON - timedelta(days=n))) for n in range(1, 4_102)]
    await apply(services.database, store, *orders)
    previewed = await backfill.preview(services, store.id, actor="test")
    async with services.database.transaction() as connection:
        await backfill.confirm(services, previewed.id, actor="test", connection=connection)

    def stop(looked_at: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await backfill.continue_run(services, previewed.id, progress=stop)
    assert await rows(services.database, "SELECT count(*) AS n FROM ledger_entries") == [(2_000,)]
    done = await backfill.continue_run(services, previewed.id)
    assert (done.state, done.counts["points"], previewed.preview["points"]) == ("done", 41_010, 41_010)


async def test_a_small_shops_preview_does_not_walk_through_everybody_elses_members(
    services: Services,
) -> None:
    store = await new_store(services.database)
    await apply(services.database, store, CustomerSaved(customer()))
    async with services.database.transaction() as connection:
        await connection.execute(
            """INSERT INTO members (program_id, match_store_id, has_account, home_store_id, balance, created_at)
               SELECT 1000000 + i, 0, true, 0, 0, now() FROM generate_series(1, 5000) AS i"""
        )
    previewed = await backfill.preview(services, store.id, actor="test")
    assert previewed.preview["points"] == 100
    async with services.database.transaction() as connection:
        way = previewed.rule_version_ids[-1]
        await plans.by_key(connection)
        values = {"program": store.program_id, "store": store.id, "way": way}
        await stored.preview_sign_ups(connection, values)
        assert await stored.next_members(connection, store.program_id, store.id, 0, 10**9, 100)
        cursor = await connection.execute(
            """SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) AS looked_at FROM pg_stat_xact_user_tables
               WHERE relname = 'members'"""
        )
        assert [row["looked_at"] < 100 for row in await cursor.fetchall()] == [True]


async def test_an_order_that_lives_again_gets_its_points_back_although_nothing_earns(
    services: Services,
) -> None:
    store = await new_store(services.database)
    later = [NOON + timedelta(hours=hours) for hours in range(3)]
    await apply(services.database, store, OrderSaved(order()))
    await run(services, store)
    ended = order(status=OrderStatus.CANCELLED, cancelled_at=later[0], source_updated_at=later[0])
    assert (await apply(services.database, store, OrderSaved(ended))).points == -200
    alive = await apply(services.database, store, OrderSaved(order(source_updated_at=later[1])))
    assert alive.points == 200
    again = await run(services, store)
    assert again.preview["points"] == again.counts.get("points", 0) == 0
    assert await rows(services.database, "SELECT balance FROM members") == [(200,)]
