"""Three stand-in shops, installed into a database as stores with their webhooks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime

from rewards.records import Benefit, BenefitKind
from rewards.terms import RewardTerms
from sandbox.server import Sandbox
from sandbox.shopify import ShopifySandbox
from sandbox.stripe import StripeSandbox
from sandbox.woocommerce import WooCommerceSandbox
from sandbox.world import Seed, World
from storage import programs, stores
from storage.stores import StoreRow
from sync.install import connect
from sync.reward_changes import create_reward
from sync.services import Services

KINDS: tuple[type[Sandbox], ...] = (ShopifySandbox, StripeSandbox, WooCommerceSandbox)


def shop_now() -> tuple[datetime, str]:
    """Now, and a time zone in which no midnight is near."""
    now = datetime.now(UTC).replace(microsecond=0)
    return now, "Europe/Madrid" if 1 <= now.hour < 19 else "Pacific/Auckland"


@asynccontextmanager
async def three_shops(
    now: datetime, time_zone: str, *, customers: int, orders: int
) -> AsyncIterator[list[Sandbox]]:
    """One shop of each platform, the same for the same moment."""
    async with AsyncExitStack() as stack:
        shops = []
        for number, kind in enumerate(KINDS, 1):
            seed = Seed(number=number, customers=customers, orders=orders, now=now, time_zone=time_zone)
            sandbox = kind(World(seed, base_is_total=getattr(kind, "base_is_total", False)))
            sandbox.limiter_on = False
            shops.append(await stack.enter_async_context(sandbox))
        yield shops


async def install(services: Services, shop: Sandbox, earning_from: datetime) -> StoreRow:
    """The shop as a store with two rewards, where webhooks award from a moment on."""
    made = await connect(services, shop.platform, shop.connect_answers())
    assert made.webhook_address, made.webhook_note
    store = made.store
    async with services.database.transaction() as connection:
        await programs.earn_from(connection, store.id, earning_from)
        # Not every platform says where its shop is.
        await connection.execute(
            "UPDATE stores SET time_zone = %s WHERE id = %s", (shop.world.seed.time_zone, store.id)
        )
    benefit = Benefit(BenefitKind.PERCENTAGE, basis_points=1_000)
    for trigger in ("birthday", "joining"):
        terms = RewardTerms(benefit, code_prefix=trigger[:4].upper())
        await create_reward(
            services, store.program_id, name=trigger, trigger=trigger, terms=terms, actor="test"
        )
    async with services.database.transaction() as connection:
        return await stores.by_id(connection, store.id)
