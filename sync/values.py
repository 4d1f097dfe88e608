"""Store credit and gift cards are handed over once each, whatever becomes of the store's answers.

No platform has to notice that it is asked twice. So what is asked for stands on record before the request goes out
(`asked_at`); one is asked for at a time; and what was asked for before is looked for before it is asked for again. A
request that has not shown after `SETTLES` never will. What nobody can tell counts as given: never is anything paid twice.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from connectors.base import Capability, Store
from connectors.besides import GivesValues
from rewards.errors import RefusedError, RetryLaterError
from rewards.records import BenefitKind, CodeDraft
from storage import values
from storage.grants import GrantToPush
from storage.stores import StoreRow
from sync.facts import ask_for_facts
from sync.services import Services

# Longer than a request may take, with all its waiting for a turn.
SETTLES = timedelta(minutes=5)
_UNTIL_IT_CAN = timedelta(hours=1)
_UNKNOWN = "Whether the store has given it is not known yet; it is looked for in some minutes."

CAPABILITY_OF = {
    BenefitKind.STORE_CREDIT: Capability.STORE_CREDIT,
    BenefitKind.GIFT_CARD: Capability.GIFT_CARDS,
}


class Giver:
    """Hands over one store's values, one after the other, and knows what the store lacks."""

    def __init__(self, services: Services, store: StoreRow, platform: Store) -> None:
        self._services, self._store, self._platform = services, store, platform

    async def give(self, grant: GrantToPush, draft: CodeDraft) -> Literal["given", "refused", "waiting"]:
        """Hands over one, and keeps what became of it. What the store lacks waits until it has it.

        Raises RetryLaterError and AccessRevokedError.
        """
        if reason := self._lacking(draft):
            return await self._wait(grant, self._services.clock() + _UNTIL_IT_CAN, reason)
        try:
            external_id = await self._found_or_given(grant, draft)
        except RetryLaterError as error:
            # Those after it have their turn before it is looked for.
            await self._wait(grant, self._services.clock() + SETTLES, f"{_UNKNOWN} {error}")
            raise
        except RefusedError as error:
            # Perhaps a permission was taken away, or the feature switched off: then this one waits, as all others.
            self._store = await ask_for_facts(self._services, self._store)
            if reason := self._lacking(draft):
                return await self._wait(grant, self._services.clock() + _UNTIL_IT_CAN, reason)
            async with self._services.database.transaction() as connection:
                await values.record_refused(connection, self._store.id, grant.id, str(error))
            return "refused"
        if external_id is None:
            return await self._wait(grant, (grant.asked_at or self._services.clock()) + SETTLES, _UNKNOWN)
        async with self._services.database.transaction() as connection:
            now = self._services.clock()
            await values.record_given(connection, self._store.id, grant.id, external_id, now)
        return "given"

    async def _found_or_given(self, grant: GrantToPush, draft: CodeDraft) -> str | None:
        """By which id the store knows it; None while an earlier request, or another's, may still be under way."""
        platform = self._platform
        assert isinstance(platform, GivesValues), "a platform with such a capability gives values"
        if grant.asked_at is not None:
            async with self._services.database.transaction() as connection:
                others = await values.others_given(connection, self._store.id, grant)
            found = await platform.look_for(draft, grant.asked_at, others)
            if found is not None or self._services.clock() < grant.asked_at + SETTLES:
                return found
        now = self._services.clock()
        async with self._services.database.transaction() as connection:
            is_ours = await values.note_asked(connection, self._store.id, grant, now)
        return await platform.give(draft, now) if is_ours else None

    def _lacking(self, draft: CodeDraft) -> str | None:
        lacks = self._services.connector(self._store).lacks(self._store.settings)
        return lacks.get(CAPABILITY_OF[draft.benefit.kind])

    async def _wait(self, grant: GrantToPush, until: datetime, reason: str) -> Literal["waiting"]:
        async with self._services.database.transaction() as connection:
            await values.postpone(connection, self._store.id, grant.id, until, reason)
        return "waiting"
