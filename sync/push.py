"""Puts the codes of decided grants into the store, in batches, at the pace that the store's connector keeps.

The code of a grant is recorded with the grant, before anybody asks for it. A push whose answer is lost is repeated
with the same draft, and the store finds what it made before.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Self

from connectors.base import Connector, Store
from rewards.codes import grant_key, promotion_code
from rewards.errors import AccessRevokedError, PlatformError, RefusedError, RetryLaterError
from rewards.occasions import local_today
from rewards.records import Binding, CodeDraft, PushedCode
from storage import code_keys, grants, returned, rewards, stores
from storage.database import Connection
from storage.grants import GrantToPush, PushOutcome
from storage.locks import only_one
from storage.stores import StoreRow
from sync.drafts import code_returns, drafts_for
from sync.history import pause
from sync.services import Services
from sync.values import Giver

_Pair = tuple[GrantToPush, CodeDraft]
Progress = Callable[[int, int], None]  # codes done, codes in all

_RENEWED_AT_ONCE = 500
_RECORDED_AT_ONCE = 250
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
        tally = _Tally(progress, await grants.count_to_push(connection, store.id, today, started))
    platform, connector = services.open_store(store), services.connector(store)
    giver = Giver(services, store, platform)
    async with _Pipeline(services, store, platform, started, tally) as pipeline:
        while pairs := await pipeline.claimed():
            for batch in _batches(connector, [pair for pair in pairs if not pair[1].benefit.is_value]):
                await pipeline.push(batch)
            for grant, draft in (pair for pair in pairs if pair[1].benefit.is_value):
                outcome = await giver.give(grant, draft)
                pipeline.settled([grant])
                tally.add(pushed=outcome == "given", failed=outcome == "refused")
        await pipeline.finish()
    return PushReport(pushed=tally.pushed, failed=tally.failed)


@dataclass
class _Tally:
    """How many codes of about so many have had their turn."""

    progress: Progress | None
    total: int
    pushed: int = 0
    failed: int = 0

    def add(self, pushed: int, failed: int) -> None:
        """Some more; whoever watches is told."""
        self.pushed, self.failed = self.pushed + pushed, self.failed + failed
        if self.progress is not None:
            done = self.pushed + self.failed
            self.progress(done, max(self.total, done))


class _Pipeline:
    """Claims the next grants and records the last answers while the platform is asked: its pace is not kept waiting.

    What was answered is recorded also when other answers fail.
    """

    def __init__(
        self, services: Services, store: StoreRow, platform: Store, started: datetime, tally: _Tally
    ) -> None:
        self._services, self._store, self._platform = services, store, platform
        self._started, self._tally = started, tally
        self._connector = services.connector(store)
        self._claiming: asyncio.Task[list[_Pair]] | None = None
        self._pushes: deque[tuple[Sequence[GrantToPush], asyncio.Task[list[PushedCode]]]] = deque()
        self._recording: asyncio.Task[None] | None = None
        self._unrecorded: set[int] = set()  # claimed, and perhaps not recorded yet

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            await self._end_pushes(are_wanted=kind is not None and issubclass(kind, PlatformError))
        finally:
            if self._claiming is not None:
                self._claiming.cancel()
                await asyncio.gather(self._claiming, return_exceptions=True)
            if self._recording is not None:
                await self._recording

    async def claimed(self) -> list[_Pair]:
        """The next grants with their drafts; none when all have had their turn."""
        pairs = await (self._claiming or self._claim())
        self._unrecorded |= {grant.id for grant, _ in pairs}
        self._claiming = self._claim() if pairs else None
        return pairs

    async def push(self, batch: Sequence[_Pair]) -> None:
        """Has the codes made, as soon as no more pushes than the platform may have are under way."""
        while len(self._pushes) >= self._connector.pushes_at_once:
            await self._settle()
        drafts = [draft for _, draft in batch]
        self._pushes.append(
            ([grant for grant, _ in batch], asyncio.create_task(_push(self._platform, drafts)))
        )

    def settled(self, those: Sequence[GrantToPush]) -> None:
        """What became of these is recorded."""
        self._unrecorded -= {grant.id for grant in those}

    async def finish(self) -> None:
        """Waits for all answers."""
        while self._pushes:
            await self._settle()

    async def _settle(self) -> None:
        """Waits for the answers of the push that was begun first."""
        asked, asking = self._pushes[0]
        answers = await asking
        self._pushes.popleft()
        await self._note(asked, answers)

    async def _note(self, asked: Sequence[GrantToPush], answers: Sequence[PushedCode]) -> None:
        """Has the answers recorded, when those before them are."""
        if self._recording is not None:
            await self._recording
        self._recording = asyncio.create_task(self._record(asked, answers))
        refused = sum(1 for answer in answers if answer.refused is not None)
        self._tally.add(len(answers) - refused, refused)

    async def _end_pushes(self, *, are_wanted: bool) -> None:
        """Waits for what is still under way when something failed; after anything but the platform's word it is given up."""
        if not self._pushes:
            return
        for _, asking in self._pushes:
            if not are_wanted:
                asking.cancel()
        await asyncio.wait([asking for _, asking in self._pushes])
        for asked, asking in self._pushes:
            if not asking.cancelled() and asking.exception() is None:
                await self._note(asked, asking.result())

    async def _record(self, asked: Sequence[GrantToPush], answers: Sequence[PushedCode]) -> None:
        await _record(self._services, self._store, asked, answers)
        self.settled(asked)

    def _claim(self) -> asyncio.Task[list[_Pair]]:
        size = max(self._connector.push_size, self._connector.open_push_size or 0)
        apart_from = list(self._unrecorded)
        return asyncio.create_task(_claim(self._services, self._store, size, self._started, apart_from))


