"""HTTP to one shop: signing, pace and retries. What each failure means is in `answers.py`.

Nothing here logs or repeats an address with its query: keys and signatures are in it. `Link` headers are never
followed, since they repeat a used signature or the secret itself; neither are redirects.
"""

from __future__ import annotations

import asyncio
import random
import secrets as random_source
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import urlencode

import aiohttp
import msgspec
from woocommerce.oauth import OAuth
from yarl import URL

from connectors.base import Secret
from connectors.woocommerce.answers import (
    UnreadableError,
    failed_connection,
    hidden_refusal,
    is_old,
    json_in,
    mended,
    refusal,
    told_time,
)
from connectors.woocommerce.pace import Pace
from rewards.errors import RefusedError, RetryLaterError

_CONNECT_SECONDS = 15.0
# Far more than a hundred of anything; whoever gave us the address may have a server of any kind there.
_MOST_BYTES = 64 * 1024 * 1024
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.25, 10.0
# Signatures hold for 15 minutes: a clock that is further off than this is worth taking over, and telling of.
CLOCK_SECONDS = 5 * 60


# Where the API is, below the shop's address, unless a plugin has moved it.
REST_ROOT = "wp-json/"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """A good answer, and the length of the whole list where it is a page of one (-1: not told)."""

    value: T
    total: int


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    params: Mapping[str, str]
    body: bytes | None
    with_key: bool


class _OldAnswerError(Exception):
    """A cache gave an answer that was meant for an earlier request."""


class _OtherClockError(Exception):
    """The shop refused a signature, and its clock shows another time than ours."""


class _Signer(OAuth):  # type: ignore[misc]
    """The official client's OAuth 1.0a; its nonces repeat too often for a long history (10^8 values)."""

    @staticmethod
    def generate_nonce() -> str:
        return random_source.token_hex(16)


