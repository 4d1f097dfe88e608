"""Requests about personal data: what is asked for waits for the merchant, and who asks to be forgotten is erased."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from rewards.changes import PrivacyRequested
from rewards.errors import NotFoundError
from storage import audit
from storage.database import Connection
from storage.stores import StoreRow

KEPT_DAYS = 30

_CUSTOMERS = """SELECT id FROM store_customers WHERE store_id = %(store)s
    AND (external_id = %(external)s OR external_id = 'guest:' || %(email)s OR email = %(email)s)"""


@dataclass(frozen=True, slots=True)
class RequestRow:
    """A request that waits for somebody. `external_id`: the customer as the platform named them."""

    id: int
    program_id: int
    store_id: int
    kind: str
    external_id: str | None
    store_customer_ids: list[int]
    asked_at: datetime
    done_at: datetime | None
    note: str | None


_SELECT = """SELECT id, program_id, store_id, kind, external_id, store_customer_ids, asked_at, done_at, note
    FROM privacy_requests"""


async def handle(connection: Connection, store: StoreRow, request: PrivacyRequested, now: datetime) -> None:
    """Erases the person, or keeps the request for the merchant, or for the job that erases a whole store.

    Whatever becomes of it, the merchant finds an event.
    """
    values = {
        "store": store.id,
        "program": store.program_id,
        "external": request.customer_external_id,
        "email": request.email.strip().lower() if request.email else None,
    }
    cursor = await connection.execute(_CUSTOMERS, values)
    ids = [row["id"] for row in await cursor.fetchall()]
    is_about_somebody = bool(request.customer_external_id or request.email)
    if request.kind == "erase" and is_about_somebody:
        await forget_addresses(connection, store.id, values["email"], ids)
        await erase(connection, store.id, ids, now)
    else:
        kind = "export" if request.kind == "export" else "erase_store"
        await keep(connection, store, kind, request.customer_external_id, ids, now)
    await audit.record(
        connection,
        store.program_id,
        f"privacy.{request.kind}" if is_about_somebody else "privacy.erase_store",
        at=now,
        actor="platform",
        store_id=store.id,
        subject=request.customer_external_id,
        detail={"customers": ids},
    )


async def requests_of(connection: Connection, store_id: int) -> list[RequestRow]:
    """The store's requests, oldest first."""
    cursor = await connection.execute(f"{_SELECT} WHERE store_id = %s ORDER BY id", (store_id,))
    return [RequestRow(**found) for found in await cursor.fetchall()]


async def by_id(connection: Connection, request_id: int) -> RequestRow:
    """The request; raises NotFoundError."""
    cursor = await connection.execute(f"{_SELECT} WHERE id = %s", (request_id,))
    found = await cursor.fetchone()
    if found is None:
        raise NotFoundError(
            f"There is no request {request_id}; requests are kept {KEPT_DAYS} days, and `perennial privacy list STORE` "
            "shows them."
        )
    return RequestRow(**found)


async def waiting_erasure(connection: Connection, store_id: int) -> RequestRow | None:
    """The oldest request to erase the whole store that nothing came of yet."""
    cursor = await connection.execute(
        f"{_SELECT} WHERE store_id = %s AND kind = 'erase_store' AND done_at IS NULL ORDER BY id LIMIT 1",
        (store_id,),
    )
    found = await cursor.fetchone()
    return None if found is None else RequestRow(**found)


async def stores_to_erase(connection: Connection) -> list[int]:
    """Stores with such a request."""
    cursor = await connection.execute(
        """SELECT DISTINCT store_id FROM privacy_requests WHERE kind = 'erase_store' AND done_at IS NULL
           ORDER BY store_id"""
    )
    return [found["store_id"] for found in await cursor.fetchall()]


async def set_done(connection: Connection, request: RequestRow, note: str | None, now: datetime) -> None:
    """Notes that the request was answered, and how."""
    await connection.execute(
        "UPDATE privacy_requests SET done_at = %s, note = %s WHERE store_id = %s AND id = %s",
        (now, note, request.store_id, request.id),
    )


async def remove_old(connection: Connection, before: datetime) -> int:
    """Removes requests of before this time, but for erasures that still wait; how many."""
    cursor = await connection.execute(
        "DELETE FROM privacy_requests WHERE asked_at < %s AND (kind = 'export' OR done_at IS NOT NULL)",
        (before,),
    )
    return cursor.rowcount


async def customers_to_erase(connection: Connection, store_id: int, after_id: int, limit: int) -> list[int]:
    """Our ids of the store's customers, by id."""
    cursor = await connection.execute(
        "SELECT id FROM store_customers WHERE store_id = %s AND id > %s ORDER BY id LIMIT %s",
        (store_id, after_id, limit),
    )
    return [found["id"] for found in await cursor.fetchall()]


