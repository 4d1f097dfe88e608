"""Gives one reward to a chunk of members for one day: who gets it, and the codes, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from rewards.codes import gift_card_code, grant_key, promotion_code
from rewards.occasions import LeapRule, due_on, month_days, occasion_name, valid_until
from rewards.records import BenefitKind
from storage import occasions
from storage.coupons import StoreCoupon
from storage.database import Connection
from storage.occasions import NewGrant, Occasion
from storage.rewards import RewardRow
from storage.stores import StoreRow
from sync.services import Services


@dataclass(frozen=True, slots=True)
class Task:
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


@dataclass(slots=True)
class Tally:
    """Grants made, and members left out for want of an account."""

    grants: int = 0
    without_account: int = 0

    def add(self, other: Tally) -> None:
        """Counts the other's too."""
        self.grants += other.grants
        self.without_account += other.without_account


async def give(services: Services, task: Task, day: date, member_ids: Sequence[int]) -> Tally:
    """One chunk: the grants and their codes in one transaction."""
    occasion, mds = _occasion(task, day), month_days([day], task.leap_rule)

    async def decide(connection: Connection) -> Tally:
        new = await occasions.decide(connection, occasion, mds, member_ids, task.now)
        left_out = 0
        if len(new) < len(member_ids) and not task.takes_guests:
            left_out = await occasions.count_without_account(connection, occasion, mds, member_ids, task.now)
        await _add_codes(connection, task, occasion, new)
        return Tally(len(new), left_out)

    return await services.database.retrying(decide)


def _occasion(task: Task, day: date) -> Occasion:
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


async def _add_codes(connection: Connection, task: Task, occasion: Occasion, new: Sequence[NewGrant]) -> None:
    if task.coupon is not None:
        await occasions.share_code(connection, [grant.id for grant in new], task.coupon, task.now)
        return
    terms = task.reward.terms

    def code(grant: NewGrant) -> str:
        key = grant_key(occasion.program_id, occasion.reward_id, grant.member_id, occasion.name)
        if terms.benefit.kind is BenefitKind.GIFT_CARD:
            return gift_card_code(task.code_key, key)
        # Store credit has none that anybody types; here it names the grant like any other.
        return promotion_code(task.code_key, terms.code_prefix, key)

    codes = {grant.id: code(grant) for grant in new}
    await occasions.add_codes(connection, occasion.program_id, occasion.store_id, codes)
