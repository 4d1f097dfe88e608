"""How much of a shop's bucket of points is used while it is read by ordinary pages; nothing may be refused.

Measured from when the full bucket is used up: points spent in a second beside those that it gets in one. In the first second
we learn how large the bucket is: only refusals after it count.
"""

from __future__ import annotations

import json

from benchmarks.harness import Bench, tell
from benchmarks.results import Result, compared

NAMES = ("catchup.shopify",)
BAR = 0.95
POINTS_PER_SECOND = (
    500  # a page costs up to as much, so that a smaller plan's bucket would take minutes to measure
)
ROWS = 300  # so few are read by pages


def run(bench: Bench) -> list[Result]:
    """Points a second."""
    seconds = 40 if bench.quick else 120
    sandbox = bench.start(
        "-m",
        "sandbox",
        "shopify",
        f"--orders={ROWS}",
        f"--customers={ROWS}",
        f"--points-per-second={POINTS_PER_SECOND}",
    )
    address = sandbox.hear()
    folder = bench.folder / "catchup"
    folder.mkdir(mode=0o700, exist_ok=True)
    try:
        with bench.fresh(bench.migrated()) as database:
            said = bench.measure(
                "-m",
                "benchmarks.programs.catchup",
                bench.url(database),
                str(folder),
                json.dumps(address["connect"]),
                address["url"],
                str(seconds),
            ).said
    finally:
        sandbox.terminate()
    tell(
        f"  {said['spent']:,.0f} points in {said['seconds']:.1f} s, {said['refused']:.0f} requests refused, {said['left']:,.0f} points left"
    )
    assert not said["refused"], "requests were refused"
    used = min(said["spent"] / said["seconds"], POINTS_PER_SECOND)  # the rest was left of the full bucket
    return [compared(NAMES[0], "points/s", [used], [POINTS_PER_SECOND], BAR)]
