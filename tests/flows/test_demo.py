"""`perennial demo` plays the whole main job, and is `ok` only when every figure agrees with the stores' own books."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.demo_books import StoreFigures, agree

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from app.cli import main; main()", "demo"]


@pytest.fixture(scope="module")
def played() -> subprocess.CompletedProcess[str]:
    """One small demo, played to its end."""
    return subprocess.run(
        [*COMMAND, "--once", "--json", "--customers=250", "--orders=700", "--seed=5"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("PERENNIAL_")},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def test_demo_ends_well_and_prints_one_document(played: subprocess.CompletedProcess[str]) -> None:
    assert played.returncode == 0, played.stderr[-2_000:]
    report = json.loads(played.stdout)
    assert report["ok"] is True
    assert set(report) == {"ok", "seconds", "stores", "ledger"}
    assert [store["platform"] for store in report["stores"]] == ["shopify", "stripe", "woocommerce"]


def test_demo_figures_are_the_stores_own(played: subprocess.CompletedProcess[str]) -> None:
    report = json.loads(played.stdout)
    for store in report["stores"]:
        assert store.keys() == StoreFigures.__annotations__.keys()
        assert store["customers"] == 250
        assert store["points_expected"] == store["points_previewed"] == store["points_awarded"] > 0
        assert store["grants_expected"] == store["grants"] == store["codes_pushed"] > 0
        assert store["codes_in_store"] == store["codes_pushed"]
        assert store["redemptions_placed"] == store["redemptions_seen"] > 0
        assert store["webhooks_sent"] == store["webhooks_handled"] > 0
    ledger = report["ledger"]
    assert ledger["sum_of_entries"] == ledger["sum_of_balances"]


def test_demo_tells_what_happens_as_it_happens(played: subprocess.CompletedProcess[str]) -> None:
    for words in ("installed", "history read", "previewed", "awarded", "codes pushed", "webhooks came back"):
        assert words in played.stderr


FIGURES: dict[str, Any] = {
    "platform": "p",
    "store": "s",
    "customers": 1,
    "guests": 2,
    "orders": 3,
    "points_expected": 4,
    "points_previewed": 4,
    "points_awarded": 4,
    "grants_expected": 5,
    "grants": 5,
    "codes_pushed": 5,
    "codes_in_store": 5,
    "redemptions_placed": 6,
    "redemptions_seen": 6,
    "webhooks_sent": 7,
    "webhooks_handled": 7,
}
BOOKS = {"customers": 1, "guests": 2, "orders": 3, "forged_accepted": 0}


@pytest.mark.parametrize("name", [name for name, value in FIGURES.items() if isinstance(value, int)])
def test_any_figure_that_is_off_by_one_spoils_the_demo(name: str) -> None:
    right = StoreFigures(**FIGURES)  # type: ignore[typeddict-item]
    wrong = StoreFigures(**{**FIGURES, name: FIGURES[name] + 1})  # type: ignore[typeddict-item]
    assert agree(right, BOOKS)
    assert not agree(wrong, BOOKS)


def test_an_accepted_forgery_spoils_the_demo() -> None:
    assert not agree(StoreFigures(**FIGURES), {**BOOKS, "forged_accepted": 1})  # type: ignore[typeddict-item]
