"""A store's webhooks: set up when it is installed, and set up again when the platform has given them up."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from connectors.base import AWAITS_PING, Capability, Connector, Secret
from rewards.errors import PlatformError
from storage import stores
from storage.database import Connection
from storage.overview import StoreOverview
from storage.stores import StoreRow
from sync.services import Services

_MOST_SECRETS = 4  # those that sign now, and those of posts that are late


class WebhookState(StrEnum):
    """How a store's webhooks were found."""

    NOT_SET_UP = "not_set_up"
    SET_UP = "set_up"  # now, for the first time
    ON = "on"
    SET_UP_AGAIN = "set_up_again"
    OFF = "off"  # and could not be set up again
    UNKNOWN = "unknown"  # the platform did not say


@dataclass(frozen=True, slots=True)
class WebhookLook:
    """What a look at a store's webhooks came to; `note` says why it came to nothing, when that is so."""

    state: WebhookState = WebhookState.NOT_SET_UP
    note: str | None = None


def address_of(services: Services, store: StoreRow) -> str | None:
    """Where the platform would send the store's webhooks; None while nobody has said where we are reached."""
    if services.public_url is None:
        return None
    return f"{services.public_url}/webhooks/{store.platform}/{store.token}"


def why_not(services: Services, connector: Connector) -> str | None:
    """Why the platform is not even asked for webhooks; None when it can be."""
    if Capability.WEBHOOKS not in connector.capabilities:
        return "This platform sends none."
    if services.public_url is None:
        return "PERENNIAL_PUBLIC_URL does not say where the platform reaches us."
    return None


def polling_note(services: Services, reason: str) -> str:
    """What the merchant is told while webhooks are not set up, for this reason."""
    return (
        f"Webhooks are not set up: {reason} Until they are, changes are read every {services.poll_minutes} minutes "
        "while Perennial runs."
    )


def notices(services: Services, store: StoreRow | StoreOverview) -> tuple[str, ...]:
    """What the merchant should know of a store: what its platform says, and that it is read on a schedule."""
    polling = (polling_note(services, store.polled_because),) if store.polled_because else ()
    return (*store.notices, *polling)


async def subscribe(services: Services, store: StoreRow, address: str, known: Sequence[Secret]) -> None:
    """Asks the platform for webhooks at this address, and keeps what will sign them. Raises PlatformError.

    `known` may sign too, newest first. The newest is also what we propose, not a new one: posts may come while webhooks
    are still being set up, and when that fails halfway, those that stand are signed with something we know.
    """
    proposal = known[0] if known else Secret(secrets.token_urlsafe(32))
    pings = Capability.PINGS in services.connector(store).capabilities
    if pings:  # which takes it away again, in whatever process it arrives
        async with services.database.transaction() as connection:
            await stores.set_settings(connection, store.id, {AWAITS_PING: "1"})
    made = await services.open_store(store).subscribe(address, proposal)
    held = (made.secret, *made.also_signing, *known)
    signing = list(dict.fromkeys(secret.reveal() for secret in held))[:_MOST_SECRETS]
    async with services.database.transaction() as connection:
        await stores.keep_secrets(connection, services.secret_box, store.id, webhook_secrets=signing)
        await stores.set_webhooks(connection, store.id, address, made.external_ids)
        silence = await _silence(services, connection, store.id)
        if silence is not None:
            await stores.set_polled(connection, store.id, silence)


async def _silence(services: Services, connection: Connection, store_id: int) -> str | None:
    """Why webhooks that are set up are of no use: nothing has come from the platform, which should have pinged."""
    store = await stores.by_id(connection, store_id)
    if AWAITS_PING not in store.settings:
        return None
    explained = services.connector(store).explains.get(Capability.PINGS, "")
    # The rest of the address names the store to the platform alone.
    address = "/".join((store.webhook_address or "").split("/")[:3])
    return (
        f"The store took them, but no call of its has reached {address}, where Perennial has to be running. "
        f"{explained}"
    ).strip()


async def look_after(services: Services, store: StoreRow) -> WebhookLook:
    """Sets the store's webhooks up again when the platform has switched them off or deleted them, or for the first time.

    Never fails for the platform's sake: what a key may not do, or what must wait, is told in the note, and changes are
    read on a schedule meanwhile.
    """
    was_set_up = store.webhook_address is not None
    address = store.webhook_address or address_of(services, store)
    if address is None or (not was_set_up and why_not(services, services.connector(store)) is not None):
        return WebhookLook()
    try:
        if was_set_up and await services.open_store(store).is_subscribed(address):
            async with services.database.transaction() as connection:
                silence = await _silence(services, connection, store.id)
            return await _found(services, store, WebhookLook(WebhookState.ON, silence))
    except PlatformError as error:
        return WebhookLook(WebhookState.UNKNOWN, str(error))
    known = [Secret(text) for text in stores.webhook_secrets(services.secret_box, store)]
    try:
        await subscribe(services, store, address, known)
    except PlatformError as error:
        return await _found(services, store, WebhookLook(WebhookState.OFF, str(error)))
    return WebhookLook(WebhookState.SET_UP_AGAIN if was_set_up else WebhookState.SET_UP)


async def _found(services: Services, store: StoreRow, look: WebhookLook) -> WebhookLook:
    """Notes whether changes have to be read on a schedule from now on."""
    if store.polled_because != look.note:
        async with services.database.transaction() as connection:
            await stores.set_polled(connection, store.id, look.note)
    return look
