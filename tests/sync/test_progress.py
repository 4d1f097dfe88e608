"""How far the reading of a history has come, and how much is left."""

from __future__ import annotations

from collections import Counter

import pytest

from connectors.base import Noun
from rewards.errors import RetryLaterError
from sync.history import run_import
from tests.sync.shops import Shop, rows

WHOLE = {Noun.CUSTOMERS: 240, Noun.COUPONS: 3, Noun.ORDERS: 120}


async def test_how_much_there_is_to_read_is_told_before_it_is_read(shop: Shop) -> None:
    left: dict[Noun, int] = {}
    read: Counter[Noun] = Counter()

    def progress(noun: Noun, more: int) -> None:
        assert left == WHOLE
        read[noun] += more

    await run_import(
        shop.services,
        shop.store.id,
        is_full=True,
        progress=progress,
        expect=lambda noun, records: left.update({noun: records}),
    )
    assert read == WHOLE


async def test_after_a_stop_only_the_rest_is_left(shop: Shop) -> None:
    read: Counter[Noun] = Counter()
    # Three questions how much there is, then some pages, then the shop is gone for a while.
    shop.sandbox.faults.spare, shop.sandbox.faults.server_errors = 6, 1_000
    with pytest.raises(RetryLaterError):
        await run_import(
            shop.services, shop.store.id, is_full=True, progress=lambda noun, more: read.update({noun: more})
        )
    assert 0 < sum(read.values()) < sum(WHOLE.values())
    shop.sandbox.faults.server_errors = 0
    left: dict[Noun, int] = {}
    await run_import(
        shop.services,
        shop.store.id,
        progress=lambda noun, more: read.update({noun: more}),
        expect=lambda noun, records: left.update({noun: records}),
    )
    assert sum(left.values()) < sum(WHOLE.values())
    assert read == WHOLE


async def test_orders_are_written_when_everybody_who_placed_them_is(shop: Shop) -> None:
    report = await run_import(
        shop.services, shop.store.id, is_full=True, progress=lambda noun, more: shop.clock.pass_days(1)
    )
    found = await rows(
        shop.database,
        """SELECT min(done_at) FILTER (WHERE noun = 'orders') > max(done_at) FILTER (WHERE noun <> 'orders')
           FROM import_windows WHERE store_id = %s AND run_id = %s""",
        shop.store.id,
        report.run_id,
    )
    assert found == [(True,)]
