"""Invoices and disputes: which purchase they tell of, and when they must be read again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import pytest

from connectors.base import Noun, Store, Window
from connectors.besides import LooksAgain
from connectors.stripe import billing
from connectors.stripe.billing import Dispute, Invoice
from rewards.changes import Ignored, LookAgain, OrderSaved, RefundSaved
from rewards.errors import RefusedError
from rewards.records import OrderStatus, RefundStatus
from sandbox.stripe import StripeSandbox
from tests.connectors.stripe.conftest import Opener

AT = 1_767_225_600


def invoice(**changes: object) -> Invoice:
    given = {
        "id": "in_1",
        "created": AT,
        "currency": "eur",
        "status": "paid",
        "customer": "cus_1",
        "customer_email": "ada@people.example",
        "amount_shipping": 495,
        "total_taxes": [{"amount": 100}, {"amount": 21}],
        "total_discount_amounts": [
            {"amount": 300, "discount": {"id": "di_1", "promotion_code": "promo_1"}},
            {"amount": 50, "discount": {"id": "di_2", "promotion_code": None}},
        ],
        "payments": {
            "data": [
                {"status": "canceled", "payment": {"payment_intent": "pi_0", "type": "payment_intent"}},
                {"status": "paid", "payment": {"payment_intent": "pi_1", "type": "payment_intent"}},
            ]
        },
    }
    return msgspec.convert(given | changes, Invoice)


def dispute(status: str, **changes: object) -> Dispute:
    given = {
        "id": "dp_1",
        "amount": 4_200,
        "charge": "ch_1",
        "created": AT,
        "currency": "eur",
        "status": status,
    }
    return msgspec.convert(given | changes, Dispute)


def test_an_invoice_adds_its_codes_to_the_purchase_of_its_payment_and_counts_no_money() -> None:
    change = billing.order_of_invoice(invoice())
    assert isinstance(change, OrderSaved)
    order = change.order
    assert (order.external_id, order.customer_external_id, order.status) == (
        "pi_1",
        "cus_1",
        OrderStatus.PENDING,
    )
    assert (order.subtotal_minor, order.total_minor, order.paid_at) == (0, 0, None)
    assert (order.tax_minor, order.shipping_minor, order.discount_minor) == (121, 495, 350)
    assert order.codes == ("promo_1",)
    assert order.placed_at == datetime.fromtimestamp(AT, UTC)


@pytest.mark.parametrize(
    ("payments", "key"),
    [
        (None, "in_1"),
        ({"data": []}, "in_1"),
        ({"data": [{"status": "paid", "payment": {"charge": "ch_9", "type": "charge"}}]}, "ch_9"),
        ({"data": [{"status": "open", "payment": {"payment_intent": "pi_2"}}]}, "in_1"),
    ],
)
def test_an_invoice_without_a_payment_is_known_by_itself(payments: object, key: str) -> None:
    change = billing.order_of_invoice(invoice(payments=payments))
    assert isinstance(change, OrderSaved)
    assert (change.order.external_id, change.order.paid_at) == (key, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "open"},
        {"total_discount_amounts": None},
        {"total_discount_amounts": [{"amount": 50, "discount": {"id": "di_2", "promotion_code": None}}]},
        {"total_discount_amounts": [{"amount": 50, "discount": "di_2"}]},
    ],
)
def test_an_invoice_that_tells_of_no_code_is_left_to_its_charge(changes: dict[str, object]) -> None:
    assert isinstance(billing.order_of_invoice(invoice(**changes)), Ignored)


def test_only_an_invoice_with_a_discount_is_read_again() -> None:
    for amount in (300, 0):  # nothing off the free first period of a trial, and the code is used all the same
        asked = billing.invoice_paid(invoice(total_discount_amounts=[{"amount": amount, "discount": "di_1"}]))
        assert asked == LookAgain("invoice", "in_1")
    for amounts in (None, []):
        assert isinstance(billing.invoice_paid(invoice(total_discount_amounts=amounts)), Ignored)


@pytest.mark.parametrize(
    ("status", "ours"),
    [
        ("needs_response", RefundStatus.PENDING),
        ("under_review", RefundStatus.PENDING),
        ("lost", RefundStatus.SUCCEEDED),
        ("won", RefundStatus.FAILED),
        ("prevented", RefundStatus.FAILED),
        ("warning_closed", RefundStatus.FAILED),
    ],
)
def test_a_dispute_is_a_refund_that_counts_when_it_is_lost(status: str, ours: RefundStatus) -> None:
    change = billing.dispute_saved(dispute(status))
    assert isinstance(change, RefundSaved)
    assert (change.order_external_id, change.refund.external_id) == ("ch_1", "dp_1")
    assert (change.refund.total_minor, change.refund.status) == (4_200, ours)
    tied = billing.dispute_saved(dispute(status, payment_intent="pi_1"))
    assert isinstance(tied, RefundSaved)
    assert tied.order_external_id == "pi_1"


@pytest.mark.parametrize("status", ["warning_needs_response", "warning_under_review", "some_day"])
def test_an_inquiry_moves_no_money(status: str) -> None:
    assert isinstance(billing.dispute_saved(dispute(status)), Ignored)


async def test_looking_again_gives_what_the_api_holds_now(sandbox: StripeSandbox, store: Store) -> None:
    made = sandbox.till.subscribe(
        {"customer": "cus_Sbx00000000003", "subtotal_minor": 3_000, "code": "WELCOME10"}
    )
    (invoice_row,) = sandbox.account.invoices
    assert isinstance(store, LooksAgain)
    (change,) = await store.look(LookAgain("invoice", invoice_row.id))
    assert isinstance(change, OrderSaved)
    assert (change.order.external_id, change.order.codes) == (made["order"], ("promo_1Sbx00000000000001",))
    assert await store.look(LookAgain("invoice", "in_gone")) == []
    with pytest.raises(RefusedError):
        await store.look(LookAgain("something", "x"))


async def test_past_disputes_come_with_the_purchases(sandbox: StripeSandbox, store: Store) -> None:
    orders = list(sandbox.account.charges_by_order)[:2]
    for order, won in zip(orders, (True, False), strict=True):
        sandbox.till.close_dispute(sandbox.till.dispute(order), won=won)
    told = [
        change
        for window in await store.windows(Noun.ORDERS, None)
        async for page in store.read(window, None)
        for change in page.changes
        if isinstance(change, RefundSaved) and change.refund.external_id.startswith("dp_")
    ]
    assert {change.order_external_id: change.refund.status for change in told} == {
        orders[0]: RefundStatus.FAILED,
        orders[1]: RefundStatus.SUCCEEDED,
    }


async def test_a_key_that_may_not_read_disputes_reads_all_the_rest(
    sandbox: StripeSandbox, open_store: Opener
) -> None:
    sandbox.access.keys[sandbox.key].lacks.add("dispute_read")
    store = open_store()
    disputes = [w for w in await store.windows(Noun.ORDERS, None) if w.spec["list"] == "disputes"]
    pages = [page async for page in store.read(disputes[0], None)]
    assert [(list(page.changes), page.cursor) for page in pages] == [([], None)]
    sandbox.access.keys[sandbox.key].lacks.add("charge_read")
    charges = Window(Noun.ORDERS, {"list": "charges", "gte": None, "lt": None})
    with pytest.raises(RefusedError):
        [page async for page in store.read(charges, None)]


async def test_codes_used_on_past_invoices_come_with_the_purchases_and_count_no_money(
    sandbox: StripeSandbox, open_store: Opener
) -> None:
    """Also of subscriptions that began long before us: the list of events goes back 30 days only."""
    till, account = sandbox.till, sandbox.account
    asked_before = sandbox.requests
    assert all(w.spec["list"] != "invoices" for w in await open_store().windows(Noun.ORDERS, None))
    assert sandbox.requests - asked_before <= 32  # no invoice: no more is asked
    paid = [
        till.subscribe({"customer": f"cus_Sbx{number:011d}", "subtotal_minor": 3_000, "code": "WELCOME10"})
        for number in (3, 5)
    ]
    till.subscribe({"customer": "cus_Sbx00000000006", "subtotal_minor": 3_000})
    renewal = till.renew(str(paid[0]["subscription"]))
    account.invoices.add(replace(account.invoices.rows[0], id="in_draft", status="draft"))
    account.events.rows.clear()
    store = open_store()
    windows = [w for w in await store.windows(Noun.ORDERS, None) if w.spec["list"] == "invoices"]
    told = [c for w in windows async for page in store.read(w, None) for c in page.changes]
    orders = {c.order.external_id: c.order for c in told if isinstance(c, OrderSaved)}
    assert len(told) == len(orders) == 2
    assert set(orders) == {each["order"] for each in paid}
    assert renewal not in orders
    for order in orders.values():
        assert (order.codes, order.status, order.total_minor) == (
            ("promo_1Sbx00000000000001",),
            OrderStatus.PENDING,
            0,
        )
        assert order.discount_minor == 300


async def test_a_key_that_may_not_read_invoices_reads_all_the_rest(
    sandbox: StripeSandbox, open_store: Opener
) -> None:
    sandbox.till.subscribe({"customer": "cus_Sbx00000000003", "subtotal_minor": 3_000, "code": "WELCOME10"})
    assert any(w.spec["list"] == "invoices" for w in await open_store().windows(Noun.ORDERS, None))
    sandbox.access.keys[sandbox.key].lacks.add("invoice_read")
    store = open_store()
    windows = await store.windows(Noun.ORDERS, None)
    assert windows
    assert all(w.spec["list"] != "invoices" for w in windows)
    # Taken away while the past was being read.
    invoices = Window(Noun.ORDERS, {"list": "invoices", "gte": None, "lt": None})
    assert [list(page.changes) async for page in store.read(invoices, None)] == [[]]
