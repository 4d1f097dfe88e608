"""What is due by itself: the tick of every 15 minutes, the sweep of every minute, and the daily clearing away.

Everything here is due by what the database says, never by having been awake at an hour: missed ticks cost nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from datetime import date, datetime, timedelta
from typing import Protocol

from connectors.base import Capability
from rewards.errors import InvalidInputError
from rewards.occasions import local_today
from storage import birthday_writes, budgets, deliveries, imports, places, privacy, shown_points, tickets
from storage import jobs as queries
from sync.engine import PatientJobManager
from sync.kinds import Kind
from sync.services import Services
from sync.store_settings import SHOW_POINTS, WRITE_BIRTHDAYS

logger = logging.getLogger(__name__)

# Time zones differ by multiples of 15 minutes, so no local midnight is noticed late.
TICK = "*/15 * * * *"
DAY_SECONDS = 24 * 60 * 60
KEPT_DAYS = 30
_AT_ONCE = 5_000
HALF_A_TICK = timedelta(minutes=7.5)
_MOST_POLLED = 1_000  # at one tick; the longest unread first
# Readings of changes, of which there may be a hundred a day: see storage.imports.
_KEPT_READINGS = timedelta(days=2)


class Wake(Protocol):
    """`Jobs.wake`."""

    def __call__(self, kind: str, *subject_ids: int, in_seconds: float = 0) -> Awaitable[None]:
        """Makes sure that a job of this kind waits for each subject."""
        ...


async def tick(services: Services, wake: Wake) -> None:
    """Asks for what the time of day makes due in any store."""
    now = services.clock()
    await wake(Kind.OCCASIONS, 0)
    async with services.database.transaction() as connection:
        zones = await queries.time_zones(connection)
        days = _days(zones, now)
        due = await queries.stores_to_reconcile(connection, days)
        paused = await queries.stores_to_ask(connection, days)
        # To the nearest tick: what was read just after one is due at the next.
        read_before = now - timedelta(minutes=services.poll_minutes) + HALF_A_TICK
        late = services.platforms_with(Capability.LATE_WEBHOOKS)
        unread = await queries.stores_to_poll(connection, late, read_before, _MOST_POLLED)
    await wake(Kind.RECONCILE, *due)
    await wake(Kind.ASK_AGAIN, *paused)
    await wake(Kind.POLL, *unread)
    # The waiting job is the memory of when it was done last.
    await wake(Kind.HOUSEKEEPING, 0, in_seconds=DAY_SECONDS)


async def sweep(services: Services, wake: Wake) -> None:
    """Asks for what a lost wake-up, a retry date or a paused store left behind."""
    now = services.clock()
    async with services.database.transaction() as connection:
        to_drain = await deliveries.stores_with_waiting(connection, now)
        to_push = await queries.stores_to_push(connection, now)
        to_erase = await privacy.stores_to_erase(connection)
        to_tell = await birthday_writes.stores_with_waiting(connection, WRITE_BIRTHDAYS)
        shows = services.platforms_with(Capability.SHOW_POINTS)
        to_show = await shown_points.stores_with_due(connection, shows, SHOW_POINTS)
    await wake(Kind.DRAIN, *to_drain)
    await wake(Kind.PUSH, *to_push)
    await wake(Kind.WRITE_BIRTHDAYS, *to_tell)
    await wake(Kind.SHOW_POINTS, *to_show)
    await wake(Kind.ERASE_STORE, *to_erase)


async def clear_away(services: Services, manager: PatientJobManager) -> None:
    """Removes ended jobs and handled deliveries of more than 30 days ago, and what nobody can use any more."""
    await manager.delete_old_jobs(
        nb_hours=KEPT_DAYS * 24, include_failed=True, include_cancelled=True, include_aborted=True
    )
    now = services.clock()
    async with services.database.transaction() as connection:
        await budgets.remove_idle(connection)
        await places.remove_idle(connection)
        await tickets.remove_old(connection, now)
        await imports.remove_readings(connection, now - _KEPT_READINGS)
    before = now - timedelta(days=KEPT_DAYS)
    async with services.database.transaction() as connection:
        await privacy.remove_old(connection, now - timedelta(days=privacy.KEPT_DAYS))
    while True:
        async with services.database.transaction() as connection:
            removed = await deliveries.remove_handled(connection, before, _AT_ONCE)
        if removed < _AT_ONCE:
            return


def _days(zones: list[str], now: datetime) -> dict[str, date]:
    found: dict[str, date] = {}
    for name in zones:
        try:
            found[name] = local_today(now, name)
        except InvalidInputError:
            logger.error("A store has the unknown time zone %r: it is not reconciled.", name)
    return found
