"""What is printed: whole and plain where nobody watches, harmless on a terminal."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
import termios
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app import output

ROOT = Path(__file__).parents[2]


def test_a_piped_table_is_plain_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 500
    output.table(["Name", ">Points"], [("[bold]Ada[/bold]", 1234567), (long, None)])
    said = capsys.readouterr().out
    assert "[bold]Ada[/bold]" in said
    assert "1,234,567" in said
    assert long in said
    assert "\x1b" not in said
    assert all(line == line.rstrip() for line in said.splitlines())


_WIDE = """
from app import output
output.table(["Code", ">Points"], [("BDAY-JFV78ST2TCDS", 1234), ("BDAY-Q9DNNZGCY358", None)])
"""


@pytest.mark.parametrize(("columns", "lines"), [(80, 4), (20, 4)])
def test_a_code_stays_on_one_line_however_narrow_the_terminal(columns: int, lines: int) -> None:
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    try:
        subprocess.run(
            [sys.executable, "-c", _WIDE],
            stdin=theirs,
            stdout=theirs,
            cwd=ROOT,
            env=env,
            check=True,
            timeout=30,
        )
        said = os.read(ours, 10_000).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "BDAY-JFV78ST2TCDS" in said
    assert "BDAY-Q9DNNZGCY358" in said
    assert "1,234" in said
    assert len(said.strip().splitlines()) == lines
    assert ("Code  BDAY" in said) is (columns == 20)


def test_a_name_cannot_act_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(["Name"], [("Eve\x1b[2J\x07\nMallory",)])
    output.notice("Eve\x1b]0;title\x07")
    said = capsys.readouterr()
    assert "Mallory" in said.out.splitlines()[-1]
    assert not {"\x1b", "\x07"} & set(said.out + said.err)


def test_documents_have_utc_times_and_real_letters(capsys: pytest.CaptureFixture[str]) -> None:
    moment = datetime(2026, 6, 15, 12, tzinfo=UTC)
    output.document({"at": moment, "on": moment.date(), "name": "Zoë"})
    said = capsys.readouterr().out
    assert '"at": "2026-06-15T12:00:00Z"' in said
    assert '"on": "2026-06-15"' in said
    assert "Zoë" in said


def test_times_for_people_are_the_stores() -> None:
    moment = datetime(2026, 6, 15, 23, 30, tzinfo=UTC)
    assert output.when(moment, "Europe/Madrid") == "2026-06-16 01:30"
    assert output.when(None) == ""


@pytest.mark.parametrize(
    ("done", "total", "seconds", "says"),
    [
        (0, 1_000, 5.0, ""),  # nothing can be said yet
        (1_000, 1_000, 5.0, ""),
        (1_200, 1_000, 5.0, ""),  # there was more than expected
        (500, 1_000, 30.0, "less than a minute left"),
        (100, 1_000, 30.0, "about 5 minutes left"),
        (100, 100_000, 10.0, "about 167 minutes left"),
    ],
)
def test_how_much_time_is_left_is_said_in_words(done: int, total: int, seconds: float, says: str) -> None:
    assert output.time_left(done, total, seconds) == says


def test_a_total_that_becomes_known_later_shows_in_the_lines(capsys: pytest.CaptureFixture[str]) -> None:
    totals: dict[str, int] = {}
    now = [0.0]
    with output.progress("read", totals, clock=lambda: now[0]) as advance:
        totals["orders"] = 10_100
        advance("orders", 100)  # how long these took is not known
        now[0] = 10.0
        advance("orders", 100)
    assert "orders: 200 of 10,100 read, about 17 minutes left" in capsys.readouterr().err
