"""Stores and their secrets: found by id, by the token in a webhook address, or by the platform's id of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from psycopg.types.json import Jsonb

from rewards.errors import NotFoundError
from rewards.records import ShopFacts
from storage.database import Connection
from storage.secrets import SecretBox


@dataclass(frozen=True, slots=True)
class StoreRow:
    """One installed store. Credentials and webhook secrets are still sealed: see `credentials` below."""

    id: int
    program_id: int
    platform: str
    external_id: str
    token: str
    name: str
    time_zone: str
    currency: str
    api_base: str | None
    settings: Mapping[str, str]
    status: str
    status_reason: str | None
    earning_from: datetime | None
    webhook_address: str | None
    subscription_ids: Sequence[str]
    polled_because: str | None
    notices: Sequence[str]
    sealed_credentials: bytes | None
    sealed_webhook_secrets: bytes | None


# A setting of a store: something that it did not show before, or showed as something else, is to be read.
READ_ANEW = "read_anew"
# As long as a platform waits before it has a store's data erased.
COMES_BACK_WITHIN = timedelta(hours=48)

_COLUMNS = """id, program_id, platform, external_id, token, name, time_zone, currency, api_base, settings, status,
    status_reason, earning_from, webhook_address, subscription_ids, polled_because, coalesce(notices, '[]') AS notices,
    credentials AS sealed_credentials,
    webhook_secrets AS sealed_webhook_secrets"""


async def by_id(connection: Connection, store_id: int) -> StoreRow:
    """The store; raises NotFoundError."""
    row = await _one(connection, "id = %s", (store_id,))
    if row is None:
        raise NotFoundError(f"There is no store {store_id}; `perennial stores` lists them.")
    return row


async def locked(connection: Connection, store_id: int) -> StoreRow:
    """The store, which nobody else changes until the transaction ends; raises NotFoundError."""
    await connection.execute("SELECT 1 FROM stores WHERE id = %s FOR NO KEY UPDATE", (store_id,))
    return await by_id(connection, store_id)


async def by_token(connection: Connection, platform: str, token: str) -> StoreRow | None:
    """The store whose webhook address holds this token."""
    return await _one(connection, "token = %s AND platform = %s", (token, platform))


async def by_external_id(connection: Connection, platform: str, external_id: str) -> StoreRow | None:
    """The store that the platform calls by this id."""
    return await _one(connection, "platform = %s AND external_id = %s", (platform, external_id))


async def by_setting(connection: Connection, platform: str, name: str, value: str) -> list[StoreRow]:
    """The platform's stores with this setting, newest first."""
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} FROM stores WHERE platform = %s AND settings ->> %s = %s ORDER BY id DESC",
        (platform, name, value),
    )
    return [_row(found) for found in await cursor.fetchall()]


async def move(connection: Connection, store_id: int, external_id: str) -> None:
    """The platform calls the store by another id from now on; everything that belongs to it stays."""
    await connection.execute("UPDATE stores SET external_id = %s WHERE id = %s", (external_id, store_id))


async def every(connection: Connection, status: str | None = None) -> list[StoreRow]:
    """All stores, oldest first, or only those with a status."""
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} FROM stores WHERE %s::text IS NULL OR status = %s ORDER BY id", (status, status)
    )
    return [_row(found) for found in await cursor.fetchall()]


async def active_after(
    connection: Connection, platforms: Sequence[str], after_id: int, at_most: int
) -> list[StoreRow]:
    """Active stores of these platforms with ids after this one, by id."""
    cursor = await connection.execute(
        f"""SELECT {_COLUMNS} FROM stores WHERE id > %s AND status = 'active' AND platform = ANY(%s)
            ORDER BY id LIMIT %s""",
        (after_id, list(platforms), at_most),
    )
    return [_row(found) for found in await cursor.fetchall()]


async def add(
    connection: Connection,
    program_id: int,
    platform: str,
    external_id: str,
    facts: ShopFacts,
    *,
    token: str,
    api_base: str | None,
    settings: Mapping[str, str],
    now: datetime,
) -> int:
    """A new store of the program, active and without secrets; its id."""
    cursor = await connection.execute(
        """INSERT INTO stores (program_id, platform, external_id, token, name, time_zone, currency, api_base,
               settings, status, subscription_ids, notices, installed_at)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, 'active', '[]', %s, %s) RETURNING id""",
        (
            program_id,
            platform,
            external_id,
            token,
            facts.name,
            facts.time_zone,
            facts.currency,
            api_base,
            Jsonb({**settings, **facts.settings}),
            Jsonb(facts.notices),
            now,
        ),
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row["id"])


