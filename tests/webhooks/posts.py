"""Stores in a fresh database and genuine WooCommerce posts for them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from storage import stores
from storage.database import Database
from storage.secrets import SecretBox

PLATFORM = "woocommerce"


@dataclass(frozen=True)
class Shop:
    """One installed store and what signs its posts."""

    id: int
    program_id: int
    token: str
    secret: str

    @property
    def path(self) -> str:
        return f"/webhooks/{PLATFORM}/{self.token}"


async def install(database: Database, box: SecretBox, name: str, *, platform: str = PLATFORM) -> Shop:
    """A program with one active store, reachable by the token `token-<name>`."""
    secret = f"secret of {name}"
    async with database.transaction() as connection:
        cursor = await connection.execute(
            """INSERT INTO programs (name, is_on, currency, leap_rule, match_across_stores, created_at)
               VALUES (%s, true, 'EUR', 'feb_28', false, now()) RETURNING id""",
            (name,),
        )
        program_id = (await _one(cursor))["id"]
        cursor = await connection.execute(
            """INSERT INTO stores (program_id, platform, external_id, token, name, time_zone, currency, settings,
                                   status, subscription_ids, installed_at)
               VALUES (%s, %s, %s, %s, %s, 'Europe/Madrid', 'EUR', '{}', 'active', '[]', now()) RETURNING id""",
            (program_id, platform, f"https://{name}.example", f"token-{name}", name),
        )
        store_id = (await _one(cursor))["id"]
        await stores.keep_secrets(connection, box, store_id, webhook_secrets=[secret])
    return Shop(store_id, program_id, f"token-{name}", secret)


def order(
    number: int, *, status: str = "processing", total: str = "12.10", email: str | None = None
) -> bytes:
    """An order as the shop posts it, as far as it matters here."""
    return json.dumps(
        {
            "id": number,
            "status": status,
            "currency": "EUR",
            "date_created_gmt": "2026-11-01T10:00:00",
            "date_modified_gmt": "2026-11-01T10:00:05",
            "date_paid_gmt": "2026-11-01T10:00:05",
            "date_completed_gmt": None,
            "discount_total": "0.00",
            "shipping_total": "0.00",
            "shipping_tax": "0.00",
            "total": total,
            "total_tax": "2.10",
            "customer_id": 0,
            "billing": {
                "email": email or f"shopper.{number}@people.example",
                "first_name": "Ada",
                "last_name": "Abel",
            },
            "coupon_lines": [],
            "refunds": [],
            "line_items": [{"total": "10.00", "subtotal": "10.00", "total_tax": "2.10"}],
            "fee_lines": [],
        }
    ).encode()


def signed(
    shop: Shop, body: bytes, *, topic: str = "order.updated", secret: str | None = None
) -> dict[str, str]:
    """The header fields of a genuine post, or one signed with another secret."""
    digest = hmac.digest((secret or shop.secret).encode(), body, hashlib.sha256)
    resource, _, event = topic.partition(".")
    return {
        "Content-Type": "application/json",
        "User-Agent": "WooCommerce/11.0.1 Hookshot (WordPress/7.0.4)",
        "X-WC-Webhook-Source": "https://shop.example/",
        "X-WC-Webhook-Topic": topic,
        "X-WC-Webhook-Resource": resource,
        "X-WC-Webhook-Event": event,
        "X-WC-Webhook-Signature": base64.b64encode(digest).decode(),
        "X-WC-Webhook-ID": "3",
        "X-WC-Webhook-Delivery-ID": "12ac983793fa275366396920421c874b",
    }


def raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Header fields as a server hands them over."""
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


async def rows(database: Database, query: str, values: tuple[object, ...] = ()) -> list[dict[str, Any]]:
    """What a query finds."""
    async with database.transaction() as connection:
        cursor = await connection.execute(query, values)
        return await cursor.fetchall()


async def inbox(database: Database) -> list[dict[str, Any]]:
    """The whole inbox, in order."""
    return await rows(database, "SELECT * FROM deliveries ORDER BY id")


class Woken:
    """Takes wake-ups and remembers them."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, kind: str, store_id: int) -> None:
        self.asked.append((kind, store_id))

    async def at_all(self) -> bool:
        return bool(self.asked)


async def until(holds: Callable[[], Awaitable[bool]], *, seconds: float = 5.0) -> None:
    """Returns as soon as it holds; fails after the time."""
    for _ in range(int(seconds * 50)):
        if await holds():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"it did not come true within {seconds} seconds")


Poster = Callable[..., Awaitable[tuple[int, str, Mapping[str, str]]]]


async def _one(cursor: Any) -> dict[str, Any]:
    found = await cursor.fetchone()
    assert found is not None
    return dict(found)
