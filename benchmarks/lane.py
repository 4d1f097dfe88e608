"""How many webhook posts the lane takes in a second, beside a bare ASGI callable that checks and commits alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import posts
from benchmarks.harness import Bench, Connection
from benchmarks.results import Result, compared

NAMES = ("webhooks.lane", "webhooks.lane.p99")

CONNECTIONS = 32
MOST_SECONDS = 60.0
_OURS = ("-m", "benchmarks.programs.lane")
_LIMIT = ("benchmarks/limits/lane.py",)


def run(bench: Bench) -> list[Result]:
    """Posts per second, and the time that 99 of 100 posts took at most."""
    count = (
        15_000 if bench.quick else 40_000
    )  # shorter runs say more of the machine's moment than of either side
    requests = _write_requests(bench, count)
    template = bench.copy(bench.migrated())
    with bench.connect(template) as connection:
        assert posts.install(connection) == 1, "the limit program writes for store 1"
    marks: set[str] = set()

    def side(command: tuple[str, ...]) -> dict[str, Any]:
        with bench.fresh(template) as name:
            server = bench.start(*command, bench.url(name))
            port = server.hear(30)["port"]
            load = bench.measure(
                "-m",
                "benchmarks.programs.load",
                str(port),
                str(CONNECTIONS),
                str(MOST_SECONDS),
                str(requests),
            )
            server.finish()
            _check(load.said, count)
            with bench.connect(name) as connection:
                marks.add(_mark(connection, count))
        assert len(marks) == 1, "both sides keep the same rows"
        return dict(load.said)

    ours, limit = bench.alternate(lambda: side(_OURS), lambda: side(_LIMIT))
    bench.drop(template)
    return [
        compared(
            NAMES[0],
            "posts/s",
            [said["per_second"] for said in ours],
            [said["per_second"] for said in limit],
            0.75,
        ),
        compared(
            NAMES[1],
            "ms",
            [said["p99_ms"] for said in ours],
            [said["p99_ms"] for said in limit],
            2.0,
            more_is_better=False,
        ),
    ]


def _write_requests(bench: Bench, count: int) -> Path:
    file = bench.folder / "requests"
    with file.open("wb") as written:
        for body in posts.bodies(count):
            request = posts.request(body)
            written.write(len(request).to_bytes(4, "big") + request)
    return file


def _check(said: Any, count: int) -> None:
    assert said["statuses"] == {"200": count}, (
        f"every post is answered 200: {said['statuses']}, {said['left']} left"
    )


def _mark(connection: Connection, count: int) -> str:
    """What tells whether two inboxes hold the same, whenever it came."""
    found = connection.execute(
        """SELECT count(*), md5(string_agg(md5(delivery_key || topic || headers::text || state || attempts::text
               || md5(body)), '' ORDER BY delivery_key)) FROM deliveries"""
    ).fetchone()
    assert found is not None
    assert found[0] == count, f"{found[0]} rows of {count} posts"
    return str(found[1])
