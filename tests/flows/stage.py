"""The running app on a database of its own, and stand-in shops that are installed in it. Only the shops are made up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from app.server import serving
from app.settings import Settings
from app.wiring import open_services, work
from app.worker import Timing, WorkerSupervisor
from rewards.records import Benefit, BenefitKind
from rewards.terms import RewardTerms
from sandbox.server import Sandbox
from sandbox.stripe import StripeSandbox
from sandbox.world import Seed, World
from storage import programs, stores
from storage.backfill import RunRow
from storage.database import Connection
from storage.rewards import RewardRow
from storage.secrets import new_key
from storage.stores import StoreRow
from sync import backfill
from sync.attempts import Pauses
from sync.install import connect
from sync.jobs import Jobs, build
from sync.kinds import Kind
from sync.reward_changes import create_reward
from sync.services import Services
from tests.flows.books import Books, read_books
from tests.sandbox.listening import Listening, problems

PATIENCE_SECONDS = 40.0
TEN_PERCENT = Benefit(BenefitKind.PERCENTAGE, basis_points=1_000)


class Clock:
    """The time of the app and of the shops, moved by hand."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def passes(self, **amount: float) -> None:
        """Moves on, e.g. `days=1`."""
        self.now += timedelta(**amount)


def this_morning() -> datetime:
    """Ten o'clock (UTC) of the real day: some connectors ask for what is recent by the real clock."""
    return datetime.now(UTC).replace(hour=10, minute=0, second=0, microsecond=0)


@dataclass
class Shop:
    """An installed stand-in."""

    stage: Stage
    sandbox: Sandbox
    store: StoreRow

    async def ask(self, control: str, **body: object) -> dict[str, Any]:
        """What somebody does in the shop, some seconds later than what was done before; the shop's answer."""
        self.stage.clock.passes(seconds=5)
        url = f"{self.sandbox.url}/_sandbox/{control}"
        async with self.stage.services.session.post(url, json=body) as answer:
            found: dict[str, Any] = await answer.json()
            return found

    async def buys(self, email: str, subtotal_minor: int, code: str | None = None) -> str:
        """An order that the shop takes; its id."""
        placed = await self.ask("checkout", email=email, subtotal_minor=subtotal_minor, code=code)
        assert "error" not in placed, placed
        return str(placed["order"])

    async def refused(self, email: str, code: str) -> str:
        """Why the shop's checkout does not take a code from somebody."""
        return str((await self.ask("checkout", email=email, subtotal_minor=5_000, code=code))["error"])

    async def books(self) -> Books:
        """What the app holds of this store."""
        async with self.stage.services.database.transaction() as connection:
            return await read_books(connection, self.store.id)

    async def row(self) -> StoreRow:
        """The store as it is now."""
        async with self.stage.services.database.transaction() as connection:
            return await stores.by_id(connection, self.store.id)

    async def codes(self) -> list[dict[str, Any]]:
        """Each grant with its code: code, email, customer, occasion, on (the day), state; oldest first."""
        return await self.stage.rows(
            """SELECT c.code, sc.email, sc.external_id AS customer, g.occasion, g.occasion_on AS on, g.due_on, g.state
               FROM grants g JOIN promotion_codes c ON c.grant_id = g.id AND c.replaced_at IS NULL
               JOIN store_customers sc ON sc.id = g.store_customer_id WHERE g.store_id = %s ORDER BY g.id""",
            self.store.id,
        )

    async def earns(self) -> None:
        """The merchant switches earning on."""
        async with self.stage.services.database.transaction() as connection:
            await programs.earn_from(connection, self.store.id, self.stage.clock())

    async def rewards(self, trigger: str, **terms: Any) -> RewardRow:
        """Ten percent for an occasion, with other terms where named."""
        made = RewardTerms(**{"benefit": TEN_PERCENT, "code_prefix": trigger[:4].upper(), **terms})
        return await create_reward(
            self.stage.services,
            self.store.program_id,
            name=trigger,
            trigger=trigger,
            terms=made,
            actor="test",
        )

    async def reads_history(self) -> None:
        """The job that reads the shop's past, and what follows from it."""
        await self.stage.defer(Kind.IMPORT_HISTORY, self.store.id)
        await self.stage.settle()

    async def rewards_the_past(self) -> RunRow:
        """Preview, confirm, and the job that runs it; the run as it was previewed."""
        run = await backfill.preview(self.stage.services, self.store.id, actor="test")

        async def confirm(connection: Connection) -> None:
            await backfill.confirm(self.stage.services, run.id, actor="test", connection=connection)
            await self.stage.jobs.defer_in(connection, Kind.BACKFILL, run.id)

        await self.stage.services.database.retrying(confirm)
        await self.stage.settle()
        return run

    async def reconciles(self) -> None:
        """The job of the daily look."""
        await self.stage.jobs.wake(Kind.RECONCILE, self.store.id)
        await self.stage.settle()

    async def loses_webhooks(self, *, how_many: int = 10_000) -> None:
        """From now on (or never again, with 0) webhooks go astray."""
        await self.ask("faults", lose_webhooks=how_many)


