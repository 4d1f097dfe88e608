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
    """The app's processes over one data folder."""

    environment: Mapping[str, str]
    data_dir: Path
    log: Path
    processes: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)

    async def start(self, command: str) -> None:
        """Starts a process, again if there was one."""
        with self.log.open("ab") as written:
            self.processes[command] = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.flows.app_process",
                command,
                cwd=ROOT,
                env={**os.environ, **self.environment},
                stdout=written,
                stderr=written,
            )

    async def kill(self, target: str) -> None:
        """`kill -9`, of the server once there is one to kill; a process of ours is started again."""
        if target == SERVER:
            async with asyncio.timeout(60):
                while not self._kill_server():  # noqa: ASYNC110 - nothing here tells us when the server is back
                    await asyncio.sleep(0.05)
            return
        process = self.processes[target]
        process.kill()
        await process.wait()
        await self.start(target)

    async def end(self) -> None:
        """Ends all processes as an operator would."""
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                process.terminate()
        try:
            async with asyncio.timeout(30):
                for process in self.processes.values():
                    await process.wait()
        finally:
            for process in self.processes.values():
                if process.returncode is None:
                    process.kill()
                    await process.wait()

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
        """So many kills, up to three seconds apart."""
        for _ in range(kills):
            await asyncio.sleep(self._random.uniform(0.1, 3.0))
            target = self._random.choice((*PROCESSES, SERVER))
            await self._company.kill(target)
            self.killed[target] += 1