async def renew(
    connection: Connection,
    store_id: int,
    facts: ShopFacts,
    *,
    api_base: str | None,
    defaults: Mapping[str, str],
    settings: Mapping[str, str],
    now: datetime,
) -> None:
    """A known store is active again. Its settings stay, but for those given; `defaults` fill in what it has not.

    One that comes back soon after it was uninstalled earns as if it had never been away.
    """
    await set_facts(connection, store_id, facts)
    await connection.execute(
        """UPDATE stores SET status = 'active', status_reason = NULL, api_base = %(api_base)s,
               settings = %(defaults)s::jsonb || (settings - 'ended_at' - 'earned_from') || %(settings)s::jsonb,
               earning_from = CASE WHEN (settings ->> 'ended_at')::timestamptz >= %(soon)s
                   THEN (settings ->> 'earned_from')::timestamptz ELSE earning_from END,
               installed_at = %(now)s WHERE id = %(store)s""",
        {
            "api_base": api_base,
            "defaults": Jsonb(dict(defaults)),
            "settings": Jsonb(dict(settings)),
            "soon": now - COMES_BACK_WITHIN,
            "now": now,
            "store": store_id,
        },
    )


async def set_facts(connection: Connection, store_id: int, facts: ShopFacts) -> None:
    """Notes what the store says of itself. Where that changes what can be read, all is read anew at the next tick."""
    await connection.execute(
        """UPDATE stores SET name = %(name)s, time_zone = %(time_zone)s, currency = %(currency)s,
               notices = %(notices)s, settings = stores.settings || %(settings)s::jsonb || CASE
                   WHEN told.differs THEN jsonb_build_object(%(anew)s::text, '1') ELSE '{}' END,
               last_reconciled_on = CASE WHEN told.differs THEN NULL ELSE last_reconciled_on END
           FROM (SELECT EXISTS (
               SELECT FROM stores s CROSS JOIN unnest(%(read_by)s::text[]) AS read (word)
               WHERE s.id = %(store)s AND s.settings ->> word <> %(settings)s::jsonb ->> word) AS differs) told
           WHERE stores.id = %(store)s""",
        {
            "name": facts.name,
            "time_zone": facts.time_zone,
            "currency": facts.currency,
            "notices": Jsonb(facts.notices),
            "settings": Jsonb(dict(facts.settings)),
            "read_by": list(facts.read_by),
            "anew": READ_ANEW,
            "store": store_id,
        },
    )


async def have_read_anew(connection: Connection, store_id: int) -> None:
    """A reading of all of the store has been planned."""
    await connection.execute(
        "UPDATE stores SET settings = settings - %s::text WHERE id = %s AND settings ? %s",
        (READ_ANEW, store_id, READ_ANEW),
    )


async def set_settings(connection: Connection, store_id: int, settings: Mapping[str, str]) -> None:
    """Sets these settings of the store; the others stay."""
    await connection.execute(
        "UPDATE stores SET settings = settings || %s::jsonb WHERE id = %s", (Jsonb(dict(settings)), store_id)
    )


async def drop_setting(connection: Connection, platform: str, token: str, name: str) -> None:
    """Takes a setting of the store with this token away; writes nothing when it is not there."""
    await connection.execute(
        "UPDATE stores SET settings = settings - %s::text WHERE token = %s AND platform = %s AND settings ? %s",
        (name, token, platform, name),
    )


async def set_webhooks(
    connection: Connection, store_id: int, address: str, subscription_ids: Sequence[str]
) -> None:
    """Notes where the platform sends the store's webhooks, and what it calls the subscriptions."""
    await connection.execute(
        "UPDATE stores SET webhook_address = %s, subscription_ids = %s, polled_because = NULL WHERE id = %s",
        (address, Jsonb(list(subscription_ids)), store_id),
    )


async def set_polled(connection: Connection, store_id: int, because: str | None) -> None:
    """Changes are read on a schedule from now on, for this reason; or, with None, no longer."""
    await connection.execute("UPDATE stores SET polled_because = %s WHERE id = %s", (because, store_id))


async def set_status(connection: Connection, store_id: int, status: str, reason: str | None) -> None:
    """Pauses, resumes or ends the store, with the reason that the merchant is shown."""
    await connection.execute(
        "UPDATE stores SET status = %s, status_reason = %s WHERE id = %s", (status, reason, store_id)
    )


