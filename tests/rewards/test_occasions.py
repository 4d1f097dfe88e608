"""Birthdays and anniversaries: every day of every year, in every rule, and what is due after a pause."""

from __future__ import annotations

from calendar import isleap
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.errors import InvalidInputError
from rewards.occasions import (
    LeapRule,
    Trigger,
    birthday,
    due_on,
    falls_on,
    is_anniversary,
    is_too_soon,
    local_today,
    month_days,
    occasion_days,
    occasion_name,
    parse_birthday,
    valid_until,
)
from rewards.records import Birthday

EVERY_MD = [(date(2000, 1, 1) + timedelta(days=n)) for n in range(366)]
MDS = [day.month * 100 + day.day for day in EVERY_MD]

rules = st.sampled_from(list(LeapRule))
years = st.integers(1950, 2150)
days = st.dates(date(1950, 1, 1), date(2150, 12, 31))


class TestBirthday:
    def test_a_leap_day_without_a_year_is_a_birthday(self) -> None:
        assert birthday(2, 29) == Birthday(2, 29, None)
        assert birthday(2, 29).md == 229

    def test_a_leap_day_needs_a_leap_year_where_one_is_given(self) -> None:
        assert birthday(2, 29, 1996).year == 1996
        with pytest.raises(InvalidInputError, match="1997 had no 29 February"):
            birthday(2, 29, 1997)
        with pytest.raises(InvalidInputError, match="1900 had no 29 February"):
            birthday(2, 29, 1900)

    @pytest.mark.parametrize(("month", "day"), [(4, 31), (2, 30), (11, 0), (1, 32), (6, -1)])
    def test_a_day_that_no_calendar_has_is_refused(self, month: int, day: int) -> None:
        with pytest.raises(InvalidInputError, match=f"^{day} [A-Z][a-z]+ is no day of the calendar"):
            birthday(month, day)

    def test_the_message_names_the_day(self) -> None:
        with pytest.raises(InvalidInputError, match="31 April is no day"):
            birthday(4, 31)

    @pytest.mark.parametrize("month", [0, 13, -1])
    def test_a_month_that_no_year_has_is_refused(self, month: int) -> None:
        with pytest.raises(InvalidInputError, match="month"):
            birthday(month, 1)

    @pytest.mark.parametrize("year", [0, 1604, 1899, 2100, 19990])
    def test_a_year_in_which_nobody_living_was_born_is_refused(self, year: int) -> None:
        with pytest.raises(InvalidInputError, match="year of birth"):
            birthday(5, 17, year)

    @given(st.integers(-5, 20), st.integers(-5, 40), st.none() | st.integers(1890, 2110))
    def test_what_is_accepted_is_a_day_of_that_year(self, month: int, day: int, year: int | None) -> None:
        try:
            accepted = birthday(month, day, year)
        except InvalidInputError:
            in_calendar = 1 <= month <= 12 and month * 100 + day in MDS
            assert not in_calendar or (
                year is not None and not (1900 <= year < 2100 and _exists(year, month, day))
            )
        else:
            assert accepted == (month, day, year)
            assert _exists(year or 2000, month, day)


class TestParseBirthday:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("1984-05-17", Birthday(5, 17, 1984)),
            ("05-17", Birthday(5, 17)),
            ("--05-17", Birthday(5, 17)),
            (" 02-29 ", Birthday(2, 29)),
            ("2000-02-29", Birthday(2, 29, 2000)),
        ],
    )
    def test_reads_the_three_ways_of_writing(self, text: str, expected: Birthday) -> None:
        assert parse_birthday(text) == expected

    @pytest.mark.parametrize(
        "text",
        [
            "", "17/05/1984", "05/17", "17.05.", "5-17", "84-05-17", "1984-5-17", "19840517", "0517", "1984-05-17T00:00",
            "-05-17", "---05-17", "--1984-05-17", "May 17", "٠٥-١٧", "1984-13-01", "04-31", "1983-02-29", "0000-05-17",
            "05-17\n05-18",
        ],
    )  # fmt: skip
    def test_never_guesses(self, text: str) -> None:
        with pytest.raises(InvalidInputError):
            parse_birthday(text)

    def test_does_not_repeat_what_a_person_wrote(self) -> None:
        with pytest.raises(InvalidInputError) as caught:
            parse_birthday("ada@people.example")
        assert "ada" not in str(caught.value)

    @given(st.dates(date(1900, 1, 1), date(2099, 12, 31)))
    def test_reads_every_date_back(self, day: date) -> None:
        assert parse_birthday(day.isoformat()) == (day.month, day.day, day.year)
        assert parse_birthday(day.isoformat()[5:]) == (day.month, day.day, None)


