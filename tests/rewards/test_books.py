"""The rules against the books of a made-up shop, which work everything out person by person with code of their own."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from rewards.earning import WayKind, WayToEarn, points_for_order, points_for_sign_up
from rewards.ledger import points_left
from rewards.occasions import birthday, is_anniversary, local_today, month_days, occasion_days
from sandbox.world import EarningRule, Seed, World

DAYS = [
    date(2026, 5, 10), date(2027, 2, 28), date(2027, 3, 1), date(2028, 2, 28), date(2028, 2, 29), date(2028, 3, 1),
    date(2027, 12, 31), date(2027, 2, 27),
]  # fmt: skip


def shop(day: date = DAYS[0], **options: bool) -> World:
    now = datetime(day.year, day.month, day.day, 22, 30, tzinfo=UTC)
    return World(
        Seed(number=day.toordinal(), customers=500, orders=1_500, now=now, time_zone="Atlantic/Azores"),
        **options,
    )


@pytest.mark.parametrize("base_is_total", [False, True])
@pytest.mark.parametrize("fixed", [None, 200])
def test_points_net_of_refunds_equal_the_books(base_is_total: bool, fixed: int | None) -> None:
    world = shop(base_is_total=base_is_total)
    sign_up = WayToEarn(WayKind.SIGN_UP, True, 100)
    order = WayToEarn(
        WayKind.PLACE_ORDER, True, 5 if fixed is None else fixed, 100 if fixed is None else None
    )

    points = sum(points_for_sign_up(sign_up) for person in world.people if person.joined_at)
    for sale in world.sales:
        if sale.paid_at:
            base_minor = sale.total_minor if base_is_total else sale.subtotal_minor
            award = points_for_order(base_minor, "EUR", order, "EUR")
            points += points_left(award, sale.total_minor, sale.repaid_minor, sale.cancelled_at is not None)

    assert any(sale.repayments for sale in world.sales)
    assert any(sale.cancelled_at for sale in world.sales)
    assert points == world.expected_points(EarningRule(order_fixed=fixed))


@pytest.mark.parametrize("lead_days", [0, 1, 7, 30])
@pytest.mark.parametrize("today", DAYS)
def test_birthdays_due_equal_the_books(today: date, lead_days: int) -> None:
    world = shop(today)
    mds = month_days(occasion_days(world.seed.today, None, lead_days))
    due = [person for person in world.people if person.birthday and birthday(*person.birthday).md in mds]
    assert due
    assert due == world.birthdays_due(world.seed.today, lead_days)


@pytest.mark.parametrize("lead_days", [0, 7, 30])
@pytest.mark.parametrize("today", DAYS)
def test_anniversaries_due_equal_the_books(today: date, lead_days: int) -> None:
    world = shop(today)
    zone = world.seed.time_zone
    due = [
        person
        for person in world.people
        if person.joined_at
        for day in occasion_days(world.seed.today, None, lead_days)
        if is_anniversary(local_today(person.joined_at, zone), day)
    ]
    # Nobody of four years joined on a 29 February; who did not on any other day would prove nothing.
    assert due or (today == date(2028, 2, 29) and not lead_days)
    assert due == world.anniversaries_due(world.seed.today, lead_days)
