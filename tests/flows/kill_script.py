"""Kills app, worker and database server at moments that a seed decides, and starts the processes again at once.

The database server is nobody's to start again but the app's own.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROCESSES = ("serve", "worker")
SERVER = "server"


@dataclass
class Company:
    """The app's processes over one data folder, and what keeps them running: one that ends is started again."""

    environment: Mapping[str, str]
    data_dir: Path
    log: Path
    ended_by_themselves: int = 0
    _processes: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)
    _keepers: list[asyncio.Task[None]] = field(default_factory=list)

    async def start(self, command: str) -> None:
        """Starts a process and keeps it running."""
        process = await self._spawn(command)
        self._keepers.append(asyncio.create_task(self._keep(command, process)))

    async def kill(self, target: str) -> None:
        """`kill -9`, of whatever there is to kill."""
        async with asyncio.timeout(60):
            # Nothing tells us when the dead one is back.
            while not (self._kill_server() if target == SERVER else self._kill_process(target)):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def end(self) -> None:
        """Ends all processes as an operator would."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        running = [process for process in self._processes.values() if process.returncode is None]
        for process in running:
            process.terminate()
        try:
            async with asyncio.timeout(30):
                for process in running:
                    assert await process.wait() == 0, f"a process did not end cleanly: see {self.log}"
        finally:
            for process in running:
                if process.returncode is None:
                    process.kill()
                    await process.wait()

    async def _keep(self, command: str, process: asyncio.subprocess.Process) -> None:
        while True:
            if await process.wait() != -signal.SIGKILL:
                self.ended_by_themselves += 1
            process = await self._spawn(command)

    async def _spawn(self, command: str) -> asyncio.subprocess.Process:
        with self.log.open("ab") as written:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "app.cli",
                command,
                cwd=ROOT,
                env={**os.environ, **self.environment},
                stdout=written,
                stderr=written,
            )
        self._processes[command] = process
        return process

    def _kill_process(self, command: str) -> bool:
        """False when it is dead already."""
        process = self._processes[command]
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
                return True
        return False

    def _kill_server(self) -> bool:
        """False when the server is dead already."""
        try:
            os.kill(int((self.data_dir / "pg18" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
        except (FileNotFoundError, IndexError, ProcessLookupError):
            return False
        return True


class Killer:
    """Decides who dies and when, the same for the same seed."""

    def __init__(self, company: Company, seed: int) -> None:
        self._company = company
        self._random = random.Random(seed)
        self.killed: Counter[str] = Counter()

    async def storm(self, kills: int) -> None:
        """So many kills, up to two seconds apart."""
        for _ in range(kills):
            await asyncio.sleep(self._random.uniform(0.0, 2.0))
            target = self._random.choice((*PROCESSES, SERVER))
            await self._company.kill(target)
            self.killed[target] += 1
