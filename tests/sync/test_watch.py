"""Shops whose webhooks come late, end without a word, or never reach us: seen, mended, and made up for."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import uvicorn
from quart import Quart

from sandbox.woocommerce_records import FIRST_CUSTOMER
from storage import stores
from storage.stores import StoreRow
from sync.install import Connected, connect
from sync.jobs import build
from sync.reconcile import reconcile
from sync.services import Services
from sync.subscriptions import WebhookState, look_after
from sync.upkeep import tick
from sync.watch import watch
from tests.jobs.support import jobs_of, work
from tests.sync.shops import Shop, rows
from webhooks.accept import Acceptor
from webhooks.draining import drain
from webhooks.lane import AsgiApp, Lane

ELEVEN = 11  # topics


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass
class Door:
    """Our webhook address: open, shut, and with another address than the one it had."""

    services: Services
    woken: list[int] = field(default_factory=list)

    @asynccontextmanager
    async def open(self, port: int) -> AsyncIterator[None]:
        async def wake(kind: str, *ids: int, **_: object) -> None:
            self.woken.extend(ids)

        acceptor = Acceptor(self.services, wake)
        app: AsgiApp = Lane(acceptor, Quart(__name__))  # type: ignore[arg-type]
        config = uvicorn.Config(app, "127.0.0.1", port, log_config=None, lifespan="off")
        server = _Server(config)
        task = asyncio.create_task(server.serve())
        async with asyncio.timeout(10):
            while not server.started:
                assert not task.done(), "the server did not start"
                await asyncio.sleep(0.01)
        try:
            yield
        finally:
            server.should_exit = True
            await task
            await acceptor.close()


@pytest.fixture
def port() -> int:
    """A free one, known before anybody listens there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def reached(shop: Shop, port: int) -> Shop:
    """The shop, and the address at which we shall be reached."""
    return replace(shop, services=replace(shop.services, public_url=f"http://127.0.0.1:{port}"))


async def connected(shop: Shop) -> Connected:
    return await connect(shop.services, "woocommerce", shop.sandbox.connect_answers())


async def store_of(shop: Shop) -> StoreRow:
    async with shop.database.transaction() as connection:
        return await stores.by_id(connection, shop.store.id)


async def orders_here(shop: Shop) -> int:
    ((count,),) = await rows(shop.database, "SELECT count(*) FROM orders")
    return int(count)


async def buy(shop: Shop) -> None:
    person = next(person for person in shop.sandbox.world.people if not person.is_guest)
    await shop.ask("checkout", email=person.email, subtotal_minor=4_000)


async def kinds_read(shop: Shop) -> list[Any]:
    found = await rows(shop.database, "SELECT kind FROM import_runs ORDER BY id")
    return [kind for (kind,) in found]


# -- reached or not --------------------------------------------------------------------------------------------------


async def test_a_shop_that_pings_us_is_not_polled_for_want_of_webhooks(reached: Shop, port: int) -> None:
    async with Door(reached.services).open(port):
        made = await connected(reached)
    assert made.webhook_note is None
    assert (await store_of(reached)).polled_because is None


async def test_a_shop_that_does_not_call_us_is_told_of_and_polled_until_it_does(
    reached: Shop, port: int
) -> None:
    reached.sandbox.host.calls_private_hosts = False
    async with Door(reached.services).open(port):
        made = await connected(reached)
        assert made.webhook_note is not None
        assert "80, 443 and 8080" in made.webhook_note
        assert made.store.polled_because is not None
        hooks = list(reached.sandbox.queue.webhooks)
        await watch(reached.services, reached.store.id)
        assert (await store_of(reached)).polled_because is not None
        reached.sandbox.host.calls_private_hosts = True
        await watch(reached.services, reached.store.id)
    assert (await store_of(reached)).polled_because is None
    assert list(reached.sandbox.queue.webhooks) == hooks  # the old ones do


async def test_a_ping_of_another_store_is_no_sign_of_this_one(reached: Shop, port: int) -> None:
    async with Door(reached.services).open(port):
        reached.sandbox.host.calls_private_hosts = False
        await connected(reached)
        url = f"{reached.services.public_url}/webhooks/woocommerce/nobodys"
        form = {"webhook_id": "1"}
        async with reached.services.session.post(url, data=form) as answer:
            assert answer.status == 200
    assert (await store_of(reached)).polled_because is not None


