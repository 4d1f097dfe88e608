"""Dates that a merchant sets by hand, and birthdays written into the stores that want them.

A write is asked for only here, never by what a store tells: so the webhook that a write causes ends the matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from connectors.base import Capability, Store
from connectors.besides import WritesBirthdays
from rewards.errors import InvalidInputError, RefusedError
from rewards.occasions import local_today
from rewards.records import Birthday
from storage import audit, birthday_writes, members, stores
from storage.birthday_writes import BirthdayToWrite
from storage.locks import only_one
from storage.members import MemberRow
from storage.stores import StoreRow
from sync.services import Services
from sync.store_settings import WRITE_BIRTHDAYS, writes_birthdays

_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class DatesSet:
    """The member as they are now, and the stores that will be told the birthday."""

    member: MemberRow
    store_ids: list[int]


async def set_dates(
    services: Services, member_id: int, *, birthday: Birthday | None, joined: date | None, actor: str
) -> DatesSet:
    """Sets what is given: from now on the store's word does not change it. Raises NotFoundError, InvalidInputError."""
    now = services.clock()
    async with services.database.transaction() as connection:
        member = await members.person(connection, member_id)
        store = await stores.by_id(connection, member.home_store_id)
        _check_past(birthday, joined, local_today(now, store.time_zone))
        await members.set_dates(connection, member.id, birthday=birthday, joined_on=joined, now=now)
        told = (
            [] if birthday is None else await birthday_writes.ask(connection, member.id, WRITE_BIRTHDAYS, now)
        )
        await audit.record(
            connection,
            member.program_id,
            "member.dates_set",
            at=now,
            actor=actor,
            store_id=store.id,
            subject=f"member:{member.id}",
            detail={"birthday": birthday is not None, "joined": joined is not None},
        )
        return DatesSet(await members.person(connection, member_id), told)


def _check_past(birthday: Birthday | None, joined: date | None, today: date) -> None:
    year = None if birthday is None else birthday.year
    if birthday is not None and year is not None and date(year, birthday.month, birthday.day) > today:
        raise InvalidInputError("This birthday lies in the future; correct the year or leave it out.")
    if joined is not None and joined > today:
        raise InvalidInputError("This joining date lies in the future; correct it.")


async def write_store(services: Services, store_id: int) -> int:
    """Tells the store all birthdays that wait for it; how many it took.

    Each is noted as told before the next is begun. Raises PlatformError: what is left waits.
    """
    async with services.database.transaction() as connection:
        store = await stores.by_id(connection, store_id)
    can_be_told = Capability.WRITE_BIRTHDAY in services.connector(store).capabilities
    if store.status != "active" or not can_be_told or not writes_birthdays(store.settings):
        return 0
    async with only_one(services.database, f"birthdays:{store_id}") as is_ours:
        return await _write_all(services, store, services.open_store(store)) if is_ours else 0


async def _write_all(services: Services, store: StoreRow, platform: Store) -> int:
    assert isinstance(platform, WritesBirthdays), "the capability says so"
    written = after = 0
    while True:
        async with services.database.transaction() as connection:
            batch = await birthday_writes.waiting(connection, store.id, after, _AT_ONCE)
        if not batch:
            return written
        for one in batch:
            refused = await _write(platform, one)
            written += refused is None
            async with services.database.transaction() as connection:
                await birthday_writes.settle(connection, store.id, one, refused, services.clock())
        after = batch[-1].id


async def _write(platform: WritesBirthdays, one: BirthdayToWrite) -> str | None:
    """Why the store does not take it; None when it did."""
    try:
        await platform.write_birthday(one.customer_external_id, one.birthday)
    except RefusedError as error:
        return str(error)
    return None
