"""The past of a shop, in what only WooCommerce does."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connectors.base import Noun, Window
from connectors.woocommerce.store import WooCommerceStore
from rewards.changes import CouponSaved, CustomerSaved, Ignored, OrderSaved
from rewards.records import KnownCode
from sandbox.world import Seed
from tests.connectors.woocommerce.shop import answering, standing
from tests.connectors.woocommerce.test_mapping import ORDER

SEED = Seed(number=8, customers=20, orders=1_000)
SMALL = Seed(number=8, customers=20, orders=12)


async def read_ids(store: WooCommerceStore, window: Window) -> list[str]:
    return [
        change.order.external_id
        async for page in store.read(window, None)
        for change in page.changes
        if isinstance(change, OrderSaved)
    ]


async def test_windows_cover_what_there_is_and_leave_the_rest_to_the_next_reading() -> None:
    async with standing(SEED) as (sandbox, store):
        started = sandbox.now()
        windows = await store.windows(Noun.ORDERS, None)
        assert len(windows) >= 8
        assert windows[-1].spec["to"] is None
        late = str(sandbox.place_order({"email": "late@people.example", "subtotal_minor": 100})["order"])
        seen = [number for window in windows for number in await read_ids(store, window)]
        assert seen == [str(1_001 + number) for number in range(1_000)]
        (window,) = await store.windows(Noun.ORDERS, started)
        assert await read_ids(store, window) == [late]


@pytest.mark.parametrize("is_since", [False, True])
async def test_an_order_that_goes_while_another_comes_lets_none_slip_by(is_since: bool) -> None:
    """The list is as long as before, and yet all that follows has moved up by one."""
    async with standing(SEED) as (sandbox, store):
        since = min(sale.updated_at for sale in sandbox.world.sales) if is_since else None
        windows = await store.windows(Noun.ORDERS, since)
        seen = set(await read_ids(store, windows[0]))
        for number in ("1001", "1002"):
            sandbox.trash_order(number)
            sandbox.place_order({"email": "new@people.example", "subtotal_minor": 100})
        for window in windows[1:]:
            seen |= set(await read_ids(store, window))
        assert {str(1_001 + number) for number in range(1_000)} <= seen


@pytest.mark.parametrize("orders", [1, 100, 101, 799, 1_701])
async def test_windows_of_a_shop_at_rest_hold_every_order_once(orders: int) -> None:
    async with standing(replace(SEED, orders=orders)) as (_, store):
        windows = await store.windows(Noun.ORDERS, None)
        seen = [number for window in windows for number in await read_ids(store, window)]
    assert seen == [str(1_001 + number) for number in range(orders)]


async def test_an_empty_shop_has_no_windows() -> None:
    async with standing(Seed(customers=0, orders=0)) as (_, store):
        assert await store.windows(Noun.ORDERS, None) == []
        assert await store.windows(Noun.CUSTOMERS, None) == []


async def test_an_order_that_slips_to_an_earlier_page_while_we_read_is_not_missed() -> None:
    async with standing(SEED) as (sandbox, store):
        window = Window(Noun.ORDERS, {"from": 1, "to": None, "total": 1_000, "filter": {}})
        seen: set[str] = set()
        async for page in store.read(window, None):
            seen |= {c.order.external_id for c in page.changes if isinstance(c, OrderSaved)}
            if len(seen) == 300:  # three orders of the pages read so far go to the trash: the rest moves up
                for number in ("1001", "1002", "1003"):
                    sandbox.trash_order(number)
        assert {str(1_001 + number) for number in range(1_000)} <= seen


async def test_an_order_that_slips_over_a_windows_edge_is_not_missed() -> None:
    async with standing(SEED) as (sandbox, store):
        windows = await store.windows(Noun.ORDERS, None)
        seen = set(await read_ids(store, windows[0]))
        for number in ("1001", "1002"):
            sandbox.trash_order(number)
        for window in windows[1:]:
            seen |= set(await read_ids(store, window))
        assert {str(1_001 + number) for number in range(1_000)} <= seen


async def test_changed_orders_overlap_by_a_second() -> None:
    async with standing(SMALL) as (sandbox, store):
        sale = sandbox.world.sales[5]
        for window in await store.windows(Noun.ORDERS, sale.updated_at):
            assert str(1_006) in await read_ids(store, window)
        since = max(sale.updated_at for sale in sandbox.world.sales) + timedelta(seconds=2)
        assert await store.windows(Noun.ORDERS, since) == []


async def test_only_the_fields_in_use_are_asked_for() -> None:
    async with answering((200, [])) as (store, requests):
        await read_ids(store, Window(Noun.ORDERS, {"from": 1, "to": None, "total": -1, "filter": {}}))
    asked = requests[0].query
    assert {"id", "billing.email", "line_items", "refunds"} <= set(asked["_fields"].split(","))
    assert (asked["per_page"], asked["orderby"], asked["order"], asked["page"]) == ("100", "id", "asc", "1")


async def test_a_host_that_strips_the_counting_headers_is_read_all_the_same() -> None:
    async with answering((200, [{"id": 1}]), (200, [{**ORDER, "id": 7}])) as (store, _):
        windows = await store.windows(Noun.ORDERS, None)
        assert len(windows) == 1
        assert await read_ids(store, windows[0]) == ["7"]


async def test_a_record_bent_by_a_plugin_does_not_spoil_its_page() -> None:
    bent: list[dict[str, Any]] = [
        {**ORDER, "total": "gratis"},
        {**ORDER, "id": "x"},
        {**ORDER, "date_created_gmt": 5},
    ]
    async with answering((200, [ORDER, *bent, {**ORDER, "id": 9}])) as (store, _):
        window = Window(Noun.ORDERS, {"from": 1, "to": None, "total": -1, "filter": {}})
        changes = [change async for page in store.read(window, None) for change in page.changes]
    assert [type(change) for change in changes] == [OrderSaved, Ignored, Ignored, Ignored, OrderSaved]


async def test_lists_with_a_gap_are_read_as_lists() -> None:
    """Which PHP writes as objects, in one record of a page and in a single answer."""
    async with standing(Seed(customers=3, orders=3)) as (sandbox, store):
        sandbox.coupons.create({"code": "two", "email_restrictions": ["none", "A@b.example"]}, sandbox.now())
        (window,) = await store.windows(Noun.COUPONS, None)
        changes = [change async for page in store.read(window, None) for change in page.changes]
        emails = {c.coupon.code: c.coupon.emails for c in changes if isinstance(c, CouponSaved)}
        assert (len(emails), emails["two"]) == (4, ("a@b.example",))
        (found,) = await store.find([KnownCode("two", None, None)])
        assert found is not None
        assert found.emails == ("a@b.example",)


async def test_coupons_of_the_shop_are_read() -> None:
    async with standing(SMALL) as (_, store):
        (window,) = await store.windows(Noun.COUPONS, None)
        changes = [change async for page in store.read(window, None) for change in page.changes]
    coupons = [change.coupon for change in changes if isinstance(change, CouponSaved)]
    assert [coupon.code for coupon in coupons] == ["bienvenida10", "envio-gratis", "verano5"]
    # A date alone is the beginning of that day in the shop.
    assert coupons[2].ends_at == datetime(2020, 8, 30, 22, tzinfo=UTC)


@pytest.mark.parametrize(("settings", "admins"), [({}, 0), ({"customer_role": "all"}, 1)])
async def test_everybody_who_has_an_account_is_read_where_the_merchant_wants_it(
    settings: dict[str, str], admins: int
) -> None:
    async with standing(SMALL, **settings) as (_, store):
        (window,) = await store.windows(Noun.CUSTOMERS, None)
        changes = [change async for page in store.read(window, None) for change in page.changes]
    ids = [change.customer.external_id for change in changes if isinstance(change, CustomerSaved)]
    assert len(ids) == SMALL.customers + admins
    assert ("1" in ids) is bool(admins)
    assert all(change.customer.joined_at for change in changes if isinstance(change, CustomerSaved))