class Client:
    """One shop's REST API. Raises only PlatformError.

    `patience_seconds` bounds how long one call keeps retrying what may pass: limits, 5xx, cut connections and
    unreadable answers. `in_query`: over https the key goes there, for hosts that strip the header. `clock` gives Unix
    time; `clock_off_seconds` is how far ahead of it the shop's was at the last answer that told.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        base: str,
        key: Secret,
        secret: Secret,
        *,
        pace: Pace,
        patience_seconds: float,
        timeout_seconds: float = 60.0,
        in_query: bool = False,
        root: str = REST_ROOT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._session = session
        self._root = f"{base.rstrip('/')}/{root}"
        self._key, self._secret = key, secret
        self._pace = pace
        self._patience = patience_seconds
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=_CONNECT_SECONDS)
        self._in_query = in_query
        self._clock = clock
        self.clock_off_seconds = 0.0
        self._signs_ahead_seconds = 0.0
        self._evades_caches = False
        self._decoding = asyncio.Lock()

    async def get(
        self,
        path: str,
        decode: Callable[[bytes], T],
        params: Mapping[str, str] | None = None,
        *,
        with_key: bool = True,
    ) -> Answer[T]:
        """Reads below `/wp-json/`, e.g. "wc/v3/orders"."""
        return await self._call(_Request("GET", path, params or {}, None, with_key), decode)

    async def send(
        self,
        method: str,
        path: str,
        body: object,
        decode: Callable[[bytes], T],
        params: Mapping[str, str] | None = None,
    ) -> T:
        """Writes. A write may arrive twice when its answer is lost: callers make that harmless."""
        content = None if body is None else msgspec.json.encode(body)
        return (await self._call(_Request(method, path, params or {}, content, True), decode)).value

    async def _call(self, request: _Request, decode: Callable[[bytes], T]) -> Answer[T]:
        started, wait, may_reset_clock = time.monotonic(), _FIRST_WAIT_SECONDS, True
        while True:
            try:
                return await self._once(request, decode, may_reset_clock)
            except _OtherClockError:
                may_reset_clock = False
                continue
            except _OldAnswerError:
                self._evades_caches = True
                continue
            except RetryLaterError as error:
                pause = error.retry_after_seconds or wait * (0.5 + random.random())
                if time.monotonic() - started + pause > self._patience:
                    raise
            await asyncio.sleep(pause)
            wait = min(wait * 2, _LONGEST_WAIT_SECONDS)

    async def _once(
        self, request: _Request, decode: Callable[[bytes], T], may_reset_clock: bool
    ) -> Answer[T]:
        url, headers = self._signed(request)
        async with self._pace.turn(request.method) as turn:
            try:
                async with self._session.request(
                    request.method,
                    url,
                    data=request.body,
                    headers=headers,
                    allow_redirects=False,
                    timeout=self._timeout,
                ) as response:
                    content = await _whole(response)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                turn.bad()
                raise failed_connection(error) from None
            turn.brought(len(content))
            if response.status == 429 or response.status >= 500:
                turn.bad()
        if request.method == "GET" and not self._evades_caches and is_old(response.headers):
            raise _OldAnswerError
        self._look_at_clock(response.headers)
        if response.status == 401 and may_reset_clock and self._resets_clock(url):
            raise _OtherClockError
        if response.status >= 300:
            raise refusal(request.method, response.status, response.headers, content)
        # One answer at a time, so that requests go out and answers come in before we spend time on the next.
        async with self._decoding:
            await asyncio.sleep(0)
            value = _decoded(request.method, content, decode)
        return Answer(value, _number(response.headers.get("X-WP-Total", "")))

    def _look_at_clock(self, headers: Mapping[str, str]) -> None:
        moment = told_time(headers)
        if moment is not None:
            self.clock_off_seconds = moment.timestamp() - self._clock()

    def _resets_clock(self, url: URL) -> bool:
        """Signs by the shop's clock from now on, when that may be why a signature was refused."""
        if "oauth_timestamp" not in url.query:
            return False
        if abs(self.clock_off_seconds - self._signs_ahead_seconds) < CLOCK_SECONDS:
            return False
        self._signs_ahead_seconds = self.clock_off_seconds
        return True

    def _signed(self, request: _Request) -> tuple[URL, dict[str, str]]:
        """The address and the headers that carry the key: over plain http only OAuth works."""
        params = dict(request.params)
        if self._evades_caches and request.method == "GET":
            params["_"] = random_source.token_hex(8)  # which the shop ignores
        headers = {"Content-Type": "application/json"} if request.body is not None else {}
        is_https = self._root.startswith("https:")
        if request.with_key and is_https and self._in_query:
            params |= {"consumer_key": self._key.reveal(), "consumer_secret": self._secret.reveal()}
        elif request.with_key and is_https:
            headers["Authorization"] = aiohttp.encode_basic_auth(self._key.reveal(), self._secret.reveal())
        address = self._root + request.path
        if params:
            address = f"{address}?{urlencode(params)}"
        if request.with_key and not is_https:
            address = self._signer(address, request.method).get_oauth_url()
        return URL(address, encoded=True), headers

    def _signer(self, address: str, method: str) -> _Signer:
        moment = int(self._clock() + self._signs_ahead_seconds)
        return _Signer(
            address, self._key.reveal(), self._secret.reveal(), method=method, oauth_timestamp=moment
        )


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    """The answer's body, unpacked. Raises RefusedError for one that would fill our memory."""
    parts, size = [], 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > _MOST_BYTES:
            response.close()
            raise RefusedError("The shop's answer is too large to be one of WooCommerce.", code="too_large")
    return b"".join(parts)


def _decoded(method: str, content: bytes, decode: Callable[[bytes], T]) -> T:
    """The answer's value. PHP warnings and maintenance pages come with status 200 too."""
    try:
        return decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        found = json_in(content)
    if found is not None:
        hidden = hidden_refusal(method, found)
        if hidden is not None:
            raise hidden
        for text in (found, mended(found)):
            with suppress(msgspec.MsgspecError, UnicodeDecodeError):
                return decode(text)
    raise UnreadableError("The shop's answer cannot be read. If this stays, look for PHP warnings in it.")


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else -1
