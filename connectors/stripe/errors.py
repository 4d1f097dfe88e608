"""Stripe's refusals as our errors: the one place that knows status codes.

Source: docs.stripe.com/api/errors, docs.stripe.com/error-low-level. Stripe's own messages are not passed on: they can
hold parts of the key. The request id is, so that the merchant can find the request in the Dashboard's log.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

import msgspec

from rewards.errors import AccessRevokedError, PlatformError, RefusedError, RetryLaterError

MISSING_PERMISSION = "missing_permission"  # the code of a RefusedError for what a key may not do

# How long to leave Stripe alone after a 429 that does not say: its buckets refill within a second.
_PAUSE_SECONDS = 1.0
# An object or an idempotency key that another request holds is free again much sooner.
_LOCK_SECONDS = 0.5
# Both wordings that Stripe uses: "Having the 'rak_customer_read' permission" and "Enabling … ('webhook_read')".
_PERMISSION = re.compile(r"'((?:rak_)?[a-z_]+_(?:read|write))'")
_WORD = re.compile(r"[a-z0-9_.\[\]]{1,80}")

T = TypeVar("T", float, None)


class Waiting(StrEnum):
    """Who has to wait after a refusal."""

    ACCOUNT = "account"
    ENDPOINT = "endpoint"
    REQUEST = "request"


# What stands in the header Stripe-Rate-Limited-Reason (docs.stripe.com/rate-limits).
_REASONS = {
    "global-rate": Waiting.ACCOUNT,
    "global-concurrency": Waiting.ACCOUNT,
    "endpoint-rate": Waiting.ENDPOINT,
    "endpoint-concurrency": Waiting.ENDPOINT,
    "resource-specific": Waiting.ENDPOINT,
}


class SlowDownError(RetryLaterError):
    """Stripe did nothing, because of too many requests or one that is still under way."""

    def __init__(self, message: str, *, whom: Waiting, retry_after_seconds: float) -> None:
        super().__init__(message, retry_after_seconds=retry_after_seconds)
        self.whom = whom


class SpentKeyError(RefusedError):
    """The idempotency key was used before: Stripe repeats what it refused then, or had other parameters with it. With
    another key it might answer differently.
    """


class KeyRefusedError(AccessRevokedError):
    """The key itself is not accepted (401): it was rolled, deleted, or it is an access token that has ended."""


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
        return _slow_down(status, _read(body), _lower(headers))
    if status >= 500 or status < 400:
        return RetryLaterError(
            "Stripe could not answer properly just now.",
            retry_after_seconds=_retry_after(headers, None),
        )
    given = _lower(headers)
    refusal = _refusal(status, _read(body), given.get("request-id", ""))
    is_spent = given.get("idempotent-replayed") == "true"
    if isinstance(refusal, RefusedError) and (is_spent or refusal.code == "idempotency_error"):
        return SpentKeyError(str(refusal), code=refusal.code)
    return refusal


def is_about(refusal: RefusedError, param: str) -> bool:
    """True if Stripe named this parameter in its refusal."""
    return f", about {param}" in str(refusal)


def unreachable() -> RetryLaterError:
    """No answer, or one that broke off."""
    return RetryLaterError("Stripe could not be reached.")


def unreadable() -> RetryLaterError:
    """A success whose body is not what it should be: a proxy in between, or half an answer."""
    return RetryLaterError("Stripe's answer could not be read.")


def _slow_down(status: int, error: _Error, headers: Mapping[str, str]) -> SlowDownError:
    """A rate limit names its reason in a header; a locked object has a code of its own; 409: our key is in use."""
    reason = headers.get("stripe-rate-limited-reason", "")
    if status == 409 or error.code == "lock_timeout":
        message = "Another request holds what this one needs in Stripe."
        return SlowDownError(
            message, whom=Waiting.REQUEST, retry_after_seconds=_retry_after(headers, _LOCK_SECONDS)
        )
    about = f" ({reason})" if reason in _REASONS else ""
    return SlowDownError(
        f"Stripe asks us to slow down{about}.",
        whom=_REASONS.get(reason, Waiting.ACCOUNT),
        retry_after_seconds=_retry_after(headers, _PAUSE_SECONDS),
    )


def _refusal(status: int, error: _Error, request_id: str) -> PlatformError:
    where = f" (request {request_id})" if _WORD.fullmatch(request_id.lower()) else ""
    if status == 401:
        return KeyRefusedError(
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
    # The last wording is for what no restricted key can be given.
    says_so = "required permissions" in (error.message or "")
    if found or says_so or (error.code or "").startswith("more_permissions_required"):
        name = found.group(1).removeprefix("rak_") if found else "that this request needs"
        return RefusedError(
            f"The store's Stripe key lacks the permission {name}{where}. Edit the restricted key in the Stripe "
            "Dashboard (Developers, API keys) and switch it on.",
            code=MISSING_PERMISSION,
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


def _retry_after(headers: Mapping[str, str], otherwise: T) -> float | T:
    try:
        return max(0.0, float(_lower(headers)["retry-after"]))
    except (KeyError, ValueError):
        return otherwise


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
