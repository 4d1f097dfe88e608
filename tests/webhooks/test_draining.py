"""Kept posts become orders and members; a bad one is kept, marked and shown, and holds nobody up."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import cast

import psycopg
import pytest

from connectors.base import RawDelivery, Store, StoreOptions
from connectors.woocommerce import CONNECTOR
from connectors.woocommerce.webhooks import WooCommerceWebhooks
from rewards.changes import Change, LookAgain
from rewards.errors import DatabaseError, NotFoundError, RefusedError, RetryLaterError
from storage import deliveries
from storage.database import Database
from sync.services import Services
from tests.conftest import DatabaseServer
from tests.webhooks.posts import PLATFORM, Shop, inbox, order, raw, rows, signed
from tests.webhooks.test_outage import away
from webhooks.accept import Acceptor
from webhooks.draining import MOST_ATTEMPTS, drain


def unfit(number: int, *, email: str | None = None) -> bytes:
    """An order with a code too long for any index, so that its chunk fails in the database."""
    body = json.loads(order(number, email=email))
    body["coupon_lines"] = [{"id": 1, "code": secrets.token_hex(100_000)}]
    return json.dumps(body).encode()


async def keep(acceptor: Acceptor, shop: Shop, body: bytes, topic: str = "order.updated") -> None:
    answer = await acceptor.accept(PLATFORM, shop.token, raw(signed(shop, body, topic=topic)), body)
    assert answer.status == 200


async def keep_orders(acceptor: Acceptor, shop: Shop, numbers: range) -> None:
    await asyncio.gather(*(keep(acceptor, shop, order(number)) for number in numbers))


async def states(database: Database) -> list[str]:
    return [row["state"] for row in await inbox(database)]


async def external_ids(database: Database, shop: Shop) -> set[str]:
    found = await rows(database, "SELECT external_id FROM orders WHERE store_id = %s", (shop.id,))
    return {row["external_id"] for row in found}


async def test_posts_become_orders_in_chunks(
    database: Database, services: Services, acceptor: Acceptor, shop: Shop
) -> None:
    await keep_orders(acceptor, shop, range(1_101))
    assert await drain(services, shop.id) == 1_101
    assert set(await states(database)) == {"handled"}
    assert await external_ids(database, shop) == {str(number) for number in range(1_101)}
    assert all(row["handled_at"] and row["note"] is None for row in await inbox(database))
    (found,) = await rows(database, "SELECT count(DISTINCT xmin::text) AS commits FROM deliveries")
    assert found["commits"] == 3
    assert await drain(services, shop.id) == 0


async def test_a_drain_touches_only_its_own_store(
    database: Database, services: Services, acceptor: Acceptor, shop: Shop, other_shop: Shop
) -> None:
    await keep(acceptor, shop, order(7, total="12.10"))
    await keep(acceptor, other_shop, order(7, total="22.10"))
    assert await drain(services, shop.id) == 1
    assert await external_ids(database, shop) == {"7"}
    assert await external_ids(database, other_shop) == set()
    assert await drain(services, other_shop.id) == 1
    found = await rows(database, "SELECT store_id, total_minor FROM orders ORDER BY store_id")
    assert [(row["store_id"], row["total_minor"]) for row in found] == [
        (shop.id, 1210),
        (other_shop.id, 2210),
    ]


async def test_broken_json_is_kept_marked_and_shown(
    database: Database, services: Services, acceptor: Acceptor, shop: Shop
) -> None:
    broken = order(2, email="someone@people.example")[:-7]
    await keep(acceptor, shop, order(1))
    await keep(acceptor, shop, broken)
    await keep(acceptor, shop, order(3))
    assert await drain(services, shop.id) == 3
    assert await states(database) == ["handled", "broken", "handled"]
    assert (await inbox(database))[1]["body"] == broken
    async with database.transaction() as connection:
        (shown,) = await deliveries.broken(connection, shop.id)
        assert await deliveries.counts(connection, shop.id) == {"waiting": 0, "handled": 2, "broken": 1}
    assert shown.topic == "order.updated"
    assert "cannot be read" in shown.note
    assert "someone" not in shown.note


async def test_posts_without_effect_say_why(
    database: Database, services: Services, acceptor: Acceptor, shop: Shop
) -> None:
    gone = b'{"code":"woocommerce_rest_shop_order_invalid_id","message":"No.","data":{"status":404}}'
    await keep(acceptor, shop, gone)
    await keep(acceptor, shop, b'{"id":5}', topic="product.updated")
    assert await drain(services, shop.id) == 2
    notes = [row["note"] for row in await inbox(database)]
    assert "deleted" in notes[0]
    assert notes[1] == "unknown topic"
    assert await states(database) == ["handled", "handled"]


async def test_one_post_that_cannot_be_applied_holds_nobody_up(
    database: Database, services: Services, acceptor: Acceptor, shop: Shop
) -> None:
    await keep_orders(acceptor, shop, range(20))
    await keep(acceptor, shop, unfit(20, email="someone@people.example"))
    await keep_orders(acceptor, shop, range(21, 40))
    await drain(services, shop.id)
    assert len(await external_ids(database, shop)) == 39
    (bad,) = [row for row in await inbox(database) if row["state"] != "handled"]
    assert (bad["state"], bad["attempts"]) == ("waiting", 1)
    assert bad["try_after"] > datetime.now(UTC)
    assert bad["note"]
    assert "someone" not in bad["note"]


async def test_a_post_that_never_can_be_applied_is_broken_after_ten_tries(
    database: Database, services: Services, acceptor: Acceptor, shop: Shop
) -> None:
    now = datetime.now(UTC)
    await keep(acceptor, shop, unfit(1))
    pauses = []
    for attempt in range(1, MOST_ATTEMPTS + 1):
        assert await drain(replace(services, clock=lambda: now), shop.id) == 1  # noqa: B023
        assert await drain(replace(services, clock=lambda: now), shop.id) == 0  # noqa: B023
        (row,) = await inbox(database)
        assert row["attempts"] == attempt
        if attempt < MOST_ATTEMPTS:
            pauses.append(row["try_after"] - now)
            now = row["try_after"]
    assert row["state"] == "broken"
    assert "10 tries" in row["note"]
    assert pauses == sorted(pauses)
    assert pauses[0] == timedelta(seconds=30)
    async with database.transaction() as connection:
        assert await deliveries.try_again(connection, shop.id) == 1
        assert await deliveries.stores_with_waiting(connection, now) == [shop.id]


class _Clumsy(WooCommerceWebhooks):
    """A reader with a mistake of our own in it."""

    def parse(self, delivery: RawDelivery, options: StoreOptions) -> Sequence[Change]:
        if b'"id": 3,' in delivery.body:
            raise KeyError("someone@people.example")
        return super().parse(delivery, options)


async def test_a_mistake_of_a_reader_is_put_off_and_told_without_personal_data(
    database: Database, services: Services, acceptor: Acceptor, shop: Shop
) -> None:
    await keep_orders(acceptor, shop, range(6))
    clumsy = replace(services, connectors={PLATFORM: replace(CONNECTOR, webhooks=_Clumsy())})
    assert await drain(clumsy, shop.id) == 6
    (bad,) = [row for row in await inbox(database) if row["state"] != "handled"]
    assert (bad["state"], bad["attempts"], bad["note"]) == ("waiting", 1, "KeyError")


class _Terse(WooCommerceWebhooks):
    """A reader whose posts only name what they tell of."""

    def parse(self, delivery: RawDelivery, options: StoreOptions) -> Sequence[Change]:
        return (LookAgain("order", str(json.loads(delivery.body)["id"])),)


class _Answering:
    """A shop that tells of any order; of the third it cannot yet, the fourth is gone, the fifth may not be seen."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    async def look(self, thing: LookAgain) -> Sequence[Change]:
        self.asked[thing.external_id] += 1
        if thing.external_id == "3" and self.asked["3"] == 1:
            raise RetryLaterError("The shop does not answer.")
        if thing.external_id == "4":
            return []
        if thing.external_id == "5":
            raise RefusedError("The key may not read orders.")
        return WooCommerceWebhooks().parse(
            RawDelivery({"x-wc-webhook-topic": "order.updated"}, order(int(thing.external_id))),
            StoreOptions("EUR", "UTC"),
        )


