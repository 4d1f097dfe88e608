"""What a merchant sets for one store and every platform has; connectors have settings of their own beside these."""

from __future__ import annotations

from collections.abc import Mapping

from connectors.base import Capability, Connector
from rewards.errors import InvalidInputError
from rewards.returns import Returns, returns_setting
from storage import audit, refused, shown_points, stores
from storage.stores import StoreRow
from sync.services import Services

WRITE_BIRTHDAYS = "write_birthdays"
SHOW_POINTS = "show_points"
_ON, _OFF = "on", "off"


def writes_birthdays(settings: Mapping[str, str]) -> bool:
    """True when birthdays that are set here are to be written into the store."""
    return settings.get(WRITE_BIRTHDAYS, _OFF) == _ON


def shows_points(settings: Mapping[str, str]) -> bool:
    """False when the merchant does not want members' points in the customers' records of the store."""
    return settings.get(SHOW_POINTS, _ON) == _ON


def check(settings: Mapping[str, str]) -> None:
    """Raises InvalidInputError for a value that one of these settings cannot have."""
    returns_setting(settings)
    for name in (WRITE_BIRTHDAYS, SHOW_POINTS):
        if settings.get(name, _OFF) not in (_ON, _OFF):
            raise InvalidInputError(f"The setting {name} is {_ON} or {_OFF}.")


def check_for(connector: Connector, settings: Mapping[str, str], held: Mapping[str, str]) -> None:
    """Raises InvalidInputError for what the platform cannot mean, and did not complain of in what is `held`."""
    known = connector.wrong_settings(held)
    if wrong := [said for said in connector.wrong_settings({**held, **settings}) if said not in known]:
        raise InvalidInputError(" ".join(wrong))


async def change(services: Services, store_id: int, settings: Mapping[str, str], *, actor: str) -> StoreRow:
    """Sets these, keeps the others. Raises NotFoundError and InvalidInputError."""
    check(settings)
    async with services.database.transaction() as connection:
        store = await stores.by_id(connection, store_id)
        check_for(services.connector(store), settings, store.settings)
        capabilities = services.connector(store).capabilities
        if writes_birthdays(settings) and Capability.WRITE_BIRTHDAY not in capabilities:
            otherwise = "Birthdays cannot be written into it."
            reason = services.connector(store).explains.get(Capability.WRITE_BIRTHDAY, otherwise)
            raise InvalidInputError(f"The store {store.name}: {reason}")
        if settings.get(SHOW_POINTS) == _ON and Capability.SHOW_POINTS not in capabilities:
            raise InvalidInputError(f"The store {store.name}: Its customers' records cannot show points.")
        await stores.set_settings(connection, store_id, settings)
        # What a setting was in the way of can be asked for again.
        await refused.try_again(connection, store_id, services.clock())
        if SHOW_POINTS in settings:
            await shown_points.set_through(connection, store_id, None)
        await audit.record(
            connection,
            store.program_id,
            "store.settings_changed",
            at=services.clock(),
            actor=actor,
            store_id=store_id,
            subject=f"store:{store_id}",
            detail=dict(settings),
        )
        return await stores.by_id(connection, store_id)


def notes(services: Services, store: StoreRow) -> list[str]:
    """What the settings mean on the store's platform, in its words where it has some."""
    connector = services.connector(store)
    by_platform = Capability.CODE_RETURNS_ON_CANCEL in connector.capabilities
    otherwise = ["A cancelled order gives its code back in the store itself."] if by_platform else []
    said = connector.explains.get(Capability.CODE_RETURNS_ON_CANCEL)
    found = otherwise if said is None else [said]
    if by_platform and returns_setting(store.settings) is Returns.ON_FULL_REFUND:
        found.append("After a full refund we make a new code.")
    if writes_birthdays(store.settings) and Capability.WRITE_BIRTHDAY in connector.explains:
        found.append(connector.explains[Capability.WRITE_BIRTHDAY])
    return found
