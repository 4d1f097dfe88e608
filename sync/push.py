"""Puts the codes of decided grants into the store, in batches, at the pace that the store's connector keeps.

The code of a grant is recorded with the grant, before anybody asks for it. A push whose answer is lost is repeated
with the same draft, and the store finds what it made before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from rewards.codes import grant_key, promotion_code
from rewards.errors import AccessRevokedError, RetryLaterError
from rewards.occasions import local_today
from storage import code_keys, grants, returned, rewards, stores
from storage.database import Connection
from storage.locks import only_one
from storage.stores import StoreRow
from sync.history import pause
from sync.pipeline import Pipeline, Progress, Tally, batches
from sync.services import Services
from sync.values import Giver

_RENEWED_AT_ONCE = 500
_PAUSE_SECONDS = 60.0  # where the platform names no time itself


@dataclass(frozen=True, slots=True)
class PushReport:
    """What became of the grants of one run. `skipped` says why nothing was tried, when that is so."""

    pushed: int = 0
    failed: int = 0
    expired: int = 0
    skipped: str | None = None


async def push_store(services: Services, store_id: int, *, progress: Progress | None = None) -> PushReport:
    """Pushes all grants that are decided and due; returns at once when another process does it.

    Raises RetryLaterError (what is left waits until then), AccessRevokedError (the store is paused) and NotFoundError.
    """
    async with services.database.transaction() as connection:
        store = await stores.by_id(connection, store_id)
    if store.status != "active":
        return PushReport(skipped=f"the store is {store.status}")
    async with only_one(services.database, f"push:{store_id}") as is_ours:
        if not is_ours:
            return PushReport(skipped="another process is pushing")
        expired = await expire_store(services, store_id)
        await _renew_returned(services, store)
        try:
            report = await _push_all(services, store, progress)
        except RetryLaterError as error:
            await _postpone(services, store, error)
            raise
        except AccessRevokedError as error:
            await _pause(services, store, error)
            raise
    return replace(report, expired=expired)


async def expire(services: Services) -> int:
    """Ends grants whose time is over, in all stores; how many."""
    async with services.database.transaction() as connection:
        found = await stores.every(connection)
    return sum([await expire_store(services, store.id) for store in found])


async def expire_store(services: Services, store_id: int) -> int:
    """Ends the store's grants whose time is over; how many."""
    ended = 0
    while True:
        async with services.database.transaction() as connection:
            now_ended = await grants.expire(connection, store_id, services.clock())
        ended += now_ended
        if not now_ended:
            return ended


async def _renew_returned(services: Services, store: StoreRow) -> None:
    """Gives grants whose code was used and given back their next code, which is pushed like any other."""

    async def renew(connection: Connection) -> int:
        claimed = await returned.claim(connection, store.id, services.clock(), _RENEWED_AT_ONCE)
        if not claimed:
            return 0
        versions = await rewards.versions(
            connection, store.program_id, [grant.reward_version_id for grant in claimed]
        )
        key = await code_keys.code_key(connection, services.secret_box, store.program_id)
        codes = {
            grant.id: promotion_code(
                key,
                versions[grant.reward_version_id].terms.code_prefix,
                grant_key(
                    store.program_id, grant.reward_id, grant.member_id, grant.occasion, grant.attempt + 1
                ),
            )
            for grant in claimed
        }
        await returned.replace_codes(connection, store.id, codes, services.clock())
        return len(claimed)

    while await services.database.retrying(renew):
        pass


async def _push_all(services: Services, store: StoreRow, progress: Progress | None) -> PushReport:
    # What becomes due, or may be tried again, while this runs is for the next run: so this one ends.
    started = services.clock()
    async with services.database.transaction() as connection:
        today = local_today(started, store.time_zone)
        tally = Tally(progress, await grants.count_to_push(connection, store.id, today, started))
    platform, connector = services.open_store(store), services.connector(store)
    giver = Giver(services, store, platform)
    async with Pipeline(services, store, platform, started, tally) as pipeline:
        while pairs := await pipeline.claimed():
            for batch in batches(connector, [pair for pair in pairs if not pair[1].benefit.is_value]):
                await pipeline.push(batch)
            for grant, draft in (pair for pair in pairs if pair[1].benefit.is_value):
                outcome = await giver.give(grant, draft)
                pipeline.settled([grant])
                tally.add(pushed=outcome == "given", failed=outcome == "refused")
        await pipeline.finish()
    return PushReport(pushed=tally.pushed, failed=tally.failed)


async def _postpone(services: Services, store: StoreRow, error: RetryLaterError) -> None:
    seconds = _PAUSE_SECONDS if error.retry_after_seconds is None else error.retry_after_seconds
    async with services.database.transaction() as connection:
        await grants.postpone(connection, store.id, services.clock() + timedelta(seconds=seconds))


async def _pause(services: Services, store: StoreRow, error: AccessRevokedError) -> None:
    async with services.database.transaction() as connection:
        await pause(connection, store, str(error), services.clock())
