"""Posts that wait together are committed together, each is answered after its commit, and a bad one fails alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from rewards.errors import MalformedDeliveryError
from storage.database import Database
from storage.deliveries import NewDelivery
from tests.webhooks.posts import Woken, inbox, rows, until
from webhooks.inbox import GroupCommit, InboxFullError, InboxLimits
from webhooks.wakeups import Wakeups


def new(key: str, *, store_id: int = 1, body: bytes = b"{}") -> NewDelivery:
    """A post of some store."""
    return NewDelivery(store_id, key, "order.updated", {"a": "b"}, body, datetime.now(UTC))


@asynccontextmanager
async def opened(
    database: Database, woken: Woken, limits: InboxLimits | None = None
) -> AsyncIterator[GroupCommit]:
    wakeups = Wakeups(woken)
    group = GroupCommit(database, wakeups, limits)
    yield group
    await group.close()
    await wakeups.close()


@asynccontextmanager
async def held_up(database: Database) -> AsyncIterator[None]:
    """Nobody else can write to the inbox."""
    async with database.transaction() as connection:
        await connection.execute("LOCK TABLE deliveries IN ACCESS EXCLUSIVE MODE")
        yield


async def test_posts_that_wait_together_are_committed_together(database: Database, woken: Woken) -> None:
    async with opened(database, woken) as group:
        await asyncio.gather(*(group.keep(new(f"key {n}")) for n in range(200)))
    (found,) = await rows(
        database, "SELECT count(*) AS posts, count(DISTINCT xmin::text) AS commits FROM deliveries"
    )
    assert found["posts"] == 200
    assert found["commits"] <= 2


async def test_whoever_is_answered_finds_the_row_committed(database: Database, woken: Woken) -> None:
    keys = [f"key {n % 60}" for n in range(150)]  # repeats within one batch and across batches

    async def keep_and_look(group: GroupCommit, key: str) -> None:
        await group.keep(new(key))
        assert len(await rows(database, "SELECT id FROM deliveries WHERE delivery_key = %s", (key,))) == 1

    async with opened(database, woken, InboxLimits(batch_posts=40)) as group:
        await asyncio.gather(*(keep_and_look(group, key) for key in keys))
    assert {row["delivery_key"] for row in await inbox(database)} == set(keys)


async def test_equal_keys_of_two_stores_are_two_posts(database: Database, woken: Woken) -> None:
    async with opened(database, woken) as group:
        await asyncio.gather(*(group.keep(new("same", store_id=n)) for n in (1, 2, 1)))
    assert sorted(row["store_id"] for row in await inbox(database)) == [1, 2]


async def test_a_post_that_the_database_refuses_fails_alone(database: Database, woken: Woken) -> None:
    posts = [new("bad\0key" if n == 13 else f"key {n}") for n in range(40)]
    async with opened(database, woken) as group:
        outcomes = await asyncio.gather(*(group.keep(post) for post in posts), return_exceptions=True)
    assert isinstance(outcomes.pop(13), MalformedDeliveryError)
    assert outcomes == [None] * 39
    assert len(await inbox(database)) == 39


@pytest.mark.parametrize(
    "limits", [InboxLimits(waiting_posts=3), InboxLimits(waiting_bytes=3_000)], ids=["posts", "bytes"]
)
async def test_no_more_than_the_limit_waits(database: Database, woken: Woken, limits: InboxLimits) -> None:
    async with opened(database, woken, limits) as group:
        async with held_up(database):
            waiting = [
                asyncio.ensure_future(group.keep(new(f"key {n}", body=b" " * 1_000))) for n in range(3)
            ]
            await asyncio.sleep(0)
            with pytest.raises(InboxFullError, match="3 posts"):
                await group.keep(new("one too many"))
        await asyncio.gather(*waiting)
        await group.keep(new("there is room again"))
    assert len(await inbox(database)) == 4


async def test_a_post_whose_sender_gave_up_is_kept_all_the_same(database: Database, woken: Woken) -> None:
    async with opened(database, woken) as group:
        async with held_up(database):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(group.keep(new("patient")), 0.2)

        async def is_kept() -> bool:
            return len(await inbox(database)) == 1

        await until(is_kept)


async def test_stores_are_woken_after_the_commit(database: Database, woken: Woken) -> None:
    async with opened(database, woken) as group:
        await asyncio.gather(*(group.keep(new(f"key {n}", store_id=n % 3)) for n in range(30)))
    assert sorted(set(woken.asked)) == [("drain", 0), ("drain", 1), ("drain", 2)]


async def test_a_store_is_woken_at_most_once_in_a_while() -> None:
    woken = Woken()
    wakeups = Wakeups(woken, every_seconds=0.3)
    for _ in range(50):
        wakeups.ask(1)
        await asyncio.sleep(0)
    assert woken.asked == [("drain", 1)]

    async def again() -> bool:
        return len(woken.asked) == 2

    await until(again)  # what came during the rest is not forgotten
    wakeups.ask(2)
    await wakeups.close()
    assert woken.asked == [("drain", 1), ("drain", 1), ("drain", 2)]


async def test_a_wake_up_that_fails_does_not_stop_the_next() -> None:
    tries: list[int] = []

    async def failing(kind: str, store_id: int) -> None:
        tries.append(store_id)
        raise ConnectionError

    wakeups = Wakeups(failing, every_seconds=0.01)
    wakeups.ask(1)

    async def tried(times: int) -> bool:
        return len(tries) == times

    await until(lambda: tried(1))
    wakeups.ask(1)
    await until(lambda: tried(2))
    await wakeups.close()
