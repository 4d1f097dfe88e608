"""How fast codes are put into a store, beside the rate that the platform's limiter lets through.

The stand-in platform runs in a process of its own and refuses what goes beyond its rate in any second, as the platform
does; a single refusal fails the run. One run a name: it takes as long as the rate says, whatever the machine does.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from urllib.request import urlopen

from benchmarks.harness import Bench, tell
from benchmarks.results import Result, compared

# By name: codes, and requests a second that the limiter lets through.
CASES = {"push.stripe": (1_000, 25), "push.stripe.250": (10_000, 250)}
BAR = 0.95


def run(name: str, bench: Bench) -> list[Result]:
    """Codes per second, from the first to the last one stored as pushed."""
    codes, rate = CASES[name]
    if bench.quick:
        codes //= 4
    sandbox = bench.start(
        "-m",
        "sandbox",
        "stripe",
        "--orders=20",
        f"--customers={codes}",
        f"--requests-per-second={rate}",
    )
    address = sandbox.hear()
    folder = bench.folder / name
    folder.mkdir(mode=0o700, exist_ok=True)
    try:
        with bench.fresh(bench.migrated()) as database:
            said = bench.measure(
                "-m",
                "benchmarks.programs.push",
                bench.url(database),
                str(folder),
                json.dumps(address["connect"]),
                str(rate),
            ).said
        with urlopen(f"{address['url']}/_sandbox/books", timeout=10) as answer:  # noqa: S310 - of our own
            books = json.load(answer)
    finally:
        sandbox.terminate()
    assert said["pushed"] == books["codes_in_store"] == codes, f"{said}, {books}"
    assert said["refused"] == 0, f"{said['refused']} requests were refused while pushing"
    tell(f"  {codes:,} codes in {said['seconds']:.1f} s, nothing refused")
    return [compared(name, "codes/s", [codes / float(said["seconds"])], [rate], BAR)]


def benchmarks() -> list[tuple[tuple[str, ...], Callable[[Bench], list[Result]]]]:
    """Names and what measures them."""
    return [((name,), partial(run, name)) for name in CASES]
