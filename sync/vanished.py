"""Finds orders that a store has deleted for good without telling anybody: few questions where nothing is missing.

The store is asked how many orders it has of a stretch of time. Only where we hold more, the stretch is halved, down to a
hundred orders that are asked for by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from connectors.base import Capability
from connectors.besides import ForgetsOrders
from rewards.changes import OrderDeleted
from rewards.errors import RefusedError
from storage import orders
from storage.database import Connection
from storage.stores import StoreRow
from sync.apply import apply_changes
from sync.services import Services

BY_NAME = 100
_MOST_STRETCHES = 500  # a day; a shop that hides many orders from us would have us ask for ever


async def find_vanished(services: Services, store: StoreRow) -> int:
    """Cancels the orders that are gone from the store; how many.

    Raises PlatformError; what was found until then stays. A store that cannot be asked is left alone.
    """
    if Capability.ORDERS_VANISH not in services.connector(store).capabilities:
        return 0
    platform = services.open_store(store)
    assert isinstance(platform, ForgetsOrders)
    async with services.database.transaction() as connection:
        span = await orders.span(connection, store.id)
    stretches = [] if span is None else [(span[0], span[1] + timedelta(seconds=1))]
    found = asked = 0
    while stretches and asked < _MOST_STRETCHES:
        asked += 1
        first, end = stretches.pop()
        try:
            halves, gone = await _look(services, store, platform, first, end)
        except RefusedError:
            break
        stretches += halves
        found += len(gone)
        await _cancel(services, store, gone)
    return found


async def _look(
    services: Services, store: StoreRow, platform: ForgetsOrders, first: datetime, end: datetime
) -> tuple[list[tuple[datetime, datetime]], Sequence[str]]:
    """One stretch: the halves that have to be looked at, or the orders of it that are gone."""
    async with services.database.transaction() as connection:
        ours = await orders.count_placed(connection, store.id, first, end)
        if ours <= BY_NAME:
            names = await orders.ids_placed(connection, store.id, first, end)
            middle = None
        else:
            middle = await orders.middle_placed(connection, store.id, first, end)
    if ours == 0 or (middle is not None and await platform.count_orders(first, end) >= ours):
        return [], ()
    if middle is None:
        return [], await platform.vanished(names)
    # More than a hundred in one second cannot be told apart: the shop would have to be asked for each.
    return ([] if middle <= first else [(first, middle), (middle, end)]), ()


async def _cancel(services: Services, store: StoreRow, gone: Sequence[str]) -> None:
    if not gone:
        return

    async def work(connection: Connection) -> None:
        capabilities = services.connector(store).capabilities
        changes = [OrderDeleted(external_id, None) for external_id in gone]
        await apply_changes(connection, store, changes, now=services.clock(), capabilities=capabilities)

    await services.database.retrying(work)
