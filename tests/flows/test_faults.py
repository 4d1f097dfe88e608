"""A platform that fails in the middle of things: jobs try again, and what they end with is exact."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sandbox.server import Sandbox
from sandbox.shopify import ShopifySandbox
from sync.kinds import Kind
from tests.flows.stage import PATIENCE_SECONDS, Shop, Stage
from tests.flows.tills import RULE

# A connector without patience leaves it to the jobs to try again.
IMPATIENT = {"setting:patience_seconds": "0"}
# After so many requests the customers are in and the rest is not.
CUSTOMERS_AFTER = {"shopify": 5, "stripe": 32, "woocommerce": 12}
FAULTS = ("cut_answers", "throttle", "server_errors", "cut", "malformed")


async def assert_history_is_exact(shop: Shop) -> None:
    """What we hold is what the shop's own books say, and came in one reading."""
    theirs: dict[str, Any] = shop.sandbox.books(RULE, 0, 0)
    (ours,) = await shop.stage.rows(
        """SELECT (SELECT count(*) FROM orders WHERE store_id = s.id AND paid_at IS NOT NULL) AS paid,
                  (SELECT count(*) FROM members WHERE home_store_id = s.id AND has_account) AS customers,
                  (SELECT count(*) FROM import_runs WHERE store_id = s.id) AS runs,
                  (SELECT count(*) FROM import_windows WHERE store_id = s.id AND done_at IS NULL) AS unread
           FROM stores s WHERE id = %s""",
        shop.store.id,
    )
    paid = sum(1 for sale in shop.sandbox.world.sales if sale.paid_at)
    assert ours == {"paid": paid, "customers": theirs["customers"], "runs": 1, "unread": 0}
    run = await shop.rewards_the_past()
    assert run.preview["points"] == theirs["points_expected"] > 0
    assert sum((await shop.books()).balances.values()) == theirs["points_expected"]


async def test_faults_in_the_middle_of_history_leave_no_trace(stage: Stage, kind: type[Sandbox]) -> None:
    shop = await stage.open(kind, customers=200, orders=600, answers=IMPATIENT, reads_history=False)
    faults = shop.sandbox.faults
    await stage.defer(Kind.IMPORT_HISTORY, shop.store.id)
    for fault in FAULTS:
        faults.spare = 1
        setattr(faults, fault, 2)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                if not getattr(faults, fault):
                    break
                await asyncio.sleep(0)
        assert not await is_read(shop), "the history was too short for all faults"
    await stage.settle()
    await assert_history_is_exact(shop)


async def is_read(shop: Shop) -> bool:
    """True once the history is in."""
    (found,) = await shop.stage.rows("SELECT synced_at FROM stores WHERE id = %s", shop.store.id)
    return found["synced_at"] is not None


async def test_a_refused_key_pauses_the_store_and_new_credentials_go_on(
    stage: Stage, kind: type[Sandbox]
) -> None:
    shop = await stage.open(kind, customers=200, orders=600, answers=IMPATIENT, reads_history=False)
    shop.sandbox.faults.spare = CUSTOMERS_AFTER[kind.platform]
    shop.sandbox.faults.refuse_credentials = True
    await stage.defer(Kind.IMPORT_HISTORY, shop.store.id)
    await stage.settle()
    row = await shop.row()
    assert row.status == "paused"
    assert row.status_reason
    assert not await is_read(shop)
    (event,) = await stage.rows("SELECT detail FROM audit_events WHERE action = 'store.paused'")
    assert event["detail"]["reason"] == row.status_reason
    await stage.days_pass(1)
    asked = shop.sandbox.requests
    await stage.defer(Kind.IMPORT_HISTORY, shop.store.id)
    await stage.tick()
    assert shop.sandbox.requests == asked, "a paused store is asked once a day, and left alone otherwise"
    before = await stage.rows("SELECT id, cursor, done_at FROM import_windows WHERE done_at IS NOT NULL")
    assert before, "it was refused before anything was read"
    shop.sandbox.faults.refuse_credentials = False
    again = await stage.install(shop.sandbox, reads_history=True)
    assert again.store.id == shop.store.id
    assert (await shop.row()).status == "active"
    after = await stage.rows("SELECT id, cursor, done_at FROM import_windows ORDER BY id")
    assert all(window in after for window in before)
    await assert_history_is_exact(shop)


