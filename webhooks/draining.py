"""Turns a store's kept posts into changes: claimed in chunks, applied and marked handled in one transaction."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import psycopg

from connectors.base import RawDelivery, StoreOptions, WebhookReader
from connectors.besides import LooksAgain
from rewards.changes import Change, Ignored, LookAgain
from rewards.errors import AppError, DatabaseError, MalformedDeliveryError, RefusedError
from storage import deliveries, stores
from storage.database import TOO_LARGE, Connection
from storage.deliveries import ClaimedDelivery
from storage.stores import StoreRow
from sync.apply import apply_changes
from sync.services import Services, options

CHUNK = 500
MOST_ATTEMPTS = 10
_FIRST_PAUSE = timedelta(seconds=30)
_LONGEST_PAUSE = timedelta(hours=1)
_ASKED_AT_ONCE = 8  # things that a platform is asked for at the same time
_PARSED_AT_ONCE = 50  # then other work of the process gets a turn

# The database's trouble, not the post's: it ends the drain, and the job engine tries the whole again.
_NOT_THE_POSTS_FAULT = (psycopg.OperationalError, psycopg.InterfaceError, DatabaseError, OSError)

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Read:
    """What the posts of a chunk say. `notes` has every readable post; `failed` the ones our own code could not read."""

    changes: list[Change] = field(default_factory=list)
    notes: dict[int, str | None] = field(default_factory=dict)
    unreadable: dict[int, str] = field(default_factory=dict)
    failed: dict[int, Exception] = field(default_factory=dict)
    # Posts that do not hold what they tell of; they are settled when the store has been asked.
    unfinished: list[_Unfinished] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Unfinished:
    """A post with something to ask the store for before it is applied."""

    delivery: ClaimedDelivery
    changes: Sequence[Change]


class _ChunkFailedError(Exception):
    """Applying these posts together failed and was rolled back."""

    def __init__(self, claimed: Sequence[ClaimedDelivery], cause: Exception) -> None:
        super().__init__()
        self.claimed = claimed
        self.cause = cause


async def drain(services: Services, store_id: int) -> int:
    """Handles the store's waiting posts until none is left whose time has come; how many were settled.

    Posts that cannot be read are marked broken. One that cannot be applied waits longer after each try and is
    broken after the tenth. Raises only what the database raises, and NotFoundError for a store that is gone.
    """
    settled = 0
    while claimed := await _drain_chunk(services, store_id, None):
        settled += claimed
    return settled


async def _drain_chunk(services: Services, store_id: int, ids: Sequence[int] | None) -> int:
    """Settles the next chunk, or these posts; how many. A chunk that fails is tried again by halves."""
    unfinished: list[_Unfinished] = []

    async def work(connection: Connection) -> int:
        now = services.clock()
        unfinished.clear()
        if ids is None:
            claimed = await deliveries.claim(connection, store_id, now, CHUNK)
        else:
            claimed = await deliveries.claim_these(connection, store_id, ids)
        if claimed:
            unfinished.extend(await _settle(services, connection, store_id, claimed, now))
        return len(claimed)

    try:
        count = await services.database.retrying(work)
        # Only now: no transaction is open while a platform takes its time.
        await _finish(services, store_id, unfinished)
        return count
    except _ChunkFailedError as failure:
        claimed = failure.claimed
        if len(claimed) == 1:
            await _record_failure(services, store_id, claimed[0], failure.cause)
            return 1
        found = [delivery.id for delivery in claimed]
        middle = len(found) // 2
        first = await _drain_chunk(services, store_id, found[:middle])
        return first + await _drain_chunk(services, store_id, found[middle:])


async def _settle(
    services: Services,
    connection: Connection,
    store_id: int,
    claimed: Sequence[ClaimedDelivery],
    now: datetime,
) -> Sequence[_Unfinished]:
    """Settles all that can be settled at once; the others."""
    store = await stores.by_id(connection, store_id)
    connector = services.connector(store)
    read = await _read(connector.webhooks, options(store), claimed)
    if read.changes:
        try:
            await apply_changes(connection, store, read.changes, now=now, capabilities=connector.capabilities)
        except Exception as error:
            if isinstance(error, _NOT_THE_POSTS_FAULT) and not isinstance(error, TOO_LARGE):
                raise
            raise _ChunkFailedError([d for d in claimed if d.id in read.notes], error) from error
    await deliveries.mark_handled(connection, store_id, read.notes, now)
    for delivery_id, note in read.unreadable.items():
        await deliveries.mark_broken(connection, store_id, delivery_id, note)
    attempts = {delivery.id: delivery.attempts for delivery in claimed}
    for delivery_id, cause in read.failed.items():
        await _put_off(connection, store_id, delivery_id, attempts[delivery_id], cause, now)
    return read.unfinished


async def _finish(services: Services, store_id: int, unfinished: Sequence[_Unfinished]) -> None:
    """Asks the store for what these posts do not hold, some at a time, and settles them."""
    if not unfinished:
        return
    async with services.database.transaction() as connection:
        store = await stores.by_id(connection, store_id)
    for start in range(0, len(unfinished), _ASKED_AT_ONCE):
        some = unfinished[start : start + _ASKED_AT_ONCE]
        answers = await asyncio.gather(
            *(_look(services, store, post.changes) for post in some), return_exceptions=True
        )
        for post, answer in zip(some, answers, strict=True):
            await _finish_one(services, store, post.delivery, answer)


async def _look(services: Services, store: StoreRow, changes: Sequence[Change]) -> Sequence[Change]:
    """The changes with what the store says in place of what was to be asked."""
    platform = services.open_store(store)
    found: list[Change] = []
    for change in changes:
        if not isinstance(change, LookAgain):
            found.append(change)
            continue
        assert isinstance(platform, LooksAgain), "a connector whose deliveries say LookAgain can look"
        try:
            found += await platform.look(change)
        except RefusedError as refusal:  # it will never tell
            found.append(Ignored(str(refusal)))
    return found


async def _finish_one(
    services: Services,
    store: StoreRow,
    delivery: ClaimedDelivery,
    answer: Sequence[Change] | BaseException,
) -> None:
    if isinstance(answer, BaseException):
        if not isinstance(answer, Exception):
            raise answer
        await _record_failure(services, store.id, delivery, answer)
        return
    told = [change for change in answer if not isinstance(change, Ignored)]
    note = _note(answer) if answer else "it is gone from the store"

    async def work(connection: Connection) -> None:
        now = services.clock()
        capabilities = services.connector(store).capabilities
        if told:
            await apply_changes(connection, store, told, now=now, capabilities=capabilities)
        await deliveries.mark_handled(connection, store.id, {delivery.id: note}, now)

    try:
        await services.database.retrying(work)
    except _NOT_THE_POSTS_FAULT:
        raise
    except Exception as error:
        await _record_failure(services, store.id, delivery, error)


async def _read(
    reader: WebhookReader, store_options: StoreOptions, claimed: Sequence[ClaimedDelivery]
) -> _Read:
    read = _Read()
    for index, delivery in enumerate(claimed):
        if index % _PARSED_AT_ONCE == _PARSED_AT_ONCE - 1:
            await asyncio.sleep(0)
        try:
            found = reader.parse(RawDelivery(delivery.headers, delivery.body), store_options)
        except MalformedDeliveryError as error:
            read.unreadable[delivery.id] = str(error)
            continue
        except Exception as error:
            read.failed[delivery.id] = error
            continue
        if any(isinstance(change, LookAgain) for change in found):
            read.unfinished.append(_Unfinished(delivery, found))
            continue
        read.changes += [change for change in found if not isinstance(change, Ignored)]
        read.notes[delivery.id] = _note(found)
    return read


def _note(found: Sequence[Change]) -> str | None:
    """Why a post has no effect; None when it has one."""
    if not found:
        return "unknown topic"
    reasons = [change.reason for change in found if isinstance(change, Ignored)]
    return "; ".join(reasons) if reasons else None


async def _record_failure(
    services: Services, store_id: int, delivery: ClaimedDelivery, error: Exception
) -> None:
    async with services.database.transaction() as connection:
        await _put_off(connection, store_id, delivery.id, delivery.attempts, error, services.clock())


async def _put_off(
    connection: Connection, store_id: int, delivery_id: int, attempts: int, error: Exception, now: datetime
) -> None:
    """Another try later, each time later than before; after the last one the post is broken."""
    note = describe(error)
    _log.warning("delivery %s of store %s failed: %s", delivery_id, store_id, note)
    if attempts + 1 >= MOST_ATTEMPTS:
        await deliveries.mark_broken(
            connection, store_id, delivery_id, f"given up after {MOST_ATTEMPTS} tries: {note}"
        )
        return
    pause = min(_FIRST_PAUSE * 2**attempts, _LONGEST_PAUSE)
    await deliveries.put_off(connection, store_id, delivery_id, note, now + pause)


def describe(error: Exception) -> str:
    """An error in words that may be shown: our own messages hold no personal data, those of others may."""
    if isinstance(error, AppError):
        return str(error)
    sqlstate = getattr(error, "sqlstate", None)
    return f"{type(error).__name__} {sqlstate}" if sqlstate else type(error).__name__
