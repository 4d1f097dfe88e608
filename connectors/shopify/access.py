"""The access token of one shop, renewed before it ends and whenever Shopify refuses it.

Three ways in, told apart by the stored credentials: an installed app has a `refresh_token` (the app's own id and secret
are the operator's settings); an app of the shop's own organization has its `client_id` and `client_secret`; an admin-made
app from before 2026 has a `token` that lasts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import aiohttp

from connectors.base import Credentials, Secret, StoreAccess
from connectors.shopify.grants import TokenDesk, ends_at
from rewards.errors import AccessRevokedError, RetryLaterError

_RENEW_BEFORE_END = timedelta(minutes=5)
# A refresh token lives 90 days: a shop that nobody opens and nothing asks of is refreshed monthly.
_REFRESH_BEFORE_END = timedelta(days=60)
APP_SECRETS = ("client_secret", "old_client_secret")


def now_utc() -> datetime:
    """The clock unless another is given."""
    return datetime.now(UTC)


def base_url(external_id: str, api_base: str | None) -> str:
    """Where a shop's API is, without a slash at the end."""
    return (api_base or f"https://{external_id}").rstrip("/")


def app_secrets(app: Mapping[str, Secret]) -> tuple[Secret, ...]:
    """The operator's client secrets, newest first."""
    return tuple(app[name] for name in APP_SECRETS if app.get(name))


class AccessToken:
    """Gives the token for the next request and renews it where that is possible."""

    def __init__(
        self, access: StoreAccess, session: aiohttp.ClientSession, clock: Callable[[], datetime] = now_utc
    ) -> None:
        self._access = access
        self._session = session
        self._clock = clock
        self._known: Credentials = access.credentials
        self._refused: Secret | None = None
        self._turn = asyncio.Lock()

    async def get(self) -> Secret:
        """A token that is good now, as far as we know. Raises PlatformError."""
        if lasting := self._known.get("token"):
            return lasting
        async with self._turn:
            token = self._good()
            if token is None:
                await self._renew()
                # What another process renewed may have ended since; what we are given now is good.
                token = self._good() or await self._renew()
            return token

    def drop(self, refused: Secret) -> bool:
        """Shopify refused this token; True when the next `get` may give a better one."""
        if "token" in self._known:
            return False
        self._refused = refused
        return True

    async def maintain(self) -> None:
        """Refreshes a pair whose refresh token has lived a month; asks nothing otherwise. Raises PlatformError."""
        async with self._turn:
            if "refresh_token" in self._known and self._is_over("refresh", _REFRESH_BEFORE_END):
                await self._renew()

    def _good(self) -> Secret | None:
        token = self._known.get("access_token")
        is_bad = token == self._refused or self._is_over("access", _RENEW_BEFORE_END)
        return None if is_bad else token

    def _is_over(self, name: str, before: timedelta) -> bool:
        end = ends_at(self._known, name)
        return end is None or self._clock() >= end - before

    async def _renew(self) -> Secret:
        """Another process's newer token, or a new one of our own."""
        if self._access.keeper is None:
            self._known = await self._ask(self._known)
        else:
            self._known = await self._access.keeper.renew(self._known, self._ask)
        token = self._known.get("access_token")
        if token is None:
            raise AccessRevokedError("This store has no access to Shopify any more: connect it again.")
        return token

    async def _ask(self, current: Credentials) -> Credentials:
        """All that shall be stored instead of `current`."""
        desk = self._desk(current)
        if (refresh_token := current.get("refresh_token")) is not None:
            return {**current, **await desk.refreshed(refresh_token, self._clock())}
        return {**current, **await desk.by_client(self._clock())}

    def _desk(self, current: Credentials) -> TokenDesk:
        own = current if "client_id" in current else self._access.app
        if not own.get("client_id") or not app_secrets(own):
            raise RetryLaterError(
                "The operator has not said which Shopify app this is: set PERENNIAL_APPS__SHOPIFY__CLIENT_ID and "
                "PERENNIAL_APPS__SHOPIFY__CLIENT_SECRET.",
                retry_after_seconds=300,
            )
        base = base_url(self._access.external_id, self._access.api_base)
        return TokenDesk(base, own["client_id"], app_secrets(own), self._session)
