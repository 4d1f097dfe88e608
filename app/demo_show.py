"""What the demo prints as it goes, and the table at its end; or, for programs, one JSON document."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

_ROWS = (
    ("customers", "Customers"),
    ("guests", "Guests"),
    ("orders", "Orders"),
    ("points_expected", "Points for past actions: the store's books"),
    ("points_previewed", "… previewed"),
    ("points_awarded", "… awarded"),
    ("grants_expected", "Birthdays and anniversaries: the store's books"),
    ("grants", "… given"),
    ("codes_pushed", "Codes pushed"),
    ("codes_in_store", "… that the store holds"),
    ("redemptions_placed", "Codes redeemed at the checkout"),
    ("redemptions_seen", "… seen, once each"),
    ("webhooks_sent", "Webhooks sent (each came at least twice)"),
    ("webhooks_handled", "… handled, once each"),
)


class Show:
    """Narrates on the terminal; with `as_json` the words go to stderr and stdout gets only the document."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._console = Console(file=sys.stderr if as_json else sys.stdout, highlight=False, soft_wrap=True)
        self._began = time.monotonic()
        self._read: dict[tuple[str, str], int] = {}

    def begin(self, customers: int, orders: int) -> None:
        """Says what is about to happen."""
        self._console.print(
            "[bold]Perennial demo[/bold]: three made-up stores, "
            f"{customers:,} customers and {orders:,} orders each. Starting a database and the stores …"
        )

    def ready(self, address: str, stores: Mapping[str, str]) -> None:
        """Says where everything runs."""
        self._began = time.monotonic()
        self._console.print(f"  The app listens at {address}; the stores:")
        for platform, url in stores.items():
            self._console.print(f"  [bold]{platform:<12}[/bold] {url}")

    def progress(self, platform: str, noun: str, records: int) -> None:
        """Counts what is read, and says so every few thousand records."""
        key = (platform, noun)
        before = self._read.get(key, 0)
        self._read[key] = before + records
        if self._read[key] // 5_000 > before // 5_000:
            self._line(platform, f"reading {noun}", f"{self._read[key]:,} so far", style="dim")

    def step(self, platform: str, what: str, detail: str) -> None:
        """One thing that has been done."""
        self._line(platform, what, detail, style="")

    def _line(self, platform: str, what: str, detail: str, *, style: str) -> None:
        seconds = time.monotonic() - self._began
        self._console.print(
            f"{seconds:6.1f} s  [bold]{platform:<12}[/bold]{what:<24}{detail}", style=style or None
        )

    def end(self, report: Mapping[str, Any]) -> None:
        """The table, or the document."""
        if self._as_json:
            print(json.dumps(report), flush=True)
            return
        table = Table(
            title="What the stores' own books say, and what Perennial holds",
            title_justify="left",
            title_style="bold",
            box=box.SIMPLE_HEAD,
        )
        table.add_column("")
        for store in report["stores"]:
            table.add_column(store["platform"], justify="right")
        for name, label in _ROWS:
            table.add_row(label, *(f"{store[name]:,}" for store in report["stores"]))
        self._console.print(table)
        ledger = report["ledger"]
        self._console.print(
            f"Ledger: {ledger['entries']:,} entries that add up to {ledger['sum_of_entries']:,} points; "
            f"balances add up to {ledger['sum_of_balances']:,}."
        )
        if report["ok"]:
            self._console.print(f"[bold green]All figures agree.[/bold green] {report['seconds']} s")
        else:
            self._console.print("[bold red]The figures do not agree[/bold red]: compare the lines above.")

    def stays_up(self, address: str, folder: Path) -> None:
        """How to look around while the demo stays up."""
        self._console.print(
            f"\nEverything stays up at {address}. Look around from another terminal, for example:\n"
            f"  PERENNIAL_DATA_DIR={folder} .venv/bin/perennial members 1\n"
            f"  PERENNIAL_DATA_DIR={folder} .venv/bin/perennial codes 1\n"
            "Ctrl-C ends it."
        )
