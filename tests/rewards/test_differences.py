"""How a code in a store differs is said in words; what does its work is no difference."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from rewards.differences import GONE, USED, can_be_repaired, code_difference, value_difference
from rewards.records import Benefit, BenefitKind, Binding, CodeDraft, Coupon, HeldValue

END = datetime(2026, 7, 15, 21, 59, 59, tzinfo=UTC)
TEN = Benefit(BenefitKind.PERCENTAGE, basis_points=1_000)
FIVE_EUR = Benefit(BenefitKind.AMOUNT, amount_minor=500, currency="EUR", minimum_minor=2_000)
DRAFT = CodeDraft(
    code="BDAY-ABC",
    idempotency_key="grant:1",
    reward_key="reward:1",
    title="Birthday",
    benefit=TEN,
    starts_at=END - timedelta(days=30),
    ends_at=END,
    customer_external_id="7",
    email="ada@people.example",
)
HELD = Coupon(
    external_id="1",
    code="bday-abc",
    title=None,
    benefit=TEN,
    is_active=True,
    ends_at=END,
    usage_limit=1,
    used_count=0,
    emails=("Ada@people.example",),
)


def test_a_code_that_is_as_promised_has_no_difference() -> None:
    assert code_difference(DRAFT, HELD) is None
    by_customer = replace(HELD, emails=(), customer_external_ids=("7",))
    assert code_difference(DRAFT, by_customer) is None
    assert code_difference(DRAFT, replace(HELD, ends_at=END + timedelta(seconds=1))) is None
    with_amount = replace(HELD, benefit=replace(FIVE_EUR, currency=None))
    assert code_difference(replace(DRAFT, benefit=FIVE_EUR), with_amount) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"is_active": False}, "it is switched off"),
        ({"benefit": replace(TEN, basis_points=500)}, "it gives something else"),
        ({"benefit": replace(TEN, minimum_minor=1)}, "it gives something else"),
        ({"benefit": FIVE_EUR}, "it gives something else"),
        ({"ends_at": None}, "it does not end"),
        ({"ends_at": END - timedelta(hours=2)}, "it ends too early"),
        ({"ends_at": END + timedelta(days=2)}, "it ends too late"),
        ({"usage_limit": None}, "it can be used more than once"),
        ({"usage_limit": 5}, "it can be used more than once"),
        ({"emails": ()}, "anybody can use it"),
        ({"emails": ("bob@people.example",)}, "it belongs to somebody else"),
        ({"emails": ("ada@people.example", "bob@people.example")}, "it belongs to somebody else"),
        ({"customer_external_ids": ("8",)}, "it belongs to somebody else"),
        ({"is_active": False, "ends_at": None}, "it is switched off; it does not end"),
    ],
)
def test_each_difference_is_named(changes: dict[str, object], words: str) -> None:
    found = code_difference(DRAFT, replace(HELD, **changes))  # type: ignore[arg-type]
    assert found == words
    assert can_be_repaired(found)


@pytest.mark.parametrize(
    ("wanted", "found", "words"),
    [
        ({}, {"product_external_ids": ("7",)}, "it counts for other products"),
        ({"product_external_ids": ("7",)}, {}, "it counts for other products"),
        ({"product_external_ids": ("7", "8")}, {"product_external_ids": ("8", "7")}, None),
        (
            {"collection_external_ids": ("7",)},
            {"product_external_ids": ("7",)},
            "it counts for other products",
        ),
        ({"first_time_only": True}, {}, "it counts for every order"),
        ({}, {"first_time_only": True}, "it counts for first orders only"),
        ({"first_time_only": True}, {"first_time_only": True}, None),
    ],
)
def test_what_it_counts_for_is_compared(
    wanted: dict[str, object], found: dict[str, object], words: str | None
) -> None:
    draft = replace(DRAFT, benefit=replace(TEN, **wanted))  # type: ignore[arg-type]
    held = replace(HELD, benefit=replace(TEN, **found))  # type: ignore[arg-type]
    assert code_difference(draft, held) == words


def test_a_free_product_is_one_of_its_products() -> None:
    free = Benefit(BenefitKind.FREE_PRODUCT, product_external_ids=("7",))
    draft = replace(DRAFT, benefit=free)
    assert code_difference(draft, replace(HELD, benefit=free)) is None
    other = replace(free, product_external_ids=("8",))
    assert code_difference(draft, replace(HELD, benefit=other)) == "it counts for other products"
    percent = Benefit(BenefitKind.PERCENTAGE, basis_points=10_000, product_external_ids=("7",))
    assert code_difference(draft, replace(HELD, benefit=percent)) == "it gives something else"


def test_combining_is_compared_where_the_platform_says_it() -> None:
    together = replace(DRAFT, combines=True)
    assert code_difference(together, HELD) is None
    assert code_difference(together, replace(HELD, combines=True)) is None
    assert code_difference(together, replace(HELD, combines=False)) == "it cannot be combined"
    found = code_difference(DRAFT, replace(HELD, combines=True))
    assert found == "it can be combined with other discounts"


def test_an_open_code_must_be_for_whoever_holds_it_once() -> None:
    draft = replace(DRAFT, binding=Binding.OPEN, customer_external_id=None, email=None)
    free = replace(HELD, emails=())
    assert code_difference(draft, free) is None
    assert code_difference(draft, HELD) == "only one customer can use it"
    by_customer = replace(free, customer_external_ids=("7",))
    assert code_difference(draft, by_customer) == "only one customer can use it"
    assert code_difference(draft, replace(free, usage_limit=None)) == "it can be used more than once"


def test_what_is_gone_can_be_repaired_and_what_is_used_cannot() -> None:
    assert code_difference(DRAFT, None) == GONE
    assert can_be_repaired(GONE)
    assert code_difference(DRAFT, replace(HELD, used_count=1, is_active=False)) == USED
    assert not can_be_repaired(USED)


GIFT = replace(DRAFT, benefit=Benefit(BenefitKind.GIFT_CARD, amount_minor=1_000, currency="EUR"))
HELD_GIFT = HeldValue(amount_minor=1_000, left_minor=1_000, currency="EUR", is_active=True, ends_at=END)


def test_money_that_was_given_is_as_it_was_also_when_it_is_spent() -> None:
    assert value_difference(GIFT, HELD_GIFT) is None
    assert value_difference(GIFT, replace(HELD_GIFT, left_minor=0)) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"is_active": False}, "it is switched off"),
        ({"amount_minor": 900}, "it gives something else"),
        ({"currency": "USD"}, "it gives something else"),
        ({"ends_at": None}, "it does not end"),
        ({"ends_at": END - timedelta(days=1)}, "it ends too early"),
        ({"is_active": False, "ends_at": END + timedelta(days=1)}, "it is switched off; it ends too late"),
    ],
)
def test_each_difference_of_money_is_named(changes: dict[str, object], words: str) -> None:
    assert value_difference(GIFT, replace(HELD_GIFT, **changes)) == words  # type: ignore[arg-type]


def test_money_that_is_gone_is_gone() -> None:
    assert value_difference(GIFT, None) == GONE
