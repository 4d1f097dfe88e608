"""Our reading of a store's past, and pushing of a reward's codes to all its members, at the platform's pace.

Arguments: the database's URL, a data folder, the answers that connect the store (JSON), its requests per second.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable
from pathlib import Path

from pydantic import SecretStr

from app.commands.base import run
from app.settings import Settings
from app.wiring import open_services
from rewards.occasions import local_today
from rewards.records import Benefit, BenefitKind, Binding
from rewards.terms import RewardTerms
from storage.stores import StoreRow
from sync import occasions
from sync.history import run_import
from sync.install import connect
from sync.push import push_store
from sync.reward_changes import create_reward
from sync.services import Services

_SECOND = 1.1


async def main(url: str, data_dir: Path, answers: dict[str, str], rate: str) -> None:
    """Connects, reads the past, decides, and pushes to the end."""
    settings = Settings(database_url=SecretStr(url), data_dir=data_dir, allow_private_hosts=True)
    async with open_services(settings) as services:
        given = {**answers, "setting:requests_per_second": rate}
        store = (await connect(services, "stripe", given)).store
        meter = _Meter(services, answers["api-base"])
        reading = await meter.run(run_import(services, store.id))
        await decide(services, store)
        pushing = await meter.run(push_store(services, store.id))
        print(json.dumps({"reading": reading, "pushing": pushing}), flush=True)
        await asyncio.to_thread(sys.stdin.read)


class _Meter:
    """Measures some work: seconds, and what the stand-in was asked and refused meanwhile."""

    def __init__(self, services: Services, base: str) -> None:
        self._services = services
        self._books = f"{base}/_sandbox/books"

    async def run(self, work: Awaitable[object]) -> dict[str, float]:
        """Does the work once the platform has forgotten what was asked of it before."""
        await asyncio.sleep(_SECOND)
        before = await self._counted()
        started_at = time.perf_counter()
        await work
        took = time.perf_counter() - started_at
        after = await self._counted()
        return {"seconds": took, **{name: after[name] - before[name] for name in before}}

    async def _counted(self) -> dict[str, int]:
        async with self._services.session.get(self._books) as answer:
            books = await answer.json()
        return {name: int(books[name]) for name in ("requests", "requests_refused", "codes_in_store")}


async def decide(services: Services, store: StoreRow, binding: Binding = Binding.BOUND) -> None:
    """A birthday code for everybody, today."""
    today = local_today(services.clock(), store.time_zone)
    async with services.database.transaction() as connection:
        await connection.execute(
            "UPDATE members SET birthday_md = %s, birthday_year = NULL, birthday_set_by = 'store' "
            "WHERE home_store_id = %s AND has_account",
            (today.month * 100 + today.day, store.id),
        )
    benefit = Benefit(BenefitKind.PERCENTAGE, basis_points=1_000)
    terms = RewardTerms(benefit, code_prefix="BDAY", binding=binding)
    await create_reward(
        services, store.program_id, name="Birthday", trigger="birthday", terms=terms, actor="benchmark"
    )
    await occasions.run(services, store_id=store.id)


if __name__ == "__main__":
    _, given_url, given_folder, given_answers, given_rate = sys.argv
    run(main(given_url, Path(given_folder), json.loads(given_answers), given_rate))
