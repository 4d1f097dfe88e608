"""Reads a store's customers, coupons and orders from before we came, and again what changed since.

Windows are read at the same time; one writer commits what they bring in batches, together with their cursors, so that a
run stopped anywhere goes on where it was. It records facts through `sync.apply`, as webhooks do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from connectors.base import Capability, Noun, Page, Store, Window
from connectors.windows import AT_ONCE
from rewards.changes import Change
from rewards.errors import AccessRevokedError, PlatformError, RetryLaterError
from storage import audit, imports, stores
from storage.database import Connection
from storage.imports import WindowRow
from storage.stores import StoreRow
from sync.apply import apply_changes
from sync.services import Services

BATCH = 2_000  # changes per transaction, about
BACKLOG = 6_000  # changes read and not yet written, at most
FLUSH_SECONDS = 2.0  # a slow shop's pages wait no longer than this for company
OVERLAP = timedelta(hours=1)  # read again before the last reading began: platforms' clocks and ours differ

_NEEDS = {
    Noun.CUSTOMERS: Capability.READ_CUSTOMERS,
    Noun.COUPONS: Capability.READ_COUPONS,
    Noun.ORDERS: Capability.READ_ORDERS,
}

# Orders are written last: most people are known by then, and need no stub that is completed later.
_TOGETHER = ((Noun.CUSTOMERS, Noun.COUPONS), (Noun.ORDERS,))

Progress = Callable[
    [Noun, int], None
]  # how many more were read; or, before, how many there are about to read


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What one reading brought: records read, by noun."""

    run_id: int
    counts: Mapping[str, int]


async def run_import(
    services: Services,
    store_id: int,
    *,
    is_full: bool = False,
    nouns: Sequence[Noun] | None = None,
    progress: Progress | None = None,
    expect: Progress | None = None,
) -> ImportReport:
    """Reads the store's history to its end, going on with a run that was stopped.

    Before that, `expect` is told how many records are left, where the platform says so.

    The first time everything, later what changed since (or everything with `is_full`), of all nouns or only of some.
    Raises PlatformError; when the store's access is gone, the store is paused and says so.
    """
    kind = ",".join(nouns) if nouns else imports.WHOLE
    async with services.database.transaction() as connection:
        store = await stores.by_id(connection, store_id)
        run_id = await imports.open_run(connection, store.id, kind)
    platform = services.open_store(store)
    try:
        if run_id is None:
            wanted = nouns or _nouns(services, store)
            run_id = await _plan(services, store, platform, kind, wanted, is_full=is_full)
        if expect is not None:
            await _announce(services, store, run_id, expect)
        await _read(services, store, platform, run_id, progress)
    except PlatformError as error:
        await _note(services, store, run_id, error)
        raise
    async with services.database.transaction() as connection:
        counts = await imports.finish(connection, store.id, run_id, services.clock())
    return ImportReport(run_id, counts)


def _nouns(services: Services, store: StoreRow) -> list[Noun]:
    able = services.connector(store).capabilities
    return [noun for noun in Noun if _NEEDS[noun] in able]


async def _plan(
    services: Services, store: StoreRow, platform: Store, kind: str, nouns: Sequence[Noun], *, is_full: bool
) -> int:
    """Cuts the history into windows and stores them; the run's id."""
    now = services.clock()
    async with services.database.transaction() as connection:
        started = None if is_full else await imports.last_started(connection, store.id, kind)
        if kind == imports.WHOLE and stores.READ_ANEW in store.settings:
            started = None
    since = None if started is None else started - OVERLAP
    windows = await _windows(platform, nouns, since)
    async with services.database.transaction() as connection:
        if since is None:  # from here on the run stands for it
            await stores.have_read_anew(connection, store.id)
        return await imports.begin(
            connection,
            store.program_id,
            store.id,
            [(window.noun.value, window.spec) for window in windows],
            since=since,
            now=now,
            kind=kind,
            expected=_expected(windows),
        )


