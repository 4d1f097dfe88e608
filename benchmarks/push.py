"""How fast we work where a platform limits us, beside the rate that its limiter lets through.

The stand-in platform runs in a process of its own and refuses what goes beyond its rate in any second, as the platform
does; a single refusal fails the run. One run a name: it takes as long as the rate says, whatever the machine does.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from benchmarks.harness import Bench, tell
from benchmarks.results import Result, compared


@dataclass(frozen=True, slots=True)
class Case:
    """`rate` is what the limiter lets through in a second; `history` and `push` are the names of the lines."""

    rate: int
    codes: int
    orders: int
    push: str
    history: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return (self.push, self.history) if self.history else (self.push,)


CASES = (
    Case(25, codes=1_000, orders=20_000, push="push.stripe", history="history.stripe.limiter"),
    Case(250, codes=10_000, orders=20, push="push.stripe.250"),
)
BAR = 0.95


def run(case: Case, bench: Bench) -> list[Result]:
    """Requests per second while the past is read, and codes per second from the first to the last one recorded."""
    codes, orders = (case.codes // 4, case.orders // 4) if bench.quick else (case.codes, case.orders)
    sandbox = bench.start(
        "-m",
        "sandbox",
        "stripe",
        f"--orders={orders}",
        f"--customers={codes}",
        f"--requests-per-second={case.rate}",
    )
    answers = sandbox.hear()["connect"]
    folder = bench.folder / case.push
    folder.mkdir(mode=0o700, exist_ok=True)
    try:
        with bench.fresh(bench.migrated()) as database:
            command = ("-m", "benchmarks.programs.push", bench.url(database), str(folder))
            said = bench.measure(*command, json.dumps(answers), str(case.rate)).said
    finally:
        sandbox.terminate()
    reading, pushing = said["reading"], said["pushing"]
    assert pushing["codes_in_store"] == codes, (
        f"{pushing['codes_in_store']} of {codes} codes are in the store"
    )
    for name, part in said.items():
        tell(
            f"  {name}: {part['requests']:,} requests in {part['seconds']:.1f} s, {part['requests_refused']} refused"
        )
    assert not reading["requests_refused"] + pushing["requests_refused"], "requests were refused"
    results = [compared(case.push, "codes/s", [codes / pushing["seconds"]], [case.rate], BAR)]
    if case.history:
        rate = reading["requests"] / reading["seconds"]
        results.append(compared(case.history, "requests/s", [rate], [case.rate], BAR))
    return results


def benchmarks() -> list[tuple[tuple[str, ...], Callable[[Bench], list[Result]]]]:
    """Names and what measures them."""
    return [(case.names, partial(run, case)) for case in CASES]
