"""What only happens on Stripe: subscriptions, delayed payments, disputes, people with several Customers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from rewards.records import Benefit, BenefitKind, Binding
from sandbox.server import CheckoutRefused
from sandbox.stripe import StripeSandbox
from sandbox.world import Seed, World
from sync.history import run_import
from sync.install import connect
from sync.reward_changes import change_reward
from sync.verify import verify_codes
from tests.flows.stage import Clock, Shop, Stage
from tests.sandbox.listening import Listening

ALL = Benefit(BenefitKind.PERCENTAGE, basis_points=10_000)


async def with_codes(stage: Stage, *, returns: str = "never", **terms: object) -> tuple[Shop, StripeSandbox]:
    """A shop whose members of today's birthday have their codes."""
    shop = await stage.open(
        StripeSandbox, customers=90, orders=60, birthday_share=1.0, answers={"setting:returns": returns}
    )
    await shop.rewards("birthday", validity_days=10, **terms)
    await stage.tick()
    assert {code["state"] for code in await shop.codes()} == {"pushed"}
    return shop, cast(StripeSandbox, shop.sandbox)


async def orders_with(stage: Stage, shop: Shop) -> list[dict[str, object]]:
    """Orders that carry a code: id, whether they were paid, how many codes."""
    return await stage.rows(
        """SELECT external_id, status, paid_at IS NOT NULL AS is_paid, cardinality(codes) AS codes, total_minor
           FROM orders WHERE store_id = %s AND codes <> '{}' ORDER BY id""",
        shop.store.id,
    )


async def code_now(stage: Stage, shop: Shop) -> dict[str, str]:
    """The oldest grant with the code that holds for it now, which replaces one that was given back."""
    (found,) = await stage.rows(
        """SELECT c.code, sc.email, sc.external_id AS customer, g.state FROM grants g
           JOIN promotion_codes c ON c.grant_id = g.id AND c.replaced_at IS NULL
           JOIN store_customers sc ON sc.id = g.store_customer_id WHERE g.store_id = %s ORDER BY g.id LIMIT 1""",
        shop.store.id,
    )
    return found


async def count_paid(stage: Stage, shop: Shop) -> int:
    (found,) = await stage.rows(
        "SELECT count(*) AS n FROM orders WHERE store_id = %s AND paid_at IS NOT NULL", shop.store.id
    )
    return int(found["n"])


async def test_a_subscription_redeems_on_its_first_invoice_and_each_payment_counts_once(stage: Stage) -> None:
    shop, sandbox = await with_codes(stage)
    mine, *_ = await shop.codes()
    before = await count_paid(stage, shop)
    stage.clock.passes(seconds=5)
    made = sandbox.till.subscribe(
        {"customer": mine["customer"], "subtotal_minor": 3_000, "code": mine["code"]}
    )
    await stage.settle()
    assert (await shop.codes())[0]["state"] == "redeemed"
    (order,) = await orders_with(stage, shop)
    assert order == {
        "external_id": made["order"], "status": "paid", "is_paid": True, "codes": 1, "total_minor": 2_700,
    }  # fmt: skip
    stage.clock.passes(days=1)
    sandbox.till.renew(str(made["subscription"]))
    await shop.ask("replay")
    await stage.settle()
    assert await count_paid(stage, shop) == before + 2
    assert await orders_with(stage, shop) == [order]
    await shop.reads_history()
    assert await count_paid(stage, shop) == before + 2


async def test_a_subscription_that_costs_nothing_redeems_and_is_no_purchase(stage: Stage) -> None:
    shop, sandbox = await with_codes(stage, benefit=ALL)
    mine, *_ = await shop.codes()
    before = await count_paid(stage, shop)
    stage.clock.passes(seconds=5)
    sandbox.till.subscribe({"customer": mine["customer"], "subtotal_minor": 3_000, "code": mine["code"]})
    await stage.settle()
    assert (await shop.codes())[0]["state"] == "redeemed"
    assert await count_paid(stage, shop) == before
    assert (await shop.books()).net == {}


async def test_a_lost_webhook_of_an_invoice_is_found_again_in_the_daily_look(stage: Stage) -> None:
    shop, sandbox = await with_codes(stage)
    mine, *_ = await shop.codes()
    await shop.loses_webhooks()
    sandbox.till.subscribe({"customer": mine["customer"], "subtotal_minor": 3_000, "code": mine["code"]})
    await stage.settle()
    assert (await shop.codes())[0]["state"] == "pushed"
    await shop.loses_webhooks(how_many=0)
    await shop.reconciles()
    assert (await shop.codes())[0]["state"] == "redeemed"


