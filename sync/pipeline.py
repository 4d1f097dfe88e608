"""What a push consists of: grants claimed, their codes asked for, and the answers recorded, all at the same time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Self

from connectors.base import Connector, Store
from rewards.errors import PlatformError, RefusedError
from rewards.occasions import local_today
from rewards.records import Binding, CodeDraft, PushedCode
from storage import grants
from storage.database import Connection
from storage.grants import GrantToPush, PushOutcome
from storage.stores import StoreRow
from sync.drafts import code_returns, drafts_for
from sync.services import Services

Pair = tuple[GrantToPush, CodeDraft]
Progress = Callable[[int, int], None]  # codes done, codes in all

_RECORDED_AT_ONCE = 250


@dataclass
class Tally:
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


class Pipeline:
    """Claims the next grants and records the last answers while the platform is asked: its pace is not kept waiting.

    What was answered is recorded also when other answers fail.
    """

    def __init__(
        self, services: Services, store: StoreRow, platform: Store, started: datetime, tally: Tally
    ) -> None:
        self._services, self._store, self._platform = services, store, platform
        self._started, self._tally = started, tally
        self._connector = services.connector(store)
        self._claiming: asyncio.Task[list[Pair]] | None = None
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

    async def claimed(self) -> list[Pair]:
        """The next grants with their drafts; none when all have had their turn."""
        pairs = await (self._claiming or self._claim())
        self._unrecorded |= {grant.id for grant, _ in pairs}
        self._claiming = self._claim() if pairs else None
        return pairs

    async def push(self, batch: Sequence[Pair]) -> None:
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

    def _claim(self) -> asyncio.Task[list[Pair]]:
        size = max(self._connector.push_size, self._connector.open_push_size or 0)
        apart_from = list(self._unrecorded)
        return asyncio.create_task(_claim(self._services, self._store, size, self._started, apart_from))


def batches(connector: Connector, pairs: Sequence[Pair]) -> Iterator[list[Pair]]:
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
) -> list[Pair]:
    today = local_today(started, store.time_zone)

    async def claim(connection: Connection) -> list[Pair]:
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
