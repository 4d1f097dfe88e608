"""What is printed: whole and plain where nobody watches, harmless on a terminal."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from app import output


def test_a_piped_table_is_plain_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 500
    output.table(["Name", ">Points"], [("[bold]Ada[/bold]", 1234567), (long, None)])
    said = capsys.readouterr().out
    assert "[bold]Ada[/bold]" in said
    assert "1,234,567" in said
    assert long in said
    assert "\x1b" not in said
    assert all(line == line.rstrip() for line in said.splitlines())


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
