"""Deliveries in any order and any number of times, mixed with history and runs, end in the same ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rewards.changes import Change, CustomerSaved, OrderDeleted, OrderSaved, RefundSaved
from rewards.records import Customer, Order, OrderStatus, RefundStatus
from storage.database import Database
from storage.secrets import SecretBox
from sync.services import Services
from tests.factories import NOON, customer, new_store, order, refund
from tests.sync.test_apply import apply
from tests.sync.test_backfill import run

SWITCHED_ON = NOON - timedelta(days=50)


@pytest.fixture
async def services(database: Database, secret_box: SecretBox) -> AsyncIterator[Services]:
    async with aiohttp.ClientSession() as session:
        yield Services(database, {}, session, lambda: NOON, secret_box)


@st.composite
def stories(draw: st.DrawFn) -> list[Change]:
    """What happened in one store, told in the order in which it happened: versions of customers, orders, refunds."""
    told: list[Change] = [CustomerSaved(_customer(draw, number)) for number in range(1, 4)]
    for number in range(1, draw(st.integers(2, 6))):
        told += _order_story(draw, str(number))
    return told


def _customer(draw: st.DrawFn, number: int) -> Customer:
    days = draw(st.sampled_from([10, 100]))  # after or before earning was switched on
    joined_at = NOON - timedelta(days=days)
    # Two customers may be one person.
    email = draw(st.sampled_from([f"c{number}@people.example", "c1@people.example"]))
    return customer(str(number), email=email, joined_at=joined_at, source_updated_at=joined_at)


def _order_story(draw: st.DrawFn, external_id: str) -> list[Change]:
    at = NOON - timedelta(days=draw(st.sampled_from([10, 100])))
    versioned = draw(st.booleans())
    who = draw(st.sampled_from(["1", "2", "3", None]))
    first = order(
        external_id,
        customer_external_id=who,
        email=draw(st.sampled_from(["g@people.example", "C1@people.example", None])),
        subtotal_minor=draw(st.integers(1, 30_000)),
        placed_at=at,
        paid_at=at,
        source_updated_at=at if versioned else None,
    )
    first = replace(first, total_minor=first.subtotal_minor * 121 // 100)
    told: list[Change] = [OrderSaved(first)]
    if draw(st.booleans()):
        unpaid = replace(first, paid_at=None, status=OrderStatus.PENDING)
        told.insert(0, OrderSaved(_version(unpaid, -1)))
        if not versioned and draw(st.booleans()):  # a payment that failed before another one came
            told.insert(1, OrderSaved(replace(unpaid, status=OrderStatus.FAILED)))
    for number in range(draw(st.integers(0, 3))):
        told += _refund_story(draw, first, f"{external_id}-{number}")
    if draw(st.booleans()):
        ended = replace(first, status=OrderStatus.CANCELLED, cancelled_at=at + timedelta(hours=1))
        told.append(OrderSaved(_version(ended, 1)))
    if draw(st.booleans()):
        told.append(OrderDeleted(external_id, at + timedelta(hours=2) if versioned else None))
    return told


def _version(changed: Order, minutes: int) -> Order:
    at = changed.source_updated_at
    return changed if at is None else replace(changed, source_updated_at=at + timedelta(minutes=minutes))


def _refund_story(draw: st.DrawFn, of: Order, external_id: str) -> list[Change]:
    total = draw(st.integers(1, of.total_minor))
    states = draw(
        st.sampled_from(
            [
                [RefundStatus.SUCCEEDED],
                [RefundStatus.PENDING, RefundStatus.SUCCEEDED],
                [RefundStatus.SUCCEEDED, RefundStatus.FAILED],
            ]
        )
    )
    return [RefundSaved(of.external_id, refund(external_id, total, state)) for state in states]


_FOUND = """
SELECT root.email, e.key, e.round, e.points, e.reason
FROM ledger_entries e JOIN members m ON m.id = e.member_id JOIN members root ON root.id = coalesce(m.merged_into, m.id)
WHERE e.program_id = %(p)s"""
# Who turns out to be one person is one: a member's group counts together.
_BALANCES = """
SELECT root.email, sum(m.balance)::bigint AS balance, sum((SELECT coalesce(sum(points), 0) FROM ledger_entries e
    WHERE e.member_id = m.id))::bigint AS entries
FROM members m JOIN members root ON root.id = coalesce(m.merged_into, m.id)
WHERE m.program_id = %(p)s GROUP BY root.id, root.email"""


async def _tell(services: Services, chunks: list[list[Change]], run_after: int | None) -> tuple[object, ...]:
    """A new store that is told the chunks, with a run in between and one at the end; what its ledger holds."""
    store = await new_store(services.database, earning_from=SWITCHED_ON, sign_up=100, place_order=(5, 100))
    for index, chunk in enumerate(chunks):
        await apply(services.database, store, *chunk)
        if index == run_after:
            await run(services, store)
    await run(services, store)
    async with services.database.transaction() as connection:
        entries = await (await connection.execute(_FOUND, {"p": store.program_id})).fetchall()
        members = await (await connection.execute(_BALANCES, {"p": store.program_id})).fetchall()
    return _sums(entries, members, store.id)


def _sums(entries: list[dict], members: list[dict], store_id: int) -> tuple[object, ...]:  # type: ignore[type-arg]
    awards, taken = [], {}  # type: ignore[var-annotated]
    for entry in entries:
        kind, _, name = entry["key"].replace(f":{store_id}:", "::").partition("::")
        if entry["reason"] in ("refund", "correction"):
            of = name.partition(":")[0]
            taken[of] = taken.get(of, 0) + entry["points"]
        else:
            fact = entry["email"] if kind == "sign_up" else name
            awards.append((entry["email"], kind, fact, entry["round"], entry["points"]))
    for member in members:
        assert member["balance"] == member["entries"]
    return (
        sorted(awards, key=str),
        {of: points for of, points in taken.items() if points},
        sorted(((m["email"], m["balance"]) for m in members), key=str),
    )


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(story=stories(), data=st.data())
async def test_any_order_and_repetition_ends_in_the_same_ledger(
    services: Services, story: list[Change], data: st.DataObject
) -> None:
    expected = await _tell(services, [story], None)
    told = data.draw(st.permutations(story + data.draw(st.lists(st.sampled_from(story), max_size=5))))
    size = data.draw(st.integers(1, len(told)))
    chunks = [told[start : start + size] for start in range(0, len(told), size)]
    run_after = data.draw(st.one_of(st.none(), st.integers(0, len(chunks) - 1)))
    assert await _tell(services, chunks, run_after) == expected
