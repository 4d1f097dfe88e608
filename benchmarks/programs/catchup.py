"""Our reading of a shop by ordinary pages, all nouns at a time and again and again, as when it is caught up with.

Arguments: the database's URL, a data folder, the answers that connect the shop (JSON), where the stand-in is, and for how
many seconds beside those in which the full bucket is used up.
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
from connectors.base import Noun, Store
from sync.install import connect
from sync.services import Services

_LITTLE = 0.2  # of the bucket: a tenth is kept for calls that the platform has not counted yet
_LONGEST_SECONDS = 60


async def main(url: str, data_dir: Path, answers: dict[str, str], stand_in: str, seconds: float) -> None:
    """Connects, reads for so long, and says what the shop's bucket gave and what of it was used."""
    settings = Settings(database_url=SecretStr(url), data_dir=data_dir, allow_private_hosts=True)
    async with open_services(settings) as services:
        store = (await connect(services, "shopify", answers)).store
        opened = services.open_store(store)
        reading = [asyncio.create_task(_read(opened, noun)) for noun in Noun]
        await asyncio.sleep(1)
        refused = (await _books(services, stand_in))["requests_refused"]
        before = await _used_up(services, stand_in)
        started_at = time.perf_counter()
        await asyncio.sleep(seconds)
        after, took = await _books(services, stand_in), time.perf_counter() - started_at
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        said = {
            "seconds": took,
            "spent": after["points_spent"] - before["points_spent"],
            "left": after["points_left"],
            "refused": after["requests_refused"] - refused,
        }
        print(json.dumps(said), flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def _used_up(services: Services, stand_in: str) -> dict[str, float]:
    """The books when little is left in the bucket."""
    for _ in range(_LONGEST_SECONDS * 5):
        books = await _books(services, stand_in)
        if books["points_left"] <= _LITTLE * books["points_most"]:
            return books
        await asyncio.sleep(0.2)
    raise TimeoutError("the bucket was not used up")


async def _read(store: Store, noun: Noun) -> None:
    """Reads the noun's windows from the start again and again."""
    while True:
        for window in await store.windows(noun, None):
            async for _ in store.read(window, None):
                pass


async def _books(services: Services, stand_in: str) -> dict[str, float]:
    async with services.session.get(f"{stand_in}/_sandbox/books") as answer:
        found: dict[str, float] = await answer.json()
    return found


if __name__ == "__main__":
    _, given_url, given_folder, given_answers, address, given_seconds = sys.argv
    run(main(given_url, Path(given_folder), json.loads(given_answers), address, float(given_seconds)))
