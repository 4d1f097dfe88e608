"""A WooCommerce shop's webhook posts in any number, and a store that expects them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from psycopg.types.json import Jsonb

from benchmarks.harness import Connection
from sandbox.woocommerce_records import order_json, order_status
from sandbox.world import Seed, World
from storage.secrets import SecretBox

PLATFORM = "woocommerce"
TOKEN = "benchmark-token"  # noqa: S105 - opens nothing outside of a benchmark
SECRET = "benchmark secret"  # noqa: S105
# A fixed key: the measured process must open what was sealed here.
KEY = bytes(range(32))
TOPIC = "order.updated"
_BASE = "https://shop.example"


def bodies(count: int) -> Iterator[bytes]:
    """Orders as WooCommerce posts them, about 2.4 kB each: every shopper orders five times, none is refunded."""
    seed = Seed(customers=count // 5, orders=count, refund_share=0.0, cancel_share=0.0)
    world = World(seed)
    for sale in world.sales:
        order = order_json(sale, world, _BASE, None, order_status(sale))
        yield json.dumps(order, separators=(",", ":")).replace("/", "\\/").encode()


def headers(body: bytes) -> dict[str, str]:
    """The header fields of a genuine post, names in lower case."""
    signature = hmac.digest(SECRET.encode(), body, hashlib.sha256)
    return {
        "user-agent": "WooCommerce/11.0.1 Hookshot (WordPress/7.0.4)",
        "content-type": "application/json",
        "x-wc-webhook-source": f"{_BASE}/",
        "x-wc-webhook-topic": TOPIC,
        "x-wc-webhook-resource": "order",
        "x-wc-webhook-event": "updated",
        "x-wc-webhook-signature": base64.b64encode(signature).decode(),
        "x-wc-webhook-id": "3",
        "x-wc-webhook-delivery-id": hashlib.sha256(body).hexdigest()[:32],
    }


def request(body: bytes) -> bytes:
    """The post as bytes on the wire, over a connection that stays open."""
    fields: Mapping[str, str] = {
        "host": "127.0.0.1",
        "accept": "*/*",
        "accept-encoding": "deflate, gzip, br, zstd",
        "content-length": str(len(body)),
        **headers(body),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST /webhooks/{PLATFORM}/{TOKEN} HTTP/1.1\r\n{head}\r\n".encode() + body


def install(connection: Connection) -> int:
    """A program that awards five points for each euro, with one store whose orders earn; the store's id."""
    (program,) = _one(
        connection,
        """INSERT INTO programs (name, is_on, currency, leap_rule, match_across_stores, created_at)
           VALUES ('benchmark', true, 'EUR', 'feb_28', false, now()) RETURNING id""",
    )
    connection.execute(
        """INSERT INTO ways_to_earn (program_id, kind, version, is_enabled, points, per_minor, created_at)
           VALUES (%s, 'place_order', 1, true, 5, 100, now())""",
        (program,),
    )
    (store,) = _one(
        connection,
        """INSERT INTO stores (program_id, platform, external_id, token, name, time_zone, currency, settings, status,
                               subscription_ids, earning_from, installed_at)
           VALUES (%s, %s, %s, %s, 'shop', 'Europe/Madrid', 'EUR', '{}', 'active', '[]', '2000-01-01', now())
           RETURNING id""",
        (program, PLATFORM, _BASE, TOKEN),
    )
    sealed = SecretBox([KEY]).seal(json.dumps([SECRET]), int(str(store)), "webhook_secrets")
    connection.execute("UPDATE stores SET webhook_secrets = %s WHERE id = %s", (sealed, store))
    return int(str(store))


def fill_inbox(connection: Connection, store_id: int, count: int) -> None:
    """Puts posts into the inbox as the lane leaves them."""
    now = datetime.now(UTC)
    columns = "store_id, delivery_key, topic, headers, body, received_at, state, attempts"
    with connection.cursor() as cursor, cursor.copy(f"COPY deliveries ({columns}) FROM STDIN") as copy:
        for body in bodies(count):
            key = hashlib.sha256(TOPIC.encode() + b"\n" + body).hexdigest()
            copy.write_row((store_id, key, TOPIC, Jsonb(headers(body)), body, now, "waiting", 0))
    connection.execute("VACUUM ANALYZE")


def _one(connection: Connection, query: str, values: tuple[object, ...] = ()) -> tuple[object, ...]:
    found = connection.execute(query, values).fetchone()
    assert found is not None
    return found
