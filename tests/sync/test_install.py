"""Installing a store whose credentials are here, and what the store says of itself later."""

from __future__ import annotations

import pytest
from psycopg.types.json import Jsonb

from connectors.base import Installation
from storage import stores
from storage.database import Connection
from sync.install import install
from sync.reconcile import reconcile
from tests.sync.shops import Shop, rows


async def made(shop: Shop) -> Installation:
    """The shop's installation, as its connector checks it."""
    flow = shop.services.connectors["woocommerce"].install
    return await flow.installation(shop.sandbox.connect_answers(), shop.services.session)


async def test_an_installation_and_what_goes_along_with_it_are_there_together_or_not_at_all(
    shop: Shop,
) -> None:
    async def fails(connection: Connection, store_id: int) -> None:
        raise ZeroDivisionError

    async with shop.database.transaction() as connection:
        await stores.set_status(connection, shop.store.id, "paused", "The access has ended.")
    with pytest.raises(ZeroDivisionError):
        await install(shop.services, "woocommerce", await made(shop), along=fails)
    assert await rows(shop.database, "SELECT status FROM stores") == [("paused",)]


async def test_the_daily_look_takes_over_what_the_store_says_of_itself(shop: Shop) -> None:
    facts = await shop.services.open_store(shop.store).facts()
    async with shop.database.transaction() as connection:
        await connection.execute(
            "UPDATE stores SET name = 'Before', time_zone = 'UTC', notices = %s", (Jsonb(["Long mended."]),)
        )
    await reconcile(shop.services, shop.store.id)
    found = await rows(shop.database, "SELECT name, time_zone, currency, notices FROM stores")
    assert found == [(facts.name, facts.time_zone, facts.currency, list(facts.notices))]
    assert facts.time_zone != "UTC"
