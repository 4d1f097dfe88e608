"""Whose day it is gets a grant, once: time zones, leap years, lead, catching up, edits, and two at once."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import pairwise

import psycopg
import pytest

from rewards.changes import Change, CustomerDeleted, CustomerSaved, OrderSaved
from rewards.codes import grant_key, promotion_code
from rewards.errors import InvalidInputError, NotFoundError
from rewards.occasions import birthday
from rewards.records import Binding
from storage import code_keys, people, programs, rewards
from storage.database import Database, DatabaseSettings
from storage.locks import only_one
from storage.stores import StoreRow
from sync import occasions
from sync.services import Services
from tests.factories import NOON, customer, make_store, new_store, order
from tests.sync.shops import Clock, reward_for, rows, told, utc

BIRTHDAYS = "SELECT occasion, occasion_on FROM grants ORDER BY occasion_on, id"


def born(external_id: str, month: int, day: int, year: int | None = None, **changes: object) -> CustomerSaved:
    """A customer with this birthday."""
    return CustomerSaved(customer(external_id, birthday=birthday(month, day, year), **changes))


def edited(external_id: str, now: datetime, **changes: object) -> CustomerSaved:
    """A later version of a customer."""
    return CustomerSaved(customer(external_id, source_updated_at=now, **changes))


async def customers_with_grants(services: Services) -> list[str]:
    """External ids of those who were given something, in the order of the grants."""
    found = await rows(
        services.database,
        """SELECT c.external_id FROM grants g JOIN store_customers c ON c.id = g.store_customer_id
           ORDER BY g.id""",
    )
    return [row[0] for row in found]


async def run_for_an_hour(services: Services, clock: Clock) -> None:
    """Two runs, so that what was there at the first is no news any more."""
    await occasions.run(services)
    clock.now += timedelta(hours=1)
    await occasions.run(services)


async def test_a_birthday_gives_one_grant_with_its_code(services: Services) -> None:
    store = await new_store(services.database)
    reward = await reward_for(services, store, validity_days=14)
    await told(services, store, born("1", 6, 15), born("2", 6, 16), born("3", 12, 24))
    first = await occasions.run(services)
    again = await occasions.run(services)
    assert (first.grants, first.store_ids, again.grants) == (1, [store.id], 0)
    assert await rows(
        services.database,
        """SELECT g.occasion, g.occasion_on, g.due_on, g.valid_until, g.state, sc.external_id,
               g.reward_version_id FROM grants g JOIN store_customers sc ON sc.id = g.store_customer_id""",
    ) == [
        (
            "birthday:2026",
            date(2026, 6, 15),
            date(2026, 6, 15),
            datetime.fromisoformat("2026-06-29T23:59:59+02:00"),
            "decided",
            "1",
            reward.version_id,
        )
    ]
    async with services.database.transaction() as connection:
        key = await code_keys.code_key(connection, services.secret_box, store.program_id)
    ((member_id, code, code_key),) = await rows(
        services.database,
        "SELECT g.member_id, c.code, c.code_key FROM promotion_codes c JOIN grants g ON g.id = c.grant_id",
    )
    name = grant_key(store.program_id, reward.id, member_id, "birthday:2026")
    assert code == promotion_code(key, "BDAY", name)
    assert code_key == code.lower()


async def test_the_day_is_the_stores_own(services: Services, clock: Clock) -> None:
    madrid = await new_store(services.database)
    async with services.database.transaction() as connection:
        honolulu = await make_store(connection, madrid.program_id, time_zone="Pacific/Honolulu")
    await reward_for(services, madrid)
    await told(services, madrid, born("1", 6, 15))
    await told(services, honolulu, born("2", 6, 15))
    clock.now = utc(2026, 6, 14, 21)
    assert (await occasions.run(services)).grants == 0
    clock.now = utc(2026, 6, 14, 22)  # midnight in Madrid
    assert (await occasions.run(services)).store_ids == [madrid.id]
    clock.now = utc(2026, 6, 15, 10)  # midnight in Honolulu
    assert (await occasions.run(services)).store_ids == [honolulu.id]


@pytest.mark.parametrize(
    ("rule", "year", "expected"),
    [
        ("feb_28", 2027, date(2027, 2, 28)),
        ("mar_1", 2027, date(2027, 3, 1)),
        ("feb_28", 2028, date(2028, 2, 29)),
        ("mar_1", 2028, date(2028, 2, 29)),
    ],
)
async def test_29_february_has_a_day_in_every_year(
    services: Services, clock: Clock, rule: str, year: int, expected: date
) -> None:
    store = await new_store(services.database)
    async with services.database.transaction() as connection:
        await connection.execute("UPDATE programs SET leap_rule = %s", (rule,))
    clock.now = utc(year, 2, 20)
    await reward_for(services, store)
    await told(services, store, born("1", 2, 29))
    given = []
    for day in range(20, 32):
        clock.now = utc(year, 2, 1) + timedelta(days=day - 1)
        given += [clock.now.date()] * (await occasions.run(services)).grants
    assert given == [expected]
    assert await rows(services.database, BIRTHDAYS) == [(f"birthday:{year}", expected)]


@pytest.mark.parametrize("rule", ["feb_28", "mar_1"])
async def test_29_february_comes_every_year_for_eight_years(
    services: Services, clock: Clock, rule: str
) -> None:
    store = await new_store(services.database)
    async with services.database.transaction() as connection:
        await connection.execute("UPDATE programs SET leap_rule = %s", (rule,))
    clock.now = utc(2027, 2, 1)
    await reward_for(services, store)
    await told(services, store, born("1", 2, 29))
    for year in range(2027, 2035):
        for month, day in ((2, 27), (2, 28), (3, 1), (3, 2)):
            clock.now = utc(year, month, day)
            await occasions.run(services)
    assert [row[0] for row in await rows(services.database, BIRTHDAYS)] == [
        f"birthday:{year}" for year in range(2027, 2035)
    ]


async def test_missed_days_are_caught_up_with_within_bounds(services: Services, clock: Clock) -> None:
    store = await new_store(services.database)
    await reward_for(services, store, validity_days=60)
    await told(services, store, born("1", 6, 16), born("2", 6, 20), born("3", 7, 25))
    await occasions.run(services)
    clock.now = utc(2026, 7, 25)  # 40 days later
    (run,) = (await occasions.run(services)).runs
    assert (run.first_on, run.last_on) == (date(2026, 6, 24), date(2026, 7, 25))
    assert (run.days_let_go, run.grants) == (8, 1)
    assert await customers_with_grants(services) == ["3"]


async def test_days_away_lose_no_birthday(services: Services, clock: Clock) -> None:
    store = await new_store(services.database)
    await reward_for(services, store)
    await told(services, store, *[born(str(day), 6, day) for day in range(15, 31)])
    await occasions.run(services)
    clock.now = utc(2026, 6, 27)
    (run,) = (await occasions.run(services)).runs
    assert (run.grants, run.days_let_go) == (12, 0)
    assert await customers_with_grants(services) == [str(day) for day in range(15, 28)]


async def test_days_whose_code_would_be_over_are_let_go(services: Services, clock: Clock) -> None:
    store = await new_store(services.database)
    await reward_for(services, store, validity_days=3)
    await told(services, store, born("1", 6, 16), born("2", 6, 24))
    await occasions.run(services)
    clock.now = utc(2026, 6, 25)
    (run,) = (await occasions.run(services)).runs
    assert (run.grants, run.days_let_go) == (1, 6)
    assert await customers_with_grants(services) == ["2"]


async def test_asking_for_a_day_ahead_takes_no_birthday_from_the_days_before_it(
    services: Services, clock: Clock
) -> None:
    store = await new_store(services.database)
    await reward_for(services, store)
    await told(services, store, born("1", 6, 16), born("2", 6, 18), born("3", 12, 24))
    await run_for_an_hour(services, clock)
    assert (await occasions.run(services, today=date(2026, 12, 24))).grants == 1
    given = []
    for _ in range(5):
        clock.now += timedelta(days=1)
        given += [clock.now.date()] * (await occasions.run(services)).grants
    assert given == [date(2026, 6, 16), date(2026, 6, 18)]
    assert await customers_with_grants(services) == ["3", "1", "2"]


async def test_a_pause_after_a_day_that_was_asked_for_is_caught_up_with(
    services: Services, clock: Clock
) -> None:
    store = await new_store(services.database)
    await reward_for(services, store)
    await told(services, store, born("1", 6, 16), born("2", 6, 18), born("3", 12, 24))
    await run_for_an_hour(services, clock)
    await occasions.run(services, today=date(2026, 12, 24))
    clock.now += timedelta(days=5)
    assert (await occasions.run(services)).grants == 2


async def test_a_day_that_was_done_can_be_asked_for_again(services: Services, clock: Clock) -> None:
    store = await new_store(services.database)
    await reward_for(services, store)
    await run_for_an_hour(services, clock)
    clock.now += timedelta(days=10)
    await occasions.run(services)
    await told(services, store, born("1", 6, 18))
    assert (await occasions.run(services)).grants == 0
    for expected in (1, 0):
        assert (await occasions.run(services, today=date(2026, 6, 18))).grants == expected


async def test_a_day_whose_codes_would_be_over_gives_none(services: Services) -> None:
    store = await new_store(services.database)
    await reward_for(services, store, validity_days=14)
    await told(services, store, born("1", 5, 15))
    assert (await occasions.run(services, today=date(2026, 5, 15))).grants == 0


@pytest.mark.parametrize("day", [date.min, date(1999, 1, 1), date.max])
async def test_a_day_far_away_is_refused(services: Services, day: date) -> None:
    with pytest.raises(InvalidInputError, match="within 10 years"):
        await occasions.run(services, today=day)


async def test_the_lead_gives_ahead_and_the_occasion_keeps_its_own_year(
    services: Services, clock: Clock
) -> None:
    store = await new_store(services.database)
    clock.now = utc(2026, 12, 28)
    await reward_for(services, store, lead_days=7)
    await told(services, store, born("1", 12, 27), born("2", 12, 28), born("3", 1, 4), born("4", 1, 5))
    await occasions.run(services)
    assert await customers_with_grants(services) == ["2", "3"]
    clock.now = utc(2026, 12, 29)
    await occasions.run(services)
    assert await rows(services.database, "SELECT occasion, due_on FROM grants ORDER BY id") == [
        ("birthday:2026", date(2026, 12, 21)),
        ("birthday:2027", date(2026, 12, 28)),
        ("birthday:2027", date(2026, 12, 29)),
    ]


async def test_whoever_tells_a_birthday_on_the_day_is_not_skipped(services: Services, clock: Clock) -> None:
    store = await new_store(services.database)
    await reward_for(services, store, lead_days=2)
    await told(services, store, CustomerSaved(customer("1")), CustomerSaved(customer("2")))
    await run_for_an_hour(services, clock)
    clock.now += timedelta(minutes=20)
    await told(
        services,
        store,
        edited("1", clock.now, birthday=birthday(6, 15)),
        edited("2", clock.now, birthday=birthday(6, 14)),  # past: not given after the fact
        born("3", 6, 17),
    )
    clock.now += timedelta(minutes=10)
    assert (await occasions.run(services)).grants == 2
    assert await customers_with_grants(services) == ["1", "3"]


async def test_a_change_that_was_not_committed_during_a_run_is_found_by_the_next(
    services: Services, clock: Clock
) -> None:
    store = await new_store(services.database)
    await reward_for(services, store)
    await told(services, store, CustomerSaved(customer("1")))
    await run_for_an_hour(services, clock)
    began = clock.now
    clock.now += timedelta(minutes=5)
    await occasions.run(services)
    async with services.database.transaction() as connection:  # its time lies before the run's
        await connection.execute("UPDATE members SET birthday_md = 615, dates_changed_at = %s", (began,))
    clock.now += timedelta(minutes=15)
    assert (await occasions.run(services)).grants == 1


async def test_a_longer_lead_reaches_those_between(services: Services, clock: Clock) -> None:
    store = await new_store(services.database)
    reward = await reward_for(services, store)
    await told(services, store, born("1", 6, 18), born("2", 6, 25), born("3", 6, 26))
    await run_for_an_hour(services, clock)
    clock.now += timedelta(hours=1)
    async with services.database.transaction() as connection:
        changed = await rewards.change(
            connection,
            store.program_id,
            reward.id,
            now=clock.now,
            actor="test",
            terms=replace(reward.terms, lead_days=10),
        )
    assert (await occasions.run(services)).grants == 2
    assert await rows(services.database, "SELECT DISTINCT reward_version_id FROM grants") == [
        (changed.version_id,)
    ]
    clock.pass_days(1)
    await occasions.run(services)
    assert await customers_with_grants(services) == ["1", "2", "3"]


async def test_a_reward_that_was_off_does_not_catch_up(services: Services, clock: Clock) -> None:
    store = await new_store(services.database)
    reward = await reward_for(services, store)
    await told(services, store, born("1", 6, 18), born("2", 6, 20))

    async def switch(is_on: bool) -> None:
        async with services.database.transaction() as connection:
            await rewards.change(
                connection, store.program_id, reward.id, now=clock.now, actor="test", is_on=is_on
            )

    await occasions.run(services)
    await switch(False)
    clock.now = utc(2026, 6, 19)
    assert (await occasions.run(services)).runs == []
    await switch(True)
    clock.now = utc(2026, 6, 20)
    await occasions.run(services)
    assert await customers_with_grants(services) == ["2"]


async def test_anniversaries_begin_a_year_after_joining(services: Services, clock: Clock) -> None:
    store = await new_store(services.database)
    await reward_for(services, store, trigger="joining")
    await told(
        services,
        store,
        CustomerSaved(customer("1", joined_at=clock.now)),
        CustomerSaved(customer("2", joined_at=clock.now - timedelta(days=365))),
        CustomerSaved(customer("3", joined_at=None, has_account=False)),
    )
    await occasions.run(services)
    assert await customers_with_grants(services) == ["2"]
    clock.now = utc(2027, 6, 15)
    await occasions.run(services)
    assert sorted(await customers_with_grants(services)) == ["1", "2", "2"]
    assert {row[0] for row in await rows(services.database, BIRTHDAYS)} == {"joining:2026", "joining:2027"}


async def test_an_edited_birthday_gives_nothing_within_a_year(services: Services, clock: Clock) -> None:
    store = await new_store(services.database)
    await reward_for(services, store)
    await told(services, store, born("1", 6, 15))
    await occasions.run(services)
    for now, month, day in [
        (utc(2026, 6, 20), 6, 20),
        (utc(2026, 12, 31), 12, 31),
        (utc(2027, 1, 1), 1, 1),
        (utc(2027, 6, 14), 6, 14),
    ]:
        clock.now = now
        await told(services, store, edited("1", now, birthday=birthday(month, day)))
        assert (await occasions.run(services)).grants == 0, now
    clock.now = utc(2027, 6, 15)
    await told(services, store, edited("1", clock.now, birthday=birthday(6, 15)))
    assert (await occasions.run(services)).grants == 1


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_is_edited_there_is_at_most_one_a_year(
    services: Services, clock: Clock, seed: int
) -> None:
    chance = random.Random(seed)
    store = await new_store(services.database)
    reward = await reward_for(services, store, lead_days=chance.randrange(5))
    for _ in range(90):
        clock.now += timedelta(days=chance.randrange(12), hours=chance.randrange(24))
        if chance.random() < 0.5:
            near = clock.now.date() + timedelta(days=chance.randrange(-3, 8))
            await told(services, store, edited("1", clock.now, birthday=birthday(near.month, near.day)))
        if chance.random() < 0.1:
            async with services.database.transaction() as connection:
                reward = await rewards.change(
                    connection,
                    store.program_id,
                    reward.id,
                    now=clock.now,
                    actor="test",
                    terms=replace(reward.terms, lead_days=chance.randrange(20)),
                )
        await occasions.run(services)
    found = await rows(services.database, BIRTHDAYS)
    names, days = [row[0] for row in found], [row[1] for row in found]
    assert len(found) >= 2
    assert len(set(names)) == len(names)
    assert all((later - earlier).days >= 365 for earlier, later in pairwise(days))


async def test_two_stores_with_the_same_ids_never_meet(services: Services) -> None:
    ours, theirs = await new_store(services.database), await new_store(services.database)
    await reward_for(services, ours)
    await told(services, ours, born("1", 6, 15))
    await told(services, theirs, born("1", 6, 15), born("2", 6, 15))
    report = await occasions.run(services)
    assert [(run.store_id, run.grants) for run in report.runs] == [(ours.id, 1)]
    await reward_for(services, theirs)
    assert (await occasions.run(services, store_id=ours.id)).grants == 0
    assert (await occasions.run(services, store_id=theirs.id)).grants == 2
    assert await rows(
        services.database,
        """SELECT count(*) AS grants, count(DISTINCT c.code) AS codes FROM grants g
           JOIN members m ON m.id = g.member_id AND m.program_id = g.program_id
           JOIN store_customers sc ON sc.id = g.store_customer_id AND sc.store_id = g.store_id
           JOIN promotion_codes c ON c.grant_id = g.id AND c.store_id = g.store_id
               AND c.program_id = g.program_id""",
    ) == [(3, 3)]


async def test_a_store_with_an_unknown_time_zone_takes_nothing_from_the_others(services: Services) -> None:
    bad, good = await new_store(services.database), await new_store(services.database)
    for store in (bad, good):
        await reward_for(services, store)
        await told(services, store, born("1", 6, 15))
    await rows(
        services.database, "UPDATE stores SET time_zone = 'Mars/Base' WHERE id = %s RETURNING id", bad.id
    )
    with pytest.raises(InvalidInputError, match="time zone"):
        await occasions.run(services)
    assert await rows(services.database, "SELECT store_id FROM grants") == [(good.id,)]


async def test_an_unknown_store_is_said(services: Services) -> None:
    with pytest.raises(NotFoundError, match="perennial stores"):
        await occasions.run(services, store_id=4711)


async def test_no_calendar_has_31_april(services: Services) -> None:
    store = await new_store(services.database)
    with pytest.raises(InvalidInputError, match="31 April"):
        birthday(4, 31)
    await told(services, store, CustomerSaved(customer("1")))
    for impossible in (431, 230, 1301, 0, 100):
        with pytest.raises(psycopg.errors.CheckViolation):
            await rows(services.database, "UPDATE members SET birthday_md = %s RETURNING id", impossible)


async def test_customers_who_are_gone_or_cannot_use_a_code_get_none(services: Services) -> None:
    woo = await new_store(services.database)
    async with services.database.transaction() as connection:
        stripe = await make_store(connection, woo.program_id, platform="stripe")
    await reward_for(services, woo)
    await told(services, woo, born("1", 6, 15), born("2", 6, 15))
    await told(services, woo, CustomerDeleted("2"))
    # A guest with a birthday: WooCommerce binds a code to an e-mail, Stripe needs a customer.
    guest = born("3", 6, 15, has_account=False, joined_at=None)
    await told(services, woo, guest)
    await told(services, stripe, guest)
    await occasions.run(services)
    assert await rows(
        services.database,
        """SELECT g.store_id, sc.external_id FROM grants g
           JOIN store_customers sc ON sc.id = g.store_customer_id ORDER BY g.id""",
    ) == [(woo.id, "1"), (woo.id, "3")]


async def test_of_several_customers_the_one_who_ordered_last_gets_the_code(services: Services) -> None:
    store = await new_store(services.database)
    await reward_for(services, store)
    same: dict[str, object] = {"email": "ada@people.example", "birthday": birthday(6, 15)}
    changes: list[Change] = [CustomerSaved(customer(number, **same)) for number in ("1", "2", "3")]
    changes.append(CustomerSaved(customer("4", has_account=False, joined_at=None, **same)))
    for number, days_ago in (("1", 20), ("2", 10), ("4", 1)):
        placed_at = NOON - timedelta(days=days_ago)
        changes.append(
            OrderSaved(
                order(number, customer_external_id=number, email=None, placed_at=placed_at, paid_at=placed_at)
            )
        )
    await told(services, store, *changes)
    await occasions.run(services)
    assert await customers_with_grants(services) == ["2"]


async def test_members_that_are_one_person_get_one(services: Services, clock: Clock) -> None:
    store = await new_store(services.database)
    await reward_for(services, store)
    await told(services, store, born("1", 6, 15), CustomerSaved(customer("2")))
    await occasions.run(services)
    found = await rows(services.database, "SELECT id FROM members ORDER BY id")
    await told(services, store, edited("2", clock.now, birthday=birthday(6, 16)))
    async with services.database.transaction() as connection:
        await connection.execute("UPDATE members SET has_account = id = %s", (found[1][0],))
        stays = await people.merge_members(connection, store.program_id, found[0][0], found[1][0], NOON)
    assert stays == found[1][0]
    clock.pass_days(1)
    assert (await occasions.run(services)).grants == 0


async def test_a_run_that_fails_midway_goes_on_where_it_was(services: Services, clock: Clock) -> None:
    store = await new_store(services.database)
    await reward_for(services, store)
    await told(services, store, *[born(str(day), 6, day) for day in (15, 16, 17, 18)])
    await occasions.run(services)
    await _fail_on(services, "2026-06-17")
    clock.now = utc(2026, 6, 18)
    with pytest.raises(psycopg.errors.RaiseException):
        await occasions.run(services)
    assert await rows(services.database, "SELECT done_through FROM reward_progress") == [(date(2026, 6, 16),)]
    assert await customers_with_grants(services) == ["15", "16"]
    await _fail_on(services, "1999-01-01")
    await occasions.run(services)
    assert await customers_with_grants(services) == ["15", "16", "17", "18"]


async def _fail_on(services: Services, day: str) -> None:
    """Makes the database refuse the codes of grants of one day, as a full disk would: after the grants are in."""
    async with services.database.transaction() as connection:
        await connection.execute(
            f"""CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF (SELECT occasion_on FROM grants WHERE id = NEW.grant_id) = '{day}' THEN
                    RAISE EXCEPTION 'refused'; END IF; RETURN NEW; END $$"""
        )
        await connection.execute(
            """CREATE OR REPLACE TRIGGER refusing BEFORE INSERT ON promotion_codes
               FOR EACH ROW EXECUTE FUNCTION refuse()"""
        )


async def test_two_processes_give_each_grant_once(services: Services, database_url: str) -> None:
    store = await new_store(services.database)
    await reward_for(services, store, lead_days=3)
    await told(services, store, *[born(str(n), 6, 15 + n % 4) for n in range(300)])
    other = await Database.open(DatabaseSettings(database_url, services.database.settings.data_dir))
    try:
        reports = await asyncio.gather(
            *(occasions.run(each) for each in (services, replace(services, database=other)) * 3)
        )
    finally:
        await other.close()
    assert sum(report.grants for report in reports) == 300
    assert await rows(
        services.database, "SELECT count(*) AS grants, count(DISTINCT member_id) AS members FROM grants"
    ) == [(300, 300)]


async def test_who_asks_for_one_store_waits_for_the_run_that_is_at_it(services: Services) -> None:
    """That one may have begun before the reward was there which is to be given now."""
    store = await new_store(services.database)
    await told(services, store, born("1", 6, 15))
    async with only_one(services.database, f"occasions:{store.id}") as is_ours:
        assert is_ours
        at_once = await occasions.run(services, store_id=store.id)
        assert (at_once.busy_store_ids, at_once.runs) == ([store.id], [])
        waiting = asyncio.create_task(occasions.run(services, store_id=store.id, patience_seconds=20))
        await reward_for(services, store)
        assert not waiting.done()
    assert ((await waiting).grants, (await waiting).busy_store_ids) == (1, [])


async def test_more_members_than_a_chunk_holds(services: Services) -> None:
    store = await new_store(services.database)
    await reward_for(services, store)
    count = occasions.CHUNK * 2 + 1
    await _many_members(services, store, count)
    assert (await occasions.run(services)).grants == count


async def _many_members(services: Services, store: StoreRow, count: int) -> None:
    async with services.database.transaction() as connection:
        await connection.execute(
            """WITH made AS (
                   INSERT INTO members (program_id, match_store_id, home_store_id, email, has_account,
                       birthday_md, balance, created_at)
                   SELECT %(program)s, %(store)s, %(store)s, n || '@people.example', true, 615, 0, now()
                   FROM generate_series(1, %(count)s) n RETURNING id, email)
               INSERT INTO store_customers (program_id, store_id, member_id, external_id, has_account, email,
                   metadata)
               SELECT %(program)s, %(store)s, id, id, true, email, '{}' FROM made""",
            {"program": store.program_id, "store": store.id, "count": count},
        )


async def test_the_codes_key_is_made_once_and_sealed(services: Services) -> None:
    store = await new_store(services.database)

    async def key() -> bytes:
        async with services.database.transaction() as connection:
            return await code_keys.code_key(connection, services.secret_box, store.program_id)

    first, second = await asyncio.gather(key(), key())
    assert first == second
    assert len(first) == 32
    ((stored,),) = await rows(services.database, "SELECT code_key FROM programs")
    assert first not in bytes(stored)
    async with services.database.transaction() as connection:
        other = await programs.create(connection, "Other", "EUR", NOON)
        assert await code_keys.code_key(connection, services.secret_box, other) != first


@pytest.mark.parametrize("binding", list(Binding))
async def test_a_bound_code_needs_an_account_and_an_open_one_does_not(
    services: Services, binding: Binding
) -> None:
    async with services.database.transaction() as connection:
        program_id = await programs.create(connection, "Test", "EUR", NOON)
        store = await make_store(connection, program_id, platform="stripe")
    await reward_for(services, store, binding=binding)
    await told(services, store, born("1", 6, 15), born("2", 6, 15, has_account=False), born("3", 6, 16))
    (run,) = (await occasions.run(services)).runs
    is_open = binding is Binding.OPEN
    assert (run.grants, run.without_account, run.left_out) == ((2, 0, None) if is_open else (1, 1, None))
    assert await customers_with_grants(services) == (["1", "2"] if is_open else ["1"])
