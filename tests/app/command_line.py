"""`perennial` as a user runs it: words in, exit status and what it wrote where out."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from app.cli import cli

ROOT = Path(__file__).parents[2]
PROGRAM = (sys.executable, "-m", "app.cli")


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class CommandLine:
    """Runs commands with these variables beside the surroundings', from which all of Perennial's are taken out."""

    variables: Mapping[str, str]

    @asynccontextmanager
    async def started(self, *words: str, **more: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """A command in a process of its own, gone at the end of the block; `more` are further variables."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PERENNIAL_")}
        process = await asyncio.create_subprocess_exec(
            *PROGRAM,
            *words,
            cwd=ROOT,
            env={**kept, **self.variables, **more},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    async def run(self, *words: str, typed: str = "", **more: str) -> Done:
        """A command to its end, in a thread of this process: the shop's server goes on beside it."""
        ours = {name: None for name in os.environ if name.startswith("PERENNIAL_")}
        env = {**ours, **self.variables, **more}
        runner = CliRunner(env=env)
        result = await asyncio.to_thread(runner.invoke, cli, words, input=typed, prog_name="perennial")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Done(result.exit_code, result.stdout, result.stderr)

    async def said(self, *words: str, typed: str = "", **more: str) -> str:
        """What a command that must succeed says on stdout."""
        done = await self.run(*words, typed=typed, **more)
        assert done.status == 0, f"{' '.join(words)}: {done.err}"
        return done.out

    async def read(self, *words: str, typed: str = "", **more: str) -> Any:
        """The document of a command that must succeed; stdout holds nothing beside it."""
        return json.loads(await self.said(*words, "--json", typed=typed, **more))

    async def failed(self, *words: str, status: int = 1, typed: str = "", **more: str) -> str:
        """The error of a command that must fail: words on stderr, nothing on stdout."""
        done = await self.run(*words, typed=typed, **more)
        assert done.status == status, f"{' '.join(words)} ended with {done.status}: {done.err}"
        assert done.out == ""
        assert "Traceback" not in done.err
        return done.err
