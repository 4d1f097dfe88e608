"""Posts prepared requests over many connections at once, bounded in number and time; prints what came back.

Arguments: port, connections, seconds at most, file of requests (each after its length in four bytes).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter, deque
from pathlib import Path
from typing import cast

import uvloop


class Sender(asyncio.Protocol):
    """One connection: a request, its whole answer, the next request."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._buffer = b""
        self._sent_at = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are transports in all but name.
        self._transport = cast(asyncio.Transport, transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found or len(rest) < _length(head):
            return
        self._load.latencies.append(time.perf_counter() - self._sent_at)
        self._load.statuses[int(head[9:12])] += 1
        self._buffer = b""
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("the server hung up"))

    def _next(self) -> None:
        if not self._load.waiting or time.perf_counter() > self._load.until:
            if not self.done.done():
                self.done.set_result(None)
            self._transport.close()
            return
        request = self._load.waiting.popleft()
        self._sent_at = time.perf_counter()
        self._transport.write(request)


class Load:
    """The requests still to be sent, and what was measured."""

    def __init__(self, requests: deque[bytes], until: float) -> None:
        self.waiting = requests
        self.until = until
        self.latencies: list[float] = []
        self.statuses: Counter[int] = Counter()


async def main(port: int, connections: int, seconds: float, file: Path) -> None:
    """Sends everything and prints the figures."""
    started_at = time.perf_counter()
    load = Load(_requests(file), started_at + seconds)
    loop = asyncio.get_running_loop()
    started_at = time.perf_counter()
    pairs = [
        await loop.create_connection(lambda: Sender(load), "127.0.0.1", port) for _ in range(connections)
    ]
    async with asyncio.timeout(seconds + 10):
        await asyncio.gather(*(sender.done for _, sender in pairs))
    took = time.perf_counter() - started_at
    ordered = sorted(load.latencies)
    said = {
        "answered": len(ordered),
        "left": len(load.waiting),
        "per_second": len(ordered) / took,
        "p50_ms": ordered[len(ordered) // 2] * 1_000,
        "p99_ms": ordered[len(ordered) * 99 // 100] * 1_000,
        "statuses": dict(load.statuses),
    }
    print(json.dumps(said), flush=True)


def _requests(file: Path) -> deque[bytes]:
    content, found, at = file.read_bytes(), deque[bytes](), 0
    while at < len(content):
        end = at + 4 + int.from_bytes(content[at : at + 4], "big")
        found.append(content[at + 4 : end])
        at = end
    return found


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    raise ValueError("an answer without a length")


if __name__ == "__main__":
    _, given_port, given_connections, given_seconds, given_file = sys.argv
    uvloop.run(main(int(given_port), int(given_connections), float(given_seconds), Path(given_file)))
    sys.stdin.read()