async def test_what_a_post_does_not_hold_is_asked_of_the_store_and_each_post_settled_alone(
    database: Database, services: Services, acceptor: Acceptor, shop: Shop
) -> None:
    await keep_orders(acceptor, shop, range(1, 21))
    answering = _Answering()
    terse = replace(CONNECTOR, webhooks=_Terse(), open_store=lambda *_: cast(Store, answering))
    asking = replace(services, connectors={PLATFORM: terse})
    assert await drain(asking, shop.id) == 20
    found = await inbox(database)
    by_state = Counter(row["state"] for row in found)
    assert by_state == {"handled": 19, "waiting": 1}
    assert {row["note"] for row in found} == {
        None,
        "it is gone from the store",
        "The key may not read orders.",
        "The shop does not answer.",
    }
    assert await external_ids(database, shop) == {str(n) for n in range(1, 21)} - {"3", "4", "5"}
    (late,) = [row for row in found if row["state"] == "waiting"]
    assert await drain(replace(asking, clock=lambda: late["try_after"]), shop.id) == 1
    assert "3" in await external_ids(database, shop)
    assert set(answering.asked.values()) == {1, 2}


async def test_two_drains_at_once_handle_each_post_once(
    database: Database, services: Services, acceptor: Acceptor, shop: Shop
) -> None:
    await keep_orders(acceptor, shop, range(1_200))
    handled = await asyncio.gather(drain(services, shop.id), drain(services, shop.id))
    while more := await drain(services, shop.id):
        handled.append(more)
    assert sum(handled) == 1_200
    assert set(await states(database)) == {"handled"}
    assert len(await external_ids(database, shop)) == 1_200


