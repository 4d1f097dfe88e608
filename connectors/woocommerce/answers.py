"""What a shop's answer means: which error it is for us, and where in it the JSON begins.

Sources: recorded refusals of WooCommerce 11.0.1; its messages are in the shop's language and are never used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec

from connectors.addresses import PRIVATE, is_private_refusal
from rewards.errors import AccessRevokedError, PlatformError, RefusedError, RetryLaterError

KEYS_PAGE = "WooCommerce, Settings, Advanced, REST API"
_CODE = re.compile(r"[a-z0-9_-]{1,80}")
# PHP ends each warning with the end of the line.
_BEGINNING = re.compile("(?:^|\n)[\\s\ufeff]*([\\[{])")
_MOST_BEGINNINGS = 50


class _Data(msgspec.Struct):
    status: int = 0


class Problem(msgspec.Struct):
    """An error answer. The status in it is the true one where something has been printed before the headers."""

    code: str = ""
    data: _Data | None = None


class NoAccessError(AccessRevokedError):
    """The shop refused our key; `code` is its word for why, "" when the refusal came from something before it."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class MovedError(RefusedError):
    """The shop sends us elsewhere; `location` may hold our key, so it is never shown or followed with one."""

    def __init__(self, location: str) -> None:
        host = _host(location)
        where = f" ({host})" if host else ""
        super().__init__(
            f"The shop has moved to another address{where}; connect it with the new one.", code="moved"
        )
        self.location = location


class UnreadableError(RetryLaterError):
    """What came is none of WooCommerce's answers."""


class UnreachableError(RetryLaterError):
    """No connection came about."""


class CertificateError(UnreachableError):
    """None came about, because nobody we know vouches for who answered."""


def refusal(method: str, status: int, headers: Mapping[str, str], content: bytes) -> PlatformError:
    """What a status means for us: come back later, access is gone, or never."""
    code = _code(content)
    if status in (408, 425, 429, 500, 502, 503, 504) or status >= 520:
        return RetryLaterError(
            f"The shop is busy or failing (status {status}).",
            retry_after_seconds=_seconds(headers.get("Retry-After", "")),
        )
    if status in (401, 403):
        return NoAccessError(_no_access(method, status, code), code)
    if 300 <= status < 400:
        return MovedError(headers.get("Location", ""))
    if code == "rest_no_route":
        return RefusedError(
            "The shop does not know the WooCommerce API; check that WooCommerce is active and permalinks are not plain.",
            code=code,
        )
    if status in (404, 410) and not code:
        return RefusedError(
            "There is no WooCommerce API at the shop's address any more; check that the shop is there, that WooCommerce is "
            "active and permalinks are not plain, and connect it again."
        )
    return RefusedError(f"The shop refused this (status {status}, {code or 'no code'}).", code=code)


def _no_access(method: str, status: int, code: str) -> str:
    if status == 403 and not code:
        return "The shop's firewall or a security plugin blocks the REST API; allow it, then connect the shop again."
    if status == 403:
        return (
            "The user that our key belongs to may not manage the shop (any more); make a key for an administrator or "
            f"shop manager under {KEYS_PAGE}, and connect the shop again."
        )
    if method != "GET" and code:
        return (
            "The shop does not let our key write; make a key with Read/Write permission under "
            f"{KEYS_PAGE}, and connect the shop again."
        )
    return (
        "The shop no longer accepts our key (or its clock is wrong by over 15 minutes); make a new key under "
        f"{KEYS_PAGE}, and connect the shop again."
    )


def failed_connection(error: Exception) -> PlatformError:
    """What came instead of an answer. The library's own words may hold the address with its key."""
    if is_private_refusal(error):
        return RefusedError(PRIVATE, code="private")
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return CertificateError(
            "The shop's https certificate cannot be verified (run out, or made by nobody known); renew it."
        )
    if isinstance(error, TimeoutError):
        return RetryLaterError("The shop did not answer in time.")
    kind = UnreachableError if isinstance(error, aiohttp.ClientConnectorError) else RetryLaterError
    return kind(f"The shop could not be reached ({type(error).__name__}).")


def json_in(content: bytes) -> bytes | None:
    """The JSON at the end of an answer that begins with something else: a byte order mark, warnings of PHP.

    None unless it goes on to the very end, as half an answer is none.
    """
    text = content.decode("utf-8-sig", "replace")
    for count, found in enumerate(_BEGINNING.finditer(text)):
        if count == _MOST_BEGINNINGS:
            return None
        try:
            _, end = json.JSONDecoder().raw_decode(text, found.start(1))
        except (ValueError, RecursionError):
            continue
        if not text[end:].strip():
            return text[found.start(1) : end].encode()
    return None


def mended(content: bytes) -> bytes:
    """JSON with lists where PHP wrote objects: a list from which an entry was dropped becomes {"1": 15}.

    Seen on 8.0.3 to 10.0.2 in coupons with an e-mail that is none, and wherever a plugin filters a list.
    """
    return msgspec.json.encode(_with_lists(msgspec.json.decode(content)))


def _with_lists(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_lists(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value and all(key.isascii() and key.isdigit() for key in value):
        return [_with_lists(item) for item in value.values()]
    return {key: _with_lists(item) for key, item in value.items()}


def hidden_refusal(method: str, content: bytes) -> PlatformError | None:
    """The error in an answer with status 200, which is all there is once a warning was printed before the headers."""
    try:
        problem = msgspec.json.decode(content, type=Problem)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if problem.data is None or problem.data.status < 300 or not _CODE.fullmatch(problem.code):
        return None
    return refusal(method, problem.data.status, {}, content)


def is_old(headers: Mapping[str, str]) -> bool:
    """True when a cache says that it gives this answer again."""
    return headers.get("Age", "0") not in ("", "0")


def told_time(headers: Mapping[str, str]) -> datetime | None:
    """When the shop says that it wrote this answer; None when it does not, or a cache gave it."""
    if is_old(headers):
        return None
    try:
        moment = parsedate_to_datetime(headers.get("Date", ""))
    except (ValueError, TypeError):
        return None
    return moment if moment.tzinfo else None


def _code(content: bytes) -> str:
    """WooCommerce's own word for an error, or "" where the answer is none of its."""
    try:
        code = msgspec.json.decode(json_in(content) or b"", type=Problem).code
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""
    return code if _CODE.fullmatch(code) else ""


def _host(location: str) -> str:
    try:
        return urlsplit(location).hostname or ""
    except ValueError:
        return ""


def _seconds(text: str) -> float | None:
    """A Retry-After in seconds; as a date it is not worth the reading."""
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else None
