"""Tickets: unguessable texts that a browser carries to a platform and back, and what they stand for until then."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from datetime import datetime

from storage.database import Connection
from storage.secrets import SecretBox

_COLUMN = "ticket"


async def issue(
    connection: Connection, box: SecretBox, platform: str, data: Mapping[str, str], *, ends_at: datetime
) -> str:
    """A new ticket of the platform for `data`; only its digest is kept, and the data sealed."""
    ticket = secrets.token_urlsafe(32)
    digest = _digest(ticket)
    await connection.execute(
        "INSERT INTO tickets (platform, digest, data, ends_at) VALUES (%s, %s, %s, %s)",
        (platform, digest, box.seal(json.dumps(dict(data)), _number(digest), _COLUMN), ends_at),
    )
    return ticket


async def redeem(
    connection: Connection, box: SecretBox, platform: str, ticket: str, *, once: bool, now: datetime
) -> dict[str, str] | None:
    """What the ticket stands for; None for one that is unknown, too old, or redeemed `once` before."""
    digest = _digest(ticket)
    wanted = "tickets WHERE platform = %s AND digest = %s AND ends_at > %s"
    query = f"DELETE FROM {wanted} RETURNING data" if once else f"SELECT data FROM {wanted}"
    found = await (await connection.execute(query, (platform, digest, now))).fetchone()
    if found is None:
        return None
    data: dict[str, str] = json.loads(box.open_sealed(bytes(found["data"]), _number(digest), _COLUMN))
    return data


async def amend(
    connection: Connection,
    box: SecretBox,
    platform: str,
    ticket: str,
    data: Mapping[str, str],
    *,
    now: datetime,
) -> None:
    """The ticket stands for other data, until the moment that was set for it; nothing when it is unknown or too old."""
    digest = _digest(ticket)
    await connection.execute(
        "UPDATE tickets SET data = %s WHERE platform = %s AND digest = %s AND ends_at > %s",
        (box.seal(json.dumps(dict(data)), _number(digest), _COLUMN), platform, digest, now),
    )


async def remove_old(connection: Connection, now: datetime) -> None:
    """Removes tickets that nobody can redeem any more."""
    await connection.execute("DELETE FROM tickets WHERE ends_at <= %s", (now,))


def _digest(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode("utf-8", "replace")).digest()


def _number(digest: bytes) -> int:
    """What the sealed data is bound to, in the place of a row's id, which is not known before it is stored."""
    return int.from_bytes(digest[:8], "big")
