"""The occasions run: whose birthday or anniversary has come, in each store's own time, gets a grant with its code.

It can be repeated, stopped anywhere and run twice at once: a grant is unique by (program, reward, member, occasion), and
a day counts as done only when all of its grants are in.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import date, timedelta

from rewards.errors import InvalidInputError
from rewards.occasions import (
    LeapRule,
    due_on,
    local_today,
    month_days,
    occasion_days,
    valid_until,
)
from storage import code_keys, occasions, rewards, stores
from storage.locks import LockHolder, lock_holder
from storage.occasions import Progress
from storage.rewards import RewardRow
from storage.stores import StoreRow
from sync import abilities
from sync.attempts import OUTAGES, describe
from sync.giving import Tally, Task, give
from sync.services import Services

logger = logging.getLogger(__name__)

CHUNK = 1_000
MAX_CATCH_UP_DAYS = 31
# A change is written down with the time at which its transaction began, and clocks differ a little: looking back further
# than the last run finds those that were not to be seen then.
OVERLAP = timedelta(minutes=15)
# How far from now a day may be that somebody asks for; codes of other centuries fail in stores in their own ways.
MAX_YEARS_AWAY = 10


@dataclass(frozen=True, slots=True)
class RewardRun:
    """What one reward gave in one store. `days_let_go`: missed so long ago that they are not caught up with.

    `without_account`: members left out because a bound code needs an account in the store. `left_out`: why the store
    cannot give the reward at all.
    """

    store_id: int
    reward_id: int
    reward_name: str
    first_on: date | None
    last_on: date | None
    days_let_go: int
    grants: int
    without_account: int = 0
    left_out: str | None = None


@dataclass(slots=True)
class OccasionsReport:
    """What a run did; `busy_store_ids` are being looked after by another process."""

    runs: list[RewardRun] = field(default_factory=list)
    busy_store_ids: list[int] = field(default_factory=list)

    @property
    def grants(self) -> int:
        """How many grants were made in all."""
        return sum(run.grants for run in self.runs)

    @property
    def store_ids(self) -> list[int]:
        """Stores with new grants, whose codes want to be pushed."""
        return sorted({run.store_id for run in self.runs if run.grants})


async def run(
    services: Services,
    *,
    today: date | None = None,
    store_id: int | None = None,
    patience_seconds: float = 0.0,
) -> OccasionsReport:
    """Gives what is due in all active stores, or in one. `today` stands in for each store's local date.

    A store that another process is at is left to it, if it is not ready within `patience_seconds`: it may have begun
    before a reward was there that is to be given now.

    Raises NotFoundError for an unknown store and InvalidInputError for a day far away. What is wrong with one store is
    raised after the others had their turn.
    """
    if today is not None and abs(today.year - services.clock().year) > MAX_YEARS_AWAY:
        raise InvalidInputError(f"The date is too far away: give one within {MAX_YEARS_AWAY} years.")
    report = OccasionsReport()
    failures: list[Exception] = []
    async with services.database.transaction() as connection:
        if store_id is None:
            found = await stores.every(connection, "active")
        else:
            found = [await stores.by_id(connection, store_id)]
    async with lock_holder(services.database) as holder:
        for store in found:
            if store.status != "active":
                continue
            try:
                await _run_store(services, holder, store, today, report, patience_seconds)
            except OUTAGES:
                raise
            except Exception as error:
                logger.error("No occasions could be given in store %s: %s", store.id, describe(error))
                failures.append(error)
    if failures:
        raise failures[0]
    return report


async def _run_store(
    services: Services,
    holder: LockHolder,
    store: StoreRow,
    today: date | None,
    report: OccasionsReport,
    patience_seconds: float,
) -> None:
    async with holder.only_one(f"occasions:{store.id}", patience_seconds=patience_seconds) as is_ours:
        if not is_ours:
            report.busy_store_ids.append(store.id)
            return
        async with services.database.transaction() as connection:
            found = await rewards.every(connection, store.program_id, only_on=True)
            if not found:
                return
            leap_rule = await occasions.leap_rule(connection, store.program_id)
            key = await code_keys.code_key(connection, services.secret_box, store.program_id)
        for reward in found:
            report.runs.append(await _run_one(services, store, reward, leap_rule, key, today))


async def _run_one(
    services: Services,
    store: StoreRow,
    reward: RewardRow,
    leap_rule: LeapRule,
    key: bytes,
    today: date | None,
) -> RewardRun:
    """One reward in one store, if the store can give it."""
    now, connector = services.clock(), services.connector(store)
    async with services.database.transaction() as connection:
        coupon = await abilities.coupon_of(connection, store.program_id, reward.terms)
    reason = abilities.why_not(store, connector, reward.terms, coupon)
    if reason is None and coupon is not None:
        reason = coupon.why_not_now(now)
    if reason is not None:
        return RewardRun(store.id, reward.id, reward.name, None, None, 0, 0, left_out=reason)
    task = Task(
        store=store,
        reward=reward,
        leap_rule=leap_rule,
        code_key=key,
        takes_guests=abilities.takes_guests(connector.capabilities, reward.terms),
        coupon=coupon,
        today=today or local_today(now, store.time_zone),
        is_asked_for=today is not None,
        now=now,
    )
    return await _run_reward(services, task)


async def _run_reward(services: Services, task: Task) -> RewardRun:
    store_id, reward_id, lead_days = task.store.id, task.reward.id, task.reward.terms.lead_days
    async with services.database.transaction() as connection:
        progress = await occasions.progress(connection, store_id, reward_id)
    days, days_let_go = _days(task, progress)
    made = Tally()
    for day in days:
        made.add(await _give_day(services, task, day))
        # The day on which it was due is done; days of the lead that lie ahead are noted at the end.
        if due_on(day, lead_days) <= task.today:
            async with services.database.transaction() as connection:
                await occasions.advance(connection, store_id, reward_id, due_on(day, lead_days))
    if progress is not None:
        made.add(await _give_changed(services, task, progress, set(days)))
    async with services.database.transaction() as connection:
        await occasions.finish(connection, store_id, reward_id, task.today, task.now)
    return RewardRun(
        store_id=store_id,
        reward_id=reward_id,
        reward_name=task.reward.name,
        first_on=days[0] if days else None,
        last_on=days[-1] if days else None,
        days_let_go=days_let_go,
        grants=made.grants,
        without_account=made.without_account,
    )


def _days(task: Task, progress: Progress | None) -> tuple[list[date], int]:
    """The days whose occasions are due for all members, and how many were missed for too long."""
    lead_days = task.reward.terms.lead_days
    done_through = None if progress is None else _done_through(task, progress)
    in_time = occasion_days(task.today, done_through, lead_days, MAX_CATCH_UP_DAYS)
    zone, terms = task.store.time_zone, task.reward.terms
    usable = [day for day in in_time if valid_until(day, terms.validity_days, zone) > task.now]
    if done_through is None:
        return usable, 0
    everything = occasion_days(task.today, done_through, lead_days, (task.today - done_through).days)
    return usable, len(everything) - len(usable)


def _done_through(task: Task, progress: Progress) -> date:
    """The last day that needs no look any more. Looking again costs time only: a grant is unique."""
    done, eve = progress.done_through, task.today - timedelta(days=1)
    if task.reward.changed_at >= progress.ran_at - OVERLAP:
        # Its lead may have been another one: all that the lead reaches now is looked at again, from today on.
        return min(done, eve) - timedelta(days=task.reward.terms.lead_days)
    if task.is_asked_for:
        return min(done, eve)
    if done > task.today:
        # Somebody asked for a day ahead; the days up to it are given when they come all the same.
        return min(eve, local_today(progress.ran_at, task.store.time_zone) - timedelta(days=1))
    return done


async def _give_day(services: Services, task: Task, day: date) -> Tally:
    """Gives the reward to all members whose day this is, a chunk at a time."""
    made = Tally()
    for md in month_days([day], task.leap_rule):
        after = 0
        while True:
            async with services.database.transaction() as connection:
                members = await occasions.members_with_day(
                    connection, task.store.id, task.reward.trigger, md, after, CHUNK
                )
            if not members:
                break
            made.add(await give(services, task, day, members))
            after = members[-1]
    return made


async def _give_changed(services: Services, task: Task, progress: Progress, done: set[date]) -> Tally:
    """Gives the reward to members whose dates changed and whose day lies within today and the lead.

    So nobody is left out who joins, or tells a birthday, on the day itself; days that are past stay past.
    """
    ahead = (task.today + timedelta(days=offset) for offset in range(task.reward.terms.lead_days + 1))
    day_of = {md: day for day in ahead if day not in done for md in month_days([day], task.leap_rule)}
    since, after, made = progress.ran_at - OVERLAP, 0, Tally()
    while day_of:
        async with services.database.transaction() as connection:
            changed = await occasions.members_changed(
                connection, task.store.id, task.reward.trigger, sorted(day_of), since, after, CHUNK
            )
        if not changed:
            break
        for day in sorted({day_of[md] for _, md in changed}):
            theirs = [member for member, md in changed if day_of[md] == day]
            made.add(await give(services, task, day, theirs))
        after = changed[-1][0]
    return made
