"""From the App Store to a working store and back: the real server, database and webhooks against a stand-in shop."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from connectors.base import Noun, Window
from connectors.shopify.webhooks import finished_key
from sandbox.shopify import ADMIN_TOKEN, CLIENT_ID
from storage import deliveries, stores
from storage.database import Database, DatabaseSettings
from storage.secrets import SecretBox
from sync.history import run_import
from sync.maintenance import maintain
from sync.privacy import erase_store
from tests.app.shopify_app import SEED, App, served
from tests.sync.shops import rows


@pytest.fixture
async def app(
    database: Database, database_url: str, secret_box: SecretBox, tmp_path: Path
) -> AsyncIterator[App]:
    async with served(database, database_url, secret_box, tmp_path) as found:
        yield found


async def test_opening_the_app_connects_the_store_and_has_its_history_read(app: App) -> None:
    text, answer = await app.opens()
    assert answer.status == 200
    assert "is connected" in text
    assert "are being read" in text
    database = app.services.database
    assert await rows(database, "SELECT task_name, args->>'subject_id' FROM procrastinate_jobs") == [
        ("import_history", "1")
    ]
    store = await app.store()
    assert (store.status, store.external_id) == ("active", app.sandbox.shop)
    assert (await app.credentials()).keys() == {
        "access_token",
        "access_ends_at",
        "refresh_token",
        "refresh_ends_at",
    }
    sealed = b"".join(part for part in (store.sealed_credentials, store.sealed_webhook_secrets) if part)
    assert not any(secret.encode() in sealed for secret in (await app.credentials()).values())
    read = await run_import(app.services, store.id)
    assert read.counts[Noun.ORDERS] == SEED.orders


async def test_the_end_of_an_export_is_told_and_found_by_whoever_waits_for_it(app: App) -> None:
    await app.opens()
    store = await app.store()
    async for _ in app.services.open_store(store).read(Window(Noun.ORDERS, {"search": ""}), None):
        pass
    await app.sandbox.hooks.quiet()
    [operation] = app.sandbox.bulk.operations
    async with app.services.database.transaction() as connection:
        keys = [finished_key(operation), finished_key("gid://shopify/BulkOperation/1")]
        assert [await deliveries.has_come(connection, store.id, key) for key in keys] == [True, False]


async def test_the_page_is_framed_by_this_shop_and_its_first_script_is_app_bridge(app: App) -> None:
    text, answer = await app.opens()
    policy = answer.headers["Content-Security-Policy"]
    assert policy.endswith(f"frame-ancestors https://{app.sandbox.shop} https://admin.shopify.com")
    head = text.partition("</head>")[0]
    assert re.findall(r'<script src="([^"]+)"', head) == [
        "https://cdn.shopify.com/shopifycloud/app-bridge.js"
    ]
    assert f'<meta name="shopify-api-key" content="{CLIENT_ID}">' in head
    assert "Set-Cookie" not in answer.headers
    assert "X-Frame-Options" not in answer.headers
    assert "<form" not in text, "no shop's name is asked for"


async def test_what_went_wrong_is_seen_in_the_frame_of_the_shop_too(app: App) -> None:
    app.sandbox.faults.refuse_credentials = True
    text, answer = await app.opens()
    assert answer.status == 502
    assert "refused" in text
    policy = answer.headers["Content-Security-Policy"]
    assert policy.endswith(f"frame-ancestors https://{app.sandbox.shop} https://admin.shopify.com")
    assert await app.statuses() == []


async def test_a_stale_token_takes_the_way_over_the_bounce_page(app: App) -> None:
    stale = app.sandbox.oauth.id_token(exp=1, nbf=0)
    _, answer = await app.opens(app.sandbox.oauth.launch(id_token=stale))
    assert answer.status == 303
    place = f"{app.services.public_url}{answer.headers['Location']}"
    async with app.session.get(place) as bounce:
        assert bounce.status == 200
        assert app.sandbox.shop in bounce.headers["Content-Security-Policy"]
        assert "app-bridge.js" in await bounce.text()
    # What App Bridge does there.
    back = dict(parse_qsl(urlsplit(place).query))["shopify-reload"]
    async with app.session.get(f"{back}&id_token={app.sandbox.oauth.id_token()}") as page:
        assert "is connected" in await page.text()
    assert await app.statuses() == [("active",)]


async def test_a_script_with_a_bad_token_is_answered_401_with_shopifys_header(app: App) -> None:
    address = f"{app.services.public_url}/install/shopify"
    async with app.session.get(address, headers={"Authorization": "Bearer x"}) as answer:
        assert answer.status == 401
        assert answer.headers["X-Shopify-Retry-Invalid-Session-Request"] == "1"
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]


async def test_orders_come_by_the_apps_own_subscription_and_birthdays_by_ours(app: App) -> None:
    await app.opens()
    assert {found.topic for found in app.sandbox.hook_desk.subscribed()} == {
        "CUSTOMERS_CREATE",
        "CUSTOMERS_UPDATE",
    }
    app.sandbox.sign_up("Ada Abel", "ada@people.example", (5, 17, 1990))
    app.sandbox.place_order({"email": "ada@people.example", "subtotal_minor": 5_000})
    assert await app.heard() > 0
    found = await rows(
        app.services.database, "SELECT birthday_md, email FROM members WHERE email IS NOT NULL"
    )
    assert (517, "ada@people.example") in found
    assert await rows(app.services.database, "SELECT count(*) FROM orders") == [(1,)]
    broken = "SELECT topic, note FROM deliveries WHERE state <> 'handled'"
    assert await rows(app.services.database, broken) == []


CREATE = """mutation ($input: DiscountCodeBasicInput!) { discountCodeBasicCreate(basicCodeDiscount: $input) {
    codeDiscountNode { id } userErrors { message } } }"""


@pytest.mark.feature("P-27")
async def test_a_discount_that_the_merchant_makes_is_known_at_once_and_one_of_ours_is_not_looked_at(
    app: App,
) -> None:
    await app.opens()
    asked = app.sandbox.requests
    for title, code in (("Winter sale", "WINTER-10"), ("Birthday (birthday:2026)", "BDAY-1")):
        content = {
            "title": title,
            "code": code,
            "startsAt": "2026-01-01T00:00:00Z",
            "context": {"all": "ALL"},
            "customerGets": {"items": {"all": True}, "value": {"percentage": 0.1}},
        }
        async with app.session.post(
            f"{app.sandbox.url}/admin/api/2026-10/graphql.json",
            json={"query": CREATE, "variables": {"input": content}},
            headers={"X-Shopify-Access-Token": ADMIN_TOKEN},
        ) as answer:
            made = (await answer.json())["data"]["discountCodeBasicCreate"]
            assert made["userErrors"] == []
    await app.heard()
    assert await rows(app.services.database, "SELECT code, title FROM coupons") == [
        ("WINTER-10", "Winter sale")
    ]
    assert app.sandbox.requests == asked + 2 + 1, "one look"


async def test_an_uninstall_ends_everything_and_opening_the_app_again_takes_it_up(app: App) -> None:
    await app.opens()
    first = await app.store()
    app.sandbox.uninstall()
    await app.heard()
    assert await app.statuses() == [("uninstalled",)]
    assert await rows(app.services.database, "SELECT credentials FROM stores") == [(None,)]
    app.sandbox.install_again()
    text, _ = await app.opens()
    assert "is connected" in text
    again = await app.store()
    assert (again.id, again.status) == (first.id, "active")
    await app.services.open_store(again).facts()
    app.sandbox.hooks.replay()
    await app.heard()
    assert await app.statuses() == [("active",)], "late news of the old uninstall ends nothing"


@pytest.mark.parametrize("comes_back", [False, True])
async def test_a_shop_is_erased_when_shopify_asks_for_it_unless_it_has_come_back(
    app: App, comes_back: bool
) -> None:
    await app.opens()
    await run_import(app.services, (await app.store()).id)
    known = "SELECT count(*) > 0 FROM members WHERE email IS NOT NULL"
    assert await rows(app.services.database, known) == [(True,)]
    app.sandbox.uninstall()
    await app.heard()
    if comes_back:
        app.sandbox.install_again()
        await app.opens()
    told = {"shop_id": 61_000_000_001, "shop_domain": app.sandbox.shop}
    app.sandbox.hook_desk.emit("shop/redact", lambda _: told)
    await app.heard()
    await erase_store(app.services, (await app.store()).id)
    assert await rows(app.services.database, known) == [(comes_back,)]
    assert await app.statuses() == [("active" if comes_back else "uninstalled",)]


async def test_a_permission_that_is_taken_back_is_told_at_once(app: App) -> None:
    await app.opens()
    assert not (await app.store()).notices
    kept = [scope for scope in app.sandbox.oauth.scopes if scope != "read_orders"]
    app.sandbox.grant_scopes(*kept)
    await app.heard()
    [notice] = (await app.store()).notices
    assert "read_orders" in notice
    assert "earn nothing" in notice
    text, _ = await app.opens()
    assert notice in text


async def test_two_processes_refresh_a_dead_token_once(app: App) -> None:
    await app.opens()
    other = await Database.open(DatabaseSettings(app.database_url, Path(), pool_size=3))
    try:
        elsewhere = replace(app.services, database=other)
        store = await app.store()
        app.sandbox.expire_tokens()
        granted = app.sandbox.oauth.granted
        await asyncio.gather(
            *(services.open_store(store).facts() for services in (app.services, elsewhere) for _ in range(3))
        )
        assert app.sandbox.oauth.granted == granted + 1
    finally:
        await other.close()
    kept = await app.credentials()
    assert app.sandbox.oauth.opens(kept["access_token"])


async def ends_soon(app: App) -> None:
    """The refresh token is in its last month."""
    soon = (datetime.now(UTC) + timedelta(days=20)).isoformat()
    kept = await app.credentials() | {"refresh_ends_at": soon}
    async with app.services.database.transaction() as connection:
        store_id = (await app.store()).id
        await stores.keep_secrets(connection, app.services.secret_box, store_id, credentials=kept)


async def wake(kind: str, *subject_ids: int, in_seconds: float = 0) -> None:
    raise AssertionError("one store needs no second job")


async def test_a_shop_that_nobody_opens_keeps_its_access(app: App) -> None:
    await app.opens()
    before = await app.credentials()
    await maintain(app.services, 0, wake)
    assert await app.credentials() == before
    await ends_soon(app)
    await maintain(app.services, 0, wake)
    after = await app.credentials()
    assert after["refresh_token"] != before["refresh_token"]
    assert datetime.fromisoformat(after["refresh_ends_at"]) > datetime.now(UTC) + timedelta(days=89)


async def test_a_dead_refresh_token_pauses_the_store_and_opening_the_app_mends_it(app: App) -> None:
    await app.opens()
    app.sandbox.expire_tokens()
    app.sandbox.oauth.kill_refresh_tokens()
    await ends_soon(app)
    await maintain(app.services, 0, wake)
    [(status, reason)] = await rows(app.services.database, "SELECT status, status_reason FROM stores")
    assert status == "paused"
    assert "open Perennial once" in str(reason)
    await app.opens()
    assert await app.statuses() == [("active",)]
    await app.services.open_store(await app.store()).facts()
