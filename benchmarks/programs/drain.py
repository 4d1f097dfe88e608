"""Our draining of one store's inbox. Arguments: the database's URL, the store's id."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import aiohttp

from benchmarks.posts import KEY
from connectors.woocommerce import CONNECTOR
from storage.database import Database, DatabaseSettings
from storage.secrets import SecretBox
from sync.services import Services
from webhooks.draining import drain


async def main(url: str, store_id: int) -> None:
    """Drains until nothing waits."""
    database = await Database.open(DatabaseSettings(url, Path()))
    async with aiohttp.ClientSession() as session:
        services = Services(
            database=database,
            connectors={CONNECTOR.platform: CONNECTOR},
            session=session,
            clock=lambda: datetime.now(UTC),
            secret_box=SecretBox([KEY]),
        )
        started_at = time.perf_counter()
        settled = await drain(services, store_id)
        took = time.perf_counter() - started_at
    print(json.dumps({"settled": settled, "seconds": took}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await database.close()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
