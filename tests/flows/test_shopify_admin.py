"""What a merchant does by hand in Shopify's admin reaches members, points and codes by its webhook, whatever it holds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from sandbox.shopify import ShopifySandbox
from sandbox.shopify_admin import Admin
from sync import store_settings
from tests.flows.stage import Shop, Stage

BY_CUSTOMER = """SELECT coalesce(m.merged_into, m.id) AS member, sc.accepts_marketing, sc.has_account, sc.name, sc.deleted_at,
        r.balance + coalesce((SELECT sum(g.balance) FROM members g WHERE g.merged_into = r.id), 0)::bigint AS points
    FROM store_customers sc JOIN members m ON m.id = sc.member_id
    JOIN members r ON r.id = coalesce(m.merged_into, m.id) WHERE sc.external_id = %s"""


@pytest.fixture
async def shop(stage: Stage) -> AsyncIterator[Shop]:
    """A shop that earns from now on; nothing that it tells may be left unread."""
    found = await stage.open(ShopifySandbox, customers=30, orders=20, birthday_share=0.5)
    await found.earns()
    yield found
    await stage.settle()
    assert await stage.rows("SELECT topic, note FROM deliveries WHERE state <> 'handled'") == []


def admin(shop: Shop) -> Admin:
    """The merchant, some seconds later than what was done before."""
    assert isinstance(shop.sandbox, ShopifySandbox)
    shop.stage.clock.passes(seconds=5)
    return shop.sandbox.admin


def customers(shop: Shop) -> list[tuple[str, str]]:
    """Number and e-mail of each customer."""
    assert isinstance(shop.sandbox, ShopifySandbox)
    return [(number, person.email) for number, person in shop.sandbox.customers.items()]


async def known(shop: Shop, number: str) -> dict[str, Any]:
    """What is known of a customer once all posts are handled."""
    await shop.stage.settle()
    [row] = await shop.stage.rows(BY_CUSTOMER, number)
    return row


async def test_two_records_that_are_merged_are_one_member_with_the_points_of_both(shop: Shop) -> None:
    (kept, email), (gone, other), *_ = customers(shop)
    await shop.buys(email, 10_000)
    await shop.buys(other, 20_000)
    before = (await known(shop, kept))["points"] + (await known(shop, gone))["points"]
    admin(shop).merge_customers(kept, gone)
    one, former = await known(shop, kept), await known(shop, gone)
    assert one["member"] == former["member"]
    assert one["points"] == before > 0
    assert one["deleted_at"] is None
    assert former["deleted_at"] is not None
    await shop.buys(email, 1_000)
    assert (await known(shop, kept))["points"] == before + 50
    await shop.ask("replay")
    assert (await known(shop, kept))["points"] == before + 50


async def test_marketing_consent_that_changes_is_known_at_once_and_may_make_a_member(shop: Shop) -> None:
    (number, _), *_ = customers(shop)
    choice = {"accounts": "consent"}
    await store_settings.change(shop.stage.services, shop.store.id, choice, actor="test")
    for subscribed in (True, False, True):
        admin(shop).set_consent(number, subscribed=subscribed)
        row = await known(shop, number)
        assert (row["accepts_marketing"], row["has_account"]) == (subscribed, subscribed)


async def test_a_tag_that_makes_members_counts_from_the_next_post_on(shop: Shop) -> None:
    (number, _), *_ = customers(shop)
    await store_settings.change(shop.stage.services, shop.store.id, {"accounts": "tag:Club"}, actor="test")
    admin(shop).set_tags(number, "club", "vip")
    assert (await known(shop, number))["has_account"]
    admin(shop).set_tags(number, "vip")
    assert not (await known(shop, number))["has_account"]


async def test_a_record_that_is_edited_or_deleted_is_followed_and_points_stay(shop: Shop) -> None:
    (number, email), *_ = customers(shop)
    await shop.buys(email, 10_000)
    admin(shop).rename_customer(number, "Ada Newname")
    points = (await known(shop, number))["points"]
    assert (await known(shop, number))["name"] == "Ada Newname"
    admin(shop).delete_customer(number)
    row = await known(shop, number)
    assert row["deleted_at"] is not None
    assert row["points"] == points > 0


async def test_an_order_is_known_when_it_is_made_and_earns_when_it_is_paid(shop: Shop) -> None:
    (number, email), *_ = customers(shop)
    placed = await shop.ask("checkout", email=email, subtotal_minor=10_000, unpaid=True)
    assert (await known(shop, number))["points"] == 0
    assert await order_status(shop, placed["order"]) == "pending"
    admin(shop).mark_paid(placed["order"])
    assert (await known(shop, number))["points"] == 500


async def test_an_order_that_is_edited_is_as_it_is_after_the_edit(shop: Shop) -> None:
    (number, email), *_ = customers(shop)
    order = await shop.buys(email, 10_000)
    admin(shop).edit_order(order, 12_000)
    await shop.stage.settle()
    [row] = await shop.stage.rows("SELECT subtotal_minor FROM orders WHERE external_id = %s", order)
    assert row["subtotal_minor"] == 12_000
    [told] = await shop.stage.rows("SELECT note FROM deliveries WHERE topic = 'orders/edited'")
    assert "orders/updated" in told["note"]
    assert (await known(shop, number))["points"] > 0


async def test_an_order_that_is_deleted_takes_its_points_back(shop: Shop) -> None:
    (number, email), *_ = customers(shop)
    order = await shop.buys(email, 10_000)
    assert (await known(shop, number))["points"] == 500
    admin(shop).delete_order(order)
    assert (await known(shop, number))["points"] == 0
    await shop.ask("replay")
    assert (await known(shop, number))["points"] == 0


async def test_a_test_payment_earns_nothing(shop: Shop) -> None:
    (number, email), *_ = customers(shop)
    order = admin(shop).make_test_order(email, 10_000)
    assert (await known(shop, number))["points"] == 0
    [row] = await shop.stage.rows("SELECT is_test FROM orders WHERE external_id = %s", order)
    assert row["is_test"]


async def test_a_code_that_is_used_on_an_order_that_is_still_to_be_paid_is_used(stage: Stage) -> None:
    shop = await stage.open(ShopifySandbox, customers=90, orders=60, birthday_share=1.0)
    await shop.rewards("birthday")
    await stage.tick()
    mine, *_ = await shop.codes()
    placed = await shop.ask(
        "checkout", email=mine["email"], subtotal_minor=5_000, code=mine["code"], unpaid=True
    )
    await stage.settle()
    assert (await shop.codes())[0]["state"] == "redeemed"
    admin(shop).mark_paid(placed["order"])
    await stage.settle()
    assert [code["state"] for code in await shop.codes()].count("redeemed") == 1


async def test_a_shop_that_takes_another_name_is_known_by_it(shop: Shop) -> None:
    admin(shop).rename_shop("Ada's New Shop")
    await shop.stage.settle()
    assert (await shop.row()).name == "Ada's New Shop"


async def counts(shop: Shop) -> dict[str, Any]:
    [row] = await shop.stage.rows(
        """SELECT (SELECT count(*) FROM orders) AS orders,
               (SELECT count(*) FROM store_customers WHERE email IS NOT NULL) AS people,
               (SELECT count(*) FROM import_runs WHERE since IS NULL) AS whole"""
    )
    return row


async def test_older_orders_are_read_once_the_shop_lets_us_see_them(stage: Stage) -> None:
    shop = await stage.open(ShopifySandbox, customers=30, orders=80, reads_history=False)
    assert isinstance(shop.sandbox, ShopifySandbox)
    kept = [scope for scope in shop.sandbox.oauth.scopes if scope != "read_all_orders"]
    shop.sandbox.grant_scopes(*kept)
    await stage.settle()
    await shop.reads_history()
    before = (await counts(shop))["orders"]
    assert 0 < before < 80
    assert any("60 days" in notice for notice in (await shop.row()).notices)
    await stage.days_pass(1)
    shop.sandbox.grant_scopes(*kept, "read_all_orders")
    await stage.settle()
    await stage.tick()
    after = await counts(shop)
    assert after["orders"] == 80
    assert not (await shop.row()).notices
    await stage.days_pass(1)
    assert (await counts(shop))["whole"] == after["whole"], "once"


async def test_names_and_addresses_are_read_once_the_app_may_see_them(stage: Stage) -> None:
    shop = await stage.open(ShopifySandbox, customers=30, orders=20, reads_history=False)
    assert isinstance(shop.sandbox, ShopifySandbox)
    shop.sandbox.people_shown = False
    await shop.reconciles()
    await shop.reads_history()
    assert (await counts(shop))["people"] == 0
    shop.sandbox.people_shown = True
    await stage.days_pass(1)  # nothing tells of it: the daily look finds out
    assert (await counts(shop))["people"] >= 30


async def order_status(shop: Shop, order: str) -> str:
    [row] = await shop.stage.rows("SELECT status FROM orders WHERE external_id = %s", order)
    return str(row["status"])
