"""What every benchmark needs: a PostgreSQL of its own, fresh databases, measured processes, alternating runs.

A measured program is any process that prints one line of JSON when its work is done and then waits for the end of its
standard input; so its processor time and its peak memory can be read while it still is. A server prints its line when
it is ready, and serves until its standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import make_conninfo

from storage.database import Database, DatabaseSettings
from storage.embedded import EmbeddedServer, ServerAddress
from storage.migrate import migrate

T = TypeVar("T")
Connection = psycopg.Connection[tuple[Any, ...]]

ROOT = Path(__file__).parent.parent
PYTHON = (sys.executable,)
LONGEST_RUN_SECONDS = 150.0


@dataclass(frozen=True, slots=True)
class Measured:
    """What a program said, and what it took: processor seconds (user and system) and peak memory (VmHWM)."""

    said: Mapping[str, Any]
    cpu_seconds: float
    peak_mib: float


class Program:
    """A process of ours; it ends with `finish` or with the bench."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self.said: Mapping[str, Any] = {}

    def hear(self, seconds: float = LONGEST_RUN_SECONDS) -> Mapping[str, Any]:
        """The line of JSON; fails when the program ends without one or takes too long."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        line = self._process.stdout.readline() if ready else b""
        if not line:
            self.kill()
            raise RuntimeError(f"{self._process.args!r} said nothing within {seconds:.0f} s, or failed")
        self.said = json.loads(line)
        return self.said

    def finish(self) -> Measured:
        """Lets the program end and measures it."""
        peak_mib = _peak_mib(self._process.pid)
        assert self._process.stdin is not None
        self._process.stdin.close()
        _, status, usage = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        if self._process.stdout:
            self._process.stdout.close()
        if self._process.returncode != 0:
            raise RuntimeError(f"{self._process.args!r} ended with {self._process.returncode}")
        return Measured(self.said, usage.ru_utime + usage.ru_stime, peak_mib)

    def terminate(self) -> None:
        """Asks the process to end, so that it can tidy up, and waits for it."""
        self._process.terminate()
        self._process.wait(timeout=20)
        self.kill()

    def kill(self) -> None:
        """Ends the process whatever it does; fine when it has ended."""
        if self._process.returncode is None:
            self._process.kill()
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream and not stream.closed:
                stream.close()


class Bench:
    """One invocation's server, folder and processes. `quick` asks for runs that stay under a minute a name."""

    def __init__(self, folder: Path, address: ServerAddress, *, quick: bool) -> None:
        self.folder = folder
        self.quick = quick
        self._address = address
        self._programs: list[Program] = []
        self._migrated: str | None = None

    @property
    def runs(self) -> int:
        """How often each side runs."""
        return 3 if self.quick else 5

    def url(self, name: str) -> str:
        """A database's connection string, as PERENNIAL_DATABASE_URL and libpq take it."""
        at = self._address
        return make_conninfo(host=at.host, port=at.port, user=at.user, dbname=name)

    def migrated(self) -> str:
        """The name of a database with our tables and nothing in them, to be copied."""
        if self._migrated is None:
            self._migrated = self.copy("template0")
            asyncio.run(_migrate(self.url(self._migrated)))
        return self._migrated

    def copy(self, template: str) -> str:
        """A new database that holds what the template holds; its name."""
        name = f"bench_{secrets.token_hex(4)}"
        with self.connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        return name

    def drop(self, name: str) -> None:
        """Takes a database away."""
        with self.connect("postgres") as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    @contextmanager
    def fresh(self, template: str) -> Iterator[str]:
        """A copy of the template for one run; everything before it is on disk, so that runs start alike."""
        name = self.copy(template)
        with self.connect("postgres") as connection:
            connection.execute("CHECKPOINT")
        try:
            yield name
        finally:
            self.drop(name)

    def connect(self, name: str) -> Connection:
        """A plain connection, each statement committed by itself."""
        return psycopg.connect(self.url(name), autocommit=True)

    def start(self, *command: str) -> Program:
        """Starts a Python program: `-m`, a module, arguments; or a script's path and arguments."""
        program = Program((*PYTHON, *command))
        self._programs.append(program)
        return program

    def measure(self, *command: str) -> Measured:
        """Runs a program to its end."""
        program = self.start(*command)
        program.hear()
        return program.finish()

    def alternate(self, ours: Callable[[], T], limit: Callable[[], T]) -> tuple[list[T], list[T]]:
        """Ours, limit, ours, limit… so that what else the machine does falls on both."""
        our_figures: list[T] = []
        limit_figures: list[T] = []
        for number in range(self.runs):
            our_figures.append(ours())
            limit_figures.append(limit())
            tell(f"  run {number + 1} of {self.runs}")
        return our_figures, limit_figures

    def close(self) -> None:
        """Ends every process that is still there."""
        for program in self._programs:
            program.kill()


@contextmanager
def opened(*, quick: bool) -> Iterator[Bench]:
    """A bench in a temporary folder; afterwards nothing of it is left."""
    folder = Path(tempfile.mkdtemp(prefix="perennial-bench-"))
    server = EmbeddedServer(folder)
    bench: Bench | None = None
    try:
        bench = Bench(folder, asyncio.run(server.start()), quick=quick)
        yield bench
    finally:
        if bench:
            bench.close()
        asyncio.run(server.stop())
        shutil.rmtree(folder, ignore_errors=True)


def tell(line: str) -> None:
    """Says how far we are, on standard error."""
    print(line, file=sys.stderr, flush=True)


async def _migrate(url: str) -> None:
    database = await Database.open(DatabaseSettings(url, Path()))
    try:
        await migrate(database)
    finally:
        await database.close()


def _peak_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the program ended before it was measured")
