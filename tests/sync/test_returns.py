"""A used code is given back as the merchant chose, and a payment that never came used nothing."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import timedelta

import pytest

from rewards.changes import OrderSaved, RefundSaved
from rewards.errors import InvalidInputError
from rewards.records import Order, OrderStatus, RefundStatus
from rewards.returns import Returns, returns_setting
from storage import jobs, returned, stores
from storage.stores import StoreRow
from sync import store_settings
from sync.services import Services
from tests.factories import NOON, refund
from tests.sync.shops import Clock, rows, told
from tests.sync.test_redemption import cancelled, granted, pushed, state, used


async def sold(services: Services, platform: str, returns: str | None) -> tuple[StoreRow, Order]:
    """A store with this choice where Ada's code was used by an order."""
    store, code = await granted(services, platform)
    if returns is not None:
        store = await store_settings.change(services, store.id, {"returns": returns}, actor="merchant")
    await pushed(services, store)
    found = used("7", code, 5)
    await told(services, store, OrderSaved(found))
    assert (await state(services, store))[0] == "redeemed"
    return store, found


@pytest.mark.parametrize(
    ("returns", "after_cancel", "after_refund"),
    [
        (None, "redeemed", "redeemed"),
        ("never", "redeemed", "redeemed"),
        ("on_cancel", "returned", "redeemed"),
        ("on_full_refund", "returned", "returned"),
    ],
)
async def test_what_gives_a_code_back_is_the_merchants_choice(
    services: Services, returns: str | None, after_cancel: str, after_refund: str
) -> None:
    store, found = await sold(services, "stripe", returns)
    await told(services, store, OrderSaved(cancelled(found)))
    assert (await state(services, store))[0] == after_cancel
    store, found = await sold(services, "stripe", returns)
    await told(services, store, RefundSaved("7", refund("r1", found.total_minor - 1)))
    assert (await state(services, store))[0] == "redeemed"
    await told(services, store, RefundSaved("7", refund("r2", 1)))
    assert (await state(services, store))[0] == after_refund


async def test_a_refund_that_failed_after_all_takes_the_code_back_again(services: Services) -> None:
    store, found = await sold(services, "stripe", "on_full_refund")
    await told(services, store, RefundSaved("7", refund("r1", found.total_minor)))
    assert (await state(services, store))[0] == "returned"
    await told(services, store, RefundSaved("7", refund("r1", found.total_minor, RefundStatus.FAILED)))
    assert (await state(services, store))[0] == "redeemed"


@pytest.mark.parametrize("returns", [None, "never"])
async def test_a_payment_that_failed_after_all_used_nothing(services: Services, returns: str | None) -> None:
    store, code = await granted(services, "stripe")
    if returns is not None:
        store = await store_settings.change(services, store.id, {"returns": returns}, actor="merchant")
    await pushed(services, store)
    waiting = replace(used("7", code, 5), status=OrderStatus.PENDING, paid_at=None, status_given="open")
    await told(services, store, OrderSaved(waiting))
    assert (await state(services, store))[0] == "redeemed"
    await told(services, store, OrderSaved(cancelled(waiting)))
    assert (await state(services, store))[0] == "returned"
    async with services.database.transaction() as connection:
        assert await jobs.stores_to_push(connection, services.clock()) == [store.id]


async def test_a_payment_that_failed_and_came_in_another_way_counts_and_uses_its_code(
    services: Services,
) -> None:
    """Whatever is told first: a bank's answer that is late changes nothing of what is paid."""
    outcomes = set()
    for arrangement in itertools.permutations(range(3)):
        store, code = await granted(services, "stripe")
        await pushed(services, store)
        paid = replace(used("7", code, 5), source_updated_at=None)
        waiting = replace(paid, status=OrderStatus.PENDING, paid_at=None)
        told_of = [waiting, replace(waiting, status=OrderStatus.FAILED), paid]
        for index in arrangement:
            await told(services, store, OrderSaved(told_of[index]))
        found = await rows(
            services.database,
            "SELECT status, paid_at, cancelled_at FROM orders WHERE store_id = %s",
            store.id,
        )
        outcomes.add((await state(services, store), *found))
    assert outcomes == {
        (("redeemed", NOON + timedelta(minutes=7), "7"), ("paid", NOON + timedelta(minutes=7), None))
    }