async def test_a_code_used_on_a_subscription_while_nothing_of_ours_ran_for_months_is_redeemed(
    stage: Stage,
) -> None:
    """Its event is gone from Stripe's list; the invoice itself tells of the code when the past is read again."""
    shop, sandbox = await with_codes(stage)
    mine, *_ = await shop.codes()
    await shop.loses_webhooks()
    made = sandbox.till.subscribe(
        {"customer": mine["customer"], "subtotal_minor": 3_000, "code": mine["code"]}
    )
    sandbox.account.events.rows.clear()
    await run_import(stage.services, shop.store.id, is_full=True)
    (order,) = await orders_with(stage, shop)
    assert order == {
        "external_id": made["order"], "status": "paid", "is_paid": True, "codes": 1, "total_minor": 2_700,
    }  # fmt: skip
    assert (await shop.codes())[0]["state"] == "redeemed"


async def test_a_delayed_payment_redeems_at_once_and_earns_when_the_bank_pays(stage: Stage) -> None:
    shop, sandbox = await with_codes(stage)
    mine, *_ = await shop.codes()
    before = await count_paid(stage, shop)
    placed = await shop.ask(
        "checkout", customer=mine["customer"], subtotal_minor=5_000, code=mine["code"], delayed=True
    )
    await stage.settle()
    assert (await shop.codes())[0]["state"] == "redeemed"
    assert await count_paid(stage, shop) == before
    stage.clock.passes(days=1)
    sandbox.till.settle(placed["order"], succeeded=True)
    await stage.settle()
    assert await count_paid(stage, shop) == before + 1
    assert (await shop.codes())[0]["state"] == "redeemed"


async def test_a_delayed_payment_that_fails_gives_the_code_back_as_a_new_one(stage: Stage) -> None:
    shop, sandbox = await with_codes(stage)
    mine, *_ = await shop.codes()
    who = {"customer": mine["customer"], "subtotal_minor": 5_000, "code": mine["code"]}
    placed = await shop.ask("checkout", **who, delayed=True)
    await stage.settle()
    stage.clock.passes(seconds=5)
    sandbox.till.settle(placed["order"], succeeded=False)
    await stage.settle()
    await stage.tick()
    mine = await code_now(stage, shop)
    assert mine["state"] == "pushed"
    await shop.ask("checkout", **{**who, "code": mine["code"]})
    await stage.settle()
    assert (await shop.codes())[0]["state"] == "redeemed"


async def test_a_payment_that_failed_and_is_made_in_another_way_counts_and_earns(stage: Stage) -> None:
    shop, sandbox = await with_codes(stage)
    await shop.earns()
    mine, *_ = await shop.codes()
    before = await count_paid(stage, shop)
    placed = await shop.ask(
        "checkout", customer=mine["customer"], subtotal_minor=5_000, code=mine["code"], delayed=True
    )
    await stage.settle()
    sandbox.till.settle(placed["order"], succeeded=False)
    await stage.settle()
    assert (await shop.books()).net == {}
    stage.clock.passes(days=1)
    sandbox.till.pay_after_all(placed["order"])
    await shop.ask("replay")
    await stage.settle()
    assert await count_paid(stage, shop) == before + 1
    (order,) = await orders_with(stage, shop)
    assert (order["status"], order["is_paid"], order["total_minor"]) == ("paid", True, placed["total_minor"])
    assert sum((await shop.books()).net.values()) > 0


async def test_a_full_refund_gives_a_new_code_where_the_merchant_wants_that(stage: Stage) -> None:
    shop, _ = await with_codes(stage, returns="on_full_refund")
    mine, *_ = await shop.codes()
    order = await shop.buys(mine["email"], 5_000, mine["code"])
    await stage.settle()
    await shop.ask("refund", order=order, total_minor=100)
    await stage.settle()
    assert (await shop.codes())[0]["state"] == "redeemed"
    await shop.ask("cancel", order=order)
    await stage.settle()
    await stage.tick()
    again = await code_now(stage, shop)
    assert again["state"] == "pushed"
    await shop.buys(again["email"], 5_000, again["code"])
    await stage.settle()
    assert (await shop.codes())[0]["state"] == "redeemed"
    assert await shop.refused(again["email"], again["code"]) == "used_up"


