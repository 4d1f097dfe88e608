"""Stores whose access was refused are asked once a day whether they let us in again.

A shop that was frozen and has paid, a firewall that was mended, a key that is allowed again: the merchant has nothing to do.
"""

from __future__ import annotations

from rewards.errors import AccessRevokedError, RefusedError
from rewards.occasions import local_today
from rewards.records import ShopFacts
from storage import audit, stores
from storage.stores import StoreRow
from sync.install import Along
from sync.services import Services


async def ask_again(services: Services, store_id: int, along: Along) -> bool:
    """Goes on with a paused store that lets us in; True when it does. `along` is done in the same transaction.

    Raises NotFoundError, and RetryLaterError when the store says nothing.
    """
    async with services.database.transaction() as connection:
        store = await stores.by_id(connection, store_id)
    if store.status != "paused":
        return False
    try:
        facts = await services.open_store(store).facts()
    except (AccessRevokedError, RefusedError):
        async with services.database.transaction() as connection:
            await stores.set_reconciled(connection, store_id, local_today(services.clock(), store.time_zone))
        return False
    return await _go_on(services, store, facts, along)


async def _go_on(services: Services, store: StoreRow, facts: ShopFacts, along: Along) -> bool:
    async with services.database.transaction() as connection:
        if not await stores.resume(connection, store.id):
            return False
        await stores.set_facts(connection, store.id, facts)
        await audit.record(
            connection,
            store.program_id,
            "store.resumed",
            at=services.clock(),
            actor="platform",
            store_id=store.id,
            detail={"was": store.status_reason},
        )
        await along(connection, store.id)
        return True
