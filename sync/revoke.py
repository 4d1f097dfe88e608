"""Taking back what a member was given, here and in the store."""

from __future__ import annotations

from rewards.errors import InvalidInputError, RetryLaterError
from storage import audit, revoking, stores
from storage.locks import only_one
from storage.revoking import GivenCode
from sync.services import Services

_CAN_BE_TAKEN_BACK = frozenset({"decided", "pushed", "notified", "revoked"})
_WHY_NOT = {
    "redeemed": "it was used already",
    "returned": "it was used, and given back",
    "expired": "it has run out already",
    "failed": "the store never took it",
}


async def revoke_grant(services: Services, grant_id: int, *, actor: str) -> GivenCode:
    """Ends the grant, then its code in the store; a coupon that others hold too is left alone there.

    Asking again is fine: what the store was not told, because it was away, it is told then. Raises NotFoundError,
    InvalidInputError for a grant that is over, and PlatformError.
    """
    async with services.database.transaction() as connection:
        given = await revoking.by_grant(connection, grant_id)
        store = await stores.by_id(connection, given.store_id)
    # While codes are pushed, this one may be on its way into the store.
    async with only_one(services.database, f"push:{store.id}") as is_ours:
        if not is_ours:
            raise RetryLaterError("Codes are being put into the store just now.", retry_after_seconds=60)
        async with services.database.transaction() as connection:
            given = await revoking.by_grant(connection, grant_id)
            if given.state not in _CAN_BE_TAKEN_BACK:
                reason = _WHY_NOT.get(given.state, f"it is {given.state}")
                raise InvalidInputError(f"Grant {grant_id} cannot be taken back: {reason}.")
            await revoking.mark(connection, given, services.clock())
            if given.state != "revoked":
                await audit.record(
                    connection,
                    given.program_id,
                    "grant.revoked",
                    at=services.clock(),
                    actor=actor,
                    store_id=store.id,
                    subject=f"grant:{grant_id}",
                )
        if given.is_in_store and not given.is_shared:
            await services.open_store(store).revoke(given.code)
    return given
