"""A worker that is killed between giving and writing that down: whoever takes over finds what was given."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import web
from pydantic import SecretStr

from app.settings import Settings
from app.wiring import open_services, work
from rewards.records import Benefit, BenefitKind, Binding
from rewards.terms import RewardTerms
from sandbox.shopify import ShopifySandbox
from sandbox.world import Seed, World
from storage.secrets import new_key
from sync import occasions
from sync.history import run_import
from sync.install import connect
from sync.jobs import Jobs, build
from sync.kinds import Kind
from sync.reward_changes import create_reward
from sync.services import Services
from tests.flows.kill_script import Company
from tests.flows.shops import shop_now
from tests.flows.test_kills import environment, free_port
from tests.jobs.processes import open_folder

KINDS = {
    "storeCreditAccountCredit": (BenefitKind.STORE_CREDIT, Binding.BOUND),
    "giftCardCreate": (BenefitKind.GIFT_CARD, Binding.OPEN),
}
KILLS = 2


class Deadly(ShopifySandbox):
    """Gives what it is asked for, and kills the worker that asks before it can hear of it."""

    company: Company
    kills = 0

    async def _graphql(self, request: web.Request) -> web.Response:
        text = await request.text()
        answer = await super()._graphql(request)
        if self.kills < KILLS and any(mutation in text for mutation in KINDS):
            self.kills += 1
            await self.company.kill("worker")
        return answer

    def amounts(self) -> list[int]:
        """All that was given, by the shop's own books."""
        cards = [card.initial_minor for card in self.cards.cards.values()]
        return cards + [amount for customer in self.customers for amount in self.credit.given(customer)]


async def rows(services: Services, query: str) -> list[dict[str, object]]:
    async with services.database.transaction() as connection:
        return await (await connection.execute(query)).fetchall()


async def until_none_waits(services: Services, jobs: Jobs, store_id: int) -> None:
    """Lets workers push until all is given. What waits for its answer to settle is let go on at once, as if time had passed."""
    async with asyncio.timeout(120):
        while await rows(services, "SELECT FROM grants WHERE state <> 'delivered'"):
            await asyncio.sleep(1)
            await rows(
                services,
                """WITH a AS (UPDATE grants SET try_after = NULL WHERE state = 'decided')
                   UPDATE promotion_codes SET asked_at = asked_at - interval '6 minutes'
                   WHERE external_id IS NULL AND asked_at > now() - interval '5 minutes' RETURNING id""",
            )
            await jobs.wake(Kind.PUSH, store_id)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("mutation", list(KINDS))
async def test_a_worker_killed_before_it_hears_the_answer_gives_nobody_two(
    tmp_path: Path, mutation: str
) -> None:
    now, time_zone = shop_now()
    kind, binding = KINDS[mutation]
    seed = Seed(customers=120, orders=20, birthday_share=1.0, now=now, time_zone=time_zone)
    with open_folder() as folder:
        async with AsyncExitStack() as stack:
            sandbox = Deadly(World(seed))
            sandbox.limiter_on = False
            await stack.enter_async_context(sandbox)
            settings = Settings(
                data_dir=folder / "data",
                secret_key=SecretStr(new_key()),
                port=free_port(),
                allow_private_hosts=True,
            )
            services = await stack.enter_async_context(open_services(settings))
            jobs = await stack.enter_async_context(build(services, work()).opened())
            sandbox.company = Company(environment(settings), settings.data_dir, tmp_path / "log")
            stack.push_async_callback(sandbox.company.end)
            made = await connect(services, "shopify", sandbox.connect_answers())
            terms = RewardTerms(Benefit(kind, amount_minor=700, currency="EUR"), binding=binding)
            await create_reward(
                services, made.store.program_id, name="Gift", trigger="birthday", terms=terms, actor="test"
            )
            await run_import(services, made.store.id)
            count = (await occasions.run(services)).grants
            await sandbox.company.start("worker")
            await jobs.wake(Kind.PUSH, made.store.id)
            await until_none_waits(services, jobs, made.store.id)
            assert sandbox.kills == KILLS < count
            assert sandbox.amounts() == [700] * count
