"""Keys that name facts, and what refunds leave of an award."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.ledger import (
    correction_key,
    order_paid_key,
    points_left,
    points_taken_back,
    refund_key,
    reverses_key,
    sign_up_key,
)

awards = st.integers(0, 10**7)
amounts = st.integers(0, 10**9)
positive_amounts = st.integers(1, 10**9)


def test_keys_are_spelled_as_stored_ledgers_hold_them() -> None:
    assert order_paid_key(3, "1001") == "order_paid:3:1001"
    assert sign_up_key(3, 42) == "sign_up:3:42"
    assert refund_key(3, "1001", "77") == "refund:3:1001:77"
    assert correction_key(3, "1001", 0) == "correction:3:1001:0"
    assert reverses_key(900) == "reverses:900"


def test_equal_ids_of_two_stores_are_two_facts() -> None:
    assert order_paid_key(1, "1001") != order_paid_key(2, "1001")
    assert refund_key(1, "1001", "5") != refund_key(2, "1001", "5")
    assert correction_key(1, "1001", 1) != correction_key(2, "1001", 1)


@pytest.mark.parametrize(
    ("award", "base", "refunded", "is_cancelled", "left"),
    [
        (200, 10_000, 0, False, 200),
        (200, 10_000, 10_000, False, 0),
        (200, 10_000, 2_500, False, 150),
        (7, 3, 1, False, 4),  # 4.67
        (200, 10_000, 15_000, False, 0),
        (200, 10_000, -5, False, 200),
        (200, 10_000, 0, True, 0),
        (200, 0, 0, False, 200),
        (200, 0, 500, False, 200),
        (200, 0, 0, True, 0),
    ],
)
def test_what_is_left_of_an_award(
    award: int, base: int, refunded: int, is_cancelled: bool, left: int
) -> None:
    assert points_left(award, base, refunded, is_cancelled) == left
    assert points_taken_back(award, base, refunded, is_cancelled) == award - left


@given(awards, positive_amounts, amounts)
def test_what_is_left_is_the_exact_share_rounded_down(award: int, base: int, refunded: int) -> None:
    share = Fraction(base - min(base, refunded), base)
    assert points_left(award, base, refunded, False) == floor(award * share)


@given(awards, amounts, amounts, st.booleans())
def test_never_more_is_taken_than_was_given(award: int, base: int, refunded: int, is_cancelled: bool) -> None:
    assert 0 <= points_taken_back(award, base, refunded, is_cancelled) <= award


@given(awards, amounts, amounts, amounts)
def test_more_refunds_never_take_less(award: int, base: int, refunded: int, more: int) -> None:
    assert points_taken_back(award, base, refunded, False) <= points_taken_back(
        award, base, refunded + more, False
    )


@given(awards, positive_amounts, st.lists(amounts, max_size=8))
def test_any_split_and_order_of_refunds_takes_the_same(award: int, base: int, parts: list[int]) -> None:
    in_one = points_taken_back(award, base, sum(parts), False)
    assert _taken_step_by_step(award, base, parts) == in_one
    assert _taken_step_by_step(award, base, sorted(parts)) == in_one
    assert _taken_step_by_step(award, base, parts[::-1]) == in_one


@given(awards, positive_amounts)
def test_a_whole_refund_takes_the_whole_award(award: int, base: int) -> None:
    assert points_taken_back(award, base, base, False) == award


def _taken_step_by_step(award: int, base: int, parts: list[int]) -> int:
    """Each refund takes what is still missing, as entries are appended one by one."""
    taken = refunded = 0
    for part in parts:
        refunded += part
        step = points_taken_back(award, base, refunded, False) - taken
        assert step >= 0
        taken += step
    return taken
