"""Our pushing of codes to a store, all members of which have their birthday today.

Arguments: the database's URL, a data folder, the answers that connect the store (JSON), the platform, who can use the
codes ("open" or "bound"), and where the stand-in is.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from pydantic import SecretStr

from app.commands.base import run
from app.settings import Settings
from app.wiring import open_services
from benchmarks.programs.push import decide
from rewards.records import Binding
from sync.history import run_import
from sync.install import connect
from sync.push import push_store
from sync.services import Services


async def main(
    url: str, data_dir: Path, answers: dict[str, str], platform: str, binding: Binding, stand_in: str
) -> None:
    """Connects, decides, and pushes to the end."""
    settings = Settings(database_url=SecretStr(url), data_dir=data_dir, allow_private_hosts=True)
    async with open_services(settings) as services:
        store = (await connect(services, platform, answers)).store
        await run_import(services, store.id)
        await decide(services, store, binding)
        before = await _calls(services, stand_in)
        started_at = time.perf_counter()
        report = await push_store(services, store.id)
        took = time.perf_counter() - started_at
        calls = await _calls(services, stand_in) - before
        print(json.dumps({"pushed": report.pushed, "calls": calls, "seconds": took}), flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def _calls(services: Services, stand_in: str) -> int:
    """How many requests the stand-in has had."""
    async with services.session.get(f"{stand_in}/_sandbox/books") as answer:
        return int((await answer.json())["requests"])


if __name__ == "__main__":
    _, given_url, given_folder, given_answers, name, codes_for, address = sys.argv
    run(main(given_url, Path(given_folder), json.loads(given_answers), name, Binding(codes_for), address))