class TestWhereADayFalls:
    @given(st.sampled_from(MDS), years, rules)
    def test_every_day_falls_on_exactly_one_day_of_every_year(
        self, md: int, year: int, rule: LeapRule
    ) -> None:
        first = date(year, 1, 1)
        whole_year = [first + timedelta(days=n) for n in range(366 if isleap(year) else 365)]
        hits = [day for day in whole_year if md in month_days([day], rule)]
        assert hits == [falls_on(md, year, rule)]

    @given(years, rules)
    def test_a_year_holds_every_day_of_the_calendar(self, year: int, rule: LeapRule) -> None:
        first = date(year, 1, 1)
        whole_year = (first + timedelta(days=n) for n in range(366 if isleap(year) else 365))
        assert month_days(whole_year, rule) == MDS

    @pytest.mark.parametrize(
        ("day", "rule", "expected"),
        [
            (date(2027, 2, 28), LeapRule.FEB_28, [228, 229]),
            (date(2027, 3, 1), LeapRule.FEB_28, [301]),
            (date(2027, 2, 28), LeapRule.MAR_1, [228]),
            (date(2027, 3, 1), LeapRule.MAR_1, [229, 301]),
            (date(2028, 2, 28), LeapRule.FEB_28, [228]),
            (date(2028, 2, 29), LeapRule.FEB_28, [229]),
            (date(2028, 2, 29), LeapRule.MAR_1, [229]),
            (date(2028, 3, 1), LeapRule.MAR_1, [301]),
            (date(2100, 2, 28), LeapRule.FEB_28, [228, 229]),
        ],
    )
    def test_29_february(self, day: date, rule: LeapRule, expected: list[int]) -> None:
        assert month_days([day], rule) == expected

    def test_28_february_is_the_default(self) -> None:
        assert falls_on(229, 2027) == date(2027, 2, 28)
        assert month_days([date(2027, 2, 28)]) == [228, 229]

    @pytest.mark.parametrize("md", [431, 0, 1301, 1232, 230])
    def test_a_day_that_no_calendar_has_falls_nowhere(self, md: int) -> None:
        with pytest.raises(InvalidInputError):
            falls_on(md, 2028)


class TestWhatIsDue:
    def test_a_reward_that_never_ran_starts_with_today_and_what_the_lead_reaches(self) -> None:
        assert occasion_days(date(2027, 5, 10), None, 0) == [date(2027, 5, 10)]
        assert occasion_days(date(2027, 5, 10), None, 2) == [
            date(2027, 5, 10),
            date(2027, 5, 11),
            date(2027, 5, 12),
        ]

    def test_each_day_adds_one_occasion_day(self) -> None:
        assert occasion_days(date(2027, 5, 10), date(2027, 5, 9), 7) == [date(2027, 5, 17)]

    def test_nothing_is_due_twice_on_one_day(self) -> None:
        assert occasion_days(date(2027, 5, 10), date(2027, 5, 10), 7) == []

    def test_nothing_is_due_where_the_date_went_back(self) -> None:
        assert occasion_days(date(2027, 5, 9), date(2027, 5, 10), 0) == []

    def test_missed_days_are_caught_up_over_the_turn_of_the_year(self) -> None:
        assert occasion_days(date(2028, 1, 2), date(2027, 12, 30), 0) == [
            date(2027, 12, 31), date(2028, 1, 1), date(2028, 1, 2),
        ]  # fmt: skip

    def test_a_long_pause_lets_go_of_the_past_but_of_no_day_to_come(self) -> None:
        found = occasion_days(date(2027, 5, 10), date(2026, 1, 1), 60, max_catch_up_days=31)
        assert found[0] == date(2027, 4, 9)
        assert found[-1] == date(2027, 7, 9)
        assert len(found) == 31 + 60 + 1

    @given(days, st.integers(0, 90), st.lists(st.integers(0, 30), max_size=15))
    def test_running_in_any_rhythm_meets_each_day_once(
        self, start: date, lead: int, pauses: list[int]
    ) -> None:
        met = occasion_days(start, None, lead)
        done = start
        for pause in pauses:
            today = done + timedelta(days=pause)
            met += occasion_days(today, done, lead)
            done = today
        assert met == [start + timedelta(days=n) for n in range((done - start).days + lead + 1)]

    @given(days, days, st.integers(0, 90), st.integers(0, 60))
    def test_due_days_lie_after_what_is_done_and_not_after_today(
        self, today: date, done: date, lead: int, catch_up: int
    ) -> None:
        found = occasion_days(today, done, lead, catch_up)
        assert all(done < due_on(day, lead) <= today for day in found)
        assert len(found) <= catch_up + lead + 1