async def resume(connection: Connection, store_id: int) -> bool:
    """Makes a paused store active again; False when it is another case."""
    cursor = await connection.execute(
        "UPDATE stores SET status = 'active', status_reason = NULL WHERE id = %s AND status = 'paused'",
        (store_id,),
    )
    return cursor.rowcount > 0


async def ask_soon(connection: Connection, store_id: int) -> None:
    """A paused store has been heard of: it is asked at the next tick whether it lets us in again."""
    await connection.execute(
        "UPDATE stores SET last_reconciled_on = NULL WHERE id = %s AND status = 'paused'", (store_id,)
    )


async def pause(connection: Connection, store: StoreRow, reason: str) -> bool:
    """Pauses an active store that still has the credentials of this row; False when it is another case."""
    cursor = await connection.execute(
        """UPDATE stores SET status = 'paused', status_reason = %s
           WHERE id = %s AND status = 'active' AND credentials IS NOT DISTINCT FROM %s::bytea""",
        (reason, store.id, store.sealed_credentials),
    )
    return cursor.rowcount > 0


async def end(
    connection: Connection, store_id: int, reason: str, *, happened_at: datetime | None = None
) -> None:
    """The app was uninstalled: credentials go, records stay until the platform asks for their erasure.

    Nothing happens when the store was connected again after `happened_at`. When it ended (now, when nobody says), and
    from when on it earned, is kept for its coming back.
    """
    await connection.execute(
        """UPDATE stores SET status = 'uninstalled', status_reason = %(reason)s, credentials = NULL,
               settings = settings || jsonb_strip_nulls(jsonb_build_object(
                   'ended_at', coalesce(%(at)s::timestamptz, now())::text, 'earned_from', earning_from::text)),
               earning_from = NULL
           WHERE id = %(store)s AND (%(at)s::timestamptz IS NULL OR installed_at <= %(at)s)""",
        {"reason": reason, "at": happened_at, "store": store_id},
    )


async def lock_gone(connection: Connection, store_id: int, since: datetime) -> bool:
    """True when the store is uninstalled and was not connected again since; it stays so until the transaction ends."""
    cursor = await connection.execute(
        "SELECT FROM stores WHERE id = %s AND status = 'uninstalled' AND installed_at <= %s FOR UPDATE",
        (store_id, since),
    )
    return await cursor.fetchone() is not None


async def set_reconciled(connection: Connection, store_id: int, day: date) -> None:
    """Notes that the store was compared with what we know on this local day of its own."""
    await connection.execute(
        """UPDATE stores SET last_reconciled_on = greatest(coalesce(last_reconciled_on, %(day)s), %(day)s)
           WHERE id = %(store)s""",
        {"day": day, "store": store_id},
    )


async def keep_secrets(
    connection: Connection,
    box: SecretBox,
    store_id: int,
    *,
    credentials: Mapping[str, str] | None = None,
    webhook_secrets: Sequence[str] | None = None,
) -> None:
    """Seals and stores what is given; the rest stays."""
    if credentials is not None:
        sealed = box.seal(json.dumps(dict(credentials)), store_id, "credentials")
        await connection.execute("UPDATE stores SET credentials = %s WHERE id = %s", (sealed, store_id))
    if webhook_secrets is not None:
        sealed = box.seal(json.dumps(list(webhook_secrets)), store_id, "webhook_secrets")
        await connection.execute("UPDATE stores SET webhook_secrets = %s WHERE id = %s", (sealed, store_id))


def credentials(box: SecretBox, store: StoreRow) -> dict[str, str]:
    """The store's credentials in clear; empty after an uninstall."""
    if store.sealed_credentials is None:
        return {}
    found: dict[str, str] = json.loads(box.open_sealed(store.sealed_credentials, store.id, "credentials"))
    return found


def webhook_secrets(box: SecretBox, store: StoreRow) -> list[str]:
    """What may sign this store's webhooks, newest first."""
    if store.sealed_webhook_secrets is None:
        return []
    found: list[str] = json.loads(box.open_sealed(store.sealed_webhook_secrets, store.id, "webhook_secrets"))
    return found


async def _one(connection: Connection, condition: str, values: tuple[object, ...]) -> StoreRow | None:
    cursor = await connection.execute(f"SELECT {_COLUMNS} FROM stores WHERE {condition}", values)
    found = await cursor.fetchone()
    return None if found is None else _row(found)


def _row(found: Mapping[str, Any]) -> StoreRow:
    return StoreRow(**found)
