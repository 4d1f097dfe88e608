"""How a code in a store differs is said in words; what does its work is no difference."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from rewards.differences import GONE, USED, can_be_repaired, code_difference
from rewards.records import Benefit, BenefitKind, CodeDraft, Coupon

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


def test_what_is_gone_can_be_repaired_and_what_is_used_cannot() -> None:
    assert code_difference(DRAFT, None) == GONE
    assert can_be_repaired(GONE)
    assert code_difference(DRAFT, replace(HELD, used_count=1, is_active=False)) == USED
    assert not can_be_repaired(USED)
