"""Requests about personal data: kept as events for the merchant, and erasure of one person."""

from __future__ import annotations

from datetime import datetime

from rewards.changes import PrivacyRequested
from storage.database import Connection
from storage.stores import StoreRow

_CUSTOMERS = """SELECT id FROM store_customers WHERE store_id = %(store)s
    AND (external_id = %(external)s OR external_id = 'guest:' || %(email)s OR email = %(email)s)"""


async def handle(connection: Connection, store: StoreRow, request: PrivacyRequested, now: datetime) -> None:
    """Erases the person, or notes that their data is asked for; either way the merchant finds an event."""
    values = {
        "store": store.id,
        "program": store.program_id,
        "external": request.customer_external_id,
        "email": request.email.strip().lower() if request.email else None,
    }
    cursor = await connection.execute(_CUSTOMERS, values)
    ids = [row["id"] for row in await cursor.fetchall()]
    if request.kind == "erase" and (request.customer_external_id or request.email):
        await _forget_addresses(connection, store.id, values["email"], ids)
        await _erase(connection, ids)
    await connection.execute(
        """INSERT INTO audit_events (program_id, store_id, actor, action, subject, detail, at)
           VALUES (%s, %s, 'platform', %s, %s, jsonb_build_object('customers', %s::bigint[]), %s)""",
        (store.program_id, store.id, f"privacy.{request.kind}", request.customer_external_id, ids, now),
    )


async def _forget_addresses(
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


async def _erase(connection: Connection, customer_ids: list[int]) -> None:
    """Takes everything personal from these customers and from members who are nobody else; points and sums stay."""
    await connection.execute(
        """UPDATE members m SET email = NULL, name = NULL, birthday_md = NULL, birthday_year = NULL,
               birthday_set_by = NULL, birthday_set_at = NULL
           WHERE m.id IN (SELECT member_id FROM store_customers WHERE id = ANY(%(ids)s))
               AND NOT EXISTS (SELECT FROM store_customers o WHERE o.member_id = m.id AND o.id <> ALL(%(ids)s))""",
        {"ids": customer_ids},
    )
    await connection.execute(
        """UPDATE store_customers SET email = NULL, email_given = NULL, name = NULL, locale = NULL,
               accepts_marketing = NULL, metadata = '{}',
               external_id = CASE WHEN external_id LIKE 'guest:%%' THEN 'erased:' || id ELSE external_id END
           WHERE id = ANY(%s)""",
        (customer_ids,),
    )