def _batches(connector: Connector, pairs: Sequence[_Pair]) -> Iterator[list[_Pair]]:
    """What is pushed and recorded together; where open codes share a discount, more of them go at once."""
    sizes = {
        Binding.BOUND: connector.push_size,
        Binding.OPEN: connector.open_push_size or connector.push_size,
    }
    for binding, size in sizes.items():
        these = [pair for pair in pairs if pair[1].binding is binding]
        for start in range(0, len(these), size):
            yield these[start : start + size]


async def _claim(
    services: Services, store: StoreRow, size: int, started: datetime, apart_from: Sequence[int]
) -> list[_Pair]:
    today = local_today(started, store.time_zone)

    async def claim(connection: Connection) -> list[_Pair]:
        claimed = await grants.claim_to_push(connection, store.id, today, started, size, apart_from)
        drafts = await drafts_for(services, connection, store, claimed) if claimed else []
        return list(zip(claimed, drafts, strict=True))

    return await services.database.retrying(claim)


async def _push(platform: Store, drafts: Sequence[CodeDraft]) -> list[PushedCode]:
    """One answer per draft. A batch that is refused as a whole is asked for one by one, to find which ones are meant."""
    try:
        answers = list(await platform.push(drafts))
    except RefusedError as error:
        if len(drafts) == 1:
            return [PushedCode(code=drafts[0].code, refused=str(error))]
        return [(await _push(platform, [draft]))[0] for draft in drafts]
    assert len(answers) == len(drafts), "a connector gives one answer per draft"
    return answers


async def _record(
    services: Services, store: StoreRow, claimed: Sequence[GrantToPush], answers: Sequence[PushedCode]
) -> None:
    outcomes = [
        PushOutcome(grant.id, answer.external_id, answer.coupon_external_id, answer.refused)
        for grant, answer in zip(claimed, answers, strict=True)
    ]
    # A transaction for a few: PostgreSQL may compare each of them with each.
    for start in range(0, len(outcomes), _RECORDED_AT_ONCE):
        some = outcomes[start : start + _RECORDED_AT_ONCE]
        await services.database.retrying(partial(_record_some, services, store, some))


async def _record_some(
    services: Services, store: StoreRow, outcomes: Sequence[PushOutcome], connection: Connection
) -> None:
    await grants.record_push(
        connection,
        store.id,
        outcomes,
        returns=code_returns(services.connector(store).capabilities, store),
        now=services.clock(),
    )


async def _postpone(services: Services, store: StoreRow, error: RetryLaterError) -> None:
    seconds = _PAUSE_SECONDS if error.retry_after_seconds is None else error.retry_after_seconds
    async with services.database.transaction() as connection:
        await grants.postpone(connection, store.id, services.clock() + timedelta(seconds=seconds))


async def _pause(services: Services, store: StoreRow, error: AccessRevokedError) -> None:
    async with services.database.transaction() as connection:
        await pause(connection, store, str(error), services.clock())
