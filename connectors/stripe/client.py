"""Requests to one Stripe account: the pace, the patience, and errors as ours.

Single reads and writes go through the SDK; pages of lists are read with the same session, headers and pinned version
but decoded straight into the few fields we use: the SDK builds an object tree that costs more than the network.

The SDK retries neither 429 nor anything else by itself here (`max_network_retries=0`): one loop does it for both ways.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

import aiohttp
import msgspec
import stripe

from connectors.base import Secret, StoreAccess
from connectors.stripe import errors
from connectors.stripe.limits import Limits
from connectors.stripe.tokens import API_BASE, APP_IS_GONE, Keyring
from rewards.errors import AccessRevokedError, RefusedError, RetryLaterError

API_VERSION = "2026-10-28.endive"
PATIENCE_SECONDS = 60.0
_TIMEOUT_SECONDS = 80.0
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.5, 16.0

T = TypeVar("T")
Operation = Callable[[stripe.StripeClient], Awaitable[stripe.StripeObject]]


def mode_of(key: str) -> str | None:
    """The mode that a secret or restricted key works in, "live" or "test"; None for anything else."""
    for mode in ("live", "test"):
        if key.startswith((f"sk_{mode}_", f"rk_{mode}_")):
            return mode
    return None


class _Http(stripe.AIOHTTPClient):
    """The SDK's HTTP client, with every failure as ours before the SDK looks at it.

    The SDK reads the body outside its own error handling, so a connection cut in the middle comes out raw, and it
    fails over an error that is no object, as proxies send them.
    """

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        try:
            body, status, given = await super().request_async(method, url, headers, post_data)
        except (stripe.APIConnectionError, aiohttp.ClientError, TimeoutError):
            raise errors.unreachable() from None
        if not 200 <= status < 300:
            raise errors.from_answer(status, body, given)
        return body, status, given


class Client:
    """One account's API. Settings of the store may hold "requests_per_second" and "patience_seconds"."""

    def __init__(
        self, access: StoreAccess, session: aiohttp.ClientSession, clock: Callable[[], datetime], mode: str
    ) -> None:
        settings = access.options.settings
        self.keyring = Keyring(access, session, clock, mode)
        self._base = (access.api_base or API_BASE).rstrip("/")
        self._session = session
        self._timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        self._patience = _number(settings, "patience_seconds", PATIENCE_SECONDS)
        self._limits = Limits(
            access.turns,
            is_live=mode == "live",
            requests_per_second=_number(settings, "requests_per_second", None),
        )
        self._http = _Http(timeout=_TIMEOUT_SECONDS, session=session)
        self._use(self.keyring.key)

    @property
    def per_second(self) -> float:
        """How many requests one list may be read with in a second; 0 where there is no limit."""
        return self._limits.per_list

    def _use(self, key: Secret) -> None:
        """Makes the following requests with this key."""
        self._key = key
        self._headers = {"Authorization": f"Bearer {key.reveal()}", "Stripe-Version": API_VERSION}
        self._sdk = stripe.StripeClient(
            key.reveal(),
            stripe_version=API_VERSION,
            base_addresses={"api": self._base},
            max_network_retries=0,
            http_client=self._http,
        )

    async def page(
        self,
        path: str,
        params: Mapping[str, str],
        decoder: msgspec.json.Decoder[T],
        *,
        endpoint: str | None = None,
    ) -> T:
        """One page of a list, or one object; then `endpoint` says it without the id."""

        async def once(_: int) -> T:
            try:
                async with self._session.get(
                    self._base + path, params=params, headers=self._headers, timeout=self._timeout
                ) as answer:
                    body = await answer.read()
            except (aiohttp.ClientError, TimeoutError):
                raise errors.unreachable() from None
            if answer.status != 200:
                raise errors.from_answer(answer.status, body, answer.headers)
            try:
                return decoder.decode(body)
            except (msgspec.DecodeError, UnicodeDecodeError):
                raise errors.unreadable() from None

        return await self._patiently(endpoint or "GET " + path, once)

    async def call(self, endpoint: str, operation: Operation, shape: type[T]) -> T:
        """One read or write through the SDK; a write that is tried again asks for the same thing."""
        return await self._patiently(endpoint, lambda _: self._through_sdk(operation, shape))

    async def find(self, endpoint: str, operation: Operation, shape: type[T]) -> T | None:
        """Like `call`; None when there is no such object."""
        try:
            return await self.call(endpoint, operation, shape)
        except RefusedError as refusal:
            if refusal.code == "resource_missing":
                return None
            raise

    async def create(
        self,
        endpoint: str,
        operation: Callable[[int], Operation],
        shape: type[T],
        made_before: Callable[[], Awaitable[T | None]],
    ) -> T:
        """One write that must not happen twice: before each further try `made_before` looks for what the last one
        may have left. `operation` gets the number of the try, because Stripe replays a stored answer for a key for a day.
        """

        async def once(attempt: int) -> T:
            if attempt and (found := await made_before()) is not None:
                return found
            try:
                return await self._through_sdk(operation(attempt), shape)
            except errors.SpentKeyError:
                if (found := await made_before()) is not None:
                    return found
            # Used some hours ago, by a try like this one: a number that none of them had.
            return await self._through_sdk(operation(secrets.randbelow(2**53)), shape)

        return await self._patiently(endpoint, once)

    async def _through_sdk(self, operation: Operation, shape: type[T]) -> T:
        try:
            answer = await operation(self._sdk)
            return msgspec.convert(answer.to_dict(for_json=True), shape)
        except (stripe.StripeError, msgspec.ValidationError):
            raise errors.unreadable() from None

    async def _patiently(self, endpoint: str, once: Callable[[int], Awaitable[T]]) -> T:
        """Tries until it works, is refused for good, or the patience would not last over the next wait."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._patience
        wait, attempt = _FIRST_WAIT_SECONDS, 0
        while True:
            await self._limits.turn(endpoint)
            try:
                return await self._with_key(once, attempt)
            except RetryLaterError as error:
                asked = error.retry_after_seconds or 0.0
                if isinstance(error, errors.SlowDownError):
                    left = max(0.0, deadline - clock())
                    await self._limits.slow_down(endpoint, error, min(asked, left))
                pause = max(asked, wait * random.uniform(0.5, 1.0))
                if clock() + pause > deadline:
                    raise
            await asyncio.sleep(pause)
            wait, attempt = min(wait * 2, _LONGEST_WAIT_SECONDS), attempt + 1

    async def _with_key(self, once: Callable[[int], Awaitable[T]], attempt: int) -> T:
        """One try; with an access token that Stripe says has ended, one more with a new one."""
        if (key := await self.keyring.ready()) != self._key:
            self._use(key)
        try:
            return await once(attempt)
        except errors.KeyRefusedError:
            if not self.keyring.is_renewable:
                raise
        await self.keyring.renew(key)
        self._use(self.keyring.key)
        try:
            return await once(attempt)
        except errors.KeyRefusedError:
            raise AccessRevokedError(APP_IS_GONE) from None


def _number(settings: Mapping[str, str], name: str, default: T) -> float | T:
    text = settings.get(name)
    if text is None:
        return default
    try:
        return max(0.0, float(text))
    except ValueError:
        return default
