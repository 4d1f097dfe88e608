"""The access token of one shop: a given one, or one that the client-credentials grant gives for 24 hours.

Source: shopify.dev/docs/apps/build/authentication-authorization, "client credentials grant".
"""

from __future__ import annotations

import asyncio
import time

import aiohttp
import msgspec

from connectors.base import Secret, StoreAccess
from connectors.shopify.failures import error_for_status
from rewards.errors import AccessRevokedError, RetryLaterError

_RENEW_SECONDS_BEFORE_END = 300.0
_TIMEOUT = aiohttp.ClientTimeout(total=30)


class _Granted(msgspec.Struct):
    access_token: str
    expires_in: float = 86_399.0


class _Denied(msgspec.Struct):
    error: str = ""


def base_url(access: StoreAccess) -> str:
    """Where the shop's API is, without a slash at the end."""
    return (access.api_base or f"https://{access.external_id}").rstrip("/")


class AccessToken:
    """Gives the token for the next request and renews it where that is possible."""

    def __init__(self, access: StoreAccess, session: aiohttp.ClientSession) -> None:
        self._access = access
        self._session = session
        self._given = access.credentials.get("token")
        self._granted: Secret | None = None
        self._renew_at = 0.0
        self._turn = asyncio.Lock()

    async def get(self) -> Secret:
        """A token that is good now, as far as we know. Raises PlatformError."""
        if self._given:
            return self._given
        async with self._turn:
            if self._granted is None or time.monotonic() >= self._renew_at:
                self._granted = await self._grant()
            return self._granted

    def drop(self, refused: Secret) -> bool:
        """Shopify refused this token; True when the next `get` may give a better one."""
        if self._given:
            return False
        if self._granted == refused:
            self._granted = None
        return True

    async def _grant(self) -> Secret:
        form = {
            "grant_type": "client_credentials",
            "client_id": self._access.credentials["client_id"].reveal(),
            "client_secret": self._access.credentials["client_secret"].reveal(),
        }
        url = f"{base_url(self._access)}/admin/oauth/access_token"
        try:
            async with self._session.post(url, data=form, timeout=_TIMEOUT, allow_redirects=False) as answer:
                status, body, headers = answer.status, await answer.read(), answer.headers
        except (aiohttp.ClientError, TimeoutError) as error:
            raise RetryLaterError("Shopify could not be reached for a token.") from error
        if status == 400:
            raise AccessRevokedError(_why_denied(body))
        if status != 200:
            raise error_for_status(status, headers)
        try:
            granted = msgspec.json.decode(body, type=_Granted)
        except msgspec.MsgspecError:
            raise RetryLaterError("Shopify's answer to the token request could not be read.") from None
        self._renew_at = time.monotonic() + granted.expires_in - _RENEW_SECONDS_BEFORE_END
        return Secret(granted.access_token)


def _why_denied(body: bytes) -> str:
    try:
        reason = msgspec.json.decode(body, type=_Denied).error
    except msgspec.MsgspecError:
        reason = ""
    if reason == "shop_not_permitted":
        return "Shopify gives this app no token for the shop: app and shop must be in one organization."
    return (
        "Shopify does not accept the app's client id and secret: check both, and that the app is installed."
    )
