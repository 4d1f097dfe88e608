"""Renewing a store's credentials: of all our processes one asks the platform, and what it gives is stored at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from connectors.base import Credentials, Secret
from rewards.errors import AccessRevokedError, RetryLaterError
from storage import stores
from storage.database import Database
from storage.secrets import SecretBox

Ask = Callable[[Credentials], Awaitable[Credentials]]

# While it is asked, a connection waits inside a transaction, which the database ends after a minute.
ASK_SECONDS = 40.0
# Of our pool's connections, so many may wait so.
AT_ONCE = 2


class StoreKeeper:
    """The `Keeper` of one store. `gate` bounds how many renewals this process makes at a time."""

    def __init__(self, database: Database, box: SecretBox, store_id: int, gate: asyncio.Semaphore) -> None:
        self._database = database
        self._box = box
        self._store_id = store_id
        self._gate = gate

    async def renew(self, stale: Credentials, ask: Ask) -> Credentials:
        """See Keeper."""
        # In a task of its own: so it is no part of a transaction that the caller may yet undo, and whoever is
        # cancelled leaves no renewal half done, whose new credentials nobody would have.
        renewing = asyncio.create_task(self._renew(stale, ask))
        try:
            return await asyncio.shield(renewing)
        except asyncio.CancelledError:
            await asyncio.wait({renewing})
            if not renewing.cancelled():
                renewing.exception()  # seen: the caller goes for another reason
            raise

    async def _renew(self, stale: Credentials, ask: Ask) -> Credentials:
        async with self._gate, self._database.transaction() as connection:
            store = await stores.locked(connection, self._store_id)
            if store.sealed_credentials is None:
                raise AccessRevokedError("The app was uninstalled. Connect the store again.")
            found = stores.credentials(self._box, store)
            if found != {name: secret.reveal() for name, secret in stale.items()}:
                return {name: Secret(text) for name, text in found.items()}
            try:
                async with asyncio.timeout(ASK_SECONDS):
                    fresh = await ask({name: Secret(text) for name, text in found.items()})
            except TimeoutError as error:
                raise RetryLaterError("The platform took too long to renew the access.") from error
            clear = {name: secret.reveal() for name, secret in fresh.items()}
            await stores.keep_secrets(connection, self._box, self._store_id, credentials=clear)
        return dict(fresh)
