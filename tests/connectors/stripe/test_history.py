"""Past customers, coupons and purchases, read from a made-up account."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from connectors.base import Noun, RawDelivery, Store, StoreOptions, Window
from connectors.stripe import CONNECTOR
from connectors.stripe.history import PAGE, Density
from rewards.changes import (
    Change,
    CouponDeleted,
    CouponSaved,
    CustomerDeleted,
    CustomerSaved,
    OrderSaved,
    RefundSaved,
)
from rewards.errors import RetryLaterError
from rewards.records import OrderStatus, RefundStatus
from sandbox.stripe import StripeSandbox
from sandbox.stripe_objects import EventRow
from sandbox.world import EarningRule
from tests.connectors.stripe.conftest import Opener


async def read_all(store: Store, windows: Sequence[Window]) -> list[Change]:
    return [
        change for window in windows async for page in store.read(window, None) for change in page.changes
    ]


async def history(store: Store, noun: Noun, since: datetime | None = None) -> list[Change]:
    return await read_all(store, await store.windows(noun, since))


async def test_every_customer_comes_once_with_the_birthday_as_written(
    sandbox: StripeSandbox, store: Store
) -> None:
    changes = await history(store, Noun.CUSTOMERS)
    found = {c.customer.external_id: c.customer for c in changes if isinstance(c, CustomerSaved)}
    assert len(changes) == len(found) == len(sandbox.account.customers)
    for person in sandbox.world.people:
        if not person.is_guest:
            customer = found[f"cus_Sbx{person.number:011d}"]
            assert (customer.email, customer.joined_at) == (person.email, person.joined_at)
            assert customer.birthday == person.birthday


async def test_each_purchase_counts_once_and_points_come_out_as_in_the_books(
    sandbox: StripeSandbox, store: Store
) -> None:
    changes = await history(store, Noun.ORDERS)
    paid: dict[str, int] = {}
    repaid: dict[str, dict[str, int]] = {}
    for change in changes:
        if isinstance(change, OrderSaved) and change.order.status is OrderStatus.PAID:
            assert change.order.external_id not in paid
            paid[change.order.external_id] = change.order.subtotal_minor
        if isinstance(change, RefundSaved) and change.refund.status is RefundStatus.SUCCEEDED:
            repaid.setdefault(change.order_external_id, {})[change.refund.external_id] = (
                change.refund.total_minor
            )
    world, rule = sandbox.world, EarningRule()
    points = sum(
        rule.order(total) * (total - sum(repaid.get(order, {}).values())) // total
        for order, total in paid.items()
    )
    assert len(paid) == sum(1 for sale in world.sales if sale.paid_at)
    assert points == sum(world.sale_points(sale, rule) for sale in world.sales)


async def test_sessions_hang_on_the_purchase_of_their_charge(store: Store) -> None:
    orders = [c.order for c in await history(store, Noun.ORDERS) if isinstance(c, OrderSaved)]
    paid = {order.external_id: order for order in orders if order.status is OrderStatus.PAID}
    attached = [order for order in orders if order.status is OrderStatus.PENDING]
    assert len(attached) > 500
    for order in attached:
        charge = paid[order.external_id]
        assert (order.customer_external_id, order.email) == (charge.customer_external_id, charge.email)
        assert order.total_minor == 0 < charge.total_minor


async def test_guests_are_known_by_the_e_mail_they_typed(sandbox: StripeSandbox, store: Store) -> None:
    orders = [c.order for c in await history(store, Noun.ORDERS) if isinstance(c, OrderSaved)]
    typed = {sale.email for sale in sandbox.world.sales if sale.paid_at and not sale.by_account}
    assert {order.email for order in orders if order.customer_external_id is None} == typed


async def test_coupons_and_codes_come_with_what_they_give(store: Store) -> None:
    coupons = {
        c.coupon.external_id: c.coupon
        for c in await history(store, Noun.COUPONS)
        if isinstance(c, CouponSaved)
    }
    assert set(coupons) == {"WELCOME", "SUMMER5", "OLDSALE", *(f"promo_1Sbx{n:014d}" for n in range(1, 5))}
    code = coupons["promo_1Sbx00000000000002"]
    assert (code.code, code.parent_external_id, code.benefit.amount_minor, code.benefit.minimum_minor) == (
        "SUMMER5", "SUMMER5", 500, 2_000,
    )  # fmt: skip
    assert [coupons[f"promo_1Sbx{n:014d}"].is_active for n in range(1, 5)] == [True, True, False, False]


async def test_a_window_resumes_after_any_page(store: Store) -> None:
    whole = {"list": "charges", "gte": None, "lt": None}
    pages = [page async for page in store.read(Window(Noun.ORDERS, whole), None)]
    assert len(pages) > 8
    assert pages[-1].cursor is None
    for index, page in enumerate(pages[:-1]):
        resumed = [page async for page in store.read(Window(Noun.ORDERS, whole), page.cursor)]
        assert [p.changes for p in resumed] == [p.changes for p in pages[index + 1 :]]


@pytest.mark.parametrize("noun", [Noun.CUSTOMERS, Noun.ORDERS])
async def test_windows_are_many_disjoint_and_of_about_equal_work(store: Store, noun: Noun) -> None:
    windows = await store.windows(noun, None)
    assert len(windows) <= 64
    seen: set[str] = set()
    sizes: dict[str, list[int]] = {}
    for window in windows:
        changes = await read_all(store, [window])
        keys = {_key(change, str(window.spec["list"])) for change in changes}
        assert not keys & seen
        seen |= keys
        sizes.setdefault(str(window.spec["list"]), []).append(len(changes))
    if noun is Noun.ORDERS:
        assert len(sizes["charges"]) >= 8
        assert max(sizes["charges"]) <= max(sum(sizes["charges"]) / 8, 5 * PAGE)
        assert sizes["charges"][-1] <= 5 * PAGE


def _key(change: Change, listing: str) -> str:
    if isinstance(change, CustomerSaved):
        return change.customer.external_id
    if isinstance(change, OrderSaved):
        return f"{listing}:{change.order.external_id}"
    assert isinstance(change, RefundSaved)
    return change.refund.external_id


async def test_asking_for_windows_takes_few_requests(sandbox: StripeSandbox, store: Store) -> None:
    before = sandbox.requests
    await store.windows(Noun.ORDERS, None)
    assert sandbox.requests - before <= 32


def test_cuts_follow_the_density() -> None:
    density = Density((0, 100, 200, 300), (0.0, 1_000.0, 3_000.0))
    assert density.pages == 41
    assert density.cuts([10, 10, 10, 10]) == [200, 233, 267]
    assert density.cuts([20, 10, 10]) == [233, 267]
    assert density.cuts([40]) == []
    assert Density((0, 10), (40,)).pages == 1


async def test_since_brings_what_changed_later_in_older_objects(sandbox: StripeSandbox, store: Store) -> None:
    since = sandbox.clock() - timedelta(hours=1)
    account = sandbox.account
    account.update_customer("cus_Sbx00000000003", {"name": "First"})
    account.update_customer("cus_Sbx00000000003", {"name": "Second"})
    account.delete_customer("cus_Sbx00000000004")
    made = account.create_customer({"email": "new@people.example"})
    found = {
        change.customer.external_id: change.customer.name
        for change in await history(store, Noun.CUSTOMERS, since)
        if isinstance(change, CustomerSaved)
    }
    assert found == {"cus_Sbx00000000003": "Second", made.id: None}
    deleted = CustomerDeleted("cus_Sbx00000000004", _at(account.events.rows, "customer.deleted"))
    assert deleted in await history(store, Noun.CUSTOMERS, since)
    account.delete_coupon("WELCOME")
    gone = CouponDeleted("WELCOME", _at(account.events.rows, "coupon.deleted"))
    assert gone in await history(store, Noun.COUPONS, since)
    old = next(iter(account.charges_by_order))
    sandbox.refund_order(old, 1)
    refunds = [c for c in await history(store, Noun.ORDERS, since) if isinstance(c, RefundSaved)]
    assert {(c.order_external_id, c.refund.total_minor) for c in refunds if c.order_external_id == old} == {
        (old, 1)
    }


def _at(events: Sequence[EventRow], topic: str) -> datetime:
    (event,) = [each for each in events if each.type == topic]
    return datetime.fromtimestamp(event.created, UTC)


async def test_what_changed_longer_ago_than_events_are_kept_is_found_by_reading_everything(
    sandbox: StripeSandbox, store: Store
) -> None:
    """After an outage of more than 30 days no list of events holds what changed in older objects."""
    sandbox.account.update_customer("cus_Sbx00000000003", {"metadata": {"birthday": "1988-02-03"}})
    sandbox.account.events.rows.clear()
    for days, is_whole in ((29, False), (31, True)):
        since = sandbox.clock() - timedelta(days=days)
        windows = await store.windows(Noun.CUSTOMERS, since)
        assert any(w.spec["list"] == "events" for w in windows) is not is_whole
        found = {
            c.customer.external_id: c.customer.birthday
            for c in await read_all(store, windows)
            if isinstance(c, CustomerSaved)
        }
        assert (found.get("cus_Sbx00000000003") == (2, 3, 1988)) is is_whole


async def test_many_events_are_each_objects_latest_whatever_the_page(
    sandbox: StripeSandbox, store: Store
) -> None:
    for round_ in range(3):
        for number in range(70):
            sandbox.account.update_customer(f"cus_Sbx{number:011d}", {"name": f"Name {round_}"})
    since = sandbox.clock() - timedelta(hours=1)
    changes = await history(store, Noun.CUSTOMERS, since)
    names = [c.customer.name for c in changes if isinstance(c, CustomerSaved)]
    assert names == ["Name 2"] * 70


async def test_an_order_by_webhook_is_equal_to_the_same_order_by_api(
    sandbox: StripeSandbox, store: Store
) -> None:
    placed = sandbox.place_order(
        {"email": sandbox.world.people[1].email, "subtotal_minor": 5_000, "code": "WELCOME10"}
    )
    orders = {
        (c.order.external_id, c.order.status): c.order
        for c in await history(store, Noun.ORDERS)
        if isinstance(c, OrderSaved)
    }
    told = [
        change
        for event in sandbox.account.events
        for change in CONNECTOR.webhooks.parse(
            _post(event.show()), StoreOptions("EUR", "UTC", {"mode": "test"})
        )
        if isinstance(change, OrderSaved)
    ]
    assert len(told) == 2
    for change in told:
        assert change.order == orders[(str(placed["order"]), change.order.status)]
    assert {change.order.codes for change in told} == {(), ("promo_1Sbx00000000000001",)}


def _post(event: dict[str, object]) -> RawDelivery:
    return RawDelivery({}, json.dumps(event).encode(), "token")


async def test_reading_goes_on_after_a_refusal_for_speed(sandbox: StripeSandbox, open_store: Opener) -> None:
    store = open_store(patience_seconds="10")
    sandbox.faults.throttle = 1
    sandbox.faults.cut = 1
    sandbox.faults.server_errors = 1
    sandbox.faults.malformed = 1
    assert (
        len(await read_all(store, [Window(Noun.CUSTOMERS, {"list": "customers", "gte": None, "lt": None})]))
        > 100
    )


async def test_the_pace_stays_within_the_limit_from_the_first_request(
    sandbox: StripeSandbox, open_store: Opener
) -> None:
    sandbox.limiter_on, sandbox.requests_per_second = True, 200
    store, before = open_store(requests_per_second="200"), time.monotonic()
    requests = sandbox.requests
    for _ in range(2):
        assert len(await history(store, Noun.CUSTOMERS)) > 100
    assert sandbox.requests - requests <= 200 * (time.monotonic() - before) + 1


async def test_without_patience_a_refusal_for_speed_says_when_to_come_again(
    sandbox: StripeSandbox, store: Store
) -> None:
    sandbox.faults.throttle = 1
    with pytest.raises(RetryLaterError) as caught:
        await store.facts()
    assert caught.value.retry_after_seconds
