"""What a merchant sets for one store and every platform has; connectors have settings of their own beside these."""

from __future__ import annotations

from collections.abc import Mapping

from connectors.base import Capability
from rewards.errors import InvalidInputError
from rewards.returns import Returns, returns_setting
from storage import audit, refused, stores
from storage.stores import StoreRow
from sync.services import Services

WRITE_BIRTHDAYS = "write_birthdays"
_ON, _OFF = "on", "off"


def writes_birthdays(settings: Mapping[str, str]) -> bool:
    """True when birthdays that are set here are to be written into the store."""
    return settings.get(WRITE_BIRTHDAYS, _OFF) == _ON


def check(settings: Mapping[str, str]) -> None:
    """Raises InvalidInputError for a value that one of these settings cannot have."""
    returns_setting(settings)
    if settings.get(WRITE_BIRTHDAYS, _OFF) not in (_ON, _OFF):
        raise InvalidInputError(f"The setting {WRITE_BIRTHDAYS} is {_ON} or {_OFF}.")


async def change(services: Services, store_id: int, settings: Mapping[str, str], *, actor: str) -> StoreRow:
    """Sets these, keeps the others. Raises NotFoundError and InvalidInputError."""
    check(settings)
    async with services.database.transaction() as connection:
        store = await stores.by_id(connection, store_id)
        capabilities = services.connector(store).capabilities
        if writes_birthdays(settings) and Capability.WRITE_BIRTHDAY not in capabilities:
            otherwise = "Birthdays cannot be written into it."
            reason = services.connector(store).explains.get(Capability.WRITE_BIRTHDAY, otherwise)
            raise InvalidInputError(f"The store {store.name}: {reason}")
        await stores.set_settings(connection, store_id, settings)
        # What a setting was in the way of can be asked for again.
        await refused.try_again(connection, store_id, services.clock())
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
