"""Who changed what, kept for the merchant. No personal data and no secrets in `detail`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from storage.database import Connection


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One event as stored."""

    id: int
    at: datetime
    actor: str
    action: str
    subject: str | None
    store_id: int | None
    detail: Mapping[str, Any]


async def record(
    connection: Connection,
    program_id: int,
    action: str,
    *,
    at: datetime,
    actor: str,
    store_id: int | None = None,
    subject: str | None = None,
    detail: Mapping[str, object] | None = None,
) -> None:
    """Appends one event: `action` like "reward.changed", `subject` like "reward:7"."""
    await connection.execute(
        """INSERT INTO audit_events (program_id, store_id, actor, action, subject, detail, at)
           VALUES (%s, %s, %s, %s, %s, %s, %s)""",
        (program_id, store_id, actor, action, subject, Jsonb(dict(detail or {})), at),
    )


async def of_store(
    connection: Connection, program_id: int, store_id: int, limit: int | None = None
) -> list[AuditRow]:
    """What happened to the store and to its program, newest first."""
    cursor = await connection.execute(
        """SELECT id, at, actor, action, subject, store_id, detail FROM audit_events
           WHERE program_id = %s AND (store_id IS NULL OR store_id = %s) ORDER BY id DESC LIMIT %s""",
        (program_id, store_id, limit),
    )
    return [AuditRow(**row) for row in await cursor.fetchall()]
