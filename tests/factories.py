"""Programs, stores and records for tests: as small as they can be, different only in what a test names."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from psycopg.types.json import Jsonb

from rewards.earning import WayKind, WayToEarn
from rewards.records import Customer, Order, OrderStatus, Refund, RefundStatus
from storage import programs, stores
from storage.database import Connection, Database
from storage.stores import StoreRow

NOON = datetime(2026, 6, 15, 12, tzinfo=UTC)


async def make_program(connection: Connection, name: str = "Test", **ways: int | tuple[int, int]) -> int:
    """A program in EUR; `sign_up=100`, `place_order=200` (fixed) or `place_order=(5, 100)` (5 points per 1.00)."""
    program_id = await programs.create(connection, name, "EUR", NOON)
    for kind, points in ways.items():
        await set_way(connection, program_id, kind, points)
    return program_id


async def set_way(connection: Connection, program_id: int, kind: str, points: int | tuple[int, int]) -> int:
    """Makes these the points of a way to earn from now on; the new version's id."""
    fixed, per_minor = points if isinstance(points, tuple) else (points, None)
    way = WayToEarn(WayKind(kind), True, fixed, per_minor)
    return await programs.set_way(connection, program_id, way, NOON)


async def make_store(
    connection: Connection,
    program_id: int,
    *,
    platform: str = "woocommerce",
    external_id: str | None = None,
    earning_from: datetime | None = None,
    currency: str = "EUR",
    time_zone: str = "Europe/Madrid",
) -> StoreRow:
    """An active store of the program."""
    cursor = await connection.execute(
        """INSERT INTO stores (program_id, platform, external_id, token, name, time_zone, currency, settings,
               status, subscription_ids, earning_from, installed_at)
           VALUES (%s, %s, %s, %s, 'Store', %s, %s, %s, 'active', '[]', %s, %s) RETURNING id""",
        (
            program_id,
            platform,
            external_id or secrets.token_hex(8),
            secrets.token_urlsafe(16),
            time_zone,
            currency,
            Jsonb({}),
            earning_from,
            NOON,
        ),
    )
    row = await cursor.fetchone()
    assert row is not None
    return await stores.by_id(connection, row["id"])


async def new_store(
    database: Database, *, earning_from: datetime | None = None, **ways: int | tuple[int, int]
) -> StoreRow:
    """A store in a program of its own; sign-ups 100 and orders 200 points unless told otherwise."""
    async with database.transaction() as connection:
        program_id = await make_program(connection, **(ways or {"sign_up": 100, "place_order": 200}))
        return await make_store(connection, program_id, earning_from=earning_from)


def customer(external_id: str = "1", **changes: object) -> Customer:
    """Ada, who has an account."""
    plain = Customer(
        external_id=external_id,
        email=f"ada.{external_id}@people.example",
        name="Ada Abel",
        has_account=True,
        joined_at=NOON - timedelta(days=200),
        source_updated_at=NOON - timedelta(days=200),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def order(external_id: str = "1", **changes: object) -> Order:
    """A paid order of 100.00 EUR plus 21.00 tax by customer 1."""
    placed_at = NOON - timedelta(days=100)
    plain = Order(
        external_id=external_id,
        customer_external_id="1",
        email="ada.1@people.example",
        status=OrderStatus.PAID,
        status_given="processing",
        currency="EUR",
        subtotal_minor=10_000,
        tax_minor=2_100,
        shipping_minor=0,
        discount_minor=0,
        total_minor=12_100,
        placed_at=placed_at,
        paid_at=placed_at,
        cancelled_at=None,
        source_updated_at=placed_at,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def refund(external_id: str, total_minor: int, status: RefundStatus = RefundStatus.SUCCEEDED) -> Refund:
    """A refund of so much of the total."""
    return Refund(external_id, total_minor, status, NOON - timedelta(days=90))
