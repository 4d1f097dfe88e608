"""What a merchant chooses for a reward or a store, at the store's own checkout: a coupon for all, codes given back."""

from __future__ import annotations

import pytest

from connectors.base import Capability, Noun
from rewards.changes import CustomerSaved
from rewards.errors import InvalidInputError
from rewards.records import Benefit, BenefitKind, Binding, Birthday
from sandbox.server import Sandbox
from sync import occasions, store_settings
from sync.birthdays import set_dates
from sync.verify import verify_codes
from tests.flows import tills
from tests.flows.stage import Shop, Stage

BORN = Birthday(4, 3)


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
        """SELECT redeemed_order_id = (SELECT o.id FROM orders o JOIN store_customers c ON c.id = o.store_customer_id
               WHERE c.member_id = g.member_id AND o.codes <> '{}'
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


async def test_a_birthday_set_here_is_written_into_the_store_once_and_kept(
    stage: Stage, kind: type[Sandbox]
) -> None:
    shop = await stage.open(kind, customers=20, orders=5, birthday_share=0.0)
    connector = stage.services.connector(shop.store)
    choice = {"write_birthdays": "on"}
    if Capability.WRITE_BIRTHDAY not in connector.capabilities:
        with pytest.raises(InvalidInputError, match=r"^The store .*: ."):
            await store_settings.change(stage.services, shop.store.id, choice, actor="test")
        return
    (one,) = await stage.rows("SELECT member_id, external_id FROM store_customers WHERE has_account LIMIT 1")
    before = await set_dates(stage.services, one["member_id"], birthday=BORN, joined=None, actor="test")
    assert before.store_ids == []
    await store_settings.change(stage.services, shop.store.id, choice, actor="test")
    await shop.ask("faults", server_errors=3)
    told = await set_dates(stage.services, one["member_id"], birthday=BORN, joined=None, actor="test")
    assert told.store_ids == [shop.store.id]
    await stage.until("SELECT count(*) = 1 AS is_so FROM birthday_writes WHERE state = 'done'")
    await stage.settle()
    written = await stage.rows("SELECT asked_at, done_at FROM birthday_writes")
    # The store tells of it, by webhook and by history: that is no reason to write it again.
    stage.clock.passes(seconds=5)
    await shop.reads_history()
    assert await stage.rows("SELECT asked_at, done_at FROM birthday_writes") == written
    found = await stage.rows(
        "SELECT birthday_md, birthday_year, birthday_set_by FROM members WHERE birthday_md IS NOT NULL"
    )
    assert found == [{"birthday_md": 403, "birthday_year": None, "birthday_set_by": "merchant"}]
    assert await born_in_store(shop, one["external_id"]) == BORN


async def born_in_store(shop: Shop, external_id: str) -> Birthday | None:
    """A customer's birthday as the store holds it now."""
    platform = shop.stage.services.open_store(await shop.row())
    for window in await platform.windows(Noun.CUSTOMERS, None):
        async for page in platform.read(window, None):
            for change in page.changes:
                if isinstance(change, CustomerSaved) and change.customer.external_id == external_id:
                    return change.customer.birthday
    raise AssertionError("the store has no such customer")
