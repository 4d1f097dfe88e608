"""Chunks of changes become records, awards and take-backs, whatever their order."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from connectors.base import Capability
from rewards.changes import (
    Change,
    CouponDeleted,
    CouponSaved,
    CustomerSaved,
    OrderDeleted,
    OrderSaved,
    PrivacyRequested,
    RefundSaved,
    Uninstalled,
)
from rewards.records import Benefit, BenefitKind, Coupon, OrderStatus, RefundStatus
from storage.database import Database
from storage.stores import StoreRow
from sync.apply import Applied, apply_changes
from tests.factories import NOON, customer, make_store, new_store, order, refund

EARLY = NOON - timedelta(days=365)


async def apply(database: Database, store: StoreRow, *changes: Change) -> Applied:
    async with database.transaction() as connection:
        return await apply_changes(
            connection,
            store,
            changes,
            now=NOON,
            capabilities=frozenset({Capability.CODE_RETURNS_ON_CANCEL}),
        )


async def rows(database: Database, sql: str) -> list[tuple[object, ...]]:
    async with database.transaction() as connection:
        return [tuple(row.values()) for row in await (await connection.execute(sql)).fetchall()]


async def test_paid_order_and_sign_up_earn_once(database: Database) -> None:
    store = await new_store(database, earning_from=EARLY)
    changes = (CustomerSaved(customer()), OrderSaved(order()))
    first = await apply(database, store, *changes)
    again = await apply(database, store, *changes, *changes)
    assert (first.entries, first.points) == (2, 300)
    assert (again.entries, again.points) == (0, 0)
    assert await rows(database, "SELECT email, balance, has_account FROM members") == [
        ("ada.1@people.example", 300, True)
    ]


async def test_nothing_moves_before_the_merchant_switches_earning_on(database: Database) -> None:
    store = await new_store(database)
    assert (await apply(database, store, CustomerSaved(customer()), OrderSaved(order()))).entries == 0
    assert len(await rows(database, "SELECT 1 FROM orders")) == 1


async def test_facts_from_before_earning_was_switched_on_are_held(database: Database) -> None:
    store = await new_store(database, earning_from=NOON - timedelta(days=50))
    old, new = order("1"), order("2", paid_at=NOON - timedelta(days=10))
    applied = await apply(database, store, OrderSaved(old), OrderSaved(new))
    assert applied.points == 200
    assert await rows(database, "SELECT key FROM ledger_entries") == [(f"order_paid:{store.id}:2",)]


async def test_refunds_take_back_in_proportion_however_they_come(database: Database) -> None:
    store = await new_store(database, earning_from=EARLY, place_order=(5, 100))
    parts = [RefundSaved("1", refund("r1", 4_033)), RefundSaved("1", refund("r2", 2_017))]
    await apply(database, store, parts[1])  # waits for its order
    await apply(database, store, OrderSaved(order()))
    await apply(database, store, parts[0], parts[1])
    assert await rows(database, "SELECT reason, points FROM ledger_entries ORDER BY id") == [
        ("order", 500),
        ("refund", -84),
        ("refund", -166),
    ]
    assert await rows(database, "SELECT balance FROM members") == [(500 * 6_050 // 12_100,)]


async def test_failed_refund_gives_its_points_back(database: Database) -> None:
    store = await new_store(database, earning_from=EARLY, place_order=200)
    await apply(database, store, OrderSaved(order()), RefundSaved("1", refund("r", 12_100)))
    assert await rows(database, "SELECT balance FROM members") == [(0,)]
    failed = refund("r", 12_100, RefundStatus.FAILED)
    await apply(database, store, RefundSaved("1", failed))
    await apply(database, store, RefundSaved("1", refund("r", 12_100)))  # late and out of order
    assert await rows(database, "SELECT balance FROM members") == [(200,)]
    assert await rows(database, "SELECT reason, points FROM ledger_entries ORDER BY id") == [
        ("order", 200),
        ("refund", -200),
        ("correction", 200),
    ]


async def test_cancelled_order_takes_back_and_revived_gives_again(database: Database) -> None:
    store = await new_store(database, earning_from=EARLY, place_order=200)
    at = order().placed_at
    cancelled = order(
        status=OrderStatus.CANCELLED,
        cancelled_at=at + timedelta(hours=1),
        source_updated_at=at + timedelta(hours=1),
    )
    revived = order(source_updated_at=at + timedelta(hours=2))
    await apply(database, store, OrderSaved(cancelled), OrderSaved(order()))
    assert await rows(database, "SELECT balance FROM members") == [(0,)]
    await apply(database, store, OrderSaved(revived))
    await apply(database, store, OrderSaved(cancelled))
    assert await rows(database, "SELECT balance FROM members") == [(200,)]
    await apply(database, store, OrderDeleted("1", None))
    assert await rows(database, "SELECT balance FROM members") == [(0,)]


async def test_guest_with_a_registered_email_is_that_member(database: Database) -> None:
    store = await new_store(database, earning_from=EARLY, place_order=200)
    guest = order("2", customer_external_id=None, email=" ADA.1@people.example ")
    stranger = order("3", customer_external_id=None, email="bo@people.example")
    nobody = order("4", customer_external_id=None, email=None)
    changes = [OrderSaved(guest), OrderSaved(stranger), OrderSaved(nobody), OrderSaved(order("1"))]
    await apply(database, store, *changes, CustomerSaved(customer()))
    assert await rows(database, "SELECT email, balance, has_account FROM members ORDER BY email") == [
        ("ada.1@people.example", 400, True),
        ("bo@people.example", 200, False),
    ]


async def test_email_that_turns_out_to_be_anothers_makes_them_one(database: Database) -> None:
    store = await new_store(database, earning_from=EARLY)
    guest = order("7", customer_external_id=None, email="new@people.example")
    await apply(database, store, CustomerSaved(customer()), OrderSaved(order()), OrderSaved(guest))
    moved = customer(email="new@people.example", source_updated_at=NOON)
    await apply(database, store, CustomerSaved(moved))
    later = order("8", customer_external_id=None, email="new@people.example")
    await apply(database, store, OrderSaved(later))
    found = await rows(
        database,
        "SELECT merged_into IS NULL AS stays, balance, balance = (SELECT sum(points) FROM ledger_entries e WHERE e.member_id = m.id) AS is_sum FROM members m ORDER BY id",
    )
    assert sorted(found) == [(False, 200, True), (True, 500, True)]


async def test_two_stores_with_equal_external_ids_stay_apart(database: Database) -> None:
    one, other = await new_store(database, earning_from=EARLY), await new_store(database, earning_from=EARLY)
    async with database.transaction() as connection:
        sister = await make_store(connection, one.program_id, earning_from=EARLY)
    for store in (one, other, sister):
        await apply(database, store, CustomerSaved(customer()), OrderSaved(order()))
    await apply(database, other, RefundSaved("1", refund("r", 12_100)))
    assert await rows(
        database,
        "SELECT store_id, sum(points)::int FROM ledger_entries GROUP BY store_id ORDER BY store_id",
    ) == [(one.id, 300), (other.id, 100), (sister.id, 300)]
    assert len(await rows(database, "SELECT 1 FROM members")) == 3


async def test_order_in_another_currency_waits_unless_points_are_fixed(database: Database) -> None:
    per_amount = await new_store(database, earning_from=EARLY, place_order=(5, 100))
    fixed = await new_store(database, earning_from=EARLY, place_order=200)
    foreign = OrderSaved(order(currency="USD"))
    assert (await apply(database, per_amount, foreign)).entries == 0
    assert (await apply(database, fixed, foreign)).points == 200


async def test_test_orders_and_unpaid_orders_earn_nothing(database: Database) -> None:
    store = await new_store(database, earning_from=EARLY)
    unpaid = order("1", paid_at=None, status=OrderStatus.PENDING)
    assert (
        await apply(database, store, OrderSaved(unpaid), OrderSaved(order("2", is_test=True)))
    ).entries == 0


async def test_code_told_without_its_terms_keeps_what_is_known_of_it(database: Database) -> None:
    store = await new_store(database)
    known = Coupon(
        "c1", "TEN", "Ten off", Benefit(BenefitKind.PERCENTAGE, basis_points=1_000), is_active=True
    )
    vague = replace(known, benefit=Benefit(BenefitKind.OTHER), is_active=False)
    await apply(database, store, CouponSaved(known))
    await apply(database, store, CouponSaved(vague))
    assert await rows(database, "SELECT kind, basis_points, is_active FROM coupons") == [
        ("percentage", 1_000, False)
    ]
    await apply(database, store, CouponDeleted("c1"))
    assert await rows(database, "SELECT deleted_at IS NOT NULL AS gone FROM coupons") == [(True,)]


async def test_erased_person_leaves_points_and_nothing_personal(database: Database) -> None:
    store = await new_store(database, earning_from=EARLY)
    guest = order("2", customer_external_id=None, email="ADA.1@people.example")
    await apply(database, store, CustomerSaved(customer()), OrderSaved(order()), OrderSaved(guest))
    await apply(database, store, PrivacyRequested("erase", "1", "ada.1@people.example"))
    assert await rows(database, "SELECT email, name, balance FROM members") == [(None, None, 500)]
    kept = await rows(database, "SELECT external_id, email, email_given, name FROM store_customers")
    assert not any("ada" in str(value).lower() for row in kept for value in row)
    assert await rows(database, "SELECT action FROM audit_events") == [("privacy.erase",)]


async def test_uninstalled_store_forgets_its_credentials_and_awards_no_more(database: Database) -> None:
    store = await new_store(database, earning_from=EARLY)
    await apply(database, store, Uninstalled())
    assert (await apply(database, store, CustomerSaved(customer()), OrderSaved(order()))).entries == 0
    assert await rows(database, "SELECT status, credentials FROM stores") == [("uninstalled", None)]


async def test_a_character_that_no_database_text_holds_stops_no_history(database: Database) -> None:
    store = await new_store(database)
    odd = "\0Ada\0"
    await apply(
        database,
        store,
        CustomerSaved(customer("1", name=odd, email=f"{odd}@people.example", metadata={odd: odd})),
        OrderSaved(order("1", customer_external_id=None, email=f"{odd}@people.example", codes=(odd,))),
        CouponSaved(Coupon("c1", odd, odd, Benefit(BenefitKind.OTHER), is_active=True)),
    )
    assert await rows(database, "SELECT name, email FROM members") == [("Ada", "ada@people.example")]
    assert await rows(database, "SELECT metadata FROM store_customers WHERE has_account") == [
        ({"Ada": "Ada"},)
    ]
    assert await rows(database, "SELECT o.codes, c.code, c.title FROM orders o, coupons c") == [
        (["Ada"], "Ada", "Ada")
    ]


async def test_money_of_a_shops_own_making_stops_no_history(database: Database) -> None:
    store = await new_store(database, earning_from=EARLY, place_order=(5, 100))
    await apply(database, store, OrderSaved(order("1", currency="POINTS")), OrderSaved(order("2")))
    found = await rows(database, "SELECT external_id, currency FROM orders ORDER BY external_id")
    assert found == [("1", "POINTS"), ("2", "EUR")]
    assert await rows(database, "SELECT key FROM ledger_entries") == [(f"order_paid:{store.id}:2",)]


async def test_a_refund_told_in_one_chunk_is_worth_what_it_is_in_several(database: Database) -> None:
    first = replace(refund("r1", 6_050, RefundStatus.PENDING), subtotal_minor=6_050)
    parts = [RefundSaved("1", first), RefundSaved("1", refund("r1", 6_050))]
    found = []
    for chunks in ([parts], [parts[:1], parts[1:]], [parts[1:], parts[:1]]):
        store = await new_store(database, earning_from=EARLY, place_order=(5, 100))
        await apply(database, store, OrderSaved(order()))
        for chunk in chunks:
            await apply(database, store, *chunk)
        found.append(
            await rows(database, f"SELECT sum(balance) FROM members WHERE home_store_id = {store.id}")
        )
    assert found[0] == found[1] == found[2]


async def test_deletion_told_before_its_order_is_not_forgotten(database: Database) -> None:
    store = await new_store(database, earning_from=EARLY, place_order=200)
    await apply(database, store, OrderDeleted("1", None))
    await apply(database, store, OrderSaved(order()))
    assert await rows(database, "SELECT reason, points FROM ledger_entries ORDER BY id") == [
        ("order", 200),
        ("correction", -200),
    ]
    restored = order(source_updated_at=NOON + timedelta(minutes=1))
    await apply(database, store, OrderSaved(order()), OrderDeleted("1", None), OrderSaved(restored))
    assert await rows(database, "SELECT balance FROM members") == [(200,)]
    await apply(database, store, OrderSaved(restored), OrderDeleted("1", NOON + timedelta(minutes=2)))
    assert await rows(database, "SELECT balance FROM members") == [(0,)]


async def test_orders_own_email_says_nothing_of_whose_account_it_is(database: Database) -> None:
    gift = order("2", email="bo@people.example")
    guest = order("3", customer_external_id=None, email="bo@people.example")
    told = [CustomerSaved(customer()), OrderSaved(gift), OrderSaved(guest)]
    for changes in (told, told[::-1]):
        store = await new_store(database, earning_from=EARLY)
        for change in changes:
            await apply(database, store, change)
        assert await rows(
            database,
            f"SELECT email, balance FROM members WHERE home_store_id = {store.id} ORDER BY email",
        ) == [("ada.1@people.example", 300), ("bo@people.example", 200)]


async def test_who_ordered_is_not_forgotten_by_a_later_version(database: Database) -> None:
    store = await new_store(database, earning_from=EARLY, place_order=200)
    anonymous = order(customer_external_id=None, email=None, source_updated_at=NOON)
    await apply(database, store, OrderSaved(anonymous))
    await apply(database, store, OrderSaved(order()))
    assert await rows(database, "SELECT balance FROM members") == [(200,)]
