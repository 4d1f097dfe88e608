"""Our webhook lane under uvicorn, in front of a Quart app and without a worker. Argument: the database's URL."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import uvicorn
from quart import Quart

from benchmarks.posts import KEY
from connectors.woocommerce import CONNECTOR
from storage.database import Database, DatabaseSettings
from storage.secrets import SecretBox
from sync.services import Services
from webhooks.accept import Acceptor
from webhooks.lane import Lane


async def main(url: str) -> None:
    """Serves until standard input ends."""
    database = await Database.open(DatabaseSettings(url, Path()))
    async with aiohttp.ClientSession() as session:
        services = Services(
            database=database,
            connectors={CONNECTOR.platform: CONNECTOR},
            session=session,
            clock=lambda: datetime.now(UTC),
            secret_box=SecretBox([KEY]),
        )
        acceptor = Acceptor(services, _no_worker)
        config = uvicorn.Config(
            Lane(acceptor, Quart(__name__)), port=0, http="httptools", log_config=None, access_log=False
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        print(json.dumps({"port": server.servers[0].sockets[0].getsockname()[1]}), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        server.should_exit = True
        await serving
        await acceptor.close()
    await database.close()


async def _no_worker(kind: str, store_id: int) -> None:
    """Nobody drains meanwhile: the lane alone is measured."""


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(sys.argv[1]))
