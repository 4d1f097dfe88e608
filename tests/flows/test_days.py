"""Day after day only the worker's tick: members get their codes by themselves, on their own day, in the store's time."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta

import pytest

from sandbox.server import Sandbox
from sandbox.shopify import ShopifySandbox
from sandbox.stripe import StripeSandbox
from sandbox.woocommerce import WooCommerceSandbox
from sandbox.world import Person
from tests.flows.stage import Clock, Shop, Stage


@pytest.fixture
def clock() -> Clock:
    """Noon of 25 January 2026 (UTC): no leap year."""
    return Clock(datetime(2026, 1, 25, 12, tzinfo=UTC))


async def newcomers(shop: Shop) -> None:
    """Somebody signs up for each of the coming birthdays."""
    for day in (26, 27, 27, 29, 31):
        number = len(shop.sandbox.world.people)
        await shop.ask(
            "sign_up", name="New", email=f"new.{number}@people.example", birthday=[1, day, 1980 + day]
        )
    await shop.stage.settle()


def members(shop: Shop, *mds: tuple[int, int]) -> list[str]:
    """E-mails of account holders with a birthday on one of these days, sorted."""
    return sorted(person.email for person in shop.sandbox.world.people if born_on(person) in mds)


def born_on(person: Person) -> tuple[int, int] | None:
    return person.birthday[:2] if person.birthday else None


async def given(shop: Shop) -> list[tuple[str, date, date]]:
    """(e-mail, day of the occasion, day on which it was given) of all codes that are in the store."""
    found = await shop.codes()
    assert {code["state"] for code in found} <= {"pushed", "expired", "redeemed"}
    return sorted((code["email"], code["on"], code["due_on"]) for code in found)


@pytest.mark.feature("P-07", "P-30", "S-01", "S-26")
async def test_members_get_their_codes_by_themselves_day_by_day(stage: Stage, kind: type[Sandbox]) -> None:
    zone = "Pacific/Auckland"  # half a day ahead: it is the 26th there
    shop = await stage.open(kind, customers=150, orders=40, birthday_share=1.0, time_zone=zone)
    await newcomers(shop)
    await shop.rewards("birthday")
    await shop.rewards("joining")
    await stage.tick()
    await stage.days_pass(4)  # nobody does anything
    world, days = shop.sandbox.world, [date(2026, 1, 26) + timedelta(days=n) for n in range(5)]
    expected = Counter(
        [("birthday", p.email, day) for day in days for p in world.birthdays_due(day, 0)]
        + [("joining", p.email, day) for day in days for p in world.anniversaries_due(day, 0)]
    )
    found = await shop.codes()
    assert Counter((code["occasion"].split(":")[0], code["email"], code["on"]) for code in found) == expected
    assert len({code["on"] for code in found}) > 2
    assert {code["state"] for code in found} == {"pushed"}
    assert shop.sandbox.codes_in_store() == len(found)


@pytest.mark.feature("P-30")
async def test_the_code_comes_so_many_days_before_and_once_a_year(stage: Stage, kind: type[Sandbox]) -> None:
    shop = await stage.open(kind, customers=0, orders=0)
    await shop.rewards("birthday", lead_days=3, validity_days=5)
    await stage.tick()
    await shop.ask("sign_up", name="Ada", email="ada@people.example", birthday=[1, 29, None])
    await stage.settle()
    await stage.tick()
    assert await given(shop) == []
    await stage.days_pass(1)
    first = ("ada@people.example", date(2026, 1, 29), date(2026, 1, 26))
    assert await given(shop) == [first]
    await stage.days_pass(3)
    assert shop.sandbox.codes_in_store() == len(await given(shop)) == 1
    await stage.days_pass(360, ticking=False)
    await stage.tick()
    assert await given(shop) == [first]
    await stage.days_pass(2)
    assert await given(shop) == [first, ("ada@people.example", date(2027, 1, 29), date(2027, 1, 26))]


@pytest.mark.feature("P-03", "P-04", "P-30")
async def test_whoever_joins_gets_a_code_on_each_anniversary(stage: Stage, kind: type[Sandbox]) -> None:
    shop = await stage.open(kind, customers=0, orders=0)
    await shop.rewards("joining")
    await shop.ask("sign_up", name="Ada", email="ada@people.example")
    await stage.settle()
    await stage.tick()
    for year in (2027, 2028):
        stage.clock.now = datetime(year, 1, 24, 12, tzinfo=UTC)
        await stage.tick()
        before = await given(shop)
        assert date(year, 1, 25) not in {on for _, on, _ in before}
        await stage.days_pass(1)
        assert await given(shop) == [*before, ("ada@people.example", date(year, 1, 25), date(year, 1, 25))]
        await shop.buys("ada@people.example", 5_000, (await shop.codes())[-1]["code"])
        await stage.settle()


@pytest.mark.parametrize(
    ("zone", "after_hours"), [("Pacific/Auckland", -1), ("Europe/Madrid", 11), ("America/Los_Angeles", 20)]
)
async def test_the_day_begins_in_the_stores_own_time(stage: Stage, zone: str, after_hours: int) -> None:
    """26 January begins 23 hours apart in these places; an hour before, nothing is given."""
    shop = await stage.open(ShopifySandbox, customers=0, orders=0, time_zone=zone)
    await shop.rewards("birthday")
    await shop.ask("sign_up", name="Ada", email="ada@people.example", birthday=[1, 26, None])
    stage.clock.passes(hours=after_hours - 1)
    await stage.tick()
    assert await given(shop) == []
    stage.clock.passes(hours=1)
    await stage.tick()
    assert await given(shop) == [("ada@people.example", date(2026, 1, 26), date(2026, 1, 26))]


@pytest.mark.feature("P-30")
async def test_days_without_the_app_are_caught_up(stage: Stage, kind: type[Sandbox]) -> None:
    shop = await stage.open(kind, customers=150, orders=20, birthday_share=1.0)
    await newcomers(shop)
    await shop.rewards("birthday")
    await stage.tick()
    await stage.days_pass(6, ticking=False)
    assert {on for _, on, _ in await given(shop)} == {date(2026, 1, 25)}
    await stage.tick()
    mds = {(day.month, day.day) for day in (date(2026, 1, 25) + timedelta(days=n) for n in range(7))}
    assert [email for email, _, _ in await given(shop)] == members(shop, *mds)
    assert len({on for _, on, _ in await given(shop)}) > 2
    assert shop.sandbox.codes_in_store() == len(await given(shop))
    await stage.tick()
    assert shop.sandbox.codes_in_store() == len(await given(shop))


@pytest.mark.parametrize(("rule", "day"), [("feb_28", date(2026, 2, 28)), ("mar_1", date(2026, 3, 1))])
async def test_29_february_comes_in_every_year_by_the_merchants_rule(
    stage: Stage, rule: str, day: date
) -> None:
    shop = await stage.open(WooCommerceSandbox, customers=0, orders=0)
    await stage.rows(
        "UPDATE programs SET leap_rule = %s WHERE id = %s RETURNING id", rule, shop.store.program_id
    )
    await shop.rewards("birthday")
    await shop.ask("sign_up", name="Leap", email="leap@people.example", birthday=[2, 29, None])
    await stage.tick()
    await stage.days_pass(32, ticking=False)
    await stage.tick()  # 26 February
    await stage.days_pass(5)
    assert [on for _, on, _ in await given(shop)] == [day]
    stage.clock.now = datetime(2028, 2, 26, 12, tzinfo=UTC)
    await stage.tick()
    await stage.days_pass(5)
    years = [on for _, on, _ in await given(shop)]
    assert years[0] == day
    assert years[-1] == date(2028, 2, 29)


async def test_who_joins_or_tells_a_birthday_on_the_day_itself_gets_the_code(
    stage: Stage, kind: type[Sandbox]
) -> None:
    shop = await stage.open(kind, customers=0, orders=0)
    await shop.rewards("birthday")
    await stage.tick()
    await shop.ask("sign_up", name="Ada", email="ada@people.example", birthday=[1, 25, 1990])
    customer = (await shop.ask("sign_up", name="Ben", email="ben@people.example"))["customer"]
    await stage.settle()
    await stage.tick()
    today = date(2026, 1, 25)
    assert await given(shop) == [("ada@people.example", today, today)]
    if isinstance(shop.sandbox, StripeSandbox):
        shop.sandbox.account.update_customer(customer, {"metadata": {"birthday": "01-25"}})
    elif isinstance(shop.sandbox, WooCommerceSandbox):
        shop.sandbox.edit_customer(int(customer), birthday=(1, 25, None))
    else:
        return
    await stage.settle()
    await stage.tick()
    assert await given(shop) == [("ada@people.example", today, today), ("ben@people.example", today, today)]
    await stage.tick()
    assert shop.sandbox.codes_in_store() == 2
