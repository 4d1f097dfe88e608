"""How much of what Stripe lets an account be read its past takes."""

from __future__ import annotations

from datetime import timedelta

import pytest

from connectors.base import Noun, Store
from connectors.besides import EstimatesReading
from connectors.stripe import allocation
from connectors.stripe.store import StripeStore
from sandbox.stripe import StripeSandbox
from tests.connectors.stripe.conftest import Opener


@pytest.mark.parametrize(
    ("reads", "payments", "allowed"),
    [(4_999, 0, None), (5_000, 0, "10,000"), (9_000, 20, "10,000"), (9_000, 36, "18,000"), (9_000, 40, None)],
)
def test_a_long_past_with_few_payments_is_told(reads: int, payments: int, allowed: str | None) -> None:
    said = allocation.warning(reads, payments)
    assert (
        said is None
        if allowed is None
        else said and f"about {allowed} times" in said and f"{reads:,}" in said
    )


async def test_what_reading_takes_is_judged_about_right(sandbox: StripeSandbox, store: Store) -> None:
    assert isinstance(store, StripeStore)
    told = await store._history.reads()
    before = sandbox.requests
    for noun in Noun:
        for window in await store.windows(noun, None):
            async for _ in store.read(window, None):
                pass
    took = sandbox.requests - before
    assert took / 2 <= told <= took * 2


async def test_the_preview_says_what_reading_takes_and_what_stripe_allows(
    sandbox: StripeSandbox, open_store: Opener
) -> None:
    store = open_store()
    assert isinstance(store, EstimatesReading)
    found = await store.estimate()
    assert isinstance(store, StripeStore)
    assert found.requests == await store._history.reads()
    assert found.seconds == 0.0  # no limit here
    month = sandbox.clock() - timedelta(days=30)
    payments = sum(1 for charge in sandbox.account.charges if charge.created >= month.timestamp())
    assert 20 < payments < 100
    assert f"about {500 * payments:,} times in 30 days" in found.note
    paced = open_store(requests_per_second="10")
    assert isinstance(paced, EstimatesReading)
    assert (await paced.estimate()).seconds == pytest.approx(found.requests / 9.7)


async def test_recent_payments_are_counted_up_to_a_page(sandbox: StripeSandbox, store: Store) -> None:
    assert isinstance(store, StripeStore)
    now = sandbox.clock()
    month = now - timedelta(days=30)
    known = sum(1 for charge in sandbox.account.charges if charge.created >= month.timestamp())
    assert await store._history.recent_payments(month) == min(known, 100)
    assert await store._history.recent_payments(now - timedelta(days=4_000)) == 100
    assert (await store.facts()).notices == ()


async def test_settings_that_cannot_be_read_are_told_with_the_facts(open_store: Opener) -> None:
    notices = (await open_store(birthday_format="dd.mm.yy", currency_rates="a lot").facts()).notices
    assert ["birthday_format" in notices[0], "currency_rates" in notices[1]] == [True, True]
    assert len(notices) == 2
