"""Events of one object in any order and more than once: what it is in the end is what Stripe says last."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connectors.base import RawDelivery, StoreOptions
from connectors.stripe.webhooks import StripeWebhooks
from rewards.changes import Change, CustomerSaved
from sandbox.stripe import StripeSandbox
from sandbox.stripe_objects import EventRow
from sandbox.world import Seed, World
from storage.database import Database
from storage.stores import StoreRow
from sync.apply import apply_changes
from tests.factories import NOON, make_program, make_store
from tests.sync.shops import rows

READER, OPTIONS = StripeWebhooks(), StoreOptions("EUR", "UTC", {"birthday_key": "birthday"})


@pytest.fixture
def shop() -> StripeSandbox:
    """An account whose clock the test moves: nothing is asked of it over HTTP."""
    made = StripeSandbox(World(Seed(customers=8, orders=8, number=2, now=NOON), base_is_total=True))
    made.clock = lambda: NOON
    return made


def later(shop: StripeSandbox, seconds: int) -> None:
    shop.clock = lambda: NOON + timedelta(seconds=seconds)


def changes(event: EventRow) -> Sequence[Change]:
    return READER.parse(RawDelivery({}, json.dumps(event.show()).encode()), OPTIONS)


async def fresh(database: Database) -> StoreRow:
    async with database.transaction() as connection:
        return await make_store(connection, await make_program(connection), platform="stripe")


async def tell(database: Database, store: StoreRow, *told: Change) -> None:
    async with database.transaction() as connection:
        await apply_changes(connection, store, told, now=datetime.now(UTC), capabilities=frozenset())


async def outcomes(
    database: Database, events: Sequence[EventRow], known: Change, query: str, *, at_once: bool
) -> set[tuple[Any, ...]]:
    """What each order of telling, one told twice, ends in, for an object that was read before."""
    found = set()
    for arrangement in itertools.permutations(events):
        store = await fresh(database)
        await tell(database, store, known)
        posts = [changes(event) for event in (*arrangement, arrangement[0])]
        if at_once:
            await tell(database, store, *(change for post in posts for change in post))
        else:
            for post in posts:
                await tell(database, store, *post)
        found |= set(await rows(database, query, store.id))
    return found


CUSTOMER = """SELECT sc.name, m.birthday_md, sc.deleted_at IS NOT NULL FROM store_customers sc
    JOIN members m ON m.id = sc.member_id WHERE sc.store_id = %s"""


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("is_deleted", [True, False])
async def test_the_last_word_on_a_customer_counts_whenever_it_comes(
    database: Database, shop: StripeSandbox, is_deleted: bool, at_once: bool
) -> None:
    account = shop.account
    made = account.create_customer({"email": "ada@people.example", "name": "Ada"})
    (known,) = changes(account.events.rows[-1])
    for seconds, day in ((10, "04-03"), (20, "05-06")):
        later(shop, seconds)
        account.update_customer(made.id, {"name": f"Ada {day}", "metadata": {"birthday": day}})
    if is_deleted:
        later(shop, 30)
        account.delete_customer(made.id)
    found = await outcomes(database, account.events.rows[1:], known, CUSTOMER, at_once=at_once)
    if is_deleted:  # what was told of it before does not matter any more
        assert {gone for _, _, gone in found} == {True}
    else:
        assert found == {("Ada 05-06", 506, False)}


@pytest.mark.parametrize("at_once", [True, False])
async def test_the_last_word_on_a_code_counts_whenever_it_comes(
    database: Database, shop: StripeSandbox, at_once: bool
) -> None:
    account = shop.account
    account.create_coupon({"id": "ten", "percent_off": "10"})
    code = account.create_code({"promotion": {"type": "coupon", "coupon": "ten"}, "code": "TEN"})
    (known,) = changes(account.events.rows[-1])
    before = len(account.events.rows)
    for seconds, active in ((10, "false"), (20, "true"), (30, "false")):
        later(shop, seconds)
        account.update_code(code.id, {"active": active})
    query = "SELECT code, is_active FROM coupons WHERE store_id = %s"
    assert await outcomes(database, account.events.rows[before:], known, query, at_once=at_once) == {
        ("TEN", False)
    }


async def test_a_code_of_a_deleted_coupon_is_not_revived_by_what_was_told_before(
    database: Database, shop: StripeSandbox
) -> None:
    account = shop.account
    account.create_coupon({"id": "ten", "percent_off": "10"})
    code = account.create_code({"promotion": {"type": "coupon", "coupon": "ten"}, "code": "TEN"})
    (known,) = changes(account.events.rows[-1])
    before = len(account.events.rows)
    later(shop, 10)
    account.update_code(code.id, {"metadata": {"note": "x"}})
    later(shop, 20)
    account.delete_coupon("ten")
    query = "SELECT code, is_active FROM coupons WHERE store_id = %s AND code IS NOT NULL"
    found = await outcomes(database, account.events.rows[before:], known, query, at_once=False)
    assert found == {("TEN", False)}


async def test_a_coupon_made_again_under_the_same_id_is_there_again(
    database: Database, shop: StripeSandbox
) -> None:
    account = shop.account
    account.create_coupon({"id": "ten", "percent_off": "10"})
    (known,) = changes(account.events.rows[-1])
    later(shop, 10)
    account.delete_coupon("ten")
    later(shop, 20)
    account.create_coupon({"id": "ten", "percent_off": "15"})
    query = "SELECT basis_points, is_active, deleted_at IS NULL FROM coupons WHERE store_id = %s"
    for at_once in (True, False):
        found = await outcomes(database, account.events.rows[1:], known, query, at_once=at_once)
        assert found == {(1_500, True, True)}


async def test_what_is_read_counts_and_does_not_forget_how_new_the_last_event_was(
    database: Database, shop: StripeSandbox
) -> None:
    account = shop.account
    made = account.create_customer({"email": "ada@people.example", "name": "Ada"})
    later(shop, 10)
    account.update_customer(made.id, {"name": "Older"})
    later(shop, 20)
    account.update_customer(made.id, {"name": "Newer"})
    created, older, newer = (changes(event) for event in account.events.rows)
    assert isinstance(newer[0], CustomerSaved)
    # As a list shows it: without a version.
    read = CustomerSaved(replace(newer[0].customer, name="As it is now", source_updated_at=None))
    store = await fresh(database)
    for told in (created, newer, (read,), older):
        await tell(database, store, *told)
    found = await rows(database, "SELECT name FROM store_customers WHERE store_id = %s", store.id)
    assert found == [("As it is now",)]