class TestAnniversary:
    def test_the_day_of_joining_is_no_anniversary(self) -> None:
        assert not is_anniversary(date(2026, 5, 10), date(2026, 5, 10))

    def test_the_first_comes_a_year_later(self) -> None:
        assert is_anniversary(date(2026, 5, 10), date(2027, 5, 10))
        assert not is_anniversary(date(2026, 5, 10), date(2027, 5, 9))

    def test_joined_on_29_february(self) -> None:
        assert is_anniversary(date(2024, 2, 29), date(2025, 2, 28))
        assert not is_anniversary(date(2024, 2, 29), date(2025, 2, 28), LeapRule.MAR_1)
        assert is_anniversary(date(2024, 2, 29), date(2025, 3, 1), LeapRule.MAR_1)
        assert is_anniversary(date(2024, 2, 29), date(2028, 2, 29))

    @given(days, years, rules)
    def test_one_in_every_later_year_and_none_before(self, joined: date, year: int, rule: LeapRule) -> None:
        day = falls_on(joined.month * 100 + joined.day, year, rule)
        assert is_anniversary(joined, day, rule) is (year > joined.year)

    @given(st.sampled_from(MDS), years, rules)
    def test_the_same_day_next_year_is_never_too_soon(self, md: int, year: int, rule: LeapRule) -> None:
        assert not is_too_soon(falls_on(md, year + 1, rule), falls_on(md, year, rule))

    def test_an_edited_date_is_too_soon_in_either_direction(self) -> None:
        assert is_too_soon(date(2027, 1, 2), date(2026, 12, 30))
        assert is_too_soon(date(2026, 12, 30), date(2027, 1, 2))
        assert not is_too_soon(date(2027, 1, 2), None)
        assert not is_too_soon(date(2027, 12, 30), date(2026, 12, 30))
        assert is_too_soon(date(2027, 12, 29), date(2026, 12, 30))


class TestNamesAndMoments:
    def test_the_occasion_names_the_year_of_the_day_and_not_of_the_run(self) -> None:
        day = occasion_days(date(2026, 12, 28), date(2026, 12, 27), 7)[0]
        assert occasion_name(Trigger.BIRTHDAY, day) == "birthday:2027"
        assert occasion_name("joining", day) == "joining:2027"

    def test_today_is_the_date_in_the_store(self) -> None:
        now = datetime(2026, 12, 31, 23, 30, tzinfo=UTC)
        assert local_today(now, "Europe/Madrid") == date(2027, 1, 1)
        assert local_today(now, "America/Los_Angeles") == date(2026, 12, 31)
        assert local_today(now, "Pacific/Kiritimati") == date(2027, 1, 1)

    @pytest.mark.parametrize("name", ["Europe/Atlantis", "", "../etc/passwd", "Europe"])
    def test_an_unknown_time_zone_is_said(self, name: str) -> None:
        with pytest.raises(InvalidInputError, match="IANA"):
            local_today(datetime(2026, 1, 1, tzinfo=UTC), name)

    def test_a_moment_without_offset_is_refused(self) -> None:
        with pytest.raises(AssertionError):
            local_today(datetime(2026, 1, 1), "Europe/Madrid")  # noqa: DTZ001

    def test_valid_to_the_last_second_of_the_local_day(self) -> None:
        assert valid_until(date(2027, 1, 10), 14, "Europe/Madrid") == datetime(
            2027, 1, 24, 22, 59, 59, tzinfo=UTC
        )
        assert valid_until(date(2027, 1, 10), 0, "America/New_York") == datetime(
            2027, 1, 11, 4, 59, 59, tzinfo=UTC
        )

    def test_valid_until_knows_summer_time(self) -> None:
        # Clocks go forward on 28 March 2027, so the 29th ends at 22:00 UTC and not at 23:00.
        assert valid_until(date(2027, 3, 15), 14, "Europe/Madrid") == datetime(
            2027, 3, 29, 21, 59, 59, tzinfo=UTC
        )

    @given(
        days,
        st.integers(0, 90),
        st.sampled_from(
            ["UTC", "Europe/Madrid", "Asia/Kathmandu", "America/Santiago", "Pacific/Chatham", "Africa/Cairo"]
        ),
    )
    def test_the_last_valid_second_is_on_that_day_and_the_next_is_not(
        self, day: date, validity: int, time_zone: str
    ) -> None:
        last = valid_until(day, validity, time_zone)
        assert local_today(last, time_zone) == day + timedelta(days=validity)
        assert local_today(last + timedelta(seconds=1), time_zone) == day + timedelta(days=validity + 1)


def _exists(year: int, month: int, day: int) -> bool:
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True
