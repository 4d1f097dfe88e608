"""When birthdays and joining anniversaries fall, in a store's own time zone, and which of them are due.

A day of the year is written `md`: month x 100 + day, so 29 February is 229. Nothing here reads a clock.
"""

from __future__ import annotations

import re
from calendar import isleap
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from rewards.errors import InvalidInputError
from rewards.records import Birthday

MONTHS = ("January February March April May June July August September October November December").split()
DAYS_BETWEEN_OCCASIONS = 365

_LEAP_DAY = 229
_SOME_LEAP_YEAR = 2000
_YEARS = range(1900, 2100)
_FORMATS = re.compile(r"(?:(?P<year>[0-9]{4})-|--)?(?P<month>[0-9]{2})-(?P<day>[0-9]{2})")


class Trigger(StrEnum):
    """Which of a member's dates an occasion comes from; the values stand in occasion names."""

    BIRTHDAY = "birthday"
    JOINING = "joining"


class LeapRule(StrEnum):
    """Where 29 February falls in a year that has none."""

    FEB_28 = "feb_28"
    MAR_1 = "mar_1"


def birthday(month: int, day: int, year: int | None = None) -> Birthday:
    """A birthday that exists, 29 February included; the year stays out where nobody gave it.

    Raises InvalidInputError for a day that no calendar has and for a year in which nobody living was born.
    """
    if not 1 <= month <= 12:
        raise InvalidInputError(f"A year has no month {month}; give a month from 1 to 12.")
    if not _is_day(_SOME_LEAP_YEAR, month, day):
        raise InvalidInputError(f"{day} {MONTHS[month - 1]} is no day of the calendar; correct the birthday.")
    if year is not None and year not in _YEARS:
        raise InvalidInputError(f"{year} cannot be a year of birth; correct it or leave the year out.")
    if year is not None and not _is_day(year, month, day):
        raise InvalidInputError(f"{year} had no 29 February; correct the year or leave it out.")
    return Birthday(month, day, year)


def parse_birthday(text: str) -> Birthday:
    """Reads YYYY-MM-DD, MM-DD or --MM-DD, and nothing else: 03/04 is two different days in two countries.

    Raises InvalidInputError, without repeating the text.
    """
    found = _FORMATS.fullmatch(text.strip())
    if found is None:
        raise InvalidInputError("A birthday is written YYYY-MM-DD, or MM-DD without the year.")
    year = found["year"]
    return birthday(int(found["month"]), int(found["day"]), int(year) if year else None)


def falls_on(md: int, year: int, rule: LeapRule = LeapRule.FEB_28) -> date:
    """The date of a day of the year in one year. Raises InvalidInputError for a day that no calendar has."""
    given = birthday(md // 100, md % 100)
    if md == _LEAP_DAY and not isleap(year):
        return date(year, 2, 28) if rule is LeapRule.FEB_28 else date(year, 3, 1)
    return date(year, given.month, given.day)


def month_days(days: Iterable[date], rule: LeapRule = LeapRule.FEB_28) -> list[int]:
    """Every `md` whose occasion falls on one of these days, in ascending order without repeats."""
    found: set[int] = set()
    for day in days:
        found.add(day.month * 100 + day.day)
        if falls_on(_LEAP_DAY, day.year, rule) == day:
            found.add(_LEAP_DAY)
    return sorted(found)


def occasion_days(
    today: date, done_through: date | None, lead_days: int, max_catch_up_days: int = 31
) -> list[date]:
    """The days whose occasions are due now: those that lie `lead_days` after a due day in (done_through, today].

    `done_through` None, a reward that has never run: due are today's occasion and those that the lead already
    reaches, none of the past. After a long pause, occasions more than `max_catch_up_days` ago are let go; the ones
    still to come never are, however long the pause was.
    """
    last = today + timedelta(days=lead_days)
    if done_through is None:
        first = today
    else:
        oldest = today - timedelta(days=max_catch_up_days)
        first = max(done_through + timedelta(days=lead_days + 1), oldest)
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def occasion_name(trigger: str, day: date) -> str:
    """What makes an occasion one of a kind for a member: "birthday:2027", by the year of the day itself."""
    return f"{trigger}:{day.year}"


def is_anniversary(joined_on: date, day: date, rule: LeapRule = LeapRule.FEB_28) -> bool:
    """True on the anniversaries of joining, the first of which comes a year after it."""
    return (
        day.year > joined_on.year and falls_on(joined_on.month * 100 + joined_on.day, day.year, rule) == day
    )


def is_too_soon(day: date, last_occasion_on: date | None) -> bool:
    """True when an edited date would give a second reward within 365 days of the last occasion."""
    return last_occasion_on is not None and abs((day - last_occasion_on).days) < DAYS_BETWEEN_OCCASIONS


def due_on(day: date, lead_days: int) -> date:
    """The day on which the reward for this occasion is given."""
    return day - timedelta(days=lead_days)


def valid_until(day: date, validity_days: int, time_zone: str) -> datetime:
    """The last second of the store's local day `validity_days` after the occasion, in UTC."""
    after = datetime.combine(day + timedelta(days=validity_days + 1), time(), tzinfo=zone(time_zone))
    return after.astimezone(UTC) - timedelta(seconds=1)


def local_today(now: datetime, time_zone: str) -> date:
    """The date in the store at this moment. `now` is aware."""
    assert now.tzinfo is not None, "a moment without its offset has no date anywhere else"
    return now.astimezone(zone(time_zone)).date()


def zone(time_zone: str) -> ZoneInfo:
    """The time zone of an IANA name. Raises InvalidInputError for an unknown one."""
    try:
        return ZoneInfo(time_zone)
    # ZoneInfoNotFoundError is a KeyError; a path that leads elsewhere is a ValueError, a folder's name an OSError.
    except (KeyError, ValueError, OSError):
        raise InvalidInputError(
            "The store's time zone is not known; give an IANA name like Europe/Madrid."
        ) from None


def _is_day(year: int, month: int, day: int) -> bool:
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True
