"""Deciding grants: whose day it is, who gets the reward, and how far a reward has come in a store. Set-based SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from rewards.errors import NotFoundError
from rewards.occasions import DAYS_BETWEEN_OCCASIONS, LeapRule, Trigger
from storage.coupons import StoreCoupon
from storage.database import Connection

# The column that holds a trigger's day of the year; both have an index (home_store_id, column, id).
_DAY_COLUMN = {Trigger.BIRTHDAY: "birthday_md", Trigger.JOINING: "joined_md"}


@dataclass(frozen=True, slots=True)
class Occasion:
    """One reward's occasion in one store: what its grants have in common."""

    program_id: int
    store_id: int
    reward_id: int
    reward_version_id: int
    trigger: Trigger
    name: str
    on: date
    due_on: date
    valid_until: datetime
    takes_guests: bool  # also members without an account can be given a code


@dataclass(frozen=True, slots=True)
class NewGrant:
    """A grant that has just been made."""

    id: int
    member_id: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Up to which local day a reward has been decided in a store, and when it was last looked at."""

    done_through: date
    ran_at: datetime


async def members_with_day(
    connection: Connection, store_id: int, trigger: Trigger, md: int, after_id: int, limit: int
) -> list[int]:
    """Members at home in the store whose day of the year this is, by id: one walk along the index."""
    cursor = await connection.execute(
        f"""SELECT id FROM members
            WHERE home_store_id = %s AND {_DAY_COLUMN[trigger]} = %s AND merged_into IS NULL AND id > %s
            ORDER BY id LIMIT %s""",
        (store_id, md, after_id, limit),
    )
    return [found["id"] for found in await cursor.fetchall()]


async def members_changed(
    connection: Connection,
    store_id: int,
    trigger: Trigger,
    mds: Sequence[int],
    since: datetime,
    after_id: int,
    limit: int,
) -> list[tuple[int, int]]:
    """(id, day of the year) of members whose dates changed at or after `since` and whose day is one of these."""
    column = _DAY_COLUMN[trigger]
    cursor = await connection.execute(
        f"""SELECT id, {column} AS md FROM members
            WHERE home_store_id = %s AND dates_changed_at >= %s AND {column} = ANY(%s) AND merged_into IS NULL
                AND id > %s
            ORDER BY id LIMIT %s""",
        (store_id, since, list(mds), after_id, limit),
    )
    return [(found["id"], found["md"]) for found in await cursor.fetchall()]


# "OFFSET 0" keeps one look into the index per member: as a join, the planner would compare all members with all grants.
# A person counts with everything that was merged into them. Of several customers in the store the one with an account
# gets the code, then the one who paid last, then the newest.
_DECIDE = """
INSERT INTO grants (program_id, reward_id, reward_version_id, member_id, store_id, store_customer_id, occasion,
    occasion_on, due_on, valid_until, state, attempts, decided_at)
SELECT %(program)s, %(reward)s, %(version)s, m.id, %(store)s, chosen.id, %(occasion)s, %(on)s, %(due_on)s,
    %(valid_until)s, 'decided', 0, %(now)s
FROM members m
CROSS JOIN LATERAL (
    SELECT array_append(ARRAY(SELECT x.id FROM members x WHERE x.merged_into = m.id), m.id) AS ids
) person
CROSS JOIN LATERAL (
    SELECT c.id FROM store_customers c
    WHERE c.member_id = ANY(person.ids) AND c.store_id = %(store)s AND c.deleted_at IS NULL
        AND (c.has_account OR (%(guests)s AND c.email IS NOT NULL))
    ORDER BY c.has_account DESC,
        (SELECT max(o.paid_at) FROM orders o WHERE o.store_customer_id = c.id) DESC NULLS LAST,
        c.joined_at DESC NULLS LAST, c.id DESC
    LIMIT 1
) chosen
WHERE m.id = ANY(%(members)s) AND m.home_store_id = %(store)s AND m.merged_into IS NULL
    AND m.{column} = ANY(%(mds)s)
    AND (%(trigger)s <> 'joining' OR %(on)s::date >= make_date(extract(year FROM m.joined_on)::int + 1, 1, 1))
    AND NOT EXISTS (
        SELECT FROM grants g
        WHERE g.member_id = ANY(person.ids) AND g.reward_id = %(reward)s
            AND g.occasion_on > %(too_soon_from)s AND g.occasion_on < %(too_soon_to)s
        OFFSET 0)
ORDER BY m.id
ON CONFLICT (program_id, reward_id, member_id, occasion) DO NOTHING
RETURNING id, member_id
"""


async def decide(
    connection: Connection, occasion: Occasion, mds: Sequence[int], member_ids: Sequence[int], now: datetime
) -> list[NewGrant]:
    """Gives the occasion's reward to those of these members who have none for it yet, and none within a year.

    `mds` are the days of the year that fall on the occasion's day, looked at once more under lock.
    """
    # Whoever decides for the same person at the same moment comes before or after, and then sees these grants.
    await connection.execute(
        "SELECT FROM members WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE", (list(member_ids),)
    )
    values = _values(occasion, mds, member_ids, now)
    cursor = await connection.execute(_DECIDE.format(column=_DAY_COLUMN[occasion.trigger]), values)
    return [NewGrant(found["id"], found["member_id"]) for found in await cursor.fetchall()]


_WITHOUT_ACCOUNT = """
SELECT count(*) AS members FROM members m
WHERE m.id = ANY(%(members)s) AND m.home_store_id = %(store)s AND m.merged_into IS NULL
    AND m.{column} = ANY(%(mds)s)
    AND (%(trigger)s <> 'joining' OR %(on)s::date >= make_date(extract(year FROM m.joined_on)::int + 1, 1, 1))
    AND NOT EXISTS (
        SELECT FROM members p JOIN store_customers c ON c.member_id = p.id
        WHERE (p.id = m.id OR p.merged_into = m.id) AND c.store_id = %(store)s AND c.deleted_at IS NULL
            AND (c.has_account OR (%(guests)s AND c.email IS NOT NULL)))
