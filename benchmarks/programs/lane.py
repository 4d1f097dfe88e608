"""Our app as `perennial serve --no-worker` runs it. Argument: the database's connection string."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from urllib.parse import urlsplit

import uvloop
from pydantic import SecretStr

from app.server import serving
from app.settings import Settings
from app.wiring import open_jobs, open_services
from benchmarks.posts import KEY


async def main(url: str) -> None:
    """Serves until standard input ends."""
    key = base64.b64encode(KEY).decode()
    settings = Settings(database_url=SecretStr(url), secret_key=SecretStr(key), port=0)
    async with (
        open_services(settings) as services,
        open_jobs(services) as jobs,
        serving(settings, services, jobs, with_worker=False) as address,
    ):
        print(json.dumps({"port": urlsplit(address).port}), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
