"""Members' points, written into their customers' records in the stores that can show them.

The ledger is what counts; a record shows a copy, which is written again from it whenever the two differ. What a store
tells of its customers never asks for a write: so the webhook that a write causes ends the matter.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from connectors.base import Capability, Store
from connectors.besides import ShowsPoints
from rewards.errors import RefusedError
from storage import shown_points, stores
from storage.locks import only_one
from storage.shown_points import PointsToShow
from storage.stores import StoreRow
from sync.services import Services
from sync.store_settings import shows_points

logger = logging.getLogger(__name__)

_AT_ONCE = 250


async def show_store(services: Services, store_id: int) -> int:
    """Brings what the store shows of members' points up to date; how many customers were written.

    Each batch is noted before the next is begun. Raises PlatformError: what is left is found again. A store that refuses
    all of it is not asked again before points move, or the next day.
    """
    async with services.database.transaction() as connection:
        store = await stores.by_id(connection, store_id)
    can_show = Capability.SHOW_POINTS in services.connector(store).capabilities
    if store.status != "active" or not can_show or not shows_points(store.settings):
        return 0
    async with only_one(services.database, f"points:{store_id}") as is_ours:
        if not is_ours:
            return 0
        async with services.database.transaction() as connection:
            last = await shown_points.last_entry(connection, store.program_id)
            through = await shown_points.through(connection, store_id)
        try:
            if through is None:
                return await _compare_all(services, store, last)
            return await _follow(services, store, through)
        except RefusedError as refusal:
            logger.info("Store %s does not take points: %s", store_id, refusal)
            async with services.database.transaction() as connection:
                await shown_points.set_through(connection, store_id, last)
            return 0


async def compare_again(services: Services, store_id: int) -> None:
    """Has everybody's points compared with what the store shows, the next time that this is looked after."""
    async with services.database.transaction() as connection:
        await shown_points.set_through(connection, store_id, None)


async def _compare_all(services: Services, store: StoreRow, last: int) -> int:
    """Writes whatever differs; `last` was the last entry before."""
    platform, written, after = services.open_store(store), 0, ""
    while True:
        async with services.database.transaction() as connection:
            due = await shown_points.due_after(connection, store.id, after, _AT_ONCE)
        if not due:
            break
        written += await _write(services, store, platform, due)
        after = due[-1].external_id
    async with services.database.transaction() as connection:
        await shown_points.set_through(connection, store.id, last)
    return written


async def _follow(services: Services, store: StoreRow, through: int) -> int:
    """Writes what the entries after `through` have changed."""
    platform, written = services.open_store(store), 0
    while True:
        async with services.database.transaction() as connection:
            touched = await shown_points.touched(connection, store.program_id, through, _AT_ONCE)
            if touched is None:
                return written
            due = await shown_points.due_of(connection, store.id, touched.member_ids)
        written += await _write(services, store, platform, due)
        through = touched.through
        async with services.database.transaction() as connection:
            await shown_points.set_through(connection, store.id, through)


async def _write(services: Services, store: StoreRow, platform: Store, due: Sequence[PointsToShow]) -> int:
    if not due:
        return 0
    assert isinstance(platform, ShowsPoints), "the capability says so"
    refused = await platform.show_points({one.external_id: one.points for one in due})
    async with services.database.transaction() as connection:
        await shown_points.keep(
            connection,
            program_id=store.program_id,
            store_id=store.id,
            shown=due,
            refused=refused,
            now=services.clock(),
        )
    return len(due) - len(refused)