async def test_a_store_that_lets_us_in_again_goes_on_by_itself(stage: Stage, kind: type[Sandbox]) -> None:
    shop = await stage.open(kind, customers=200, orders=600, answers=IMPATIENT, reads_history=False)
    shop.sandbox.faults.spare = CUSTOMERS_AFTER[kind.platform]
    shop.sandbox.faults.refuse_credentials = True
    await stage.defer(Kind.IMPORT_HISTORY, shop.store.id)
    await stage.settle()
    await stage.days_pass(1)
    assert (await shop.row()).status == "paused"
    shop.sandbox.faults.refuse_credentials = False
    await stage.days_pass(1)
    row = await shop.row()
    assert (row.status, row.status_reason) == ("active", None)
    await assert_history_is_exact(shop)
    (event,) = await stage.rows("SELECT detail FROM audit_events WHERE action = 'store.resumed'")
    assert event["detail"]["was"]


@pytest.mark.parametrize("status", [402, 403, 423])
async def test_a_shop_that_shopify_closes_is_paused_with_the_reason_and_goes_on_once_it_is_open(
    stage: Stage, status: int
) -> None:
    shop = await stage.open(ShopifySandbox, customers=30, orders=30)
    assert isinstance(shop.sandbox, ShopifySandbox)
    shop.sandbox.closed_with = status
    await shop.reconciles()
    row = await shop.row()
    assert row.status == "paused"
    assert {402: "frozen", 403: "forbids", 423: "locked"}[status] in str(row.status_reason)
    await stage.tick()
    assert (await shop.row()).status == "paused", "it was asked, and is closed still"
    shop.sandbox.closed_with = None
    await stage.tick()
    assert (await shop.row()).status == "paused", "once a day is enough"
    shop.sandbox.hook_desk.emit("shop/update", lambda _: {"id": 61_000_000_001, "name": "Open again"})
    await stage.settle()
    await stage.tick()
    assert (await shop.row()).status == "active", "but at once when the shop is heard of"


async def test_codes_that_a_refused_key_held_up_go_out_after_new_credentials(
    stage: Stage, kind: type[Sandbox]
) -> None:
    shop = await stage.open(kind, customers=130, orders=20, birthday_share=1.0, answers=IMPATIENT)
    await shop.rewards("birthday")
    shop.sandbox.faults.refuse_credentials = True
    await stage.tick()
    assert (await shop.row()).status == "paused"
    assert {code["state"] for code in await shop.codes()} == {"decided"}
    shop.sandbox.faults.refuse_credentials = False
    await stage.install(shop.sandbox, reads_history=False)
    stage.clock.passes(minutes=5)
    await stage.tick()
    codes = await shop.codes()
    assert {code["state"] for code in codes} == {"pushed"}
    assert shop.sandbox.codes_in_store() == len(codes) > 0


async def test_webhooks_still_count_while_a_store_is_paused(stage: Stage, kind: type[Sandbox]) -> None:
    shop = await stage.open(kind)
    await shop.earns()
    shop.sandbox.faults.refuse_credentials = True
    await shop.reconciles()
    assert (await shop.row()).status == "paused"
    order = await shop.buys("ada@people.example", 5_000)
    await stage.settle()
    assert (await shop.books()).net[order] > 0


async def test_a_push_that_fails_in_any_way_makes_one_code_for_each_grant(
    stage: Stage, kind: type[Sandbox]
) -> None:
    shop = await stage.open(kind, customers=130, orders=20, birthday_share=1.0, answers=IMPATIENT)
    await shop.rewards("birthday")
    for fault in FAULTS:
        setattr(shop.sandbox.faults, fault, 2)
    for _ in range(2 * len(FAULTS) + 1):
        await stage.tick()
        stage.clock.passes(minutes=5)
    assert not any(getattr(shop.sandbox.faults, fault) for fault in FAULTS)
    today = shop.sandbox.world.seed.today
    codes = await shop.codes()
    assert len(codes) == len(shop.sandbox.world.birthdays_due(today, 0)) > 3
    assert {code["state"] for code in codes} == {"pushed"}
    assert shop.sandbox.codes_in_store() == len(codes)
    for code in codes[:2]:
        await shop.buys(code["email"], 5_000, code["code"])
        assert await shop.refused(code["email"], code["code"]) == "used_up"
    await stage.settle()
    assert [code["state"] for code in await shop.codes()].count("redeemed") == 2
