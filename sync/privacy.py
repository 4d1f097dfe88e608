"""Answers to requests about personal data: a file for who asks, and the end of a store that does not come back."""

from __future__ import annotations

from typing import Any

from rewards.errors import AccessRevokedError, InvalidInputError
from storage import audit, members, personal_data, privacy, stores
from storage.database import Connection
from storage.locks import only_one
from storage.privacy import RequestRow
from storage.stores import StoreRow
from sync.services import Services

_AT_ONCE = 500
_CAME_BACK = "The shop has come back: nothing more is erased."


async def export(services: Services, request_id: int, *, actor: str) -> dict[str, Any]:
    """All that is held about the person of a request. Raises NotFoundError, and InvalidInputError for other requests."""
    now = services.clock()
    async with services.database.transaction() as connection:
        request = await privacy.by_id(connection, request_id)
        if request.kind != "export":
            raise InvalidInputError(
                f"Request {request_id} asks for an erasure; there is nothing to hand over."
            )
        store = await stores.by_id(connection, request.store_id)
        held = await personal_data.held(connection, store.id, request.store_customer_ids)
        await privacy.set_done(connection, request, None, now)
        await audit.record(
            connection,
            store.program_id,
            "privacy.exported",
            at=now,
            actor=actor,
            store_id=store.id,
            subject=f"request:{request_id}",
        )
    return {
        "request": request_id,
        "store": store.name,
        "asked_at": request.asked_at,
        "exported_at": now,
        "note": f"Posts of the store, as they came, are kept {privacy.KEPT_DAYS} days besides.",
        **held,
    }


async def ask(services: Services, member_id: int, *, actor: str) -> list[int]:
    """Keeps a request for what is held about a member, one for each store that knows them, as a platform's would be.

    Raises NotFoundError.
    """
    now = services.clock()
    kept = []
    async with services.database.transaction() as connection:
        member = await members.person(connection, member_id)
        for store_id, ids in (await privacy.customers_of(connection, member.id)).items():
            store = await stores.by_id(connection, store_id)
            kept.append(await privacy.keep(connection, store, "export", None, ids, now))
            await _note(services, connection, store, "privacy.export", actor, member.id)
    return kept


async def erase_member(services: Services, member_id: int, *, actor: str) -> list[StoreRow]:
    """Erases a member in all stores that know them; these stores, which may hold the person still. Raises NotFoundError."""
    found = []
    async with services.database.transaction() as connection:
        member = await members.person(connection, member_id)
        for store_id, ids in (await privacy.customers_of(connection, member.id)).items():
            store = await stores.by_id(connection, store_id)
            await privacy.forget_addresses(connection, store_id, member.email, ids)
            await privacy.erase(connection, store_id, ids, services.clock())
            await _note(services, connection, store, "privacy.erase", actor, member.id)
            found.append(store)
    return found


async def _note(
    services: Services, connection: Connection, store: StoreRow, action: str, actor: str, member_id: int
) -> None:
    await audit.record(
        connection,
        store.program_id,
        action,
        at=services.clock(),
        actor=actor,
        store_id=store.id,
        subject=f"member:{member_id}",
    )


async def erase_store(services: Services, store_id: int) -> int:
    """Erases everybody in a store whose end was told, unless it has come back; how many customers.

    It goes on where it was stopped, since what is erased already stays so. Raises NotFoundError, and RetryLaterError
    while the shop cannot be asked whether it is back.
    """
    async with services.database.transaction() as connection:
        store = await stores.by_id(connection, store_id)
        request = await privacy.waiting_erasure(connection, store_id)
    if request is None:
        return 0
    async with only_one(services.database, f"erase:{store_id}") as is_ours:
        if not is_ours:
            return 0
        if await _is_back(services, store, request):
            await _finish(services, request, _CAME_BACK)
            return 0
        return await _erase_all(services, request)


async def _is_back(services: Services, store: StoreRow, request: RequestRow) -> bool:
    """A store that is not uninstalled here may be gone all the same: news of that can be lost. It is asked."""
    if store.status == "uninstalled":
        return False
    try:
        await services.open_store(store).facts()
    except AccessRevokedError:
        reason = "The app was taken out of the store."
        async with services.database.transaction() as connection:
            await stores.end(connection, store.id, reason, happened_at=request.asked_at)
        return False
    return True


async def _erase_all(services: Services, request: RequestRow) -> int:
    """A part at a time, and each only as long as the store has not come back."""
    after = erased = 0
    while True:
        async with services.database.transaction() as connection:
            is_gone = await stores.lock_gone(connection, request.store_id, request.asked_at)
            ids = (
                await privacy.customers_to_erase(connection, request.store_id, after, _AT_ONCE)
                if is_gone
                else []
            )
            await privacy.erase(connection, request.store_id, ids, services.clock())
            is_done = is_gone and not ids and await privacy.erase_rest(connection, request.store_id, _AT_ONCE)
        after, erased = max(ids, default=after), erased + len(ids)
        if is_done or not is_gone:
            await _finish(services, request, None if is_done else _CAME_BACK)
            return erased


async def _finish(services: Services, request: RequestRow, note: str | None) -> None:
    async with services.database.transaction() as connection:
        await privacy.set_done(connection, request, note, services.clock())
        await audit.record(
            connection,
            request.program_id,
            "privacy.store_erased" if note is None else "privacy.store_kept",
            at=services.clock(),
            actor="worker",
            store_id=request.store_id,
            detail={} if note is None else {"reason": note},
        )
