"""Terms that cannot be meant are refused with words that say what to give instead."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rewards.errors import InvalidInputError
from rewards.records import Benefit, BenefitKind, Binding
from rewards.terms import RewardTerms, reward_name

TEN = Benefit(BenefitKind.PERCENTAGE, basis_points=1_000)


@pytest.mark.parametrize(
    "benefit",
    [
        TEN,
        Benefit(BenefitKind.PERCENTAGE, basis_points=10_000),
        Benefit(BenefitKind.AMOUNT, amount_minor=500, currency="EUR", minimum_minor=2_000),
        Benefit(BenefitKind.FREE_SHIPPING),
        Benefit(BenefitKind.FREE_SHIPPING, first_time_only=True),
        Benefit(BenefitKind.FREE_PRODUCT, product_external_ids=("7", "8")),
        Benefit(
            BenefitKind.PERCENTAGE,
            basis_points=500,
            product_external_ids=("7",),
            collection_external_ids=("7",),
            first_time_only=True,
        ),
    ],
)
def test_plain_terms_are_fine(benefit: Benefit) -> None:
    assert RewardTerms(benefit, lead_days=90, validity_days=365, code_prefix="BDAY-26").benefit == benefit


@pytest.mark.parametrize(
    ("benefit", "words"),
    [
        (Benefit(BenefitKind.OTHER), "free shipping"),
        (Benefit(BenefitKind.PERCENTAGE), "more than 0 and at most 100"),
        (Benefit(BenefitKind.PERCENTAGE, basis_points=10_001), "more than 0 and at most 100"),
        (Benefit(BenefitKind.AMOUNT, amount_minor=0, currency="EUR"), "more than 0"),
        (Benefit(BenefitKind.AMOUNT, amount_minor=500), "currency"),
        (Benefit(BenefitKind.FREE_SHIPPING, minimum_minor=-1), "0 or more"),
        (Benefit(BenefitKind.AMOUNT, amount_minor=10**13, currency="EUR"), "smaller"),
        (Benefit(BenefitKind.FREE_SHIPPING, minimum_minor=10**13), "smaller"),
        (Benefit(BenefitKind.FREE_PRODUCT), "--product ID"),
        (
            Benefit(BenefitKind.FREE_PRODUCT, product_external_ids=("7",), collection_external_ids=("1",)),
            "no collection",
        ),
        (Benefit(BenefitKind.FREE_SHIPPING, product_external_ids=("7",)), "whole order"),
        (Benefit(BenefitKind.PERCENTAGE, 500, product_external_ids=("7", "7")), "twice"),
        (Benefit(BenefitKind.PERCENTAGE, 500, product_external_ids=("7 8",)), "without spaces"),
        (Benefit(BenefitKind.PERCENTAGE, 500, product_external_ids=("",)), "by its id"),
        (
            Benefit(BenefitKind.PERCENTAGE, 500, product_external_ids=tuple(map(str, range(101)))),
            "at most 100 products",
        ),
    ],
)
def test_a_benefit_that_gives_nothing_is_refused(benefit: Benefit, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        RewardTerms(benefit)


@pytest.mark.parametrize(
    ("lead_days", "validity_days", "prefix"),
    [(-1, 30, ""), (91, 30, ""), (0, 0, ""), (0, 366, ""), (0, 30, "BDAY 10%"), (0, 30, "X" * 21)],
)
def test_days_and_prefixes_out_of_bounds_are_refused(lead_days: int, validity_days: int, prefix: str) -> None:
    with pytest.raises(InvalidInputError):
        RewardTerms(TEN, lead_days, validity_days, prefix)


def test_a_name_is_trimmed_and_needed() -> None:
    assert reward_name("  Birthday ") == "Birthday"
    for text in ("", "   ", "x" * 101):
        with pytest.raises(InvalidInputError):
            reward_name(text)


def test_a_stores_own_coupon_may_give_anything_and_is_for_everybody() -> None:
    given = RewardTerms(Benefit(BenefitKind.OTHER), binding=Binding.OPEN, coupon_id=7)
    assert given.benefit.kind is BenefitKind.OTHER
    with pytest.raises(InvalidInputError, match="leave --binding out"):
        RewardTerms(TEN, coupon_id=7)


CREDIT = Benefit(BenefitKind.STORE_CREDIT, amount_minor=1_000, currency="EUR")
CARD = Benefit(BenefitKind.GIFT_CARD, amount_minor=1_000, currency="EUR")


def test_store_credit_is_the_members_and_a_gift_card_whoevers() -> None:
    assert RewardTerms(CREDIT).binding is Binding.BOUND
    assert RewardTerms(CARD, binding=Binding.OPEN).benefit.is_value
    for benefit, binding in ((CREDIT, Binding.OPEN), (CARD, Binding.BOUND)):
        with pytest.raises(InvalidInputError, match="leave --binding out"):
            RewardTerms(benefit, binding=binding)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"amount_minor": 0}, "more than 0"),
        ({"amount_minor": None}, "more than 0"),
        ({"currency": None}, "its currency"),
        ({"minimum_minor": 500}, "leave --minimum"),
        ({"product_external_ids": ("7",)}, "--product"),
        ({"collection_external_ids": ("7",)}, "--collection"),
        ({"first_time_only": True}, "leave --first-time"),
        ({"amount_minor": 10**13}, "so high an amount"),
    ],
)
def test_nothing_limits_money(changes: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        RewardTerms(replace(CREDIT, **changes))  # type: ignore[arg-type]


def test_money_has_no_code_of_the_merchants_and_needs_no_combining() -> None:
    with pytest.raises(InvalidInputError, match="leave --prefix out"):
        RewardTerms(CREDIT, code_prefix="BDAY")
    with pytest.raises(InvalidInputError, match="--combines out"):
        RewardTerms(CREDIT, combines=True)
