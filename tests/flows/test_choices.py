"""What a merchant chooses for a reward or a store, at the store's own checkout: a coupon for all, codes given back."""

from __future__ import annotations

import pytest

from rewards.records import Benefit, BenefitKind, Binding
from sandbox.server import Sandbox
from sync import occasions, store_settings
from sync.verify import verify_codes
from tests.flows import tills
from tests.flows.stage import Shop, Stage


async def with_coupon(stage: Stage, kind: type[Sandbox]) -> Shop:
    """A shop that gives a coupon of its own to everybody on their birthday."""
    shop = await stage.open(kind, customers=90, orders=60, birthday_share=1.0)
    stage.clock.passes(seconds=5)
    external_id = tills.make_coupon(shop.sandbox, "Cheers20")
    await stage.settle()
    await shop.reconciles()  # not every platform's webhook says what a coupon gives
    (coupon,) = await stage.rows("SELECT id FROM coupons WHERE external_id = %s", external_id)
    await shop.rewards(
        "birthday",
        benefit=Benefit(BenefitKind.PERCENTAGE, basis_points=2_000),
        binding=Binding.OPEN,
        coupon_id=coupon["id"],
    )
    await stage.tick()
    return shop


@pytest.mark.feature("P-25", "P-26")
async def test_a_coupon_of_the_store_is_given_to_all_and_redeemed_by_whoever_orders(
    stage: Stage, kind: type[Sandbox]
) -> None:
    shop = await with_coupon(stage, kind)
    mine, *others = codes = await shop.codes()
    assert others
    assert {(code["code"].lower(), code["state"]) for code in codes} == {("cheers20", "pushed")}
    assert shop.sandbox.codes_in_store() <= 1  # the merchant's own, as far as the shop counts it
    given = {code["email"] for code in codes}
    stranger = next(person.email for person in shop.sandbox.world.people if person.email not in given)
    await shop.buys(stranger, 5_000, "Cheers20")
    await stage.settle()
    assert {code["state"] for code in await shop.codes()} == {"pushed"}
    await shop.buys(mine["email"], 5_000, "Cheers20")
    await shop.buys(mine["email"], 6_000, "Cheers20")
    await stage.settle()
    await shop.ask("replay")
    await stage.settle()
    assert [code["state"] for code in await shop.codes()] == ["redeemed", *["pushed"] * len(others)]
    (found,) = await stage.rows(
        """SELECT redeemed_order_id = (SELECT o.id FROM orders o
               WHERE o.store_customer_id = g.store_customer_id AND o.codes <> '{}'
               ORDER BY o.placed_at LIMIT 1) AS is_first
           FROM grants g WHERE state = 'redeemed'"""
    )
    assert found["is_first"]
    assert (await verify_codes(stage.services, shop.store.id)).differences == []


async def test_a_coupon_that_the_merchant_took_away_is_reported_and_given_no_more(
    stage: Stage, kind: type[Sandbox]
) -> None:
    shop = await with_coupon(stage, kind)
    await shop.loses_webhooks()
    tills.delete(shop.sandbox, "Cheers20")
    report = await verify_codes(stage.services, shop.store.id, repair=True)
    (found,) = report.differences
    assert found.code.lower() == "cheers20"
    assert (found.grant_id, found.repaired) == (None, False)
    assert found.difference in ("it is gone from the store", "it is switched off")
    stage.clock.passes(days=1)
    (run,) = (await occasions.run(stage.services)).runs
    assert run.grants == 0
    assert "change the reward" in (run.left_out or "")


@pytest.mark.parametrize("returns", ["never", "on_full_refund"])
async def test_a_full_refund_brings_a_new_code_where_the_merchant_wants_it(
    stage: Stage, kind: type[Sandbox], returns: str
) -> None:
    shop = await stage.open(kind, customers=90, orders=60, birthday_share=1.0)
    await shop.rewards("birthday", validity_days=20)
    await store_settings.change(stage.services, shop.store.id, {"returns": returns}, actor="test")
    await stage.tick()
    mine, *_ = await shop.codes()
    placed = await shop.ask("checkout", email=mine["email"], subtotal_minor=5_000, code=mine["code"])
    await stage.settle()
    await shop.ask("refund", order=placed["order"], total_minor=1_000)
    await stage.settle()
    assert (await shop.codes())[0]["state"] == "redeemed"
    await shop.ask("refund", order=placed["order"], total_minor=placed["total_minor"] - 1_000)
    await stage.settle()
    if returns == "never":
        assert (await shop.codes())[0] == {**mine, "state": "redeemed"}
        return
    await stage.until(
        "SELECT count(*) = 0 AS is_so FROM grants WHERE state IN ('redeemed', 'returned', 'decided')"
    )
    again, *_ = await shop.codes()
    assert (again["state"], again["email"]) == ("pushed", mine["email"])
    assert again["code"] != mine["code"]
    assert await shop.refused(mine["email"], mine["code"]) == "used_up"
    assert (await verify_codes(stage.services, shop.store.id)).differences == []
    await shop.buys(mine["email"], 5_000, again["code"])
    assert await shop.refused(mine["email"], again["code"]) == "used_up"
    await shop.ask("replay")
    await stage.settle()
    assert [code["state"] for code in await shop.codes()].count("redeemed") == 1
