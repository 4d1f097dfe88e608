"""Prints, for every statement that must work, the tests that prove it and whether they pass.

Run as `scripts/features`. The same module is the pytest plugin that collects what the report needs: it keeps only the
tests that carry `@pytest.mark.feature("…")` and writes how each went.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import pytest

from scripts.feature_ids import known_ids

OPTION = "--feature-report"
ROOT = Path(__file__).parents[1]


class Status(StrEnum):
    """How a statement stands, or one test of it."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    NOT_RUN = "not run"
    NO_TEST = "no test"
    NOT_A_BEHAVIOUR = "not a behaviour"


# Of several outcomes of one test (its set-up, its parameters) the worst counts.
_WORST_FIRST = (Status.FAILED, Status.SKIPPED, Status.NOT_RUN, Status.PASSED)


@dataclass(frozen=True, slots=True)
class Statement:
    """One id with its tests, by name, and how each went."""

    id: str
    status: Status
    tests: dict[str, Status]


# -- the plugin ------------------------------------------------------------------------------------------------------


class Recorder:
    """Remembers which test proves what, and how it went."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.features: dict[str, list[str]] = {}
        self.outcomes: dict[str, Status] = {}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        marked: list[pytest.Item] = []
        others: list[pytest.Item] = []
        for item in items:
            ids = [feature for mark in item.iter_markers("feature") for feature in mark.args]
            (marked if ids else others).append(item)
            if ids:
                name = _without_parameters(item.nodeid)
                self.features[name] = sorted({*self.features.get(name, []), *ids})
        items[:] = marked
        config.hook.pytest_deselected(items=others)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = _without_parameters(report.nodeid)
        self.outcomes[name] = worst([Status(report.outcome), self.outcomes.get(name, Status.PASSED)])

    def pytest_sessionfinish(self) -> None:
        tests = {
            name: {"features": ids, "outcome": self.outcomes.get(name, Status.NOT_RUN)}
            for name, ids in self.features.items()
        }
        self.path.write_text(json.dumps(tests), encoding="utf-8")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(OPTION, default=None, help="write which test proves what, and how it went, to this file")


def pytest_configure(config: pytest.Config) -> None:
    if path := config.getoption(OPTION):
        config.pluginmanager.register(Recorder(Path(path)), "feature-recorder")


def _without_parameters(node_id: str) -> str:
    return node_id.partition("[")[0]


# -- the report ------------------------------------------------------------------------------------------------------


def worst(outcomes: list[Status]) -> Status:
    """What counts of several outcomes."""
    return next(status for status in _WORST_FIRST if status in outcomes)


def statements(tests: dict[str, dict[str, object]]) -> list[Statement]:
    """Every known id with what the recorder wrote about it."""
    found = []
    for feature, is_behaviour in known_ids().items():
        own = {name: Status(str(test["outcome"])) for name, test in tests.items() if feature in _ids(test)}
        status = (
            worst(list(own.values())) if own else Status.NO_TEST if is_behaviour else Status.NOT_A_BEHAVIOUR
        )
        found.append(Statement(feature, status, own))
    return found


def _ids(test: dict[str, object]) -> list[object]:
    ids = test["features"]
    assert isinstance(ids, list)
    return ids


def run_pytest(arguments: list[str], *, only_collect: bool) -> tuple[int, dict[str, dict[str, object]]]:
    """Runs (or only lists) the marked tests, with what pytest has to say on standard error."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "scripts.feature_report", OPTION, str(report)]
        command += ["--collect-only"] if only_collect else []
        done = subprocess.run([*command, *arguments], cwd=ROOT, stdout=sys.stderr, check=False)
        return done.returncode, json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}


def print_table(found: list[Statement]) -> None:
    """One line for each statement, its tests below it, and the sums at the end."""
    for statement in found:
        print(f"{statement.id}  {statement.status}")
        for test, status in statement.tests.items():
            print(f"      {status:8} {test}")
    behaviours = [s for s in found if s.status is not Status.NOT_A_BEHAVIOUR]
    sums = {status: sum(1 for s in behaviours if s.status is status) for status in Status}
    print(f"{len(behaviours)} statements: " + ", ".join(f"{n} {status}" for status, n in sums.items() if n))


def main(arguments: list[str]) -> int:
    """Reports, and returns 1 when a test that should prove something does not pass."""
    parser = argparse.ArgumentParser(
        prog="scripts/features", description="Which statements work, by their tests."
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document, and only that")
    parser.add_argument("--no-run", action="store_true", help="only list the tests")
    parser.add_argument("pytest", nargs="*", help="handed on to pytest, for example a folder of tests")
    options, others = parser.parse_known_args(arguments)
    code, tests = run_pytest([*options.pytest, *others], only_collect=options.no_run)
    found = statements(tests)
    if options.json:
        print(json.dumps([asdict(statement) for statement in found], indent=1))
    else:
        print_table(found)
    # pytest: 0 all passed, 5 nothing to run.
    return 0 if code in (0, 5) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
