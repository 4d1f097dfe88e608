"""procrastinate, the job engine, made patient.

The engine runs a job at least once and retries what its worker reports. Found out by trying, and mended here:

- a worker that was stopped for long must not end a job that another has taken over meanwhile, and must notice that
  the others no longer count it among the living;
- a retry under a queueing lock fails when a twin waits already, and would leave the job "doing" for good;
- the same happens when the database goes away just as a job ends: what could not be said is said again later;
- the engine counts every attempt. Here only unexpected failures count, so that a long run can be interrupted
  by rate limits, restarts and outages any number of times.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import LiteralString

import psycopg_pool
from procrastinate import App, BaseRetryStrategy, PsycopgConnector, RetryDecision
from procrastinate.exceptions import ConnectorException, UniqueViolation
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager

from rewards.errors import DatabaseError

logger = logging.getLogger(__name__)

# For short statements only. One more connection listens; see app/settings.py for how the twelve are shared out.
POOL_SIZE = 2

_FINISH: LiteralString = """
WITH mine AS MATERIALIZED (
    SELECT id FROM procrastinate_jobs
    WHERE id = %(job_id)s AND status = 'doing' AND worker_id IS NOT DISTINCT FROM %(worker_id)s FOR UPDATE)
SELECT procrastinate_finish_job_v1(id, %(status)s::procrastinate_job_status, %(delete_job)s) FROM mine
"""
_RETRY: LiteralString = """
UPDATE procrastinate_jobs
SET status = (CASE WHEN abort_requested THEN 'failed' ELSE 'todo' END)::procrastinate_job_status,
    scheduled_at = %(retry_at)s, attempts = attempts + %(counted)s
WHERE id = %(job_id)s AND status = 'doing' AND worker_id IS NOT DISTINCT FROM %(worker_id)s
RETURNING id
"""
_HEARTBEAT: LiteralString = (
    "UPDATE procrastinate_workers SET last_heartbeat = now() WHERE id = %(worker_id)s RETURNING id"
)
_POSTPONE_TWIN: LiteralString = """
UPDATE procrastinate_jobs
SET scheduled_at = greatest(scheduled_at, %(retry_at)s), attempts = greatest(attempts, %(attempts)s)
WHERE queueing_lock = %(queueing_lock)s AND status = 'todo'
"""


class AgainError(Exception):
    """The job is to run again after so many seconds; `is_failure` says whether that counts against it."""

    def __init__(self, reason: str, *, seconds: float, is_failure: bool) -> None:
        super().__init__(reason)
        self.seconds = seconds
        self.is_failure = is_failure


class LostWorkerError(Exception):
    """This worker was stopped for so long that others took it for dead: it must come back under a new id."""


class Patience(BaseRetryStrategy):
    """Runs a job again when it asks for it, and at once when it was cut off by a shutdown."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        """When to run again; None ends the job as failed."""
        if isinstance(exception, AgainError):
            return RetryDecision(retry_at=datetime.now(UTC) + timedelta(seconds=exception.seconds))
        return RetryDecision() if isinstance(exception, asyncio.CancelledError) else None


class PatientJobManager(JobManager):
    """Ends or retries a job only while it is the worker's own, and says later what it could not say."""

    def __init__(self, connector: PsycopgConnector) -> None:
        super().__init__(connector)
        self._failures: set[int] = set()
        self._unsaid: list[Callable[[], Awaitable[None]]] = []

    def count_failure(self, job_id: int) -> None:
        """The job's next retry is because of a failure."""
        self._failures.add(job_id)

    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:
        """Ends the job if it is still ours."""
        try:
            await self._finish(job, status, delete_job=delete_job)
        except ConnectorException:
            self._say_later(partial(self._finish, job, status, delete_job=delete_job), job)

    async def retry_job(
        self,
        job: Job,
        retry_at: datetime | None = None,
        priority: int | None = None,
        queue: str | None = None,
        lock: str | None = None,
    ) -> None:
        """Gives the job back if it is still ours. A twin that waits already takes its place."""
        assert job.id is not None
        counted = int(job.id in self._failures)
        self._failures.discard(job.id)
        at = retry_at or datetime.now(UTC)
        try:
            await self._retry(job, at, counted)
        except ConnectorException:
            self._say_later(partial(self._retry, job, at, counted), job)

    async def update_heartbeat(self, worker_id: int) -> None:
        """Says that the worker lives. Raises LostWorkerError, which ends it, once others have buried it."""
        if not await self.connector.execute_query_all_async(_HEARTBEAT, worker_id=worker_id):
            raise LostWorkerError(f"worker {worker_id} was silent for too long and comes back under a new id")

    async def say_unsaid(self) -> None:
        """Says what could not be said before. Raises ConnectorException while the database is away."""
        while self._unsaid:
            await self._unsaid[0]()
            self._unsaid.pop(0)

    async def recover(self, *, stalled_seconds: float) -> int:
        """Gives back the jobs of workers whose heartbeat has stopped; says how many there were."""
        given_back = 0
        for job in await self.get_stalled_jobs(seconds_since_heartbeat=stalled_seconds):
            try:
                is_done = await self._say(_RETRY, job, retry_at=datetime.now(UTC), counted=0)
            except UniqueViolation:
                is_done = await self._say(_FINISH, job, status=Status.FAILED.value, delete_job=False)
            if is_done:
                logger.warning("Job %s lost its worker; another will run it.", job.call_string)
            given_back += is_done
        return given_back

    async def _finish(self, job: Job, status: Status, *, delete_job: bool) -> None:
        await self._say(_FINISH, job, status=status.value, delete_job=delete_job)

    async def _retry(self, job: Job, at: datetime, counted: int) -> None:
        try:
            await self._say(_RETRY, job, retry_at=at, counted=counted)
        except UniqueViolation:
            # While we hold the lock the twin cannot start: it inherits our date and our failures, then we go.
            await self.connector.execute_query_async(
                _POSTPONE_TWIN, queueing_lock=job.queueing_lock, retry_at=at, attempts=job.attempts + counted
            )
            await self._finish(job, Status.FAILED, delete_job=True)

    async def _say(self, query: LiteralString, job: Job, **values: object) -> bool:
        """True when the job was still the worker's and has been changed."""
        return bool(
            await self.connector.execute_query_all_async(
                query, job_id=job.id, worker_id=job.worker_id, **values
            )
        )

    def _say_later(self, saying: Callable[[], Awaitable[None]], job: Job) -> None:
        logger.warning("The database was away as job %s ended; it will be told.", job.call_string)
        self._unsaid.append(saying)


def make_app(conninfo: str, wait_seconds: float) -> tuple[App, PatientJobManager]:
    """The engine over its own small pool of connections; not open yet."""
    connector = PsycopgConnector(
        conninfo=conninfo,
        min_size=1,
        max_size=POOL_SIZE,
        timeout=wait_seconds,
        # The pool's pauses between attempts double; giving up early makes the next query try at once.
        reconnect_timeout=2.0,
        name="jobs",
    )
    app = App(connector=connector)
    app.job_manager = manager = PatientJobManager(connector)
    return app, manager


async def open_app(app: App) -> None:
    """Opens the engine's pool. Raises DatabaseError."""
    try:
        await app.open_async()
    except (psycopg_pool.PoolTimeout, ConnectorException) as error:
        raise DatabaseError(
            "The database gave the job engine no connection. Run `perennial doctor`."
        ) from error
