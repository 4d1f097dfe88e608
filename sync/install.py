"""Installs a store: checks the credentials by a call, stores them sealed, sets webhooks up, resumes what was paused."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from connectors.base import Connector, Installation, StoreAccess, StoreOptions
from rewards.earning import WayKind, WayToEarn
from rewards.errors import InvalidInputError, PlatformError
from rewards.money import exponent
from rewards.records import ShopFacts
from storage import audit, programs, refused, shown_points, stores
from storage.database import Connection
from storage.stores import StoreRow
from sync import store_settings
from sync.moves import known_elsewhere
from sync.services import API_BASE, Services
from sync.subscriptions import address_of, polling_note, subscribe, why_not

SETTING = "setting:"  # answers that begin so are the store's settings
SIGN_UP_POINTS = 100
Along = Callable[[Connection, int], Awaitable[None]]  # with the store's id
POINTS_PER_UNIT = 5


@dataclass(frozen=True, slots=True)
class Connected:
    """What an installation came to. Without an address, `webhook_note` says why and what follows.

    `store.notices` are for the merchant. `former`: the store was at this address before, and all of it came along.
    """

    store: StoreRow
    is_new: bool
    webhook_address: str | None
    webhook_note: str | None
    former: str | None = None


async def connect(
    services: Services,
    platform: str,
    answers: Mapping[str, str],
    *,
    program_id: int | None = None,
    moved_from: int | None = None,
) -> Connected:
    """Installs the store that the answers open, or gives a known one new credentials and goes on with it.

    A new store gets a program of its own unless one is named. `moved_from` is the store that came to this address, on
    the operator's word. Nothing is stored when the credentials do not work. Raises InvalidInputError and PlatformError.
    """
    connector = _connector(services, platform)
    session = services.session_for(connector, answers.get(API_BASE))
    made = await connector.install.installation(answers, session)
    asked = {**made.settings, **_settings(answers)}
    return await install(
        services,
        platform,
        replace(made, settings=asked),
        program_id=program_id,
        by_operator=True,
        moved_from=moved_from,
    )


async def install(
    services: Services,
    platform: str,
    installation: Installation,
    *,
    program_id: int | None = None,
    along: Along | None = None,
    by_operator: bool = False,
    moved_from: int | None = None,
) -> Connected:
    """Installs a store whose credentials are here, as `connect` does; `along` is done in the same transaction.

    `by_operator`: not on the word of whoever found the install page.     Raises InvalidInputError and PlatformError.
    """
    store_settings.check(installation.settings)
    connector = _connector(services, platform)
    store_settings.check_for(connector, installation.settings, connector.default_settings)
    facts = await _facts(services, connector, installation)
    moved = await _moved(services, connector, installation, by_operator, moved_from)
    async with services.database.transaction() as connection:
        if moved is not None:
            await _move(connection, services, moved, installation)
        known = await stores.by_external_id(connection, platform, installation.external_id)
        if known is None:
            store_id = await _add(connection, services, connector, installation, facts, program_id)
        else:
            store_id = known.id
            if known.status == "uninstalled":  # what belongs to an app may go with it
                await shown_points.forget(connection, store_id)
            await stores.renew(
                connection,
                store_id,
                facts,
                api_base=installation.api_base,
                defaults=connector.default_settings,
                settings=installation.settings,
                now=services.clock(),
            )
            # What the store refused the old key may be granted to the new one.
            await refused.try_again(connection, store_id, services.clock())
        store = await _keep(
            connection,
            services,
            store_id,
            installation,
            "store.connected" if known is None else "store.reconnected",
        )
        if along is not None:
            await along(connection, store_id)
    former = None if moved is None else moved.external_id
    address, note = await _subscribe(services, connector, store, installation)
    async with services.database.transaction() as connection:
        store = await stores.by_id(connection, store_id)
    return Connected(store, known is None, address, note, former)


def _connector(services: Services, platform: str) -> Connector:
    connector = services.connectors.get(platform)
    if connector is None:
        raise InvalidInputError(
            f"There is no platform {platform}; known are {', '.join(services.connectors)}."
        )
    return connector


async def _moved(
    services: Services,
    connector: Connector,
    installation: Installation,
    by_operator: bool,
    moved_from: int | None,
) -> StoreRow | None:
    """The store that is connected at a new address. Raises InvalidInputError."""
    async with services.database.transaction() as connection:
        here = await stores.by_external_id(connection, connector.platform, installation.external_id)
        if moved_from is not None:
            await stores.by_id(connection, moved_from)
    if here is None:
        return await known_elsewhere(
            services, connector, installation, by_operator=by_operator, moved_from=moved_from
        )
    if moved_from not in (None, here.id):
        raise InvalidInputError(
            f"This address is store {here.id} already; leave --moved-from out to give that one a new key."
        )
    return None


async def _move(
    connection: Connection, services: Services, store: StoreRow, installation: Installation
) -> None:
    """Calls the store by its new address; its history, ledger and codes stay what they are."""
    await stores.move(connection, store.id, installation.external_id)
    await audit.record(
        connection,
        store.program_id,
        "store.moved",
        at=services.clock(),
        actor="merchant",
        store_id=store.id,
        detail={"from": store.external_id, "to": installation.external_id},
    )


async def _keep(
    connection: Connection, services: Services, store_id: int, installation: Installation, action: str
) -> StoreRow:
    """Stores the secrets of an installation, and that it happened."""
    await stores.keep_secrets(
        connection,
        services.secret_box,
        store_id,
        credentials={name: secret.reveal() for name, secret in installation.credentials.items()} or None,
        webhook_secrets=[secret.reveal() for secret in installation.webhook_secrets] or None,
    )
    store = await stores.by_id(connection, store_id)
    await audit.record(
        connection, store.program_id, action, at=services.clock(), actor="merchant", store_id=store_id
    )
    return store


def _settings(answers: Mapping[str, str]) -> dict[str, str]:
    return {name.removeprefix(SETTING): value for name, value in answers.items() if name.startswith(SETTING)}


async def _facts(services: Services, connector: Connector, installation: Installation) -> ShopFacts:
    """What the store says of itself: the first call with the new credentials."""
    settings = {**connector.default_settings, **installation.settings}
    access = StoreAccess(
        external_id=installation.external_id,
        credentials=installation.credentials,
        options=StoreOptions(currency="", time_zone="UTC", settings=settings),
        api_base=installation.api_base,
        app=services.apps.get(connector.platform, {}),
    )
    return await connector.open_store(access, services.session_for(connector, access.api_base)).facts()


async def _add(
    connection: Connection,
    services: Services,
    connector: Connector,
    installation: Installation,
    facts: ShopFacts,
    program_id: int | None,
) -> int:
    now = services.clock()
    if program_id is None:
        program_id = await _new_program(connection, facts, now)
    return await stores.add(
        connection,
        program_id,
        connector.platform,
        installation.external_id,
        facts,
        token=secrets.token_urlsafe(24),
        api_base=installation.api_base,
        settings={**connector.default_settings, **installation.settings},
        now=now,
    )


async def _new_program(connection: Connection, facts: ShopFacts, now: datetime) -> int:
    """What a merchant starts from: 100 points for signing up, 5 for each unit of money spent."""
    program_id = await programs.create(connection, facts.name, facts.currency, now)
    sign_up = WayToEarn(WayKind.SIGN_UP, True, SIGN_UP_POINTS)
    order = WayToEarn(WayKind.PLACE_ORDER, True, POINTS_PER_UNIT, 10 ** exponent(facts.currency))
    await programs.set_way(connection, program_id, sign_up, now)
    await programs.set_way(connection, program_id, order, now)
    return program_id


async def _subscribe(
    services: Services, connector: Connector, store: StoreRow, installation: Installation
) -> tuple[str | None, str | None]:
    """Asks the platform for webhooks at this store's address; (address, None) or (None, why not and what follows).

    Without them, changes are read on a schedule until they are set up.
    """
    address = address_of(services, store)
    reason = why_not(services, connector)
    if reason is None and address is not None:
        try:
            # What was known before the subscription signs too: some posts come without one.
            await subscribe(services, store, address, installation.webhook_secrets)
        except PlatformError as error:
            reason = str(error)
    async with services.database.transaction() as connection:
        if reason is not None:
            await stores.set_polled(connection, store.id, reason)
        found = await stores.by_id(connection, store.id)
    note = polling_note(services, found.polled_because) if found.polled_because else None
    return (address if reason is None else None), note
