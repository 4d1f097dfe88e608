"""A store that the platform names itself: its uninstall is drained, and its privacy posts are taken afterwards."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from connectors.base import RawDelivery, Secret
from connectors.shopify import CONNECTOR
from storage.database import Database
from storage.secrets import SecretBox
from sync.services import Services
from tests.connectors.shopify.case import PAYLOADS, deliver
from tests.contract.case import load_payload
from tests.webhooks.posts import Shop, Woken, inbox, install, raw, rows
from webhooks.accept import Acceptor
from webhooks.draining import drain

DOMAIN = "small-shop.myshopify.com"


async def _installed(database: Database, box: SecretBox) -> Shop:
    shop = await install(database, box, "small-shop", platform=CONNECTOR.platform)
    async with database.transaction() as connection:
        await connection.execute("UPDATE stores SET external_id = %s WHERE id = %s", (DOMAIN, shop.id))
    return shop


def _post(shop: Shop, payload: str) -> RawDelivery:
    found = load_payload(PAYLOADS / f"{payload}.json")
    return deliver(found.topic, found.body, Secret(shop.secret), datetime.now(UTC), "")


async def test_privacy_posts_are_taken_after_the_uninstall(
    services: Services, database: Database, secret_box: SecretBox, woken: Woken
) -> None:
    services = replace(services, connectors={CONNECTOR.platform: CONNECTOR})
    acceptor = Acceptor(services, woken)
    shop = await _installed(database, secret_box)

    async def send(payload: str) -> int:
        post = _post(shop, payload)
        return (await acceptor.accept(CONNECTOR.platform, "", raw(post.headers), post.body)).status

    assert await send("app-uninstalled") == 200
    assert await drain(services, shop.id) == 1
    (store,) = await rows(database, "SELECT status, credentials FROM stores WHERE id = %s", (shop.id,))
    assert (store["status"], store["credentials"]) == ("uninstalled", None)
    assert await send("customers-redact") == 200
    assert await send("app-uninstalled") == 200  # a repeat
    assert await drain(services, shop.id) == 1
    assert [row["state"] for row in await inbox(database)] == ["handled", "handled"]
    await acceptor.close()


async def test_an_uninstall_told_after_the_app_was_put_in_again_ends_nothing(
    services: Services, database: Database, secret_box: SecretBox, woken: Woken
) -> None:
    services = replace(services, connectors={CONNECTOR.platform: CONNECTOR})
    acceptor = Acceptor(services, woken)
    shop = await _installed(database, secret_box)
    post = _post(shop, "app-uninstalled")
    await rows(database, "UPDATE stores SET installed_at = now() + interval '1 minute' RETURNING id")
    await acceptor.accept(CONNECTOR.platform, "", raw(post.headers), post.body)
    assert await drain(services, shop.id) == 1
    assert [row["status"] for row in await rows(database, "SELECT status FROM stores")] == ["active"]
    await acceptor.close()


async def test_a_shop_that_never_installed_us_is_unknown(
    services: Services, database: Database, secret_box: SecretBox, woken: Woken
) -> None:
    services = replace(services, connectors={CONNECTOR.platform: CONNECTOR})
    acceptor = Acceptor(services, woken)
    shop = await _installed(database, secret_box)
    post = _post(shop, "orders-paid")
    other = {**post.headers, "x-shopify-shop-domain": "other-shop.myshopify.com"}
    answer = await acceptor.accept(CONNECTOR.platform, "", raw(other), post.body)
    assert answer.status == 404
    nameless = {name: value for name, value in post.headers.items() if name != "x-shopify-shop-domain"}
    answer = await acceptor.accept(CONNECTOR.platform, "", raw(nameless), post.body)
    assert answer.status == 400
    assert await inbox(database) == []
    await acceptor.close()
