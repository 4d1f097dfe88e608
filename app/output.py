"""What the command line says: tables for people and one JSON document for programs on stdout, all else on stderr."""

from __future__ import annotations

import json
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
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from rewards.money import decimal_text
from rewards.occasions import zone

# Wide enough for whatever a row holds: a file or a pipe has no edge.
_ENDLESS = 100_000
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
    """Prints a table; a column that begins with ">" is set to the right. Without rows only the title and the note."""
    if title:
        say(title)
    if rows:
        made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
        for column in columns:
            is_right = column.startswith(">")
            made.add_column(
                column.removeprefix(">"), justify="right" if is_right else "left", overflow="fold"
            )
        for row in rows:
            made.add_row(*(Text(printable(_cell(value))) for value in row))
        _print(made)
    if note:
        say(note)


def _print(made: Table) -> None:
    if sys.stdout.isatty():
        Console(markup=False, highlight=False, emoji=False).print(made)
        return
    text = StringIO()
    Console(file=text, width=_ENDLESS, color_system=None, force_terminal=False).print(made)
    click.echo("\n".join(line.rstrip() for line in text.getvalue().splitlines()))


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
def progress(unit: str = "", totals: Mapping[str, int] | None = None) -> Iterator[Advance]:
    """Shows how far work has come, on stderr: bars on a terminal, a line now and then elsewhere.

    The block gets a function to call with (what, how many more). `totals` are known beforehand for some of it.
    """
    if sys.stderr.isatty():
        with _bars(unit, totals or {}) as advance:
            yield advance
    else:
        yield _lines(unit, totals or {})


@contextmanager
def _bars(unit: str, totals: Mapping[str, int]) -> Iterator[Advance]:
    console = Console(stderr=True, markup=False, highlight=False, emoji=False)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        tasks = {what: bars.add_task(what, total=total) for what, total in totals.items()}

        def advance(what: str, more: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=totals.get(what))
            bars.advance(tasks[what], more)

        yield advance


def _lines(unit: str, totals: Mapping[str, int]) -> Advance:
    done: dict[str, int] = {}
    said_at = time.monotonic()

    def advance(what: str, more: int) -> None:
        nonlocal said_at
        done[what] = done.get(what, 0) + more
        if time.monotonic() - said_at < _SECONDS_BETWEEN_LINES:
            return
        said_at = time.monotonic()
        of = f" of {number(totals[what])}" if what in totals else ""
        notice(f"{what}: {number(done[what])}{of} {unit}".rstrip())

    return advance