async def test_an_outage_counts_against_no_post(
    database: Database, database_server: DatabaseServer, impatient: Services, acceptor: Acceptor, shop: Shop
) -> None:
    await keep_orders(acceptor, shop, range(5))
    async with away(database_server, database):
        with pytest.raises((DatabaseError, psycopg.OperationalError)):
            await drain(impatient, shop.id)
    handled = 0
    async with asyncio.timeout(30):
        while handled == 0:
            with suppress(DatabaseError, psycopg.OperationalError):
                handled = await drain(impatient, shop.id)
    assert handled == 5
    assert [row["attempts"] for row in await inbox(database)] == [0] * 5


async def test_a_drain_of_a_store_without_posts_does_nothing(services: Services, shop: Shop) -> None:
    assert await drain(services, shop.id) == 0


async def test_posts_of_a_store_that_is_gone_stay(
    database: Database, services: Services, acceptor: Acceptor, shop: Shop
) -> None:
    await keep(acceptor, shop, order(1))
    async with database.transaction() as connection:
        await connection.execute("DELETE FROM stores WHERE id = %s", (shop.id,))
    with pytest.raises(NotFoundError):
        await drain(services, shop.id)
    assert await states(database) == ["waiting"]


async def test_old_handled_posts_are_removed_and_waiting_ones_stay(
    database: Database, services: Services, acceptor: Acceptor, shop: Shop
) -> None:
    await keep_orders(acceptor, shop, range(3))
    await drain(services, shop.id)
    await keep(acceptor, shop, order(9))
    async with database.transaction() as connection:
        long_ago = datetime.now(UTC) - timedelta(days=30)
        assert await deliveries.remove_handled(connection, long_ago) == 0
        assert await deliveries.remove_handled(connection, datetime.now(UTC) + timedelta(days=1)) == 3
    assert await states(database) == ["waiting"]
