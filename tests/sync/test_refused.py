"""Codes that a store refused are asked for again, some each day, and all of them on request."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rewards.changes import CustomerSaved
from rewards.differences import REFUSED
from rewards.occasions import birthday
from storage import refused
from sync import occasions, store_settings
from sync.push import push_store
from sync.reconcile import reconcile
from sync.refused import try_some
from sync.verify import verify_codes
from tests.factories import customer
from tests.sync.shops import Shop, reward_for, rows, told


async def states(shop: Shop) -> dict[str, int]:
    return dict(await rows(shop.database, "SELECT state, count(*)::int FROM grants GROUP BY state"))


async def refused_for_want_of_an_email(shop: Shop, people: int) -> None:
    """So many members of today's birthday whom the shop can bind no code to; their codes were refused."""
    await told(shop.services, shop.store, *(_somebody(number, None) for number in range(people)))
    await reward_for(shop.services, shop.store)
    await occasions.run(shop.services)
    assert (await push_store(shop.services, shop.store.id)).failed == people


def _somebody(number: int, email: str | None) -> CustomerSaved:
    return CustomerSaved(customer(f"90000{number}", email=email, birthday=birthday(6, 15)))


async def mended(shop: Shop, *numbers: int) -> None:
    """The merchant writes the e-mails down."""
    later = shop.clock.now
    for number in numbers:
        saved = _somebody(number, f"p{number}@people.example")
        await told(
            shop.services,
            shop.store,
            replace(saved, customer=replace(saved.customer, source_updated_at=later)),
        )


async def test_repair_asks_again_and_says_what_is_still_refused(shop: Shop) -> None:
    await refused_for_want_of_an_email(shop, 3)
    report = await verify_codes(shop.services, shop.store.id)
    found = [each for each in report.differences if each.difference == REFUSED]
    assert len(found) == 3
    assert all("e-mail" in (each.refused or "") and not each.repaired for each in found)
    await mended(shop, 0, 2)
    report = await verify_codes(shop.services, shop.store.id, repair=True)
    assert [(each.repaired, each.refused is None) for each in report.differences] == [
        (True, True),
        (False, False),
        (True, True),
    ]
    assert (await states(shop))["failed"] == 1
    assert shop.sandbox.codes_in_store() == (await states(shop))["pushed"]
    # What went in is looked up from now on like any other code.
    again = await verify_codes(shop.services, shop.store.id)
    assert [each.difference for each in again.differences] == [REFUSED]


async def test_each_day_a_few_are_tried_and_where_one_goes_in_the_rest_follow(shop: Shop) -> None:
    await refused_for_want_of_an_email(shop, 8)
    asked = shop.sandbox.requests
    assert await try_some(shop.services, shop.store.id) == 0
    assert (await states(shop))["failed"] == 8
    cost = shop.sandbox.requests - asked
    await mended(shop, *range(8))
    # The five that were tried have had their turn: the other three come first now.
    assert await try_some(shop.services, shop.store.id) == 8
    assert "failed" not in await states(shop)
    assert await try_some(shop.services, shop.store.id) == 0
    assert cost <= 5


async def test_the_daily_look_takes_refused_codes_up_again(shop: Shop) -> None:
    await refused_for_want_of_an_email(shop, 2)
    report = await reconcile(shop.services, shop.store.id)
    assert (report.taken, len(report.codes.differences)) == (0, 2)
    await mended(shop, 0, 1)
    report = await reconcile(shop.services, shop.store.id)
    assert (report.taken, report.codes.differences) == (2, [])


async def test_a_changed_setting_lets_refused_codes_be_pushed_again(shop: Shop) -> None:
    await refused_for_want_of_an_email(shop, 2)
    await mended(shop, 0, 1)
    await store_settings.change(shop.services, shop.store.id, {"returns": "never"}, actor="merchant")
    assert (await states(shop))["decided"] == 2
    assert (await push_store(shop.services, shop.store.id)).pushed == 2


@pytest.mark.parametrize("days", [0, 40])
async def test_what_is_over_is_not_asked_for_again(shop: Shop, days: int) -> None:
    await refused_for_want_of_an_email(shop, 1)
    shop.clock.pass_days(days)
    async with shop.database.transaction() as connection:
        again = await refused.try_again(connection, shop.store.id, shop.clock.now)
    assert len(again) == (0 if days else 1)
