"""Taking back what a member was given, here and in the store."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from connectors.besides import GivesValues
from rewards.errors import InvalidInputError, RefusedError, RetryLaterError
from rewards.money import decimal_text
from storage import audit, revoking, stores, values
from storage.database import Connection
from storage.locks import only_one
from storage.revoking import GivenCode
from storage.stores import StoreRow
from sync.drafts import drafts_for
from sync.services import Services
from sync.values import SETTLES

_CAN_BE_TAKEN_BACK = frozenset({"decided", "pushed", "notified", "revoked"})
_WHY_NOT = {
    "redeemed": "it was used already",
    "returned": "it was used, and given back",
    "expired": "it has run out already",
    "failed": "the store never took it",
}


@dataclass(frozen=True, slots=True)
class Revoked:
    """What was taken back. `outcome`: of store credit or a gift card, how much of it was left."""

    given: GivenCode
    outcome: str | None = None


async def revoke_grant(services: Services, grant_id: int, *, actor: str) -> Revoked:
    """Ends the grant, then its code in the store; a coupon that others hold too is left alone there.

    Of store credit and gift cards what is left is taken back. Asking again is fine: what the store was not told, because
    it was away, it is told then. Raises NotFoundError, InvalidInputError for a grant that is over, and PlatformError.
    """
    async with services.database.transaction() as connection:
        store = await stores.by_id(connection, (await revoking.by_grant(connection, grant_id)).store_id)
    # While codes are pushed, this one may be on its way into the store.
    async with only_one(services.database, f"push:{store.id}") as is_ours:
        if not is_ours:
            raise RetryLaterError("Codes are being put into the store just now.", retry_after_seconds=60)
        async with services.database.transaction() as connection:
            given = await revoking.by_grant(connection, grant_id)
            await _check(connection, given, services.clock())
            await revoking.mark(connection, given, services.clock())
            if given.state != "revoked":
                await _note(services, connection, given, "grant.revoked", actor)
        outcome = None
        if given.is_value:
            outcome = await _take_back(services, store, given, actor)
        elif given.is_in_store and not given.is_shared:
            await services.open_store(store).revoke(given.code)
    return Revoked(given, outcome)


async def _check(connection: Connection, given: GivenCode, now: datetime) -> None:
    """Raises InvalidInputError for a grant that is over, and RetryLaterError where nobody knows yet whether it was given."""
    delivered = {"delivered"} if given.is_value else set()
    if given.state not in _CAN_BE_TAKEN_BACK | delivered:
        reason = _WHY_NOT.get(given.state, f"it is {given.state}")
        raise InvalidInputError(f"Grant {given.grant_id} cannot be taken back: {reason}.")
    if not given.is_value or given.outcome is not None:
        return
    grant = await values.by_grant(connection, given.store_id, given.grant_id)
    if given.state == "decided" and grant.asked_at is not None:
        raise RetryLaterError(
            "The store has not answered yet whether it has given this: take it back when it is shown as delivered."
        )
    if given.state == "delivered" and grant.valid_until < now:
        raise InvalidInputError(f"Grant {given.grant_id} cannot be taken back: {_WHY_NOT['expired']}.")
    is_in_store = given.code.external_id is not None
    if is_in_store and given.revoked_at is not None and now < given.revoked_at + SETTLES:
        raise RetryLaterError(
            f"The store may still be taking it back: ask again in {SETTLES.seconds // 60} minutes.",
            retry_after_seconds=SETTLES.seconds,
        )


async def _take_back(services: Services, store: StoreRow, given: GivenCode, actor: str) -> str | None:
    """Takes back what is left of a value, once; what came of it, in words. None where the store had not given it yet."""
    if given.code.external_id is None or given.outcome is not None:
        return given.outcome
    async with services.database.transaction() as connection:
        grant = await values.by_grant(connection, store.id, given.grant_id)
        (draft,) = await drafts_for(services, connection, store, [grant])
    platform = services.open_store(store)
    assert isinstance(platform, GivesValues), "it has given this"
    try:
        minor = await platform.take_back(draft, given.code.external_id, given.revoked_at)
    except RefusedError as error:
        async with services.database.transaction() as connection:
            await revoking.undo(connection, given)
            await _note(services, connection, given, "grant.not_taken_back", actor, str(error))
        raise
    currency = draft.benefit.currency or store.currency
    whole = decimal_text(draft.benefit.amount_minor or 0, currency)
    outcome = f"{decimal_text(minor, currency)} of {whole} {currency} were left, and are taken back"
    async with services.database.transaction() as connection:
        await revoking.keep_outcome(connection, given, outcome)
        await _note(services, connection, given, "grant.taken_back", actor, outcome)
    return outcome


async def _note(
    services: Services, connection: Connection, given: GivenCode, action: str, actor: str, outcome: str = ""
) -> None:
    await audit.record(
        connection,
        given.program_id,
        action,
        at=services.clock(),
        actor=actor,
        store_id=given.store_id,
        subject=f"grant:{given.grant_id}",
        detail={"outcome": outcome} if outcome else {},
    )
