"""Worker processes that can be killed and stopped, and a network between them and the database that can fail."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

ROOT = Path(__file__).parents[2]


class WorkerProcess:
    """One worker in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        os.kill(self.pid, number)

    async def ended(self, *, seconds: float) -> int:
        """Waits for its end; gives its exit status."""
        async with asyncio.timeout(seconds):
            return await self._process.wait()


@asynccontextmanager
async def worker_process(*arguments: str, log: Path) -> AsyncIterator[WorkerProcess]:
    """Starts tests/jobs/counting_worker.py; whatever became of it, it is gone afterwards."""
    with log.open("ab") as written:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.jobs.counting_worker",
            *arguments,
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=written,
        )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            line = await process.stdout.readline()
        assert line == b"ready\n", f"the worker did not start: see {log}"
        yield WorkerProcess(process)
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
        await process.wait()


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that the server's system user can reach, also when the tests run as root."""
    with tempfile.TemporaryDirectory(prefix="perennial-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


class Network:
    """Carries connections to the real server, until it is cut."""

    def __init__(self, folder: Path, conninfo: str) -> None:
        self._socket = folder / ".s.PGSQL.5432"
        self._target = conninfo_to_dict(conninfo)
        self._server: asyncio.Server | None = None
        self._carried: set[asyncio.Task[None]] = set()
        self.url = make_conninfo(conninfo, host=str(folder), port=5432)

    async def mend(self) -> None:
        """Connections work from now on."""
        self._server = await asyncio.start_unix_server(self._carry, path=self._socket)

    async def cut(self) -> None:
        """Every connection breaks, and new ones are refused."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        self._socket.unlink(missing_ok=True)
        for task in list(self._carried):
            task.cancel()
        await asyncio.gather(*self._carried, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._carried.add(task)
        task.add_done_callback(self._carried.discard)
        host, port = str(self._target["host"]), int(str(self._target["port"]))
        if host.startswith("/"):
            theirs, to_them = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        else:
            theirs, to_them = await asyncio.open_connection(host, port)
        ways = [asyncio.create_task(_pass_on(reader, to_them)), asyncio.create_task(_pass_on(theirs, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            return  # cut
        finally:
            for way in ways:
                way.cancel()
            for end in (writer, to_them):
                end.transport.abort()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while part := await reader.read(65536):
            writer.write(part)
            await writer.drain()
