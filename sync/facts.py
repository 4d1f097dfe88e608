"""Asks a store anew what it says of itself: its name and time zone, what the merchant should know, what it lacks."""

from __future__ import annotations

from rewards.errors import PlatformError
from storage import stores
from storage.stores import StoreRow
from sync.services import Services


async def ask_for_facts(services: Services, store: StoreRow) -> StoreRow:
    """The store as it is now. A refusal is left to whoever asks it for more: then it stays as it was known."""
    try:
        facts = await services.open_store(store).facts()
    except PlatformError:
        return store
    async with services.database.transaction() as connection:
        await stores.set_facts(connection, store.id, facts)
        return await stores.by_id(connection, store.id)