# -- given up --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["disabled", "deleted", "one deleted"])
async def test_webhooks_that_end_are_made_anew_and_what_was_missed_is_read(
    reached: Shop, port: int, how: str
) -> None:
    async with Door(reached.services).open(port):
        await connected(reached)
        hooks = reached.sandbox.queue.webhooks
        old = set(hooks)
        if how == "disabled":
            reached.sandbox.give_up_webhooks()
        elif how == "deleted":
            hooks.clear()
        else:
            topic = "order.updated"
            del hooks[next(number for number, hook in hooks.items() if hook.topic == topic)]
            reached.sandbox.faults.lose_webhooks = 100
        before = await orders_here(reached)
        await buy(reached)
        reached.sandbox.faults.lose_webhooks = 0
        reached.clock.now += timedelta(minutes=15)
        await watch(reached.services, reached.store.id)
        assert await orders_here(reached) == before + 1
        assert len(hooks) == ELEVEN
        assert not old & set(hooks)
        assert {hook.status for hook in hooks.values()} == {"active"}
        assert (await kinds_read(reached))[-1] == "history"


async def test_a_secret_that_somebody_changed_ends_in_new_webhooks_with_ours(
    reached: Shop, port: int
) -> None:
    async with Door(reached.services).open(port):
        await connected(reached)
        hooks = reached.sandbox.queue
        for hook in hooks.webhooks.values():
            hook.secret = "another"
        person = next(person for person in reached.sandbox.accounts)
        for number in range(7):
            reached.sandbox.edit_customer(FIRST_CUSTOMER + person.number, name=f"Name {number}")
            await hooks.quiet()
        assert "disabled" in {hook.status for hook in hooks.webhooks.values()}
        look = await look_after(reached.services, await store_of(reached))
        assert look.state is WebhookState.SET_UP_AGAIN
        before = len(await rows(reached.database, "SELECT id FROM deliveries"))
        await buy(reached)
        await hooks.quiet()
        assert len(await rows(reached.database, "SELECT id FROM deliveries")) > before


# -- late ------------------------------------------------------------------------------------------------------------


async def test_an_order_whose_webhook_is_late_is_read_within_minutes_and_counted_once(
    reached: Shop, port: int
) -> None:
    async with Door(reached.services).open(port):
        await connected(reached)
        reached.sandbox.queue.delay_seconds = 1.0  # nobody visits the shop
        before = await orders_here(reached)
        await buy(reached)
        reached.clock.now += timedelta(minutes=15)
        await watch(reached.services, reached.store.id)
        assert await orders_here(reached) == before + 1
        assert (await kinds_read(reached))[-1] == "orders"
        await reached.sandbox.queue.quiet()
        await drain(reached.services, reached.store.id)
        assert await orders_here(reached) == before + 1


async def test_the_tick_watches_every_shop_of_such_a_platform_and_no_sooner_than_said(reached: Shop) -> None:
    async def due() -> list[int]:
        async with build(reached.services, work()).opened() as jobs:
            await tick(reached.services, jobs.wake)
            found = [job["args"]["subject_id"] for job in await jobs_of(reached.database, "poll")]
            async with reached.database.transaction() as connection:
                await connection.execute("DELETE FROM procrastinate_jobs")
        return found

    async with reached.database.transaction() as connection:
        await stores.set_polled(connection, reached.store.id, None)
    assert await due() == []
    reached.clock.now += timedelta(minutes=15)
    assert await due() == [reached.store.id]
    await watch(reached.services, reached.store.id)
    assert await due() == []


async def test_a_polled_shop_of_slow_lists_is_read_whole_only_when_it_had_rest(reached: Shop) -> None:
    async with reached.database.transaction() as connection:
        await stores.set_polled(connection, reached.store.id, "no call comes")
        await connection.execute(
            "UPDATE import_runs SET started_at = finished_at - interval '10 minutes' WHERE kind = 'history'"
        )
    services = replace(reached.services, public_url=None)
    reached.clock.now += timedelta(minutes=15)
    await watch(services, reached.store.id)
    reached.clock.now += timedelta(minutes=80)
    await watch(services, reached.store.id)
    assert await kinds_read(reached) == ["history", "orders", "history"]


async def test_a_shop_that_is_only_watched_is_still_compared_each_day(reached: Shop) -> None:
    await reconcile(reached.services, reached.store.id)
    reached.clock.now = datetime(2026, 6, 16, 22, 30, tzinfo=UTC)
    async with build(reached.services, work()).opened() as jobs:
        await tick(reached.services, jobs.wake)
        assert [job["args"]["subject_id"] for job in await jobs_of(reached.database, "reconcile")]
