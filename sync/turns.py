"""The budgets and places of a store in the database, where all our processes find them."""

from __future__ import annotations

import msgspec

from connectors.places import Report, Share, Standing, settled
from connectors.turns import Leased
from storage import budgets, places
from storage.database import Database


class StoreShelf:
    """Where a store's budgets are kept: the `Shelf` of connectors.turns.

    Each statement commits by itself and on a connection of its own, whatever transaction the caller may be in.
    """

    def __init__(self, database: Database, store_id: int) -> None:
        self._database = database
        self._store_id = store_id

    async def lease(self, name: str, seconds: float) -> Leased:
        """See Shelf."""
        async with self._database.statements() as connection:
            return Leased(*await budgets.lease(connection, self._store_id, name, seconds))

    async def correct(self, name: str, full_in: float, slack: float) -> bool:
        """See Shelf."""
        async with self._database.statements() as connection:
            return await budgets.correct(connection, self._store_id, name, full_in=full_in, slack=slack)

    async def pause(self, name: str, seconds: float) -> None:
        """See Shelf."""
        async with self._database.statements() as connection:
            await budgets.pause(connection, self._store_id, name, seconds)


class StoreBoard:
    """Where a store's places are kept: the `Board` of connectors.places."""

    def __init__(self, database: Database, store_id: int) -> None:
        self._database = database
        self._store_id = store_id

    async def settle(self, report: Report) -> Share:
        """See Board."""
        async with self._database.transaction() as connection:
            kept, now = await places.locked(connection, self._store_id)
            standing = msgspec.convert(kept, Standing)
            share = settled(standing, report, now)
            await places.keep(connection, self._store_id, msgspec.to_builtins(standing))
        return share
