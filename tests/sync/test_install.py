"""Installing a store whose credentials are here, giving it new ones, and what the store says of itself later."""

from __future__ import annotations

from dataclasses import replace

import pytest
from psycopg.types.json import Jsonb

from connectors.base import Installation, Secret
from rewards.errors import NotFoundError
from storage import stores
from storage.database import Connection
from sync.install import install, update
from sync.reconcile import reconcile
from tests.sync.shops import Shop, rows


async def made(shop: Shop) -> Installation:
    """The shop's installation, as its connector checks it."""
    flow = shop.services.connectors["woocommerce"].install
    return await flow.installation(shop.sandbox.connect_answers(), shop.services.session)


async def test_a_store_gets_new_credentials_and_goes_on(shop: Shop) -> None:
    installation = await made(shop)
    renewed = replace(
        installation,
        credentials={**installation.credentials, "refresh": Secret("r2")},
        settings={"scopes": "more"},
    )
    async with shop.database.transaction() as connection:
        await stores.set_webhooks(connection, shop.store.id, "https://perennial.example/hooks", ["1"])
        await stores.set_status(connection, shop.store.id, "paused", "The access has ended.")
    store = await update(shop.services, "woocommerce", renewed)
    assert (store.status, store.status_reason) == ("active", None)
    assert stores.credentials(shop.services.secret_box, store)["refresh"] == "r2"
    assert store.settings == {**shop.store.settings, "scopes": "more"}
    assert store.webhook_address == "https://perennial.example/hooks"


async def test_only_an_installed_store_gets_new_credentials(shop: Shop) -> None:
    installation = await made(shop)
    with pytest.raises(NotFoundError):
        await update(shop.services, "woocommerce", replace(installation, external_id="another"))
    async with shop.database.transaction() as connection:
        await stores.end(connection, shop.store.id, "uninstalled")
    with pytest.raises(NotFoundError):
        await update(shop.services, "woocommerce", installation)
    assert await rows(shop.database, "SELECT status, credentials FROM stores") == [("uninstalled", None)]


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
