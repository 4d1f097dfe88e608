"""Installs a store: checks the credentials by a call, stores them sealed, sets webhooks up, resumes what was paused."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from psycopg.types.json import Jsonb

from connectors.base import Capability, Connector, Installation, Secret, StoreAccess, StoreOptions
from rewards.earning import WayKind, WayToEarn
from rewards.errors import InvalidInputError, PlatformError
from rewards.money import exponent
from rewards.records import ShopFacts
from storage import audit, programs, stores
from storage.database import Connection
from storage.stores import StoreRow
from sync.services import Services

SETTING = "setting:"  # answers that begin so are the store's settings
SIGN_UP_POINTS = 100
POINTS_PER_UNIT = 5


@dataclass(frozen=True, slots=True)
class Connected:
    """What an installation came to. Without an address, `webhook_note` says why and what follows."""

    store: StoreRow
    is_new: bool
    webhook_address: str | None
    webhook_note: str | None


async def connect(
    services: Services, platform: str, answers: Mapping[str, str], *, program_id: int | None = None
) -> Connected:
    """Installs the store that the answers open, or gives a known one new credentials and goes on with it.

    A new store gets a program of its own unless one is named. Nothing is stored when the credentials do not work.
    Raises InvalidInputError and PlatformError.
    """
    connector = services.connectors.get(platform)
    if connector is None:
        raise InvalidInputError(
            f"There is no platform {platform}; known are {', '.join(services.connectors)}."
        )
    installation = await connector.install.installation(answers, services.session)
    settings = {**connector.default_settings, **installation.settings, **_settings(answers)}
    facts = await _facts(services, connector, installation, settings)
    async with services.database.transaction() as connection:
        known = await stores.by_external_id(connection, platform, installation.external_id)
        if known is None:
            store_id = await _insert(
                connection, services, platform, installation, facts, settings, program_id
            )
        else:
            store_id = await _renew(connection, known, installation, facts, settings, services.clock())
        await stores.keep_secrets(
            connection,
            services.secret_box,
            store_id,
            credentials={name: secret.reveal() for name, secret in installation.credentials.items()},
            webhook_secrets=[secret.reveal() for secret in installation.webhook_secrets] or None,
        )
        store = await stores.by_id(connection, store_id)
        await audit.record(
            connection,
            store.program_id,
            "store.connected" if known is None else "store.reconnected",
            at=services.clock(),
            actor="merchant",
            store_id=store_id,
        )
    address, note = await _subscribe(services, connector, store, installation)
    async with services.database.transaction() as connection:
        store = await stores.by_id(connection, store_id)
    return Connected(store, known is None, address, note)


def _settings(answers: Mapping[str, str]) -> dict[str, str]:
    return {name.removeprefix(SETTING): value for name, value in answers.items() if name.startswith(SETTING)}


async def _facts(
    services: Services, connector: Connector, installation: Installation, settings: Mapping[str, str]
) -> ShopFacts:
    """What the store says of itself: the first call with the new credentials."""
    access = StoreAccess(
        external_id=installation.external_id,
        credentials=installation.credentials,
        options=StoreOptions(currency="", time_zone="UTC", settings=settings),
        api_base=installation.api_base,
    )
    return await connector.open_store(access, services.session).facts()


async def _insert(
    connection: Connection,
    services: Services,
    platform: str,
    installation: Installation,
    facts: ShopFacts,
    settings: Mapping[str, str],
    program_id: int | None,
) -> int:
    now = services.clock()
    if program_id is None:
        program_id = await programs.create(connection, facts.name, facts.currency, now)
        await _first_ways(connection, program_id, facts.currency, services)
    cursor = await connection.execute(
        """INSERT INTO stores (program_id, platform, external_id, token, name, time_zone, currency, api_base,
               settings, status, subscription_ids, installed_at)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, 'active', '[]', %s) RETURNING id""",
        (
            program_id,
            platform,
            installation.external_id,
            secrets.token_urlsafe(24),
            facts.name,
            facts.time_zone,
            facts.currency,
            installation.api_base,
            Jsonb(dict(settings)),
            now,
        ),
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row["id"])


async def _first_ways(connection: Connection, program_id: int, currency: str, services: Services) -> None:
    """What a new program starts from: 100 points for signing up, 5 for each unit of money spent."""
    now = services.clock()
    sign_up = WayToEarn(WayKind.SIGN_UP, True, SIGN_UP_POINTS)
    order = WayToEarn(WayKind.PLACE_ORDER, True, POINTS_PER_UNIT, 10 ** exponent(currency))
    await programs.set_way(connection, program_id, sign_up, now)
    await programs.set_way(connection, program_id, order, now)


async def _renew(
    connection: Connection,
    known: StoreRow,
    installation: Installation,
    facts: ShopFacts,
    settings: Mapping[str, str],
    now: datetime,
) -> int:
    """New credentials for a known store: it is active again, with the settings that it had."""
    await connection.execute(
        """UPDATE stores SET status = 'active', status_reason = NULL, name = %s, time_zone = %s, currency = %s,
               api_base = %s, settings = %s::jsonb || settings || %s::jsonb, installed_at = %s WHERE id = %s""",
        (
            facts.name,
            facts.time_zone,
            facts.currency,
            installation.api_base,
            Jsonb(dict(settings)),
            Jsonb(dict(installation.settings)),
            now,
            known.id,
        ),
    )
    return known.id


async def _subscribe(
    services: Services, connector: Connector, store: StoreRow, installation: Installation
) -> tuple[str | None, str | None]:
    """Asks the platform for webhooks at this store's address; (address, None) or (None, why not)."""
    if Capability.WEBHOOKS not in connector.capabilities:
        return None, "This platform sends no webhooks; changes are read on a schedule."
    if services.public_url is None:
        return None, (
            "Webhooks are not set up: PERENNIAL_PUBLIC_URL does not say where the platform reaches us. "
            "Set it and connect again; until then changes come with `perennial sync`."
        )
    address = f"{services.public_url}/webhooks/{store.platform}/{store.token}"
    try:
        made = await services.open_store(store).subscribe(address, Secret(secrets.token_urlsafe(32)))
    except PlatformError as error:
        return None, f"Webhooks are not set up: {error} Until they are, changes come with `perennial sync`."
    async with services.database.transaction() as connection:
        # What was known before the subscription signs too: some posts come without one.
        known = [secret.reveal() for secret in installation.webhook_secrets]
        signing = list(dict.fromkeys([made.secret.reveal(), *known]))
        await stores.keep_secrets(connection, services.secret_box, store.id, webhook_secrets=signing)
        await connection.execute(
            "UPDATE stores SET webhook_address = %s, subscription_ids = %s WHERE id = %s",
            (address, Jsonb(list(made.external_ids)), store.id),
        )
    return address, None
