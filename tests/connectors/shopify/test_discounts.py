"""Codes of one customer for chosen goods, against the stand-in: made, checked, mended, and refused with a reason."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from connectors.shopify.store import ShopifyStore
from rewards.changes import CouponSaved, LookAgain
from rewards.differences import code_difference
from rewards.records import Benefit, BenefitKind, Binding, CodeDraft, KnownCode, PushedCode
from sandbox import shopify_catalogue
from sandbox.server import CheckoutRefused
from tests.connectors.shopify.shops import Shop, a_shop

START = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)
MUG, CHAIR, CAP = "8000000001", "8000000002", "8000000003"
MANY = tuple(str(8_000_000_100 + number) for number in range(12))
GIFT = Benefit(BenefitKind.FREE_PRODUCT, product_external_ids=(MUG, CAP))
PERCENT = Benefit(BenefitKind.PERCENTAGE, basis_points=2_000)


def draft(shop: Shop, benefit: Benefit, place: int = 0, binding: Binding = Binding.BOUND) -> CodeDraft:
    customer = list(shop.sandbox.customers)[place]
    code = f"BDAY-{benefit.kind.upper()}-{place}-{binding}"
    return CodeDraft(
        code,
        f"grant-{code}",
        f"r-{binding}",
        "Birthday",
        benefit,
        START,
        START + timedelta(days=30),
        customer,
        None,
        binding,
    )


def known(pushed: PushedCode) -> KnownCode:
    assert pushed.refused is None, pushed.refused
    return KnownCode(pushed.code, pushed.external_id, pushed.coupon_external_id)


async def opened(shop: Shop) -> ShopifyStore:
    return shop.store(await shop.connected())


async def difference(store: ShopifyStore, wanted: CodeDraft, code: KnownCode) -> str | None:
    [found] = await store.find([code])
    return code_difference(wanted, found)


@pytest.mark.parametrize("binding", list(Binding))
@pytest.mark.parametrize(
    "benefit",
    [
        GIFT,
        replace(PERCENT, product_external_ids=(MUG,)),
        replace(PERCENT, product_external_ids=MANY),
        replace(PERCENT, collection_external_ids=("4000000001", "4000000002")),
        Benefit(BenefitKind.AMOUNT, amount_minor=500, currency="EUR", product_external_ids=(MUG, CHAIR)),
    ],
)
async def test_goods_are_held_as_asked_and_mended_when_edited(benefit: Benefit, binding: Binding) -> None:
    async with a_shop() as shop:
        store, wanted = await opened(shop), draft(shop, benefit, binding=binding)
        code = known((await store.push([wanted]))[0])
        assert await difference(store, wanted, code) is None
        held = shop.sandbox.discounts.by_code(wanted.code)
        assert held is not None
        for products, collections in (([CHAIR, MANY[3]], None), (None, ["4000000002"]), (None, None)):
            held.products, held.collections = products, collections
            assert "other products" in (await difference(store, wanted, code) or "")
            assert (await (await opened(shop)).restore(wanted, code)).refused is None
            assert await difference(store, wanted, code) is None


async def test_a_free_product_gives_one_unit_however_many_are_in_the_cart() -> None:
    async with a_shop() as shop:
        store, wanted = await opened(shop), draft(shop, GIFT)
        [pushed] = await store.push([wanted])
        cart = [{"product": MUG, "quantity": 4}, {"product": CHAIR, "quantity": 1}]
        asked = {"customer": wanted.customer_external_id, "subtotal_minor": 0, "code": pushed.code}
        with pytest.raises(CheckoutRefused, match="other_products"):
            shop.sandbox.place_order({**asked, "lines": cart[1:]})
        assert shop.sandbox.place_order({**asked, "lines": cart})["discount_minor"] == 1_500


async def test_a_free_product_whose_price_rose_is_told_and_mended() -> None:
    async with a_shop() as shop:
        store, wanted = await opened(shop), draft(shop, GIFT)
        code = known((await store.push([wanted]))[0])
        before = shopify_catalogue.PRODUCTS[CAP]
        shopify_catalogue.PRODUCTS[CAP] = 1_900
        try:
            assert await difference(store, wanted, code) == "it gives something else"
            await (await opened(shop)).restore(wanted, code)
            assert await difference(store, wanted, code) is None
            assert shop.sandbox.discounts.by_code(wanted.code).amount_minor == 1_900  # type: ignore[union-attr]
        finally:
            shopify_catalogue.PRODUCTS[CAP] = before


@pytest.mark.parametrize("binding", list(Binding))
async def test_a_product_that_the_shop_has_no_more_is_named_and_others_are_made(binding: Binding) -> None:
    async with a_shop() as shop:
        gone = replace(GIFT, product_external_ids=(MUG, "8999999999"))
        asked = [draft(shop, gone, 0, binding), draft(shop, PERCENT, 1, Binding.BOUND)]
        bad, good = await (await opened(shop)).push(asked)
        assert "8999999999" in (bad.refused or "")
        assert good.refused is None


async def test_without_permission_for_products_the_codes_say_so() -> None:
    async with a_shop() as shop:
        shop.sandbox.oauth.scopes.remove("read_products")
        store = await opened(shop)
        [refused, fine] = await store.push([draft(shop, GIFT), draft(shop, PERCENT, 1)])
        assert "read_products" in (refused.refused or "")
        assert fine.refused is None
        assert any("read_products" in notice for notice in (await store.facts()).notices)


async def test_one_discount_of_the_shop_is_read_again_when_a_post_names_it() -> None:
    async with a_shop() as shop:
        store = await opened(shop)
        spring = shop.sandbox.discounts.by_code("SPRING5")
        assert spring is not None
        spring.amount_minor = 700
        [change] = await store.look(LookAgain("discount", str(spring.number)))
        assert isinstance(change, CouponSaved)
        assert (change.coupon.code, change.coupon.benefit.amount_minor) == ("SPRING5", 700)
        shop.sandbox.discounts.delete(spring.number)
        assert list(await store.look(LookAgain("discount", str(spring.number)))) == []
