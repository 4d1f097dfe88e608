"""Codes that a store refused are asked for again: what stood in the way may be gone.

Nobody tells us that a key got its permission, that a product is there again or that a code of the same text was
switched off. So each day a few codes of each reward are tried, and where one of them goes in, the rest follow.
"""

from __future__ import annotations

from functools import partial

from storage import refused
from storage.database import Connection
from sync.push import push_store
from sync.services import Services

_TRIED_EACH_DAY = 5  # of each version of a reward: a refusal costs the store's requests too


async def try_some(services: Services, store_id: int) -> int:
    """Tries a few refused codes, and the rest of a reward whose codes go in; how many went in. Raises PlatformError."""
    first = await services.database.retrying(
        partial(_again, services, store_id, of_each=_TRIED_EACH_DAY, of_versions=None)
    )
    if not first:
        return 0
    report = await push_store(services, store_id)
    async with services.database.transaction() as connection:
        versions = await refused.versions_taken(connection, store_id, first)
    rest = await services.database.retrying(
        partial(_again, services, store_id, of_each=None, of_versions=versions)
    )
    more = (await push_store(services, store_id)).pushed if rest else 0
    return report.pushed + more


async def try_all(services: Services, store_id: int) -> None:
    """Tries every refused code whose time is not over. Raises PlatformError."""
    if await services.database.retrying(partial(_again, services, store_id, of_each=None, of_versions=None)):
        await push_store(services, store_id)


async def _again(
    services: Services,
    store_id: int,
    connection: Connection,
    *,
    of_each: int | None,
    of_versions: list[int] | None,
) -> list[int]:
    return await refused.try_again(
        connection, store_id, services.clock(), of_each=of_each, reward_version_ids=of_versions
    )
