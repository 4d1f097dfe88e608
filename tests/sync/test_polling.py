"""Stores that no webhook comes from: their changes are read on a schedule, and counted once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from connectors.base import Capability
from sandbox.woocommerce_auth import ApiKey
from storage import stores
from storage.database import Connection
from sync.history import run_import
from sync.install import connect
from sync.jobs import build
from sync.reconcile import reconcile
from sync.services import Services
from sync.subscriptions import WebhookLook, WebhookState
from sync.upkeep import clear_away, tick
from tests.factories import set_way
from tests.jobs.support import jobs_of, run_waiting, work
from tests.sync.shops import Shop, rows

WHY = "The key may only read."


@pytest.fixture
async def shop(shop: Shop) -> Shop:
    """The shop on a platform whose webhooks can be relied on; for others see test_watch.py."""
    less = {Capability.PINGS, Capability.LATE_WEBHOOKS}
    connectors = {
        name: replace(connector, capabilities=connector.capabilities - less)
        for name, connector in shop.services.connectors.items()
    }
    return replace(shop, services=replace(shop.services, connectors=connectors))


@pytest.fixture
async def polled(shop: Shop) -> Shop:
    """A shop without webhooks that was read at noon and whose orders earn from then on."""
    async with shop.database.transaction() as connection:
        await set_way(connection, shop.store.program_id, "place_order", 200)
        await stores.set_polled(connection, shop.store.id, WHY)
        await connection.execute("UPDATE stores SET earning_from = %s", (shop.clock.now,))
    return shop


def passes(shop: Shop, minutes: float) -> None:
    shop.clock.now += timedelta(minutes=minutes)


async def due(services: Services) -> list[int]:
    """The stores that the tick asks to be read now; the job is taken out again."""
    async with build(services, work()).opened() as jobs:
        await tick(services, jobs.wake)
        found = [job["args"]["subject_id"] for job in await jobs_of(services.database, "poll")]
        async with services.database.transaction() as connection:
            await connection.execute("DELETE FROM procrastinate_jobs")
    return found


async def test_a_store_without_webhooks_is_read_every_quarter_of_an_hour(polled: Shop) -> None:
    assert await due(polled.services) == []
    passes(polled, 14)  # a tick is a little early or late
    assert await due(polled.services) == [polled.store.id]
    hourly = replace(polled.services, poll_minutes=60)
    assert await due(hourly) == []
    passes(polled, 45)
    assert await due(hourly) == [polled.store.id]


async def test_paused_unread_and_told_stores_are_not_polled(polled: Shop) -> None:
    passes(polled, 60)

    async def changed(sql: str) -> list[int]:
        async def undone(connection: Connection) -> None:
            await connection.execute(
                "UPDATE stores SET status = 'active', synced_at = %s, polled_because = %s",
                (polled.clock.now - timedelta(hours=1), WHY),
            )

        async with polled.database.transaction() as connection:
            await connection.execute(f"UPDATE stores SET {sql}")
        found = await due(polled.services)
        await polled.database.retrying(undone)
        return found

    assert await changed("status = 'paused'") == []
    assert await changed("synced_at = NULL") == []
    assert await changed("polled_because = NULL") == []
    assert await due(polled.services) == [polled.store.id]


async def test_an_order_that_is_read_twice_is_awarded_once(polled: Shop) -> None:
    person = next(person for person in polled.sandbox.world.people if not person.is_guest)
    await polled.ask("checkout", email=person.email, subtotal_minor=4_000)
    for _ in range(3):
        passes(polled, 15)
        async with build(polled.services, work()).opened() as jobs:
            await tick(polled.services, jobs.wake)
            await run_waiting(jobs)
    found = await rows(polled.database, "SELECT reason, count(*) FROM ledger_entries GROUP BY reason")
    assert found == [("order", 1)]
    readings = await rows(polled.database, "SELECT count(*) FROM import_runs WHERE since IS NOT NULL")
    assert readings == [(3,)]


async def test_old_readings_are_forgotten_but_for_what_the_next_needs(polled: Shop) -> None:
    for _ in range(3):
        passes(polled, 15)
        await run_import(polled.services, polled.store.id)
    polled.clock.pass_days(3)
    async with build(polled.services, work()).opened() as jobs:
        await clear_away(polled.services, jobs.manager)
    left = await rows(polled.database, "SELECT since IS NULL FROM import_runs ORDER BY id")
    assert left == [(True,), (False,)]
    windows = await rows(polled.database, "SELECT count(DISTINCT run_id) FROM import_windows")
    assert windows == [(2,)]


async def test_the_merchant_is_told_why_and_webhooks_follow_once_they_can(polled: Shop) -> None:
    made = await connect(polled.services, "woocommerce", polled.sandbox.connect_answers())
    assert made.webhook_note is not None
    assert "changes are read every 15 minutes" in made.webhook_note
    assert "PERENNIAL_PUBLIC_URL" in (made.store.polled_because or "")
    report = await reconcile(polled.services, made.store.id)
    assert report.webhooks.state is WebhookState.NOT_SET_UP
    reachable = replace(polled.services, public_url="https://perennial.example")
    report = await reconcile(reachable, made.store.id)
    assert report.webhooks.state is WebhookState.SET_UP
    assert await rows(polled.database, "SELECT polled_because FROM stores") == [(None,)]


async def test_webhooks_that_cannot_be_set_up_again_make_a_store_polled(shop: Shop) -> None:
    address = f"https://perennial.example/webhooks/woocommerce/{shop.store.token}"

    async def with_key(key: ApiKey) -> tuple[WebhookLook, str | None]:
        async with shop.database.transaction() as connection:
            await stores.keep_secrets(
                connection,
                shop.services.secret_box,
                shop.store.id,
                credentials={"key": key.key, "secret": key.secret},
            )
        report = await reconcile(shop.services, shop.store.id)
        ((because,),) = await rows(shop.database, "SELECT polled_because FROM stores")
        return report.webhooks, because

    async with shop.database.transaction() as connection:
        await stores.set_webhooks(connection, shop.store.id, address, ["1"])
    look, because = await with_key(shop.sandbox.read_only)
    assert look.state is WebhookState.OFF
    assert because == look.note
    look, because = await with_key(shop.sandbox.read_write)
    assert look.state is WebhookState.SET_UP_AGAIN
    assert because is None
