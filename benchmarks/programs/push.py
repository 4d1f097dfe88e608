"""Our pushing of one reward's codes to a store, all members of which have their birthday today.

Arguments: the database's URL, a data folder, the answers that connect the store (JSON), its requests per second.
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

_SECOND = 1.1  # in which the platform forgets what was asked of it before


async def main(url: str, data_dir: Path, answers: dict[str, str], rate: str) -> None:
    """Connects, decides, and pushes to the end."""
    settings = Settings(database_url=SecretStr(url), data_dir=data_dir, allow_private_hosts=True)
    async with open_services(settings) as services:
        given = {**answers, "setting:requests_per_second": rate}
        store = (await connect(services, "stripe", given)).store
        await run_import(services, store.id)
        await decide(services, store)
        await asyncio.sleep(_SECOND)
        refused = await _refused(services, answers)
        started_at = time.perf_counter()
        report = await push_store(services, store.id)
        took = time.perf_counter() - started_at
        refused = await _refused(services, answers) - refused
        said = {"pushed": report.pushed, "seconds": took, "refused": refused}
        print(json.dumps(said), flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def _refused(services: Services, answers: dict[str, str]) -> int:
    """How many requests the stand-in has refused so far for coming too fast."""
    async with services.session.get(f"{answers['api-base']}/_sandbox/books") as answer:
        return int((await answer.json())["requests_refused"])


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
