"""What sign-ups and orders earn, and which of them a webhook may award."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import ROUND_FLOOR, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.earning import WayKind, WayToEarn, counts_for_webhook, points_for_order, points_for_sign_up
from rewards.errors import CurrencyMismatchError, InvalidInputError

NOON = datetime(2027, 5, 10, 12, tzinfo=UTC)


def orders(points: int = 5, per_minor: int | None = 100, is_enabled: bool = True) -> WayToEarn:
    return WayToEarn(WayKind.PLACE_ORDER, is_enabled, points, per_minor, rule_version_id=7)


@pytest.mark.parametrize(
    ("subtotal_minor", "expected"), [(0, 0), (19, 0), (20, 1), (99, 4), (100, 5), (12_345, 617)]
)
def test_points_per_amount_are_rounded_down(subtotal_minor: int, expected: int) -> None:
    assert points_for_order(subtotal_minor, "EUR", orders(), "EUR") == expected


def test_an_order_below_zero_earns_nothing() -> None:
    assert points_for_order(-5_000, "EUR", orders(), "EUR") == 0


def test_fixed_points_do_not_look_at_the_amount_or_its_currency() -> None:
    way = orders(200, None)
    assert [points_for_order(s, c, way, "EUR") for s, c in [(0, "EUR"), (99_999, "JPY"), (-1, "USD")]] == [
        200
    ] * 3


def test_another_currency_is_refused_only_for_points_per_amount() -> None:
    with pytest.raises(CurrencyMismatchError, match=r"order is in USD and the program counts EUR"):
        points_for_order(1_000, "usd", orders(), "eur")
    assert points_for_order(1_000, "eur", orders(), "EUR") == 50


def test_a_way_that_is_switched_off_earns_nothing() -> None:
    assert points_for_order(1_000, "EUR", orders(is_enabled=False), "EUR") == 0
    assert points_for_order(1_000, "USD", orders(is_enabled=False), "EUR") == 0
    assert points_for_sign_up(WayToEarn(WayKind.SIGN_UP, False, 100)) == 0


def test_a_sign_up_earns_its_fixed_points() -> None:
    assert points_for_sign_up(WayToEarn(WayKind.SIGN_UP, True, 100)) == 100


def test_the_ways_are_not_mixed_up() -> None:
    with pytest.raises(AssertionError):
        points_for_sign_up(orders())
    with pytest.raises(AssertionError):
        points_for_order(1, "EUR", WayToEarn(WayKind.SIGN_UP, True, 100), "EUR")


def test_the_plain_words_name_the_ways_and_nothing_else_does() -> None:
    assert WayToEarn("sign_up", True, 1).kind is WayKind.SIGN_UP  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="review"):
        WayToEarn("review", True, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "points", "per_minor"),
    [
        (WayKind.PLACE_ORDER, -1, None),
        (WayKind.PLACE_ORDER, 5, 0),
        (WayKind.PLACE_ORDER, 5, -100),
        (WayKind.SIGN_UP, 5, 100),
        (WayKind.SIGN_UP, 1_000_001, None),
        (WayKind.PLACE_ORDER, 5, 10**12 + 1),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(kind: WayKind, points: int, per_minor: int | None) -> None:
    with pytest.raises(InvalidInputError):
        WayToEarn(kind, True, points, per_minor)


@given(st.integers(-(10**9), 10**12), st.integers(0, 10**4), st.integers(1, 10**6))
def test_points_equal_the_exact_quotient_rounded_down(subtotal: int, points: int, per_minor: int) -> None:
    exact = (Decimal(subtotal) * points / per_minor).to_integral_value(ROUND_FLOOR)
    assert points_for_order(subtotal, "EUR", orders(points, per_minor), "EUR") == max(0, int(exact))


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_two_orders_never_earn_more_than_one_of_the_same_amount(one: int, other: int) -> None:
    def earned(subtotal: int) -> int:
        return points_for_order(subtotal, "EUR", orders(3, 70), "EUR")

    assert earned(one) + earned(other) <= earned(one + other)


def test_a_webhook_counts_from_the_moment_earning_was_switched_on() -> None:
    assert counts_for_webhook(NOON, NOON, True)
    assert counts_for_webhook(NOON + timedelta(seconds=1), NOON, True)
    assert not counts_for_webhook(NOON - timedelta(microseconds=1), NOON, True)


def test_a_webhook_does_not_count_while_the_program_is_off_or_earning_never_began() -> None:
    assert not counts_for_webhook(NOON, NOON, False)
    assert not counts_for_webhook(NOON, None, True)
    assert not counts_for_webhook(None, NOON, True)