"""


async def count_without_account(
    connection: Connection, occasion: Occasion, mds: Sequence[int], member_ids: Sequence[int], now: datetime
) -> int:
    """How many of these members `decide` leaves out because the store has no customer that could be given a code."""
    values = _values(occasion, mds, member_ids, now)
    cursor = await connection.execute(_WITHOUT_ACCOUNT.format(column=_DAY_COLUMN[occasion.trigger]), values)
    found = await cursor.fetchone()
    return 0 if found is None else int(found["members"])


def _values(
    occasion: Occasion, mds: Sequence[int], member_ids: Sequence[int], now: datetime
) -> dict[str, object]:
    distance = timedelta(days=DAYS_BETWEEN_OCCASIONS)
    return {
        "program": occasion.program_id,
        "store": occasion.store_id,
        "reward": occasion.reward_id,
        "version": occasion.reward_version_id,
        "trigger": occasion.trigger.value,
        "occasion": occasion.name,
        "on": occasion.on,
        "due_on": occasion.due_on,
        "valid_until": occasion.valid_until,
        "guests": occasion.takes_guests,
        "members": list(member_ids),
        "mds": list(mds),
        "too_soon_from": occasion.on - distance,
        "too_soon_to": occasion.on + distance,
        "now": now,
    }


async def add_codes(connection: Connection, program_id: int, store_id: int, codes: Mapping[int, str]) -> None:
    """Records the code of each grant, by grant id, before anybody asks the store for it."""
    await connection.execute(
        """INSERT INTO promotion_codes (program_id, store_id, grant_id, code, code_key, is_shared, attempt)
           SELECT %s, %s, c.grant_id, c.code, lower(c.code), false, 0
           FROM unnest(%s::bigint[], %s::text[]) AS c(grant_id, code)""",
        (program_id, store_id, list(codes), list(codes.values())),
    )


async def share_code(
    connection: Connection, grant_ids: Sequence[int], coupon: StoreCoupon, now: datetime
) -> None:
    """Gives these grants the code of a coupon that the store has: they need no pushing."""
    await connection.execute(
        """INSERT INTO promotion_codes (program_id, store_id, grant_id, code, code_key, external_id,
               coupon_external_id, pushed_at, is_shared, attempt)
           SELECT g.program_id, g.store_id, g.id, %(code)s, lower(%(code)s), %(external)s, %(parent)s, %(now)s, true, 0
           FROM grants g WHERE g.store_id = %(store)s AND g.id = ANY(%(grants)s)""",
        {
            "code": coupon.code,
            "external": coupon.external_id,
            "parent": coupon.parent_external_id,
            "now": now,
            "store": coupon.store_id,
            "grants": list(grant_ids),
        },
    )
    await connection.execute(
        "UPDATE grants SET state = 'pushed', pushed_at = %s WHERE store_id = %s AND id = ANY(%s)",
        (now, coupon.store_id, list(grant_ids)),
    )


async def progress(connection: Connection, store_id: int, reward_id: int) -> Progress | None:
    """How far the reward has come in the store; None when it has never run there."""
    cursor = await connection.execute(
        "SELECT done_through, ran_at FROM reward_progress WHERE store_id = %s AND reward_id = %s",
        (store_id, reward_id),
    )
    found = await cursor.fetchone()
    return None if found is None else Progress(found["done_through"], found["ran_at"])


async def advance(connection: Connection, store_id: int, reward_id: int, done_through: date) -> None:
    """Notes one more day as done where the reward has run before; never goes back."""
    await connection.execute(
        """UPDATE reward_progress SET done_through = greatest(done_through, %s)
           WHERE store_id = %s AND reward_id = %s""",
        (done_through, store_id, reward_id),
    )


async def finish(
    connection: Connection, store_id: int, reward_id: int, done_through: date, ran_at: datetime
) -> None:
    """Notes a whole run: all days through this one, and all changes before `ran_at`."""
    await connection.execute(
        """INSERT INTO reward_progress (store_id, reward_id, done_through, ran_at) VALUES (%s, %s, %s, %s)
           ON CONFLICT (store_id, reward_id) DO UPDATE
           SET done_through = greatest(reward_progress.done_through, excluded.done_through),
               ran_at = greatest(reward_progress.ran_at, excluded.ran_at)""",
        (store_id, reward_id, done_through, ran_at),
    )


async def leap_rule(connection: Connection, program_id: int) -> LeapRule:
    """Where the program celebrates 29 February in other years."""
    cursor = await connection.execute("SELECT leap_rule FROM programs WHERE id = %s", (program_id,))
    found = await cursor.fetchone()
    if found is None:
        raise NotFoundError(f"There is no program {program_id}.")
    return LeapRule(found["leap_rule"])
