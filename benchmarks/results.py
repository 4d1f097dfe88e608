"""One line of the table: our figure, the limit's, and whether their ratio holds the bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Result:
    """`ratio` is ours by limit; `bar` is the least ratio where more is better, else the most."""

    name: str
    unit: str
    ours: float
    limit: float
    ratio: float
    bar: float
    holds: bool


def compared(
    name: str,
    unit: str,
    ours: Sequence[float],
    limit: Sequence[float],
    bar: float,
    *,
    more_is_better: bool = True,
) -> Result:
    """The medians of both sides and their ratio."""
    our_median, limit_median = median(ours), median(limit)
    ratio = our_median / limit_median
    holds = ratio >= bar if more_is_better else ratio <= bar
    return Result(name, unit, our_median, limit_median, ratio, bar, holds)


def broken_off(name: str) -> Result:
    """A line without figures: there is nothing to compare, and no bar is held."""
    return Result(name, "broken off", 0.0, 0.0, 0.0, 0.0, False)
