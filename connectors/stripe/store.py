"""One Stripe account over its API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import aiohttp

from connectors.base import Noun, Page, Secret, StoreAccess, Subscription, Window
from connectors.besides import ReadingEstimate
from connectors.stripe import allocation, birthdays, drafts, mapping
from connectors.stripe.client import Client, mode_of
from connectors.stripe.codes import Codes
from connectors.stripe.endpoints import Endpoints
from connectors.stripe.errors import MISSING_PERMISSION
from connectors.stripe.history import History
from connectors.stripe.mapping import Account, Deleted
from connectors.stripe.older import AllLooks
from connectors.stripe.permissions import PERMISSIONS, WEBHOOK_ENDPOINTS, missing, notice
from connectors.stripe.tokens import API_KEY
from rewards.changes import Change, LookAgain
from rewards.errors import RefusedError
from rewards.records import Birthday, CodeDraft, Coupon, KnownCode, PushedCode, ShopFacts

# An access token is renewed at least so often: its refresh token lasts a year, and an uninstall should be noticed.
_RENEWED_EVERY = timedelta(hours=12)


def open_store(access: StoreAccess, session: aiohttp.ClientSession) -> StripeStore:
    """The store behind these credentials; nothing is asked before the first call."""
    return StripeStore(access, session, lambda: datetime.now(UTC))


async def account_of(client: Client) -> Account:
    """Whose key it is."""
    return await client.call("GET /v1/account", lambda sdk: sdk.v1.accounts.retrieve_current_async(), Account)


def wrong_settings(settings: Mapping[str, str]) -> list[str]:
    """What of a store's settings cannot be meant, and what to write instead."""
    return [said for said in (birthdays.problem(settings), drafts.problem(settings)) if said]


class StripeStore:
    """One installed account in one mode."""

    def __init__(
        self, access: StoreAccess, session: aiohttp.ClientSession, clock: Callable[[], datetime]
    ) -> None:
        key = access.credentials.get(API_KEY)
        self._mode = access.options.settings.get("mode") or (key and mode_of(key.reveal())) or "live"
        self._client = Client(access, session, clock, self._mode)
        self._endpoints = Endpoints(self._client, access)
        self._history = History(self._client, access.options, clock)
        self._codes = Codes(self._client, access.options, clock)
        self._settings = access.options.settings
        self._clock = clock
        self._looks = AllLooks(self._client, access.options)

    async def facts(self) -> ShopFacts:
        """The account's name, time zone and currency, and what the key may not do."""
        account = await self._account()
        asked = PERMISSIONS if self._client.keyring.is_of_app else (*PERMISSIONS, WEBHOOK_ENDPOINTS)
        lacking = await missing(self._client, asked)
        notices = [notice(each) for each in lacking]
        notices += wrong_settings(self._settings)
        if not any(each.is_needed for each in lacking):
            notices += filter(None, [await allocation.notice(self._history, self._clock())])
        return replace(mapping.facts(account, self._mode), notices=tuple(notices))

    async def _account(self) -> Account:
        """The account as Stripe tells it; no app may read it, so what the merchant told us when installing ours."""
        try:
            return await account_of(self._client)
        except RefusedError as refusal:
            if refusal.code != MISSING_PERMISSION or not self._client.keyring.is_of_app:
                raise
        return mapping.account_as_told(self._settings)

    async def maintain(self) -> None:
        """Renews an access token that nobody has needed for long."""
        keyring = self._client.keyring
        if keyring.is_renewable and keyring.ended_for() > _RENEWED_EVERY:
            await keyring.renew(keyring.key)

    async def subscribe(self, address: str, secret: Secret) -> Subscription:
        """See `endpoints.Endpoints.subscribe`."""
        return await self._endpoints.subscribe(address, secret)

    async def is_subscribed(self, address: str) -> bool:
        """See `endpoints.Endpoints.is_subscribed`."""
        return await self._endpoints.is_subscribed(address)

    async def unsubscribe(self, address: str) -> None:
        """See `endpoints.Endpoints.unsubscribe`."""
        await self._endpoints.unsubscribe(address)

    async def windows(self, noun: Noun, since: datetime | None) -> Sequence[Window]:
        """See `history.History.windows`."""
        return await self._history.windows(noun, since)

    def read(self, window: Window, after: Mapping[str, object] | None) -> AsyncIterator[Page]:
        """See `history.History.read`."""
        return self._history.read(window, after)

    async def estimate(self) -> ReadingEstimate:
        """See `allocation.estimate`."""
        return await allocation.estimate(self._history, self._clock(), self._client.per_second)

    async def push(self, drafts: Sequence[CodeDraft]) -> Sequence[PushedCode]:
        """See `codes.Codes.push`."""
        return await self._codes.push(drafts)

    async def find(self, codes: Sequence[KnownCode]) -> Sequence[Coupon | None]:
        """See `codes.Codes.find`."""
        return await self._codes.find(codes)

    async def revoke(self, code: KnownCode) -> None:
        """See `codes.Codes.revoke`."""
        await self._codes.revoke(code)

    async def restore(self, draft: CodeDraft, known: KnownCode) -> PushedCode:
        """See `codes.Codes.restore`."""
        return await self._codes.restore(draft, known)

    async def look(self, thing: LookAgain) -> Sequence[Change]:
        """See `older.AllLooks.look`."""
        return await self._looks.look(thing)

    async def write_birthday(self, customer_external_id: str, birthday: Birthday) -> None:
        """Writes the birthday into the metadata key, in the format, that the merchant chose."""
        text = birthdays.write(birthday, self._settings)
        metadata = {birthdays.key_of(self._settings): text}
        await self._client.call(
            "POST /v1/customers",
            lambda sdk: sdk.v1.customers.update_async(customer_external_id, {"metadata": metadata}),
            Deleted,
        )
