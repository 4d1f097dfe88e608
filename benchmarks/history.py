"""How fast a store's past is read in, beside bare programs that fetch, decode and write the same rows.

Orders per second are those of the whole reading: customers, coupons and orders, from an open database to the last
commit, on both sides. Processor time is that of the reading too; starting the process is left out. The stand-in
platform runs in a process of its own with its limiter off, and has rendered everything before the first measured run.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any
from urllib.request import Request, urlopen

from benchmarks.harness import PYTHON, ROOT, Bench, Connection, Measured, tell
from benchmarks.results import Result, compared

PLATFORMS = ("shopify", "stripe", "woocommerce")
MEMORY = ("history.memory", "history.memory.growth")

ORDERS_PER_CUSTOMER = 5
IN_FLIGHT, PAGE, LATENCY_SECONDS = 8, 100, 0.05
CPU_SECONDS_PER_10_000 = 0.3
MEMORY_MIB, GROWTH_MIB = 150.0, 10.0
FEW, MANY = 20_000, 200_000
_OURS = ("-m", "benchmarks.programs.history")
# The store's pace: no limiter is on the other side, and both sides keep the same number of requests in flight.
_SETTINGS = {"requests_per_second": "0", "requests_in_flight": str(IN_FLIGHT)}

# The same rows, whatever numbers they got and whenever they were written.
_MARK = """
SELECT (SELECT count(*) FROM import_runs WHERE state = 'done'), (SELECT count(*) FROM coupons),
    (SELECT md5(string_agg(concat_ws(',', email, name, has_account, home_store_id, joined_on, joined_md, joined_set_by,
         birthday_md, birthday_year, birthday_set_by, balance), ';' ORDER BY email)) FROM members),
    (SELECT md5(string_agg(concat_ws(',', c.external_id, c.has_account, lower(c.email_given), c.email, c.name, c.phone, c.locale,
         c.accepts_marketing, c.joined_at, c.source_updated_at, c.metadata::text, m.email), ';' ORDER BY c.external_id))
     FROM store_customers c JOIN members m ON m.id = c.member_id),
    (SELECT md5(string_agg(concat_ws(',', o.external_id, c.external_id, status, status_given, currency, subtotal_minor,
         tax_minor, shipping_minor, discount_minor, total_minor, placed_at, paid_at, cancelled_at, is_test, codes::text,
         o.source_updated_at), ';' ORDER BY o.external_id))
     FROM orders o LEFT JOIN store_customers c ON c.id = o.store_customer_id),
    (SELECT md5(string_agg(concat_ws(',', order_external_id, external_id, total_minor, subtotal_minor, status,
         refunded_at), ';' ORDER BY order_external_id, external_id)) FROM refunds),
    (SELECT count(*) FROM ledger_entries)
