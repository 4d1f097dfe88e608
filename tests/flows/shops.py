"""Three stand-in shops, installed into a database as stores with their webhooks."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime

from psycopg.types.json import Jsonb

from connectors.base import Secret
from rewards.earning import WayKind, WayToEarn
from rewards.records import Benefit, BenefitKind
from rewards.terms import RewardTerms
from sandbox.server import Sandbox
from sandbox.shopify import ShopifySandbox
from sandbox.stripe import StripeSandbox
from sandbox.woocommerce import WooCommerceSandbox
from sandbox.world import Seed, World
from storage import programs, stores
from storage.stores import StoreRow
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


async def install(services: Services, shop: Sandbox, address: str, earning_from: datetime) -> StoreRow:
    """The shop as a store with ways to earn, two rewards and webhooks."""
    connector = services.connectors[shop.platform]
    made = await connector.install.installation(shop.connect_answers(), services.session)
    now = services.clock()
    async with services.database.transaction() as connection:
        program_id = await programs.create(connection, shop.platform, "EUR", now)
        await programs.set_way(connection, program_id, WayToEarn(WayKind.SIGN_UP, True, 100, None), now)
        await programs.set_way(connection, program_id, WayToEarn(WayKind.PLACE_ORDER, True, 5, 100), now)
        settings = {**connector.default_settings, **made.settings, "patience_seconds": "5"}
        cursor = await connection.execute(
            """INSERT INTO stores (program_id, platform, external_id, token, name, time_zone, currency, settings,
                                   api_base, status, subscription_ids, earning_from, installed_at)
               VALUES (%s, %s, %s, %s, %s, %s, 'EUR', %s, %s, 'active', '[]', %s, %s) RETURNING id, token""",
            (
                program_id,
                shop.platform,
                made.external_id,
                secrets.token_urlsafe(16),
                shop.platform,
                shop.world.seed.time_zone,
                Jsonb(settings),
                made.api_base,
                earning_from,
                now,
            ),
        )
        found = await cursor.fetchone()
        assert found is not None
        clear = {name: secret.reveal() for name, secret in made.credentials.items()}
        await stores.keep_secrets(connection, services.secret_box, found["id"], credentials=clear)
        store = await stores.by_id(connection, found["id"])
    await _subscribe(
        services, store, f"{address}/webhooks/{shop.platform}/{store.token}", made.webhook_secrets
    )
    for trigger in ("birthday", "joining"):
        terms = RewardTerms(
            Benefit(BenefitKind.PERCENTAGE, basis_points=1_000), code_prefix=trigger[:4].upper()
        )
        await create_reward(services, program_id, name=trigger, trigger=trigger, terms=terms, actor="test")
    return store


async def _subscribe(services: Services, store: StoreRow, address: str, known: Sequence[Secret]) -> None:
    subscription = await services.open_store(store).subscribe(address, Secret(secrets.token_hex(24)))
    signing = [subscription.secret.reveal(), *(secret.reveal() for secret in known)]
    async with services.database.transaction() as connection:
        await stores.keep_secrets(connection, services.secret_box, store.id, webhook_secrets=signing)
        await connection.execute("UPDATE stores SET webhook_address = %s WHERE id = %s", (address, store.id))
