"""`python -m benchmarks`: measures what is asked for and prints a table, or one JSON list with --json."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from benchmarks import catchup, drain, history, lane, pools, push
from benchmarks.harness import Bench, opened, tell
from benchmarks.results import Result, broken_off


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A benchmark and the names of the lines that it makes."""

    names: tuple[str, ...]
    run: Callable[[Bench], list[Result]]


BENCHMARKS = (
    Benchmark(lane.NAMES, lane.run),
    Benchmark(drain.NAMES, drain.run),
    *(Benchmark(names, run) for names, run in history.benchmarks()),
    *(Benchmark(names, run) for names, run in push.benchmarks()),
    *(Benchmark(names, run) for names, run in pools.benchmarks()),
    Benchmark(catchup.NAMES, catchup.run),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 when every bar holds, else 1."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything we started ends with us
    results: list[Result] = []
    with opened(quick=options.quick) as bench:
        for benchmark in BENCHMARKS:
            wanted = {name for name in benchmark.names if not options.only or name in options.only}
            if wanted:
                tell(", ".join(sorted(wanted)))
                results += [result for result in measured(benchmark, bench) if result.name in wanted]
    print(json.dumps([asdict(result) for result in results]) if options.json else table(results))
    return 0 if all(result.holds for result in results) else 1


def measured(benchmark: Benchmark, bench: Bench) -> list[Result]:
    """The benchmark's lines; where it broke off (requests were refused, rows differ), lines that do not hold."""
    try:
        return benchmark.run(bench)
    except (AssertionError, RuntimeError) as error:
        tell(f"  broke off: {error}")
        return [broken_off(name) for name in benchmark.names]


def table(results: Sequence[Result]) -> str:
    """The results for people."""
    lines = [f"{'name':<28}{'ours':>14}{'limit':>14}  {'unit':<14}{'ratio':>7}{'bar':>7}  holds"]
    for r in results:
        lines.append(
            f"{r.name:<28}{r.ours:>14,.3f}{r.limit:>14,.3f}  {r.unit:<14}{r.ratio:>7.2f}{r.bar:>7.2f}  "
            f"{'yes' if r.holds else 'NO'}"
        )
    return "\n".join(lines)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    names = [name for benchmark in BENCHMARKS for name in benchmark.names]
    parser.add_argument("--json", action="store_true", help="print one JSON list")
    parser.add_argument(
        "--only", action="append", choices=names, metavar="NAME", help=f"one of {', '.join(names)}"
    )
    parser.add_argument("--quick", action="store_true", help="shorter runs, under a minute a name")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
