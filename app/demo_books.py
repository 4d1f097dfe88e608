"""The demo's figures: what the app holds beside what the store's own books say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from storage.database import Connection
from storage.stores import StoreRow


class StoreFigures(TypedDict):
    """One store's line. `…_expected`, `codes_in_store`, `…_placed` and `webhooks_sent` are the store's own."""

    platform: str
    store: str
    customers: int
    guests: int
    orders: int
    points_expected: int
    points_previewed: int
    points_awarded: int
    grants_expected: int
    grants: int
    codes_pushed: int
    codes_in_store: int
    redemptions_placed: int
    redemptions_seen: int
    webhooks_sent: int
    webhooks_handled: int


_COUNTS = """
SELECT
    (SELECT count(*) FROM members m WHERE m.home_store_id = %(store)s AND m.merged_into IS NULL AND m.has_account)
        AS customers,
    (SELECT count(*) FROM members m WHERE m.home_store_id = %(store)s AND m.merged_into IS NULL
        AND NOT m.has_account) AS guests,
    (SELECT count(*) FROM grants WHERE store_id = %(store)s) AS grants,
    (SELECT count(*) FROM promotion_codes WHERE store_id = %(store)s AND pushed_at IS NOT NULL) AS codes_pushed,
    (SELECT count(*) FROM grants WHERE store_id = %(store)s AND state = 'redeemed') AS redemptions_seen,
    (SELECT count(*) FROM deliveries WHERE store_id = %(store)s AND state = 'handled') AS webhooks_handled
"""


async def orders_held(connection: Connection, store: StoreRow) -> int:
    """How many of the store's orders are here now."""
    cursor = await connection.execute("SELECT count(*) AS n FROM orders WHERE store_id = %s", (store.id,))
    found = await cursor.fetchone()
    assert found is not None
    return int(found["n"])


async def figures(
    connection: Connection,
    store: StoreRow,
    books: Mapping[str, Any],
    *,
    past_orders: int,
    previewed: int,
    awarded: int,
) -> StoreFigures:
    """The store's line of the report; what the run of past actions found and did is told by whoever ran it."""
    cursor = await connection.execute(_COUNTS, {"store": store.id})
    ours = await cursor.fetchone()
    assert ours is not None
    return StoreFigures(
        platform=store.platform,
        store=store.name,
        customers=ours["customers"],
        guests=ours["guests"],
        orders=past_orders,
        points_expected=books["points_expected"],
        points_previewed=previewed,
        points_awarded=awarded,
        grants_expected=books["grants_expected"],
        grants=ours["grants"],
        codes_pushed=ours["codes_pushed"],
        codes_in_store=books["codes_in_store"],
        redemptions_placed=books["redemptions_placed"],
        redemptions_seen=ours["redemptions_seen"],
        webhooks_sent=books["webhooks_sent"],
        webhooks_handled=ours["webhooks_handled"],
    )


def agree(found: StoreFigures, books: Mapping[str, Any]) -> bool:
    """True when every pair of figures is equal, nothing is zero that should not be, and no forged post got in."""
    pairs = (
        (found["customers"], books["customers"]),
        (found["guests"], books["guests"]),
        (found["orders"], books["orders"]),
        (found["points_previewed"], found["points_expected"]),
        (found["points_awarded"], found["points_expected"]),
        (found["grants"], found["grants_expected"]),
        (found["codes_pushed"], found["grants_expected"]),
        (found["codes_in_store"], found["codes_pushed"]),
        (found["redemptions_seen"], found["redemptions_placed"]),
        (found["webhooks_handled"], found["webhooks_sent"]),
    )
    return all(ours == theirs for ours, theirs in pairs) and books["forged_accepted"] == 0


async def ledger_figures(connection: Connection) -> dict[str, int]:
    """The whole ledger: how many entries, what they add up to, and what the stored balances add up to."""
    cursor = await connection.execute(
        """SELECT (SELECT count(*) FROM ledger_entries) AS entries,
               (SELECT coalesce(sum(points), 0)::bigint FROM ledger_entries) AS sum_of_entries,
               (SELECT coalesce(sum(balance), 0)::bigint FROM members) AS sum_of_balances"""
    )
    found = await cursor.fetchone()
    assert found is not None
    return found
