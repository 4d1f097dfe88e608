"""Our reading of a connected store's history, as `perennial sync STORE` does it.

Arguments: the database's URL, the data folder with the key, the store's id.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from pathlib import Path

from pydantic import SecretStr

from app.commands.base import run
from app.commands.stores import active_store, read_history
from app.settings import Settings
from app.wiring import open_services


async def main(url: str, data_dir: Path, store_id: int) -> None:
    """Reads to the end."""
    settings = Settings(database_url=SecretStr(url), data_dir=data_dir, allow_private_hosts=True)
    async with open_services(settings) as services:
        used, started_at = _cpu_seconds(), time.perf_counter()
        counts = await read_history(services, await active_store(services, store_id))
        said = {
            "seconds": time.perf_counter() - started_at,
            "cpu": _cpu_seconds() - used,
            "records": sum(counts.values()),
        }
        print(json.dumps(said), flush=True)
        await asyncio.to_thread(sys.stdin.read)


def _cpu_seconds() -> float:
    """This process's so far."""
    found = resource.getrusage(resource.RUSAGE_SELF)
    return found.ru_utime + found.ru_stime


if __name__ == "__main__":
    _, given_url, given_folder, given_store = sys.argv
    run(main(given_url, Path(given_folder), int(given_store)))
