"""What the command line says: tables for people and one JSON document for programs on stdout, all else on stderr."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import UTC, date, datetime
from io import StringIO
from typing import Any

import click
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from rewards.money import decimal_text
from rewards.occasions import zone

# Wide enough for whatever a row holds: a file or a pipe has no edge.
_ENDLESS = 100_000
# Cells up to this width stay on one line; between two columns lie so many blanks.
_UNFOLDED = 22
_BETWEEN = 2
# Where no bar can be drawn, a line this often says that work goes on.
_SECONDS_BETWEEN_LINES = 5.0

Advance = Callable[[str, int], None]


def document(content: object) -> None:
    """Prints one JSON document, and nothing else, on stdout."""
    click.echo(json.dumps(content, default=_plain_value, ensure_ascii=False, indent=2))


def say(text: str = "") -> None:
    """A line for people on stdout."""
    click.echo(printable(text, keeps_lines=True))


def notice(text: str) -> None:
    """A line on stderr: progress, warnings, what to do next while stdout holds a document."""
    click.echo(printable(text, keeps_lines=True), err=True)


def table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str = "", note: str = ""
) -> None:
    """Prints a table; a column that begins with ">" is set to the right. Without rows only the title and the note.

    On a terminal that is too narrow, long texts are folded; where that is not enough, each row becomes a block.
    """
    if title:
        say(title)
    if rows:
        names = [column.removeprefix(">") for column in columns]
        cells = [[printable(_cell(value)) for value in row] for row in rows]
        width = Console().width if sys.stdout.isatty() else _ENDLESS
        if _narrowest(names, cells) > width:
            _print_blocks(names, cells)
        else:
            _print_table(columns, cells)
    if note:
        say(note)


def _widths(names: Sequence[str], cells: Sequence[Sequence[str]]) -> list[int]:
    return [max(cell_len(text) for text in column) for column in zip(names, *cells, strict=True)]


def _narrowest(names: Sequence[str], cells: Sequence[Sequence[str]]) -> int:
    """The width below which numbers, codes and dates would be torn apart."""
    return sum(min(width, _UNFOLDED) for width in _widths(names, cells)) + _BETWEEN * (len(names) - 1)


def _print_table(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    made = Table(
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="bold"
    )
    names = [column.removeprefix(">") for column in columns]
    for column, name, width in zip(columns, names, _widths(names, cells), strict=True):
        made.add_column(
            name,
            justify="right" if column.startswith(">") else "left",
            overflow="fold",
            min_width=min(width, _UNFOLDED),
        )
    for row in cells:
        made.add_row(*(Text(text) for text in row))
    if sys.stdout.isatty():
        Console(markup=False, highlight=False, emoji=False).print(made)
        return
    text = StringIO()
    Console(file=text, width=_ENDLESS, color_system=None, force_terminal=False).print(made)
    click.echo("\n".join(line.rstrip() for line in text.getvalue().splitlines()))


def _print_blocks(names: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    """One line per cell, an empty one between rows; cells that hold nothing are left out."""
    width = max(len(name) for name in names)
    blocks = [
        "\n".join(f"{name:>{width}}  {text}" for name, text in zip(names, row, strict=True) if text)
        for row in cells
    ]
    click.echo("\n\n".join(blocks))


def printable(text: str, *, keeps_lines: bool = False) -> str:
    """The text without characters that a terminal would act on: names come from stores, and so from anybody."""
    return "".join(c if c.isprintable() or (keeps_lines and c == "\n") else " " for c in text)


def number(value: int) -> str:
    """12,345"""
    return f"{value:,}"


def count(value: int, one: str, many: str = "") -> str:
    """1 order, 2 orders"""
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def signed(value: int) -> str:
    """+12,345 or −7, as points come and go."""
    return f"{value:+,}"


def money(amount_minor: int, currency: str) -> str:
    """17.91 EUR"""
    return f"{decimal_text(amount_minor, currency)} {currency.upper()}"


def when(moment: datetime | None, time_zone: str = "UTC") -> str:
    """A moment on the wall clock of the store, to the minute."""
    return "" if moment is None else f"{moment.astimezone(zone(time_zone)):%Y-%m-%d %H:%M}"


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, int) else str(value)


def _plain_value(value: object) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} has no place in a document")


@contextmanager
def progress(
    unit: str = "",
    totals: Mapping[str, int] | None = None,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Advance]:
    """Shows how far work has come, on stderr: bars on a terminal, a line now and then elsewhere.

    The block gets a function to call with (what, how many more). `totals` are known beforehand for some of it, or
    become known while it lasts; then it is also said how much time is left.
    """
    known = {} if totals is None else totals
    if sys.stderr.isatty():
        with _bars(unit, known) as advance:
            yield advance
    else:
        yield _lines(unit, known, clock)


class _Count(ProgressColumn):
    """How many are done, and of how many where that is known."""

    def render(self, task: Task) -> Text:
        done = number(int(task.completed))
        return Text(done if task.total is None else f"{done} of {number(int(task.total))}")


class _Left(ProgressColumn):
    """How much time is left, where it is known how much there is."""

    def render(self, task: Task) -> Text:
        if task.total is None:
            return Text("")
        first = int(task.fields["first"])
        return Text(time_left(int(task.completed) - first, int(task.total) - first, task.elapsed or 0.0))


def time_left(done: int, total: int, seconds: float) -> str:
    """How long the rest takes at the pace so far, in words; "" as long as nothing can be said."""
    if not 0 < done < total or seconds <= 0:
        return ""
    minutes = math.ceil(seconds / done * (total - done) / 60)
    return "less than a minute left" if minutes <= 1 else f"about {minutes} minutes left"


@contextmanager
def _bars(unit: str, totals: Mapping[str, int]) -> Iterator[Advance]:
    console = Console(stderr=True, markup=False, highlight=False, emoji=False)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        _Count(),
        TextColumn(unit),
        TimeElapsedColumn(),
        _Left(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        tasks = {what: bars.add_task(what, total=total, first=0) for what, total in totals.items()}

        def advance(what: str, more: int) -> None:
            if what not in tasks:
                # How long the first part took is not known, so it does not count for the pace.
                tasks[what] = bars.add_task(what, total=totals.get(what), first=more)
            bars.advance(tasks[what], more)

        yield advance


def _lines(unit: str, totals: Mapping[str, int], clock: Callable[[], float]) -> Advance:
    done: dict[str, int] = {}
    began: dict[str, tuple[int, float]] = {}  # how many came first, and when: their own time is not known
    said_at = clock()

    def advance(what: str, more: int) -> None:
        nonlocal said_at
        done[what] = done.get(what, 0) + more
        first, since = began.setdefault(what, (more, clock()))
        if clock() - said_at < _SECONDS_BETWEEN_LINES:
            return
        said_at = clock()
        of = f" of {number(totals[what])}" if what in totals else ""
        left = time_left(done[what] - first, totals.get(what, 0) - first, said_at - since)
        notice(f"{what}: {number(done[what])}{of} {unit}".rstrip() + (f", {left}" if left else ""))

    return advance
