"""What our drafts become on Shopify, and what Shopify's discounts become with us."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from connectors.shopify.coupons import DiscountNode, Goods, coupon
from connectors.shopify.discount_inputs import anchor, bound_input, pool_input, why_not
from rewards.records import Benefit, BenefitKind, Binding, CodeDraft

NOW = datetime(2026, 11, 21, tzinfo=UTC)
END = datetime(2026, 12, 21, 4, 59, 59, tzinfo=UTC)  # the end of a day in New York


def draft(benefit: Benefit, customer: str | None = "17", **rest: Any) -> CodeDraft:
    return CodeDraft(
        code="BDAY-7F3K9Q2M",
        idempotency_key="grant-1",
        reward_key="reward-1",
        title="Birthday 2026",
        benefit=benefit,
        starts_at=NOW,
        ends_at=END,
        customer_external_id=customer,
        email=None,
        **rest,
    )


PERCENT = Benefit(BenefitKind.PERCENTAGE, basis_points=1_500)


def test_a_draft_becomes_a_discount_for_one_customer_and_one_use() -> None:
    content = bound_input(draft(PERCENT), "EUR")
    assert content["context"] == {"customers": {"add": ["gid://shopify/Customer/17"]}}
    assert content["usageLimit"] == 1
    assert content["customerGets"] == {"value": {"percentage": 0.15}, "items": {"all": True}}
    assert set(content["combinesWith"].values()) == {False}  # type: ignore[attr-defined]
    amount = Benefit(BenefitKind.AMOUNT, amount_minor=1_000, currency="EUR", minimum_minor=5_000)
    content = bound_input(draft(amount), "EUR")
    assert content["minimumRequirement"] == {"subtotal": {"greaterThanOrEqualToSubtotal": "50.00"}}
    value = {"discountAmount": {"amount": "10.00", "appliesOnEachItem": False}}
    assert content["customerGets"] == {"value": value, "items": {"all": True}}


def test_a_free_product_is_its_price_taken_off_once() -> None:
    gift = Benefit(BenefitKind.FREE_PRODUCT, product_external_ids=("1", "2"))
    content = bound_input(draft(gift), "EUR", price_minor=2_500)
    assert content["customerGets"] == {
        "value": {"discountAmount": {"amount": "25.00", "appliesOnEachItem": False}},
        "items": {"products": {"productsToAdd": ["gid://shopify/Product/1", "gid://shopify/Product/2"]}},
    }


def test_free_shipping_combines_with_all_but_shipping() -> None:
    shipping = Benefit(BenefitKind.FREE_SHIPPING)
    content = bound_input(draft(shipping, combines=True), "EUR")
    assert content["combinesWith"] == {
        "orderDiscounts": True,
        "productDiscounts": True,
        "shippingDiscounts": False,
    }


def test_a_pool_is_for_everybody_and_says_the_shops_own_last_day() -> None:
    content = pool_input(draft(PERCENT, None, binding=Binding.OPEN), "USD", 0, "America/New_York")
    assert content["context"] == {"all": "ALL"}
    assert content["usageLimit"] == 1
    assert content["appliesOncePerCustomer"] is False
    assert content["title"] == "Birthday 2026, until 2026-12-20"


def test_a_pools_anchor_is_the_same_for_one_reward_and_end_and_different_otherwise() -> None:
    same = END.astimezone(UTC) + timedelta(0)
    assert anchor("reward-1", END) == anchor("reward-1", same)
    assert len({anchor("reward-1", END), anchor("reward-2", END), anchor("reward-1", NOW)}) == 3
    assert len(anchor("reward-1", END)) == 29


@pytest.mark.parametrize(
    ("benefit", "customer", "word"),
    [
        (PERCENT, None, "customer record"),
        (Benefit(BenefitKind.OTHER), "17", "cannot be made"),
        (Benefit(BenefitKind.AMOUNT, amount_minor=500, currency="USD"), "17", "EUR"),
        (Benefit(BenefitKind.PERCENTAGE, basis_points=100, first_time_only=True), "17", "first orders"),
        (Benefit(BenefitKind.FREE_SHIPPING, product_external_ids=("1",)), "17", "whole order"),
        (
            Benefit(
                BenefitKind.PERCENTAGE,
                basis_points=100,
                product_external_ids=("1",),
                collection_external_ids=("2",),
            ),
            "17",
            "only one of them",
        ),
        (
            Benefit(
                BenefitKind.PERCENTAGE, basis_points=100, product_external_ids=tuple(map(str, range(101)))
            ),
            "17",
            "at most 100",
        ),
    ],
)
def test_what_shopify_cannot_hold_is_told_before_asking(
    benefit: Benefit, customer: str | None, word: str
) -> None:
    assert word in (why_not(draft(benefit, customer), "EUR") or "")


def test_a_code_for_whoever_holds_it_needs_no_customer() -> None:
    assert why_not(draft(PERCENT, None, binding=Binding.OPEN), "EUR") is None


# -- discounts to coupons --------------------------------------------------------------------------------------------


def node(kind: str, **fields: Any) -> DiscountNode:
    content = {
        "__typename": kind,
        "title": "Offer",
        "status": "ACTIVE",
        "codes": {"nodes": [{"code": "OFFER"}]},
    }
    return msgspec.convert(
        {"id": "gid://shopify/DiscountCodeNode/12", "discount": content | fields}, DiscountNode
    )


def bxgy(
    *, percentage: float = 1.0, gets: str = "1", buys: dict[str, Any] | None = None, per_order: int | None = 1
) -> Any:
    value = {"quantity": {"quantity": gets}, "effect": {"percentage": percentage}}
    return node(
        "DiscountCodeBxgy",
        usesPerOrderLimit=per_order,
        customerBuys={
            "items": {"__typename": "DiscountCollections"},
            "value": buys if buys is not None else {"quantity": "1"},
        },
        customerGets={"items": {"__typename": "DiscountProducts"}, "value": value},
    )


@pytest.mark.parametrize(
    ("found", "kind", "minimum"),
    [
        (bxgy(), BenefitKind.FREE_PRODUCT, None),
        (bxgy(buys={"amount": "50.0"}), BenefitKind.FREE_PRODUCT, 5_000),
        (bxgy(percentage=0.5), BenefitKind.OTHER, None),
        (bxgy(gets="2"), BenefitKind.OTHER, None),
        (bxgy(buys={"quantity": "2"}), BenefitKind.OTHER, None),
        (bxgy(per_order=None), BenefitKind.OTHER, None),
        (node("DiscountCodeFreeShipping"), BenefitKind.FREE_SHIPPING, None),
        (node("DiscountCodeApp"), BenefitKind.OTHER, None),
    ],
)
def test_a_discount_of_the_shop_is_told_by_what_it_gives(
    found: DiscountNode, kind: BenefitKind, minimum: int | None
) -> None:
    read = coupon(found, "EUR")
    assert (read.benefit.kind, read.benefit.minimum_minor) == (kind, minimum)
    assert (read.code, read.title, read.is_active) == ("OFFER", "Offer", True)


def gift(amount: str, *tags: str) -> DiscountNode:
    money = {"amount": amount, "currencyCode": "EUR"}
    return node(
        "DiscountCodeBasic",
        tags=list(tags),
        customerGets={"items": {"__typename": "DiscountProducts"}, "value": {"amount": money}},
    )


def test_a_free_product_whose_price_has_risen_is_an_amount() -> None:
    goods = Goods(products=("gid://shopify/Product/1",), price_minor=1_500)
    whole = coupon(gift("15.0", "perennial-free-product"), "EUR", goods)
    assert whole.benefit == Benefit(BenefitKind.FREE_PRODUCT, product_external_ids=("1",))
    part = coupon(gift("14.99", "perennial-free-product"), "EUR", goods)
    assert (part.benefit.kind, part.benefit.amount_minor) == (BenefitKind.AMOUNT, 1_499)
    assert coupon(gift("15.0"), "EUR", goods).benefit.kind is BenefitKind.AMOUNT


def test_a_pools_anchor_is_no_code_to_give_away() -> None:
    assert coupon(node("DiscountCodeBasic", tags=["perennial-pool"]), "EUR").code is None


@pytest.mark.parametrize(
    ("kind", "rules", "combines"),
    [
        ("DiscountCodeBasic", (True, True, True), True),
        ("DiscountCodeBasic", (True, True, False), False),
        ("DiscountCodeFreeShipping", (True, True, False), True),
        ("DiscountCodeFreeShipping", (False, True, False), False),
    ],
)
def test_a_discount_combines_when_it_does_with_all_that_it_can(
    kind: str, rules: tuple[bool, bool, bool], combines: bool
) -> None:
    names = ("orderDiscounts", "productDiscounts", "shippingDiscounts")
    found = node(kind, combinesWith=dict(zip(names, rules, strict=True)))
    assert coupon(found, "EUR").combines is combines
    assert coupon(node(kind), "EUR").combines is None
