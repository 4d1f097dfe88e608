"""Shopify's token endpoint: what is asked of it, and what its refusals mean.

Sources: shopify.dev/docs/apps/build/authentication-authorization, "token exchange", "offline access tokens" and
"client credentials grant". Refresh tokens are replaced by every refresh; a used one may be tried again until its
replacement is used, so an answer that is lost costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NoReturn

import aiohttp
import msgspec

from connectors.base import Secret
from connectors.shopify.failures import error_for_status
from rewards.errors import AccessRevokedError, RetryLaterError

_TIMEOUT = aiohttp.ClientTimeout(total=30)
_ACCEPT = {"Accept": "application/json"}  # refusals are pages for people otherwise
_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_SUBJECT = "urn:ietf:params:oauth:token-type:id_token"
_OFFLINE = "urn:shopify:params:oauth:token-type:offline-access-token"

OPEN_THE_APP = (
    "Shopify has ended the app's access to this shop, as it does after 90 days of silence: open Perennial once in the "
    "shop's admin (Apps), then everything goes on by itself."
)
_WRONG_CLIENT = (
    "Shopify does not accept the app's client id and secret: check both, and that the app is installed."
)
_OTHER_ORGANIZATION = (
    "Shopify gives this app no token for the shop: app and shop must be in one organization."
)


class StaleIdTokenError(Exception):
    """Shopify finds the ID token too old: the page must be loaded again with a fresh one."""


class _Granted(msgspec.Struct):
    access_token: str
    expires_in: float = 86_399.0
    refresh_token: str | None = None
    refresh_token_expires_in: float = 7_776_000.0
    scope: str = ""


class _Denied(msgspec.Struct):
    error: str = ""


class TokenDesk:
    """The token endpoint of one shop, asked as one app. `secrets`: the app's client secret, then a former one."""

    def __init__(
        self, base_url: str, client_id: Secret, secrets: tuple[Secret, ...], session: aiohttp.ClientSession
    ) -> None:
        self._url = f"{base_url}/admin/oauth/access_token"
        self._client_id = client_id
        self._secrets = secrets
        self._session = session

    async def by_client(self, now: datetime) -> dict[str, Secret]:
        """The 24-hour token of an app in the shop's own organization. Raises PlatformError."""
        granted = await self._ask({"grant_type": "client_credentials"})
        return _kept(granted, now)

    async def refreshed(self, refresh_token: Secret, now: datetime) -> dict[str, Secret]:
        """The next pair of an installed app. Raises PlatformError; AccessRevokedError says what the merchant can do."""
        asked = {"grant_type": "refresh_token", "refresh_token": refresh_token.reveal()}
        return _kept(await self._ask(asked), now)

    async def exchanged(self, id_token: Secret, now: datetime) -> dict[str, Secret]:
        """The first pair, for a merchant's ID token. Raises StaleIdTokenError and PlatformError."""
        asked = {
            "grant_type": _EXCHANGE,
            "subject_token": id_token.reveal(),
            "subject_token_type": _SUBJECT,
            "requested_token_type": _OFFLINE,
            "expiring": "1",
        }
        granted = await self._ask(asked)
        if granted.refresh_token is None:
            raise RetryLaterError("Shopify gave a token without the one that renews it; try once more.")
        return _kept(granted, now)

    async def _ask(self, asked: Mapping[str, str]) -> _Granted:
        """Asks with the newest secret; with the former one while Shopify does not know the newest yet."""
        for place, secret in enumerate(self._secrets):
            status, headers, body = await self._post(dict(asked), secret)
            if status == 200:
                return _read(body)
            if status not in (400, 401):
                raise error_for_status(status, headers)
            error = _error_in(body)
            if error != "invalid_client" or place + 1 == len(self._secrets):
                _deny(error)
        raise RetryLaterError("There is no client secret to ask Shopify with.")

    async def _post(self, asked: dict[str, str], secret: Secret) -> tuple[int, Mapping[str, str], bytes]:
        content = asked | {"client_id": self._client_id.reveal(), "client_secret": secret.reveal()}
        try:
            async with self._session.post(
                self._url, json=content, headers=_ACCEPT, timeout=_TIMEOUT, allow_redirects=False
            ) as answer:
                return answer.status, answer.headers, await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise RetryLaterError("Shopify could not be reached for a token.") from error


def ends_at(credentials: Mapping[str, Secret], name: str) -> datetime | None:
    """When what `name` stands for ends ("access", "refresh"); None where nothing is known of it."""
    text = credentials.get(f"{name}_ends_at")
    try:
        return datetime.fromisoformat(text.reveal()) if text else None
    except ValueError:
        return None


def _kept(granted: _Granted, now: datetime) -> dict[str, Secret]:
    kept = {"access_token": Secret(granted.access_token), "access_ends_at": _at(now, granted.expires_in)}
    if granted.refresh_token is not None:
        kept["refresh_token"] = Secret(granted.refresh_token)
        kept["refresh_ends_at"] = _at(now, granted.refresh_token_expires_in)
    return kept


def _at(now: datetime, seconds: float) -> Secret:
    return Secret((now + timedelta(seconds=seconds)).astimezone(UTC).isoformat(timespec="seconds"))


def _read(body: bytes) -> _Granted:
    try:
        return msgspec.json.decode(body, type=_Granted)
    except msgspec.MsgspecError:
        raise RetryLaterError("Shopify's answer to the token request could not be read.") from None


def _error_in(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_Denied).error
    except msgspec.MsgspecError:
        return ""


def _deny(error: str) -> NoReturn:
    match error:
        case "invalid_subject_token":
            raise StaleIdTokenError
        case "invalid_grant":
            raise AccessRevokedError(OPEN_THE_APP)
        case "shop_not_permitted":
            raise AccessRevokedError(_OTHER_ORGANIZATION)
    raise AccessRevokedError(_WRONG_CLIENT)