"""


@dataclass(frozen=True, slots=True)
class Read:
    """One measured reading: what it said, its peak memory, and how many orders there were in the end."""

    said: Mapping[str, Any]
    peak_mib: float
    orders: int

    @property
    def orders_per_second(self) -> float:
        return self.orders / float(self.said["seconds"])

    @property
    def records_per_second(self) -> float:
        return float(self.said["records"]) / float(self.said["seconds"])

    @property
    def cpu_per_10_000(self) -> float:
        return float(self.said["cpu"]) / self.orders * 10_000


class Shop:
    """A stand-in platform in a process of its own, and a database in which it is connected and nothing was read."""

    def __init__(self, bench: Bench, platform: str, orders: int, *options: str) -> None:
        self.bench = bench
        self.platform = platform
        self._sandbox = bench.start(
            "-m",
            "sandbox",
            platform,
            f"--orders={orders}",
            f"--customers={orders // ORDERS_PER_CUSTOMER}",
            "--no-limiter",
            *options,
        )
        self.address = self._sandbox.hear()
        self.template = bench.copy(bench.migrated())
        self._data_dir = bench.folder / "history"
        self._store = self._connect()
        self._marks: set[tuple[object, ...]] = set()

    def close(self) -> None:
        """Ends the sandbox."""
        self._sandbox.terminate()
        self.bench.drop(self.template)

    def delay(self, seconds: float) -> None:
        """How long each answer takes from now on."""
        body = json.dumps({"delay_seconds": seconds}).encode()
        with urlopen(Request(f"{self.address['url']}/_sandbox/faults", body), timeout=10):  # noqa: S310 - of our own
            pass

    def ours(self) -> Read:
        """One reading by us, into a fresh database."""
        return self._read(lambda url: (*_OURS, url, str(self._data_dir), str(self._store)))

    def limit(self, *options: str) -> Read:
        """One reading by the limit program."""
        script = f"benchmarks/limits/history_{self.platform}.py"
        answers = json.dumps(self.address["connect"])
        return self._read(lambda url: (script, url, str(self._store), answers, *options))

    def bare_rate(self) -> float:
        """Records per second of the sandbox alone, when nobody looks into its answers."""
        return float(self.limit("--bare").said["bare_per_second"])

    def _read(self, command: Callable[[str], tuple[str, ...]]) -> Read:
        with self.bench.fresh(self.template) as name:
            found: Measured = self.bench.measure(*command(self.bench.url(name)))
            with self.bench.connect(name) as connection:
                self._marks.add(_mark(connection))
                orders = _count(connection)
        assert len(self._marks) == 1, f"both sides write the same rows: {self._marks}"
        return Read(found.said, found.peak_mib, orders)

    def _connect(self) -> int:
        """`perennial connect`, without reading anything yet; the store's id."""
        flags = [
            part
            for name, value in self.address["connect"].items()
            if name != "allow-private-hosts"
            for part in (f"--{name}", value)
        ]
        for setting, value in _SETTINGS.items():
            flags += ["--setting", f"{setting}={value}"]
        environment = {
            **os.environ,
            "PERENNIAL_DATABASE_URL": self.bench.url(self.template),
            "PERENNIAL_DATA_DIR": str(self._data_dir),
            "PERENNIAL_ALLOW_PRIVATE_HOSTS": "1",
        }
        self._data_dir.mkdir(mode=0o700, exist_ok=True)
        made = subprocess.run(
            [*PYTHON, "-m", "app.cli", "connect", self.platform, *flags, "--no-sync", "--json"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            check=True,
        )
        return int(json.loads(made.stdout)["store"]["id"])


def fast(platform: str, bench: Bench) -> list[Result]:
    """Without any delay: orders per second, and the processor time that they took."""
    orders = FEW if bench.quick else 2 * FEW
    with _opened(bench, platform, orders, "--prerender") as shop:
        shop.ours()  # so that the sandbox has rendered what we ask for
        bare = shop.bare_rate()
        ours, limit = bench.alternate(shop.ours, shop.limit)
    records = median(read.records_per_second for read in ours)
    _show_bare(bare, records)
    name = f"history.{platform}"
    return [
        compared(f"{name}.0ms", "orders/s", *_rates(ours, limit), 0.5),
        compared(
            f"{name}.cpu",
            "s per 10,000",
            [read.cpu_per_10_000 for read in ours],
            [CPU_SECONDS_PER_10_000],
            1.0,
            more_is_better=False,
        ),
    ]


def slow(platform: str, bench: Bench) -> list[Result]:
    """With 50 ms for each answer and eight requests in flight: beside what that allows, or our own speed without."""
    with _opened(bench, platform, 2 * FEW, "--prerender") as shop:
        shop.ours()

        def side(seconds: float) -> Read:
            shop.delay(seconds)
            return shop.ours()

        delayed, fast = bench.alternate(lambda: side(LATENCY_SECONDS), lambda: side(0.0))
    allowed = [
        min(IN_FLIGHT * PAGE / LATENCY_SECONDS * read.orders / read.said["records"], read.orders_per_second)
        for read in fast
    ]
    ours = [read.orders_per_second for read in delayed]
    return [compared(f"history.{platform}.50ms", "orders/s", ours, allowed, 0.8)]


def memory(bench: Bench) -> list[Result]:
    """The peak of a process that reads many orders, and by how much it is above that of one that reads few."""
    peaks: dict[str, tuple[float, float]] = {}
    for platform in ("shopify",) if bench.quick else PLATFORMS:
        few, many = (_peak(bench, platform, orders) for orders in (FEW, MANY))
        peaks[platform] = few, many
        tell(f"  {platform}: {few:.0f} MiB at {FEW:,} orders, {many:.0f} MiB at {MANY:,}")
    most = max(many for _, many in peaks.values())
    growth = max(many - few for few, many in peaks.values())
    total, more = (
        compared(name, "MiB", [found], [bar], 1.0, more_is_better=False)
        for name, found, bar in zip(MEMORY, (most, growth), (MEMORY_MIB, GROWTH_MIB), strict=True)
    )
    return [total, more]


def _peak(bench: Bench, platform: str, orders: int) -> float:
    with _opened(bench, platform, orders) as shop:
        return shop.ours().peak_mib


@contextmanager
def _opened(bench: Bench, platform: str, orders: int, *options: str) -> Iterator[Shop]:
    shop = Shop(bench, platform, orders, *options)
    try:
        yield shop
    finally:
        shop.close()


def _rates(ours: list[Read], limit: list[Read]) -> tuple[list[float], list[float]]:
    return [read.orders_per_second for read in ours], [read.orders_per_second for read in limit]


def _show_bare(bare: float, ours: float) -> None:
    verdict = "enough" if bare >= 2 * ours else "NOT ENOUGH: the sandbox is measured too"
    tell(f"  the sandbox alone: {bare:,.0f} records/s, {bare / ours:.1f} times ours ({verdict})")


def _mark(connection: Connection) -> tuple[object, ...]:
    found = connection.execute(_MARK).fetchone()
    assert found is not None
    return found


def _count(connection: Connection) -> int:
    found = connection.execute("SELECT count(*) FROM orders").fetchone()
    assert found is not None
    return int(found[0])


def benchmarks() -> list[tuple[tuple[str, ...], Callable[[Bench], list[Result]]]]:
    """Names and what measures them."""
    found: list[tuple[tuple[str, ...], Callable[[Bench], list[Result]]]] = []
    for platform in PLATFORMS:
        found.append(
            ((f"history.{platform}.0ms", f"history.{platform}.cpu"), partial(fast, platform)),
        )
        if platform != "shopify":  # a bulk file has no pages
            found.append(((f"history.{platform}.50ms",), partial(slow, platform)))
    found.append((MEMORY, memory))
    return found
