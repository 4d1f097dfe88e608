"""A store's own coupon given to many: an order counts for the member who placed it, and for one of their grants."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from rewards.changes import CouponDeleted, CouponSaved, CustomerSaved, OrderSaved
from rewards.occasions import birthday
from rewards.records import Benefit, BenefitKind, Binding, Coupon, Order
from rewards.terms import RewardTerms
from storage import coupons, people
from storage.stores import StoreRow
from sync import occasions
from sync.reward_changes import create_reward
from sync.services import Services
from tests.factories import NOON, customer, new_store, order
from tests.sync.shops import Clock, rows, told

CHEERS = Coupon("c9", "Cheers", "Cheers", Benefit(BenefitKind.PERCENTAGE, basis_points=2_000), True)
STATES = """SELECT sc.external_id, g.occasion, g.state, o.external_id AS order_id FROM grants g
    JOIN store_customers sc ON sc.id = g.store_customer_id LEFT JOIN orders o ON o.id = g.redeemed_order_id
    ORDER BY g.id"""


async def given(services: Services, coupon: Coupon = CHEERS, **terms: Any) -> StoreRow:
    """A store that gave its own coupon to Ada and Bob on their birthday."""
    store = await new_store(services.database)
    await told(
        services,
        store,
        CouponSaved(coupon),
        *(CustomerSaved(customer(number, birthday=birthday(6, 15))) for number in ("1", "2")),
    )
    async with services.database.transaction() as connection:
        found = await coupons.by_name(connection, store.id, "CHEERS")
    made = RewardTerms(found.benefit, binding=Binding.OPEN, coupon_id=found.id, **terms)
    await create_reward(
        services, store.program_id, name="Cheers", trigger="birthday", terms=made, actor="merchant"
    )
    assert (await occasions.run(services, store_id=store.id)).grants == 2
    return store


def by(number: str, external_id: str, at: datetime, **changes: object) -> OrderSaved:
    """An order with the coupon."""
    found = order(
        external_id,
        customer_external_id=number,
        email=f"ada.{number}@people.example",
        codes=("cheers",),
        placed_at=at,
        paid_at=at,
        source_updated_at=at,
    )
    return OrderSaved(replace(found, **changes))  # type: ignore[arg-type]


async def states(services: Services) -> list[tuple[Any, ...]]:
    """(customer, occasion, state, redeeming order) of all grants."""
    return await rows(services.database, STATES)


async def test_an_order_redeems_the_grant_of_who_placed_it_whatever_comes_first(services: Services) -> None:
    store = await given(services)
    later, sooner = by("2", "8", NOON + timedelta(hours=2)), by("2", "7", NOON + timedelta(hours=1))
    before = by("1", "6", NOON - timedelta(days=3))
    for change in (later, sooner, before):
        await told(services, store, change)
    assert await states(services) == [
        ("1", "birthday:2026", "pushed", None),
        ("2", "birthday:2026", "redeemed", "7"),
    ]


async def test_a_cancelled_order_did_not_use_the_coupon(services: Services) -> None:
    store = await given(services)
    placed = by("2", "7", NOON + timedelta(hours=1))
    await told(services, store, placed)
    cancelled: Order = replace(
        placed.order,
        cancelled_at=NOON + timedelta(hours=3),
        source_updated_at=NOON + timedelta(hours=3),
    )
    await told(services, store, OrderSaved(cancelled))
    assert [row[2:] for row in await states(services)] == [("pushed", None), ("pushed", None)]


async def test_a_year_later_an_order_redeems_the_new_grant_only(services: Services, clock: Clock) -> None:
    store = await given(services, lead_days=30, validity_days=365)
    clock.pass_days(345)
    assert (await occasions.run(services, store_id=store.id)).grants == 2
    await told(services, store, by("1", "7", clock.now + timedelta(hours=1)))
    assert [row[1:] for row in await states(services) if row[0] == "1"] == [
        ("birthday:2026", "pushed", None),
        ("birthday:2027", "redeemed", "7"),
    ]


async def test_an_order_under_another_record_of_the_same_person_counts(services: Services) -> None:
    store = await given(services)
    await told(services, store, CustomerSaved(customer("3")))
    async with services.database.transaction() as connection:
        await people.merge_customers(
            connection,
            program_id=store.program_id,
            store_id=store.id,
            kept="1",
            gone="3",
            now=services.clock(),
        )
    await told(services, store, by("3", "7", NOON + timedelta(hours=1)))
    assert (await states(services))[0][2:] == ("redeemed", "7")


async def test_a_coupon_that_ends_sooner_ends_its_grants(services: Services, clock: Clock) -> None:
    end = NOON + timedelta(days=5)
    await given(services, replace(CHEERS, ends_at=end))
    assert await rows(services.database, "SELECT DISTINCT valid_until FROM grants") == [(end,)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (CouponDeleted("c9"), "gone from the store"),
        (CouponSaved(replace(CHEERS, is_active=False)), "switched off"),
        (CouponSaved(replace(CHEERS, ends_at=NOON)), "has ended"),
        (CouponSaved(replace(CHEERS, starts_at=NOON + timedelta(days=9))), "has not begun"),
    ],
)
async def test_a_coupon_that_nobody_can_use_is_given_to_nobody(
    services: Services, change: CouponSaved | CouponDeleted, words: str
) -> None:
    store = await given(services)
    await told(services, store, change, CustomerSaved(customer("3", birthday=birthday(6, 15))))
    (run,) = (await occasions.run(services, store_id=store.id)).runs
    assert run.grants == 0
    assert words in (run.left_out or "")
    assert "change the reward" in (run.left_out or "")
    await told(services, store, CouponSaved(CHEERS))
    assert (await occasions.run(services, store_id=store.id)).grants == 1
