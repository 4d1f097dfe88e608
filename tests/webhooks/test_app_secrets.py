"""The operator's own app signs posts of every store: also of those that are gone, and while its secret is replaced."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest

from connectors.base import Secret
from connectors.shopify import CONNECTOR
from connectors.shopify.subscriptions import BY_APP, by_own_app
from storage import stores
from storage.database import Database
from storage.secrets import SecretBox
from sync.services import Services
from tests.connectors.shopify.case import PAYLOADS, deliver
from tests.contract.case import load_payload
from tests.webhooks.posts import Shop, Woken, inbox, install, raw, rows
from webhooks.accept import Acceptor
from webhooks.draining import drain

NEW, OLD = "shpss_the_new_one", "shpss_the_former_one"


@dataclass
class Lane:
    acceptor: Acceptor
    database: Database
    services: Services
    shop: Shop

    async def post(
        self, secret: str, shop: str = "small-shop.myshopify.com", what: str = "shop-redact", **bent: str
    ) -> int:
        payload = load_payload(PAYLOADS / f"{what}.json")
        made = deliver(payload.topic, payload.body, Secret(secret), datetime.now(UTC), "")
        headers = {**made.headers, "x-shopify-shop-domain": shop, **bent}
        return (await self.acceptor.accept(CONNECTOR.platform, "", raw(headers), made.body)).status


@pytest.fixture
async def lane(services: Services, database: Database, secret_box: SecretBox) -> AsyncIterator[Lane]:
    shop = await install(database, secret_box, "small-shop", platform=CONNECTOR.platform)
    await rows(
        database,
        "UPDATE stores SET external_id = 'small-shop.myshopify.com' WHERE id = %s RETURNING id",
        (shop.id,),
    )
    app = {"client_id": Secret("id"), "client_secret": Secret(NEW), "old_client_secret": Secret(OLD)}
    services = replace(services, connectors={CONNECTOR.platform: CONNECTOR}, apps={CONNECTOR.platform: app})
    acceptor = Acceptor(services, Woken())
    yield Lane(acceptor, database, services, shop)
    await acceptor.close()


async def test_a_replaced_secret_signs_for_stores_that_know_neither(lane: Lane) -> None:
    assert [await lane.post(secret) for secret in (NEW, OLD)] == [200, 200]
    assert await lane.post("secret of small-shop") == 200, "and what the store itself knows still does"
    assert len(await inbox(lane.database)) == 1, "one delivery, whoever signed it"


async def test_a_wrong_signature_is_401_also_for_a_shop_that_is_not_here(lane: Lane) -> None:
    for shop in ("small-shop.myshopify.com", "never-heard-of.myshopify.com"):
        assert await lane.post("shpss_somebody_elses", shop) == 401
        assert await lane.post(NEW, shop, **{"x-shopify-hmac-sha256": ""}) == 401
    assert await lane.post("id") == 401, "the client id is no secret"
    assert await inbox(lane.database) == []


async def test_a_genuine_post_of_a_shop_that_is_gone_is_answered_200_and_not_kept(lane: Lane) -> None:
    assert await lane.post(NEW, "long-gone.myshopify.com") == 200
    assert await inbox(lane.database) == []


@pytest.mark.parametrize("by_app", [False, True])
async def test_of_two_apps_in_one_shop_only_the_one_that_connects_it_can_end_it(
    lane: Lane, by_app: bool
) -> None:
    settings = BY_APP if by_app else by_own_app(Secret("its own id"))
    async with lane.database.transaction() as connection:
        await stores.set_settings(connection, lane.shop.id, settings)
    assert await lane.post(NEW, what="app-uninstalled") == 200, "or it would be sent for hours"
    assert await lane.post(NEW) == 200, "also that its data shall go"
    await drain(lane.services, lane.shop.id)
    [store] = await rows(lane.database, "SELECT status FROM stores")
    assert store["status"] == ("uninstalled" if by_app else "active")
    assert len(await inbox(lane.database)) == (2 if by_app else 0)
    assert (
        await lane.post(lane.shop.secret, what="app-uninstalled", **{"x-shopify-webhook-id": "other"}) == 200
    )
    await drain(lane.services, lane.shop.id)
    assert [row["status"] for row in await rows(lane.database, "SELECT status FROM stores")] == [
        "uninstalled"
    ]
