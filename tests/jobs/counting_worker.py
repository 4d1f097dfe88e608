"""A worker process whose imports count: started, killed and stopped by the tests.

Arguments: the database's URL, or `--data FOLDER` for an embedded server.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

import aiohttp

from app.worker import work_until_told
from storage.database import Database, DatabaseSettings
from storage.locks import only_one
from sync.jobs import build
from sync.services import Services
from tests.jobs.support import FAST, FAST_PAUSES, HASTY, count, services_over, work


async def count_alone(services: Services, store_id: int) -> None:
    """A count that holds a lock on a connection of its own, as pushes do."""
    async with only_one(services.database, f"push:{store_id}") as is_ours:
        assert is_ours
        await count(services, store_id)


async def main(arguments: list[str]) -> None:
    """Works until it is told to stop."""
    if arguments[0] == "--data":
        settings = DatabaseSettings(
            None, Path(arguments[1]), pool_size=6, wait_seconds=3, server_settings=HASTY
        )
    else:
        settings = DatabaseSettings(arguments[0], Path(), pool_size=6, wait_seconds=3)
    database = await Database.open(settings)
    try:
        async with aiohttp.ClientSession() as session:
            services = services_over(database, session)
            given = work(import_history=count, drain=count, push=count_alone)
            async with build(services, given, FAST_PAUSES).opened() as jobs:
                print("ready", flush=True)
                await work_until_told(jobs, FAST)
    finally:
        await database.close()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    asyncio.run(main(sys.argv[1:]))
