"""How many calls it takes to put codes that share a discount into a store, polls of their jobs included.

No time is measured: the platform's jobs end when they end. What counts are calls, of which a shop has only so many.
"""

from __future__ import annotations

import json
from urllib.request import urlopen

from benchmarks.harness import Bench, tell
from benchmarks.results import Result, compared

NAMES = ("pools.shopify.calls",)
CODES, MOST_CALLS = 10_000, 60


def run(bench: Bench) -> list[Result]:
    """Calls for ten thousand codes, from the first to the last one stored as pushed."""
    sandbox = bench.start("-m", "sandbox", "shopify", "--orders=20", f"--customers={CODES}")
    address = sandbox.hear()
    folder = bench.folder / "pools"
    folder.mkdir(mode=0o700, exist_ok=True)
    try:
        with bench.fresh(bench.migrated()) as database:
            said = bench.measure(
                "-m",
                "benchmarks.programs.pools",
                bench.url(database),
                str(folder),
                json.dumps(address["connect"]),
            ).said
        with urlopen(f"{address['url']}/_sandbox/books", timeout=10) as answer:  # noqa: S310 - of our own
            books = json.load(answer)
    finally:
        sandbox.terminate()
    assert said["pushed"] == books["codes_in_store"] == CODES, f"{said}, {books}"
    assert books["requests_refused"] == 0, f"{books['requests_refused']} requests were refused"
    tell(f"  {CODES:,} codes in {said['calls']} calls and {said['seconds']:.1f} s, nothing refused")
    return [compared(NAMES[0], "calls", [float(said["calls"])], [MOST_CALLS], 1.0, more_is_better=False)]
