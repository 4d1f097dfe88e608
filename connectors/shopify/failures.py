"""What Shopify's refusals mean for us: HTTP status codes, GraphQL error codes and user errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from rewards.errors import AccessRevokedError, PlatformError, RefusedError, RetryLaterError


class NotRunError(RetryLaterError):
    """Shopify says that it has not run the request (its rate limits): safe to repeat, mutations too."""


class GraphqlErrorDetails(msgspec.Struct, rename="camel"):
    """The machine-readable part of one top-level error."""

    code: str = ""
    required_access: str = ""


class GraphqlError(msgspec.Struct):
    """One entry of a GraphQL answer's `errors`."""

    message: str = ""
    extensions: GraphqlErrorDetails = msgspec.field(default_factory=GraphqlErrorDetails)


class UserError(msgspec.Struct):
    """What a mutation says is wrong with its input."""

    message: str
    code: str | None = None
    field: list[str] | None = None


_REVOKED = {
    401: "Shopify does not accept the access to this shop (any more): check it, and connect the store again.",
    402: "Shopify has frozen this shop: its owner must settle the account with Shopify.",
    403: "Shopify forbids access to this shop: check the app's permissions, or whether the shop is suspended.",
    423: "Shopify has locked this shop: its owner must ask Shopify's support.",
}


def error_for_status(status: int, headers: Mapping[str, str]) -> PlatformError:
    """The error for an HTTP status that is no success."""
    if status in _REVOKED:
        return AccessRevokedError(_REVOKED[status])
    if status == 429:
        return NotRunError(
            "Shopify asks to slow down.", retry_after_seconds=_seconds(headers.get("Retry-After"))
        )
    if status >= 500:
        return RetryLaterError(f"Shopify has a problem of its own (status {status}).")
    if status == 404:
        return RefusedError("Shopify knows no such shop or address: check the shop's domain.", code="404")
    return RefusedError(f"Shopify refused the request (status {status}).", code=str(status))


def error_for_graphql(errors: Sequence[GraphqlError]) -> PlatformError:
    """The error for the top-level errors of a GraphQL answer; THROTTLED is the caller's."""
    details = errors[0].extensions
    if details.code == "ACCESS_DENIED":
        needed = details.required_access or _named_scope(errors[0].message)
        return RefusedError(
            f"The app lacks a permission on Shopify: {needed} Grant it and connect the store again.",
            code=details.code,
        )
    if details.code in ("INTERNAL_SERVER_ERROR", "TIMEOUT"):
        return RetryLaterError("Shopify has a problem of its own.")
    return RefusedError(f"Shopify refused the request ({details.code or 'no code'}).", code=details.code)


def refusal(errors: Sequence[UserError]) -> RefusedError:
    """The error for a mutation's user errors; raises RetryLaterError where Shopify itself failed."""
    if any(error.code == "INTERNAL_ERROR" for error in errors):
        raise RetryLaterError("Shopify has a problem of its own.")
    text = " ".join(error.message for error in errors)[:300]
    return RefusedError(f"Shopify refused: {text}", code=errors[0].code or "")


def _named_scope(message: str) -> str:
    _, _, needed = message.partition("Required access: ")
    return needed or "see the app's access scopes."


def _seconds(text: str | None) -> float | None:
    try:
        return max(0.0, float(text)) if text else None
    except ValueError:
        return None
