"""Our pushing of open codes to a Shopify store, all members of which have their birthday today.

Arguments: the database's URL, a data folder, the answers that connect the store (JSON).
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


async def main(url: str, data_dir: Path, answers: dict[str, str]) -> None:
    """Connects, decides, and pushes to the end."""
    settings = Settings(database_url=SecretStr(url), data_dir=data_dir, allow_private_hosts=True)
    async with open_services(settings) as services:
        store = (await connect(services, "shopify", answers)).store
        await run_import(services, store.id)
        await decide(services, store, Binding.OPEN)
        before = await _calls(services, answers)
        started_at = time.perf_counter()
        report = await push_store(services, store.id)
        took = time.perf_counter() - started_at
        calls = await _calls(services, answers) - before
        print(json.dumps({"pushed": report.pushed, "calls": calls, "seconds": took}), flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def _calls(services: Services, answers: dict[str, str]) -> int:
    """How many requests the stand-in has had."""
    async with services.session.get(f"{answers['api-base']}/_sandbox/books") as answer:
        return int((await answer.json())["requests"])


if __name__ == "__main__":
    _, given_url, given_folder, given_answers = sys.argv
    run(main(given_url, Path(given_folder), json.loads(given_answers)))
