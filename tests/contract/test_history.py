"""What every connector does with a shop's history: all of it, once through, from any cursor on."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from connectors.base import Noun, Page, Window
from rewards.changes import Change, CouponSaved, CustomerSaved, OrderSaved
from sandbox.world import Seed
from tests.contract.case import ContractCase
from tests.contract.shops import Shop, open_shop, until

LONG = Seed(number=3, customers=260, orders=1_150)
SHORT = Seed(number=3, customers=30, orders=40)


async def pages_of(shop: Shop, window: Window) -> list[Page]:
    pages = []
    async for page in shop.store.read(window, None):
        pages.append(page)
        assert len(pages) < 1_000, "this window does not end"
    return pages


def ids(changes: Sequence[Change]) -> list[str]:
    found = []
    for change in changes:
        if isinstance(change, OrderSaved):
            found.append(change.order.external_id)
        elif isinstance(change, CustomerSaved):
            found.append(change.customer.external_id)
        elif isinstance(change, CouponSaved):
            found.append(change.coupon.external_id)
    return found


async def test_the_facts_of_the_shop_are_told(case: ContractCase) -> None:
    async with open_shop(case, SHORT) as shop:
        facts = await shop.store.facts()
    assert facts.currency == SHORT.currency
    assert facts.name
    assert facts.external_id


async def test_history_holds_every_order_and_customer(case: ContractCase) -> None:
    async with open_shop(case, LONG) as shop:
        orders = await shop.orders()
        customers = [c.customer for c in await shop.history(Noun.CUSTOMERS) if isinstance(c, CustomerSaved)]
        books = shop.sandbox.world
    paid = sum(1 for sale in books.sales if sale.paid_at)
    assert sum(1 for order in orders.values() if order.paid_at) == paid
    assert paid <= len(orders) <= LONG.orders  # what was never paid is no order on every platform
    accounts = {person.email.lower() for person in books.people if not person.is_guest}
    assert {c.email.lower() for c in customers if c.has_account and c.email} == accounts
    assert all(order.currency == LONG.currency for order in orders.values())


async def test_orders_that_nobody_takes_yet_hold_up_no_customers(case: ContractCase) -> None:
    """Orders are read ahead, and wait until all customers are written."""
    async with open_shop(case, replace(LONG, customers=450)) as shop:
        readers = [shop.store.read(window, None) for window in await shop.store.windows(Noun.ORDERS, None)]
        for reader in readers:
            await anext(reader, None)
        await anext(readers[0], None)  # a first page may be empty, and only tell where reading is
        async with asyncio.timeout(30):
            customers = await shop.history(Noun.CUSTOMERS)
        assert len(customers) >= 450
        for reader in readers:
            async for _ in reader:
                pass


@pytest.mark.parametrize("noun", list(Noun))
async def test_reading_ends_and_goes_on_from_any_cursor_with_the_same_records(
    case: ContractCase, noun: Noun
) -> None:
    async with open_shop(case, LONG) as shop:
        for window in await shop.store.windows(noun, None):
            window = Window(noun, json.loads(json.dumps(window.spec)))
            pages = await pages_of(shop, window)
            cursors = [page.cursor for page in pages]
            assert cursors[-1] is None
            assert None not in cursors[:-1]
            assert all(one != two for one, two in itertools.pairwise(cursors))
            for place, cursor in enumerate(cursors[:-1]):
                stored = json.loads(json.dumps(cursor))
                rest = [c async for page in shop.store.read(window, stored) for c in page.changes]
                assert rest == [c for page in pages[place + 1 :] for c in page.changes]


async def test_reading_since_a_time_gives_what_changed_after_it(case: ContractCase) -> None:
    async with open_shop(case, SHORT) as shop:
        before = datetime.now(UTC) - timedelta(seconds=5)
        placed = shop.sandbox.place_order({"email": "somebody.new@people.example", "subtotal_minor": 4_200})
        changed = ids(await shop.history(Noun.ORDERS, since=before))
        later = ids(await shop.history(Noun.ORDERS, since=datetime.now(UTC) + timedelta(days=1)))
    assert placed["order"] in changed
    assert len(set(changed)) < SHORT.orders
    assert later == []


async def test_an_order_is_equal_by_webhook_and_by_api(case: ContractCase) -> None:
    async with open_shop(case, SHORT) as shop:
        await shop.subscribe()
        customer = (await shop.customers(1))[0]
        placed = [
            shop.sandbox.place_order({"customer": customer.external_id, "subtotal_minor": 7_777}),
            shop.sandbox.place_order({"email": "a.guest@people.example", "subtotal_minor": 1_234}),
        ]
        await shop.sandbox.hooks.quiet()
        read = await shop.orders()
        for order in placed:
            heard = shop.orders_heard()[str(order["order"])]
            assert heard == read[str(order["order"])]
            assert heard.total_minor == order["total_minor"]
            assert heard.paid_at is not None
        assert read[str(placed[0]["order"])].customer_external_id == customer.external_id
        assert (read[str(placed[1]["order"])].email or "").lower() == "a.guest@people.example"


async def test_refunds_and_cancellations_are_told_by_webhook_and_api_alike(case: ContractCase) -> None:
    async with open_shop(case, SHORT) as shop:
        await shop.subscribe()
        customer = (await shop.customers(1))[0]
        ask = {"customer": customer.external_id, "subtotal_minor": 9_000}
        returned, cancelled = (str(shop.sandbox.place_order(ask)["order"]) for _ in range(2))
        await shop.sandbox.hooks.quiet()
        shop.sandbox.refund_order(returned, 2_500)
        shop.sandbox.cancel_order(cancelled)
        await shop.sandbox.hooks.quiet()
        heard, read = shop.orders_heard(), await shop.orders()
    assert [heard[order] for order in (returned, cancelled)] == [
        read[order] for order in (returned, cancelled)
    ]
    assert sum(refund.total_minor for refund in read[returned].refunds) == 2_500
    assert read[returned].paid_at is not None
    # A platform may tell a cancellation of a paid order as a refund of all of it.
    given_back = sum(refund.total_minor for refund in read[cancelled].refunds)
    assert read[cancelled].cancelled_at is not None or given_back == read[cancelled].total_minor


async def test_subscribing_again_replaces_and_unsubscribing_ends_it(case: ContractCase) -> None:
    async with open_shop(case, SHORT) as shop:
        await shop.subscribe()
        await shop.subscribe()
        shop.sandbox.place_order({"email": "a.guest@people.example", "subtotal_minor": 1_000})
        await until(lambda: shop.ear.deliveries)
        await shop.sandbox.hooks.quiet()
        keys = [case.connector.webhooks.delivery_key(delivery) for delivery in shop.ear.deliveries]
        assert len(keys) == len(set(keys))
        await shop.store.unsubscribe(shop.ear.address)
        await shop.store.unsubscribe(shop.ear.address)
        shop.sandbox.place_order({"email": "a.guest@people.example", "subtotal_minor": 1_000})
        await shop.sandbox.hooks.quiet()
        assert len(shop.ear.deliveries) == len(keys)


async def test_webhooks_that_the_platform_gave_up_are_noticed_and_set_up_again(case: ContractCase) -> None:
    async with open_shop(case, SHORT) as shop:
        assert not await shop.store.is_subscribed(shop.ear.address)
        await shop.subscribe()
        assert await shop.store.is_subscribed(shop.ear.address)
        assert not await shop.store.is_subscribed(shop.ear.address + "-of-another")
        shop.sandbox.give_up_webhooks()
        shop.sandbox.place_order({"email": "a.guest@people.example", "subtotal_minor": 1_000})
        await shop.sandbox.hooks.quiet()
        assert shop.ear.deliveries == []
        assert not await shop.store.is_subscribed(shop.ear.address)
        await shop.subscribe()
        assert await shop.store.is_subscribed(shop.ear.address)
        placed = shop.sandbox.place_order({"email": "a.guest@people.example", "subtotal_minor": 1_000})
        await until(lambda: shop.ear.deliveries)
        await shop.sandbox.hooks.quiet()
        assert str(placed["order"]) in shop.orders_heard()


async def test_two_shops_with_equal_ids_do_not_mix(case: ContractCase) -> None:
    other = Seed(number=4, customers=SHORT.customers, orders=SHORT.orders)
    async with open_shop(case, SHORT) as one, open_shop(case, other) as two:
        for shop in (one, two):
            people = {person.email.lower() for person in shop.sandbox.world.people}
            seen = {(customer.email or "").lower() for customer in await shop.customers(1_000)}
            assert seen
            assert seen <= people
        placed = one.sandbox.place_order({"email": "only.in.one@people.example", "subtotal_minor": 100})
        assert str(placed["order"]) in await one.orders()
        assert all(
            (order.email or "").lower() != "only.in.one@people.example"
            for order in (await two.orders()).values()
        )
