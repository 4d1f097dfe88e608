"""The jobs: what runs in the background, and how it is asked for.

A job stands for a chunk of work or for a whole run that goes on where it stopped, never for one delivery, customer or
coupon. **Any job may run twice, also at the same time**: its worker may be stopped for longer than the others wait.
The functions of `Work` are safe then because facts have unique keys and a cursor is committed together with its rows;
the locks only save work.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from procrastinate import App, JobContext
from procrastinate.exceptions import AlreadyEnqueued

from storage import jobs as queries
from storage.database import Connection
from sync import upkeep
from sync.attempts import OUTAGES, Do, Pauses, attempt
from sync.engine import AgainError, Patience, PatientJobManager, make_app, open_app
from sync.install import Along
from sync.kinds import TERMS, Kind
from sync.maintenance import maintain, platforms_to_maintain
from sync.services import Services
from sync.watch import watch

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Work:
    """What the jobs do, by store id or run id; built in app/wiring.py, since the layers above are not known here."""

    drain: Do
    push: Do
    write_birthdays: Do
    show_points: Do
    erase_store: Do
    import_history: Do
    reconcile: Do
    ask_again: Callable[[Services, int, Along], Awaitable[object]]
    backfill: Do
    undo_backfill: Do
    occasions: Callable[[Services], Awaitable[object]]


class Jobs:
    """The engine with our tasks. Made by `build`; opened by whoever asks for jobs or runs them."""

    def __init__(self, services: Services, pauses: Pauses) -> None:
        self.services = services
        self.pauses = pauses
        self.app: App
        self.manager: PatientJobManager
        self.app, self.manager = make_app(services.database.conninfo, services.database.settings.wait_seconds)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Jobs]:
        """Holds the engine's connections while the block runs. Raises DatabaseError."""
        await open_app(self.app)
        try:
            yield self
        finally:
            await self.app.close_async()

    async def wake(self, kind: str, *subject_ids: int, in_seconds: float = 0) -> None:
        """Makes sure that a job of this kind waits for each subject. Only after the commit.

        One that waits already is enough: it will see what was committed. A wake-up that the database does not take
        is left to the sweep; nothing is raised for it.
        """
        terms = TERMS[Kind(kind)]
        assert terms.is_wake_up, f"{kind} is asked for with defer_in"
        locks = {terms.lock_for(subject_id): subject_id for subject_id in subject_ids}
        try:
            if not locks:
                return
            # Asking first saves the database an error for each wake-up that is not needed.
            async with self.services.database.transaction() as connection:
                waiting = await queries.waiting_locks(connection, list(locks))
            for lock, subject_id in locks.items():
                if lock not in waiting:
                    await self._defer_wake_up(Kind(kind), lock, subject_id, in_seconds)
        except OUTAGES as error:
            logger.warning("No %s could be asked for (%s); the sweep will.", kind, type(error).__name__)

    async def defer_in(
        self, connection: Connection, kind: str, subject_id: int, *, in_seconds: float = 0
    ) -> int:
        """Defers a job in the caller's transaction: it exists once that commits, and never if it does not."""
        terms = TERMS[Kind(kind)]
        assert not terms.is_wake_up, f"{kind} is asked for with wake, after the commit"
        task = self.app.tasks[Kind(kind).value]
        deferrer = task.configure(
            lock=terms.lock_for(subject_id), schedule_at=_moment(in_seconds), connection=connection
        )
        return await deferrer.defer_async(subject_id=subject_id)

    def define(self, kind: Kind, do: Do) -> None:
        """Tells the engine what a kind does."""

        async def run(context: JobContext, subject_id: int = 0, timestamp: int = 0) -> None:
            job = context.job
            assert job.id is not None
            try:
                await attempt(self.services, self.pauses, kind, do, subject_id, job.attempts)
            except AgainError as again:
                if again.is_failure:
                    self.manager.count_failure(job.id)
                raise

        terms = TERMS[kind]
        task = self.app.task(name=kind.value, queue=terms.queue.value, pass_context=True, retry=Patience())(
            run
        )
        if kind is Kind.TICK:
            lock = terms.lock_for(0)
            self.app.periodic(cron=upkeep.TICK, lock=lock, queueing_lock=lock)(task)

    async def _defer_wake_up(self, kind: Kind, lock: str, subject_id: int, in_seconds: float) -> None:
        task = self.app.tasks[kind.value]
        deferrer = task.configure(lock=lock, queueing_lock=lock, schedule_at=_moment(in_seconds))
        try:
            await deferrer.defer_async(subject_id=subject_id)
        except AlreadyEnqueued:
            logger.debug("A job waits under %s already.", lock)


def _moment(in_seconds: float) -> datetime | None:
    """By the engine's clock; None: at once."""
    return datetime.now(UTC) + timedelta(seconds=in_seconds) if in_seconds else None


def build(services: Services, work: Work, pauses: Pauses | None = None) -> Jobs:
    """The jobs over these services, not open yet."""
    jobs = Jobs(services, pauses or Pauses())

    async def occasions(services: Services, _: int) -> None:
        await work.occasions(services)
        await upkeep.sweep(services, jobs.wake)

    async def tick(services: Services, _: int) -> None:
        await upkeep.tick(services, jobs.wake)
        if platforms_to_maintain(services):
            await jobs.wake(Kind.MAINTENANCE, 0)

    async def housekeeping(services: Services, _: int) -> None:
        await upkeep.clear_away(services, jobs.manager)

    async def maintenance(services: Services, after_id: int) -> None:
        await maintain(services, after_id, jobs.wake)

    async def read_on(connection: Connection, store_id: int) -> None:
        await jobs.defer_in(connection, Kind.IMPORT_HISTORY, store_id)

    async def ask_again(services: Services, store_id: int) -> None:
        await work.ask_again(services, store_id, read_on)

    jobs.define(Kind.DRAIN, work.drain)
    jobs.define(Kind.ASK_AGAIN, ask_again)
    jobs.define(Kind.PUSH, work.push)
    jobs.define(Kind.WRITE_BIRTHDAYS, work.write_birthdays)
    jobs.define(Kind.SHOW_POINTS, work.show_points)
    jobs.define(Kind.ERASE_STORE, work.erase_store)
    jobs.define(Kind.IMPORT_HISTORY, work.import_history)
    jobs.define(Kind.RECONCILE, work.reconcile)
    jobs.define(Kind.POLL, watch)
    jobs.define(Kind.BACKFILL, work.backfill)
    jobs.define(Kind.UNDO_BACKFILL, work.undo_backfill)
    jobs.define(Kind.OCCASIONS, occasions)
    jobs.define(Kind.TICK, tick)
    jobs.define(Kind.HOUSEKEEPING, housekeeping)
    jobs.define(Kind.MAINTENANCE, maintenance)
    return jobs
