"""One run of a job, and what becomes of an error.

- RetryLaterError: again when the platform says; never counts.
- AccessRevokedError: the store is paused with the reason, and the job is over.
- RefusedError: the job has failed; the reason stands in the store's history.
- The database is away: again soon; never counts.
- Anything else: again after a growing pause, a bounded number of times, then as RefusedError.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import psycopg
from procrastinate.exceptions import ConnectorException

from rewards.errors import (
    AccessRevokedError,
    AppError,
    DatabaseError,
    NotFoundError,
    RefusedError,
    RetryLaterError,
)
from storage import audit, stores
from storage import jobs as queries
from storage.database import TOO_LARGE, Connection
from storage.stores import StoreRow
from sync.engine import AgainError
from sync.kinds import TERMS, Kind, Subject
from sync.services import Services

logger = logging.getLogger(__name__)

Do = Callable[[Services, int], Awaitable[object]]

# The database's trouble, not the job's.
OUTAGES = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    DatabaseError,
    ConnectorException,
    ConnectionError,
)
_OUR_PACKAGES = frozenset({"app", "connectors", "rewards", "storage", "sync", "webhooks"})


@dataclass(frozen=True, slots=True)
class Pauses:
    """How long a job waits for its next try: after failures 5, 10, 20… seconds, at most ten minutes."""

    most_failures: int = 8
    first_seconds: float = 5.0
    longest_seconds: float = 600.0
    platform_seconds: float = 60.0  # where the platform names no time itself
    outage_seconds: float = 2.0

    def after(self, failures: int) -> float:
        """Seconds until the next try, longer each time."""
        return min(self.first_seconds * 2.0**failures, self.longest_seconds)


class FailedError(Exception):
    """The job is given up; the reason stands in the store's history."""


async def attempt(
    services: Services, pauses: Pauses, kind: Kind, do: Do, subject_id: int, failures: int
) -> None:
    """Runs the job once. Raises AgainError or FailedError with words that may stand in a log."""
    store: StoreRow | None = None
    try:
        store = await _store(services, kind, subject_id)
        if store is None or store.status == "active" or not TERMS[kind].needs_active_store:
            await do(services, subject_id)
    except RetryLaterError as error:
        seconds = error.retry_after_seconds
        seconds = pauses.platform_seconds if seconds is None else seconds
        raise AgainError(str(error), seconds=seconds, is_failure=False) from None
    except AccessRevokedError as error:
        await _note(services, kind, subject_id, str(error), refused=store)
    except NotFoundError as error:
        logger.info("Job %s %s has nothing to do: %s", kind, subject_id, error)
    except Exception as error:
        if isinstance(error, OUTAGES) and not isinstance(error, TOO_LARGE):
            reason = f"the database was away ({type(error).__name__})"
            raise AgainError(reason, seconds=pauses.outage_seconds, is_failure=False) from None
        reason = describe(error)
        if not isinstance(error, RefusedError) and failures + 1 < pauses.most_failures:
            logger.warning("Job %s %s failed and will be tried again: %s", kind, subject_id, reason)
            raise AgainError(reason, seconds=pauses.after(failures), is_failure=True) from None
        logger.error("Job %s %s is given up: %s", kind, subject_id, reason)
        await _note(services, kind, subject_id, reason)
        raise FailedError(reason) from None


def describe(error: Exception) -> str:
    """An error in words that may be shown: our own messages hold no personal data, those of others may."""
    if isinstance(error, AppError):
        return str(error)
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours = [frame for frame in frames if frame.f_globals.get("__name__", "").split(".")[0] in _OUR_PACKAGES]
    kind = f"{type(error).__name__} {getattr(error, 'sqlstate', None) or ''}".strip()
    if not ours:
        return kind
    line = next(number for frame, number in traceback.walk_tb(error.__traceback__) if frame is ours[-1])
    return f"{kind} at {ours[-1].f_globals['__name__']}:{line}"


async def _store(services: Services, kind: Kind, subject_id: int) -> StoreRow | None:
    """The store that the job is about, as it is before the job runs."""
    async with services.database.transaction() as connection:
        store_id = await _store_of(connection, kind, subject_id)
        return None if store_id is None else await stores.by_id(connection, store_id)


async def _note(
    services: Services, kind: Kind, subject_id: int, reason: str, *, refused: StoreRow | None = None
) -> None:
    """Writes the reason into the store's history, and pauses a store whose credentials were refused."""
    try:
        async with services.database.transaction() as connection:
            store_id = await _store_of(connection, kind, subject_id)
            if store_id is None:
                return
            store = await stores.by_id(connection, store_id)
            if refused is not None and not await stores.pause(connection, refused, reason):
                if store.status == "active":
                    raise AgainError("the store has new credentials", seconds=0, is_failure=False)
                return
            await audit.record(
                connection,
                store.program_id,
                "job.failed" if refused is None else "store.paused",
                at=services.clock(),
                actor="worker",
                store_id=store_id,
                subject=f"{kind.value}:{subject_id}",
                detail={"reason": reason},
            )
    except NotFoundError:
        return
    except OUTAGES as error:
        raise AgainError(
            f"the database was away ({type(error).__name__})", seconds=5, is_failure=False
        ) from None


async def _store_of(connection: Connection, kind: Kind, subject_id: int) -> int | None:
    match TERMS[kind].subject:
        case Subject.STORE:
            return subject_id
        case Subject.RUN:
            return await queries.store_of_run(connection, subject_id)
        case Subject.NONE:
            return None
