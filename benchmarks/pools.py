"""How many calls it takes to put many codes into a store: such that share a discount, polls of their jobs included, or batches.

No time is measured: the platform's jobs end when they end. What counts are calls, of which a shop has only so many.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from urllib.request import urlopen

from benchmarks.harness import Bench, tell
from benchmarks.results import Result, compared

# By name: the platform, who can use the codes, and the most calls.
CASES = {
    "pools.shopify.calls": ("shopify", "open", 60),
    "batches.woocommerce.calls": ("woocommerce", "bound", 110),
}
CODES = 10_000


def run(name: str, bench: Bench) -> list[Result]:
    """Calls for ten thousand codes, from the first to the last one stored as pushed."""
    platform, binding, most_calls = CASES[name]
    sandbox = bench.start("-m", "sandbox", platform, "--orders=20", f"--customers={CODES}")
    address = sandbox.hear()
    folder = bench.folder / name
    folder.mkdir(mode=0o700, exist_ok=True)
    try:
        with bench.fresh(bench.migrated()) as database:
            said = bench.measure(
                "-m",
                "benchmarks.programs.pools",
                bench.url(database),
                str(folder),
                json.dumps(address["connect"]),
                platform,
                binding,
                address["url"],
            ).said
        with urlopen(f"{address['url']}/_sandbox/books", timeout=10) as answer:  # noqa: S310 - of our own
            books = json.load(answer)
    finally:
        sandbox.terminate()
    assert said["pushed"] == books["codes_in_store"] == CODES, f"{said}, {books}"
    refused = books.get("requests_refused", 0)  # a platform without a limiter refuses none
    assert refused == 0, f"{refused} requests were refused"
    tell(f"  {CODES:,} codes in {said['calls']} calls and {said['seconds']:.1f} s, nothing refused")
    return [compared(name, "calls", [float(said["calls"])], [most_calls], 1.0, more_is_better=False)]


def benchmarks() -> list[tuple[tuple[str, ...], Callable[[Bench], list[Result]]]]:
    """Names and what measures them."""
    return [((name,), partial(run, name)) for name in CASES]