async def test_a_failed_payment_waits_with_its_code_given_back_until_it_is_paid(services: Services) -> None:
    store, code = await granted(services, "stripe")
    await pushed(services, store)
    failed = replace(used("7", code, 5), status=OrderStatus.FAILED, paid_at=None, source_updated_at=None)
    await told(services, store, OrderSaved(failed))
    assert (await state(services, store))[0] == "returned"
    await told(services, store, OrderSaved(replace(failed, status=OrderStatus.PAID, paid_at=NOON)))
    assert (await state(services, store))[0] == "redeemed"


async def test_a_free_order_is_not_taken_for_a_refunded_one(services: Services) -> None:
    store, found = await sold(services, "stripe", "on_full_refund")
    free = replace(found, total_minor=0, subtotal_minor=0, tax_minor=0, source_updated_at=None)
    await told(services, store, OrderSaved(free))
    assert (await state(services, store))[0] == "redeemed"


async def test_where_the_platform_gives_codes_back_a_cancelled_order_needs_no_new_one(
    services: Services,
) -> None:
    store, found = await sold(services, "woocommerce", "on_full_refund")
    await told(services, store, OrderSaved(cancelled(found)))
    assert (await state(services, store))[0] == "pushed"


async def test_a_returned_grant_begins_again_with_its_next_code(services: Services) -> None:
    store, found = await sold(services, "stripe", "on_full_refund")
    await told(services, store, RefundSaved("7", refund("r1", found.total_minor)))
    async with services.database.transaction() as connection:
        (claimed,) = await returned.claim(connection, store.id, services.clock(), 10)
        await returned.replace_codes(connection, store.id, {claimed.id: "BDAY-NEXT"}, services.clock())
        assert await returned.claim(connection, store.id, services.clock(), 10) == []
    assert await state(services, store) == ("decided", None, None)
    codes = "SELECT code, attempt, replaced_at IS NULL FROM promotion_codes ORDER BY id"
    (old, *first), *after = await rows(services.database, codes)
    assert (first, after) == ([0, False], [("BDAY-NEXT", 1, True)])
    # News of the old order, told again, changes nothing; the new code redeems as any other.
    await told(services, store, OrderSaved(found))
    assert await state(services, store) == ("decided", None, None)
    await pushed(services, store, "promo_Ada2")
    await told(services, store, OrderSaved(used("8", "bday-next", 60)))
    assert await state(services, store) == ("redeemed", NOON + timedelta(minutes=62), "8")
    assert old.lower() in found.codes


async def test_after_its_end_a_code_given_back_is_not_made_anew(services: Services, clock: Clock) -> None:
    store, found = await sold(services, "stripe", "on_full_refund")
    late, _ = await sold(services, "stripe", "on_full_refund")
    await told(services, store, RefundSaved("7", refund("r1", found.total_minor)))
    clock.pass_days(60)
    async with services.database.transaction() as connection:
        assert await returned.claim(connection, store.id, clock.now, 10) == []
    assert (await state(services, store))[0] == "redeemed"
    await told(services, late, RefundSaved("7", refund("r1", found.total_minor)))
    assert (await state(services, late))[0] == "redeemed"


async def test_a_choice_that_there_is_not_is_refused(services: Services) -> None:
    store, _ = await granted(services)
    assert returns_setting({}) is Returns.NEVER
    for settings, words in (
        ({"returns": "sometimes"}, "never, on_cancel, on_full_refund"),
        ({"write_birthdays": "yes"}, "on or off"),
    ):
        with pytest.raises(InvalidInputError, match=words):
            await store_settings.change(services, store.id, settings, actor="merchant")
    async with services.database.transaction() as connection:
        assert (await stores.by_id(connection, store.id)).settings == {}
    assert (
        await rows(services.database, "SELECT 1 FROM audit_events WHERE action LIKE 'store.settings%%'") == []
    )