def _expected(windows: Sequence[Window]) -> dict[str, int]:
    """About how many records, by noun, where the platform said it."""
    expected: dict[str, int] = {}
    for window in windows:
        if window.expected is not None:
            expected[window.noun.value] = expected.get(window.noun.value, 0) + window.expected
    return expected


async def _announce(services: Services, store: StoreRow, run_id: int, expect: Progress) -> None:
    async with services.database.transaction() as connection:
        left = await imports.left(connection, store.id, run_id)
    for noun in Noun:
        if noun in left:
            expect(noun, left[noun])


async def _windows(platform: Store, nouns: Sequence[Noun], since: datetime | None) -> list[Window]:
    """The windows of all nouns, asked for at the same time."""
    try:
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(platform.windows(noun, since)) for noun in nouns]
    except BaseExceptionGroup as group_error:
        raise _first(group_error) from group_error
    return [window for task in asked for window in task.result()]


async def _note(services: Services, store: StoreRow, run_id: int | None, error: PlatformError) -> None:
    async with services.database.transaction() as connection:
        if run_id is not None:
            await imports.note_error(connection, store.id, run_id, str(error))
        if isinstance(error, AccessRevokedError):
            await pause(connection, store, str(error), services.clock())


async def pause(connection: Connection, store: StoreRow, reason: str, now: datetime) -> None:
    """Stops work on a store whose access is gone, and says why to the merchant.

    Nothing happens when the store was uninstalled or got new credentials meanwhile: those refused are not its own.
    """
    if not await stores.pause(connection, store, reason):
        return
    await audit.record(
        connection,
        store.program_id,
        "store.paused",
        at=now,
        actor="platform",
        store_id=store.id,
        detail={"reason": reason},
    )


@dataclass(frozen=True, slots=True)
class _Read:
    """A page that was read and waits to be written."""

    noun: Noun
    window_id: int
    page: Page


@dataclass
class _Backlog:
    """Pages between the readers and the writer, bounded by how many changes they hold."""

    pages: list[_Read] = field(default_factory=list)
    changes: int = 0
    is_open: bool = True
    moved: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def put(self, read: _Read) -> None:
        async with self.moved:
            await self.moved.wait_for(lambda: self.changes < BACKLOG)
            self.pages.append(read)
            self.changes += len(read.page.changes)
            self.moved.notify_all()

    async def close(self) -> None:
        """Nothing more will come."""
        async with self.moved:
            self.is_open = False
            self.moved.notify_all()

    async def take(self) -> list[_Read]:
        """About a batch of pages, what came within `FLUSH_SECONDS`, or [] when all is read and taken."""
        async with self.moved:
            await self.moved.wait_for(lambda: self.pages or not self.is_open)
            with suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_SECONDS):
                    await self.moved.wait_for(self._is_worth_a_commit)
            taken: list[_Read] = []
            changes = 0
            while self.pages and changes < BATCH:
                taken.append(self.pages.pop(0))
                changes += len(taken[-1].page.changes)
            self.changes -= changes
            self.moved.notify_all()
            return taken

    def _is_worth_a_commit(self) -> bool:
        """Pages without changes still carry cursors: a few hundred of them are worth a commit too."""
        return self.changes >= BATCH or len(self.pages) >= BATCH // 10 or not self.is_open


async def _read(
    services: Services, store: StoreRow, platform: Store, run_id: int, progress: Progress | None
) -> None:
    """Reads all nouns, and writes them in their order meanwhile: one is written while the next is read.

    What was read before the platform failed is written all the same: the next try goes on from there.
    """
    backlogs = [_Backlog() for _ in _TOGETHER]
    try:
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(_read_nouns(services, store, platform, run_id, backlogs))
            group.create_task(_write(services, store, backlogs, progress))
    except BaseExceptionGroup as group_error:
        raise _first(group_error) from group_error
    if failure := reading.result():
        raise failure


