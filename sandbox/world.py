"""A made-up shop: people, their birthdays and what they bought, the same for the same seed.

Also the shop's own books: what points and grants its people must end up with, worked out person by person with
nothing of the app's code, so that agreement means something.
"""

from __future__ import annotations

import random
from calendar import isleap
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

_GIVEN = "Ada Ben Cleo Dina Emil Fay Gus Hana Ivo Jun Kim Leo Mia Nils Ona Pia Quin Rosa Sam Tia Uma Vic Wim Xia Yara Zoe"
_FAMILY = (
    "Abel Berg Cruz Dahl Eco Font Graf Holm Ito Jones Kaya Lind Moreau Nagy Okafor Park Quist Rossi Silva Tan"
)


@dataclass(frozen=True, slots=True)
class Seed:
    """How large and how odd the shop is. `guest_share` and the like are shares from 0 to 1."""

    number: int = 1
    customers: int = 2_000
    orders: int = 10_000
    guest_share: float = 0.28
    birthday_share: float = 0.4
    refund_share: float = 0.05
    cancel_share: float = 0.02
    unpaid_share: float = 0.02
    currency: str = "EUR"
    time_zone: str = "Europe/Madrid"
    now: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))

    @property
    def today(self) -> date:
        """The shop's local date."""
        return self.now.astimezone(ZoneInfo(self.time_zone)).date()


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who bought or signed up. A guest has no account and so neither a joining time nor a birthday here."""

    number: int
    name: str
    email: str
    joined_at: datetime | None
    birthday: tuple[int, int, int | None] | None  # month, day, year or None

    @property
    def is_guest(self) -> bool:
        return self.joined_at is None


@dataclass(frozen=True, slots=True)
class Repayment:
    """Money given back for a sale; `total_minor` is positive."""

    number: int
    total_minor: int
    at: datetime


@dataclass(slots=True)
class Sale:
    """One order. `by_account` False: bought without signing in, even if the e-mail belongs to an account."""

    number: int
    person: Person
    by_account: bool
    email: str  # as typed: letter case may differ from the account's
    placed_at: datetime
    paid_at: datetime | None
    subtotal_minor: int  # goods after discount, before tax and shipping
    tax_minor: int
    shipping_minor: int
    updated_at: datetime
    discount_minor: int = 0
    cancelled_at: datetime | None = None
    code: str | None = None
    repayments: list[Repayment] = field(default_factory=list)
    in_history: bool = True

    @property
    def total_minor(self) -> int:
        return self.subtotal_minor + self.tax_minor + self.shipping_minor

    @property
    def repaid_minor(self) -> int:
        return min(self.total_minor, sum(r.total_minor for r in self.repayments))


@dataclass(frozen=True, slots=True)
class EarningRule:
    """How the books count points: per sign-up, and per order either fixed or `points` for each `per_minor`."""

    sign_up: int = 100
    order_fixed: int | None = None
    order_points: int = 5
    order_per_minor: int = 100

    def order(self, base_minor: int) -> int:
        if self.order_fixed is not None:
            return self.order_fixed
        return base_minor * self.order_points // self.order_per_minor


class World:
    """The people and sales of one seed, and the books over them.

    `base_is_total`: the platform shows only what was charged, so points count on the total instead of the subtotal.
    """

    def __init__(self, seed: Seed, *, base_is_total: bool = False) -> None:
        self.seed = seed
        self.base_is_total = base_is_total
        self._random = random.Random(seed.number)
        self.people: list[Person] = list(self._people())
        self.sales: list[Sale] = list(self._sales())

    # -- making it ---------------------------------------------------------------------------------------------------

    def _people(self) -> Iterator[Person]:
        seed, rng = self.seed, self._random
        given, family = _GIVEN.split(), _FAMILY.split()
        for number in range(seed.customers):
            name = f"{rng.choice(given)} {rng.choice(family)}"
            yield Person(
                number=number,
                name=name,
                email=f"{name.lower().replace(' ', '.')}.{number}@people.example",
                joined_at=self._joined_at(number),
                birthday=self._birthday(number) if rng.random() < seed.birthday_share else None,
            )
        guests = max(1, int(seed.orders * seed.guest_share / 2)) if seed.guest_share else 0
        for number in range(seed.customers, seed.customers + guests):
            name = f"{rng.choice(given)} {rng.choice(family)}"
            yield Person(number, name, f"guest.{number}@people.example", None, None)

    def _joined_at(self, number: int) -> datetime:
        """Within four years; every 97th person on this very day of an earlier year, at noon."""
        seed, rng = self.seed, self._random
        moment = seed.now - timedelta(days=rng.randrange(30, 4 * 365), seconds=rng.randrange(86_400))
        if number % 97 == 5:
            day = _same_day(seed.today, seed.today.year - rng.randrange(1, 4))
            noon = datetime(day.year, day.month, day.day, 12, tzinfo=ZoneInfo(seed.time_zone))
            moment = noon.astimezone(UTC)
        return moment.replace(microsecond=0)

    def _birthday(self, number: int) -> tuple[int, int, int | None]:
        """Anywhere in the year; every 40th person today, every 101st on 29 February; the year is often missing."""
        rng = self._random
        day = date(2000, 1, 1) + timedelta(days=rng.randrange(366))
        if number % 40 == 3:
            day = self.seed.today
        if number % 101 == 7:
            day = date(2000, 2, 29)
        year = rng.randrange(1950, 2005) if rng.random() < 0.7 else None
        if year and (day.month, day.day) == (2, 29):
            year -= year % 4
        return (day.month, day.day, year)

    def _sales(self) -> Iterator[Sale]:
        seed, rng = self.seed, self._random
        accounts = self.people[: seed.customers]
        guests = self.people[seed.customers :]
        for number in range(seed.orders):
            as_guest = bool(guests) and rng.random() < seed.guest_share
            # Every tenth guest order is by somebody who has an account and did not sign in, typed in capitals.
            forgot = as_guest and bool(accounts) and rng.random() < 0.1
            person = rng.choice(guests if as_guest and not forgot else accounts or guests)
            yield self._sale(number, person, by_account=not person.is_guest and not forgot)

    def _sale(self, number: int, person: Person, *, by_account: bool) -> Sale:
        seed, rng = self.seed, self._random
        earliest = person.joined_at if by_account and person.joined_at else seed.now - timedelta(days=3 * 365)
        span = max(3_600, int((seed.now - earliest).total_seconds()) - 7_200)
        placed_at = (earliest + timedelta(seconds=rng.randrange(1_800, span))).replace(microsecond=0)
        subtotal = rng.randrange(500, 20_000)
        sale = Sale(
            number=number,
            person=person,
            by_account=by_account,
            email=person.email if by_account or person.is_guest else person.email.upper(),
            placed_at=placed_at,
            paid_at=None if rng.random() < seed.unpaid_share else placed_at + timedelta(seconds=30),
            subtotal_minor=subtotal,
            tax_minor=subtotal * 21 // 100,
            shipping_minor=rng.choice((0, 495)),
            updated_at=placed_at + timedelta(seconds=60),
        )
        if sale.paid_at:
            self._aftermath(sale)
        return sale

    def _aftermath(self, sale: Sale) -> None:
        rng, lot = self._random, self._random.random()
        later = sale.placed_at + timedelta(seconds=rng.randrange(120, 1_700))
        if lot < self.seed.cancel_share:
            sale.cancelled_at = sale.updated_at = later
        elif lot < self.seed.cancel_share + self.seed.refund_share:
            whole = rng.random() < 0.4
            parts = [sale.total_minor] if whole else [sale.total_minor // 3, sale.total_minor // 5]
            for index, part in enumerate(parts):
                at = later + timedelta(seconds=index)
                sale.repayments.append(Repayment(sale.number * 10 + index, part, at))
                sale.updated_at = at

    # -- the books ---------------------------------------------------------------------------------------------------

    def expected_points(self, rule: EarningRule) -> int:
        """Points of all accounts and orders of the history, what was taken back for refunds left out."""
        sign_ups = sum(1 for person in self.people if not person.is_guest)
        return sign_ups * rule.sign_up + sum(self.sale_points(s, rule) for s in self.sales if s.in_history)

    def sale_points(self, sale: Sale, rule: EarningRule) -> int:
        """Net points of one sale: nothing unpaid or cancelled, the rest in proportion of what was not repaid."""
        if not sale.paid_at or sale.cancelled_at or not sale.total_minor:
            return 0
        award = rule.order(sale.total_minor if self.base_is_total else sale.subtotal_minor)
        return award * (sale.total_minor - sale.repaid_minor) // sale.total_minor

    def guests(self) -> int:
        """People without an account who ordered."""
        return len({s.person.number for s in self.sales if s.in_history and s.person.is_guest})

    def birthdays_due(self, today: date, lead_days: int) -> list[Person]:
        """Account holders whose birthday falls within today and `lead_days` days on."""
        days = {_month_day(day) for day in _days(today, lead_days)}
        return [p for p in self.people if p.birthday and self._falls_on(p.birthday[:2], days, today)]

    def anniversaries_due(self, today: date, lead_days: int) -> list[Person]:
        """Account holders who joined on such a day of an earlier year, by the shop's local date."""
        zone = ZoneInfo(self.seed.time_zone)
        due = []
        for person in self.people:
            if person.joined_at is None:
                continue
            joined = person.joined_at.astimezone(zone).date()
            for day in _days(today, lead_days):
                if day.year > joined.year and _same_day(joined, day.year) == day:
                    due.append(person)
        return due

    @staticmethod
    def _falls_on(month_day: tuple[int, int], days: set[tuple[int, int]], today: date) -> bool:
        if month_day == (2, 29) and not isleap(today.year):
            month_day = (2, 28)
        return month_day in days

    @cached_property
    def by_email(self) -> dict[str, Person]:
        """People by lower-case e-mail."""
        return {person.email.lower(): person for person in self.people}


def _days(today: date, lead_days: int) -> list[date]:
    return [today + timedelta(days=offset) for offset in range(lead_days + 1)]


def _month_day(day: date) -> tuple[int, int]:
    return (day.month, day.day)


def _same_day(day: date, year: int) -> date:
    """The same day of another year; 29 February becomes the 28th where there is none."""
    if (day.month, day.day) == (2, 29) and not isleap(year):
        return date(year, 2, 28)
    return day.replace(year=year)
