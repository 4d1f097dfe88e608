"""What the benchmarks' table and JSON list say of figures."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.__main__ import BENCHMARKS, Benchmark, main, measured, table
from benchmarks.harness import Bench
from benchmarks.results import Result, compared
from storage.embedded import ServerAddress


def test_medians_are_compared_and_more_is_better() -> None:
    result = compared("a", "posts/s", [10.0, 80.0, 90.0], [1_000.0, 100.0, 1.0], 0.75)
    assert (result.ours, result.limit, result.ratio, result.holds) == (80.0, 100.0, 0.8, True)
    assert not compared("a", "posts/s", [74.0], [100.0], 0.75).holds


def test_of_a_time_less_is_better() -> None:
    assert compared("b", "ms", [30.0], [20.0], 2.0, more_is_better=False).holds
    assert not compared("b", "ms", [41.0], [20.0], 2.0, more_is_better=False).holds


def test_the_json_names_what_the_table_shows() -> None:
    result = compared("webhooks.lane", "posts/s", [10.0], [20.0], 0.75)
    assert set(json.loads(json.dumps(asdict(result)))) == set("name unit ours limit ratio bar holds".split())
    assert "webhooks.lane" in table([result])
    assert table([result]).endswith("NO")


def test_each_name_stands_for_one_line() -> None:
    names = [name for benchmark in BENCHMARKS for name in benchmark.names]
    assert len(names) == len(set(names))


def test_one_that_breaks_off_holds_nothing_and_leaves_the_others(tmp_path: Path) -> None:
    def refused(_: Bench) -> list[Result]:
        raise AssertionError("requests were refused")

    bench = Bench(tmp_path, ServerAddress("/nowhere", 5432, "nobody", "none"), quick=True)
    lines = measured(Benchmark(("a", "b"), refused), bench)
    assert [(line.name, line.holds) for line in lines] == [("a", False), ("b", False)]
    assert table(lines).count("broken off") == 2


def test_an_unknown_name_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--only", "no such name"])
    assert ended.value.code == 2
    assert "webhooks.lane" in capsys.readouterr().err
