"""Birthdays that a store is to be told: asked for in the transaction that sets them, so that none is forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rewards.records import Birthday
from storage.database import Connection


@dataclass(frozen=True, slots=True)
class BirthdayToWrite:
    """A customer of the store, and the birthday of the person behind them as it is now."""

    id: int
    customer_external_id: str
    birthday: Birthday
    asked_at: datetime


_PERSON = """SELECT coalesce(x.merged_into, x.id) AS id FROM members x WHERE x.id = sc.member_id"""


async def ask(connection: Connection, member_id: int, setting: str, now: datetime) -> list[int]:
    """Asks for the person's birthday to be written to all of their customers in stores with this setting on.

    Guests have no record that could hold it. Gives the stores' ids.
    """
    cursor = await connection.execute(
        f"""INSERT INTO birthday_writes AS w (program_id, store_id, store_customer_id, state, asked_at)
            SELECT sc.program_id, sc.store_id, sc.id, 'waiting', %(now)s
            FROM store_customers sc JOIN stores s ON s.id = sc.store_id AND s.settings ->> %(setting)s = 'on'
                CROSS JOIN LATERAL ({_PERSON}) person
            WHERE sc.member_id IN (SELECT id FROM members WHERE %(member)s IN (id, merged_into))
                AND person.id = %(member)s AND sc.has_account AND sc.deleted_at IS NULL
            ORDER BY sc.store_id, sc.id
            ON CONFLICT (store_id, store_customer_id) DO UPDATE
            SET state = 'waiting', reason = NULL, asked_at = excluded.asked_at, done_at = NULL
            RETURNING store_id""",
        {"member": member_id, "setting": setting, "now": now},
    )
    return sorted({found["store_id"] for found in await cursor.fetchall()})


async def waiting(connection: Connection, store_id: int, after_id: int, limit: int) -> list[BirthdayToWrite]:
    """What the store was not told yet, by id. What nobody can tell any more, because it was erased, is let go."""
    await connection.execute(
        f"""DELETE FROM birthday_writes w USING store_customers sc CROSS JOIN LATERAL ({_PERSON}) person
            JOIN members m ON m.id = person.id
            WHERE w.store_id = %s AND w.state = 'waiting' AND sc.id = w.store_customer_id
                AND (m.birthday_md IS NULL OR sc.deleted_at IS NOT NULL)""",
        (store_id,),
    )
    cursor = await connection.execute(
        f"""SELECT w.id, sc.external_id, m.birthday_md AS md, m.birthday_year AS year, w.asked_at
            FROM birthday_writes w JOIN store_customers sc ON sc.id = w.store_customer_id
                CROSS JOIN LATERAL ({_PERSON}) person JOIN members m ON m.id = person.id
            WHERE w.store_id = %s AND w.state = 'waiting' AND w.id > %s ORDER BY w.id LIMIT %s""",
        (store_id, after_id, limit),
    )
    return [
        BirthdayToWrite(
            found["id"],
            found["external_id"],
            Birthday(found["md"] // 100, found["md"] % 100, found["year"]),
            found["asked_at"],
        )
        for found in await cursor.fetchall()
    ]


async def settle(
    connection: Connection, store_id: int, written: BirthdayToWrite, refused: str | None, now: datetime
) -> None:
    """Keeps that the store was told, or why it would not listen. A birthday set meanwhile still waits."""
    await connection.execute(
        """UPDATE birthday_writes SET state = %s, reason = %s, done_at = %s
           WHERE store_id = %s AND id = %s AND asked_at = %s""",
        (
            "done" if refused is None else "refused",
            refused,
            now,
            store_id,
            written.id,
            written.asked_at,
        ),
    )


async def stores_with_waiting(connection: Connection, setting: str) -> list[int]:
    """Active stores with this setting on that are to be told something."""
    cursor = await connection.execute(
        """SELECT s.id FROM stores s WHERE s.status = 'active' AND s.settings ->> %s = 'on'
               AND EXISTS (SELECT FROM birthday_writes w WHERE w.store_id = s.id AND w.state = 'waiting')
           ORDER BY s.id""",
        (setting,),
    )
    return [found["id"] for found in await cursor.fetchall()]