@pytest.mark.parametrize("won", [True, False])
async def test_a_dispute_takes_the_points_only_when_it_is_lost(stage: Stage, won: bool) -> None:
    shop = await stage.open(StripeSandbox)
    sandbox = cast(StripeSandbox, shop.sandbox)
    await shop.earns()
    order = await shop.buys(sandbox.world.people[1].email, 5_000)
    await stage.settle()
    earned = (await shop.books()).net
    assert sum(earned.values()) > 0
    stage.clock.passes(seconds=5)
    dispute = sandbox.till.dispute(order)
    await stage.settle()
    assert (await shop.books()).net == earned
    stage.clock.passes(seconds=5)
    sandbox.till.close_dispute(dispute, won=won)
    await shop.ask("replay")
    await stage.settle()
    assert sum((await shop.books()).net.values()) == (sum(earned.values()) if won else 0)


async def test_a_person_with_several_customers_gets_one_code_on_the_one_who_paid_last(stage: Stage) -> None:
    shop = await stage.open(StripeSandbox, customers=90, orders=60, birthday_share=1.0)
    sandbox = cast(StripeSandbox, shop.sandbox)
    twice = [p for p in sandbox.world.birthdays_due(sandbox.world.seed.today, 0) if p.number % 50 != 17]
    person = twice[0]
    other = sandbox.account.create_customer({"email": person.email.upper()}).id
    await shop.ask("checkout", customer=other, subtotal_minor=4_000)
    first = f"cus_Sbx{person.number:011d}"
    # Looked at later, and not paid: it does not count.
    await shop.ask("checkout", customer=first, subtotal_minor=4_000, delayed=True)
    await stage.settle()
    await shop.rewards("birthday", validity_days=10)
    await stage.tick()
    mine = [code for code in await shop.codes() if (code["email"] or "").lower() == person.email.lower()]
    assert [code["customer"] for code in mine] == [other]
    with pytest.raises(CheckoutRefused, match="wrong_customer"):
        sandbox.place_order({"customer": first, "subtotal_minor": 900, "code": mine[0]["code"]})


async def test_an_open_code_also_works_for_somebody_else_once(stage: Stage) -> None:
    shop, _ = await with_codes(stage, binding=Binding.OPEN)
    mine, *_ = await shop.codes()
    await shop.buys("a.friend@people.example", 5_000, mine["code"])
    await stage.settle()
    assert (await shop.codes())[0]["state"] == "redeemed"
    assert await shop.refused(mine["email"], mine["code"]) == "used_up"


async def test_a_coupon_deleted_in_the_dashboard_is_told_and_repaired(stage: Stage) -> None:
    shop, sandbox = await with_codes(stage)
    (coupon,) = {code.coupon.id for code in sandbox.account.codes if code.metadata}
    sandbox.account.delete_coupon(coupon)
    await stage.settle()
    report = await verify_codes(stage.services, shop.store.id)
    assert {found.difference for found in report.differences} == {"it is gone from the store"}
    report = await verify_codes(stage.services, shop.store.id, repair=True)
    assert report.repaired == len(report.differences) == len(await shop.codes())
    mine, *_ = await shop.codes()
    await shop.buys(mine["email"], 5_000, mine["code"])
    await stage.settle()
    assert (await shop.codes())[0]["state"] == "redeemed"


async def test_the_codes_of_a_deleted_coupon_are_no_longer_given_out(stage: Stage) -> None:
    shop = await stage.open(StripeSandbox, customers=90, orders=60, birthday_share=1.0)
    cast(StripeSandbox, shop.sandbox).account.delete_coupon("WELCOME")
    await stage.settle()
    found = await stage.rows(
        "SELECT code, is_active FROM coupons WHERE store_id = %s AND parent_external_id = 'WELCOME' ORDER BY code",
        shop.store.id,
    )
    assert [row["code"] for row in found] == ["PRESS-2025", "WELCOME10"]
    assert not any(row["is_active"] for row in found)
    others = await stage.rows(
        "SELECT is_active FROM coupons WHERE store_id = %s AND code = 'SUMMER5'", shop.store.id
    )
    assert [row["is_active"] for row in others] == [True]


