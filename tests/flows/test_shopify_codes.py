"""Shopify's two ways to give a code, through the app and the shop's checkout: a discount of one's own, or a shared one."""

from __future__ import annotations

import pytest

from rewards.errors import InvalidInputError
from rewards.records import Benefit, BenefitKind, Binding
from sandbox.shopify import ShopifySandbox
from sandbox.shopify_discounts import Discount
from sync.verify import verify_codes
from tests.flows.stage import Shop, Stage


def shared(shop: Shop) -> list[Discount]:
    """The discounts of the app that hold codes of several members."""
    assert isinstance(shop.sandbox, ShopifySandbox)
    return [found for found in shop.sandbox.discounts if found.by_app]


async def with_open_codes(stage: Stage, **terms: object) -> Shop:
    shop = await stage.open(ShopifySandbox, customers=90, orders=60, birthday_share=1.0)
    await shop.rewards("birthday", binding=Binding.OPEN, **terms)
    await stage.tick()
    return shop


async def test_members_codes_share_a_discount_and_each_is_redeemed_once_by_whoever_holds_it(
    stage: Stage,
) -> None:
    shop = await with_open_codes(stage)
    one, two, *_ = await shop.codes()
    [pool] = shared(shop)
    assert {code["code"].lower() for code in await shop.codes()} < set(pool.codes)
    await shop.buys("a.friend@people.example", 5_000, one["code"])
    assert await shop.refused(one["email"], one["code"]) == "used_up"
    await stage.settle()
    await shop.ask("replay")
    await stage.settle()
    states = {code["code"]: code["state"] for code in await shop.codes()}
    assert (states[one["code"]], states[two["code"]]) == ("redeemed", "pushed")
    assert (await verify_codes(stage.services, shop.store.id)).differences == []


async def test_a_later_days_codes_go_into_another_discount_and_the_same_days_into_the_same(
    stage: Stage,
) -> None:
    shop = await with_open_codes(stage)
    [pool] = shared(shop)
    held = set(pool.codes)
    await stage.tick()
    assert set(pool.codes) == held
    await stage.days_pass(14)
    ends = [found.ends_at for found in shared(shop)]
    assert len(ends) == len(set(ends)) > 1


async def test_a_shared_discount_that_is_edited_or_deleted_is_put_right_for_all(stage: Stage) -> None:
    shop = await with_open_codes(stage)
    assert isinstance(shop.sandbox, ShopifySandbox)
    count = len(await shop.codes())
    [pool] = shared(shop)
    pool.percentage = 0.9
    report = await verify_codes(stage.services, shop.store.id, repair=True)
    assert (len(report.differences), report.repaired) == (count, count)
    assert pool.percentage == 0.1
    shop.sandbox.discounts.delete(pool.number)
    report = await verify_codes(stage.services, shop.store.id, repair=True)
    assert (len(report.differences), report.repaired) == (count, count)
    assert (await verify_codes(stage.services, shop.store.id)).differences == []
    [made_anew] = shared(shop)
    assert made_anew.number != pool.number


@pytest.mark.parametrize("binding", list(Binding))
async def test_a_free_product_takes_the_price_of_one_unit_off(stage: Stage, binding: Binding) -> None:
    shop = await stage.open(ShopifySandbox, customers=90, orders=60, birthday_share=1.0)
    gift = Benefit(BenefitKind.FREE_PRODUCT, product_external_ids=("8000000001", "8000000003"))
    await shop.rewards("birthday", binding=binding, benefit=gift)
    await stage.tick()
    code, *_ = await shop.codes()
    assert (await verify_codes(stage.services, shop.store.id)).differences == []
    cart = [{"product": "8000000001", "quantity": 3}, {"product": "8000000002", "quantity": 1}]
    other = [{"product": "8000000002", "quantity": 1}]
    asked = {"email": code["email"], "subtotal_minor": 0, "code": code["code"]}
    assert (await shop.ask("checkout", **asked, lines=other))["error"] == "other_products"
    assert (await shop.ask("checkout", **asked, lines=cart))["discount_minor"] == 1_500
    await stage.settle()
    assert (await shop.codes())[0]["state"] == "redeemed"


async def test_codes_for_chosen_goods_are_verified_with_their_goods(stage: Stage) -> None:
    shop = await stage.open(ShopifySandbox, customers=90, orders=60, birthday_share=1.0)
    many = tuple(str(8_000_000_100 + number) for number in range(12))
    chosen = Benefit(BenefitKind.PERCENTAGE, basis_points=2_000, product_external_ids=many)
    await shop.rewards("birthday", benefit=chosen, combines=True)
    await stage.tick()
    assert (await verify_codes(stage.services, shop.store.id)).differences == []
    first, *_ = await shop.codes()
    assert isinstance(shop.sandbox, ShopifySandbox)
    held = shop.sandbox.discounts.by_code(first["code"])
    assert held is not None
    assert held.products == list(many)
    assert held.combines == {"orderDiscounts": True, "productDiscounts": True, "shippingDiscounts": True}
    held.products, held.combines = ["8000000001", many[0]], {}
    report = await verify_codes(stage.services, shop.store.id, repair=True)
    [found] = report.differences
    assert "other products" in found.difference
    assert "cannot be combined" in found.difference
    assert found.repaired
    assert set(held.products) == set(many)


@pytest.mark.parametrize(
    ("benefit", "word"),
    [
        (
            Benefit(
                BenefitKind.PERCENTAGE,
                basis_points=1_000,
                product_external_ids=("8000000001",),
                collection_external_ids=("4000000001",),
            ),
            "only one of them",
        ),
        (Benefit(BenefitKind.FREE_PRODUCT, product_external_ids=("a-mug",)), "have numbers"),
        (Benefit(BenefitKind.PERCENTAGE, basis_points=1_000, first_time_only=True), "first orders"),
    ],
)
async def test_what_shopify_cannot_give_is_said_when_the_reward_is_added(
    stage: Stage, benefit: Benefit, word: str
) -> None:
    shop = await stage.open(ShopifySandbox, customers=5, orders=5)
    with pytest.raises(InvalidInputError, match=word):
        await shop.rewards("birthday", benefit=benefit)


async def test_a_shop_that_changes_its_kind_of_accounts_is_read_by_the_new_kind(stage: Stage) -> None:
    shop = await stage.open(ShopifySandbox, customers=5, orders=5)
    assert isinstance(shop.sandbox, ShopifySandbox)
    assert (await shop.row()).settings["customer_accounts"] == "NEW_CUSTOMER_ACCOUNTS"
    shop.sandbox.views.customer_accounts = "CLASSIC"
    invited = next(iter(shop.sandbox.customers))
    shop.sandbox.views.states[invited] = "INVITED"
    shop.sandbox.hook_desk.emit("shop/update", lambda _: {"id": 61_000_000_001})
    await stage.settle()
    assert (await shop.row()).settings["customer_accounts"] == "CLASSIC"
    body = shop.sandbox.bodies.customer_body(shop.sandbox.customers[invited], with_birthday=True)
    shop.sandbox.hook_desk.emit("customers/update", lambda _: body)
    await stage.settle()
    found = await stage.rows(
        "SELECT external_id FROM store_customers WHERE NOT has_account AND external_id IS NOT NULL"
    )
    assert invited in [row["external_id"] for row in found]
