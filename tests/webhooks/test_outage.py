"""A database that is away or stuck: senders are told in time to come again, and nothing answered is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from storage.database import Database
from sync.services import Services
from tests.conftest import DatabaseServer
from tests.webhooks.posts import PLATFORM, Shop, Woken, inbox, order, raw, signed, until
from webhooks.accept import AcceptLimits, Acceptor
from webhooks.inbox import InboxLimits


@asynccontextmanager
async def away(server: DatabaseServer, database: Database) -> AsyncIterator[None]:
    """Cuts every connection to the database and lets none in."""
    name = database.address.database
    await server.run(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    await server.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    try:
        yield
    finally:
        await server.run(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')


async def test_posts_are_put_off_while_the_database_is_away_and_taken_when_it_is_back(
    database: Database, database_server: DatabaseServer, acceptor: Acceptor, shop: Shop
) -> None:
    async def send(number: int) -> int:
        body = order(number)
        answer = await acceptor.accept(PLATFORM, shop.token, raw(signed(shop, body)), body)
        assert answer.status == 200 or answer.headers()["retry-after"] == "5"
        return answer.status

    assert await send(0) == 200
    loop = asyncio.get_running_loop()
    async with away(database_server, database):
        started_at = loop.time()
        statuses = await asyncio.gather(*(send(number) for number in range(1, 21)))
        assert loop.time() - started_at < 4.9
        assert set(statuses) == {503}

    async def is_back() -> bool:
        return await send(99) == 200

    await until(is_back, seconds=30)

    async def all_are_kept() -> bool:
        return len(await inbox(database)) == 22  # also those whose senders may never come again

    await until(all_are_kept)
    assert acceptor.counts[PLATFORM, 503] >= 20


async def test_a_store_that_is_not_remembered_is_put_off_too(
    database: Database, database_server: DatabaseServer, acceptor: Acceptor, shop: Shop
) -> None:
    body = order(1)
    async with away(database_server, database):
        async with asyncio.timeout(4.9):
            answer = await acceptor.accept(PLATFORM, shop.token, raw(signed(shop, body)), body)
        assert answer.status == 503
        assert shop.token not in answer.reason


async def test_a_stuck_database_is_not_waited_for(
    database: Database, services: Services, shop: Shop, woken: Woken
) -> None:
    acceptor = Acceptor(services, woken, AcceptLimits(answer_seconds=0.3))
    body = order(1)
    async with database.transaction() as connection:
        await connection.execute("LOCK TABLE deliveries IN ACCESS EXCLUSIVE MODE")
        answer = await acceptor.accept(PLATFORM, shop.token, raw(signed(shop, body)), body)
        assert answer.status == 503
    again = await acceptor.accept(PLATFORM, shop.token, raw(signed(shop, body)), body)
    assert again.status == 200
    await acceptor.close()
    assert len(await inbox(database)) == 1


async def test_a_full_inbox_answers_at_once(
    database: Database, services: Services, shop: Shop, woken: Woken
) -> None:
    acceptor = Acceptor(services, woken, AcceptLimits(inbox=InboxLimits(waiting_posts=2)))

    async def send(number: int) -> int:
        body = order(number)
        return (await acceptor.accept(PLATFORM, shop.token, raw(signed(shop, body)), body)).status

    assert await send(0) == 200
    async with database.transaction() as connection:
        await connection.execute("LOCK TABLE deliveries IN ACCESS EXCLUSIVE MODE")
        waiting = [asyncio.ensure_future(send(number)) for number in (1, 2)]
        await asyncio.sleep(0)
        async with asyncio.timeout(1):
            assert await send(3) == 503
    assert await asyncio.gather(*waiting) == [200, 200]
    await acceptor.close()


async def test_closing_does_not_wait_for_a_database_that_is_away(
    database: Database, database_server: DatabaseServer, impatient: Services, shop: Shop, woken: Woken
) -> None:
    acceptor = Acceptor(impatient, woken, AcceptLimits(answer_seconds=0.3))
    body = order(1)
    assert (await acceptor.accept(PLATFORM, shop.token, raw(signed(shop, body)), body)).status == 200
    async with away(database_server, database):
        second = order(2)
        answer = await acceptor.accept(PLATFORM, shop.token, raw(signed(shop, second)), second)
        assert answer.status == 503
        async with asyncio.timeout(impatient.database.settings.wait_seconds + 3):
            await acceptor.close()