async def erase(connection: Connection, store_id: int, customer_ids: Sequence[int], now: datetime) -> None:
    """Takes everything personal from these customers and from members who are nobody else; points and sums stay.

    What the store said before, and is told late, brings nothing back: the record counts as told of now.
    """
    values = {"store": store_id, "ids": list(customer_ids), "now": now}
    await connection.execute(
        """SELECT FROM members WHERE id IN (SELECT member_id FROM store_customers WHERE id = ANY(%(ids)s))
           ORDER BY id FOR NO KEY UPDATE""",
        values,
    )
    await connection.execute(
        """UPDATE members m SET email = NULL, name = NULL, birthday_md = NULL, birthday_year = NULL,
               birthday_set_by = NULL, birthday_set_at = NULL, joined_on = NULL, joined_md = NULL, joined_set_by = NULL
           WHERE m.id IN (SELECT member_id FROM store_customers WHERE id = ANY(%(ids)s))
               AND NOT EXISTS (SELECT FROM store_customers o WHERE o.member_id = m.id AND o.id <> ALL(%(ids)s)
                               AND (o.email IS NOT NULL OR o.email_given IS NOT NULL OR o.name IS NOT NULL
                                    OR o.phone IS NOT NULL))""",
        values,
    )
    await connection.execute(
        """UPDATE store_customers SET email = NULL, email_given = NULL, name = NULL, phone = NULL, locale = NULL,
               accepts_marketing = NULL, metadata = '{}', deleted_at = coalesce(deleted_at, %(now)s),
               source_updated_at = CASE WHEN source_updated_at IS NOT NULL
                   THEN greatest(source_updated_at, %(now)s) END,
               external_id = CASE WHEN external_id LIKE 'guest:%%' THEN 'erased:' || id ELSE external_id END
           WHERE store_id = %(store)s AND id = ANY(%(ids)s)""",
        values,
    )
    for table in ("birthday_writes", "shown_points"):
        await connection.execute(
            f"DELETE FROM {table} WHERE store_id = %(store)s AND store_customer_id = ANY(%(ids)s)", values
        )
    await connection.execute(
        """UPDATE privacy_requests SET external_id = NULL
           WHERE store_id = %(store)s AND store_customer_ids && %(ids)s::bigint[]""",
        values,
    )


async def erase_rest(connection: Connection, store_id: int, limit: int) -> bool:
    """What of a store is personal beside its customers, a part at a time; True when nothing is left.

    The secrets that sign its webhooks go too: from then on nobody can tell us anything in its name.
    """
    cursor = await connection.execute(
        """DELETE FROM deliveries WHERE store_id = %(store)s
               AND id IN (SELECT id FROM deliveries WHERE store_id = %(store)s LIMIT %(limit)s)""",
        {"store": store_id, "limit": limit},
    )
    if cursor.rowcount:
        return False
    await connection.execute(
        """UPDATE coupons SET emails = '{}', customer_external_ids = '{}'
           WHERE store_id = %s AND (emails <> '{}' OR customer_external_ids <> '{}')""",
        (store_id,),
    )
    await connection.execute(
        "UPDATE stores SET credentials = NULL, webhook_secrets = NULL WHERE id = %s", (store_id,)
    )
    return True


async def keep(
    connection: Connection,
    store: StoreRow,
    kind: str,
    external_id: str | None,
    customer_ids: list[int],
    now: datetime,
) -> int:
    """Keeps a request until it is answered, or until its time is over; our id of it."""
    cursor = await connection.execute(
        """INSERT INTO privacy_requests (program_id, store_id, kind, external_id, store_customer_ids, asked_at)
           VALUES (%s, %s, %s, %s, %s, %s) RETURNING id""",
        (store.program_id, store.id, kind, external_id, customer_ids, now),
    )
    found = await cursor.fetchone()
    assert found is not None, "an insert returns its row"
    return int(found["id"])


async def customers_of(connection: Connection, member_id: int) -> dict[int, list[int]]:
    """Our ids of a person's customers, by store; `member_id` is who they were merged into."""
    cursor = await connection.execute(
        """SELECT store_id, array_agg(id ORDER BY id) AS ids FROM store_customers
           WHERE member_id IN (SELECT id FROM members WHERE %s IN (id, merged_into)) GROUP BY store_id
           ORDER BY store_id""",
        (member_id,),
    )
    return {found["store_id"]: found["ids"] for found in await cursor.fetchall()}


async def forget_addresses(
    connection: Connection, store_id: int, email: object, customer_ids: list[int]
) -> None:
    """Takes the person's e-mails out of the store's coupons as we last saw them."""
    await connection.execute(
        """WITH given AS (
               SELECT %(email)s::text AS email UNION SELECT email FROM store_customers WHERE id = ANY(%(ids)s))
           UPDATE coupons c SET emails = ARRAY(
               SELECT e FROM unnest(c.emails) WITH ORDINALITY AS u(e, place)
               WHERE lower(e) NOT IN (SELECT email FROM given WHERE email IS NOT NULL) ORDER BY place)
           WHERE c.store_id = %(store)s AND EXISTS (
               SELECT FROM unnest(c.emails) AS e WHERE lower(e) IN (SELECT email FROM given))""",
        {"email": email, "ids": customer_ids, "store": store_id},
    )