async def test_codes_refused_for_want_of_a_permission_go_in_when_the_key_has_it(stage: Stage) -> None:
    shop = await stage.open(StripeSandbox, customers=90, orders=60, birthday_share=1.0)
    sandbox = cast(StripeSandbox, shop.sandbox)
    lacks = sandbox.access.keys[sandbox.key].lacks
    lacks.add("promotion_code_write")
    await shop.rewards("birthday", validity_days=10)
    await stage.tick()
    refused = await stage.rows("SELECT state, state_reason FROM grants WHERE store_id = %s", shop.store.id)
    assert {row["state"] for row in refused} == {"failed"}
    assert all("promotion_code_write" in row["state_reason"] for row in refused)
    lacks.clear()
    await shop.reconciles()
    assert {code["state"] for code in await shop.codes()} == {"pushed"}
    mine, *_ = await shop.codes()
    await shop.buys(mine["email"], 5_000, mine["code"])
    await stage.settle()
    assert (await shop.codes())[0]["state"] == "redeemed"


async def test_a_code_taken_by_a_twin_goes_in_when_the_twin_is_switched_off(stage: Stage) -> None:
    """The twin is for everybody, so nobody else may have its text; both ways to be asked again are tried."""
    shop, sandbox = await with_codes(stage)
    mine, *others = await shop.codes()
    coupon = next(iter(sandbox.account.coupons)).id
    (held,) = sandbox.account.codes_by_text[mine["code"].lower()]
    sandbox.account.update_code(held.id, {"active": "false"})
    twin = sandbox.account.create_code(
        {"promotion": {"type": "coupon", "coupon": coupon}, "code": mine["code"]}
    )
    await stage.settle()
    report = await verify_codes(stage.services, shop.store.id, repair=True)
    (found,) = report.differences
    assert "Switch that one off" in (found.refused or "")
    sandbox.account.update_code(twin.id, {"active": "false"})
    report = await verify_codes(stage.services, shop.store.id, repair=True)
    assert [each.repaired for each in report.differences] == [True]
    assert (await verify_codes(stage.services, shop.store.id)).differences == []
    assert len(await shop.codes()) == 1 + len(others)


async def test_a_trial_uses_its_code_on_the_first_invoice_of_nothing(stage: Stage) -> None:
    shop, sandbox = await with_codes(stage)
    mine, *_ = await shop.codes()
    before = await count_paid(stage, shop)
    sandbox.till.subscribe(
        {"customer": mine["customer"], "subtotal_minor": 3_000, "code": mine["code"], "trial": True}
    )
    await stage.settle()
    assert (await shop.codes())[0]["state"] == "redeemed"
    assert await count_paid(stage, shop) == before


async def test_a_refund_that_failed_gives_the_points_back(stage: Stage) -> None:
    shop = await stage.open(StripeSandbox)
    sandbox = cast(StripeSandbox, shop.sandbox)
    await shop.earns()
    order = await shop.buys(sandbox.world.people[1].email, 5_000)
    await stage.settle()
    earned = sum((await shop.books()).net.values())
    await shop.ask("refund", order=order, total_minor=2_000)
    await stage.settle()
    assert 0 < sum((await shop.books()).net.values()) < earned
    stage.clock.passes(days=2)
    sandbox.fail_refund(sandbox.account.refunds.rows[-1].id)
    await shop.ask("replay")
    await stage.settle()
    assert sum((await shop.books()).net.values()) == earned
    await shop.reads_history()
    assert sum((await shop.books()).net.values()) == earned


async def test_a_changed_benefit_is_a_new_coupon_and_leaves_codes_that_are_out_as_they_are(
    stage: Stage,
) -> None:
    shop = await stage.open(StripeSandbox, customers=1_200, orders=60, birthday_share=1.0)
    account = cast(StripeSandbox, shop.sandbox).account
    reward = await shop.rewards("birthday", validity_days=10)
    await stage.tick()
    before = {code["code"] for code in await shop.codes()}
    await change_reward(
        stage.services,
        shop.store.program_id,
        reward.id,
        terms=replace(reward.terms, benefit=Benefit(BenefitKind.PERCENTAGE, basis_points=2_500)),
        actor="test",
    )
    await stage.days_pass(1)
    after = {code["code"] for code in await shop.codes()} - before
    assert before
    assert after
    given = {code.code: code.coupon for code in account.codes if code.metadata}
    assert {given[text].percent_off for text in before} == {10.0}
    assert {given[text].percent_off for text in after} == {25.0}
    assert len({coupon.id for coupon in given.values()}) == 2
    assert (await verify_codes(stage.services, shop.store.id)).differences == []