async def _read_nouns(
    services: Services, store: StoreRow, platform: Store, run_id: int, backlogs: Sequence[_Backlog]
) -> PlatformError | None:
    """Reads the windows of nouns that go together into a backlog of theirs; what the platform stopped it with, or None.

    Slots are given in the order of asking: the next nouns' windows begin when these have all begun, and what they bring
    waits in its backlog until these are written.
    """
    slots = asyncio.Semaphore(AT_ONCE)
    try:
        found = [await _unfinished(services, store, run_id, together) for together in _TOGETHER]
        async with asyncio.TaskGroup() as group:
            for windows, backlog in zip(found, backlogs, strict=True):
                group.create_task(_read_windows(platform, windows, slots, backlog))
    except BaseExceptionGroup as group_error:
        failure = _first(group_error)
        if not isinstance(failure, PlatformError):
            raise
        return failure
    finally:
        for backlog in backlogs:
            await backlog.close()
    return None


async def _read_windows(
    platform: Store, windows: Sequence[WindowRow], slots: asyncio.Semaphore, backlog: _Backlog
) -> None:
    async with asyncio.TaskGroup() as group:
        for window in windows:
            group.create_task(_read_window(platform, window, slots, backlog))
    await backlog.close()


async def _unfinished(
    services: Services, store: StoreRow, run_id: int, nouns: Sequence[Noun]
) -> list[WindowRow]:
    async with services.database.transaction() as connection:
        found = [await imports.unfinished(connection, store.id, run_id, noun.value) for noun in nouns]
    return [window for windows in found for window in windows]


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What stopped the reading; a refused access tells more than the retries that it caused."""
    found = list(_flat(group))
    return next((error for error in found if isinstance(error, AccessRevokedError)), found[0])


def _flat(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _flat(error)
        else:
            yield error


async def _read_window(
    platform: Store, window: WindowRow, slots: asyncio.Semaphore, backlog: _Backlog
) -> None:
    noun = Noun(window.noun)
    async with slots:
        previous = window.cursor
        async for page in platform.read(Window(noun, window.spec), window.cursor):
            if page.cursor is not None and page.cursor == previous:
                raise RetryLaterError(
                    "The platform gave the same page twice; reading stops and is tried later."
                )
            previous = page.cursor
            await backlog.put(_Read(noun, window.id, page))
    if previous is not None:  # it ended without saying so
        await backlog.put(_Read(noun, window.id, Page((), None)))


async def _write(
    services: Services, store: StoreRow, backlogs: Sequence[_Backlog], progress: Progress | None
) -> None:
    for backlog in backlogs:
        while taken := await backlog.take():
            changes: list[Change] = [change for read in taken for change in read.page.changes]
            await _commit(services, store, taken, changes)
            if progress is not None:
                _tell(progress, taken)


def _tell(progress: Progress, taken: Sequence[_Read]) -> None:
    for noun in Noun:
        if more := sum(len(read.page.changes) for read in taken if read.noun is noun):
            progress(noun, more)


async def _commit(services: Services, store: StoreRow, taken: list[_Read], changes: list[Change]) -> None:
    """Rows and cursors in one transaction: whatever happens, neither is there without the other."""
    now = services.clock()
    steps = _steps(taken)

    async def work(connection: Connection) -> None:
        await apply_changes(
            connection, store, changes, now=now, capabilities=services.connector(store).capabilities
        )
        await imports.advance(connection, store.id, steps, now)

    await services.database.retrying(work)


def _steps(taken: list[_Read]) -> list[tuple[int, Mapping[str, object] | None, int]]:
    """One step per window: its last cursor and how many records it brought."""
    cursors: dict[int, Mapping[str, object] | None] = {}
    records: dict[int, int] = {}
    for read in taken:
        cursors[read.window_id] = read.page.cursor
        records[read.window_id] = records.get(read.window_id, 0) + len(read.page.changes)
    return [(window_id, cursor, records[window_id]) for window_id, cursor in cursors.items()]
