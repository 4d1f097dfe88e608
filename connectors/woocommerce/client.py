"""HTTP to one shop: signing, pace, retries, and what each failure means.

Nothing here logs or repeats an address with its query: keys and signatures are in it. `Link` headers are never
followed, since they repeat a used signature or the secret itself; neither are redirects.
"""

from __future__ import annotations

import asyncio
import random
import re
import secrets as random_source
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import urlencode

import aiohttp
import msgspec
from woocommerce.oauth import OAuth
from yarl import URL

from connectors.base import Secret
from connectors.woocommerce.pace import Pace
from rewards.errors import AccessRevokedError, PlatformError, RefusedError, RetryLaterError

_TIMEOUT = aiohttp.ClientTimeout(total=60, sock_connect=15)
_CODE = re.compile(r"[a-z0-9_-]{1,80}")
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.25, 10.0


T = TypeVar("T")


class _Problem(msgspec.Struct):
    """An error answer; its message is in the shop's language and never used."""

    code: str = ""


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


class _Signer(OAuth):  # type: ignore[misc]
    """The official client's OAuth 1.0a; its nonces repeat too often for a long history (10^8 values)."""

    @staticmethod
    def generate_nonce() -> str:
        return random_source.token_hex(16)


class Client:
    """One shop's REST API. Raises only PlatformError.

    `patience_seconds` bounds how long one call keeps retrying what may pass: limits, 5xx, cut connections and
    unreadable answers.
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
    ) -> None:
        self._session = session
        self._root = f"{base.rstrip('/')}/wp-json/"
        self._key, self._secret = key, secret
        self._pace = pace
        self._patience = patience_seconds
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
        started, wait = time.monotonic(), _FIRST_WAIT_SECONDS
        while True:
            try:
                return await self._once(request, decode)
            except RetryLaterError as error:
                pause = error.retry_after_seconds or wait * (0.5 + random.random())
                if time.monotonic() - started + pause > self._patience:
                    raise
            await asyncio.sleep(pause)
            wait = min(wait * 2, _LONGEST_WAIT_SECONDS)

    async def _once(self, request: _Request, decode: Callable[[bytes], T]) -> Answer[T]:
        url, headers = self._signed(request)
        async with self._pace.turn() as turn:
            try:
                async with self._session.request(
                    request.method,
                    url,
                    data=request.body,
                    headers=headers,
                    allow_redirects=False,
                    timeout=_TIMEOUT,
                ) as response:
                    content = await response.read()
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                turn.bad()
                # The library's own words may hold the address with its key.
                raise RetryLaterError(f"The shop could not be reached ({type(error).__name__}).") from None
            if response.status in (429, 503):
                turn.bad()
        if response.status >= 300:
            raise _refusal(request.method, response.status, response.headers, content)
        try:
            # One answer at a time, so that requests go out and answers come in before we spend time on the next.
            async with self._decoding:
                await asyncio.sleep(0)
                value = decode(content)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            # PHP warnings and maintenance pages come with status 200 too.
            raise RetryLaterError(
                "The shop's answer cannot be read. If this stays, look for PHP warnings in it."
            ) from None
        return Answer(value, _number(response.headers.get("X-WP-Total", "")))

    def _signed(self, request: _Request) -> tuple[URL, dict[str, str]]:
        """The address and the headers that carry the key: Basic over https; over plain http only OAuth works."""
        address = self._root + request.path
        if request.params:
            address = f"{address}?{urlencode(request.params)}"
        headers = {"Content-Type": "application/json"} if request.body is not None else {}
        if not request.with_key:
            return URL(address, encoded=True), headers
        if address.startswith("https:"):
            headers["Authorization"] = aiohttp.encode_basic_auth(self._key.reveal(), self._secret.reveal())
            return URL(address, encoded=True), headers
        signer = _Signer(address, self._key.reveal(), self._secret.reveal(), method=request.method)
        return URL(signer.get_oauth_url(), encoded=True), headers


def _refusal(method: str, status: int, headers: Mapping[str, str], content: bytes) -> PlatformError:
    """What a status means for us: come back later, access is gone, or never."""
    code = _code(content)
    if status in (408, 429, 500, 502, 503, 504) or status >= 520:
        return RetryLaterError(
            f"The shop is busy or failing (status {status}).",
            retry_after_seconds=_seconds(headers.get("Retry-After", "")),
        )
    if status in (401, 403):
        return AccessRevokedError(_no_access(method, status, code))
    if 300 <= status < 400:
        return RefusedError(
            "The shop has moved to another address; connect it with the new one.", code="moved"
        )
    if code == "rest_no_route":
        return RefusedError(
            "The shop does not know the WooCommerce API; check that WooCommerce is active and permalinks are not plain.",
            code=code,
        )
    return RefusedError(f"The shop refused this (status {status}, {code or 'no code'}).", code=code)


def _no_access(method: str, status: int, code: str) -> str:
    if method != "GET" and code:
        return (
            "The shop does not let our key write; make a key with Read/Write permission under WooCommerce, Settings, "
            "Advanced, REST API, and connect the shop again."
        )
    if status == 403 and not code:
        return "The shop's firewall or a security plugin blocks the REST API; allow it, then connect the shop again."
    return (
        "The shop no longer accepts our key (or its clock is wrong by over 15 minutes); make a new key under "
        "WooCommerce, Settings, Advanced, REST API, and connect the shop again."
    )


def _code(content: bytes) -> str:
    """WooCommerce's own word for an error, or "" where the answer is none of its."""
    try:
        code = msgspec.json.decode(content, type=_Problem).code
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""
    return code if _CODE.fullmatch(code) else ""


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else -1


def _seconds(text: str) -> float | None:
    """A Retry-After in seconds; as a date it is not worth the reading."""
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else None
