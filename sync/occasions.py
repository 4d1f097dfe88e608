"""The occasions run: whose birthday or anniversary has come, in each store's own time, gets a grant with its code.

It can be repeated, stopped anywhere and run twice at once: a grant is unique by (program, reward, member, occasion), and
a day counts as done only when all of its grants are in.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from rewards.codes import grant_key, promotion_code
from rewards.errors import InvalidInputError
from rewards.occasions import (
    LeapRule,
    due_on,
    local_today,
    month_days,
    occasion_days,
    occasion_name,
    valid_until,
)
from storage import code_keys, occasions, rewards, stores
from storage.coupons import StoreCoupon
from storage.database import Connection
from storage.locks import LockHolder, lock_holder
from storage.occasions import NewGrant, Occasion, Progress
from storage.rewards import RewardRow
from storage.stores import StoreRow
from sync import abilities
from sync.attempts import OUTAGES, describe
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


@dataclass(frozen=True, slots=True)
class _Task:
    """One reward in one store, and all that deciding needs to know of both."""

    store: StoreRow
    reward: RewardRow
    leap_rule: LeapRule
    code_key: bytes
    takes_guests: bool
    coupon: StoreCoupon | None  # the store's own, whose code all get
    today: date
    is_asked_for: bool  # somebody named the day; it is not the store's own today
    now: datetime


async def run(
    services: Services, *, today: date | None = None, store_id: int | None = None
) -> OccasionsReport:
    """Gives what is due in all active stores, or in one. `today` stands in for each store's local date.

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
                await _run_store(services, holder, store, today, report)
            except OUTAGES:
                raise
            except Exception as error:
                logger.error("No occasions could be given in store %s: %s", store.id, describe(error))
                failures.append(error)
    if failures:
        raise failures[0]
    return report


async def _run_store(
    services: Services, holder: LockHolder, store: StoreRow, today: date | None, report: OccasionsReport
) -> None:
    async with holder.only_one(f"occasions:{store.id}") as is_ours:
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
    task = _Task(
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


@dataclass(slots=True)
class _Tally:
    """Grants made, and members left out for want of an account."""

    grants: int = 0
    without_account: int = 0

    def add(self, other: _Tally) -> None:
        self.grants += other.grants
        self.without_account += other.without_account


async def _run_reward(services: Services, task: _Task) -> RewardRun:
    store_id, reward_id, lead_days = task.store.id, task.reward.id, task.reward.terms.lead_days
    async with services.database.transaction() as connection:
        progress = await occasions.progress(connection, store_id, reward_id)
    days, days_let_go = _days(task, progress)
    made = _Tally()
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


def _days(task: _Task, progress: Progress | None) -> tuple[list[date], int]:
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


def _done_through(task: _Task, progress: Progress) -> date:
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


async def _give_day(services: Services, task: _Task, day: date) -> _Tally:
    """Gives the reward to all members whose day this is, a chunk at a time."""
    made = _Tally()
    for md in month_days([day], task.leap_rule):
        after = 0
        while True:
            async with services.database.transaction() as connection:
                members = await occasions.members_with_day(
                    connection, task.store.id, task.reward.trigger, md, after, CHUNK
                )
            if not members:
                break
            made.add(await _give(services, task, day, members))
            after = members[-1]
    return made


async def _give_changed(services: Services, task: _Task, progress: Progress, done: set[date]) -> _Tally:
    """Gives the reward to members whose dates changed and whose day lies within today and the lead.

    So nobody is left out who joins, or tells a birthday, on the day itself; days that are past stay past.
    """
    ahead = (task.today + timedelta(days=offset) for offset in range(task.reward.terms.lead_days + 1))
    day_of = {md: day for day in ahead if day not in done for md in month_days([day], task.leap_rule)}
    since, after, made = progress.ran_at - OVERLAP, 0, _Tally()
    while day_of:
        async with services.database.transaction() as connection:
            changed = await occasions.members_changed(
                connection, task.store.id, task.reward.trigger, sorted(day_of), since, after, CHUNK
            )
        if not changed:
            break
        for day in sorted({day_of[md] for _, md in changed}):
            theirs = [member for member, md in changed if day_of[md] == day]
            made.add(await _give(services, task, day, theirs))
        after = changed[-1][0]
    return made


async def _give(services: Services, task: _Task, day: date, member_ids: Sequence[int]) -> _Tally:
    """One chunk: the grants and their codes in one transaction."""
    occasion, mds = _occasion(task, day), month_days([day], task.leap_rule)

    async def decide(connection: Connection) -> _Tally:
        new = await occasions.decide(connection, occasion, mds, member_ids, task.now)
        left_out = 0
        if len(new) < len(member_ids) and not task.takes_guests:
            left_out = await occasions.count_without_account(connection, occasion, mds, member_ids, task.now)
        await _add_codes(connection, task, occasion, new)
        return _Tally(len(new), left_out)

    return await services.database.retrying(decide)


def _occasion(task: _Task, day: date) -> Occasion:
    reward, store = task.reward, task.store
    until = valid_until(day, reward.terms.validity_days, store.time_zone)
    if task.coupon is not None and task.coupon.ends_at is not None:
        until = min(until, task.coupon.ends_at)
    return Occasion(
        program_id=store.program_id,
        store_id=store.id,
        reward_id=reward.id,
        reward_version_id=reward.version_id,
        trigger=reward.trigger,
        name=occasion_name(reward.trigger, day),
        on=day,
        due_on=due_on(day, reward.terms.lead_days),
        valid_until=until,
        takes_guests=task.takes_guests,
    )


async def _add_codes(
    connection: Connection, task: _Task, occasion: Occasion, new: Sequence[NewGrant]
) -> None:
    if task.coupon is not None:
        await occasions.share_code(connection, [grant.id for grant in new], task.coupon, task.now)
        return
    prefix = task.reward.terms.code_prefix
    codes = {
        grant.id: promotion_code(
            task.code_key,
            prefix,
            grant_key(occasion.program_id, occasion.reward_id, grant.member_id, occasion.name),
        )
        for grant in new
    }
    await occasions.add_codes(connection, occasion.program_id, occasion.store_id, codes)
