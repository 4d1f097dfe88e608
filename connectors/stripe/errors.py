"""Stripe's refusals as our errors: the one place that knows status codes.

Source: docs.stripe.com/api/errors, docs.stripe.com/error-low-level. Stripe's own messages are not passed on: they can
hold parts of the key. The request id is, so that the merchant can find the request in the Dashboard's log.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from rewards.errors import AccessRevokedError, PlatformError, RefusedError, RetryLaterError

# How long to leave Stripe alone after a 429 that does not say: its buckets refill within a second.
_PAUSE_SECONDS = 1.0
# Both wordings that Stripe uses: "Having the 'rak_customer_read' permission" and "Enabling … ('webhook_read')".
_PERMISSION = re.compile(r"'((?:rak_)?[a-z_]+_(?:read|write))'")
_WORD = re.compile(r"[a-z0-9_.\[\]]{1,80}")


class _Error(msgspec.Struct):
    type: str | None = None
    code: str | None = None
    message: str | None = None
    param: str | None = None


class _Body(msgspec.Struct):
    error: _Error


def from_answer(status: int, body: bytes | str | None, headers: Mapping[str, str]) -> PlatformError:
    """The error for an answer that is not a success (or a success that could not be read)."""
    if status == 429 or status == 409:
        return RetryLaterError(
            "Stripe asks us to slow down.",
            retry_after_seconds=_retry_after(headers),
        )
    if status >= 500 or status < 400:
        return RetryLaterError(
            "Stripe could not answer properly just now.",
            retry_after_seconds=_retry_after(headers) if "retry-after" in _lower(headers) else None,
        )
    return _refusal(status, _read(body), _lower(headers).get("request-id", ""))


def unreachable() -> RetryLaterError:
    """No answer, or one that broke off."""
    return RetryLaterError("Stripe could not be reached.")


def unreadable() -> RetryLaterError:
    """A success whose body is not what it should be: a proxy in between, or half an answer."""
    return RetryLaterError("Stripe's answer could not be read.")


def _refusal(status: int, error: _Error, request_id: str) -> PlatformError:
    where = f" (request {request_id})" if _WORD.fullmatch(request_id.lower()) else ""
    if status == 401:
        return AccessRevokedError(
            f"Stripe no longer accepts this store's key{where}. Make a new restricted key in the Stripe Dashboard "
            "(Developers, API keys) and connect the store again."
        )
    if status == 403:
        return _forbidden(error, where)
    code = error.code or error.type or f"http_{status}"
    about = f", about {error.param}" if error.param and _WORD.fullmatch(error.param) else ""
    return RefusedError(f"Stripe refused the request: {code}{about}{where}.", code=code)


def _forbidden(error: _Error, where: str) -> PlatformError:
    """A key may lack one permission, which is no reason to stop everything else it may do."""
    found = _PERMISSION.search(error.message or "")
    if found or (error.code or "").startswith("more_permissions_required"):
        name = found.group(1).removeprefix("rak_") if found else "that this request needs"
        return RefusedError(
            f"The store's Stripe key lacks the permission {name}{where}. Edit the restricted key in the Stripe "
            "Dashboard (Developers, API keys) and switch it on.",
            code="missing_permission",
        )
    return AccessRevokedError(
        f"Stripe refuses this store's key access to the account{where}. Make a new restricted key in the Stripe "
        "Dashboard (Developers, API keys) and connect the store again."
    )


def _read(body: bytes | str | None) -> _Error:
    try:
        return msgspec.json.decode(body or b"", type=_Body).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Error()


def _retry_after(headers: Mapping[str, str]) -> float:
    try:
        return max(0.0, float(_lower(headers).get("retry-after", "")))
    except ValueError:
        return _PAUSE_SECONDS


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
