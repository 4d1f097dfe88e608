"""The budgets of a store in the database, where all our processes find them."""

from __future__ import annotations

from connectors.turns import Leased
from storage import budgets
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
