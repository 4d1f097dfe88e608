"""Places: how many calls at a time a platform's server gets from all our processes together.

Some servers have no limit that they tell, and are overrun all the same: then the number that is good for them has to be
found out, by whoever calls them. What all find out stands on one board for each store (docs/decisions has why); this is
the rule by which it is read and changed. Whoever stands on it says every now and then how it goes, and is told how many
calls it may have on their way. Together these are never more than the limit, except for calls that were on their way
when the limit fell, and whoever says nothing for a while (its process was killed) is struck off.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

LAPSES_SECONDS = 5.0  # who says nothing for so long is struck off; a busy machine may take a while


class Member(msgspec.Struct):
    """One process on the board, in calls; moments are in seconds, on the board's clock."""

    holds: int = 0  # may have on their way, or still has
    wants: int = 0
    until: float = 0.0
    served: float = 0.0  # when it last held any


class Standing(msgspec.Struct):
    """What the board says. `limit` 0: nobody has called yet; `good`: fast answers in a row towards the next place.

    `heard`: when anybody last said anything.
    """

    limit: int = 0
    good: int = 0
    heard: float = 0.0
    members: dict[str, Member] = {}


@dataclass(frozen=True, slots=True)
class Report:
    """How it goes with one process. `wants` counts the calls on their way too; 0 is a farewell.

    Of the answers since its last report: `overran` of them said that the server had too much at a time; `is_broken`:
    one was slow, so that fast ones are counted anew; `good` of them were fast (since then).
    """

    member: str
    in_flight: int
    wants: int
    first: int
    most: int
    good: int = 0
    is_broken: bool = False
    overran: int = 0


@dataclass(frozen=True, slots=True)
class Share:
    """How many calls the process may have on their way, the limit for all, and how many places nobody holds."""

    places: int
    limit: int
    spare: int


class Board(Protocol):
    """Where one store's places are kept."""

    async def settle(self, report: Report) -> Share:
        """Takes the report in and says what the process may do until its next one."""
        ...


class MemoryBoard:
    """The board of one process on its own."""

    def __init__(self) -> None:
        self._standing = Standing()

    async def settle(self, report: Report) -> Share:
        """See Board."""
        return settled(self._standing, report, time.monotonic())


def settled(standing: Standing, report: Report, now: float) -> Share:
    """Takes a report into the standing, which is changed; what the reporting process gets."""
    members = standing.members = {
        name: member for name, member in standing.members.items() if member.until > now
    }
    if standing.limit == 0 or now > standing.heard + LAPSES_SECONDS:
        # Nobody was at it for a while: what the server could bear then may be another thing now.
        standing.limit, standing.good = min(standing.limit or report.first, report.first), 0
    standing.heard = now
    _learn(standing, report)
    me = members.pop(report.member, None) or Member()
    held = sum(member.holds for member in members.values())
    if report.wants == 0:
        return Share(0, standing.limit, max(0, standing.limit - held))
    me.wants, me.until = report.wants, now + LAPSES_SECONDS
    members[report.member] = me
    # Who has waited longest comes first: where there are fewer places than processes, they take turns.
    order = sorted(members.items(), key=lambda item: (item[1].served, item[0]))
    fair = dict(
        zip(
            (name for name, _ in order),
            _dealt([member.wants for _, member in order], standing.limit),
            strict=True,
        )
    )
    places = min(fair[report.member], max(0, standing.limit - held))
    me.holds = max(places, report.in_flight)
    if me.holds:
        me.served = now
    return Share(places, standing.limit, max(0, standing.limit - held - me.holds))


def _learn(standing: Standing, report: Report) -> None:
    """Half as many at the first answer that was overrun, one more after as many fast ones in a row as there are places."""
    if report.overran:
        standing.limit, standing.good = max(1, standing.limit >> report.overran), 0
        return
    standing.good = report.good + (0 if report.is_broken else standing.good)
    while standing.limit < report.most and standing.good >= standing.limit:
        standing.good -= standing.limit
        standing.limit += 1


def _dealt(wants: Sequence[int], limit: int) -> list[int]:
    """The places dealt one by one, in this order, to those who want more."""
    got = [0] * len(wants)
    left = min(limit, sum(wants))
    while left:
        for place, wanted in enumerate(wants):
            if left and got[place] < wanted:
                got[place] += 1
                left -= 1
    return got
