"""Keeps the access to stores alive that nobody opens: renews what ends soon, wherever a platform asks for that."""

from __future__ import annotations

import asyncio
import logging

from connectors.base import Capability
from connectors.besides import NeedsMaintenance
from rewards.errors import AccessRevokedError, PlatformError
from storage import stores
from storage.stores import StoreRow
from sync.attempts import OUTAGES, describe
from sync.history import pause
from sync.kinds import Kind
from sync.services import Services
from sync.upkeep import Wake

logger = logging.getLogger(__name__)

CHUNK = 500  # stores per job; the next job goes on after them
AT_ONCE = 8
STORE_SECONDS = 60.0


def platforms_to_maintain(services: Services) -> list[str]:
    """Those whose stores need it."""
    return services.platforms_with(Capability.MAINTENANCE)


async def maintain(services: Services, after_id: int, wake: Wake) -> None:
    """Does what is due for the active stores after this id, some at a time, and asks for the rest.

    One store's trouble is its own: without access it is paused, anything else waits for the next time.
    """
    async with services.database.transaction() as connection:
        found = await stores.active_after(connection, platforms_to_maintain(services), after_id, CHUNK)
    slots = asyncio.Semaphore(AT_ONCE)
    async with asyncio.TaskGroup() as group:
        for store in found:
            group.create_task(_maintain(services, store, slots))
    if len(found) == CHUNK:
        await wake(Kind.MAINTENANCE, found[-1].id)


async def _maintain(services: Services, store: StoreRow, slots: asyncio.Semaphore) -> None:
    try:
        async with slots, asyncio.timeout(STORE_SECONDS):
            platform = services.open_store(store)
            assert isinstance(platform, NeedsMaintenance)
            await platform.maintain()
    except AccessRevokedError as error:
        async with services.database.transaction() as connection:
            await pause(connection, store, str(error), services.clock())
    except (PlatformError, TimeoutError) as error:
        logger.info("Store %s could not be maintained and will be looked at again: %s", store.id, error)
    except OUTAGES:
        raise
    except Exception as error:
        logger.error("Store %s could not be maintained: %s", store.id, describe(error))
