"""Who asks what is held gets all of it and nothing of others; a store that is gone for good leaves nobody behind."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from rewards.changes import CouponSaved, CustomerSaved, OrderSaved, PrivacyRequested, Uninstalled
from rewards.errors import InvalidInputError, NotFoundError
from rewards.occasions import birthday
from rewards.records import Benefit, BenefitKind, Coupon
from storage import privacy, stores
from storage.stores import StoreRow
from sync import occasions
from sync.privacy import erase_store, export
from sync.services import Services
from tests.factories import NOON, customer, new_store, order
from tests.sync.shops import Clock, Shop, reward_for, rows, told

ADA, BOB = "ada.1@people.example", "bob@people.example"
PHONE = "+34600100200"
PERSONAL = """SELECT count(*) FROM store_customers WHERE store_id = %s
    AND (email IS NOT NULL OR email_given IS NOT NULL OR name IS NOT NULL OR phone IS NOT NULL
         OR metadata <> '{}')"""


async def peopled(services: Services) -> StoreRow:
    """A store with Ada, who has orders, points, a reward and a coupon, and with Bob, who orders as a guest."""
    store = await new_store(services.database, earning_from=NOON - timedelta(days=300))
    await reward_for(services, store)
    mine = Coupon("c1", "ADA-5", "For Ada", Benefit(BenefitKind.OTHER), True, emails=(ADA.upper(),))
    other = replace(mine, external_id="c2", code="BOB-5", emails=(BOB,))
    await told(
        services,
        store,
        CustomerSaved(customer("1", birthday=birthday(6, 15), metadata={"shoe": "38"}, phone=PHONE)),
        OrderSaved(order("7")),
        OrderSaved(order("8", customer_external_id=None, email=BOB)),
        CouponSaved(mine),
        CouponSaved(other),
    )
    await occasions.run(services, store_id=store.id)
    return store


async def asked(services: Services, store: StoreRow, *about: str | None) -> int:
    """A request about this customer; our id of it."""
    await told(services, store, PrivacyRequested("export", *about))
    async with services.database.transaction() as connection:
        return (await privacy.requests_of(connection, store.id))[-1].id


async def test_an_export_holds_all_of_the_person_and_nothing_of_others(services: Services) -> None:
    store, twin = await peopled(services), await peopled(services)
    found = await export(services, await asked(services, store, "1", None), actor="merchant")
    (person,) = found["customers"]
    assert (person["external_id"], person["email"], person["metadata"]) == ("1", ADA, {"shoe": "38"})
    assert person["phone"] == PHONE
    assert [(member["birthday_md"], member["email"]) for member in found["members"]] == [(615, ADA)]
    assert [one["external_id"] for one in found["orders"]] == ["7"]
    assert sorted(entry["points"] for entry in found["points"]) == [100, 200]
    assert [(one["occasion"], one["code"][:4]) for one in found["rewards"]] == [("birthday:2026", "BDAY")]
    assert [one["code"] for one in found["coupons"]] == ["ADA-5"]
    text = json.dumps(found, default=str)
    assert BOB not in text
    assert text.count(ADA) == 2
    by_email = await export(services, await asked(services, twin, None, BOB.upper()), actor="merchant")
    assert [one["external_id"] for one in by_email["orders"]] == ["8"]
    assert ADA not in json.dumps(by_email, default=str)


async def test_a_request_about_nobody_known_gives_empty_lists(services: Services) -> None:
    store = await peopled(services)
    found = await export(
        services, await asked(services, store, "999", "eve@people.example"), actor="merchant"
    )
    assert {part: found[part] for part in ("customers", "orders", "points", "rewards", "coupons")} == {
        part: [] for part in ("customers", "orders", "points", "rewards", "coupons")
    }


async def test_an_export_is_noted_and_its_request_goes_after_a_month(
    services: Services, clock: Clock
) -> None:
    store = await peopled(services)
    request = await asked(services, store, "1", None)
    await export(services, request, actor="merchant")
    trail = "SELECT action, actor FROM audit_events WHERE action LIKE 'privacy.%%' ORDER BY id"
    assert await rows(services.database, trail) == [
        ("privacy.export", "platform"),
        ("privacy.exported", "merchant"),
    ]
    async with services.database.transaction() as connection:
        assert await privacy.remove_old(connection, clock.now) == 0
        assert await privacy.remove_old(connection, clock.now + timedelta(seconds=1)) == 1
    with pytest.raises(NotFoundError, match="30 days"):
        await export(services, request, actor="merchant")


async def test_after_an_erasure_an_export_holds_points_and_no_person(services: Services) -> None:
    store = await peopled(services)
    request = await asked(services, store, "1", None)
    await told(services, store, PrivacyRequested("erase", "1", ADA))
    found = await export(services, request, actor="merchant")
    assert sum(entry["points"] for entry in found["points"]) == 300
    assert ADA not in json.dumps(found, default=str)
    assert PHONE not in json.dumps(found, default=str)
    assert "Ada" not in json.dumps({part: found[part] for part in ("customers", "members")}, default=str)
    async with services.database.transaction() as connection:
        assert (await privacy.by_id(connection, request)).external_id is None


async def test_late_news_of_an_erased_customer_brings_nothing_back(services: Services) -> None:
    store = await peopled(services)
    earlier, later = (
        CustomerSaved(customer("1", phone=PHONE, metadata={"shoe": "39"}, source_updated_at=NOON + after))
        for after in (-timedelta(minutes=1), timedelta(days=20))
    )
    await told(services, store, PrivacyRequested("erase", "1", ADA))
    await told(services, store, earlier)
    assert await rows(services.database, PERSONAL, store.id) == [(1,)], "Bob's"
    await told(services, store, later)
    assert await rows(services.database, PERSONAL, store.id) == [(2,)], "she has come back"


async def test_an_erased_member_is_given_nothing_more(services: Services, clock: Clock) -> None:
    store = await peopled(services)
    await reward_for(services, store, "joining")
    await told(services, store, PrivacyRequested("erase", "1", None))
    clock.pass_days(400)
    assert (await occasions.run(services, today=NOON.date().replace(month=11, day=27))).grants == 0
    assert await rows(services.database, "SELECT 1 FROM members WHERE joined_on IS NOT NULL") == []


async def gone(services: Services, store: StoreRow, clock: Clock) -> StoreRow:
    """The store was uninstalled, and two days later its erasure is asked for."""
    await told(services, store, Uninstalled())
    clock.pass_days(2)
    await told(services, store, PrivacyRequested("erase", None, None))
    async with services.database.transaction() as connection:
        return await stores.by_id(connection, store.id)


async def test_a_store_that_is_gone_is_erased_whole_and_sums_stay(services: Services, clock: Clock) -> None:
    store, twin = await peopled(services), await peopled(services)
    sums = "SELECT count(*), sum(points) FROM ledger_entries WHERE store_id = %s"
    before = await rows(services.database, sums, store.id)
    await gone(services, store, clock)
    assert await erase_store(services, store.id) == 2
    assert await erase_store(services, store.id) == 0
    assert await rows(services.database, PERSONAL, store.id) == [(0,)]
    assert await rows(services.database, PERSONAL, twin.id) == [(2,)]
    named = (
        "SELECT count(*) FROM members WHERE home_store_id = %s AND (email IS NOT NULL OR name IS NOT NULL)"
    )
    assert await rows(services.database, named, store.id) == [(0,)]
    assert await rows(services.database, sums, store.id) == before
    coupons = "SELECT emails FROM coupons WHERE store_id = %s ORDER BY external_id"
    assert await rows(services.database, coupons, store.id) == [([],), ([],)]
    assert await rows(services.database, coupons, twin.id) == [([ADA.upper()],), ([BOB],)]
    trail = "SELECT action FROM audit_events WHERE store_id = %s AND action LIKE 'privacy.%%' ORDER BY id"
    assert await rows(services.database, trail, store.id) == [
        ("privacy.erase_store",),
        ("privacy.store_erased",),
    ]


async def test_a_store_that_came_back_is_not_erased(services: Services, clock: Clock) -> None:
    store = await peopled(services)
    await gone(services, store, clock)
    clock.pass_days(0.1)
    # Connected again, and taken out again: then the platform asks once more, in its own time.
    await rows(services.database, "UPDATE stores SET installed_at = %s RETURNING id", clock.now)
    assert await erase_store(services, store.id) == 0
    assert await rows(services.database, PERSONAL, store.id) == [(2,)]
    async with services.database.transaction() as connection:
        (request,) = await privacy.requests_of(connection, store.id)
    assert "has come back" in (request.note or "")
    assert request.done_at == clock.now


async def test_a_store_that_still_answers_is_not_erased(shop: Shop) -> None:
    before = await rows(shop.database, PERSONAL, shop.store.id)
    await told(shop.services, shop.store, PrivacyRequested("erase", None, None))
    assert await erase_store(shop.services, shop.store.id) == 0
    assert await rows(shop.database, PERSONAL, shop.store.id) == before != [(0,)]


async def test_a_store_whose_end_was_not_told_is_asked_and_erased(shop: Shop) -> None:
    await told(shop.services, shop.store, PrivacyRequested("erase", None, None))
    await shop.ask("faults", refuse_credentials=True)
    assert await erase_store(shop.services, shop.store.id) > 0
    assert await rows(shop.database, PERSONAL, shop.store.id) == [(0,)]
    assert await rows(shop.database, "SELECT status, credentials, webhook_secrets FROM stores") == [
        ("uninstalled", None, None)
    ]


async def test_only_a_request_for_data_can_be_exported(services: Services, clock: Clock) -> None:
    store = await peopled(services)
    await gone(services, store, clock)
    async with services.database.transaction() as connection:
        (request,) = await privacy.requests_of(connection, store.id)
    with pytest.raises(InvalidInputError, match="erasure"):
        await export(services, request.id, actor="merchant")
