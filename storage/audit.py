"""Who changed what, kept for the merchant. No personal data and no secrets in `detail`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from psycopg.types.json import Jsonb

from storage.database import Connection


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