@dataclass
class Stage:
    """The app that serves and works, its clock, and the shops."""

    services: Services
    jobs: Jobs
    clock: Clock
    exits: AsyncExitStack
    shops: list[Shop]

    async def open(
        self,
        kind: type[Sandbox],
        *,
        number: int = 1,
        customers: int = 60,
        orders: int = 120,
        program_id: int | None = None,
        answers: Mapping[str, str] | None = None,
        reads_history: bool = True,
        **seed: Any,
    ) -> Shop:
        """A shop of a platform, installed with its webhooks, its history read unless told otherwise."""
        kind = Listening if kind is StripeSandbox else kind  # Stripe's document judges all that is said
        made = Seed(number=number, customers=customers, orders=orders, now=self.clock.now, **seed)
        sandbox = kind(World(made, base_is_total=getattr(kind, "base_is_total", False)), clock=self.clock)
        sandbox.limiter_on = False
        await self.exits.enter_async_context(sandbox)
        return await self.install(
            sandbox, program_id=program_id, answers=answers, reads_history=reads_history
        )

    async def install(
        self,
        sandbox: Sandbox,
        *,
        program_id: int | None = None,
        answers: Mapping[str, str] | None = None,
        reads_history: bool = True,
    ) -> Shop:
        """A shop that is open already, installed."""
        # The shops' limiters are off, so nobody has to keep to them.
        given = {**sandbox.connect_answers(), "setting:requests_per_second": "0", **(answers or {})}
        connected = await connect(self.services, sandbox.platform, given, program_id=program_id)
        assert connected.webhook_address, connected.webhook_note
        assert connected.store.time_zone == sandbox.world.seed.time_zone
        shop = Shop(self, sandbox, connected.store)
        self.shops.append(shop)
        if reads_history:
            await shop.reads_history()
        return shop

    async def defer(self, kind: Kind, subject_id: int) -> None:
        """Asks for a job in a transaction of its own."""

        async def defer(connection: Connection) -> None:
            await self.jobs.defer_in(connection, kind, subject_id)

        await self.services.database.retrying(defer)

    async def tick(self) -> None:
        """The worker's tick and all that it leads to."""
        await self.jobs.wake(Kind.TICK, 0)
        await self.settle()

    async def days_pass(self, days: int, *, ticking: bool = True) -> None:
        """Day after day, with one tick each; or in one leap, as while nothing of the app ran."""
        if not ticking:
            self.clock.passes(days=days)
            return
        for _ in range(days):
            self.clock.passes(days=1)
            await self.tick()

    async def settle(self) -> None:
        """Waits until no webhook is on its way, none waits in the inbox, and no job waits or runs."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            # What the jobs do makes the shops send webhooks; what those lead to makes none.
            for _ in range(2):
                for shop in self.shops:
                    await shop.sandbox.hooks.quiet()
                await self.until(
                    """SELECT NOT EXISTS (SELECT FROM deliveries WHERE state = 'waiting')
                          AND NOT EXISTS (SELECT FROM procrastinate_jobs
                                          WHERE status IN ('todo', 'doing') AND task_name <> 'housekeeping') AS is_so"""
                )

    async def until(self, query: str, *values: object) -> None:
        """Waits until the query says `is_so`."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                if (await self.rows(query, *values))[0]["is_so"]:
                    return
                await asyncio.sleep(0.02)

    async def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """What a query gives."""
        async with self.services.database.transaction() as connection:
            return await (await connection.execute(query, values)).fetchall()


@asynccontextmanager
async def opened(database_url: str, data_dir: Path, clock: Clock) -> AsyncIterator[Stage]:
    """The app with its web part and one worker, in this process."""
    settings = Settings(
        data_dir=data_dir,
        database_url=SecretStr(database_url),
        secret_key=SecretStr(new_key()),
        allow_private_hosts=True,
        port=0,
    )
    async with AsyncExitStack() as stack:
        services = await stack.enter_async_context(open_services(settings, clock=clock))
        # As in life, with shorter waits.
        pauses = Pauses(first_seconds=0.1, platform_seconds=0.1, outage_seconds=0.1)
        jobs = await stack.enter_async_context(build(services, work(), pauses).opened())
        shops = await stack.enter_async_context(AsyncExitStack())
        address = await stack.enter_async_context(serving(settings, services, jobs, with_worker=False))
        timing = Timing(poll_seconds=0.05, sweep_seconds=0.5)
        await stack.enter_async_context(_working(WorkerSupervisor(jobs, timing)))
        stage = Stage(replace(services, public_url=address), jobs, clock, shops, [])
        yield stage
    for shop in stage.shops:
        if isinstance(shop.sandbox, Listening):
            assert list(problems(shop.sandbox.exchanges)) == []


@asynccontextmanager
async def _working(supervisor: WorkerSupervisor) -> AsyncIterator[None]:
    task = asyncio.create_task(supervisor.run())
    try:
        yield
    finally:
        supervisor.stop()
        await task
