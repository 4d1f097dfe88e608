"""Members' points in the admin of their shop, as the ledger has them, and written no more often than they change."""

from __future__ import annotations

from typing import Any

import pytest

from rewards.errors import InvalidInputError
from sandbox.shopify import ShopifySandbox
from sandbox.shopify_metafields import APP_NAMESPACE
from sandbox.stripe import StripeSandbox
from storage.people import merge_members
from sync import store_settings
from sync.install import connect
from sync.kinds import Kind
from tests.flows.stage import Shop, Stage

UP_TO_DATE = """SELECT NOT EXISTS (
    SELECT FROM stores s WHERE s.points_shown_through IS NULL OR EXISTS (
        SELECT FROM ledger_entries e WHERE e.program_id = s.program_id AND e.id > s.points_shown_through)) AS is_so"""
BALANCES = """SELECT sc.external_id, (SELECT sum(m.balance) FROM members m JOIN members x ON x.id = sc.member_id
        WHERE coalesce(x.merged_into, x.id) IN (m.id, m.merged_into))::bigint AS points
    FROM store_customers sc WHERE sc.external_id NOT LIKE 'guest:%%' AND sc.deleted_at IS NULL"""


def shown(shop: Shop) -> dict[str, int]:
    """What the admin shows, by customer."""
    sandbox = shop.sandbox
    assert isinstance(sandbox, ShopifySandbox)
    return {
        customer: int(value)
        for (customer, name), value in sandbox.views.metafields.items()
        if name == f"{APP_NAMESPACE}.points"
    }


async def up_to_date(shop: Shop) -> int:
    """Waits until the shop shows what the ledger says, and nothing more is on its way; requests that it has had."""
    await shop.stage.settle()
    await shop.stage.until(UP_TO_DATE)
    await shop.stage.settle()
    expected = {row["external_id"]: row["points"] for row in await shop.stage.rows(BALANCES)}
    seen = shown(shop)
    assert {customer: seen.get(customer, 0) for customer in expected} == expected
    return shop.sandbox.requests


async def test_the_admin_shows_what_the_ledger_says_through_all_that_moves_it(stage: Stage) -> None:
    shop = await stage.open(ShopifySandbox, customers=60, orders=90)
    await up_to_date(shop)
    assert shown(shop) == {}, "nobody has points, and nobody was told so"
    run = await shop.rewards_the_past()
    asked = await up_to_date(shop)
    assert max(shown(shop).values()) > 0
    await shop.ask("replay")
    assert await up_to_date(shop) == asked, (
        "what a store tells, also of our own writes, is no reason to write"
    )
    await shop.earns()
    someone = next(person.email for person in shop.sandbox.world.people if not person.is_guest)
    order = await shop.buys(someone, 5_000)
    await up_to_date(shop)
    await shop.ask("refund", order=order, total_minor=2_000)
    await up_to_date(shop)
    await stage.defer(Kind.UNDO_BACKFILL, run.id)
    await up_to_date(shop)


async def test_a_broken_record_holds_nobody_up_and_is_not_tried_for_ever(stage: Stage) -> None:
    shop = await stage.open(ShopifySandbox, customers=60, orders=90)
    assert isinstance(shop.sandbox, ShopifySandbox)
    gone, *_ = shop.sandbox.customers
    del shop.sandbox.customers[gone]  # without a word
    await shop.ask("faults", server_errors=2)
    await shop.rewards_the_past()
    await stage.until(UP_TO_DATE)
    (refused,) = await stage.rows("SELECT refused FROM shown_points WHERE refused IS NOT NULL")
    assert "Owner does not exist" in refused["refused"]
    assert len(shown(shop)) > 20
    await stage.settle()
    asked = shop.sandbox.requests
    await stage.jobs.wake(Kind.SHOW_POINTS, shop.store.id)
    await stage.settle()
    assert shop.sandbox.requests == asked


async def test_two_members_who_are_one_show_their_sum_after_the_daily_look(stage: Stage) -> None:
    shop = await stage.open(ShopifySandbox, customers=30, orders=30)
    await shop.rewards_the_past()
    await up_to_date(shop)
    one, other, *_ = await stage.rows(
        "SELECT member_id FROM store_customers WHERE has_account ORDER BY id LIMIT 2"
    )
    async with stage.services.database.transaction() as connection:
        await merge_members(
            connection, shop.store.program_id, one["member_id"], other["member_id"], stage.clock()
        )
    await shop.reconciles()
    await up_to_date(shop)


async def test_an_app_that_was_taken_out_and_put_in_again_shows_everything_anew(stage: Stage) -> None:
    shop = await stage.open(ShopifySandbox, customers=30, orders=30)
    await shop.rewards_the_past()
    await up_to_date(shop)
    assert isinstance(shop.sandbox, ShopifySandbox)
    before = shown(shop)
    shop.sandbox.uninstall()
    await stage.settle()
    shop.sandbox.views.metafields.clear()  # what belongs to an app goes with it
    shop.sandbox.install_again()
    stage.clock.passes(seconds=30)
    await connect(stage.services, "shopify", shop.sandbox.connect_answers())
    await up_to_date(shop)
    assert shown(shop) == before


async def test_a_merchant_who_wants_no_points_there_gets_none_until_they_do(stage: Stage) -> None:
    shop = await stage.open(ShopifySandbox, customers=30, orders=30)
    await choose(shop, show_points="off")
    await shop.rewards_the_past()
    await stage.jobs.wake(Kind.SHOW_POINTS, shop.store.id)
    await stage.settle()
    assert shown(shop) == {}
    await choose(shop, show_points="on")
    await up_to_date(shop)
    assert shown(shop) != {}


async def test_a_platform_that_cannot_show_points_says_so(stage: Stage) -> None:
    shop = await stage.open(StripeSandbox, customers=5, orders=5)
    with pytest.raises(InvalidInputError, match="cannot show points"):
        await choose(shop, show_points="on")


async def test_a_shop_that_does_not_allow_it_is_left_alone_until_the_next_day(stage: Stage) -> None:
    shop = await stage.open(ShopifySandbox, customers=30, orders=30)
    assert isinstance(shop.sandbox, ShopifySandbox)
    kept = [scope for scope in shop.sandbox.oauth.scopes if scope != "write_customers"]
    shop.sandbox.grant_scopes(*kept, "read_customers")
    await shop.rewards_the_past()
    await stage.until(UP_TO_DATE)
    await stage.settle()
    assert shown(shop) == {}
    assert await stage.rows("SELECT 1 FROM audit_events WHERE action = 'job.failed'") == []
    [notice] = (await shop.row()).notices
    assert "points are not written" in notice
    shop.sandbox.grant_scopes(*kept, "write_customers")
    await shop.reconciles()
    await up_to_date(shop)
    assert shown(shop) != {}


async def choose(shop: Shop, **settings: Any) -> None:
    await store_settings.change(shop.stage.services, shop.store.id, settings, actor="test")
