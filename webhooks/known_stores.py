"""Which store a post claims to come from, remembered for a few seconds so that most posts need no query."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from connectors.base import Secret, StoreClaim
from rewards.errors import DatabaseError
from storage import stores
from storage.database import Connection, Database
from storage.secrets import SecretBox
from storage.stores import StoreRow

_log = logging.getLogger(__name__)

_Key = tuple[str, str | None, str | None]


@dataclass(frozen=True, slots=True)
class KnownStore:
    """A store's number and what may sign its posts, `settings` having a say; its state does not matter here.

    An uninstalled store still gets the platform's privacy posts, for as long as its row and secret exist.
    """

    id: int
    secrets: tuple[Secret, ...]
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Entry:
    store: KnownStore | None
    read_at: float


class KnownStores:
    """Finds stores by claim. Both finds and misses are bounded in number and in age."""

    def __init__(
        self, database: Database, box: SecretBox, *, keep_seconds: float = 5.0, most_stores: int = 10_000
    ) -> None:
        self._database = database
        self._box = box
        self._keep_seconds = keep_seconds
        # Misses stand apart, so that made-up addresses never push a real store out.
        self._found: OrderedDict[_Key, _Entry] = OrderedDict()
        self._missed: OrderedDict[_Key, _Entry] = OrderedDict()
        self._most = {True: most_stores, False: max(1, most_stores // 10)}
        self._reading: dict[_Key, asyncio.Task[KnownStore | None]] = {}

    def remembered(self, platform: str, claim: StoreClaim) -> KnownStore | None:
        """The store, if it was read a few seconds ago."""
        entry = self._found.get((platform, claim.token, claim.external_id))
        if entry and asyncio.get_running_loop().time() - entry.read_at < self._keep_seconds:
            return entry.store
        return None

    async def find(
        self, platform: str, claim: StoreClaim, *, younger_than_seconds: float
    ) -> KnownStore | None:
        """The store, or None, as it was at most so many seconds ago.

        Raises what the database raises; a caller that stops waiting does not stop the reading.
        """
        key = (platform, claim.token, claim.external_id)
        entry = self._found.get(key) or self._missed.get(key)
        if entry and asyncio.get_running_loop().time() - entry.read_at < younger_than_seconds:
            return entry.store
        task = self._reading.get(key)
        if task is None:
            task = asyncio.create_task(self._read(key), name="look up a store")
            self._reading[key] = task
            task.add_done_callback(lambda done: self._read_done(key, done))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Ends look-ups that are under way."""
        tasks = list(self._reading.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, key: _Key) -> KnownStore | None:
        platform, token, external_id = key
        read_at = asyncio.get_running_loop().time()
        async with self._database.transaction() as connection:
            row = await _row(connection, platform, token, external_id)
        store = None
        if row is not None:
            store = KnownStore(row.id, self._secrets(row), row.settings)
        self._remember(key, _Entry(store, read_at))
        return store

    def _secrets(self, row: StoreRow) -> tuple[Secret, ...]:
        try:
            return tuple(Secret(secret) for secret in stores.webhook_secrets(self._box, row))
        except DatabaseError as error:
            _log.error("posts for store %s cannot be checked: %s", row.id, error)
            raise

    def _remember(self, key: _Key, entry: _Entry) -> None:
        self._found.pop(key, None)
        self._missed.pop(key, None)
        kept = self._found if entry.store else self._missed
        kept[key] = entry
        while len(kept) > self._most[kept is self._found]:
            kept.popitem(last=False)

    def _read_done(self, key: _Key, task: asyncio.Task[KnownStore | None]) -> None:
        self._reading.pop(key, None)
        if not task.cancelled():
            task.exception()  # whoever waited has seen it; when nobody waits any more, nobody needs it


async def _row(
    connection: Connection, platform: str, token: str | None, external_id: str | None
) -> StoreRow | None:
    """The store with the token; without a token the one that is named. None for a post that went astray."""
    named = None if external_id is None else await stores.by_external_id(connection, platform, external_id)
    if token is None:
        return named
    row = await stores.by_token(connection, platform, token)
    # A name that no store of ours has may be the store's own new one.
    return None if row is not None and named is not None and named.id != row.id else row
