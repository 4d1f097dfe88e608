"""From what shoppers do in the store to the ledger, by webhook; and by the daily look where webhooks were lost."""

from __future__ import annotations

from dataclasses import replace

from sandbox.server import Sandbox
from sandbox.woocommerce import WooCommerceSandbox
from tests.flows.stage import Shop, Stage
from tests.flows.tills import RULE, points_of


async def what_shoppers_do(shop: Shop) -> dict[str, int]:
    """Somebody new signs up and orders, a guest and an old customer order; some is repaid, some cancelled.

    Gives the net points of each fact by the shop's own books.
    """
    old = shop.sandbox.world.people[0].email
    await shop.ask("sign_up", name="Ada New", email="ada.new@people.example")
    orders = [
        await shop.buys("ada.new@people.example", 5_000),
        await shop.buys("guest.new@people.example", 3_333),
        await shop.buys(old, 10_000),
        await shop.buys(old, 2_500),
        await shop.buys(old, 7_700),
    ]
    await shop.ask("refund", order=orders[2], total_minor=4_000)
    await shop.ask("refund", order=orders[2], total_minor=1_000)
    await shop.ask("refund", order=orders[0], total_minor=1_234)
    await shop.ask("cancel", order=orders[3])
    found = {order: points_of(shop.sandbox, order) for order in orders}
    assert found[orders[3]] == 0
    assert min(found[order] for order in orders if order != orders[3]) > 0
    found["sign-up of ada.new@people.example"] = RULE.sign_up
    return {fact: points for fact, points in found.items() if points}


async def test_what_happens_after_earning_began_earns_and_old_facts_stay_held(
    stage: Stage, kind: type[Sandbox]
) -> None:
    shop = await stage.open(kind)
    past = shop.sandbox.world.expected_points(RULE)
    await shop.earns()
    assert (await shop.books()).awards == []
    expected = await what_shoppers_do(shop)
    await stage.settle()
    books = await shop.books()
    assert books.net == expected
    assert sum(books.balances.values()) == sum(expected.values())
    run = await shop.rewards_the_past()
    assert run.preview["points"] == past > 0
    assert sum((await shop.books()).balances.values()) == past + sum(expected.values())


async def test_lost_webhooks_are_made_good_by_the_daily_look(stage: Stage, kind: type[Sandbox]) -> None:
    shop = await stage.open(kind, customers=80, birthday_share=1.0)
    await shop.rewards("birthday")
    await stage.tick()
    first = (await shop.codes())[0]
    await shop.earns()
    await shop.loses_webhooks()
    expected = await what_shoppers_do(shop)
    order = await shop.buys(first["email"], 5_000, first["code"])
    expected[order] = points_of(shop.sandbox, order)
    await stage.settle()
    assert (await shop.books()).net == {}
    assert {found["state"] for found in await shop.codes()} == {"pushed"}
    await stage.days_pass(1)  # the worker asks for the look by itself
    assert (await shop.books()).net == expected
    redeemed = [found["code"] for found in await shop.codes() if found["state"] == "redeemed"]
    assert redeemed == [first["code"]]
    before = await stage.rows("SELECT count(*) AS n FROM ledger_entries")
    await stage.days_pass(1)
    assert (await shop.books()).net == expected
    assert await stage.rows("SELECT count(*) AS n FROM ledger_entries") == before


async def test_repeated_reordered_and_forged_webhooks_change_nothing(
    stage: Stage, kind: type[Sandbox]
) -> None:
    shop = await stage.open(kind)
    # Points that are written into members' records would make the shop tell of these, whenever that is done.
    await stage.rows(
        """UPDATE stores SET settings = settings || '{"show_points": "off"}' WHERE id = %s RETURNING id""",
        shop.store.id,
    )
    await shop.earns()
    await shop.ask("faults", repeat_webhooks=10, forge_webhooks=6, reorder_webhooks=True)
    expected = await what_shoppers_do(shop)
    await stage.settle()
    assert (await shop.books()).net == expected
    before = await stage.rows("SELECT id, key, round, points FROM ledger_entries ORDER BY id")
    kept = await stage.rows("SELECT count(*) AS n FROM deliveries WHERE state = 'handled'")
    assert kept[0]["n"] == len(shop.sandbox.hooks.accepted) > 6
    for _ in range(2):
        assert (await shop.ask("replay"))["sent"] > 6
        await stage.settle()
    assert await stage.rows("SELECT id, key, round, points FROM ledger_entries ORDER BY id") == before
    assert await stage.rows("SELECT count(*) AS n FROM deliveries") == kept
    assert shop.sandbox.hooks.forged_answers == {401: 6}


async def test_webhooks_that_the_platform_gave_up_are_set_up_again_by_the_daily_look(
    stage: Stage, kind: type[Sandbox]
) -> None:
    shop = await stage.open(kind)
    await shop.earns()
    shop.sandbox.give_up_webhooks()
    missed = await shop.buys("ada.new@people.example", 5_000)
    await stage.settle()
    assert (await shop.books()).net == {}
    await stage.days_pass(1)  # the worker asks for the look by itself
    assert (await shop.books()).net[missed] == points_of(shop.sandbox, missed)
    later = await shop.buys("guest.new@people.example", 3_333)
    await stage.settle()
    assert (await shop.books()).net[later] == points_of(shop.sandbox, later)
    await stage.days_pass(1)
    looks = await stage.rows(
        "SELECT detail->>'webhooks' AS found FROM audit_events WHERE action = 'store.reconciled' ORDER BY id"
    )
    assert [look["found"] for look in looks] == ["set_up_again", "on"]


async def test_webhooks_disabled_for_their_failures_are_set_up_again_with_a_secret_that_is_known(
    stage: Stage,
) -> None:
    shop = await stage.open(WooCommerceSandbox)
    await shop.earns()
    sandbox = shop.sandbox
    assert isinstance(sandbox, WooCommerceSandbox)
    for hook in sandbox.queue.webhooks.values():
        hook.secret = "typed into the shop's settings by somebody"
    missed = [await shop.buys(f"guest.{number}@people.example", 2_000) for number in range(8)]
    await stage.settle()
    assert (await shop.books()).net == {}
    assert "disabled" in {hook.status for hook in sandbox.queue.webhooks.values()}
    await shop.reconciles()
    assert {hook.status for hook in sandbox.queue.webhooks.values()} == {"active"}
    later = await shop.buys("guest.new@people.example", 3_333)
    await stage.settle()
    assert (await shop.books()).net == {order: points_of(sandbox, order) for order in [*missed, later]}


async def test_webhooks_that_a_key_may_not_set_up_again_are_reported_and_the_rest_is_done(
    stage: Stage,
) -> None:
    shop = await stage.open(WooCommerceSandbox)
    await shop.earns()
    sandbox = shop.sandbox
    assert isinstance(sandbox, WooCommerceSandbox)
    sandbox.give_up_webhooks()
    missed = await shop.buys("ada.new@people.example", 5_000)
    # The merchant takes the right to write away from the key.
    sandbox.keys.keys[sandbox.read_write.key] = replace(sandbox.read_write, permission="read")
    await shop.reconciles()
    assert (await shop.row()).status == "active"
    assert list((await shop.books()).net) == [missed]
    (look,) = await stage.rows("SELECT detail FROM audit_events WHERE action = 'store.reconciled'")
    assert look["detail"]["webhooks"] == "off"
    assert "Read/Write permission" in look["detail"]["webhooks_note"]
