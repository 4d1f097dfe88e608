"""The report on statements: which tests prove what, and that a failing one shows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from scripts.feature_ids import known_ids
from scripts.feature_report import Status, statements, worst

ROOT = Path(__file__).parents[1]

TESTS = """
import pytest

@pytest.mark.feature("R-12", "B-08")
def test_members() -> None: ...

@pytest.mark.feature("R-12")
@pytest.mark.parametrize("n", [1, 2])
def test_one_of_two(n: int) -> None:
    assert n == 1

@pytest.mark.feature("R-13")
@pytest.mark.skip(reason="on purpose")
def test_left_out() -> None: ...

def test_proves_nothing() -> None:
    raise AssertionError("not run for the report")
"""


def recorded(folder: Path, *options: str) -> dict[str, dict[str, object]]:
    (folder / "test_some.py").write_text(TESTS, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = feature(id): …\n", encoding="utf-8")
    report = folder / "report.json"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "scripts.feature_report",
        "--feature-report",
        str(report),
    ]
    subprocess.run(
        [*command, *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
    )
    read: dict[str, dict[str, object]] = json.loads(report.read_text(encoding="utf-8"))
    return read


def test_the_worst_outcome_of_a_statement_counts(tmp_path: Path) -> None:
    found = {statement.id: statement for statement in statements(recorded(tmp_path))}
    assert found["R-12"].status is Status.FAILED
    assert found["R-12"].tests == {
        "test_some.py::test_members": Status.PASSED,
        "test_some.py::test_one_of_two": Status.FAILED,
    }
    assert found["B-08"].status is Status.PASSED
    assert found["R-13"].status is Status.SKIPPED
    assert found["P-01"].status is Status.NO_TEST
    assert found["S-12"].status is Status.NOT_A_BEHAVIOUR
    assert list(found) == list(known_ids())


def test_tests_can_be_listed_without_running_them(tmp_path: Path) -> None:
    tests = recorded(tmp_path, "--collect-only")
    assert set(tests) == {
        f"test_some.py::{name}" for name in ("test_members", "test_one_of_two", "test_left_out")
    }
    assert {test["outcome"] for test in tests.values()} == {"not run"}


def test_a_skipped_test_proves_nothing() -> None:
    assert worst([Status.PASSED, Status.SKIPPED]) is Status.SKIPPED
    assert worst([Status.SKIPPED, Status.FAILED]) is Status.FAILED