async def test_a_member_whose_customer_is_gone_is_told_of_and_holds_up_nobody(stage: Stage) -> None:
    shop = await stage.open(StripeSandbox, customers=90, orders=60, birthday_share=1.0)
    account = cast(StripeSandbox, shop.sandbox).account
    await shop.loses_webhooks()
    person, *_ = shop.sandbox.world.birthdays_due(shop.sandbox.world.seed.today, 0)
    account.delete_customer(f"cus_Sbx{person.number:011d}")
    await shop.rewards("birthday", validity_days=10)
    await stage.tick()
    found = await stage.rows(
        "SELECT state, state_reason FROM grants WHERE store_id = %s ORDER BY state", shop.store.id
    )
    assert [row["state"] for row in found] == ["failed", *["pushed"] * (len(found) - 1)]
    assert len(found) > 1
    assert "Customer is gone from Stripe" in found[0]["state_reason"]


class LiveStripe(Listening):
    """An account with real money: its webhooks want https, which the stage does not speak."""

    def __init__(self, world: World, *, clock: Clock) -> None:
        super().__init__(world, clock=clock, mode="live")


async def install_live(stage: Stage, *, number: int = 1, **seed: Any) -> Shop:
    """An account with real money, its past read."""
    given = {"customers": 60, "orders": 120, **seed}
    world = World(Seed(number=number, now=stage.clock.now, **given), base_is_total=True)
    sandbox = LiveStripe(world, clock=stage.clock)
    sandbox.limiter_on = False
    await stage.exits.enter_async_context(sandbox)
    answers = {**sandbox.connect_answers(), "setting:requests_per_second": "0"}
    made = await connect(stage.services, "stripe", answers)
    assert made.webhook_address is None
    assert made.webhook_note
    assert "public https address" in made.webhook_note
    shop = Shop(stage, sandbox, made.store)
    stage.shops.append(shop)
    await shop.reads_history()
    return shop


async def test_a_live_account_without_public_https_is_polled_and_misses_nothing(stage: Stage) -> None:
    shop = await install_live(stage, customers=90, orders=60, birthday_share=1.0)
    sandbox = cast(StripeSandbox, shop.sandbox)
    await shop.earns()
    await shop.rewards("birthday", validity_days=10)
    await stage.tick()
    mine, *_ = await shop.codes()
    order = await shop.buys(mine["email"], 5_000, mine["code"])
    sandbox.account.update_customer(mine["customer"], {"metadata": {"birthday": "1990-12-24"}})
    assert (await shop.codes())[0]["state"] == "pushed"
    stage.clock.passes(minutes=20)
    await stage.tick()
    assert (await shop.codes())[0]["state"] == "redeemed"
    earned = sum((await shop.books()).net.values())
    assert earned > 0
    changed = await stage.rows(
        """SELECT m.birthday_md FROM members m JOIN store_customers sc ON sc.member_id = m.id
           WHERE sc.external_id = %s AND sc.store_id = %s""",
        mine["customer"],
        shop.store.id,
    )
    assert [row["birthday_md"] for row in changed] == [1224]
    await shop.ask("cancel", order=order)
    stage.clock.passes(minutes=20)
    await stage.tick()
    assert sum((await shop.books()).net.values()) == 0
    assert sandbox.account.endpoints.rows == []


async def test_test_and_live_mode_of_one_account_are_two_stores_that_never_mix(stage: Stage) -> None:
    """They have the same account, the same customers' and orders' ids, and even each other's events."""
    test = await stage.open(StripeSandbox, number=5)
    live = await install_live(stage, number=5)
    mine, theirs = cast(StripeSandbox, test.sandbox), cast(StripeSandbox, live.sandbox)
    assert mine.account.id == theirs.account.id
    assert [shop.store.external_id for shop in (test, live)] == [
        f"{mine.account.id}:{mode}" for mode in ("test", "live")
    ]
    assert test.store.program_id != live.store.program_id
    await test.earns()
    await live.earns()
    before = {shop.store.id: await shop.books() for shop in (test, live)}
    # A live event at the endpoint of the test store, signed with its secret: live ones hear of both.
    theirs.place_order({"email": theirs.world.people[1].email, "subtotal_minor": 9_000})
    (endpoint,) = mine.account.endpoints
    for event in theirs.account.events.rows[-2:]:
        mine._post(endpoint, event, pending=1, account=None, is_live=True)
    await stage.settle()
    notes = await stage.rows(
        "SELECT DISTINCT note FROM deliveries WHERE store_id = %s AND note IS NOT NULL", test.store.id
    )
    assert [row["note"] for row in notes] == ["live event at the endpoint of a store in test mode"]
    assert await test.books() == before[test.store.id]
    stage.clock.passes(minutes=20)
    await stage.tick()
    assert sum((await live.books()).net.values()) > 0
    assert await test.books() == before[test.store.id]
