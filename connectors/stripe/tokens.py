"""What a store's requests are made with: a key that the merchant made, or an app's access token that is renewed.

An access token lives for an hour, a refresh token for a year or until it is used: with each use Stripe gives a new pair
and the old one is dead (docs.stripe.com/stripe-apps/api-authentication/oauth). So only one process may ask at a time,
and the pair is stored before anything else: that is the keeper's work.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import aiohttp
import msgspec

from connectors.base import Credentials, Secret, StoreAccess
from connectors.stripe import errors
from rewards.errors import AccessRevokedError, RetryLaterError

API_BASE = "https://api.stripe.com"
# The names of a store's credentials.
API_KEY, REFRESH_TOKEN, ENDS_AT = "api_key", "refresh_token", "ends_at"
APP_IS_GONE = "Stripe no longer accepts the app's access to this account; install the app again."
ACCESS_LIFE = timedelta(hours=1)
# Renewed so much before its end: a request may wait for its turn.
_SPARE = timedelta(minutes=2)
_TIMEOUT = aiohttp.ClientTimeout(total=30)


class Tokens(msgspec.Struct, gc=False):
    """Stripe's answer to a code or a refresh token; it names no end."""

    access_token: str
    refresh_token: str
    livemode: bool
    stripe_user_id: str
    scope: str = ""


class _Refusal(msgspec.Struct):
    error: msgspec.Raw = msgspec.Raw(b"null")


async def ask_for_tokens(
    session: aiohttp.ClientSession, base: str, app_key: Secret, grant: Mapping[str, str]
) -> Tokens:
    """Exchanges a code or a refresh token. Raises AccessRevokedError for a dead one, RetryLaterError for the rest."""
    try:
        async with session.post(
            f"{base}/v1/oauth/token",
            data=dict(grant),
            headers={"Authorization": f"Basic {b64encode(f'{app_key.reveal()}:'.encode()).decode()}"},
            timeout=_TIMEOUT,
        ) as answer:
            body, status = await answer.read(), answer.status
    except (aiohttp.ClientError, TimeoutError):
        raise errors.unreachable() from None
    if status == 200:
        try:
            return msgspec.json.decode(body, type=Tokens)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise errors.unreadable() from None
    if status == 400 and _word(body) == "invalid_grant":
        raise AccessRevokedError(APP_IS_GONE)
    if status in (400, 401, 403):
        raise RetryLaterError(
            "Stripe does not accept the app's own secret key; the operator must correct it (PERENNIAL_APPS__STRIPE__…)."
        )
    raise errors.from_answer(status, body, {})


def credentials_of(tokens: Tokens, now: datetime) -> Credentials:
    """What is stored of the answer. The end counts from before the question was sent."""
    return {
        API_KEY: Secret(tokens.access_token),
        REFRESH_TOKEN: Secret(tokens.refresh_token),
        ENDS_AT: Secret(str(int((now + ACCESS_LIFE).timestamp()))),
    }


def app_key(app: Mapping[str, Secret], mode: str) -> Secret | None:
    """The developer's own secret key of the mode, from the operator's settings."""
    return app.get("secret_key" if mode == "live" else "test_secret_key")


class Keyring:
    """The key that this store's requests are made with now."""

    def __init__(
        self, access: StoreAccess, session: aiohttp.ClientSession, clock: Callable[[], datetime], mode: str
    ) -> None:
        if not access.credentials.get(API_KEY):
            raise AccessRevokedError("The store has no Stripe key any more; connect it again.")
        self._held = access.credentials
        self._access = access
        self._session = session
        self._clock = clock
        self._mode = mode
        self._lock = asyncio.Lock()

    @property
    def key(self) -> Secret:
        """The key or access token."""
        return self._held[API_KEY]

    @property
    def is_of_app(self) -> bool:
        """True for an app's access token."""
        return REFRESH_TOKEN in self._held

    @property
    def is_renewable(self) -> bool:
        """True for an access token of which a new pair can be kept."""
        return self.is_of_app and self._access.keeper is not None

    def ended_for(self) -> timedelta:
        """How long ago the access token ended; negative while it lives, and for a key that never ends."""
        ends_at = self._held.get(ENDS_AT)
        if ends_at is None:
            return timedelta.min
        return timedelta(seconds=self._clock().timestamp() - int(ends_at.reveal()))

    async def ready(self) -> Secret:
        """The key to use now, renewed when its end is near. Raises PlatformError."""
        if self.is_renewable and self.ended_for() > -_SPARE:
            await self.renew(self.key)
        return self.key

    async def renew(self, used: Secret) -> None:
        """Replaces the token that was used; nothing when that has been done meanwhile. Raises PlatformError."""
        async with self._lock:
            if self.key == used and self._access.keeper is not None:
                self._held = await self._access.keeper.renew(self._held, self._ask)

    async def _ask(self, current: Credentials) -> Credentials:
        key = app_key(self._access.app, self._mode)
        if key is None:
            raise RetryLaterError(
                "The operator's settings hold no secret key of the Stripe app for this mode (PERENNIAL_APPS__STRIPE__…)."
            )
        asked_at = self._clock()
        grant = {"grant_type": "refresh_token", "refresh_token": current[REFRESH_TOKEN].reveal()}
        base = (self._access.api_base or API_BASE).rstrip("/")
        return credentials_of(await ask_for_tokens(self._session, base, key, grant), asked_at)


def _word(body: bytes) -> str:
    """OAuth's own word for an error; Stripe's other errors are objects."""
    try:
        return str(msgspec.json.decode(msgspec.json.decode(body, type=_Refusal).error))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
