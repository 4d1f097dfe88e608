"""What a store tells besides customers, orders and coupons: records made one, and facts of its own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rewards.changes import CustomerSaved, CustomersMerged, StoreChanged
from rewards.occasions import birthday
from rewards.records import ShopFacts
from storage.database import Database
from tests.factories import NOON, customer, new_store
from tests.sync.test_apply import apply, rows

LIVING = "SELECT count(*) FROM members WHERE merged_into IS NULL"


async def test_two_records_that_the_store_made_one_are_one_member(database: Database) -> None:
    store = await new_store(database)
    told = [
        customer("1", email="1@people.example"),
        customer("2", email="2@people.example", birthday=birthday(5, 17, 1990)),
    ]
    await apply(database, store, *map(CustomerSaved, told))
    assert await rows(database, LIVING) == [(2,)]
    for _ in range(2):  # told twice
        await apply(database, store, CustomersMerged(kept_external_id="1", gone_external_id="2"))
        assert await rows(database, LIVING) == [(1,)]
        known = await rows(database, "SELECT birthday_md FROM members WHERE merged_into IS NULL")
        assert known == [(517,)], "what only the other record knew comes along"
    gone = "SELECT external_id FROM store_customers WHERE deleted_at IS NOT NULL"
    assert await rows(database, gone) == [("2",)]


async def test_a_merge_with_a_record_that_was_never_told_of_takes_nobody_along(database: Database) -> None:
    store, other = await new_store(database), await new_store(database)
    for each in (store, other):
        await apply(database, each, CustomerSaved(customer("1")), CustomerSaved(customer("3")))
    await apply(database, store, CustomersMerged("1", "2"), CustomersMerged("4", "3"))
    assert await rows(database, LIVING) == [(4,)]
    gone = "SELECT store_id, external_id FROM store_customers WHERE deleted_at IS NOT NULL"
    assert await rows(database, gone) == [(store.id, "3")], "the other store's records are its own"


async def test_a_store_that_says_something_new_of_itself_is_known_by_it(database: Database) -> None:
    store, other = await new_store(database), await new_store(database)
    facts = ShopFacts(store.external_id, "New Name", "Asia/Tokyo", "EUR", notices=("A permission is gone.",))
    await apply(database, store, StoreChanged(replace(facts, name="Old Name")), StoreChanged(facts))
    asked = "SELECT name, time_zone, notices FROM stores WHERE id = %s"
    async with database.transaction() as connection:
        found = await (await connection.execute(asked, (store.id,))).fetchone()
        untouched = await (await connection.execute(asked, (other.id,))).fetchone()
    assert found == {"name": "New Name", "time_zone": "Asia/Tokyo", "notices": ["A permission is gone."]}
    assert untouched is not None
    assert not untouched["notices"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("in_one_chunk", [True, False])
async def test_what_one_of_two_posts_leaves_out_is_taken_from_the_other(
    database: Database, order: tuple[int, int], in_one_chunk: bool
) -> None:
    store = await new_store(database)
    whole = customer("1", birthday=birthday(5, 17, 1990), locale="es", source_updated_at=NOON)
    told = [CustomerSaved(whole), CustomerSaved(replace(whole, birthday=None, locale=None))]
    told = [told[place] for place in order]
    for chunk in [told] if in_one_chunk else [told[:1], told[1:]]:
        await apply(database, store, *chunk)
    assert await rows(database, "SELECT birthday_md FROM members") == [(517,)]
    assert await rows(database, "SELECT locale FROM store_customers") == [("es",)]
