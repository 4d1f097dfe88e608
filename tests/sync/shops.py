"""A stand-in shop that is installed, with the services around it: the platform is made up, all else is real."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
from psycopg.types.json import Jsonb

from connectors.base import Connector
from connectors.woocommerce import CONNECTOR as WOOCOMMERCE
from rewards.changes import Change
from rewards.records import Benefit, BenefitKind
from rewards.terms import RewardTerms
from sandbox.server import Sandbox
from sandbox.woocommerce import WooCommerceSandbox
from sandbox.world import Seed, World
from storage import rewards, stores
from storage.database import Database
from storage.rewards import RewardRow
from storage.secrets import SecretBox
from storage.stores import StoreRow
from sync.apply import Applied, apply_changes
from sync.services import Services
from tests.factories import NOON, make_program, make_store


class Clock:
    """A clock that a test moves."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def pass_days(self, days: float) -> None:
        """Moves on."""
        self.now += timedelta(days=days)


TEN_PERCENT = RewardTerms(Benefit(BenefitKind.PERCENTAGE, basis_points=1_000), code_prefix="BDAY")


def services_for(
    database: Database,
    session: aiohttp.ClientSession,
    box: SecretBox,
    clock: Clock,
    connectors: Iterable[Connector] = (WOOCOMMERCE,),
) -> Services:
    """Services with the given platforms."""
    by_name: Mapping[str, Connector] = {connector.platform: connector for connector in connectors}
    return Services(database, by_name, session, clock, box, allow_private_hosts=True)


async def reward_for(
    services: Services, store: StoreRow, trigger: str = "birthday", **changes: Any
) -> RewardRow:
    """A reward of 10 % in the store's program, with other terms where named."""
    async with services.database.transaction() as connection:
        return await rewards.create(
            connection,
            store.program_id,
            name=f"{trigger} reward",
            trigger=trigger,
            terms=replace(TEN_PERCENT, **changes),
            now=services.clock(),
            actor="test",
        )


async def told(services: Services, store: StoreRow, *changes: Change) -> Applied:
    """What the store says happened, applied as from a webhook."""
    async with services.database.transaction() as connection:
        return await apply_changes(
            connection,
            store,
            changes,
            now=services.clock(),
            capabilities=services.connector(store).capabilities,
        )


async def rows(database: Database, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """What a query gives, as plain tuples."""
    async with database.transaction() as connection:
        found = await (await connection.execute(sql, values)).fetchall()
    return [tuple(row.values()) for row in found]


@dataclass
class Shop:
    """An installed shop: its stand-in, its row, and the services."""

    services: Services
    sandbox: WooCommerceSandbox
    store: StoreRow
    clock: Clock

    @property
    def database(self) -> Database:
        """The database of the test."""
        return self.services.database

    async def ask(self, control: str, **body: object) -> dict[str, Any]:
        """A control route of the stand-in, e.g. "checkout"; what it answers."""
        url = f"{self.sandbox.url}/_sandbox/{control}"
        async with self.services.session.post(url, json=body) as answer:
            found: dict[str, Any] = await answer.json()
            return found

    async def grants(self) -> list[tuple[str, str]]:
        """(code, state) of all grants, oldest first."""
        return await rows(
            self.database,
            """SELECT c.code, g.state FROM grants g JOIN promotion_codes c ON c.grant_id = g.id
               AND c.replaced_at IS NULL ORDER BY g.id""",
        )


def small_world(clock: Clock, number: int = 1, customers: int = 240, orders: int = 120) -> World:
    """A shop with six birthdays today."""
    return World(Seed(number=number, customers=customers, orders=orders, now=clock.now, birthday_share=1.0))


async def install(
    services: Services, sandbox: Sandbox, *, program_id: int | None = None, patience_seconds: int = 0
) -> StoreRow:
    """The stand-in as an installed store. Without patience a connector gives up at its first failure."""
    connector = services.connectors[sandbox.platform]
    made = await connector.install.installation(sandbox.connect_answers(), services.session)
    settings = {
        **connector.default_settings,
        **made.settings,
        "patience_seconds": str(patience_seconds),
    }
    async with services.database.transaction() as connection:
        program_id = program_id or await make_program(connection)
        store = await make_store(
            connection, program_id, platform=sandbox.platform, external_id=made.external_id
        )
        await connection.execute(
            "UPDATE stores SET settings = %s, api_base = %s WHERE id = %s",
            (Jsonb(settings), made.api_base, store.id),
        )
        clear = {name: secret.reveal() for name, secret in made.credentials.items()}
        await stores.keep_secrets(connection, services.secret_box, store.id, credentials=clear)
        return await stores.by_id(connection, store.id)


def opened(world: World, clock: Clock) -> AbstractAsyncContextManager[Sandbox]:
    """A WooCommerce stand-in of the world."""
    return WooCommerceSandbox(world, clock=clock)


def utc(year: int, month: int, day: int, hour: int = 12) -> datetime:
    """A moment by the hour."""
    return datetime(year, month, day, hour, tzinfo=UTC)
