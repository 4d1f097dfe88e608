"""The look every few minutes at stores whose webhooks cannot be relied on, or which have none."""

from __future__ import annotations

from connectors.base import Capability, Noun
from storage import imports, stores
from storage.stores import StoreRow
from sync.history import run_import
from sync.services import Services
from sync.subscriptions import WebhookLook, WebhookState, look_after

# A whole reading takes at most a tenth of the time: it is due when nine times as long as it took has passed.
_REST = 9


async def watch(services: Services, store_id: int) -> None:
    """Sets lost webhooks up again and reads what changed meanwhile: orders always, the rest where it was not told.

    Raises NotFoundError and PlatformError.
    """
    async with services.database.transaction() as connection:
        store = await stores.by_id(connection, store_id)
    if Capability.LATE_WEBHOOKS not in services.connector(store).capabilities:
        await run_import(services, store_id)
        return
    look = await look_after(services, store)
    nouns = None if await _has_a_gap(services, store, look) else (Noun.ORDERS,)
    await run_import(services, store_id, nouns=nouns)


async def _has_a_gap(services: Services, store: StoreRow, look: WebhookLook) -> bool:
    """True when changes of every kind may have been missed, and there was rest enough since they were read."""
    if look.state in (WebhookState.SET_UP, WebhookState.SET_UP_AGAIN):
        return True
    async with services.database.transaction() as connection:
        if (await stores.by_id(connection, store.id)).polled_because is None:
            return False
        last = await imports.last_whole(connection, store.id)
    return last is None or services.clock() >= last.finished_at + _REST * (last.finished_at - last.started_at)
