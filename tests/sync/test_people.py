"""Who is one person, and whose word on their dates counts."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from rewards.changes import CustomerSaved
from rewards.occasions import birthday
from storage import members
from storage.database import Database
from tests.factories import NOON, customer, new_store
from tests.sync.test_apply import apply, rows

DATES = """SELECT birthday_md, birthday_year, birthday_set_by, joined_on, joined_set_by FROM members
    WHERE merged_into IS NULL"""


@pytest.mark.parametrize("by_hand", [1, 2])
async def test_dates_set_by_hand_outlive_a_merge_and_the_stores_word(
    database: Database, by_hand: int
) -> None:
    store = await new_store(database)
    told = [
        customer(str(number), birthday=birthday(number, number, 1990), email=f"{number}@people.example")
        for number in (1, 2)
    ]
    await apply(database, store, *map(CustomerSaved, told))
    async with database.transaction() as connection:
        found = await members.of_store(connection, store.id)
        chosen = found[by_hand - 1].id
        day = birthday(12, 24)
        await members.set_dates(connection, chosen, birthday=day, joined_on=date(2026, 1, 1), now=NOON)
    later = NOON + timedelta(hours=1)
    moved = customer("2", email="1@people.example", birthday=birthday(2, 2, 1990), source_updated_at=later)
    for _ in range(2):  # the merge, and what the store says after it
        await apply(database, store, CustomerSaved(moved))
        assert await rows(database, DATES) == [(1224, None, "merchant", date(2026, 1, 1), "merchant")]


async def test_a_member_is_found_by_their_phone_number_however_it_is_written(database: Database) -> None:
    store, twin = await new_store(database), await new_store(database)
    for each in (store, twin):
        told = [customer("1", phone="+34600100200"), customer("2", phone="+34 600 555 666"), customer("3")]
        await apply(database, each, *map(CustomerSaved, told))
    later = customer("1", name="Ada Again", source_updated_at=NOON)
    await apply(database, store, CustomerSaved(later))  # which does not say the number

    async def found(text: str) -> list[str | None]:
        async with database.transaction() as connection:
            people = await members.of_store(connection, store.id, search=text)
            assert await members.count_of_store(connection, store.id, search=text) == len(people)
            return [member.email for member in people]

    ada, other = "ada.1@people.example", "ada.2@people.example"
    for text in ("600100200", "600 10 02 00", "+34 (600) 100-200", "0600100200", "100200"):
        assert await found(text) == [ada], text
    assert await found("600555666") == [other]
    assert await found("600") == [], "three digits are a part of too many"
    assert await found("ada.2") == [other]


@pytest.mark.parametrize("in_one_chunk", [True, False])
@pytest.mark.parametrize("taker", ["1", "2", "3"])  # the third is new
async def test_an_address_that_is_handed_on_makes_nobody_one_person(
    database: Database, in_one_chunk: bool, taker: str
) -> None:
    store = await new_store(database)
    giver = "1" if taker == "2" else "2"
    told = [CustomerSaved(customer(number, email=f"{number}@people.example")) for number in ("1", "2")]
    await apply(database, store, *told)
    later = {"source_updated_at": NOON}
    moved = [
        CustomerSaved(customer(giver, email="new@people.example", **later)),
        CustomerSaved(customer(taker, email=f"{giver}@people.example", **later)),
    ]
    for chunk in [moved] if in_one_chunk else [moved[:1], moved[1:]]:
        await apply(database, store, *chunk)
    found = await rows(
        database,
        f"""SELECT sc.external_id, m.email, m.merged_into
            FROM store_customers sc JOIN members m ON m.id = sc.member_id
            WHERE sc.external_id IN ('{giver}', '{taker}') ORDER BY sc.external_id = '{taker}'""",
    )
    assert found == [(giver, "new@people.example", None), (taker, f"{giver}@people.example", None)]
